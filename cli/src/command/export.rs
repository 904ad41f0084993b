//! `regmesh export`: the topology in force, as a file that `plan` and `apply` take; `export ca`: whom clients of its nodes trust;
//! `export issuer`: what foreign services verify its federation tokens by.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use wire::api::resource::Topology;

use crate::{
    args::{Export, Exported, Format, Global},
    client::{Client, NOTHING},
    exit::Exit,
    fault::Code,
    output,
};

/// Where the two files are, below the issuer's URL.
const DISCOVERY: &str = ".well-known/openid-configuration";
const KEYS: &str = "keys";
const JSON: &str = "application/json";

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    issuer: String,
    files: Vec<String>,
}

/// Prints it.
///
/// # Errors
/// When the control plane cannot be asked, or nothing was ever applied.
pub async fn run(export: &Export, global: &Global) -> anyhow::Result<Exit> {
    match &export.what {
        Some(Exported::Ca) => {
            output::data(authorities(global).await?.trim_end());
            return Ok(Exit::Ok);
        }
        Some(Exported::Issuer { dir }) => return issuer(dir, global).await,
        None => {}
    }
    let topology = fetch(global).await?;
    match global.output {
        Format::Table | Format::Yaml => {
            output::data(topology.document.trim_end());
            output::words(global, &format!("generation {}", topology.generation));
        }
        Format::Json => output::object(global, &topology, String::new)?,
    }
    Ok(Exit::Ok)
}

/// The topology in force as files that can be read.
///
/// # Errors
/// When the control plane cannot be asked, or nothing was ever applied.
pub async fn files(global: &Global) -> anyhow::Result<Vec<(String, String)>> {
    let topology = fetch(global).await?;
    let name = format!("generation {}", topology.generation);
    Ok(vec![(name, topology.document)])
}

/// The mesh's CA certificates as PEM.
///
/// # Errors
/// When the control plane cannot be asked.
pub async fn authorities(global: &Global) -> anyhow::Result<String> {
    let client = Client::new(global)?;
    client.text("/api/v1/ca", "application/x-pem-file").await
}

/// Writes what a static host serves at the issuer's URL.
async fn issuer(dir: &Path, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let discovery = client.text(&format!("/{DISCOVERY}"), JSON).await?;
    let keys = client.text(&format!("/{KEYS}"), JSON).await?;
    let read: Discovery = serde_json::from_str(&discovery).context(
        Code::UnknownAnswer.says("what the control plane answered is no discovery document"),
    )?;
    let written = Written {
        files: vec![put(dir, KEYS, &keys)?, put(dir, DISCOVERY, &discovery)?],
        issuer: read.issuer,
    };
    output::object(global, &written, || written.files.join("\n"))?;
    let advice = format!(
        "serve them at {} as application/json, and export again after `regmesh keys rotate`",
        written.issuer
    );
    output::words(global, &advice);
    if !written.issuer.starts_with("https://") {
        output::complain(
            "the issuer's URL is not https: foreign services do not take it; declare `control.issuer` or `control.endpoint`",
        );
    }
    Ok(Exit::Ok)
}

/// Written beside and renamed, so that a host never serves half a file. The keys go first: discovery points at them.
fn put(dir: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let path = dir.join(name);
    let beside = path.with_extension("new");
    let folder = path.parent().unwrap_or(dir);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&beside, text))
        .and_then(|()| std::fs::rename(&beside, &path))
        .with_context(|| Code::FileUnwritable.says(format!("cannot write {}", path.display())))?;
    Ok(path.display().to_string())
}

async fn fetch(global: &Global) -> anyhow::Result<Topology> {
    let client = Client::new(global)?;
    let topology: Topology = client.get("/api/v1/topology", NOTHING).await?;
    anyhow::ensure!(
        topology.generation.0 > 0,
        Code::NotFound.says("no topology was ever applied; use `regmesh apply FILE`")
    );
    Ok(topology)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_in_place_whole_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("deep");
        for text in ["{}", "{\"a\": 1}"] {
            let path = put(&deep, DISCOVERY, text).unwrap();
            assert!(path.ends_with("deep/.well-known/openid-configuration"));
            assert_eq!(std::fs::read_to_string(path).unwrap(), text);
        }
        let below = std::fs::read_dir(deep.join(".well-known")).unwrap();
        assert_eq!(below.count(), 1, "nothing is left beside");
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(put(&directory.path().join("file"), KEYS, "{}").is_err());
    }
}
