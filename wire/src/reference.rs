//! Tags and references. Source: OCI distribution-spec 1.1.1, "Pulling manifests" (`<reference>`).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    digest::{Digest, DigestError},
    name::NameError,
};

/// A tag: a letter, digit or `_`, then up to 127 letters, digits, `.`, `_`, `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a tag of the `sha256-…` scheme, by which signatures and fallback referrers lists are found. Such a
    /// tag is always checked and its absence is never remembered.
    #[must_use]
    pub fn is_digest_scheme(&self) -> bool {
        self.0.starts_with("sha256-") || self.0.starts_with("sha512-")
    }

    /// The tag under which registries without a referrers API list what refers to `subject`: `sha256-<hex>`, with at most
    /// 64 hexadecimal digits (so of a sha512 digest half of them).
    /// Source: OCI distribution-spec 1.1.1, "Referrers Tag Schema".
    #[must_use]
    pub fn referrers_fallback(subject: &Digest) -> Self {
        let hex: String = subject.hex().chars().take(64).collect();
        Self(format!("{}-{hex}", subject.algorithm().as_str()).into())
    }
}

impl FromStr for Tag {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let ok = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(NameError::new(
                "tag",
                text,
                "a letter, digit or '_', then up to 127 letters, digits, '.', '_' or '-'",
            ))
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By a tag, which may move.
    Tag(Tag),
    /// By digest, which never does.
    Digest(Digest),
}

/// Why a text is neither tag nor digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has no colon, so it should have been a tag.
    #[error(transparent)]
    Tag(#[from] NameError),
    /// It has a colon, so it should have been a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            Ok(Self::Digest(text.parse()?))
        } else {
            Ok(Self::Tag(text.parse()?))
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_colon_makes_it_a_digest() {
        let digest = Digest::sha256(b"");
        assert_eq!(digest.to_string().parse(), Ok(Reference::Digest(digest)));
        assert!(matches!("1.4.0".parse(), Ok(Reference::Tag(_))));
        assert!(matches!(
            "a:b".parse::<Reference>(),
            Err(ReferenceError::Digest(_))
        ));
        assert!(matches!(
            "-a".parse::<Reference>(),
            Err(ReferenceError::Tag(_))
        ));
    }

    #[test]
    fn tags_have_the_distribution_specs_grammar() {
        for good in ["a", "_", "0", "A.b-c_d", &"t".repeat(128)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "-a",
            ".a",
            "a/b",
            "a b",
            "a%",
            "ä",
            "a\0",
            &"t".repeat(129),
        ] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_fallback_tag_holds_at_most_64_digits() {
        for (algorithm, length) in [
            (crate::digest::Algorithm::Sha256, 71),
            (crate::digest::Algorithm::Sha512, 71),
        ] {
            let subject = Digest::of(algorithm, b"subject");
            let tag = Tag::referrers_fallback(&subject);
            assert_eq!(tag.as_str().len(), length);
            assert!(tag.is_digest_scheme());
            assert_eq!(tag.as_str().parse(), Ok(tag.clone()));
            assert!(
                subject
                    .as_str()
                    .starts_with(&tag.as_str().replacen('-', ":", 1))
            );
        }
        assert!(!"latest".parse::<Tag>().expect("a tag").is_digest_scheme());
    }

    proptest! {
        #[test]
        fn a_reference_reads_back(text in "[a-zA-Z0-9_.-]{1,130}|.{0,20}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
