//! Small records for the suite.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use uuid::Uuid;
use wire::{
    digest::Digest, name::RuleName, platform::Platform, reference::Tag, repository::RepositoryName,
    time::WallTime,
};

use crate::store::metadata::{
    BlobRecord, Child, ChildKind, Job, JobId, Link, LinkKind, ManifestRecord, Metadata, Op, Origin,
    TagRecord, Version, record::RequestInfo,
};

pub(super) fn name<T: FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

pub(super) fn digest(of: &str) -> Digest {
    Digest::sha256(of.as_bytes())
}

pub(super) fn filled() -> Origin {
    Origin::Filled(name::<RuleName>("golden"))
}

pub(super) fn link(repository: &str, of: &str, kind: LinkKind) -> Link {
    Link {
        repository: name(repository),
        digest: digest(of),
        kind,
        complete: false,
        origin: filled(),
        created_at: WallTime(1_000),
        used_at: WallTime(1_000),
    }
}

pub(super) fn manifest_link(repository: &str, of: &str) -> Op {
    Op::PutLink(link(repository, of, LinkKind::Manifest))
}

pub(super) fn blob_link(repository: &str, of: &str) -> Op {
    Op::PutLink(link(repository, of, LinkKind::Blob))
}

pub(super) fn blob(of: &str) -> Op {
    blob_at(of, 1_000)
}

pub(super) fn blob_at(of: &str, at: i64) -> Op {
    Op::PutBlob(BlobRecord {
        digest: digest(of),
        size: of.len() as u64,
        stored_at: WallTime(at),
        verified_at: WallTime(at),
    })
}

pub(super) fn manifest(of: &str, children: &[&str], subject: Option<&str>) -> Op {
    Op::PutManifest(Arc::new(manifest_record(of, children, subject)))
}

pub(super) fn manifest_record(
    of: &str,
    children: &[&str],
    subject: Option<&str>,
) -> ManifestRecord {
    let children = children.iter().map(|child| Child {
        kind: ChildKind::Layer,
        digest: digest(child),
        size: child.len() as u64,
        media_type: "application/x".to_owned(),
        platform: Some(name::<Platform>("linux/arm64/v8")),
        foreign: false,
    });
    ManifestRecord {
        digest: digest(of),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        size: of.len() as u64,
        children: children.collect(),
        subject: subject.map(digest),
        artifact_type: Some("application/spdx".to_owned()),
        annotations: BTreeMap::from([("a".to_owned(), "ü".to_owned())]),
    }
}

pub(super) fn version(of: &str) -> Version {
    Version {
        digest: digest(of),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        size: of.len() as u64,
    }
}

pub(super) fn tag(repository: &str, tag: &str, of: &str, observed: i64) -> TagRecord {
    TagRecord {
        repository: name(repository),
        tag: name(tag),
        current: version(of),
        complete: None,
        checked_at: WallTime(observed),
        observed_at: WallTime(observed),
        origin: filled(),
    }
}

pub(super) fn job(repository: &str, root: &str, tags: &[&str], due: i64) -> Job {
    Job {
        id: JobId(Uuid::now_v7()),
        repository: name(repository),
        rule: name("golden"),
        root: digest(root),
        tags: tags.iter().map(|tag| name::<Tag>(tag)).collect(),
        platform: Some(name::<Platform>("linux/amd64")),
        attempts: 3,
        due_at: WallTime(due),
        created_at: WallTime(1),
        last_error: Some("away".to_owned()),
        missing: vec![digest("missing")],
        request: RequestInfo {
            id: "r1".to_owned(),
            ..RequestInfo::default()
        },
    }
}

pub(super) async fn commit(metadata: &dyn Metadata, ops: impl IntoIterator<Item = Op>) {
    metadata.commit(ops.into_iter().collect()).await.unwrap();
}

pub(super) async fn stored_tag(
    metadata: &dyn Metadata,
    repository: &str,
    tag: &str,
) -> Option<TagRecord> {
    let repository = name::<RepositoryName>(repository);
    metadata.tag(&repository, &name(tag)).await.unwrap()
}

pub(super) async fn stored_link(
    metadata: &dyn Metadata,
    repository: &str,
    of: &str,
) -> Option<Link> {
    let repository = name::<RepositoryName>(repository);
    metadata.link(&repository, &digest(of)).await.unwrap()
}
