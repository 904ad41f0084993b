//! The way of every request: who asks and may they, is it in a form the endpoint takes, then the handler, then one log line.
//!
//! The order is the order of what a stranger may learn: nothing is read of a request's query and body before the caller is known to be
//! allowed. Refused changes of known callers are in the audit log, those of strangers in the log alone, which they cannot fill.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use axum::{
    RequestExt,
    body::Body,
    extract::{RawPathParams, Request},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use runtime::{Secret, listener::Peer};
use tokio::time::Instant;
use uuid::Uuid;
use wire::{api::problem::Problem, query::Query, time::WallTime};

use super::{
    Api,
    call::{self, Call},
    endpoint::{Endpoint, Needs, Takes},
    problem,
};
use crate::{sign_in::Caller, state::NewEntry};

/// The name of the header that carries a request's id.
const REQUEST_ID: &str = "x-request-id";

/// Refused changes in the audit log, a minute: what was done must not be lost among what was not.
const REFUSALS: u32 = 60;

/// A request as it is logged: nothing of its query, its body or its token.
pub(super) struct Line {
    id: Uuid,
    method: Method,
    started: Instant,
    who: String,
}

impl Line {
    pub(super) fn begin(api: &Api, method: &Method) -> Self {
        Self {
            id: Uuid::now_v7(),
            method: method.clone(),
            started: api.clock.now(),
            who: "-".to_owned(),
        }
    }

    /// Writes the line and what every answer has.
    pub(super) fn end(self, api: &Api, path: &str, mut response: Response) -> Response {
        let headers = response.headers_mut();
        // Nothing is kept but what says so itself: what anybody may read.
        let kept = headers.entry(header::CACHE_CONTROL);
        kept.or_insert(HeaderValue::from_static("no-store"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        if let Ok(id) = HeaderValue::from_str(&self.id.to_string()) {
            headers.insert(REQUEST_ID, id);
        }
        let status = response.status().as_u16();
        let duration = api.clock.now().duration_since(self.started).as_secs_f64();
        api.metrics.request(path, status, duration);
        tracing::info!(
            target: "request",
            id = %self.id,
            method = %self.method,
            path,
            status,
            duration,
            principal = self.who,
        );
        response
    }
}

/// Answers one request to an endpoint.
pub(super) async fn serve(api: Arc<Api>, endpoint: Arc<Endpoint>, request: Request) -> Response {
    let mut line = Line::begin(&api, request.method());
    let shown = request.headers().contains_key(header::AUTHORIZATION);
    let answer = answer(&api, &endpoint, request, &mut line.who).await;
    let response = answer.unwrap_or_else(|problem| problem::response(&problem, shown));
    line.end(&api, &endpoint.path, response)
}

async fn answer(
    api: &Arc<Api>,
    endpoint: &Endpoint,
    mut request: Request,
    who: &mut String,
) -> Result<Response, Problem> {
    let path = request.extract_parts::<RawPathParams>().await;
    let path = path.map_err(|_| call::absent("the path is not UTF-8"))?;
    let path: BTreeMap<String, String> = path
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let (parts, body) = request.into_parts();
    let caller = caller(api, &parts.headers).await?;
    who.clone_from(&caller.who);
    if let Err(problem) = allowed(api, endpoint.needs, &caller, &path) {
        refused(api, endpoint, &caller, &path, &problem).await;
        return Err(problem);
    }
    let query = query(endpoint, &parts)?;
    let body = read(api, &endpoint.takes, &parts, body).await?;
    let address = parts
        .extensions
        .get::<Peer>()
        .map_or(IpAddr::from([127, 0, 0, 1]), |peer| peer.address.ip());
    let call = Call {
        caller,
        needs: endpoint.needs,
        path,
        query,
        headers: parts.headers,
        body,
        address,
    };
    (endpoint.handler)(Arc::clone(api), call).await
}

/// Whether a caller who was let in would be let in again: an answer that goes on ends with the right to it. A right that cannot be looked
/// up now is not lost.
pub(super) async fn is_still_allowed(
    api: &Api,
    headers: &HeaderMap,
    needs: Needs,
    path: &BTreeMap<String, String>,
) -> bool {
    let again = caller(api, headers).await;
    match again.and_then(|caller| allowed(api, needs, &caller, path)) {
        Ok(()) => true,
        Err(problem) => !matches!(problem.status, 401 | 403),
    }
}

async fn caller(api: &Api, headers: &HeaderMap) -> Result<Caller, Problem> {
    let malformed = || {
        let text = "the Authorization header is 'Bearer TOKEN', once";
        Problem::new(401, "unauthorized", text)
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let token = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => {
            let value = value.to_str().map_err(|_| malformed())?;
            let (scheme, token) = value.split_once(' ').ok_or_else(malformed)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(malformed());
            }
            Some(Secret::from(token.trim()))
        }
        (Some(_), Some(_)) => return Err(malformed()),
    };
    let current = api.publisher.current();
    let caller = api
        .sign_in
        .caller(token.as_ref(), current.topology.as_ref());
    Ok(caller.await?)
}

/// Whether the caller has what the endpoint needs.
fn allowed(
    api: &Api,
    needs: Needs,
    caller: &Caller,
    path: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    let has = match needs {
        Needs::Nothing => true,
        Needs::SignedIn => caller.is_known(),
        Needs::Role(roles) => caller.has(roles),
        Needs::OnNode(role) => {
            let node = path.get("name").and_then(|name| name.parse().ok());
            let current = api.publisher.current();
            node.is_some_and(|node| caller.has_on(role, &node, current.topology.as_ref()))
                || caller.has(&[role])
        }
    };
    if has {
        return Ok(());
    }
    if !caller.is_known() {
        let text = "who asks is not known: send 'Authorization: Bearer TOKEN' with the admin token (`admin.token` in the data directory) or a session of POST /api/v1/sign-in";
        return Err(Problem::new(401, "unauthorized", text));
    }
    let needed = super::openapi::roles(needs).join(", ");
    let text = format!(
        "{} may not do this: it needs one of the roles {needed}",
        caller.who
    );
    Err(Problem::new(403, "forbidden", text))
}

async fn refused(
    api: &Api,
    endpoint: &Endpoint,
    caller: &Caller,
    path: &BTreeMap<String, String>,
    problem: &Problem,
) {
    if !caller.is_known() || endpoint.method == Method::GET {
        return;
    }
    let now = WallTime(api.clock.wall_ms());
    if !api.refusals.may_record(now, REFUSALS) {
        tracing::warn!(
            who = caller.who,
            "refused changes are too many: one is not in the audit log"
        );
        return;
    }
    let mut target = endpoint.path.trim_start_matches("/api/v1/").to_owned();
    for (name, value) in path {
        target = target.replace(&format!("{{{name}}}"), value);
    }
    let entry = NewEntry {
        at: now,
        who: caller.who.clone(),
        action: endpoint.method.as_str().to_ascii_lowercase(),
        target: target.chars().take(300).collect(),
        before: None,
        after: None,
        generation: None,
        refused: Some(problem.detail.clone()),
    };
    if let Err(error) = api.state.record(vec![entry]).await {
        tracing::warn!(%error, "a refusal is not in the audit log");
    }
}

fn query(endpoint: &Endpoint, parts: &Parts) -> Result<BTreeMap<&'static str, String>, Problem> {
    let invalid = |text: String| Problem::new(400, "invalid-parameter", text);
    let query = Query::parse(parts.uri.query()).map_err(|error| invalid(error.to_string()))?;
    let mut found = BTreeMap::new();
    for (name, value) in query.pairs() {
        let Some(declared) = endpoint.query.iter().find(|declared| declared.name == name) else {
            return Err(invalid(unknown(endpoint, name)));
        };
        (declared.check)(value).map_err(|why| call::parameter(declared.name, &why))?;
        if let Some(max) = declared.max
            && value.parse::<u64>().is_ok_and(|number| number > max)
        {
            return Err(call::parameter(
                declared.name,
                &format!("it is at most {max}"),
            ));
        }
        if found.insert(declared.name, value.to_owned()).is_some() {
            return Err(call::parameter(declared.name, "it is there more than once"));
        }
    }
    let missing = endpoint
        .query
        .iter()
        .find(|declared| declared.required && !found.contains_key(declared.name));
    match missing {
        Some(declared) => Err(call::parameter(declared.name, "it is missing")),
        None => Ok(found),
    }
}

fn unknown(endpoint: &Endpoint, name: &str) -> String {
    let names: Vec<&str> = endpoint
        .query
        .iter()
        .map(|declared| declared.name)
        .collect();
    let name: String = name.chars().take(64).collect();
    if names.is_empty() {
        format!("there is no query parameter '{name}' here, nor any other")
    } else {
        format!(
            "there is no query parameter '{name}' here; there are {}",
            names.join(", ")
        )
    }
}

/// The whole body, in one of the types taken, within its limit and in time.
async fn read(api: &Api, takes: &Takes, parts: &Parts, body: Body) -> Result<Bytes, Problem> {
    if takes.types.is_empty() {
        return Ok(Bytes::new());
    }
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let kind = kind
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = call::media_type(kind).to_ascii_lowercase();
    if !takes.types.contains(&kind.as_str()) {
        let text = format!(
            "a body of type '{kind}' is not taken here; {} is",
            takes.types.join(" or ")
        );
        return Err(Problem::new(415, "unsupported-media-type", text));
    }
    let too_large = || {
        let text = format!("the body is larger than {} bytes", takes.limit);
        Problem::new(413, "too-large", text)
    };
    let told = parts.headers.get(header::CONTENT_LENGTH);
    let told = told.and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|length| length > takes.limit) {
        return Err(too_large());
    }
    let whole = Limited::new(body, takes.limit).collect();
    match api.clock.timeout(api.settings.body, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(400, "malformed-body", "the body broke off")),
        Err(_) => Err(Problem::new(
            408,
            "too-slow",
            "the body did not arrive in time",
        )),
    }
}
