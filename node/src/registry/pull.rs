//! Pulls without a client: the node fills and copies an image because somebody asked it to, and says how that goes.
//!
//! A pull is what a client would do, done by the node: the manifest by tag or digest, then each platform's manifest by digest; the
//! copies that follow are the ordinary durable ones. What was asked is remembered in memory alone, since the copies are not; asked
//! again after a restart, it goes on where they are. It checks the tag with the upstream whatever its record says, and it does not
//! take stale content for an answer: who promotes an image wants the one that is there now.
//! Source: `spec/operations.md` `regmesh pull`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use runtime::{Clock, Tasks, telemetry::TraceContext};
use wire::{
    api::{
        pull::{Content, Platforms, Progress, Request as Asked, State},
        status::LastError,
    },
    digest::Digest,
    hops::Hops,
    platform::Platform,
    reference::Reference,
    repository::RepositoryName,
    route::ContentVerb,
    time::WallTime,
};

use super::{Outcome, Registry};
use crate::{
    copy::{closure, describe::describe, is_here},
    request::Request,
    store::{
        self,
        metadata::{Child, ChildKind, ManifestRecord, record::RequestInfo},
    },
};

/// How many pulls are remembered.
const REMEMBERED: usize = 1_000;
/// How many platforms one pull takes.
const PLATFORMS: usize = 256;

/// The pulls that were asked for.
pub(super) struct Pulls {
    tasks: Tasks,
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<String, Arc<Pull>>,
    order: VecDeque<String>,
}

struct Pull {
    id: String,
    asked: Asked,
    started_at: WallTime,
    stage: Mutex<Stage>,
}

/// How far it is.
#[derive(Clone)]
enum Stage {
    /// The reference is being looked up.
    Resolving,
    /// What there is to copy is known, the root first.
    Copying(Vec<(Digest, Option<Platform>)>),
    /// It cannot be had.
    Failed(LastError),
}

impl Pulls {
    pub(super) fn new(tasks: &Tasks, clock: &Clock) -> Self {
        Self {
            tasks: tasks.child("pull"),
            clock: clock.clone(),
            known: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &str) -> Option<Arc<Pull>> {
        self.lock().by_id.get(id).cloned()
    }

    /// The pull of that id, and whether it must be begun: it is new, or failed before.
    fn enter(&self, id: String, asked: Asked, now: WallTime) -> (Arc<Pull>, bool) {
        let mut known = self.lock();
        if let Some(pull) = known.by_id.get(&id) {
            let again = !matches!(*pull.stage(), Stage::Resolving);
            if again {
                *pull.stage() = Stage::Resolving;
            }
            return (Arc::clone(pull), again);
        }
        if known.order.len() >= REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.by_id.remove(&oldest);
        }
        let pull = Arc::new(Pull {
            id: id.clone(),
            asked,
            started_at: now,
            stage: Mutex::new(Stage::Resolving),
        });
        known.order.push_back(id.clone());
        known.by_id.insert(id, Arc::clone(&pull));
        (pull, true)
    }
}

impl Pull {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Begins a pull, or joins the one that was asked for in the same words; says how it stands.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn pull(&self, asked: Asked) -> Result<Progress, store::Error> {
        let pulls = &self.inner.pulls;
        let (pull, begin) = pulls.enter(id(&asked), asked, self.now());
        if begin {
            let (this, running) = (self.clone(), Arc::clone(&pull));
            pulls.tasks.spawn("pull", async move {
                let stage = this.resolve_pull(&running.asked).await;
                *running.stage() = stage;
            });
        }
        self.progress(&pull).await
    }

    /// How a pull stands; `None` when it is not remembered.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub async fn pull_progress(&self, id: &str) -> Result<Option<Progress>, store::Error> {
        match self.inner.pulls.get(id) {
            Some(pull) => self.progress(&pull).await.map(Some),
            None => Ok(None),
        }
    }

    /// Pulls the manifests that a client would, so that each has its copy.
    async fn resolve_pull(&self, asked: &Asked) -> Stage {
        match self.try_resolve(asked).await {
            Ok(wanted) => Stage::Copying(wanted),
            Err(text) => Stage::Failed(LastError {
                at: WallTime(self.inner.pulls.clock.wall_ms()),
                text,
            }),
        }
    }

    async fn try_resolve(&self, asked: &Asked) -> Result<Vec<(Digest, Option<Platform>)>, String> {
        let repository = &asked.repository;
        let (digest, record) = self.pull_one(repository, &asked.reference).await?;
        let mut wanted = vec![(digest, None)];
        if !closure::is_index(&record) {
            return Ok(wanted);
        }
        let children: Vec<&Child> = record
            .children
            .iter()
            .filter(|child| child.kind == ChildKind::Manifest && !child.foreign)
            .filter(|child| self.is_wanted(asked, child))
            .take(PLATFORMS)
            .collect();
        if let Platforms::Only(platforms) = &asked.platforms {
            let missing = platforms.iter().find(|platform| {
                let has = |child: &&Child| {
                    child
                        .platform
                        .as_ref()
                        .is_some_and(|own| platform.matches(own))
                };
                !children.iter().any(has)
            });
            if let Some(missing) = missing {
                return Err(format!("'{}' has no image for {missing}", asked.reference));
            }
        }
        for child in children {
            self.pull_one(repository, &Reference::Digest(child.digest.clone()))
                .await?;
            wanted.push((child.digest.clone(), child.platform.clone()));
        }
        Ok(wanted)
    }

    /// Whether a child of the index is to be copied: what was asked, else what the rule says; a rule that copies what is requested is
    /// asked for all, since nobody's machine asks.
    fn is_wanted(&self, asked: &Asked, child: &Child) -> bool {
        use topology::model::rule::Platforms as OfRule;
        match &asked.platforms {
            Platforms::All => true,
            Platforms::Only(list) => child
                .platform
                .as_ref()
                .is_some_and(|own| list.iter().any(|wanted| wanted.matches(own))),
            Platforms::Rule => match self.inner.rules.load().resolve(&asked.repository) {
                Some(covered) => match &covered.active.rule.platforms {
                    OfRule::Requested | OfRule::All => true,
                    listed @ OfRule::Listed(_) => closure::demanded(child, listed),
                },
                None => true,
            },
        }
    }

    async fn pull_one(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(Digest, ManifestRecord), String> {
        let request = own_request();
        let answer = self
            .manifest(repository, reference, ContentVerb::Get, &request)
            .await
            .map_err(|error| error.in_full())?;
        if answer.provenance.outcome == Outcome::Stale {
            let why = answer.provenance.warning.unwrap_or_default();
            return Err(format!(
                "the upstream could not be asked what '{reference}' is now ({why}); the stored {} was not taken for an answer",
                answer.digest
            ));
        }
        let bytes = answer.bytes.unwrap_or_default();
        let record = describe(&answer.digest, &bytes, Some(&answer.media_type))
            .map_err(|error| error.to_string())?;
        Ok((answer.digest, record))
    }

    async fn progress(&self, pull: &Pull) -> Result<Progress, store::Error> {
        let stage = pull.stage().clone();
        let mut progress = Progress {
            id: pull.id.clone(),
            node: self.inner.node.clone(),
            request: pull.asked.clone(),
            state: State::Resolving,
            digest: None,
            contents: Vec::new(),
            started_at: pull.started_at,
            last_error: None,
        };
        match stage {
            Stage::Resolving => {}
            Stage::Failed(error) => {
                progress.state = State::Failed;
                progress.last_error = Some(error);
            }
            Stage::Copying(wanted) => self.copying_of(&wanted, &mut progress).await?,
        }
        Ok(progress)
    }

    async fn copying_of(
        &self,
        wanted: &[(Digest, Option<Platform>)],
        progress: &mut Progress,
    ) -> Result<(), store::Error> {
        let repository = progress.request.repository.clone();
        let metadata = self.inner.store.metadata();
        progress.digest = wanted.first().map(|(root, _)| root.clone());
        let (mut complete, mut lacking) = (true, None);
        for (digest, platform) in wanted {
            let link = metadata.link(&repository, digest).await?;
            complete &= link.is_some_and(|link| link.complete);
            if let Some(job) = metadata.job(&repository, digest).await?
                && let Some(text) = job.last_error
            {
                progress.last_error = Some(LastError {
                    at: job.created_at,
                    text,
                });
                if !job.missing.is_empty() {
                    lacking = Some(job.missing.len());
                }
            }
            self.contents(&repository, digest, platform.as_ref(), progress)
                .await?;
        }
        progress.state = match (complete, lacking) {
            (true, _) => State::Complete,
            (false, Some(_)) => State::Failed,
            (false, None) => State::Copying,
        };
        if complete {
            progress.last_error = None;
        } else if progress.last_error.is_none() {
            progress.last_error = self.inner.store.degraded().map(|text| LastError {
                at: self.now(),
                text: format!("nothing is being stored: {text}"),
            });
        }
        Ok(())
    }

    /// A manifest, and the blobs it needs.
    async fn contents(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        platform: Option<&Platform>,
        progress: &mut Progress,
    ) -> Result<(), store::Error> {
        let store = &self.inner.store;
        let Some(record) = store.metadata().manifest(digest).await? else {
            return Ok(());
        };
        let here = is_here(store, repository, digest).await?;
        let content = |digest: &Digest, media_type: &str, size, done, stored| Content {
            digest: digest.clone(),
            media_type: media_type.to_owned(),
            platform: platform.cloned(),
            size,
            done,
            stored,
        };
        let own = if here { record.size } else { 0 };
        progress
            .contents
            .push(content(digest, &record.media_type, record.size, own, here));
        let needed = record
            .children
            .iter()
            .filter(|child| child.kind != ChildKind::Manifest && !child.foreign);
        for child in needed {
            if progress
                .contents
                .iter()
                .any(|known| known.digest == child.digest)
            {
                continue;
            }
            let stored = is_here(store, repository, &child.digest).await?;
            let done = if stored {
                child.size
            } else {
                let arrived = self.inner.fills.arrived(&child.digest).unwrap_or_default();
                arrived.min(child.size)
            };
            progress.contents.push(content(
                &child.digest,
                &child.media_type,
                child.size,
                done,
                stored,
            ));
        }
        Ok(())
    }
}

/// The request of what no client asked for: it checks, and has come through no other node.
#[must_use]
pub fn own_request() -> Request {
    let trace = TraceContext::fresh();
    Request {
        info: Arc::new(RequestInfo {
            id: uuid::Uuid::now_v7().to_string(),
            host: String::new(),
            method: "GET".to_owned(),
            user_agent: concat!("regmesh/", env!("CARGO_PKG_VERSION"), " pull").to_owned(),
            trace_id: trace.trace_id_hex(),
        }),
        trace,
        hops: Hops::default(),
        no_cache: true,
        only_stored: false,
        began: None,
    }
}

/// Names a pull by what was asked.
fn id(asked: &Asked) -> String {
    let words = format!(
        "{}\n{}\n{:?}",
        asked.repository, asked.reference, asked.platforms
    );
    let digest = Digest::sha256(words.as_bytes());
    digest.hex().chars().take(16).collect()
}
