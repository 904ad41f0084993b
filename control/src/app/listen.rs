//! The three listeners: API, node service, operational.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use runtime::{Clock, listener, metric::Registry, operational::Operational, tls};
use wire::api::mesh::{Health, MeshStatus};

use super::{Error, Owners};
use crate::{
    ca::{Ca, Signer},
    config::Config,
    grpc,
    http::{self, Api},
    status,
};

/// Where it listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) api: SocketAddr,
    pub(super) node_service: SocketAddr,
    pub(super) operational: SocketAddr,
}

/// Opens the node service's socket.
pub(super) async fn node_service(
    config: &Config,
    ca: &Arc<Ca>,
    signer: &Signer,
    clock: &Clock,
) -> Result<listener::Bound, Error> {
    let address = config.node_service;
    let bound = grpc::bind(address, ca, signer, clock).await;
    bound.map_err(|source| Error::Listen { address, source })
}

/// What join tokens say: a socket on every interface is reached on this machine, unless somebody says more.
pub(super) fn advertised(config: &Config, bound: SocketAddr) -> String {
    if let Some(advertised) = &config.advertise {
        return advertised.clone();
    }
    if bound.ip().is_unspecified() {
        tracing::warn!(
            "the node service listens on every interface and join tokens name 127.0.0.1: say --advertise HOST:PORT for nodes elsewhere"
        );
        return SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), bound.port()).to_string();
    }
    bound.to_string()
}

/// Opens API and operational listener and serves them.
pub(super) async fn open(
    config: &Config,
    tasks: &Owners,
    api: Arc<Api>,
    operational: Operational,
    clock: &Clock,
) -> Result<Addresses, Error> {
    let tls = config.tls.as_ref();
    let tls = tls.map(|(cert, key)| tls::Config::new(cert, key).build(&tasks.rest, clock));
    let rim = listener::Config {
        tls: tls.transpose()?,
        clock: clock.clone(),
        ..listener::Config::new(config.api)
    };
    let rim = bind(rim).await?;
    let pages = listener::Config {
        clock: clock.clone(),
        ..listener::Config::new(config.operational)
    };
    let pages = bind(pages).await?;
    let addresses = Addresses {
        api: rim.local_addr(),
        node_service: config.node_service,
        operational: pages.local_addr(),
    };
    rim.serve(http::router(api), &tasks.api);
    // It outlives the API, so that a draining control plane can be watched.
    pages.serve(operational.router(), &tasks.rest.child("operational"));
    Ok(addresses)
}

/// Where the API is reached on this machine.
pub(super) fn url(config: &Config, mut bound: SocketAddr) -> String {
    if bound.ip().is_unspecified() {
        bound.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{bound}")
}

async fn bind(config: listener::Config) -> Result<listener::Bound, Error> {
    let address = config.addr;
    let bound = listener::bind(config).await;
    bound.map_err(|source| Error::Listen { address, source })
}

/// The operational pages: no check asks a node, and a store that takes no writes is shown, for reads go on.
pub(super) fn operational(
    api: &Arc<Api>,
    registry: Registry,
    draining: &Arc<AtomicBool>,
) -> Operational {
    let of = || Arc::clone(api);
    let (metrics, report, stored, ahead) = (of(), of(), of(), of());
    registry.before_gather(move || gauges(&metrics));
    let draining = Arc::clone(draining);
    Operational::new(registry, move || {
        serde_json::to_value(look(&report)).unwrap_or_default()
    })
    .fatal("not-draining", move || {
        match draining.load(Ordering::SeqCst) {
            true => Err("the control plane is going down".to_owned()),
            false => Ok(()),
        }
    })
    .shown("store", move || {
        stored.alarms.about("store").map_or(Ok(()), Err)
    })
    .shown("nodes", move || {
        let away = look(&ahead)
            .nodes
            .into_iter()
            .filter(|node| node.health != Health::Healthy);
        match away.count() {
            0 => Ok(()),
            n => Err(format!(
                "{n} nodes are not healthy; `regmesh status` says which and why"
            )),
        }
    })
}

fn look(api: &Api) -> MeshStatus {
    status::status(
        &api.publisher.current(),
        &api.nodes.seen(),
        &api.alarms.raised(),
    )
}

fn gauges(api: &Api) {
    let (metrics, status) = (&api.metrics, look(api));
    let count = |wanted: &dyn Fn(Health) -> bool| {
        status
            .nodes
            .iter()
            .filter(|node| wanted(node.health))
            .count() as f64
    };
    let published = api.publisher.current();
    metrics.build_info.set([env!("CARGO_PKG_VERSION")], 1.0);
    metrics.generation.set([], status.generation.0 as f64);
    metrics
        .applied
        .set([], published.published.at.0 as f64 / 1_000.0);
    metrics.nodes.set([], status.nodes.len() as f64);
    metrics.connected.set(
        [],
        count(&|h| !matches!(h, Health::Absent | Health::Disconnected)),
    );
    metrics.refused.set([], count(&|h| h == Health::Refused));
    metrics.alarms.set([], status.alarms.len() as f64);
}
