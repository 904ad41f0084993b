//! A change before it is published: what will be in force, what the audit log says, and what its author is told.

use std::sync::Arc;

use topology::{document::Document, model::Topology};
use wire::{generation::Generation, time::WallTime, withdrawal::Withdrawal};

use super::{Current, believed::Believed, withdraw};
use crate::state::{Desired, NewEntry, Published};

/// Who makes the change, when, and the number that it will have.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    pub(super) who: String,
    pub(super) at: WallTime,
    pub(super) generation: Generation,
    /// What grants are to be believed by from then on.
    pub(super) believed: Arc<Believed>,
}

/// What a change comes to.
#[derive(Debug)]
pub(super) struct Draft<T> {
    /// What is told to its author, once it is published.
    pub(super) answer: T,
    /// `None` when nothing changes.
    pub(super) next: Option<Next>,
}

/// What is to be published.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) current: Current,
    pub(super) audit: Vec<NewEntry>,
}

impl<T> Draft<T> {
    pub(super) fn nothing(answer: T) -> Self {
        Self { answer, next: None }
    }
}

impl Stamp {
    pub(super) fn entry(&self, action: &str, target: impl Into<String>) -> NewEntry {
        NewEntry {
            at: self.at,
            who: self.who.clone(),
            action: action.to_owned(),
            target: target.into(),
            before: None,
            after: None,
            generation: Some(self.generation),
            refused: None,
        }
    }

    /// That what earlier generations minted counts no more.
    pub(super) fn withdrawal(&self) -> Withdrawal {
        Withdrawal {
            before: self.generation,
            at: self.at,
            left: None,
        }
    }

    fn published(&self, mut desired: Desired, topology: Option<&Topology>) -> Published {
        if let Some(topology) = topology {
            self.believed.write(&mut desired.grants, topology, self.at);
        }
        Published {
            generation: self.generation,
            at: self.at,
            by: self.who.clone(),
            desired,
        }
    }

    /// Another topology, all else as it is.
    pub(super) fn with_topology(
        &self,
        before: &Current,
        text: String,
        document: Document,
        topology: Topology,
    ) -> Current {
        let mut desired = Desired {
            document: text,
            ..before.published.desired.clone()
        };
        let old = before.topology.as_deref();
        withdraw::change(
            &mut desired.grants.withdrawn,
            old,
            &topology,
            self.withdrawal(),
        );
        let published = self.published(desired, Some(&topology));
        Current::of(published, Arc::new(document), Some(Arc::new(topology)))
    }

    /// The same topology, and something else beside it.
    pub(super) fn beside(&self, before: &Current, change: impl FnOnce(&mut Desired)) -> Current {
        let mut desired = before.published.desired.clone();
        change(&mut desired);
        Current::of(
            self.published(desired, before.topology.as_deref()),
            Arc::clone(&before.document),
            before.topology.clone(),
        )
    }
}
