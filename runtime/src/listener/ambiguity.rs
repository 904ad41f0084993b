//! Refuses requests that two parsers could read differently, before anything acts on them.
//!
//! hyper lets through a missing `Host`, two of them, and an absolute target with another host (`reference/faults.md` 8.7). A body with
//! both a length and a transfer coding it reads as chunked, hides the length and closes the connection afterwards; where it still
//! shows both, we refuse. The path is left exactly as it came: that is the route parser's business.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, request};

/// Why a request is refused, and the status that says so.
pub(super) fn refusal(
    request: &request::Parts,
    max_header_bytes: usize,
) -> Option<(StatusCode, &'static str)> {
    if header_bytes(request) > max_header_bytes {
        return Some((
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the headers are too large",
        ));
    }
    ambiguity(request).map(|reason| (StatusCode::BAD_REQUEST, reason))
}

fn header_bytes(request: &request::Parts) -> usize {
    let target = request
        .uri
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    let field =
        |(name, value): (&http::HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    target + request.headers.iter().map(field).sum::<usize>()
}

fn ambiguity(request: &request::Parts) -> Option<&'static str> {
    let headers = &request.headers;
    if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
        return Some("Content-Length and Transfer-Encoding exclude each other");
    }
    match (host(headers), request.uri.authority()) {
        (Err(reason), _) => Some(reason),
        (Ok(None), None) if request.version == Version::HTTP_10 => None,
        (Ok(None), None) => Some("the Host header is missing"),
        // HTTP/2 carries the host in its target; HTTP/1.1 must send both.
        (Ok(None), Some(_)) if request.version == Version::HTTP_2 => None,
        (Ok(None), Some(_)) => Some("the Host header is missing"),
        (Ok(Some(_)), None) => None,
        (Ok(Some(host)), Some(authority)) if same(&host, authority, &request.uri) => None,
        (Ok(Some(_)), Some(_)) => Some("the target and the Host header differ"),
    }
}

fn host(headers: &HeaderMap) -> Result<Option<Authority>, &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        return Ok(None);
    };
    if hosts.next().is_some() {
        return Err("there is more than one Host header");
    }
    match Authority::try_from(host.as_bytes()) {
        Ok(authority) if !authority.as_str().contains('@') => Ok(Some(authority)),
        _ => Err("the Host header is no host"),
    }
}

fn same(host: &Authority, authority: &Authority, uri: &Uri) -> bool {
    let default = match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    };
    let port = |authority: &Authority| authority.port_u16().or(default);
    host.host().eq_ignore_ascii_case(authority.host()) && port(host) == port(authority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn refused(version: Version, target: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        refusal(&parts, 1_000).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let (h10, h11, h2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        let long = "x".repeat(1_000);
        type Case<'a> = (Version, &'a str, &'a [(&'a str, &'a str)], Option<u16>);
        let cases: &[Case<'_>] = &[
            (h11, "/v2/", &[("host", "a.example")], None),
            (h11, "/v2/", &[("host", "a.example:5000")], None),
            (h11, "/v2/", &[("host", "[::1]:5000")], None),
            (h11, "/v2/", &[], Some(400)),
            (h10, "/v2/", &[], None),
            (h11, "/v2/", &[("host", "a"), ("host", "a")], Some(400)),
            (h11, "/v2/", &[("host", "")], Some(400)),
            (h11, "/v2/", &[("host", "user@a.example")], Some(400)),
            (h11, "/v2/", &[("host", "a b")], Some(400)),
            (
                h11,
                "http://a.example/v2/",
                &[("host", "A.example:80")],
                None,
            ),
            (
                h11,
                "http://a.example/v2/",
                &[("host", "b.example")],
                Some(400),
            ),
            (
                h11,
                "http://a.example:81/v2/",
                &[("host", "a.example")],
                Some(400),
            ),
            (h11, "http://a.example/v2/", &[], Some(400)),
            (h2, "https://a.example/v2/", &[], None),
            (h2, "https://a.example/v2/", &[("host", "a.example")], None),
            (
                h2,
                "https://a.example/v2/",
                &[("host", "b.example")],
                Some(400),
            ),
            (
                h11,
                "/",
                &[
                    ("host", "a"),
                    ("content-length", "3"),
                    ("transfer-encoding", "chunked"),
                ],
                Some(400),
            ),
            (h11, "/", &[("host", "a"), ("x-long", &long)], Some(431)),
        ];
        for (version, target, headers, expected) in cases {
            assert_eq!(
                refused(*version, target, headers),
                *expected,
                "{version:?} {target} {headers:?}"
            );
        }
    }
}
