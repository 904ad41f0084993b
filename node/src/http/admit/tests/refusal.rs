//! What the refusals say: the scope that would help, and whom to ask for it.

use super::*;

#[tokio::test]
async fn every_401_names_the_scope_of_the_request_and_where_to_get_it() {
    let rig = rig(false);
    let cases = [
        ("GET", "/v2/".to_owned(), None),
        ("GET", "/v2/_catalog".to_owned(), Some("registry:catalog:*")),
        (
            "HEAD",
            "/v2/team/a/manifests/1".to_owned(),
            Some("repository:team/a:pull"),
        ),
        (
            "PUT",
            "/v2/team/a/manifests/1".to_owned(),
            Some("repository:team/a:pull,push"),
        ),
        (
            "DELETE",
            "/v2/team/a/manifests/1".to_owned(),
            Some("repository:team/a:delete"),
        ),
        (
            "POST",
            "/v2/team/a/blobs/uploads/".to_owned(),
            Some("repository:team/a:pull,push"),
        ),
        (
            "POST",
            format!("/v2/team/a/blobs/uploads/?mount={SHA}&from=team/b"),
            Some("repository:team/a:pull,push repository:team/b:pull"),
        ),
    ];
    for (method, target, scope) in cases {
        let response = ask(&rig.access, &HeaderMap::new(), &route(method, &target))
            .await
            .unwrap_err()
            .into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let got = response.headers()[header::WWW_AUTHENTICATE]
            .to_str()
            .unwrap();
        let mut expected =
            r#"Bearer realm="https://prod.example:5443/oauth2/token",service="prod.example:5443""#
                .to_owned();
        if let Some(scope) = scope {
            expected.push_str(&format!(",scope=\"{scope}\""));
        }
        assert_eq!(got, expected, "{method} {target}");
    }
}

/// Section 1.4 of `protocols.md`: docker and podman ask `/v2/` first, containerd never does; all of them get on where
/// everybody may read, and `docker login` still meets a challenge.
#[tokio::test]
async fn where_everybody_may_read_clients_get_on_with_and_without_a_ping() {
    let rig = rig(true);
    let none = HeaderMap::new();
    let (base, pull) = (route("GET", "/v2/"), route("GET", "/v2/open/a/manifests/1"));
    assert_eq!(status(&ask(&rig.access, &none, &base).await), 401);
    assert_eq!(status(&ask(&rig.access, &none, &pull).await), 200);
    assert_eq!(
        status(&ask(&rig.access, &none, &route("GET", "/v2/team/a/manifests/1")).await),
        401
    );
    assert_eq!(
        status(&ask(&rig.access, &none, &route("PUT", "/v2/open/a/manifests/1")).await),
        401
    );
    let origin = rig
        .access
        .origin(Some(&peer("192.0.2.9")), None, &HeaderMap::new());
    let nobody = Proven::by_connection(origin.unwrap());
    let token = bearer(&rig, &nobody, "repository:open/a:pull,push");
    assert_eq!(status(&ask(&rig.access, &token, &base).await), 200);
    assert_eq!(status(&ask(&rig.access, &token, &pull).await), 200);
    let known = basic("nobody", "nobody-password");
    assert_eq!(status(&ask(&rig.access, &known, &pull).await), 200);
}

#[tokio::test]
async fn a_token_with_too_little_scope_asks_for_another_only_where_that_helps() {
    let rig = rig(false);
    let reader = proven(&rig, "reader").await;
    let headers = bearer(&rig, &reader, "repository:team/a:pull");
    let other = ask(
        &rig.access,
        &headers,
        &route("GET", "/v2/team/b/manifests/1"),
    )
    .await
    .unwrap_err();
    assert_eq!(other.status, StatusCode::UNAUTHORIZED);
    let challenge = other.challenge.unwrap();
    assert!(
        challenge
            .to_str()
            .unwrap()
            .contains(r#"scope="repository:team/b:pull",error="insufficient_scope""#)
    );
    let push = ask(
        &rig.access,
        &headers,
        &route("PUT", "/v2/team/a/manifests/1"),
    )
    .await
    .unwrap_err();
    assert_eq!(push.status, StatusCode::FORBIDDEN);
    assert_eq!(
        push.error.detail,
        Some(json!({"role": "repository-writer"}))
    );
}

#[tokio::test]
async fn a_mount_wants_the_right_to_read_where_the_blob_comes_from() {
    let rig = rig(true);
    let mount = |from: &str| {
        route(
            "POST",
            &format!("/v2/team/a/blobs/uploads/?mount={SHA}&from={from}"),
        )
    };
    let writer = basic("writer", "writer-password");
    for (from, allowed) in [("team/b", true), ("open/a", true), ("secret/a", false)] {
        assert_eq!(
            ask(&rig.access, &writer, &mount(from))
                .await
                .unwrap()
                .may_mount,
            allowed,
            "{from}"
        );
    }
    let narrow = bearer(
        &rig,
        &proven(&rig, "writer").await,
        "repository:team/a:pull,push",
    );
    assert!(
        !ask(&rig.access, &narrow, &mount("team/b"))
            .await
            .unwrap()
            .may_mount
    );
    let reader = basic("reader", "reader-password");
    assert_eq!(
        status(&ask(&rig.access, &reader, &mount("team/b")).await),
        403
    );
}

/// The right password is not looked at then, so nothing may be said about it.
#[tokio::test]
async fn who_tried_too_often_is_told_so_and_not_that_the_password_is_wrong() {
    let rig = rig(false);
    let pull = route("GET", "/v2/team/a/manifests/1");
    let said = async |password: &str| {
        let headers = basic("reader", password);
        let refused = ask(&rig.access, &headers, &pull).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert!(refused.challenge.is_some());
        refused.error.message
    };
    assert!(
        said("wrong-0")
            .await
            .contains("wrong user name or password")
    );
    let mut last = String::new();
    for try_ in 1..200 {
        last = said(&format!("wrong-{try_}")).await;
        if last.contains("too many") {
            break;
        }
    }
    let right = said("reader-password").await;
    for message in [&last, &right] {
        assert!(
            message.starts_with("too many wrong credentials from here, again in ")
                && message.ends_with(" s"),
            "{message}"
        );
    }
}
