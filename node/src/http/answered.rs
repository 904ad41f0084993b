//! What a request comes to: the response, and what is logged and counted of it.
//!
//! Made by the files of the verbs, closed by `observe`. Where its bytes come from decides its outcome and who counts them: content is
//! metered as it leaves, everything else is as long as it says.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header::CONTENT_LENGTH};
use wire::{digest::Digest, name::RuleName};

use crate::registry::{Outcome, Provenance};

/// An answer and what is logged and counted of it.
pub(super) struct Answered {
    pub(super) response: Response,
    pub(super) outcome: Outcome,
    pub(super) rule: Option<RuleName>,
    pub(super) digest: Option<Digest>,
    /// Bytes of content that are sent with it; `None` while a metered body is on its way.
    pub(super) sent: Option<u64>,
}

impl Answered {
    pub(super) fn content(
        response: Response,
        provenance: Provenance,
        digest: Option<Digest>,
        sent: Option<u64>,
    ) -> Self {
        Self {
            response,
            outcome: provenance.outcome,
            rule: provenance.rule,
            digest,
            sent,
        }
    }

    pub(super) fn local(response: Response, digest: Option<Digest>) -> Self {
        Self {
            response,
            outcome: Outcome::Local,
            rule: None,
            digest,
            sent: Some(0),
        }
    }

    pub(super) fn status(status: StatusCode) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        Self::local(response, None)
    }

    pub(super) fn refused(response: Response, outcome: Outcome) -> Self {
        Self {
            response,
            outcome,
            rule: None,
            digest: None,
            sent: Some(0),
        }
    }
}
