//! What the documents say is what the code has, and the other way round: commands, flags, metrics, settings with their defaults,
//! keys, codes, words, examples of JSON, links.
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

use source::{arms, declared, fields, kinds_of_events, mentioned, routes, schema_keys};
use text::{anchors, below, example, fenced, keys, quoted, rows};

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

/// The sources of a crate whose paths are wanted.
fn sources(name: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let tree = tests::source::Tree::workspace();
    let found = tree.crates.into_iter().find(|each| each.name == name);
    let files = found.expect("a crate").files.into_iter();
    let paths = files.map(|file| file.path).filter(|path| wanted(path));
    paths.collect()
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
    for name in [
        "README",
        "ARCHITECTURE",
        "CHANGELOG",
        "CONTRIBUTING",
        "SECURITY",
    ] {
        found.push(format!("{name}.md"));
    }
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
    let cases = [
        (
            "node/src/metric.rs",
            "docs/operations.md",
            "### `/metrics`",
            20,
        ),
        (
            "control/src/metric.rs",
            "docs/control-plane.md",
            "### Metrics",
            5,
        ),
    ];
    for (source, document, heading, least) in cases {
        let families = declared(&code(source));
        assert!(families.len() > least, "{families:?}");
        let real = families
            .iter()
            .map(|(name, labels)| match labels.as_slice() {
                [] => name.clone(),
                labels => format!("{name}{{{}}}", labels.join(",")),
            });
        let document = read(document);
        let documented = rows(below(&document, heading))
            .into_iter()
            .map(|(first, _)| first)
            .filter(|first| first.starts_with("regmesh_"));
        same(&names(documented), &names(real));
    }
}

#[test]
fn no_document_dashboard_or_alert_names_a_metric_that_is_not_there() {
    let mut families = declared(&code("node/src/metric.rs"));
    families.extend(declared(&code("control/src/metric.rs")));
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
fn every_path_of_the_api_is_documented_and_no_other_is() {
    let table = sources("control", |path| path.starts_with("control/src/http/table"));
    let real: Names = table.iter().flat_map(|path| routes(&code(path))).collect();
    assert!(real.len() > 30, "{real:?}");
    let control_plane = read("docs/control-plane.md");
    let rows = rows(below(&control_plane, "## The API"));
    let documented = rows.into_iter().map(|(first, _)| first);
    same(
        &names(documented.filter(|first| first.contains(" /"))),
        &real,
    );
    let kinds = quoted(below(&control_plane, "## The API"));
    for kind in wire::api::resource::Kind::ALL {
        assert!(kinds.contains(kind.as_str()), "{kind} is not documented");
    }
}

#[test]
fn every_reason_not_to_be_let_in_and_every_kind_of_event_is_documented() {
    let control_plane = read("docs/control-plane.md");
    let rows_of = |heading| rows(below(&control_plane, heading));
    let reasons = rows_of("## Joining").into_iter().map(|(word, _)| word);
    let real = wire::not_admitted::NotAdmitted::ALL;
    same(
        &names(reasons),
        &names(real.map(wire::not_admitted::NotAdmitted::as_str)),
    );
    let kinds = quoted(below(&control_plane, "### Events"));
    let told: Names = sources("control", |path| !path.contains("test"))
        .iter()
        .flat_map(|path| kinds_of_events(&code(path)))
        .collect();
    assert!(told.len() > 3, "{told:?}");
    let missing: Vec<_> = told.difference(&kinds).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
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
fn every_flag_of_every_command_is_documented() {
    let cli = read("docs/cli.md");
    let shown = rows(below(&cli, "## Flags of every command"));
    let real = cli::args::Args::command();
    let built_in = ["-h, --help", "-V, --version"].map(str::to_owned);
    same(
        &names(shown.iter().map(|(flag, _)| flag_of(flag))),
        &names(flags(&real).map(written).chain(built_in)),
    );
    for command in real.get_subcommands() {
        let name = command.get_name();
        let rows = rows(below(&cli, &format!("### regmesh {name}")));
        let rows: Vec<_> = rows
            .into_iter()
            .filter(|(first, _)| first.contains("--"))
            .collect();
        let mut documented = Names::new();
        for (flag, cells) in &rows {
            documented.extend(of(command, cells).map(|of| format!("{of} {}", flag_of(flag))));
        }
        let mut real = Names::new();
        for (of, flag) in parts(command).flat_map(|part| flags(part).map(move |f| (part, f))) {
            real.insert(format!("{} {}", of.get_name(), written(flag)));
        }
        same(&documented, &real);
        for (flag, cells) in &rows {
            let default = &cells[usize::from(command.has_subcommands())];
            for flag in parts(command)
                .flat_map(flags)
                .filter(|real| written(real) == flag_of(flag) && real.get_action().takes_values())
            {
                for value in flag.get_default_values() {
                    let value = format!("`{}`", value.to_string_lossy());
                    assert!(
                        default.contains(&value),
                        "{name} {flag}: {value} by default"
                    );
                }
            }
        }
    }
}

#[test]
fn every_command_has_an_example_and_its_exit_codes() {
    let cli = read("docs/cli.md");
    let real = cli::args::Args::command();
    let headings = cli
        .lines()
        .filter_map(|line| line.strip_prefix("### regmesh "));
    let commands = real.get_subcommands();
    same(
        &names(headings),
        &names(commands.map(clap::Command::get_name)),
    );
    for command in real.get_subcommands() {
        let name = command.get_name();
        let section = below(&cli, &format!("### regmesh {name}"));
        assert!(section.contains("Exit codes: `0`"), "{name}: no exit codes");
        let subcommands = command.get_subcommands();
        let called: Vec<String> = match command.has_subcommands() {
            true => subcommands
                .map(|sub| format!("regmesh {name} {}", sub.get_name()))
                .collect(),
            false => vec![format!("regmesh {name}")],
        };
        for call in called {
            let shown = fenced(section).lines().any(|line| {
                let after = line.split_once(&call).map(|(_, after)| after);
                after.is_some_and(|after| after.is_empty() || after.starts_with(' '))
            });
            assert!(shown, "no example of {call}");
        }
    }
    let codes = rows(below(&cli, "## Exit codes"));
    use cli::exit::Exit;
    let real = [
        Exit::Ok,
        Exit::Error,
        Exit::Changes,
        Exit::CheckFailed,
        Exit::Usage,
    ];
    same(
        &names(codes.into_iter().map(|(code, _)| code)),
        &names(real.map(Exit::code)),
    );
}

/// A command's own arguments, and those of its subcommands: each a part.
fn parts(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    std::iter::once(command).chain(command.get_subcommands())
}

fn flags(command: &clap::Command) -> impl Iterator<Item = &clap::Arg> {
    let arguments = command.get_arguments();
    arguments.filter(|argument| argument.get_long().is_some())
}

/// `-n, --name`, as a document begins the row of a flag.
fn written(flag: &clap::Arg) -> String {
    let short = flag.get_short().map(|short| format!("-{short}, "));
    let long = flag.get_long().unwrap_or_default();
    format!("{}--{long}", short.unwrap_or_default())
}

/// The same of what the row says, without the value's name.
fn flag_of(row: &str) -> String {
    let words = row.split(' ').take_while(|word| word.starts_with('-'));
    words.collect::<Vec<_>>().join(" ")
}

/// Which parts of a command a row is about: the one, or those that its cell `of` names.
fn of<'a>(command: &'a clap::Command, cells: &'a [&'a str]) -> impl Iterator<Item = String> {
    let listed = match (command.has_subcommands(), cells.first()) {
        (true, Some(&"all")) => command
            .get_subcommands()
            .map(|sub| sub.get_name().to_owned())
            .collect(),
        (true, Some(cell)) => quoted(cell),
        _ => names([command.get_name()]),
    };
    listed.into_iter()
}

#[test]
fn every_check_of_the_doctor_is_documented() {
    let cli = read("docs/cli.md");
    let rows = rows(below(&cli, "### regmesh doctor"));
    let ids = rows.into_iter().map(|(first, _)| first);
    same(
        &names(ids.filter(|first| first.starts_with(|c: char| c.is_ascii_uppercase()))),
        &names(wire::api::doctor::CheckId::ALL),
    );
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
    let commands = quoted(&read("docs/cli.md"));
    let cases = [
        ("wire/src/refusal.rs", &operations, ""),
        ("wire/src/api/status.rs", &operations, ""),
        ("wire/src/route/needs.rs", &operations, ""),
        ("wire/src/api/explain.rs", &commands, ""),
        ("wire/src/api/mesh.rs", &commands, ""),
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
    let source = r#"x: r.counter("regmesh_a_total", "A.", ["kind", "code"]), y: r.histogram("regmesh_b", "B.", [], SECONDS), z: gauge("regmesh_c", "C (c)."), g: r.gauge(name, help, ["no"])"#;
    let families = declared(source);
    assert_eq!(families["regmesh_a_total"], ["kind", "code"]);
    assert!(families["regmesh_b"].is_empty() && families["regmesh_c"].is_empty());
    assert_eq!(families.len(), 3);
    let text = "rate(regmesh_b_bucket[5m]) regmesh_a_sum";
    assert_eq!(
        mentioned(text, &families),
        names(["regmesh_b", "regmesh_a_sum"])
    );
    let table =
        r#"Endpoint::new( Method::GET, list.clone(), READ) Endpoint::new(Method::POST, "/a:b", X)"#;
    assert_eq!(routes(table), names(["GET /api/v1/{kind}", "POST /a:b"]));
    let events = r#"self.event( node, "gone", x) Entry { kind: "made".to_owned() } kind: event.kind, fn event(a: &str)"#;
    assert_eq!(kinds_of_events(events), names(["gone", "made"]));
    assert_eq!(arms(r#"A => "a", B => { "b" } C => c,"#), names(["a", "b"]));
    assert_eq!(
        fields("    pub last_error: X,\n    at: Y,"),
        names(["lastError"])
    );
    let document = "\n# A\n\n## `B` and C\n| `x` | 1 |\n| y | 2 |\n```text\n# no heading\n```\n### D\n| `z` | 3 |\n## E\n| `w` |\n";
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
