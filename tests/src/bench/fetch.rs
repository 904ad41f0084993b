//! curl: one or many transfers into nothing, each with its times.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::process::Command;

use crate::{peer, process::Process};

/// A finished transfer.
#[derive(Clone, Copy, Debug)]
pub struct Fetched {
    /// Seconds from the start to the first byte of the body's answer.
    pub first_byte: f64,
    /// Seconds from the start to the end.
    pub total: f64,
    pub bytes: f64,
}

impl Fetched {
    /// Bytes each second, from the first to the last.
    pub fn rate(&self) -> f64 {
        self.bytes / self.total
    }
}

/// Longer than any transfer here takes on a busy machine.
const BOUND: Duration = Duration::from_secs(300);

/// GETs `url`; anything but a whole 200 is an error. Certificates are not checked: ours are made on the spot.
pub async fn get(url: &str) -> Result<Fetched> {
    let mut command = Command::new(peer::program("curl")?);
    command.args([
        "--silent",
        "--show-error",
        "--fail",
        "--insecure",
        "--noproxy",
        "*",
    ]);
    command.args(["--output", "/dev/null", "--write-out", "%{json}", url]);
    let (status, said) = Process::spawn(command)?.finish(BOUND).await;
    let said = said.join("\n");
    ensure!(status.success(), "curl {url}: {status}: {said}");
    let said: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    let number = |key: &str| {
        said[key]
            .as_f64()
            .with_context(|| format!("no {key} in {said}"))
    };
    Ok(Fetched {
        first_byte: number("time_starttransfer")?,
        total: number("time_total")?,
        bytes: number("size_download")?,
    })
}

/// `clients` at once, each a process of its own.
pub async fn many(url: &str, clients: usize) -> Result<Vec<Fetched>> {
    try_join_all((0..clients).map(|_| get(url))).await
}

/// All of `urls` at once.
pub async fn each(urls: &[String]) -> Result<Vec<Fetched>> {
    try_join_all(urls.iter().map(|url| get(url))).await
}
