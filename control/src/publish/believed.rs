//! What nodes believe rule grants by: the issuer's URL and its public keys, which every generation carries.
//!
//! The URL is decided here, when a generation is published, and not when slices are cut: so all control planes over one store mint under
//! the same one. Where the topology does not say it, it is the API's own address of whoever published first and then stays, because to a
//! node it is a name and nothing to call. Nodes learn keys from slices, never by HTTP.

use std::collections::BTreeMap;

use topology::model::{Control, Topology};
use wire::generation::Generation;

use super::{
    Current,
    draft::{Draft, Next, Stamp},
};
use crate::state::{Grants, NewEntry};

/// What grants are to be believed by.
#[derive(Debug, Clone, Default)]
pub(super) struct Believed {
    /// The public keys; `None` where there is no issuer, which leaves everything as it is.
    pub(super) keys: Option<BTreeMap<String, String>>,
    /// The API's own address, as a URL.
    pub(super) own: String,
}

impl Believed {
    /// Puts it into what is to be published.
    pub(super) fn write(&self, grants: &mut Grants, topology: &Topology) {
        let Some(keys) = &self.keys else { return };
        grants.keys.clone_from(keys);
        match declared(topology.control.as_ref()) {
            Some(url) => url.clone_into(&mut grants.issuer),
            None if grants.issuer.is_empty() => grants.issuer.clone_from(&self.own),
            None => {}
        }
    }
}

/// The issuer's URL as the topology says it: `control.issuer`, else `control.endpoint`.
#[must_use]
pub fn declared(control: Option<&Control>) -> Option<&str> {
    let control = control?;
    let urls = [control.issuer.as_deref(), Some(control.endpoint.as_str())];
    urls.into_iter().flatten().find(|url| !url.is_empty())
}

/// The keys and the URL as they should be; nothing where they are so, and where there is no topology yet.
pub(super) fn publish(current: &Current, stamp: &Stamp) -> Draft<Generation> {
    let before = &current.published.desired.grants;
    let mut after = before.clone();
    if let Some(topology) = current.topology.as_deref() {
        stamp.believed.write(&mut after, topology);
    }
    if after == *before {
        return Draft::nothing(current.generation());
    }
    let entry = NewEntry {
        before: Some(about(before)),
        after: Some(about(&after)),
        ..stamp.entry("publish", "keys/grants")
    };
    let current = stamp.beside(current, |_| {});
    Draft {
        answer: current.generation(),
        next: Some(Next {
            current,
            audit: vec![entry],
        }),
    }
}

fn about(grants: &Grants) -> serde_json::Value {
    let keys: Vec<&String> = grants.keys.keys().collect();
    serde_json::json!({"issuer": grants.issuer, "keys": keys})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_is_what_the_topology_says_and_else_who_published_first() {
        // (control of the topology, issuer before, issuer after)
        let cases = [
            ("", "", "http://127.0.0.1:7080"),
            ("", "http://10.0.0.1:7080", "http://10.0.0.1:7080"),
            (
                "control: {endpoint: 'https://c.example'}",
                "http://10.0.0.1:7080",
                "https://c.example",
            ),
            (
                "control: {endpoint: 'https://c.example', issuer: 'https://id.example/m'}",
                "",
                "https://id.example/m",
            ),
            (
                "control: {issuer: 'https://id.example/m'}",
                "",
                "https://id.example/m",
            ),
            ("control: {maxOffline: never}", "", "http://127.0.0.1:7080"),
        ];
        let believed = Believed {
            keys: Some(BTreeMap::from([("kid".to_owned(), "point".to_owned())])),
            own: "http://127.0.0.1:7080".to_owned(),
        };
        for (control, before, expected) in cases {
            let text = format!(
                "version: 1\nmesh: m\n{control}\nnodes: {{a: {{endpoint: 'https://a.example'}}}}\n"
            );
            let loaded = topology::load(&[("t".to_owned(), text)]).unwrap();
            let mut grants = Grants {
                issuer: before.to_owned(),
                ..Grants::default()
            };
            believed.write(&mut grants, &loaded.topology);
            assert_eq!(grants.issuer, expected, "{control}");
            assert_eq!(grants.keys.len(), 1);
            let mut untouched = Grants::default();
            Believed::default().write(&mut untouched, &loaded.topology);
            assert_eq!(untouched, Grants::default());
        }
    }
}
