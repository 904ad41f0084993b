//! Publishing: every change of what the mesh should be becomes the next generation, whole, or nothing.
//!
//! Called by `http` and `enrol`; `distribute` watches it. What a change comes to is decided in `publish/*.rs` without I/O; here it is
//! carried out by compare-and-swap on the newest generation, again when another control plane was faster, unless the author named
//! the generation that the change is meant for. What others publish is followed by the state's news. Generations never go back: a
//! database that was restored from a backup under a running control plane is refused. Source: `spec/control-plane.md`.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use runtime::{Clock, Tasks};
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use topology::{edit, problem::Problem};
use wire::{
    api::resource::{Applied, Apply, Kind, Resource, Resources},
    digest::Digest,
    generation::Generation,
    name::NodeName,
};

use crate::{
    signing_key::SigningKeys,
    state::{self, State},
};

/// Where an API listens unless somebody says otherwise.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:7080";

mod apply;
mod believed;
mod beside;
mod carry;
mod current;
mod draft;
mod resource;
#[cfg(test)]
mod tests;
mod withdraw;

pub use believed::declared as issuer_declared;
pub use current::{Current, Slice};

/// The desired state of the mesh, and the one way to change it. Clones share it.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    state: Arc<dyn State>,
    clock: Clock,
    tasks: Tasks,
    current: watch::Sender<Arc<Current>>,
    generation: watch::Sender<Generation>,
    /// The issuer's; without them grants are nobody's business.
    keys: Option<Arc<SigningKeys>>,
    /// The API's own address as a URL, once it is bound.
    own: OnceLock<String>,
    /// Changes of this process wait here for each other, so that only other processes can be faster.
    turn: Mutex<()>,
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
        Self::start(state, None, clock, tasks).await
    }

    /// The same, and every generation carries the public keys of `keys`.
    ///
    /// # Errors
    /// As `build`.
    pub async fn issuing(
        state: Arc<dyn State>,
        keys: Arc<SigningKeys>,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        Self::start(state, Some(keys), clock, tasks).await
    }

    async fn start(
        state: Arc<dyn State>,
        keys: Option<Arc<SigningKeys>>,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let publisher = Self(Arc::new(Inner {
            state,
            clock,
            tasks: tasks.clone(),
            current: watch::Sender::new(Arc::new(Current::nothing())),
            generation: watch::Sender::new(Generation(0)),
            keys,
            own: OnceLock::new(),
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

    /// Says once where the API is reached, for topologies that name no issuer.
    pub fn reached_at(&self, url: &str) {
        let _ = self.0.own.set(url.to_owned());
    }

    /// Where the API is reached when the topology does not say it.
    #[must_use]
    pub fn own_address(&self) -> &str {
        self.0.own.get().map_or(DEFAULT_ADDRESS, String::as_str)
    }

    /// Publishes what grants are believed by, where it is not what it should be: after a rotation, in a store of an earlier release.
    /// Nothing happens before the first apply, which carries it. Returns the generation in force.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn publish_keys(&self, who: &str) -> Result<Generation, Error> {
        self.change(who, None, move |current, stamp| {
            Ok(believed::publish(current, stamp))
        })
        .await
    }

    /// What one node needs of what is in force; `None` when there is no such node.
    #[must_use]
    pub fn slice(&self, node: &NodeName) -> Option<Slice> {
        self.current().slice(node)
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Publisher")
            .field(&self.current().generation())
            .finish()
    }
}
