//! One question to the registry: authenticated, followed through redirects, and asked once more where that may help.
//!
//! One question is at most three requests to the registry: a 401 costs one more with a fresh token, an error status or a lost
//! connection one more, and together never more than one beside the first of each. Only what goes to the registry's own origin
//! carries credentials, the chain of nodes and the trace; a redirect elsewhere is asked bare. Source: `spec/pull-through.md`
//! "Time and failure"; `reference/faults.md` T26, T48.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, header};
use identity::authenticator::{Authorization, realm::Origin, retry_after};
use rand::Rng;
use reqwest::{RequestBuilder, Response};
use runtime::{Secret, egress, telemetry::TRACEPARENT};
use tokio::time::Instant;
use url::Url;
use wire::{
    challenge::Challenge,
    hops,
    name::NodeName,
    oci_error::{self, Said},
    refusal::Refusal,
    repository::RepositoryName,
    scope::{Action, Scope},
};

use super::{
    Remote,
    answer::Answer,
    body,
    classify::{self, Refusing},
    redirect::{self, Next},
    seconds, shrunk,
};
use crate::{
    request::Request,
    upstream::{BlobRange, Error},
};

/// Says which node failed; see `http/header.rs`.
pub(super) const FAILED: HeaderName = HeaderName::from_static("x-regmesh-failed");
/// By which a node says that it refuses what was recalled, and not whoever asks; also on HEAD, which has no body to say it in.
pub(super) const RECALLED: HeaderName = HeaderName::from_static("x-regmesh-recalled");
/// Requests to the registry for one question.
const MAX_REQUESTS: u32 = 3;

/// A question.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    /// As the registry names it.
    pub(super) repository: &'a RepositoryName,
    pub(super) accept: &'static str,
    pub(super) range: Option<BlobRange>,
    /// When the answer has to have begun, whatever it takes to get it; none for the transfer of a blob.
    pub(super) until: Option<Instant>,
    pub(super) request: &'a Request,
}

/// Why there is no answer.
struct Failure {
    error: Error,
    /// Whether the connection was lost before an answer came.
    lost: bool,
}

impl Remote {
    /// Asks, and comes back with the answer that counts.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Answer, Error> {
        let Some(until) = ask.until else {
            return self.converse(ask).await;
        };
        let clock = &self.parts.clock;
        let left = until.saturating_duration_since(clock.now());
        let answer = clock.timeout(left, self.converse(ask)).await;
        answer.unwrap_or_else(|_| Err(late(left)))
    }

    /// As many requests as the question takes.
    async fn converse(&self, ask: &Ask<'_>) -> Result<Answer, Error> {
        let scopes = [Scope::repository(ask.repository.clone(), [Action::Pull])];
        let authenticator = &self.parts.authenticator;
        let authorized = authenticator.authorize(&scopes).await;
        let mut authorization = authorized.map_err(classify::unauthorized)?;
        let (mut renewed, mut repeated) = (false, false);
        for left in (0..MAX_REQUESTS).rev() {
            let answer = match self.follow(ask, authorization.clone()).await {
                Ok(answer) => answer,
                Err(failure) if failure.lost && !repeated && left > 0 => {
                    repeated = true;
                    continue;
                }
                Err(failure) => return Err(failure.error),
            };
            if left > 0 && !renewed && self.wants_a_token(&answer) {
                renewed = true;
                let challenges = answer.challenges();
                let used = answer.authorization.as_ref();
                let fresh = authenticator.challenged(&challenges, &scopes, used).await;
                authorization = Some(fresh.map_err(classify::unauthorized)?);
                continue;
            }
            let (failed, says_when) = (
                answer.failed_at_a_node(),
                answer.headers().contains_key(header::RETRY_AFTER),
            );
            let status = answer.status().as_u16();
            if left > 0 && !repeated && classify::is_worth_a_retry(status, failed, says_when) {
                repeated = true;
                self.pause().await;
                continue;
            }
            return Ok(answer);
        }
        // Not reached: the last round returns.
        Err(Error::away("the registry was asked as often as allowed").openly())
    }

    /// Asks once, with what the answer used already: for the words of a refusal that came without a body.
    pub(super) async fn send_again_as(
        &self,
        ask: &Ask<'_>,
        like: &Answer,
    ) -> Result<Answer, Error> {
        let answer = self.follow(ask, like.authorization.clone()).await;
        answer.map_err(|failure| failure.error)
    }

    /// Whether a fresh token may turn this answer into another one. Not when a node tells of a refusal further up: it was tried
    /// there, next to the fault, and every tier that tries once more doubles what the origin gets.
    fn wants_a_token(&self, answer: &Answer) -> bool {
        let cached = answer.token_was_cached();
        !answer.elsewhere
            && !answer.failed_at_a_node()
            && match answer.status().as_u16() {
                401 => true,
                403 => cached,
                400 => cached && self.config.profile.bad_request_means_stale_token,
                _ => false,
            }
    }

    async fn pause(&self) {
        let base = self.config.deadlines.retry_after;
        let jitter = 0.5 + rand::rng().random::<f64>();
        self.parts.clock.sleep(base.mul_f64(jitter)).await;
    }

    async fn follow(
        &self,
        ask: &Ask<'_>,
        authorization: Option<Authorization>,
    ) -> Result<Answer, Failure> {
        let mut url = self.url(&ask.target)?;
        let mut elsewhere = false;
        for _ in 0..=redirect::MAX {
            // Once away, credentials do not come back, even if a later redirect does.
            elsewhere |= Origin::of(&url).as_ref() != Some(&self.config.origin);
            let request = self.request(ask, &url)?;
            let request = if elsewhere {
                request
            } else {
                self.introduced(request, ask.request, authorization.as_ref())
            };
            let response = self.once(ask, request).await?;
            let location = response.headers().get(header::LOCATION);
            let location = location.and_then(|value| value.to_str().ok());
            match redirect::next(&url, response.status(), location) {
                Next::Here => {
                    return Ok(Answer {
                        response,
                        elsewhere,
                        authorization,
                    });
                }
                Next::There(there) => url = there,
                Next::Nowhere(why) => return Err(Error::wrong(why).into()),
            }
        }
        Err(Error::wrong(format!("more than {} redirects", redirect::MAX)).into())
    }

    fn url(&self, target: &str) -> Result<Url, Error> {
        let url = format!("{}{target}", self.config.origin);
        Url::parse(&url).map_err(|_| Error::wrong("the upstream's address is not a URL"))
    }

    /// What every host may know.
    fn request(&self, ask: &Ask<'_>, url: &Url) -> Result<RequestBuilder, Error> {
        let request = self.parts.client.request(ask.method.clone(), url);
        let request = request
            .map_err(|refused| Error::away(refused.to_string()))?
            .header(header::ACCEPT, ask.accept)
            .header(header::ACCEPT_ENCODING, "identity");
        Ok(match ask.range {
            None => request,
            Some(BlobRange { start, end: None }) => {
                request.header(header::RANGE, format!("bytes={start}-"))
            }
            Some(BlobRange {
                start,
                end: Some(end),
            }) => request.header(header::RANGE, format!("bytes={start}-{end}")),
        })
    }

    /// What only the registry may know.
    fn introduced(
        &self,
        request: RequestBuilder,
        on_behalf: &Request,
        authorization: Option<&Authorization>,
    ) -> RequestBuilder {
        let chain = on_behalf.hops.with(&self.config.mesh, &self.config.node);
        let mut request = request
            .header(hops::HEADER, chain.to_string())
            // Our own span is the parent of whatever the upstream makes of it.
            .header(TRACEPARENT, on_behalf.trace.to_string());
        if on_behalf.no_cache {
            request = request.header(header::CACHE_CONTROL, "no-cache");
        }
        match authorization {
            Some(authorization) => {
                request.header(header::AUTHORIZATION, authorization.header.clone())
            }
            None => request,
        }
    }

    async fn once(&self, ask: &Ask<'_>, request: RequestBuilder) -> Result<Response, Failure> {
        let began = self.parts.clock.now();
        let first_byte = shrunk(self.config.deadlines.first_byte, ask.request);
        // Here rather than in `send` alone, so that a request without an answer is told to the observer.
        let left = ask
            .until
            .map(|until| until.saturating_duration_since(began));
        let first_byte = left.map_or(first_byte, |left| left.min(first_byte));
        let sent = self.parts.clock.timeout(first_byte, request.send()).await;
        let code = sent.as_ref().ok().and_then(|r| r.as_ref().ok());
        let code = code.map(|response| response.status().as_u16());
        let took = self.parts.clock.now() - began;
        let observer = &self.parts.observer;
        observer.answered(&self.config.name, ask.method.as_str(), code, took);
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(lost(error)),
            Err(_) => {
                return Err(late(first_byte).into());
            }
        };
        if let Some(remaining) = remaining(response.headers()) {
            observer.rate_limit_remaining(&self.config.name, remaining);
        }
        Ok(response)
    }

    /// What an answer that is not content means, with the upstream's words.
    pub(super) async fn refusal(&self, answer: Answer) -> Error {
        let wait = answer.header(header::RETRY_AFTER);
        let wait = wait.and_then(|value| retry_after::parse(value, self.parts.clock.wall_ms()));
        let failed = answer.header(FAILED).map(oci_error::clean);
        // Passed on to whoever pulls, so it has to be a name.
        let failed = failed.filter(|node| node.parse::<NodeName>().is_ok());
        let recalled = answer.header(RECALLED).and_then(|told| told.parse().ok());
        let challenges = answer.challenges();
        let insufficient_scope = challenges.iter().any(Challenge::is_insufficient_scope);
        let (status, elsewhere) = (answer.status().as_u16(), answer.elsewhere);
        let shown = answer.authorization.as_ref().and_then(secret_of);
        let body = body::beginning(self, answer.response, oci_error::MAX_BODY).await;
        let refusing = Refusing {
            status,
            kept_out: Refusal::said(&body) == Some(Refusal::NetworkRefused),
            said: said(&body, shown),
            retry_after: wait,
            failed,
            recalled,
            insufficient_scope,
            elsewhere,
        };
        classify::error(&refusing, &self.config.profile, &self.config.name)
    }
}

fn late(limit: std::time::Duration) -> Error {
    Error::away(format!("no answer within {}", seconds(limit))).openly()
}

/// What was shown to the upstream, without its scheme.
fn secret_of(authorization: &Authorization) -> Option<Secret> {
    let value = authorization.header.to_str().ok()?;
    let (_, secret) = value.split_once(' ')?;
    Some(Secret::from(secret))
}

/// The words of a refusal, without what they repeat of the token.
fn said(body: &Bytes, shown: Option<Secret>) -> Said {
    let said = Said::parse(body);
    let Some(secret) = shown else {
        return said;
    };
    let scrub = |text: &str| identity::authenticator::scrub(text, [&secret]);
    Said {
        code: said.code.as_deref().map(scrub),
        message: scrub(&said.message),
    }
}

/// `ratelimit-remaining: 76;w=21600`
fn remaining(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get("ratelimit-remaining")?.to_str().ok()?;
    value.split(';').next()?.trim().parse().ok()
}

fn lost(error: reqwest::Error) -> Failure {
    if let Some(refused) = egress::refused(&error) {
        return Error::away(refused.to_string()).into();
    }
    let lost = error.is_request() && !error.is_connect() && !error.is_timeout();
    // Without the URL: a redirect's query is a key to the content.
    let error = error.without_url();
    let what = if error.is_connect() {
        "it cannot be connected to"
    } else {
        "the connection was lost"
    };
    Failure {
        error: Error::away(format!("{what}: {}", cause(&error))),
        lost,
    }
}

/// The innermost cause, which is the one that says something.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, lost: false }
    }
}
