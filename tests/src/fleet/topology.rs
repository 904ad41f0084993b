//! The topology of a fleet as text that a test may change: sections are lines, added to or replaced.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Where a node listens, for as long as the fleet lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    listen: u16,
    admin: u16,
    tls: bool,
}

/// A topology document.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The mesh's name.
    pub mesh: &'static str,
    /// Section to lines of flow mappings, `name: {…}`.
    sections: BTreeMap<&'static str, Vec<String>>,
}

/// Ports that the kernel does not give to outgoing connections: below its range, and a part of it for each process.
const FIRST: u16 = 10_000;
const PORTS: u16 = 22_000;

impl Way {
    pub(super) fn pick(tls: bool) -> Self {
        Self {
            listen: port(),
            admin: port(),
            tls,
        }
    }

    pub fn listen(&self) -> String {
        format!("127.0.0.1:{}", self.listen)
    }

    pub fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin)
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.listen())
    }
}

/// A port that nobody has, and that nobody gets by chance while its owner is being restarted.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(PORTS)).expect("less than u16");
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::SeqCst);
        // Neighbouring processes begin far from each other.
        let offset = u32::from(start) * 97 + u32::from(step);
        let port = FIRST + u16::try_from(offset % u32::from(PORTS)).expect("less than u16");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            mesh: "fleet",
            sections: BTreeMap::new(),
        }
    }
}

impl Topology {
    /// Adds `name: {…}`, or what a list of this section takes; replaces what had that name.
    pub fn set(&mut self, section: &'static str, name: &str, value: &str) {
        self.remove(section, name);
        let lines = self.sections.entry(section).or_default();
        lines.push(format!("  {name}: {value}"));
    }

    /// The rule `NODE-up`, which fills `up/*`; `more` begins with a comma.
    pub fn rule(&mut self, node: &str, source: &str, more: &str) {
        let rule = format!(
            "{{on: {node}, source: \"{source}\", target: \"up/*\", freshness: {{check: always}}{more}}}"
        );
        self.set("rules", &format!("{node}-up"), &rule);
    }

    /// Takes `name` away, if it is there.
    pub fn remove(&mut self, section: &'static str, name: &str) {
        let lines = self.sections.entry(section).or_default();
        lines.retain(|line| !line.trim_start().starts_with(&format!("{name}:")));
    }

    /// Adds a role assignment.
    pub fn allow(&mut self, value: &str) {
        let lines = self.sections.entry("access").or_default();
        lines.push(format!("  - {value}"));
    }

    /// Takes a role assignment away, which must be there.
    pub fn deny(&mut self, value: &str) {
        let lines = self.sections.entry("access").or_default();
        let before = lines.len();
        lines.retain(|line| *line != format!("  - {value}"));
        assert!(lines.len() < before, "no assignment {value}: {lines:#?}");
    }

    /// YAML.
    pub fn text(&self) -> String {
        let mut text = format!("version: 1\nmesh: {}\n", self.mesh);
        for (section, lines) in &self.sections {
            if !lines.is_empty() {
                writeln!(text, "{section}:\n{}", lines.join("\n")).expect("text takes text");
            }
        }
        text
    }
}
