//! `regmesh repository`: what nodes hold, by repository.

use clap::{Args, Subcommand};
use http::Method;
use serde::Serialize;
use wire::{
    api::{
        inventory::{Deleted, Listed, Repository as Held, Tag},
        mesh::{Health, MeshStatus},
    },
    name::NodeName,
};

use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    fault::Code,
    output, table,
    target::Target,
};

/// What to do with repositories.
#[derive(Debug, Clone, Subcommand)]
pub enum Repository {
    /// List repositories of a node, or of every connected node
    List(List),
    /// Show one repository of a node: its tags and bytes
    Show(One),
    /// List the tags of a repository
    ShowTags(One),
    /// Delete a repository, or one tag or manifest of it, from a node's storage; what a rule covers is filled again by the next pull
    Delete(Delete),
}

/// `regmesh repository list`
#[derive(Debug, Clone, Args)]
pub struct List {
    /// The node
    pub node: Option<NodeName>,
}

/// One repository of a node.
#[derive(Debug, Clone, Args)]
pub struct One {
    /// NODE/REPOSITORY
    pub repository: Target,
}

/// `regmesh repository delete`
#[derive(Debug, Clone, Args)]
pub struct Delete {
    /// `NODE/REPOSITORY[:TAG|@DIGEST]`
    pub target: Target,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// A repository of a node, as `list` prints it.
#[derive(Debug, Serialize)]
struct OfNode {
    node: NodeName,
    #[serde(flatten)]
    repository: Held,
}

/// Does it.
///
/// # Errors
/// When the control plane or the node cannot be asked or refuses.
pub async fn run(repository: Repository, global: &Global) -> anyhow::Result<Exit> {
    match repository {
        Repository::List(list) => print(list, global).await,
        Repository::Show(one) => show(one.repository, global).await,
        Repository::ShowTags(one) => show_tags(one.repository, global).await,
        Repository::Delete(delete) => remove(delete.target, delete.yes, global).await,
    }
}

/// Every part of a list of a node.
///
/// # Errors
/// When the control plane or the node cannot be asked or refuses.
pub async fn whole<T: serde::de::DeserializeOwned>(
    client: &Client,
    path: &str,
    repository: Option<&str>,
) -> anyhow::Result<Vec<T>> {
    let mut items = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(repository.map(|name| ("repository", name.to_owned())));
        query.extend(after.take().map(|after| ("after", after)));
        let part: Listed<T> = client.get(path, &query).await?;
        items.extend(part.items);
        match part.next {
            Some(next) => after = Some(next),
            None => return Ok(items),
        }
    }
}

async fn print(list: List, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let nodes = match list.node {
        Some(node) => vec![node],
        None => connected(&client).await?,
    };
    let mut all = Vec::new();
    for node in nodes {
        let held =
            whole::<Held>(&client, &format!("/api/v1/nodes/{node}/repositories"), None).await?;
        all.extend(held.into_iter().map(|repository| OfNode {
            node: node.clone(),
            repository,
        }));
    }
    output::object(global, &all, || {
        let rows = all.iter().map(|of| {
            [
                of.node.to_string(),
                of.repository.name.to_string(),
                table::or_none(of.repository.rule.as_ref()),
                of.repository.tags.to_string(),
                of.repository.manifests.to_string(),
                table::bytes(of.repository.bytes),
            ]
        });
        table::table(
            ["node", "repository", "rule", "tags", "manifests", "stored"],
            rows,
        )
    })?;
    Ok(Exit::Ok)
}

async fn connected(client: &Client) -> anyhow::Result<Vec<NodeName>> {
    let status: MeshStatus = client.get("/api/v1/status", NOTHING).await?;
    let here = |health| !matches!(health, Health::Absent | Health::Disconnected);
    Ok(status
        .nodes
        .into_iter()
        .filter(|node| here(node.health))
        .map(|node| node.name)
        .collect())
}

async fn tags(client: &Client, target: &Target) -> anyhow::Result<Vec<Tag>> {
    let path = format!("/api/v1/nodes/{}/tags", target.node);
    whole(client, &path, Some(target.repository.as_str())).await
}

async fn show(target: Target, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let path = format!("/api/v1/nodes/{}/repositories", target.node);
    let held: Vec<Held> = whole(&client, &path, None).await?;
    let found = held.into_iter().find(|held| held.name == target.repository);
    let found = found.ok_or_else(|| {
        Code::NotFound.error(format!(
            "node '{}' holds nothing of a repository '{}'",
            target.node, target.repository
        ))
    })?;
    output::object(global, &found, || {
        format!(
            "repository:  {}\nnode:        {}\nrule:        {}\ntags:        {}\nmanifests:   {}\nstored:      {}",
            found.name,
            target.node,
            table::or_none(found.rule.as_ref()),
            found.tags,
            found.manifests,
            table::bytes(found.bytes)
        )
    })?;
    Ok(Exit::Ok)
}

async fn show_tags(target: Target, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let tags = tags(&client, &target).await?;
    output::object(global, &tags, || {
        let rows = tags.iter().map(|tag| {
            [
                tag.name.to_string(),
                tag.digest.to_string(),
                if tag.complete { "complete" } else { "partial" }.to_owned(),
                table::or_none(tag.checked_at),
            ]
        });
        table::table(["tag", "digest", "stored", "last checked"], rows)
    })?;
    Ok(Exit::Ok)
}

/// Deletes a repository, tag or manifest of a node.
///
/// # Errors
/// When nobody agrees, or the control plane or the node cannot be asked or refuses.
pub async fn remove(target: Target, yes: bool, global: &Global) -> anyhow::Result<Exit> {
    let what = match &target.reference {
        Some(reference) => format!("{} of {}", reference, target.repository),
        None => format!("all of {}", target.repository),
    };
    super::agree(
        yes,
        &format!("delete {what} from the storage of {}", target.node),
    )?;
    let client = Client::new(global)?;
    let mut query = vec![("repository", target.repository.to_string())];
    let path = match &target.reference {
        Some(reference) => {
            query.push(("reference", reference.to_string()));
            format!("/api/v1/nodes/{}/manifest", target.node)
        }
        None => format!("/api/v1/nodes/{}/repository", target.node),
    };
    let deleted: Deleted = client.send(Method::DELETE, &path, &query, &()).await?;
    output::object(global, &deleted, || {
        format!(
            "{} tags and {} manifests deleted",
            deleted.tags, deleted.manifests
        )
    })?;
    Ok(Exit::Ok)
}
