//! podman and buildah, each with a storage of its own; they share their options and what they write.

use anyhow::Result;
use tempfile::TempDir;
use tokio::process::Command;

use crate::peer;

pub struct Containers {
    program: &'static str,
    dir: TempDir,
}

impl Containers {
    pub fn podman() -> Result<Self> {
        Self::new("podman")
    }

    pub fn buildah() -> Result<Self> {
        Self::new("buildah")
    }

    fn new(program: &'static str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // It refuses to go on when what the environment names is not there.
        std::fs::write(dir.path().join("auth.json"), "{}")?;
        Ok(Self { program, dir })
    }

    pub async fn pull(&self, reference: &str) -> Result<String> {
        self.run(&["pull", "--tls-verify=false", "--arch=amd64", reference])
            .await
    }

    /// Forgets the image, so that the next pull asks for everything again.
    pub async fn remove(&self, reference: &str) -> Result<String> {
        self.run(&["rmi", "--force", reference]).await
    }

    /// Any command of the program; what `login` writes is private too.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let dir = self.dir.path();
        let mut command = Command::new(peer::program(self.program)?);
        command
            .arg("--root")
            .arg(dir.join("r"))
            .arg("--runroot")
            .arg(dir.join("s"));
        command.env("REGISTRY_AUTH_FILE", dir.join("auth.json"));
        command.args(["--storage-driver", "vfs"]).args(args);
        peer::run(command).await
    }
}
