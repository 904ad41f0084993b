//! What a manifest refers to. Bytes are the caller's and stay as they came: nothing here is ever written back.
//!
//! Only descriptors are read, within limits. An unknown type, and schema 1, are `Opaque`: stored and served as they are,
//! with no children known. A document that could be read as two things (both `manifests` and `layers`, a key twice, a
//! `mediaType` unlike its `Content-Type`) is refused, because two readers would see two images. Source: OCI image-spec
//! 1.1; `reference/faults.md` T59; CVE-2021-41190.

mod field;
mod raw;
mod referrer;
#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    reason = "documents are built by putting fields into JSON"
)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::referrer::{ReferrerDescriptor, referrers_index};
use crate::{digest::Digest, media_type, platform::Platform};

/// The largest manifest taken, in bytes.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The deepest nesting taken.
pub const MAX_DEPTH: usize = 64;
/// The most layers of one manifest.
pub const MAX_LAYERS: usize = 10_000;
/// The most children of one index.
pub const MAX_CHILDREN: usize = 4096;
/// The largest size that a descriptor may state, in bytes (1 PiB).
pub const MAX_SIZE: u64 = 1 << 50;

/// Why bytes are not taken as a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More bytes than are taken: 413 `SIZE_INVALID`; everything else is 400 `MANIFEST_INVALID`.
    #[error("the manifest has {0} bytes, more than {MAX_BYTES}")]
    TooLarge(usize),
    /// Nested deeper than is taken.
    #[error("the manifest is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More layers or children than are taken.
    #[error("the manifest lists more than {limit} {what}")]
    TooMany {
        /// `layers` or `manifests`.
        what: &'static str,
        /// How many are taken.
        limit: usize,
    },
    /// Not a JSON object of the right shape; the reason is the parser's.
    #[error("the manifest is not valid: {0}")]
    Json(String),
    /// A key twice, or in another case than the specification's.
    #[error("the manifest's key '{0}' is there twice or in the wrong case")]
    Key(String),
    /// The body and the header name two types.
    #[error("the manifest calls itself '{body}', its Content-Type is '{header}'")]
    MediaType {
        /// `mediaType` in the body.
        body: String,
        /// `Content-Type`.
        header: String,
    },
    /// Fields of two types in one document, or not those of its type.
    #[error("a manifest of type '{media_type}' {what}")]
    Shape {
        /// The type it goes by.
        media_type: String,
        /// What is wrong about it.
        what: &'static str,
    },
    /// Neither body nor header say what it is.
    #[error("nothing says what type of manifest this is")]
    NoType,
}

/// A manifest or index, as far as a registry has to understand it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its type, to be served as `Content-Type`.
    pub media_type: String,
    /// What it lists.
    pub kind: Kind,
    /// What it refers to as a signature, SBOM, attestation and the like.
    pub subject: Option<Descriptor>,
    /// `artifactType` as written; see [`Manifest::effective_artifact_type`].
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One image or artefact.
    Image {
        /// Its configuration.
        config: Descriptor,
        /// Its layers, in order.
        layers: Vec<Descriptor>,
    },
    /// A list of manifests.
    Index {
        /// Its children, in order; any of them may be missing by design.
        manifests: Vec<Descriptor>,
    },
    /// Something whose children nobody here knows.
    Opaque,
}

/// A reference to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its type; empty when not said.
    #[serde(default)]
    pub media_type: String,
    /// Its length in bytes, at most [`MAX_SIZE`].
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// For which platform, of an index's child.
    #[serde(
        default,
        deserialize_with = "field::platform",
        skip_serializing_if = "Option::is_none"
    )]
    pub platform: Option<Platform>,
    /// Where else it can be had, the first few; never fetched from there.
    #[serde(
        default,
        deserialize_with = "field::urls",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
    /// The type of artefact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its annotations.
    #[serde(
        default,
        deserialize_with = "field::texts",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Whether its content lives on foreign hosts: it is passed on, never fetched, and no copy waits for it.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        !self.urls.is_empty()
            || self.media_type.contains(".nondistributable.")
            || self
                .media_type
                .starts_with("application/vnd.docker.image.rootfs.foreign.")
    }

    /// Whether it is an attestation as build tools put them into an index: platform `unknown/unknown`.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.platform.as_ref().is_some_and(Platform::is_unknown)
    }
}

impl Manifest {
    /// Reads a manifest. `content_type` is the header that came with it; one that says nothing about manifests
    /// (`application/json`, `application/octet-stream`, …) counts as absent.
    ///
    /// # Errors
    /// When it is too large, too deep or too wide, not a JSON object, malformed for its type, or ambiguous.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        raw::check_depth(bytes)?;
        let raw = raw::Document::parse(bytes)?;
        let header = content_type
            .map(media_type::essence)
            .filter(|t| !says_nothing(t));
        let media_type = decide_type(&raw, header)?;
        raw.into_manifest(media_type)
    }

    /// The type under which the referrers list names it: `artifactType`, else an image's configuration type, else none.
    #[must_use]
    pub fn effective_artifact_type(&self) -> Option<&str> {
        let own = self.artifact_type.as_deref().filter(|t| !t.is_empty());
        own.or(match &self.kind {
            Kind::Image { config, .. } => {
                Some(config.media_type.as_str()).filter(|t| !t.is_empty())
            }
            Kind::Index { .. } | Kind::Opaque => None,
        })
    }

    /// The blobs it needs: configuration and layers, foreign ones too; none of an index.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, layers) = match &self.kind {
            Kind::Image { config, layers } => (Some(config), layers.as_slice()),
            Kind::Index { .. } | Kind::Opaque => (None, Default::default()),
        };
        config.into_iter().chain(layers)
    }

    /// The manifests it lists; none of anything but an index.
    #[must_use]
    pub fn children(&self) -> &[Descriptor] {
        match &self.kind {
            Kind::Index { manifests } => manifests,
            Kind::Image { .. } | Kind::Opaque => &[],
        }
    }

    /// How the referrers list of its subject names it, when its own bytes have this digest and size.
    #[must_use]
    pub fn as_referrer(&self, digest: Digest, size: u64) -> ReferrerDescriptor {
        ReferrerDescriptor {
            media_type: self.media_type.clone(),
            size,
            digest,
            artifact_type: self.effective_artifact_type().map(str::to_owned),
            annotations: self.annotations.clone(),
        }
    }
}

/// Types with which servers label anything.
fn says_nothing(essence: &str) -> bool {
    matches!(
        essence,
        "" | "application/json" | "application/octet-stream" | "binary/octet-stream" | "text/plain"
    )
}

fn decide_type(raw: &raw::Document, header: Option<String>) -> Result<String, ManifestError> {
    let body = raw.media_type.as_deref().filter(|t| !t.is_empty());
    match (body, header) {
        (Some(body), Some(header)) if media_type::essence(body) != header => {
            Err(ManifestError::MediaType {
                body: body.to_owned(),
                header,
            })
        }
        (Some(body), _) => Ok(body.to_owned()),
        (None, Some(header)) if header == "text/html" => Err(ManifestError::NoType),
        (None, Some(header)) => Ok(header),
        (None, None) => raw
            .guess_type()
            .map(str::to_owned)
            .ok_or(ManifestError::NoType),
    }
}
