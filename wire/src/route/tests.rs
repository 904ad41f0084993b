//! The matrix of routes, the corpus of what must be refused, and the properties that hold for whatever arrives.

use proptest::prelude::*;

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
            let wanted = methods.iter().find(|(m, _, _)| *m == method);
            match (parse(method, &path), wanted) {
                (Ok(route), Some((_, kind, scope))) => {
                    assert_eq!(route.kind(), *kind, "{method} {path}");
                    assert_eq!(scopes(&route), *scope, "{method} {path}");
                }
                (Err(RouteError::MethodNotAllowed(allowed)), None) => {
                    for (method, _, _) in *methods {
                        assert!(allowed.contains(method), "{method} {path}");
                    }
                }
                // An upload cannot end without a digest, though the path has the method.
                (Err(RouteError::Digest(_)), None) if method == "PUT" => {}
                (got, wanted) => panic_with(method, &path, &got, wanted),
            }
        }
    }
}

#[expect(clippy::panic, reason = "a test's failure names the request")]
fn panic_with(method: &str, path: &str, got: &dyn fmt::Debug, wanted: Option<&(&str, &str, &str)>) {
    panic!("{method} {path}: got {got:?}, wanted {wanted:?}");
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
fn bad_names_tags_and_digests_end_here_with_their_code() {
    let long = format!("/v2/{}/manifests/latest", "a/".repeat(200) + "a");
    let long_tag = format!("/v2/a/manifests/{}", "t".repeat(129));
    let short = format!("/v2/a/blobs/sha256:{}", "0".repeat(63));
    let longer = format!("/v2/a/blobs/sha256:{}", "0".repeat(65));
    let upper = format!("/v2/a/blobs/sha256:{}", HEX.to_ascii_uppercase());
    let unknown = format!("/v2/a/blobs/md5:{HEX}");
    let slash = format!("/v2/a/blobs/sha256:%2f{HEX}");
    let wrong_tag = format!("/v2/a/manifests/sha256:{}", "0".repeat(63));
    let cases: &[(u16, Code, &[&str])] = &[
        (
            400,
            Code::NameInvalid,
            &[
                "/v2/../manifests/latest",
                "/v2/a/../b/manifests/latest",
                "/v2/a/./b/manifests/latest",
                "/v2/%2e%2e/manifests/latest",
                "/v2/a%2fb/manifests/latest",
                "/v2/a%2Fb/manifests/latest",
                "/v2/a%252fb/manifests/latest",
                "/v2/a%252e/manifests/latest",
                "/v2/a%2eb/manifests/latest",
                "/v2/a%00/manifests/latest",
                "/v2/a\0/manifests/latest",
                "/v2/a%/manifests/latest",
                "/v2/a%4/manifests/latest",
                "/v2/a%zz/manifests/latest",
                "/v2/a%+1/manifests/latest",
                "/v2/a%é/manifests/latest",
                "/v2/a%c3%a9/manifests/latest",
                "/v2/a//b/manifests/latest",
                "/v2//a/manifests/latest",
                "/v2/a//manifests/latest",
                "/v2//manifests/latest",
                "/v2/manifests/latest",
                "/v2/a\\b/manifests/latest",
                "/v2/a%5cb/manifests/latest",
                "/v2/A/manifests/latest",
                "/v2/%41/manifests/latest",
                "/v2/Team/tags/list",
                "/v2/ä/manifests/latest",
                "/v2/a b/manifests/latest",
                "/v2/a+b/manifests/latest",
                "/v2/-a/manifests/latest",
                "/v2/a_/manifests/latest",
                "/v2/a..b/manifests/latest",
                "/v2/a___b/manifests/latest",
                "/v2/a:b/manifests/latest",
                "/v2/a@b/manifests/latest",
                "/v2/_catalog/tags/list",
                &long,
                "/v2/a/manifests/latest?ns=a&ns=b",
                "/v2/a/manifests/latest?ns=evil%0d%0aheader",
                "/v2/a/manifests/latest?ns=user@host",
                "/v2/a/manifests/latest?x=%ff",
            ],
        ),
        (
            400,
            Code::ManifestInvalid,
            &[
                "/v2/a/manifests/",
                "/v2/a/manifests/-x",
                "/v2/a/manifests/.x",
                "/v2/a/manifests/..",
                "/v2/a/manifests/a%2fb",
                "/v2/a/manifests/1%2e0",
                "/v2/a/manifests/a%00",
                "/v2/a/manifests/é",
                "/v2/a/manifests/a\\b",
                "/v2/a/manifests/a b",
                &long_tag,
            ],
        ),
        (
            400,
            Code::DigestInvalid,
            &[
                "/v2/a/blobs/",
                "/v2/a/blobs/latest",
                "/v2/a/blobs/sha256:",
                "/v2/a/blobs/..",
                "/v2/a/referrers/latest",
                &short,
                &longer,
                &upper,
                &unknown,
                &slash,
                &wrong_tag,
            ],
        ),
        (
            404,
            Code::NameUnknown,
            &[
                "",
                "/",
                "/v1/",
                "/v2/a",
                "/v2/a/",
                "/v2x/",
                "//v2/",
                "/V2/",
                "v2/",
                "/v2/_catalog/",
                "/v2//",
                "/v2/a/manifests/latest/",
                "/v2/a/manifests//latest",
                "/v2/a/tags/list/",
                "/v2/a/tags",
                "/v2/a/uploads/x",
                "/v2/a/xblobs/uploads/x",
                "/v2/a/%6danifests/latest",
                "/oauth2/",
                "/oauth2/token/",
                "/metrics",
                "*",
                "http://x/v2/a/manifests/latest",
                "/v2/a/blobs/sha256:../../etc/passwd",
            ],
        ),
        (
            404,
            Code::BlobUploadUnknown,
            &[
                "/v2/a/blobs/uploads/x",
                "/v2/a/blobs/uploads/..",
                "/v2/a/blobs/uploads/%2e%2e",
                "/v2/a/blobs/uploads/018F2B1C-7D3E-7A55-9D9B-0123456789AB",
                "/v2/a/blobs/uploads/018f2b1c7d3e7a559d9b0123456789ab",
                "/v2/a/blobs/uploads/{018f2b1c-7d3e-7a55-9d9b-0123456789ab}",
                "/v2/a/blobs/uploads/urn:uuid:018f2b1c-7d3e-7a55-9d9b-0123456789ab",
            ],
        ),
    ];
    for (status, code, paths) in cases {
        for path in *paths {
            let error = parse("GET", path).expect_err(path);
            assert_eq!(
                (error.status(), error.code()),
                (*status, *code),
                "{path:?}: {error}"
            );
        }
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

#[test]
fn an_endless_query_is_414() {
    let long = format!(
        "/v2/a/tags/list?last={}",
        "x".repeat(crate::query::MAX_LENGTH)
    );
    assert_eq!(parse("GET", &long).map_err(|e| e.status()), Err(414));
    let wide = format!("/v2/a/tags/list?{}", "a&".repeat(1000));
    assert_eq!(parse("GET", &wide).map_err(|e| e.status()), Err(414));
}

const NAME: &str = "[a-z0-9]{1,8}([._]|__|-{1,3})?[a-z0-9]{1,4}(/(manifests|blobs|uploads|tags|list|[a-z0-9]{1,6})){0,3}";
const TAG: &str = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}";

fn repository() -> impl Strategy<Value = RepositoryName> {
    NAME.prop_map(|text| text.parse().expect("the pattern makes names"))
}

fn tag() -> impl Strategy<Value = Tag> {
    TAG.prop_map(|text| text.parse().expect("the pattern makes tags"))
}

fn digest() -> impl Strategy<Value = Digest> {
    prop_oneof!["sha256:[0-9a-f]{64}", "sha512:[0-9a-f]{128}"]
        .prop_map(|text| text.parse().expect("the pattern makes digests"))
}

fn reference() -> impl Strategy<Value = Reference> {
    prop_oneof![
        tag().prop_map(Reference::Tag),
        digest().prop_map(Reference::Digest)
    ]
}

fn verb() -> impl Strategy<Value = ContentVerb> {
    prop_oneof![Just(ContentVerb::Get), Just(ContentVerb::Head)]
}

fn page() -> impl Strategy<Value = Page> {
    let last = prop::option::of(".{1,40}");
    (prop::option::of(0..=MAX_ENTRIES), last).prop_map(|(n, last)| Page { n, last })
}

fn upload() -> impl Strategy<Value = UploadId> {
    any::<u128>().prop_map(|n| UploadId(Uuid::from_u128(n)))
}

fn starts() -> impl Strategy<Value = Route> {
    let algorithm = prop::option::of(prop_oneof![
        Just(Algorithm::Sha256),
        Just(Algorithm::Sha512)
    ]);
    let optional = || prop::option::of(digest());
    (
        repository(),
        optional(),
        prop::option::of(repository()),
        optional(),
        algorithm,
    )
        .prop_map(
            |(repository, mount, from, digest, algorithm)| Route::UploadStart {
                repository,
                mount,
                from,
                digest,
                algorithm,
            },
        )
}

fn lists() -> impl Strategy<Value = Route> {
    let artifact_type = prop::option::of(".{1,40}");
    prop_oneof![
        (repository(), page()).prop_map(|(repository, page)| Route::Tags { repository, page }),
        page().prop_map(|page| Route::Catalog { page }),
        (repository(), digest(), artifact_type, page()).prop_map(
            |(repository, digest, artifact_type, page)| {
                Route::Referrers {
                    repository,
                    digest,
                    artifact_type,
                    page,
                }
            }
        ),
    ]
}

fn manifests() -> impl Strategy<Value = Route> {
    let tags = prop::collection::btree_set(tag(), 0..MAX_TAGS);
    prop_oneof![
        (repository(), reference(), verb()).prop_map(|(repository, reference, verb)| {
            Route::Manifest {
                repository,
                reference,
                verb,
            }
        }),
        (repository(), reference()).prop_map(|(repository, reference)| Route::ManifestDelete {
            repository,
            reference
        }),
        (repository(), tag()).prop_map(|(repository, tag)| Route::ManifestPut {
            repository,
            reference: Reference::Tag(tag),
            tags: Vec::new(),
        }),
        (repository(), digest(), tags).prop_map(|(repository, digest, tags)| Route::ManifestPut {
            repository,
            reference: Reference::Digest(digest),
            tags: tags.into_iter().collect(),
        }),
    ]
}

fn uploads() -> impl Strategy<Value = Route> {
    let pair = || (repository(), upload());
    prop_oneof![
        pair().prop_map(|(repository, upload)| Route::UploadPatch { repository, upload }),
        pair().prop_map(|(repository, upload)| Route::UploadStatus { repository, upload }),
        pair().prop_map(|(repository, upload)| Route::UploadCancel { repository, upload }),
        (repository(), upload(), digest()).prop_map(|(repository, upload, digest)| {
            Route::UploadPut {
                repository,
                upload,
                digest,
            }
        }),
    ]
}

fn route() -> impl Strategy<Value = Route> {
    prop_oneof![
        Just(Route::Base),
        Just(Route::TokenGet),
        Just(Route::TokenPost),
        Just(Route::Exchange),
        (repository(), digest(), verb()).prop_map(|(repository, digest, verb)| Route::Blob {
            repository,
            digest,
            verb
        }),
        (repository(), digest())
            .prop_map(|(repository, digest)| Route::BlobDelete { repository, digest }),
        manifests(),
        starts(),
        uploads(),
        lists(),
    ]
}

/// Text that is nearly a path: fragments of real ones among noise.
fn nearly_a_path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("v2"),
        Just("a"),
        Just("manifests"),
        Just("blobs"),
        Just("uploads"),
        Just("tags"),
        Just("list"),
        Just("referrers"),
        Just(".."),
        Just("%2e%2e"),
        Just("%2f"),
        Just("%"),
        Just(""),
        Just("latest"),
        Just("é"),
        Just("\\"),
        Just("\0"),
        Just("sha256:x"),
        Just(ID),
        Just("_catalog"),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| format!("/v2/{}", parts.join("/")))
}

proptest! {
    #[test]
    fn what_is_written_reads_back(route in route()) {
        let target = route.path_and_query();
        prop_assert_eq!(parse(route.method(), &target), Ok(route), "{}", target);
    }

    #[test]
    fn what_is_written_is_a_legal_request_line(route in route()) {
        let target = route.path_and_query();
        prop_assert!(target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic()), "{}", target);
    }

    #[test]
    fn whatever_arrives_gets_an_answer(method in "[A-Z]{0,8}", path in ".{0,120}", query in prop::option::of(".{0,120}")) {
        check_answer(&method, &path, query.as_deref())?;
    }

    #[test]
    fn what_looks_like_a_path_gets_an_answer(
        method in prop::sample::select(&METHODS[..]), path in nearly_a_path(), query in "[a-z=&%+0-9]{0,30}",
    ) {
        check_answer(method, &path, Some(&query))?;
    }
}

/// Either one value that reads back the same and holds no path trick, or an error of the right class.
fn check_answer(method: &str, path: &str, query: Option<&str>) -> Result<(), TestCaseError> {
    match Route::parse(method, path, query) {
        Ok(Parsed { route, .. }) => {
            let again = parse(route.method(), &route.path_and_query());
            prop_assert_eq!(again, Ok(route.clone()));
            prop_assert!(!route.path().contains("..") && !route.path().contains("//"));
        }
        Err(error) => {
            prop_assert!(matches!(error.status(), 400 | 404 | 405 | 414));
            prop_assert!(!error.to_oci().to_body().is_empty());
        }
    }
    Ok(())
}
