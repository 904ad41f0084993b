//! Starts an agent: its directory, its enrolment, the node from disk, then the stream; in this order, so that nothing waits for the
//! control plane that can do without it.

use std::{
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

use runtime::{Backoff, Clock, Tasks, channel, file::Files};
use tokio::sync::watch;
use wire::{name::NodeName, time::WallTime};

use super::{
    Agent, Config, Error, LAST_TASKS,
    apply::{Parts, Slices},
    connect::Connect,
    enrolment::Credential,
    home::Home,
    join::Join,
    last_good,
    link::Link,
    mint::Minter,
    shared::{Shared, offline},
    waiting::Words,
};
use crate::{
    app::{self, Contact},
    membership::Membership,
};

impl Config {
    /// Starts the agent, and the node where there is a slice on disk. Returns when something listens.
    ///
    /// # Errors
    /// When the node has not joined, was shut out, or its directory or addresses cannot be used.
    pub async fn start(
        self,
        files: Arc<dyn Files>,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Agent, Error> {
        let directory = self.data_dir.clone();
        let home =
            Home::open(&directory, Arc::clone(&files)).map_err(|reason| Error::Directory {
                path: directory,
                reason,
            })?;
        let known = self.known(&home)?;
        let node = match (&known, &self.join) {
            (Some(known), _) => known.enrolment.node.clone(),
            (None, Some(join)) => join.node().clone(),
            (None, None) => return Err(Error::NotJoined),
        };
        let tasks = tasks.child(format!("agent-{node}"));
        let started = self.build(files, home, known, node, &clock, &tasks).await;
        if started.is_err() {
            tasks.drain(LAST_TASKS).await;
        }
        started
    }

    /// The enrolment on disk, if it and the token may go together.
    fn known(&self, home: &Home) -> Result<Option<Credential>, Error> {
        let known = match Credential::load(home) {
            Ok(known) => known,
            // With a token in hand, what is damaged is made anew.
            Err(error) if self.join.is_some() => {
                tracing::error!(%error, "the enrolment on disk cannot be used");
                None
            }
            Err(error) => return Err(Error::Enrolment(error.to_string())),
        };
        let Some(known) = known else {
            return Ok(None);
        };
        if let Some(join) = self
            .join
            .as_ref()
            .filter(|join| *join.node() != known.enrolment.node)
        {
            return Err(Error::OtherNode {
                path: self.data_dir.clone(),
                joined: known.enrolment.node.clone(),
                token: join.node().clone(),
            });
        }
        let is_news = |join: &Join| join.is_news(Some(&known));
        match &known.enrolment.shut_out {
            Some(why) if !self.join.as_ref().is_some_and(is_news) => {
                Err(Error::ShutOut(why.clone()))
            }
            Some(_) | None => Ok(Some(known)),
        }
    }

    async fn build(
        self,
        files: Arc<dyn Files>,
        home: Home,
        known: Option<Credential>,
        node: NodeName,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Agent, Error> {
        let home = Arc::new(home);
        let connecting = tasks.child("control");
        let contact = Contact::alone(clock.clone());
        let mesh = known
            .as_ref()
            .and_then(|known| known.enrolment.mesh.parse().ok());
        let mesh = mesh.unwrap_or_else(|| "unnamed".parse().expect("a legal name"));
        let words = Words::new(node.clone(), mesh, contact.clone());
        let membership = Membership::new(clock);
        let found = known
            .as_ref()
            .filter(|known| known.enrolment.shut_out.is_none())
            .map(|known| {
                known.show(&membership);
                let now = WallTime(clock.wall_ms());
                last_good::load(&home, &node, &known.roots, now)
            });
        let (good, mut damage) = found.unwrap_or_default();
        let (mint, unread) = Minter::open(&home, clock, &connecting);
        damage.extend(unread);
        for what in &damage {
            tracing::error!(%node, what, "damage was met at the start; nothing was deleted");
        }
        words.warn(damage);
        contact.away(offline(&home, good.as_ref(), clock));
        let config = app::Config {
            name: node.clone(),
            data_dir: self.data_dir,
            listen: self.listen,
            admin: self.admin,
            defaults: self.defaults,
            settings: self.settings.clone(),
        };
        let slices = Arc::new(Slices::new(Parts {
            home: Arc::clone(&home),
            config,
            contact: contact.clone(),
            membership: membership.clone(),
            mint: mint.clone(),
            words: words.clone(),
            files,
            clock: clock.clone(),
            tasks: tasks.clone(),
        }));
        let link = Link {
            config: channel::Config {
                connect: self.settings.control_connect,
                ..channel::Config::new(clock)
            },
            write_again: Backoff {
                base: self.settings.control_retry,
                max: self.settings.control_retry_most,
            },
            clock: clock.clone(),
            tasks: connecting.clone(),
        };
        let shared = Arc::new(Shared {
            node,
            home,
            link,
            slices,
            contact,
            membership,
            mint,
            words,
            reports: Mutex::default(),
            connections: watch::Sender::new(0),
            refused: watch::Sender::new(None),
            noted: AtomicI64::new(i64::MIN),
        });
        shared.mint.keep();
        let connect = Connect {
            shared: Arc::clone(&shared),
            join: self.join,
            backoff: Backoff {
                base: self.settings.control_retry,
                max: self.settings.control_retry_most,
            },
            attempt: 0,
        };
        shared
            .begin(good, self.patience, connect, known, &connecting)
            .await?;
        Ok(Agent {
            shared,
            connecting,
            tasks: tasks.clone(),
        })
    }
}

impl Shared {
    /// The node from disk, and the stream: in this order, unless there is patience.
    async fn begin(
        self: &Arc<Self>,
        good: Option<last_good::Good>,
        patience: Duration,
        connect: Connect,
        known: Option<Credential>,
        connecting: &Tasks,
    ) -> Result<(), Error> {
        let run = move || drop(connecting.spawn("connect", connect.run(known)));
        let Some(good) = good else {
            self.slices.wait().await?;
            run();
            return Ok(());
        };
        if patience.is_zero() {
            self.resume(good).await?;
            run();
            return Ok(());
        }
        run();
        let mut started = self.slices.news();
        let newer = started.wait_for(Option::is_some);
        if self.link.clock.timeout(patience, newer).await.is_err() {
            self.resume(good).await?;
        }
        Ok(())
    }

    /// Starts on the slice from disk. Where that fails because of what the slice says, the control plane may have a better one.
    async fn resume(&self, good: last_good::Good) -> Result<(), Error> {
        match self.slices.resume(good).await {
            Ok(()) => Ok(()),
            Err(error @ (app::Error::Store { .. } | app::Error::Keys(_))) => Err(error.into()),
            // Who restarts the process tries again; waiting without an ear would look alive for ever.
            Err(error @ app::Error::Listen { .. })
                if self.slices.addresses().1.is_none() || is_taken(&error) =>
            {
                Err(error.into())
            }
            Err(error) => {
                tracing::error!(node = %self.node, error = &error as &dyn std::error::Error, "the node cannot start on its last good slice and waits");
                Ok(())
            }
        }
    }
}

fn is_taken(error: &app::Error) -> bool {
    matches!(error, app::Error::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse)
}
