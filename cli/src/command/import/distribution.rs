//! CNCF distribution's `config.yml`: its `proxy` section is one rule for everything, at the registry's root.

use serde_json::{Value, json};
use url::Url;

use super::Imported;
use crate::fault::Code;

pub(super) fn read(text: &str, node: &str) -> anyhow::Result<Imported> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        Code::InvalidFile.error(format!(
            "this is no YAML, as distribution's config.yml is: {error}"
        ))
    })?;
    let proxy = value.get("proxy").filter(|proxy| proxy.is_object());
    let proxy = proxy.ok_or_else(|| {
        Code::InvalidFile
            .error("there is no `proxy` section in it: this registry is no pull-through cache")
    })?;
    let remote = proxy
        .get("remoteurl")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let url: Url = remote.parse().map_err(|error| {
        Code::InvalidFile.error(format!("proxy.remoteurl '{remote}' is no URL: {error}"))
    })?;
    let name = url.host_str().unwrap_or_default();
    let host = match (name, url.port()) {
        ("registry-1.docker.io" | "index.docker.io", _) => "docker.io".to_owned(),
        (name, Some(port)) => format!("{name}:{port}"),
        (name, None) => name.to_owned(),
    };
    let mut imported = Imported::default();
    let mut rule = json!({"on": node, "source": format!("{host}/*"), "target": "*"});
    if text_of(proxy, "username").is_some() || text_of(proxy, "password").is_some() {
        let set = imported.credential_set(&host, &host);
        imported.unmapped.push(format!(
            "proxy.username and proxy.password are not copied: credential set '{set}' expects them in environment variables of node '{node}'; change the password, it lay in a file"
        ));
        rule["credentials"] = json!(set);
    }
    if let Some(exec) = proxy.get("exec") {
        imported.unmapped.push(format!("proxy.exec {exec}: no program is run for credentials; declare a credential set or identity"));
    }
    if let Some(ttl) = proxy.get("ttl") {
        imported.unmapped.push(format!("proxy.ttl {ttl}: nothing expires by time here; storage.maxSize of the node bounds what is kept"));
    }
    if url.scheme() == "http" {
        imported.upstreams.insert(host, json!({"insecure": true}));
    }
    for (section, why) in [
        ("storage", "its storage is not read; the node fills its own"),
        (
            "auth",
            "accounts and roles are declared under `accounts` and `access`",
        ),
        ("notifications", "declare its endpoints under `webhooks`"),
        (
            "http",
            "addresses and TLS are declared on the node: `endpoint`, `listen`, `tls`",
        ),
    ] {
        if value.get(section).is_some_and(|section| !section.is_null()) {
            imported.unmapped.push(format!("section {section}: {why}"));
        }
    }
    imported.rule("proxy", rule);
    Ok(imported)
}

fn text_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{From, plan};

    #[test]
    fn a_pull_through_cache_is_one_rule_at_the_root() {
        let text = "version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\nhttp: {addr: ':5000'}\nproxy:\n  remoteurl: https://registry-1.docker.io\n  username: me\n  password: hunter2\n  ttl: 168h\n";
        let (imported, problems) = plan(From::Distribution, text);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(imported.rules["proxy"]["source"], "docker.io/*");
        assert!(imported.unmapped.iter().any(|line| line.contains("ttl")));
        assert!(!format!("{imported:?}").contains("hunter2"));
    }

    #[test]
    fn a_registry_that_caches_nothing_is_told() {
        assert!(super::read("version: 0.1\n", "hub").is_err());
        assert!(super::read("proxy: {remoteurl: ''}", "hub").is_err());
    }
}
