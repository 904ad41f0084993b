//! Where an answer points: followed by us, so that credentials stay behind; pure.
//!
//! From https never to http, and at most [`MAX`] times. Whether the address may be connected to is decided when it is.
//! Source: `reference/protocols.md` 1.7 point 6; T48.

use http::StatusCode;
use url::Url;

/// How many redirects of one request are followed.
pub(super) const MAX: usize = 5;

/// What to do with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is the answer.
    Here,
    /// It is there.
    There(Url),
    /// It points where nobody goes.
    Nowhere(&'static str),
}

/// Reads an answer from `at` with this status and `Location`.
pub(super) fn next(at: &Url, status: StatusCode, location: Option<&str>) -> Next {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Next::Here;
    }
    let Some(location) = location else {
        return Next::Nowhere("a redirect without Location");
    };
    let Ok(mut there) = at.join(location) else {
        return Next::Nowhere("a redirect whose Location is no URL");
    };
    there.set_fragment(None);
    if !there.username().is_empty() || there.password().is_some() {
        return Next::Nowhere("a redirect with user info in its URL");
    }
    match (at.scheme(), there.scheme()) {
        ("https", "https") | ("http", "http" | "https") => Next::There(there),
        ("https", "http") => Next::Nowhere("a redirect from https to http"),
        _ => Next::Nowhere("a redirect to something that is not http"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_resolved_and_never_leads_down() {
        let there = |url: &str| Next::There(url.parse().unwrap());
        let cases = [
            (
                "https://r.test/v2/a/blobs/x",
                307,
                "https://cdn.test/x?sig=1",
                there("https://cdn.test/x?sig=1"),
            ),
            (
                "https://r.test/v2/a/blobs/x",
                302,
                "/artifacts/y?t=1",
                there("https://r.test/artifacts/y?t=1"),
            ),
            (
                "https://r.test/v2/a/blobs/x",
                308,
                "y",
                there("https://r.test/v2/a/blobs/y"),
            ),
            (
                "https://r.test/v2/a/blobs/x",
                303,
                "//cdn.test/y#f",
                there("https://cdn.test/y"),
            ),
            (
                "http://r.test/x",
                301,
                "https://cdn.test/",
                there("https://cdn.test/"),
            ),
            (
                "http://r.test/x",
                307,
                "http://cdn.test/",
                there("http://cdn.test/"),
            ),
            (
                "https://r.test/x",
                307,
                "http://r.test/x",
                Next::Nowhere("a redirect from https to http"),
            ),
            (
                "https://r.test/x",
                307,
                "ftp://r.test/x",
                Next::Nowhere("a redirect to something that is not http"),
            ),
            (
                "https://r.test/x",
                307,
                "https://u:p@cdn.test/",
                Next::Nowhere("a redirect with user info in its URL"),
            ),
            (
                "https://r.test/x",
                307,
                "http://[",
                Next::Nowhere("a redirect whose Location is no URL"),
            ),
            ("https://r.test/x", 200, "https://cdn.test/", Next::Here),
            ("https://r.test/x", 304, "https://cdn.test/", Next::Here),
        ];
        for (at, status, location, wanted) in cases {
            let got = next(
                &at.parse().unwrap(),
                StatusCode::from_u16(status).unwrap(),
                Some(location),
            );
            assert_eq!(got, wanted, "{at} {location}");
        }
        let at = "https://r.test/".parse().unwrap();
        assert!(matches!(
            next(&at, StatusCode::FOUND, None),
            Next::Nowhere(_)
        ));
    }
}
