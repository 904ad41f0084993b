//! Where tags were seen by HEAD, until their records are made.
//!
//! containerd and docker ask HEAD by tag and GET by digest: the HEAD stores nothing, so what it saw is kept in mind, and the
//! GET by digest that follows makes the tag's record with the time of that HEAD. It is also how an observation that comes late
//! is known to be outdated. Bounded, and forgotten at a restart without harm: the tag is checked again.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use runtime::Clock;
use tokio::time::Instant;
use wire::{digest::Digest, reference::Tag, repository::RepositoryName, time::WallTime};

/// How long a HEAD's sight of a tag is good for the GET by digest that follows it.
const SEEN_FOR: Duration = Duration::from_secs(600);
/// The most entries.
const ENTRIES: u64 = 10_000;

/// What an upstream said about a tag when it was asked by HEAD.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    pub(super) tag: Tag,
    pub(super) digest: Digest,
    pub(super) checked_at: WallTime,
    pub(super) observed_at: WallTime,
}

/// The sightings of a node.
pub(super) struct Sightings {
    clock: Clock,
    last: Cache<(RepositoryName, Tag), (Instant, Arc<Sighting>)>,
    at: Cache<(RepositoryName, Digest), Arc<[Tag]>>,
}

impl Sightings {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            last: Cache::new(ENTRIES),
            at: Cache::new(ENTRIES),
        }
    }

    /// A HEAD saw a tag at a digest. An earlier sight never replaces a later one.
    ///
    /// `is_news` says that no record has the tag there: then the GET by digest that follows makes one.
    pub(super) fn saw(&self, repository: &RepositoryName, sighting: Sighting, is_news: bool) {
        let until = self.clock.now() + SEEN_FOR;
        let by_digest = (repository.clone(), sighting.digest.clone());
        let tag = sighting.tag.clone();
        let sighting = Arc::new(sighting);
        let key = (repository.clone(), tag.clone());
        self.last
            .entry(key)
            .and_upsert_with(|entry| match entry.map(moka::Entry::into_value) {
                Some((kept, known)) if known.observed_at > sighting.observed_at => (kept, known),
                Some(_) | None => (until, Arc::clone(&sighting)),
            });
        if is_news {
            self.at.entry(by_digest).and_upsert_with(|entry| {
                let known = entry.map_or_else(|| Arc::from([]), moka::Entry::into_value);
                join(&known, tag)
            });
        }
    }

    /// The tags that were last seen at `digest`, and when.
    pub(super) fn seen_at(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Vec<Arc<Sighting>> {
        let key = (repository.clone(), digest.clone());
        let tags = self.at.get(&key).unwrap_or_else(|| Arc::from([]));
        let seen = tags
            .iter()
            .filter_map(|tag| self.last_seen(repository, tag));
        seen.filter(|sighting| sighting.digest == *digest).collect()
    }

    /// Forgets these sights of `digest`: their records are committed.
    pub(super) fn recorded(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        sightings: &[Arc<Sighting>],
    ) {
        use moka::ops::compute::Op;
        let key = (repository.clone(), digest.clone());
        self.at.entry(key).and_compute_with(|entry| {
            let Some(known) = entry.map(moka::Entry::into_value) else {
                return Op::Nop;
            };
            let is_left = |tag: &&Tag| !sightings.iter().any(|sighting| sighting.tag == **tag);
            let left: Arc<[Tag]> = known.iter().filter(is_left).cloned().collect();
            if left.is_empty() {
                Op::Remove
            } else {
                Op::Put(left)
            }
        });
    }

    fn last_seen(&self, repository: &RepositoryName, tag: &Tag) -> Option<Arc<Sighting>> {
        let (until, sighting) = self.last.get(&(repository.clone(), tag.clone()))?;
        (self.clock.now() < until).then_some(sighting)
    }
}

/// At most 32 tags are kept for a digest; the newest stays.
fn join(known: &[Tag], tag: Tag) -> Arc<[Tag]> {
    let others = known.iter().filter(|t| **t != tag).take(31).cloned();
    std::iter::once(tag.clone()).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    fn sighting(name: &str, content: &[u8], at: i64) -> Sighting {
        Sighting {
            tag: tag(name),
            digest: Digest::sha256(content),
            checked_at: WallTime(at),
            observed_at: WallTime(at),
        }
    }

    #[test]
    fn a_tag_is_where_it_was_seen_last() {
        let sightings = Sightings::new(Clock::manual(0));
        let repository: RepositoryName = "library/a".parse().unwrap();
        let (old, new) = (Digest::sha256(b"old"), Digest::sha256(b"new"));
        let tags = |digest| -> Vec<String> {
            let seen = sightings.seen_at(&repository, digest);
            seen.iter().map(|s| s.tag.to_string()).collect()
        };
        sightings.saw(&repository, sighting("1", b"old", 1), true);
        sightings.saw(&repository, sighting("2", b"old", 2), true);
        assert_eq!(tags(&old), ["2", "1"]);
        sightings.saw(&repository, sighting("1", b"new", 5), true);
        assert_eq!(
            (tags(&old), tags(&new)),
            (vec!["2".into()], vec!["1".into()])
        );
        sightings.saw(&repository, sighting("1", b"old", 4), true);
        assert_eq!(tags(&new), ["1"], "an earlier sight came late");
        let seen = sightings.seen_at(&repository, &new);
        sightings.recorded(&repository, &new, &seen);
        assert!(tags(&new).is_empty(), "it has its record");
        assert_eq!(tags(&old), ["2"]);
    }
}
