//! The targets of one node's rules: `Index`, and that no two rules can answer for one repository.
//!
//! Everything is a lookup by path, so that ten thousand rules cost ten thousand short walks and not their square.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use wire::pattern::Pattern;

use super::{Mesh, rule::Rules};
use crate::problem::{Code, Finding, Findings};

/// Rule instances by target. Of several with one target the first stays.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A rule's target is one text, on however many nodes it is in force.
    by_target: BTreeMap<Arc<str>, usize>,
}

impl Index {
    /// Puts an instance in by the text of its target; gives the one that has this target already.
    pub(super) fn insert(&mut self, target: &Arc<str>, instance: usize) -> Option<usize> {
        if let Some(first) = self.by_target.get(target) {
            return Some(*first);
        }
        self.by_target.insert(Arc::clone(target), instance);
        None
    }

    /// The instance that answers for everything that `pattern` covers: itself, else the nearest wildcard around it.
    pub(super) fn covering(&self, pattern: &Pattern) -> Option<usize> {
        if let Some(own) = self.by_target.get(pattern.to_string().as_str()) {
            return Some(*own);
        }
        self.around(pattern).next()
    }

    /// The wildcards around `pattern`, nearest first, without one of the same target.
    pub(super) fn around<'i>(&'i self, pattern: &'i Pattern) -> impl Iterator<Item = usize> + 'i {
        let path = match pattern {
            Pattern::All => None,
            Pattern::Below(path) | Pattern::Exact(path) => Some(path.as_str()),
        };
        let parents = std::iter::successors(path, |path| path.rsplit_once('/').map(|(up, _)| up));
        let keys = parents.skip(1).map(|up| format!("{up}/*"));
        let all = path.map(|_| "*".to_owned());
        keys.chain(all)
            .filter_map(|key| self.by_target.get(key.as_str()).copied())
    }

    /// The instances whose targets are inside a wildcard, without one of the same target.
    pub(super) fn inside(&self, pattern: &Pattern) -> Vec<usize> {
        let range = match pattern {
            Pattern::Exact(_) => return Vec::new(),
            Pattern::All => self.by_target.range::<str, _>(..),
            // '0' is the character after '/', so this is every name that begins with the path and a slash.
            Pattern::Below(path) => {
                let (first, end) = (format!("{path}/"), format!("{path}0"));
                let range = (
                    Bound::Included(first.as_str()),
                    Bound::Excluded(end.as_str()),
                );
                self.by_target.range::<str, _>(range)
            }
        };
        let own = pattern.to_string();
        range
            .filter(|(key, _)| ***key != *own)
            .map(|(_, instance)| *instance)
            .collect()
    }
}

/// Reports targets that two rules have, and wildcards that overlap.
pub(super) fn check(mesh: &Mesh<'_>, rules: &Rules<'_>, findings: &mut Findings) {
    let mut told = HashSet::new();
    for (first, second) in &rules.same_target {
        let pair = (
            rules.instances[*first].draft,
            rules.instances[*second].draft,
        );
        if pair.0 == pair.1 || !told.insert(pair) {
            continue;
        }
        let wildcard = rules.instances[*second].target.is_wildcard();
        let code = if wildcard {
            Code::OverlappingWildcards
        } else {
            Code::DuplicateTarget
        };
        report(code, rules, *first, *second, findings);
    }
    debug_assert!(mesh.nodes.len() >= rules.by_node.len());
    for index in rules.by_node.values() {
        for instance in index.by_target.values() {
            let target = &rules.instances[*instance].target;
            if !target.is_wildcard() {
                continue;
            }
            for outer in index.around(target) {
                let pair = (
                    rules.instances[outer].draft,
                    rules.instances[*instance].draft,
                );
                if told.insert(pair) {
                    report(
                        Code::OverlappingWildcards,
                        rules,
                        outer,
                        *instance,
                        findings,
                    );
                }
            }
        }
    }
}

fn report(code: Code, rules: &Rules<'_>, first: usize, second: usize, findings: &mut Findings) {
    let node = &rules.instances[second].node;
    let (outer, inner) = (rules.draft_of(first), rules.draft_of(second));
    let (message, advice) = if code == Code::DuplicateTarget {
        (
            format!(
                "the rules `{}` and `{}` have the same target on `{node}`",
                outer.key.value, inner.key.value
            ),
            "give one of them another target, or another node",
        )
    } else {
        (
            format!(
                "the wildcards of the rules `{}` ({}) and `{}` ({}) overlap on `{node}`",
                outer.key.value,
                rules.instances[first].target,
                inner.key.value,
                rules.instances[second].target
            ),
            "give them targets of which neither lies within the other, or make one of them a fixed rule",
        )
    };
    findings.push(
        Finding::error(code, inner.target_place(), message)
            .also(
                outer.target_place(),
                format!("the target of `{}`", outer.key.value),
            )
            .advice(advice),
    );
}
