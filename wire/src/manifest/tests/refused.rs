//! What is refused, document bombs first of all, and the properties of whatever arrives. Source: `reference/faults.md` T59.

use proptest::prelude::*;

use super::*;

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let child = json!([descriptor(OCI_MANIFEST, "a", 1)]);
    for value in [
        with(image(), "manifests", child.clone()),
        with(index(), "layers", json!([])),
        with(index(), "config", descriptor(OCI_EMPTY, "c", 2)),
        json!({ "manifests": child, "layers": [] }),
        json!({ "mediaType": "application/x", "manifests": [], "layers": [] }),
        with(image(), "mediaType", json!(OCI_INDEX)),
        with(index(), "mediaType", json!(OCI_MANIFEST)),
        with(image(), "schemaVersion", json!(1)),
    ] {
        let error = parse(
            &value,
            Some(value["mediaType"].as_str().unwrap_or_default()),
        );
        assert!(
            matches!(
                error,
                Err(ManifestError::Shape { .. } | ManifestError::NoType)
            ),
            "{value}: {error:?}"
        );
    }
    for text in [
        r#"{"mediaType":"a/b","mediaType":"a/b"}"#,
        r#"{"mediaType":"a/b","layers":[],"Layers":[]}"#,
        r#"{"mediaType":"a/b","Manifests":[]}"#,
        r#"{"mediaType":"a/b","MEDIATYPE":"c/d"}"#,
        r#"{"mediaType":"a/b","x":1,"x":2}"#,
        "{\"mediaType\":\"a/b\",\"media\\u0054ype\":\"c/d\"}",
    ] {
        assert!(
            matches!(
                Manifest::parse(text.as_bytes(), None),
                Err(ManifestError::Key(_))
            ),
            "{text}"
        );
    }
    // A descriptor's keys exist once too.
    let twice = image()
        .to_string()
        .replacen("\"size\":7", "\"size\":7,\"size\":8", 1);
    assert!(matches!(
        Manifest::parse(twice.as_bytes(), None),
        Err(ManifestError::Json(_))
    ));
}

#[test]
fn malformed_documents_are_refused() {
    let size = |size: Value| {
        let mut value = image();
        value["layers"][0]["size"] = size;
        value
    };
    let digest = |text: &str| {
        let mut value = image();
        value["config"]["digest"] = json!(text);
        value
    };
    let mut no_config = image();
    no_config
        .as_object_mut()
        .expect("an object")
        .remove("config");
    let mut no_children = index();
    no_children
        .as_object_mut()
        .expect("an object")
        .remove("manifests");
    for value in [
        size(json!(-1)),
        size(json!(MAX_SIZE + 1)),
        size(json!(1.5)),
        size(json!(1e300)),
        size(json!("11")),
        size(Value::Null),
        digest("sha256:short"),
        digest("md5:0"),
        digest("../../etc/passwd"),
        no_config,
        no_children,
        with(image(), "layers", json!({})),
        with(image(), "layers", json!([1])),
        with(image(), "subject", json!("x")),
        with(image(), "mediaType", json!(5)),
    ] {
        assert!(parse(&value, Some(OCI_MANIFEST)).is_err(), "{value}");
    }
    for bytes in [
        &b""[..],
        b"[]",
        b"null",
        b"1",
        b"{",
        b"{}x",
        b"<html></html>",
        b"{\"a\":\"\xff\"}",
        b"{\"a\xff\":1}",
        b"\xef\xbb\xbf{}",
    ] {
        assert!(
            Manifest::parse(bytes, Some(OCI_MANIFEST)).is_err(),
            "{bytes:?}"
        );
    }
    assert_eq!(parse(&json!({}), None), Err(ManifestError::NoType));
    assert_eq!(
        parse(&json!({}), Some("text/html")),
        Err(ManifestError::NoType)
    );
}

#[test]
fn document_bombs_are_refused_before_they_cost_anything() {
    let too_large = vec![b' '; MAX_BYTES + 1];
    assert_eq!(
        Manifest::parse(&too_large, None),
        Err(ManifestError::TooLarge(MAX_BYTES + 1))
    );
    let deep = format!("{{\"x\":{}", "[".repeat(10_000));
    assert_eq!(
        Manifest::parse(deep.as_bytes(), None),
        Err(ManifestError::TooDeep)
    );
    // Brackets in a text are no nesting.
    let text = json!({ "mediaType": "a/b", "x": "[{\"\\".repeat(1000) }).to_string();
    assert!(Manifest::parse(text.as_bytes(), None).is_ok());
    let wide = |count: usize| {
        let one = descriptor(OCI_MANIFEST, "a", 1);
        with(index(), "manifests", Value::Array(vec![one; count]))
    };
    assert!(parse(&wide(MAX_CHILDREN), None).is_ok());
    let refused = parse(&wide(MAX_CHILDREN + 1), None);
    assert_eq!(
        refused,
        Err(ManifestError::TooMany {
            what: "manifests",
            limit: MAX_CHILDREN
        })
    );
    let layers = with(
        image(),
        "layers",
        Value::Array(vec![descriptor("a/b", "a", 1); MAX_LAYERS + 2]),
    );
    assert_eq!(
        parse(&layers, None),
        Err(ManifestError::TooMany {
            what: "layers",
            limit: MAX_LAYERS
        })
    );
}

#[test]
fn many_keys_annotations_and_urls_cost_no_memory() {
    let many = |count: usize| -> Value {
        let entries = (0..count).map(|n| (format!("k{n}"), json!("")));
        Value::Object(entries.collect())
    };
    let keys = with(many(2000), "mediaType", json!("a/b"));
    assert!(matches!(parse(&keys, None), Err(ManifestError::Json(_))));
    let annotations = |count| parse(&with(image(), "annotations", many(count)), None);
    assert_eq!(annotations(1000).map(|m| m.annotations.len()), Ok(1000));
    assert!(matches!(annotations(2000), Err(ManifestError::Json(_))));
    let mut layer = image();
    layer["layers"][0]["urls"] = json!(vec![""; 100_000]);
    let manifest = parse(&layer, None).expect("an image");
    let urls: Vec<_> = manifest.blobs().map(|blob| blob.urls.len()).collect();
    assert_eq!(urls, [0, 16]);
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z/.+:0-9]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "mediaType",
        "manifests",
        "layers",
        "config",
        "subject",
        "digest",
        "size",
        "platform",
        "annotations",
        "urls",
        "Layers",
    ]);
    prop_oneof![known.prop_map(str::to_owned), "[a-z]{1,4}"]
}

proptest! {
    #[test]
    fn whatever_arrives_is_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Manifest::parse(&bytes, None);
    }

    #[test]
    fn nothing_parsed_exceeds_the_limits(
        value in json_value(), media_type in prop::sample::select(vec![OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, "a/b", ""]),
    ) {
        if let Ok(manifest) = parse(&value, Some(media_type)) {
            prop_assert!(manifest.blobs().chain(manifest.children()).all(|d| d.size <= MAX_SIZE));
            prop_assert!(!manifest.media_type.is_empty());
        }
    }

    #[test]
    fn a_manifest_broken_anywhere_never_gains_a_child(at in 0_usize..400, byte in any::<u8>()) {
        let mut bytes = image().to_string().into_bytes();
        let before = bytes.clone();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Ok(manifest) = Manifest::parse(&bytes, Some(OCI_MANIFEST)) {
            prop_assert!(manifest.blobs().count() <= 2, "{:?}", String::from_utf8_lossy(&before));
            prop_assert!(manifest.children().is_empty());
        }
    }
}
