//! `regmesh role`: role assignments. They have no name in a topology; the API names each by what it says.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use wire::{
    api::{
        effective::{Effective, Holder},
        resource::Kind,
    },
    name::NodeName,
    repository::RepositoryName,
};

use super::Certain;
use super::resource;
use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    output, table,
};

/// What to do with role assignments.
#[derive(Debug, Clone, Subcommand)]
pub enum Role {
    /// Give somebody a role
    Assign(Assign),
    /// Take an assignment away
    Remove(Certain<Named>),
    /// List assignments, or what they come to in one repository
    List(List),
}

/// `regmesh role list`
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Who may read, write and delete there, and through which assignment
    #[arg(long, value_name = "NODE/REPO", value_parser = place)]
    pub effective: Option<Place>,
}

/// A repository of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    node: NodeName,
    repository: RepositoryName,
}

/// `regmesh role assign`
#[derive(Debug, Clone, Args)]
pub struct Assign {
    /// The role, such as repository-reader
    pub role: String,
    /// Who: anonymous, authenticated, account:NAME, identity:NAME, node:NAME, or issuer and claims as `list --effective` prints them
    #[arg(
        long,
        value_name = "WHO",
        value_parser = whom,
        required_unless_present = "issuer",
        conflicts_with = "issuer"
    )]
    pub to: Option<Value>,
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
        Role::Remove(certain) => {
            let named =
                certain.not_denied(|named| format!("remove role assignment {}", named.name))?;
            resource::delete(global, Kind::Access, &named.name).await
        }
        Role::List(List {
            effective: Some(place),
        }) => effective(global, &place).await,
        Role::List(List { effective: None }) => {
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

async fn effective(global: &Global, place: &Place) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let path = format!("/api/v1/nodes/{}/effective", place.node);
    let query = [("repository", place.repository.to_string())];
    let found: Effective = client.get(&path, &query).await?;
    output::object(global, &found, || {
        let head = ["who", "read", "write", "delete", "through", "rules"];
        table::table(head, found.holders.iter().map(row))
    })?;
    if found.holders.is_empty() {
        output::words(global, "nobody may do anything there");
    }
    Ok(Exit::Ok)
}

fn row(holder: &Holder) -> [String; 6] {
    let may = |may: bool| if may { "yes" } else { table::NONE }.to_owned();
    let through = holder.through.iter().map(|through| {
        let role = serde_json::to_value(through.role).unwrap_or_default();
        format!(
            "{} ({})",
            through.assignment,
            role.as_str().unwrap_or_default()
        )
    });
    let through: Vec<String> = through.collect();
    let rules = Some(holder.rules.join(", ")).filter(|text| !text.is_empty());
    [
        holder.who.clone(),
        may(holder.read),
        may(holder.write),
        may(holder.delete),
        through.join(", "),
        table::or_none(rules),
    ]
}

fn place(text: &str) -> Result<Place, String> {
    let (node, repository) = text.split_once('/').ok_or("it is written NODE/REPO")?;
    Ok(Place {
        node: node.parse().map_err(|error| format!("{error}"))?,
        repository: repository.parse().map_err(|error| format!("{error}"))?,
    })
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

/// A principal as a topology writes it: a word, or issuer and claims, here as JSON. What is in it is the control plane's to judge.
fn whom(text: &str) -> Result<Value, String> {
    if !text.trim_start().starts_with('{') {
        return Ok(json!(text));
    }
    serde_json::from_str(text).map_err(|error| {
        format!("this is no JSON such as {{\"issuer\":\"github\",\"claims\":{{\"sub\":\"repo:a/*\"}}}}: {error}")
    })
}

fn claim(text: &str) -> Result<(String, String), String> {
    let (name, glob) = text.split_once('=').ok_or("a claim is written NAME=GLOB")?;
    Ok((name.to_owned(), glob.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use wire::{api::effective::Through, assignment::Role, pattern::Pattern};

    use super::*;

    #[test]
    fn a_place_is_a_node_and_a_repository_there() {
        let read = place("prod/promoted/team-a/api").unwrap();
        assert_eq!(read.node.as_str(), "prod");
        assert_eq!(read.repository.as_str(), "promoted/team-a/api");
        for bad in [
            "prod",
            "prod/",
            "/api",
            "Prod/api",
            "prod/api:1",
            "prod/a/*",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn whoever_the_list_names_can_be_assigned_to() {
        let who = r#"{"issuer":"github","claims":{"repository":"team/app","ref":"refs/heads/*"}}"#;
        assert_eq!(
            whom(who),
            Ok(
                json!({"issuer": "github", "claims": {"repository": "team/app", "ref": "refs/heads/*"}})
            )
        );
        assert_eq!(whom("account:ci"), Ok(json!("account:ci")));
        assert!(whom("{issuer").is_err());
        let called = [
            "regmesh",
            "role",
            "assign",
            "repository-reader",
            "--to",
            who,
        ];
        let args = crate::args::Args::try_parse_from(called).unwrap();
        let crate::args::Command::Role(super::Role::Assign(assign)) = args.command else {
            panic!("{args:?}")
        };
        assert_eq!(spec(assign)["to"]["issuer"], "github");
    }

    #[test]
    fn a_row_says_what_somebody_may_and_why() {
        let through = |assignment: &str, role| Through {
            assignment: assignment.to_owned(),
            role,
            repositories: vec![Pattern::All],
        };
        let holder = Holder {
            who: "identity:promoter".to_owned(),
            read: true,
            write: false,
            delete: true,
            through: vec![
                through("a1", Role::RepositoryReader),
                through("a2", Role::RepositoryDeleter),
            ],
            rules: vec!["prod/promote".to_owned()],
        };
        assert_eq!(
            row(&holder),
            [
                "identity:promoter",
                "yes",
                "-",
                "yes",
                "a1 (repository-reader), a2 (repository-deleter)",
                "prod/promote"
            ]
        );
    }
}
