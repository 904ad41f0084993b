//! `CLIENT`: whether this machine's containerd, podman and docker are told about the nodes they could pull through.
//!
//! Looks at files alone: no daemon is asked, nothing is changed. A machine without a client's configuration is skipped, since most
//! machines that run `regmesh doctor` pull nothing. What each client needs: `reference/clients-and-peers.md` 1.4.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use url::Url;
use wire::api::{
    doctor::{Check, CheckId, Outcome},
    mesh::{MeshStatus, NodeInTree},
};

use crate::client::{Client, NOTHING};

/// Looks at this machine's files for the nodes of the mesh, or for one; for none of them where nobody can be asked which there are.
///
/// # Errors
/// When the control plane refuses to tell the nodes.
pub(super) async fn check(client: &Client, only: Option<&str>) -> anyhow::Result<Vec<Check>> {
    let status: MeshStatus = match client.get("/api/v1/status", NOTHING).await {
        Ok(status) => status,
        Err(error) if super::is_away(&error) => return Ok(look_alone(Path::new("/"))),
        Err(error) => return Err(error),
    };
    let nodes: Vec<NodeInTree> = status
        .nodes
        .into_iter()
        .filter(|node| only.is_none_or(|name| node.name.as_str() == name))
        .collect();
    Ok(look(Path::new("/"), &nodes))
}

/// What the files below `root` say about these nodes.
fn look(root: &Path, nodes: &[NodeInTree]) -> Vec<Check> {
    let checks = of_clients(root, nodes);
    if !checks.is_empty() {
        return checks;
    }
    let text = "no configuration of docker, containerd or podman on this machine";
    vec![skipped(text)]
}

/// What the files below `root` say by themselves: whether a client can read them at all.
fn look_alone(root: &Path) -> Vec<Check> {
    let mut checks = of_clients(root, &[]);
    let text = "the control plane does not answer: which nodes the files should name is not known";
    checks.push(skipped(text));
    checks
}

fn of_clients(root: &Path, nodes: &[NodeInTree]) -> Vec<Check> {
    let mut checks = docker(&root.join("etc/docker/daemon.json"), nodes);
    checks.extend(containerd(&root.join("etc/containerd"), nodes));
    checks.extend(podman(&root.join("etc/containers"), nodes));
    checks
}

fn skipped(text: &str) -> Check {
    found("this machine", Outcome::Skipped, text.to_owned(), None)
}

fn found(subject: &str, outcome: Outcome, text: String, fix: Option<String>) -> Check {
    Check {
        id: CheckId::Client,
        node: None,
        subject: Some(subject.to_owned()),
        outcome,
        text,
        fix,
    }
}

/// A node's host and port, and whether a client must be told that it speaks plain http.
fn login_server(node: &NodeInTree) -> Option<(String, bool)> {
    let url: Url = node.endpoint.parse().ok()?;
    let host = url.host_str()?;
    let name = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let loopback = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    Some((name, url.scheme() == "http" && !loopback))
}

fn fix(client: &str, node: &NodeInTree) -> Option<String> {
    Some(format!(
        "regmesh client-config {client} {} --write /",
        node.name
    ))
}

fn docker(path: &Path, nodes: &[NodeInTree]) -> Vec<Check> {
    let Ok(text) = fs::read_to_string(path) else {
        return Vec::new();
    };
    let config: Value = match serde_json::from_str(&text) {
        Ok(config) => config,
        Err(error) => {
            let text = format!(
                "{} is no JSON, so dockerd does not start: {error}",
                path.display()
            );
            let fix =
                Some("mend the file; `regmesh client-config docker NODE` prints one".to_owned());
            return vec![found("docker", Outcome::Failed, text, fix)];
        }
    };
    let lists = |key: &str, wanted: &str| {
        let listed = config.get(key).and_then(Value::as_array);
        listed.is_some_and(|all| {
            all.iter()
                .any(|one| one.as_str().is_some_and(|one| one.contains(wanted)))
        })
    };
    let checks = nodes.iter().filter_map(|node| {
        let (server, plain) = login_server(node)?;
        Some(if plain && !lists("insecure-registries", &server) {
            let text = format!("{server} speaks plain http and is not among docker's insecure-registries: pulls fail");
            found("docker", Outcome::Failed, text, fix("docker", node))
        } else if lists("registry-mirrors", &server) {
            found("docker", Outcome::Ok, format!("docker pulls from docker.io by way of {}", node.name), None)
        } else {
            found("docker", Outcome::Ok, format!("docker may pull from {server} by its name"), None)
        })
    });
    checks.collect()
}

fn containerd(dir: &Path, nodes: &[NodeInTree]) -> Vec<Check> {
    if !dir.is_dir() {
        return Vec::new();
    }
    let hosts = dir.join("certs.d");
    let files = texts(&hosts, "hosts.toml");
    let config = fs::read_to_string(dir.join("config.toml")).unwrap_or_default();
    if !files.is_empty() && !config.is_empty() && !config.contains("config_path") {
        let text = format!(
            "{} has no config_path, so containerd does not read {}",
            dir.join("config.toml").display(),
            hosts.display()
        );
        let fix = format!(
            "set config_path = \"{}\" under the registry of the CRI plugin, and restart containerd",
            hosts.display()
        );
        return vec![found("containerd", Outcome::Failed, text, Some(fix))];
    }
    mentioned("containerd", &files, nodes)
}

fn podman(dir: &Path, nodes: &[NodeInTree]) -> Vec<Check> {
    if !dir.is_dir() {
        return Vec::new();
    }
    let mut files = texts(&dir.join("registries.conf.d"), ".conf");
    files.extend(fs::read_to_string(dir.join("registries.conf")));
    mentioned("podman", &files, nodes)
}

/// Whether files name each node, and a plain one as such.
fn mentioned(client: &str, files: &[String], nodes: &[NodeInTree]) -> Vec<Check> {
    let checks = nodes.iter().filter_map(|node| {
        let (server, plain) = login_server(node)?;
        let naming: Vec<&String> = files.iter().filter(|text| text.contains(&server)).collect();
        let marked = |text: &&String| {
            text.contains("insecure = true") || text.contains(&format!("http://{server}"))
        };
        Some(if naming.is_empty() && plain {
            let text =
                format!("{server} speaks plain http and {client} is not told so: pulls fail");
            found(client, Outcome::Warning, text, fix(client, node))
        } else if naming.is_empty() {
            let text = format!(
                "{client} is not told about {server}; images are pulled from it only by its name"
            );
            found(client, Outcome::Skipped, text, None)
        } else if plain && !naming.iter().any(marked) {
            let text = format!(
                "{client} is told about {server}, but not that it speaks plain http: pulls fail"
            );
            found(client, Outcome::Failed, text, fix(client, node))
        } else {
            found(
                client,
                Outcome::Ok,
                format!("{client} pulls through {}", node.name),
                None,
            )
        })
    });
    checks.collect()
}

/// The texts of files below `dir`, two levels deep, whose names end in `suffix`.
fn texts(dir: &Path, suffix: &str) -> Vec<String> {
    let entries = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .take(1000)
            .collect()
    };
    let mut paths = entries(dir);
    let below: Vec<PathBuf> = paths
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|path| entries(path))
        .collect();
    paths.extend(below);
    paths.retain(|path| path.is_file() && path.to_string_lossy().ends_with(suffix));
    paths
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(endpoint: &str) -> NodeInTree {
        serde_json::from_value(serde_json::json!({
            "name": "hub", "tier": 1, "endpoint": endpoint, "health": "healthy", "instances": [], "rules": 0
        }))
        .unwrap()
    }

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn worst(files: &[(&str, &str)], endpoint: &str) -> (Outcome, bool) {
        let checks = look(machine(files).path(), &[node(endpoint)]);
        let worst = checks.iter().max_by_key(|check| check.outcome).unwrap();
        (worst.outcome, worst.fix.is_some())
    }

    #[test]
    fn a_machine_without_clients_is_skipped() {
        assert_eq!(
            worst(&[], "http://10.0.0.1:5000"),
            (Outcome::Skipped, false)
        );
    }

    #[test]
    fn a_broken_file_is_found_without_knowing_the_nodes() {
        let outcomes = |files: &[(&str, &str)]| -> Vec<Outcome> {
            let checks = look_alone(machine(files).path()).into_iter();
            checks.map(|check| check.outcome).collect()
        };
        let daemon = "etc/docker/daemon.json";
        assert_eq!(outcomes(&[]), [Outcome::Skipped]);
        assert_eq!(outcomes(&[(daemon, "{}")]), [Outcome::Skipped]);
        let broken = outcomes(&[(daemon, "{")]);
        assert_eq!(broken, [Outcome::Failed, Outcome::Skipped]);
    }

    #[test]
    fn docker_must_know_which_registries_are_plain() {
        let daemon = "etc/docker/daemon.json";
        assert_eq!(
            worst(&[(daemon, "{}")], "http://10.0.0.1:5000"),
            (Outcome::Failed, true)
        );
        assert_eq!(
            worst(&[(daemon, "{}")], "http://127.0.0.1:5000"),
            (Outcome::Ok, false)
        );
        let told = r#"{"insecure-registries": ["10.0.0.1:5000"]}"#;
        assert_eq!(
            worst(&[(daemon, told)], "http://10.0.0.1:5000"),
            (Outcome::Ok, false)
        );
        assert_eq!(
            worst(&[(daemon, "{")], "https://hub.example"),
            (Outcome::Failed, true)
        );
    }

    #[test]
    fn containerd_must_be_told_where_its_hosts_are() {
        let hosts = (
            "etc/containerd/certs.d/docker.io/hosts.toml",
            "[host.\"https://hub.example\"]",
        );
        let blind = ("etc/containerd/config.toml", "version = 2\n");
        let sees = (
            "etc/containerd/config.toml",
            "config_path = \"/etc/containerd/certs.d\"\n",
        );
        assert_eq!(
            worst(&[hosts, blind], "https://hub.example"),
            (Outcome::Failed, true)
        );
        assert_eq!(
            worst(&[hosts, sees], "https://hub.example"),
            (Outcome::Ok, false)
        );
    }

    #[test]
    fn podman_must_be_told_that_a_node_is_plain() {
        let file = "etc/containers/registries.conf.d/regmesh.conf";
        let secure = "[[registry]]\nprefix = \"docker.io\"\nlocation = \"10.0.0.1:5000\"\n";
        assert_eq!(
            worst(&[(file, secure)], "http://10.0.0.1:5000"),
            (Outcome::Failed, true)
        );
        let plain = format!("{secure}insecure = true\n");
        assert_eq!(
            worst(&[(file, &plain)], "http://10.0.0.1:5000"),
            (Outcome::Ok, false)
        );
    }
}
