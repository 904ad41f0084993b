//! Azure as far as a registry meets it: Entra, ACR, the sources of managed identities, Key Vault. Strict where the real ones are.
//!
//! One [`Directory`] stands behind them all: who exists, which keys sign, whom an application trusts. The emulators share it instead of
//! asking each other, but [`entra`] fetches *our* discovery document and keys by HTTP, because that is what is tested. Written from
//! `reference/protocols.md` 3 and 4, never from our own code.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::jwt::{self, Key};

pub mod acr;
pub mod entra;
pub mod imds;
pub mod vault;

pub use acr::Acr;
pub use entra::Entra;
pub use imds::{AppService, Imds};
pub use vault::Vault;

/// ACR's audience, in every registry of the public cloud.
pub const ACR_AUDIENCE: &str = "https://containerregistry.azure.net";
/// Key Vault's.
pub const VAULT_AUDIENCE: &str = "https://vault.azure.net";
/// The audience of assertions.
pub const EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";
/// The tenant of everybody here unless said otherwise.
pub const TENANT: &str = "72f988bf-0000-4000-8000-2d7cd011db47";

/// Managed identities, applications and keys. Clones are one directory.
#[derive(Clone)]
pub struct Directory {
    key: Arc<Key>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Where Entra is.
    url: String,
    identities: Vec<Identity>,
    applications: Vec<Application>,
    made: u64,
}

/// A managed identity, user-assigned unless it is the machine's own.
#[derive(Debug, Clone)]
pub struct Identity {
    pub client_id: String,
    pub object_id: String,
    pub resource_id: String,
    /// Whether who asks for none in particular gets this one.
    pub of_the_machine: bool,
}

/// An application, or a user-assigned identity with federated credentials.
#[derive(Debug, Clone)]
pub struct Application {
    pub tenant: String,
    pub client_id: String,
    pub object_id: String,
    credentials: Vec<Credential>,
}

/// A federated credential: whose word counts.
#[derive(Debug, Clone)]
pub struct Credential {
    pub issuer: String,
    pub subject: String,
    pub audience: String,
    /// For so many tries more nobody in Entra has heard of it.
    pub unheard: usize,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            key: Arc::new(Key::rs256("entra-1")),
            state: Arc::default(),
        }
    }
}

impl Directory {
    /// A user-assigned identity; its ids derive from its name.
    pub fn identity(&self, name: &str) -> Identity {
        self.add_identity(name, false)
    }

    /// The machine's own.
    pub fn system_identity(&self) -> Identity {
        self.add_identity("system", true)
    }

    fn add_identity(&self, name: &str, of_the_machine: bool) -> Identity {
        let identity = Identity {
            client_id: guid(&format!("client {name}")),
            object_id: guid(&format!("object {name}")),
            resource_id: format!(
                "/subscriptions/{}/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}",
                guid("subscription")
            ),
            of_the_machine,
        };
        let mut state = self.state.lock().unwrap();
        state.identities.push(identity.clone());
        identity
    }

    /// An application of a tenant that trusts nobody yet.
    pub fn application(&self, tenant: &str, name: &str) -> Application {
        let application = Application {
            tenant: tenant.to_owned(),
            client_id: guid(&format!("application {name}")),
            object_id: guid(&format!("principal {name}")),
            credentials: Vec::new(),
        };
        let mut state = self.state.lock().unwrap();
        state.applications.push(application.clone());
        application
    }

    /// From now on this application trusts what `credential` says.
    pub fn trust(&self, application: &Application, credential: Credential) {
        let mut state = self.state.lock().unwrap();
        let mut all = state.applications.iter_mut();
        let known = all.find(|each| each.client_id == application.client_id);
        known
            .expect("it was made here")
            .credentials
            .push(credential);
    }

    /// A token of Entra's for somebody.
    pub fn token(&self, tenant: &str, object_id: &str, client_id: &str, audience: &str) -> String {
        self.token_for(tenant, object_id, client_id, audience, 3600)
    }

    fn token_for(
        &self,
        tenant: &str,
        object_id: &str,
        client_id: &str,
        audience: &str,
        seconds: i64,
    ) -> String {
        let number = {
            let mut state = self.state.lock().unwrap();
            state.made += 1;
            state.made
        };
        let claims = json!({
            "iss": self.issuer(tenant),
            "aud": audience,
            "sub": object_id,
            "oid": object_id,
            "tid": tenant,
            "appid": client_id,
            "azp": client_id,
            "ver": "2.0",
            "uti": format!("canary-entra-{number}"),
        });
        self.key.token(&jwt::lasting(claims, seconds))
    }

    /// `iss` of a tenant's tokens.
    pub fn issuer(&self, tenant: &str) -> String {
        format!("{}/{tenant}/v2.0", self.state.lock().unwrap().url)
    }

    /// Whose valid token for that audience this is: its claims.
    pub(crate) fn verify(&self, token: &str, audience: &str) -> Result<Value, String> {
        let parts = jwt::parts(token).map_err(|error| error.to_string())?;
        let verified = parts.verify(&self.key.jwk(), "RS256");
        verified.map_err(|error| error.to_string())?;
        if parts.claims["aud"] != audience {
            return Err(format!("the audience {}", parts.claims["aud"]));
        }
        if !parts.is_in_time() {
            return Err("expired".to_owned());
        }
        Ok(parts.claims)
    }

    fn jwk(&self) -> Value {
        self.key.jwk()
    }

    fn stands_at(&self, url: &str) {
        url.clone_into(&mut self.state.lock().unwrap().url);
    }

    /// The identity that a request for a token names by one of three ids, or the machine's own if it names none.
    fn named(&self, ids: &[(&str, Option<String>)]) -> Result<Identity, &'static str> {
        let given: Vec<_> = ids
            .iter()
            .filter_map(|(kind, id)| Some((*kind, id.as_deref()?)))
            .collect();
        let state = self.state.lock().unwrap();
        let is = |identity: &&Identity| match given[..] {
            [] => identity.of_the_machine,
            [("client", id)] => identity.client_id.eq_ignore_ascii_case(id),
            [("object", id)] => identity.object_id.eq_ignore_ascii_case(id),
            [("resource", id)] => identity.resource_id.eq_ignore_ascii_case(id),
            _ => false,
        };
        if given.len() > 1 {
            return Err("Multiple user assigned identities exist in the request");
        }
        let found = state.identities.iter().find(is).cloned();
        found.ok_or("Identity not found")
    }
}

/// A GUID that a text always has.
pub fn guid(text: &str) -> String {
    let hash = hex::encode(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        text.as_bytes(),
    ));
    format!(
        "{}-{}-4{}-8{}-{}",
        &hash[..8],
        &hash[8..12],
        &hash[13..16],
        &hash[17..20],
        &hash[20..32]
    )
}

/// Seconds since 1970 as text, which is how Azure writes some numbers.
fn text(seconds: i64) -> Value {
    json!(seconds.to_string())
}

#[cfg(test)]
mod tests;
