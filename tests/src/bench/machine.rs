//! Where this ran: without it no figure means anything.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::bench::world::World;
use crate::peer;

/// Processor, kernel, and the versions of everything that took part.
pub async fn describe(world: &World) -> Value {
    json!({
        "cpu": cpu(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memoryMiB": memory(),
        "kernel": kernel(),
        "load": load(),
        "regmesh": match &world.options.regmesh {
            Some(program) => first_line(program.display().to_string(), &["--version"]).await,
            None => "not there".to_owned(),
        },
        "nginx": version("nginx", "-v").await,
        "docker-registry": version("docker-registry", "--version").await,
        "skopeo": version("skopeo", "--version").await,
        "curl": version("curl", "--version").await,
        "wrk": version("wrk", "-v").await,
        "quick": world.options.quick,
        "directory": world.options.dir.as_ref().map_or_else(std::env::temp_dir, Clone::clone),
    })
}

/// What programs the bench cannot do without, or can.
pub const NEEDED: &[&str] = &["wrk", "curl", "nginx", "docker-registry", "skopeo"];

async fn version(program: &str, flag: &str) -> String {
    match peer::program(program) {
        Ok(path) => first_line(path.display().to_string(), &[flag]).await,
        Err(_) => "not there".to_owned(),
    }
}

/// The first line a program says, on whichever output; some end with an error when asked for their version.
async fn first_line(program: String, args: &[&str]) -> String {
    let output = Command::new(&program).args(args).output().await;
    let line = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .lines()
            .next()
            .map(str::to_owned)
    };
    let said = output
        .ok()
        .and_then(|output| line(&output.stdout).or_else(|| line(&output.stderr)));
    said.unwrap_or_else(|| format!("{program} says nothing"))
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&text, "model name");
    let features = field(&text, "flags").unwrap_or_default();
    let known = ["sha_ni", "aes", "avx2", "avx512f"];
    let features: Vec<&str> = known
        .into_iter()
        .filter(|name| features.split(' ').any(|flag| flag == *name))
        .collect();
    format!(
        "{} ({})",
        model.unwrap_or_else(|| "unknown".to_owned()),
        features.join(" ")
    )
}

fn field(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        field(&text, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// What else the machine did when the run began: runnable processes, averaged over 1, 5 and 15 minutes.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn kernel() -> String {
    let read = |name: &str| -> Result<String> {
        Ok(fs::read_to_string(format!("/proc/sys/kernel/{name}"))?
            .trim()
            .to_owned())
    };
    format!("Linux {}", read("osrelease").unwrap_or_default())
}
