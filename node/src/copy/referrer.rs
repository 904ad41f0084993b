//! Which referrers a copy takes along with `referrers: with-image`: those that the upstream lists for what was copied.

use wire::{digest::Digest, manifest::Manifest, media_type};

use super::{
    Copies,
    transfer::{Errand, Error},
};
use crate::{
    fill::observe::observe,
    store::metadata::{Child, ChildKind},
    upstream::Patience,
};

/// How many subjects of one copy are asked about, and how many referrers it takes along in all.
const MAX_SUBJECTS: usize = 64;
const MAX_REFERRERS: usize = 256;

/// The manifests that refer to one of `subjects`.
pub(super) async fn referrers(
    copies: &Copies,
    errand: &Errand,
    subjects: &[Digest],
) -> Result<Vec<Child>, Error> {
    let active = &errand.covered.active;
    let mut found: Vec<Child> = Vec::new();
    for subject in subjects.iter().take(MAX_SUBJECTS) {
        let answer = active
            .upstream
            .referrers(
                &errand.covered.source,
                subject,
                Patience::Long,
                &errand.request,
            )
            .await;
        observe(active, &answer, &copies.0.clock);
        let list = Manifest::parse(&answer?.index, Some(media_type::OCI_INDEX))
            .map_err(|error| Error::Wrong(error.to_string()))?;
        let news = list
            .children()
            .iter()
            .filter(|child| !subjects.contains(&child.digest));
        found.extend(news.map(|descriptor| Child {
            kind: ChildKind::Manifest,
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            media_type: descriptor.media_type.clone(),
            platform: None,
            foreign: false,
        }));
    }
    if found.len() > MAX_REFERRERS {
        tracing::warn!(repository = %errand.repository, referrers = found.len(), taken = MAX_REFERRERS, "more referrers than are taken along");
        found.truncate(MAX_REFERRERS);
    }
    Ok(found)
}
