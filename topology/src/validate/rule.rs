//! `rules`: each parsed once (`Draft`), an instance on each of its nodes, and what must hold between a rule, its upstream and
//! whatever it authenticates with.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

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
    model::rule::{Source, UpstreamRef},
    place::{At, Place},
    problem::{Code, Finding, Findings},
    selector,
    source::{self, Fault, Upstream, Written},
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

    /// Of the identity or of the credential set.
    pub(super) fn authentication_place(&self) -> Place {
        let (identity, set) = (&self.section.identity, &self.section.credentials);
        let place = identity.as_ref().map(|at| at.place);
        let place = place.or_else(|| set.as_ref().map(|at| at.place));
        place.unwrap_or(self.key.place)
    }
}

/// A rule on one node, with its upstream known.
pub(super) struct Instance {
    pub(super) draft: usize,
    pub(super) node: NodeName,
    /// Shared by the nodes on which it is the same.
    pub(super) source: Arc<Source>,
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
        let parsed = draft.source.as_ref().zip(draft.target.as_ref());
        let shared = parsed.map(|(written, target)| {
            let fixed = fixed.map(|upstream| from(upstream, written));
            (written, target, Arc::from(target.to_string()), fixed)
        });
        for node in &draft.on {
            let Some((written, target, text, fixed)) = &shared else {
                break;
            };
            let source = if written.upstream == Upstream::Parent {
                let parent = mesh.nodes.get(node).and_then(|n| n.parent.clone());
                let declares = mesh.document.nodes.get(node.as_str());
                if declares.is_some_and(|section| section.parent.is_none()) {
                    orphans.push(node.clone());
                }
                parent.map(|parent| from(UpstreamRef::Node(parent), written))
            } else {
                fixed.clone()
            };
            let Some(source) = source else { continue };
            let index = self.by_node.entry(node.clone()).or_default();
            let instance = self.instances.len();
            if let Some(first) = index.insert(text, instance) {
                self.same_target.push((first, instance));
            }
            self.instances.push(Instance {
                draft: number,
                node: node.clone(),
                source,
                target: (*target).clone(),
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

fn from(upstream: UpstreamRef, written: &Written) -> Arc<Source> {
    Arc::new(Source {
        upstream,
        repositories: written.repositories.clone(),
    })
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
