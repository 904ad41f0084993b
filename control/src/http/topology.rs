//! The topology as a whole: shown, planned, applied.
//!
//! A body is the API's object with its files, or one YAML document as it is. Reading a large one takes long, so planning runs where it keeps
//! nobody waiting (applying does so by itself).

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header;
use wire::api::{
    problem::Problem,
    resource::{Apply, File, Topology},
};

use super::{Api, call::Call, json, resource, tagged};

/// `GET /api/v1/topology`
pub(super) async fn show(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let current = api.publisher.current();
    let generation = current.published.generation;
    let document = current.published.desired.document.clone();
    let answer = if call.accepts(&["application/yaml", "text/yaml", "application/x-yaml"]) {
        ([(header::CONTENT_TYPE, "application/yaml")], document).into_response()
    } else {
        json(
            200,
            &Topology {
                generation,
                document,
            },
        )
    };
    Ok(tagged(answer, generation))
}

/// `POST /api/v1/topology:plan`
pub(super) async fn plan(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let apply = read(&call)?;
    let turn = api
        .clock
        .timeout(api.settings.plan_wait, api.plans.acquire());
    let permit = turn.await.map_err(|_| busy())?;
    let publisher = api.publisher.clone();
    let planned = api.tasks.spawn_blocking("plan", move || {
        // Held to the end of the work, also when whoever asked went away.
        let _permit = permit;
        publisher.plan(&apply)
    });
    let planned = planned
        .await
        .map_err(|_| Problem::new(503, "ending", "the control plane is ending"))?;
    Ok(json(200, &planned?))
}

/// `POST /api/v1/topology:apply`
pub(super) async fn apply(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let apply = read(&call)?;
    let there = || api.publisher.current().topology.is_some();
    let expected = resource::expected(&api, call.condition()?, there)?;
    let applied = api
        .publisher
        .apply(&apply, &call.caller.who, expected)
        .await?;
    let generation = applied.generation;
    Ok(tagged(json(200, &applied), generation))
}

fn busy() -> Problem {
    let text = "too many topologies are being looked at: try again in a moment";
    Problem::new(503, "busy", text)
}

fn read(call: &Call) -> Result<Apply, Problem> {
    if call.content_type().eq_ignore_ascii_case("application/json") {
        return call.json();
    }
    let text = String::from_utf8(call.body.to_vec());
    let text = text.map_err(|_| Problem::new(400, "malformed-body", "the body is not UTF-8"))?;
    let name = "topology.yaml".to_owned();
    Ok(Apply {
        files: vec![File { name, text }],
        dry_run: call.query("dry-run")?.unwrap_or(false),
        prune: call.query("prune")?.unwrap_or(false),
    })
}
