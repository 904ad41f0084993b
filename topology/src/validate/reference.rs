//! Is what a name refers to declared?

use std::str::FromStr;

use wire::name::{AccountName, CredentialName, IdentityName, IssuerName, NodeName};

use crate::{
    document::{Document, Entries},
    place::At,
    problem::{Code, Finding, Findings},
    read::nearest,
};

/// Names that are compared when looking for the one that was meant.
const CANDIDATES: usize = 1000;

/// What a document declares, to look references up in. A reference to something that is declared under an illegal name gives
/// `None` without a word: the declaration has been reported.
pub(crate) struct Declared<'d> {
    document: &'d Document,
}

impl<'d> Declared<'d> {
    pub(crate) fn of(document: &'d Document) -> Self {
        Self { document }
    }

    pub(crate) fn node(&self, name: &At<String>, findings: &mut Findings) -> Option<NodeName> {
        find("node", "nodes", &self.document.nodes, name, findings)
    }

    pub(crate) fn identity(
        &self,
        name: &At<String>,
        findings: &mut Findings,
    ) -> Option<IdentityName> {
        let section = &self.document.identities;
        find("identity", "identities", section, name, findings)
    }

    pub(crate) fn credential(
        &self,
        name: &At<String>,
        findings: &mut Findings,
    ) -> Option<CredentialName> {
        let section = &self.document.credentials;
        find("credential set", "credentials", section, name, findings)
    }

    pub(crate) fn issuer(&self, name: &At<String>, findings: &mut Findings) -> Option<IssuerName> {
        find("issuer", "issuers", &self.document.issuers, name, findings)
    }

    pub(crate) fn account(
        &self,
        name: &At<String>,
        findings: &mut Findings,
    ) -> Option<AccountName> {
        find(
            "account",
            "accounts",
            &self.document.accounts,
            name,
            findings,
        )
    }
}

fn find<T, N: FromStr>(
    kind: &str,
    section: &str,
    entries: &Entries<T>,
    name: &At<String>,
    findings: &mut Findings,
) -> Option<N> {
    if entries.contains_key(name.value.as_str()) {
        return name.value.parse().ok();
    }
    let known: Vec<&str> = entries
        .keys()
        .take(CANDIDATES)
        .map(|key| key.value.as_str())
        .collect();
    let advice = match nearest(&name.value, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => {
            format!("declare it under `{section}`; nothing is declared there")
        }
        None => format!("declare it under `{section}`, or name one that is"),
    };
    let message = format!("the {kind} `{}` is not declared", name.value);
    findings.push(Finding::error(Code::UnknownReference, name.place, message).advice(advice));
    None
}
