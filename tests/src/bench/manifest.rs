//! Manifest GET and HEAD by tag, stored, `check: never`: the hottest path of a registry.

use anyhow::Result;

use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::load::{self, CONNECTIONS, Load};
use crate::bench::sample::{
    Compared, NGINX, REGISTRY, REGISTRY_PROXY, REGMESH, REGMESH_LOGGING, in_turns,
};
use crate::bench::stored::manifest_path;
use crate::bench::world::World;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let (stored, path, seconds) = (world.small().await?, manifest_path(), world.seconds());
    let servers = stored.servers();
    let get = in_turns(world.runs(), &servers, async |server| {
        load::get(
            server.meter,
            &format!("{}{path}", server.url),
            CONNECTIONS,
            seconds,
        )
        .await
    });
    let get = get.await?;
    let mut figures = compared("manifest GET", &get, true);
    if crate::peer::available(&["ab"]) {
        let head = in_turns(world.runs(), &servers, async |server| {
            load::head(server.meter, &format!("{}{path}", server.url), seconds).await
        });
        figures.extend(compared("manifest HEAD (ab)", &head.await?, false));
    }
    Ok(figures)
}

/// Requests a second, CPU and p99 beside nginx; requests a second beside the others. `times`: the generator's times are fine enough.
pub(super) fn compared(what: &str, loads: &Compared<Load>, times: bool) -> Vec<Figure> {
    let rate = |load: &Load| load.rate;
    let beside = |name: &'static str| {
        Figure::new(format!("{what}, requests/s"), Unit::PerSecond)
            .ours(loads.of(REGMESH, rate))
            .peer(name, loads.of(name, rate))
    };
    let mut figures = vec![
        beside(NGINX).goal(Goal::RatioAtLeast(0.6)),
        Figure::new(format!("{what}, CPU per request"), Unit::Seconds)
            .ours(loads.of(REGMESH, |load| load.cpu))
            .peer(NGINX, loads.of(NGINX, |load| load.cpu))
            .goal(Goal::RatioAtMost(2.0)),
    ];
    if times {
        figures.push(
            Figure::new(format!("{what}, p99"), Unit::Seconds)
                .ours(loads.of(REGMESH, |load| load.p99))
                .peer(NGINX, loads.of(NGINX, |load| load.p99))
                .goal(Goal::RatioAtMost(2.0))
                .note(format!("{CONNECTIONS} connections")),
        );
    }
    figures.push(
        Figure::new(
            format!("{what}, requests/s, with a log line each"),
            Unit::PerSecond,
        )
        .ours(loads.of(REGMESH_LOGGING, rate))
        .peer(NGINX, loads.of(NGINX, rate))
        .note("--log info into a file; nginx without a log"),
    );
    figures.push(beside(REGISTRY).goal(Goal::RatioAtLeast(1.0)));
    figures.push(beside(REGISTRY_PROXY).note("asks its upstream each time"));
    figures
}
