//! `explain`: each node on the way of one pull is asked, hop after hop, until the upstream is no node.
//!
//! A node that cannot be asked is a hop too, and the way goes on by what the topology says, for what is behind it may be what matters. A
//! valid topology has three tiers at most; four hops are asked and no more, whatever nodes answer. What the nodes cannot know is added
//! here: the upstream node's network policy, and that tiers decide by different generations. Source: `spec/operations.md` "explain".

use std::time::Duration;

use topology::{
    model::{Topology, network::Access, rule::UpstreamRef},
    resolve::Resolver,
};
use wire::{
    api::{
        ask::{Answer, Question},
        explain::{Explanation, Hop, Network, Next, Outcome, Query, Request},
    },
    generation::Generation,
    name::NodeName,
    repository::RepositoryName,
};

use crate::{ask, asking::Asking};

/// How many nodes are asked at most.
const HOPS: usize = 4;

/// Explains one pull. Each node is given `within` to answer.
pub async fn explain(
    topology: &Topology,
    request: Request,
    nodes: &dyn Asking,
    within: Duration,
) -> Explanation {
    let mut hops: Vec<Hop> = Vec::new();
    let mut at = Some((request.node.clone(), request.query.clone()));
    while let Some((node, query)) = at.take().filter(|_| hops.len() < HOPS) {
        let question = Question::Explain(query.clone());
        let hop = match nodes.ask(&node, question, within).await {
            Ok(Answer::Explain(hop)) => *hop,
            Ok(_) => unreachable(topology, &node, &query, "it answered something else"),
            Err(error) => unreachable(topology, &node, &query, &why(&error)),
        };
        let next = upstream(topology, &node, &hop, &query.repository);
        hops.push(match &next {
            Some((upstream, _)) => with_policy(topology, upstream, hop),
            None => hop,
        });
        at = next.map(|(upstream, repository)| {
            let query = Query {
                repository,
                ..query
            };
            (upstream, query)
        });
    }
    let summary = summary(&request, &hops);
    Explanation {
        request,
        summary,
        hops,
    }
}

fn why(error: &ask::Error) -> String {
    match error {
        ask::Error::NotConnected(_) => "it is not connected to the control plane".to_owned(),
        ask::Error::TimedOut(_) => "it did not answer in time".to_owned(),
        ask::Error::Refused(problem) => problem.detail.clone(),
        ask::Error::State(error) => error.to_string(),
    }
}

fn unreachable(topology: &Topology, node: &NodeName, query: &Query, why: &str) -> Hop {
    Hop {
        node: node.clone(),
        tier: topology.tier(node),
        generation: Generation(0),
        repository: query.repository.clone(),
        reference: query.reference.clone(),
        rule: None,
        almost: Vec::new(),
        authentication: None,
        network: None,
        tag: None,
        upstream_digest: None,
        next: Next {
            outcome: Outcome::Refuse,
            reason: format!("not known: {why}"),
            status: None,
            refusal: None,
        },
        stored: Vec::new(),
        copy: None,
        unreachable: Some(why.to_owned()),
    }
}

/// The node that a hop pulls from and the repository's name there: as the node says, or, of one that cannot be asked, as the topology does.
fn upstream(
    topology: &Topology,
    node: &NodeName,
    hop: &Hop,
    repository: &RepositoryName,
) -> Option<(NodeName, RepositoryName)> {
    if hop.unreachable.is_none() {
        let rule = hop.rule.as_ref()?;
        let upstream = rule.upstream_node.clone()?;
        return Some((upstream, rule.mapped.clone()));
    }
    let resolved = Resolver::new(&topology.node(node)?.rules).resolve(repository)?;
    match &resolved.rule.source.upstream {
        UpstreamRef::Node(upstream) => Some((upstream.clone(), resolved.source)),
        UpstreamRef::Host(_) => None,
    }
}

/// What the topology says about who may connect to the upstream, beside what the hop found.
fn with_policy(topology: &Topology, upstream: &NodeName, mut hop: Hop) -> Hop {
    let Some(network) = topology.node(upstream).map(|node| &node.network) else {
        return hop;
    };
    let (lets_in, policy) = match (network.access, network.trust_mesh_peers) {
        (Access::Public, _) => (true, "public"),
        (Access::Selected, true) => (
            true,
            "selected networks, and mesh nodes by their certificates",
        ),
        (Access::Private, true) => (true, "private, and mesh nodes by their certificates"),
        (Access::Selected, false) => (true, "selected networks alone, mesh nodes are not trusted"),
        (Access::Private, false) => (false, "private: loopback alone, mesh nodes are not trusted"),
    };
    let policy = format!("access to {upstream} is {policy}");
    hop.network = Some(match hop.network.take() {
        Some(found) => Network {
            detail: format!("{}; {policy}", found.detail),
            ..found
        },
        None => Network {
            reachable: lets_in,
            detail: policy,
        },
    });
    hop
}

/// What the next pull at the asked node will get, in one sentence, and what else is worth knowing.
fn summary(request: &Request, hops: &[Hop]) -> String {
    let what = format!("{}/{}", request.node, named(&request.query));
    let mut text = match hops.first() {
        None => format!("{what}: nobody could be asked."),
        Some(first) => sentence(&what, first, hops.get(1..).unwrap_or_default()),
    };
    let mut known: Vec<&Hop> = hops
        .iter()
        .filter(|hop| hop.unreachable.is_none())
        .collect();
    known.dedup_by_key(|hop| hop.generation);
    if known.len() > 1 {
        let each: Vec<String> = known
            .iter()
            .map(|hop| format!("{} by {}", hop.node, hop.generation))
            .collect();
        text.push_str(&format!(
            " The tiers decide by different generations: {}.",
            each.join(", ")
        ));
    }
    text
}

fn sentence(what: &str, first: &Hop, above: &[Hop]) -> String {
    if let Some(why) = &first.unreachable {
        return format!(
            "What {} will do with {what} is not known: {why}.",
            first.node
        );
    }
    let reason = first.next.reason.trim_end_matches('.');
    match first.next.outcome {
        Outcome::Hit => format!("{what} is served from storage: {reason}."),
        Outcome::Check => {
            format!("{what} is checked with one HEAD and served from storage: {reason}.")
        }
        Outcome::ServeStale => {
            format!("{what} is served from storage although it cannot be checked: {reason}.")
        }
        Outcome::Refuse => {
            let status = first
                .next
                .status
                .map(|status| format!(" with {status}"))
                .unwrap_or_default();
            let name = first
                .next
                .refusal
                .map(|name| format!(" {name}"))
                .unwrap_or_default();
            format!("{what} is refused{status}{name}: {reason}.")
        }
        Outcome::Fill => format!(
            "{what} is fetched from {}{}.",
            source(first),
            onwards(above)
        ),
    }
}

fn source(hop: &Hop) -> String {
    hop.rule.as_ref().map_or_else(
        || "its upstream".to_owned(),
        |rule| match &rule.upstream_node {
            Some(node) => format!("{node}/{}", rule.mapped),
            None => format!("{}/{}", rule.upstream, rule.mapped),
        },
    )
}

/// What happens above a hop that fetches.
fn onwards(above: &[Hop]) -> String {
    let Some((next, above)) = above.split_first() else {
        return String::new();
    };
    if next.unreachable.is_some() {
        return format!(", and {} could not be asked what it will do", next.node);
    }
    let reason = next.next.reason.trim_end_matches('.');
    match next.next.outcome {
        Outcome::Fill => format!(", which fetches it from {}{}", source(next), onwards(above)),
        Outcome::Refuse => format!(", which refuses it: {reason}"),
        Outcome::Hit | Outcome::Check | Outcome::ServeStale => {
            ", which serves it from storage".to_owned()
        }
    }
}

fn named(query: &Query) -> String {
    let separator = match &query.reference {
        wire::reference::Reference::Tag(_) => ':',
        wire::reference::Reference::Digest(_) => '@',
    };
    format!("{}{separator}{}", query.repository, query.reference)
}

#[cfg(test)]
mod tests;
