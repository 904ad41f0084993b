//! `regmesh cache`: cache rules, with the flags of `az acr cache`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use wire::api::resource::Kind;

use super::Certain;
use super::resource;
use crate::{args::Global, client::Client, exit::Exit, fault::Code};

/// What to do with cache rules.
#[derive(Debug, Clone, Subcommand)]
pub enum Cache {
    /// Make a rule
    Create(Create),
    /// Show a rule
    Show(Named),
    /// List rules
    List(List),
    /// Change how a rule authenticates or behaves
    Update(Update),
    /// Delete a rule, or take it off one of its nodes; what it stored stays
    Delete(Certain<Named>),
}

/// `regmesh cache create`
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// The node that gets it; several for a rule on each
    #[arg(
        short = 'r',
        long = "registry",
        value_name = "NODE",
        required = true,
        value_delimiter = ','
    )]
    pub registry: Vec<String>,
    /// Its name
    #[arg(short, long)]
    pub name: String,
    /// HOST/REPO, node://NODE/REPO or parent://REPO, perhaps ending in `*`
    #[arg(short, long = "source", alias = "source-repo")]
    pub source: String,
    /// A repository of the node; ends in `*` exactly when the source does
    #[arg(short, long = "target", alias = "target-repo")]
    pub target: String,
    /// How it authenticates
    #[command(flatten)]
    pub authentication: Authentication,
    /// How it behaves
    #[command(flatten)]
    pub behaviour: Behaviour,
}

/// How a rule authenticates to its upstream.
#[derive(Debug, Clone, Args)]
pub struct Authentication {
    /// The identity it calls its upstream as
    #[arg(long, conflicts_with = "cred_set")]
    pub identity: Option<String>,
    /// The credential set it calls its upstream with
    #[arg(short, long = "cred-set", value_name = "CREDENTIAL_SET")]
    pub cred_set: Option<String>,
}

/// How a rule behaves.
#[derive(Debug, Clone, Args)]
pub struct Behaviour {
    /// When a tag is asked for again: `always`, a duration, or `never`
    #[arg(long, value_name = "WHEN")]
    pub check: Option<String>,
    /// How long past its last check a tag is served while the upstream is away: `forever`, a duration, or `never`
    #[arg(long, value_name = "HOW_LONG")]
    pub serve_stale: Option<String>,
    /// `requested`, `all`, or a list such as linux/amd64,linux/arm64
    #[arg(long, value_name = "PLATFORMS")]
    pub platforms: Option<String>,
    /// `on-demand`, `with-image` or `none`
    #[arg(long)]
    pub referrers: Option<String>,
    /// `keep` or `deny`: what happens to a tag that was deleted upstream
    #[arg(long)]
    pub when_gone: Option<String>,
    /// Whether it is in force
    #[arg(long, value_name = "true|false")]
    pub enabled: Option<bool>,
}

/// One rule.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// The node; only of importance to `delete`, for a rule on several
    #[arg(short = 'r', long = "registry", value_name = "NODE")]
    pub registry: Option<String>,
    /// Its name
    #[arg(short, long)]
    pub name: String,
}

/// `regmesh cache list`
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Only rules of this node
    #[arg(short = 'r', long = "registry", value_name = "NODE")]
    pub registry: Option<String>,
}

/// `regmesh cache update`
#[derive(Debug, Clone, Args)]
pub struct Update {
    /// The node; taken for the habit, a rule is one thing on all its nodes
    #[arg(short = 'r', long = "registry", value_name = "NODE")]
    pub registry: Option<String>,
    /// Its name
    #[arg(short, long)]
    pub name: String,
    /// How it authenticates from now on
    #[command(flatten)]
    pub authentication: Authentication,
    /// Call the upstream anonymously
    #[arg(long, conflicts_with_all = ["identity", "cred_set"])]
    pub remove_cred_set: bool,
    /// How it behaves from now on
    #[command(flatten)]
    pub behaviour: Behaviour,
}

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(cache: Cache, global: &Global) -> anyhow::Result<Exit> {
    match cache {
        Cache::Create(create) => {
            let mut spec = Map::new();
            let on = match create.registry.as_slice() {
                [one] => json!(one),
                several => json!(several),
            };
            spec.insert("on".to_owned(), on);
            spec.insert("source".to_owned(), json!(create.source));
            spec.insert("target".to_owned(), json!(create.target));
            authenticate(&create.authentication, &mut spec);
            behave(&create.behaviour, &mut spec);
            spec.retain(|_, value| !value.is_null());
            resource::create(global, Kind::Rules, Some(&create.name), Value::Object(spec)).await
        }
        Cache::Show(named) => resource::show(global, Kind::Rules, &named.name).await,
        Cache::List(list) => {
            let filter: Vec<(&str, String)> = list
                .registry
                .map(|node| ("node", node))
                .into_iter()
                .collect();
            resource::print_list(
                global,
                Kind::Rules,
                &filter,
                [
                    "name",
                    "on",
                    "source",
                    "target",
                    "authenticates with",
                    "enabled",
                ],
                |rule| {
                    let cell = |key| resource::cell(&rule.spec, key);
                    let with = match (rule.spec.get("identity"), rule.spec.get("credentials")) {
                        (Some(_), _) => format!("identity {}", cell("identity")),
                        (None, Some(_)) => format!("credential set {}", cell("credentials")),
                        (None, None) => "nothing".to_owned(),
                    };
                    let enabled = rule.spec.get("enabled") != Some(&Value::Bool(false));
                    [
                        rule.name.clone(),
                        cell("on"),
                        cell("source"),
                        cell("target"),
                        with,
                        enabled.to_string(),
                    ]
                },
            )
            .await
        }
        Cache::Update(update) => {
            resource::update(global, Kind::Rules, &update.name, |_| {
                let mut patch = Map::new();
                authenticate(&update.authentication, &mut patch);
                if update.remove_cred_set {
                    patch.insert("identity".to_owned(), Value::Null);
                    patch.insert("credentials".to_owned(), Value::Null);
                }
                behave(&update.behaviour, &mut patch);
                Ok(Value::Object(patch))
            })
            .await
        }
        Cache::Delete(certain) => {
            let named = certain.not_denied(|named| match &named.registry {
                Some(node) => format!("delete rule {} on node {node}", named.name),
                None => format!("delete rule {}", named.name),
            })?;
            delete(named, global).await
        }
    }
}

/// Deletes a rule; with a node, only there.
async fn delete(named: Named, global: &Global) -> anyhow::Result<Exit> {
    let Some(node) = named.registry else {
        return resource::delete(global, Kind::Rules, &named.name).await;
    };
    let client = Client::new(global)?;
    let rule = resource::get(&client, Kind::Rules, &named.name).await?;
    let rest = resource::without_node(rule.spec.get("on"), &node)?;
    match rest {
        None => anyhow::bail!(
            Code::NotFound.says(format!("rule '{}' is not on node '{node}'", named.name))
        ),
        Some(Value::Array(rest)) if !rest.is_empty() => {
            resource::update(global, Kind::Rules, &named.name, |_| {
                Ok(json!({ "on": rest }))
            })
            .await
        }
        Some(_) => resource::delete(global, Kind::Rules, &named.name).await,
    }
}

/// One of the two takes the place of whatever was there.
fn authenticate(with: &Authentication, patch: &mut Map<String, Value>) {
    if let Some(identity) = &with.identity {
        patch.insert("identity".to_owned(), json!(identity));
        patch.insert("credentials".to_owned(), Value::Null);
    }
    if let Some(set) = &with.cred_set {
        patch.insert("credentials".to_owned(), json!(set));
        patch.insert("identity".to_owned(), Value::Null);
    }
}

fn behave(behaviour: &Behaviour, patch: &mut Map<String, Value>) {
    let mut freshness = Map::new();
    if let Some(check) = &behaviour.check {
        freshness.insert("check".to_owned(), json!(check));
    }
    if let Some(stale) = &behaviour.serve_stale {
        freshness.insert("serveStale".to_owned(), json!(stale));
    }
    if !freshness.is_empty() {
        patch.insert("freshness".to_owned(), Value::Object(freshness));
    }
    if let Some(platforms) = &behaviour.platforms {
        let value = match platforms.as_str() {
            word @ ("all" | "requested") => json!(word),
            list => json!(list.split(',').map(str::trim).collect::<Vec<_>>()),
        };
        patch.insert("platforms".to_owned(), value);
    }
    for (key, value) in [
        ("referrers", &behaviour.referrers),
        ("whenGone", &behaviour.when_gone),
    ] {
        if let Some(value) = value {
            patch.insert(key.to_owned(), json!(value));
        }
    }
    if let Some(enabled) = behaviour.enabled {
        patch.insert("enabled".to_owned(), json!(enabled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_takes_the_place_of_a_credential_set() {
        let mut patch = Map::new();
        let with = Authentication {
            identity: Some("promoter".to_owned()),
            cred_set: None,
        };
        authenticate(&with, &mut patch);
        assert_eq!(
            Value::Object(patch),
            json!({"identity": "promoter", "credentials": null})
        );
    }
}
