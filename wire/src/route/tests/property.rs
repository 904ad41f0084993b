//! Every route reads back as it was written, and whatever arrives gets an answer.

use proptest::prelude::*;

use super::*;

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
