//! Faults of the registry and the path to it: framing, silence, wrong representations, odd HEADs, statuses.

use std::time::Duration;

use wire::media_type::OCI_INDEX;
use wire::refusal::Refusal;

use super::*;

/// How a transfer that a script answers ends: bytes, and why it stopped.
async fn transfer(
    script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> (String, Option<Kind>) {
    let rig = Rig::new(script).await;
    match rig.blob(None).await {
        Err(error) => (String::new(), Some(error.kind)),
        Ok(body) => {
            assert_eq!((body.offset, body.size), (0, 10));
            let (bytes, error) = read(body).await;
            (String::from_utf8(bytes).unwrap(), error.map(|e| e.kind))
        }
    }
}

fn raw(head: &str, body: &str) -> Reply {
    Reply::Raw(format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}"))
}

#[tokio::test]
async fn every_way_to_end_too_early_is_found() {
    let broken = Some(Kind::Broken);
    let cut = transfer(|_| raw("Content-Length: 10\r\n", "01234")).await;
    assert_eq!(cut, ("01234".into(), broken));
    // No last chunk; the size comes from a HEAD.
    let no_end = transfer(|seen| match seen.method.as_str() {
        "HEAD" => registry(seen),
        _ => raw("Transfer-Encoding: chunked\r\n", "5\r\n01234\r\n"),
    });
    assert_eq!(no_end.await, ("01234".into(), broken));
    // A last chunk, but too early.
    let early_end = transfer(|seen| match seen.method.as_str() {
        "HEAD" => registry(seen),
        _ => raw("Transfer-Encoding: chunked\r\n", "5\r\n01234\r\n0\r\n\r\n"),
    });
    assert_eq!(early_end.await, ("01234".into(), broken));
    // No length at all, ended by FIN: clean for HTTP (`faults.md` 8.1).
    let fin = transfer(|seen| match seen.method.as_str() {
        "HEAD" => registry(seen),
        _ => raw("Connection: close\r\n", "01234"),
    });
    assert_eq!(fin.await, ("01234".into(), broken));
    let more = transfer(|seen| match seen.method.as_str() {
        "HEAD" => registry(seen),
        _ => raw("Connection: close\r\n", "0123456789abc"),
    });
    assert_eq!(more.await.1, Some(Kind::Wrong));
    let whole = transfer(|seen| match seen.method.as_str() {
        "HEAD" => registry(seen),
        _ => raw("Connection: close\r\n", BLOB),
    });
    assert_eq!(whole.await, (BLOB.into(), None));
}

#[tokio::test]
async fn a_stall_is_found_by_lack_of_progress() {
    let stalled =
        transfer(|_| Reply::Hold("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n012345678".into()));
    assert_eq!(stalled.await, ("012345678".into(), Some(Kind::Broken)));
}

#[tokio::test]
async fn a_size_that_nobody_tells_is_asked_for_or_the_end_of_it() {
    // HEAD says no length, a GET of the first byte does.
    let told = transfer(|seen| match (seen.method.as_str(), seen.header("range")) {
        ("HEAD", _) => Reply::Raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".into()),
        (_, Some(_)) => server::ranged(seen, BLOB),
        _ => raw("Connection: close\r\n", BLOB),
    });
    assert_eq!(told.await, (BLOB.into(), None));
    let silent = transfer(|_| raw("Connection: close\r\n", BLOB));
    assert_eq!(silent.await, (String::new(), Some(Kind::Wrong)));
}

#[tokio::test]
async fn ranges_are_believed_only_when_they_match() {
    let four = Some(BlobRange {
        start: 4,
        end: None,
    });
    let rig = Rig::new(registry).await;
    let body = rig.blob(four).await.unwrap();
    assert_eq!((body.offset, body.size), (4, 10));
    assert_eq!(read(body).await.0, b"456789");
    assert_eq!(rig.server.seen()[0].header("range"), Some("bytes=4-"));
    // Ignored: from the start.
    let rig = Rig::new(|_| Reply::new(200, BLOB)).await;
    let body = rig.blob(four).await.unwrap();
    assert_eq!((body.offset, read(body).await.0.len()), (0, 10));
    for (status, stated, part) in [
        (206, "bytes 0-5/10", "012345"),
        (206, "bytes 4-9/10", "45678"),
        (206, "bytes 4-8/10", "45678"),
        (206, "", "456789"),
        (416, "bytes */10", ""),
    ] {
        let rig = Rig::new(move |_| Reply::new(status, part).and("Content-Range", stated)).await;
        assert_eq!(
            rig.blob(four).await.err().unwrap().kind,
            Kind::Wrong,
            "{stated}"
        );
    }
    let rig = Rig::new(|_| Reply::new(206, BLOB).and("Content-Range", "bytes 0-9/10")).await;
    assert_eq!(rig.blob(None).await.err().unwrap().kind, Kind::Wrong);
}

/// T24: nothing that is not the manifest asked for comes back as one.
#[tokio::test]
async fn t24_a_wrong_representation_is_no_manifest() {
    let ok = |body: &str| Reply::ok(OCI_INDEX, body).and("Docker-Content-Digest", &digest());
    let own = |body: &str| {
        let digest = Digest::sha256(body.as_bytes()).to_string();
        Reply::ok("application/json", body).and("Docker-Content-Digest", &digest)
    };
    let cases = [
        ("gzip", ok(MANIFEST).and("Content-Encoding", "gzip"), true),
        (
            "a web page",
            Reply::ok("text/html; charset=utf-8", "<html>"),
            true,
        ),
        ("an error", own(r#"{"errors":[{"code":"DENIED"}]}"#), false),
        ("nothing", Reply::ok(OCI_INDEX, ""), true),
        ("other bytes", ok(r#"{"schemaVersion":2}"#), true),
        ("more bytes", ok(&format!("{MANIFEST} ")), true),
        ("a generic type", own(MANIFEST), true),
        ("no JSON", own("schema"), false),
        (
            "too large",
            Reply::ok(OCI_INDEX, &"x".repeat(4 * 1024 * 1024 + 1)),
            true,
        ),
        ("no content", Reply::status(204), true),
        (
            "a bad digest",
            Reply::ok(OCI_INDEX, MANIFEST).and("Docker-Content-Digest", "sha256:xyz"),
            true,
        ),
        (
            "an unknown algorithm",
            Reply::ok(OCI_INDEX, MANIFEST).and(
                "Docker-Content-Digest",
                "md5:d41d8cd98f00b204e9800998ecf8427e",
            ),
            true,
        ),
    ];
    for (what, reply, by_digest) in cases {
        let rig = Rig::new(move |_| reply.clone()).await;
        let expected_fine = what == "a generic type";
        for reference in ["1".to_owned(), digest()] {
            if reference != "1" && !by_digest {
                continue;
            }
            match rig.manifest(&reference).await {
                // A generic type is no wrong one: the body says what it is.
                Ok(body) => assert!(expected_fine && body.head.media_type == OCI_INDEX, "{what}"),
                Err(error) => assert_eq!(
                    (error.kind, expected_fine),
                    (Kind::Wrong, false),
                    "{what}: {error}"
                ),
            }
        }
    }
    for reply in [
        Reply::ok("application/octet-stream", BLOB).and("Content-Encoding", "gzip"),
        Reply::ok("text/html", "<html>"),
    ] {
        let rig = Rig::new(move |_| reply.clone()).await;
        assert_eq!(rig.blob(None).await.err().unwrap().kind, Kind::Wrong);
    }
}

/// T23: what HEAD does not say is found out by GET, and that is remembered.
#[tokio::test]
async fn t23_a_head_without_digest_is_one_get_and_the_hash_from_then_on() {
    let cases: [fn(&Seen) -> Reply; 4] = [
        |_| Reply::ok(OCI_INDEX, MANIFEST),
        |_| Reply::status(405),
        |_| {
            Reply::Raw(format!(
                "HTTP/1.1 200 OK\r\nDocker-Content-Digest: {}\r\nConnection: close\r\n\r\n",
                digest()
            ))
        },
        // 404 to every HEAD.
        |_| Reply::status(404),
    ];
    for on_head in cases {
        let rig = Rig::new(move |seen| match seen.method.as_str() {
            "HEAD" => on_head(seen),
            _ => Reply::ok(OCI_INDEX, MANIFEST),
        })
        .await;
        for _ in 0..2 {
            let head = rig.head("1").await.unwrap();
            assert_eq!(head.digest.to_string(), digest());
            assert_eq!(head.size, MANIFEST.len() as u64);
            assert_eq!(head.body.as_deref(), Some(MANIFEST.as_bytes()));
        }
        assert_eq!(rig.seen(), ["HEAD 1", "GET 1", "GET 1"]);
    }
}

#[tokio::test]
async fn t23_a_head_that_lies_or_speaks_another_language_is_refused() {
    for stated in [
        "sha256:xyz",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "",
        "x",
    ] {
        let rig =
            Rig::new(move |_| Reply::ok(OCI_INDEX, MANIFEST).and("Docker-Content-Digest", stated))
                .await;
        assert_eq!(
            rig.head("1").await.unwrap_err().kind,
            Kind::Wrong,
            "{stated}"
        );
    }
    let other = Digest::sha256(b"other").to_string();
    let rig =
        Rig::new(move |_| Reply::ok(OCI_INDEX, MANIFEST).and("Docker-Content-Digest", &other))
            .await;
    assert_eq!(rig.head(&digest()).await.unwrap_err().kind, Kind::Wrong);
    let sha512 = Digest::of(wire::digest::Algorithm::Sha512, MANIFEST.as_bytes());
    let stated = sha512.to_string();
    let rig =
        Rig::new(move |_| Reply::ok(OCI_INDEX, MANIFEST).and("Docker-Content-Digest", &stated))
            .await;
    assert_eq!(rig.head("1").await.unwrap().digest, sha512);
    assert_eq!(rig.manifest("1").await.unwrap().head.digest, sha512);
}

#[tokio::test]
async fn an_absence_is_confirmed_once_and_believed_from_then_on() {
    let rig = Rig::new(registry).await;
    for _ in 0..3 {
        assert_eq!(rig.head("2").await.unwrap_err().kind, Kind::Gone);
    }
    assert_eq!(rig.seen(), ["HEAD 2", "GET 2", "HEAD 2", "HEAD 2"]);
}

/// T26, and the classes of `protocols.md` 1.8: how often each answer is asked for, and what it means.
#[tokio::test]
async fn t26_each_status_has_its_class_and_its_number_of_requests() {
    let away = |after: Option<u64>| Kind::Away {
        retry_after: after.map(Duration::from_secs),
    };
    let date = authenticator::retry_after::date(Clock::system().wall_ms() + 3_600_000);
    let cases = [
        (
            Reply::status(500),
            away(None),
            Refusal::UpstreamUnavailable,
            2,
        ),
        (
            Reply::status(502),
            away(None),
            Refusal::UpstreamUnavailable,
            2,
        ),
        (
            Reply::status(503).and("Retry-After", "7"),
            away(Some(7)),
            Refusal::UpstreamUnavailable,
            1,
        ),
        (
            Reply::status(503).and("X-Regmesh-Failed", "hub"),
            away(None),
            Refusal::UpstreamUnavailable,
            1,
        ),
        (
            Reply::status(508),
            Kind::Loop,
            Refusal::UpstreamUnavailable,
            1,
        ),
        (
            Reply::status(429),
            away(None),
            Refusal::UpstreamRateLimited,
            1,
        ),
        (
            Reply::status(429).and("Retry-After", "0"),
            away(Some(1)),
            Refusal::UpstreamRateLimited,
            1,
        ),
        (
            Reply::status(429).and("Retry-After", "1000000000"),
            away(Some(300)),
            Refusal::UpstreamRateLimited,
            1,
        ),
        (
            Reply::status(429).and("Retry-After", &date),
            away(Some(300)),
            Refusal::UpstreamRateLimited,
            1,
        ),
        (Reply::status(403), Kind::Denied, Refusal::UpstreamDenied, 1),
        (
            Reply::status(401),
            Kind::Denied,
            Refusal::UpstreamUnauthorized,
            1,
        ),
        (Reply::status(404), Kind::Gone, Refusal::UpstreamNotFound, 1),
        (
            Reply::status(400),
            Kind::Wrong,
            Refusal::UpstreamUnavailable,
            1,
        ),
        (
            Reply::Raw(String::new()),
            away(None),
            Refusal::UpstreamUnavailable,
            2,
        ),
        (
            Reply::Raw("SSH-2.0-x\r\n".into()),
            away(None),
            Refusal::UpstreamUnavailable,
            2,
        ),
    ];
    for (reply, kind, refusal, requests) in cases {
        let shown = format!("{reply:?}");
        let rig = Rig::new(move |_| reply.clone()).await;
        let error = rig.manifest("1").await.unwrap_err();
        assert_eq!(
            (error.kind, error.refusal),
            (kind, refusal),
            "{shown}: {error}"
        );
        assert_eq!(rig.server.seen().len(), requests, "{shown}");
    }
}

#[tokio::test]
async fn one_bad_answer_or_lost_connection_is_passed_over() {
    for first in [Reply::status(500), Reply::Raw(String::new())] {
        let rig = Rig::new(move |seen| {
            if seen.number == 0 {
                first.clone()
            } else {
                registry(seen)
            }
        })
        .await;
        assert!(rig.manifest("1").await.is_ok());
        assert_eq!(rig.server.seen().len(), 2);
    }
    // A manifest that broke off is fetched once more.
    let rig = Rig::new(|seen| match seen.number {
        0 => raw("Content-Length: 100\r\n", "{"),
        _ => registry(seen),
    });
    assert!(rig.await.manifest("1").await.is_ok());
}

#[tokio::test]
async fn who_does_not_answer_is_away() {
    let rig = Rig::new(|_| Reply::Hold(String::new())).await;
    let tag = "1".parse().unwrap();
    let (app, request) = (app(), request());
    let head = rig
        .remote
        .head_manifest(&app, &tag, Patience::Short, &request)
        .await;
    let error = head.unwrap_err();
    assert!(error.is_away() && error.detail.contains("0.2 s"), "{error}");

    let subject = Digest::sha256(b"x");
    let page = Page::default();
    for (patience, within) in [(Patience::Short, "0.2 s"), (Patience::Long, "0.8 s")] {
        let tags = rig.remote.tags(&app, &page, patience, &request).await;
        let referrers = rig.remote.referrers(&app, &subject, patience, &request);
        for error in [tags.unwrap_err(), referrers.await.unwrap_err()] {
            assert!(error.is_away() && error.detail.contains(within), "{error}");
        }
    }
    let manifest = rig.manifest("1").await.unwrap_err();
    let blob = rig.remote.head_blob(&app, &subject, &request).await;
    for error in [manifest, blob.unwrap_err()] {
        assert!(error.is_away() && error.detail.contains("0.8 s"), "{error}");
    }

    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let mut refused = Rig::new(registry).await;
    refused.remote.config.origin.port = closed.port();
    let error = refused.manifest("1").await.unwrap_err();
    assert!(error.is_away() && error.status.is_none(), "{error}");
    // TLS where there is none.
    let mut plain = Rig::new(registry).await;
    plain.remote.config.origin.secure = true;
    let error = plain.manifest("1").await.unwrap_err();
    assert!(error.is_away(), "{error}");
    assert!(
        plain
            .server
            .seen()
            .iter()
            .all(|seen| !seen.method.starts_with("HEAD"))
    );
}
