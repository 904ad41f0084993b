//! The corpus of what must be refused, with status and code. Source: `reference/faults.md` T57.

use super::*;

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
fn an_endless_query_is_414() {
    let long = format!(
        "/v2/a/tags/list?last={}",
        "x".repeat(crate::query::MAX_LENGTH)
    );
    assert_eq!(parse("GET", &long).map_err(|e| e.status()), Err(414));
    let wide = format!("/v2/a/tags/list?{}", "a&".repeat(1000));
    assert_eq!(parse("GET", &wide).map_err(|e| e.status()), Err(414));
}
