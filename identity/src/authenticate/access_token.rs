//! The node's own access tokens, given and taken.
//!
//! `iss` and `aud` are this node's login server, so a token is worth nothing anywhere else. It says who the bearer is and an
//! upper bound; an account's is tied to its password and ends with it, an identity's to the rule that it was granted for; roles are
//! asked on every request. Taken 60 s beyond its end, because clients count its life from when it reached them. Verified tokens are
//! remembered by their hash, so that a layer costs no signature; what is remembered is checked for time and audience again. Source:
//! `reference/protocols.md` 1.5.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use runtime::Secret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::time::WallTime;

use super::trust::Via;
use crate::{
    decide::Bound,
    principal::Principal,
    sign::{self, Invalid, Keys},
};

/// How long a client's access token lives.
pub const LIFE: Duration = Duration::from_secs(3600);
/// How long the access token of a node, or of another node's rule, lives: they renew while they pull.
pub const PEER_LIFE: Duration = Duration::from_secs(300);
/// How far clocks, and a client's idea of a life, may be off.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// How many verified tokens are remembered.
const REMEMBERED: u64 = 10_000;
/// The `typ` of an access token.
pub const TYP: &str = "at+jwt";

/// Gives and takes access tokens. Clones share what is remembered.
#[derive(Debug, Clone)]
pub struct AccessTokens {
    keys: Arc<Keys>,
    verified: moka::sync::Cache<[u8; 32], Arc<Claims>>,
}

/// A token as it is given.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: Secret,
    /// How long it may be used, from now.
    pub expires_in: Duration,
    /// When it was made.
    pub issued_at: WallTime,
}

/// What a token is to say.
#[derive(Debug)]
pub struct Content<'a> {
    /// Who bears it.
    pub principal: &'a Principal,
    /// Its upper bound.
    pub bound: Bound,
    /// The SPIFFE id that the connection must show for it to count; none for clients.
    pub bound_to: Option<String>,
    /// What ties it to an account's password; see [`super::account::Passwords::tie`].
    pub tie: Option<String>,
    /// The rule behind an identity.
    pub via: Option<Via>,
}

/// The claims of a token of ours. Times are seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    nbf: i64,
    iat: i64,
    /// What audits call it.
    pub jti: Uuid,
    /// Its upper bound.
    pub access: Arc<Bound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    /// What ties it to an account's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tie: Option<String>,
    /// The rule behind an identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// Who bears it.
    #[serde(rename = "regmesh")]
    pub principal: Principal,
}

#[derive(Debug, Serialize, Deserialize)]
struct Confirmation {
    spiffe: String,
}

impl Claims {
    /// The SPIFFE id that the connection must show.
    #[must_use]
    pub fn bound_to(&self) -> Option<&str> {
        self.cnf.as_ref().map(|cnf| cnf.spiffe.as_str())
    }

    /// What ties it to an account's password; none in tokens of earlier releases.
    #[must_use]
    pub fn tie(&self) -> Option<&str> {
        self.tie.as_deref()
    }

    fn check(&self, audience: &str, now: WallTime) -> Result<(), Invalid> {
        let (early, late) = (now.minus(LEEWAY).seconds(), now.plus(LEEWAY).seconds());
        let ours = self.iss == audience && self.aud == audience;
        let in_time = early < self.exp && self.nbf <= late && self.iat <= late;
        (ours && in_time).then_some(()).ok_or(Invalid)
    }
}

impl AccessTokens {
    /// Tokens signed and verified by `keys`.
    #[must_use]
    pub fn new(keys: Arc<Keys>) -> Self {
        Self {
            keys,
            verified: moka::sync::Cache::new(REMEMBERED),
        }
    }

    /// A token of the node whose login server is `audience`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(
        &self,
        audience: &str,
        content: Content<'_>,
        now: WallTime,
    ) -> Result<Issued, sign::Error> {
        let life = life(content.principal);
        let claims = Claims {
            iss: audience.to_owned(),
            sub: content.principal.subject(),
            aud: audience.to_owned(),
            exp: now.plus(life).seconds(),
            nbf: now.seconds(),
            iat: now.seconds(),
            jti: Uuid::now_v7(),
            access: Arc::new(content.bound),
            cnf: content.bound_to.map(|spiffe| Confirmation { spiffe }),
            tie: content.tie,
            via: content.via,
            principal: content.principal.clone(),
        };
        let token = self.keys.sign(TYP, &claims)?;
        Ok(Issued {
            token,
            expires_in: life,
            issued_at: now,
        })
    }

    /// The claims of a token that this node made and that is valid now. Whether the connection shows what the token is bound
    /// to is the caller's to check.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn verify(
        &self,
        audience: &str,
        token: &str,
        now: WallTime,
    ) -> Result<Arc<Claims>, Invalid> {
        let key = hash(token);
        let claims = match self.verified.get(&key) {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.keys.verify::<Claims>(TYP, token)?);
                claims.check(audience, now)?;
                self.verified.insert(key, Arc::clone(&claims));
                claims
            }
        };
        claims.check(audience, now)?;
        Ok(claims)
    }
}

fn life(principal: &Principal) -> Duration {
    match principal {
        Principal::Identity { .. } | Principal::Node { .. } => PEER_LIFE,
        Principal::Anonymous | Principal::Account { .. } | Principal::Workload { .. } => LIFE,
    }
}

/// SHA-256 of a token: what is kept of it where it must be found again.
#[must_use]
pub fn hash(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wire::{repository::RepositoryName, scope::Action, scope::Scope};

    use super::*;

    const NOW: WallTime = WallTime(1_800_000_000_000);
    const NODE: &str = "prod.registry.example:5000";

    fn issue(tokens: &AccessTokens) -> Secret {
        let principal = Principal::Account {
            name: "ci".parse().unwrap(),
        };
        let mut bound = Bound::default();
        bound.add(
            "team/a".parse::<RepositoryName>().unwrap(),
            [Action::Pull].into_iter().collect(),
        );
        let content = Content {
            principal: &principal,
            bound,
            bound_to: None,
            tie: None,
            via: None,
        };
        tokens.issue(NODE, content, NOW).unwrap().token
    }

    fn tokens() -> AccessTokens {
        AccessTokens::new(Arc::new(Keys::generate().unwrap()))
    }

    #[test]
    fn a_token_says_who_bears_it_and_what_at_most() {
        let tokens = tokens();
        let token = issue(&tokens);
        for _ in 0..2 {
            let claims = tokens.verify(NODE, token.expose(), NOW).unwrap();
            assert_eq!(claims.principal.to_string(), "account:ci");
            assert_eq!(
                Scope::write_list(&claims.access.scopes()),
                "repository:team/a:pull"
            );
            assert_eq!(claims.bound_to(), None);
        }
    }

    #[test]
    fn it_ends_a_minute_after_its_end_even_when_remembered_and_is_worth_nothing_elsewhere() {
        let tokens = tokens();
        let token = issue(&tokens);
        let verify = |audience: &str, now| tokens.verify(audience, token.expose(), now).is_ok();
        for _ in 0..2 {
            assert!(verify(NODE, NOW.plus(LIFE)));
            assert!(verify(NODE, NOW.plus(LIFE + Duration::from_secs(59))));
            assert!(!verify(NODE, NOW.plus(LIFE + Duration::from_secs(61))));
            assert!(verify(NODE, NOW.minus(Duration::from_secs(59))));
            assert!(!verify(NODE, NOW.minus(Duration::from_secs(61))));
            assert!(!verify("dev.registry.example", NOW));
        }
        assert!(
            tokens_of_another_node()
                .verify(NODE, token.expose(), NOW)
                .is_err()
        );
    }

    fn tokens_of_another_node() -> AccessTokens {
        tokens()
    }

    /// T50, the part about claims: all signed by the right key.
    #[test]
    fn claims_that_are_not_ours_are_refused() {
        let tokens = tokens();
        let s = NOW.seconds();
        let good = json!({
            "iss": NODE, "aud": NODE, "sub": "account:ci", "exp": s + 300, "nbf": s, "iat": s,
            "jti": Uuid::now_v7(), "access": [], "regmesh": {"kind": "account", "name": "ci"}
        });
        let verify = |change: &dyn Fn(&mut Value)| {
            let mut claims = good.clone();
            change(&mut claims);
            let token = tokens.keys.sign(TYP, &claims).unwrap();
            tokens.verify(NODE, token.expose(), NOW).is_ok()
        };
        assert!(verify(&|_| ()));
        let set =
            |key: &'static str, value: Value| move |claims: &mut Value| claims[key] = value.clone();
        let remove = |key: &'static str| {
            move |claims: &mut Value| {
                claims.as_object_mut().unwrap().remove(key);
            }
        };
        assert!(!verify(&set("iss", json!("dev.registry.example"))));
        assert!(!verify(&set("aud", json!("dev.registry.example"))));
        assert!(!verify(&set("aud", json!([NODE]))));
        assert!(!verify(&set("exp", json!(s - 61))));
        assert!(!verify(&set("exp", json!("soon"))));
        assert!(!verify(&set("exp", json!(1e300))));
        assert!(!verify(&set("nbf", json!(s + 61))));
        assert!(!verify(&set("iat", json!(s + 61))));
        assert!(!verify(&set("regmesh", json!({"kind": "root"}))));
        assert!(!verify(&set(
            "regmesh",
            json!({"kind": "account", "name": "../ci"})
        )));
        for key in [
            "iss", "aud", "exp", "nbf", "iat", "jti", "access", "regmesh",
        ] {
            assert!(!verify(&remove(key)), "{key}");
        }
    }

    #[test]
    fn scopes_that_are_no_canonical_names_open_nothing() {
        for text in ["a/../b", "A/b", "a//b", "a%2fb", "a/b ", "a/*", "*"] {
            let access = json!([{"type": "repository", "name": text, "actions": ["pull"]}]);
            let bound: Bound = serde_json::from_value(access).unwrap();
            assert_eq!(bound, Bound::default(), "{text}");
            assert!(!bound.allows(Action::Pull, &"b".parse().unwrap()));
        }
    }
}
