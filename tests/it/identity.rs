//! Identities over the whole mesh: every rule as itself, every caller as who it is (`spec/identity.md`).
//!
//! Control plane, nodes and CLI are processes of the real binary that speak TLS with each other; who vouches for whom is emulated
//! strictly (`tests::issuer`, `tests::azure`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control::config::Settings;
use runtime::Tasks;
use serde_json::{Value, json};
use tests::client::Reply;
use tests::eventually::{BOUND, eventually_async};
use tests::fleet::Builder;
use tests::{Client, Fleet, Image};
use tokio::task::JoinHandle;

use crate::PROGRAM;

mod azure;
mod borrowed;
mod callers;
mod canaries;
mod clients;
mod cluster;
mod federated;
mod foreign;
mod keys;
mod known;
mod kubelet;
mod outage;
mod people;
mod probing;
mod stampede;
mod tiers;

/// Three tiers with an identity per rule, under a control plane in this process.
async fn fleet(tiers: usize) -> Fleet {
    let settings = crate::control_away::brisk();
    started(tiers, settings).await
}

async fn started(tiers: usize, settings: Settings) -> Fleet {
    let builder = Builder::here(PROGRAM, settings).tiers(tiers);
    builder.with_identities().start().await
}

/// The hops of `explain`, from the node down to the hub.
async fn explain(fleet: &Fleet, image: &str) -> Vec<Value> {
    let ran = fleet.regmesh(&["explain", image, "-o", "json"]).await;
    let explained: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:#?}"));
    explained["hops"].as_array().unwrap().clone()
}

/// Asks for a manifest until the answer is as `right` says.
async fn until(
    client: &Client,
    repository: &str,
    reference: &str,
    what: &str,
    right: impl Fn(&Reply) -> bool,
) -> Reply {
    eventually_async(BOUND, what, async || {
        let reply = client.get_manifest(repository, reference).await;
        match reply {
            Ok(reply) if right(&reply) => Ok(reply),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// The grants that a node keeps, by rule, read by whoever got hold of its disk.
fn grants_of(data: &Path) -> Vec<(String, String)> {
    let kept = std::fs::read_to_string(data.join("agent/grants.json")).unwrap_or_default();
    let words = kept.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    let tokens = words.filter(|word| word.starts_with("ey") && word.matches('.').count() == 2);
    let rule = |token: &str| {
        let claims = tests::jwt::parts(token).unwrap().claims;
        claims["regmesh"]["rule"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    tokens
        .map(|token| (rule(token), token.to_owned()))
        .collect()
}

/// The grant of a rule once the node has it.
async fn grant(fleet: &Fleet, node: &str, rule: &str) -> String {
    eventually_async(
        BOUND,
        &format!("{node} has a grant for {rule}"),
        async || {
            let grants = grants_of(fleet.data(node));
            let found = grants.iter().find(|(each, _)| each == rule);
            found.map(|(_, grant)| grant.clone()).ok_or(grants)
        },
    )
    .await
}

/// Pulls through `prod` by one client after the other, none of which may fail.
struct Pulls {
    stop: Arc<AtomicBool>,
    done: JoinHandle<usize>,
    _tasks: Tasks,
}

impl Pulls {
    fn start(fleet: &Fleet, name: &str, seed: u64) -> Self {
        let images: Vec<_> = (0..60)
            .map(|n| fresh(fleet, &format!("{name}-{n}"), seed + n))
            .collect();
        let (client, stop) = (fleet.client("prod"), Arc::new(AtomicBool::new(false)));
        let (tasks, ends) = (Tasks::new("loop"), Arc::clone(&stop));
        let done = tasks.spawn("pulls", async move {
            let mut done = 0;
            // Always something new, so that every pull asks upstream, blobs too.
            for (repository, image) in images.iter().cycle().take(5_000) {
                let pulled = client.pull(repository, "1", "amd64").await;
                let pulled = pulled.unwrap_or_else(|error| panic!("pull {done}: {error:#}"));
                assert_eq!(pulled.digest, image.digest);
                done += 1;
                if ends.load(Ordering::Relaxed) && done > 5 {
                    break;
                }
            }
            done
        });
        Self {
            stop,
            done,
            _tasks: tasks,
        }
    }

    /// A last few, and then no more.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.done.await.unwrap() > 5);
    }
}

/// Waits until a node has what the control plane has.
async fn known(fleet: &Fleet, node: &str) {
    let generation = json!(fleet.control_here().publisher().current().generation());
    eventually_async(BOUND, "the node has it", async || {
        let status = fleet.own_status(node).await?;
        match status["generation"] == generation {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    })
    .await;
}

/// Shows a grant at a node's exchange.
async fn exchange(fleet: &Fleet, node: &str, grant: &str, shown: Option<&str>) -> Reply {
    let (url, service) = (fleet.url(node) + "/oauth2/exchange", fleet.host(node));
    let form = [
        ("grant_type", "access_token"),
        ("service", service.as_str()),
        ("access_token", grant),
    ];
    post(&fleet.http(shown), &url, &form).await
}

/// `POST` of a form.
async fn post(http: &reqwest::Client, url: &str, form: &[(&str, &str)]) -> Reply {
    Reply::read(http.post(url).form(form).send().await.unwrap()).await
}

/// `Authorization` of a user and a password.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// An image at the origin that nothing has pulled yet, and its name at the nodes.
fn fresh(fleet: &Fleet, name: &str, seed: u64) -> (String, Image) {
    fleet.image(name, 7_000 + seed)
}

const SECOND: Duration = Duration::from_secs(1);
