//! `IDENT-SCOPE`: whether each rule may use what it calls as: the identity is attached here and covers the source, the credential
//! set is for that registry.
//!
//! `plan` refuses all of this; a slice of an older control plane, or one that is being rearranged, may still hold it. Pure.

use topology::model::{
    Topology,
    rule::{Authentication, Rule, UpstreamRef},
};
use wire::{
    name::{CredentialName, IdentityName, NodeName},
    pattern::Pattern,
    refusal::Refusal,
};

use super::{Finding, Patient, found};

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let rules = patient.working();
    let judged = rules.iter().filter_map(|active| {
        let (text, fix) = problem(&active.rule, &patient.topology, &patient.node)?;
        let subject = Some(format!("rule {}", active.rule.name));
        Some(Finding::failed(subject, text, fix))
    });
    let findings = judged.collect();
    let as_somebody =
        |authentication: &Authentication| *authentication != Authentication::Anonymous;
    let count = rules
        .iter()
        .filter(|active| as_somebody(&active.rule.authentication))
        .count();
    found(
        findings,
        format!("{count} rules call as somebody, each as one that they may use there"),
    )
}

/// Why a rule may not use what it calls as, and what to do.
fn problem(rule: &Rule, topology: &Topology, node: &NodeName) -> Option<(String, String)> {
    match &rule.authentication {
        Authentication::Anonymous => None,
        Authentication::Identity(name) => identity(rule, name, topology, node),
        Authentication::Credentials(name) => credentials(rule, name, topology),
    }
}

fn identity(
    rule: &Rule,
    name: &IdentityName,
    topology: &Topology,
    node: &NodeName,
) -> Option<(String, String)> {
    let refusal = Refusal::IdentityNotAttached;
    let attach = format!("attach it: `regmesh identity assign --name {name} --registry {node}`");
    let Some(identity) = topology.identities.get(name) else {
        let text = format!("{refusal}: the identity '{name}' is not in this node's slice");
        return Some((text, attach));
    };
    if !identity.on.contains(node) {
        let text = format!("{refusal}: the identity '{name}' is not attached to {node}");
        return Some((text, attach));
    }
    let covers = |pattern: &String| covers(pattern, rule);
    if identity.sources.is_empty() || identity.sources.iter().any(covers) {
        return None;
    }
    let sources = identity.sources.join(", ");
    let text = format!(
        "the identity '{name}' may be presented for {sources}, not for {}",
        rule.source
    );
    let fix = format!(
        "add {} to the identity's `sources`, or give the rule another identity",
        rule.source
    );
    Some((text, fix))
}

fn covers(pattern: &str, rule: &Rule) -> bool {
    let own = match &rule.source.upstream {
        UpstreamRef::Node(node) => format!("node://{node}/"),
        UpstreamRef::Host(host) => format!("{host}/"),
    };
    let rest = pattern.strip_prefix(&own);
    let rest = rest.and_then(|rest| rest.parse::<Pattern>().ok());
    pattern == "*" || rest.is_some_and(|rest| rest.contains(&rule.source.repositories))
}

fn credentials(
    rule: &Rule,
    name: &CredentialName,
    topology: &Topology,
) -> Option<(String, String)> {
    let Some(set) = topology.credentials.get(name) else {
        let text = format!("the credential set '{name}' is not in this node's slice");
        let fix = "apply the topology again; the control plane and this node may be of different releases";
        return Some((text, fix.to_owned()));
    };
    let servers = match &rule.source.upstream {
        UpstreamRef::Host(host) => vec![host.clone()],
        UpstreamRef::Node(node) => {
            let node = topology.node(node)?;
            let own = std::iter::once(&node.endpoint).chain(&node.peer_endpoint);
            own.flat_map(|end| [end.login_server(), format!("{}:{}", end.host, end.port)])
                .collect()
        }
    };
    if servers.contains(&set.login_server) {
        return None;
    }
    let asked = servers.first().map_or("", String::as_str);
    let text = format!(
        "the credential set '{name}' is for {}, and the rule asks {asked}",
        set.login_server
    );
    let fix = format!("give the rule a credential set with `loginServer: {asked}`");
    Some((text, fix))
}
