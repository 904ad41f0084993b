//! What the registry answers: manifests and lists itself, blobs by a redirect to the data endpoint.

use serde_json::json;

use super::Desk;
use crate::server::{Answer, Request, Serve};
use crate::{azure, origin};

impl Serve for Desk {
    fn answer(&self, request: &Request) -> Answer {
        let answered = match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/oauth2/exchange") => self.exchange(request),
            ("POST", "/oauth2/token") => self.token(request),
            // Its other ways in are not for us.
            (_, path) if path.starts_with("/oauth2/") => Err(Answer::error(405, "UNSUPPORTED")),
            _ => self.content(request),
        };
        let correlation = azure::guid(&format!("{} {}", request.method, request.path));
        answered
            .unwrap_or_else(|refusal| refusal)
            .with("x-ms-correlation-request-id", correlation)
    }
}

impl Desk {
    fn content(&self, request: &Request) -> Result<Answer, Answer> {
        let scope = scope(&request.path);
        self.admit(request, scope.as_deref())?;
        if matches!(request.path.as_str(), "/v2/_catalog" | "/acr/v1/_catalog") {
            let names = self.shelf.repositories();
            return Ok(Answer::json(200, &json!({"repositories": names})));
        }
        let honest = origin::honest(&self.shelf, request);
        if request.method != "GET" || !request.path.contains("/blobs/") || honest.status >= 400 {
            return Ok(honest);
        }
        let data = self.state.lock().unwrap().data_url.clone();
        let location = format!("{data}{}?sig=presigned", request.path);
        Ok(Answer::empty(307).with("location", location))
    }

    fn admit(&self, request: &Request, scope: Option<&str>) -> Result<(), Answer> {
        let shown = request.header("authorization").unwrap_or_default();
        let Some(token) = shown.strip_prefix("Bearer ") else {
            return Err(self.challenge(scope, None));
        };
        let claims = self.verify(token, "access_token");
        let claims = claims.map_err(|_| self.challenge(scope, Some("invalid_token")))?;
        let Some(scope) = scope else {
            return Ok(());
        };
        let access = claims["access"].as_array().cloned().unwrap_or_default();
        let covered = access.iter().any(|each| {
            let (kind, name) = (&each["type"], &each["name"]);
            let actions = each["actions"].as_array().cloned().unwrap_or_default();
            actions.iter().any(|action| {
                let text =
                    |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                format!("{}:{}:{}", text(kind), text(name), text(action)) == scope
            })
        });
        let subject = claims["sub"].as_str().unwrap_or_default();
        let name = scope.split(':').nth(1).unwrap_or_default();
        let still = scope.starts_with("registry:") || self.may_pull(subject, name);
        if covered && still {
            return Ok(());
        }
        Err(self.challenge(Some(scope), Some("insufficient_scope")))
    }

    fn challenge(&self, scope: Option<&str>, error: Option<&str>) -> Answer {
        let url = self.state.lock().unwrap().url.clone();
        let service = self.service();
        let mut text = format!("Bearer realm=\"{url}/oauth2/token\",service=\"{service}\"");
        for (name, value) in [("scope", scope), ("error", error)] {
            if let Some(value) = value {
                text.push_str(&format!(",{name}=\"{value}\""));
            }
        }
        Answer::error(401, "UNAUTHORIZED").with("www-authenticate", text)
    }
}

/// The scope a path needs; none for `/v2/`.
fn scope(path: &str) -> Option<String> {
    if path.ends_with("/_catalog") {
        return Some("registry:catalog:*".to_owned());
    }
    let name = origin::repository_of(path)?;
    Some(format!("repository:{name}:pull"))
}
