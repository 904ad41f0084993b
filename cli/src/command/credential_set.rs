//! `regmesh credential-set`: a user name and a password for one registry, by reference.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use wire::api::{doctor, resource::Kind};

use super::Certain;
use super::resource;
use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    output,
};

/// What to do with credential sets.
#[derive(Debug, Clone, Subcommand)]
pub enum CredentialSet {
    /// Make one; secrets stay where they are, only references are kept
    Create(Create),
    /// Show one, and whether it can be read and is accepted
    Show(Named),
    /// List them
    List,
    /// Change its references
    Update(Update),
    /// Delete one that no rule uses
    Delete(Certain<Named>),
}

/// `regmesh credential-set create`
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Its name
    #[arg(short, long)]
    pub name: String,
    /// The registry it is for: `HOST[:PORT]`
    #[arg(short, long, value_name = "HOST")]
    pub login_server: String,
    /// Where the user name is: env:NAME, file:PATH or a Key Vault URL
    #[arg(short, long = "username", alias = "username-id", value_name = "REF", value_parser = resource::secret)]
    pub username: Value,
    /// Where the password is: env:NAME, file:PATH or a Key Vault URL
    #[arg(short, long = "password", alias = "password-id", value_name = "REF", value_parser = resource::secret)]
    pub password: Value,
}

/// `regmesh credential-set update`
#[derive(Debug, Clone, Args)]
pub struct Update {
    /// Its name
    #[arg(short, long)]
    pub name: String,
    /// Where the user name is from now on
    #[arg(short, long = "username", alias = "username-id", value_name = "REF", value_parser = resource::secret)]
    pub username: Option<Value>,
    /// Where the password is from now on
    #[arg(short, long = "password", alias = "password-id", value_name = "REF", value_parser = resource::secret)]
    pub password: Option<Value>,
}

/// One credential set.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name
    #[arg(short, long)]
    pub name: String,
}

/// A credential set with its health: what `show` prints.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    resource: wire::api::resource::Resource,
    health: Health,
}

/// `GET /api/v1/credentials/{name}/health`.
#[derive(Debug, Serialize, Deserialize)]
struct Health {
    /// Findings of the nodes whose rules use it.
    checks: Vec<doctor::Check>,
}

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(set: CredentialSet, global: &Global) -> anyhow::Result<Exit> {
    match set {
        CredentialSet::Create(create) => {
            let spec = json!({
                "loginServer": create.login_server,
                "username": create.username,
                "password": create.password,
            });
            resource::create(global, Kind::Credentials, Some(&create.name), spec).await
        }
        CredentialSet::Show(named) => show(&named.name, global).await,
        CredentialSet::List => {
            let head = ["name", "login server", "username", "password"];
            resource::print_list(global, Kind::Credentials, NOTHING, head, |set| {
                let cell = |key| resource::cell(&set.spec, key);
                [
                    set.name.clone(),
                    cell("loginServer"),
                    cell("username"),
                    cell("password"),
                ]
            })
            .await
        }
        CredentialSet::Update(update) => {
            resource::update(global, Kind::Credentials, &update.name, |_| {
                let mut patch = Map::new();
                for (key, value) in [("username", update.username), ("password", update.password)] {
                    if let Some(value) = value {
                        // A merge patch would leave the other kind of reference beside the new one.
                        patch.insert(key.to_owned(), alone(value));
                    }
                }
                Ok(Value::Object(patch))
            })
            .await
        }
        CredentialSet::Delete(certain) => {
            let named =
                certain.not_denied(|named| format!("delete credential set {}", named.name))?;
            resource::delete(global, Kind::Credentials, &named.name).await
        }
    }
}

/// A reference that removes the other kinds of reference.
fn alone(reference: Value) -> Value {
    let mut all = json!({"env": null, "file": null, "keyVault": null});
    if let (Some(all), Some(named)) = (all.as_object_mut(), reference.as_object()) {
        all.extend(named.clone());
    }
    all
}

async fn show(name: &str, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let found = resource::get(&client, Kind::Credentials, name).await?;
    let path = format!("{}/health", resource::path(Kind::Credentials, name));
    let health: Health = client.get(&path, NOTHING).await?;
    let shown = Shown {
        resource: found,
        health,
    };
    output::object(global, &shown, || {
        let cell = |key| resource::cell(&shown.resource.spec, key);
        let mut lines = vec![
            format!("name:          {name}"),
            format!("login server:  {}", cell("loginServer")),
            format!("username:      {}", cell("username")),
            format!("password:      {}", cell("password")),
        ];
        if shown.health.checks.is_empty() {
            lines.push("health:        no connected node has a rule that uses it".to_owned());
        }
        lines.extend(shown.health.checks.iter().map(super::doctor::line));
        lines.join("\n")
    })?;
    let failed = shown
        .health
        .checks
        .iter()
        .any(|check| check.outcome == doctor::Outcome::Failed);
    Ok(if failed { Exit::CheckFailed } else { Exit::Ok })
}
