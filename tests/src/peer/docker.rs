//! A private dockerd, and `docker` against it.

use anyhow::Result;
use tempfile::TempDir;
use tokio::process::Command;

use crate::eventually::{BOUND, within};
use crate::peer;
use crate::process::Process;

pub struct Docker {
    _process: Process,
    dir: TempDir,
}

impl Docker {
    /// Needs root, as dockerd does. Loopback registries are plain HTTP to docker by itself.
    pub async fn start(more: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let at = dir.path().display();
        let mut args = vec![
            format!("--data-root={at}/d"),
            format!("--exec-root={at}/e"),
            format!("--host=unix://{at}/s"),
            format!("--pidfile={at}/pid"),
            "--iptables=false".to_owned(),
            "--bridge=none".to_owned(),
            "--storage-driver=vfs".to_owned(),
        ];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let process = Process::start(&peer::program("dockerd")?, args, &[])?;
        within(BOUND * 3, "dockerd says that it listens", || {
            let said = process.said();
            let listens = said.iter().any(|line| line.contains("API listen on"));
            if listens { Ok(()) } else { Err(said) }
        })
        .await;
        Ok(Self {
            _process: process,
            dir,
        })
    }

    pub async fn pull(&self, reference: &str) -> Result<String> {
        self.run(&["pull", reference]).await
    }

    pub async fn remove(&self, reference: &str) -> Result<String> {
        self.run(&["rmi", reference]).await
    }

    /// Any command of `docker`; its configuration (what `login` writes) is private too.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(peer::program("docker")?);
        command
            .arg("--config")
            .arg(self.dir.path().join("config"))
            .arg("-H")
            .arg(format!("unix://{}/s", self.dir.path().display()))
            .args(args);
        peer::run(command).await
    }
}
