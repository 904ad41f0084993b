//! `regmesh import`: another system's rules as a topology fragment, and a list of what could not be mapped.
//!
//! The fragment goes to stdout and is one that `plan` accepts once node and secrets are what they should be; what needs a person goes to
//! stderr and stands as comments at the fragment's head. Nothing is guessed about secrets: credential sets become references to
//! environment variables with telling names.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    args::{Format, Global},
    exit::Exit,
    fault::Code,
    output,
};

mod acr;
mod distribution;
mod zot;

/// `regmesh import`
#[derive(Debug, Clone, Args)]
pub struct Import {
    /// Which system the file is of
    #[arg(value_enum)]
    pub from: From,
    /// Its file: `az acr cache list -o json` (or the REST or Terraform form), distribution's config.yml, zot's config.json; `-` is stdin
    pub file: PathBuf,
    /// The node that gets the rules
    #[arg(long, default_value = "hub")]
    pub node: String,
    /// That node's endpoint
    #[arg(long, default_value = "http://127.0.0.1:5000")]
    pub endpoint: String,
    /// The mesh's name
    #[arg(long, default_value = "imported")]
    pub mesh: String,
}

/// The systems rules are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// Azure Container Registry's artifact cache
    Acr,
    /// CNCF distribution, as a pull-through cache
    Distribution,
    /// zot, with its sync extension
    Zot,
}

/// What came of a file.
#[derive(Debug, Default)]
struct Imported {
    rules: BTreeMap<String, Value>,
    credentials: BTreeMap<String, Value>,
    identities: BTreeMap<String, Value>,
    upstreams: BTreeMap<String, Value>,
    /// What a person must look at.
    unmapped: Vec<String>,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Report<'a> {
    topology: &'a Value,
    unmapped: &'a [String],
}

/// Reads the file and prints the fragment.
///
/// # Errors
/// When the file cannot be read, or is not what it should be.
pub fn run(import: &Import, global: &Global) -> anyhow::Result<Exit> {
    let files = crate::command::read_files(std::slice::from_ref(&import.file))?;
    let text = files
        .first()
        .map(|(_, text)| text.as_str())
        .unwrap_or_default();
    let mut imported = read(import.from, text, &import.node).with_context(|| {
        Code::InvalidFile.says(format!("cannot import {}", import.file.display()))
    })?;
    let topology = topology(import, &imported);
    let problems = problems(&topology)?;
    imported.unmapped.extend(problems);
    match global.output {
        Format::Json => {
            let report = Report {
                topology: &topology,
                unmapped: &imported.unmapped,
            };
            output::object(global, &report, String::new)?;
        }
        Format::Table | Format::Yaml => {
            for line in &imported.unmapped {
                output::data(&format!("# not mapped: {}", line.replace('\n', " ")));
            }
            output::data(serde_saphyr::to_string(&topology)?.trim_end());
        }
    }
    for line in &imported.unmapped {
        output::words(global, &format!("not mapped: {line}"));
    }
    output::words(
        global,
        &format!(
            "{} rules, {} credential sets, {} identities; {} not mapped; check it with `regmesh plan --offline FILE`",
            imported.rules.len(),
            imported.credentials.len(),
            imported.identities.len(),
            imported.unmapped.len()
        ),
    );
    Ok(Exit::Ok)
}

fn read(from: From, text: &str, node: &str) -> anyhow::Result<Imported> {
    match from {
        From::Acr => acr::read(text, node),
        From::Distribution => distribution::read(text, node),
        From::Zot => zot::read(text, node),
    }
}

fn topology(import: &Import, imported: &Imported) -> Value {
    let mut document = Map::new();
    document.insert("version".to_owned(), json!(1));
    document.insert("mesh".to_owned(), json!(import.mesh));
    let nodes = json!({ &import.node: { "endpoint": import.endpoint } });
    document.insert("nodes".to_owned(), nodes);
    for (key, section) in [
        ("identities", &imported.identities),
        ("credentials", &imported.credentials),
        ("rules", &imported.rules),
        ("upstreams", &imported.upstreams),
    ] {
        if !section.is_empty() {
            document.insert(key.to_owned(), json!(section));
        }
    }
    Value::Object(document)
}

impl Imported {
    /// Adds a rule under a name that is free and legal.
    fn rule(&mut self, wanted: &str, rule: Value) {
        let mut name: String = wanted
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '-'
                }
            })
            .take(46)
            .collect();
        if name.is_empty() {
            name.push_str("rule");
        }
        let mut unique = name.clone();
        let mut count = 1;
        while self.rules.contains_key(&unique) {
            count += 1;
            unique = format!("{name}-{count}");
        }
        self.rules.insert(unique, rule);
    }

    /// Declares a credential set for `host` whose secrets are environment variables named after it; its name.
    fn credential_set(&mut self, wanted: &str, host: &str) -> String {
        let name: String = wanted
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let name = name.trim_matches('-').to_owned();
        let variable = name.to_ascii_uppercase().replace('-', "_");
        let set = json!({
            "loginServer": host,
            "username": {"env": format!("{variable}_USERNAME")},
            "password": {"env": format!("{variable}_PASSWORD")},
        });
        self.credentials.entry(name.clone()).or_insert(set);
        name
    }
}

/// The host of a source.
fn host(source: &str) -> &str {
    source.split('/').next().unwrap_or_default()
}

/// What `plan` would refuse about the fragment, so that nobody learns of it later.
fn problems(topology: &Value) -> anyhow::Result<Vec<String>> {
    let yaml = serde_saphyr::to_string(topology)?;
    let Err(problems) = ::topology::load(&[("imported.yaml".to_owned(), yaml)]) else {
        return Ok(Vec::new());
    };
    let errors = problems.iter().filter(|problem| problem.is_error());
    Ok(errors
        .map(|problem| format!("`plan` refuses it: {}: {}", problem.message, problem.advice))
        .collect())
}

#[cfg(test)]
fn plan(from: From, text: &str) -> (Imported, Vec<String>) {
    let imported = read(from, text, "hub").expect("a file of that system");
    let import = Import {
        from,
        file: PathBuf::new(),
        node: "hub".to_owned(),
        endpoint: "http://127.0.0.1:5000".to_owned(),
        mesh: "imported".to_owned(),
    };
    let problems = problems(&topology(&import, &imported)).expect("YAML");
    (imported, problems)
}
