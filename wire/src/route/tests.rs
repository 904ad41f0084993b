//! The matrix of routes: which paths have which methods, and what each needs. Beside it: what must be refused, and the
//! properties that hold for whatever arrives.

mod property;
mod refused;

use super::*;
use crate::{
    oci_error::Code,
    page::MAX_ENTRIES,
    scope::{Action, Scope},
};

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ID: &str = "018f2b1c-7d3e-7a55-9d9b-0123456789ab";
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "",
];

fn parse(method: &str, target: &str) -> Result<Route, RouteError> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    Route::parse(method, path, query).map(|parsed| parsed.route)
}

fn name(text: &str) -> RepositoryName {
    text.parse().expect("a repository name")
}

fn scopes(route: &Route) -> String {
    Scope::write_list(&route.needs().scopes())
}

/// Path (with `SHA` and `ID` filled in), and per method it has: the route's kind and the scope of its challenge.
type Row = (
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
);

const PULL: &str = "repository:team/app:pull";
const PUSH: &str = "repository:team/app:pull,push";
const DELETE: &str = "repository:team/app:delete";

const MATRIX: &[Row] = &[
    ("/v2/", &[("GET", "base", ""), ("HEAD", "base", "")]),
    ("/v2", &[("GET", "base", ""), ("HEAD", "base", "")]),
    ("/v2/_catalog", &[("GET", "catalog", "registry:catalog:*")]),
    (
        "/oauth2/token",
        &[("GET", "token", ""), ("POST", "token", "")],
    ),
    ("/oauth2/exchange", &[("POST", "token", "")]),
    (
        "/v2/team/app/manifests/1.4.0",
        &[
            ("GET", "manifest", PULL),
            ("HEAD", "manifest", PULL),
            ("PUT", "manifest", PUSH),
            ("DELETE", "manifest", DELETE),
        ],
    ),
    (
        "/v2/team/app/manifests/SHA",
        &[
            ("GET", "manifest", PULL),
            ("HEAD", "manifest", PULL),
            ("PUT", "manifest", PUSH),
            ("DELETE", "manifest", DELETE),
        ],
    ),
    (
        "/v2/team/app/blobs/SHA",
        &[
            ("GET", "blob", PULL),
            ("HEAD", "blob", PULL),
            ("DELETE", "blob", DELETE),
        ],
    ),
    ("/v2/team/app/blobs/uploads/", &[("POST", "upload", PUSH)]),
    ("/v2/team/app/blobs/uploads", &[("POST", "upload", PUSH)]),
    (
        "/v2/team/app/blobs/uploads/ID",
        &[
            ("GET", "upload", PUSH),
            ("PATCH", "upload", PUSH),
            ("DELETE", "upload", PUSH),
        ],
    ),
    (
        "/v2/team/app/blobs/uploads/ID?digest=SHA",
        &[
            ("GET", "upload", PUSH),
            ("PATCH", "upload", PUSH),
            ("PUT", "upload", PUSH),
            ("DELETE", "upload", PUSH),
        ],
    ),
    ("/v2/team/app/tags/list", &[("GET", "tags", PULL)]),
    ("/v2/team/app/referrers/SHA", &[("GET", "referrers", PULL)]),
];

#[test]
fn every_path_has_the_methods_and_the_action_of_the_table_and_no_other() {
    for (path, methods) in MATRIX {
        let path = path
            .replace("SHA", &format!("sha256:{HEX}"))
            .replace("ID", ID);
        for method in METHODS {
            let wanted = methods
                .iter()
                .find(|(m, _, _)| *m == method)
                .map(|(_, kind, scope)| (*kind, (*scope).to_owned()));
            let got = match parse(method, &path) {
                Ok(route) => Some((route.kind(), scopes(&route))),
                Err(RouteError::MethodNotAllowed(allowed)) => {
                    let all = methods.iter().all(|(m, _, _)| allowed.contains(m));
                    assert!(all, "{method} {path}: {allowed:?}");
                    None
                }
                // An upload cannot end without a digest, though the path has the method.
                Err(RouteError::Digest(_)) if method == "PUT" => None,
                Err(error) => Some(("error", error.to_string())),
            };
            assert_eq!(got, wanted, "{method} {path}");
        }
    }
}

#[test]
fn the_end_of_the_path_decides_so_names_may_hold_the_words() {
    for (path, repository) in [
        ("/v2/a/manifests/manifests/latest", "a/manifests"),
        ("/v2/a/blobs/uploads/manifests/latest", "a/blobs/uploads"),
        ("/v2/a/tags/list/manifests/latest", "a/tags/list"),
        ("/v2/v2/manifests/latest", "v2"),
    ] {
        let wanted = Route::Manifest {
            repository: name(repository),
            reference: "latest".parse().expect("a tag"),
            verb: ContentVerb::Get,
        };
        assert_eq!(parse("GET", path), Ok(wanted), "{path}");
    }
    let start = parse("POST", "/v2/a/manifests/blobs/uploads/").expect("a route");
    assert_eq!(start.repository(), Some(&name("a/manifests")));
}

#[test]
fn legal_characters_may_be_encoded_once() {
    let plain = parse("GET", &format!("/v2/team/app/blobs/sha256:{HEX}"));
    for encoded in [
        format!("/v2/team/app/blobs/sha256%3A{HEX}"),
        format!("/v2/team/app/blobs/sha256%3a{HEX}"),
        format!("/v2/t%65am/app/blobs/%73ha256:{HEX}"),
    ] {
        assert_eq!(parse("GET", &encoded), plain, "{encoded}");
    }
}

#[test]
fn an_upload_says_how_it_begins() {
    let start = |query: &str| parse("POST", &format!("/v2/team/app/blobs/uploads/?{query}"));
    let digest: Digest = format!("sha256:{HEX}").parse().expect("a digest");
    let mount = start(&format!("mount=sha256:{HEX}&from=team/base")).expect("a route");
    assert_eq!(
        mount.needs(),
        Needs::Mount {
            repository: name("team/app"),
            from: name("team/base"),
            digest: digest.clone()
        }
    );
    assert_eq!(
        scopes(&mount),
        "repository:team/app:pull,push repository:team/base:pull"
    );
    // Without `from` nothing is read elsewhere.
    let half = start(&format!("mount=sha256:{HEX}")).expect("a route");
    assert_eq!(
        half.needs(),
        Needs::Action {
            action: Action::Push,
            repository: name("team/app")
        }
    );
    let single = start(&format!("digest=sha256:{HEX}&digest-algorithm=sha512")).expect("a route");
    assert_eq!(
        single,
        Route::UploadStart {
            repository: name("team/app"),
            mount: None,
            from: None,
            digest: Some(digest),
            algorithm: Some(Algorithm::Sha512),
        }
    );
    for (query, code) in [
        ("mount=x&from=a", Code::DigestInvalid),
        ("digest=x", Code::DigestInvalid),
        ("digest-algorithm=md5", Code::DigestInvalid),
        ("mount=&from=../a", Code::NameInvalid),
    ] {
        assert_eq!(
            start(query).map_err(|error| error.code()),
            Err(code),
            "{query}"
        );
    }
    let twice = format!("digest=sha256:{HEX}&digest=sha256:{HEX}");
    assert_eq!(
        start(&twice).map_err(|e| (e.status(), e.code())),
        Err((400, Code::DigestInvalid))
    );
}

#[test]
fn a_push_by_digest_may_set_tags_within_a_limit() {
    let put = |reference: &str, tags: usize| {
        let query: Vec<String> = (0..tags).map(|n| format!("tag=t{n}")).collect();
        parse(
            "PUT",
            &format!("/v2/a/manifests/{reference}?{}", query.join("&")),
        )
    };
    let digest = format!("sha256:{HEX}");
    for count in [0, 1, 10, MAX_TAGS] {
        let tags = match put(&digest, count) {
            Ok(Route::ManifestPut { tags, .. }) => tags.len(),
            _ => usize::MAX,
        };
        assert_eq!(tags, count);
    }
    assert_eq!(
        put(&digest, MAX_TAGS.saturating_add(1)),
        Err(RouteError::TooManyTags)
    );
    assert_eq!(RouteError::TooManyTags.status(), 414);
    assert_eq!(put("latest", 1), Err(RouteError::TagsBesideTag));
    let bad = parse("PUT", &format!("/v2/a/manifests/{digest}?tag=.bad"));
    assert_eq!(bad.map_err(|e| e.code()), Err(Code::ManifestInvalid));
    // The same tag twice is one tag.
    let doubled = parse("PUT", &format!("/v2/a/manifests/{digest}?tag=x&tag=x"));
    assert!(matches!(doubled, Ok(Route::ManifestPut { tags, .. }) if tags.len() == 1));
}

#[test]
fn the_namespace_is_kept_beside_content_routes_alone() {
    let ns = |method: &str, path: &str, query: &str| {
        Route::parse(method, path, Some(query)).map(|parsed| parsed.ns)
    };
    let some = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(
        ns("GET", "/v2/a/manifests/x", "ns=docker.io"),
        some("docker.io")
    );
    assert_eq!(
        ns("HEAD", "/v2/a/manifests/x", "ns=localhost%3A5000"),
        some("localhost:5000")
    );
    assert_eq!(
        ns("GET", "/v2/a/tags/list", "n=5&ns=ghcr.io"),
        some("ghcr.io")
    );
    assert_eq!(ns("GET", "/v2/a/manifests/x", "ns="), Ok(None));
    assert_eq!(ns("GET", "/v2/", "ns=docker.io"), Ok(None));
    assert_eq!(ns("GET", "/oauth2/token", "ns=x&ns=y&scope=%ff"), Ok(None));
}

#[test]
fn pages_are_clamped_and_never_refused() {
    for (query, n, limit) in [
        ("", None, MAX_ENTRIES),
        ("n=0", Some(0), 0),
        ("n=5", Some(5), 5),
        ("n=-1", None, MAX_ENTRIES),
        ("n=+5", None, MAX_ENTRIES),
        ("n=1000000000", Some(MAX_ENTRIES), MAX_ENTRIES),
        ("n=9223372036854775808", Some(MAX_ENTRIES), MAX_ENTRIES),
        (
            "n=99999999999999999999999999999",
            Some(MAX_ENTRIES),
            MAX_ENTRIES,
        ),
        ("n=ten", None, MAX_ENTRIES),
        ("n=", None, MAX_ENTRIES),
    ] {
        let page = match parse("GET", &format!("/v2/a/tags/list?{query}")) {
            Ok(Route::Tags { page, .. }) => page,
            _ => Page {
                n: Some(usize::MAX),
                last: None,
            },
        };
        assert_eq!((page.n, page.limit()), (n, limit), "{query}");
    }
}
