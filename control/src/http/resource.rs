//! Resources of the topology by kind and name: lists, one, and the four ways to change one.
//!
//! A change is a new generation of the whole topology, so conditions speak of generations. Who may not use an identity may not write a
//! rule that has it, neither by giving it one nor by changing one that has it, since that would be using it for another source.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;
use topology::{edit, model::Node};
use wire::{
    api::{
        problem::Problem,
        resource::{Kind, Resource, Resources},
    },
    generation::Generation,
    name::NodeName,
};

use super::{
    Api,
    call::{Call, Condition, absent, misfit},
    json, openapi, tagged,
};
use crate::publish::Error;

/// How often a guarded change is looked at again because the topology moved.
const ATTEMPTS: usize = 8;

/// The body of a POST.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Create {
    /// Its name; role assignments have none.
    name: Option<String>,
    /// What the topology is to say of it.
    spec: Value,
}

impl Create {
    /// The schema of the body for a kind.
    pub(super) fn describe(_: &mut SchemaGenerator, kind: Kind) -> Schema {
        let spec = openapi::spec(kind);
        if kind == Kind::Access {
            return json_schema!({"properties": {"spec": spec}, "required": ["spec"], "additionalProperties": false});
        }
        json_schema!({
            "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 255}, "spec": spec},
            "required": ["name", "spec"],
            "additionalProperties": false,
        })
    }
}

/// `GET /api/v1/{kind}`
pub(super) fn list(api: &Api, call: &Call, kind: Kind) -> Result<Response, Problem> {
    let mut all: Resources = api.publisher.resources(kind);
    if let Some(name) = call.query::<NodeName>("node")? {
        let current = api.publisher.current();
        let node = current
            .topology
            .as_ref()
            .and_then(|topology| topology.node(&name));
        let node = node.ok_or_else(|| absent(&format!("there is no node '{name}'")))?;
        all.items.retain(|resource| selects(resource, node));
    }
    let generation = all.generation;
    Ok(tagged(json(200, &all), generation))
}

/// `GET /api/v1/{kind}/{name}`
pub(super) fn show(api: &Api, call: &Call, kind: Kind) -> Result<Response, Problem> {
    let resource = api.publisher.resource(kind, call.text("name"));
    let resource = resource.ok_or_else(|| missing(kind, call.text("name")))?;
    let generation = resource.generation;
    Ok(tagged(json(200, &resource), generation))
}

/// `POST /api/v1/{kind}`
pub(super) async fn create(api: Arc<Api>, call: Call, kind: Kind) -> Result<Response, Problem> {
    let body: Create = call.json()?;
    plain(&body.spec)?;
    may_use(&call, kind, &body.spec)?;
    let expected = expected(&api, call.condition()?, || false)?;
    let name = body.name.as_deref();
    let made = api
        .publisher
        .create(kind, name, body.spec, &call.caller.who, expected);
    Ok(created(&made.await?))
}

/// `PUT /api/v1/{kind}/{name}`
pub(super) async fn put(api: Arc<Api>, call: Call, kind: Kind) -> Result<Response, Problem> {
    let (name, spec) = (call.text("name"), call.value()?);
    plain(&spec)?;
    may_use(&call, kind, &spec)?;
    let who = &call.caller.who;
    let condition = call.condition()?;
    if condition == Condition::Absent {
        let made = api
            .publisher
            .create(kind, Some(name), spec, who, None)
            .await;
        return match made {
            Ok(made) => Ok(created(&made)),
            Err(Error::Exists) => Err(failed(&format!("{kind}/{name} is there"))),
            Err(error) => Err(error.into()),
        };
    }
    let there = || api.publisher.resource(kind, name).is_some();
    let was_there = there();
    let expected = expected(&api, condition, there)?;
    let made = api.publisher.put(kind, name, spec, who, expected).await?;
    if was_there {
        let generation = made.generation;
        Ok(tagged(json(200, &made), generation))
    } else {
        Ok(created(&made))
    }
}

/// `PATCH /api/v1/{kind}/{name}`
pub(super) async fn patch(api: Arc<Api>, call: Call, kind: Kind) -> Result<Response, Problem> {
    let (name, patch) = (call.text("name"), call.value()?);
    if !patch.is_object() {
        return Err(misfit("a merge patch of a resource is a JSON object"));
    }
    let condition = call.condition()?;
    for _ in 0..ATTEMPTS {
        let before = api.publisher.resource(kind, name);
        let before = before.ok_or_else(|| missing(kind, name))?;
        let mut spec = before.spec;
        edit::merge(&mut spec, &patch);
        may_use(&call, kind, &spec)?;
        let named = expected(&api, condition.clone(), || true)?;
        // What was looked at is what is changed: who guards a rule's identity must have seen it.
        let on = named.unwrap_or(before.generation);
        let who = &call.caller.who;
        match api
            .publisher
            .patch(kind, name, patch.clone(), who, Some(on))
            .await
        {
            Ok(made) => {
                let generation = made.generation;
                return Ok(tagged(json(200, &made), generation));
            }
            Err(Error::Stale { .. }) if named.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let text = "others change the topology all the time; try again";
    Err(Problem::new(409, "conflict", text))
}

/// `DELETE /api/v1/{kind}/{name}`
pub(super) async fn delete(api: Arc<Api>, call: Call, kind: Kind) -> Result<Response, Problem> {
    let name = call.text("name");
    let there = || api.publisher.resource(kind, name).is_some();
    if !there() {
        return Err(missing(kind, name));
    }
    let expected = expected(&api, call.condition()?, there)?;
    let gone = api.publisher.delete(kind, name, &call.caller.who, expected);
    gone.await?;
    Ok(super::nothing())
}

/// The generation that a change is meant for.
pub(super) fn expected(
    api: &Api,
    condition: Condition,
    there: impl Fn() -> bool,
) -> Result<Option<Generation>, Problem> {
    let newest = api.publisher.current().published.generation;
    match condition {
        Condition::None => Ok(None),
        Condition::Exists if there() => Ok(None),
        Condition::Exists => Err(failed("it is not there")),
        Condition::Absent if there() => Err(failed("it is there")),
        Condition::Absent => Ok(None),
        Condition::Generation(wanted) if wanted.contains(&newest) => Ok(Some(newest)),
        Condition::Generation(_) => Err(failed(&format!(
            "generation {newest} is in force, not the one in If-Match: look again"
        ))),
    }
}

fn failed(text: &str) -> Problem {
    Problem::new(412, "stale", text)
}

fn missing(kind: Kind, name: &str) -> Problem {
    absent(&format!(
        "there is no {kind}/{name} in the topology in force"
    ))
}

fn created(made: &Resource) -> Response {
    let mut response = tagged(json(201, made), made.generation);
    let name =
        percent_encoding::utf8_percent_encode(&made.name, percent_encoding::NON_ALPHANUMERIC);
    let location = format!("/api/v1/{}/{name}", made.kind);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    debug_assert_eq!(response.status(), StatusCode::CREATED);
    response
}

/// A resource is an object, and what it does not say is left out: `null` would read as nothing in some places and as text in others.
fn plain(spec: &Value) -> Result<(), Problem> {
    if !spec.is_object() {
        return Err(misfit("a resource is a JSON object"));
    }
    if has_null(spec) {
        return Err(misfit("null is no value of a topology: leave the key out"));
    }
    Ok(())
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(map) => map.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether the caller may write this rule, as far as its identity goes.
fn may_use(call: &Call, kind: Kind, spec: &Value) -> Result<(), Problem> {
    let identity = spec.get("identity").and_then(Value::as_str);
    let identity = identity.filter(|_| kind == Kind::Rules);
    match identity {
        Some(identity) if !call.caller.may_use(identity) => {
            let text = format!(
                "{} may not put the identity '{identity}' into rules: that needs the role identity-user for it",
                call.caller.who
            );
            Err(Problem::new(403, "forbidden", text))
        }
        _ => Ok(()),
    }
}

/// Whether a resource is about a node: by its `on`, by being it, or by being about all.
pub(super) fn selects(resource: &Resource, node: &Node) -> bool {
    if resource.kind == Kind::Nodes {
        return resource.name == node.name.as_str();
    }
    match resource.spec.get("on") {
        None | Some(Value::Null) => true,
        Some(Value::String(name)) => name == node.name.as_str(),
        Some(Value::Array(names)) => names.iter().any(|name| name == node.name.as_str()),
        Some(Value::Object(on)) => {
            let labels = on.get("labels").and_then(Value::as_object);
            labels.is_some_and(|labels| {
                let has = |(key, value): (&String, &Value)| {
                    node.labels
                        .get(key)
                        .is_some_and(|own| value == own.as_str())
                };
                labels.iter().all(has)
            })
        }
        Some(_) => false,
    }
}
