//! Many nodes at one control plane: a change reaches all of them, and streams on which nothing happens carry heartbeats alone.
//!
//! `regmesh-bench --only scale` does it with a thousand and measures.

use std::collections::BTreeSet;
use std::time::Duration;

use control::app::{self, Running};
use control::config::{Config, Settings};
use control::distribute::Rhythm;
use runtime::{Clock, Tasks};
use tempfile::TempDir;
use tests::crowd::{self, Crowd, Heard};
use tests::eventually;
use wire::api::resource::{Apply, File};
use wire::generation::Generation;

const NODES: usize = 50;
const WHO: &str = "admin-token";
const HEARTBEAT: Duration = Duration::from_millis(300);

/// A control plane in this process, and the nodes that have joined it.
struct Fleet {
    control: Running,
    crowd: Crowd,
    _tasks: Tasks,
    _dir: TempDir,
}

fn topology(text: &str) -> Apply {
    let nodes: String = (0..NODES)
        .map(|n| {
            format!(
                "  n{n}: {{endpoint: 'http://127.0.0.1:{}', labels: {{text: '{text}'}}}}\n",
                20_000 + n
            )
        })
        .collect();
    Apply {
        files: vec![File {
            name: "mesh.yaml".into(),
            text: format!("version: 1\nmesh: acme\nnodes:\n{nodes}"),
        }],
        dry_run: false,
        prune: false,
    }
}

/// `report`: how often nodes report.
async fn fleet(report: Duration) -> Fleet {
    let (dir, tasks, clock) = (
        TempDir::new().unwrap(),
        Tasks::new("fleet"),
        Clock::system(),
    );
    runtime::tls::install_crypto();
    let any = "127.0.0.1:0".parse().unwrap();
    let config = Config {
        data_dir: dir.path().to_owned(),
        api: any,
        node_service: any,
        operational: any,
        advertise: None,
        store: None,
        seal_key: None,
        tls: None,
        settings: Settings {
            rhythm: Rhythm {
                heartbeat: HEARTBEAT,
                report,
            },
            ..Settings::default()
        },
    };
    let control = app::start(config, clock, &tasks).await.unwrap();
    control
        .publisher()
        .apply(&topology("one"), WHO, None)
        .await
        .unwrap();
    let mut tokens = Vec::new();
    for n in 0..NODES {
        let node = format!("n{n}").parse().unwrap();
        let token = control
            .enrol()
            .join_token(&node, Duration::ZERO, 1, WHO)
            .await;
        tokens.push(token.unwrap().token);
    }
    let crowd = crowd::Config::of_nodes().join(&tokens).await.unwrap();
    Fleet {
        control,
        crowd,
        _tasks: tasks,
        _dir: dir,
    }
}

impl Fleet {
    async fn apply(&self, text: &str) -> Generation {
        let applied = self
            .control
            .publisher()
            .apply(&topology(text), WHO, None)
            .await;
        applied.unwrap().generation
    }

    /// All nodes have it, and the control plane knows.
    async fn reaches_all(&self, generation: Generation) {
        eventually("all nodes confirm", || self.crowd.confirmed(generation)).await;
        eventually("the control plane heard of it", || {
            let nodes = self.control.distribute().nodes();
            let at: BTreeSet<_> = nodes
                .values()
                .map(|node| (node.connected(), node.generation()))
                .collect();
            let all = nodes.len() == NODES && at == BTreeSet::from([(true, Some(generation))]);
            if all { Ok(()) } else { Err(at) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_nodes_all_get_a_change_once_and_again_after_all_streams_were_cut() {
    let fleet = fleet(Duration::from_secs(60)).await;
    let first = fleet.control.publisher().current().generation();
    fleet.reaches_all(first).await;
    let before = fleet.crowd.heard();
    let changed = fleet.apply("two").await;
    fleet.reaches_all(changed).await;
    let heard = fleet.crowd.heard() - before;
    assert_eq!(
        (heard.whole, heard.bare, heard.welcomes),
        (NODES as u64, 0, 0),
        "{heard:?}"
    );

    // The change is made while nobody listens, so that it must be found on coming back.
    let before = fleet.crowd.heard();
    fleet.crowd.cut();
    let missed = fleet.apply("three").await;
    fleet.reaches_all(missed).await;
    let heard = fleet.crowd.heard() - before;
    assert_eq!((heard.welcomes, heard.bare), (NODES as u64, 0), "{heard:?}");
    assert!(heard.whole >= NODES as u64, "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_stream_carries_heartbeats_and_nothing_else() {
    let fleet = fleet(Duration::from_secs(60)).await;
    fleet
        .reaches_all(fleet.control.publisher().current().generation())
        .await;
    // The reports of the beginning are confirmed about a second later, each; two of every node.
    eventually("every report so far is confirmed", || {
        let heard = fleet.crowd.heard();
        if heard.reported >= NODES as u64 {
            Ok(())
        } else {
            Err(heard)
        }
    })
    .await;
    let (clock, before) = (Clock::system(), fleet.crowd.heard());
    let begun = clock.now();
    let heard = eventually("four heartbeats for each", || {
        let heard = fleet.crowd.heard() - before;
        if heard.heartbeats >= 4 * NODES as u64 {
            Ok(heard)
        } else {
            Err(heard)
        }
    })
    .await;
    let beats = (clock.now() - begun).as_secs_f64() / HEARTBEAT.as_secs_f64();
    assert_eq!(
        heard,
        Heard {
            heartbeats: heard.heartbeats,
            ..Heard::default()
        }
    );
    let most = (beats.ceil() + 1.0) * NODES as f64;
    assert!(
        heard.heartbeats as f64 <= most,
        "{heard:?} in {beats} intervals"
    );
}
