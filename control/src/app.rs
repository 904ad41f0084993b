//! Composition root: names the components of a control plane in the order in which they need each other, and ends them in the other order.
//!
//! Listeners are bound when everything behind them is there; the node service's socket alone is opened early, because join tokens carry
//! its port. A drain first makes the control plane unready, then ends the API's streams, then the nodes'; nodes go on without it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use identity::keys::jwks::Around;
use runtime::{Clock, Limit, Secret, Tasks, file::Real, metric::Registry, tls};
use wire::api::mesh::MeshStatus;

use crate::{
    audit, ca,
    config::Config,
    distribute::{self, Distribute},
    enrol::{self, Enrol, Window},
    grpc,
    http::Api,
    issuer::Issuer,
    metric::Metrics,
    publish::{self, Publisher},
    seal,
    sign_in::{SignIn, admin_token, device::Kept, oidc::Oidc},
    signing_key, state as stored,
    status::{self, Alarms},
};

mod asking;
mod keys;
mod listen;
mod lock;
mod state;
#[cfg(test)]
mod tests;

/// Why a control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The admin token cannot be had.
    #[error(transparent)]
    AdminToken(#[from] admin_token::Error),
    /// The store cannot be used.
    #[error(transparent)]
    State(#[from] stored::Error),
    /// The data directory cannot be made.
    #[error("cannot make {path}: {source}")]
    Directory {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Another control plane runs on it.
    #[error(
        "{path} is used by another process (pid {holder}): end that one, or use another --data-dir"
    )]
    InUse {
        /// Where.
        path: String,
        /// Whose it is, as its file says.
        holder: String,
    },
    /// The seal's key cannot be had.
    #[error(transparent)]
    Seal(#[from] seal::Error),
    /// The issuer's keys cannot be had.
    #[error(transparent)]
    SigningKey(#[from] signing_key::Error),
    /// The mesh CA cannot be had.
    #[error(transparent)]
    Ca(#[from] ca::Error),
    /// Something cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The API's certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// What is stored cannot be put in force.
    #[error(transparent)]
    Publish(#[from] publish::Error),
    /// Nobody can join.
    #[error(transparent)]
    Enrol(#[from] enrol::Error),
    /// Nobody can sign in.
    #[error(transparent)]
    SignIn(#[from] identity::error::Error),
}

/// A running control plane.
pub struct Running {
    addresses: listen::Addresses,
    publisher: Publisher,
    enrol: Arc<Enrol>,
    distribute: Distribute,
    alarms: Alarms,
    admin_token: Secret,
    draining: Arc<AtomicBool>,
    tasks: Owners,
    _lock: lock::Lock,
}

/// Who owns which tasks: drained in this order.
#[derive(Debug, Clone)]
struct Owners {
    api: Tasks,
    nodes: Tasks,
    rest: Tasks,
}

/// Starts a control plane as tasks of `tasks`.
///
/// # Errors
/// When something that it needs cannot be had; nothing is left running then.
pub async fn start(config: Config, clock: Clock, tasks: &Tasks) -> Result<Running, Error> {
    let rest = tasks.child("control");
    let started = build(config, clock, &rest).await;
    if started.is_err() {
        rest.abort();
    }
    started
}

async fn build(config: Config, clock: Clock, rest: &Tasks) -> Result<Running, Error> {
    let tasks = Owners {
        api: rest.child("api"),
        nodes: rest.child("nodes"),
        rest: rest.clone(),
    };
    let directory = config.data_dir.join(state::DIRECTORY);
    keys::directory(&directory)?;
    let lock = lock::take(&directory)?;
    let admin_token = admin_token::open(&config.data_dir)?;
    let state = state::open(&config, &clock, rest).await?;
    let keys = keys::open(&config, &state, &clock, rest).await?;
    let (stored, signing) = (Arc::clone(&state), Arc::clone(&keys.signing));
    let publisher = Publisher::issuing(stored, signing, clock.clone(), rest).await?;
    let signing = Arc::clone(&keys.signing);
    let issuer = Issuer::new(publisher.clone(), signing, clock.clone(), rest.clone())
        .living(config.settings.grants);
    let signer = keys.signer(&publisher, &clock)?;
    let socket = listen::node_service(&config, &keys.ca, &signer, &clock).await?;
    let oidc = Oidc::asking(Around {
        clock: clock.clone(),
        tasks: rest.clone(),
        disk: Some((Arc::new(Real), directory.join("issuers"))),
    });
    let believed = oidc.clone();
    let enrol = Enrol::build(
        publisher.clone(),
        Arc::clone(&state),
        Arc::clone(&keys.ca),
        oidc.clone(),
        clock.clone(),
        listen::advertised(&config, socket.local_addr()),
    );
    let enrol = Arc::new(enrol.await?);
    let distribution = distribute::Config {
        rhythm: config.settings.rhythm,
        publisher: publisher.clone(),
        enrol: Arc::clone(&enrol),
        signer,
        state: Arc::clone(&state),
    };
    let distribute = distribution.build(clock.clone(), &tasks.nodes).await?;
    let secrets = identity::secret::Secrets::of_process();
    let flows = Kept::new(Arc::clone(&state), Arc::clone(&keys.seal));
    let (admin, key) = (&admin_token, &keys.session);
    let sign_in = SignIn::new(admin, key, secrets, oidc, flows, &clock, rest)?;
    let (alarms, registry) = (Alarms::default(), Registry::new());
    state::watch(
        &state,
        &distribute,
        &alarms,
        config.settings.probe,
        &clock,
        rest,
    );
    audit::keep(Arc::clone(&state), config.settings.audit, &clock, rest);
    let api = Arc::new(Api {
        publisher: publisher.clone(),
        nodes: Arc::new(asking::Nodes(distribute.clone(), Arc::clone(&enrol))),
        enrol: Arc::clone(&enrol),
        ca: Arc::clone(&keys.ca),
        issuer: issuer.clone(),
        state,
        sign_in,
        alarms: alarms.clone(),
        metrics: Metrics::new(&registry),
        streams: Limit::new("event_streams", config.settings.http.streams),
        plans: Limit::new("plans", config.settings.http.plans),
        refusals: Window::default(),
        document: std::sync::OnceLock::new(),
        settings: config.settings.http.clone(),
        clock: clock.clone(),
        tasks: tasks.api.clone(),
    });
    let draining = Arc::new(AtomicBool::new(false));
    let operational = listen::operational(&api, registry, &draining);
    let node_service = socket.local_addr();
    let (admitting, tokens) = (Arc::clone(&enrol), issuer.clone());
    let service = grpc::service(admitting, distribute.clone(), tokens, clock.clone());
    let addresses = listen::open(&config, &tasks, api, operational, &clock).await?;
    let own = listen::url(&config, addresses.api);
    publisher.reached_at(&own);
    believed.reached_at(&own);
    issuer.keep(rest);
    socket.serve(service, &tasks.nodes);
    Ok(Running {
        addresses: listen::Addresses {
            node_service,
            ..addresses
        },
        publisher,
        enrol,
        distribute,
        alarms,
        admin_token,
        draining,
        tasks,
        _lock: lock,
    })
}

impl Running {
    /// Where the API listens.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.addresses.api
    }

    /// Where the node service listens.
    #[must_use]
    pub fn node_service(&self) -> SocketAddr {
        self.addresses.node_service
    }

    /// Where the operational listener listens.
    #[must_use]
    pub fn operational(&self) -> SocketAddr {
        self.addresses.operational
    }

    /// What should be.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Who may join.
    #[must_use]
    pub fn enrol(&self) -> &Arc<Enrol> {
        &self.enrol
    }

    /// The connected nodes.
    #[must_use]
    pub fn distribute(&self) -> &Distribute {
        &self.distribute
    }

    /// The administrator's token.
    #[must_use]
    pub fn admin_token(&self) -> Secret {
        self.admin_token.clone()
    }

    /// The tree of nodes and how they are.
    #[must_use]
    pub fn status(&self) -> MeshStatus {
        let seen = asking::seen(&self.distribute, &self.enrol);
        status::status(&self.publisher.current(), &seen, &self.alarms.raised())
    }

    /// Ends it: not ready, no new requests, those under way finish within `timeout`; then everything else.
    pub async fn drain(&self, timeout: Duration) {
        self.draining.store(true, Ordering::SeqCst);
        self.tasks.api.drain(timeout).await;
        self.tasks.nodes.drain(timeout.min(LAST)).await;
        self.tasks.rest.drain(LAST).await;
    }
}

/// What streams of nodes and background work get to end, once nobody asks any more.
const LAST: Duration = Duration::from_secs(3);

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.rest.abort();
    }
}
