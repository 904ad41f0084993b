//! What a session says, and that it is one of ours: signed with a key that all control planes of the mesh share, kept nowhere.
//!
//! An account's session is bound to its password as it was; a person's to the issuer as it was declared, with those claims that role
//! assignments asked for when they signed in: what is asked for later is known at the next sign-in. Later releases read what this one
//! wrote: add forms and fields, do not rename them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use identity::decide::is_meant;
use runtime::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use topology::model::Topology;
use wire::{
    assignment::Assignee,
    name::{AccountName, IssuerName},
    time::WallTime,
};

/// What a session's token begins with.
pub(super) const PREFIX: &str = "regmesh-session.v1.";

/// What a session says: signed, not hidden.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    /// Of an account.
    Account {
        account: AccountName,
        until: WallTime,
        /// MAC of the password that was shown.
        password: String,
    },
    /// Of whoever signed in with an issuer.
    Person {
        issuer: IssuerName,
        until: WallTime,
        /// The issuer's address: one that is declared anew under the name is another one.
        url: String,
        claims: Arc<Map<String, Value>>,
    },
}

/// Writes and reads them.
pub(super) struct Sessions(hmac::Key);

impl Sessions {
    pub(super) fn new(key: &Secret<Vec<u8>>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    pub(super) fn write(&self, content: &Content) -> String {
        let content = serde_json::to_vec(content).expect("plain values are always JSON");
        let content = URL_SAFE_NO_PAD.encode(content);
        let tag = hmac::sign(&self.0, content.as_bytes());
        format!("{PREFIX}{content}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// What is said behind the prefix; `None` when it was not said by us.
    pub(super) fn read(&self, session: &str) -> Option<Content> {
        let (content, tag) = session.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, content.as_bytes(), &tag).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(content).ok()?).ok()
    }

    /// What ties a session to a password.
    pub(super) fn bound(&self, account: &AccountName, password: &Secret) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"password\0");
        context.update(account.as_str().as_bytes());
        context.update(b"\0");
        context.update(password.expose().as_bytes());
        hex::encode(context.sign())
    }

    /// Whether a session was given for this password.
    pub(super) fn is_of(&self, account: &AccountName, bound: &str, password: &Secret) -> bool {
        let expected = self.bound(account, password);
        verify_slices_are_equal(expected.as_bytes(), bound.as_bytes()).is_ok()
    }
}

/// Of a token's claims those that some assignment asks for, and whom it is about; of an array the elements that one of them means, since
/// hundreds of groups would make a token that no proxy lets through.
pub(super) fn asked_for(
    issuer: &IssuerName,
    claims: &Map<String, Value>,
    topology: &Topology,
) -> Map<String, Value> {
    let nodes = topology.nodes.values().flat_map(|node| &node.access);
    let users = topology.identity_users.iter().map(|user| &user.to);
    let given = topology.access.iter().chain(nodes).map(|given| &given.to);
    let mut whole: BTreeSet<String> = ["sub".to_owned()].into();
    let mut globs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for to in given.chain(users) {
        let Assignee::Claims {
            issuer: of,
            claims: wanted,
        } = to
        else {
            continue;
        };
        for (key, glob) in wanted.iter().filter(|_| of == issuer) {
            match key.starts_with('/') {
                true => drop(whole.insert(top(key))),
                false => drop(globs.entry(key).or_default().insert(glob)),
            }
        }
    }
    let kept = claims.iter().filter_map(|(name, value)| {
        let value = match (globs.get(name.as_str()), value) {
            _ if whole.contains(name) => value.clone(),
            (Some(globs), Value::Array(elements)) => {
                let meant = |value: &&Value| globs.iter().any(|glob| is_meant(glob, value));
                Value::Array(elements.iter().filter(meant).cloned().collect())
            }
            (Some(_), single) => single.clone(),
            (None, _) => return None,
        };
        Some((name.clone(), value))
    });
    kept.collect()
}

/// The claim that a pointer begins at.
fn top(pointer: &str) -> String {
    let pointer = pointer.strip_prefix('/').unwrap_or(pointer);
    let first = pointer.split('/').next().unwrap_or_default();
    first.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_keeps_what_assignments_ask_for_and_nothing_else() {
        let text = "version: 1\nmesh: one\nnodes:\n  dev: {endpoint: 'http://127.0.0.1:5000'}\n\
            identities: {promoter: {kind: managed, on: [dev]}}\n\
            issuers: {corp: {url: 'https://corp.example', clientId: c}, other: {url: 'https://other.example'}}\n\
            access:\n\
            - {allow: mesh-reader, to: {issuer: corp, claims: {groups: ops}}}\n\
            - {allow: mesh-reader, to: {issuer: other, claims: {email: '*'}}}\n\
            - {allow: node-enroller, to: {issuer: corp, claims: {'/org~1unit/name': a}}, on: dev}\n\
            - {allow: identity-user, to: {issuer: corp, claims: {tid: x}}, identities: [promoter]}\n";
        let topology = topology::load(&[("t.yaml".to_owned(), text.to_owned())]);
        let topology = topology.expect("valid").topology;
        let groups: Vec<String> = (0..1_000)
            .map(|n| format!("group-{n}"))
            .chain(["ops".to_owned()])
            .collect();
        let claims = json!({"sub": "me", "groups": groups, "email": "canary", "tid": "x",
            "org/unit": {"name": "a"}, "name": "canary"});
        let kept = asked_for(
            &"corp".parse().unwrap(),
            claims.as_object().unwrap(),
            &topology,
        );
        let names: Vec<&str> = kept.keys().map(String::as_str).collect();
        assert_eq!(names, ["groups", "org/unit", "sub", "tid"]);
        assert_eq!(kept["groups"], json!(["ops"]), "of a thousand");
        assert_eq!(kept["org/unit"], json!({"name": "a"}));
    }
}
