//! The agent against a control plane that does what each test says: T14, T33-T38, T52, T55 as far as one node shows them. Here: a
//! machine to run it on, and documents.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use runtime::{
    Clock, Tasks,
    file::{Files, Real},
};
use tempfile::TempDir;
use wire::{
    generation::Generation, join_token::JoinToken, not_admitted::NotAdmitted, time::WallTime,
};

use super::{Agent, ByOidc, Config, End, Error, Join};
use crate::{
    app::{self, Defaults, Running},
    settings::Settings,
};
use control::{Control, Stream};

mod control;
mod disk;
mod enrol;
mod mint;
mod slice;
mod stream;

/// A machine: its disk, its clock, and the node that runs on it.
struct Machine {
    disk: TempDir,
    clock: Clock,
    tasks: Tasks,
}

fn machine() -> Machine {
    runtime::tls::install_crypto();
    Machine {
        disk: TempDir::new().unwrap(),
        clock: Clock::system(),
        tasks: Tasks::new("test"),
    }
}

impl Machine {
    async fn start(&self, join: Option<JoinToken>) -> Result<Agent, Error> {
        self.start_on(Arc::new(Real), join.map(Join::Token)).await
    }

    async fn start_on(&self, files: Arc<dyn Files>, join: Option<Join>) -> Result<Agent, Error> {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            data_dir: self.disk.path().to_owned(),
            join,
            listen: Some(local),
            admin: Some(local),
            defaults: Defaults::Node,
            patience: Duration::ZERO,
            settings: Settings {
                control_retry: Duration::from_millis(20),
                control_retry_most: Duration::from_millis(100),
                ..Settings::default()
            },
        };
        config.start(files, self.clock.clone(), &self.tasks).await
    }

    /// The same after `agent` was killed: what it held is let go in a moment.
    async fn again(&self, agent: Agent, join: Option<JoinToken>) -> Result<Agent, Error> {
        drop(agent);
        for _ in 0..500 {
            match self.start(join.clone()).await {
                Err(Error::Directory { .. } | Error::Node(app::Error::Store { .. })) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                started => return started,
            }
        }
        unreachable!("the directory is held for ever")
    }

    /// A node that has joined, and has generation 1 in force.
    async fn joined(&self, control: &mut Control) -> (Agent, Stream) {
        let agent = self.start(Some(control.token())).await.unwrap();
        let mut stream = control.stream().await;
        stream.welcome(&self.clock).await;
        stream.slice(1, &control.sign(1, &document(&[]))).await;
        assert_eq!(stream.outcome(1).await, Ok(1));
        (agent, stream)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.disk.path().join("agent").join(name)
    }
}

/// The slice of a topology whose node `prod` has these rules, each to the target of its name.
fn document(rules: &[&str]) -> String {
    document_with(rules, "")
}

fn document_with(rules: &[&str], more: &str) -> String {
    let rules: Vec<String> = rules
        .iter()
        .map(|name| {
            format!("  {name}: {{on: prod, source: 'localhost:1/team/{name}', target: {name}}}\n")
        })
        .collect();
    let text = format!(
        "version: 1\nmesh: acme\nnodes:\n  prod: {{endpoint: 'http://127.0.0.1:5999'}}\nrules: {{}}\n{more}"
    );
    let text = match rules.is_empty() {
        true => text,
        false => text.replace("rules: {}\n", &format!("rules:\n{}", rules.concat())),
    };
    let loaded = topology::load(&[("t.yaml".to_owned(), text)]).unwrap();
    let slice = topology::slice::slice(&loaded.topology, &"prod".parse().unwrap()).unwrap();
    slice.to_yaml().unwrap()
}

/// Status and body of a GET.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("{what} did not come to pass");
}

fn slice_on_disk(machine: &Machine, name: &str) -> Option<u64> {
    let bytes = std::fs::read(machine.file(name)).ok()?;
    let envelope: wire::api::slice::Envelope = serde_json::from_slice(&bytes).ok()?;
    Some(envelope.generation.0)
}

async fn push(running: &Running, repository: &str) {
    use crate::store::metadata::{Link, LinkKind, Op, Origin};
    let link = Link {
        repository: repository.parse().unwrap(),
        digest: wire::digest::Digest::sha256(b"pushed"),
        kind: LinkKind::Manifest,
        origin: Origin::Pushed,
        complete: true,
        created_at: WallTime(1),
        used_at: WallTime(1),
    };
    running
        .store()
        .metadata()
        .commit(vec![Op::PutLink(link)])
        .await
        .unwrap();
}

fn machine_of(machine: &Machine) -> Machine {
    Machine {
        disk: TempDir::new().unwrap(),
        clock: machine.clock.clone(),
        tasks: machine.tasks.clone(),
    }
}
