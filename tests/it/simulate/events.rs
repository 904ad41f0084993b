//! I10: every event that a commit is due was delivered, with a stable id, in order, and none for what is not durable.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use wire::digest::Digest;
use wire::reference::Tag;
use wire::repository::RepositoryName;

use super::plan::{Place, REPOSITORIES, SITES, TAGS, places};
use super::world::World;

/// Site, repository, tag or none, digest.
type Told = (String, String, Option<String>, String);

/// Asks for a mesh whose outboxes are empty.
pub(super) async fn judge(world: &World) {
    stable(world);
    let events = world.hook.of_action("push");
    in_order(world, &events);
    let told: HashSet<Told> = events.iter().map(told).collect();
    for place in places() {
        complete(world, place, &told).await;
    }
    durable(world, &told).await;
}

/// One id is one body, however often it was sent.
fn stable(world: &World) {
    let mut bodies: HashMap<String, Vec<u8>> = HashMap::new();
    for call in world.hook.record().all() {
        let id = call.header("x-regmesh-event-id").unwrap_or_default();
        let known = bodies
            .entry(id.to_owned())
            .or_insert_with(|| call.body.to_vec());
        if *known != call.body[..] {
            world
                .truth
                .broken("I10", format!("two bodies of {id}: {call:?}"));
        }
    }
}

/// Ids grow with time (UUIDv7): of each key, first deliveries do too.
fn in_order(world: &World, events: &[Value]) {
    let (mut seen, mut last) = (HashSet::new(), HashMap::new());
    for event in events {
        let id = event["id"].as_str().unwrap_or_default().to_owned();
        if !seen.insert(id.clone()) {
            continue;
        }
        let (site, repository, tag, _) = told(event);
        let before = last.insert((site, repository, tag), id.clone());
        if before.as_ref().is_some_and(|before| *before > id) {
            world
                .truth
                .broken("I10", format!("{event} after {before:?}"));
        }
    }
}

/// What is complete at a site was told of: its tags by name and digest, and the manifests by digest.
async fn complete(world: &World, place: Place, told: &HashSet<Told>) {
    let metadata = world.running(place).store().metadata();
    for repository in REPOSITORIES {
        let name: RepositoryName = format!("up/{repository}").parse().expect("a name");
        for tag in TAGS {
            let tag: Tag = tag.parse().expect("a tag");
            let record = metadata.tag(&name, &tag).await.unwrap();
            let Some(version) = record.and_then(|record| record.complete) else {
                continue;
            };
            for tag in [Some(tag.to_string()), None] {
                let due = (
                    SITES[place].to_owned(),
                    name.to_string(),
                    tag,
                    version.digest.to_string(),
                );
                if !told.contains(&due) {
                    world.truth.broken("I10", format!("never told: {due:?}"));
                }
            }
        }
    }
}

/// What was told of is there.
async fn durable(world: &World, told: &HashSet<Told>) {
    for (site, repository, tag, digest) in told {
        let place = SITES.iter().position(|name| name == site).expect("a site");
        let name: RepositoryName = repository.parse().expect("a name");
        let digest: Digest = digest.parse().expect("a digest");
        let metadata = world.running(place).store().metadata();
        if metadata.link(&name, &digest).await.unwrap().is_none() {
            let what = format!("{site} told of {repository} {tag:?} {digest}, which is not there");
            world.truth.broken("I10", what);
        }
    }
}

fn told(event: &Value) -> Told {
    let target = &event["target"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&event["regmesh"]["node"]),
        text(&target["repository"]),
        target["tag"].as_str().map(str::to_owned),
        text(&target["digest"]),
    )
}
