//! Debian's docker-registry (distribution 2.8) on loopback, with its access log.

use std::fs;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

use crate::peer;
use crate::process::{Process, free_port};

const LOUD: &str = "{level: info, accesslog: {disabled: false}}";
const QUIET: &str = "{level: error, accesslog: {disabled: true}}";

pub struct DockerRegistry {
    process: Process,
    port: u16,
    dir: TempDir,
}

impl DockerRegistry {
    /// A registry to push to.
    pub async fn start() -> Result<Self> {
        Self::with(LOUD, "").await
    }

    /// The same without a line for each request, for comparing speeds.
    pub async fn quiet() -> Result<Self> {
        Self::with(QUIET, "").await
    }

    /// A pull-through cache without a line for each request.
    pub async fn quiet_proxy_of(upstream: &str) -> Result<Self> {
        Self::with(QUIET, &format!("proxy: {{remoteurl: \"{upstream}\"}}\n")).await
    }

    /// A pull-through cache of `upstream` (a URL), the peer to compare with.
    pub async fn proxy_of(upstream: &str) -> Result<Self> {
        Self::with(LOUD, &format!("proxy: {{remoteurl: \"{upstream}\"}}\n")).await
    }

    async fn with(log: &str, more: &str) -> Result<Self> {
        let (dir, port) = (tempfile::tempdir()?, free_port());
        let config = dir.path().join("config.yml");
        let root = dir.path().join("data");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {log}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n{more}",
                root.display(),
            ),
        )?;
        let process = serve(&config)?;
        let mut registry = Self { process, port, dir };
        let url = format!("http://{}/v2/", registry.host());
        registry.process.is_ready_at(&url).await;
        Ok(registry)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.host())
    }

    pub fn data(&self) -> &Path {
        self.dir.path()
    }

    /// Whether it holds the content of `digest` (`sha256:HEX`) whole: a pull-through cache of it stores on after it has answered.
    pub fn stores(&self, digest: &str) -> bool {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.data().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data").exists()
    }

    /// The access log's lines: `127.0.0.1 - - [time] "GET /v2/… HTTP/1.1" 200 …`.
    pub fn access_log(&self) -> Vec<String> {
        let mut lines = self.process.said();
        lines.retain(|line| line.contains("HTTP/1.1\""));
        lines
    }

    /// How many logged requests start so: `GET /v2/a/blobs/sha256:…`.
    pub fn asked(&self, request: &str) -> usize {
        let quoted = format!("\"{request}");
        self.access_log()
            .iter()
            .filter(|line| line.contains(&quoted))
            .count()
    }

    /// Ends it; the port refuses from now on.
    pub async fn stop(&mut self) {
        self.process.kill().await;
    }
}

fn serve(config: &Path) -> Result<Process> {
    // The log is on stdout and stderr; tracing to a collector is not wanted.
    let args = [std::ffi::OsStr::new("serve"), config.as_os_str()];
    Process::start(
        &peer::program("docker-registry")?,
        args,
        &[("OTEL_TRACES_EXPORTER", "none")],
    )
}
