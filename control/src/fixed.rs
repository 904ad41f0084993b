//! A topology of files, held by one process without a control plane: `regmesh node --topology`, and the demo.
//!
//! Nothing is stored: generations count from 1 at every start. A topology that would remove every node is refused: an empty file is
//! a mistake more often than a wish. What a control plane does instead is `publish`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use topology::model::Topology;
use wire::{generation::Generation, name::NodeName};

use crate::publish::Slice;

/// The topology in force and its number. Clones share it.
#[derive(Debug, Clone)]
pub struct Fixed {
    current: Arc<Mutex<Published>>,
}

#[derive(Debug)]
struct Published {
    generation: Generation,
    topology: Arc<Topology>,
}

/// Why a topology was not published; what was in force stays so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It belongs to another mesh.
    #[error("the topology is of mesh '{new}', not of '{old}'")]
    OtherMesh {
        /// The mesh in force.
        old: String,
        /// The mesh of the new one.
        new: String,
    },
    /// It has no node that is running now.
    #[error("the topology would remove every running node")]
    RemovesAll,
}

impl Fixed {
    /// Publishes `topology` as generation 1.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        let published = Published {
            generation: Generation(1),
            topology: Arc::new(topology),
        };
        Self {
            current: Arc::new(Mutex::new(published)),
        }
    }

    /// Publishes `topology` as the next generation.
    ///
    /// # Errors
    /// When it is of another mesh or would remove every node.
    pub fn publish(&self, topology: Topology) -> Result<Generation, Error> {
        let mut current = self.lock();
        if current.topology.mesh != topology.mesh {
            return Err(Error::OtherMesh {
                old: current.topology.mesh.to_string(),
                new: topology.mesh.to_string(),
            });
        }
        if !current
            .topology
            .nodes
            .keys()
            .any(|name| topology.nodes.contains_key(name))
        {
            return Err(Error::RemovesAll);
        }
        current.generation = Generation(current.generation.0 + 1);
        current.topology = Arc::new(topology);
        Ok(current.generation)
    }

    /// The topology in force.
    #[must_use]
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.lock().topology)
    }

    /// What one node needs of it; `None` when it has no such node.
    #[must_use]
    pub fn slice(&self, node: &NodeName) -> Option<Slice> {
        let (generation, topology) = {
            let current = self.lock();
            (current.generation, Arc::clone(&current.topology))
        };
        let document = topology::slice::slice(&topology, node)?;
        let document = document
            .to_yaml()
            .expect("a document of plain values is always text");
        Some(Slice {
            generation,
            node: node.clone(),
            document,
        })
    }

    /// What each node needs of it, in order of name.
    #[must_use]
    pub fn slices(&self) -> Vec<Slice> {
        let names: Vec<NodeName> = self.topology().nodes.keys().cloned().collect();
        names.iter().filter_map(|name| self.slice(name)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Published> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(mesh: &str, nodes: &[&str]) -> Topology {
        let nodes: String = nodes
            .iter()
            .enumerate()
            .map(|(n, name)| format!("  {name}: {{endpoint: 'http://127.0.0.1:{}'}}\n", 5000 + n))
            .collect();
        let text = format!("version: 1\nmesh: {mesh}\nnodes:\n{nodes}");
        topology::load(&[("test.yaml".into(), text)])
            .expect("valid")
            .topology
    }

    #[test]
    fn a_generation_is_published_whole_and_only_grows() {
        let fixed = Fixed::new(topology("one", &["a", "b"]));
        assert_eq!(fixed.slices().len(), 2);
        assert_eq!(fixed.publish(topology("one", &["a"])), Ok(Generation(2)));
        assert_eq!(fixed.slices().len(), 1);
        assert_eq!(
            fixed.slice(&"a".parse().unwrap()).unwrap().generation,
            Generation(2)
        );
    }

    #[test]
    fn a_mistaken_topology_changes_nothing() {
        let fixed = Fixed::new(topology("one", &["a"]));
        assert!(matches!(
            fixed.publish(topology("two", &["a"])),
            Err(Error::OtherMesh { .. })
        ));
        assert_eq!(
            fixed.publish(topology("one", &["z"])),
            Err(Error::RemovesAll)
        );
        assert_eq!(fixed.slices()[0].generation, Generation(1));
    }

    #[test]
    fn a_slice_is_a_document_that_the_node_can_read() {
        let slice = &Fixed::new(topology("one", &["a", "b"])).slices()[1];
        let read = topology::load_slice("slice", &slice.document).expect("valid");
        assert!(read.topology.node(&slice.node).is_some());
        assert!(
            read.topology.node(&"a".parse().unwrap()).is_none(),
            "nothing of other nodes"
        );
    }
}
