//! `regmesh role`: role assignments. They have no name in a topology; the API names each by what it says.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use wire::api::resource::Kind;

use super::resource;
use crate::{args::Global, client::NOTHING, exit::Exit};

/// What to do with role assignments.
#[derive(Debug, Clone, Subcommand)]
pub enum Role {
    /// Give somebody a role
    Assign(Assign),
    /// Take an assignment away
    Remove(Named),
    /// List assignments
    List,
}

/// `regmesh role assign`
#[derive(Debug, Clone, Args)]
pub struct Assign {
    /// The role, such as repository-reader
    pub role: String,
    /// Who: anonymous, authenticated, account:NAME, identity:NAME or node:NAME
    #[arg(
        long,
        value_name = "WHO",
        required_unless_present = "issuer",
        conflicts_with = "issuer"
    )]
    pub to: Option<String>,
    /// Who: whoever shows a token of this declared issuer, with all of the claims
    #[arg(long, requires = "claim")]
    pub issuer: Option<String>,
    /// A claim of that token and what it must be
    #[arg(long, value_name = "NAME=GLOB", value_parser = claim)]
    pub claim: Vec<(String, String)>,
    /// On which nodes; left out for the mesh-wide roles
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub on: Vec<String>,
    /// Repositories: exact, or ending in `*`; all when left out
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub repositories: Vec<String>,
    /// With identity-user: the identities that may be put into rules
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub identities: Vec<String>,
}

/// One assignment.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name, as `list` shows it
    pub name: String,
}

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(role: Role, global: &Global) -> anyhow::Result<Exit> {
    match role {
        Role::Assign(assign) => resource::create(global, Kind::Access, None, spec(assign)).await,
        Role::Remove(named) => resource::delete(global, Kind::Access, &named.name).await,
        Role::List => {
            let head = ["name", "role", "to", "on", "repositories"];
            resource::print_list(global, Kind::Access, NOTHING, head, |found| {
                let cell = |key| resource::cell(&found.spec, key);
                [
                    found.name.clone(),
                    cell("allow"),
                    cell("to"),
                    cell("on"),
                    cell("repositories"),
                ]
            })
            .await
        }
    }
}

fn spec(assign: Assign) -> Value {
    let claims: Map<String, Value> = assign
        .claim
        .into_iter()
        .map(|(name, glob)| (name, json!(glob)))
        .collect();
    let to = match assign.issuer {
        Some(issuer) => json!({"issuer": issuer, "claims": claims}),
        None => json!(assign.to),
    };
    let mut spec = Map::new();
    spec.insert("allow".to_owned(), json!(assign.role));
    spec.insert("to".to_owned(), to);
    for (key, list) in [
        ("on", assign.on),
        ("repositories", assign.repositories),
        ("identities", assign.identities),
    ] {
        if !list.is_empty() {
            spec.insert(key.to_owned(), json!(list));
        }
    }
    Value::Object(spec)
}

fn claim(text: &str) -> Result<(String, String), String> {
    let (name, glob) = text.split_once('=').ok_or("a claim is written NAME=GLOB")?;
    Ok((name.to_owned(), glob.to_owned()))
}
