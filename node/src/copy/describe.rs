//! What a manifest's bytes say, as a record of it; pure.

use wire::{
    digest::Digest,
    manifest::{Descriptor, Manifest, ManifestError},
};

use crate::store::metadata::{Child, ChildKind, ManifestRecord, Version};

/// The record of a manifest whose bytes hash to `digest`.
///
/// # Errors
/// When the bytes are no manifest, or could be read as two.
pub fn describe(
    digest: &Digest,
    bytes: &[u8],
    content_type: Option<&str>,
) -> Result<ManifestRecord, ManifestError> {
    let manifest = Manifest::parse(bytes, content_type)?;
    let blobs = manifest.blobs().enumerate().map(|(at, descriptor)| {
        let kind = if at == 0 {
            ChildKind::Config
        } else {
            ChildKind::Layer
        };
        child(kind, descriptor)
    });
    let manifests = manifest
        .children()
        .iter()
        .map(|descriptor| child(ChildKind::Manifest, descriptor));
    Ok(ManifestRecord {
        digest: digest.clone(),
        size: bytes.len() as u64,
        children: blobs.chain(manifests).collect(),
        artifact_type: manifest.effective_artifact_type().map(str::to_owned),
        media_type: manifest.media_type,
        subject: manifest.subject.map(|subject| subject.digest),
        annotations: manifest.annotations,
    })
}

/// The version of a tag that a manifest is.
#[must_use]
pub fn version(record: &ManifestRecord) -> Version {
    Version {
        digest: record.digest.clone(),
        media_type: record.media_type.clone(),
        size: record.size,
    }
}

fn child(kind: ChildKind, descriptor: &Descriptor) -> Child {
    Child {
        kind,
        digest: descriptor.digest.clone(),
        size: descriptor.size,
        media_type: descriptor.media_type.clone(),
        platform: descriptor.platform.clone(),
        foreign: descriptor.is_foreign(),
    }
}
