//! The list of what refers to a manifest, as `/v2/NAME/referrers/DIGEST` and the fallback tag hold it.
//!
//! Source: OCI distribution-spec 1.1.1, "Listing Referrers".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Descriptor;
use crate::{digest::Digest, media_type};

/// One entry of a referrers list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferrerDescriptor {
    /// The referring manifest's type.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// Its type as an artefact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl From<Descriptor> for ReferrerDescriptor {
    fn from(descriptor: Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type,
            size: descriptor.size,
            digest: descriptor.digest,
            artifact_type: descriptor.artifact_type,
            annotations: descriptor.annotations,
        }
    }
}

/// The list as an OCI index; an empty list is one too.
#[must_use]
pub fn referrers_index(referrers: &[ReferrerDescriptor]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Index<'a> {
        schema_version: u8,
        media_type: &'a str,
        manifests: &'a [ReferrerDescriptor],
    }
    let index = Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX,
        manifests: referrers,
    };
    serde_json::to_vec(&index).expect("texts and numbers always serialise")
}
