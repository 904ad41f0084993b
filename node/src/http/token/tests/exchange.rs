//! `/oauth2/exchange` and RFC 8693: who gets what for whose token, and what is said to everybody else.

use super::*;

type Fields<'a> = &'a [(&'a str, &'a str)];

async fn form(hub: &Hub, over: &Edge, path: &str, fields: Fields<'_>) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let media = "application/x-www-form-urlencoded";
    let request = Request::post(path).header(header::CONTENT_TYPE, media);
    send_over(
        &hub.rig,
        over.clone(),
        request.body(Body::from(body)).unwrap(),
    )
    .await
}

async fn exchange(hub: &Hub, over: &Edge, token: &str) -> Answer {
    let fields = [
        ("grant_type", "access_token"),
        ("service", "prod.example:5443"),
        ("access_token", token),
    ];
    form(hub, over, "/oauth2/exchange", &fields).await
}

async fn refreshed(hub: &Hub, over: &Edge, token: &str, scope: &str) -> Answer {
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("scope", scope),
    ];
    form(hub, over, "/oauth2/token", &fields).await
}

fn refresh_token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.body.as_object().unwrap();
    assert_eq!(
        body.keys().collect::<Vec<_>>(),
        ["refresh_token"],
        "and nothing else"
    );
    body["refresh_token"].as_str().unwrap().to_owned()
}

fn said(answer: &Answer) -> (u16, &str) {
    assert!(answer.body["errors"][0]["message"].is_string());
    (answer.status, answer.body["error"].as_str().unwrap())
}

#[tokio::test]
async fn a_grant_is_exchanged_and_reads_what_was_asked_for_within_grant_and_roles() {
    let hub = hub();
    let edge = hub.connection("edge");
    let refresh = refresh_token(&exchange(&hub, &edge, &hub.grant()).await);
    let tricks = "repository:team/a:pull,push,delete repository:team/../secret:pull repository:TEAM/b:pull \
        repository:*:pull repository:team/*:pull repository:team:pull repository:secret/a:pull \
        repository:team%2fc:pull registry:catalog:*";
    for (scope, expected) in [
        ("repository:team/a:pull", "repository:team/a:pull"),
        (tricks, "repository:team/a:pull"),
        ("repository:team/a:*", "repository:team/a:pull"),
        ("", ""),
    ] {
        let answer = refreshed(&hub, &edge, &refresh, scope).await;
        assert_eq!(
            (answer.status, &answer.body["scope"]),
            (200, &json!(expected))
        );
        assert_eq!(answer.body["expires_in"], 300);
    }
    let narrow = hub.grant_with(|claims| claims["regmesh"]["repositories"] = json!(["team/a"]));
    let narrow = refresh_token(&exchange(&hub, &edge, &narrow).await);
    let scope = "repository:team/a:pull repository:team/b:pull";
    let answer = refreshed(&hub, &edge, &narrow, scope).await;
    assert_eq!(
        answer.body["scope"], "repository:team/a:pull",
        "the grant is narrower than the roles"
    );
    let wide = hub.grant_with(|claims| claims["regmesh"]["repositories"] = json!(["*"]));
    let wide = refresh_token(&exchange(&hub, &edge, &wide).await);
    let scope = "repository:team/a:pull repository:secret/a:pull";
    let answer = refreshed(&hub, &edge, &wide, scope).await;
    assert_eq!(
        answer.body["scope"], "repository:team/a:pull",
        "the roles are narrower than the grant"
    );
}

/// T38, T55: what the token endpoint gave once it does not give again to somebody else, or later.
#[tokio::test]
async fn the_session_of_a_grant_is_its_nodes_and_ends_when_it_is_withdrawn() {
    let mut hub = hub();
    let (edge, other) = (hub.connection("edge"), hub.connection("other"));
    let refresh = refresh_token(&exchange(&hub, &edge, &hub.grant()).await);
    for over in [&other, &peer("192.0.2.9")] {
        assert_eq!(
            said(&exchange(&hub, over, &hub.grant()).await),
            (401, "invalid_grant")
        );
        let answer = refreshed(&hub, over, &refresh, "repository:team/a:pull").await;
        assert_eq!(said(&answer), (401, "invalid_grant"));
        let as_password = [
            ("grant_type", "password"),
            ("username", "oidc"),
            ("password", &refresh),
        ];
        let answer = form(&hub, over, "/oauth2/token", &as_password).await;
        assert_eq!(said(&answer), (401, "invalid_grant"));
    }
    hub.swap(&roles(false), true);
    assert_eq!(
        said(&refreshed(&hub, &edge, &refresh, "").await),
        (401, "invalid_grant")
    );
    let answer = exchange(&hub, &edge, &hub.grant()).await;
    assert_eq!(said(&answer), (401, "invalid_grant"));
    assert!(
        answer.body["error_description"]
            .as_str()
            .unwrap()
            .ends_with("it was withdrawn")
    );
    hub.swap(&[], false);
    let answer = refreshed(&hub, &edge, &refresh, "repository:team/a:pull").await;
    assert_eq!(
        (answer.status, &answer.body["scope"]),
        (200, &json!("")),
        "no role, and no error"
    );
}

#[tokio::test]
async fn a_workloads_token_is_exchanged_by_either_protocol_or_shown_as_a_password() {
    let hub = hub();
    let stranger = peer("192.0.2.9");
    let pull = "repository:team/a:pull";
    let token = job("job");
    let refresh = refresh_token(&exchange(&hub, &stranger, &token).await);
    assert_eq!(
        scope(&refreshed(&hub, &stranger, &refresh, pull).await),
        pull
    );
    let types = ["jwt", "id_token", "access_token"]
        .map(|name| format!("urn:ietf:params:oauth:token-type:{name}"));
    for subject in &types {
        let fields = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", &token),
            ("subject_token_type", subject),
            ("audience", "prod.example:5443"),
            ("resource", "https://prod.example:5443/"),
            ("requested_token_type", ACCESS_TOKEN),
            ("scope", "repository:team/a:pull,push"),
            ("client_id", "x"),
        ];
        let answer = form(&hub, &stranger, "/oauth2/token", &fields).await;
        assert_eq!(scope(&answer), pull);
        assert_eq!(answer.body["issued_token_type"], ACCESS_TOKEN);
        assert_eq!(answer.body["token_type"], "Bearer");
        assert!(answer.body.get("refresh_token").is_none());
    }
    for user in ["oidc", "00000000-0000-0000-0000-000000000000", "whoever"] {
        let query = "?offline_token=true&scope=repository:team/a:pull";
        let login = get(&hub.rig, query, basic(user, &token)).await;
        assert_eq!(scope(&login), pull);
        assert_eq!(
            login.body["refresh_token"],
            refresh.as_str(),
            "one session for one token"
        );
    }
    hub.rig.clock.advance(std::time::Duration::from_secs(600));
    assert_eq!(
        said(&refreshed(&hub, &stranger, &refresh, pull).await),
        (401, "invalid_grant")
    );
}

/// A declared issuer knows more people than have roles here: they cost no stored session.
#[tokio::test]
async fn who_has_no_role_gets_no_session_and_is_told_so() {
    let hub = hub();
    let stranger = peer("192.0.2.9");
    let token = job("nobody");
    let answer = exchange(&hub, &stranger, &token).await;
    assert_eq!(said(&answer), (403, "access_denied"), "{}", answer.body);
    assert_eq!(answer.body["errors"][0]["code"], "DENIED");
    let words = answer.body["error_description"].as_str().unwrap();
    assert!(words.contains("issuer:corp:nobody has no role"), "{words}");
    // At the token endpoint a missing right is no error: what remains is a token for nothing, and no session.
    let query = "?offline_token=true&scope=repository:team/a:pull";
    for headers in [basic("oidc", &token), basic("nobody", "nobody-password")] {
        let login = get(&hub.rig, query, headers).await;
        assert_eq!(scope(&login), "");
        assert!(login.body.get("refresh_token").is_none());
    }
    assert_eq!(hub.rig.sessions.count(), 0);
    let some = refresh_token(&exchange(&hub, &stranger, &job("job")).await);
    assert!(!some.is_empty());
    assert_eq!(hub.rig.sessions.count(), 1);
}

#[tokio::test]
async fn what_an_exchange_does_not_take_is_refused_by_name() {
    let hub = hub();
    let edge = hub.connection("edge");
    let (grant, token, long) = (hub.grant(), job("job"), "a".repeat(24 * 1024 + 1));
    let reader = get(&hub.rig, "?offline_token=true", reader()).await;
    let (access, refresh) = (
        reader.body["access_token"].as_str(),
        reader.body["refresh_token"].as_str(),
    );
    let taken = ("grant_type", "access_token");
    let cases: &[(Fields<'_>, (u16, &str))] = &[
        (&[], (400, "invalid_request")),
        (&[taken], (400, "invalid_request")),
        (&[("access_token", &grant)], (400, "invalid_request")),
        (
            &[("grant_type", "refresh_token"), ("access_token", &grant)],
            (400, "unsupported_grant_type"),
        ),
        (
            &[taken, ("access_token", &grant), ("service", "dev.example")],
            (400, "invalid_target"),
        ),
        (
            &[taken, ("access_token", &grant), ("service", "prod.example")],
            (400, "invalid_target"),
        ),
        (&[taken, ("access_token", &long)], (413, "invalid_request")),
        (
            &[taken, ("access_token", access.unwrap())],
            (401, "invalid_grant"),
        ),
        (
            &[taken, ("access_token", refresh.unwrap())],
            (401, "invalid_grant"),
        ),
        (
            &[taken, ("access_token", "reader-password")],
            (401, "invalid_grant"),
        ),
        (
            &[taken, ("access_token", &job("forged"))],
            (401, "invalid_grant"),
        ),
        (&[taken, ("access_token", "a.b.c")], (401, "invalid_grant")),
        (&[taken, ("access_token", "")], (401, "invalid_grant")),
    ];
    for (fields, expected) in cases {
        let answer = form(&hub, &edge, "/oauth2/exchange", fields).await;
        assert_eq!(said(&answer), *expected, "{fields:?}");
    }
    for service in [
        &[][..],
        &[("service", "PROD.example:5443")],
        &[("tenant", "x"), ("service", "https://prod.example:5443")],
    ] {
        let fields = [&[taken, ("access_token", &grant)], service].concat();
        refresh_token(&form(&hub, &edge, "/oauth2/exchange", &fields).await);
    }
    let subject = |extra: Fields<'_>| {
        let jwt = "urn:ietf:params:oauth:token-type:jwt";
        let fields: [(&str, &str); 2] =
            [("grant_type", TOKEN_EXCHANGE), ("subject_token_type", jwt)];
        let fields = [&fields, extra].concat();
        fields
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect::<Vec<_>>()
    };
    let cases = [
        (subject(&[]), (400, "invalid_request")),
        (subject(&[("subject_token", "")]), (400, "invalid_request")),
        (
            subject(&[("subject_token", &token), ("actor_token", &token)]),
            (400, "invalid_request"),
        ),
        (
            subject(&[
                ("subject_token", &token),
                ("requested_token_type", "urn:x:saml2"),
            ]),
            (400, "invalid_request"),
        ),
        (
            subject(&[("subject_token", &token), ("audience", "dev.example")]),
            (400, "invalid_target"),
        ),
        (
            subject(&[
                ("subject_token", &token),
                ("audience", "prod.example:5443"),
                ("audience", "dev.example"),
            ]),
            (400, "invalid_target"),
        ),
        (
            subject(&[
                ("subject_token", &token),
                ("resource", "https://dev.example/v2/"),
            ]),
            (400, "invalid_target"),
        ),
        (
            subject(&[("subject_token", &grant)]),
            (401, "invalid_grant"),
        ),
        (
            subject(&[("subject_token", access.unwrap())]),
            (401, "invalid_grant"),
        ),
        (
            subject(&[("subject_token", &job("forged"))]),
            (401, "invalid_grant"),
        ),
        (
            subject(&[("subject_token", &long)]),
            (413, "invalid_request"),
        ),
    ];
    for (fields, expected) in &cases {
        let fields: Vec<_> = fields
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let answer = form(&hub, &edge, "/oauth2/token", &fields).await;
        assert_eq!(said(&answer), *expected, "{fields:?}");
    }
    let untyped = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token.as_str()),
    ];
    let answer = form(&hub, &edge, "/oauth2/token", &untyped).await;
    assert_eq!(said(&answer), (400, "invalid_request"));
    let json = Request::post("/oauth2/exchange").header(header::CONTENT_TYPE, "application/json");
    let answer = send(&hub.rig, json.body(Body::from("{}")).unwrap()).await;
    assert_eq!(answer.status, 415);
}

/// T50, T53: a grant as a password, a Bearer token or a refresh token; and none of it comes back in what is said.
#[tokio::test]
async fn a_grant_is_worth_nothing_at_the_token_endpoint_and_no_answer_repeats_it() {
    let hub = hub();
    let (edge, grant) = (hub.connection("edge"), hub.grant());
    let with = |fields: Fields<'static>, name: &'static str| {
        let fields = fields.iter().copied().chain([(name, grant.as_str())]);
        fields.collect::<Vec<_>>()
    };
    for fields in [
        with(
            &[("grant_type", "password"), ("username", "oidc")],
            "password",
        ),
        with(
            &[("grant_type", "password"), ("username", "reader")],
            "password",
        ),
        with(&[("grant_type", "refresh_token")], "refresh_token"),
    ] {
        let answer = form(&hub, &edge, "/oauth2/token", &fields).await;
        assert_eq!(said(&answer), (401, "invalid_grant"));
        assert!(!answer.body.to_string().contains(&grant[..20]));
    }
    for headers in [
        basic("oidc", &grant),
        authorization(&format!("Bearer {grant}")),
    ] {
        let mut request = Request::get("/oauth2/token").body(Body::empty()).unwrap();
        *request.headers_mut() = headers;
        let answer = send_over(&hub.rig, edge.clone(), request).await;
        assert_eq!(answer.status, 401);
        assert!(!answer.body.to_string().contains(&grant[..20]));
    }
    let stranger = exchange(&hub, &hub.connection("other"), &grant).await;
    assert_eq!(stranger.status, 401);
    assert!(!stranger.body.to_string().contains(&grant[..20]));
}
