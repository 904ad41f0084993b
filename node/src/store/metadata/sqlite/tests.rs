//! The suite on real files, plans that walk indices, and a start that does not depend on how much is stored.

use tempfile::TempDir;

use super::*;
use crate::store::metadata::{OUTBOX, conformance};

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let dirs = TempDir::new().unwrap();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let make = |outbox| {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = dirs.path().join(format!("{number}.db"));
        async move { Arc::new(Sqlite::open(&path, outbox).unwrap()) as Arc<dyn Metadata> }
    };
    conformance::run(&make).await;
}

fn plan(metadata: &Sqlite, sql: &str, parameters: usize) -> String {
    let explain = format!("EXPLAIN QUERY PLAN {sql}");
    let lines = metadata.database.read_now(|connection| {
        let mut statement = connection.prepare(&explain)?;
        let any = vec![1; parameters];
        let rows = statement.query_map(rusqlite::params_from_iter(any), |row| {
            row.get::<_, String>(3)
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    });
    lines.unwrap().join("; ")
}

#[test]
fn no_query_of_the_hot_path_or_the_collector_scans_a_table_or_sorts() {
    let dir = TempDir::new().unwrap();
    let metadata = Sqlite::open(&dir.path().join("m.db"), OUTBOX).unwrap();
    for (sql, parameters) in [
        (query::TAG, 2),
        (query::LINK, 2),
        (query::MANIFEST, 1),
        (query::BLOB, 1),
        (query::REPOSITORIES, 2),
        (query::PUSHED, 2),
        (query::REFERRERS, 2),
        (query::PARENTS, 2),
        (query::LINKED_BY, 2),
        (query::JOBS, 1),
        (query::JOB, 2),
        (query::JOB_BY_ID, 1),
        (query::PENDING, 2),
        (query::DELIVERIES, 2),
        (query::UPLOAD, 1),
        (query::STALE_UPLOADS, 2),
        (query::LEAST_VERIFIED, 1),
        (query::LEAST_USED, 1),
        (query::UNREFERENCED, 2),
        (query::TOTALS, 0),
        (query::VALUE, 1),
        (query::VALUES, 1),
    ] {
        let plan = plan(&metadata, sql, parameters);
        let ordered = !plan.contains("TEMP B-TREE");
        let indexed = plan
            .split("; ")
            .all(|line| !line.starts_with("SCAN") || line.contains("USING"));
        assert!(ordered && indexed, "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("m.db");
    let metadata = Sqlite::open(&path, OUTBOX).unwrap();
    let put = Op::PutValue("a".to_owned(), Some(vec![7]));
    metadata.commit(vec![put]).await.unwrap();
    drop(metadata);
    let metadata = Sqlite::open(&path, OUTBOX).unwrap();
    assert_eq!(metadata.value("a").await.unwrap(), Some(vec![7]));
}

#[test]
fn a_damaged_database_is_told_from_a_broken_disk() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("m.db");
    std::fs::write(&path, vec![0x5a; 8192]).unwrap();
    assert!(matches!(
        Sqlite::open(&path, OUTBOX),
        Err(Error::Corrupt(_))
    ));
}
