//! The document as it stands, before anybody says what it means.
//!
//! Lenient where the specification's own tools are (`null` for an empty list, annotations that are not texts), strict
//! where two readers could disagree: keys of the top level exist once, in one spelling.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::field::Texts;
use super::{
    Descriptor, Kind, MAX_CHILDREN, MAX_DEPTH, MAX_LAYERS, MAX_SIZE, Manifest, ManifestError,
};
use crate::media_type;

const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// The most keys of the top level, and the most annotations of one thing.
pub(super) const MAX_KEYS: usize = 1024;
/// The keys that mean something here.
const KEYS: [&str; 8] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
];

/// The top level of a manifest. `config`, `layers`, `manifests` and `subject` stay unread until the type is known: an
/// unknown type may use the same words for something else.
#[derive(Default)]
pub(super) struct Document {
    pub(super) media_type: Option<String>,
    schema_version: Option<i64>,
    artifact_type: Option<String>,
    config: Option<Box<serde_json::value::RawValue>>,
    layers: Option<Box<serde_json::value::RawValue>>,
    manifests: Option<Box<serde_json::value::RawValue>>,
    subject: Option<Box<serde_json::value::RawValue>>,
    annotations: BTreeMap<String, String>,
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        // `from_str` rather than `from_slice`: the whole document has to be UTF-8, also where nothing is read.
        let text = std::str::from_utf8(bytes)
            .map_err(|_| ManifestError::Json("it is not UTF-8".into()))?;
        let checked: Checked =
            serde_json::from_str(text).map_err(|error| ManifestError::Json(error.to_string()))?;
        match checked.bad_key {
            Some(key) => Err(ManifestError::Key(key.chars().take(64).collect())),
            None => Ok(checked.document),
        }
    }

    pub(super) fn guess_type(&self) -> Option<&'static str> {
        if self.schema_version == Some(1) {
            return Some(SCHEMA_1);
        }
        match (&self.manifests, &self.config) {
            (Some(_), None) => Some(media_type::OCI_INDEX),
            (None, Some(_)) => Some(media_type::OCI_MANIFEST),
            _ => None,
        }
    }

    pub(super) fn into_manifest(self, media_type: String) -> Result<Manifest, ManifestError> {
        let wrong = |what| {
            Err(ManifestError::Shape {
                media_type: media_type.clone(),
                what,
            })
        };
        if self.manifests.is_some() && (self.layers.is_some() || self.config.is_some()) {
            return wrong("has both 'manifests' and 'layers' or 'config'");
        }
        let image = media_type::is_image(&media_type);
        let index = media_type::is_index(&media_type);
        if (image || index) && self.schema_version.is_some_and(|version| version != 2) {
            return wrong("has a 'schemaVersion' other than 2");
        }
        let kind = if image {
            let Some(config) = &self.config else {
                return wrong(if self.manifests.is_some() {
                    "has 'manifests'"
                } else {
                    "has no 'config'"
                });
            };
            if self.manifests.is_some() {
                return wrong("has 'manifests'");
            }
            Kind::Image {
                config: one(config)?,
                layers: list(self.layers.as_deref(), "layers", MAX_LAYERS)?,
            }
        } else if index {
            if self.manifests.is_none() {
                return wrong(if self.layers.is_some() {
                    "has 'layers'"
                } else {
                    "has no 'manifests'"
                });
            }
            Kind::Index {
                manifests: list(self.manifests.as_deref(), "manifests", MAX_CHILDREN)?,
            }
        } else {
            Kind::Opaque
        };
        let subject = match &self.subject {
            None => None,
            // Of a type nobody knows, a `subject` that is no descriptor is somebody else's field.
            Some(raw) if matches!(kind, Kind::Opaque) => one(raw).ok(),
            Some(raw) => Some(one(raw)?),
        };
        Ok(Manifest {
            media_type,
            kind,
            subject,
            artifact_type: self.artifact_type,
            annotations: self.annotations,
        })
    }
}

fn one(raw: &serde_json::value::RawValue) -> Result<Descriptor, ManifestError> {
    let descriptor =
        serde_json::from_str(raw.get()).map_err(|error| ManifestError::Json(error.to_string()))?;
    within_size(descriptor)
}

fn within_size(descriptor: Descriptor) -> Result<Descriptor, ManifestError> {
    if descriptor.size <= MAX_SIZE {
        Ok(descriptor)
    } else {
        Err(ManifestError::Json(format!(
            "the size {} is beyond {MAX_SIZE}",
            descriptor.size
        )))
    }
}

fn list(
    raw: Option<&serde_json::value::RawValue>,
    what: &'static str,
    limit: usize,
) -> Result<Vec<Descriptor>, ManifestError> {
    let Some(raw) = raw else {
        return Ok(Vec::new());
    };
    let List(descriptors) =
        serde_json::from_str(raw.get()).map_err(|error| ManifestError::Json(error.to_string()))?;
    if descriptors.len() > limit {
        return Err(ManifestError::TooMany { what, limit });
    }
    descriptors.into_iter().map(within_size).collect()
}

/// A list that stops growing once it is wider than anything taken.
struct List(Vec<Descriptor>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = List;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of descriptors")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List, A::Error> {
                let mut descriptors = Vec::new();
                while descriptors.len() <= MAX_LAYERS.max(MAX_CHILDREN) {
                    let Some(next) = seq.next_element()? else {
                        return Ok(List(descriptors));
                    };
                    descriptors.push(next);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(List(descriptors))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

/// A document, and the first key that makes it ambiguous. A key is not a parser error, so that the message names it.
struct Checked {
    document: Document,
    bad_key: Option<String>,
}

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Checked;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Checked, A::Error> {
                let mut document = Document::default();
                let mut seen = BTreeSet::new();
                let mut bad_key = None;
                while let Some(key) = map.next_key::<String>()? {
                    if seen.len() >= MAX_KEYS {
                        return Err(A::Error::custom("it has too many keys"));
                    }
                    let misspelt = KEYS
                        .iter()
                        .any(|known| known.eq_ignore_ascii_case(&key) && *known != key);
                    if misspelt || !seen.insert(key.clone()) {
                        bad_key.get_or_insert(key);
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        document.take(&key, &mut map)?;
                    }
                }
                Ok(Checked { document, bad_key })
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl Document {
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "schemaVersion" => self.schema_version = map.next_value()?,
            "mediaType" => self.media_type = map.next_value()?,
            "artifactType" => self.artifact_type = map.next_value()?,
            "config" => self.config = map.next_value()?,
            "layers" => self.layers = map.next_value()?,
            "manifests" => self.manifests = map.next_value()?,
            "subject" => self.subject = map.next_value()?,
            "annotations" => {
                self.annotations = map.next_value::<Option<Texts>>()?.unwrap_or_default().0
            }
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Nesting is counted before anything is parsed, so that no parser ever recurses on a stranger's word.
pub(super) fn check_depth(bytes: &[u8]) -> Result<(), ManifestError> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth = depth.saturating_add(1);
                if depth > MAX_DEPTH {
                    return Err(ManifestError::TooDeep);
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}
