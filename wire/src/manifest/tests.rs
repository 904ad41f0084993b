//! What is read from manifests as they are. Beside it: what is refused.

mod refused;

use serde_json::{Value, json};

use super::*;
use crate::media_type::{DOCKER_LIST, DOCKER_MANIFEST, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST};

fn digest(of: &str) -> Digest {
    Digest::sha256(of.as_bytes())
}

fn descriptor(media_type: &str, of: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest(of), "size": size })
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", "config", 7),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "layer", 11)],
    })
}

fn index() -> Value {
    let mut arm = descriptor(OCI_MANIFEST, "arm", 2);
    arm["platform"] =
        json!({ "os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "1" });
    let mut unknown = descriptor(OCI_MANIFEST, "attestation", 3);
    unknown["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [arm, unknown] })
}

fn parse(value: &Value, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
    Manifest::parse(value.to_string().as_bytes(), content_type)
}

fn with(mut value: Value, key: &str, field: Value) -> Value {
    value[key] = field;
    value
}

#[test]
fn an_image_lists_its_configuration_and_layers() {
    for media_type in [OCI_MANIFEST, DOCKER_MANIFEST] {
        let value = with(image(), "mediaType", json!(media_type));
        let manifest = parse(&value, Some(media_type)).expect("an image");
        assert_eq!(manifest.media_type, media_type);
        let blobs: Vec<_> = manifest
            .blobs()
            .map(|blob| (blob.digest.clone(), blob.size))
            .collect();
        assert_eq!(blobs, [(digest("config"), 7), (digest("layer"), 11)]);
        assert!(manifest.children().is_empty());
    }
}

#[test]
fn an_index_lists_its_children_with_their_platforms() {
    for media_type in [OCI_INDEX, DOCKER_LIST] {
        let value = with(index(), "mediaType", json!(media_type));
        let manifest = parse(&value, None).expect("an index");
        let children: Vec<_> = manifest
            .children()
            .iter()
            .map(|child| {
                (
                    child.platform.as_ref().map(ToString::to_string),
                    child.is_attestation(),
                )
            })
            .collect();
        assert_eq!(
            children,
            [
                (Some("linux/arm64/v8".into()), false),
                (Some("unknown/unknown".into()), true),
            ]
        );
        assert_eq!(manifest.blobs().count(), 0);
    }
}

#[test]
fn the_header_decides_where_the_body_is_silent_and_must_not_contradict_it() {
    let mut silent = image();
    silent
        .as_object_mut()
        .expect("an object")
        .remove("mediaType");
    let silent_type = |header| parse(&silent, header).map(|manifest| manifest.media_type);
    assert_eq!(
        silent_type(Some(DOCKER_MANIFEST)),
        Ok(DOCKER_MANIFEST.into())
    );
    assert_eq!(silent_type(None), Ok(OCI_MANIFEST.into()));
    assert_eq!(
        silent_type(Some("application/json; charset=utf-8")),
        Ok(OCI_MANIFEST.into())
    );
    // Types compare without case and parameters.
    assert!(
        parse(
            &image(),
            Some("Application/vnd.oci.image.manifest.v1+JSON; charset=utf-8")
        )
        .is_ok()
    );
    assert!(matches!(
        parse(&image(), Some(OCI_INDEX)),
        Err(ManifestError::MediaType { .. })
    ));
    assert!(matches!(
        parse(&image(), Some(DOCKER_MANIFEST)),
        Err(ManifestError::MediaType { .. })
    ));
}

#[test]
fn unknown_types_and_schema_1_are_opaque() {
    let schema_1 = json!({ "schemaVersion": 1, "name": "a", "fsLayers": [], "signatures": [] });
    let manifest = parse(&schema_1, None).expect("schema 1");
    assert_eq!(manifest.kind, Kind::Opaque);
    assert_eq!(
        manifest.media_type,
        "application/vnd.docker.distribution.manifest.v1+prettyjws"
    );
    // Words of ours with another meaning are somebody else's.
    let strange = json!({ "mediaType": "application/vnd.example+json", "layers": "many", "subject": 5, "config": [] });
    let manifest = parse(&strange, Some("application/vnd.example+json")).expect("an unknown type");
    assert_eq!((manifest.kind, manifest.subject), (Kind::Opaque, None));
    // A subject that is a descriptor counts, whatever the type.
    let artifact = json!({
        "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
        "artifactType": "application/x",
        "blobs": [],
        "subject": descriptor(OCI_MANIFEST, "subject", 1),
    });
    let manifest = parse(&artifact, None).expect("an artefact manifest");
    assert_eq!(manifest.subject.map(|s| s.digest), Some(digest("subject")));
}

#[test]
fn null_and_odd_fields_are_read_as_their_writers_mean_them() {
    let value = with(
        with(image(), "layers", Value::Null),
        "annotations",
        Value::Null,
    );
    let manifest =
        parse(&with(value, "subject", Value::Null), None).expect("an image without layers");
    assert_eq!(manifest.blobs().count(), 1);
    let annotated = with(
        image(),
        "annotations",
        json!({ "a": "b", "n": 1, "z": null }),
    );
    let manifest = parse(&annotated, None).expect("an image");
    assert_eq!(
        manifest.annotations,
        BTreeMap::from([("a".to_owned(), "b".to_owned())])
    );
    let mut odd = index();
    odd["manifests"][0]["platform"] = json!({ "os": "linux" });
    odd["manifests"][1]["platform"] = Value::Null;
    odd["manifests"][1]["urls"] = Value::Null;
    let manifest = parse(&odd, None).expect("an index");
    assert!(
        manifest
            .children()
            .iter()
            .all(|child| child.platform.is_none() && !child.is_foreign())
    );
}

#[test]
fn foreign_layers_are_known_by_their_urls_or_their_type() {
    let cases = [
        ("application/vnd.oci.image.layer.v1.tar", json!([]), false),
        (
            "application/vnd.oci.image.layer.v1.tar",
            json!(["https://elsewhere.example/x"]),
            true,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            json!([]),
            true,
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            json!([]),
            true,
        ),
    ];
    for (media_type, urls, foreign) in cases {
        let layer = with(descriptor(media_type, "l", 1), "urls", urls);
        let layer: Descriptor = serde_json::from_value(layer).expect("a descriptor");
        assert_eq!(layer.is_foreign(), foreign, "{media_type}");
    }
}

#[test]
fn the_artefact_type_falls_back_to_the_configurations() {
    let kind = |value: &Value| {
        parse(value, None)
            .expect("a manifest")
            .effective_artifact_type()
            .map(str::to_owned)
    };
    assert_eq!(
        kind(&image()).as_deref(),
        Some("application/vnd.oci.image.config.v1+json")
    );
    assert_eq!(
        kind(&with(image(), "artifactType", json!("a/b"))).as_deref(),
        Some("a/b")
    );
    assert_eq!(
        kind(&with(image(), "artifactType", json!(""))).as_deref(),
        Some("application/vnd.oci.image.config.v1+json")
    );
    assert_eq!(kind(&index()), None);
    assert_eq!(
        kind(&with(index(), "artifactType", json!("a/b"))).as_deref(),
        Some("a/b")
    );
}

#[test]
fn a_referrers_list_is_an_index_that_reads_back() {
    assert_eq!(
        String::from_utf8(referrers_index(&[])).expect("text"),
        format!("{{\"schemaVersion\":2,\"mediaType\":\"{OCI_INDEX}\",\"manifests\":[]}}")
    );
    let signature = with(
        with(image(), "subject", descriptor(OCI_MANIFEST, "subject", 9)),
        "annotations",
        json!({ "org.example": "x" }),
    );
    let referrer = parse(&signature, None)
        .expect("a signature")
        .as_referrer(digest("signature"), 5);
    let bytes = referrers_index(std::slice::from_ref(&referrer));
    let read = Manifest::parse(&bytes, Some(OCI_INDEX)).expect("an index");
    let entries: Vec<ReferrerDescriptor> =
        read.children().iter().cloned().map(Into::into).collect();
    assert_eq!(entries, [referrer]);
    assert_eq!(
        entries.first().and_then(|e| e.artifact_type.as_deref()),
        Some("application/vnd.oci.image.config.v1+json")
    );
}
