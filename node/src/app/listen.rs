//! The two listeners: the registry's, and the operational one. Bound last, when everything behind them is there.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use runtime::{listener, operational::Operational, tasks::Tasks, tls};
use tokio::net::lookup_host;
use topology::model::Node;

use super::{Config, Error, Shared, status};
use crate::{
    http::{self, Http},
    membership::Membership,
};

/// Which defaults hold where neither flags nor topology say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defaults {
    /// Of `regmesh up`: the endpoint's host and port, and any free port on loopback.
    Up,
    /// Of `regmesh node`: `0.0.0.0:5000` and `127.0.0.1:5080`.
    Node,
}

pub(super) async fn open(
    config: &Config,
    own: &Node,
    rim: Arc<Http>,
    shared: &Arc<Shared>,
    tasks: &Tasks,
) -> Result<(SocketAddr, SocketAddr), Error> {
    let address = match (config.listen.or(own.listen), config.defaults) {
        (Some(address), _) => address,
        (None, Defaults::Up) => endpoint(own).await,
        (None, Defaults::Node) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5000)),
    };
    let admin = config.admin.or(own.admin).unwrap_or(match config.defaults {
        Defaults::Up => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        Defaults::Node => SocketAddr::from((Ipv4Addr::LOCALHOST, 5080)),
    });
    let registry = listener::bind(registry(shared, own, address, tasks)?)
        .await
        .map_err(|source| Error::Listen { address, source })?;
    let pages = listener::Config {
        clock: shared.clock.clone(),
        ..listener::Config::new(admin)
    };
    let pages = listener::bind(pages)
        .await
        .map_err(|source| Error::Listen {
            address: admin,
            source,
        })?;
    let addresses = (registry.local_addr(), pages.local_addr());
    registry.serve(http::router(rim), &tasks.child("registry"));
    // The operational listener outlives the registry's, so that a draining node can be watched.
    pages.serve(
        operational(shared).router(),
        &shared.tasks.child("operational"),
    );
    Ok(addresses)
}

fn registry(
    shared: &Shared,
    own: &Node,
    address: SocketAddr,
    tasks: &Tasks,
) -> Result<listener::Config, Error> {
    let settings = &shared.settings;
    Ok(listener::Config {
        tls: tls(shared, own, tasks)?,
        max_connections: settings.max_connections,
        max_per_address: settings.max_per_address,
        first_byte_deadline: settings.accept_to_first_byte,
        header_timeout: settings.header,
        keep_alive: settings.keep_alive,
        write_stall: settings.write_stall,
        clock: shared.clock.clone(),
        ..listener::Config::new(address)
    })
}

/// The files that are declared, else the certificate of the mesh; either way mesh peers may show theirs.
fn tls(shared: &Shared, own: &Node, tasks: &Tasks) -> Result<Option<tls::Server>, Error> {
    let membership = shared.membership.as_ref();
    let Some(files) = &own.tls else {
        let certified = membership.filter(|_| own.endpoint.secure);
        return Ok(certified.map(Membership::server));
    };
    let config = tls::Config {
        trust: membership.map(Membership::trust),
        ..tls::Config::new(&files.cert, &files.key)
    };
    let server = config.build(tasks, &shared.clock);
    server.map(Some).map_err(Error::Tls)
}

/// The endpoint's own host and port; every interface where its name does not resolve here (behind a load balancer).
async fn endpoint(own: &Node) -> SocketAddr {
    let host = own
        .endpoint
        .host
        .trim_start_matches('[')
        .trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        return SocketAddr::from((address, own.endpoint.port));
    }
    let found = lookup_host((host, own.endpoint.port))
        .await
        .ok()
        .and_then(|mut found| found.next());
    found.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, own.endpoint.port)))
}

fn operational(shared: &Arc<Shared>) -> Operational {
    let of = || Arc::clone(shared);
    let (report, sliced, draining, stored, asked, control) = (of(), of(), of(), of(), of(), of());
    Operational::new(shared.families.clone(), move || {
        serde_json::to_value(status::status(&report)).unwrap_or_default()
    })
    .fatal("slice", move || {
        sliced.view.load().is_some().then_some(()).ok_or_else(|| {
            let closed = sliced.closed.get().cloned();
            closed.unwrap_or_else(|| "no slice was applied yet".to_owned())
        })
    })
    .fatal("not-draining", move || {
        (!draining.draining.is_cancelled())
            .then_some(())
            .ok_or_else(|| "the node is going down".to_owned())
    })
    .shown("store", move || stored.store.degraded().map_or(Ok(()), Err))
    .shown("upstreams", move || status::unwell(&asked))
    .shown("control", move || match control.contact.away_for() {
        None => Ok(()),
        Some(away) => Err(format!(
            "the control plane has been away for {} s",
            away.as_secs()
        )),
    })
}
