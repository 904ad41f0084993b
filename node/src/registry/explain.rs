//! What a pull would do here, and why: the decisions of a pull with nothing fetched and nothing written.
//!
//! Asks what a pull would ask (`place`, `freshness`, `verdict`, the store), and its upstream only whether it grants the pull
//! (`upstream::grant`) and how far the way there is open. What it learns is not noted: no state of a rule, no 404, no time of a
//! check, no last use. Tiers further up explain themselves; the control plane puts them together.

use std::sync::Arc;

use futures_util::future::join;
use runtime::telemetry::TraceContext;
use topology::model::rule::{Authentication as As, UpstreamRef};
use wire::{
    api::explain::{Authentication, Hop, Network, Next, Outcome, Query, RuleMatch, TagState},
    digest::Digest,
    generation::Generation,
    hops::Hops,
    platform::Platform,
    reference::Reference,
};

use super::{
    Error, Registry,
    freshness::{self, Freshness},
    place::{Place, Pull},
};
use crate::{
    request::Request,
    rule::{ActiveRule, Covered, describe::describe},
    store,
    store::metadata::TagRecord,
    upstream::{
        Patience, Reach,
        grant::{self, Answer, Grant},
    },
};

mod almost;
mod copying;
mod next;
mod stored;

/// Where the node stands, and what its rim makes of an error.
#[derive(Debug, Clone, Copy)]
pub struct Standpoint {
    /// Its tier.
    pub tier: u8,
    /// The generation in force.
    pub generation: Generation,
    /// The status that a client gets for an error.
    pub status: fn(&Error) -> u16,
}

/// What is known here of the reference.
struct Here {
    /// The tag's record.
    record: Option<TagRecord>,
    /// The manifest that the reference is here, whether or not its bytes are.
    digest: Option<Digest>,
    /// Whether its bytes can be served through this repository.
    is_stored: bool,
}

/// What was found at the upstream.
struct Found {
    reach: Reach,
    grant: Grant,
}

impl Registry {
    /// Explains one pull.
    pub async fn explain(&self, query: &Query, at: &Standpoint) -> Hop {
        let rules = self.inner.rules.load_full();
        let covered = rules.resolve(&query.repository);
        let matched = covered.as_ref().map(|covered| &covered.active.rule.name);
        let almost = almost::almost(&rules, &query.repository, matched);
        let place = self.place_now(&query.repository);
        let here = self.here(query).await;
        let request = quietly();
        let (next, found) = match &place {
            Place::Local | Place::Off(_) => (self.unasked(query, &place, &here, at).await, None),
            Place::Covered(covered) => {
                let pull = Pull {
                    covered,
                    repository: &query.repository,
                    request: &request,
                };
                let found = self.find(pull, query, &here).await;
                let next = self.next(pull, query, &here, &found.grant.answer, at).await;
                (next, Some(found))
            }
        };
        let upstream_digest = found.as_ref().and_then(Found::digest);
        let next = self
            .unless_recalled(next, &here, upstream_digest.as_ref(), at)
            .await;
        let root = here.digest.as_ref().or(upstream_digest.as_ref());
        let next = match root {
            Some(root) => match self.not_in_recall(root).await {
                Err(error) => refused(&error, at),
                Ok(()) => next,
            },
            None => next,
        };
        let stored = match root {
            Some(root) => {
                let (repository, asked) = (&query.repository, query.platform.as_ref());
                self.stored_platforms(repository, root, asked, covered.as_ref())
                    .await
            }
            None => Vec::new(),
        };
        let next = match (root, &query.platform) {
            (Some(root), Some(platform))
                if stored.is_empty()
                    && upstream_digest.as_ref().is_none_or(|there| there == root) =>
            {
                without_platform(next, root, platform)
            }
            _ => next,
        };
        let copy = match (root, &covered) {
            (Some(root), Some(_)) => self.copying(&query.repository, root, &stored).await,
            _ => None,
        };
        let reach = found.as_ref().map(|found| &found.reach);
        Hop {
            node: self.inner.node.clone(),
            tier: at.tier,
            generation: at.generation,
            repository: query.repository.clone(),
            reference: query.reference.clone(),
            rule: covered.as_ref().map(|covered| self.matched(covered, reach)),
            almost,
            authentication: found
                .as_ref()
                .zip(covered.as_ref())
                .map(|(found, covered)| authentication(&covered.active, &found.grant)),
            network: reach.map(network),
            tag: here
                .record
                .as_ref()
                .map(|record| self.tag_state(record, &place)),
            upstream_digest,
            next,
            stored,
            copy,
            unreachable: None,
        }
    }

    /// What would be served may be recalled: then nothing is.
    async fn unless_recalled(
        &self,
        next: Next,
        here: &Here,
        upstream: Option<&Digest>,
        at: &Standpoint,
    ) -> Next {
        let served = match next.outcome {
            Outcome::Hit | Outcome::ServeStale => here.digest.as_ref(),
            Outcome::Check | Outcome::Fill => upstream.or(here.digest.as_ref()),
            Outcome::Refuse => None,
        };
        let Some(digest) = served else {
            return next;
        };
        let allowed = self.not_in_recall(digest).await;
        allowed.map_or_else(|error| refused(&error, at), |()| next)
    }

    async fn here(&self, query: &Query) -> Here {
        let metadata = self.inner.store.metadata();
        let repository = &query.repository;
        match &query.reference {
            Reference::Tag(tag) => {
                let record = self.looked(metadata.tag(repository, tag)).await;
                let digest = record.as_ref().map(|record| record.current.digest.clone());
                let is_stored = match &digest {
                    Some(digest) => self.has_bytes(digest).await,
                    None => false,
                };
                Here {
                    record,
                    digest,
                    is_stored,
                }
            }
            Reference::Digest(digest) => {
                let link = self.looked(metadata.link(repository, digest)).await;
                let known = self.looked(metadata.manifest(digest)).await;
                let is_stored = link.is_some() && known.is_some() && self.has_bytes(digest).await;
                Here {
                    record: None,
                    digest: Some(digest.clone()),
                    is_stored,
                }
            }
        }
    }

    /// The way there and the right to pull, at the same time.
    async fn find(&self, pull: Pull<'_>, query: &Query, here: &Here) -> Found {
        let upstream = &pull.covered.active.upstream;
        let question = grant::Question {
            repository: &pull.covered.source,
            reference: Some(&query.reference),
            is_node: matches!(pull.rule().source.upstream, UpstreamRef::Node(_)),
        };
        let patience = if here.is_stored {
            Patience::Short
        } else {
            Patience::Long
        };
        let asked = grant::ask(&**upstream, question, patience, pull.request);
        let (reach, grant) = join(upstream.reach(), asked).await;
        Found { reach, grant }
    }

    fn matched(&self, covered: &Covered, reach: Option<&Reach>) -> RuleMatch {
        let status = describe(&covered.active, self.now());
        let rule = &covered.active.rule;
        let upstream_node = match &rule.source.upstream {
            UpstreamRef::Node(name) => Some(name.clone()),
            UpstreamRef::Host(_) => None,
        };
        let name = covered.active.upstream.name();
        RuleMatch {
            name: status.name,
            source: status.source,
            target: status.target,
            status: status.status,
            reason: status.reason,
            upstream_node,
            upstream: reach.map_or(name, |reach| &reach.at).to_owned(),
            mapped: covered.source.clone(),
        }
    }

    fn tag_state(&self, record: &TagRecord, place: &Place) -> TagState {
        let now = self.now();
        let fresh = match place {
            Place::Local | Place::Off(_) => true,
            Place::Covered(covered) => {
                let policy = &covered.active.rule.freshness;
                matches!(
                    freshness::decide(record, policy, now),
                    Freshness::Serve { .. }
                )
            }
        };
        TagState {
            digest: record.current.digest.clone(),
            checked_at: record.checked_at,
            age_seconds: record.checked_at.age(now).unwrap_or_default().as_secs(),
            fresh,
        }
    }

    /// What a repository does whose upstream nobody asks: serve what is here.
    async fn unasked(&self, query: &Query, place: &Place, here: &Here, at: &Standpoint) -> Next {
        if !here.is_stored {
            let error = self.not_here(&query.repository, &query.reference).await;
            return refused(&error, at);
        }
        let reason = match place.covered() {
            Some(covered) => format!(
                "rule {} is switched off; what is stored is served and nobody is asked",
                covered.active.rule.name
            ),
            None => "it was pushed here, or a rule filled it that is not in force".to_owned(),
        };
        Next {
            outcome: Outcome::Hit,
            reason,
            status: None,
            refusal: None,
        }
    }

    /// What was read in time; else as much as nothing, as it is for a pull. The store's health is not judged by it.
    async fn looked<T: Default>(&self, read: impl Future<Output = Result<T, store::Error>>) -> T {
        self.in_time(read).await.unwrap_or_default()
    }

    async fn has_bytes(&self, digest: &Digest) -> bool {
        let size = self.inner.store.blobs().size(digest);
        self.looked(size).await.is_some()
    }
}

impl Found {
    fn digest(&self) -> Option<Digest> {
        match &self.grant.answer {
            Answer::Head(head) => Some(head.digest.clone()),
            Answer::Allowed | Answer::Failed(_) => None,
        }
    }
}

/// A request on nobody's behalf.
fn quietly() -> Request {
    Request {
        info: Arc::default(),
        trace: TraceContext::fresh(),
        hops: Hops::default(),
        no_cache: false,
        only_stored: false,
        began: None,
    }
}

fn refused(error: &Error, at: &Standpoint) -> Next {
    Next {
        outcome: Outcome::Refuse,
        reason: error.in_full(),
        status: Some((at.status)(error)),
        refusal: error.trouble().map(|trouble| trouble.refusal),
    }
}

/// A client that wants a platform finds nothing in an index that is stored and does not have it.
fn without_platform(next: Next, index: &Digest, platform: &Platform) -> Next {
    match next.outcome {
        Outcome::Refuse => next,
        Outcome::Hit | Outcome::ServeStale | Outcome::Check | Outcome::Fill => Next {
            outcome: Outcome::Refuse,
            reason: format!("the index {index} has no image for platform {platform}"),
            status: Some(404),
            refusal: None,
        },
    }
}

/// As whom, and what came of asking. The token in hand is looked at after that: asking may have brought it.
fn authentication(active: &ActiveRule, grant: &Grant) -> Authentication {
    let (kind, name) = match &active.rule.authentication {
        As::Anonymous => ("anonymous", None),
        As::Identity(name) => ("identity", Some(name.to_string())),
        As::Credentials(name) => ("credentials", Some(name.to_string())),
    };
    Authentication {
        kind: kind.to_owned(),
        name,
        granted: grant.granted,
        token_ends: active.upstream.token_ends(),
        refusal: grant.refusal,
        status: match &grant.answer {
            Answer::Failed(error) => error.status,
            Answer::Head(_) | Answer::Allowed => None,
        },
        detail: Some(grant.detail.clone()),
    }
}

fn network(reach: &Reach) -> Network {
    Network {
        reachable: reach.is_open(),
        detail: reach.describe(),
    }
}
