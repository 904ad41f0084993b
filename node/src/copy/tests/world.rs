//! A node's copies without a registry: images at the upstream, pulls as the registry records them, the events they caused.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use runtime::Backoff;
use serde_json::{Value, json};
use topology::model::rule::{Platforms, Referrers};
use wire::{
    digest::Digest,
    event::{Action, EventScope},
    media_type::{OCI_INDEX, OCI_MANIFEST},
    reference::{Reference, Tag},
    repository::RepositoryName,
    time::WallTime,
};

use crate::{
    copy::{Arrival, Config, Copies, Observed, describe::describe},
    event::{Recorder, Subscription},
    fill::world::{World, app, config, request, source, within},
    rule::{ActiveRule, Rules},
    store::metadata::{Job, ManifestRecord, TagRecord},
    upstream::Upstream,
};

pub(super) struct Node {
    pub(super) world: World,
    pub(super) copies: Copies,
    pub(super) rules: Arc<ArcSwap<Rules>>,
    pub(super) recorder: Recorder,
}

impl Node {
    pub(super) fn new() -> Self {
        Self::with(Platforms::Requested, Referrers::OnDemand)
    }

    pub(super) fn with(platforms: Platforms, referrers: Referrers) -> Self {
        Self::over(World::with(config(), platforms, referrers))
    }

    /// With a `storage.maxSize`.
    pub(super) fn limited(max_size: u64) -> Self {
        Self::over(World::limited(max_size))
    }

    fn over(world: World) -> Self {
        let recorder = Recorder::new(
            "mesh".parse().unwrap(),
            "node".parse().unwrap(),
            world.clock.clone(),
        );
        let actions = vec![Action::Push, Action::CopyFailed];
        recorder.subscribe(vec![Subscription {
            webhook: "all".parse().unwrap(),
            actions,
            scope: EventScope::All,
        }]);
        let rules = Arc::new(ArcSwap::from_pointee(Rules::new(vec![again(
            &world.active,
        )])));
        let copies = build(&world, &rules, &recorder);
        Self {
            world,
            copies,
            rules,
            recorder,
        }
    }

    /// The same store in another process.
    pub(super) async fn restart(&mut self) {
        self.world.restart().await;
        self.copies = build(&self.world, &self.rules, &self.recorder);
    }

    /// An image at the upstream, in `team/app` and `team/other`, whose layers have these contents.
    pub(super) fn image(&self, name: &str, layers: &[&[u8]]) -> Digest {
        self.push(name, layers, None)
    }

    pub(super) fn push(&self, name: &str, layers: &[&[u8]], subject: Option<&Digest>) -> Digest {
        let blob = |bytes: &[u8]| {
            self.world
                .upstream
                .blob("team/other", Bytes::copy_from_slice(bytes));
            let digest = self
                .world
                .upstream
                .blob("team/app", Bytes::copy_from_slice(bytes));
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": bytes.len()})
        };
        let layers: Vec<Value> = layers.iter().map(|layer| blob(layer)).collect();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blob(name.as_bytes()), "layers": layers,
        });
        if let Some(subject) = subject {
            manifest["subject"] = json!({"mediaType": OCI_MANIFEST, "digest": subject, "size": 1});
        }
        self.world
            .upstream
            .manifest("team/other", None, OCI_MANIFEST, manifest.to_string());
        self.world
            .upstream
            .manifest("team/app", None, OCI_MANIFEST, manifest.to_string())
    }

    pub(super) fn index(&self, children: &[(&Digest, &str)]) -> Digest {
        let children: Vec<Value> = children
            .iter()
            .map(|(digest, platform)| {
                let (os, architecture) = platform.split_once('/').unwrap();
                let media_type = if os == "index" {
                    OCI_INDEX
                } else {
                    OCI_MANIFEST
                };
                let mut child = json!({"mediaType": media_type, "digest": digest, "size": 1});
                if os != "index" {
                    child["platform"] = json!({"os": os, "architecture": architecture});
                }
                child
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
        self.world
            .upstream
            .manifest("team/other", None, OCI_INDEX, index.to_string());
        self.world
            .upstream
            .manifest("team/app", None, OCI_INDEX, index.to_string())
    }

    pub(super) fn tag(&self, tag: &str, digest: &Digest) {
        self.world.upstream.tag("team/app", tag, digest);
    }

    /// What the registry does when a client pulls from the upstream.
    pub(super) async fn pull(&self, reference: &str) -> Digest {
        self.pull_into(&app(), reference).await
    }

    pub(super) async fn pull_into(&self, repository: &RepositoryName, reference: &str) -> Digest {
        let arrival = self.arrival(repository, reference).await;
        let digest = arrival.manifest.digest.clone();
        self.copies.record(arrival).await.unwrap();
        digest
    }

    /// What a pull finds at the upstream.
    pub(super) async fn arrival(&self, repository: &RepositoryName, reference: &str) -> Arrival {
        let reference: Reference = reference.parse().unwrap();
        let body = self
            .world
            .upstream
            .get_manifest(&source(), &reference, &request())
            .await
            .unwrap();
        let manifest =
            describe(&body.head.digest, &body.bytes, Some(&body.head.media_type)).unwrap();
        let now = WallTime(self.world.clock.wall_ms());
        let tag = match reference {
            Reference::Tag(tag) => Some(Observed {
                tag,
                checked_at: now,
                observed_at: now,
            }),
            Reference::Digest(_) => None,
        };
        Arrival {
            repository: repository.clone(),
            active: Arc::clone(&self.world.active),
            bytes: body.bytes,
            manifest: Arc::new(manifest),
            tag,
            platform: None,
            request: request(),
        }
    }

    /// Waits until `done`, nudging: delays are the table test's affair.
    pub(super) async fn until(&self, done: impl AsyncFn() -> bool) {
        within(async {
            while !done().await {
                self.copies.nudge();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// Waits until there is no job left, and no complete manifest that lacks something at any moment before.
    pub(super) async fn settle(&self) {
        self.until(async || {
            self.check_closures().await;
            self.jobs().await.is_empty()
        })
        .await;
        self.check_closures().await;
        self.until(async || self.copies.queue_length() == 0).await;
    }

    /// I3: what is complete has everything it needs.
    async fn check_closures(&self) {
        let metadata = self.world.store.metadata();
        for record in self.manifests().await {
            let link = metadata.link(&app(), &record.digest).await.unwrap();
            if !link.is_some_and(|link| link.complete) {
                continue;
            }
            let blobs = record
                .children
                .iter()
                .filter(|c| c.kind != crate::store::metadata::ChildKind::Manifest && !c.foreign);
            for blob in blobs {
                assert!(
                    metadata.link(&app(), &blob.digest).await.unwrap().is_some(),
                    "{} lacks {}",
                    record.digest,
                    blob.digest
                );
                assert!(metadata.blob(&blob.digest).await.unwrap().is_some());
            }
        }
    }

    async fn manifests(&self) -> Vec<Arc<ManifestRecord>> {
        let mut found = Vec::new();
        for blob in self
            .world
            .store
            .metadata()
            .least_verified(1000)
            .await
            .unwrap()
        {
            found.extend(
                self.world
                    .store
                    .metadata()
                    .manifest(&blob.digest)
                    .await
                    .unwrap(),
            );
        }
        found
    }

    pub(super) async fn jobs(&self) -> Vec<Job> {
        self.world.store.metadata().jobs(100).await.unwrap()
    }

    pub(super) async fn is_complete(&self, digest: &Digest) -> bool {
        let link = self
            .world
            .store
            .metadata()
            .link(&app(), digest)
            .await
            .unwrap();
        link.is_some_and(|link| link.complete)
    }

    pub(super) async fn tag_record(&self, tag: &str) -> TagRecord {
        let tag: Tag = tag.parse().unwrap();
        self.world
            .store
            .metadata()
            .tag(&app(), &tag)
            .await
            .unwrap()
            .unwrap()
    }

    /// Which version of the tag is served without an upstream.
    pub(super) async fn served(&self, tag: &str) -> Option<Digest> {
        self.tag_record(tag)
            .await
            .complete
            .map(|version| version.digest)
    }

    /// All events so far, as `action digest tag platform`, sorted.
    pub(super) async fn events(&self) -> Vec<(String, String, String, String)> {
        let pending = self
            .world
            .store
            .metadata()
            .pending_events(&"all".parse().unwrap(), 1000)
            .await
            .unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut events: Vec<_> = pending
            .iter()
            .map(|(event, _)| {
                let body: Value = serde_json::from_slice(&event.body).unwrap();
                let (target, origin) = (&body["target"], &body["regmesh"]);
                (
                    text(&body["action"]),
                    text(&target["digest"]),
                    text(&target["tag"]),
                    text(&origin["platform"]),
                )
            })
            .collect();
        events.sort();
        events
    }
}

/// The same rule for another table: its state is shared.
pub(super) fn again(active: &ActiveRule) -> ActiveRule {
    ActiveRule {
        rule: Arc::clone(&active.rule),
        upstream: Arc::clone(&active.upstream),
        state: Arc::clone(&active.state),
    }
}

fn build(world: &World, rules: &Arc<ArcSwap<Rules>>, recorder: &Recorder) -> Copies {
    let backoff = Backoff {
        base: Duration::from_millis(1),
        max: Duration::from_millis(5),
    };
    let config = Config {
        backoff,
        ..Config::default()
    };
    config.build(
        world.store.clone(),
        world.fills.clone(),
        Arc::clone(rules),
        recorder.clone(),
        world.clock.clone(),
        &world.tasks,
    )
}
