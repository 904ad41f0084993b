//! The API: the router that the route table makes, and what answers where no route is.
//!
//! Called by `app`, which binds the listener. Calls `publish`, `distribute`, `enrol`, `explain`, `doctor`, `status`, `recall`, `recover`.
//! axum goes no further than this folder. Nothing here decides about the mesh: handlers parse, ask, and put answers into their form.
//! Unknown paths are 404, other methods of known paths 405 with `Allow`, both as problem documents.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter},
};
use bytes::Bytes;
use http::{Method, header};
use runtime::{Clock, Limit, Tasks};
use serde::Serialize;
use wire::{api::problem::Problem, generation::Generation};

use crate::{
    asking::Asking,
    ca::Ca,
    enrol::{Enrol, Window},
    issuer::Issuer,
    metric::Metrics,
    publish::Publisher,
    sign_in::SignIn,
    state::State,
    status::Alarms,
};

mod audit;
mod call;
mod effective;
mod endpoint;
mod event;
mod explain;
mod keys;
mod node;
mod oidc;
mod openapi;
mod problem;
mod pull;
mod recall;
mod resource;
mod serve;
mod sign_in;
mod status;
mod stream;
mod strict;
mod table;
#[cfg(test)]
mod tests;
mod topology;
mod webhook;

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A request's body on its way.
    pub body: Duration,
    /// A node's answer to a question.
    pub ask: Duration,
    /// A node's checks, which talk to upstreams.
    pub doctor: Duration,
    /// A sign of life on a stream of events.
    pub heartbeat: Duration,
    /// Between two looks at a pull.
    pub poll: Duration,
    /// Streams of events at once.
    pub streams: usize,
    /// Plans at once; others wait a little, then are told to come again.
    pub plans: usize,
    /// How long a plan waits for its turn.
    pub plan_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body: Duration::from_secs(60),
            ask: Duration::from_secs(10),
            doctor: Duration::from_secs(45),
            heartbeat: Duration::from_secs(15),
            poll: Duration::from_millis(500),
            streams: 512,
            plans: 2,
            plan_wait: Duration::from_secs(10),
        }
    }
}

/// What handlers work with.
pub(crate) struct Api {
    pub(crate) publisher: Publisher,
    pub(crate) nodes: Arc<dyn Asking>,
    pub(crate) enrol: Arc<Enrol>,
    pub(crate) ca: Arc<Ca>,
    pub(crate) issuer: Issuer,
    pub(crate) state: Arc<dyn State>,
    pub(crate) sign_in: SignIn,
    pub(crate) alarms: Alarms,
    pub(crate) metrics: Metrics,
    pub(crate) settings: Settings,
    pub(crate) streams: Limit,
    /// Reading a topology takes memory and a processor.
    pub(crate) plans: Limit,
    /// Refused changes in the audit log.
    pub(crate) refusals: Window,
    /// The OpenAPI document, made when it is first asked for.
    pub(crate) document: OnceLock<Bytes>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

/// The router over every endpoint of the table.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let endpoints = table::endpoints();
    let mut paths: Vec<(String, MethodRouter)> = Vec::new();
    for endpoint in endpoints {
        let path = endpoint.path.clone().into_owned();
        let filter = filter(&endpoint.method);
        let (api, endpoint) = (Arc::clone(&api), Arc::new(endpoint));
        let handler =
            move |request: Request| serve::serve(Arc::clone(&api), Arc::clone(&endpoint), request);
        match paths.iter_mut().find(|(known, _)| *known == path) {
            Some((_, methods)) => *methods = std::mem::take(methods).on(filter, handler),
            None => paths.push((path, MethodRouter::new().on(filter, handler))),
        }
    }
    let mut router = Router::new();
    for (path, methods) in paths {
        router = router.route(&path, methods);
    }
    let (strange, elsewhere) = (Arc::clone(&api), api);
    router
        .method_not_allowed_fallback(move |request: Request| {
            let api = Arc::clone(&strange);
            async move { nowhere(&api, &request, 405) }
        })
        .fallback(move |request: Request| {
            let api = Arc::clone(&elsewhere);
            async move { nowhere(&api, &request, 404) }
        })
}

fn filter(method: &Method) -> MethodFilter {
    MethodFilter::try_from(method.clone()).expect("the table has methods that axum knows")
}

fn nowhere(api: &Api, request: &Request, status: u16) -> Response {
    let line = serve::Line::begin(api, request.method());
    let problem = if status == 405 {
        let text = "this path does not take that method; `Allow` has those that it takes";
        Problem::new(405, "method-not-allowed", text)
    } else {
        let text = "there is nothing at this path; /api/v1/openapi.json has all that there is";
        Problem::new(404, "not-found", text)
    };
    line.end(api, "-", problem::response(&problem, false))
}

/// A JSON answer.
pub(crate) fn json(status: u16, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("API objects are always JSON");
    let status = http::StatusCode::from_u16(status).unwrap_or_default();
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, body).into_response()
}

/// An answer that says the generation in `ETag`.
pub(crate) fn tagged(mut response: Response, generation: Generation) -> Response {
    if let Ok(tag) = format!("\"{generation}\"").parse() {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// An answer that has nothing to say but that it was done.
pub(crate) fn nothing() -> Response {
    http::StatusCode::NO_CONTENT.into_response()
}
