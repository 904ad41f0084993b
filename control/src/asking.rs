//! What the API needs of the nodes: what was heard of each, and an answer to a question. `Distribute` gives it; tests give their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use wire::{
    api::ask::{Answer, Question},
    generation::Generation,
    name::NodeName,
};

use crate::{ask, publish, report::NodeSeen};

/// The nodes as they can be asked.
#[async_trait]
pub trait Asking: Send + Sync + 'static {
    /// What was heard of every node, of whichever control plane; those that never enrolled are not in it.
    fn seen(&self) -> Seen;

    /// Asks a node and waits at most `within` for its answer.
    ///
    /// # Errors
    /// When it is not connected, does not answer in time, or says no.
    async fn ask(
        &self,
        node: &NodeName,
        question: Question,
        within: Duration,
    ) -> Result<Answer, ask::Error>;

    /// Publishes above everything that any node holds: nodes that are ahead are served again.
    ///
    /// # Errors
    /// When none is ahead, or the store fails.
    async fn recover(&self, who: &str) -> Result<Generation, publish::Error>;
}

/// What was heard.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By node.
    pub nodes: Arc<BTreeMap<NodeName, NodeSeen>>,
    /// Instances that may not come back, by id, and why.
    pub shut_out: Arc<BTreeMap<String, String>>,
}

impl Seen {
    /// The nodes that are connected now.
    #[must_use]
    pub fn connected(&self) -> BTreeSet<&NodeName> {
        let connected = self.nodes.iter().filter(|(_, seen)| seen.connected());
        connected.map(|(name, _)| name).collect()
    }
}
