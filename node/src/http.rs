//! The registry's HTTP rim: one wildcard route, and the order of its layers.
//!
//! A request is parsed into one `Route` before anything else looks at it; then address and principal are decided, then the
//! registry is asked, then one line is logged. Only these files know axum. The order: slice, address, drain, route, load,
//! namespace, admission, verb. Source: `spec/pull-through.md` "One pull, step by step".

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use axum::{Router, body::Body, extract::State, response::Response};
use http::{
    HeaderValue, Method,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};
use runtime::{clock::Clock, listener::Peer};
use tracing::{Instrument, Span};
use wire::{
    name::NodeName,
    oci_error::Code,
    repository::RepositoryName,
    route::{Parsed, Route},
};

use crate::{
    metric::Metrics,
    registry::{self, Mount, Outcome, Registry},
    request::Request,
    store::Store,
};

pub mod admit;
mod answered;
mod blob;
mod body;
mod error;
mod header;
mod list;
mod manifest;
mod namespace;
mod observe;
pub mod places;
pub mod token;
mod upload;
pub mod view;
pub mod waiting;

pub use places::Places;
pub use view::View;

pub use error::status;

use answered::Answered;
use namespace::Placed;
use observe::Record;

/// Bounds of the rim, each with its way to refuse.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long an upload's body may be silent.
    pub upload_silence: Duration,
    /// Whether somebody collects traces: spans cost too much to be made for nobody.
    pub traced: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            upload_silence: Duration::from_secs(30),
            traced: false,
        }
    }
}

/// Everything the rim asks. Built once by `app`; what a slice changes is behind `view`.
pub struct Http {
    /// This node.
    pub node: NodeName,
    /// The verbs.
    pub registry: Registry,
    /// For the health of what is read while a body is made.
    pub store: Store,
    /// What the slice in force says; `None` until the first one, and then nothing is served.
    pub view: Arc<ArcSwapOption<View>>,
    /// Whether the node is going down.
    pub draining: tokio_util::sync::CancellationToken,
    /// The families it counts in.
    pub metrics: Metrics,
    /// The reader of time.
    pub clock: Clock,
    /// Bounds.
    pub settings: Settings,
    /// For requests under way.
    pub places: Places,
}

/// The router of the registry's listener.
pub fn router(http: Arc<Http>) -> Router {
    Router::new().fallback(serve).with_state(http)
}

async fn serve(State(http): State<Arc<Http>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let span = observe::span(&http, &parts);
    let may_stay_unread = may_stay_unread(&parts);
    let mut response = answer(&http, parts, body, span.clone())
        .instrument(span)
        .await;
    let status = response.status();
    if may_stay_unread && (status.is_client_error() || status.is_server_error()) {
        // The connection ends with a body that nobody read. A client that is not told would send its next request into it.
        header::set(response.headers_mut(), CONNECTION, "close");
    }
    response
}

/// Whether a refusal may leave something of the request on its connection. HTTP/2 has a stream for each.
fn may_stay_unread(parts: &http::request::Parts) -> bool {
    let has_body = parts.headers.contains_key(TRANSFER_ENCODING)
        || (parts.headers.get(CONTENT_LENGTH)).is_some_and(|length| length.as_bytes() != b"0");
    has_body && parts.version <= http::Version::HTTP_11
}

async fn answer(http: &Arc<Http>, parts: http::request::Parts, body: Body, span: Span) -> Response {
    let record = Record::begin(http, &parts, &span);
    let Some(view) = http.view.load_full() else {
        return record.unread(error::unavailable(
            "this node has no topology yet",
            Duration::from_secs(5),
            &http.node,
        ));
    };
    if let Err(refused) = view
        .access
        .lets_in(parts.extensions.get::<Peer>(), &parts.headers)
    {
        return record.end(Answered::refused(refused.into_response(), Outcome::Denied));
    }
    if http.draining.is_cancelled() {
        return record.unread(error::unavailable(
            "this node is going down",
            Duration::from_secs(5),
            &http.node,
        ));
    }
    let parsed = match Route::parse(parts.method.as_str(), parts.uri.path(), parts.uri.query()) {
        Ok(parsed) => parsed,
        Err(refusal) => return record.unread(error::no_route(&refusal)),
    };
    let Some(place) = http.places.take(&parsed.route) else {
        return record.unread(error::unavailable(
            "this node is busy",
            Duration::from_secs(1),
            &http.node,
        ));
    };
    let Parsed { route, ns } = parsed;
    let placed = namespace::place(&view, &http.registry, route, ns.as_deref()).await;
    let record = record.route(&placed.route);
    let asked = (&parts, body, place.only_stored);
    let answered = admitted(http, &view, placed, asked, &record).await;
    record.end(answered)
}

async fn admitted(
    http: &Http,
    view: &View,
    placed: Placed,
    (parts, body, only_stored): (&http::request::Parts, Body, bool),
    record: &Record,
) -> Answered {
    let route = &placed.route;
    if let Route::TokenGet | Route::TokenPost | Route::Exchange = route {
        let answered = token::serve(view, route, parts, body).await;
        if let Some(proven) = &answered.proven {
            record.caller(&proven.principal, proven.via.as_ref());
        }
        return Answered::refused(answered.response, Outcome::Local);
    }
    let peer = parts.extensions.get::<Peer>();
    let admitted = match placed.admit(view, peer, &parts.headers).await {
        Ok(admitted) => admitted,
        Err(refused) => {
            if let Some(caller) = &refused.caller {
                record.caller(&caller.principal, caller.via.as_ref());
            }
            let outcome = refused.outcome();
            return Answered::refused(refused.into_response(), outcome);
        }
    };
    record.caller(&admitted.principal, admitted.via.as_ref());
    let request = Request {
        only_stored,
        ..record.request(parts, &admitted)
    };
    let namespace = placed.namespace().map(ToOwned::to_owned);
    let mut answered = carried_out(
        http,
        placed.route,
        &admitted,
        (parts, body),
        &request,
        record,
    )
    .await;
    if let Some(namespace) = namespace {
        let headers = answered.response.headers_mut();
        header::set(headers, header::OCI_NAMESPACE, &namespace);
    }
    answered
}

/// The answer of a verb, or to its failure.
async fn carried_out(
    http: &Http,
    route: Route,
    admitted: &admit::Admitted,
    (parts, body): (&http::request::Parts, Body),
    request: &Request,
    record: &Record,
) -> Answered {
    match verb(http, route, admitted, parts, body, request, record).await {
        Ok(answered) => answered,
        Err(failure) => {
            record.failed(&failure);
            let outcome = if matches!(failure, registry::Error::Denied(_)) {
                Outcome::Denied
            } else {
                Outcome::Error
            };
            let rule = failure.rule().cloned();
            Answered {
                rule,
                ..Answered::refused(
                    error::response(&failure, &http.node, &request.info.id),
                    outcome,
                )
            }
        }
    }
}

async fn verb(
    http: &Http,
    route: Route,
    admitted: &admit::Admitted,
    parts: &http::request::Parts,
    body: Body,
    request: &Request,
    record: &Record,
) -> Result<Answered, registry::Error> {
    let given = &parts.headers;
    match route {
        Route::Base => Ok(base(&parts.method)),
        Route::Manifest {
            repository,
            reference,
            verb,
        } => manifest::get(http, &repository, &reference, verb, given, request).await,
        Route::ManifestPut {
            repository,
            reference,
            tags,
        } => manifest::put(http, &repository, &reference, &tags, given, body, request).await,
        Route::ManifestDelete {
            repository,
            reference,
        } => manifest::delete(http, &repository, &reference, request).await,
        Route::Blob {
            repository,
            digest,
            verb,
        } => {
            blob::get(
                http,
                &repository,
                &digest,
                verb,
                given,
                request,
                record.meter(),
            )
            .await
        }
        Route::BlobDelete { repository, digest } => {
            blob::delete(http, &repository, &digest, request).await
        }
        Route::UploadStart {
            repository,
            mount,
            from,
            digest,
            algorithm,
        } => {
            let allowed = admitted.may_mount;
            let mount = mount.zip(from).map(|(digest, from)| Mount {
                digest,
                from,
                allowed,
            });
            upload::start(
                http,
                &repository,
                upload::Start {
                    mount,
                    digest,
                    algorithm,
                },
                body,
                request,
            )
            .await
        }
        Route::UploadPatch { repository, upload } => {
            upload::patch(http, &repository, upload, given, body).await
        }
        Route::UploadPut {
            repository,
            upload,
            digest,
        } => upload::put(http, &repository, upload, &digest, given, body).await,
        Route::UploadStatus { repository, upload } => {
            upload::status(http, &repository, upload).await
        }
        Route::UploadCancel { repository, upload } => {
            upload::cancel(http, &repository, upload).await
        }
        Route::Tags { repository, page } => list::tags(http, &repository, &page, request).await,
        Route::Referrers {
            repository,
            digest,
            artifact_type,
            page,
        } => {
            list::referrers(
                http,
                &repository,
                &digest,
                artifact_type.as_deref(),
                &page,
                request,
            )
            .await
        }
        Route::Catalog { page } => {
            list::catalog(http, &page, |name: &RepositoryName| admitted.may_see(name)).await
        }
        Route::TokenGet | Route::TokenPost | Route::Exchange => Err(registry::Error::Invalid {
            code: Code::Unsupported,
            message: "the token endpoint is no verb of the registry".to_owned(),
            detail: serde_json::json!({}),
        }),
    }
}

fn base(method: &Method) -> Answered {
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from("{}")
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(2));
    Answered::local(response, None)
}
