//! The operational listener's pages: `/livez`, `/readyz`, `/metrics`, `/status`.
//!
//! Checks are named closures that look at what is known already and never wait: no readiness check asks an upstream or the control
//! plane. A fatal check decides about ready; the others are shown by `?verbose` and change nothing, because a degraded store or an
//! absent upstream still serves. Who may reach this listener is decided by where it is bound.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metric::Registry;

type Run = Box<dyn Fn() -> Result<(), String> + Send + Sync>;
type Report = Box<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What the pages show.
pub struct Operational {
    checks: Vec<Check>,
    registry: Registry,
    status: Report,
}

struct Check {
    name: &'static str,
    fatal: bool,
    run: Run,
}

impl Operational {
    /// No checks yet; `status` gives the body of `/status` and must not block.
    pub fn new(
        registry: Registry,
        status: impl Fn() -> serde_json::Value + Send + Sync + 'static,
    ) -> Self {
        Self {
            checks: Vec::new(),
            registry,
            status: Box::new(status),
        }
    }

    /// Adds a check without which the process is not ready. `Err` says why in words for an operator.
    #[must_use]
    pub fn fatal(
        self,
        name: &'static str,
        run: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.check(name, true, Box::new(run))
    }

    /// Adds a check that is only shown.
    #[must_use]
    pub fn shown(
        self,
        name: &'static str,
        run: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.check(name, false, Box::new(run))
    }

    /// The pages, to be served by a listener.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/status", get(status))
            .with_state(Arc::new(self))
    }

    fn check(mut self, name: &'static str, fatal: bool, run: Run) -> Self {
        self.checks.push(Check { name, fatal, run });
        self
    }
}

impl fmt::Debug for Operational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.checks.iter().map(|check| check.name).collect();
        f.debug_struct("Operational")
            .field("checks", &names)
            .finish_non_exhaustive()
    }
}

async fn livez(request: Request) -> Response {
    let body = if verbose(&request) {
        "[+]process ok\nlivez passed\n"
    } else {
        "ok"
    };
    page(StatusCode::OK, "text/plain; charset=utf-8", body.to_owned())
}

async fn readyz(State(operational): State<Arc<Operational>>, request: Request) -> Response {
    let (ready, lines) = judge(&operational.checks);
    let (status, word) = if ready {
        (StatusCode::OK, "passed")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "failed")
    };
    let body = match (verbose(&request), ready) {
        (false, true) => "ok".to_owned(),
        _ => format!("{lines}readyz {word}\n"),
    };
    page(status, "text/plain; charset=utf-8", body)
}

async fn metrics(State(operational): State<Arc<Operational>>) -> Response {
    let text = operational.registry.gather_text();
    page(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    )
}

async fn status(State(operational): State<Arc<Operational>>) -> Response {
    let body = (operational.status)().to_string();
    page(StatusCode::OK, "application/json", body)
}

/// Whether all fatal checks pass, and a line for each check.
fn judge(checks: &[Check]) -> (bool, String) {
    let mut ready = true;
    let mut lines = String::new();
    for check in checks {
        let line = match ((check.run)(), check.fatal) {
            (Ok(()), _) => format!("[+]{} ok\n", check.name),
            (Err(reason), true) => {
                ready = false;
                format!("[-]{} failed: {reason}\n", check.name)
            }
            (Err(reason), false) => format!("[!]{} degraded: {reason}\n", check.name),
        };
        lines.push_str(&line);
    }
    (ready, lines)
}

fn verbose(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| pair == "verbose" || pair.starts_with("verbose="))
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use std::sync::atomic::{AtomicBool, Ordering};
    use tower::ServiceExt;

    async fn ask(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn only_fatal_checks_decide_and_all_are_listed() {
        let registry = Registry::new();
        registry.counter("a_total", "A.", []);
        let applied = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&applied);
        let router = Operational::new(registry, || serde_json::json!({"node": "hub"}))
            .fatal("slice", move || {
                seen.load(Ordering::SeqCst)
                    .then_some(())
                    .ok_or_else(|| "no slice yet".to_owned())
            })
            .shown("store", || Err("read-only".to_owned()))
            .router();
        let failed = "[-]slice failed: no slice yet\n[!]store degraded: read-only\nreadyz failed\n";
        assert_eq!(ask(&router, "/readyz").await, (503, failed.to_owned()));
        assert_eq!(ask(&router, "/livez").await, (200, "ok".to_owned()));
        applied.store(true, Ordering::SeqCst);
        assert_eq!(ask(&router, "/readyz").await, (200, "ok".to_owned()));
        let passed = "[+]slice ok\n[!]store degraded: read-only\nreadyz passed\n";
        assert_eq!(
            ask(&router, "/readyz?verbose").await,
            (200, passed.to_owned())
        );
        assert_eq!(
            ask(&router, "/status").await,
            (200, r#"{"node":"hub"}"#.to_owned())
        );
        assert!(ask(&router, "/metrics").await.1.contains("a_total 0"));
        assert_eq!(ask(&router, "/v2/").await.0, 404);
    }
}
