//! The composition root: names the components of a node in order, and starts, changes and ends them.
//!
//! Wiring by topic is in `app/`: `slice` turns a slice into rules, access and webhooks and swaps them together, `listen` opens
//! the two listeners, `status` gathers what `/status` and `/metrics` show, `tokens` keeps refresh tokens in the store. A node is
//! bound only when it can serve, and ends in the order: not ready, stop accepting, finish, cut the rest.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use identity::{authenticate, secret::Secrets, sign};
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
    fill::{self, Fills},
    http::{self, Http, Places, View},
    metric::Metrics,
    registry,
    rule::{Rules, recalls::Recalls, status::Facts},
    session::Sessions,
    settings::Settings,
    store::{self, Store},
    upstream::pool::Pool,
};

mod ask;
pub mod contact;
mod examine;
mod heal;
mod listen;
mod observe;
mod offer;
mod recall;
mod report;
mod slice;
mod status;
mod tokens;

pub use contact::Contact;
pub use listen::Defaults;
pub use slice::Slice;

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
    upstreams: Pool,
    fills: Fills,
    copies: Copies,
    metrics: Metrics,
    families: Families,
    settings: Settings,
    clock: Clock,
    tasks: Tasks,
    draining: CancellationToken,
    contact: Contact,
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
    let started = build(config, joined, slice, clock, &tasks).await;
    if started.is_err() {
        tasks.drain(LAST_TASKS).await;
    }
    started
}

async fn build(
    config: Config,
    joined: Joined,
    slice: Slice,
    clock: Clock,
    tasks: &Tasks,
) -> Result<Running, Error> {
    let own = slice
        .own()
        .ok_or_else(|| Error::NoSuchNode(config.name.clone()))?
        .clone();
    if offer::unsupported(&own).is_some() {
        return Err(Error::Unsupported(offer::LOCAL_ONLY));
    }
    let path = own
        .storage
        .path
        .clone()
        .unwrap_or_else(|| config.data_dir.clone());
    let files = Arc::clone(&joined.files);
    let (families, settings) = (Families::new(), config.settings.clone());
    let metrics = Metrics::new(&families);
    let store = open_store(
        &own.storage,
        &path,
        &settings,
        Arc::clone(&files),
        &clock,
        tasks,
    )
    .await?;
    let keys =
        sign::Keys::open(files.as_ref(), &path.join("token-keys.json")).map_err(Error::Keys)?;
    let secrets = Secrets::of_process();
    let sessions = Sessions::build(Arc::clone(store.metadata()), &clock, tasks);
    let authenticate = authenticate::Config {
        keys: Arc::new(keys),
        refresh: sessions,
    }
    .build(tokens::resolve(&secrets), &clock, tasks)
    .map_err(Error::Authenticate)?;
    let recorder = Recorder::new(
        slice.topology.mesh.clone(),
        config.name.clone(),
        clock.clone(),
    );
    let rules: Arc<ArcSwap<Rules>> = Arc::default();
    let recalls = Recalls::default();
    let fills = fill::Config {
        recalls: recalls.clone(),
        ..observe::fills(&settings, &metrics)
    };
    let fills = fills.build(store.clone(), clock.clone(), tasks);
    let copies = observe::copies(&settings, &metrics).build(
        store.clone(),
        fills.clone(),
        Arc::clone(&rules),
        recorder.clone(),
        clock.clone(),
        tasks,
    );
    let verbs = registry::Config {
        mesh: slice.topology.mesh.clone(),
        node: config.name.clone(),
        negative: settings.negative,
        recalls: recalls.clone(),
    };
    let verbs = verbs.build(
        store.clone(),
        fills.clone(),
        copies.clone(),
        Arc::clone(&rules),
        recorder.clone(),
        clock.clone(),
        tasks,
    );
    let deliveries = Deliveries::new(
        store.clone(),
        recorder.clone(),
        clock.clone(),
        metrics.clone(),
        secrets.clone(),
        tasks,
    );
    let rates = Arc::default();
    let upstreams = observe::upstreams(
        &settings,
        &metrics,
        &rates,
        &config.name,
        &secrets,
        &clock,
        tasks,
    );
    let draining = CancellationToken::new();
    let view: Arc<ArcSwapOption<View>> = Arc::default();
    let rim = Arc::new(Http {
        node: config.name.clone(),
        registry: verbs.clone(),
        store: store.clone(),
        view: Arc::clone(&view),
        draining: draining.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        settings: http::Settings {
            upload_silence: settings.upload_silence,
            traced: settings.traced,
        },
        places: Places::new(settings.max_in_flight, settings.max_uploads),
    });
    let shared = Arc::new(Shared {
        name: config.name.clone(),
        store,
        rules,
        recalls,
        view,
        slice: ArcSwap::from_pointee(slice.clone()),
        applying: tokio::sync::Mutex::default(),
        recorder,
        deliveries,
        registry: verbs,
        rates,
        authenticate,
        upstreams,
        fills,
        copies,
        metrics,
        families,
        settings,
        tasks: tasks.clone(),
        draining,
        contact: joined.contact,
        warned: joined.warned,
        started: offer::Started {
            own: own.clone(),
            listen: config.listen.is_some(),
            admin: config.admin.is_some(),
            defaults: config.defaults,
        },
        closed: OnceLock::new(),
        started_at_ms: clock.wall_ms(),
        asked_to_end: CancellationToken::new(),
        seen: status::Seen::default(),
        kept: Mutex::default(),
        clock,
    });
    shared.apply(slice).await;
    status::start(&shared);
    heal::start(&shared);
    let listeners = tasks.child("listeners");
    let (address, admin) = listen::open(&config, &own, rim, &shared, &listeners).await?;
    Ok(Running {
        shared,
        address,
        admin,
        listeners,
    })
}

async fn open_store(
    storage: &topology::model::node::Storage,
    path: &Path,
    settings: &Settings,
    files: Arc<dyn Files>,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<Store, Error> {
    let config = store::Config {
        max_size: storage.max_size,
        memory_cache_bytes: settings.memory_cache,
        scrub: storage.scrub,
        gc: storage.gc,
        grace: settings.gc_grace,
        upload_ttl: settings.upload_ttl,
        ..store::Config::new(path)
    };
    let failed = |reason| Error::Store {
        path: path.display().to_string(),
        reason,
    };
    config
        .build(files, clock.clone(), tasks)
        .await
        .map_err(failed)
}

impl Running {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.shared.name
    }

    /// Where clients reach it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.shared
            .slice
            .load()
            .own()
            .map(|own| own.endpoint.to_string())
            .unwrap_or_default()
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of its operational listener.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Puts a newer slice in force; an older one changes nothing. Requests under way keep what they began with.
    pub async fn apply(&self, slice: Slice) {
        self.shared.apply(slice).await;
    }

    /// Serves nothing from now on, and says why: whoever decides about this node has shut it out. What is stored stays; transfers
    /// under way end as they would.
    pub fn close(&self, why: &str) {
        if self.shared.closed.set(why.to_owned()).is_ok() {
            tracing::error!(node = %self.shared.name, why, "this node serves nothing any more");
            self.shared.view.store(None);
            self.shared.rules.store(Arc::default());
        }
    }

    /// The generation in force.
    #[must_use]
    pub fn generation(&self) -> wire::generation::Generation {
        self.shared.slice.load().generation
    }

    /// What `/status` shows.
    #[must_use]
    pub fn status(&self) -> wire::api::status::NodeStatus {
        status::status(&self.shared)
    }

    /// What `/metrics` shows.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.shared.families.gather_text()
    }

    /// Bytes of content stored, as the metadata has it now.
    pub async fn stored_bytes(&self) -> u64 {
        self.shared
            .store
            .metadata()
            .totals()
            .await
            .map(|totals| totals.bytes)
            .unwrap_or_default()
    }

    /// Copy jobs that are not done, as the metadata has it now.
    pub async fn copies_to_do(&self) -> u64 {
        self.shared
            .store
            .metadata()
            .totals()
            .await
            .map(|totals| totals.jobs)
            .unwrap_or(u64::MAX)
    }

    /// Requests that wait for a check under way, their own or one they joined.
    #[must_use]
    pub fn checks_waiting(&self) -> usize {
        self.shared.registry.checks_waiting()
    }

    /// The store, for tests and for what runs in the same process.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Ends it: not ready, no more connections, transfers finish within `timeout`, the rest is cut; unfinished fills stay
    /// resumable.
    pub async fn drain(&self, timeout: Duration) {
        self.shared.draining.cancel();
        self.listeners.drain(timeout).await;
        self.shared.tasks.drain(LAST_TASKS).await;
        self.shared.keep_facts().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.tasks.abort();
    }
}
