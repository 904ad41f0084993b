//! A node's token service on loopback, and addresses that no token is sent to.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use runtime::{listener, tasks::Tasks};

use super::*;

/// Every form that came, with the path it came to.
type Forms = Arc<Mutex<Vec<(String, Vec<(String, String)>)>>>;

/// A node that gives a refresh token for what holds "right".
pub(crate) struct Node {
    pub(crate) server: String,
    pub(crate) forms: Forms,
    _tasks: Tasks,
}

impl Node {
    pub(crate) async fn start() -> Self {
        runtime::tls::install_crypto();
        let forms = Forms::default();
        let router = Router::new()
            .route("/v2/", get(|| async { StatusCode::UNAUTHORIZED }))
            .route("/oauth2/token", post(give))
            .route("/oauth2/exchange", post(give))
            .with_state(Arc::clone(&forms));
        let tasks = Tasks::new("node");
        let bound = listener::bind(listener::Config::new(([127, 0, 0, 1], 0).into()));
        let bound = bound.await.unwrap();
        let server = bound.local_addr().to_string();
        bound.serve(router, &tasks);
        Self {
            server,
            forms,
            _tasks: tasks,
        }
    }
}

async fn give(State(forms): State<Forms>, uri: Uri, body: String) -> Response {
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let right = form.iter().any(|(_, value)| value.contains("right"));
    let path = uri.path().to_owned();
    forms.lock().unwrap().push((path, form));
    match right {
        true => r#"{"refresh_token":"canary-refresh"}"#.into_response(),
        false => {
            let said = r#"{"errors":[{"code":"UNAUTHORIZED","message":"the token is not valid"}]}"#;
            (StatusCode::UNAUTHORIZED, said).into_response()
        }
    }
}

#[tokio::test]
async fn a_proof_is_traded_for_a_refresh_token_on_loopback_without_tls() {
    let node = Node::start().await;
    let registry = Registry::find(&node.server, None).await.unwrap();
    let token = Proof::Token(Secret::new("right".to_owned()));
    let given = registry.refresh_token(&token).await.unwrap();
    assert_eq!(given.expose(), "canary-refresh");
    let account = Proof::Password("ci".into(), Secret::new("right".to_owned()));
    registry.refresh_token(&account).await.unwrap();
    let wrong = Proof::Token(Secret::new("canary-wrong".to_owned()));
    let refused = registry.refresh_token(&wrong).await.unwrap_err();
    let refused = format!("{refused:#}");
    assert!(
        refused.contains("the token is not valid") && !refused.contains("canary"),
        "{refused}"
    );
    let forms = node.forms.lock().unwrap();
    let paths: Vec<&str> = forms.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        ["/oauth2/exchange", "/oauth2/token", "/oauth2/exchange"]
    );
    let field = |n: usize, name: &str| {
        let found = forms[n].1.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    assert_eq!(field(0, "grant_type"), "access_token");
    assert_eq!(field(0, "service"), node.server);
    assert_eq!(
        (field(1, "grant_type"), field(1, "access_type")),
        ("password".to_owned(), "offline".to_owned())
    );
}

#[tokio::test]
async fn no_token_goes_where_it_could_be_read_or_to_what_is_no_registry() {
    runtime::tls::install_crypto();
    for bad in [
        "http://registry.example",
        "http://10.0.0.1:5000",
        "ftp://127.0.0.1",
        "registry.example/path",
        "user@registry.example",
        "registry.example?x",
        "registry.example:x",
        "",
        "https://169.254.169.254",
    ] {
        assert!(Registry::find(bad, None).await.is_err(), "{bad}");
    }
}
