//! The manifest media types we know, and the one `Accept` line with which upstreams are asked.
//!
//! Nothing is refused for a type that is not here: unknown types are stored and served as they are. The types only say
//! how a manifest's children are found.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The empty JSON object, as configuration of artefacts without one.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The fixed `Accept` of every manifest request to an upstream: lists before single manifests, no wildcard, no schema 1, so
/// that HEAD and GET of a tag always mean the same digest. Source: `reference/protocols.md` 1.9.
pub const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// Whether it is one of the two list types.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

/// Whether it is one of the two single-image types.
#[must_use]
pub fn is_image(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// A `Content-Type` without its parameters, in lower case.
#[must_use]
pub fn essence(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_accept_names_lists_first_and_nothing_open() {
        let types: Vec<&str> = ACCEPT_MANIFESTS.split(", ").collect();
        assert_eq!(
            types,
            [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST]
        );
        assert!(types.iter().all(|t| is_index(t) != is_image(t)));
    }

    #[test]
    fn the_essence_has_no_parameters_and_no_case() {
        assert_eq!(
            essence(" Application/JSON ; charset=UTF-8"),
            "application/json"
        );
        assert_eq!(essence(""), "");
    }
}
