//! One node with one rule: `mirror/*` is filled from `library/*` of the scripted registry `origin`, `other/*` from `secret/*`
//! of `vault`.

use std::{future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt;
use runtime::{Clock, Tasks};
use serde_json::{Value, json};
use topology::model::rule::{
    Authentication, Check, Freshness, Platforms, Referrers, Rule, Source, UpstreamRef, WhenGone,
};
use wire::{
    digest::Digest,
    event::Action,
    hops::Hops,
    media_type::{OCI_INDEX, OCI_MANIFEST},
    range::ByteRange,
    reference::Reference,
    repository::RepositoryName,
    route::ContentVerb,
};

use crate::{
    copy,
    event::{Recorder, Subscription},
    fill,
    registry::{BlobAnswer, BlobBody, Config, Error, ManifestAnswer, Registry},
    request::Request,
    rule::{ActiveRule, RuleState, Rules, recalls::Recalls},
    store::{
        self, Store,
        blob::Content,
        metadata::{Op, TagRecord, memory::Memory},
    },
    upstream::scripted::Scripted,
};

/// A node and its upstreams.
pub(super) struct Rig {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) metadata: Arc<Memory>,
    pub(super) origin: Arc<Scripted>,
    pub(super) vault: Arc<Scripted>,
    pub(super) registry: Registry,
    pub(super) rules: Arc<ArcSwap<Rules>>,
    pub(super) recalls: Recalls,
    events: Recorder,
    _tasks: Tasks,
}

/// An image with one layer, of these names.
pub(super) struct Image {
    pub(super) manifest: String,
    pub(super) digest: Digest,
    pub(super) layer: Digest,
}

impl Rig {
    /// With a rule as the topology makes it when nothing is said.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a changed rule. Jobs are recorded and nobody works on them: every upstream call is the verbs' own.
    pub(super) fn with(change: impl Fn(&mut Rule)) -> Self {
        Self::build(change, 0)
    }

    /// With copies that are carried out.
    pub(super) fn copying() -> Self {
        Self::build(|_| {}, 4)
    }

    fn build(change: impl Fn(&mut Rule), workers: usize) -> Self {
        let clock = Clock::manual(1_763_640_000_000);
        let (origin, vault) = (Scripted::new("origin"), Scripted::new("vault"));
        let active = |name, target, source, upstream: &Arc<Scripted>| ActiveRule {
            rule: Arc::new(rule(name, target, source, &change)),
            upstream: Arc::clone(upstream) as Arc<dyn crate::upstream::Upstream>,
            state: Arc::new(RuleState::default()),
        };
        let rules = Rules::new(vec![
            active("mirror", "mirror/*", "library/*", &origin),
            active("other", "other/*", "secret/*", &vault),
        ]);
        let rules = Arc::new(ArcSwap::from_pointee(rules));
        let tasks = Tasks::new("test");
        let metadata = Arc::new(Memory::new());
        let blobs = Arc::new(store::blob::memory::Memory::new(clock.clone()));
        let store = store::over(blobs, Arc::<Memory>::clone(&metadata), clock.clone());
        let (mesh, node) = ("contoso", "prod");
        let events = Recorder::new(mesh.parse().unwrap(), node.parse().unwrap(), clock.clone());
        let fills = fill::Config::default().build(store.clone(), clock.clone(), &tasks);
        let copies = copy::Config {
            workers,
            ..copy::Config::default()
        };
        let copies = copies.build(
            store.clone(),
            fills.clone(),
            Arc::clone(&rules),
            events.clone(),
            clock.clone(),
            &tasks,
        );
        let recalls = Recalls::default();
        let config = Config {
            mesh: mesh.parse().unwrap(),
            node: node.parse().unwrap(),
            negative: crate::registry::remembered::ABSENT_FOR,
            recalls: recalls.clone(),
        };
        let registry = config.build(
            store.clone(),
            fills,
            copies,
            Arc::clone(&rules),
            events.clone(),
            clock.clone(),
            &tasks,
        );
        Self {
            clock,
            store,
            metadata,
            origin,
            vault,
            registry,
            rules,
            events,
            recalls,
            _tasks: tasks,
        }
    }

    /// The origin has this image under `library/app:TAG`.
    pub(super) fn publish(&self, tag: &str, name: &str) -> Image {
        publish(&self.origin, "library/app", Some(tag), name)
    }

    pub(super) async fn get(&self, reference: &str) -> Result<ManifestAnswer, Error> {
        self.ask("mirror/app", reference, ContentVerb::Get, &request())
            .await
    }

    pub(super) async fn head(&self, reference: &str) -> Result<ManifestAnswer, Error> {
        self.ask("mirror/app", reference, ContentVerb::Head, &request())
            .await
    }

    pub(super) async fn ask(
        &self,
        repository: &str,
        reference: &str,
        verb: ContentVerb,
        request: &Request,
    ) -> Result<ManifestAnswer, Error> {
        let reference: Reference = reference.parse().unwrap();
        let answer = self
            .registry
            .manifest(&name(repository), &reference, verb, request)
            .await;
        if let Ok(answer) = &answer {
            let bytes = answer.bytes.as_ref();
            assert!(
                bytes.is_none_or(|bytes| Digest::sha256(bytes) == answer.digest),
                "I1"
            );
        }
        answer
    }

    pub(super) async fn blob(
        &self,
        repository: &str,
        digest: &Digest,
        range: Option<&str>,
    ) -> Result<BlobAnswer, Error> {
        let range = range.map(|range| ByteRange::parse(range).unwrap());
        let get = ContentVerb::Get;
        self.registry
            .blob(&name(repository), digest, get, range, &request())
            .await
    }

    pub(super) async fn tag(&self, tag: &str) -> Option<TagRecord> {
        let metadata = self.store.metadata();
        metadata
            .tag(&name("mirror/app"), &tag.parse().unwrap())
            .await
            .unwrap()
    }

    /// What a finished copy says of a tag: its current version is complete.
    pub(super) async fn complete(&self, tag: &str) {
        let record = self.tag(tag).await.unwrap();
        let op = Op::Completed(record.repository, record.tag, record.current);
        self.store.metadata().commit(vec![op]).await.unwrap();
    }

    /// A new slice with the same rules, none of them in force.
    pub(super) fn switch_off(&self) {
        self.rules_anew(false);
    }

    /// A new slice with the same rules.
    pub(super) fn same_rules_anew(&self) {
        self.rules_anew(true);
    }

    fn rules_anew(&self, enabled: bool) {
        let rules = self.rules.load_full();
        let anew = rules.iter().map(|active| ActiveRule {
            rule: Arc::new(Rule {
                enabled,
                ..Rule::clone(&active.rule)
            }),
            upstream: Arc::clone(&active.upstream),
            state: Arc::clone(&active.state),
        });
        self.rules.store(Arc::new(Rules::new(anew.collect())));
    }

    /// A webhook that wants these actions of every repository.
    pub(super) fn subscribe(&self, actions: &[Action]) {
        self.events.subscribe(vec![Subscription {
            webhook: "hook".parse().unwrap(),
            actions: actions.to_vec(),
            scope: "".parse().unwrap(),
        }]);
    }

    /// What is recorded for it, in order: action and tag.
    pub(super) async fn events(&self) -> Vec<String> {
        let bodies = self.bodies().await;
        let told = bodies.iter().map(|body| {
            let tag = body["target"]["tag"].as_str().unwrap_or("-");
            format!("{} {tag}", body["action"].as_str().unwrap())
        });
        told.collect()
    }

    /// What a webhook is told of each of them.
    pub(super) async fn bodies(&self) -> Vec<Value> {
        let metadata = self.store.metadata();
        let pending = metadata
            .pending_events(&"hook".parse().unwrap(), 100)
            .await
            .unwrap();
        let bodies = pending.iter();
        bodies
            .map(|(event, _)| serde_json::from_slice(&event.body).unwrap())
            .collect()
    }

    /// Waits until so many events are recorded.
    pub(super) async fn told(&self, events: usize) -> Vec<String> {
        soon(async {
            while self.events().await.len() < events {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.events().await
    }

    /// What is known of the rule for `mirror/*`.
    pub(super) fn facts(&self) -> crate::rule::status::Facts {
        let rules = self.rules.load();
        let mirror = rules.get(&"mirror".parse().unwrap());
        mirror.unwrap().state.facts()
    }

    pub(super) fn later(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

fn rule(name: &str, target: &str, source: &str, change: impl Fn(&mut Rule)) -> Rule {
    let mut rule = Rule {
        name: name.parse().unwrap(),
        source: Source {
            upstream: UpstreamRef::Host("registry.example".into()),
            repositories: source.parse().unwrap(),
        },
        target: target.parse().unwrap(),
        authentication: Authentication::Anonymous,
        freshness: Freshness::default(),
        when_gone: WhenGone::default(),
        platforms: Platforms::default(),
        referrers: Referrers::default(),
        origins: [].into(),
        enabled: true,
    };
    change(&mut rule);
    rule
}

pub(super) fn check_after(secs: u64) -> impl Fn(&mut Rule) {
    move |rule| rule.freshness.check = Check::After(Duration::from_secs(secs))
}

pub(super) fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

pub(super) fn request() -> Request {
    Request {
        info: Arc::default(),
        trace: runtime::telemetry::TraceContext::fresh(),
        hops: Hops::default(),
        no_cache: false,
        only_stored: false,
        began: None,
    }
}

pub(super) fn forced() -> Request {
    Request {
        no_cache: true,
        ..request()
    }
}

/// Puts an image with its blobs into a scripted registry.
pub(super) fn publish(
    upstream: &Scripted,
    repository: &str,
    tag: Option<&str>,
    name: &str,
) -> Image {
    let image = image(name);
    upstream.blob(repository, config_of(name));
    upstream.blob(repository, layer_of(name));
    upstream.manifest(repository, tag, OCI_MANIFEST, image.manifest.clone());
    image
}

pub(super) fn config_of(name: &str) -> String {
    format!("{{\"config\":\"{name}\"}}")
}

pub(super) fn layer_of(name: &str) -> String {
    format!("layer of {name}")
}

pub(super) fn image(name: &str) -> Image {
    let (config, layer) = (config_of(name), layer_of(name));
    let descriptor = |media_type: &str, content: &str| json!({"mediaType": media_type, "size": content.len(), "digest": Digest::sha256(content.as_bytes())});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    })
    .to_string();
    Image {
        digest: Digest::sha256(manifest.as_bytes()),
        layer: Digest::sha256(layer.as_bytes()),
        manifest,
    }
}

/// An index that lists these images by platform.
pub(super) fn index(images: &[(&str, &Image)]) -> String {
    let manifests: Vec<_> = images
        .iter()
        .map(|(platform, image)| {
            let (os, architecture) = platform.split_once('/').unwrap();
            json!({
                "mediaType": OCI_MANIFEST, "size": image.manifest.len(), "digest": image.digest,
                "platform": {"os": os, "architecture": architecture},
            })
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).to_string()
}

/// The bytes that a blob's answer sends.
pub(super) async fn read(answer: &BlobAnswer) -> Bytes {
    let range = answer.range();
    match &answer.body {
        BlobBody::None => Bytes::new(),
        BlobBody::Stored(Content::Memory(bytes)) => {
            let bounds = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            bytes.slice(bounds)
        }
        BlobBody::Stored(Content::File(file, _)) => {
            let mut buffer = vec![0; usize::try_from(range.end - range.start).unwrap()];
            let read = file.read_at(&mut buffer, range.start).unwrap();
            assert_eq!(read, buffer.len());
            buffer.into()
        }
        BlobBody::Filling(fill) => {
            let chunks: Vec<_> = fill
                .read(range)
                .map(|chunk| chunk.expect("a whole body"))
                .collect()
                .await;
            chunks.concat().into()
        }
    }
}

/// Waits until `condition` holds, for as long as no test should take.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    soon(met).await;
}

/// What `work` comes to, which must not take long.
pub(super) async fn soon<T>(work: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(Duration::from_secs(20), Box::pin(work)).await;
    ended.expect("it hangs")
}

/// Waits for a fill to be durable.
pub(super) async fn settled(answer: &BlobAnswer) {
    if let BlobBody::Filling(fill) = &answer.body {
        fill.stored().await.expect("stored");
    }
}
