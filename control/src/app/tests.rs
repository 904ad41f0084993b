//! A whole control plane over its sockets: what a restart keeps, what its pages say, and a store that takes no writes.

use std::path::Path;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wire::{
    api::resource::{Apply, File},
    generation::Generation,
};

use super::*;
use crate::config::Settings;

const MESH: &str = "version: 1\nmesh: one\nnodes:\n  dev: {endpoint: 'http://127.0.0.1:5000'}\n";

fn config(data_dir: &Path) -> Config {
    let any = "127.0.0.1:0".parse().unwrap();
    Config {
        data_dir: data_dir.to_owned(),
        api: any,
        node_service: any,
        operational: any,
        advertise: None,
        store: None,
        seal_key: None,
        tls: None,
        settings: Settings {
            probe: Duration::from_millis(50),
            ..Settings::default()
        },
    }
}

async fn started(data_dir: &Path) -> Running {
    tls::install_crypto();
    let tasks = Tasks::new("test");
    start(config(data_dir), Clock::system(), &tasks)
        .await
        .unwrap()
}

async fn get(address: SocketAddr, path: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn apply(running: &Running) -> Result<Generation, publish::Error> {
    let file = File {
        name: "t".into(),
        text: MESH.into(),
    };
    let apply = Apply {
        files: vec![file],
        dry_run: false,
        prune: false,
    };
    let applied = running.publisher().apply(&apply, "test", None).await;
    applied.map(|applied| applied.generation)
}

async fn eventually(what: &str, mut met: impl AsyncFnMut() -> bool) {
    let clock = Clock::system();
    for _ in 0..1_500 {
        if met().await {
            return;
        }
        clock.sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not come true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_token_the_topology_and_the_mesh_ca() {
    let directory = tempfile::tempdir().unwrap();
    let first = started(directory.path()).await;
    assert_eq!(apply(&first).await.unwrap(), Generation(1));
    let (token, roots) = (first.admin_token(), first.enrol().roots());
    let status = get(first.api(), "/api/v1/status", token.expose()).await;
    assert!(
        status.starts_with("HTTP/1.1 200") && status.contains("\"absent\""),
        "{status}"
    );
    assert!(
        get(first.api(), "/api/v1/status", "wrong")
            .await
            .starts_with("HTTP/1.1 401")
    );
    assert!(
        get(first.operational(), "/readyz", "")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let metrics = get(first.operational(), "/metrics", "").await;
    for name in [
        "regmesh_build_info{",
        "regmesh_config_generation 1",
        "regmesh_control_nodes 1",
        "regmesh_control_nodes_connected 0",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    first.drain(Duration::from_secs(5)).await;
    assert!(
        TcpStream::connect(first.api()).await.is_err(),
        "nothing listens any more"
    );
    drop(first);
    let second = started(directory.path()).await;
    assert_eq!(second.admin_token().expose(), token.expose());
    assert_eq!(second.enrol().roots(), roots);
    assert_eq!(second.status().generation, Generation(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_writes_is_told_and_reads_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let running = started(directory.path()).await;
    apply(&running).await.unwrap();
    // Somebody else holds the database's only place to write.
    let path = directory.path().join(state::DIRECTORY).join("control.db");
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    eventually("the alarm", async || !running.status().alarms.is_empty()).await;
    let ready = get(running.operational(), "/readyz?verbose", "").await;
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains("[!]store degraded"),
        "{ready}"
    );
    let token = running.admin_token();
    let read = get(running.api(), "/api/v1/nodes/dev", token.expose()).await;
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
    let log = get(running.api(), "/api/v1/audit", token.expose()).await;
    assert!(log.starts_with("HTTP/1.1 200"), "{log}");
    other.execute_batch("ROLLBACK").unwrap();
    eventually("the end of the alarm", async || {
        running.status().alarms.is_empty()
    })
    .await;
}
