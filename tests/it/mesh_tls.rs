//! Nodes that have joined a control plane speak TLS with each other by their mesh certificates, out of the box.
//!
//! Control plane, three agents and origin in one process. `dev` lets in nobody but mesh peers, so that every pull through it proves that
//! its child showed a certificate and was believed; clients get the mesh's CA where people get it, from the API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control::app::Running as Control;
use identity::certificate;
use node::agent::{self, Agent};
use node::app::Defaults;
use node::settings::Settings;
use runtime::{Clock, Tasks, file::Real};
use tempfile::TempDir;
use tests::eventually::{BOUND, eventually_async};
use tests::{Client, Fault, FaultProxy, Gate, Image, Origin, Script, When};
use wire::api::resource::{Apply, File};

const NODES: [&str; 3] = ["dev", "prod", "spoke"];

struct Rig {
    origin: Origin,
    control: Control,
    agents: BTreeMap<&'static str, Agent>,
    paths: BTreeMap<&'static str, FaultProxy>,
    dir: TempDir,
    tasks: Tasks,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

impl Rig {
    /// Certificates last `life`.
    async fn start(life: Duration) -> Self {
        runtime::tls::install_crypto();
        let (dir, tasks, clock) = (
            tempfile::tempdir().unwrap(),
            Tasks::new("mesh"),
            Clock::system(),
        );
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut settings = control::config::Settings::default();
        settings.ca.life = life;
        let config = control::config::Config {
            data_dir: dir.path().join("control"),
            api: loopback,
            node_service: loopback,
            operational: loopback,
            advertise: None,
            store: None,
            seal_key: None,
            tls: None,
            settings,
        };
        let control = control::app::start(config, clock.clone(), &tasks)
            .await
            .unwrap();
        let mut rig = Self {
            origin: Origin::start().await,
            control,
            agents: BTreeMap::new(),
            paths: BTreeMap::new(),
            dir,
            tasks,
        };
        for name in NODES {
            rig.paths.insert(name, FaultProxy::to_nowhere().await);
        }
        rig.apply().await;
        for name in NODES {
            rig.join(name, &clock).await;
        }
        rig
    }

    async fn apply(&self) {
        std::fs::write(self.dir.path().join("word"), "a-word-of-the-rig").unwrap();
        let secret = |name: &str| {
            let file = self.dir.path().join(name);
            std::fs::write(file.with_extension("user"), name).unwrap();
            format!(
                "username: {{file: '{}.user'}}, password: {{file: '{}/word'}}",
                file.display(),
                self.dir.path().display()
            )
        };
        let (dev, prod, spoke) = (self.host("dev"), self.host("prod"), self.host("spoke"));
        let word = self.dir.path().join("word");
        let text = format!(
            "version: 1\nmesh: rig\nnodes:
  dev: {{endpoint: 'https://{dev}', network: {{access: selected, allow: [10.99.0.0/16], trustMeshPeers: true}}}}
  prod: {{endpoint: 'https://{prod}', parent: dev}}
  spoke: {{endpoint: 'https://{spoke}', parent: prod}}
credentials:
  prod: {{loginServer: '{dev}', {to_dev}}}
  spoke: {{loginServer: '{prod}', {to_prod}}}
accounts:
  prod: {{password: {{file: '{word}'}}}}
  spoke: {{password: {{file: '{word}'}}}}
rules:
  dev-up: {{on: dev, source: '{origin}/*', target: 'up/*'}}
  prod-up: {{on: prod, source: 'parent://up/*', target: 'up/*', credentials: prod}}
  spoke-up: {{on: spoke, source: 'parent://up/*', target: 'up/*', credentials: spoke}}
access:
  - {{allow: repository-reader, to: 'account:prod', on: dev}}
  - {{allow: repository-reader, to: 'node:prod', on: dev}}
  - {{allow: repository-reader, to: 'account:spoke', on: prod}}
  - {{allow: repository-reader, to: anonymous, on: spoke}}\n",
            to_dev = secret("prod"),
            to_prod = secret("spoke"),
            word = word.display(),
            origin = self.origin.host(),
        );
        let apply = Apply {
            files: vec![File {
                name: "mesh.yaml".to_owned(),
                text,
            }],
            dry_run: false,
            prune: false,
        };
        let applied = self.control.publisher().apply(&apply, "test", None).await;
        applied.unwrap_or_else(|error| panic!("{error:?}"));
    }

    async fn join(&mut self, name: &'static str, clock: &Clock) {
        let node = name.parse().unwrap();
        let token = self.control.enrol();
        let token = token.join_token(&node, Duration::ZERO, 1, "test").await;
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = agent::Config {
            data_dir: self.dir.path().join(name),
            join: Some(agent::Join::Token(token.unwrap().token.parse().unwrap())),
            listen: Some(loopback),
            admin: Some(loopback),
            defaults: Defaults::Node,
            patience: Duration::ZERO,
            settings: Settings::default(),
        };
        let agent = config
            .start(Arc::new(Real), clock.clone(), &self.tasks)
            .await
            .unwrap();
        let address = agent.until_running().await.address();
        self.paths[name].aim(address);
        self.agents.insert(name, agent);
    }

    fn host(&self, node: &str) -> String {
        self.paths[node].host()
    }

    /// The mesh's CA as everybody gets it.
    async fn authorities(&self) -> Vec<reqwest::Certificate> {
        let url = format!("http://{}/api/v1/ca", self.control.api());
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status(), 200);
        reqwest::Certificate::from_pem_bundle(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Nobody in particular, who trusts the mesh's CA; with a certificate to show.
    async fn client(&self, node: &str, shown: Option<&str>) -> Client {
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(self.authorities().await);
        if let Some(pem) = shown {
            http = http.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        let http = http.build().unwrap();
        Client::new(format!("https://{}", self.host(node))).over(http)
    }

    /// A node's own certificate and key, as PEM.
    fn certificate_of(&self, node: &str) -> String {
        let agent = self.dir.path().join(node).join("agent");
        let chain = certificate::to_pem(&chain(&agent));
        chain + &std::fs::read_to_string(agent.join("key.pem")).unwrap()
    }

    fn leaf_of(&self, node: &str) -> Vec<u8> {
        chain(&self.dir.path().join(node).join("agent"))[0].to_vec()
    }
}

fn chain(agent: &Path) -> Vec<rustls_pki_types::CertificateDer<'static>> {
    let enrolment = std::fs::read(agent.join("enrolment.json")).unwrap();
    let enrolment: serde_json::Value = serde_json::from_slice(&enrolment).unwrap();
    let chain = enrolment["chain"].as_array().unwrap().iter();
    chain
        .map(|der| hex::decode(der.as_str().unwrap()).unwrap().into())
        .collect()
}

fn foreign() -> String {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    made.cert.pem() + &made.signing_key.serialize_pem()
}

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_tiers_fill_over_tls_without_a_certificate_file_anywhere() {
    let rig = Rig::start(DAY).await;
    let image = Image::single(1).build();
    rig.origin.put("team/app", "1", &image);
    let anonymous = rig.client("spoke", None).await;
    let pulled = anonymous.pull("up/team/app", "1", "amd64").await.unwrap();
    assert_eq!(pulled.digest, image.top().digest);
    let chain = rig.origin.record().all()[0]
        .header("cdn-loop")
        .unwrap_or_default()
        .to_owned();
    for node in NODES {
        assert!(chain.contains(node), "{chain}");
    }

    // Who does not trust the mesh's CA gets nowhere, and who shows a certificate of elsewhere is a client like any other.
    let stranger = Client::new(anonymous.base());
    assert!(stranger.get("/v2/").await.is_err());
    let odd = rig.client("spoke", Some(&foreign())).await;
    odd.manifest("up/team/app", "1").await.unwrap();
    for shown in [None, Some(foreign())] {
        let outsider = rig.client("dev", shown.as_deref()).await;
        let refused = outsider.get_manifest("up/team/app", "1").await.unwrap();
        assert_eq!(refused.status, 403, "{refused:?}");
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(text.contains("NETWORK_REFUSED"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_nodes_certificate_passes_nowhere_within_seconds_not_even_on_an_open_connection()
{
    let rig = Rig::start(DAY).await;
    rig.origin.put("team/app", "1", &Image::single(2).build());
    let prod = rig.client("dev", Some(&rig.certificate_of("prod"))).await;
    prod.manifest("up/team/app", "1").await.unwrap();
    let node = "prod".parse().unwrap();
    rig.control.enrol().revoke(&node, "test").await.unwrap();
    eventually_async(BOUND, "the certificate is worth nothing", async || {
        let reply = prod.get_manifest("up/team/app", "1").await.unwrap();
        match reply.status {
            403 => Ok(()),
            _ => Err(reply),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_under_a_transfer_that_notices_nothing() {
    // Backdated by a minute, such a certificate is past half of its life at once: it is renewed all the time.
    let rig = Rig::start(Duration::from_secs(30)).await;
    let image = Image::single(3).layer_of(4 << 20).build();
    rig.origin.put("team/app", "1", &image);
    let (layer, gate) = (image.largest().0.clone(), Gate::closed());
    let hold = Fault::HoldAt(2 << 20, gate.clone());
    let _held = rig
        .origin
        .play(Script::new(When::get().blob(&layer), [hold]).once());
    let client = Arc::new(rig.client("spoke", None).await);
    let puller = Arc::clone(&client);
    let pull = rig.tasks.spawn("pull", async move {
        puller.pull("up/team/app", "1", "amd64").await
    });
    gate.reached().await;
    let before = NODES.map(|node| rig.leaf_of(node));
    eventually_async(BOUND, "every node has another certificate", async || {
        let same = NODES.iter().zip(&before);
        let same: Vec<_> = same
            .filter(|(node, leaf)| rig.leaf_of(node) == **leaf)
            .collect();
        if same.is_empty() {
            Ok(())
        } else {
            Err(same.len())
        }
    })
    .await;
    // Upstreams made under the new one work too, while the old ones still carry the transfer.
    rig.origin.put("team/other", "1", &Image::single(4).build());
    client.pull("up/team/other", "1", "amd64").await.unwrap();
    gate.open();
    pull.await.unwrap().unwrap();
    assert_eq!(rig.origin.blob_gets([&layer]), [1]);
}
