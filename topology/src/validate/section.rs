//! The sections that only have to parse: mesh, control, credentials, issuers, accounts, upstreams.

use std::collections::BTreeMap;

use wire::name::MeshName;

use super::{Mesh, identity, value};
use crate::{
    document,
    model::{Control, Credential, Issuer, IssuerKeys, Topology, Upstream},
    place::{At, Place},
    problem::{Code, Finding, Findings},
};

/// A topology with these sections, and nothing in the others yet.
pub(super) fn all(mesh: &Mesh<'_>, findings: &mut Findings) -> Topology {
    let document = mesh.document;
    Topology {
        mesh: mesh_name(document, findings),
        control: document
            .control
            .as_ref()
            .map(|section| control(section, findings)),
        nodes: BTreeMap::new(),
        identities: BTreeMap::new(),
        credentials: credentials(mesh, findings),
        issuers: issuers(mesh, findings),
        accounts: accounts(mesh, findings),
        upstreams: upstreams(mesh, findings),
        access: Vec::new(),
        identity_users: Vec::new(),
        slice: None,
    }
}

fn mesh_name(document: &document::Document, findings: &mut Findings) -> MeshName {
    let name = match &document.mesh {
        Some(at) => value::name(at, findings),
        None => {
            let start = Place {
                line: 1,
                column: 1,
                ..Place::NOWHERE
            };
            findings.push(
                Finding::error(Code::WrongType, start, "`mesh` is missing in the topology")
                    .advice("add `mesh: NAME`, the name of the trust domain"),
            );
            None
        }
    };
    name.unwrap_or_else(|| "invalid".parse().expect("a legal mesh name"))
}

fn control(section: &document::Control, findings: &mut Findings) -> Control {
    let schemes = ["https", "http"];
    let mut url = |at: &document::Text| value::url(at.as_ref()?, &schemes, findings);
    let endpoint = url(&section.endpoint).unwrap_or_default();
    let issuer = url(&section.issuer);
    let max_offline = section
        .max_offline
        .as_ref()
        .filter(|at| at.value.0 != "never")
        .and_then(|at| value::duration_or(at, "`never` or ", findings));
    Control {
        endpoint,
        issuer,
        max_offline,
    }
}

fn credentials(
    mesh: &Mesh<'_>,
    findings: &mut Findings,
) -> BTreeMap<wire::name::CredentialName, Credential> {
    let mut sets = BTreeMap::new();
    for (key, section) in &mesh.document.credentials {
        let name = value::name(key, findings);
        let login_server = section
            .login_server
            .as_ref()
            .and_then(|at| value::host(at, findings));
        let username = section
            .username
            .as_ref()
            .and_then(|secret| value::secret(secret, findings));
        let password = section
            .password
            .as_ref()
            .and_then(|secret| value::secret(secret, findings));
        let identity = section
            .identity
            .as_ref()
            .and_then(|at| identity::azure(at, mesh, findings));
        if let (Some(name), Some(login_server), Some(username), Some(password)) =
            (name, login_server, username, password)
        {
            let set = Credential {
                login_server,
                username,
                password,
                identity,
            };
            sets.insert(name, set);
        }
    }
    sets
}

fn issuers(mesh: &Mesh<'_>, findings: &mut Findings) -> BTreeMap<wire::name::IssuerName, Issuer> {
    let mut issuers = BTreeMap::new();
    for (key, section) in &mesh.document.issuers {
        let name = value::name(key, findings);
        let issuer = issuer(section, findings);
        if let Some(name) = name {
            issuers.insert(name, issuer);
        }
    }
    issuers
}

fn issuer(section: &document::Issuer, findings: &mut Findings) -> Issuer {
    let schemes = ["https", "http"];
    let url = section
        .url
        .as_ref()
        .and_then(|at| value::url(at, &schemes, findings));
    let keys_at = section
        .jwks_uri
        .as_ref()
        .and_then(|at| value::url(at, &schemes, findings));
    let keys_in = value::path(&section.jwks);
    if let Some(at) = section.jwks.as_ref().filter(|_| section.jwks_uri.is_some()) {
        findings.push(
            Finding::error(
                Code::WrongType,
                at.place,
                "both `jwks` and `jwksUri` are given",
            )
            .advice("keep one of them: the keys are either in a file or at a URL"),
        );
    }
    let texts = |list: &[At<String>]| list.iter().map(|at| at.value.clone()).collect();
    Issuer {
        url: url.unwrap_or_default(),
        audience: section
            .audience
            .as_ref()
            .map(|audience| texts(audience.all()))
            .unwrap_or_default(),
        algorithms: algorithms(&section.algorithms, findings),
        keys: keys_at
            .map(IssuerKeys::Uri)
            .or(keys_in.map(IssuerKeys::File)),
        ca: value::path(&section.ca),
        discovery_token: section
            .discovery_token
            .as_ref()
            .and_then(|secret| file_only(secret, findings)),
        client_id: value::text(&section.client_id),
        client_secret: section
            .client_secret
            .as_ref()
            .and_then(|secret| value::secret(secret, findings)),
    }
}

fn algorithms(written: &[At<String>], findings: &mut Findings) -> Vec<String> {
    const KNOWN: [&str; 10] = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    ];
    for at in written
        .iter()
        .filter(|at| !KNOWN.contains(&at.value.as_str()))
    {
        let message = format!(
            "`{}` is not a signature algorithm that nodes accept",
            at.value
        );
        findings.push(
            Finding::error(Code::WrongType, at.place, message)
                .advice(format!("it is one of {}", KNOWN.join(", "))),
        );
    }
    written.iter().map(|at| at.value.clone()).collect()
}

fn file_only(secret: &document::Secret, findings: &mut Findings) -> Option<std::path::PathBuf> {
    if let Some(at) = secret.env.as_ref().or(secret.key_vault.as_ref()) {
        findings.push(
            Finding::error(Code::WrongType, at.place, "a discovery token is in a file")
                .advice("write {file: PATH}"),
        );
    }
    value::path(&secret.file)
}

fn accounts(
    mesh: &Mesh<'_>,
    findings: &mut Findings,
) -> BTreeMap<wire::name::AccountName, wire::secret_ref::SecretRef> {
    let mut accounts = BTreeMap::new();
    for (key, section) in &mesh.document.accounts {
        let name = value::name(key, findings);
        let password = section
            .password
            .as_ref()
            .and_then(|secret| value::secret(secret, findings));
        if let Some((name, password)) = name.zip(password) {
            accounts.insert(name, password);
        }
    }
    accounts
}

fn upstreams(mesh: &Mesh<'_>, findings: &mut Findings) -> BTreeMap<String, Upstream> {
    let mut upstreams = BTreeMap::new();
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    for (key, section) in &mesh.document.upstreams {
        let host = value::host(key, findings);
        let upstream = upstream(section, findings);
        let Some(host) = host else { continue };
        if let Some(first) = places.insert(host.clone(), key.place) {
            let message = format!("`{}` is declared twice: it is `{host}`", key.value);
            findings.push(
                Finding::error(Code::DuplicateKey, key.place, message)
                    .also(first, "declared here first")
                    .advice("remove one of the two"),
            );
        }
        upstreams.insert(host, upstream);
    }
    upstreams
}

fn upstream(section: &document::Upstream, findings: &mut Findings) -> Upstream {
    let default = Upstream::default();
    let zero = |place, key: &str| {
        Finding::error(
            Code::WrongType,
            place,
            format!("`{key}` lets nothing through"),
        )
        .advice("write a number above zero, or leave it out")
    };
    if let Some(at) = section.max_concurrent.filter(|at| at.value == 0) {
        findings.push(zero(at.place, "maxConcurrent"));
    }
    if let Some(at) = section.requests_per_second.filter(|at| at.value <= 0.0) {
        findings.push(zero(at.place, "requestsPerSecond"));
    }
    Upstream {
        ca: value::path(&section.ca),
        insecure: section.insecure.is_some_and(|at| at.value),
        proxy: section
            .proxy
            .as_ref()
            .and_then(|at| value::url(at, &["http", "https"], findings)),
        realms: section
            .realms
            .iter()
            .filter_map(|at| value::host(at, findings))
            .collect(),
        max_concurrent: section
            .max_concurrent
            .and_then(|at| usize::try_from(at.value).ok())
            .unwrap_or(default.max_concurrent),
        requests_per_second: section.requests_per_second.map(|at| at.value),
    }
}
