//! `access`: each entry becomes an assignment on each of its nodes, or a mesh-wide one.

use wire::{
    assignment::{Assignee, Assignment, Role},
    pattern::Pattern,
};

use super::{Mesh, Scope, value};
use crate::{
    document::{
        self,
        access::{Claims, Role as WrittenRole},
    },
    model::{IdentityUser, Topology},
    place::At,
    problem::{Code, Finding, Findings},
    selector,
};

pub(super) fn all(mesh: &mut Mesh<'_>, topology: &mut Topology, findings: &mut Findings) {
    for entry in &mesh.document.access {
        let to = entry
            .to
            .as_ref()
            .and_then(|to| assignee(to, mesh, findings));
        let repositories = repositories(entry, findings);
        let identities = identities(entry, mesh, findings);
        let on = entry
            .on
            .as_ref()
            .map(|on| selector::resolve(on, &mesh.nodes, &mesh.declared, findings));
        let Some((allow, to)) = entry.allow.zip(to) else {
            continue;
        };
        if let Some(identities) = identities {
            let to = to.clone();
            topology
                .identity_users
                .push(IdentityUser { to, identities });
        }
        let assignment = Assignment {
            role: role(allow.value),
            to,
            repositories,
        };
        match on {
            Some(nodes) => {
                for name in nodes {
                    if let Some(node) = mesh.nodes.get_mut(&name) {
                        node.access.push(assignment.clone());
                    }
                }
            }
            None if needs_node(assignment.role) => {
                let message = "this role is given on nodes, and `on` is missing";
                findings.push(
                    Finding::error(Code::WrongType, allow.place, message)
                        .advice("add `on: NODE`, a list of nodes, or {labels: {…}}"),
                );
            }
            None => topology.access.push(assignment),
        }
    }
}

fn needs_node(role: Role) -> bool {
    match role {
        Role::RepositoryReader
        | Role::RepositoryWriter
        | Role::RepositoryDeleter
        | Role::CatalogLister => true,
        Role::CacheRuleAdministrator
        | Role::CredentialSetAdministrator
        | Role::MeshAdministrator
        | Role::MeshReader
        | Role::IdentityUser
        | Role::NodeEnroller => false,
    }
}

pub(crate) fn role(written: WrittenRole) -> Role {
    match written {
        WrittenRole::RepositoryReader => Role::RepositoryReader,
        WrittenRole::RepositoryWriter => Role::RepositoryWriter,
        WrittenRole::RepositoryDeleter => Role::RepositoryDeleter,
        WrittenRole::CatalogLister => Role::CatalogLister,
        WrittenRole::CacheRuleAdministrator => Role::CacheRuleAdministrator,
        WrittenRole::CredentialSetAdministrator => Role::CredentialSetAdministrator,
        WrittenRole::MeshAdministrator => Role::MeshAdministrator,
        WrittenRole::MeshReader => Role::MeshReader,
        WrittenRole::IdentityUser => Role::IdentityUser,
        WrittenRole::NodeEnroller => Role::NodeEnroller,
    }
}

fn repositories(entry: &document::Access, findings: &mut Findings) -> Vec<Pattern> {
    match &entry.repositories {
        None => vec![Pattern::All],
        Some(list) => list
            .iter()
            .filter_map(|at| value::pattern(at, findings))
            .collect(),
    }
}

fn identities(
    entry: &document::Access,
    mesh: &Mesh<'_>,
    findings: &mut Findings,
) -> Option<Vec<wire::name::IdentityName>> {
    let allow = entry.allow?;
    if allow.value == WrittenRole::IdentityUser {
        if entry.identities.is_empty() {
            findings.push(
                Finding::error(
                    Code::WrongType,
                    allow.place,
                    "`identity-user` names no identities",
                )
                .advice("add `identities: [NAME]`"),
            );
        }
        let names = entry.identities.iter();
        return Some(
            names
                .filter_map(|at| mesh.declared.identity(at, findings))
                .collect(),
        );
    }
    if let Some(at) = entry.identities.first() {
        findings.push(
            Finding::error(
                Code::WrongType,
                at.place,
                "only `identity-user` has `identities`",
            )
            .advice("remove `identities`, or write `allow: identity-user`"),
        );
    }
    None
}

fn assignee(
    to: &At<document::Assignee>,
    mesh: &Mesh<'_>,
    findings: &mut Findings,
) -> Option<Assignee> {
    match &to.value {
        document::Assignee::Name(at) => named(at, mesh, findings),
        document::Assignee::Claims(Claims { issuer, claims }) => {
            let issuer = mesh.declared.issuer(issuer.as_ref()?, findings)?;
            let claims = claims.as_ref()?;
            if claims.is_empty() {
                findings.push(
                    Finding::error(Code::WrongType, to.place, "`to` names an issuer and no claims")
                        .advice("add claims: without one, everybody whom the issuer knows would have the role"),
                );
                return None;
            }
            let claims = claims
                .iter()
                .map(|(claim, glob)| (claim.value.clone(), glob.value.clone()))
                .collect();
            Some(Assignee::Claims { issuer, claims })
        }
    }
}

fn named(at: &At<String>, mesh: &Mesh<'_>, findings: &mut Findings) -> Option<Assignee> {
    let (kind, name) = at.value.split_once(':').unwrap_or((&at.value, ""));
    let named = At {
        value: name.to_owned(),
        place: at.place,
    };
    // In a slice, who these are is proved by certificates and grants; the entries themselves belong to other nodes.
    let foreign = mesh.scope == Scope::Slice;
    match (kind, name) {
        ("anonymous", "") => Some(Assignee::Anonymous),
        ("authenticated", "") => Some(Assignee::Authenticated),
        ("account", _) => mesh
            .declared
            .account(&named, findings)
            .map(Assignee::Account),
        ("identity", _) if foreign => value::name(&named, findings).map(Assignee::Identity),
        ("identity", _) => mesh
            .declared
            .identity(&named, findings)
            .map(Assignee::Identity),
        ("node", _) if foreign => value::name(&named, findings).map(Assignee::Node),
        ("node", _) => mesh.declared.node(&named, findings).map(Assignee::Node),
        _ => {
            let message = format!("`{}` is nobody that a role can be given to", at.value);
            findings.push(Finding::error(Code::WrongType, at.place, message).advice(
                "write anonymous, authenticated, account:NAME, identity:NAME, node:NAME or {issuer: NAME, claims: {…}}",
            ));
            None
        }
    }
}
