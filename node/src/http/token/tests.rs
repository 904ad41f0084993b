//! The token endpoint as clients use it: the rows of `reference/protocols.md` 1.4 and 1.6.

use std::sync::Arc;

use axum::body::to_bytes;
use http::{HeaderMap, Method, Request};
use identity::authenticate::refresh::LIFE;

use serde_json::json;
use topology::model::Network;
use url::form_urlencoded;

use super::{
    super::admit::rig::*,
    form::{MAX_FIELDS, MAX_FORM},
    *,
};

mod exchange;
mod issuers;

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

async fn send(rig: &Rig, request: Request<Body>) -> Answer {
    send_over(rig, peer("192.0.2.9"), request).await
}

async fn send_over(rig: &Rig, peer: Peer, request: Request<Body>) -> Answer {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(peer);
    let route = Route::parse(parts.method.as_str(), parts.uri.path(), None)
        .unwrap()
        .route;
    let response = by(&rig.access, &route, &parts, body).await.response;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    let body = to_bytes(response.into_body(), MAX_FORM).await.unwrap();
    assert_eq!(
        headers[header::CONTENT_LENGTH],
        body.len().to_string().as_str()
    );
    Answer {
        status,
        headers,
        body: serde_json::from_slice(&body).unwrap(),
    }
}

async fn get(rig: &Rig, query: &str, headers: HeaderMap) -> Answer {
    let mut request = Request::get(format!("/oauth2/token{query}"))
        .body(Body::empty())
        .unwrap();
    *request.headers_mut() = headers;
    send(rig, request).await
}

async fn post_as(rig: &Rig, media_type: Option<&str>, body: Body) -> Answer {
    let mut request = Request::builder().method(Method::POST).uri("/oauth2/token");
    if let Some(media_type) = media_type {
        request = request.header(header::CONTENT_TYPE, media_type);
    }
    send(rig, request.body(body).unwrap()).await
}

async fn post(rig: &Rig, fields: &[(&str, &str)]) -> Answer {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    post_as(
        rig,
        Some("application/x-www-form-urlencoded"),
        Body::from(form),
    )
    .await
}

fn reader() -> HeaderMap {
    basic("reader", "reader-password")
}

/// The access claim of the token in an answer, as scopes.
fn scope(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["token"], answer.body["access_token"]);
    assert_eq!(answer.body["expires_in"], 3600);
    let issued_at: wire::time::WallTime =
        answer.body["issued_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(issued_at.0, 1_800_000_000_000);
    answer.body["scope"].as_str().unwrap()
}

#[tokio::test]
async fn every_form_of_get_that_clients_send_is_answered() {
    let rig = rig(true);
    let pull = "repository:team/a:pull";
    let cases = [
        ("", ""),
        (
            "?service=prod.example%3A5443&scope=repository%3Ateam%2Fa%3Apull",
            pull,
        ),
        (
            "?account=reader&scope=repository:team/a:pull,push&service=x",
            pull,
        ),
        ("?client_id=docker&account=reader&offline_token=true", ""),
        (
            "?scope=repository:team/a:pull&scope=repository:team/b:pull",
            "repository:team/a:pull repository:team/b:pull",
        ),
        (
            "?scope=repository:team/a:pull%20repository:team/b:pull",
            "repository:team/a:pull repository:team/b:pull",
        ),
        (
            "?scope=repository:team/a:pull+repository:team/b:pull",
            "repository:team/a:pull repository:team/b:pull",
        ),
        (
            "?scope=repository:team/a:pull&scope=repository:team/a:pull",
            pull,
        ),
        ("?scope=repository:team/a:pull+repository:team/a:pull", pull),
        ("?scope=repository:team/a:*", pull),
        ("?scope=repository(plugin):team/a:pull", pull),
        ("?scope=repository:secret/a:pull", ""),
        ("?scope=repository:team/a:push,delete", ""),
        (
            "?scope=aws&scope=&scope=repository::pull&scope=repository:team/a/../secret:pull&scope=repository:TEAM/a:pull",
            "",
        ),
        ("?scope=registry:catalog:*", ""),
        (
            "?unknown=1&scope=repository:open/a:pull",
            "repository:open/a:pull",
        ),
    ];
    for (query, expected) in cases {
        assert_eq!(
            scope(&get(&rig, query, reader()).await),
            expected,
            "{query}"
        );
    }
}

#[tokio::test]
async fn nobody_gets_a_token_for_what_everybody_may() {
    let rig = rig(true);
    let query =
        "?scope=repository:open/a:pull,push&scope=repository:team/a:pull&offline_token=true";
    let answer = get(&rig, query, HeaderMap::new()).await;
    assert_eq!(scope(&answer), "repository:open/a:pull");
    assert!(answer.body.get("refresh_token").is_none());
}

#[tokio::test]
async fn a_login_gets_a_refresh_token_only_if_asked_and_it_works_until_it_is_over() {
    let rig = rig(false);
    assert!(
        get(&rig, "", reader())
            .await
            .body
            .get("refresh_token")
            .is_none()
    );
    let login = get(&rig, "?client_id=docker&offline_token=true", reader()).await;
    let token = login.body["refresh_token"].as_str().unwrap().to_owned();
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &token),
        ("service", "x"),
        ("client_id", "d"),
    ];
    let again = post(
        &rig,
        &[&fields[..], &[("scope", "repository:team/a:pull,push")]].concat(),
    )
    .await;
    assert_eq!(scope(&again), "repository:team/a:pull");
    assert!(again.body.get("refresh_token").is_none());
    let offline = post(&rig, &[&fields[..], &[("access_type", "offline")]].concat()).await;
    assert_eq!(offline.body["refresh_token"], token.as_str());
    let as_password = get(
        &rig,
        "",
        basic("00000000-0000-0000-0000-000000000000", &token),
    )
    .await;
    assert_eq!(as_password.status, 200);
    rig.clock.advance(LIFE);
    let over = post(&rig, &fields).await;
    assert_eq!(
        (over.status, &over.body["errors"][0]["code"]),
        (401, &json!("UNAUTHORIZED"))
    );
    assert_eq!(over.body["error"], "invalid_grant");
}

/// His last role is taken away, and given back.
#[tokio::test]
async fn a_login_is_suspended_while_there_is_no_role_and_right_credentials_are_never_guesses() {
    let mut rig = rig(true);
    let login = get(&rig, "?offline_token=true", reader()).await;
    let token = login.body["refresh_token"].as_str().unwrap().to_owned();
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &token),
        ("scope", "repository:team/a:pull"),
        ("access_type", "offline"),
    ];
    let kept = rig.sessions.count();
    rig.access = Arc::new(access(&rig.authenticate, &[], Network::default()));
    let query = "?scope=repository:team/a:pull&offline_token=true";
    for _ in 0..60 {
        for answer in [post(&rig, &fields).await, get(&rig, query, reader()).await] {
            assert_eq!(scope(&answer), "");
            assert!(answer.body.get("refresh_token").is_none());
        }
    }
    assert_eq!(rig.sessions.count(), kept, "no session for who may nothing");
    let wrong = get(&rig, query, basic("reader", "wrong")).await;
    assert_eq!(wrong.status, 401);
    rig.access = Arc::new(access(&rig.authenticate, &roles(true), Network::default()));
    assert_eq!(scope(&post(&rig, &fields).await), "repository:team/a:pull");
}

#[tokio::test]
async fn containerd_posts_a_password_and_the_media_type_may_have_parameters() {
    let rig = rig(false);
    let fields = [
        ("grant_type", "password"),
        ("service", "prod.example:5443"),
        ("client_id", "containerd-client"),
        ("username", "writer"),
        ("password", "writer-password"),
        (
            "scope",
            "repository:team/a:pull,push repository:team/b:pull",
        ),
    ];
    let expected = "repository:team/a:pull,push repository:team/b:pull";
    assert_eq!(scope(&post(&rig, &fields).await), expected);
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let media_type = Some("Application/X-WWW-Form-Urlencoded ; charset=utf-8");
    // In small pieces, of unknown length: how a chunked body arrives.
    let pieces: Vec<_> = form
        .as_bytes()
        .chunks(7)
        .map(Bytes::copy_from_slice)
        .map(Ok::<_, std::io::Error>)
        .collect();
    let chunked = Body::from_stream(futures_util::stream::iter(pieces));
    assert_eq!(scope(&post_as(&rig, media_type, chunked).await), expected);
}

#[tokio::test]
async fn wrong_credentials_are_401_with_errors_and_too_often_429() {
    let rig = rig(true);
    for headers in [
        basic("reader", "wrong"),
        basic("ghost", "x"),
        basic("", ""),
        authorization("Bearer x"),
        authorization("x"),
    ] {
        let answer = get(&rig, "?scope=repository:open/a:pull", headers).await;
        assert_eq!(
            (answer.status, &answer.body["errors"][0]["code"]),
            (401, &json!("UNAUTHORIZED"))
        );
        assert_eq!(
            answer.headers[header::WWW_AUTHENTICATE],
            "Basic realm=\"prod.example:5443\""
        );
    }
    let wrong = [
        ("grant_type", "password"),
        ("username", "reader"),
        ("password", "wrong"),
    ];
    let mut tries = 0;
    let slow_down = loop {
        let answer = post(&rig, &wrong).await;
        if answer.status != 401 {
            break answer;
        }
        tries += 1;
        assert!(tries < 50);
    };
    assert_eq!(
        (slow_down.status, &slow_down.body["errors"][0]["code"]),
        (429, &json!("TOOMANYREQUESTS"))
    );
    assert_eq!(slow_down.headers[header::RETRY_AFTER], "60");
}

#[tokio::test]
async fn what_is_not_taken_is_refused_in_words() {
    let rig = rig(false);
    let grant = |grant: &'static str| {
        [
            ("grant_type", grant),
            ("subject_token", "a.b.c"),
            ("scope", "x"),
        ]
    };
    for fields in [grant("authorization_code"), grant("client_credentials")] {
        let answer = post(&rig, &fields).await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (400, &json!("unsupported_grant_type"))
        );
        assert_eq!(answer.body["errors"][0]["code"], "UNSUPPORTED");
    }
    for fields in [
        &[][..],
        &[("grant_type", "password")],
        &[("grant_type", "password"), ("username", "reader")],
        &[("grant_type", "refresh_token")],
    ] {
        let answer = post(&rig, fields).await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (400, &json!("invalid_request"))
        );
    }
    let form = "application/x-www-form-urlencoded";
    for (media_type, body, expected) in [
        (None, "grant_type=password".to_owned(), 415),
        (Some("application/json"), "{}".to_owned(), 415),
        (Some("multipart/form-data; boundary=x"), "x".to_owned(), 415),
        (Some(form), "a".repeat(MAX_FORM + 1), 413),
        (Some(form), "a&".repeat(MAX_FIELDS + 1), 400),
    ] {
        let answer = post_as(&rig, media_type, Body::from(body)).await;
        assert_eq!(answer.status, expected, "{media_type:?}");
        assert!(answer.body["errors"][0]["message"].is_string());
    }
    let answer = get(&rig, "?scope=%ff", reader()).await;
    assert_eq!(answer.status, 400);
}

/// T53: neither passwords nor tokens appear in what is said about a failure.
#[tokio::test]
async fn no_answer_repeats_a_secret() {
    let rig = rig(false);
    for canary in ["canary-secret", "rmr_canary-secret"] {
        let fields = [
            ("grant_type", "password"),
            ("username", "reader"),
            ("password", canary),
        ];
        let by_form = post(&rig, &fields).await;
        let by_header = get(&rig, "", basic("reader", canary)).await;
        for answer in [by_form, by_header] {
            assert_eq!(answer.status, 401);
            assert!(
                !answer.body.to_string().contains("canary")
                    && !format!("{:?}", answer.headers).contains("canary")
            );
        }
    }
}
