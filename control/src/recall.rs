//! Recalls in force, and which nodes have confirmed them: an ACK of the generation that brought one, or of a later one, confirms it.
//!
//! Of a node with several instances all that are connected must have it. A node that is away has not confirmed what it was not there for.

use wire::{api::recall::Recall, generation::Generation, name::NodeName};

use crate::{asking::Seen, publish::Current, report::NodeSeen};

/// Every recall in force, in order of digest.
#[must_use]
pub fn in_force(current: &Current, seen: &Seen) -> Vec<Recall> {
    let nodes = current
        .topology
        .iter()
        .flat_map(|topology| topology.nodes.keys());
    let nodes: Vec<&NodeName> = nodes.collect();
    let recalls = current.published.desired.recalls.iter();
    let told = recalls.map(|(digest, recall)| {
        let has = |node: &&&NodeName| confirmed(seen.nodes.get(**node), recall.generation);
        let (confirmed, unconfirmed): (Vec<&&NodeName>, Vec<&&NodeName>) =
            nodes.iter().partition(has);
        let owned =
            |names: Vec<&&NodeName>| names.into_iter().map(|name| (*name).clone()).collect();
        Recall {
            digest: digest.clone(),
            reason: recall.reason.clone(),
            at: recall.at,
            by: recall.by.clone(),
            generation: recall.generation,
            confirmed: owned(confirmed),
            unconfirmed: owned(unconfirmed),
        }
    });
    told.collect()
}

/// Whether every instance that counts has confirmed a generation: the connected ones, or of a node that is away all of them.
fn confirmed(seen: Option<&NodeSeen>, generation: Generation) -> bool {
    let Some(seen) = seen else {
        return false;
    };
    let connected = seen.connected();
    let mut counting = seen
        .instances
        .values()
        .filter(|instance| instance.connected || !connected)
        .peekable();
    counting.peek().is_some() && counting.all(|instance| instance.seen.confirmed >= generation)
}
