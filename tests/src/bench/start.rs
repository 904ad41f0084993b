//! From the start of the process to its first 200, with 100,000 stored manifests.
//!
//! The manifests are pushed to the node itself, as clients do: indexes without children, each with a number in it and a tag.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use wire::media_type::OCI_INDEX;

use crate::Client;
use crate::bench::figure::{Figure, Goal, Unit};
use crate::bench::mesh::{self, Plan};
use crate::bench::sample::median;
use crate::bench::world::World;

const PUSHES: usize = 64;
const REPOSITORIES: u64 = 1000;

pub async fn run(world: &World) -> Result<Vec<Figure>> {
    let Some(program) = world.options.regmesh.clone() else {
        return Ok(Vec::new());
    };
    let manifests = world.scaled(100_000, 5_000);
    let dir = world.fresh()?;
    let topology = Plan::of("127.0.0.1:1").chain(1);
    let config = mesh::Config::new(topology);
    let (mut process, _) = config.spawn(&program, dir.path())?;
    process.says("\"listen\"").await;
    let base = endpoint(&config.topology)?;
    let begun = world.clock.now();
    push(&base, manifests).await?;
    let pushed = manifests as f64 / (world.clock.now() - begun).as_secs_f64();
    process.kill().await;
    let (mut starts, mut after_kill) = (Vec::new(), None);
    for run in 0..=world.runs() {
        let begun = world.clock.now();
        let (mut process, _) = config.spawn(&program, dir.path())?;
        let url = format!(
            "{base}/v2/local/r{}/manifests/t{}",
            (manifests - 1) % REPOSITORIES,
            manifests - 1
        );
        answers(world, &url).await?;
        let took = (world.clock.now() - begun).as_secs_f64();
        // The first start is the one after a kill -9; the others follow a polite end.
        if run == 0 {
            after_kill = Some(took)
        } else {
            starts.push(took)
        }
        process.terminate();
        process.ended(Duration::from_secs(60)).await;
    }
    Ok(vec![
        Figure::new("start to first 200, 100,000 manifests", Unit::Seconds)
            .ours(median(starts))
            .goal(Goal::AtMost(0.25))
            .note(format!(
                "a manifest by tag; {manifests} stored, pushed at {pushed:.0}/s"
            )),
        Figure::new("the same after kill -9", Unit::Seconds)
            .ours(after_kill)
            .goal(Goal::AtMost(0.25)),
    ])
}

async fn push(base: &str, manifests: u64) -> Result<()> {
    let client = Client::new(base);
    let client = &client;
    let puts = (0..manifests).map(async |number| {
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[],"annotations":{{"number":"{number}"}}}}"#);
        let path = format!("/v2/local/r{}/manifests/t{number}", number % REPOSITORIES);
        let reply = client.send(Method::PUT, &path, &[("content-type", OCI_INDEX)], Some(Bytes::from(body))).await?;
        ensure!(reply.status == 201, "{path}: {reply:?}");
        Ok(())
    });
    stream::iter(puts)
        .buffer_unordered(PUSHES)
        .try_collect()
        .await
}

/// Asks until it answers 200, without pausing longer than what is measured allows.
async fn answers(world: &World, url: &str) -> Result<()> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    for _ in 0..60_000 {
        if http
            .get(url)
            .send()
            .await
            .is_ok_and(|answer| answer.status() == 200)
        {
            return Ok(());
        }
        world.clock.sleep(Duration::from_millis(1)).await;
    }
    anyhow::bail!("{url} never answered 200")
}

fn endpoint(topology: &str) -> Result<String> {
    let (_, rest) = topology
        .split_once("endpoint: '")
        .context("a node has an endpoint")?;
    Ok(rest.split('\'').next().unwrap_or_default().to_owned())
}
