//! The topology document of the mesh, and the slice that each node gets of it.

use std::fmt::Write;

use node::app::Slice;
use topology::slice::{Beside, slice_with};

use crate::mesh::Mesh;
use crate::mesh::builder::ACCOUNTS;

impl Mesh {
    /// The document as it is in force.
    pub fn document(&self) -> String {
        let mut text = String::from("version: 1\nmesh: rig\n");
        self.nodes_section(&mut text);
        self.credentials_section(&mut text);
        self.rules_section(&mut text);
        self.access_section(&mut text);
        if self.builder.hooked {
            let (url, secret) = (self.hook.url(), self.secret("hook"));
            writeln!(text, "webhooks:\n  all: {{on: [{}], url: \"{url}\", actions: [push, delete], secret: {secret}}}", self.all_nodes()).unwrap();
        }
        text
    }

    /// What `name` gets of it, by way of text, as from a control plane.
    pub(super) fn slice(&self, name: &str) -> Slice {
        let mut files = vec![("mesh.yaml".to_owned(), self.document())];
        for (number, extra) in self.builder.extra.iter().enumerate() {
            let port = self.node("dev").path.address().port().to_string();
            let extra = extra
                .replace("{origin}", &self.origin.host())
                .replace("{dev.port}", &port);
            files.push((format!("extra-{number}.yaml"), extra));
        }
        let loaded = topology::load(&files).unwrap_or_else(|problems| {
            let shown: Vec<String> = problems
                .iter()
                .map(|problem| problem.render(false))
                .collect();
            panic!(
                "the mesh's topology is refused:\n{}\n{}",
                shown.join("\n"),
                files[0].1
            )
        });
        let node = name.parse().expect("a node's name");
        let beside = Beside {
            grants: self.builder.grants.clone(),
            ..Beside::default()
        };
        let slice = slice_with(&loaded.topology, &node, &beside).expect("the node is declared");
        let text = slice.to_yaml().expect("a document can be written");
        Slice::read(self.generation, node, &text).expect("a slice of a valid topology is valid")
    }

    fn nodes_section(&self, text: &mut String) {
        text.push_str("nodes:\n");
        for name in self.builder.names() {
            let endpoint = self.node(name).path.url();
            let tier = self.builder.tier_of(name);
            let parent = self.builder.parent_of(tier);
            let parent = parent.map_or(String::new(), |parent| format!(", parent: {parent}"));
            let keys = more(self.builder.node_keys.get(tier));
            writeln!(text, "  {name}: {{endpoint: \"{endpoint}\"{parent}{keys}}}").unwrap();
        }
    }

    /// Each node but the hub shows its parent an account of its own name.
    fn credentials_section(&self, text: &mut String) {
        text.push_str("credentials:\n");
        for pair in self.builder.tiers.windows(2) {
            let host = self.node(&pair[0]).path.host();
            self.credential(text, &pair[1], &host);
        }
        self.credential(text, "hub", &self.origin.host());
        text.push_str("accounts:\n");
        for name in ACCOUNTS {
            writeln!(text, "  {name}: {{password: {}}}", self.secret(name)).unwrap();
        }
    }

    fn credential(&self, text: &mut String, name: &str, host: &str) {
        let (user, password) = (self.secret(&format!("{name}.user")), self.secret(name));
        writeln!(
            text,
            "  {name}: {{loginServer: \"{host}\", username: {user}, password: {password}}}"
        )
        .unwrap();
    }

    fn all_nodes(&self) -> String {
        let names: Vec<&str> = self.builder.names().map(String::as_str).collect();
        names.join(", ")
    }

    fn secret(&self, name: &str) -> String {
        let file = self.dir().join("secrets").join(name);
        format!("{{file: \"{}\"}}", file.display())
    }

    fn rules_section(&self, text: &mut String) {
        text.push_str("rules:\n");
        for name in self.builder.names() {
            let tier = self.builder.tier_of(name);
            let source = match self.builder.parent_of(tier) {
                None => format!("{}/*", self.origin.host()),
                Some(_) => "parent://up/*".to_owned(),
            };
            let shown = match self.builder.parent_of(tier) {
                None if !self.builder.origin_account => String::new(),
                None => ", credentials: hub".to_owned(),
                Some(_) => format!(", credentials: {tier}"),
            };
            let keys = more(self.builder.rule_keys.get(tier));
            writeln!(
                text,
                "  {name}-up: {{on: {name}, source: \"{source}\", target: \"up/*\"{shown}{keys}}}"
            )
            .unwrap();
        }
    }

    fn access_section(&self, text: &mut String) {
        let tiers = self.all_nodes();
        text.push_str("access:\n");
        for role in [
            "repository-reader",
            "repository-writer",
            "repository-deleter",
            "catalog-lister",
        ] {
            writeln!(
                text,
                "  - {{allow: {role}, to: \"account:ci\", on: [{tiers}]}}"
            )
            .unwrap();
        }
        for pair in self.builder.tiers.windows(2) {
            writeln!(text, "  - {{allow: repository-reader, to: \"account:{}\", on: {}, repositories: [\"up/*\"]}}", pair[1], pair[0]).unwrap();
        }
        let last = self.builder.tiers.last().expect("a mesh has a node");
        let leaves = std::iter::once(last).chain(&self.builder.siblings);
        for leaf in leaves.filter(|_| !self.builder.closed) {
            writeln!(
                text,
                "  - {{allow: repository-reader, to: anonymous, on: {leaf}, repositories: [\"up/*\"]}}"
            )
            .unwrap();
        }
        writeln!(text, "  - {{allow: repository-reader, to: \"account:reader\", on: [{tiers}], repositories: [\"up/team-a/*\"]}}").unwrap();
    }
}

fn more(keys: Option<&String>) -> String {
    keys.map_or(String::new(), |keys| format!(", {keys}"))
}
