//! A node before its first slice: it lives, is not ready, answers 503, and shows why.
//!
//! The addresses are those of flags and defaults, since nothing else is known; under `regmesh up`, where the endpoint would be the
//! default, the registry's listener waits for the slice. Closed before the node itself listens.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use runtime::{Clock, Tasks, listener, metric::Registry, operational::Operational};
use wire::{
    api::status::{CopiesStatus, NodeStatus, StoreStatus},
    generation::Generation,
    name::{MeshName, NodeName},
};

use crate::{
    app::{Config, Contact, Defaults, Error},
    http::waiting,
    metric::Metrics,
};

/// How long requests under way get when the node takes over.
const CLOSING: Duration = Duration::from_secs(1);

/// What a waiting node says of itself. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    node: NodeName,
    mesh: MeshName,
    contact: Contact,
    why: Arc<ArcSwap<String>>,
    warnings: Arc<ArcSwap<Vec<String>>>,
}

impl Words {
    pub(crate) fn new(node: NodeName, mesh: MeshName, contact: Contact) -> Self {
        Self {
            node,
            mesh,
            contact,
            why: Arc::new(ArcSwap::from_pointee(
                "this node has no topology yet".to_owned(),
            )),
            warnings: Arc::default(),
        }
    }

    /// Why nothing is served; whether that is news.
    pub(crate) fn say(&self, why: &str) -> bool {
        let before = self.why.swap(Arc::new(why.to_owned()));
        *before != why
    }

    /// What an operator should know.
    pub(crate) fn warn(&self, warnings: Vec<String>) {
        self.warnings.store(Arc::new(warnings));
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.load().to_vec()
    }

    /// The status of a node without a slice.
    pub(crate) fn status(&self) -> NodeStatus {
        NodeStatus {
            node: self.node.clone(),
            mesh: self.mesh.clone(),
            tier: 0,
            generation: Generation(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: false,
            draining: false,
            store: StoreStatus::default(),
            rules: Vec::new(),
            copies: CopiesStatus::default(),
            webhooks: Vec::new(),
            warnings: self.warnings(),
        }
    }
}

/// The listeners of a waiting node.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Of the registry, when its address is known.
    pub(crate) address: Option<SocketAddr>,
    /// Of the operational pages.
    pub(crate) admin: SocketAddr,
    tasks: Tasks,
}

impl Waiting {
    /// Opens them.
    pub(crate) async fn open(
        config: &Config,
        words: &Words,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let tasks = tasks.child("waiting");
        let (listen, admin) = match config.defaults {
            Defaults::Node => (
                Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5000))),
                SocketAddr::from((Ipv4Addr::LOCALHOST, 5080)),
            ),
            Defaults::Up => (None, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        };
        let pages = bind(config.admin.unwrap_or(admin), clock).await?;
        let registry = match config.listen.or(listen) {
            Some(address) => Some(bind(address, clock).await?),
            None => None,
        };
        let waiting = Self {
            address: registry.as_ref().map(listener::Bound::local_addr),
            admin: pages.local_addr(),
            tasks,
        };
        pages.serve(operational(words).router(), &waiting.tasks);
        if let Some(registry) = registry {
            let why = Arc::clone(&words.why);
            let why: waiting::Why = Arc::new(move || why.load().as_str().to_owned());
            registry.serve(waiting::router(words.node.clone(), why), &waiting.tasks);
        }
        Ok(waiting)
    }

    /// Closes them, so that the node itself may listen there.
    pub(crate) async fn close(self) {
        self.tasks.drain(CLOSING).await;
    }
}

async fn bind(address: SocketAddr, clock: &Clock) -> Result<listener::Bound, Error> {
    let config = listener::Config {
        clock: clock.clone(),
        ..listener::Config::new(address)
    };
    let bound = listener::bind(config).await;
    bound.map_err(|source| Error::Listen { address, source })
}

fn operational(words: &Words) -> Operational {
    let families = Registry::new();
    let (metrics, contact) = (Metrics::new(&families), words.contact.clone());
    families.before_gather(move || {
        let connected = contact.is_connected() == Some(true);
        metrics
            .control_connected
            .set([], f64::from(u8::from(connected)));
    });
    let (report, why, contact) = (words.clone(), Arc::clone(&words.why), words.contact.clone());
    Operational::new(families, move || {
        serde_json::to_value(report.status()).unwrap_or_default()
    })
    .fatal("slice", move || Err(why.load().as_str().to_owned()))
    .shown("control", move || match contact.is_connected() {
        Some(true) => Ok(()),
        Some(false) | None => Err("the control plane is not connected".to_owned()),
    })
}
