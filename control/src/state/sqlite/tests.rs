//! The suite on SQLite, and what a broken database comes to.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use serde_json::json;
use tempfile::TempDir;
use wire::api::resource::{Apply, File};

use super::*;
use crate::{
    publish::{self, Publisher},
    state::{Desired, conformance},
};

const NOW: i64 = 1_800_000_000_000;

async fn open_at(path: &Path) -> Result<Sqlite, Error> {
    Sqlite::open(path, Clock::manual(NOW), &Tasks::new("test")).await
}

async fn fresh() -> (TempDir, PathBuf, Arc<Sqlite>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control/state.db");
    let sqlite = Arc::new(open_at(&path).await.unwrap());
    (dir, path, sqlite)
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
        audit: vec![NewEntry {
            at: WallTime(NOW),
            who: "me".to_owned(),
            action: "apply".to_owned(),
            target: "topology".to_owned(),
            before: None,
            after: Some(json!(document)),
            generation: None,
            refused: None,
        }],
    }
}

fn everything() -> Part {
    Part {
        after: Some(0),
        limit: 1000,
        ..Part::default()
    }
}

#[tokio::test]
async fn sqlite_keeps_the_promises() {
    let dir = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    let make = async |clock: Clock| {
        number.set(number.get() + 1);
        let path = dir.path().join(format!("{}.db", number.get()));
        let sqlite = Sqlite::open(path, clock, &Tasks::new("test")).await;
        Arc::new(sqlite.unwrap()) as Arc<dyn State>
    };
    conformance::run(&make).await;
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let (_dir, path, sqlite) = fresh().await;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "keys are in it");
    conformance::fill(sqlite.as_ref()).await;
    let before = conformance::snapshot(sqlite.as_ref()).await;
    let news = *sqlite.news().borrow();
    drop(sqlite);
    let again = open_at(&path).await.unwrap();
    assert_eq!(conformance::snapshot(&again).await, before);
    assert_eq!(*again.news().borrow(), news);
    let stale = again.publish(publish(0, "first again")).await;
    assert!(matches!(stale, Err(Error::Moved { .. })), "{stale:?}");
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_refused_untouched() {
    let (_dir, path, sqlite) = fresh().await;
    let later = sqlite.write(|c| Ok(c.pragma_update(None, "user_version", 99)?));
    later.await.unwrap();
    drop(sqlite);
    let before = fs::read(&path).unwrap();
    let refused = open_at(&path).await;
    let Err(Error::Unavailable(text)) = refused else {
        panic!("opened: {refused:?}");
    };
    assert!(
        text.contains("version 99") && text.contains("newer release"),
        "{text}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    fs::write(&path, vec![b'x'; 8192]).unwrap();
    assert!(matches!(open_at(&path).await, Err(Error::Damaged(_))));
}

#[tokio::test]
async fn a_damaged_document_is_damage_and_nothing_goes_on_top() {
    let (_dir, path, sqlite) = fresh().await;
    sqlite.publish(publish(0, "mesh: contoso\n")).await.unwrap();
    let spoil = "UPDATE generations SET published = substr(published, 1, length(published) - 5)";
    let spoilt = sqlite.write(move |c| write::execute(c, spoil, []));
    assert_eq!(spoilt.await, Ok(1));
    assert!(matches!(sqlite.newest().await, Err(Error::Damaged(_))));
    let found = sqlite.generation(Generation(1)).await;
    assert!(matches!(found, Err(Error::Damaged(_))));
    drop(sqlite);
    let again: Arc<dyn State> = Arc::new(open_at(&path).await.unwrap());
    let built = Publisher::build(again, Clock::manual(NOW), &Tasks::new("test")).await;
    assert!(
        matches!(built, Err(publish::Error::State(Error::Damaged(_)))),
        "{built:?}"
    );
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_told_and_nothing_is_half_written() {
    let (_dir, path, sqlite) = fresh().await;
    sqlite.publish(publish(0, "one")).await.unwrap();
    let before = conformance::snapshot(sqlite.as_ref()).await;
    let numbers = (0..400_000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    // What does not compress, so that it does not fit into the pages that are left.
    let long: String = numbers.map(|number| format!("{number:x}")).collect();
    let refused = async |sqlite: &Sqlite, why: &str| {
        let refused = sqlite.publish(publish(1, &long)).await;
        assert!(
            matches!(refused, Err(Error::Unavailable(_))),
            "{why}: {refused:?}"
        );
        assert_eq!(conformance::snapshot(sqlite).await, before, "{why}");
        assert_eq!(sqlite.news().borrow().generation, Generation(1));
    };
    pragma(&sqlite, "max_page_count", 40).await;
    refused(&sqlite, "full").await;
    pragma(&sqlite, "max_page_count", 1_000_000).await;
    pragma(&sqlite, "query_only", 1).await;
    refused(&sqlite, "read-only").await;
    drop(sqlite);
    let sqlite = open_at(&path).await.unwrap();
    sqlite.publish(publish(1, &long)).await.unwrap();
    assert_eq!(
        sqlite.newest().await.unwrap().unwrap().desired.document,
        long
    );
    assert_eq!(sqlite.audit(everything()).await.unwrap().len(), 2);
}

async fn pragma(sqlite: &Sqlite, name: &'static str, value: i64) {
    let set = sqlite.write(move |c| Ok(c.pragma_update(None, name, value)?));
    set.await.unwrap();
}

#[tokio::test]
async fn a_publisher_over_a_broken_database_keeps_what_is_in_force() {
    let (_dir, path, sqlite) = fresh().await;
    let tasks = Tasks::new("test");
    let build = async |sqlite: &Arc<Sqlite>| {
        let state = Arc::clone(sqlite) as Arc<dyn State>;
        Publisher::build(state, Clock::manual(NOW), &tasks)
            .await
            .unwrap()
    };
    let apply = |port: u16| Apply {
        files: vec![File {
            name: "mesh.yaml".to_owned(),
            text: format!("mesh: m\nnodes: {{hub: {{endpoint: 'http://127.0.0.1:{port}'}}}}\n"),
        }],
        dry_run: false,
        prune: false,
    };
    let hub = "hub".parse().unwrap();
    let publisher = build(&sqlite).await;
    publisher.apply(&apply(5000), "me", None).await.unwrap();
    let slice = publisher.slice(&hub);
    pragma(&sqlite, "query_only", 1).await;
    let refused = publisher.apply(&apply(5001), "me", None).await;
    assert!(
        matches!(refused, Err(publish::Error::State(Error::Unavailable(_)))),
        "{refused:?}"
    );
    assert_eq!(publisher.slice(&hub), slice);
    let again = build(&Arc::new(open_at(&path).await.unwrap())).await;
    assert_eq!(again.slice(&hub), slice);
    let applied = again.apply(&apply(5001), "me", None).await.unwrap();
    assert_eq!(applied.generation, Generation(2));
    tasks.abort();
}

/// The time is printed, for `docs/benchmarks.md` from a release build; the limit is what a slow machine's debug build needs.
#[tokio::test]
async fn ten_thousand_rules_are_applied_in_seconds() {
    let (_dir, _, sqlite) = fresh().await;
    let tasks = Tasks::new("test");
    let publisher = Publisher::build(sqlite, Clock::manual(NOW), &tasks)
        .await
        .unwrap();
    let mut text = "mesh: m\nnodes: {hub: {endpoint: 'https://hub.example'}}\nrules:\n".to_owned();
    for n in 0..10_000 {
        text.push_str(&format!(
            "  r{n}: {{on: hub, source: quay.io/team-{n}/*, target: team-{n}/*, freshness: {{check: 30s}}}}\n"
        ));
    }
    let apply = |text: String| Apply {
        files: vec![File {
            name: "mesh.yaml".to_owned(),
            text,
        }],
        dry_run: false,
        prune: false,
    };
    let clock = Clock::system();
    let began = clock.now();
    publisher
        .apply(&apply(text.clone()), "me", None)
        .await
        .unwrap();
    let first = clock.now() - began;
    let changed = text.replacen("check: 30s", "check: 31s", 1);
    let applied = publisher.apply(&apply(changed), "me", None).await.unwrap();
    assert_eq!(applied.changes.len(), 1);
    let second = clock.now() - began - first;
    let spec = json!({"on": "hub", "source": "ghcr.io/x", "target": "x"});
    publisher
        .put(wire::api::resource::Kind::Rules, "x", spec, "me", None)
        .await
        .unwrap();
    let put = clock.now() - began - first - second;
    let slice = publisher.slice(&"hub".parse().unwrap()).unwrap();
    let cut = clock.now() - began - first - second - put;
    println!(
        "10,000 rules: first apply {first:?}, one changed {second:?}, one put {put:?}, slice {cut:?} ({} bytes)",
        slice.document.len()
    );
    assert!(first < std::time::Duration::from_secs(60), "{first:?}");
    tasks.abort();
}
