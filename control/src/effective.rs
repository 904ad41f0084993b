//! Who may read, write and delete in one repository of one node, and through which role assignment. Pure.
//!
//! Assignments are taken as the document has them, because there they have names; what a role gives is `identity`'s to say, so that this
//! and the node's own decision cannot differ.

use std::collections::BTreeMap;

use identity::decide::Rights;
use serde_json::Value;
use topology::model::{
    Topology,
    rule::{Authentication, UpstreamRef},
};
use wire::{
    api::{
        effective::{Holder, Through},
        resource::Resource,
    },
    assignment::Role,
    name::NodeName,
    pattern::Pattern,
    repository::RepositoryName,
    scope::Action,
};

/// `access`: the assignments on the node. In order of name, everybody first.
#[must_use]
pub fn holders(
    topology: &Topology,
    node: &NodeName,
    access: &[Resource],
    repository: &RepositoryName,
) -> Vec<Holder> {
    let mut holders: BTreeMap<String, Holder> = BTreeMap::new();
    for (who, through) in access.iter().filter_map(given) {
        let rights = Rights::of(through.role);
        let here = |pattern: &Pattern| pattern.contains(&Pattern::Exact(repository.clone()));
        if rights.actions().next().is_none() || !through.repositories.iter().any(here) {
            continue;
        }
        let holder = holders.entry(who.clone()).or_insert_with(|| Holder {
            rules: rules(topology, node, &who, repository),
            who,
            read: false,
            write: false,
            delete: false,
            through: Vec::new(),
        });
        holder.read |= rights.allow(Action::Pull);
        holder.write |= rights.allow(Action::Push);
        holder.delete |= rights.allow(Action::Delete);
        holder.through.push(through);
    }
    let mut holders: Vec<Holder> = holders.into_values().collect();
    let everybody = ["anonymous", "authenticated"];
    holders.sort_by_key(|holder| !everybody.contains(&holder.who.as_str()));
    holders
}

/// To whom an assignment gives what.
fn given(assignment: &Resource) -> Option<(String, Through)> {
    let spec = &assignment.spec;
    let role: Role = serde_json::from_value(spec.get("allow")?.clone()).ok()?;
    let to = spec.get("to")?;
    let who = to.as_str().map_or_else(|| to.to_string(), str::to_owned);
    let repositories = match spec.get("repositories") {
        None | Some(Value::Null) => vec![Pattern::All],
        Some(patterns) => serde_json::from_value(patterns.clone()).ok()?,
    };
    let through = Through {
        assignment: assignment.name.clone(),
        role,
        repositories,
    };
    Some((who, through))
}

/// The rules that read there as this identity.
fn rules(
    topology: &Topology,
    upstream: &NodeName,
    who: &str,
    repository: &RepositoryName,
) -> Vec<String> {
    let Some(identity) = who.strip_prefix("identity:") else {
        return Vec::new();
    };
    let asks = UpstreamRef::Node(upstream.clone());
    let wanted = Pattern::Exact(repository.clone());
    let mut found = Vec::new();
    for node in topology.nodes.values() {
        for rule in &node.rules {
            let theirs = matches!(&rule.authentication, Authentication::Identity(name) if name.as_str() == identity);
            let source = &rule.source;
            if theirs && source.upstream == asks && source.repositories.contains(&wanted) {
                found.push(format!("{}/{}", node.name, rule.name));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wire::{api::resource::Kind, generation::Generation};

    use super::*;

    const MESH: &str = r#"
version: 1
mesh: m
nodes:
  dev: {endpoint: "https://dev.example"}
  prod: {endpoint: "https://prod.example", parent: dev}
identities:
  promoter: {kind: managed, on: prod}
rules:
  promote: {on: prod, source: "node://dev/team-a/*", target: team-a/*, identity: promoter}
  other: {on: prod, source: "node://dev/team-b/api", target: team-b/api, identity: promoter}
access:
  - {allow: repository-reader, to: "identity:promoter", on: dev}
"#;

    fn assignment(name: &str, spec: Value) -> Resource {
        Resource {
            kind: Kind::Access,
            name: name.to_owned(),
            spec,
            generation: Generation(1),
        }
    }

    /// Who may `read`, `write`, `delete`, through what, for which rules.
    fn shown(repository: &str) -> Vec<String> {
        let github = json!({"issuer": "github", "claims": {"repository_id": "1"}});
        let access = [
            assignment(
                "a1",
                json!({"allow": "repository-reader", "to": "identity:promoter"}),
            ),
            assignment(
                "a2",
                json!({"allow": "repository-writer", "to": "account:ci", "repositories": ["team-a/*"]}),
            ),
            assignment(
                "a3",
                json!({"allow": "repository-deleter", "to": "account:ci", "repositories": ["team-a/api", "team-a/app"]}),
            ),
            assignment(
                "a4",
                json!({"allow": "repository-reader", "to": "anonymous", "repositories": ["open/*"]}),
            ),
            assignment(
                "a5",
                json!({"allow": "catalog-lister", "to": "account:lister"}),
            ),
            assignment(
                "a6",
                json!({"allow": "repository-writer", "to": github, "repositories": ["team-b/*"]}),
            ),
            assignment(
                "a7",
                json!({"allow": "mesh-administrator", "to": "account:root"}),
            ),
        ];
        let loaded = topology::load(&[("t".to_owned(), MESH.to_owned())]).unwrap();
        let node = "dev".parse().unwrap();
        let holders = holders(
            &loaded.topology,
            &node,
            &access,
            &repository.parse().unwrap(),
        );
        let text = |holder: &Holder| {
            let may = [
                (holder.read, 'r'),
                (holder.write, 'w'),
                (holder.delete, 'd'),
            ];
            let may: String = may
                .iter()
                .filter(|(may, _)| *may)
                .map(|(_, c)| *c)
                .collect();
            let through: Vec<&str> = holder
                .through
                .iter()
                .map(|t| t.assignment.as_str())
                .collect();
            format!(
                "{} {may} {} {}",
                holder.who,
                through.join(","),
                holder.rules.join(",")
            )
        };
        holders.iter().map(text).collect()
    }

    #[test]
    fn roles_add_up_and_each_names_the_assignment_that_gives_it() {
        let promoter = |rules: &str| format!("identity:promoter r a1 {rules}");
        let github = r#"{"claims":{"repository_id":"1"},"issuer":"github"}"#;
        let cases = [
            (
                "team-a/api",
                vec!["account:ci rwd a2,a3 ".to_owned(), promoter("prod/promote")],
            ),
            (
                "team-a/other",
                vec!["account:ci rw a2 ".to_owned(), promoter("prod/promote")],
            ),
            ("team-ab/api", vec![promoter("")]),
            ("open/x", vec!["anonymous r a4 ".to_owned(), promoter("")]),
            (
                "team-b/api",
                vec![promoter("prod/other"), format!("{github} rw a6 ")],
            ),
        ];
        for (repository, expected) in cases {
            assert_eq!(shown(repository), expected, "{repository}");
        }
    }
}
