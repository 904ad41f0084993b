//! One endpoint: method, path, the role it needs, what it takes and gives, and who answers.
//!
//! Made by [`Endpoint::new`], which wants `Needs` among its arguments: a route that does not say who may call it does not compile. The
//! same value makes the router, decides on a caller, is described in the OpenAPI document and is a row of the test matrix.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use axum::response::Response;
use futures_util::future::BoxFuture;
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use wire::{api::problem::Problem, assignment::Role};

use super::{Api, call::Call, strict};

/// The body of most requests, in bytes at most.
pub(crate) const SMALL: usize = 1 << 20;
/// The body of a topology, in bytes at most.
pub(crate) const TOPOLOGY: usize = 16 << 20;

/// Who may call. An administrator of the mesh may call everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Anybody at all: what a stranger needs in order to sign in.
    Nothing,
    /// Whoever has shown who they are.
    SignedIn,
    /// Whoever has one of these roles.
    Role(&'static [Role]),
    /// Whoever has this role mesh-wide or on the node that the path names.
    OnNode(Role),
}

/// What a body may be.
pub(crate) struct Takes {
    /// Media types, the first one for tools; empty for no body.
    pub(crate) types: &'static [&'static str],
    /// Bytes at most.
    pub(crate) limit: usize,
    /// Of the JSON in it.
    pub(crate) schema: Option<Describe>,
}

/// Describes a type to a generator.
pub(crate) type Describe = Arc<dyn Fn(&mut SchemaGenerator) -> Schema + Send + Sync>;

/// One answer.
pub(crate) struct Gives {
    /// Its status.
    pub(crate) status: u16,
    /// What it is.
    pub(crate) about: &'static str,
    /// Of its JSON, if it has some.
    pub(crate) schema: Option<Describe>,
    /// Further media types it may come in.
    pub(crate) also: &'static [&'static str],
    /// Whether it says the generation in `ETag`.
    pub(crate) etag: bool,
}

/// A parameter of the query.
pub(crate) struct Parameter {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) about: &'static str,
    /// Whether there is nothing to answer without it.
    pub(crate) required: bool,
    /// Its form.
    pub(crate) schema: Describe,
    /// Why a text is not of that form.
    pub(crate) check: fn(&str) -> Result<(), String>,
    /// The largest number it may be, when it is one.
    pub(crate) max: Option<u64>,
}

/// Answers a call.
pub(crate) type Handler =
    Arc<dyn Fn(Arc<Api>, Call) -> BoxFuture<'static, Result<Response, Problem>> + Send + Sync>;

/// One row of the table.
pub(crate) struct Endpoint {
    /// The method; a GET answers HEAD too.
    pub(crate) method: Method,
    /// The path, its parameters in braces.
    pub(crate) path: Cow<'static, str>,
    /// Who may call.
    pub(crate) needs: Needs,
    /// One line about it.
    pub(crate) summary: String,
    /// Whether `If-Match` and `If-None-Match` count.
    pub(crate) conditional: bool,
    /// The form of what stands in braces, by name.
    pub(crate) segments: Vec<(&'static str, Describe)>,
    /// What the query may hold.
    pub(crate) query: Vec<Parameter>,
    /// What the body may be.
    pub(crate) takes: Takes,
    /// What comes back when it goes well.
    pub(crate) gives: Vec<Gives>,
    /// Who answers.
    pub(crate) handler: Handler,
}

impl Endpoint {
    /// An endpoint without query, body and answers described yet.
    pub(crate) fn new<F, Fut>(
        method: Method,
        path: impl Into<Cow<'static, str>>,
        needs: Needs,
        summary: impl Into<String>,
        handler: F,
    ) -> Self
    where
        F: Fn(Arc<Api>, Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
    {
        Self {
            method,
            path: path.into(),
            needs,
            summary: summary.into(),
            conditional: false,
            segments: Vec::new(),
            query: Vec::new(),
            takes: Takes {
                types: &[],
                limit: 0,
                schema: None,
            },
            gives: Vec::new(),
            handler: Arc::new(move |api, call| Box::pin(handler(api, call))),
        }
    }

    /// The form of one segment in braces.
    pub(crate) fn segment<T: JsonSchema>(mut self, name: &'static str) -> Self {
        self.segments.push((name, describe::<T>()));
        self
    }

    /// A parameter of the query.
    pub(crate) fn query<T: JsonSchema + FromStr<Err: fmt::Display>>(
        mut self,
        name: &'static str,
        about: &'static str,
    ) -> Self {
        self.query.push(Parameter {
            name,
            about,
            required: false,
            schema: describe::<T>(),
            check: |text| {
                text.parse::<T>()
                    .map(drop)
                    .map_err(|error| error.to_string())
            },
            max: None,
        });
        self
    }

    /// A whole number in the query.
    pub(crate) fn number(mut self, name: &'static str, max: u64, about: &'static str) -> Self {
        self.query.push(Parameter {
            name,
            about,
            required: false,
            schema: Arc::new(
                move |_| json_schema!({"type": "integer", "minimum": 0, "maximum": max}),
            ),
            check: |text| match text.parse::<u64>() {
                Ok(_) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
                _ => Err("it is a whole number".to_owned()),
            },
            max: Some(max),
        });
        self
    }

    /// The parameter declared last must be there.
    pub(crate) fn required(mut self) -> Self {
        if let Some(last) = self.query.last_mut() {
            last.required = true;
        }
        self
    }

    /// A JSON body.
    pub(crate) fn takes<T: JsonSchema + 'static>(self) -> Self {
        self.takes_as(&["application/json"], SMALL, Arc::new(strict::closed::<T>))
    }

    /// A body of one of several types; the schema is of the first.
    pub(crate) fn takes_as(
        mut self,
        types: &'static [&'static str],
        limit: usize,
        schema: Describe,
    ) -> Self {
        self.takes = Takes {
            types,
            limit,
            schema: Some(schema),
        };
        self
    }

    /// Answers with JSON.
    pub(crate) fn gives<T: JsonSchema>(mut self, status: u16, about: &'static str) -> Self {
        self.gives.push(Gives {
            status,
            about,
            schema: Some(describe::<T>()),
            also: &[],
            etag: false,
        });
        self
    }

    /// Answers without a body.
    pub(crate) fn gives_nothing(mut self, status: u16, about: &'static str) -> Self {
        self.gives.push(Gives {
            status,
            about,
            schema: None,
            also: &[],
            etag: false,
        });
        self
    }

    /// The answer declared last may come in other media types as well.
    pub(crate) fn also(mut self, types: &'static [&'static str]) -> Self {
        if let Some(last) = self.gives.last_mut() {
            last.also = types;
        }
        self
    }

    /// The answer declared last says the generation in `ETag`.
    pub(crate) fn tagged(mut self) -> Self {
        if let Some(last) = self.gives.last_mut() {
            last.etag = true;
        }
        self
    }

    /// `If-Match` and `If-None-Match` count.
    pub(crate) fn conditional(mut self) -> Self {
        self.conditional = true;
        self
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.path, self.needs)
    }
}

/// Describes `T`.
pub(crate) fn describe<T: JsonSchema>() -> Describe {
    Arc::new(|generator| generator.subschema_for::<T>())
}
