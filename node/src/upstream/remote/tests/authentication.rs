//! Logging in at the registry: rounds, their number, and what a refusal says.

use identity::token_source::fixed::Fixed;
use wire::refusal::Refusal;

use super::*;

/// A registry that wants a token: `good-N` is taken while `valid` says so.
fn guarded(valid: impl Fn(&Seen, &str) -> bool) -> impl Fn(&Seen) -> Reply {
    move |seen| {
        if seen.target.starts_with("/token") {
            let token = format!(r#"{{"token":"good-{}","expires_in":300}}"#, seen.number);
            return Reply::ok("application/json", &token);
        }
        let shown = seen
            .header("authorization")
            .and_then(|v| v.strip_prefix("Bearer "));
        match shown {
            Some(token) if valid(seen, token) => registry(seen),
            _ => challenge(seen, ""),
        }
    }
}

fn challenge(seen: &Seen, more: &str) -> Reply {
    let line = format!(
        r#"Bearer realm="http://{}/token",service="registry.test",scope="repository:team/app:pull"{more}"#,
        seen.at
    );
    Reply::new(
        401,
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}"#,
    )
    .and("WWW-Authenticate", &line)
}

#[tokio::test]
async fn a_login_costs_one_round_once() {
    let rig = Rig::new(guarded(|_, token| token.starts_with("good-"))).await;
    for _ in 0..3 {
        rig.manifest("1").await.unwrap();
    }
    assert_eq!(
        rig.seen(),
        ["GET 1", "GET token", "GET 1", "GET 1", "GET 1"]
    );
}

#[tokio::test]
async fn a_stale_token_is_replaced_once_whatever_the_registry_calls_it() {
    for status in [401_u16, 403, 400] {
        let profile = Profile {
            bad_request_means_stale_token: status == 400,
            ..Profile::default()
        };
        let stale = Mutex::new(String::new());
        let inner = guarded(|_, _| true);
        let script = move |seen: &Seen| {
            let shown = seen.header("authorization").unwrap_or_default().to_owned();
            let mut stale = stale.lock().unwrap();
            if seen.header("cache-control").is_some() && stale.is_empty() {
                *stale = shown.clone();
            }
            if !shown.is_empty() && *stale == shown {
                return if status == 401 {
                    challenge(seen, "")
                } else {
                    Reply::status(status)
                };
            }
            inner(seen)
        };
        let rig = Rig::with(profile, Anonymous, script).await;
        rig.manifest("1").await.unwrap();
        let mut asking = request();
        asking.no_cache = true;
        let tag = "1".parse().unwrap();
        rig.remote
            .get_manifest(&app(), &tag, &asking)
            .await
            .unwrap();
        let seen = rig.seen();
        assert_eq!(
            seen,
            ["GET 1", "GET token", "GET 1", "GET 1", "GET token", "GET 1"],
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_registry_that_never_takes_a_token_is_asked_twice() {
    let rig = Rig::new(guarded(|_, _| false)).await;
    let error = rig.manifest("1").await.unwrap_err();
    assert_eq!(
        (error.kind, error.refusal),
        (Kind::Denied, Refusal::UpstreamUnauthorized)
    );
    assert!(error.detail.contains("log in"), "{error}");
    assert_eq!(rig.seen(), ["GET 1", "GET token", "GET 1"]);
    // With a token in hand it is dropped, and no more is asked.
    rig.manifest("1").await.unwrap_err();
    assert_eq!(
        rig.server.seen().iter().filter(|s| s.last() == "1").count(),
        4
    );
}

#[tokio::test]
async fn a_fresh_token_without_the_right_is_denied() {
    let rig = Rig::new(|seen| match seen.target.starts_with("/token") {
        true => Reply::ok("application/json", r#"{"token":"t"}"#),
        false => challenge(seen, r#",error="insufficient_scope""#),
    })
    .await;
    let error = rig.manifest("1").await.unwrap_err();
    assert_eq!(
        (error.kind, error.refusal),
        (Kind::Denied, Refusal::UpstreamDenied)
    );
}

#[tokio::test]
async fn a_heads_403_gets_its_words_from_one_get_and_three_requests_are_all() {
    let rig = Rig::new(guarded(|_, token| token == "good-1")).await;
    rig.manifest("1").await.unwrap();
    let before = rig.server.seen().len();
    let script = |seen: &Seen| match seen.target.starts_with("/token") {
        true => Reply::ok("application/json", r#"{"token":"t"}"#),
        false if seen.header("authorization").is_none() => challenge(seen, ""),
        false => Reply::new(
            403,
            r#"{"errors":[{"code":"DENIED","message":"the role was taken away"}]}"#,
        ),
    };
    assert_eq!(before, 3);
    let rig = Rig::new(script).await;
    let error = rig.head("1").await.unwrap_err();
    assert_eq!(
        (error.kind, error.refusal),
        (Kind::Denied, Refusal::UpstreamDenied)
    );
    assert!(error.detail.contains("the role was taken away"), "{error}");
    assert_eq!(rig.seen(), ["HEAD 1", "GET token", "HEAD 1", "GET 1"]);
    rig.head("1").await.unwrap_err();
    let seen = rig.seen();
    // The cached token, a fresh one, the reason.
    assert_eq!(seen[4..], ["HEAD 1", "GET token", "HEAD 1", "GET 1"]);
}

/// T26: every tier that tried once more would double what the origin gets.
#[tokio::test]
async fn what_a_node_was_refused_further_up_is_not_asked_again() {
    for status in [403, 404] {
        let script = move |seen: &Seen| match seen.target.starts_with("/token") {
            true => Reply::ok("application/json", r#"{"token":"t"}"#),
            false if seen.header("authorization").is_none() => challenge(seen, ""),
            false => Reply::status(status).and("X-Regmesh-Failed", "hub"),
        };
        let rig = Rig::new(script).await;
        rig.head("1").await.unwrap_err();
        let first = rig.seen().len();
        let error = rig.head("1").await.unwrap_err();
        assert_eq!(rig.seen()[first..], ["HEAD 1"], "{status}");
        assert_eq!(error.failed_at.as_deref(), Some("hub"));
    }
}

#[tokio::test]
async fn a_registry_that_refuses_head_alone_is_asked_by_get() {
    let rig = Rig::new(|seen| match seen.method.as_str() {
        "HEAD" => Reply::status(403),
        _ => registry(seen),
    })
    .await;
    assert_eq!(rig.head("1").await.unwrap().digest.to_string(), digest());
    rig.head("1").await.unwrap();
    assert_eq!(rig.seen(), ["HEAD 1", "GET 1", "GET 1", "GET 1"]);
}

/// T48: nothing that a registry says makes our credential go elsewhere, and what it repeats of it stays here.
#[tokio::test]
async fn t48_a_challenge_elsewhere_is_refused_and_an_echo_is_scrubbed() {
    let tasks = Tasks::new("thief");
    let thief = Server::start(&tasks, |_| {
        Reply::ok("application/json", r#"{"token":"t"}"#)
    })
    .await;
    let realm = format!(r#"Bearer realm="{}",service="s""#, thief.url("/token"));
    let source = Fixed::password("robot", "hunter2");
    let rig = Rig::with(Profile::default(), source, move |_| {
        Reply::status(401).and("WWW-Authenticate", &realm)
    })
    .await;
    let error = rig.manifest("1").await.unwrap_err();
    assert_eq!(
        (error.kind, error.refusal),
        (Kind::Denied, Refusal::UpstreamRealmRefused)
    );
    assert!(thief.seen().is_empty());

    let rig = Rig::new(|seen| match seen.header("authorization") {
        None if seen.target.starts_with("/token") => {
            Reply::ok("application/json", r#"{"token":"canary-token"}"#)
        }
        None => challenge(seen, ""),
        Some(shown) => Reply::new(403, &format!("you sent {shown}")),
    })
    .await;
    let error = rig.manifest("1").await.unwrap_err();
    assert!(error.detail.contains("you sent Bearer [secret]"), "{error}");
}

#[tokio::test]
async fn a_token_service_that_is_away_is_not_a_lost_right() {
    let rig = Rig::new(|seen| match seen.target.starts_with("/token") {
        true => Reply::status(503).and("Retry-After", "9"),
        false => challenge(seen, ""),
    })
    .await;
    let error = rig.manifest("1").await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(9)));
    assert_eq!(error.refusal, Refusal::UpstreamUnavailable);
}
