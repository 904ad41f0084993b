//! `rules`: each parsed once (`Draft`), an instance on each of its nodes, and what must hold between a rule, its upstream and
//! whatever it authenticates with.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wire::{
    name::{CredentialName, IdentityName, NodeName, RuleName},
    pattern::Pattern,
};

use super::{
    Mesh, Scope,
    behaviour::{self, Behaviour},
    node::is_known,
    target::Index,
    value,
};
use crate::{
    document,
    model::{
        Topology,
        identity::IdentityKind,
        rule::{Source, UpstreamRef},
    },
    place::{At, Place},
    problem::{Code, Finding, Findings},
    selector,
    source::{self, Fault, Upstream, Written},
    value::is_loopback,
};

/// A rule as it was written, parsed.
pub(super) struct Draft<'d> {
    pub(super) key: &'d At<String>,
    pub(super) section: &'d document::Rule,
    pub(super) name: Option<RuleName>,
    pub(super) on: BTreeSet<NodeName>,
    pub(super) source: Option<Written>,
    pub(super) target: Option<Pattern>,
    pub(super) identity: Option<IdentityName>,
    pub(super) credentials: Option<CredentialName>,
    pub(super) behaviour: Behaviour,
}

impl Draft<'_> {
    pub(super) fn source_place(&self) -> Place {
        let place = self.section.source.as_ref().map(|at| at.place);
        place.unwrap_or(self.key.place)
    }

    pub(super) fn target_place(&self) -> Place {
        let place = self.section.target.as_ref().map(|at| at.place);
        place.unwrap_or(self.key.place)
    }

    pub(super) fn identity_place(&self) -> Place {
        let place = self.section.identity.as_ref().map(|at| at.place);
        place.unwrap_or(self.key.place)
    }
}

/// A rule on one node, with its upstream known.
pub(super) struct Instance {
    pub(super) draft: usize,
    pub(super) node: NodeName,
    pub(super) source: Source,
    pub(super) target: Pattern,
}

/// Every rule and where it is in force.
pub(super) struct Rules<'d> {
    pub(super) drafts: Vec<Draft<'d>>,
    pub(super) instances: Vec<Instance>,
    pub(super) by_node: BTreeMap<NodeName, Index>,
    /// Instances with the target of an earlier one on the same node: (earlier, this).
    pub(super) same_target: Vec<(usize, usize)>,
}

impl<'d> Rules<'d> {
    pub(super) fn of(mesh: &Mesh<'d>, findings: &mut Findings) -> Self {
        let endpoints = endpoints(mesh);
        let mut rules = Self {
            drafts: Vec::new(),
            instances: Vec::new(),
            by_node: BTreeMap::new(),
            same_target: Vec::new(),
        };
        for (key, section) in &mesh.document.rules {
            let draft = draft(key, section, mesh, findings);
            rules.add(draft, &endpoints, mesh, findings);
        }
        rules
    }

    pub(super) fn draft_of(&self, instance: usize) -> &Draft<'d> {
        &self.drafts[self.instances[instance].draft]
    }

    fn add(
        &mut self,
        draft: Draft<'d>,
        endpoints: &HashMap<String, NodeName>,
        mesh: &Mesh<'d>,
        findings: &mut Findings,
    ) {
        let number = self.drafts.len();
        let mut orphans = Vec::new();
        // A source that names a node is looked up once, so that it is reported once.
        let fixed = draft
            .source
            .as_ref()
            .and_then(|written| match &written.upstream {
                Upstream::Host(host) => Some(match endpoints.get(host) {
                    Some(node) => UpstreamRef::Node(node.clone()),
                    None => UpstreamRef::Host(host.clone()),
                }),
                Upstream::Node(node) => {
                    let at = At {
                        value: node.clone(),
                        place: draft.source_place(),
                    };
                    mesh.declared.node(&at, findings).map(UpstreamRef::Node)
                }
                Upstream::Parent => None,
            });
        for node in &draft.on {
            let Some((written, target)) = draft.source.as_ref().zip(draft.target.as_ref()) else {
                break;
            };
            let upstream = if written.upstream == Upstream::Parent {
                let parent = mesh.nodes.get(node).and_then(|n| n.parent.clone());
                let declares = mesh.document.nodes.get(node.as_str());
                if declares.is_some_and(|section| section.parent.is_none()) {
                    orphans.push(node.clone());
                }
                parent.map(UpstreamRef::Node)
            } else {
                fixed.clone()
            };
            let Some(upstream) = upstream else { continue };
            let index = self.by_node.entry(node.clone()).or_default();
            let instance = self.instances.len();
            if let Some(first) = index.insert(target, instance) {
                self.same_target.push((first, instance));
            }
            self.instances.push(Instance {
                draft: number,
                node: node.clone(),
                source: Source {
                    upstream,
                    repositories: written.repositories.clone(),
                },
                target: target.clone(),
            });
        }
        if let Some(message) = several(&orphans, |node| format!("`{node}` has no parent")) {
            findings.push(
                Finding::error(Code::NoParent, draft.source_place(), message)
                    .advice("give the node a `parent`, or write node://NODE/… as source"),
            );
        }
        self.drafts.push(draft);
    }
}

/// One message for a problem that the same rule has on several nodes.
pub(super) fn several(nodes: &[NodeName], message: impl Fn(&NodeName) -> String) -> Option<String> {
    let (first, others) = nodes.split_first()?;
    let mut text = message(first);
    if !others.is_empty() {
        text.push_str(&format!(" (and so for {} other nodes)", others.len()));
    }
    Some(text)
}

/// Every way to write a node's endpoint as the host of a source.
fn endpoints(mesh: &Mesh<'_>) -> HashMap<String, NodeName> {
    let mut endpoints = HashMap::new();
    for (name, node) in mesh
        .nodes
        .iter()
        .filter(|(_, node)| is_known(&node.endpoint))
    {
        let endpoint = &node.endpoint;
        endpoints.insert(endpoint.login_server(), name.clone());
        endpoints.insert(format!("{}:{}", endpoint.host, endpoint.port), name.clone());
    }
    endpoints
}

fn draft<'d>(
    key: &'d At<String>,
    section: &'d document::Rule,
    mesh: &Mesh<'d>,
    findings: &mut Findings,
) -> Draft<'d> {
    let source = section.source.as_ref().and_then(|at| {
        source::source(&at.value)
            .map_err(|fault| findings.push(misfit(at, fault)))
            .ok()
    });
    let target = section.target.as_ref().and_then(|at| {
        source::target(&at.value)
            .map_err(|fault| findings.push(misfit(at, fault)))
            .ok()
    });
    let draft = Draft {
        key,
        section,
        name: value::name(key, findings),
        on: section.on.as_ref().map_or_else(BTreeSet::new, |on| {
            selector::resolve(on, &mesh.nodes, &mesh.declared, findings)
        }),
        source,
        target,
        identity: section
            .identity
            .as_ref()
            .and_then(|at| mesh.declared.identity(at, findings)),
        credentials: section
            .credentials
            .as_ref()
            .and_then(|at| mesh.declared.credential(at, findings)),
        behaviour: behaviour::of(section, findings),
    };
    if let Some((source, target)) = draft.source.as_ref().zip(draft.target.as_ref())
        && source.repositories.is_wildcard() != target.is_wildcard()
    {
        let message = "only one of source and target ends in `*`";
        findings.push(
            Finding::error(Code::WildcardMismatch, draft.target_place(), message)
                .also(draft.source_place(), "the source")
                .advice("end both in `*`, or neither"),
        );
    }
    if let Some((_, at)) = section.identity.as_ref().zip(section.credentials.as_ref()) {
        let message = format!(
            "the rule `{}` has both an identity and credentials",
            key.value
        );
        findings.push(
            Finding::error(Code::IdentityAndCredentials, at.place, message)
                .also(draft.identity_place(), "the identity")
                .advice("keep one of the two"),
        );
    }
    draft
}

/// What is wrong with a source or target.
fn misfit(at: &At<String>, fault: Fault) -> Finding {
    let text = &at.value;
    match fault {
        Fault::Tag => Finding::error(
            Code::TagInSource,
            at.place,
            format!("`{text}` has a tag or a digest"),
        )
        .advice("name the repository alone: a rule covers all of its tags"),
        Fault::Host => Finding::error(
            Code::InvalidUrl,
            at.place,
            format!("`{text}` does not begin with a host"),
        )
        .advice("write HOST[:PORT]/REPOSITORY, node://NODE/REPOSITORY or parent://REPOSITORY"),
        Fault::Shape => Finding::error(
            Code::InvalidPattern,
            at.place,
            format!("`{text}` is not a source"),
        )
        .advice("write HOST[:PORT]/REPOSITORY, node://NODE/REPOSITORY or parent://REPOSITORY"),
        Fault::Repository => Finding::error(
            Code::InvalidPattern,
            at.place,
            format!("`{text}` does not name a repository"),
        )
        .advice("write the repository in lower case; `*` is only the last path component"),
    }
}

/// A pattern of an identity's `sources`, with a node's endpoint turned into the node; `*` for every source.
pub(super) fn source_pattern(
    at: &At<String>,
    mesh: &Mesh<'_>,
    findings: &mut Findings,
) -> Option<String> {
    if at.value == "*" {
        return Some(at.value.clone());
    }
    let written = match source::source(&at.value) {
        Ok(written) if written.upstream != Upstream::Parent => written,
        Ok(_) => {
            findings.push(misfit(at, Fault::Shape));
            return None;
        }
        Err(fault) => {
            findings.push(misfit(at, fault));
            return None;
        }
    };
    let upstream = match written.upstream {
        Upstream::Host(host) => match endpoints(mesh).remove(&host) {
            Some(node) => UpstreamRef::Node(node),
            None => UpstreamRef::Host(host),
        },
        // A slice names nodes that are not in it.
        Upstream::Node(name) if mesh.scope == Scope::Slice => UpstreamRef::Node(name.parse().ok()?),
        Upstream::Node(name) => {
            let place = at.place;
            UpstreamRef::Node(mesh.declared.node(&At { value: name, place }, findings)?)
        }
        Upstream::Parent => return None,
    };
    let repositories = written.repositories;
    Some(
        Source {
            upstream,
            repositories,
        }
        .to_string(),
    )
}

/// Checks every rule against its upstreams and what it authenticates with.
pub(super) fn check(
    mesh: &Mesh<'_>,
    rules: &Rules<'_>,
    topology: &Topology,
    findings: &mut Findings,
) {
    let mut told = BTreeSet::new();
    for instance in &rules.instances {
        if !told.insert((instance.draft, &instance.source.upstream)) {
            continue;
        }
        let draft = &rules.drafts[instance.draft];
        if mesh.scope == Scope::Mesh {
            needs_authentication(draft, instance, findings);
        }
        login_server(draft, instance, mesh, topology, findings);
        if let Some(name) = &draft.identity {
            identity_kind(draft, name, instance, topology, findings);
            identity_source(draft, name, instance, topology, findings);
            plaintext(draft, name, instance, mesh, topology, findings);
        }
    }
    if mesh.scope == Scope::Mesh {
        for draft in &rules.drafts {
            attached(draft, topology, findings);
        }
    }
}

fn needs_authentication(draft: &Draft<'_>, instance: &Instance, findings: &mut Findings) {
    let named = draft.section.identity.is_some() || draft.section.credentials.is_some();
    if let (UpstreamRef::Node(node), false) = (&instance.source.upstream, named) {
        let message = format!(
            "the rule `{}` asks the node `{node}` and has neither identity nor credentials",
            draft.key.value
        );
        findings.push(
            Finding::error(Code::UpstreamNeedsAuthentication, draft.source_place(), message)
                .advice("add `identity: NAME` or `credentials: NAME`: anonymous pull between nodes is not supported"),
        );
    }
}

fn login_server(
    draft: &Draft<'_>,
    instance: &Instance,
    mesh: &Mesh<'_>,
    topology: &Topology,
    findings: &mut Findings,
) {
    let Some((at, set)) = draft
        .section
        .credentials
        .as_ref()
        .zip(draft.credentials.as_ref())
        .and_then(|(at, name)| Some((at, topology.credentials.get(name)?)))
    else {
        return;
    };
    let wanted = match &instance.source.upstream {
        UpstreamRef::Host(host) => vec![host.clone()],
        UpstreamRef::Node(node) => {
            let Some(node) = mesh.nodes.get(node).filter(|n| is_known(&n.endpoint)) else {
                return;
            };
            let own = std::iter::once(&node.endpoint).chain(&node.peer_endpoint);
            own.flat_map(|e| [e.login_server(), format!("{}:{}", e.host, e.port)])
                .collect()
        }
    };
    if wanted.contains(&set.login_server) {
        return;
    }
    let message = format!(
        "the credential set `{}` is for {}, and the rule `{}` asks {}",
        at.value, set.login_server, draft.key.value, wanted[0]
    );
    let declared = mesh.document.credentials.get(at.value.as_str());
    let place = declared
        .and_then(|set| set.login_server.as_ref())
        .map(|at| at.place);
    findings.push(
        Finding::error(Code::LoginServerMismatch, at.place, message)
            .also(place.unwrap_or_default(), "its login server")
            .advice(format!(
                "name a credential set with `loginServer: {}`",
                wanted[0]
            )),
    );
}

fn identity_kind(
    draft: &Draft<'_>,
    name: &IdentityName,
    instance: &Instance,
    topology: &Topology,
    findings: &mut Findings,
) {
    let Some(identity) = topology.identities.get(name) else {
        return;
    };
    let upstream = &instance.source.upstream;
    let (message, advice) = match (&identity.kind, upstream) {
        (IdentityKind::Managed, UpstreamRef::Host(host)) => (
            format!("`{name}` is a managed identity, and {host} is not a node of this mesh"),
            "managed identities are understood by nodes alone: use credentials, or an azure or federated identity",
        ),
        (IdentityKind::Azure { scope: None, .. }, UpstreamRef::Node(node)) => (
            format!(
                "`{name}` is an azure identity, and the node `{node}` is no Azure Container Registry"
            ),
            "use a managed identity towards a node, or give this one a `scope` of its own",
        ),
        (IdentityKind::Azure { scope: None, .. }, UpstreamRef::Host(host)) if !is_acr(host) => (
            format!("`{name}` is an azure identity, and {host} is no Azure Container Registry"),
            "give the identity a `scope` of its own: a token for ACR is never sent to another host",
        ),
        _ => return,
    };
    findings.push(
        Finding::error(Code::IdentityKindMismatch, draft.identity_place(), message).advice(advice),
    );
}

fn is_acr(host: &str) -> bool {
    const SUFFIXES: [&str; 4] = [".azurecr.io", ".azurecr.cn", ".azurecr.us", ".azurecr.de"];
    SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
}

fn identity_source(
    draft: &Draft<'_>,
    name: &IdentityName,
    instance: &Instance,
    topology: &Topology,
    findings: &mut Findings,
) {
    let Some(identity) = topology.identities.get(name) else {
        return;
    };
    let source = &instance.source;
    let covers = |pattern: &String| {
        let own = format!("{}/", prefix(&source.upstream));
        pattern == "*"
            || pattern
                .strip_prefix(&own)
                .and_then(|rest| rest.parse::<Pattern>().ok())
                .is_some_and(|pattern| pattern.contains(&source.repositories))
    };
    if identity.sources.is_empty() || identity.sources.iter().any(covers) {
        return;
    }
    let message = format!("`{name}` may not be presented for {source}");
    findings.push(
        Finding::error(Code::IdentityNotForSource, draft.identity_place(), message).advice(
            format!(
                "its `sources` are {}: add this one, or use another identity",
                identity.sources.join(", ")
            ),
        ),
    );
}

fn prefix(upstream: &UpstreamRef) -> String {
    match upstream {
        UpstreamRef::Node(node) => format!("node://{node}"),
        UpstreamRef::Host(host) => host.clone(),
    }
}

fn plaintext(
    draft: &Draft<'_>,
    name: &IdentityName,
    instance: &Instance,
    mesh: &Mesh<'_>,
    topology: &Topology,
    findings: &mut Findings,
) {
    let beyond = match &instance.source.upstream {
        UpstreamRef::Host(host) => {
            let insecure = topology.upstreams.get(host).is_some_and(|u| u.insecure);
            insecure && !is_loopback(crate::value::without_port(host))
        }
        UpstreamRef::Node(node) => mesh.nodes.get(node).is_some_and(|node| {
            let endpoint = node.peer_endpoint.as_ref().unwrap_or(&node.endpoint);
            is_known(endpoint) && !endpoint.secure && !is_loopback(&endpoint.host)
        }),
    };
    if beyond {
        let upstream = &instance.source.upstream;
        let message = format!("`{name}` would be presented to {upstream} over plain http");
        findings.push(
            Finding::error(Code::PlaintextIdentity, draft.identity_place(), message)
                .advice("give the upstream an https endpoint: plain http is for loopback alone"),
        );
    }
}

fn attached(draft: &Draft<'_>, topology: &Topology, findings: &mut Findings) {
    let Some(name) = &draft.identity else { return };
    let Some(identity) = topology.identities.get(name) else {
        return;
    };
    let missing: Vec<NodeName> = draft.on.difference(&identity.on).cloned().collect();
    let text = |node: &NodeName| {
        format!("the identity {name} does not exist or is not associated with node {node}")
    };
    if let Some(message) = several(&missing, text) {
        findings.push(
            Finding::error(Code::IdentityNotAttached, draft.identity_place(), message)
                .advice(format!("add the node to `on` of the identity `{name}`")),
        );
    }
}
