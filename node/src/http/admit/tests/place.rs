//! Where a request comes from, and for how long a node decides without its control plane.

use super::*;

#[tokio::test]
async fn an_address_that_is_not_let_in_is_refused_before_its_credentials_are_looked_at() {
    let rig = rig(true);
    let network = topology::model::Network {
        access: network::Access::Selected,
        allow: vec!["10.0.0.0/8".parse().unwrap()],
        trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()],
        trust_mesh_peers: false,
    };
    let open = [assign(Role::RepositoryReader, Assignee::Anonymous, "*")];
    let selected = Arc::new(access(&rig.authenticate, &open, network));
    let pull = route("GET", "/v2/team/a/manifests/1");
    let from = async |address: &str, forwarded: Option<&str>, headers: HeaderMap| {
        let mut headers = headers;
        if let Some(forwarded) = forwarded {
            headers.insert(
                FORWARDED_FOR,
                HeaderValue::from_bytes(forwarded.as_bytes()).unwrap(),
            );
        }
        by(&selected, Some(&peer(address)), &headers, &pull).await
    };
    assert_eq!(status(&from("10.1.1.1", None, HeaderMap::new()).await), 200);
    let refused = from("203.0.113.1", None, basic("reader", "reader-password"))
        .await
        .unwrap_err();
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(
        refused.error.detail,
        Some(json!({"refusal": "NETWORK_REFUSED"}))
    );
    assert_eq!(
        status(&from("203.0.113.1", Some("10.1.1.1"), HeaderMap::new()).await),
        403
    );
    let behind = from("192.0.2.1", Some("10.1.1.1"), HeaderMap::new())
        .await
        .unwrap();
    assert_eq!(behind.address.to_string(), "10.1.1.1");
    assert_eq!(
        status(&from("192.0.2.1", Some("10.1.1.1, \u{e9}"), HeaderMap::new()).await),
        403
    );
    assert_eq!(
        status(&by(&selected, None, &HeaderMap::new(), &pull).await),
        403
    );
}

/// A grant without a certificate is for this very machine: what a proxy on it passes on is from anywhere, declared or not.
#[tokio::test]
async fn what_a_proxy_on_this_machine_passes_on_does_not_come_from_it() {
    let rig = rig(true);
    let open = access(&rig.authenticate, &[], topology::model::Network::default());
    let near = |address: &str, tls: bool, forwarded: Option<&str>| {
        let headers = forwarded.map(|value| {
            let value = HeaderValue::from_str(value).unwrap();
            (http::HeaderName::from_static(FORWARDED_FOR), value)
        });
        let connection = Peer {
            tls,
            ..peer(address)
        };
        let origin = open.origin(Some(&connection), None, &headers.into_iter().collect());
        origin.unwrap().plain_loopback
    };
    assert!(near("127.0.0.1", false, None));
    assert!(near("::1", false, None));
    assert!(!near("127.0.0.1", true, None));
    assert!(!near("192.0.2.1", false, None));
    assert!(!near("127.0.0.1", false, Some("192.0.2.9")));
    assert!(!near("127.0.0.1", false, Some("127.0.0.1")));
}

#[tokio::test]
async fn cut_off_for_longer_than_allowed_only_what_is_anonymous_is_granted() {
    let rig = rig(true);
    let contact = crate::app::Contact::alone(rig.clock.clone());
    contact.away(Duration::from_secs(50));
    let made = access(
        &rig.authenticate,
        &roles(true),
        topology::model::Network::default(),
    );
    let access = Arc::new(made.ending(Some(Duration::from_secs(60)), &contact));
    let own = basic("reader", "reader-password");
    let pull = |repository: &str| route("GET", &format!("/v2/{repository}/manifests/latest"));
    let asked = async |headers: &HeaderMap, route: &Route| {
        let answer = by(&access, Some(&peer("192.0.2.7")), headers, route).await;
        answer
            .map(|admitted| admitted.principal)
            .map_err(|refused| {
                assert_eq!(
                    refused.retry_after.is_some(),
                    refused.status == StatusCode::SERVICE_UNAVAILABLE
                );
                refused.status
            })
    };
    let known = asked(&own, &pull("team/a")).await.unwrap();
    assert!(known.is_known(), "not away for long enough");

    rig.clock.advance(Duration::from_secs(20));
    let cases = [
        (&own, "team/a", Err(StatusCode::SERVICE_UNAVAILABLE)),
        (&own, "open/a", Ok(Principal::Anonymous)),
        (&HeaderMap::new(), "open/a", Ok(Principal::Anonymous)),
        (&HeaderMap::new(), "team/a", Err(StatusCode::UNAUTHORIZED)),
    ];
    for (headers, repository, expected) in cases {
        assert_eq!(
            asked(headers, &pull(repository)).await,
            expected,
            "{repository}"
        );
    }

    contact.connected();
    assert!(asked(&own, &pull("team/a")).await.is_ok(), "back again");
}
