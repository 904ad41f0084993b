//! `regmesh manifest`: what nodes hold, by manifest, with what is stored of each platform.

use clap::{Args, Subcommand};
use wire::api::{
    explain::Stored,
    inventory::{Manifest as Held, ManifestBody},
};

use super::repository;
use crate::{
    args::{Format, Global},
    client::Client,
    exit::{Exit, Wrong},
    output, table,
    target::Target,
};

/// What to do with manifests.
#[derive(Debug, Clone, Subcommand)]
pub enum Manifest {
    /// List the manifests of a repository on a node
    ListMetadata(List),
    /// Print one manifest as it came
    Show(One),
    /// Delete a tag or manifest from a node's storage
    Delete(repository::Delete),
}

/// `regmesh manifest list-metadata`
#[derive(Debug, Clone, Args)]
pub struct List {
    /// NODE/REPOSITORY
    pub repository: Target,
}

/// `regmesh manifest show`
#[derive(Debug, Clone, Args)]
pub struct One {
    /// NODE/REPOSITORY:TAG or NODE/REPOSITORY@DIGEST
    pub target: Target,
}

/// Does it.
///
/// # Errors
/// When the control plane or the node cannot be asked or refuses.
pub async fn run(manifest: Manifest, global: &Global) -> anyhow::Result<Exit> {
    match manifest {
        Manifest::ListMetadata(list) => print(list.repository, global).await,
        Manifest::Show(one) => show(one.target, global).await,
        Manifest::Delete(delete) => {
            if delete.target.reference.is_none() {
                let text =
                    "name a tag or digest; `regmesh repository delete` deletes a whole repository";
                return Err(Wrong(text.to_owned()).into());
            }
            repository::remove(delete.target, delete.yes, global).await
        }
    }
}

async fn print(target: Target, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let path = format!("/api/v1/nodes/{}/manifests", target.node);
    let held: Vec<Held> =
        repository::whole(&client, &path, Some(target.repository.as_str())).await?;
    output::object(global, &held, || {
        let rows = held.iter().map(|manifest| {
            let tags: Vec<String> = manifest.tags.iter().map(ToString::to_string).collect();
            [
                manifest.digest.to_string(),
                if tags.is_empty() {
                    table::NONE.to_owned()
                } else {
                    tags.join(",")
                },
                table::or_none(manifest.platform.as_ref()),
                table::bytes(manifest.size),
                stored(&manifest.stored, manifest.complete),
            ]
        });
        table::table(["digest", "tags", "platform", "size", "stored"], rows)
    })?;
    Ok(Exit::Ok)
}

/// What is stored, per platform, in a few words.
#[must_use]
pub fn stored(parts: &[Stored], complete: bool) -> String {
    if parts.is_empty() {
        return if complete { "complete" } else { "partial" }.to_owned();
    }
    let words = parts.iter().map(|part| {
        let platform = part
            .platform
            .as_ref()
            .map_or_else(|| "image".to_owned(), ToString::to_string);
        let state = match (part.complete, part.contents, part.of) {
            (true, ..) => "complete".to_owned(),
            (false, 0, _) => "not stored".to_owned(),
            (false, contents, Some(of)) => format!("{contents} of {of}"),
            (false, contents, None) => format!("{contents} contents"),
        };
        format!("{platform} {state}")
    });
    words.collect::<Vec<_>>().join("; ")
}

async fn show(target: Target, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let query = [
        ("repository", target.repository.to_string()),
        ("reference", target.reference_or_latest().to_string()),
    ];
    let found: ManifestBody = client
        .get(&format!("/api/v1/nodes/{}/manifest", target.node), &query)
        .await?;
    match global.output {
        Format::Table => {
            output::words(
                global,
                &format!("{}  {}", found.manifest.digest, found.manifest.media_type),
            );
            output::words(
                global,
                &stored(&found.manifest.stored, found.manifest.complete),
            );
            output::data(&found.body);
        }
        Format::Json | Format::Yaml => output::object(global, &found, String::new)?,
    }
    Ok(Exit::Ok)
}
