//! Copy jobs, uploads, values.

use uuid::Uuid;
use wire::{digest::Algorithm, reference::Tag, time::WallTime};

use super::make::{commit, digest, job, name};
use crate::store::metadata::{Job, Metadata, Op, UploadRecord};

pub(super) async fn there_is_one_job_per_root(metadata: &dyn Metadata) {
    let first = job("a", "m", &["v1"], 50);
    commit(metadata, [Op::PutJob(first.clone())]).await;
    let second = job("a", "m", &["v1", "v2"], 20);
    commit(
        metadata,
        [Op::PutJob(second), Op::PutJob(job("b", "m", &[], 30))],
    )
    .await;
    let stored = metadata.job(&name("a"), &digest("m")).await.unwrap();
    let joined = Job {
        tags: vec![name("v1"), name("v2")],
        due_at: WallTime(20),
        ..first.clone()
    };
    assert_eq!(stored, Some(joined));
    let changed = Job {
        attempts: 4,
        due_at: WallTime(90),
        last_error: None,
        ..first.clone()
    };
    commit(metadata, [Op::PutJob(changed.clone())]).await;
    let jobs = metadata.jobs(9).await.unwrap();
    assert_eq!(jobs.len(), 2);
    assert_eq!(
        jobs[0].repository,
        name("b"),
        "the earliest due comes first"
    );
    let kept = Job {
        tags: vec![name("v1"), name("v2")],
        ..changed
    };
    assert_eq!(jobs[1], kept, "a worker takes no tag away");
    assert_eq!(metadata.jobs(1).await.unwrap().len(), 1);
    commit(metadata, [Op::DeleteJob(first.id)]).await;
    let gone = metadata.job(&name("a"), &digest("m")).await.unwrap();
    assert_eq!(gone, None);
}

pub(super) async fn a_job_finished_for_some_tags_stays_for_the_others(metadata: &dyn Metadata) {
    let job = job("a", "m", &["v1", "v2"], 50);
    let v1: Tag = name("v1");
    commit(metadata, [Op::PutJob(job.clone())]).await;
    commit(metadata, [Op::FinishJob(job.id, vec![v1.clone()])]).await;
    let rest = metadata
        .job(&name("a"), &digest("m"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((rest.id, rest.tags), (job.id, vec![name("v2")]));
    assert!(rest.due_at <= job.created_at);
    commit(metadata, [Op::FinishJob(job.id, vec![name("v2"), v1])]).await;
    assert!(metadata.jobs(9).await.unwrap().is_empty());
    commit(metadata, [Op::FinishJob(job.id, Vec::new())]).await;
}

pub(super) async fn what_waits_is_due_when_a_process_begins(metadata: &dyn Metadata) {
    let jobs = [job("a", "late", &["v1"], 900), job("a", "due", &["v1"], 5)];
    commit(metadata, jobs.map(Op::PutJob)).await;
    commit(metadata, [Op::Begin(WallTime(100))]).await;
    let jobs = metadata.jobs(9).await.unwrap();
    let due: Vec<i64> = jobs.iter().map(|job| job.due_at.0).collect();
    assert_eq!(due, [5, 100]);
}

pub(super) async fn uploads_and_values_come_and_go(metadata: &dyn Metadata) {
    let upload = |touched| UploadRecord {
        id: Uuid::now_v7(),
        repository: name("a"),
        algorithm: Algorithm::Sha512,
        length: 7,
        created_at: WallTime(1),
        touched_at: WallTime(touched),
    };
    let (old, new) = (upload(10), upload(20));
    let puts = [new.clone(), old.clone()].map(Op::PutUpload);
    commit(metadata, puts).await;
    assert_eq!(metadata.upload(old.id).await.unwrap(), Some(old.clone()));
    let stale = metadata.stale_uploads(WallTime(20), 9).await.unwrap();
    assert_eq!(stale, std::slice::from_ref(&old));
    let grown = UploadRecord {
        length: 9,
        touched_at: WallTime(30),
        ..old.clone()
    };
    commit(
        metadata,
        [Op::PutUpload(grown.clone()), Op::DeleteUpload(new.id)],
    )
    .await;
    assert_eq!(metadata.upload(old.id).await.unwrap(), Some(grown));
    assert_eq!(metadata.upload(new.id).await.unwrap(), None);

    let put = |key: &str, value: &[u8]| Op::PutValue(key.to_owned(), Some(value.to_vec()));
    commit(
        metadata,
        [put("rule/a", b"1"), put("rule/b", b"2"), put("rulf", b"3")],
    )
    .await;
    commit(metadata, [put("rule/a", b"4")]).await;
    assert_eq!(metadata.value("rule/a").await.unwrap(), Some(b"4".to_vec()));
    let found = metadata.values("rule/").await.unwrap();
    let expected = [
        ("rule/a".to_owned(), b"4".to_vec()),
        ("rule/b".to_owned(), b"2".to_vec()),
    ];
    assert_eq!(found, expected);
    commit(metadata, [Op::PutValue("rule/a".to_owned(), None)]).await;
    assert_eq!(metadata.value("rule/a").await.unwrap(), None);
}
