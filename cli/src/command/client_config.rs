//! `regmesh client-config`: what a client must be told to pull through a node.
//!
//! A node that serves its mesh certificate is trusted for its own name alone, by a file with the mesh's CA beside the others; asked of
//! the control plane, which alone knows it. The upstream stays the last resort in what containerd, CRI-O and podman get, so that the images a node itself needs can be
//! had without it. Facts about the clients: `reference/clients-and-peers.md` 1.4.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    fault::Code,
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
            Code::InvalidTopology.error(format!(
                "the topology is not valid:\n{}",
                problems
                    .iter()
                    .map(|p| p.render(false))
                    .collect::<Vec<_>>()
                    .join("\n")
            ))
        })?
        .topology;
    let name = config.node.parse()?;
    let node = topology
        .node(&name)
        .with_context(|| Code::NotFound.says(format!("the topology has no node '{name}'")))?;
    let certified = node.endpoint.secure && node.tls.is_none();
    let authorities = match config.topology.is_empty() && certified {
        true => Some(authorities(node, config.client, global).await?),
        false => None,
    };
    let mut made = match config.client {
        Client::Containerd => containerd(node, &topology, authorities.as_ref()),
        Client::Crio | Client::Podman => vec![registries_conf(node, &topology)],
        Client::Docker => vec![daemon_json(node)],
    };
    made.extend(authorities);
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

/// Whom to trust for the node, where the client looks for that.
async fn authorities(node: &Node, client: Client, global: &args::Global) -> anyhow::Result<File> {
    let folder = match client {
        Client::Containerd => "containerd",
        Client::Crio | Client::Podman => "containers",
        Client::Docker => "docker",
    };
    let server = node.endpoint.login_server();
    Ok(File {
        path: format!("/etc/{folder}/certs.d/{server}/ca.crt"),
        content: command::export::authorities(global).await?,
    })
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
fn containerd(node: &Node, topology: &Topology, authorities: Option<&File>) -> Vec<File> {
    let ca = authorities.map_or(String::new(), |file| format!("  ca = \"{}\"\n", file.path));
    let own = File {
        path: format!(
            "/etc/containerd/certs.d/{}/hosts.toml",
            node.endpoint.login_server()
        ),
        content: format!(
            "server = \"{0}\"\n\n[host.\"{0}\"]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n{ca}",
            node.endpoint
        ),
    };
    let mirrors = hosts(node, topology).into_iter().map(|host| {
        let server = if host == "docker.io" { "registry-1.docker.io" } else { &host };
        let scheme = if topology.is_plain_http(&host) { "http" } else { "https" };
        let content = format!(
            "server = \"{scheme}://{server}\"\n\n[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  dial_timeout = \"500ms\"\n{ca}",
            node.endpoint
        );
        File { path: format!("/etc/containerd/certs.d/{host}/hosts.toml"), content }
    });
    std::iter::once(own).chain(mirrors).collect()
}

/// podman and CRI-O put a prefix before the path: one entry for each prefix, since they refuse a second one, with a mirror for
/// each rule that serves it; the longest prefix wins.
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
    for ((host, prefix), locations) in by_prefix(mirrored(node, topology)) {
        let _ = write!(
            content,
            "[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{prefix}\"\n"
        );
        if topology.is_plain_http(&host) {
            content.push_str("insecure = true\n");
        }
        for target in locations {
            let location = join(&server, &target);
            let _ = write!(
                content,
                "\n[[registry.mirror]]\nlocation = \"{location}\"\n"
            );
            if insecure {
                content.push_str("insecure = true\n");
            }
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

/// The host and the whole prefix with the paths that mirror it, in the order of the rules, each once.
fn by_prefix(mirrored: Vec<Mirrored>) -> BTreeMap<(String, String), Vec<String>> {
    let mut prefixes: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for Mirrored {
        host,
        source,
        target,
    } in mirrored
    {
        let prefix = join(&host, &source);
        let targets = prefixes.entry((host, prefix)).or_default();
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    prefixes
}

fn join(a: &str, b: &str) -> String {
    if b.is_empty() {
        a.to_owned()
    } else {
        format!("{a}/{b}")
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
    let parent = path
        .parent()
        .context(Code::FileUnwritable.says("a file has a directory"))?;
    fs::create_dir_all(parent)
        .with_context(|| Code::FileUnwritable.says(format!("cannot make {}", parent.display())))?;
    if path.exists() {
        let mut backup = path.clone().into_os_string();
        backup.push(".regmesh-backup");
        fs::copy(&path, &backup).with_context(|| {
            Code::FileUnwritable.says(format!("cannot keep a backup of {}", path.display()))
        })?;
        output::words(global, &format!("kept {}", Path::new(&backup).display()));
    }
    let content = if file.path.ends_with("daemon.json") {
        merged(&path, &file.content)?
    } else {
        file.content.clone()
    };
    fs::write(&path, content)
        .with_context(|| Code::FileUnwritable.says(format!("cannot write {}", path.display())))?;
    output::words(global, &format!("wrote {}", path.display()));
    Ok(())
}

/// Docker has one file for everything: our keys go into it, the others stay.
fn merged(path: &Path, ours: &str) -> anyhow::Result<String> {
    let Ok(old) = fs::read_to_string(path) else {
        return Ok(ours.to_owned());
    };
    let mut all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&old)
        .with_context(|| {
            Code::InvalidFile.says(format!(
                "{} is no JSON object; nothing was changed",
                path.display()
            ))
        })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const TOPOLOGY: &str = "
version: 1
mesh: t
nodes:
  hub: {endpoint: 'http://127.0.0.1:5001'}
upstreams:
  plain.corp.example: {insecure: true}
rules:
  first: {on: hub, source: docker.io/library/*, target: library/*}
  second: {on: hub, source: docker.io/library/*, target: hub/*}
  third: {on: hub, source: ghcr.io/acme/app, target: app}
  corp: {on: hub, source: plain.corp.example/*, target: corp/*}
  near: {on: hub, source: 'localhost:5000/team/*', target: near/*}
";

    fn made(client: impl Fn(&Node, &Topology) -> Vec<File>) -> Vec<File> {
        let files = [("t.yaml".to_owned(), TOPOLOGY.to_owned())];
        let topology = topology::load(&files).unwrap().topology;
        let node = topology.node(&"hub".parse().unwrap()).unwrap();
        client(node, &topology)
    }

    #[test]
    fn podman_gets_one_entry_for_each_prefix_with_every_mirror_of_it() {
        let files = made(|node, topology| vec![registries_conf(node, topology)]);
        let expected = r#"[[registry]]
location = "127.0.0.1:5001"
insecure = true

[[registry]]
prefix = "docker.io/library"
location = "docker.io/library"

[[registry.mirror]]
location = "127.0.0.1:5001/library"
insecure = true

[[registry.mirror]]
location = "127.0.0.1:5001/hub"
insecure = true

[[registry]]
prefix = "ghcr.io/acme/app"
location = "ghcr.io/acme/app"

[[registry.mirror]]
location = "127.0.0.1:5001/app"
insecure = true

[[registry]]
prefix = "localhost:5000/team"
location = "localhost:5000/team"
insecure = true

[[registry.mirror]]
location = "127.0.0.1:5001/near"
insecure = true

[[registry]]
prefix = "plain.corp.example"
location = "plain.corp.example"
insecure = true

[[registry.mirror]]
location = "127.0.0.1:5001/corp"
insecure = true

"#;
        assert_eq!(files[0].content, expected);
    }

    #[test]
    fn containerd_is_told_whom_to_trust_for_the_node_wherever_it_is_asked() {
        let ca = File {
            path: "/etc/containerd/certs.d/127.0.0.1:5001/ca.crt".to_owned(),
            content: String::new(),
        };
        let files = made(|node, topology| containerd(node, topology, Some(&ca)));
        assert_eq!(files.len(), 5);
        for file in files {
            let (_, of_node) = file.content.split_once("[host.").unwrap();
            assert!(
                of_node.contains(&format!("  ca = \"{}\"\n", ca.path)),
                "{of_node}"
            );
        }
    }

    #[test]
    fn containerd_asks_a_plain_registry_plainly_when_the_node_is_away() {
        let files = made(|node, topology| containerd(node, topology, None));
        let servers: Vec<(&str, &str)> = files
            .iter()
            .map(|file| {
                let folder = file.path.trim_start_matches("/etc/containerd/certs.d/");
                let first = file.content.lines().next().unwrap();
                (folder.trim_end_matches("/hosts.toml"), first)
            })
            .collect();
        let expected = [
            ("127.0.0.1:5001", r#"server = "http://127.0.0.1:5001""#),
            ("docker.io", r#"server = "https://registry-1.docker.io""#),
            ("ghcr.io", r#"server = "https://ghcr.io""#),
            ("localhost:5000", r#"server = "http://localhost:5000""#),
            (
                "plain.corp.example",
                r#"server = "http://plain.corp.example""#,
            ),
        ];
        assert_eq!(servers, expected);
    }
}
