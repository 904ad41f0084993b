//! What nodes believe rule grants by: the issuer's URL and its public keys, which every generation carries.
//!
//! The URL is decided here, when a generation is published, and not when slices are cut: so all control planes over one store mint under
//! the same one. Where the topology does not say it, it is the API's own address of whoever published first and then stays, because to a
//! node it is a name and nothing to call. Another URL leaves the one before believed for as long as grants that name it live. Nodes learn keys from slices, never by HTTP.

use std::collections::BTreeMap;

use topology::model::{Control, Topology};
use wire::{generation::Generation, time::WallTime};

use super::{
    Current,
    draft::{Draft, Next, Stamp},
    withdraw::KEEP,
};
use crate::state::{Grants, NewEntry};

/// How many former names of the issuer are believed at most.
const MOST_FORMER: usize = 8;

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
    pub(super) fn write(&self, grants: &mut Grants, topology: &Topology, now: WallTime) {
        let Some(keys) = &self.keys else { return };
        grants.keys.clone_from(keys);
        let before = match declared(topology.control.as_ref()) {
            Some(url) => std::mem::replace(&mut grants.issuer, url.to_owned()),
            None if grants.issuer.is_empty() => {
                std::mem::replace(&mut grants.issuer, self.own.clone())
            }
            None => grants.issuer.clone(),
        };
        if !before.is_empty() && before != grants.issuer {
            grants.former.insert(before, now);
        }
        forget(grants, now);
    }
}

/// Former names whose grants have ended, and the oldest where there are very many.
fn forget(grants: &mut Grants, now: WallTime) {
    grants.former.remove(&grants.issuer);
    grants.former.retain(|_, since| since.plus(KEEP) > now);
    while grants.former.len() > MOST_FORMER {
        let oldest = grants.former.iter().min_by_key(|(_, since)| **since);
        let Some(oldest) = oldest.map(|(url, _)| url.clone()) else {
            return;
        };
        grants.former.remove(&oldest);
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
        stamp.believed.write(&mut after, topology, stamp.at);
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
            believed.write(&mut grants, &loaded.topology, WallTime(0));
            assert_eq!(grants.issuer, expected, "{control}");
            assert_eq!(grants.keys.len(), 1);
            let former = !before.is_empty() && before != expected;
            assert_eq!(grants.former.contains_key(before), former, "{control}");
            let mut untouched = Grants::default();
            Believed::default().write(&mut untouched, &loaded.topology, WallTime(0));
            assert_eq!(untouched, Grants::default());
        }
    }

    #[test]
    fn an_issuer_that_is_called_otherwise_now_is_believed_as_long_as_its_grants_live() {
        let believed = Believed {
            keys: Some(BTreeMap::new()),
            own: String::new(),
        };
        let named = |url: &str| {
            let text = format!(
                "version: 1\nmesh: m\ncontrol: {{issuer: '{url}'}}\nnodes: {{a: {{endpoint: 'https://a.example'}}}}\n"
            );
            topology::load(&[("t".to_owned(), text)]).unwrap().topology
        };
        let (mut grants, hour) = (Grants::default(), std::time::Duration::from_secs(3_600));
        let mut write = |url: &str, hours: u32| {
            let now = WallTime(0).plus(hour * hours);
            believed.write(&mut grants, &named(url), now);
            grants.former.keys().cloned().collect::<Vec<_>>()
        };
        assert!(write("https://a.example", 0).is_empty());
        assert_eq!(write("https://b.example", 1), ["https://a.example"]);
        assert_eq!(write("https://b.example", 24), ["https://a.example"]);
        assert!(write("https://b.example", 26).is_empty());
        assert_eq!(write("https://a.example", 27), ["https://b.example"]);
        assert_eq!(write("https://b.example", 28), ["https://a.example"]);
        for n in 0..20 {
            assert!(write(&format!("https://n{n}.example"), 28 + n).len() <= MOST_FORMER);
        }
    }
}
