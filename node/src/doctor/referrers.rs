//! `REFERRERS`: signatures and attestations of stored images: can the upstream be asked for them, and are those here that the rule
//! copies with the image? One image of each rule is looked at.

use topology::model::rule::Referrers;
use wire::{digest::Digest, manifest::Manifest, media_type, repository::RepositoryName};

use super::{Finding, Patient, found, of_each, request};
use crate::{
    copy::is_here,
    rule::{ActiveRule, Covered},
    upstream::Patience,
};

pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    let findings = of_each(patient.working(), |active| async move {
        rule(patient, &active).await.into_iter().collect()
    })
    .await;
    found(
        findings,
        "upstreams tell what refers to stored images, and what is to be copied with them is here",
    )
}

async fn rule(patient: &Patient, active: &ActiveRule) -> Option<Finding> {
    let name = &active.rule.name;
    if active.rule.referrers == Referrers::None {
        let text = "`referrers: none`: clients are told that nobody was asked, and signatures cannot be verified through this rule";
        return Some(Finding::skipped(Some(format!("rule {name}")), text));
    }
    let (here, covered) = patient.example(active).await.ok()??;
    let metadata = patient.store.metadata();
    let tag = metadata
        .tags(&here, None, 1)
        .await
        .ok()??
        .into_iter()
        .next()?;
    let record = metadata.tag(&here, &tag).await.ok()??;
    let subject = Some(format!("{here}:{tag} (rule {name})"));
    let asked = listed(&covered, &record.current.digest).await;
    let listed = match asked {
        Ok(listed) => listed,
        Err(why) => {
            let text = format!("what refers to it cannot be asked for: {why}");
            let fix = "until it can, clients get a `Warning` or an error and never an empty list; see NET-PATH and CRED-HEALTH about the upstream";
            return Some(Finding::warning(subject, text, fix));
        }
    };
    if active.rule.referrers != Referrers::WithImage {
        return None;
    }
    let absent = absent(patient, &here, &listed).await;
    (absent > 0).then(|| {
        let text = format!("{absent} of the {} manifests that refer to it are not stored here yet", listed.len());
        let fix = "`regmesh pull NODE/REPO:TAG --wait` copies them; if they stay away, COPY-STALL says why";
        Finding::warning(subject, text, fix)
    })
}

/// The manifests that the upstream lists for `subject`.
async fn listed(covered: &Covered, subject: &Digest) -> Result<Vec<Digest>, String> {
    let upstream = &covered.active.upstream;
    let request = request();
    let asked = upstream.referrers(&covered.source, subject, Patience::Long, &request);
    let index = asked.await.map_err(|error| error.to_string())?.index;
    let list = Manifest::parse(&index, Some(media_type::OCI_INDEX));
    let list = list.map_err(|error| error.to_string())?;
    let digests = list.children().iter().map(|child| child.digest.clone());
    Ok(digests.collect())
}

/// How many of them are not here; at most the first hundred are looked for.
async fn absent(patient: &Patient, here: &RepositoryName, listed: &[Digest]) -> usize {
    let mut absent = 0;
    for digest in listed.iter().take(100) {
        let found = is_here(&patient.store, here, digest).await;
        absent += usize::from(!found.unwrap_or(true));
    }
    absent
}
