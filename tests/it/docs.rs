//! What the documents say is what the code has, and the other way round: metrics, settings with their defaults, keys, codes,
//! words, examples of JSON, links.
//!
//! Of the code, lists are taken where it has them; where it only has `match` arms or declarations, its source is read. So a
//! document that lags behind fails here, and not at a reader.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use serde_json::Value;
use wire::{api::status::NodeStatus, event::Event};

mod source;
mod text;

use source::{arms, declared, fields, mentioned, schema_keys};
use text::{anchors, below, example, keys, quoted, rows};

type Names = BTreeSet<String>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Source without its tests.
fn code(path: &str) -> String {
    let text = read(path);
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].to_owned()
}

fn names<S: ToString>(list: impl IntoIterator<Item = S>) -> Names {
    list.into_iter().map(|name| name.to_string()).collect()
}

/// What both must have, by name.
fn same(documented: &Names, real: &Names) {
    let missing: Vec<_> = real.difference(documented).collect();
    let stale: Vec<_> = documented.difference(real).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "not documented: {missing:?}; documented and not there: {stale:?}"
    );
}

/// The documents that are ours to check.
fn documents() -> Vec<String> {
    let mut found = vec!["deploy/systemd/README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).expect("docs") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("a name");
        if name.ends_with(".md") {
            found.push(format!("docs/{name}"));
        }
    }
    found
}

#[test]
fn every_metric_is_documented_with_its_labels_and_no_other_is() {
    let families = declared(&code("node/src/metric.rs"));
    assert!(families.len() > 20, "{families:?}");
    let real = families
        .iter()
        .map(|(name, labels)| match labels.as_slice() {
            [] => name.clone(),
            labels => format!("{name}{{{}}}", labels.join(",")),
        });
    let operations = read("docs/operations.md");
    let documented = rows(below(&operations, "### `/metrics`"))
        .into_iter()
        .map(|(first, _)| first)
        .filter(|first| first.starts_with("regmesh_"));
    same(&names(documented), &names(real));
}

#[test]
fn no_document_dashboard_or_alert_names_a_metric_that_is_not_there() {
    let families = declared(&code("node/src/metric.rs"));
    let mut files = documents();
    files.extend([
        "deploy/prometheus/alerts.yaml".into(),
        "deploy/grafana/regmesh.json".into(),
    ]);
    for file in files {
        let unknown: Vec<_> = mentioned(&read(&file), &families)
            .into_iter()
            .filter(|name| !families.contains_key(name))
            .collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
    serde_json::from_str::<Value>(&read("deploy/grafana/regmesh.json")).expect("a dashboard");
}

#[test]
fn every_setting_is_documented_with_its_default() {
    let operations = read("docs/operations.md");
    let section = below(&operations, "## Limits and settings");
    let rows = rows(section);
    same(
        &names(rows.iter().map(|(name, _)| name)),
        &names(node::settings::NAMES),
    );
    let defaults = format!("{:?}", node::settings::Settings::default());
    for (name, cells) in rows {
        let mut settings = node::settings::Settings::default();
        let default = cells[0].trim_matches('`');
        settings.set(&name, default).expect(&name);
        assert_eq!(
            format!("{settings:?}"),
            defaults,
            "{name} is not {default} by default"
        );
    }
}

#[test]
fn every_command_and_flag_is_documented_and_no_other_is() {
    let operations = read("docs/operations.md");
    let section = below(&operations, "## Commands");
    let documented = quoted(section);
    let real = cli::args::Args::command();
    let commands = real.get_subcommands().map(clap::Command::get_name);
    let shown = rows(section).into_iter().filter_map(|(first, _)| {
        first
            .strip_prefix("regmesh ")?
            .split(' ')
            .next()
            .map(str::to_owned)
    });
    same(&names(shown), &names(commands));
    let all = std::iter::once(&real).chain(real.get_subcommands());
    let flags = all.flat_map(clap::Command::get_arguments);
    let flags = flags.filter_map(|flag| Some(format!("--{}", flag.get_long()?)));
    let built_in = ["--help", "--version"].map(str::to_owned);
    let shown = documented
        .iter()
        .filter_map(|text| text.split(' ').next())
        .filter(|word| word.starts_with("--"));
    same(&names(shown), &names(flags.chain(built_in)));
}

#[test]
fn every_key_of_the_topology_is_documented() {
    let mut keys = Names::new();
    schema_keys(&topology::schema::schema(), &mut keys);
    assert!(keys.len() > 70, "{keys:?}");
    let documented = quoted(&read("docs/topology.md"));
    let missing: Vec<_> = keys.difference(&documented).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
}

#[test]
fn every_problem_has_its_row_and_no_other_has() {
    let topology = read("docs/topology.md");
    let documented = rows(below(&topology, "## Problem codes"));
    let real = topology::problem::Code::ALL
        .iter()
        .map(|code| code.as_str());
    same(
        &names(documented.into_iter().map(|(code, _)| code)),
        &names(real),
    );
}

#[test]
fn the_words_that_users_see_are_documented() {
    let operations = quoted(&read("docs/operations.md"));
    let clients = quoted(&read("docs/clients.md"));
    let cases = [
        ("wire/src/refusal.rs", &operations, ""),
        ("wire/src/api/status.rs", &operations, ""),
        ("wire/src/route/needs.rs", &operations, ""),
        ("node/src/registry/answer.rs", &operations, ""),
        ("node/src/registry/verdict.rs", &clients, "detail="),
    ];
    for (source, documented, before) in cases {
        let words = arms(&code(source));
        assert!(!words.is_empty(), "no words in {source}");
        let missing: Vec<_> = words
            .into_iter()
            .map(|word| format!("{before}{word}"))
            .filter(|word| !documented.contains(word))
            .collect();
        assert!(
            missing.is_empty(),
            "of {source} are not documented: {missing:?}"
        );
    }
}

#[test]
fn the_example_of_status_is_one_with_every_field() {
    let operations = read("docs/operations.md");
    let shown = example(below(&operations, "### `/status`"));
    let read: NodeStatus = serde_json::from_value(shown.clone()).expect("a status");
    assert_eq!(serde_json::to_value(read).expect("JSON"), shown);
    same(&keys(&shown), &fields(&code("wire/src/api/status.rs")));
}

#[test]
fn the_example_of_an_event_is_one_with_every_field() {
    let operations = read("docs/operations.md");
    let shown = example(below(&operations, "## Webhooks"));
    let read: Event = serde_json::from_value(shown.clone()).expect("an event");
    assert_eq!(serde_json::to_value(read).expect("JSON"), shown);
    same(&keys(&shown), &fields(&code("wire/src/event.rs")));
}

#[test]
fn every_link_leads_somewhere() {
    for file in documents() {
        let text = read(&file);
        let folder = Path::new(&file).parent().expect("a folder");
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().expect("text");
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                root().join(&file)
            } else {
                root().join(folder).join(path)
            };
            assert!(target.exists(), "{file}: {link} is not there");
            let known = || anchors(&fs::read_to_string(&target).expect("readable"));
            assert!(
                anchor.is_empty() || known().contains(anchor),
                "{file}: no heading for {link}"
            );
        }
    }
}

#[test]
fn what_is_missing_or_stale_is_seen() {
    let source = r#"x: r.counter("regmesh_a_total", "A.", ["kind", "code"]), y: r.histogram("regmesh_b", "B.", [], SECONDS)"#;
    let families = declared(source);
    assert_eq!(families["regmesh_a_total"], ["kind", "code"]);
    assert!(families["regmesh_b"].is_empty());
    let text = "rate(regmesh_b_bucket[5m]) regmesh_a_sum";
    assert_eq!(
        mentioned(text, &families),
        names(["regmesh_b", "regmesh_a_sum"])
    );
    assert_eq!(arms(r#"A => "a", B => { "b" } C => c,"#), names(["a", "b"]));
    assert_eq!(
        fields("    pub last_error: X,\n    at: Y,"),
        names(["lastError"])
    );
    let document =
        "\n# A\n\n## `B` and C\n| `x` | 1 |\n| y | 2 |\n### D\n| `z` | 3 |\n## E\n| `w` |\n";
    let rows = rows(below(document, "## `B` and C"));
    assert_eq!(
        rows,
        [("x".to_owned(), vec!["1"]), ("z".to_owned(), vec!["3"])]
    );
    assert!(anchors(document).contains("b-and-c"));
    let differs = std::panic::catch_unwind(|| same(&names(["a"]), &names(["a", "b"])));
    assert!(differs.is_err());
    let differs = std::panic::catch_unwind(|| same(&names(["a", "b"]), &names(["a"])));
    assert!(differs.is_err());
}
