//! Names the components of a node in order: each gets what stands above it. A node is bound only when it can serve.

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use identity::{authenticate, keys::jwks, secret::Secrets, sign, token_source::azure};
use runtime::{clock::Clock, file::Files, metric::Registry as Families, tasks::Tasks};
use tokio_util::sync::CancellationToken;

use super::{
    Config, Error, Joined, Running, Shared, Slice, heal, listen, observe, offer, reconnect, status,
    tokens,
};
use crate::{
    event::{Recorder, deliver::Deliveries},
    fill,
    http::{self, Http, Places, View},
    metric::Metrics,
    registry,
    rule::{Rules, recalls::Recalls},
    session::Sessions,
    settings::Settings,
    store::{self, Store},
    upstream::pool,
};

pub(super) async fn build(
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
    let around = jwks::Around {
        clock: clock.clone(),
        tasks: tasks.clone(),
        disk: Some((Arc::clone(&files), path.join("issuers"))),
    };
    let (machine, secrets) = secrets(&clock, tasks)?;
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
    let certified = joined.membership.is_some();
    let upstreams = observe::upstreams(&settings).build(pool::Parts {
        node: config.name.clone(),
        membership: joined.membership.clone(),
        mint: joined.mint,
        machine,
        secrets: secrets.clone(),
        clock: clock.clone(),
        tasks: tasks.clone(),
        observer: observe::counted(&metrics, &rates),
    });
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
        issuers: ArcSwap::default(),
        around,
        upstreams,
        secrets,
        fills,
        copies,
        metrics,
        families,
        settings,
        tasks: tasks.clone(),
        draining,
        contact: joined.contact,
        membership: joined.membership,
        warned: joined.warned,
        started: offer::Started {
            own: own.clone(),
            listen: config.listen.is_some(),
            admin: config.admin.is_some(),
            certified,
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
    reconnect::start(&shared);
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

/// What this process can read: its environment, files, and vaults by the Azure identities that its platform gives it.
fn secrets(clock: &Clock, tasks: &Tasks) -> Result<(azure::Machine, Secrets), Error> {
    let secrets = Secrets::of_process();
    let environment = azure::Environment::read(|name| secrets.variable(name));
    let machine = azure::Machine::new(environment, azure::ATTEMPT, clock.clone());
    let machine = machine.map_err(Error::Egress)?;
    Ok((machine.clone(), secrets.with_vaults(machine, tasks)))
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
