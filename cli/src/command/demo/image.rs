//! The sample image: two platforms, made on the spot, the same bytes at every run.

use bytes::Bytes;
use serde_json::json;
use wire::{digest::Digest, media_type};

/// The platforms of the sample image.
pub(super) const PLATFORMS: [&str; 2] = ["amd64", "arm64"];
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const BLOCK: usize = 512;

/// Something with a digest.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its media type.
    pub media_type: &'static str,
}

/// One platform of the image.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// Its manifest.
    pub manifest: Content,
    /// Configuration and layers.
    pub blobs: Vec<Content>,
}

/// The whole image.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// The index over the platforms.
    pub index: Content,
    /// The platforms, as in [`PLATFORMS`].
    pub images: Vec<Image>,
}

impl Content {
    fn new(bytes: impl Into<Bytes>, media_type: &'static str) -> Self {
        let bytes = bytes.into();
        Self {
            digest: Digest::sha256(&bytes),
            bytes,
            media_type,
        }
    }

    fn descriptor(&self) -> serde_json::Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// Makes the image, with layers of these sizes in bytes for each platform.
#[must_use]
pub(super) fn sample(layers: &[usize]) -> Sample {
    let images: Vec<Image> = PLATFORMS
        .iter()
        .enumerate()
        .map(|(n, arch)| image(arch, n as u64 + 1, layers))
        .collect();
    let manifests: Vec<_> = images
        .iter()
        .zip(PLATFORMS)
        .map(|(image, arch)| {
            let mut descriptor = image.manifest.descriptor();
            descriptor["platform"] = json!({"os": "linux", "architecture": arch});
            descriptor
        })
        .collect();
    let index =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests});
    Sample {
        index: Content::new(index.to_string(), media_type::OCI_INDEX),
        images,
    }
}

fn image(arch: &str, seed: u64, sizes: &[usize]) -> Image {
    let layers: Vec<Content> = sizes
        .iter()
        .enumerate()
        .map(|(n, size)| {
            Content::new(
                layer(
                    &format!("demo/{arch}/{n}.bin"),
                    *size,
                    seed * 100 + n as u64,
                ),
                LAYER,
            )
        })
        .collect();
    let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
    let config = json!({
        "architecture": arch, "os": "linux",
        "config": {"Cmd": ["/demo/hello"], "Labels": {"org.opencontainers.image.title": "regmesh demo"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = Content::new(config.to_string(), CONFIG);
    let descriptors: Vec<_> = layers.iter().map(Content::descriptor).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config.descriptor(), "layers": descriptors,
    });
    let manifest = Content::new(manifest.to_string(), media_type::OCI_MANIFEST);
    Image {
        manifest,
        blobs: std::iter::once(config).chain(layers).collect(),
    }
}

/// An uncompressed tar archive of one file of `size` bytes, so that every client can unpack it.
fn layer(name: &str, size: usize, seed: u64) -> Vec<u8> {
    let mut header = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\u{0} ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(noise(seed, size));
    archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    archive
}

/// Bytes that do not compress, the same for the same seed (xorshift64*).
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_a_real_image_and_the_same_each_time() {
        let (one, two) = (sample(&[1000, 70_000]), sample(&[1000, 70_000]));
        assert_eq!(one.index.digest, two.index.digest);
        let index = wire::manifest::Manifest::parse(&one.index.bytes, Some(one.index.media_type))
            .expect("an index");
        assert!(
            matches!(index.kind, wire::manifest::Kind::Index { ref manifests } if manifests.len() == 2)
        );
        for image in &one.images {
            let manifest =
                wire::manifest::Manifest::parse(&image.manifest.bytes, None).expect("a manifest");
            let wire::manifest::Kind::Image { config, layers } = manifest.kind else {
                panic!("an image")
            };
            let named: Vec<_> = std::iter::once(config)
                .chain(layers)
                .map(|d| d.digest)
                .collect();
            assert_eq!(
                named,
                image
                    .blobs
                    .iter()
                    .map(|b| b.digest.clone())
                    .collect::<Vec<_>>()
            );
        }
        assert_ne!(one.images[0].blobs[1].digest, one.images[1].blobs[1].digest);
    }
}
