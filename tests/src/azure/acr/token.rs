//! `/oauth2/exchange` and `/oauth2/token` as ACR has them: an Entra token becomes a refresh token, that becomes access tokens.

use serde_json::{Value, json};

use super::Desk;
use crate::azure::ACR_AUDIENCE;
use crate::jwt;
use crate::server::{Answer, Request};

const ISSUER: &str = "Azure Container Registry";
const REFRESH: i64 = 3 * 3600;
const ACCESS: i64 = 75 * 60;

impl Desk {
    pub(super) fn exchange(&self, request: &Request) -> Result<Answer, Answer> {
        let form = form(request)?;
        if form("grant_type")? != "access_token" {
            return Err(refused(400, "grant_type"));
        }
        self.is_me(&form("service")?)?;
        let claims = self.directory.verify(&form("access_token")?, ACR_AUDIENCE);
        let claims = claims.map_err(|said| refused(401, &said))?;
        let refresh = self.mint(
            json!({
                "sub": claims["oid"],
                "grant_type": "refresh_token",
                "tenant": claims["tid"],
                "permissions": {"actions": ["read"]},
                "roles": [],
            }),
            REFRESH,
        );
        Ok(Answer::json(200, &json!({"refresh_token": refresh})))
    }

    pub(super) fn token(&self, request: &Request) -> Result<Answer, Answer> {
        let form = form(request)?;
        if form("grant_type")? != "refresh_token" {
            return Err(refused(400, "grant_type"));
        }
        self.is_me(&form("service")?)?;
        let refresh = self.verify(&form("refresh_token")?, "refresh_token");
        let refresh = refresh.map_err(|said| refused(401, &said))?;
        let subject = refresh["sub"].as_str().unwrap_or_default();
        let scopes = request.form("scope");
        let access: Vec<Value> = scopes
            .iter()
            .flat_map(|scopes| scopes.split(' '))
            .filter_map(|scope| self.granted(subject, scope))
            .collect();
        let token = self.mint(
            json!({"sub": subject, "grant_type": "access_token", "access": access}),
            ACCESS,
        );
        // No `expires_in`: who wants to know reads `exp`.
        Ok(Answer::json(200, &json!({"access_token": token})))
    }

    /// What is left of a scope; a missing right is no error.
    fn granted(&self, subject: &str, scope: &str) -> Option<Value> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let wanted: Vec<&str> = actions.split(',').collect();
        let allowed = match kind {
            "repository" => self
                .may_pull(subject, name)
                .then_some(vec!["pull", "metadata_read"]),
            "registry" if name == "catalog" => self.may_pull(subject, "*").then_some(vec!["*"]),
            _ => None,
        };
        let actions: Vec<&str> = allowed?
            .into_iter()
            .filter(|action| wanted.contains(action))
            .collect();
        Some(json!({"type": kind, "name": name, "actions": actions}))
    }

    fn is_me(&self, service: &str) -> Result<(), Answer> {
        if service == self.service() {
            return Ok(());
        }
        Err(refused(400, &format!("the service {service}")))
    }

    fn mint(&self, mut claims: Value, seconds: i64) -> String {
        claims["iss"] = json!(ISSUER);
        claims["aud"] = json!(self.service());
        claims["jti"] = {
            let mut state = self.state.lock().unwrap();
            state.made += 1;
            json!(format!("canary-acr-{}", state.made))
        };
        self.key.token(&jwt::lasting(claims, seconds))
    }

    /// Claims of a token of ours of that kind.
    pub(super) fn verify(&self, token: &str, kind: &str) -> Result<Value, String> {
        let parts = jwt::parts(token).map_err(|error| error.to_string())?;
        let verified = parts.verify(&self.key.jwk(), "RS256");
        verified.map_err(|error| error.to_string())?;
        let right = [
            ("iss", ISSUER),
            ("aud", &self.service()),
            ("grant_type", kind),
        ];
        match right
            .iter()
            .find(|(claim, value)| parts.text(claim) != *value)
        {
            None if parts.is_in_time() => Ok(parts.claims),
            None => Err("expired".to_owned()),
            Some((claim, _)) => Err(format!("{claim} {}", parts.claims[*claim])),
        }
    }
}

/// The fields of a form, each there once; nobody shows `Authorization` beside it.
fn form<'a>(request: &'a Request) -> Result<impl Fn(&str) -> Result<String, Answer> + 'a, Answer> {
    let kind = request.header("content-type").unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(refused(415, "no form"));
    }
    if request.header("authorization").is_some() {
        return Err(refused(400, "Authorization beside a form"));
    }
    Ok(|name: &str| match &request.form(name)[..] {
        [one] if !one.is_empty() => Ok(one.clone()),
        other => Err(refused(400, &format!("{name} {} times", other.len()))),
    })
}

fn refused(status: u16, said: &str) -> Answer {
    let error = json!({"code": "UNAUTHORIZED", "message": said, "detail": null});
    Answer::json(status, &json!({"errors": [error]}))
}
