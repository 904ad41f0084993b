//! The verbs of a registry: what a node does, whoever speaks to it.
//!
//! Called by http, agent and doctor. Calls rule, fill, copy, upstream, store. Knows neither HTTP nor disk. Each verb asks
//! first where the repository belongs (`place`): nowhere but here, or under a rule. Decisions are pure and in files of their
//! own: `freshness` (may a record be served), `verdict` (what a client gets when the upstream did not simply answer).

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use runtime::{Clock, Tasks};
use wire::name::{MeshName, NodeName};

use crate::{
    copy::Copies,
    event::Recorder,
    fill::Fills,
    rule::{Rules, recalls::Recalls},
    store::Store,
};

mod adopt;
pub mod answer;
mod blob;
mod check;
mod delete;
pub mod error;
pub mod explain;
pub mod freshness;
mod inventory;
mod list;
mod manifest;
mod patience;
mod place;
mod pull;
mod push;
mod recall;
mod referrer;
mod refuse;
mod remembered;
mod sighting;
mod tag;
#[cfg(test)]
mod tests;
mod upload;
pub mod verdict;
mod visible;
mod warning;

pub use answer::{
    BlobAnswer, BlobBody, CatalogAnswer, ManifestAnswer, Mount, Outcome, Provenance, PutAnswer,
    ReferrersAnswer, TagsAnswer, Upload, UploadStart, UploadStarted,
};
pub use error::{Error, Trouble};
pub use pull::own_request;

/// What a registry is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The mesh, to find this node in a request's chain.
    pub mesh: MeshName,
    /// This node.
    pub node: NodeName,
    /// How long a 404 of an upstream is remembered.
    pub negative: Duration,
    /// What is refused whatever else is known of it.
    pub recalls: Recalls,
}

/// A registry: every verb of the distribution-spec, over a store and the rules in force. Clones share it.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    mesh: MeshName,
    node: NodeName,
    store: Store,
    fills: Fills,
    copies: Copies,
    rules: Arc<ArcSwap<Rules>>,
    events: Recorder,
    clock: Clock,
    remembered: remembered::Remembered,
    sightings: sighting::Sightings,
    checks: check::Checks,
    adoptions: adopt::Adoptions,
    lists: list::Lists,
    referring: referrer::Referring,
    uploads: upload::Uploads,
    pulls: pull::Pulls,
    recalls: Recalls,
}

impl Config {
    /// A registry over these.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one of the components that `app` names"
    )]
    pub fn build(
        self,
        store: Store,
        fills: Fills,
        copies: Copies,
        rules: Arc<ArcSwap<Rules>>,
        events: Recorder,
        clock: Clock,
        tasks: &Tasks,
    ) -> Registry {
        let tasks = tasks.child("registry");
        let pulls = pull::Pulls::new(&tasks, &clock);
        let inner = Inner {
            mesh: self.mesh,
            node: self.node,
            store,
            fills,
            copies,
            rules,
            events,
            remembered: remembered::Remembered::new(clock.clone(), self.negative),
            sightings: sighting::Sightings::new(clock.clone()),
            clock,
            checks: check::Checks::new(&tasks),
            adoptions: adopt::Adoptions::new(&tasks),
            lists: list::Lists::new(&tasks),
            referring: referrer::Referring::new(&tasks),
            uploads: upload::Uploads::new(),
            pulls,
            recalls: self.recalls,
        };
        Registry {
            inner: Arc::new(inner),
        }
    }
}

impl Registry {
    /// The mesh is another: what was not there for a rule, here or at a node asked, may be there by now.
    pub fn topology_changed(&self) {
        self.inner.remembered.forget_absent();
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("node", &self.inner.node)
            .finish_non_exhaustive()
    }
}
