//! One call to a token service: made within bounds, read to 1 MiB, and what it says of a refusal cleaned before anybody sees it.
//!
//! No redirect is followed, a URL is never part of a message, and no more than a few calls of one rule are under way at once: who comes
//! then waits its turn. What an answer means is for `docker` and `exchange` to say. Source: `reference/protocols.md` 1.7, 1.8.

use std::{future::Future, time::Duration};

use bytes::BytesMut;
use http::{Method, StatusCode, header};
use reqwest::{RequestBuilder, Response};
use runtime::{Clock, Secret, egress};
use url::Url;
use wire::{oci_error::Said, refusal::Refusal};

use super::{Error, Inner, retry_after, scrub};

/// The longest answer read.
const MAX_BODY: usize = 1024 * 1024;
/// What we are called where a client has to say it.
pub(super) const CLIENT_ID: &str = "regmesh";

/// What a token service answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: BytesMut,
}

/// Does `work`, all of whose calls together may take as long as a token request.
pub(super) async fn in_time<T>(
    inner: &Inner,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let done = inner.clock.timeout(inner.config.timeout, work).await;
    done.unwrap_or_else(|_| {
        let seconds = inner.config.timeout.as_secs_f32();
        let detail = format!("the token service did not answer within {seconds} s");
        Err(Error::away(Refusal::UpstreamUnavailable, detail))
    })
}

/// A request that is not sent yet.
pub(super) fn begin(inner: &Inner, method: Method, url: &Url) -> Result<RequestBuilder, Error> {
    inner
        .client
        .request(method, url)
        .map_err(|refused| address_refused(&refused))
}

/// Sends a request and reads its answer, whatever that is.
pub(super) async fn ask(inner: &Inner, request: RequestBuilder) -> Result<Answer, Error> {
    let _turn = inner.turns.acquire().await;
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let retry_after = told_to_wait(&response, &inner.clock);
    let body = read(response).await?;
    Ok(Answer {
        status,
        retry_after,
        body,
    })
}

async fn read(mut response: Response) -> Result<BytesMut, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_BODY {
            let detail = "the token service's answer is longer than 1 MiB";
            return Err(Error::away(Refusal::UpstreamUnavailable, detail));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreachable(error: reqwest::Error) -> Error {
    if let Some(refused) = egress::refused(&error) {
        return address_refused(refused);
    }
    // Without the URL: a realm's query may carry an account.
    let detail = format!(
        "the token service cannot be asked: {}",
        cause(&error.without_url())
    );
    Error::away(Refusal::UpstreamUnavailable, detail)
}

fn address_refused(refused: &egress::Refused) -> Error {
    Error::Refused {
        refusal: Refusal::UpstreamRealmRefused,
        detail: format!("the token service may not be asked: {refused}"),
        status: None,
    }
}

/// The innermost cause, which is the one that says something.
fn cause(error: &reqwest::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

/// Seconds or a date; what is neither is none.
fn told_to_wait(response: &Response, clock: &Clock) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    retry_after::parse(value, clock.wall_ms())
}

impl Answer {
    /// Whether it says no to what was shown; anything else that is not 200 says nothing about it.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.status.as_u16(), 400 | 401 | 403)
    }

    /// That it says no: `what` begins the sentence that the service's own words end.
    pub(super) fn refused(&self, inner: &Inner, what: &str, shown: &[&Secret]) -> Error {
        if Refusal::said(&self.body) == Some(Refusal::NetworkRefused) {
            let what = "the upstream does not let this node's address in";
            return self.refused_as(Refusal::NetworkRefused, what, shown);
        }
        if inner.config.refusal_may_mean_missing {
            let mut refused = self.refused_as(Refusal::UpstreamDenied, what, shown);
            if let Error::Refused { detail, .. } = &mut refused {
                detail.push_str(" (not allowed, or there is no such repository)");
            }
            return refused;
        }
        self.refused_as(Refusal::UpstreamUnauthorized, what, shown)
    }

    /// The same under this name.
    pub(super) fn refused_as(&self, refusal: Refusal, what: &str, shown: &[&Secret]) -> Error {
        Error::Refused {
            refusal,
            detail: format!("{what}: {}", self.said(shown)),
            status: Some(self.status.as_u16()),
        }
    }

    /// That it gave no answer to the question.
    pub(super) fn away(&self, shown: &[&Secret]) -> Error {
        let refusal = if self.status == StatusCode::TOO_MANY_REQUESTS {
            Refusal::UpstreamRateLimited
        } else {
            Refusal::UpstreamUnavailable
        };
        let detail = if self.status.is_redirection() {
            let status = self.status.as_u16();
            format!(
                "the token service answers {status} (redirects of token calls are not followed)"
            )
        } else {
            format!("the token service answers {}", self.said(shown))
        };
        Error::Away {
            refusal,
            detail,
            retry_after: self.retry_after,
            status: Some(self.status.as_u16()),
        }
    }

    /// Its status and words, without what it may have repeated of what it was shown.
    fn said(&self, shown: &[&Secret]) -> String {
        let said = Said::parse(&self.body).to_string();
        if said.is_empty() {
            return self.status.to_string();
        }
        let said = scrub(&said, shown.iter().copied());
        format!("{}: {said}", self.status.as_u16())
    }
}
