//! Blobs and metadata as one store.
//!
//! Called by registry, fill, copy, event and doctor. Knows neither HTTP nor upstreams. The two traits, `blob::Blobs` and
//! `metadata::Metadata`, are where the node meets its disk; `memory_cache` decorates them. Bytes are durable before the
//! transaction that makes them visible.

pub mod blob;
pub mod error;
pub mod metadata;

pub use error::Error;
