//! buildah with a storage of its own.

use anyhow::Result;
use tempfile::TempDir;
use tokio::process::Command;

use crate::peer;

pub struct Buildah(TempDir);

impl Buildah {
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // It refuses to go on when what the environment names is not there.
        std::fs::write(dir.path().join("auth.json"), "{}")?;
        Ok(Self(dir))
    }

    pub async fn pull(&self, reference: &str) -> Result<String> {
        self.run(&["pull", "--tls-verify=false", "--arch=amd64", reference])
            .await
    }

    /// Forgets the image, so that the next pull asks for everything again.
    pub async fn remove(&self, reference: &str) -> Result<String> {
        self.run(&["rmi", "--force", reference]).await
    }

    /// Any command of `buildah`; what `login` writes is private too.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let dir = self.0.path();
        let mut command = Command::new(peer::program("buildah")?);
        command.env("REGISTRY_AUTH_FILE", dir.join("auth.json"));
        command
            .arg("--root")
            .arg(dir.join("r"))
            .arg("--runroot")
            .arg(dir.join("s"));
        command.args(["--storage-driver", "vfs"]).args(args);
        peer::run(command).await
    }
}
