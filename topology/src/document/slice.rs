//! `slice`: what a node must know that follows from parts of the mesh which are not in its slice, and what was decided beside the
//! topology: recalls and revocations.
//!
//! A recall is read in whatever shape a newer release gave it: what counts is the digest, and a node that does not understand the
//! rest refuses it all the same.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Entries, Text};
use crate::{
    place::At,
    problem::{Code, Finding},
    read::{
        Read, Reading,
        section::{is_absent, section},
    },
    yaml::{Value, Yaml},
};

section! {
    /// Written by the control plane into slices only.
    Slice = "`slice`" {
        /// The node it is for.
        node: Text = "node", required;
        /// How far that node is from its root, from 1.
        tier: Option<At<u64>> = "tier", required;
        /// For each rule towards a node: where its chain of upstreams ends.
        origins: Entries<Vec<Origin>> = "origins";
        /// Digests that are refused, with what contains them.
        recalls: Entries<Recall> = "recalls";
        /// Certificates of these nodes that began before the time (RFC 3339) are worth nothing.
        revoked: Entries<At<String>> = "revoked";
        /// What rule grants are believed by.
        grants: Option<Grants> = "grants";
    }
}

section! {
    /// What rule grants of other nodes are believed by.
    Grants = "`grants`" {
        /// Who mints them: the `iss` of every grant.
        issuer: Text = "issuer", required;
        /// The keys that sign them, by id: P-256, the uncompressed point in base64url.
        keys: Entries<At<String>> = "keys";
        /// What the issuer was called before, as long as grants of that time live.
        former: Vec<At<String>> = "former";
        /// For which rules, each on one node (`NODE/RULE`), earlier grants are worth nothing.
        withdrawn: Entries<Withdrawal> = "withdrawn";
    }
}

section! {
    /// Which grants for a rule count no more.
    Withdrawal = "a withdrawal" {
        /// Those that were made by an earlier generation than this.
        before: Option<At<u64>> = "before", required;
        /// When it was decided (RFC 3339).
        at: Text = "at", required;
        /// Those that count for some minutes more.
        left: Option<Left> = "left";
    }
}

section! {
    /// Which grants a rule left behind when it began to call as somebody else.
    Left = "`left`" {
        /// Those that were made by an earlier generation than this.
        before: Option<At<u64>> = "before", required;
        /// When it was decided (RFC 3339).
        at: Text = "at", required;
    }
}

section! {
    /// One end of a rule's chain.
    Origin = "an origin" {
        /// The registry at the end, and its repositories: `HOST[:PORT]/REPO`.
        source: Text = "source", required;
        /// The same repositories at the rule's own upstream.
        via: Text = "via", required;
    }
}

/// Why and since when a digest is refused.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Recall {
    /// Shown to whoever is refused.
    #[serde(skip_serializing_if = "is_absent")]
    pub reason: Text,
    /// Since when, RFC 3339.
    #[serde(skip_serializing_if = "is_absent")]
    pub at: Text,
}

impl Read for Recall {
    /// Never `None`: a recall that is not understood is in force.
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        let mut recall = Self::default();
        let Value::Map(entries) = &node.value else {
            odd(
                node,
                "this recall says more than this node understands",
                reading,
            );
            return Some(recall);
        };
        for (key, value) in entries {
            match (key.value.as_str(), &value.value) {
                ("reason", Value::Scalar { text, .. }) => recall.reason = at(value, text),
                ("at", Value::Scalar { text, .. }) => recall.at = at(value, text),
                (key, _) => odd(
                    value,
                    &format!("`{key}` of a recall is not understood by this node"),
                    reading,
                ),
            }
        }
        Some(recall)
    }
}

fn at(node: &Yaml, text: &str) -> Text {
    Some(At {
        value: text.to_owned(),
        place: node.place,
    })
}

fn odd(node: &Yaml, message: &str, reading: &mut Reading<'_>) {
    reading.findings.push(
        Finding::warning(Code::UnknownKey, node.place, message)
            .advice("the digest is refused all the same; upgrade this node"),
    );
}
