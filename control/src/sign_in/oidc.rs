//! Tokens of declared issuers, shown to the control plane: whose they are, by the topology in force.
//!
//! Verifying is `identity`'s, as on the nodes; here is which audiences count. A token is good for the control plane when it names it (the
//! login server of `control.endpoint`, or of the API's own address where none is declared), or what the issuer's declaration says: an audience of its own, or the client that people sign in with. Issuers move with the topology.
//! What surprises: a person's ID token counts at the end of a sign-in that was begun here, and by itself only where the declaration
//! lists its client among the audiences. People show the same one to nodes, and whoever holds a node could otherwise be them here.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use identity::{
    authenticate::{
        oidc::{Declared, Issuers},
        outsiders::{Nobody, Outsiders},
    },
    error,
    keys::{
        discovery::{Keys, Place},
        jwks::Around,
    },
    principal::Principal,
};
use runtime::{Clock, Secret};
use serde_json::{Map, Value};
use topology::model::{Issuer, IssuerKeys, Topology};
use url::Url;
use wire::{name::IssuerName, time::WallTime};

/// Why a token opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is wrong; whoever showed it is not told how, people who look into the log are.
    #[error("the token is not valid here; it may have ended, sign in again")]
    Refused(String),
    /// It is a declared issuer's, for somebody else.
    #[error(
        "the token's audience is not this control plane: it must be '{own}' (the host and port of control.endpoint, or of the API's own \
         address without one), or an `audience` that the issuer's declaration names"
    )]
    Audience {
        /// Which it could be.
        own: String,
    },
    /// It is a person's ID token, and shown by itself.
    #[error(
        "this is a person's ID token, which nodes see, too: sign in with `regmesh login`, which asks the issuer anew"
    )]
    Person,
    /// Its issuer's keys cannot be had. Why is for the log: a stranger may have named the issuer.
    #[error("the token cannot be verified now: its issuer's keys cannot be had; try again later")]
    Away(String),
}

/// A token that is believed.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Whose it is.
    pub principal: Principal,
    /// Who says so.
    pub issuer: IssuerName,
    /// What else it says.
    pub claims: Arc<Map<String, Value>>,
    /// When it was made; long ago when it does not say.
    pub begins: WallTime,
    /// Until when.
    pub ends: WallTime,
    /// Whether it is a person's ID token, for the client that people sign in with.
    person: bool,
}

impl Shown {
    /// This, when it may be shown by whoever has it.
    ///
    /// # Errors
    /// When it is a person's ID token.
    pub fn by_itself(self) -> Result<Self, Error> {
        match self.person {
            false => Ok(self),
            true => Err(Error::Person),
        }
    }
}

/// Makes those who know the issuers of a topology; what the last ones know of issuers that stay may be kept.
type Make = dyn Fn(&Topology) -> Arc<dyn Outsiders> + Send + Sync;

/// Believes tokens of declared issuers. Clones are the same.
#[derive(Clone)]
pub struct Oidc(Arc<Inner>);

struct Inner {
    make: Box<Make>,
    known: Mutex<Known>,
    /// Login server of the API's own address, for topologies that do not say one.
    own: Arc<OnceLock<String>>,
    clock: Clock,
}

/// The issuers of the topology last looked at.
struct Known {
    of: Option<Arc<Topology>>,
    issuers: Arc<dyn Outsiders>,
}

impl Oidc {
    /// Issuers are asked for their keys, with what is `around`.
    #[must_use]
    pub fn asking(around: Around) -> Self {
        let (clock, own) = (around.clock.clone(), Arc::<OnceLock<String>>::default());
        let reached = Arc::clone(&own);
        let previous: Mutex<Arc<Issuers>> = Mutex::default();
        let make = move |topology: &Topology| -> Arc<dyn Outsiders> {
            let mut previous = previous.lock().unwrap_or_else(PoisonError::into_inner);
            let issuers = Issuers::new(declared(topology, &reached), &around, Some(&previous));
            *previous = Arc::new(issuers);
            Arc::<Issuers>::clone(&previous)
        };
        Self::made(Box::new(make), own, clock)
    }

    /// Issuers are known by what `make` makes.
    pub fn new(
        make: impl Fn(&Topology) -> Arc<dyn Outsiders> + Send + Sync + 'static,
        clock: &Clock,
    ) -> Self {
        Self::made(Box::new(make), Arc::default(), clock.clone())
    }

    fn made(make: Box<Make>, own: Arc<OnceLock<String>>, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            make,
            own,
            known: Mutex::new(Known {
                of: None,
                issuers: Arc::new(Nobody),
            }),
            clock,
        }))
    }

    /// Where the API is reached when the topology does not say it.
    pub fn reached_at(&self, url: &str) {
        if let Some(own) = login_server(url) {
            let _ = self.0.own.set(own);
        }
        // What was made without it is made anew.
        self.known().of = None;
    }

    /// Whose token this is, by the issuers of `topology`.
    ///
    /// # Errors
    /// When it is nobody's, not good here (any more), or its issuer cannot be asked.
    pub async fn verify(&self, token: &Secret, topology: &Arc<Topology>) -> Result<Shown, Error> {
        let now = WallTime(self.0.clock.wall_ms());
        let verified = self.issuers(topology).verify(token, now).await;
        let verified = verified.map_err(|error| match &error {
            error::Error::Refused(_) => match self.is_for_others(token, topology) {
                Some(own) => Error::Audience { own },
                None => Error::Refused(error.to_string()),
            },
            error::Error::Unavailable { source, .. } => Error::Away(format!("{error}: {source}")),
            error::Error::TooOften { .. } => Error::Away(error.to_string()),
        })?;
        let nobody = || Error::Refused("no declared issuer has made it".to_owned());
        let verified = verified.ok_or_else(nobody)?;
        let Principal::Workload { issuer, claims } = &verified.principal else {
            return Err(nobody());
        };
        let begins = claims.get("iat").and_then(seconds);
        let declared = topology.issuers.get(issuer);
        let listed = declared.is_some_and(|issuer| {
            let client = issuer.client_id.as_ref();
            client.is_some_and(|client| issuer.audience.contains(client))
        });
        Ok(Shown {
            issuer: issuer.clone(),
            claims: Arc::clone(claims),
            begins: begins.unwrap_or(WallTime(i64::MIN)),
            ends: verified.expires,
            person: verified.person && !listed,
            principal: verified.principal,
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the audience could be, of a token that says it is a declared issuer's and for an audience that is not taken.
    fn is_for_others(&self, token: &Secret, topology: &Topology) -> Option<String> {
        let payload = token.expose().split('.').nth(1)?;
        let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let iss = claims.get("iss")?.as_str()?;
        let audience = claims.get("aud")?;
        let several = audience
            .as_array()
            .map_or(std::slice::from_ref(audience), Vec::as_slice);
        let said: Vec<&str> = several.iter().filter_map(Value::as_str).collect();
        let own = own(topology, &self.0.own)?;
        let issuers = topology.issuers.values().filter(|issuer| issuer.url == iss);
        let mut taken = issuers.map(|issuer| {
            let declared = issuer.audience.iter().chain(&issuer.client_id);
            let ours: Vec<&String> = declared.chain([&own]).collect();
            // One that is for others, too, could be shown here by any of them.
            said.iter().all(|said| ours.iter().any(|ours| ours == said))
        });
        let first = taken.next()?;
        (!first && !taken.any(|taken| taken)).then_some(own.clone())
    }

    fn issuers(&self, topology: &Arc<Topology>) -> Arc<dyn Outsiders> {
        let mut known = self.known();
        let same = known
            .of
            .as_ref()
            .is_some_and(|of| Arc::ptr_eq(of, topology));
        if !same {
            *known = Known {
                of: Some(Arc::clone(topology)),
                issuers: (self.0.make)(topology),
            };
        }
        Arc::clone(&known.issuers)
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").finish_non_exhaustive()
    }
}

/// The issuers of a topology, as the control plane takes their tokens.
fn declared(topology: &Topology, reached: &OnceLock<String>) -> Vec<Declared> {
    let own = own(topology, reached);
    let issuers = topology.issuers.iter();
    issuers
        .map(|(name, issuer)| Declared {
            name: name.clone(),
            place: place(issuer),
            audiences: issuer.audience.iter().chain(&own).cloned().collect(),
            client_id: issuer.client_id.clone(),
            algorithms: issuer.algorithms.clone(),
            assigned: true,
        })
        .collect()
}

/// Who the control plane is to those who make tokens for it.
fn own(topology: &Topology, reached: &OnceLock<String>) -> Option<String> {
    match &topology.control {
        Some(control) => login_server(&control.endpoint),
        None => reached.get().cloned(),
    }
}

/// Where an issuer is.
pub(super) fn place(issuer: &Issuer) -> Place {
    Place {
        url: issuer.url.clone(),
        keys: issuer.keys.as_ref().map(|keys| match keys {
            IssuerKeys::Uri(uri) => Keys::Uri(uri.clone()),
            IssuerKeys::File(path) => Keys::File(path.clone()),
        }),
        ca: issuer.ca.clone(),
        token: issuer.discovery_token.clone(),
    }
}

/// `HOST[:PORT]` of an address, without the scheme's own port.
fn login_server(endpoint: &str) -> Option<String> {
    let url = Url::parse(endpoint).ok()?;
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// A time as tokens have it: seconds, perhaps with a fraction.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is out of range saturates"
)]
fn seconds(value: &Value) -> Option<WallTime> {
    Some(WallTime((value.as_f64()? * 1_000.0) as i64))
}

/// Whether a text is shaped like one.
#[must_use]
pub fn is_one(text: &str) -> bool {
    let part = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !part.is_empty() && part.bytes().all(plain)
    };
    text.split('.').count() == 3 && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_the_control_plane_by_its_own_address_or_the_issuers_declaration() {
        let text = "version: 1\nmesh: one\nnodes:\n  dev: {endpoint: 'http://127.0.0.1:5000'}\n\
            control: {endpoint: 'https://control.example:8443/'}\n\
            issuers:\n  a: {url: 'https://a.example', audience: [one, two]}\n  b: {url: 'https://b.example', clientId: c}\n";
        let loaded = topology::load(&[("t.yaml".to_owned(), text.to_owned())]);
        let reached = OnceLock::from("127.0.0.1:7080".to_owned());
        let found = declared(&loaded.expect("valid").topology, &reached);
        assert_eq!(found[0].audiences, ["one", "two", "control.example:8443"]);
        assert_eq!(found[1].audiences, ["control.example:8443"]);
        assert_eq!(found[1].client_id.as_deref(), Some("c"));
        assert_eq!(login_server("https://c.example:443").unwrap(), "c.example");
    }

    #[test]
    fn without_an_endpoint_it_is_the_address_of_the_api_and_a_token_for_others_is_told_so() {
        let text = "version: 1\nmesh: one\nnodes:\n  dev: {endpoint: 'http://127.0.0.1:5000'}\n\
            issuers:\n  a: {url: 'https://a.example', audience: [one]}\n  b: {url: 'https://b.example', clientId: c}\n";
        let loaded = topology::load(&[("t.yaml".to_owned(), text.to_owned())]);
        let topology = loaded.expect("valid").topology;
        assert_eq!(declared(&topology, &OnceLock::new())[0].audiences, ["one"]);
        let oidc = fake::oidc(&Clock::manual(0));
        oidc.reached_at("http://127.0.0.1:7080");
        let found = declared(&topology, &oidc.0.own);
        assert_eq!(found[0].audiences, ["one", "127.0.0.1:7080"]);
        assert_eq!(found[1].audiences, ["127.0.0.1:7080"]);
        for (iss, aud, for_others) in [
            ("https://a.example", serde_json::json!("one"), false),
            ("https://a.example", serde_json::json!("two"), true),
            ("https://a.example", serde_json::json!(["one", "two"]), true),
            (
                "https://a.example",
                serde_json::json!("127.0.0.1:7080"),
                false,
            ),
            ("https://b.example", serde_json::json!(["c"]), false),
            ("https://c.example", serde_json::json!("two"), false),
        ] {
            let claims = serde_json::json!({"iss": iss, "aud": aud});
            let own = oidc.is_for_others(&fake::token("nobody", &claims), &topology);
            let expected = for_others.then(|| "127.0.0.1:7080".to_owned());
            assert_eq!(own, expected, "{claims}");
        }
    }

    #[test]
    fn only_what_is_shaped_like_a_token_is_taken_for_one() {
        for (text, expected) in [
            ("a.b.c", true),
            ("e30.e30.AA-_", true),
            ("a.b", false),
            ("a..c", false),
            ("a.b.c.d", false),
            ("a.b.c=", false),
            ("", false),
            ("an-admin-token", false),
        ] {
            assert_eq!(is_one(text), expected, "{text}");
        }
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! Issuers of tests: a token says in plain words what it claims.

    use async_trait::async_trait;
    use identity::{authenticate::outsiders::Verified, error::Refused};

    use super::*;

    /// Takes every token of [`token`] for true whose issuer is declared by that name, until it ends.
    #[derive(Debug)]
    struct Fake(Vec<IssuerName>);

    /// A token of `issuer` with these claims; `"away"` among them stands for keys that cannot be had (a number: until then, in seconds),
    /// `"person"` for an ID token.
    pub(crate) fn token(issuer: &str, claims: &Value) -> Secret {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let issuer = Value::String(issuer.to_owned());
        Secret::new(format!("{}.{}.fake", part(&issuer), part(claims)))
    }

    pub(crate) fn oidc(clock: &Clock) -> Oidc {
        let make = |topology: &Topology| -> Arc<dyn Outsiders> {
            Arc::new(Fake(topology.issuers.keys().cloned().collect()))
        };
        Oidc::new(make, clock)
    }

    #[async_trait]
    impl Outsiders for Fake {
        async fn verify(
            &self,
            token: &Secret,
            now: WallTime,
        ) -> Result<Option<Verified>, error::Error> {
            let mut parts = token.expose().split('.').map(|part| {
                let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
                serde_json::from_slice::<Value>(&bytes).ok()
            });
            let (Some(Some(Value::String(issuer))), Some(Some(Value::Object(claims)))) =
                (parts.next(), parts.next())
            else {
                return Ok(None);
            };
            let Some(issuer) = self.0.iter().find(|name| name.as_str() == issuer) else {
                return Ok(None);
            };
            let until = |away: &Value| seconds(away).is_none_or(|until| now < until);
            if claims.get("away").is_some_and(until) {
                return Err(error::Error::Unavailable {
                    what: "the issuer's keys",
                    source: "nobody answers".into(),
                });
            }
            let expires = claims.get("exp").and_then(seconds).unwrap();
            let person = claims.contains_key("person");
            if expires <= now {
                return Err(Refused::Token.into());
            }
            let principal = Principal::Workload {
                issuer: issuer.clone(),
                claims: Arc::new(claims),
            };
            Ok(Some(Verified {
                principal,
                expires,
                person,
            }))
        }

        fn declares(&self, name: &IssuerName, _iss: &str) -> bool {
            self.0.contains(name)
        }
    }
}
