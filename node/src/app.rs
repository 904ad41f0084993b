//! The composition root: what a node is started with, and what its parts share while it runs.
//!
//! Wiring by topic is in `app/`: `build` names the components in order, `running` is what others may do with a node, `slice` turns a slice into rules, access and webhooks and swaps them together, `issuers` says whose tokens it takes, `listen` opens
//! the two listeners, `status` gathers what `/status` and `/metrics` show, `tokens` keeps refresh tokens in the store. A node is
//! bound only when it can serve, and ends in the order: not ready, stop accepting, finish, cut the rest.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use identity::{
    authenticate::{self, oidc::Issuers},
    keys::jwks,
    mint::Mint,
    secret::Secrets,
    sign,
};
use runtime::{
    clock::Clock,
    file::{Files, Real},
    metric::Registry as Families,
    tasks::Tasks,
};
use tokio_util::sync::CancellationToken;
use wire::name::NodeName;

use crate::{
    copy::Copies,
    event::{Recorder, deliver::Deliveries},
    fill::Fills,
    http::View,
    membership::Membership,
    metric::Metrics,
    registry,
    rule::{Rules, recalls::Recalls, status::Facts},
    settings::Settings,
    store::{self, Store},
    upstream::pool::Pool,
};

mod ask;
mod build;
pub mod contact;
mod examine;
mod heal;
mod issuers;
mod listen;
mod observe;
mod offer;
mod recall;
mod reconnect;
mod report;
mod running;
mod slice;
mod status;
mod taken;
mod tokens;

pub use contact::Contact;
pub use listen::Defaults;
pub use slice::Slice;
pub(crate) use taken::Taken;

/// How long what runs in the background gets to end.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// What a node is started with, beside its slice.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name.
    pub name: NodeName,
    /// Where it keeps its data, unless the slice says otherwise.
    pub data_dir: PathBuf,
    /// Address to bind, whatever the slice says.
    pub listen: Option<SocketAddr>,
    /// Address of the operational listener, whatever the slice says.
    pub admin: Option<SocketAddr>,
    /// Which defaults hold where neither says anything.
    pub defaults: Defaults,
    /// The numbers.
    pub settings: Settings,
}

/// What a node is started with by its agent.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Whether the control plane is there.
    pub contact: Contact,
    /// Its place among the nodes of its mesh; none for a node without a control plane.
    pub membership: Option<Membership>,
    /// Asks the control plane for tokens of its rules; none for a node without one.
    pub mint: Option<Arc<dyn Mint>>,
    /// What was found damaged before it started; shown in its status.
    pub warned: Vec<String>,
    /// The disk.
    pub files: Arc<dyn Files>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The slice has no such node.
    #[error("the topology has no node '{0}'")]
    NoSuchNode(NodeName),
    /// The data directory cannot be used.
    #[error("the data directory {path} cannot be used: {reason}")]
    Store {
        /// Which.
        path: String,
        /// Why; its text has its cause in it.
        reason: store::Error,
    },
    /// The keys of its tokens cannot be used.
    #[error("the node's keys cannot be used")]
    Keys(#[source] sign::Error),
    /// No client for the machine's identity endpoint can be made.
    #[error("nothing can be connected to")]
    Egress(#[source] runtime::egress::Error),
    /// Authentication cannot be set up.
    #[error("callers cannot be authenticated")]
    Authenticate(#[source] identity::error::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS files cannot be used.
    #[error("the node's certificate cannot be used")]
    Tls(#[source] runtime::tls::Error),
    /// A feature that this release does not have.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// A running node. Dropping it ends its tasks at once; `drain` ends it well.
pub struct Running {
    shared: Arc<Shared>,
    address: SocketAddr,
    admin: SocketAddr,
    listeners: Tasks,
}

/// What the parts of a running node share.
struct Shared {
    name: NodeName,
    store: Store,
    rules: Arc<ArcSwap<Rules>>,
    recalls: Recalls,
    view: Arc<ArcSwapOption<View>>,
    slice: ArcSwap<Slice>,
    applying: tokio::sync::Mutex<()>,
    recorder: Recorder,
    deliveries: Deliveries,
    registry: registry::Registry,
    /// What upstreams said is left of our rate.
    rates: Arc<observe::Rates>,
    authenticate: authenticate::Authenticate,
    /// Those of the slice in force.
    issuers: ArcSwap<Issuers>,
    /// What their keys need of this process.
    around: jwks::Around,
    upstreams: Pool,
    secrets: Secrets,
    fills: Fills,
    copies: Copies,
    metrics: Metrics,
    families: Families,
    settings: Settings,
    clock: Clock,
    tasks: Tasks,
    draining: CancellationToken,
    contact: Contact,
    membership: Option<Membership>,
    /// What was damaged before it started.
    warned: Vec<String>,
    started: offer::Started,
    /// Why nothing is served any more.
    closed: OnceLock<String>,
    started_at_ms: i64,
    /// Cancelled when the control plane asked for a drain.
    asked_to_end: CancellationToken,
    seen: status::Seen,
    /// How rules fared when it was last written down, by key.
    kept: Mutex<HashMap<String, Facts>>,
}

/// Starts a node on its first slice. It is ready when this returns.
///
/// # Errors
/// When its directory, keys, certificate or an address cannot be used; nothing of it then runs on.
pub async fn start(
    config: Config,
    slice: Slice,
    clock: Clock,
    tasks: &Tasks,
) -> Result<Running, Error> {
    start_on(Arc::new(Real), config, slice, clock, tasks).await
}

/// [`start`] on another disk than the machine's.
///
/// # Errors
/// As those of [`start`].
pub async fn start_on(
    files: Arc<dyn Files>,
    config: Config,
    slice: Slice,
    clock: Clock,
    tasks: &Tasks,
) -> Result<Running, Error> {
    let joined = Joined {
        contact: Contact::alone(clock.clone()),
        membership: None,
        mint: None,
        warned: Vec::new(),
        files,
    };
    start_joined(config, joined, slice, clock, tasks).await
}

/// [`start`] for a node that has a control plane.
///
/// # Errors
/// As those of [`start`].
pub async fn start_joined(
    config: Config,
    joined: Joined,
    slice: Slice,
    clock: Clock,
    tasks: &Tasks,
) -> Result<Running, Error> {
    let tasks = tasks.child(config.name.as_str());
    let started = build::build(config, joined, slice, clock, &tasks).await;
    if started.is_err() {
        tasks.drain(LAST_TASKS).await;
    }
    started
}
