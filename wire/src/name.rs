//! Names that people give to the parts of a mesh.
//!
//! Every name is parsed once, at the edge, and is a distinct type from then on: a rule's name cannot be passed where a
//! node's is wanted. Cloning one is a reference count. Repository names, tags and digests have files of their own.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a valid {kind}: {reason}")]
pub struct NameError {
    /// What it should have been: `node name`, `rule name`, …
    pub kind: &'static str,
    /// The offending text, cut to 200 characters and without control characters.
    pub text: String,
    /// The grammar, in words.
    pub reason: &'static str,
}

impl NameError {
    pub(crate) fn new(kind: &'static str, text: &str, reason: &'static str) -> Self {
        Self {
            kind,
            text: text
                .chars()
                .map(|c| {
                    if c.is_control() {
                        char::REPLACEMENT_CHARACTER
                    } else {
                        c
                    }
                })
                .take(200)
                .collect(),
            reason,
        }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $valid:ident, $reason:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                if $valid(text) { Ok(Self(text.into())) } else { Err(NameError::new($kind, text, $reason)) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A mesh: the trust domain of everything under one control plane.
    MeshName, "mesh name", is_label, "lower-case letters, digits and inner hyphens, at most 63 characters"
);
name!(
    /// A node: one named registry of the mesh.
    NodeName, "node name", is_label, "lower-case letters, digits and inner hyphens, at most 63 characters"
);
name!(
    /// A cache rule.
    RuleName, "rule name", is_rule, "letters, digits and hyphens, 1 to 50 characters"
);
name!(
    /// A rule on one node, for what is said of it there alone: `NODE/RULE`.
    RuleAt, "rule on a node", is_rule_at, "NODE/RULE"
);
name!(
    /// An identity that rules authenticate as.
    IdentityName, "identity name", is_plain, "letters, digits, '.', '_' and '-', 1 to 63 characters, beginning with a letter or digit"
);
name!(
    /// A credential set.
    CredentialName, "credential set name", is_plain, "letters, digits, '.', '_' and '-', 1 to 63 characters, beginning with a letter or digit"
);
name!(
    /// A local account.
    AccountName, "account name", is_plain, "letters, digits, '.', '_' and '-', 1 to 63 characters, beginning with a letter or digit"
);
name!(
    /// A declared OIDC issuer.
    IssuerName, "issuer name", is_plain, "letters, digits, '.', '_' and '-', 1 to 63 characters, beginning with a letter or digit"
);
name!(
    /// A webhook subscription.
    WebhookName, "webhook name", is_plain, "letters, digits, '.', '_' and '-', 1 to 63 characters, beginning with a letter or digit"
);

impl RuleAt {
    /// The rule `rule` on `node`.
    #[must_use]
    pub fn new(node: &NodeName, rule: &RuleName) -> Self {
        Self(format!("{node}/{rule}").into())
    }
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.len() <= 63
        && bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
        && bytes.iter().all(|b| edge(b) || *b == b'-')
}

fn is_rule(text: &str) -> bool {
    (1..=50).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_rule_at(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(node, rule)| is_label(node) && is_rule(rule))
}

fn is_plain(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_name_has_its_grammar() {
        let long = "a".repeat(64);
        let label =
            |text: &str| text.parse::<NodeName>().is_ok() && text.parse::<MeshName>().is_ok();
        for good in ["a", "0", "a-b", "a--b", "eu-aks-1", &"a".repeat(63)] {
            assert!(label(good), "{good}");
        }
        for bad in [
            "", "-a", "a-", "A", "a_b", "a.b", "a/b", "ä", " a", "a\n", &long,
        ] {
            assert!(!label(bad), "{bad}");
        }
        let rule = |text: &str| text.parse::<RuleName>().is_ok();
        assert!(rule("Promote-1") && rule("-") && rule(&"a".repeat(50)));
        assert!(!rule("") && !rule(&"a".repeat(51)) && !rule("a_b") && !rule("a/b"));
        let plain = |text: &str| text.parse::<IdentityName>().is_ok();
        assert!(
            plain("a.b_c-D")
                && plain("0")
                && !plain(".a")
                && !plain("-a")
                && !plain("")
                && !plain("a:b")
                && !plain(&long)
        );
    }

    #[test]
    fn a_refused_name_is_cut_in_the_message() {
        let error = "ä"
            .repeat(1000)
            .parse::<NodeName>()
            .expect_err("not a name");
        assert_eq!(error.text.chars().count(), 200);
        let error = "a\n\0\u{1b}[31m"
            .parse::<NodeName>()
            .expect_err("not a name");
        assert!(!error.to_string().chars().any(char::is_control));
    }

    proptest! {
        #[test]
        fn a_name_is_what_was_written(text in ".{0,70}|[a-z0-9-]{1,63}") {
            if let Ok(name) = text.parse::<NodeName>() {
                prop_assert_eq!(name.as_str(), &text);
                let json = serde_json::to_string(&name).expect("a text");
                prop_assert_eq!(serde_json::from_str::<NodeName>(&json).expect("a name"), name);
            }
        }
    }
}
