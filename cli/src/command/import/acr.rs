//! `az acr cache list -o json`, the ARM REST form, or resources of Terraform's state: one rule each.
//!
//! A user-assigned identity becomes an `azure` identity with its client id; towards a registry that is no ACR it could not be used, so
//! such a rule is told. Facts: `reference/clients-and-peers.md` section 8, `reference/protocols.md` 3.3.

use serde_json::{Value, json};

use super::{Imported, host};
use crate::fault::Code;

pub(super) fn read(text: &str, node: &str) -> anyhow::Result<Imported> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        Code::InvalidFile.error(format!(
            "this is no JSON, as `az acr cache list -o json` writes it: {error}"
        ))
    })?;
    let rules = find(&value);
    anyhow::ensure!(!rules.is_empty() || value.as_array().is_some_and(Vec::is_empty), Code::InvalidFile.says("there is no cache rule in it: neither a list of them, nor {\"value\": […]}, nor resources of Terraform"));
    let mut imported = Imported::default();
    for rule in &rules {
        one(rule, node, &mut imported);
    }
    for other in
        entries(&value).filter(|entry| !rules.iter().any(|rule| std::ptr::eq(*rule, *entry)))
    {
        let name = other
            .get("name")
            .or_else(|| other.get("id"))
            .unwrap_or(other);
        imported.unmapped.push(format!(
            "{name}: it has no source repository, so it is no cache rule"
        ));
    }
    Ok(imported)
}

/// The entries of a list of rules, whatever they are.
fn entries(value: &Value) -> impl Iterator<Item = &Value> {
    let list = value.as_array().or_else(|| value.get("value")?.as_array());
    list.into_iter().flatten()
}

/// The rules in a flat list, in ARM's `{"value": […]}`, alone, or in a Terraform state.
fn find(value: &Value) -> Vec<&Value> {
    if let Some(list) = value.as_array() {
        return list.iter().filter(|rule| is_rule(rule)).collect();
    }
    if let Some(list) = value.get("value").and_then(Value::as_array) {
        return list.iter().filter(|rule| is_rule(rule)).collect();
    }
    if let Some(resources) = value.get("resources").and_then(Value::as_array) {
        return terraform(resources);
    }
    if let Some(resources) = value
        .pointer("/values/root_module/resources")
        .and_then(Value::as_array)
    {
        return resources
            .iter()
            .filter_map(|resource| resource.get("values"))
            .filter(|rule| is_rule(rule))
            .collect();
    }
    if is_rule(value) {
        vec![value]
    } else {
        Vec::new()
    }
}

fn terraform(resources: &[Value]) -> Vec<&Value> {
    let instances = resources
        .iter()
        .filter_map(|resource| resource.get("instances")?.as_array());
    let attributes = instances
        .flatten()
        .filter_map(|instance| instance.get("attributes"));
    attributes.filter(|rule| is_rule(rule)).collect()
}

fn is_rule(value: &Value) -> bool {
    source(value).is_some()
}

/// A member of a rule, flat or below `properties`, in camel or snake case.
fn member<'a>(rule: &'a Value, names: &[&str]) -> Option<&'a Value> {
    let of = |value: &'a Value| {
        names
            .iter()
            .find_map(|name| value.get(name))
            .filter(|found| !found.is_null())
    };
    of(rule).or_else(|| of(rule.get("properties")?))
}

fn text<'a>(rule: &'a Value, names: &[&str]) -> Option<&'a str> {
    member(rule, names)?
        .as_str()
        .filter(|text| !text.is_empty())
}

fn source(rule: &Value) -> Option<&str> {
    text(
        rule,
        &["sourceRepository", "source_repo", "source_repository"],
    )
}

fn one(rule: &Value, node: &str, imported: &mut Imported) {
    let (Some(source), Some(target)) = (
        source(rule),
        text(
            rule,
            &["targetRepository", "target_repo", "target_repository"],
        ),
    ) else {
        imported
            .unmapped
            .push(format!("a rule without source or target: {rule}"));
        return;
    };
    let name = text(rule, &["name"])
        .unwrap_or("rule")
        .rsplit('/')
        .next()
        .unwrap_or("rule");
    let mut spec = json!({"on": node, "source": source, "target": target});
    let set = text(rule, &["credentialSetResourceId", "credential_set_id"]);
    let identity = identity(rule);
    match (set, identity) {
        (Some(set), identity) => {
            let wanted = set.rsplit('/').next().unwrap_or(set);
            let declared = imported.credential_set(wanted, host(source));
            imported.unmapped.push(format!(
                "rule '{name}': the secrets of credential set '{wanted}' stay in its Key Vault; credential set '{declared}' expects them in environment variables of node '{node}'"
            ));
            if identity.is_some() {
                imported.unmapped.push(format!(
                    "rule '{name}' has a credential set and an identity, which exclude each other here: the identity was left out"
                ));
            }
            spec["credentials"] = json!(declared);
        }
        (None, Some(identity)) => {
            let declared = declare(&identity, node, imported);
            if host(source).ends_with(".azurecr.io") {
                spec["identity"] = json!(declared);
            } else {
                imported.unmapped.push(format!(
                    "rule '{name}': identity '{declared}' is for {}, which is no ACR and needs a scope of its own: the rule calls it anonymously for now",
                    host(source)
                ));
            }
        }
        (None, None) => {}
    }
    if let Some(more) = member(rule, &["additionalAuthenticationProperties"]) {
        imported.unmapped.push(format!(
            "rule '{name}': additionalAuthenticationProperties {more}"
        ));
    }
    if let Some(state) = text(rule, &["provisioningState"]).filter(|state| *state != "Succeeded") {
        imported.unmapped.push(format!(
            "rule '{name}' was in state {state} at its registry; check that it is wanted"
        ));
    }
    imported.rule(name, spec);
}

/// The user-assigned identity of a rule: its ARM id and client id.
struct Identity {
    resource: String,
    client: Option<String>,
}

fn identity(rule: &Value) -> Option<Identity> {
    let assigned = rule.get("identity")?;
    if let Some(map) = assigned
        .get("userAssignedIdentities")
        .and_then(Value::as_object)
    {
        let (resource, about) = map.iter().next()?;
        let client = about
            .get("clientId")
            .and_then(Value::as_str)
            .map(str::to_owned);
        return Some(Identity {
            resource: resource.clone(),
            client,
        });
    }
    // Terraform: a block list with identity_ids.
    let block = assigned
        .as_array()
        .and_then(|blocks| blocks.first())
        .unwrap_or(assigned);
    let resource = block
        .get("identity_ids")?
        .as_array()?
        .first()?
        .as_str()?
        .to_owned();
    Some(Identity {
        resource,
        client: None,
    })
}

fn declare(identity: &Identity, node: &str, imported: &mut Imported) -> String {
    let last = identity.resource.rsplit('/').next().unwrap_or("identity");
    let name: String = last
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let mut spec = json!({"kind": "azure", "resourceId": identity.resource, "on": [node]});
    if let Some(client) = &identity.client {
        spec["clientId"] = json!(client);
    }
    imported.identities.entry(name.clone()).or_insert(spec);
    name
}

#[cfg(test)]
mod tests {
    use super::super::{From, plan};

    const FLAT: &str = r#"[
      {"creationDate": "2026-01-01T00:00:00Z", "credentialSetResourceId": null, "id": "/subscriptions/s/x", "name": "mcr",
       "provisioningState": "Succeeded", "sourceRepository": "mcr.microsoft.com/dotnet/*", "targetRepository": "dotnet/*", "type": "t"},
      {"credentialSetResourceId": "/subscriptions/s/registries/r/credentialSets/hub", "name": "hub",
       "provisioningState": "Succeeded", "sourceRepository": "docker.io/library/*", "targetRepository": "library/*"},
      {"identity": {"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Reader": {"clientId": "11111111-2222-3333-4444-555555555555", "principalId": "p"}}},
       "name": "team", "provisioningState": "Failed", "sourceRepository": "dev.azurecr.io/team/*", "targetRepository": "team/*"}]"#;

    #[test]
    fn a_flat_list_is_a_topology_that_plan_accepts() {
        let (imported, problems) = plan(From::Acr, FLAT);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(imported.rules.len(), 3);
        assert_eq!(imported.rules["hub"]["credentials"], "hub");
        assert_eq!(imported.rules["team"]["identity"], "reader");
        assert!(
            imported
                .unmapped
                .iter()
                .any(|line| line.contains("Key Vault"))
        );
        assert!(
            imported
                .unmapped
                .iter()
                .any(|line| line.contains("state Failed"))
        );
    }

    #[test]
    fn the_rest_form_and_terraform_say_the_same() {
        let rest = r#"{"value": [{"name": "a", "properties": {"sourceRepository": "quay.io/a", "targetRepository": "a"}}]}"#;
        let state = r#"{"resources": [{"type": "azurerm_container_registry_cache_rule", "instances": [{"attributes": {"name": "a", "source_repo": "quay.io/a", "target_repo": "a", "credential_set_id": null}}]}]}"#;
        for text in [rest, state] {
            let (imported, problems) = plan(From::Acr, text);
            assert_eq!((imported.rules.len(), problems.len()), (1, 0));
            assert_eq!(imported.rules["a"]["source"], "quay.io/a");
        }
    }

    #[test]
    fn an_entry_that_is_no_rule_is_told() {
        let list = r#"[{"name": "a", "sourceRepository": "quay.io/a", "targetRepository": "a"}, {"name": "odd"}]"#;
        for text in [list.to_owned(), format!("{{\"value\": {list}}}")] {
            let (imported, _) = plan(From::Acr, &text);
            assert_eq!((imported.rules.len(), imported.unmapped.len()), (1, 1));
            assert!(
                imported.unmapped[0].contains("odd"),
                "{:?}",
                imported.unmapped
            );
        }
    }

    #[test]
    fn what_holds_no_rules_is_told() {
        for text in ["{}", "nonsense", r#"{"value": 1}"#] {
            assert!(super::read(text, "hub").is_err(), "{text}");
        }
    }
}
