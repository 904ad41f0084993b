//! `explain` and `doctor`, and the health of one credential set, which is a check of the doctor's.

use std::sync::Arc;

use axum::response::Response;
use wire::{
    api::{
        doctor::{CheckId, Report, Request as Doctor},
        explain::Request,
        problem::Problem,
        resource::Kind,
    },
    name::CredentialName,
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
    let request = Doctor {
        node: None,
        only: vec![CheckId::CredHealth],
    };
    let report = examine(&api, request).await;
    let checks = report.checks.into_iter();
    let checks = checks.filter(|check| {
        check
            .subject
            .as_deref()
            .is_none_or(|of| of.contains(name.as_str()))
    });
    Ok(json(200, &checks::report(checks.collect())))
}

async fn examine(api: &Arc<Api>, request: Doctor) -> Report {
    let current = api.publisher.current();
    let status = status::status(&current, &api.nodes.seen(), &api.alarms.raised());
    checks::examine(&status, request, &*api.nodes, api.settings.doctor).await
}

fn nothing_applied() -> Problem {
    absent("no topology was applied yet")
}
