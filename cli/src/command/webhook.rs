//! `regmesh webhook`: who is told about pushes and deletes, whether they can be, and how it went.

use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use wire::{
    api::{inventory::WebhookDelivery, problem::Problem, resource::Kind, status::Delivery},
    name::NodeName,
};

use super::Certain;
use super::resource;
use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    output, table,
};

/// What to do with webhooks.
#[derive(Debug, Clone, Subcommand)]
pub enum Webhook {
    /// Make one
    Create(Create),
    /// Show one
    Show(Named),
    /// List them
    List,
    /// Change one
    Update(Update),
    /// Delete one
    Delete(Certain<Named>),
    /// Have every node of it send a ping now, and say what the receiver answered
    Ping(Named),
    /// Show its newest deliveries
    ListEvents(ListEvents),
}

/// `regmesh webhook create`
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Its name
    #[arg(short, long)]
    pub name: String,
    /// Nodes whose events it gets
    #[arg(
        short = 'r',
        long = "registry",
        value_name = "NODE",
        required = true,
        value_delimiter = ','
    )]
    pub registry: Vec<String>,
    /// Where events are sent
    #[arg(long, alias = "uri")]
    pub url: String,
    /// What it gets beside
    #[command(flatten)]
    pub about: About,
}

/// What a webhook gets.
#[derive(Debug, Clone, Args)]
pub struct About {
    /// push, delete, copy_failed, served_stale, recalled
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    pub actions: Vec<String>,
    /// `repo` (all its tags), `repo:tag`, `prefix*`, or empty for all
    #[arg(long)]
    pub scope: Option<String>,
    /// A header sent along
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// Where the key of the signature is: env:NAME or file:PATH
    #[arg(long, value_name = "REF", value_parser = resource::secret)]
    pub secret: Option<Value>,
    /// Whether it is in force
    #[arg(long, value_name = "true|false")]
    pub enabled: Option<bool>,
}

/// `regmesh webhook update`
#[derive(Debug, Clone, Args)]
pub struct Update {
    /// Its name
    #[arg(short, long)]
    pub name: String,
    /// Where events are sent from now on
    #[arg(long, alias = "uri")]
    pub url: Option<String>,
    /// What it gets from now on
    #[command(flatten)]
    pub about: About,
}

/// One webhook.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name
    #[arg(short, long)]
    pub name: String,
}

/// `regmesh webhook list-events`
#[derive(Debug, Clone, Args)]
pub struct ListEvents {
    /// Its name
    #[arg(short, long)]
    pub name: String,
    /// Only deliveries of this node
    #[arg(short = 'r', long = "registry", value_name = "NODE")]
    pub registry: Option<String>,
    /// How many of each node
    #[arg(long, default_value_t = 20)]
    pub limit: u32,
}

/// What one node answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfNode<T> {
    node: NodeName,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(webhook: Webhook, global: &Global) -> anyhow::Result<Exit> {
    let kind = Kind::Webhooks;
    match webhook {
        Webhook::Create(create) => {
            let mut spec = about(create.about);
            spec.insert("on".to_owned(), json!(create.registry));
            spec.insert("url".to_owned(), json!(create.url));
            resource::create(global, kind, Some(&create.name), Value::Object(spec)).await
        }
        Webhook::Show(named) => resource::show(global, kind, &named.name).await,
        Webhook::List => {
            resource::print_list(
                global,
                kind,
                NOTHING,
                ["name", "on", "url", "actions", "scope"],
                |found| {
                    let cell = |key| resource::cell(&found.spec, key);
                    [
                        found.name.clone(),
                        cell("on"),
                        cell("url"),
                        cell("actions"),
                        cell("scope"),
                    ]
                },
            )
            .await
        }
        Webhook::Update(update) => {
            resource::update(global, kind, &update.name, |_| {
                let mut patch = about(update.about);
                if let Some(url) = update.url {
                    patch.insert("url".to_owned(), json!(url));
                }
                Ok(Value::Object(patch))
            })
            .await
        }
        Webhook::Delete(certain) => {
            let named = certain.not_denied(|named| format!("delete webhook {}", named.name))?;
            resource::delete(global, kind, &named.name).await
        }
        Webhook::Ping(named) => ping(&named.name, global).await,
        Webhook::ListEvents(list) => list_events(list, global).await,
    }
}

fn about(about: About) -> Map<String, Value> {
    let mut spec = Map::new();
    if !about.actions.is_empty() {
        spec.insert("actions".to_owned(), json!(about.actions));
    }
    if let Some(scope) = about.scope {
        spec.insert("scope".to_owned(), json!(scope));
    }
    if !about.headers.is_empty() {
        let headers: Map<String, Value> = about
            .headers
            .into_iter()
            .map(|(name, value)| (name, json!(value)))
            .collect();
        spec.insert("headers".to_owned(), Value::Object(headers));
    }
    if let Some(secret) = about.secret {
        spec.insert("secret".to_owned(), secret);
    }
    if let Some(enabled) = about.enabled {
        spec.insert("enabled".to_owned(), json!(enabled));
    }
    spec
}

async fn ping(name: &str, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let path = format!("{}/ping", resource::path(Kind::Webhooks, name));
    let answers: Vec<OfNode<Delivery>> = client
        .send(Method::POST, &path, NOTHING, &json!({}))
        .await?;
    output::object(global, &answers, || {
        let rows = answers.iter().map(|of| {
            let said = match (&of.answer, &of.problem) {
                (
                    Some(Delivery {
                        status: Some(status),
                        ..
                    }),
                    _,
                ) => status.to_string(),
                (Some(delivery), _) => delivery.error.clone().unwrap_or_default(),
                (None, Some(problem)) => problem.detail.clone(),
                (None, None) => table::NONE.to_owned(),
            };
            [of.node.to_string(), said]
        });
        table::table(["node", "the receiver said"], rows)
    })?;
    let delivered = |of: &OfNode<Delivery>| {
        let status = of.answer.as_ref().and_then(|delivery| delivery.status);
        status.is_some_and(|status| (200..300).contains(&status))
    };
    Ok(if answers.iter().all(delivered) {
        Exit::Ok
    } else {
        Exit::CheckFailed
    })
}

async fn list_events(list: ListEvents, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let mut query = vec![("limit", list.limit.to_string())];
    query.extend(list.registry.map(|node| ("node", node)));
    let path = format!("{}/deliveries", resource::path(Kind::Webhooks, &list.name));
    let answers: Vec<OfNode<Vec<WebhookDelivery>>> = client.get(&path, &query).await?;
    output::object(global, &answers, || {
        let rows = answers.iter().flat_map(|of| {
            of.answer.iter().flatten().map(|delivery| {
                let target = &delivery.event.target;
                [
                    of.node.to_string(),
                    delivery.event.timestamp.to_string(),
                    delivery.event.action.as_str().to_owned(),
                    match &target.tag {
                        Some(tag) => format!("{}:{tag}", target.repository),
                        None => target.repository.to_string(),
                    },
                    match (&delivery.status, &delivery.error) {
                        (Some(status), _) => status.to_string(),
                        (None, Some(error)) => error.clone(),
                        (None, None) => "waiting".to_owned(),
                    },
                    delivery.attempts.to_string(),
                ]
            })
        });
        table::table(
            ["node", "time", "action", "target", "receiver", "attempts"],
            rows,
        )
    })?;
    for of in &answers {
        if let Some(problem) = &of.problem {
            output::words(global, &format!("{}: {}", of.node, problem.detail));
        }
    }
    Ok(Exit::Ok)
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("a header is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
