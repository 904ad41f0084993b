//! Where each rule's chain of upstreams ends, how long it is, and with that the finished rules.
//!
//! A chain goes on at a node where another rule covers what is asked for, and ends at a registry outside the mesh or at a node
//! where the content is pushed. One rule can have many ends: a leaf's `*` over a hub with a rule for each registry. Results are
//! kept by (node, pattern), so that a thousand leaves over one hub cost what one costs, and share the list.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use wire::{name::NodeName, pattern::Pattern};

use super::{
    Mesh, Scope,
    rule::{Draft, Instance, Rules},
    tree,
};
use crate::{
    model::{
        Rule, SharedRule,
        rule::{Authentication, Origin, Source, UpstreamRef},
    },
    problem::Findings,
    source,
};

/// Chains are followed no further: a longer one has been reported long before.
const FAR: usize = 16;

/// The finished rules of every node. `sound` says that no node reaches itself.
pub(super) fn build(
    mesh: &Mesh<'_>,
    rules: &Rules<'_>,
    sound: bool,
    findings: &mut Findings,
) -> BTreeMap<NodeName, Vec<SharedRule>> {
    let mut walk = Walk {
        mesh,
        rules,
        known: HashMap::new(),
    };
    let mut shared: HashMap<(usize, UpstreamRef), SharedRule> = HashMap::new();
    let mut deep = HashSet::new();
    let mut built: BTreeMap<NodeName, Vec<SharedRule>> = BTreeMap::new();
    for instance in &rules.instances {
        let draft = &rules.drafts[instance.draft];
        let key = (instance.draft, instance.source.upstream.clone());
        let rule = if let Some(rule) = shared.get(&key) {
            Arc::clone(rule)
        } else {
            let ends = if sound {
                walk.ends(&instance.source.upstream, &instance.source.repositories, 0)
            } else {
                Arc::default()
            };
            if ends.chain.len() >= tree::MAX_DEPTH && deep.insert(instance.draft) {
                let mut chain = vec![&instance.node];
                chain.extend(&ends.chain);
                findings.push(tree::too_deep(draft.source_place(), "rules", &chain));
            }
            let origins = told(mesh, instance, draft).unwrap_or_else(|| Arc::clone(&ends.origins));
            let Some(rule) = rule(draft, instance, origins) else {
                continue;
            };
            let rule = Arc::new(rule);
            shared.insert(key, Arc::clone(&rule));
            rule
        };
        built.entry(instance.node.clone()).or_default().push(rule);
    }
    built
}

fn rule(draft: &Draft<'_>, instance: &Instance, origins: Arc<[Origin]>) -> Option<Rule> {
    let behaviour = &draft.behaviour;
    let authentication = match (&draft.identity, &draft.credentials) {
        (Some(identity), _) => Authentication::Identity(identity.clone()),
        (None, Some(set)) => Authentication::Credentials(set.clone()),
        (None, None) => Authentication::Anonymous,
    };
    Some(Rule {
        name: draft.name.clone()?,
        source: Source::clone(&instance.source),
        target: instance.target.clone(),
        authentication,
        freshness: behaviour.freshness.clone(),
        when_gone: behaviour.when_gone,
        platforms: behaviour.platforms.clone(),
        referrers: behaviour.referrers,
        enabled: behaviour.enabled,
        origins,
    })
}

/// What a slice says about the ends of a rule towards a node, whose own rules are not in the slice.
fn told(mesh: &Mesh<'_>, instance: &Instance, draft: &Draft<'_>) -> Option<Arc<[Origin]>> {
    if mesh.scope == Scope::Mesh || !matches!(instance.source.upstream, UpstreamRef::Node(_)) {
        return None;
    }
    let slice = mesh.document.slice.as_ref()?;
    let written = slice.origins.get(draft.key.value.as_str())?;
    let origins = written.iter().filter_map(|origin| {
        let end = source::source(origin.source.as_ref()?).ok()?;
        let source::Upstream::Host(host) = end.upstream else {
            return None;
        };
        Some(Origin {
            host,
            repositories: end.repositories,
            via: origin.via.as_ref()?.parse().ok()?,
        })
    });
    Some(origins.collect())
}

/// Where content comes from when it is asked for at one place.
#[derive(Default)]
struct Ends {
    origins: Arc<[Origin]>,
    /// The longest chain of nodes, the one that is asked first.
    chain: Vec<NodeName>,
}

struct Walk<'w, 'd> {
    mesh: &'w Mesh<'d>,
    rules: &'w Rules<'d>,
    known: HashMap<(NodeName, Pattern), Arc<Ends>>,
}

impl Walk<'_, '_> {
    fn ends(&mut self, upstream: &UpstreamRef, pattern: &Pattern, depth: usize) -> Arc<Ends> {
        let node = match upstream {
            UpstreamRef::Host(host) => {
                return Arc::new(Ends {
                    origins: Arc::new([end(host.clone(), pattern)]),
                    chain: Vec::new(),
                });
            }
            UpstreamRef::Node(node) => node,
        };
        let key = (node.clone(), pattern.clone());
        if let Some(ends) = self.known.get(&key) {
            return Arc::clone(ends);
        }
        let ends = Arc::new(self.at(node, pattern, depth));
        self.known.insert(key, Arc::clone(&ends));
        ends
    }

    fn at(&mut self, node: &NodeName, pattern: &Pattern, depth: usize) -> Ends {
        let mut ends = Vec::new();
        let mut longest = Vec::new();
        let index = self.rules.by_node.get(node).filter(|_| depth < FAR);
        let covering = index.and_then(|index| index.covering(pattern));
        let inside = index.map(|index| index.inside(pattern)).unwrap_or_default();
        if covering.is_none() {
            let login = self.mesh.nodes.get(node).map(|n| n.endpoint.login_server());
            ends.extend(login.map(|host| end(host, pattern)));
        }
        for number in covering.into_iter().chain(inside) {
            let instance = &self.rules.instances[number];
            let asked = if instance.target.contains(pattern) {
                translate(pattern, &instance.target, &instance.source.repositories)
            } else {
                Some(instance.source.repositories.clone())
            };
            let Some(asked) = asked else { continue };
            let further = self.ends(&instance.source.upstream, &asked, depth + 1);
            for origin in further.origins.iter() {
                let via = translate(&origin.via, &instance.source.repositories, &instance.target);
                ends.extend(via.map(|via| Origin {
                    via,
                    ..origin.clone()
                }));
            }
            if further.chain.len() > longest.len() {
                longest.clone_from(&further.chain);
            }
        }
        longest.insert(0, node.clone());
        Ends {
            origins: ends.into(),
            chain: longest,
        }
    }
}

fn end(host: String, pattern: &Pattern) -> Origin {
    Origin {
        host,
        repositories: pattern.clone(),
        via: pattern.clone(),
    }
}

/// What `pattern`, which lies within `from`, is on the other side of a rule.
pub(crate) fn translate(pattern: &Pattern, from: &Pattern, to: &Pattern) -> Option<Pattern> {
    if pattern == from {
        return Some(to.clone());
    }
    match pattern {
        Pattern::All => None,
        Pattern::Below(path) => from.map(path, to).map(Pattern::Below),
        Pattern::Exact(name) => from.map(name, to).map(Pattern::Exact),
    }
}
