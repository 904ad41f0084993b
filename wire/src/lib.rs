//! What crosses a process boundary: OCI grammar, names of the mesh, API objects. Pure: no I/O, no clock, no runtime.
//!
//! Whatever strangers send is parsed here, once, into types that cannot hold anything else; nothing below looks again.
//! Everything that reads a stranger's bytes is bounded and returns an error or an answer, never a panic.
//!
//! | layer | modules |
//! |---|---|
//! | names of the mesh | `name`, `generation`, `assignment`, `secret_ref`, `acr`, `refusal`, `time` |
//! | OCI grammar | `repository`, `reference`, `digest`, `platform`, `media_type`, `pattern`, `manifest`, `oci_error` |
//! | HTTP of registries | `route`, `query`, `page`, `range`, `scope`, `challenge`, `hops`, `cache_status` |
//! | what others parse | `event`, `api`, `schema` |
//! | what nodes and control plane say | `node_service`, `join_token`, `not_admitted` |

#![warn(missing_docs)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod acr;
pub mod api;
pub mod assignment;
pub mod cache_status;
pub mod challenge;
pub mod digest;
pub mod event;
pub mod generation;
pub mod hops;
pub mod join_token;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod node_service;
pub mod not_admitted;
pub mod oci_error;
pub mod page;
pub mod pattern;
pub mod platform;
pub mod query;
pub mod range;
pub mod reference;
pub mod refusal;
pub mod repository;
pub mod route;
pub mod schema;
pub mod scope;
pub mod secret_ref;
pub mod time;
pub mod withdrawal;
