//! Where a machine gets the tokens of its managed identities: IMDS, and the endpoint of App Service.
//!
//! Both are as strict as the real ones about headers, versions and ids, and write numbers as text where those do. IMDS stands at
//! 169.254.169.254:80, which only a network namespace may carry ([`crate::namespace`]): real machines answer there.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Directory, Identity, TENANT, text};
use crate::server::{Answer, At, Request, Serve, Server};

const LIFE: i64 = 86_400;
/// The documented one, and the one that Azure's library for Rust asks for.
const IMDS_VERSIONS: [&str; 2] = ["2018-02-01", "2019-08-01"];

/// IMDS. Dropped, it is gone.
pub struct Imds(Desk);

/// App Service's identity endpoint.
pub struct AppService {
    desk: Desk,
    secret: String,
}

/// What both are: a server whose next answers may be given by hand.
pub struct Desk {
    server: Server,
    instead: Arc<Mutex<Vec<Answer>>>,
}

struct Endpoint {
    directory: Directory,
    /// What callers must show: of App Service.
    secret: Option<String>,
    instead: Arc<Mutex<Vec<Answer>>>,
}

impl Imds {
    /// Inside a network namespace that has the address.
    pub async fn start(directory: &Directory) -> Self {
        let address = ([169, 254, 169, 254], 80).into();
        Self::start_at(At::address(address), directory).await
    }

    pub async fn start_at(at: At, directory: &Directory) -> Self {
        Self(Desk::start("imds", at, directory, None).await)
    }
}

impl Deref for Imds {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.0
    }
}

impl AppService {
    pub async fn start(directory: &Directory) -> Self {
        let secret = crate::canary::secret("app-service");
        let desk = Desk::start("app service", At::loopback(), directory, Some(&secret)).await;
        Self { desk, secret }
    }

    /// The environment of a process that runs there.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("IDENTITY_ENDPOINT", self.desk.server.url() + "/msi/token"),
            ("IDENTITY_HEADER", self.secret.clone()),
        ]
    }
}

impl Deref for AppService {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

/// Its record, and going away and coming back.
impl Deref for Desk {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Desk {
    /// The next requests get these answers, one each.
    pub fn answers_first(&self, answers: Vec<Answer>) {
        *self.instead.lock().unwrap() = answers;
    }

    async fn start(name: &str, at: At, directory: &Directory, secret: Option<&str>) -> Self {
        let instead = Arc::default();
        let endpoint = Endpoint {
            directory: directory.clone(),
            secret: secret.map(str::to_owned),
            instead: Arc::clone(&instead),
        };
        let server = Server::start_at(name, at, Arc::new(endpoint)).await;
        Self { server, instead }
    }
}

impl Serve for Endpoint {
    fn answer(&self, request: &Request) -> Answer {
        let scripted = {
            let mut instead = self.instead.lock().unwrap();
            (!instead.is_empty()).then(|| instead.remove(0))
        };
        let told = match (&scripted, &self.secret) {
            (Some(answer), _) => return answer.clone(),
            (None, Some(secret)) => self.app_service(request, secret),
            (None, None) => self.imds(request),
        };
        told.unwrap_or_else(|refusal| refusal)
    }
}

impl Endpoint {
    fn imds(&self, request: &Request) -> Result<Answer, Answer> {
        if request.path != "/metadata/identity/oauth2/token" || request.method != "GET" {
            return Err(Answer::empty(404));
        }
        // A proxy between would add the second: real IMDS refuses both.
        if request.header("metadata") != Some("true") {
            return Err(bad("Required metadata header not specified"));
        }
        if request.header("x-forwarded-for").is_some() {
            return Err(bad("x-forwarded-for header is not allowed"));
        }
        let resource = resource(request, &IMDS_VERSIONS)?;
        let identity = self.identity(request, "msi_res_id")?;
        let mut body = self.body(&identity, &resource);
        body["expires_in"] = text(LIFE - 1);
        body["ext_expires_in"] = text(LIFE - 1);
        body["not_before"] = text(crate::jwt::now() - 300);
        Ok(Answer::json(200, &body))
    }

    fn app_service(&self, request: &Request, secret: &str) -> Result<Answer, Answer> {
        if request.path != "/msi/token" || request.method != "GET" {
            return Err(Answer::empty(404));
        }
        if request.header("x-identity-header") != Some(secret) {
            return Err(Answer::empty(401));
        }
        let resource = resource(request, &["2019-08-01"])?;
        let identity = self.identity(request, "mi_res_id")?;
        let mut body = self.body(&identity, &resource);
        body["client_id"] = json!(identity.client_id);
        Ok(Answer::json(200, &body))
    }

    fn identity(&self, request: &Request, resource_id: &str) -> Result<Identity, Answer> {
        let id = |name: &str| request.params(name).pop();
        let object = id("object_id").or_else(|| id("principal_id"));
        let ids = [
            ("client", id("client_id")),
            ("object", object),
            ("resource", id(resource_id)),
        ];
        self.directory.named(&ids).map_err(bad)
    }

    fn body(&self, identity: &Identity, resource: &str) -> Value {
        let Identity {
            object_id,
            client_id,
            ..
        } = identity;
        let token = self
            .directory
            .token_for(TENANT, object_id, client_id, resource, LIFE);
        json!({
            "access_token": token,
            "expires_on": text(crate::jwt::now() + LIFE),
            "resource": resource,
            "token_type": "Bearer",
        })
    }
}

fn resource(request: &Request, versions: &[&str]) -> Result<String, Answer> {
    let version = request.params("api-version");
    if version.len() != 1 || !versions.contains(&version[0].as_str()) {
        return Err(bad("The api-version is missing or not supported"));
    }
    match &request.params("resource")[..] {
        [resource] if !resource.is_empty() && !resource.ends_with("/.default") => {
            Ok(resource.clone())
        }
        _ => Err(bad("AADSTS500011: The resource principal was not found")),
    }
}

fn bad(said: &str) -> Answer {
    let body = json!({"error": "invalid_request", "error_description": said});
    Answer::json(400, &body)
}
