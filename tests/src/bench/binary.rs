//! The size of the program, and whether it needs a dynamic loader.

use std::fs;

use anyhow::Result;

use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::world::World;

#[expect(clippy::unused_async, reason = "rows are asynchronous")]
pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let Some(program) = &world.options.regmesh else {
        return Ok(Vec::new());
    };
    let bytes = fs::read(program)?;
    let loader = bytes
        .windows(8)
        .take(8192)
        .any(|window| window == b"ld-linux");
    let figure = Figure::new("binary, size", Unit::Bytes)
        .ours(bytes.len() as f64)
        .goal(Goal::AtMost(60e6));
    Ok(vec![figure.note(match loader {
        true => "this build loads libc, libm and libgcc_s; the static one is made for x86_64-unknown-linux-musl",
        false => "static",
    })])
}
