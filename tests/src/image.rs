//! Fixed images: the same seed gives the same digests for ever.
//!
//! An image is everything that a registry must hold to serve it: manifests, children before parents, and blobs. Large layers are
//! patterns, never in memory.

use bytes::Bytes;
use serde_json::{Value, json};
use wire::digest::Digest;
use wire::media_type::{OCI_EMPTY, OCI_INDEX, OCI_MANIFEST};

use crate::Content;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A finished image or artefact.
#[derive(Clone, Debug)]
pub struct Image {
    /// Of the manifest or index on top.
    pub digest: Digest,
    /// Children before parents; the last one is the top.
    pub manifests: Vec<Manifest>,
    /// Each once, configs among them.
    pub blobs: Vec<(Digest, Content)>,
}

#[derive(Clone, Debug)]
pub struct Manifest {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Bytes,
}

/// How an image is made: platforms, layers, attestations.
pub struct Builder {
    seed: u64,
    platforms: Vec<&'static str>,
    layers: Vec<u64>,
    index: bool,
    attestation: bool,
}

impl Image {
    /// One platform, no index; two small layers unless told otherwise.
    pub fn single(seed: u64) -> Builder {
        Builder {
            seed,
            platforms: vec!["amd64"],
            layers: Vec::new(),
            index: false,
            attestation: false,
        }
    }

    /// An index of linux/amd64 and linux/arm64 and an attestation child of the first.
    pub fn multi(seed: u64) -> Builder {
        Builder {
            platforms: vec!["amd64", "arm64"],
            index: true,
            attestation: true,
            ..Self::single(seed)
        }
    }

    /// A signature as cosign attaches: a manifest with a subject, an artefact type and an annotation.
    pub fn signature_of(subject: &Manifest, seed: u64) -> Self {
        let mut image = Parts::default();
        let empty = image.blob(Content::from("{}"), OCI_EMPTY);
        let payload = image.blob(
            Content::pattern(seed, 300),
            "application/vnd.dev.cosign.simplesigning.v1+json",
        );
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
            "config": empty,
            "layers": [payload],
            "subject": subject.descriptor(),
            "annotations": {"seed": seed.to_string()},
        });
        image.manifest(OCI_MANIFEST, &manifest);
        image.finish()
    }

    /// An index of these manifests with what referrer lists hold, as the fallback tag does. They are not part of it.
    pub fn list_of(manifests: &[&Manifest]) -> Self {
        let entry = |manifest: &&Manifest| {
            let (mut entry, value) = (manifest.descriptor(), manifest.json());
            entry["artifactType"] = value["artifactType"].clone();
            entry["annotations"] = value["annotations"].clone();
            entry
        };
        let listed: Vec<Value> = manifests.iter().map(entry).collect();
        let mut list = Parts::default();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed});
        list.manifest(OCI_INDEX, &index);
        list.finish()
    }

    /// The manifest or index on top.
    pub fn top(&self) -> &Manifest {
        self.manifests.last().expect("an image has a manifest")
    }

    pub fn manifest(&self, digest: &Digest) -> Option<&Manifest> {
        self.manifests
            .iter()
            .find(|manifest| manifest.digest == *digest)
    }

    /// The manifest of an architecture; of an image without an index the only one.
    pub fn platform(&self, architecture: &str) -> &Manifest {
        let index = self.top().json();
        let Some(children) = index["manifests"].as_array() else {
            return self.top();
        };
        let child = children
            .iter()
            .find(|child| child["platform"]["architecture"] == architecture)
            .unwrap_or_else(|| panic!("no {architecture} in {index}"));
        self.manifest(&digest_of(child))
            .expect("children are part of the image")
    }

    /// Config and layers of an architecture.
    pub fn blobs_of(&self, architecture: &str) -> Vec<Digest> {
        self.platform(architecture).blobs()
    }

    pub fn content(&self, digest: &Digest) -> &Content {
        let found = self.blobs.iter().find(|(d, _)| d == digest);
        &found.expect("a blob of this image").1
    }

    /// The largest blob: what transfers are cut in.
    pub fn largest(&self) -> (&Digest, &Content) {
        let largest = self.blobs.iter().max_by_key(|(_, content)| content.len());
        let (digest, content) = largest.expect("an image has blobs");
        (digest, content)
    }
}

impl Manifest {
    fn new(media_type: &str, value: &Value) -> Self {
        let bytes = Bytes::from(serde_json::to_vec_pretty(value).expect("plain JSON"));
        Self {
            digest: Digest::sha256(&bytes),
            media_type: media_type.to_owned(),
            bytes,
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("manifests of the rig are JSON")
    }

    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }

    /// Config and layers; none of an index.
    pub fn blobs(&self) -> Vec<Digest> {
        let value = self.json();
        let layers = value["layers"].as_array().into_iter().flatten();
        let config = Some(&value["config"]).filter(|config| config.is_object());
        config.into_iter().chain(layers).map(digest_of).collect()
    }
}

impl Builder {
    /// Adds a layer of so many bytes, rounded up to what a tar archive can have, to each platform.
    pub fn layer_of(mut self, bytes: u64) -> Self {
        self.layers.push(bytes);
        self
    }

    /// An index even for one platform, or none.
    pub fn without_attestation(mut self) -> Self {
        self.attestation = false;
        self
    }

    pub fn build(mut self) -> Image {
        if self.layers.is_empty() {
            self.layers = vec![20_000, 3_000];
        }
        let mut parts = Parts::default();
        let mut children = Vec::new();
        for (number, architecture) in self.platforms.iter().enumerate() {
            let mut child = self.platform(&mut parts, number as u64, architecture);
            child["platform"] = json!({"os": "linux", "architecture": architecture});
            children.push(child);
        }
        if self.attestation {
            let child = self.attestation(&mut parts, &children[0]);
            children.push(child);
        }
        if self.index {
            let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
            parts.manifest(OCI_INDEX, &index);
        }
        parts.finish()
    }

    fn platform(&self, parts: &mut Parts, number: u64, architecture: &str) -> Value {
        let layers: Vec<(Digest, Value)> = (0..)
            .zip(&self.layers)
            .map(|(layer, size)| {
                let content = Content::tar(self.seed * 1000 + number * 100 + layer, *size);
                (content.digest(), parts.blob(content, LAYER))
            })
            .collect();
        let diff_ids: Vec<&Digest> = layers.iter().map(|(digest, _)| digest).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": {"seed": self.seed.to_string()}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = parts.blob(Content::from(config.to_string()), CONFIG);
        let layers: Vec<&Value> = layers.iter().map(|(_, descriptor)| descriptor).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
        parts.manifest(OCI_MANIFEST, &manifest)
    }

    /// As buildkit attaches it: a child with platform `unknown/unknown`.
    fn attestation(&self, parts: &mut Parts, subject: &Value) -> Value {
        let config = parts.blob(
            Content::from(r#"{"architecture":"unknown","os":"unknown"}"#),
            CONFIG,
        );
        let statement = parts.blob(
            Content::pattern(self.seed * 1000 + 999, 500),
            "application/vnd.in-toto+json",
        );
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [statement]});
        let mut child = parts.manifest(OCI_MANIFEST, &manifest);
        child["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        child["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": subject["digest"],
        });
        child
    }
}

#[derive(Default)]
struct Parts {
    manifests: Vec<Manifest>,
    blobs: Vec<(Digest, Content)>,
}

impl Parts {
    /// Adds a blob once and gives its descriptor.
    fn blob(&mut self, content: Content, media_type: &str) -> Value {
        let digest = content.digest();
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": content.len()});
        if !self.blobs.iter().any(|(known, _)| *known == digest) {
            self.blobs.push((digest, content));
        }
        descriptor
    }

    fn manifest(&mut self, media_type: &str, value: &Value) -> Value {
        let manifest = Manifest::new(media_type, value);
        let descriptor = manifest.descriptor();
        self.manifests.push(manifest);
        descriptor
    }

    fn finish(self) -> Image {
        Image {
            digest: self
                .manifests
                .last()
                .expect("a manifest was made")
                .digest
                .clone(),
            manifests: self.manifests,
            blobs: self.blobs,
        }
    }
}

fn digest_of(descriptor: &Value) -> Digest {
    let text = descriptor["digest"]
        .as_str()
        .expect("a descriptor has a digest");
    text.parse().expect("digests of the rig parse")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_image() {
        let (one, two) = (Image::multi(3).build(), Image::multi(3).build());
        assert_eq!(one.digest, two.digest);
        assert_ne!(one.digest, Image::multi(4).build().digest);
    }

    #[test]
    fn an_index_has_two_platforms_and_an_attestation() {
        let image = Image::multi(1).build();
        assert_eq!(image.manifests.len(), 4);
        assert_eq!(image.top().json()["manifests"].as_array().unwrap().len(), 3);
        let (amd, arm) = (image.blobs_of("amd64"), image.blobs_of("arm64"));
        assert_eq!((amd.len(), arm.len()), (3, 3));
        assert!(amd.iter().all(|digest| !arm.contains(digest)));
        for manifest in &image.manifests {
            assert_eq!(manifest.digest, Digest::sha256(&manifest.bytes));
            assert!(
                manifest
                    .blobs()
                    .iter()
                    .all(|d| image.content(d).digest() == *d)
            );
        }
    }

    #[test]
    fn a_signature_names_its_subject() {
        let image = Image::single(1).build();
        let signature = Image::signature_of(image.top(), 1);
        assert_eq!(
            signature.top().json()["subject"]["digest"],
            image.digest.as_str()
        );
    }
}
