//! Platforms: `os/arch[/variant]`. Source: OCI image-spec, "Image Index", `platform`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::name::NameError;

/// An operating system and a processor architecture, perhaps with its variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, `windows`, …
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Whether a child declared as `other` serves a request for this platform: the same system and architecture, and the
    /// same variant where both name one (`arm64` and `arm64/v8` are the same).
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        let same_variant = match (&self.variant, &other.variant) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        self.os == other.os && self.architecture == other.architecture && same_variant
    }

    /// Whether this is the `unknown/unknown` that build tools give to attestations.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl FromStr for Platform {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |t: &str| {
            !t.is_empty()
                && t.len() <= 32
                && t.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture] if word(os) && word(architecture) => Ok(Self {
                os: (*os).into(),
                architecture: (*architecture).into(),
                variant: None,
            }),
            [os, architecture, variant] if word(os) && word(architecture) && word(variant) => {
                Ok(Self {
                    os: (*os).into(),
                    architecture: (*architecture).into(),
                    variant: Some((*variant).into()),
                })
            }
            _ => Err(NameError::new(
                "platform",
                text,
                "OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, for example linux/arm64/v8",
            )),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// A platform in JSON as its text, `os/arch[/variant]`, where OCI's own object is not asked for.
pub mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use super::Platform;

    /// Writes `Some` as text.
    ///
    /// # Errors
    /// The serialiser's.
    pub fn serialize<S: Serializer>(
        platform: &Option<Platform>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match platform {
            Some(platform) => serializer.collect_str(platform),
            None => serializer.serialize_none(),
        }
    }

    /// Reads text, or nothing.
    ///
    /// # Errors
    /// When the text is no platform.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Platform>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }

    /// The same for a list.
    pub mod list {
        use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

        use crate::platform::Platform;

        /// Writes each as text.
        ///
        /// # Errors
        /// The serialiser's.
        pub fn serialize<S: Serializer>(
            platforms: &[Platform],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(platforms.iter().map(ToString::to_string))
        }

        /// Reads a list of texts.
        ///
        /// # Errors
        /// When one is no platform.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<Platform>, D::Error> {
            let texts = Vec::<String>::deserialize(deserializer)?;
            let read = texts
                .iter()
                .map(|text| text.parse().map_err(D::Error::custom));
            read.collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect("a platform")
    }

    #[test]
    fn a_variant_matters_only_where_both_name_one() {
        for (a, b, same) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/arm", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
        ] {
            assert_eq!(platform(a).matches(&platform(b)), same, "{a} {b}");
        }
    }

    #[test]
    fn platforms_read_back_and_junk_is_refused() {
        for good in ["linux/amd64", "linux/arm64/v8", "unknown/unknown"] {
            assert_eq!(platform(good).to_string(), good);
        }
        for bad in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "a/b/",
            "a/b/c/d",
            "linux/amd 64",
            "lin*x/amd64",
            &"a/".repeat(40),
        ] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
        assert!(
            platform("unknown/unknown").is_unknown() && !platform("linux/unknown").is_unknown()
        );
    }
}
