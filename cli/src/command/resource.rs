//! What the commands of all kinds of resources share: create, show, list, update and delete over the API.
//!
//! The object printed with `-o json` is the API's own. A change is made on top of the generation that was read, so that two people
//! who change one resource at once do not undo each other: the second is told.

use http::Method;
use serde_json::{Value, json};
use wire::api::resource::{Kind, Resource, Resources};

use crate::{
    args::Global,
    client::{Client, NOTHING, Query},
    exit::Exit,
    fault::Code,
    output, table,
};

/// The path of one resource.
#[must_use]
pub fn path(kind: Kind, name: &str) -> String {
    let mut url: url::Url = "http://api/api/v1/".parse().expect("a fixed URL");
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(kind.as_str()).push(name);
    }
    url.path().to_owned()
}

/// One resource.
///
/// # Errors
/// When there is none, or the control plane cannot be asked.
pub async fn get(client: &Client, kind: Kind, name: &str) -> anyhow::Result<Resource> {
    client.get(&path(kind, name), NOTHING).await
}

/// All of a kind, or those that a filter leaves.
///
/// # Errors
/// When the control plane cannot be asked.
pub async fn list(client: &Client, kind: Kind, filter: Query<'_>) -> anyhow::Result<Resources> {
    client.get(&format!("/api/v1/{kind}"), filter).await
}

/// Makes one and prints it.
///
/// # Errors
/// When it exists, is not valid, or the control plane cannot be asked.
pub async fn create(
    global: &Global,
    kind: Kind,
    name: Option<&str>,
    spec: Value,
) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let body = match name {
        Some(name) => json!({"name": name, "spec": spec}),
        None => json!({ "spec": spec }),
    };
    let made: Resource = client
        .send(Method::POST, &format!("/api/v1/{kind}"), NOTHING, &body)
        .await?;
    show_changed(global, &made, "created")
}

/// Changes one by a merge patch (RFC 7396) that `patch` makes of what it is, and prints it.
///
/// # Errors
/// When there is none, the result is not valid, or the control plane cannot be asked.
pub async fn update(
    global: &Global,
    kind: Kind,
    name: &str,
    patch: impl FnOnce(&Value) -> anyhow::Result<Value>,
) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let before = get(&client, kind, name).await?;
    let patch = patch(&before.spec)?;
    anyhow::ensure!(
        patch.as_object().is_some_and(|patch| !patch.is_empty()),
        Code::NoChange.says("nothing is to be changed: name at least one flag")
    );
    let after: Resource = client
        .change(Method::PATCH, &path(kind, name), &patch, before.generation)
        .await?;
    show_changed(global, &after, "changed")
}

/// Deletes one, as somebody agreed to.
///
/// # Errors
/// When there is none, others need it, or the control plane cannot be asked.
pub async fn delete(global: &Global, kind: Kind, name: &str) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    client
        .tell(Method::DELETE, &path(kind, name), NOTHING)
        .await?;
    output::words(global, &format!("{kind}/{name} deleted"));
    Ok(Exit::Ok)
}

/// Prints one.
///
/// # Errors
/// When there is none, or the control plane cannot be asked.
pub async fn show(global: &Global, kind: Kind, name: &str) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let found = get(&client, kind, name).await?;
    output::object(global, &found, || yaml(&found))?;
    Ok(Exit::Ok)
}

/// Prints a list: `cells` makes a row of a resource.
///
/// # Errors
/// When the control plane cannot be asked.
pub async fn print_list<const N: usize>(
    global: &Global,
    kind: Kind,
    filter: Query<'_>,
    head: [&str; N],
    cells: impl Fn(&Resource) -> [String; N],
) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let found = list(&client, kind, filter).await?;
    output::object(global, &found.items, || {
        table::table(head, found.items.iter().map(cells))
    })?;
    Ok(Exit::Ok)
}

fn show_changed(global: &Global, resource: &Resource, what: &str) -> anyhow::Result<Exit> {
    output::object(global, resource, || {
        format!(
            "{}/{} {what}; generation {}",
            resource.kind, resource.name, resource.generation
        )
    })?;
    Ok(Exit::Ok)
}

/// A resource as it stands in a topology file.
fn yaml(resource: &Resource) -> String {
    let spec = serde_saphyr::to_string(&resource.spec).unwrap_or_default();
    let indented: Vec<String> = spec
        .trim_end()
        .lines()
        .map(|line| format!("  {line}"))
        .collect();
    format!("{}:\n{}", resource.name, indented.join("\n"))
}

/// A member of a resource's spec as a cell: text as it is, lists joined, absent as `-`.
#[must_use]
pub fn cell(spec: &Value, key: &str) -> String {
    match spec.get(key) {
        None | Some(Value::Null) => table::NONE.to_owned(),
        Some(value) => flat(value),
    }
}

fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(","),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| format!("{key}={}", flat(value)))
            .collect::<Vec<_>>()
            .join(","),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// What `on` says, with `node` added; `None` when it names it already.
///
/// # Errors
/// When `on` selects by labels, which only a person can change.
pub fn with_node(on: Option<&Value>, node: &str) -> anyhow::Result<Option<Value>> {
    let mut names = names(on, node)?;
    if names.iter().any(|name| name == node) {
        return Ok(None);
    }
    names.push(node.to_owned());
    Ok(Some(json!(names)))
}

/// What `on` says, without `node`; `None` when it does not name it.
///
/// # Errors
/// When `on` selects by labels, which only a person can change.
pub fn without_node(on: Option<&Value>, node: &str) -> anyhow::Result<Option<Value>> {
    let mut names = names(on, node)?;
    let before = names.len();
    names.retain(|name| name != node);
    Ok((names.len() < before).then(|| json!(names)))
}

fn names(on: Option<&Value>, node: &str) -> anyhow::Result<Vec<String>> {
    match on {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(name)) => Ok(vec![name.clone()]),
        Some(Value::Array(names)) => Ok(names.iter().map(flat).collect()),
        Some(other) => anyhow::bail!(Code::Refused.says(format!("it is on nodes with {}, so {node} cannot be added or taken away by name: change the labels, or its `on` in the topology",
            flat(other)))),
    }
}

/// A reference to a secret as flags write it: `env:NAME`, `file:PATH`, or the URL of a Key Vault secret.
///
/// # Errors
/// When it is none of these; a secret itself is never taken.
pub fn secret(text: &str) -> Result<Value, String> {
    if let Some(name) = text.strip_prefix("env:") {
        return Ok(json!({ "env": name }));
    }
    if let Some(path) = text.strip_prefix("file:") {
        return Ok(json!({ "file": path }));
    }
    if text.starts_with("https://") {
        return Ok(json!({ "keyVault": text }));
    }
    // What was written is not repeated: it may be the secret.
    Err("this is no reference to a secret: write env:NAME, file:PATH or the https URL of a Key Vault secret; a secret itself is never taken".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        assert_eq!(path(Kind::Rules, "golden"), "/api/v1/rules/golden");
        assert_eq!(
            path(Kind::Upstreams, "a/b:5000"),
            "/api/v1/upstreams/a%2Fb:5000"
        );
    }

    #[test]
    fn a_node_is_added_and_taken_away_by_name() {
        let one = json!("prod");
        assert_eq!(
            with_node(Some(&one), "dev").unwrap(),
            Some(json!(["prod", "dev"]))
        );
        assert_eq!(with_node(Some(&one), "prod").unwrap(), None);
        assert_eq!(
            without_node(Some(&json!(["a", "b"])), "a").unwrap(),
            Some(json!(["b"]))
        );
        assert!(with_node(Some(&json!({"labels": {"env": "prod"}})), "a").is_err());
    }

    #[test]
    fn a_secret_itself_is_never_taken_nor_repeated() {
        assert_eq!(secret("env:A"), Ok(json!({"env": "A"})));
        assert_eq!(secret("file:/run/a"), Ok(json!({"file": "/run/a"})));
        let told = secret("hunter2").unwrap_err();
        assert!(!told.contains("hunter2"));
    }
}
