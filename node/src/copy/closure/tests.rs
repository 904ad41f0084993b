//! The table of closures.

use super::*;
use wire::media_type::{OCI_INDEX, OCI_MANIFEST};

fn digest(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

fn child(kind: ChildKind, name: &str, platform: Option<&str>) -> Child {
    Child {
        kind,
        digest: digest(name),
        size: 1,
        media_type: String::new(),
        platform: platform.map(|text| text.parse().unwrap()),
        foreign: name.starts_with("foreign"),
    }
}

fn record(name: &str, media_type: &str, children: Vec<Child>) -> (Digest, Arc<ManifestRecord>) {
    let record = ManifestRecord {
        digest: digest(name),
        media_type: media_type.into(),
        size: 1,
        children,
        subject: None,
        artifact_type: None,
        annotations: Default::default(),
    };
    (digest(name), Arc::new(record))
}

fn image(name: &str, layers: &[&str]) -> (Digest, Arc<ManifestRecord>) {
    let config = format!("{name}-config");
    let layers = layers
        .iter()
        .map(|layer| child(ChildKind::Layer, layer, None));
    let children = [child(ChildKind::Config, &config, None)]
        .into_iter()
        .chain(layers);
    record(name, OCI_MANIFEST, children.collect())
}

fn index(name: &str, children: &[(&str, Option<&str>)]) -> (Digest, Arc<ManifestRecord>) {
    let children = children
        .iter()
        .map(|(name, platform)| child(ChildKind::Manifest, name, *platform));
    record(name, OCI_INDEX, children.collect())
}

fn known<const N: usize>(
    manifests: [(Digest, Arc<ManifestRecord>); N],
    blobs: &[&str],
    gone: &[&str],
) -> Known {
    let set = |names: &[&str]| names.iter().map(|name| digest(name)).collect();
    Known {
        manifests: manifests.into(),
        blobs: set(blobs),
        gone: set(gone),
    }
}

/// fetch, whole, missing.
fn check(
    root: &str,
    known: &Known,
    platforms: &Platforms,
    fetch: &[&str],
    whole: &[&str],
    missing: &[&str],
) {
    let plan = plan(&digest(root), None, known, platforms);
    let names = |names: &[&str]| names.iter().map(|name| digest(name)).collect::<Vec<_>>();
    let fetched: Vec<Digest> = plan
        .fetch
        .iter()
        .map(|child| child.digest.clone())
        .collect();
    let done: Vec<Digest> = plan
        .whole
        .iter()
        .map(|(digest, _)| digest.clone())
        .collect();
    assert_eq!(
        (fetched, done, plan.missing),
        (names(fetch), names(whole), names(missing)),
        "{root} under {platforms:?}"
    );
}

const REQUESTED: Platforms = Platforms::Requested;

#[test]
fn an_image_needs_its_configuration_and_its_layers_but_not_foreign_ones() {
    let image = || image("i", &["a", "foreign", "b", "a"]);
    check(
        "i",
        &known([image()], &[], &[]),
        &REQUESTED,
        &["i-config", "a", "b"],
        &[],
        &[],
    );
    check(
        "i",
        &known([image()], &["i-config", "b"], &[]),
        &REQUESTED,
        &["a"],
        &[],
        &[],
    );
    check(
        "i",
        &known([image()], &["i-config", "a", "b"], &[]),
        &REQUESTED,
        &[],
        &["i"],
        &[],
    );
    check(
        "i",
        &known([image()], &["i-config", "b"], &["a"]),
        &REQUESTED,
        &[],
        &[],
        &["a"],
    );
    check(
        "i",
        &known([image()], &["i-config"], &["a"]),
        &REQUESTED,
        &["b"],
        &[],
        &["a"],
    );
}

#[test]
fn an_index_needs_what_platforms_says() {
    let both = [
        ("amd", Some("linux/amd64")),
        ("arm", Some("linux/arm64/v8")),
        ("att", Some("unknown/unknown")),
        ("any", None),
    ];
    let bare = || known([index("x", &both)], &[], &[]);
    let listed = Platforms::Listed(vec!["linux/arm64".parse().unwrap()]);
    check("x", &bare(), &REQUESTED, &[], &["x"], &[]);
    check(
        "x",
        &bare(),
        &Platforms::All,
        &["amd", "arm", "att", "any"],
        &[],
        &[],
    );
    check("x", &bare(), &listed, &["arm", "any"], &[], &[]);
    let some = || {
        known(
            [index("x", &both), image("arm", &["a"]), image("any", &[])],
            &["arm-config", "any-config"],
            &[],
        )
    };
    check("x", &some(), &listed, &["a"], &["any"], &[]);
    let all = known(
        [index("x", &both), image("arm", &["a"]), image("any", &[])],
        &["a", "arm-config", "any-config"],
        &[],
    );
    check("x", &all, &listed, &[], &["arm", "any", "x"], &[]);
}

#[test]
fn a_child_that_is_not_to_be_had_leaves_the_index_complete_without_it() {
    let children = [("amd", Some("linux/amd64")), ("arm", Some("linux/arm64"))];
    let without = known(
        [index("x", &children), image("amd", &[])],
        &["amd-config"],
        &["arm"],
    );
    check("x", &without, &Platforms::All, &[], &["amd", "x"], &["arm"]);
    let hollow = known(
        [
            index("x", &children),
            image("amd", &[]),
            image("arm", &["a"]),
        ],
        &["amd-config", "arm-config"],
        &["a"],
    );
    check(
        "x",
        &hollow,
        &Platforms::All,
        &[],
        &["amd", "x"],
        &["a", "arm"],
    );
}

#[test]
fn indexes_in_indexes_are_walked_children_first_and_only_so_deep() {
    let nested = known(
        [
            index("x", &[("y", None), ("i", Some("linux/amd64"))]),
            index("y", &[("i", Some("linux/amd64"))]),
            image("i", &[]),
        ],
        &["i-config"],
        &[],
    );
    check("x", &nested, &Platforms::All, &[], &["i", "y", "x"], &[]);
    let platform = plan(&digest("x"), None, &nested, &Platforms::All).whole[0]
        .1
        .clone();
    assert_eq!(platform, Some("linux/amd64".parse().unwrap()));
    let names: Vec<String> = (0..=MAX_DEPTH)
        .map(|level| format!("level-{level}"))
        .collect();
    let levels = names
        .iter()
        .zip(names.iter().skip(1))
        .map(|(own, next)| index(own, &[(next, None)]));
    let deep = Known {
        manifests: levels.collect(),
        ..Known::default()
    };
    let plan = plan(&digest("level-0"), None, &deep, &Platforms::All);
    assert!(plan.fetch.is_empty() || plan.fetch.len() == 1, "bounded");
}

#[test]
fn a_root_that_is_not_here_is_not_whole() {
    check("x", &known([], &[], &[]), &Platforms::All, &[], &[], &[]);
}
