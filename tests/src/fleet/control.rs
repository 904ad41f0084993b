//! The fleet's control plane: a process of the real binary, or one in this process with times of a test's own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use control::app::{self, Running};
use control::config::{Config, Settings};
use runtime::{Clock, Tasks};

use super::topology::port;
use crate::eventually::{BOUND, eventually};
use crate::process::Process;

/// Addresses that stay, and who is there.
pub(super) struct Control {
    ports: [u16; 3],
    advertise: String,
    kind: Kind,
    running: Option<Live>,
}

/// What to run.
pub(super) enum Kind {
    Apart,
    Here(Box<Settings>),
}

enum Live {
    Apart(Process),
    Here(Running, Tasks),
}

impl Control {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            ports: [port(), port(), port()],
            advertise: String::new(),
            kind,
            running: None,
        }
    }

    /// What join tokens say.
    pub(super) fn advertise(&mut self, address: String) {
        self.advertise = address;
    }

    pub(super) fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    pub(super) fn node_service(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[1]).into()
    }

    /// Which times the next one in this process has.
    pub(super) fn settle(&mut self, settings: Settings) {
        self.kind = Kind::Here(Box::new(settings));
    }

    /// Starts it, ready.
    pub(super) async fn start(&mut self, program: &str, data: &Path) {
        let [api, node_service, operational] = self
            .ports
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        self.running = Some(match &self.kind {
            Kind::Apart => {
                let at = [
                    ("--api", api),
                    ("--node-service", node_service),
                    ("--admin", operational),
                ];
                let mut command = vec!["control".to_owned()];
                for (flag, address) in at {
                    command.extend([flag.to_owned(), address.to_string()]);
                }
                for (flag, value) in [
                    ("--data-dir", data.display().to_string()),
                    ("--advertise", self.advertise.clone()),
                ] {
                    command.extend([flag.to_owned(), value]);
                }
                let process = Process::start(Path::new(program), command, &[]);
                let mut process = process.expect("the program starts");
                process
                    .is_ready_at(&format!("http://{operational}/readyz"))
                    .await;
                Live::Apart(process)
            }
            Kind::Here(settings) => {
                runtime::tls::install_crypto();
                let config = Config {
                    data_dir: data.to_owned(),
                    api,
                    node_service,
                    operational,
                    advertise: Some(self.advertise.clone()),
                    store: None,
                    seal_key: None,
                    tls: None,
                    settings: Settings::clone(settings),
                };
                let tasks = Tasks::new("control plane");
                let running = app::start(config, Clock::system(), &tasks).await;
                Live::Here(running.expect("it starts"), tasks)
            }
        });
    }

    /// Ends it at once, wherever it is; nothing is there any more when this returns.
    pub(super) async fn kill(&mut self) {
        match self.running.take() {
            Some(Live::Apart(mut process)) => process.kill().await,
            Some(Live::Here(running, tasks)) => {
                tasks.drain(Duration::ZERO).await;
                drop(running);
                eventually("the control plane is gone", || {
                    if tasks.is_empty() {
                        Ok(())
                    } else {
                        Err(tasks.len())
                    }
                })
                .await;
            }
            None => {}
        }
    }

    /// Sends SIGTERM and waits for its end.
    pub(super) async fn end(&mut self) {
        match self.running.take() {
            Some(Live::Apart(process)) => {
                process.terminate();
                let (status, said) = process.finish(BOUND).await;
                assert_eq!(status.code(), Some(0), "{said:#?}");
            }
            Some(Live::Here(running, tasks)) => {
                running.drain(Duration::from_secs(2)).await;
                tasks.drain(Duration::from_secs(2)).await;
            }
            None => {}
        }
    }

    pub(super) fn here(&self) -> &Running {
        match &self.running {
            Some(Live::Here(running, _)) => running,
            Some(Live::Apart(_)) | None => panic!("the control plane is not in this process"),
        }
    }

    /// What it said, if it is a process.
    pub(super) fn said(&self) -> Vec<String> {
        match &self.running {
            Some(Live::Apart(process)) => process.said(),
            Some(Live::Here(..)) | None => Vec::new(),
        }
    }
}
