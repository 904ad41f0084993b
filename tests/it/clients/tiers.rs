//! Three tiers from one file, with Debian's registry above them: the mesh that the issue's closing note runs by hand.
//!
//! Anonymous readers at the leaf, credential sets by files between the tiers, a webhook at the leaf, pushes below `own/` for the
//! account `ci`. The nodes run as `regmesh up`, or as three processes so that two of them can be killed.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use tests::eventually::eventually;
use tests::peer::{DockerRegistry, Skopeo};
use tests::process::free_port;
use tests::{Client, Hook, Image, Regmesh, canary};

use crate::PROGRAM;

pub const NODES: [&str; 3] = ["hub", "region", "leaf"];

pub struct Tiers {
    pub origin: DockerRegistry,
    pub hook: Hook,
    running: Vec<Regmesh>,
    hosts: [String; 3],
    dir: TempDir,
}

impl Tiers {
    /// By `regmesh up`.
    pub async fn start() -> Self {
        let mut tiers = Self::prepare().await;
        let (file, data) = (tiers.file(), tiers.data());
        let up = Regmesh::up(PROGRAM, &file, &data, &[]).await.unwrap();
        tiers.running.push(up);
        tiers
    }

    /// As three processes, the hub first.
    pub async fn start_apart() -> Self {
        let mut tiers = Self::prepare().await;
        for name in NODES {
            let node = tiers.start_one(name).await;
            tiers.running.push(node);
        }
        tiers
    }

    async fn start_one(&self, name: &str) -> Regmesh {
        let at = NODES.iter().position(|node| *node == name).unwrap();
        let data = self.data().join(name);
        Regmesh::node(PROGRAM, &self.file(), name, &self.hosts[at], &data)
            .await
            .unwrap()
    }

    async fn prepare() -> Self {
        let tiers = Self {
            origin: DockerRegistry::start().await.unwrap(),
            hook: Hook::start().await,
            running: Vec::new(),
            hosts: NODES.map(|_| format!("127.0.0.1:{}", free_port())),
            dir: tempfile::tempdir().unwrap(),
        };
        for name in ["region", "leaf", "ci"] {
            fs::write(tiers.secret(name), canary::secret(name)).unwrap();
            fs::write(tiers.secret(&format!("{name}.user")), name).unwrap();
        }
        fs::write(tiers.file(), tiers.document()).unwrap();
        tiers
    }

    fn document(&self) -> String {
        let [hub, region, leaf] = &self.hosts;
        let file = |name: &str| format!("{{file: \"{}\"}}", self.secret(name).display());
        let credentials = |name: &str, host: &str| {
            let (user, password) = (file(&format!("{name}.user")), file(name));
            format!("{{loginServer: \"{host}\", username: {user}, password: {password}}}")
        };
        format!(
            r#"version: 1
mesh: clients
nodes:
  hub: {{endpoint: "http://{hub}"}}
  region: {{endpoint: "http://{region}", parent: hub}}
  leaf: {{endpoint: "http://{leaf}", parent: region}}
credentials:
  to-hub: {to_hub}
  to-region: {to_region}
accounts:
  region: {{password: {region_password}}}
  leaf: {{password: {leaf_password}}}
  ci: {{password: {ci_password}}}
rules:
  hub: {{on: hub, source: "{origin}/*", target: "up/*"}}
  region: {{on: region, source: "parent://up/*", target: "up/*", credentials: to-hub}}
  leaf: {{on: leaf, source: "parent://up/*", target: "up/*", credentials: to-region}}
access:
  - {{allow: repository-reader, to: "account:region", on: hub, repositories: ["up/*"]}}
  - {{allow: repository-reader, to: "account:leaf", on: region, repositories: ["up/*"]}}
  - {{allow: repository-reader, to: anonymous, on: leaf, repositories: ["up/*"]}}
  - {{allow: repository-reader, to: "account:ci", on: leaf}}
  - {{allow: repository-writer, to: "account:ci", on: leaf, repositories: ["own/*"]}}
webhooks:
  hook: {{on: leaf, url: "{hook}", actions: [push]}}
"#,
            to_hub = credentials("region", hub),
            to_region = credentials("leaf", region),
            region_password = file("region"),
            leaf_password = file("leaf"),
            ci_password = file("ci"),
            origin = self.origin.host(),
            hook = self.hook.url(),
        )
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("mesh.yaml")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn secret(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `127.0.0.1:PORT` of the leaf.
    pub fn leaf_host(&self) -> &str {
        &self.hosts[2]
    }

    pub fn leaf_url(&self) -> String {
        format!("http://{}", self.leaf_host())
    }

    pub fn origin_host(&self) -> String {
        self.origin.host()
    }

    /// A reference at the origin, as the leaf has it.
    pub fn at_leaf(&self, rest: &str) -> String {
        format!("{}/up/{rest}", self.leaf_host())
    }

    /// Pushes all platforms to `REPO:TAG` of the origin, by skopeo.
    pub async fn push_at_origin(&self, image: &Image, rest: &str) {
        let reference = format!("{}/{rest}", self.origin.host());
        let skopeo = Skopeo::new().unwrap();
        skopeo.push(image, &reference).await.unwrap();
    }

    /// The origin gave each blob of the platform that was pulled once, and none of the other.
    pub fn assert_one_get_per_blob(&self, image: &Image, when: &str) {
        for (architecture, wanted) in [("amd64", 1), ("arm64", 0)] {
            for blob in image.blobs_of(architecture) {
                let asked = self.origin.asked(&format!("GET /v2/team/app/blobs/{blob}"));
                assert_eq!(
                    asked,
                    wanted,
                    "{when}, {architecture}, {blob}: {:#?}",
                    self.origin.access_log()
                );
            }
        }
    }

    /// Waits until every node has copied everything.
    pub async fn copied(&self) {
        for name in NODES {
            let running = match &self.running[..] {
                [all] => all,
                each => &each[NODES.iter().position(|node| *node == name).unwrap()],
            };
            running.copied(name).await;
        }
    }

    pub async fn end(&mut self) {
        for running in std::mem::take(&mut self.running) {
            running.end().await;
        }
    }

    /// Ends everything once it is copied, and starts the leaf alone.
    pub async fn only_the_leaf_remains(&mut self) {
        self.copied().await;
        self.end().await;
        self.origin.stop().await;
        let leaf = self.start_one("leaf").await;
        self.running.push(leaf);
    }

    /// Of three processes: kills hub, region and the origin.
    pub async fn kill_above_the_leaf(&mut self) {
        let leaf = self.running.pop().expect("three processes");
        for running in std::mem::take(&mut self.running) {
            running.kill().await;
        }
        self.origin.stop().await;
        self.running.push(leaf);
    }

    /// The tag is served with `Warning` and `Age`, the digest without a warning.
    pub async fn assert_stale(&self, image: &Image) {
        let client = Client::new(self.leaf_url());
        let by_tag = client.get_manifest("up/team/app", "1").await.unwrap();
        assert_eq!(by_tag.verified().unwrap(), image.digest);
        let warning = by_tag.header("warning").unwrap_or_default();
        assert!(warning.starts_with("299 "), "{by_tag:?}");
        let age = by_tag.header("age").and_then(|age| age.parse::<u64>().ok());
        assert!(age.is_some(), "{by_tag:?}");
        let pulled = client
            .pull("up/team/app", &image.digest, "amd64")
            .await
            .unwrap();
        assert!(!pulled.headers.contains_key("warning"), "{pulled:?}");
    }

    /// Waits until the leaf has told of this many pushes by clients, and gives them.
    pub async fn client_pushes(&self, at_least: usize) -> Vec<serde_json::Value> {
        eventually("the pushes are told", || {
            let mut told = self.hook.of_action("push");
            told.retain(|event| event["regmesh"]["cause"] == "client");
            if told.len() < at_least {
                Err(told)
            } else {
                Ok(told)
            }
        })
        .await
    }
}
