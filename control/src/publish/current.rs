//! What is in force: a generation, what its document says and means, and what each node needs of it.

use std::{collections::BTreeMap, sync::Arc};

use topology::{document::Document, model, model::Topology, slice::Beside};
use wire::{generation::Generation, name::NodeName, time::WallTime};

use super::Error;
use crate::state::{self, Published};

/// What is in force.
#[derive(Debug, Clone)]
pub struct Current {
    /// The newest generation; number 0 before the first.
    pub published: Arc<Published>,
    /// Its document; empty before the first apply.
    pub document: Arc<Document>,
    /// What the document means; `None` before the first apply.
    pub topology: Option<Arc<Topology>>,
    /// What was decided beside it, as slices have it.
    beside: Arc<Beside>,
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
impl Current {
    pub(super) fn nothing() -> Self {
        Self {
            published: Arc::new(Published {
                generation: Generation(0),
                at: WallTime(0),
                by: String::new(),
                desired: state::Desired::default(),
            }),
            document: Arc::new(Document::default()),
            topology: None,
            beside: Arc::default(),
        }
    }

    /// Reads what was published, by this release or another.
    pub(crate) fn read(published: Published) -> Result<Self, Error> {
        if published.desired.document.is_empty() {
            return Ok(Self::of(published, Arc::default(), None));
        }
        let name = format!("generation {}", published.generation);
        let loaded = topology::load_published(&name, &published.desired.document);
        let loaded = loaded.map_err(|problems| {
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

    pub(super) fn of(
        published: Published,
        document: Arc<Document>,
        topology: Option<Arc<Topology>>,
    ) -> Self {
        let recalls = published.desired.recalls.iter().map(|(digest, recall)| {
            let recall = model::Recall {
                reason: recall.reason.clone(),
                at: recall.at,
            };
            (digest.clone(), recall)
        });
        let beside = Beside {
            recalls: recalls.collect(),
            revoked: published.desired.revoked.clone(),
            grants: grants(&published.desired.grants),
        };
        Self {
            beside: Arc::new(beside),
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
        let document = match self.withdrawn(node) {
            None => topology::slice::slice_with(topology, node, &self.beside)?,
            Some(beside) => topology::slice::slice_with(topology, node, &beside)?,
        };
        let document = document
            .to_yaml()
            .expect("a document of plain values is always text");
        Some(Slice {
            generation: self.generation(),
            node: node.clone(),
            document,
        })
    }

    /// What was decided beside it for this node, when grants for its repositories were withdrawn: nobody else is told of those.
    fn withdrawn(&self, node: &NodeName) -> Option<Beside> {
        let grants = &self.published.desired.grants;
        let withdrawn = grants.withdrawn.get(node)?.clone();
        let believed = self.beside.grants.clone()?;
        Some(Beside {
            grants: Some(model::Grants {
                withdrawn,
                ..believed
            }),
            ..Beside::clone(&self.beside)
        })
    }
}

/// What every node believes grants by; none before the issuer's keys were published.
fn grants(published: &state::Grants) -> Option<model::Grants> {
    let known = !published.keys.is_empty();
    known.then(|| model::Grants {
        issuer: published.issuer.clone(),
        former: published.former.keys().cloned().collect(),
        keys: published.keys.clone(),
        withdrawn: BTreeMap::new(),
    })
}
