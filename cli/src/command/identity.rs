//! `regmesh identity`: what rules authenticate as, and on which nodes.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use wire::api::resource::Kind as Resource;

use super::Certain;
use super::resource;
use crate::{args::Global, client::NOTHING, exit::Exit, fault::Code};

/// What to do with identities.
#[derive(Debug, Clone, Subcommand)]
pub enum Identity {
    /// Make one
    Create(Box<Create>),
    /// Attach one to a node, so that rules there may use it
    Assign(OnNode),
    /// Detach one from a node
    Remove(Certain<OnNode>),
    /// Show one
    Show(Named),
    /// List them
    List,
    /// Delete one that no rule uses
    Delete(Certain<Named>),
}

/// The kinds of identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Minted by the control plane, short-lived, for one rule at a time
    Managed,
    /// A managed identity of the machine or pod
    Azure,
    /// A foreign tenant or mesh trusts our issuer
    Federated,
}

/// `regmesh identity create`
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Its name
    #[arg(short, long)]
    pub name: String,
    /// Its kind
    #[arg(long, value_enum, default_value_t = Kind::Managed)]
    pub kind: Kind,
    /// Nodes whose rules may use it
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub on: Vec<String>,
    /// Sources that it may ever be presented for; all of its kind when left out
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub sources: Vec<String>,
    /// Client id: of the Azure identity, or at the foreign token endpoint
    #[arg(long)]
    pub client_id: Option<String>,
    /// Object id of the Azure identity
    #[arg(long)]
    pub object_id: Option<String>,
    /// ARM resource id of the Azure identity
    #[arg(long)]
    pub resource_id: Option<String>,
    /// Scope of the token
    #[arg(long)]
    pub scope: Option<String>,
    /// Audience of the federation token
    #[arg(long)]
    pub audience: Option<String>,
    /// The foreign token endpoint
    #[arg(long)]
    pub token_url: Option<String>,
    /// How it is asked; `client-assertion` with --token-url, `direct` without
    #[arg(long, value_enum)]
    pub flow: Option<Flow>,
    /// What is shown to it: `mesh` (our own federation token, the default) or the name of an azure identity
    #[arg(long, value_name = "IDENTITY")]
    pub assertion: Option<String>,
    /// How the result is shown to the registry; `exchange` when left out
    #[arg(long, value_enum)]
    pub present: Option<Present>,
    /// User name that goes with `--present password`, as Google's oauth2accesstoken
    #[arg(long)]
    pub username: Option<String>,
}

/// How a foreign token endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flow {
    /// Client credentials with a client assertion, as Entra has it
    ClientAssertion,
    /// RFC 8693, as Google and Quay have it
    TokenExchange,
    /// No token service between: the upstream lists our issuer
    Direct,
}

/// How a foreign token is shown to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Present {
    /// In the exchange, as registries of Azure and nodes take it
    Exchange,
    /// As a password
    Password,
}

/// An identity and a node.
#[derive(Debug, Clone, Args)]
pub struct OnNode {
    /// Its name
    #[arg(short, long)]
    pub name: String,
    /// The node
    #[arg(short = 'r', long = "registry", alias = "node", value_name = "NODE")]
    pub registry: String,
}

/// One identity.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name
    #[arg(short, long)]
    pub name: String,
}

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(identity: Identity, global: &Global) -> anyhow::Result<Exit> {
    let kind = Resource::Identities;
    match identity {
        Identity::Create(create) => {
            let name = create.name.clone();
            resource::create(global, kind, Some(&name), spec(*create)).await
        }
        Identity::Assign(at) => {
            let node = at.registry;
            resource::update(global, kind, &at.name, |spec| {
                let on = resource::with_node(spec.get("on"), &node)?;
                let on = on.ok_or_else(|| {
                    Code::NoChange.error(format!("it is attached to node '{node}' already"))
                })?;
                Ok(json!({ "on": on }))
            })
            .await
        }
        Identity::Remove(certain) => {
            let at = certain
                .not_denied(|at| format!("take identity {} from node {}", at.name, at.registry))?;
            let node = at.registry;
            resource::update(global, kind, &at.name, |spec| {
                let on = resource::without_node(spec.get("on"), &node)?;
                let on = on.ok_or_else(|| {
                    Code::NotFound.error(format!("it is not attached to node '{node}'"))
                })?;
                Ok(json!({ "on": on }))
            })
            .await
        }
        Identity::Show(named) => resource::show(global, kind, &named.name).await,
        Identity::List => {
            resource::print_list(
                global,
                kind,
                NOTHING,
                ["name", "kind", "on", "sources"],
                |found| {
                    let cell = |key| resource::cell(&found.spec, key);
                    [
                        found.name.clone(),
                        cell("kind"),
                        cell("on"),
                        cell("sources"),
                    ]
                },
            )
            .await
        }
        Identity::Delete(certain) => {
            let named = certain.not_denied(|named| format!("delete identity {}", named.name))?;
            resource::delete(global, kind, &named.name).await
        }
    }
}

fn spec(create: Create) -> Value {
    let kind = match create.kind {
        Kind::Managed => "managed",
        Kind::Azure => "azure",
        Kind::Federated => "federated",
    };
    let mut spec = Map::new();
    spec.insert("kind".to_owned(), json!(kind));
    for (key, list) in [("on", create.on), ("sources", create.sources)] {
        if !list.is_empty() {
            spec.insert(key.to_owned(), json!(list));
        }
    }
    for (key, value) in [
        ("clientId", create.client_id),
        ("objectId", create.object_id),
        ("resourceId", create.resource_id),
        ("scope", create.scope),
        ("audience", create.audience),
        ("tokenUrl", create.token_url),
        ("flow", create.flow.map(word)),
        ("assertion", create.assertion),
        ("present", create.present.map(word)),
        ("username", create.username),
    ] {
        if let Some(value) = value {
            spec.insert(key.to_owned(), json!(value));
        }
    }
    Value::Object(spec)
}

/// The document's word, which is the flag's.
fn word<V: ValueEnum>(value: V) -> String {
    let word = value.to_possible_value();
    word.map(|word| word.get_name().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        identity: Identity,
    }

    fn made(words: &[&str]) -> Value {
        let line = ["regmesh", "create"].iter().chain(words);
        match Line::try_parse_from(line).unwrap().identity {
            Identity::Create(create) => spec(*create),
            other @ (Identity::Assign(_)
            | Identity::Remove(_)
            | Identity::Show(_)
            | Identity::List
            | Identity::Delete(_)) => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn every_key_of_an_identity_has_its_flag() {
        let partner = made(&[
            "-n",
            "partner",
            "--kind",
            "federated",
            "--on",
            "dev,hub",
            "--sources",
            "partner.azurecr.io/*",
            "--client-id",
            "c",
            "--scope",
            "s",
            "--audience",
            "a",
            "--token-url",
            "https://t.example/token",
            "--flow",
            "token-exchange",
            "--assertion",
            "umi",
            "--present",
            "password",
            "--username",
            "oauth2accesstoken",
        ]);
        let wanted = json!({
            "kind": "federated", "on": ["dev", "hub"], "sources": ["partner.azurecr.io/*"], "clientId": "c", "scope": "s",
            "audience": "a", "tokenUrl": "https://t.example/token", "flow": "token-exchange", "assertion": "umi",
            "present": "password", "username": "oauth2accesstoken",
        });
        assert_eq!(partner, wanted);
        let azure = made(&[
            "-n",
            "umi",
            "--kind",
            "azure",
            "--object-id",
            "o",
            "--resource-id",
            "/subscriptions/s",
        ]);
        let wanted = json!({"kind": "azure", "objectId": "o", "resourceId": "/subscriptions/s"});
        assert_eq!(azure, wanted);
        assert_eq!(made(&["-n", "m", "--flow", "direct"])["flow"], "direct");
        assert_eq!(
            made(&["-n", "m", "--present", "exchange"])["present"],
            "exchange"
        );
    }
}
