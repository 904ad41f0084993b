//! One call at a foreign token endpoint: our assertion for its token.
//!
//! A form by POST, with the names of RFC 6749, 7523 and 8693 and without an `Authorization` header: the assertion is all there is. An
//! answer is read to 1 MiB, its life counts from receipt, and what it says about a refusal is shown without what it repeats.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, header};
use runtime::{Clock, Secret, egress};
use url::Url;

use crate::{
    authenticator::{reply, retry_after},
    token_source::{
        Error,
        azure::{is_loopback_url, scope_for, transport::cause},
        held::Fresh,
        judge::{Answer, judge},
    },
};

/// The longest answer read.
const MAX_BODY: usize = 1024 * 1024;
const BY_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// How a foreign token endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Client credentials with a client assertion.
    ClientAssertion,
    /// RFC 8693.
    TokenExchange,
}

/// A foreign token endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: Url,
    flow: Flow,
    client_id: Option<String>,
    scope: Option<String>,
    client: egress::Client,
    limit: Duration,
}

impl Endpoint {
    /// The endpoint at `url`, asked by `client` for at most `limit`. `host` (`HOST[:PORT]`) is whom its tokens are shown to.
    ///
    /// # Errors
    /// When an assertion may not be sent to that URL, or a token of that scope may not be shown to that host.
    pub fn new(
        url: &str,
        flow: Flow,
        (client_id, scope): (Option<String>, Option<String>),
        host: &str,
        (client, limit): (egress::Client, Duration),
    ) -> Result<Self, Error> {
        let refused = |detail: String| Error::NotAttached { detail };
        let url = Url::parse(url).map_err(|_| refused("`tokenUrl` is not a URL".to_owned()))?;
        if url.scheme() != "https" && !is_loopback_url(&url) {
            let detail = "`tokenUrl` is not https, and not on loopback: nothing is shown there";
            return Err(refused(detail.to_owned()));
        }
        let scope = scope
            .map(|scope| scope_for(Some(&scope), host))
            .transpose()?;
        Ok(Self {
            url,
            flow,
            client_id,
            scope,
            client,
            limit,
        })
    }

    /// The foreign token for `assertion`.
    pub(super) async fn ask(
        &self,
        assertion: &Secret,
        audience: &str,
        clock: &Clock,
    ) -> Result<Fresh, Error> {
        let who = format!(
            "the token service {}",
            self.url.host_str().unwrap_or_default()
        );
        let asked = clock.timeout(self.limit, self.send(assertion, audience, clock));
        let answer = match asked.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Err(away(format!("{who} cannot be asked: {why}"))),
            Err(_) => {
                let seconds = self.limit.as_secs_f32();
                return Err(away(format!("{who} did not answer within {seconds} s")));
            }
        };
        let granted = match answer.status {
            200 => reply::read(&answer.body, clock.wall_ms()),
            _ => None,
        };
        match granted {
            Some(granted) => Ok(Fresh::token(granted.token, granted.life)),
            None => Err(judge(&who, &answer, &[assertion])),
        }
    }

    async fn send(
        &self,
        assertion: &Secret,
        audience: &str,
        clock: &Clock,
    ) -> Result<Answer, String> {
        let begun = self.client.request(Method::POST, &self.url);
        let begun = begun.map_err(|refused| refused.to_string())?;
        let request = begun
            .header(header::ACCEPT, "application/json")
            .form(&self.form(assertion, audience));
        let mut response = request.send().await.map_err(cause)?;
        let after = response.headers().get(header::RETRY_AFTER);
        let after = after.and_then(|value| value.to_str().ok());
        let retry_after = after.and_then(|value| retry_after::parse(value, clock.wall_ms()));
        let status = response.status().as_u16();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(cause)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err("its answer is longer than 1 MiB".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            retry_after,
            body: Bytes::from(body),
        })
    }

    fn form<'a>(&'a self, assertion: &'a Secret, audience: &'a str) -> Vec<(&'a str, &'a str)> {
        let assertion = assertion.expose().as_str();
        let mut form = match self.flow {
            Flow::ClientAssertion => vec![
                ("grant_type", "client_credentials"),
                ("client_assertion_type", BY_ASSERTION),
                ("client_assertion", assertion),
            ],
            Flow::TokenExchange => vec![
                ("grant_type", EXCHANGE),
                ("audience", audience),
                ("requested_token_type", ACCESS_TOKEN),
                ("subject_token_type", JWT),
                ("subject_token", assertion),
            ],
        };
        let client_id = self.client_id.as_deref().map(|id| ("client_id", id));
        let scope = self.scope.as_deref().map(|scope| ("scope", scope));
        form.extend(client_id);
        form.extend(scope);
        form
    }
}

fn away(detail: String) -> Error {
    Error::Away {
        detail,
        retry_after: None,
    }
}
