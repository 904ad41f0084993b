//! The chain of nodes that a request came through, by which a loop is found before anything is started.
//!
//! One member per node in `CDN-Loop` (RFC 8586), `regmesh-NODE; mesh=MESH`: CDNs on the way may not remove or rewrite it.
//! Members of others are kept as they are and mean nothing here. Whether a chain is believed (only from mesh peers) is
//! the caller's to say. Source: `spec/pull-through.md` "Tiers"; `reference/faults.md` T43.

use std::fmt;

use crate::name::{MeshName, NodeName};

/// The header's name, in lower case.
pub const HEADER: &str = "cdn-loop";
/// How many members are kept. A longer chain is one that goes nowhere: see [`Hops::is_too_long`].
pub const MAX_MEMBERS: usize = 16;
/// How much of all header lines together is read, in bytes.
pub const MAX_LENGTH: usize = 4096;

/// One member of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Member {
    Ours { mesh: MeshName, node: NodeName },
    Foreign(String),
}

/// The chain, first node first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Hops {
    members: Vec<Member>,
    too_long: bool,
}

impl Hops {
    /// Reads the values of all `CDN-Loop` lines, in order. Never fails.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hops = Self::default();
        let mut budget = MAX_LENGTH;
        for value in values {
            let Some(left) = budget.checked_sub(value.len()) else {
                hops.too_long = true;
                break;
            };
            budget = left;
            for text in split_outside_quotes(value, ',') {
                if let Some(member) = Member::parse(text) {
                    hops.push(member);
                }
            }
        }
        hops
    }

    fn push(&mut self, member: Member) {
        if self.members.len() < MAX_MEMBERS {
            self.members.push(member);
        } else {
            self.too_long = true;
        }
    }

    /// Whether the request has been at this node.
    #[must_use]
    pub fn contains(&self, mesh: &MeshName, node: &NodeName) -> bool {
        self.nodes().any(|(m, n)| m == mesh && n == node)
    }

    /// The nodes of any mesh in it, first to last.
    pub fn nodes(&self) -> impl Iterator<Item = (&MeshName, &NodeName)> {
        self.members.iter().filter_map(|member| match member {
            Member::Ours { mesh, node } => Some((mesh, node)),
            Member::Foreign(_) => None,
        })
    }

    /// Whether it had more members than are kept: refused like a loop.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.too_long
    }

    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The chain as this node passes it on: with itself as the last member.
    #[must_use]
    pub fn with(&self, mesh: &MeshName, node: &NodeName) -> Self {
        let mut hops = self.clone();
        hops.push(Member::Ours {
            mesh: mesh.clone(),
            node: node.clone(),
        });
        hops
    }

    /// `mesh/node` of every node in the chain, for the detail of a 508.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        self.nodes()
            .map(|(mesh, node)| format!("{mesh}/{node}"))
            .collect()
    }
}

impl fmt::Display for Hops {
    /// The value of one `CDN-Loop` line; empty when there are no members.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, member) in self.members.iter().enumerate() {
            write!(f, "{}{member}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours { mesh, node } => write!(f, "regmesh-{node}; mesh={mesh}"),
            Self::Foreign(text) => f.write_str(text),
        }
    }
}

impl Member {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~')) {
            return None;
        }
        Some(Self::ours(text).unwrap_or_else(|| Self::Foreign(text.to_owned())))
    }

    fn ours(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let node = parts.next()?.strip_prefix("regmesh-")?.parse().ok()?;
        let mesh = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case("mesh")
                .then(|| value.trim().trim_matches('"'))
        })?;
        Some(Self::Ours {
            mesh: mesh.parse().ok()?,
            node,
        })
    }
}

/// The `Via` value by which proxies' logs know a node: `1.1 regmesh-NODE`. Loops are found by `CDN-Loop` alone.
#[must_use]
pub fn via(node: &NodeName) -> String {
    format!("1.1 regmesh-{node}")
}

/// The parts of `text` between separators outside quotes.
pub(crate) fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c => return c == separator && !quoted,
        }
        false
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mesh(text: &str) -> MeshName {
        text.parse().expect("a mesh name")
    }

    fn node(text: &str) -> NodeName {
        text.parse().expect("a node name")
    }

    #[test]
    fn a_node_finds_itself_wherever_it_stands() {
        let hops = Hops::default()
            .with(&mesh("contoso"), &node("spoke-1"))
            .with(&mesh("contoso"), &node("prod"));
        assert_eq!(
            hops.to_string(),
            "regmesh-spoke-1; mesh=contoso, regmesh-prod; mesh=contoso"
        );
        let text = hops.to_string();
        for lines in [
            vec![text.as_str()],
            vec![
                "regmesh-spoke-1; mesh=contoso",
                "regmesh-prod;mesh=\"contoso\"",
            ],
            vec![
                "foo.cdn.example; x=\"a, b\", regmesh-spoke-1;mesh=contoso ,, REGMESH",
                "regmesh-prod ; mesh=contoso",
            ],
        ] {
            let read = Hops::parse(lines.iter().copied());
            assert_eq!(
                read.describe(),
                ["contoso/spoke-1", "contoso/prod"],
                "{lines:?}"
            );
            assert!(read.contains(&mesh("contoso"), &node("prod")));
            assert!(!read.contains(&mesh("contoso"), &node("dev")));
        }
    }

    #[test]
    fn another_meshs_node_of_the_same_name_is_no_loop() {
        let hops = Hops::default().with(&mesh("fabrikam"), &node("prod"));
        assert!(!hops.contains(&mesh("contoso"), &node("prod")));
    }

    #[test]
    fn members_of_others_are_passed_on_as_they_are() {
        let text = "foo.cdn.example:8080; x=\"a, b\", regmesh-UPPER; mesh=m, regmesh-prod";
        let hops = Hops::parse([text]);
        assert_eq!(hops.nodes().count(), 0);
        assert_eq!(hops.to_string(), text);
    }

    #[test]
    fn a_chain_that_goes_nowhere_is_noticed() {
        let long = "a, ".repeat(MAX_MEMBERS) + "b";
        assert!(Hops::parse([long.as_str()]).is_too_long());
        assert!(!Hops::parse(["a, b"]).is_too_long());
        assert!(Hops::parse(["x".repeat(MAX_LENGTH + 1).as_str()]).is_too_long());
        let full = Hops::parse(["a, ".repeat(MAX_MEMBERS).as_str()]);
        assert!(!full.is_too_long());
        assert!(full.with(&mesh("m"), &node("n")).is_too_long());
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_bounded_and_fit_for_a_header(lines in prop::collection::vec(".{0,300}", 0..6)) {
            let hops = Hops::parse(lines.iter().map(String::as_str));
            prop_assert!(hops.members.len() <= MAX_MEMBERS);
            prop_assert!(hops.to_string().bytes().all(|b| matches!(b, b'\t' | b' '..=b'~')));
        }

        #[test]
        fn a_chain_reads_back(names in prop::collection::vec("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", 0..8)) {
            let hops = names.iter().fold(Hops::default(), |hops, name| hops.with(&mesh("m"), &node(name)));
            prop_assert_eq!(Hops::parse([hops.to_string().as_str()]), hops);
        }
    }
}
