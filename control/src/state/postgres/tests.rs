//! The suite on PostgreSQL, several control planes over one database, and what a broken one comes to.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;
use wire::api::resource::{Apply, File, Kind};

use super::{server::Server, *};
use crate::{
    publish::{self, Publisher},
    state::{Desired, conformance},
};

const NOW: i64 = 1_800_000_000_000;

struct Bench {
    server: Server,
    clock: Clock,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// The clock stands still: what arrives was notified, not looked for.
    async fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        Some(Self {
            server: Server::start(dir.path()).await?,
            clock: Clock::manual(NOW),
            tasks: Tasks::new("test"),
            _dir: dir,
        })
    }

    async fn connect(&self, url: &str) -> Arc<Postgres> {
        let connected = Postgres::connect(url, self.clock.clone(), &self.tasks).await;
        Arc::new(connected.unwrap())
    }

    async fn control(&self, url: &str) -> Publisher {
        let state = self.connect(url).await;
        Publisher::build(state, self.clock.clone(), &self.tasks)
            .await
            .unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

fn publish(after: u64, document: &str) -> Publish {
    Publish {
        after: Generation(after),
        generation: Generation(after + 1),
        at: WallTime(NOW),
        by: "me".to_owned(),
        desired: Desired {
            document: document.to_owned(),
            ..Desired::default()
        },
        audit: Vec::new(),
    }
}

fn mesh() -> Apply {
    Apply {
        files: vec![File {
            name: "mesh.yaml".to_owned(),
            text: "mesh: m\nnodes: {hub: {endpoint: 'https://hub.example'}}\n".to_owned(),
        }],
        dry_run: false,
        prune: false,
    }
}

/// News of generation `number`, within real time enough for a slow machine.
async fn hear(state: &Postgres, number: u64) {
    let mut news = state.news();
    let heard = news.wait_for(|news| news.generation == Generation(number));
    let heard = Clock::system()
        .timeout(Duration::from_secs(30), heard)
        .await;
    heard.expect("heard in time").unwrap();
}

#[tokio::test]
async fn postgres_keeps_the_promises() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let make = async |clock: Clock| {
        let url = bench.server.database().await;
        let state = Postgres::connect(&url, clock, &bench.tasks).await;
        Arc::new(state.unwrap()) as Arc<dyn State>
    };
    conformance::run(&make).await;
}

#[tokio::test]
async fn control_planes_hear_of_each_other() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let url = bench.server.database().await;
    let (one, two) = (bench.connect(&url).await, bench.connect(&url).await);
    one.publish(publish(0, "one")).await.unwrap();
    hear(&two, 1).await;
    assert_eq!(two.newest().await.unwrap().unwrap().desired.document, "one");

    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    bench.server.sql("postgres", end).await;
    one.publish(publish(1, "two")).await.unwrap();
    hear(&two, 2).await;

    let silent = "UPDATE counters SET value = 7 WHERE name = 'generation'";
    bench.server.sql("d0", silent).await;
    let mut news = two.news();
    let heard = async {
        while news.borrow_and_update().generation != Generation(7) {
            bench.clock.advance(follow::LOOK);
            Clock::system().sleep(Duration::from_millis(5)).await;
        }
    };
    let heard = Clock::system()
        .timeout(Duration::from_secs(30), heard)
        .await;
    heard.expect("looked for without a notification");
}

#[tokio::test]
async fn two_control_planes_over_one_database_lose_no_change() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let url = bench.server.database().await;
    let one = bench.control(&url).await;
    one.apply(&mesh(), "me", None).await.unwrap();
    let two = bench.control(&url).await;
    let writes = (0..12).map(|n| {
        let publisher = if n % 2 == 0 { &one } else { &two };
        async move {
            let spec =
                json!({"on": "hub", "source": format!("quay.io/r{n}"), "target": format!("r{n}")});
            publisher
                .put(Kind::Rules, &format!("r{n}"), spec, "me", None)
                .await
        }
    });
    let results = join_all(writes).await;
    let mut numbers: Vec<u64> = results
        .into_iter()
        .map(|r| r.unwrap().generation.0)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=13).collect::<Vec<_>>());
    for publisher in [&one, &two] {
        let mut watched = publisher.watch();
        let newest = watched.wait_for(|generation| *generation == Generation(13));
        let newest = Clock::system()
            .timeout(Duration::from_secs(30), newest)
            .await;
        newest.expect("followed").unwrap();
        assert_eq!(publisher.resources(Kind::Rules).items.len(), 12);
    }
}

#[tokio::test]
async fn a_killed_database_is_told_and_comes_back_with_everything() {
    let Some(mut bench) = Bench::new().await else {
        return;
    };
    let url = bench.server.database().await;
    let state = bench.connect(&url).await;
    conformance::fill(state.as_ref()).await;
    let before = conformance::snapshot(state.as_ref()).await;
    bench.server.kill();
    let away = state.newest().await;
    assert!(matches!(away, Err(Error::Unavailable(_))), "{away:?}");
    let away = state.publish(publish(1, "lost")).await;
    assert!(matches!(away, Err(Error::Unavailable(_))), "{away:?}");
    assert_eq!(state.news().borrow().generation, Generation(1));
    bench.server.run().await;
    assert_eq!(
        conformance::snapshot(state.as_ref()).await,
        before,
        "nothing lost, nothing half-written"
    );
    state.publish(publish(1, "again")).await.unwrap();
    let other = bench.connect(&url).await;
    assert_eq!(
        other.newest().await.unwrap().unwrap().desired.document,
        "again"
    );
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_told_and_nothing_is_half_written() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let url = bench.server.database().await;
    let publisher = bench.control(&url).await;
    publisher.apply(&mesh(), "me", None).await.unwrap();
    let slice = publisher.slice(&"hub".parse().unwrap());
    let read_only = "ALTER DATABASE d0 SET default_transaction_read_only = on";
    bench.server.sql("postgres", read_only).await;
    let later = bench.connect(&url).await;
    let before = conformance::snapshot(later.as_ref()).await;
    let refused = later.publish(publish(1, "no")).await;
    assert!(
        matches!(&refused, Err(Error::Unavailable(text)) if text.contains("cannot be written")),
        "{refused:?}"
    );
    let recalled = later.record(vec![]).await;
    assert_eq!(recalled, Ok(()), "nothing to write is no failure");
    assert_eq!(conformance::snapshot(later.as_ref()).await, before);
    let state = Arc::clone(&later) as Arc<dyn State>;
    let over = Publisher::build(state, bench.clock.clone(), &bench.tasks)
        .await
        .unwrap();
    let digest = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
    let refused = over.recall(digest, "bad", "me").await;
    assert!(
        matches!(refused, Err(publish::Error::State(Error::Unavailable(_)))),
        "{refused:?}"
    );
    assert_eq!(
        over.slice(&"hub".parse().unwrap()),
        slice,
        "what is in force stays so"
    );
}

#[tokio::test]
async fn a_newer_or_damaged_database_is_refused() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let url = bench.server.database().await;
    let state = bench.connect(&url).await;
    state.publish(publish(0, "mesh: m\n")).await.unwrap();
    let cut = "UPDATE generations SET published = substr(published, 1, length(published) - 3)";
    bench.server.sql("d0", cut).await;
    assert!(matches!(state.newest().await, Err(Error::Damaged(_))));

    bench
        .server
        .sql("d0", "INSERT INTO schema_version VALUES (99)")
        .await;
    let refused = Postgres::connect(&url, bench.clock.clone(), &bench.tasks).await;
    let Err(Error::Unavailable(text)) = refused else {
        panic!("opened: {refused:?}");
    };
    assert!(
        text.contains("version 99") && text.contains("newer release"),
        "{text}"
    );
    assert_eq!(state.news().borrow().generation, Generation(1), "untouched");
    let nowhere = "postgres://postgres@localhost:1/x?host=/nonexistent";
    let away = Postgres::connect(nowhere, bench.clock.clone(), &bench.tasks).await;
    assert!(matches!(away, Err(Error::Unavailable(_))), "{away:?}");
}
