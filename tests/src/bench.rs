//! regmesh-bench: every figure of the table in `spec/qualities.md` that exists so far, beside the peers', from one command.
//!
//! A row is one file in `bench/` and one line in [`ROWS`]; it starts what it needs, measures us and the peers in turns, and
//! answers with [`Figure`]s. Load comes from wrk, ab, curl and skopeo, never from a loop of ours: a generator of one's own tends
//! to flatter one's own server. Nothing here fails on a time. From the bottom up:
//!
//! - [`figure`], [`sample`], [`usage`], [`machine`]: values, medians, what a process costs, where this ran.
//! - [`load`], [`fetch`]: wrk and ab · curl.
//! - [`site`], [`mesh`]: nginx serving an image as static files · the real `regmesh up`.
//! - [`world`], [`stored`]: what rows share · an image stored by all the servers that are compared.
//! - [`report`]: the table, the JSON, the page.

use anyhow::Result;
use futures_util::future::LocalBoxFuture;

pub mod fetch;
pub mod figure;
pub mod load;
pub mod machine;
pub mod mesh;
pub mod report;
pub mod sample;
pub mod site;
pub mod stored;
pub mod usage;
pub mod world;

mod binary;
mod blob;
mod check;
mod cold_pull;
mod collapse;
mod event;
mod fill_cost;
mod first_byte;
mod identity;
mod manifest;
mod memory;
mod rollout;
mod rules;
mod scale;
mod small_blob;
mod start;
mod tls;
mod warm;

pub use figure::Figure;
pub use world::{Options, World};

/// One row of the table of `spec/qualities.md`.
pub struct Row {
    /// For `--only`.
    pub name: &'static str,
    /// What the table calls it.
    pub title: &'static str,
    run: for<'a> fn(&'a World) -> LocalBoxFuture<'a, Result<Vec<Figure>>>,
}

macro_rules! row {
    ($module:ident, $name:literal, $title:literal) => {
        Row {
            name: $name,
            title: $title,
            run: |world| Box::pin($module::run(world)),
        }
    };
}

/// Every row, in the order of the table.
pub const ROWS: &[Row] = &[
    row!(
        manifest,
        "manifest",
        "manifest by tag, stored, `check: never`"
    ),
    row!(check, "check", "manifest by tag, `check: always`"),
    row!(blob, "blob", "blob 1 GiB from storage, warm page cache"),
    row!(small_blob, "small-blob", "blob 64 KiB"),
    row!(tls, "tls", "TLS, blob 1 GiB"),
    row!(cold_pull, "cold-pull", "cold pull, 12 layers of 20 MB"),
    row!(
        first_byte,
        "first-byte",
        "first byte of a cold 1 GiB blob, three tiers"
    ),
    row!(collapse, "collapse", "64 clients, one cold 1 GiB blob"),
    row!(rollout, "rollout", "500 clients over 3 spokes of one hub"),
    row!(warm, "warm", "upstream requests for an unchanged warm pull"),
    row!(fill_cost, "fill-cost", "CPU of a pull-through GB"),
    row!(memory, "memory", "memory"),
    row!(
        start,
        "start",
        "start to first 200, 100,000 stored manifests"
    ),
    row!(rules, "rules", "10,000 rules on a node"),
    row!(identity, "identity", "tokens and 10,000 role assignments"),
    row!(event, "event", "event delivery"),
    row!(scale, "scale", "1,000 nodes, one control plane"),
    row!(binary, "binary", "the binary"),
];

/// What a row gave.
pub struct Done {
    pub row: &'static Row,
    pub figures: Result<Vec<Figure>>,
    /// How long it took, in seconds.
    pub took: f64,
}

/// Runs one row.
pub async fn run(row: &'static Row, world: &World) -> Done {
    let start = world.clock.now();
    let figures = (row.run)(world).await;
    Done {
        row,
        figures,
        took: (world.clock.now() - start).as_secs_f64(),
    }
}
