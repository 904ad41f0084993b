//! Publishing: every change of what the mesh should be becomes the next generation, whole, or nothing.
//!
//! Called by `http` and `enrol`; `distribute` watches it. What a change comes to is decided in `publish/*.rs` without I/O; here it is
//! carried out by compare-and-swap on the newest generation, again when another control plane was faster, unless the author named
//! the generation that the change is meant for. What others publish is followed by the state's news. Generations never go back: a
//! database that was restored from a backup under a running control plane is refused. Source: `spec/control-plane.md`.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use runtime::{Clock, Tasks};
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use topology::{document::Document, edit, model, model::Topology, problem::Problem};
use wire::{
    api::resource::{Applied, Apply, Kind, Resource, Resources},
    digest::Digest,
    generation::Generation,
    name::NodeName,
    time::WallTime,
};

use crate::state::{self, Publish, Published, State};

mod apply;
mod beside;
mod draft;
mod resource;
#[cfg(test)]
mod tests;

use draft::{Draft, Stamp};

/// How often a change is tried again because another control plane was faster.
const ATTEMPTS: usize = 32;
/// How long until a newer generation that could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The desired state of the mesh, and the one way to change it. Clones share it.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    state: Arc<dyn State>,
    clock: Clock,
    tasks: Tasks,
    current: watch::Sender<Arc<Current>>,
    generation: watch::Sender<Generation>,
    /// Changes of this process wait here for each other, so that only other processes can be faster.
    turn: Mutex<()>,
}

/// What is in force.
#[derive(Debug, Clone)]
pub struct Current {
    /// The newest generation; number 0 before the first.
    pub published: Arc<Published>,
    /// Its document; empty before the first apply.
    pub document: Arc<Document>,
    /// What the document means; `None` before the first apply.
    pub topology: Option<Arc<Topology>>,
    /// Its recalls as slices have them.
    recalls: BTreeMap<Digest, model::Recall>,
}

/// What one node is given: a generation and a topology document, as text. The document is the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The generation it was cut from.
    pub generation: Generation,
    /// The node it is for.
    pub node: NodeName,
    /// The document.
    pub document: String,
}

/// Why nothing was published; what was in force stays so.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The topology would not be valid: every problem, warnings too.
    #[error("the topology is not valid: {} problems", .0.iter().filter(|p| p.is_error()).count())]
    Invalid(Vec<Problem>),
    /// It belongs to another mesh.
    #[error("the topology is of mesh '{new}', not of '{old}'")]
    OtherMesh {
        /// The mesh in force.
        old: String,
        /// The mesh of the new one.
        new: String,
    },
    /// It removes so much that it must be said twice.
    #[error(
        "it would remove {nodes} nodes and {rules} of {of_rules} rules: say --prune --yes if that is meant"
    )]
    NeedsPrune {
        /// How many nodes go.
        nodes: usize,
        /// How many rules go.
        rules: usize,
        /// How many rules there are.
        of_rules: usize,
    },
    /// Something was published since the author looked.
    #[error("generation {newest} is in force, not {expected}: look again")]
    Stale {
        /// What the change was meant for.
        expected: Generation,
        /// What is in force.
        newest: Generation,
    },
    /// There is no such resource.
    #[error("there is no such resource")]
    NotFound,
    /// There is one already.
    #[error("there is one already")]
    Exists,
    /// It cannot be done, for this reason.
    #[error("{0}")]
    Bad(String),
    /// The store cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
}

impl Publisher {
    /// Loads the newest generation and follows what is published from then on, until `tasks` end.
    ///
    /// # Errors
    /// When the store cannot be read, or holds a document that is not valid (any more).
    pub async fn build(state: Arc<dyn State>, clock: Clock, tasks: &Tasks) -> Result<Self, Error> {
        let publisher = Self(Arc::new(Inner {
            state,
            clock,
            tasks: tasks.clone(),
            current: watch::Sender::new(Arc::new(Current::nothing())),
            generation: watch::Sender::new(Generation(0)),
            turn: Mutex::new(()),
        }));
        let news = publisher.0.state.news();
        publisher.refresh().await?;
        tasks.spawn("follow generations", publisher.clone().follow(news));
        Ok(publisher)
    }

    /// What is in force.
    #[must_use]
    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.current.borrow())
    }

    /// The number in force; it moves after `current` has moved.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Generation> {
        self.0.generation.subscribe()
    }

    /// What `apply` would do. Takes as long as reading the topology: not on a thread that others wait for.
    ///
    /// # Errors
    /// Those of the topology, and when it is of another mesh.
    pub fn plan(&self, apply: &Apply) -> Result<Applied, Error> {
        let dry = Apply {
            dry_run: true,
            ..apply.clone()
        };
        let stamp = self.stamp("", &self.current());
        Ok(apply::apply(&self.current(), &dry, &stamp)?.answer)
    }

    /// Puts a whole topology in force: what is not in it goes.
    ///
    /// # Errors
    /// Those of the topology; when it removes too much; when `expected` is not in force; when the store fails.
    pub async fn apply(
        &self,
        apply: &Apply,
        who: &str,
        expected: Option<Generation>,
    ) -> Result<Applied, Error> {
        let apply = apply.clone();
        self.change(who, expected, move |current, stamp| {
            apply::apply(current, &apply, stamp)
        })
        .await
    }

    /// One resource; `None` when it is not there.
    #[must_use]
    pub fn resource(&self, kind: Kind, name: &str) -> Option<Resource> {
        let current = self.current();
        let spec = edit::get(&current.document, kind, name)?;
        Some(Resource {
            kind,
            name: name.to_owned(),
            spec,
            generation: current.generation(),
        })
    }

    /// Every resource of a kind, in order of name.
    #[must_use]
    pub fn resources(&self, kind: Kind) -> Resources {
        let current = self.current();
        let generation = current.generation();
        let all = edit::list(&current.document, kind).into_iter();
        let items = all.map(|(name, spec)| Resource {
            kind,
            name,
            spec,
            generation,
        });
        Resources {
            items: items.collect(),
            generation,
        }
    }

    /// Makes a resource say `spec`, whether it is there or not.
    ///
    /// # Errors
    /// When the topology would not be valid; when `expected` is not in force; when the store fails.
    pub async fn put(
        &self,
        kind: Kind,
        name: &str,
        spec: Value,
        who: &str,
        expected: Option<Generation>,
    ) -> Result<Resource, Error> {
        let name = name.to_owned();
        self.change(who, expected, move |current, stamp| {
            resource::put(current, kind, &name, &spec, stamp)
        })
        .await
    }

    /// Adds a resource. A role assignment needs no name: it is made of what it says.
    ///
    /// # Errors
    /// As `put`, and when there is one already.
    pub async fn create(
        &self,
        kind: Kind,
        name: Option<&str>,
        spec: Value,
        who: &str,
        expected: Option<Generation>,
    ) -> Result<Resource, Error> {
        let name = name.map(str::to_owned);
        self.change(who, expected, move |current, stamp| {
            resource::create(current, kind, name.as_deref(), &spec, stamp)
        })
        .await
    }

    /// Changes a resource by a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// As `put`, and when it is not there.
    pub async fn patch(
        &self,
        kind: Kind,
        name: &str,
        merge: Value,
        who: &str,
        expected: Option<Generation>,
    ) -> Result<Resource, Error> {
        let name = name.to_owned();
        self.change(who, expected, move |current, stamp| {
            resource::patch(current, kind, &name, &merge, stamp)
        })
        .await
    }

    /// Takes a resource out.
    ///
    /// # Errors
    /// As `put`, and when it is not there.
    pub async fn delete(
        &self,
        kind: Kind,
        name: &str,
        who: &str,
        expected: Option<Generation>,
    ) -> Result<(), Error> {
        let name = name.to_owned();
        self.change(who, expected, move |current, stamp| {
            resource::delete(current, kind, &name, stamp)
        })
        .await
    }

    /// Makes every node refuse a digest. Returns the generation that brings it.
    ///
    /// # Errors
    /// When the reason is too long or there are too many recalls; when the store fails.
    pub async fn recall(
        &self,
        digest: Digest,
        reason: &str,
        who: &str,
    ) -> Result<Generation, Error> {
        let reason = reason.to_owned();
        self.change(who, None, move |current, stamp| {
            beside::recall(current, &digest, &reason, stamp)
        })
        .await
    }

    /// Ends a recall. Returns the generation that brings it.
    ///
    /// # Errors
    /// When the digest is not recalled; when the store fails.
    pub async fn lift(&self, digest: &Digest, who: &str) -> Result<Generation, Error> {
        let digest = digest.clone();
        self.change(who, None, move |current, stamp| {
            beside::lift(current, &digest, stamp)
        })
        .await
    }

    /// Makes every certificate of a node that began until now worth nothing. Returns the generation that brings it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke(&self, node: &NodeName, who: &str) -> Result<Generation, Error> {
        let node = node.clone();
        self.change(who, None, move |current, stamp| {
            Ok(beside::revoke(current, &node, stamp))
        })
        .await
    }

    /// Publishes what is in force again under a number above `above`: after a restore, when nodes have seen more than the backup.
    ///
    /// # Errors
    /// When nothing was applied yet; when the store fails.
    pub async fn recover(&self, above: Generation, who: &str) -> Result<Generation, Error> {
        self.change(who, None, move |current, stamp| {
            beside::recover(current, above, stamp)
        })
        .await
    }

    /// What one node needs of what is in force; `None` when there is no such node.
    #[must_use]
    pub fn slice(&self, node: &NodeName) -> Option<Slice> {
        self.current().slice(node)
    }

    fn stamp(&self, who: &str, current: &Current) -> Stamp {
        Stamp {
            who: who.to_owned(),
            at: WallTime(self.0.clock.wall_ms()),
            generation: Generation(current.generation().0 + 1),
        }
    }

    /// Drafts a change on what is in force and publishes it.
    async fn change<T: Send + 'static>(
        &self,
        who: &str,
        expected: Option<Generation>,
        draft: impl Fn(&Current, &Stamp) -> Result<Draft<T>, Error> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let _turn = self.0.turn.lock().await;
        let draft = Arc::new(draft);
        for _ in 0..ATTEMPTS {
            let current = self.expected(expected).await?;
            let stamp = self.stamp(who, &current);
            let drafted = {
                let (draft, current) = (Arc::clone(&draft), Arc::clone(&current));
                let stamp = stamp.clone();
                self.aside(move || draft(&current, &stamp)).await??
            };
            let Some(next) = drafted.next else {
                return Ok(drafted.answer);
            };
            let publish = Publish {
                after: current.generation(),
                generation: next.current.generation(),
                at: stamp.at,
                by: stamp.who,
                desired: next.current.published.desired.clone(),
                audit: next.audit,
            };
            match self.0.state.publish(publish).await {
                Ok(()) => {
                    self.install(next.current);
                    return Ok(drafted.answer);
                }
                Err(state::Error::Moved { newest }) if newest > current.generation() => {
                    self.refresh().await?;
                }
                Err(state::Error::Moved { newest }) => {
                    return Err(restored(newest, current.generation()).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let reason = "other control planes publish all the time";
        Err(state::Error::Unavailable(reason.to_owned()).into())
    }

    /// What is in force, which is `expected` when something is.
    async fn expected(&self, expected: Option<Generation>) -> Result<Arc<Current>, Error> {
        let current = self.current();
        let Some(expected) = expected.filter(|expected| *expected != current.generation()) else {
            return Ok(current);
        };
        self.refresh().await?;
        let current = self.current();
        let newest = current.generation();
        if newest == expected {
            Ok(current)
        } else {
            Err(Error::Stale { expected, newest })
        }
    }

    /// Reads the newest generation, if it is newer than what is in force here.
    async fn refresh(&self) -> Result<(), Error> {
        let Some(newest) = self.0.state.newest().await? else {
            return Ok(());
        };
        if newest.generation > self.current().generation() {
            let current = self.aside(move || Current::read(newest)).await??;
            self.install(current);
        }
        Ok(())
    }

    /// Reading and checking a large topology takes long: not on a thread that serves others.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, state::Error> {
        let run = self.0.tasks.spawn_blocking("publish", work);
        run.await.map_err(|error| {
            let why = if error.is_panic() {
                "a change failed"
            } else {
                "it is ending"
            };
            state::Error::Unavailable(why.to_owned())
        })
    }

    fn install(&self, next: Current) {
        let generation = next.generation();
        self.0.current.send_if_modified(|current| {
            let newer = generation > current.generation();
            if newer {
                *current = Arc::new(next);
            }
            newer
        });
        self.0.generation.send_if_modified(|known| {
            let newer = generation > *known;
            if newer {
                *known = generation;
            }
            newer
        });
    }

    async fn follow(self, mut news: watch::Receiver<state::News>) {
        let ended = self.0.tasks.token();
        loop {
            let behind = news.borrow_and_update().generation > self.current().generation();
            if behind && let Err(error) = self.refresh().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a newer generation cannot be read; the last good one stays in force"
                );
                tokio::select! {
                    () = self.0.clock.sleep(AGAIN) => continue,
                    () = ended.cancelled() => return,
                }
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = ended.cancelled() => return,
            }
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Publisher")
            .field(&self.current().generation())
            .finish()
    }
}

fn restored(newest: Generation, current: Generation) -> state::Error {
    state::Error::Unavailable(format!(
        "it holds generation {newest} and {current} is in force: it was restored from an older backup; restart the control plane, then `regmesh control recover`"
    ))
}

impl Current {
    fn nothing() -> Self {
        Self {
            published: Arc::new(Published {
                generation: Generation(0),
                at: WallTime(0),
                by: String::new(),
                desired: state::Desired::default(),
            }),
            document: Arc::new(Document::default()),
            topology: None,
            recalls: BTreeMap::new(),
        }
    }

    /// Reads what was published, by this release or another.
    fn read(published: Published) -> Result<Self, Error> {
        if published.desired.document.is_empty() {
            return Ok(Self::of(published, Arc::default(), None));
        }
        let name = format!("generation {}", published.generation);
        let file = (name, published.desired.document.clone());
        let loaded = topology::load(&[file]).map_err(|problems| {
            let first = problems.iter().find(|problem| problem.is_error());
            let first = first.map(ToString::to_string).unwrap_or_default();
            state::Error::Damaged(format!("its topology is not valid: {first}"))
        })?;
        let topology = Arc::new(loaded.topology);
        Ok(Self::of(
            published,
            Arc::new(loaded.document),
            Some(topology),
        ))
    }

    fn of(published: Published, document: Arc<Document>, topology: Option<Arc<Topology>>) -> Self {
        let recalls = published.desired.recalls.iter().map(|(digest, recall)| {
            let recall = model::Recall {
                reason: recall.reason.clone(),
                at: recall.at,
            };
            (digest.clone(), recall)
        });
        Self {
            recalls: recalls.collect(),
            published: Arc::new(published),
            document,
            topology,
        }
    }

    /// Its number.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.published.generation
    }

    /// What one node needs of it; `None` when there is no such node.
    #[must_use]
    pub fn slice(&self, node: &NodeName) -> Option<Slice> {
        let topology = self.topology.as_ref()?;
        let revoked = &self.published.desired.revoked;
        let document = topology::slice::slice_with(topology, node, &self.recalls, revoked)?;
        let document = document
            .to_yaml()
            .expect("a document of plain values is always text");
        Some(Slice {
            generation: self.generation(),
            node: node.clone(),
            document,
        })
    }
}
