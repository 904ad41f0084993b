//! A private containerd, and `ctr` against it.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;
use tokio::process::Command;

use crate::eventually::{BOUND, within};
use crate::peer;
use crate::process::Process;

pub struct Containerd {
    _process: Process,
    dir: TempDir,
}

impl Containerd {
    pub async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let at = dir.path().display();
        let config = dir.path().join("config.toml");
        fs::write(
            &config,
            format!(
                "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{at}/sock\"\n[ttrpc]\naddress = \"{at}/ttrpc\"\n",
            ),
        )?;
        let args = [std::ffi::OsStr::new("-c"), config.as_os_str()];
        let process = Process::start(&peer::program("containerd")?, args, &[])?;
        let socket = dir.path().join("sock");
        within(BOUND, "containerd listens", || {
            if socket.exists() {
                Ok(())
            } else {
                Err(process.said())
            }
        })
        .await;
        Ok(Self {
            _process: process,
            dir,
        })
    }

    /// By the reference itself, in plain HTTP.
    pub async fn pull(&self, reference: &str) -> Result<String> {
        self.ctr(&[
            "images",
            "pull",
            "--plain-http",
            "--snapshotter",
            "native",
            "--platform",
            "linux/amd64",
            reference,
        ])
        .await
    }

    /// The same as somebody, `USER:PASSWORD`.
    pub async fn pull_as(&self, account: &str, reference: &str) -> Result<String> {
        let pull = ["images", "pull", "--plain-http", "--snapshotter", "native"];
        let more = ["--platform", "linux/amd64", "--user", account, reference];
        self.ctr(&[&pull[..], &more].concat()).await
    }

    /// By a `hosts.toml` for `host` (as the reference names it) that is `text`.
    pub async fn pull_by_hosts(&self, host: &str, text: &str, reference: &str) -> Result<String> {
        let dir = self.dir.path().join("hosts");
        fs::create_dir_all(dir.join(host))?;
        fs::write(dir.join(host).join("hosts.toml"), text)?;
        let dir = dir.display().to_string();
        self.ctr(&[
            "images",
            "pull",
            "--hosts-dir",
            &dir,
            "--snapshotter",
            "native",
            "--platform",
            "linux/amd64",
            reference,
        ])
        .await
    }

    /// Forgets image and content.
    pub async fn remove(&self, reference: &str) -> Result<String> {
        self.ctr(&["images", "rm", "--sync", reference]).await
    }

    async fn ctr(&self, args: &[&str]) -> Result<String> {
        let socket: PathBuf = self.dir.path().join("sock");
        let mut command = Command::new(peer::program("ctr")?);
        command.arg("-a").arg(socket).args(args);
        peer::run(command).await
    }
}
