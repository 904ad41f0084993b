//! One line a request, one count, and the time to the first byte.
//!
//! The line is written when the last byte has left (or will not), so `bytes` is what was sent and not what was promised. A
//! body cut short is logged and counted as `error`, whatever its status said. Never a token, a secret or a query.

use std::sync::{Arc, OnceLock};

use axum::response::Response;
use http::{HeaderMap, header, request::Parts};
use identity::{authenticate::trust::Via, principal::Principal};
use runtime::telemetry::{self, TraceContext};
use tokio::time::Instant;
use tracing::Span;
use uuid::Uuid;
use wire::{
    digest::Digest,
    hops::{self, Hops},
    name::RuleName,
    route::Route,
};

use super::{
    Answered, Http,
    admit::Admitted,
    body::Meter,
    header::{API_VERSION, REQUEST_ID},
};
use crate::{
    registry::{self, Outcome},
    request::Request,
    store::metadata::record::RequestInfo,
};

/// The span of a request, by OpenTelemetry's conventions for HTTP servers; none where nobody collects traces.
pub(super) fn span(http: &Http, parts: &Parts) -> Span {
    if !http.settings.traced {
        return Span::none();
    }
    tracing::info_span!(
        "request",
        otel.name = %parts.method,
        otel.kind = "server",
        http.request.method = %parts.method,
        url.path = parts.uri.path(),
        http.response.status_code = tracing::field::Empty,
        regmesh.node = %http.node,
    )
}

/// A request as it is logged and counted.
#[derive(Clone)]
pub(super) struct Record(Arc<Line>);

struct Line {
    http: Arc<Http>,
    tier: u8,
    started: Instant,
    method: http::Method,
    id: Uuid,
    trace: TraceContext,
    span: Span,
    route: Option<Route>,
    caller: OnceLock<Caller>,
    answer: OnceLock<Answer>,
}

/// Who asks.
struct Caller {
    principal: String,
    /// The rule of another node behind an identity.
    via: Option<Via>,
}

/// What is known when the headers leave.
struct Answer {
    status: u16,
    outcome: Outcome,
    rule: Option<RuleName>,
    digest: Option<Digest>,
    ttfb: f64,
}

impl Record {
    /// Begins with the request's headers.
    pub(super) fn begin(http: &Arc<Http>, parts: &Parts, span: &Span) -> Self {
        let parent = parts
            .headers
            .get("traceparent")
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse::<TraceContext>().ok());
        Self(Arc::new(Line {
            http: Arc::clone(http),
            tier: http.view.load().as_ref().map_or(0, |view| view.tier),
            started: http.clock.now(),
            method: parts.method.clone(),
            id: Uuid::now_v7(),
            trace: match span.is_none() {
                true => parent.map_or_else(TraceContext::fresh, |parent| parent.child()),
                false => telemetry::begin(span, parent),
            },
            span: span.clone(),
            route: None,
            caller: OnceLock::new(),
            answer: OnceLock::new(),
        }))
    }

    /// The route is known.
    pub(super) fn route(mut self, route: &Route) -> Self {
        if let Some(line) = Arc::get_mut(&mut self.0) {
            line.route = Some(route.clone());
        }
        self
    }

    /// Who asks is known.
    pub(super) fn caller(&self, principal: &Principal, via: Option<&Via>) {
        let caller = Caller {
            principal: principal.to_string(),
            via: via.cloned(),
        };
        let _ = self.0.caller.set(caller);
    }

    /// The request as the registry sees it.
    pub(super) fn request(&self, parts: &Parts, admitted: &Admitted) -> Request {
        let text = |name: header::HeaderName| {
            parts
                .headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
        };
        let host = parts
            .uri
            .authority()
            .map_or_else(|| text(header::HOST).to_owned(), ToString::to_string);
        let info = RequestInfo {
            id: self.0.id.to_string(),
            host,
            method: parts.method.as_str().to_owned(),
            user_agent: wire::oci_error::clean(text(header::USER_AGENT))
                .chars()
                .take(256)
                .collect(),
            trace_id: self.0.trace.trace_id_hex(),
        };
        let no_cache = admitted.may_force
            && all(&parts.headers, header::CACHE_CONTROL.as_str())
                .any(|v| v.to_ascii_lowercase().contains("no-cache"));
        let hops = self.believed(Hops::parse(all(&parts.headers, hops::HEADER)), admitted);
        Request {
            info: Arc::new(info),
            trace: self.0.trace,
            hops,
            no_cache,
            only_stored: false,
            began: Some(self.0.started),
        }
    }

    /// The chain as far as it is believed: nodes show who they are, so what an anonymous caller tells is not passed on to
    /// fail others further up. A chain with this node in it is kept from anybody, for its 508 is the caller's alone.
    fn believed(&self, told: Hops, admitted: &Admitted) -> Hops {
        let shown = admitted.mesh_peer.is_some() || admitted.principal.is_known();
        if shown || self.0.http.registry.is_among(&told) {
            told
        } else {
            Hops::default()
        }
    }

    /// A verb failed: the chain of causes and the upstream's words are said once, here, and not to the client.
    pub(super) fn failed(&self, error: &registry::Error) {
        let id = self.0.id;
        if let registry::Error::Denied(_) = error {
            tracing::info!(%id, error = error.in_full(), "a request was refused by a rule's upstream");
        } else if super::error::status(error).is_server_error() {
            let mut causes = String::new();
            let mut cause = std::error::Error::source(error);
            while let Some(inner) = cause {
                causes.push_str(": ");
                causes.push_str(&inner.to_string());
                cause = inner.source();
            }
            tracing::warn!(%id, error = error.in_full(), causes, "a request failed");
        }
    }

    /// What counts the bytes of a long body.
    pub(super) fn meter(&self) -> Arc<dyn Meter> {
        Arc::clone(&self.0) as Arc<dyn Meter>
    }

    /// The answer to a request that was not read any further.
    pub(super) fn unread(self, response: Response) -> Response {
        let outcome = Outcome::Error;
        self.end(Answered {
            response,
            outcome,
            rule: None,
            digest: None,
            sent: Some(0),
        })
    }

    /// The answer is made; short ones are logged now, long ones when their body ends.
    pub(super) fn end(self, mut answered: Answered) -> Response {
        let headers = answered.response.headers_mut();
        super::header::set(headers, REQUEST_ID, &self.0.id.to_string());
        if matches!(self.0.route, Some(Route::Base)) {
            super::header::set(headers, API_VERSION, "registry/2.0");
        }
        let answer = Answer {
            status: answered.response.status().as_u16(),
            outcome: answered.outcome,
            rule: answered.rule,
            digest: answered.digest,
            ttfb: self
                .0
                .http
                .clock
                .now()
                .duration_since(self.0.started)
                .as_secs_f64(),
        };
        self.0
            .span
            .record("http.response.status_code", answer.status);
        let _ = self.0.answer.set(answer);
        if let Some(sent) = answered.sent {
            self.0.write(sent, false);
        }
        answered.response
    }
}

impl Meter for Line {
    fn ended(&self, sent: u64, expected: u64) {
        self.write(sent, sent < expected);
    }
}

impl Line {
    fn write(&self, bytes: u64, cut: bool) {
        let Some(answer) = self.answer.get() else {
            return;
        };
        let outcome = if cut { Outcome::Error } else { answer.outcome };
        let kind = self.route.as_ref().map_or("other", Route::kind);
        self.count(answer, outcome, kind, bytes);
        let duration = self
            .http
            .clock
            .now()
            .duration_since(self.started)
            .as_secs_f64();
        let repository = self
            .route
            .as_ref()
            .and_then(Route::repository)
            .map(tracing::field::display);
        let caller = self.caller.get();
        let via = caller.and_then(|caller| caller.via.as_ref());
        tracing::info!(
            target: "request",
            id = %self.id,
            node = %self.http.node,
            tier = self.tier,
            rule = answer.rule.as_ref().map(tracing::field::display),
            method = %self.method,
            kind,
            repository,
            reference = self.reference().map(tracing::field::display),
            digest = answer.digest.as_ref().map(tracing::field::display),
            outcome = outcome.as_str(),
            status = answer.status,
            bytes,
            cut,
            ttfb = answer.ttfb,
            duration,
            principal = caller.map_or("-", |caller| caller.principal.as_str()),
            caller_node = via.map(|via| tracing::field::display(&via.node)),
            caller_rule = via.map(|via| tracing::field::display(&via.rule)),
            trace_id = self.trace.trace_id_hex(),
        );
    }

    fn count(&self, answer: &Answer, outcome: Outcome, kind: &str, bytes: u64) {
        let metrics = &self.http.metrics;
        let status = http::StatusCode::from_u16(answer.status).unwrap_or_default();
        metrics
            .requests
            .inc([kind, outcome.as_str(), status.as_str()]);
        metrics.request_ttfb.observe([kind], answer.ttfb);
        if bytes > 0 {
            let source = if matches!(outcome, Outcome::Fill | Outcome::Collapsed) {
                "upstream"
            } else {
                "store"
            };
            metrics.served_bytes.add([source], bytes);
        }
    }

    fn reference(&self) -> Option<String> {
        match self.route.as_ref()? {
            Route::Manifest { reference, .. }
            | Route::ManifestPut { reference, .. }
            | Route::ManifestDelete { reference, .. } => Some(reference.to_string()),
            Route::Blob { digest, .. }
            | Route::BlobDelete { digest, .. }
            | Route::Referrers { digest, .. } => Some(digest.to_string()),
            Route::Base
            | Route::UploadStart { .. }
            | Route::UploadPatch { .. }
            | Route::UploadPut { .. }
            | Route::UploadStatus { .. }
            | Route::UploadCancel { .. }
            | Route::Tags { .. }
            | Route::Catalog { .. }
            | Route::TokenGet
            | Route::TokenPost
            | Route::Exchange => None,
        }
    }
}

fn all<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok())
}
