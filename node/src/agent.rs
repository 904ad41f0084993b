//! The node's side of the control plane: joins, keeps one stream, brings slices in, answers and reports.
//!
//! A rim of its own, beside `http`: calls `app`, knows tonic. A node starts from its last good slice before anybody is asked; without one
//! it waits, not ready, and answers 503. It goes on without the control plane for as long as it must. Only when the control plane says
//! that this very instance was revoked or is a copy does it close: what is stored stays, nothing is served, and it says so until it joins
//! again with a new token. A revoked node that is cut off cannot hear that and serves on under its last slice, as `reference/faults.md`
//! section 1 has it; others refuse its certificate. Source: `spec/control-plane.md`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use runtime::Tasks;
use tokio::sync::watch;
use wire::{generation::Generation, name::NodeName};

use crate::{
    app::{self, Defaults, Running},
    settings::Settings,
    store,
};

mod answer;
mod apply;
mod connect;
mod enrol;
mod enrolment;
mod home;
mod join;
mod last_good;
mod link;
mod mint;
mod report;
mod session;
mod shared;
mod start;
mod waiting;

pub use join::{ByOidc, Join};
use shared::Shared;

/// How long the agent's own tasks get to end.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the node keeps its data; the agent's files are in `agent` below it.
    pub data_dir: PathBuf,
    /// To join with; left alone when it was used before.
    pub join: Option<Join>,
    /// Address to bind, whatever the slice says.
    pub listen: Option<SocketAddr>,
    /// Address of the operational listener, whatever the slice says.
    pub admin: Option<SocketAddr>,
    /// Which defaults hold where neither says anything.
    pub defaults: Defaults,
    /// How long to hear what the control plane has before the slice from disk is started on: zero for a node of its own. Under
    /// `regmesh up` the control plane is in the same process, and what it has is newer than what the disk has.
    pub patience: Duration,
    /// The numbers.
    pub settings: Settings,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is neither an enrolment nor a token.
    #[error(
        "this node has not joined a mesh: give it a join token of `regmesh node join-token NAME`, or an OIDC token with --oidc-token-file"
    )]
    NotJoined,
    /// It joined as another node.
    #[error("{path} belongs to node '{joined}', and '{token}' is to join: use another directory")]
    OtherNode {
        /// The data directory.
        path: PathBuf,
        /// Whose it is.
        joined: NodeName,
        /// Who is to join.
        token: NodeName,
    },
    /// The control plane shut it out before.
    #[error("this node was shut out: {0}; it stays out until it joins again with a new token")]
    ShutOut(String),
    /// Its directory cannot be used.
    #[error("the agent's directory in {path} cannot be used: {reason}")]
    Directory {
        /// The data directory.
        path: PathBuf,
        /// Why; its text has its cause in it.
        reason: store::Error,
    },
    /// The enrolment is there and cannot be used.
    #[error("{0}")]
    Enrolment(String),
    /// The node cannot start.
    #[error(transparent)]
    Node(#[from] app::Error),
}

/// Why an agent has nothing more to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Somebody who may asked this node to drain.
    Drain,
    /// It may not join; in the words of the control plane.
    Refused(String),
}

/// A node with its agent. Dropping it ends both at once; `drain` ends them well.
pub struct Agent {
    shared: Arc<Shared>,
    connecting: Tasks,
    tasks: Tasks,
}

impl Agent {
    /// The node.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.shared.node
    }

    /// The node itself, once it has a slice.
    #[must_use]
    pub fn running(&self) -> Option<Arc<Running>> {
        self.shared.slices.running()
    }

    /// Ends once the node has a slice and serves.
    pub async fn until_running(&self) -> Arc<Running> {
        let mut news = self.shared.slices.news();
        let running = news
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|running| running.clone());
        match running {
            Some(running) => running,
            None => std::future::pending().await,
        }
    }

    /// The generation in force; 0 for none.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.shared.slices.held().generation
    }

    /// Whether the control plane is connected.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.shared.contact.is_connected() == Some(true)
    }

    /// How often it was connected to so far; to wait for the next time.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.shared.connections.subscribe()
    }

    /// The address of the registry; under `regmesh up` nothing listens before the first slice.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.shared.slices.addresses().0
    }

    /// The address of the operational pages.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.shared.slices.addresses().1
    }

    /// Ends when there is nothing more to do: somebody asked for a drain, or the node may not join.
    pub async fn ended(&self) -> End {
        let mut refused = self.shared.refused.subscribe();
        let drain = async { self.until_running().await.asked_to_end().await };
        tokio::select! {
            () = drain => End::Drain,
            refused = refused.wait_for(Option::is_some) => {
                let why = refused.ok().and_then(|why| why.clone());
                End::Refused(why.unwrap_or_default())
            }
        }
    }

    /// Ends it: the node finishes what is under way within `timeout`, while the control plane still hears of it.
    pub async fn drain(&self, timeout: Duration) {
        if let Some(running) = self.running() {
            running.drain(timeout).await;
        }
        self.connecting.drain(LAST_TASKS).await;
        self.tasks.drain(LAST_TASKS).await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

#[cfg(test)]
mod tests;
