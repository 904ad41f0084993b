//! The OpenAPI 3.1 document, made of the route table and the types that are read and written: nothing of it is kept by hand.
//!
//! Answers are described as they are written, bodies as they are read, which differ in what must be there. Resources are described by the
//! topology's own schema. `If-Match` is told in words: what it may hold depends on the moment, and tools that make up values would only
//! ever be told 412.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{Method, header};
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use wire::{
    api::{problem::Problem, resource::Kind},
    assignment::Role,
};

use super::{
    Api,
    call::Call,
    endpoint::{Endpoint, Gives, Needs, Parameter},
};

/// Where schemas stand in the document.
const SCHEMAS: &str = "/components/schemas";
/// Names of the topology's definitions get this in front.
const TOPOLOGY: &str = "Topology";

/// The document for these endpoints.
pub(crate) fn document(endpoints: &[Endpoint]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
    });
    let mut written = settings.clone().for_serialize().into_generator();
    let mut read = settings
        .with(|settings| settings.inline_subschemas = true)
        .for_deserialize()
        .into_generator();
    let problem = written.subschema_for::<Problem>();
    let mut paths = Map::new();
    for endpoint in endpoints {
        let operation = operation(endpoint, &mut written, &mut read, &problem);
        let path = paths
            .entry(endpoint.path.clone().into_owned())
            .or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_ascii_lowercase()] = operation;
    }
    let mut schemas = written.take_definitions(true);
    schemas.extend(of_topology());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "regmesh control plane",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": DESCRIPTION,
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "The admin token (`admin.token` in the data directory), or the token of POST /api/v1/sign-in.",
            }},
            "schemas": schemas,
        },
    })
}

const DESCRIPTION: &str = "The desired state of a mesh of registries, and what its nodes say. Every change is a new generation of the \
whole topology or nothing. GETs of resources say the generation in `ETag`; a change with `If-Match` is made only if that generation is \
still in force, else it is answered 412; `If-None-Match: *` makes a PUT create only. A change that is well formed and that the mesh \
cannot follow (an invalid topology, with every problem of it) is answered 409, a body of another shape 422. Every error is an RFC 9457 \
problem document with a stable `code`.";

/// A description of a resource of this kind, as the topology document has it.
pub(crate) fn spec(kind: Kind) -> Value {
    let schema = topology::schema::schema();
    let section = &schema["properties"][kind.as_str()];
    let mut own = if kind == Kind::Access {
        section["items"].clone()
    } else {
        section["additionalProperties"].clone()
    };
    renamed(&mut own);
    own
}

fn of_topology() -> Map<String, Value> {
    let mut schema = topology::schema::schema();
    let definitions = schema["definitions"].take();
    let definitions = definitions.as_object().cloned().unwrap_or_default();
    let named = definitions.into_iter().map(|(name, mut definition)| {
        renamed(&mut definition);
        (format!("{TOPOLOGY}{name}"), definition)
    });
    named.collect()
}

/// Makes references into the topology's schema ones into this document, and takes out that a value may be `null`: in a file a key may
/// stand without a value, in the API it is left out.
fn renamed(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/definitions/")
            {
                *reference = format!("#{SCHEMAS}/{TOPOLOGY}{name}");
            }
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
            }
            if let Some(Value::Array(forms)) = map.get_mut("anyOf") {
                forms.retain(|form| form["type"] != "null");
            }
            map.values_mut().for_each(renamed);
        }
        Value::Array(items) => items.iter_mut().for_each(renamed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn operation(
    endpoint: &Endpoint,
    written: &mut SchemaGenerator,
    read: &mut SchemaGenerator,
    problem: &Schema,
) -> Value {
    let mut parameters = segments(endpoint, read);
    let query = endpoint.query.iter();
    parameters.extend(query.map(|parameter| in_query(parameter, read)));
    let mut responses = Map::new();
    for gives in &endpoint.gives {
        responses.insert(gives.status.to_string(), answer(gives, written));
    }
    for status in problems(endpoint) {
        let refusal = json!({
            "description": status.1,
            "content": {"application/problem+json": {"schema": problem}},
        });
        responses.insert(status.0.to_owned(), refusal);
    }
    let mut operation = json!({
        "operationId": id(endpoint),
        "summary": endpoint.summary,
        "tags": [tag(endpoint)],
        "parameters": parameters,
        "responses": responses,
        "x-regmesh-roles": roles(endpoint.needs),
    });
    if endpoint.needs == Needs::Nothing {
        operation["security"] = json!([]);
    }
    if endpoint.conditional {
        operation["description"] = "`If-Match` with the `ETag` of a GET makes the change only if that generation is still in force; \
             `If-Match: *` only if the resource is there; `If-None-Match: *` only if it is not."
            .into();
    }
    if let Some(schema) = &endpoint.takes.schema {
        let schema = schema(read);
        let content = endpoint.takes.types.iter().map(|kind| {
            let schema = match kind.ends_with("yaml") {
                true => json!({"type": "string", "description": "A topology document."}),
                false => schema.clone().to_value(),
            };
            ((*kind).to_owned(), json!({ "schema": schema }))
        });
        let content: Map<String, Value> = content.collect();
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

fn segments(endpoint: &Endpoint, read: &mut SchemaGenerator) -> Vec<Value> {
    let names = endpoint.path.split('{').skip(1);
    let names = names.filter_map(|rest| rest.split_once('}').map(|(name, _)| name));
    let described = names.map(|name| {
        let own = endpoint.segments.iter().find(|(own, _)| *own == name);
        let schema = own.map_or_else(
            || json!({"type": "string", "minLength": 1}),
            |(_, describe)| describe(read).to_value(),
        );
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    described.collect()
}

fn in_query(parameter: &Parameter, read: &mut SchemaGenerator) -> Value {
    json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.about,
        "schema": (parameter.schema)(read),
    })
}

fn answer(gives: &Gives, written: &mut SchemaGenerator) -> Value {
    let mut answer = json!({"description": gives.about});
    if gives.etag {
        answer["headers"] = json!({"ETag": {
            "description": "The generation, in quotes.",
            "required": true,
            "schema": {"type": "string", "pattern": "^\"[0-9]+\"$"},
        }});
    }
    let mut content = Map::new();
    if let Some(schema) = &gives.schema {
        let schema = json!({ "schema": schema(written) });
        content.insert("application/json".to_owned(), schema);
    }
    for kind in gives.also {
        let schema = json!({"schema": {"type": "string"}});
        content.insert((*kind).to_owned(), schema);
    }
    if !content.is_empty() {
        answer["content"] = content.into();
    }
    answer
}

/// The refusals that an endpoint may answer with, beside those of the table's end.
fn problems(endpoint: &Endpoint) -> Vec<(&'static str, &'static str)> {
    let mut problems = Vec::new();
    if endpoint.needs != Needs::Nothing {
        problems.push(("401", "Who asks is not known."));
        problems.push(("403", "Who asks may not do this."));
    }
    if endpoint.path.contains('{') {
        problems.push(("404", "There is nothing of that name."));
    }
    if endpoint.method != Method::GET {
        problems.push(("409", "The mesh cannot follow, as it is or as it would be."));
    }
    if endpoint.conditional {
        problems.push(("412", "Another generation is in force."));
    }
    if !endpoint.takes.types.is_empty() {
        problems.push(("413", "The body is too large."));
        problems.push(("415", "The body is of a type that is not taken."));
        problems.push(("422", "The body is JSON of another shape."));
    }
    problems.push(("4XX", "The request is refused."));
    problems.push(("5XX", "The control plane, or the node it asked, failed."));
    problems
}

/// The roles that open it, in words.
pub(crate) fn roles(needs: Needs) -> Vec<String> {
    let roles: &[Role] = match &needs {
        Needs::Nothing | Needs::SignedIn => return Vec::new(),
        Needs::Role(roles) => roles,
        Needs::OnNode(role) => std::slice::from_ref(role),
    };
    let all: BTreeSet<Role> = roles
        .iter()
        .copied()
        .chain([Role::MeshAdministrator])
        .collect();
    let word = |role: &Role| serde_json::to_value(role).ok()?.as_str().map(str::to_owned);
    all.iter().filter_map(word).collect()
}

/// `get-nodes-name-status`: unique because method and path are.
fn id(endpoint: &Endpoint) -> String {
    let path = endpoint.path.trim_start_matches("/api/v1/");
    let words = path
        .split(['/', ':'])
        .map(|word| word.trim_matches(['{', '}']));
    let method = endpoint.method.as_str().to_ascii_lowercase();
    std::iter::once(method.as_str())
        .chain(words)
        .collect::<Vec<_>>()
        .join("-")
}

fn tag(endpoint: &Endpoint) -> &str {
    let path = endpoint.path.trim_start_matches("/api/v1/");
    path.split(['/', ':']).next().unwrap_or_default()
}

/// `GET /api/v1/openapi.json`
pub(crate) async fn show(api: Arc<Api>, _: Call) -> Result<Response, Problem> {
    let made = || document(&super::table::endpoints()).to_string().into();
    let document: Bytes = api.document.get_or_init(made).clone();
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, Body::from(document)).into_response())
}

/// `GET /`: there is no console yet, and the page says so.
pub(crate) async fn welcome(_: Arc<Api>, _: Call) -> Result<Response, Problem> {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    Ok((kind, WELCOME).into_response())
}

const WELCOME: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>regmesh</title>\
<h1>regmesh control plane</h1><p>This release has no console. Use the <code>regmesh</code> command, or the API: \
<a href=\"/api/v1/openapi.json\">its OpenAPI document</a>.</p></html>\n";
