//! A node: a complete registry that fills itself from upstreams.
//!
//! ```text
//! http -> registry -> { rule, copy -> fill } -> { upstream, store }        agent, event: further rims
//! ```
//! `http` alone knows axum; `registry` knows neither HTTP nor disk; `upstream` and `store` are traits where the node meets
//! the world; `app` composes.

pub mod agent;
pub mod app;
pub mod copy;
pub mod doctor;
pub mod event;
pub mod fill;
pub mod http;
pub mod membership;
pub mod metric;
pub mod registry;
pub mod request;
pub mod rule;
pub mod session;
pub mod settings;
pub mod store;
pub mod upstream;
