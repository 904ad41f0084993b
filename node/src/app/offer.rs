//! May a slice that the control plane offers come into force here? Asked before it is written down; nothing is changed by asking.
//!
//! A conflict that a new generation would bring refuses it whole, and the last good one stays. A rule that is in conflict already is
//! none of the new one's doing, or the node could never follow again; and a node that begins (from disk, or with its first slice) has
//! no last good one to keep, so there the rule alone is in state `Conflict` and the rest works. Where it cannot be told, because the
//! metadata cannot be read, the slice goes on: it may carry a recall. Source: `spec/control-plane.md` "Distribution",
//! `spec/pull-through.md` "Repositories".

use topology::{
    model::{Node, SharedRule},
    resolve::Resolver,
};
use wire::api::problem::Problem;

use super::{Defaults, Running, Shared, Slice};
use crate::rule::conflict;

impl Running {
    /// Whether `slice` may come into force on top of what is.
    ///
    /// # Errors
    /// Every reason why not.
    pub async fn check(&self, slice: &Slice) -> Result<(), Vec<Problem>> {
        self.shared.check(slice).await
    }
}

impl Shared {
    async fn check(&self, slice: &Slice) -> Result<(), Vec<Problem>> {
        if let Some(why) = self.closed.get() {
            return Err(vec![Problem::new(403, "closed", why.clone())]);
        }
        let in_force = self.slice.load_full();
        if slice.generation < in_force.generation {
            let text = format!(
                "generation {} is older than {}, which is in force",
                slice.generation, in_force.generation
            );
            return Err(vec![Problem::new(409, "older-generation", text)]);
        }
        if slice.topology.mesh != in_force.topology.mesh {
            let text = format!(
                "the slice is of mesh '{}', this node of '{}'",
                slice.topology.mesh, in_force.topology.mesh
            );
            return Err(vec![Problem::new(409, "other-mesh", text)]);
        }
        let Some(own) = slice.own() else {
            let text = format!("the slice declares no node '{}'", self.name);
            return Err(vec![Problem::new(422, "other-node", text)]);
        };
        unsupported(own).map_or(Ok(()), |problem| Err(vec![problem]))?;
        let problems = self.conflicts(&own.rules).await;
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// Conflicts that are not there yet.
    async fn conflicts(&self, rules: &[SharedRule]) -> Vec<Problem> {
        let resolver = Resolver::new(rules);
        let found = conflict::find(rules, &resolver, &**self.store.metadata()).await;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(node = %self.name, %error, "cannot tell whether a rule's target holds pushed content");
                return Vec::new();
            }
        };
        let in_force = self.rules.load();
        let is_new = |rule: &SharedRule| {
            let before = in_force.get(&rule.name);
            !before.is_some_and(|b| b.rule.target == rule.target && b.state.in_conflict())
        };
        let new = rules.iter().filter(|rule| is_new(rule)).filter_map(|rule| {
            let repository = found.get(&rule.name)?;
            let text = format!(
                "the rule '{}' cannot take effect: its target '{}' covers '{repository}', which holds pushed content; delete that, or choose another target",
                rule.name, rule.target
            );
            Some(Problem::new(409, "repository-conflict", text))
        });
        new.collect()
    }
}

/// What this release cannot do at all.
pub(super) fn unsupported(own: &Node) -> Option<Problem> {
    (own.storage.blobs.is_some() || own.storage.metadata.is_some())
        .then(|| Problem::new(422, "unsupported", LOCAL_ONLY))
}

pub(super) const LOCAL_ONLY: &str = "this release stores in local files and SQLite only: leave out storage.blobs and storage.metadata";

/// What a node was started with and keeps until it is started again.
pub(super) struct Started {
    pub own: Node,
    /// Whether flags say the addresses, so that the slice does not.
    pub listen: bool,
    pub admin: bool,
    /// Whether it has a certificate of its mesh, to serve an https endpoint with.
    pub certified: bool,
    pub defaults: Defaults,
}

/// What `own` says otherwise and `before` did not, for people.
pub(super) fn new_restarts(started: &Started, before: Option<&Node>, own: &Node) -> Vec<String> {
    let known = before.map(|before| restarts(started, before));
    let mut new = restarts(started, own);
    new.retain(|text| known.as_ref().is_none_or(|known| !known.contains(text)));
    new
}

/// What `own` says otherwise, for people; empty when a restart would change nothing.
pub(super) fn restarts(started: &Started, own: &Node) -> Vec<String> {
    let old = &started.own;
    let endpoint = started.defaults == Defaults::Up && own.listen.is_none();
    let changed = [
        (!started.listen && old.listen != own.listen, "listen"),
        (
            (!started.listen && endpoint && old.endpoint != own.endpoint)
                || (started.certified && old.endpoint.secure != own.endpoint.secure),
            "endpoint",
        ),
        (!started.admin && old.admin != own.admin, "admin"),
        (old.tls != own.tls, "tls"),
        (old.storage != own.storage, "storage"),
    ];
    let changed = changed.into_iter().filter(|(changed, _)| *changed);
    changed
        .map(|(_, key)| format!("'{key}' has changed: restart the node to put it in force"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(more: &str) -> Node {
        let text = format!("version: 1\nmesh: one\nnodes:\n  dev: {{{more}}}\n");
        let loaded = topology::load(&[("t.yaml".to_owned(), text)]);
        let nodes = loaded.expect("valid").topology.nodes;
        Node::clone(&nodes[&"dev".parse().unwrap()])
    }

    #[test]
    fn what_was_started_with_other_addresses_is_told_once() {
        let at = |port: u16| node(&format!("endpoint: 'http://127.0.0.1:{port}'"));
        let listening = node("endpoint: 'http://127.0.0.1:5000', listen: '127.0.0.1:6000'");
        let started = Started {
            own: at(5000),
            listen: false,
            admin: false,
            certified: false,
            defaults: Defaults::Up,
        };
        let keys = |before: &Node, own: &Node| new_restarts(&started, Some(before), own).join(" ");
        assert_eq!(keys(&at(5000), &at(5000)), "");
        assert!(keys(&at(5000), &at(5001)).starts_with("'endpoint' has changed: restart"));
        assert_eq!(keys(&at(5001), &at(5001)), "", "once");
        assert_eq!(keys(&at(5001), &at(5000)), "", "it is as it was");
        assert!(keys(&at(5001), &listening).starts_with("'listen' has changed: restart"));
        assert_eq!(new_restarts(&started, None, &at(5001)).len(), 1);
    }
}
