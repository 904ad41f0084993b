//! `CHILDREN`: what counts as complete has all its parts, and no copy waits for parts that the upstream does not have.

use wire::{digest::Digest, repository::RepositoryName};

use super::{Finding, Patient, REPOSITORIES, found, unreadable};
use crate::{
    copy::{closure, is_here},
    store::{
        Error,
        metadata::{Child, ChildKind, Job},
    },
};

/// How many tags of one repository, manifests and jobs are looked at.
const TAGS: usize = 20;
const MANIFESTS: usize = 500;
const JOBS: usize = 1000;

pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    match look(patient).await {
        Ok((count, findings)) => found(
            findings,
            format!("{count} complete images were looked at, and each has all its parts"),
        ),
        Err(error) => unreadable(&error),
    }
}

async fn look(patient: &Patient) -> Result<(usize, Vec<Finding>), Error> {
    let metadata = patient.store.metadata();
    let jobs = metadata.jobs(JOBS).await?;
    let mut findings: Vec<Finding> = jobs.iter().filter_map(lacking).collect();
    let mut count = 0;
    for repository in metadata.repositories(None, REPOSITORIES).await? {
        let tags = metadata.tags(&repository, None, TAGS).await?;
        for tag in tags.into_iter().flatten() {
            if count >= MANIFESTS {
                return Ok((count, findings));
            }
            let Some(record) = metadata.tag(&repository, &tag).await? else {
                continue;
            };
            let root = record.current.digest;
            let link = metadata.link(&repository, &root).await?;
            if !link.is_some_and(|link| link.complete) {
                continue;
            }
            count += 1;
            let missing = missing(patient, &repository, &root, &jobs).await?;
            findings.extend(holed(&format!("{repository}:{tag}"), &missing));
        }
    }
    Ok((count, findings))
}

/// The parts of a complete manifest that are not here; those excepted of which it is known that the upstream lacks them.
async fn missing(
    patient: &Patient,
    repository: &RepositoryName,
    root: &Digest,
    jobs: &[Job],
) -> Result<Vec<Digest>, Error> {
    let store = &patient.store;
    let Some(manifest) = store.metadata().manifest(root).await? else {
        return Ok(vec![root.clone()]);
    };
    let covered = patient.rules.resolve(repository);
    let needed = |child: &&Child| match child.kind {
        ChildKind::Config | ChildKind::Layer => !child.foreign,
        ChildKind::Manifest => covered
            .as_ref()
            .is_some_and(|covered| closure::demanded(child, &covered.active.rule.platforms)),
    };
    let known_lacking = |digest: &Digest| {
        let of_this = jobs.iter().filter(|job| job.repository == *repository);
        of_this
            .flat_map(|job| &job.missing)
            .any(|lacking| lacking == digest)
    };
    let mut missing = Vec::new();
    for child in manifest.children.iter().filter(needed) {
        let digest = &child.digest;
        let there = is_here(store, repository, digest).await?
            && store.blobs().size(digest).await?.is_some();
        if !there && !known_lacking(digest) {
            missing.push(digest.clone());
        }
    }
    if store.blobs().size(root).await?.is_none() {
        missing.push(root.clone());
    }
    Ok(missing)
}

fn holed(image: &str, missing: &[Digest]) -> Option<Finding> {
    let first = missing.first()?;
    let text = format!(
        "counts as complete and lacks {} of its parts, {first} for one",
        missing.len()
    );
    let fix = "pull it once more (`regmesh pull NODE/REPO:TAG --wait`), which fills what is missing; what was pushed has to be pushed again; `regmesh verify DATA_DIR` tells whether more is lost";
    Some(Finding::failed(Some(image.to_owned()), text, fix))
}

fn lacking(job: &Job) -> Option<Finding> {
    let first = job.missing.first()?;
    let text = format!(
        "the upstream does not have {} of its parts, {first} for one",
        job.missing.len()
    );
    let fix = "push the image whole to its origin, or name under the rule's `platforms` those that exist; it is asked for again when the tag is next checked";
    Some(Finding::warning(
        Some(format!("{}@{}", job.repository, job.root)),
        text,
        fix,
    ))
}
