//! The token dance of a client: challenge, token service, once more.

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, Response};
use serde_json::Value;
use wire::challenge::Challenge;

use crate::Client;

impl Client {
    /// What to show after a 401; `None` when there is nothing to try.
    pub(super) async fn authorise(&self, answer: &Response, scope: &str) -> Result<Option<String>> {
        let lines = answer.headers().get_all("www-authenticate").iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        let challenges = Challenge::parse(lines);
        if let Some(bearer) = challenges.iter().find(|challenge| challenge.is_bearer()) {
            let token = self.token(bearer).await?;
            return Ok(token.map(|token| {
                let shown = format!("Bearer {token}");
                self.tokens.lock().unwrap().insert(scope.to_owned(), token);
                shown
            }));
        }
        let basic = challenges.iter().any(Challenge::is_basic);
        Ok(self.basic().filter(|_| basic))
    }

    pub(super) fn basic(&self) -> Option<String> {
        let (user, password) = self.account.as_ref()?;
        Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{user}:{password}"))
        ))
    }

    /// `None` when the service refuses.
    async fn token(&self, challenge: &Challenge) -> Result<Option<String>> {
        let realm = challenge.param("realm").unwrap_or_default();
        ensure!(
            realm.starts_with("http"),
            "the realm must be absolute: {challenge:?}"
        );
        let mut request = self.http.get(realm);
        for name in ["service", "scope"] {
            if let Some(value) = challenge.param(name) {
                request = request.query(&[(name, value)]);
            }
        }
        if let Some(basic) = self.basic() {
            request = request.header("authorization", basic);
        }
        let answer = request.send().await?;
        if !answer.status().is_success() {
            return Ok(None);
        }
        let body: Value = answer.json().await?;
        let token = body["token"].as_str().or(body["access_token"].as_str());
        Ok(token.map(str::to_owned))
    }
}

/// Under what a token is kept: the repository and whether it is read, written or deleted.
pub(super) fn scope(method: &Method, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let ends = ["/manifests/", "/blobs/", "/tags/", "/referrers/"];
    let name = ends
        .iter()
        .find_map(|end| path.rsplit_once(end))
        .map_or(path, |(name, _)| name);
    let action = match method.as_str() {
        "GET" | "HEAD" => "pull",
        "DELETE" => "delete",
        _ => "push",
    };
    format!("{name}:{action}")
}
