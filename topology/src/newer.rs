//! Keys of a newer release, met by an older node in a slice.
//!
//! A node applies what it understands and reports the rest, except where guessing could open something: in `access`,
//! `identities`, `issuers` and `credentials` the entry with the unknown key is left out, and so is what depends on it; a
//! `network` cannot be left out without opening the node, so there the whole slice is refused and the last good one stays in
//! force. A recall is in force whatever it says besides (`document/slice.rs`). Source: the last paragraph of `spec/topology.md`.

use std::collections::BTreeSet;

use crate::{
    document::Document,
    place::Place,
    problem::{Code, Finding},
};

/// Which part of a document is being read, and what was left out of it.
#[derive(Debug, Default)]
pub(crate) struct Newer {
    guard: Guard,
    /// Collections entered since the guard began; what is left out is an element of the outermost.
    level: usize,
    refused: bool,
    left_out: BTreeSet<(Guard, String)>,
}

/// What is at stake in the part that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Guard {
    #[default]
    None,
    Access,
    Network,
    Identities,
    Issuers,
    Credentials,
}

impl Newer {
    /// Says that the value of `key` is read next. Returns what to `leave` with.
    pub(crate) fn enter(&mut self, key: &str) -> (Guard, usize) {
        let outside = (self.guard, self.level);
        if self.guard == Guard::None {
            self.level = 0;
            self.guard = match key {
                "access" => Guard::Access,
                "network" => Guard::Network,
                "identities" => Guard::Identities,
                "issuers" => Guard::Issuers,
                "credentials" => Guard::Credentials,
                _ => Guard::None,
            };
        }
        outside
    }

    /// Says that the value has been read.
    pub(crate) fn leave(&mut self, outside: (Guard, usize)) {
        (self.guard, self.level) = outside;
    }

    /// Says that an element of a collection is read next.
    pub(crate) fn begin_element(&mut self) {
        self.level += 1;
    }

    /// Says that the element has been read. Returns whether it has to be left out.
    pub(crate) fn end_element(&mut self) -> bool {
        self.level = self.level.saturating_sub(1);
        self.level == 0 && std::mem::take(&mut self.refused)
    }

    /// What an unknown key means here.
    pub(crate) fn unknown(&mut self, place: Place, message: String) -> Finding {
        match self.guard {
            Guard::None => Finding::warning(Code::UnknownKey, place, message)
                .advice("it is ignored here; upgrade this node to make it count"),
            Guard::Network => Finding::error(Code::UnknownKey, place, message)
                .advice("upgrade this node: it does not guess who may connect to it"),
            Guard::Access | Guard::Identities | Guard::Issuers | Guard::Credentials => {
                self.refused = true;
                Finding::warning(Code::UnknownKey, place, message).advice(
                    "the whole entry is left out here, because it is about security; upgrade this node",
                )
            }
        }
    }

    /// Remembers the name of an entry that was left out.
    pub(crate) fn left_out(&mut self, name: &str) {
        self.left_out.insert((self.guard, name.to_owned()));
    }

    /// Takes out of `document` what depends on entries that were left out: rules go out of force (they stay, so that their
    /// repositories stay covered), credential sets and role assignments go.
    pub(crate) fn settle(&self, document: &mut Document) {
        let gone = |guard, name: &str| self.left_out.contains(&(guard, name.to_owned()));
        document.credentials.retain(|_, set| {
            !set.identity
                .as_ref()
                .is_some_and(|name| gone(Guard::Identities, name))
        });
        let sets = &document.credentials;
        for rule in document.rules.values_mut() {
            let identity = rule
                .identity
                .as_ref()
                .is_some_and(|name| gone(Guard::Identities, name));
            let credentials = rule.credentials.as_ref().is_some_and(|name| {
                gone(Guard::Credentials, name)
                    || (!self.left_out.is_empty() && !sets.contains_key(name.value.as_str()))
            });
            if identity || credentials {
                rule.identity = None;
                rule.credentials = None;
                rule.enabled = Some(crate::place::At::made(false));
            }
        }
        document.access.retain(|entry| {
            !entry
                .to
                .as_ref()
                .and_then(|to| to.issuer())
                .is_some_and(|name| gone(Guard::Issuers, name))
        });
    }
}
