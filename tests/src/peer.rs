//! Programs of others: Debian's docker-registry, skopeo, podman, containerd and docker, started privately and ended by their pid.
//!
//! A program that is not installed makes a test skip, loudly, since a silent skip is a test that cannot fail; with
//! `REGMESH_REQUIRE_PEERS=1` it fails instead. Each helper keeps everything of its program in a directory of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::process::Process;

pub mod containerd;
pub mod containers;
pub mod docker;
pub mod registry;
pub mod skopeo;

pub use containerd::Containerd;
pub use containers::Containers;
pub use docker::Docker;
pub use registry::DockerRegistry;
pub use skopeo::Skopeo;

/// Pulls by a real client take their time on a busy machine.
const BOUND: Duration = Duration::from_secs(120);

/// Whether all `programs` are there. If not: tells so on stderr, or panics when peers are required.
pub fn available(programs: &[&str]) -> bool {
    let missing: Vec<&&str> = programs
        .iter()
        .filter(|name| find(name).is_none())
        .collect();
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var_os("REGMESH_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(
        !required,
        "REGMESH_REQUIRE_PEERS=1 and not installed: {missing:?}"
    );
    eprintln!(
        "\n!!! SKIPPED, because {missing:?} is not installed: this test proves nothing here !!!\n"
    );
    false
}

/// Whether this is root, as daemons and tracers of others need. If not: tells so on stderr; never a failure, since an unprivileged
/// machine is no broken one.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("\n!!! SKIPPED, because this is not root: this test proves nothing here !!!\n");
    }
    root
}

/// Where a program is; system administrators' directories are searched too.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path
        .split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"]);
    dirs.map(|dir| Path::new(dir).join(name))
        .find(|file| file.is_file())
}

/// Where a program is, or an error that names it.
pub fn program(name: &str) -> Result<PathBuf> {
    find(name).with_context(|| format!("{name} is not installed"))
}

/// Runs a command to its end; its output, or an error with it.
async fn run(command: Command) -> Result<String> {
    let shown = format!("{:?}", command.as_std());
    let (status, said) = Process::spawn(command)?.finish(BOUND).await;
    let said = said.join("\n");
    ensure!(status.success(), "{shown}: {status}\n{said}");
    Ok(said)
}

#[cfg(test)]
mod tests;
