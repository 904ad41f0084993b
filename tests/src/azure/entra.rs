//! Entra's token endpoint for client assertions, and its own discovery and keys.
//!
//! It fetches the asserting issuer's discovery document and keys by itself, each time, and demands what strict libraries do; then it
//! compares issuer, subject and audience with the application's federated credentials, exactly. A credential may be unheard of for the
//! first tries, as real ones are for minutes (AADSTS70021).

use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{Application, Directory};
use crate::jwt::{self, Parts};
use crate::server::{Answer, At, Request, Serve, Server};

/// A running Entra. Dropped, it is gone.
pub struct Entra {
    pub directory: Directory,
    server: Server,
}

struct Endpoint {
    directory: Directory,
    http: reqwest::Client,
}

impl Entra {
    pub async fn start() -> Self {
        Self::start_at(At::loopback(), None).await
    }

    /// There; `trusted` are PEM certificates of authorities that it trusts beside the platform's.
    pub async fn start_at(at: At, trusted: Option<&str>) -> Self {
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = trusted {
            let authorities = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
            http = http.tls_certs_merge(authorities.expect("PEM"));
        }
        let directory = Directory::default();
        let endpoint = Endpoint {
            directory: directory.clone(),
            http: http.build().expect("plain"),
        };
        let server = Server::start_at("entra", at, Arc::new(endpoint)).await;
        directory.stands_at(&server.url());
        Self { directory, server }
    }

    /// Its public name, if that is not where it listens.
    pub fn is_called(&self, url: &str) {
        self.directory.stands_at(url);
    }

    /// Where a tenant's tokens are.
    pub fn token_url(&self, tenant: &str) -> String {
        format!("{}/{tenant}/oauth2/v2.0/token", self.server.url())
    }
}

/// Its record, and going away and coming back.
impl Deref for Entra {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Serve for Endpoint {
    fn answer(&self, request: &Request) -> Answer {
        let issuer = |tenant: &str| self.directory.issuer(tenant);
        let path: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        match (request.method.as_str(), &path[..]) {
            ("GET", [tenant, "v2.0", ".well-known", "openid-configuration"]) => {
                let issuer = issuer(tenant);
                let base = issuer.trim_end_matches("/v2.0");
                let document = json!({
                    "issuer": issuer,
                    "token_endpoint": format!("{base}/oauth2/v2.0/token"),
                    "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
                    "jwks_uri": format!("{base}/discovery/v2.0/keys"),
                    "response_types_supported": ["code", "id_token"],
                    "subject_types_supported": ["pairwise"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                });
                Answer::json(200, &document)
            }
            ("GET", [_, "discovery", "v2.0", "keys"]) => {
                Answer::json(200, &json!({"keys": [self.directory.jwk()]}))
            }
            _ => Answer::empty(404),
        }
    }

    fn answer_later<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            match request.path.strip_suffix("/oauth2/v2.0/token") {
                Some(tenant) => self.issue(tenant.trim_start_matches('/'), request).await,
                None => self.answer(request),
            }
        })
    }
}

impl Endpoint {
    async fn issue(&self, tenant: &str, request: &Request) -> Answer {
        match self.judge(tenant, request).await {
            Ok((application, audience)) => {
                let token = self.directory.token(
                    tenant,
                    &application.object_id,
                    &application.client_id,
                    &audience,
                );
                let body = json!({
                    "token_type": "Bearer",
                    "expires_in": 3599,
                    "ext_expires_in": 3599,
                    "access_token": token,
                });
                Answer::json(200, &body).with("cache-control", "no-store, no-cache")
            }
            Err(refusal) => refusal,
        }
    }

    async fn judge(
        &self,
        tenant: &str,
        request: &Request,
    ) -> Result<(Application, String), Answer> {
        let form = request.header("content-type").unwrap_or_default();
        if request.method != "POST" || !form.starts_with("application/x-www-form-urlencoded") {
            return Err(refused(400, "invalid_request", 900_144, "no form"));
        }
        let field = |name: &str| match &request.form(name)[..] {
            [one] if !one.is_empty() => Ok(one.clone()),
            other => Err(refused(
                400,
                "invalid_request",
                900_144,
                &format!(
                    "The request body must contain '{name}' once, not {}",
                    other.len()
                ),
            )),
        };
        if field("grant_type")? != "client_credentials" {
            return Err(refused(400, "unsupported_grant_type", 70_003, "grant_type"));
        }
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        if field("client_assertion_type")? != kind || !request.form("client_secret").is_empty() {
            return Err(refused(
                401,
                "invalid_client",
                7_000_216,
                "client_assertion_type",
            ));
        }
        let client = field("client_id")?;
        let application = self.application(tenant, &client)?;
        let scope = field("scope")?;
        let Some(audience) = scope.strip_suffix("/.default") else {
            let said = format!("The scope {scope} is not valid for client credentials");
            return Err(refused(400, "invalid_scope", 1_002_012, &said));
        };
        let assertion = jwt::parts(&field("client_assertion")?).map_err(|error| {
            refused(
                401,
                "invalid_client",
                50_027,
                &format!("malformed: {error}"),
            )
        })?;
        self.check(&application, &assertion).await?;
        Ok((application, audience.to_owned()))
    }

    fn application(&self, tenant: &str, client: &str) -> Result<Application, Answer> {
        let state = self.directory.state.lock().unwrap();
        if !state.applications.iter().any(|each| each.tenant == tenant) {
            let said = format!("Tenant '{tenant}' not found");
            return Err(refused(400, "invalid_request", 90_002, &said));
        }
        let is = |each: &&Application| each.tenant == tenant && each.client_id == client;
        let found = state.applications.iter().find(is).cloned();
        found.ok_or_else(|| {
            let said = format!("Application with identifier '{client}' was not found");
            refused(400, "unauthorized_client", 700_016, &said)
        })
    }

    async fn check(&self, application: &Application, assertion: &Parts) -> Result<(), Answer> {
        let (issuer, subject) = (assertion.text("iss"), assertion.text("sub"));
        // One audience, as text: an array is none.
        let audience = assertion.text("aud");
        let unmatched = || {
            let said = format!(
                "No matching federated identity record found for presented assertion. Assertion Issuer: '{issuer}'. Assertion Subject: '{subject}'. Assertion Audience: '{audience}'."
            );
            refused(400, "invalid_request", 70_021, &said)
        };
        let known = {
            let mut state = self.directory.state.lock().unwrap();
            let mut all = state.applications.iter_mut();
            let of = all.find(|each| each.client_id == application.client_id);
            let mut credentials = of.into_iter().flat_map(|each| &mut each.credentials);
            let found = credentials.find(|each| {
                each.issuer == issuer && each.subject == subject && each.audience == audience
            });
            match found {
                Some(credential) if credential.unheard > 0 => {
                    credential.unheard -= 1;
                    false
                }
                found => found.is_some(),
            }
        };
        if !known || assertion.header["alg"] != "RS256" {
            return Err(unmatched());
        }
        let verified = self.verify(issuer, assertion).await;
        verified.map_err(|error| {
            let said = format!("Client assertion failed signature validation: {error:#}");
            refused(401, "invalid_client", 50_013, &said)
        })?;
        if !assertion.is_in_time() {
            let said = "Client assertion is not within its valid time range";
            return Err(refused(401, "invalid_client", 700_024, said));
        }
        Ok(())
    }

    async fn verify(&self, issuer: &str, assertion: &Parts) -> Result<()> {
        let get = async |url: &str| -> Result<Value> {
            let answer = self.http.get(url).send().await?;
            ensure!(answer.status() == 200, "{url}: {}", answer.status());
            Ok(answer.json().await?)
        };
        let document = get(&format!("{issuer}/.well-known/openid-configuration")).await?;
        ensure!(
            document["issuer"] == issuer,
            "issuer {}",
            document["issuer"]
        );
        for wanted in ["authorization_endpoint", "jwks_uri"] {
            ensure!(document[wanted].is_string(), "no {wanted}");
        }
        for (list, with) in [
            ("response_types_supported", "id_token"),
            ("subject_types_supported", "public"),
            ("id_token_signing_alg_values_supported", "RS256"),
        ] {
            let list = document[list].as_array().with_context(|| list.to_owned())?;
            ensure!(
                list.contains(&json!(with)) || list.contains(&json!("pairwise")),
                "{list:?}"
            );
        }
        let keys = get(document["jwks_uri"].as_str().unwrap_or_default()).await?;
        let mut listed = keys["keys"].as_array().context("no keys")?.iter();
        let kid = &assertion.header["kid"];
        let jwk = listed.find(|jwk| jwk["kid"] == *kid);
        assertion.verify(jwk.with_context(|| format!("no key {kid}"))?, "RS256")
    }
}

/// As Entra words it.
fn refused(status: u16, error: &str, code: u32, said: &str) -> Answer {
    let (trace, correlation) = (super::guid("trace"), super::guid(said));
    let body = json!({
        "error": error,
        "error_description": format!(
            "AADSTS{code}: {said} Trace ID: {trace} Correlation ID: {correlation} Timestamp: 2026-11-21 00:00:00Z"
        ),
        "error_codes": [code],
        "timestamp": "2026-11-21 00:00:00Z",
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
    });
    Answer::json(status, &body)
}
