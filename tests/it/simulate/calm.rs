//! After the storm: everything works again by itself, nothing is left over, and what was promised is there (I1-I9).

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use runtime::Clock;
use tests::canary;
use tests::canary::files_below;
use tests::{Image, When};
use tokio::task::JoinHandle;

use super::events;
use super::plan::{Name, Place, REPOSITORIES, SITES, TAGS, What, places};
use super::pull::Puller;
use super::storm::{Storm, image, tag_of};
use super::world::World;

/// By the clock of the machine, on which everything else is tested too. The spec's 5 s are simulated time.
const SOON: Duration = Duration::from_secs(12);
/// After so long no scratch file is anybody's.
const SWEPT: Duration = Duration::from_secs(900);
const SWEPT_AFTER_MS: i64 = 600_000;
const LOOK: Duration = Duration::from_millis(10);

/// Everything that is asked of a mesh at rest.
pub(super) async fn judge(world: &mut World, mut storm: Storm) {
    containment(world);
    ended(world, std::mem::take(&mut storm.clients)).await;
    let acknowledged = storm.acknowledged().await;
    world.truth.log("alive");
    alive(world).await;
    if quiet(world).await {
        events::judge(world).await;
    }
    for place in places() {
        world.verify(place, "at rest").await;
    }
    world.truth.log("economy");
    economy(world).await;
    // What a disk refused to discard goes with the next sweep.
    world.leap(SWEPT);
    tidy(world).await;
    world.truth.log("restraint");
    restraint(world).await;
    world.truth.log("island");
    island(world, &acknowledged).await;
    containment(world);
}

/// Nobody waits for ever.
async fn ended(world: &World, clients: Vec<JoinHandle<()>>) {
    let count = clients.len();
    let all = Clock::system().timeout(SOON, join_all(clients)).await;
    match all {
        Ok(results) => assert!(results.iter().all(Result::is_ok), "a client panicked"),
        Err(_) => world
            .truth
            .broken("I9", format!("some of {count} clients still wait")),
    }
}

fn names() -> impl Iterator<Item = Name> {
    let of = |repository| TAGS.iter().map(move |tag| (repository, *tag));
    REPOSITORIES.into_iter().flat_map(of)
}

/// I9: every tag at every site, fresh and whole, as the origin has it now.
async fn alive(world: &World) {
    let sites = places().map(|place| async move {
        for name in names() {
            let works = soon(async || is_current(world, place, name).await).await;
            if !works {
                let (site, status) = (SITES[place], world.running(place).status());
                world
                    .truth
                    .broken("I9", format!("{site} {name:?} is not current: {status:#?}"));
            }
        }
    });
    join_all(sites).await;
}

async fn is_current(world: &World, place: Place, name: Name) -> bool {
    let spot = world.spot(place).expect("everybody was started");
    let puller = Puller::new(&world.truth, spot);
    let repository = format!("up/{}", name.0);
    let head = puller.tag(&repository, name).await;
    let current = head.filter(|digest| *digest == world.truth.current(name).digest);
    match current {
        Some(digest) => puller.rest(&repository, &digest, "amd64").await,
        None => false,
    }
}

/// Whether `holds` does within [`SOON`].
async fn soon(mut holds: impl AsyncFnMut() -> bool) -> bool {
    let clock = Clock::system();
    let end = clock.now() + SOON;
    while clock.now() < end {
        if holds().await {
            return true;
        }
        clock.sleep(LOOK).await;
    }
    false
}

/// I8: no fill, no copy, no undelivered event, no partial file.
async fn quiet(world: &World) -> bool {
    let mut all = true;
    for place in places() {
        let (site, mut left) = (SITES[place], String::new());
        let is_quiet = soon(async || {
            left = leftovers(world, place).await;
            left.is_empty()
        });
        if !is_quiet.await {
            world
                .truth
                .broken("I8", format!("{site} does not come to rest: {left}"));
            all = false;
        }
    }
    all
}

async fn leftovers(world: &World, place: Place) -> String {
    let running = world.running(place);
    let metadata = running.store().metadata();
    let mut left = Vec::new();
    let jobs = metadata.jobs(10).await.unwrap();
    if !jobs.is_empty() {
        left.push(format!("copies: {jobs:?}"));
    }
    let events = metadata.pending_counts().await.unwrap();
    if events.iter().any(|(_, count)| *count > 0) {
        let head = metadata.pending_events(&events[0].0, 1).await.unwrap();
        let due: Vec<_> = head.iter().map(|(_, delivery)| delivery).collect();
        let now = world.sites[place].clock.wall_ms();
        left.push(format!("events: {events:?}, first {due:?}, now {now}"));
    }
    let gauge = "regmesh_fills_in_flight 0";
    if !running.metrics().lines().any(|line| line == gauge) {
        left.push("fills in flight".to_owned());
    }
    let files = staged(world, place, "fill");
    if !files.is_empty() {
        left.push(format!("files: {files:?}"));
    }
    if let Some(degraded) = running.store().degraded() {
        left.push(format!("degraded: {degraded}"));
    }
    left.join("; ")
}

fn staged(world: &World, place: Place, kind: &str) -> Vec<PathBuf> {
    files_below(&world.sites[place].data.join("stage").join(kind))
}

/// I8: no temporary file at all. Files carry the machine's own time, so that a node whose clock is behind that cannot tell.
async fn tidy(world: &World) {
    quiet(world).await;
    let sees = |place: &Place| world.steady_ms(*place) > Clock::system().wall_ms() + SWEPT_AFTER_MS;
    for place in places().filter(sees) {
        let is_tidy = soon(async || staged(world, place, "scratch").is_empty());
        if !is_tidy.await {
            let files = staged(world, place, "scratch");
            world
                .truth
                .broken("I8", format!("{}: {files:?}", SITES[place]));
        }
    }
}

/// I7: whoever asks, one transfer of each blob.
async fn economy(world: &World) {
    let name = (REPOSITORIES[0], "economy");
    let image = image(world.plan.seed + 3_000_000_000);
    world.truth.knows(&image);
    world.truth.moved(name, &image.digest);
    world.origin.put(name.0, name.1, &image);
    world.origin.record().clear();
    let places = [1, 2, 2, 3, 3, 3];
    let pulls = places.map(|place| {
        let puller = Puller::new(&world.truth, world.spot(place).expect("it runs"));
        async move { puller.run(name, What::Whole("amd64")).await }
    });
    let whole = join_all(pulls).await;
    if !whole.iter().all(|whole| *whole) {
        world
            .truth
            .broken("I9", format!("cold pulls in calm weather: {whole:?}"));
    }
    let gets = world.origin.blob_gets(&image.blobs_of("amd64"));
    if gets.iter().any(|gets| *gets != 1) {
        world
            .truth
            .broken("I7", format!("transfers of each blob: {gets:?}"));
    }
}

/// I7: one request of a client is never more than three at an origin that fails.
async fn restraint(world: &World) {
    world.origin.fail(When::any(), 503);
    world.origin.record().clear();
    let client = world.spot(3).expect("it runs").client;
    let reply = client.get_manifest("up/team/app", "never-there").await;
    let asked = world.origin.record().len();
    if asked > 3 || reply.as_ref().is_ok_and(|reply| reply.status != 503) {
        world
            .truth
            .broken("I7", format!("{asked} requests for one, and {reply:?}"));
    }
    world.origin.heal();
}

/// I3: with everybody cut off from everybody, what was complete is served whole, and what was pushed too.
async fn island(world: &World, pushed: &[Image]) {
    for site in &world.sites {
        site.way.refuse().await;
    }
    for place in places() {
        let puller = Puller::new(&world.truth, world.spot(place).expect("it runs"));
        for name in names() {
            if !puller.run(name, What::Whole("amd64")).await {
                let site = SITES[place];
                world
                    .truth
                    .broken("I3", format!("{site} {name:?} is not whole on an island"));
            }
        }
    }
    let hub = world.spot(0).expect("it runs").client;
    for image in pushed {
        let pulled = hub.pull("own/app", tag_of(image), "amd64").await;
        if let Err(error) = pulled {
            world.truth.broken(
                "I2",
                format!("{} was acknowledged: {error:#}", image.digest),
            );
        }
    }
}

/// I6: the hub is anonymous at the origin, and nobody's secret is for the origin at all.
fn containment(world: &World) {
    let shown = world.origin.record().text();
    let is_shown = |needle: &str| shown.contains(needle);
    if is_shown(canary::MARK) || is_shown("authorization:") {
        world
            .truth
            .broken("I6", format!("a secret at the origin: {shown}"));
    }
}
