//! Redirects: followed by us, with credentials left behind.

use identity::token_source::fixed::Fixed;
use wire::media_type::OCI_INDEX;

use super::*;

/// What must never reach another origin than the registry's.
const PRIVATE: [&str; 5] = [
    "authorization",
    "cookie",
    "cdn-loop",
    "traceparent",
    "cache-control",
];

#[tokio::test]
async fn relative_and_absolute_redirects_on_the_own_origin_are_followed() {
    // Google's registries redirect relatively; registry.k8s.io redirects manifests, GHCR referrers with 303.
    for status in [301, 302, 303, 307, 308] {
        let rig = Rig::new(move |seen| match seen.target.as_str() {
            target if target.starts_with("/elsewhere/") => {
                let mut original = seen.clone();
                original.target = target.replace("/elsewhere", "");
                registry(&original)
            }
            target => Reply::redirect(status, &format!("/elsewhere{target}")),
        })
        .await;
        assert!(rig.head("1").await.is_ok(), "{status}");
        assert!(rig.manifest("1").await.is_ok(), "{status}");
        let blob = rig
            .blob(Some(BlobRange {
                start: 4,
                end: None,
            }))
            .await
            .unwrap();
        assert_eq!(read(blob).await.0, b"456789");
        let subject = Digest::sha256(b"x");
        assert!(
            rig.remote
                .referrers(&app(), &subject, Patience::Long, &request())
                .await
                .is_ok()
        );
        assert_eq!(rig.server.seen()[1].method, "HEAD", "HEAD stays HEAD");
    }
}

/// T48: a CDN on another port gets the request bare, and back on the registry's own origin it stays bare.
#[tokio::test]
async fn t48_a_redirect_elsewhere_takes_no_credentials_along() {
    let tasks = Tasks::new("thief");
    for back in [false, true] {
        let (send, receive) = std::sync::mpsc::channel::<String>();
        let receive = Mutex::new(receive);
        let home = Arc::new(Mutex::new(String::new()));
        let at_home = Arc::clone(&home);
        let thief = Server::start(&tasks, move |seen| {
            let home = at_home.lock().unwrap().clone();
            if back {
                Reply::redirect(307, &format!("{home}/back{}", seen.target))
            } else {
                server::ranged(seen, BLOB)
            }
        })
        .await;
        send.send(thief.url("/cdn?X-Sig=canary")).unwrap();
        let cdn = receive.lock().unwrap().recv().unwrap();
        let basic = Profile {
            basic_first: true,
            ..Profile::default()
        };
        let source = Fixed::password("robot", "hunter2");
        let rig = Rig::with(basic, source, move |seen| {
            match seen.target.starts_with("/back") {
                true => server::ranged(seen, BLOB),
                false => Reply::redirect(307, &cdn),
            }
        })
        .await;
        *home.lock().unwrap() = rig.server.url("");
        let mut asking = request();
        asking.no_cache = true;
        let digest = Digest::sha256(BLOB.as_bytes());
        let range = Some(BlobRange {
            start: 4,
            end: None,
        });
        let body = rig
            .remote
            .get_blob(&app(), &digest, range, &asking)
            .await
            .unwrap();
        assert_eq!(read(body).await.0, b"456789");
        let own = rig.server.seen();
        assert_eq!(
            own[0].header("authorization"),
            Some("Basic cm9ib3Q6aHVudGVyMg==")
        );
        let mut bare = thief.seen();
        bare.extend(own.into_iter().skip(1));
        assert_eq!(bare.len(), if back { 2 } else { 1 });
        for seen in bare {
            assert_eq!(seen.header("range"), Some("bytes=4-"));
            for name in PRIVATE {
                assert_eq!(seen.header(name), None, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn redirects_end() {
    let rig = Rig::new(|seen| Reply::redirect(307, &format!("{}x", seen.target))).await;
    let error = rig.blob(None).await.err().unwrap();
    assert_eq!(error.kind, Kind::Wrong);
    assert_eq!(rig.server.seen().len(), 6);
}

/// T49: addresses that nobody named are not connected to, whoever redirects there.
#[tokio::test]
async fn t49_a_redirect_into_our_own_network_is_refused() {
    for there in [
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:9/x",
        "http://10.0.0.1/x",
        "http://[::ffff:169.254.169.254]/",
        "http://0.0.0.0:9/",
    ] {
        let rig = Rig::new(move |_| Reply::redirect(307, there)).await;
        let error = rig.blob(None).await.err().unwrap();
        assert!(error.is_away(), "{there}: {error}");
        assert_eq!(rig.server.seen().len(), 1);
    }
}

#[tokio::test]
async fn storage_behind_the_registry_is_away_or_lacks_it_but_cannot_deny_us() {
    for (status, kind) in [
        (403, Kind::Away { retry_after: None }),
        (500, Kind::Away { retry_after: None }),
        (404, Kind::Gone),
    ] {
        let tasks = Tasks::new("cdn");
        let cdn = Server::start(&tasks, move |_| {
            Reply::new(status, "<Error>SignatureDoesNotMatch canary</Error>")
        })
        .await;
        let there = cdn.url("/x?X-Amz-Signature=canary-in-a-query");
        let rig = Rig::new(move |_| Reply::redirect(307, &there)).await;
        let error = rig.blob(None).await.err().unwrap();
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.detail.contains("canary-in-a-query"), "{error}");
    }
    // A manifest behind a redirect is as good as any.
    let tasks = Tasks::new("cdn");
    let cdn = Server::start(&tasks, |_| Reply::ok(OCI_INDEX, MANIFEST)).await;
    let there = cdn.url("/m");
    let rig = Rig::new(move |_| Reply::redirect(307, &there)).await;
    assert!(rig.manifest(&digest()).await.is_ok());
}
