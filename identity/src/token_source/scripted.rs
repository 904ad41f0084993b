//! A server on loopback for tests: answers as it is told, and writes down what it was asked.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use runtime::{Tasks, listener};
use url::Url;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `GET /path?query`.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Status, headers, body; no answer at all for a status of 0.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, String);

type Answers = dyn Fn(usize, &Asked) -> Answer + Send + Sync;

#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) url: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Answers>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A field of a form body.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut fields = url::form_urlencoded::parse(self.body.as_bytes());
        let found = fields.find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    }

    /// A parameter of the query.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let path = self.line.split_once(' ')?.1;
        let url = Url::parse(&format!("http://x{path}")).ok()?;
        let found = url.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    }
}

impl Scripted {
    /// Answers the n-th request (from 0) by `answers`.
    pub(crate) async fn start(
        tasks: &Tasks,
        answers: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let config = listener::Config::new(([127, 0, 0, 1], 0).into());
        let bound = listener::bind(config).await.unwrap();
        let url = format!("http://{}", bound.local_addr());
        let this = Self {
            url: url.parse().unwrap(),
            asked: Arc::default(),
            answers: Arc::new(answers),
        };
        let router = Router::new().fallback(answer).with_state(this.clone());
        bound.serve(router, tasks);
        this
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    pub(crate) fn at(&self, path: &str) -> String {
        self.url.join(path).unwrap().to_string()
    }
}

pub(crate) fn json(status: u16, body: &str) -> Answer {
    let headers = vec![("content-type", "application/json".to_owned())];
    (status, headers, body.to_owned())
}

/// No answer, ever.
pub(crate) fn silence() -> Answer {
    (0, Vec::new(), String::new())
}

/// Seconds since 1970, so many from now.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    runtime::Clock::system().wall_ms() / 1000 + seconds
}

async fn answer(State(server): State<Scripted>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path_and_query().unwrap();
    let asked = Asked {
        line: format!("{} {path}", parts.method),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let number = {
        let mut all = server.asked.lock().unwrap();
        all.push(asked.clone());
        all.len() - 1
    };
    let (status, headers, body) = (server.answers)(number, &asked);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
