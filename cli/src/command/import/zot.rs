//! zot's `config.json`: each registry and content prefix of `extensions.sync` is a rule.

use serde_json::{Value, json};
use url::Url;

use super::Imported;
use crate::fault::Code;

pub(super) fn read(text: &str, node: &str) -> anyhow::Result<Imported> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        Code::InvalidFile.error(format!("this is no JSON, as zot's config.json is: {error}"))
    })?;
    let registries = value
        .pointer("/extensions/sync/registries")
        .and_then(Value::as_array);
    let registries = registries.ok_or_else(|| {
        Code::InvalidFile
            .error("there is no extensions.sync.registries in it: this zot syncs nothing")
    })?;
    let mut imported = Imported::default();
    let credentials = value.pointer("/extensions/sync/credentialsFile").is_some();
    for registry in registries {
        one(registry, credentials, node, &mut imported);
    }
    for (section, why) in [
        ("/http/accessControl", "roles are declared under `access`"),
        (
            "/http/auth",
            "accounts and issuers are declared under `accounts` and `issuers`",
        ),
        (
            "/storage/retention",
            "storage.maxSize of the node bounds what is kept",
        ),
        (
            "/extensions/scrub",
            "every node scrubs; `storage.scrub` says how often",
        ),
    ] {
        if value.pointer(section).is_some() {
            imported.unmapped.push(format!(
                "{}: {why}",
                section.trim_start_matches('/').replace('/', ".")
            ));
        }
    }
    Ok(imported)
}

fn one(registry: &Value, credentials: bool, node: &str, imported: &mut Imported) {
    let urls: Vec<Url> = registry
        .get("urls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|url| url.as_str()?.parse().ok())
        .collect();
    let Some(url) = urls.first() else {
        imported.unmapped.push(format!(
            "a registry without a usable URL: {}",
            registry.get("urls").unwrap_or(&Value::Null)
        ));
        return;
    };
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        ("registry-1.docker.io" | "index.docker.io", _) => "docker.io".to_owned(),
        (name, Some(port)) => format!("{name}:{port}"),
        (name, None) => name.to_owned(),
    };
    if urls.len() > 1 {
        imported.unmapped.push(format!(
            "{host}: of several URLs only the first is used; a rule has one upstream"
        ));
    }
    for (key, why) in [
        (
            "pollInterval",
            "nothing is polled: a tag is checked when it is pulled",
        ),
        (
            "certDir",
            "declare the registry's CA under `upstreams` (ca)",
        ),
        ("maxRetries", "retries are bounded by themselves"),
    ] {
        if registry.get(key).is_some() {
            imported.unmapped.push(format!("{host}: {key}: {why}"));
        }
    }
    if registry.get("onDemand") == Some(&Value::Bool(false)) {
        imported.unmapped.push(format!("{host}: it was mirrored ahead of time; here the first pull fills, or `regmesh pull --wait`"));
    }
    if url.scheme() == "http" || registry.get("tlsVerify") == Some(&Value::Bool(false)) {
        imported
            .upstreams
            .insert(host.clone(), json!({"insecure": true}));
        if url.scheme() == "https" {
            imported.unmapped.push(format!(
                "{host}: tlsVerify: false has no counterpart; declare its CA under `upstreams`"
            ));
            imported.upstreams.remove(&host);
        }
    }
    let set = credentials.then(|| imported.credential_set(&host, &host));
    if let Some(set) = &set {
        imported.unmapped.push(format!("{host}: if credentialsFile names it, put the secrets where credential set '{set}' expects them; else leave `credentials` out of its rules"));
    }
    let whole = [json!({"prefix": "**"})];
    let contents = registry
        .get("content")
        .and_then(Value::as_array)
        .map_or(whole.as_slice(), Vec::as_slice);
    for content in contents {
        part(content, &host, set.as_deref(), node, imported);
    }
}

/// One prefix: `a/b` is a repository, `a/**` all below, `**` all; `destination` and `stripPrefix` say where it lies here.
fn part(content: &Value, host: &str, set: Option<&str>, node: &str, imported: &mut Imported) {
    let prefix = content
        .get("prefix")
        .and_then(Value::as_str)
        .unwrap_or("**")
        .trim_start_matches('/');
    let path = prefix
        .strip_suffix("**")
        .or_else(|| prefix.strip_suffix('*'));
    let fixed = path.unwrap_or(prefix).trim_end_matches('/');
    if fixed.contains(['*', '?', '[', '{']) {
        imported.unmapped.push(format!("{host}: prefix '{prefix}': only a `*` at the end is a pattern here; write the rules out"));
        return;
    }
    let strip = content.get("stripPrefix") == Some(&Value::Bool(true));
    let destination = content
        .get("destination")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim_matches('/');
    let kept = if strip { "" } else { fixed };
    let base = [destination, kept]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/");
    let wild = path.is_some();
    let join = |base: &str| match (base.is_empty(), wild) {
        (true, true) => "*".to_owned(),
        (false, true) => format!("{base}/*"),
        (_, false) => base.to_owned(),
    };
    let (source, target) = (join(fixed), join(&base));
    if source.is_empty() || target.is_empty() {
        imported.unmapped.push(format!(
            "{host}: prefix '{prefix}' with destination '{destination}' names no repository"
        ));
        return;
    }
    if content.get("tags").is_some() {
        imported.unmapped.push(format!(
            "{host}/{source}: tag filters have no counterpart; whatever is pulled is cached"
        ));
    }
    let mut rule = json!({"on": node, "source": format!("{host}/{source}"), "target": target});
    if let Some(set) = set {
        rule["credentials"] = json!(set);
    }
    let name = format!(
        "{}-{}",
        host.split(['.', ':']).next().unwrap_or("rule"),
        fixed.replace('/', "-")
    );
    imported.rule(name.trim_end_matches('-'), rule);
}

#[cfg(test)]
mod tests {
    use super::super::{From, plan};

    #[test]
    fn each_prefix_is_a_rule() {
        let text = r#"{"extensions": {"sync": {"registries": [
          {"urls": ["https://registry-1.docker.io"], "onDemand": true, "tlsVerify": true, "pollInterval": "6h",
           "content": [{"prefix": "library/**", "destination": "/hub"}, {"prefix": "grafana/grafana", "tags": {"semver": true}}]},
          {"urls": ["https://ghcr.io"], "content": [{"prefix": "/team/**", "destination": "/gh", "stripPrefix": true}, {"prefix": "a/*/b"}]}
        ]}}, "http": {"accessControl": {}}}"#;
        let (imported, problems) = plan(From::Zot, text);
        assert_eq!(problems, Vec::<String>::new());
        let lines: Vec<String> = imported
            .rules
            .values()
            .map(|rule| format!("{} -> {}", rule["source"], rule["target"]))
            .collect();
        assert!(
            lines.contains(&"\"docker.io/library/*\" -> \"hub/library/*\"".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"\"docker.io/grafana/grafana\" -> \"grafana/grafana\"".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"\"ghcr.io/team/*\" -> \"gh/*\"".to_owned()),
            "{lines:?}"
        );
        assert_eq!(imported.rules.len(), 3);
        for word in ["pollInterval", "tag filters", "a/*/b", "accessControl"] {
            assert!(
                imported.unmapped.iter().any(|line| line.contains(word)),
                "{word}: {:?}",
                imported.unmapped
            );
        }
    }

    #[test]
    fn a_zot_without_sync_is_told() {
        assert!(super::read("{}", "hub").is_err());
    }
}
