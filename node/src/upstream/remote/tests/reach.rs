//! A look at the way to a registry: what it asks, and what it makes of the answers.

use super::*;
use crate::upstream::reach::Step;

#[tokio::test]
async fn a_look_sends_no_credential_and_asks_for_no_repository() {
    let source = identity::token_source::fixed::Fixed::password("robot", "secret");
    let rig = Rig::with(Profile::default(), source, |_| Reply::status(401)).await;
    let found = rig.remote.reach().await;
    assert!(found.is_open(), "{found:?}");
    assert_eq!(found.status, Some(401));
    assert_eq!(rig.seen(), ["GET "]);
    let asked = rig.server.seen();
    assert_eq!(asked[0].target, "/v2/");
    assert!(asked[0].header("authorization").is_none());
}

#[tokio::test]
async fn a_node_that_keeps_our_address_out_is_told_from_a_refusal_and_from_a_fault() {
    let refused =
        r#"{"errors":[{"code":"DENIED","message":"no","detail":{"refusal":"NETWORK_REFUSED"}}]}"#;
    let cases = [
        (403, refused, Some(Step::LetIn)),
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"no"}]}"#,
            None,
        ),
        (502, "", Some(Step::Answer)),
    ];
    for (status, body, expected) in cases {
        let rig = Rig::new(move |_| Reply::new(status, body)).await;
        let found = rig.remote.reach().await;
        let step = found.blocked.map(|blocked| blocked.step);
        assert_eq!(step, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn a_clock_that_differs_and_a_server_that_is_not_there_are_told() {
    let rig = Rig::new(|_| Reply::status(200).and("Date", "Thu, 01 Jan 2015 00:00:00 GMT")).await;
    let ahead = rig.remote.reach().await.ahead_ms.unwrap();
    assert!(ahead < -3_600_000, "{ahead}");
    rig.tasks.drain(Duration::from_secs(5)).await;
    let found = rig.remote.reach().await;
    assert_eq!(found.blocked.unwrap().step, Step::Connect);
}
