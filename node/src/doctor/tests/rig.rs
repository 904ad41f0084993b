//! A healthy node to break: two rules, `mirror/*` from the registry `origin.example` with a credential set and `golden/*` from node `dev`,
//! one image stored and complete under each, and a webhook whose receiver listens.

use std::{net::TcpListener, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::json;
use topology::model::Rule;
use wire::{
    api::doctor::Outcome,
    digest::Digest,
    media_type::{OCI_INDEX, OCI_MANIFEST},
};

use super::super::*;
use crate::{
    copy::{self, describe},
    event::Recorder,
    fill::{self, world::Disk},
    rule::RuleState,
    store::{
        blob::Blobs,
        metadata::{
            BlobRecord, Job, JobId, Link, LinkKind, Op, Origin, TagRecord, memory::Memory,
            record::RequestInfo,
        },
    },
    upstream::scripted::Scripted,
};

pub(super) const NOW: i64 = 1_800_000_000_000;

pub(super) struct Rig {
    pub(super) patient: Patient,
    pub(super) clock: Clock,
    pub(super) disk: Arc<Disk>,
    pub(super) origin: Arc<Scripted>,
    pub(super) dev: Arc<Scripted>,
    /// Where the password is.
    pub(super) password: PathBuf,
    /// The webhook's receiver; gone when dropped.
    pub(super) receiver: Option<TcpListener>,
    /// Of `mirror/app:1`.
    pub(super) image: Digest,
    pub(super) layer: Digest,
    _directory: tempfile::TempDir,
}

impl Rig {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let password = directory.path().join("password");
        std::fs::write(&password, "secret").unwrap();
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let hook = receiver.local_addr().unwrap();
        let topology = topology(&password.display().to_string(), &hook.to_string());
        let clock = Clock::manual(NOW);
        let disk = Arc::new(Disk::new(&clock));
        let blobs = Arc::clone(&disk) as Arc<dyn Blobs>;
        let store = store::over(blobs, Arc::new(Memory::new()), clock.clone());
        let (origin, dev) = (Scripted::new("origin.example"), Scripted::new("dev"));
        let own = &topology.node(&"prod".parse().unwrap()).unwrap().rules;
        let rules = Arc::new(Rules::new(
            own.iter().map(|rule| active(rule, &origin, &dev)).collect(),
        ));
        let patient = patient(store, rules, Arc::new(topology), &clock);
        let mut rig = Self {
            patient,
            clock,
            disk,
            origin,
            dev,
            password,
            receiver: Some(receiver),
            image: Digest::sha256(b""),
            layer: Digest::sha256(b""),
            _directory: directory,
        };
        rig.hold("golden/base", &Arc::clone(&rig.dev), "golden/base")
            .await;
        (rig.image, rig.layer) = rig
            .hold("mirror/app", &Arc::clone(&rig.origin), "library/app")
            .await;
        rig
    }

    /// The image is at the upstream and complete here, as tag `1`.
    async fn hold(&self, here: &str, upstream: &Scripted, there: &str) -> (Digest, Digest) {
        let (config, layer) = (format!("config of {here}"), format!("layer of {here}"));
        let part = |text: &str| json!({"mediaType": "a/b", "size": text.len(), "digest": Digest::sha256(text.as_bytes())});
        let bytes = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": part(&config), "layers": [part(&layer)],
        });
        let bytes = Bytes::from(bytes.to_string());
        let digest = upstream.manifest(there, Some("1"), OCI_MANIFEST, bytes.clone());
        let record = describe::describe(&digest, &bytes, Some(OCI_MANIFEST)).unwrap();
        let now = WallTime(NOW);
        let (version, rule) = (describe::version(&record), here.split('/').next().unwrap());
        let origin = Origin::Filled(rule.parse().unwrap());
        let mut ops = vec![Op::PutManifest(Arc::new(record))];
        for (content, kind) in [
            (bytes, LinkKind::Manifest),
            (config.into(), LinkKind::Blob),
            (layer.clone().into(), LinkKind::Blob),
        ] {
            let content: Bytes = content;
            let digest = Digest::sha256(&content);
            fill::keep::keep(&self.patient.store, &digest, content.clone())
                .await
                .unwrap();
            ops.push(Op::PutBlob(BlobRecord {
                digest: digest.clone(),
                size: content.len() as u64,
                stored_at: now,
                verified_at: now,
            }));
            ops.push(Op::PutLink(Link {
                repository: here.parse().unwrap(),
                digest,
                kind,
                complete: true,
                origin: origin.clone(),
                created_at: now,
                used_at: now,
            }));
        }
        ops.push(Op::PutTag(TagRecord {
            repository: here.parse().unwrap(),
            tag: "1".parse().unwrap(),
            complete: Some(version.clone()),
            current: version,
            checked_at: now,
            observed_at: now,
            origin,
        }));
        self.commit(ops).await;
        (digest, Digest::sha256(layer.as_bytes()))
    }

    pub(super) async fn commit(&self, ops: Vec<Op>) {
        self.patient.store.metadata().commit(ops).await.unwrap();
    }

    pub(super) fn state(&self, rule: &str) -> Arc<RuleState> {
        let rule = self.patient.rules.get(&rule.parse().unwrap()).unwrap();
        Arc::clone(&rule.state)
    }

    /// The same node with its rules changed.
    pub(super) fn change(&mut self, change: impl Fn(&mut Rule)) {
        let changed = self.patient.rules.iter().map(|active| {
            let mut rule = Rule::clone(&active.rule);
            change(&mut rule);
            ActiveRule {
                rule: Arc::new(rule),
                upstream: Arc::clone(&active.upstream),
                state: Arc::clone(&active.state),
            }
        });
        self.patient.rules = Arc::new(Rules::new(changed.collect()));
    }

    /// A copy job of `mirror/app:1`.
    pub(super) fn job(&self) -> Job {
        Job {
            id: JobId(uuid::Uuid::now_v7()),
            repository: "mirror/app".parse().unwrap(),
            rule: "mirror".parse().unwrap(),
            root: self.image.clone(),
            tags: Vec::new(),
            platform: None,
            attempts: 0,
            due_at: WallTime(NOW),
            created_at: WallTime(NOW),
            last_error: None,
            missing: Vec::new(),
            request: RequestInfo::default(),
        }
    }

    /// What a signature's list at the origin says refers to the image.
    pub(super) fn sign(&self, signature: &Digest) {
        let entry = json!({"mediaType": OCI_MANIFEST, "size": 2, "digest": signature});
        let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
        self.origin
            .refer("library/app", &self.image, list.to_string());
    }

    pub(super) async fn all(&self) -> Vec<Check> {
        examine(&self.patient, &[]).await
    }

    /// The one thing that is wrong by this check: outcome, and text and fix together.
    pub(super) async fn wrong(&self, id: CheckId) -> (Outcome, String) {
        let checks = examine(&self.patient, &[id]).await;
        let wrong: Vec<_> = checks
            .iter()
            .filter(|c| c.outcome > Outcome::Skipped)
            .collect();
        assert_eq!(wrong.len(), 1, "{checks:#?}");
        assert_eq!(wrong[0].id, id);
        let fix = wrong[0].fix.as_deref().expect("advice");
        (wrong[0].outcome, format!("{} => {fix}", wrong[0].text))
    }

    /// That this check fails or warns, with these words in what it says and advises; and that no other check does.
    pub(super) async fn expect(&self, id: CheckId, outcome: Outcome, words: &[&str]) {
        let (found, told) = self.wrong(id).await;
        assert_eq!(found, outcome, "{told}");
        for word in words {
            assert!(told.contains(word), "no '{word}' in: {told}");
        }
    }

    /// Every check that is not well.
    pub(super) async fn unwell(&self) -> Vec<CheckId> {
        let checks = self.all().await;
        let wrong = checks.iter().filter(|c| c.outcome > Outcome::Skipped);
        wrong.map(|check| check.id).collect()
    }
}

fn active(rule: &Arc<Rule>, origin: &Arc<Scripted>, dev: &Arc<Scripted>) -> ActiveRule {
    let upstream = if rule.name.as_str() == "golden" {
        dev
    } else {
        origin
    };
    ActiveRule {
        rule: Arc::clone(rule),
        upstream: Arc::clone(upstream) as Arc<dyn crate::upstream::Upstream>,
        state: Arc::new(RuleState::default()),
    }
}

fn patient(store: Store, rules: Arc<Rules>, topology: Arc<Topology>, clock: &Clock) -> Patient {
    let (node, tasks): (NodeName, _) = ("prod".parse().unwrap(), Tasks::new("test"));
    let events = Recorder::new("contoso".parse().unwrap(), node.clone(), clock.clone());
    let fills = fill::Config::default().build(store.clone(), clock.clone(), &tasks);
    let idle = copy::Config {
        workers: 0,
        ..copy::Config::default()
    };
    let in_force = Arc::new(ArcSwap::new(Arc::clone(&rules)));
    let copies = idle.build(
        store.clone(),
        fills,
        in_force,
        events,
        clock.clone(),
        &tasks,
    );
    Patient {
        node,
        store,
        rules,
        topology,
        secrets: Secrets::new(|name| (name == "HUB_USER").then(|| "robot".to_owned())),
        credentials: None,
        copies,
        remaining: Arc::new(|_| None),
        clock: clock.clone(),
        tasks,
    }
}

fn topology(password: &str, hook: &str) -> Topology {
    let text = format!(
        r#"
version: 1
mesh: contoso
nodes:
  dev: {{endpoint: "http://127.0.0.1:7001"}}
  prod: {{endpoint: "http://127.0.0.1:7002", parent: dev}}
identities:
  promoter: {{kind: managed, on: [prod]}}
credentials:
  hub: {{loginServer: origin.example, username: {{env: HUB_USER}}, password: {{file: "{password}"}}}}
rules:
  mirror: {{on: prod, source: origin.example/library/*, target: mirror/*, credentials: hub}}
  golden: {{on: prod, source: node://dev/golden/*, target: golden/*, identity: promoter}}
access:
  - {{allow: repository-reader, to: "identity:promoter", on: dev, repositories: ["golden/*"]}}
webhooks:
  gate: {{on: prod, url: "http://{hook}/", actions: [push]}}
"#
    );
    let loaded = topology::load(&[("rig.yaml".to_owned(), text)]);
    loaded
        .map_err(|problems| format!("{problems:#?}"))
        .unwrap()
        .topology
}
