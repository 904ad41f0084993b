//! Key Vault: secrets for identities that may read them, behind its challenge.
//!
//! The first call comes without a token and gets the challenge that names authority and resource; another audience than the vault's, or
//! an identity without the role, is refused as the real one does. The trailing slash of a secret without version is what its own
//! libraries send.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Directory, Identity, TENANT, VAULT_AUDIENCE};
use crate::server::{Answer, At, Request, Serve, Server};

/// A running vault. Dropped, it is gone.
pub struct Vault {
    server: Server,
    shelf: Arc<Shelf>,
}

struct Shelf {
    directory: Directory,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What secrets' ids begin with.
    url: String,
    /// In the challenge, in place of the vault's own.
    resource: Option<String>,
    secrets: HashMap<String, String>,
    readers: HashSet<String>,
}

impl Vault {
    pub async fn start_at(at: At, directory: &Directory) -> Self {
        let shelf = Arc::new(Shelf {
            directory: directory.clone(),
            state: Mutex::default(),
        });
        let serve: Arc<dyn Serve> = Arc::<Shelf>::clone(&shelf);
        let server = Server::start_at("vault", at, serve).await;
        let vault = Self { server, shelf };
        vault.is_called(&vault.server.url());
        vault
    }

    /// Its public name, if that is not where it listens.
    pub fn is_called(&self, url: &str) {
        url.clone_into(&mut self.shelf.state.lock().unwrap().url);
    }

    /// What its challenge names as the resource from now on.
    pub fn demands(&self, resource: &str) {
        self.shelf.state.lock().unwrap().resource = Some(resource.to_owned());
    }

    /// The URL of a secret, as a credential set names it.
    pub fn secret_url(&self, name: &str) -> String {
        format!("{}/secrets/{name}", self.shelf.state.lock().unwrap().url)
    }

    pub fn put(&self, name: &str, value: &str) {
        let mut state = self.shelf.state.lock().unwrap();
        state.secrets.insert(name.to_owned(), value.to_owned());
    }

    /// Lets an identity read every secret.
    pub fn allow(&self, identity: &Identity) {
        let mut state = self.shelf.state.lock().unwrap();
        state.readers.insert(identity.object_id.clone());
    }

    pub fn forbid(&self, identity: &Identity) {
        let mut state = self.shelf.state.lock().unwrap();
        state.readers.remove(&identity.object_id);
    }
}

/// Its record, and going away and coming back.
impl Deref for Vault {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Serve for Shelf {
    fn answer(&self, request: &Request) -> Answer {
        self.secret(request).unwrap_or_else(|refusal| refusal)
    }
}

impl Shelf {
    fn secret(&self, request: &Request) -> Result<Answer, Answer> {
        let state = self.state.lock().unwrap();
        let claims = self.caller(request, &state)?;
        if request.params("api-version").len() != 1 {
            return Err(error(400, "BadParameter", "api-version must be specified"));
        }
        let name = match request.path.strip_prefix("/secrets/") {
            Some(path) if request.method == "GET" => path.split('/').next().unwrap_or_default(),
            _ => return Err(error(404, "NotFound", "no such path")),
        };
        let oid = claims["oid"].as_str().unwrap_or_default();
        if !state.readers.contains(oid) {
            let said = "Caller is not authorized to perform action on resource.";
            return Err(error(403, "Forbidden", said));
        }
        let Some(value) = state.secrets.get(name) else {
            let said = format!("A secret with (name/id) {name} was not found in this key vault.");
            return Err(error(404, "SecretNotFound", &said));
        };
        let id = format!("{}/secrets/{name}/{}", state.url, "0".repeat(32));
        let attributes =
            json!({"enabled": true, "created": 1, "updated": 1, "recoveryLevel": "Purgeable"});
        Ok(Answer::json(
            200,
            &json!({"value": value, "id": id, "attributes": attributes}),
        ))
    }

    fn caller(&self, request: &Request, state: &State) -> Result<Value, Answer> {
        let resource = state.resource.as_deref().unwrap_or(VAULT_AUDIENCE);
        let authority = self.directory.issuer(TENANT);
        let authority = authority.trim_end_matches("/v2.0");
        let challenge = format!("Bearer authorization=\"{authority}\", resource=\"{resource}\"");
        let shown = request.header("authorization").unwrap_or_default();
        let refused = |said: &str| {
            error(401, "Unauthorized", said).with("www-authenticate", challenge.clone())
        };
        let Some(token) = shown.strip_prefix("Bearer ") else {
            return Err(refused(
                "AKV10000: Request is missing a Bearer or PoP token.",
            ));
        };
        let verified = self.directory.verify(token, VAULT_AUDIENCE);
        verified.map_err(|said| refused(&format!("AKV10022: Invalid token: {said}")))
    }
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(
        status,
        &json!({"error": {"code": code, "message": message}}),
    )
}
