//! skopeo: puts images of the rig into real registries and copies them out again.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Image, peer};

pub struct Skopeo {
    dir: TempDir,
    account: Option<String>,
}

impl Skopeo {
    pub fn new() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            account: None,
        })
    }

    pub fn with_account(mut self, user: &str, password: &str) -> Self {
        self.account = Some(format!("{user}:{password}"));
        self
    }

    /// Pushes all of an image: `HOST/REPO:TAG`.
    pub async fn push(&self, image: &Image, reference: &str) -> Result<()> {
        let layout = write_layout(image, self.dir.path())?;
        let from = format!("oci:{}:image", layout.display());
        let mut command = self.copy("--dest-tls-verify=false")?;
        if let Some(account) = &self.account {
            command.args(["--dest-creds", account]);
        }
        peer::run(with(
            command,
            [
                "--all",
                "--preserve-digests",
                &from,
                &format!("docker://{reference}"),
            ],
        ))
        .await?;
        Ok(())
    }

    /// Pulls one platform into a fresh directory: `HOST/REPO:TAG` or `@DIGEST`.
    pub async fn pull(&self, reference: &str) -> Result<()> {
        let to = tempfile::tempdir()?;
        let to = format!("dir:{}", to.path().display());
        let mut command = self.copy("--src-tls-verify=false")?;
        if let Some(account) = &self.account {
            command.args(["--src-creds", account]);
        }
        peer::run(with(command, [&format!("docker://{reference}"), &to])).await?;
        Ok(())
    }

    /// Any command of `skopeo`, with the credentials of its own `login`.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(peer::program("skopeo")?);
        command.env("REGISTRY_AUTH_FILE", self.dir.path().join("auth.json"));
        peer::run(with(command, args)).await
    }

    fn copy(&self, tls: &str) -> Result<Command> {
        let mut command = Command::new(peer::program("skopeo")?);
        command.args([
            "--insecure-policy",
            "--override-os=linux",
            "--override-arch=amd64",
        ]);
        command.args(["copy", "--quiet", tls]);
        Ok(command)
    }
}

fn with<A: AsRef<OsStr>>(mut command: Command, args: impl IntoIterator<Item = A>) -> Command {
    command.args(args);
    command
}

/// The image as an OCI layout in a fresh directory below `dir`, its top named `image`.
pub fn write_layout(image: &Image, dir: &Path) -> Result<PathBuf> {
    let layout = dir.join(image.digest.hex());
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    for (digest, content) in &image.blobs {
        std::fs::write(blobs.join(digest.hex()), content.to_bytes())?;
    }
    for manifest in &image.manifests {
        std::fs::write(blobs.join(manifest.digest.hex()), &manifest.bytes)?;
    }
    let mut top = image.top().descriptor();
    top["annotations"] = json!({"org.opencontainers.image.ref.name": "image"});
    let index = json!({"schemaVersion": 2, "manifests": [top]});
    std::fs::write(layout.join("index.json"), index.to_string())?;
    std::fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    Ok(layout)
}
