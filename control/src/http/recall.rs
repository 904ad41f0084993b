//! Recalls: listed with who confirmed them, made, lifted.

use std::sync::Arc;

use axum::response::Response;
use wire::{
    api::{problem::Problem, recall::Request},
    digest::Digest,
};

use super::{
    Api,
    call::{Call, absent},
    json, nothing, tagged,
};
use crate::{publish::Error, recall as recalls};

/// `GET /api/v1/recalls`
pub(super) async fn list(api: Arc<Api>, _: Call) -> Result<Response, Problem> {
    let current = api.publisher.current();
    let all = recalls::in_force(&current, &api.nodes.seen());
    Ok(tagged(json(200, &all), current.published.generation))
}

/// `POST /api/v1/recalls`
pub(super) async fn recall(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let request: Request = call.json()?;
    let recalled = api
        .publisher
        .recall(request.digest.clone(), &request.reason, &call.caller.who);
    recalled.await?;
    let current = api.publisher.current();
    let mut all = recalls::in_force(&current, &api.nodes.seen()).into_iter();
    let made = all.find(|recall| recall.digest == request.digest);
    let made = made.ok_or_else(|| absent("the recall was lifted meanwhile"))?;
    Ok(json(201, &made))
}

/// `DELETE /api/v1/recalls/{digest}`
pub(super) async fn lift(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let digest: Digest = call.segment("digest")?;
    match api.publisher.lift(&digest, &call.caller.who).await {
        Ok(_) => Ok(nothing()),
        Err(Error::NotFound) => Err(absent(&format!(
            "{digest} is not recalled, so nothing is to be lifted; `regmesh recall list` shows what is"
        ))),
        Err(error) => Err(error.into()),
    }
}
