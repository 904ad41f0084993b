//! `regmesh client-config`: what a client must be told to pull through a node.
//!
//! The upstream stays the last resort in what containerd, CRI-O and podman get, so that the images a node itself needs can be
//! had without it. Facts about the clients: `reference/clients-and-peers.md` 1.4.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Serialize;
use topology::model::{Node, Topology};
use wire::pattern::Pattern;

use crate::{
    args::{self, Client},
    command,
    exit::Exit,
    output,
};

/// A file for a client.
#[derive(Debug, Serialize)]
struct File {
    path: String,
    content: String,
}

/// Prints or writes the files.
///
/// # Errors
/// When the topology is not valid, has no such node, or a file cannot be written.
pub async fn run(config: &args::ClientConfig, global: &args::Global) -> anyhow::Result<Exit> {
    let files = match config.topology.as_slice() {
        [] => command::export::files(global).await?,
        paths => command::read_files(paths)?,
    };
    let topology = topology::load(&files)
        .map_err(|problems| {
            anyhow::anyhow!(
                "the topology is not valid:\n{}",
                problems
                    .iter()
                    .map(|p| p.render(false))
                    .collect::<Vec<_>>()
                    .join("\n")
            )
        })?
        .topology;
    let name = config.node.parse()?;
    let node = topology
        .node(&name)
        .with_context(|| format!("the topology has no node '{name}'"))?;
    let made = match config.client {
        Client::Containerd => containerd(node, &topology),
        Client::Crio | Client::Podman => vec![registries_conf(node, &topology)],
        Client::Docker => vec![daemon_json(node)],
    };
    match &config.write {
        Some(root) => made.iter().try_for_each(|file| write(root, file, global))?,
        None => output::object(global, &made, || {
            made.iter()
                .map(|f| format!("# {}\n{}", f.path, f.content))
                .collect::<Vec<_>>()
                .join("\n")
        })?,
    }
    Ok(Exit::Ok)
}

/// A registry outside the mesh whose content this node serves, and the path it serves it under.
struct Mirrored {
    host: String,
    source: String,
    target: String,
}

fn mirrored(node: &Node, topology: &Topology) -> Vec<Mirrored> {
    let path = |pattern: &Pattern| match pattern {
        Pattern::All => String::new(),
        Pattern::Below(path) => path.to_string(),
        Pattern::Exact(name) => name.to_string(),
    };
    let own: BTreeSet<String> = topology
        .nodes
        .values()
        .map(|n| n.endpoint.login_server())
        .collect();
    let mut mirrored = Vec::new();
    for rule in node.rules.iter().filter(|rule| rule.enabled) {
        // A rule whose chain has several ends serves each by its target; only an end that is the whole rule has one prefix.
        for origin in rule
            .origins
            .iter()
            .filter(|o| o.via == rule.source.repositories && !own.contains(&o.host))
        {
            mirrored.push(Mirrored {
                host: origin.host.clone(),
                source: path(&origin.repositories),
                target: path(&rule.target),
            });
        }
    }
    mirrored
}

fn hosts(node: &Node, topology: &Topology) -> BTreeSet<String> {
    mirrored(node, topology)
        .into_iter()
        .map(|m| m.host)
        .collect()
}

/// containerd asks with `?ns=HOST`, by which the node finds the rule: one entry per host, no path needed.
fn containerd(node: &Node, topology: &Topology) -> Vec<File> {
    let own = File {
        path: format!(
            "/etc/containerd/certs.d/{}/hosts.toml",
            node.endpoint.login_server()
        ),
        content: format!(
            "server = \"{0}\"\n\n[host.\"{0}\"]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n",
            node.endpoint
        ),
    };
    let mirrors = hosts(node, topology).into_iter().map(|host| {
        let server = if host == "docker.io" { "registry-1.docker.io" } else { &host };
        let content = format!(
            "server = \"https://{server}\"\n\n[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  dial_timeout = \"500ms\"\n",
            node.endpoint
        );
        File { path: format!("/etc/containerd/certs.d/{host}/hosts.toml"), content }
    });
    std::iter::once(own).chain(mirrors).collect()
}

/// podman and CRI-O put a prefix before the path: a mirror for each rule, the longest prefix wins.
fn registries_conf(node: &Node, topology: &Topology) -> File {
    let insecure = !node.endpoint.secure;
    let server = node.endpoint.login_server();
    let mut content = String::new();
    if insecure {
        let _ = write!(
            content,
            "[[registry]]\nlocation = \"{server}\"\ninsecure = true\n\n"
        );
    }
    for Mirrored {
        host,
        source,
        target,
    } in mirrored(node, topology)
    {
        let join = |a: &str, b: &str| {
            if b.is_empty() {
                a.to_owned()
            } else {
                format!("{a}/{b}")
            }
        };
        let (prefix, location) = (join(&host, &source), join(&server, &target));
        let _ = write!(
            content,
            "[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{prefix}\"\n\n[[registry.mirror]]\nlocation = \"{location}\"\n"
        );
        if insecure {
            content.push_str("insecure = true\n");
        }
        content.push('\n');
    }
    File {
        path: format!(
            "/etc/containers/registries.conf.d/50-regmesh-{}.conf",
            node.name
        ),
        content,
    }
}

/// dockerd mirrors Docker Hub alone, at the root of a host: the node needs `defaultNamespace: docker.io`.
fn daemon_json(node: &Node) -> File {
    let mut daemon = serde_json::Map::new();
    if node.default_namespace.as_deref() == Some("docker.io") {
        daemon.insert(
            "registry-mirrors".into(),
            serde_json::json!([node.endpoint.to_string()]),
        );
    }
    if !node.endpoint.secure {
        daemon.insert(
            "insecure-registries".into(),
            serde_json::json!([node.endpoint.login_server()]),
        );
    }
    let content = serde_json::to_string_pretty(&daemon).unwrap_or_default();
    File {
        path: "/etc/docker/daemon.json".to_owned(),
        content: content + "\n",
    }
}

fn write(root: &Path, file: &File, global: &args::Global) -> anyhow::Result<()> {
    let path: PathBuf = root.join(file.path.trim_start_matches('/'));
    let parent = path.parent().context("a file has a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    if path.exists() {
        let mut backup = path.clone().into_os_string();
        backup.push(".regmesh-backup");
        fs::copy(&path, &backup)
            .with_context(|| format!("cannot keep a backup of {}", path.display()))?;
        output::words(global, &format!("kept {}", Path::new(&backup).display()));
    }
    let content = if file.path.ends_with("daemon.json") {
        merged(&path, &file.content)?
    } else {
        file.content.clone()
    };
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    output::words(global, &format!("wrote {}", path.display()));
    Ok(())
}

/// Docker has one file for everything: our keys go into it, the others stay.
fn merged(path: &Path, ours: &str) -> anyhow::Result<String> {
    let Ok(old) = fs::read_to_string(path) else {
        return Ok(ours.to_owned());
    };
    let mut all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&old)
        .with_context(|| format!("{} is no JSON object; nothing was changed", path.display()))?;
    let ours: serde_json::Map<String, serde_json::Value> = serde_json::from_str(ours)?;
    for (key, value) in ours {
        match (all.get_mut(&key), value) {
            (Some(serde_json::Value::Array(old)), serde_json::Value::Array(new)) => {
                let missing: Vec<_> = new.into_iter().filter(|item| !old.contains(item)).collect();
                old.extend(missing);
            }
            (_, value) => drop(all.insert(key, value)),
        }
    }
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}
