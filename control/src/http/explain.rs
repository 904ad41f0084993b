//! `explain` and `doctor`, and the health of one credential set, which is a check of the doctor's.

use std::sync::Arc;

use axum::response::Response;
use topology::model::{Node, Topology, rule::Authentication};
use wire::{
    api::{
        doctor::{Report, Request as Doctor},
        explain::Request,
        problem::Problem,
        resource::Kind,
    },
    name::{CredentialName, NodeName},
};

use super::{
    Api,
    call::{Call, absent, misfit},
    json, node,
};
use crate::{doctor as checks, explain as hops, status};

/// How many checks one request may name, as its schema says.
const MOST_CHECKS: usize = 64;

/// `POST /api/v1/explain`
pub(super) async fn explain(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let request: Request = call.json()?;
    node::declared(&api, &request.node)?;
    let current = api.publisher.current();
    let topology = current.topology.as_ref().ok_or_else(nothing_applied)?;
    let explained = hops::explain(topology, request, &*api.nodes, api.settings.ask);
    Ok(json(200, &explained.await))
}

/// `POST /api/v1/doctor`
pub(super) async fn doctor(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let request: Doctor = call.json()?;
    if request.only.len() > MOST_CHECKS {
        let text = format!("at most {MOST_CHECKS} checks are named");
        return Err(misfit(&text));
    }
    if let Some(name) = &request.node {
        node::declared(&api, name)?;
    }
    Ok(json(200, &examine(&api, request).await))
}

/// `GET /api/v1/credentials/{name}/health`
pub(super) async fn health(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let name: CredentialName = call.segment("name")?;
    if api
        .publisher
        .resource(Kind::Credentials, name.as_str())
        .is_none()
    {
        return Err(absent(&format!(
            "there is no credentials/{name} in the topology in force"
        )));
    }
    let current = api.publisher.current();
    let topology = current.topology.as_ref().ok_or_else(nothing_applied)?;
    let users = users(topology, &name);
    let report = checks::health(&name, users, &*api.nodes, api.settings.doctor);
    Ok(json(200, &report.await))
}

/// The nodes with a rule in force that uses this credential set.
fn users(topology: &Topology, set: &CredentialName) -> Vec<NodeName> {
    let shown = Authentication::Credentials(set.clone());
    let uses = |node: &&Node| {
        let mut rules = node.rules.iter();
        rules.any(|rule| rule.enabled && rule.authentication == shown)
    };
    let nodes = topology.nodes.values().filter(uses);
    nodes.map(|node| node.name.clone()).collect()
}

async fn examine(api: &Arc<Api>, request: Doctor) -> Report {
    let current = api.publisher.current();
    let status = status::status(&current, &api.nodes.seen(), &api.alarms.raised());
    checks::examine(&status, request, &*api.nodes, api.settings.doctor).await
}

fn nothing_applied() -> Problem {
    absent("no topology was applied yet")
}
