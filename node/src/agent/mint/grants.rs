//! The grants themselves: which ones a slice needs, which of those in hand are still right, and `grants.json`.
//!
//! A grant's words are read without being verified: they are our own control plane's, came over its connection, and decide here only what
//! is dropped; the upstream verifies. The file has mode 0600 and is written whole. One that cannot be read is set aside and said: the
//! grants come again with the control plane. Source: `spec/identity.md` "The rule grant".

use std::{
    collections::{BTreeSet, HashMap},
    io,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use identity::mint::{Audience, Error, Minted, Wanted};
use runtime::Secret;
use serde::{Deserialize, Serialize};
use topology::model::{
    identity::IdentityKind,
    rule::{Authentication, UpstreamRef},
};
use wire::{
    name::{IdentityName, RuleName},
    node_service::{self, minted::Outcome, wanted::Kind},
    time::WallTime,
};

use super::super::home::Home;
use crate::app::Slice;

pub(crate) const FILE: &str = "grants.json";
const ASIDE: &str = "grants.damaged.json";

/// The grants that a slice's rules need.
#[derive(Debug, Default)]
pub(super) struct Needed {
    /// With the repositories that each is for.
    grants: HashMap<Wanted, String>,
    /// The keys that are believed; nothing before there is an issuer.
    keys: BTreeSet<String>,
}

/// A grant in hand.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) minted: Minted,
    /// When the next one is fetched ahead: a little before it should be, and not with all others.
    pub(super) due: WallTime,
}

impl Needed {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Wanted> {
        self.grants.keys()
    }

    pub(super) fn contains(&self, wanted: &Wanted) -> bool {
        self.grants.contains_key(wanted)
    }
}

impl Held {
    /// `random` is uniform in [0, 1).
    pub(super) fn new(minted: Minted, now: WallTime, random: f64) -> Self {
        let until = now.age(minted.refresh).unwrap_or_default();
        let due = now.plus(until.mul_f64(0.85 + 0.1 * random.clamp(0.0, 1.0)));
        Self { minted, due }
    }

    /// Another one is to take its place, and is not asked for later than this. Until it is here this one is shown: its upstream may not
    /// know yet what makes it wrong, and then knows nothing of the next one either.
    pub(super) fn replace_at(&mut self, now: WallTime) {
        self.due = self.due.min(now);
        self.minted.refresh = self.minted.refresh.min(now);
    }
}

/// What the rules of this node need: those in force that call a node as a managed identity.
pub(super) fn needed(slice: &Slice) -> Needed {
    let topology = &slice.topology;
    let rules = slice.own().into_iter().flat_map(|own| &own.rules);
    let grants = rules.filter(|rule| rule.enabled).filter_map(|rule| {
        let (Authentication::Identity(name), UpstreamRef::Node(node)) =
            (&rule.authentication, &rule.source.upstream)
        else {
            return None;
        };
        let identity = topology.identities.get(name)?;
        let login_server = topology.node(node)?.endpoint.login_server();
        let wanted = Wanted {
            rule: rule.name.clone(),
            identity: name.clone(),
            audience: Audience::Upstream(login_server),
        };
        let repositories = rule.source.repositories.to_string();
        (identity.kind == IdentityKind::Managed).then_some((wanted, repositories))
    });
    let believed = topology.slice.as_ref().and_then(|of| of.grants.as_ref());
    Needed {
        grants: grants.collect(),
        keys: believed
            .map(|grants| grants.keys.keys().cloned().collect())
            .unwrap_or_default(),
    }
}

/// Whether the key that signed a grant in hand is not published any more: its upstream believes it no longer, or soon.
pub(super) fn is_revoked(held: &Held, needed: &Needed) -> bool {
    let kid = kid(held.minted.token.expose());
    kid.is_some_and(|kid| !needed.keys.is_empty() && !needed.keys.contains(&kid))
}

/// Whether a grant in hand is one that the slice needs, as far as it can be told here. What was withdrawn is told to the upstream alone:
/// it refuses the grant, and another one is asked for then.
pub(super) fn is_right(wanted: &Wanted, held: &Held, needed: &Needed) -> bool {
    let Some(repositories) = needed.grants.get(wanted) else {
        return false;
    };
    let Some(said) = said(held.minted.token.expose()) else {
        return true;
    };
    said.regmesh.repositories == [repositories.as_str()]
}

#[derive(Deserialize)]
struct Header {
    kid: String,
}

fn kid(grant: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(grant.split('.').next()?).ok()?;
    let header: Header = serde_json::from_slice(&header).ok()?;
    Some(header.kid)
}

#[derive(Deserialize)]
struct Said {
    regmesh: About,
}

#[derive(Deserialize)]
struct About {
    repositories: Vec<String>,
}

fn said(grant: &str) -> Option<Said> {
    let payload = URL_SAFE_NO_PAD.decode(grant.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// One of the file's entries.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    rule: RuleName,
    identity: IdentityName,
    upstream: String,
    token: String,
    expires_ms: i64,
    refresh_ms: i64,
}

#[derive(Default, Serialize, Deserialize)]
struct File {
    grants: Vec<Entry>,
}

/// The grants on disk that have not ended, and what was wrong with the file.
pub(super) fn load(home: &Home, now: WallTime) -> (HashMap<Wanted, Held>, Option<String>) {
    let damage = |why: &str| {
        let aside = home.rename(FILE, ASIDE);
        let aside = aside.map_or_else(
            |error| format!("and could not be set aside: {error}"),
            |()| format!("and is now agent/{ASIDE}"),
        );
        let what = format!(
            "the rule grants in agent/{FILE} cannot be used: {why}; the file was not deleted {aside}"
        );
        (HashMap::new(), Some(what))
    };
    let bytes = match home.read(FILE) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return (HashMap::new(), None),
        Err(error) => return damage(&error.to_string()),
    };
    let Ok(file) = serde_json::from_slice::<File>(bytes.expose()) else {
        return damage("it is damaged");
    };
    let held = file.grants.into_iter().map(|entry| {
        let wanted = Wanted {
            rule: entry.rule,
            identity: entry.identity,
            audience: Audience::Upstream(entry.upstream),
        };
        let minted = Minted {
            token: Secret::new(entry.token),
            expires: WallTime(entry.expires_ms),
            refresh: WallTime(entry.refresh_ms),
        };
        let due = minted.refresh;
        (wanted, Held { minted, due })
    });
    let held = held.filter(|(_, held)| held.minted.expires > now).collect();
    (held, None)
}

/// The file's text.
pub(super) fn text(held: &HashMap<Wanted, Held>) -> Secret<Vec<u8>> {
    let entries = held.iter().filter_map(|(wanted, held)| {
        let Audience::Upstream(upstream) = &wanted.audience else {
            return None;
        };
        Some(Entry {
            rule: wanted.rule.clone(),
            identity: wanted.identity.clone(),
            upstream: upstream.clone(),
            token: held.minted.token.expose().clone(),
            expires_ms: held.minted.expires.0,
            refresh_ms: held.minted.refresh.0,
        })
    });
    let mut grants: Vec<Entry> = entries.collect();
    grants.sort_by(|a, b| a.rule.cmp(&b.rule));
    Secret::new(serde_json::to_vec(&File { grants }).unwrap_or_default())
}

/// Writes it in the place of the one before.
pub(super) fn save(home: &Home, text: &Secret<Vec<u8>>) -> io::Result<()> {
    home.write(FILE, text.expose())
}

/// As the node service has it.
pub(super) fn asked(wanted: &Wanted) -> node_service::Wanted {
    let kind = match &wanted.audience {
        Audience::Upstream(login_server) => Kind::Upstream(login_server.clone()),
        Audience::Foreign(audience) => Kind::Audience(audience.clone()),
    };
    node_service::Wanted {
        rule: wanted.rule.to_string(),
        identity: wanted.identity.to_string(),
        kind: Some(kind),
    }
}

/// From the node service.
pub(super) fn outcome(minted: node_service::Minted) -> Result<Minted, Error> {
    match minted.outcome {
        Some(Outcome::Token(token)) => Ok(Minted {
            token: Secret::new(token.token),
            expires: WallTime(token.expires_ms),
            refresh: WallTime(token.refresh_ms),
        }),
        Some(Outcome::Refused(why)) => Err(Error::Refused(wire::oci_error::clean(&why))),
        Some(Outcome::Away(why)) => Err(Error::Away(wire::oci_error::clean(&why))),
        None => Err(Error::Away("it said nothing about it".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn held(token: String) -> Held {
        let minted = Minted {
            token: Secret::new(token),
            expires: WallTime(i64::MAX),
            refresh: WallTime(i64::MAX),
        };
        Held {
            minted,
            due: WallTime(0),
        }
    }

    /// A grant for these repositories, as far as it is read here.
    fn grant(repositories: &str) -> String {
        let claims = serde_json::json!({"regmesh": {"repositories": [repositories]}});
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part("{}"), part(&claims.to_string()))
    }

    #[test]
    fn a_grant_is_right_while_the_slice_asks_for_it_as_it_was_made() {
        let wanted = |rule: &str, identity: &str, upstream: &str| Wanted {
            rule: rule.parse().unwrap(),
            identity: identity.parse().unwrap(),
            audience: Audience::Upstream(upstream.to_owned()),
        };
        let own = wanted("golden", "reader", "hub");
        let needed = Needed {
            grants: [(own.clone(), "team/*".to_owned())].into(),
            keys: BTreeSet::new(),
        };
        let made = || held(grant("team/*"));
        for (of, held, expected) in [
            (&own, made(), true),
            (&own, held(grant("team/a")), false),
            (&own, held("not-ours-to-read".to_owned()), true),
            (&wanted("silver", "reader", "hub"), made(), false),
            (&wanted("golden", "writer", "hub"), made(), false),
            (&wanted("golden", "reader", "dev"), made(), false),
        ] {
            assert_eq!(is_right(of, &held, &needed), expected, "{of:?}");
        }
    }

    #[test]
    fn a_grant_whose_key_is_published_no_more_is_known_by_its_header() {
        let signed = |header: &str| held(format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header)));
        let ours = r#"{"alg":"ES256","kid":"a","typ":"regmesh-grant+jwt"}"#;
        for (header, published, expected) in [
            (ours, &["a"][..], false),
            (ours, &["a", "b"], false),
            (ours, &["b"], true),
            (ours, &[], false),
            (r#"{"alg":"ES256"}"#, &["b"], false),
            ("no header", &["b"], false),
        ] {
            let needed = Needed {
                keys: published.iter().map(|kid| (*kid).to_owned()).collect(),
                ..Needed::default()
            };
            assert_eq!(
                is_revoked(&signed(header), &needed),
                expected,
                "{header} {published:?}"
            );
        }
    }

    #[test]
    fn a_grant_is_fetched_ahead_before_it_is_due_and_not_with_all_others() {
        let now = WallTime(1_800_000_000_000);
        let mut minted = held(String::new()).minted;
        minted.refresh = now.plus(Duration::from_secs(1_000));
        for (random, seconds) in [(0.0, 850), (0.5, 900), (1.0, 950)] {
            let due = Held::new(minted.clone(), now, random).due;
            assert_eq!(due, now.plus(Duration::from_secs(seconds)));
        }
        minted.refresh = now.minus(Duration::from_secs(1));
        assert_eq!(Held::new(minted, now, 0.5).due, now);
    }
}
