//! An issuer `corp` whose tokens are believed by their `sub`: what verifying them takes is `identity`'s to test.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use identity::{
    authenticate::outsiders::{Outsiders, Verified},
    error::{Error, Refused},
    principal::Principal,
};
use runtime::Secret;
use serde_json::{Map, Value, json};
use wire::{assignment::Assignee, name::IssuerName, time::WallTime};

const ISS: &str = "https://corp.example";

/// Knows `corp`.
#[derive(Debug)]
pub(in crate::http) struct Corp;

/// Whoever `corp` calls `job`.
pub(super) fn jobs() -> Assignee {
    Assignee::Claims {
        issuer: "corp".parse().unwrap(),
        claims: [("sub".to_owned(), "job".to_owned())].into(),
    }
}

/// A token for `sub`; `forged` is refused.
pub(in crate::http) fn job(sub: &str) -> String {
    let parts = [
        json!({"alg": "RS256", "typ": "JWT"}),
        json!({"iss": ISS, "sub": sub}),
    ];
    let [header, claims] = parts.map(|part| URL.encode(part.to_string()));
    format!("{header}.{claims}.c2ln")
}

#[async_trait]
impl Outsiders for Corp {
    async fn verify(&self, token: &Secret, now: WallTime) -> Result<Option<Verified>, Error> {
        let claims = token.expose().split('.').nth(1).unwrap_or_default();
        let claims = URL.decode(claims).ok();
        let claims =
            claims.and_then(|claims| serde_json::from_slice::<Map<String, Value>>(&claims).ok());
        let Some(claims) = claims.filter(|claims| claims.get("iss") == Some(&json!(ISS))) else {
            return Ok(None);
        };
        if claims["sub"] == "forged" {
            return Err(Refused::Token.into());
        }
        Ok(Some(Verified {
            principal: Principal::Workload {
                issuer: "corp".parse().unwrap(),
                claims: Arc::new(claims),
            },
            expires: now.plus(Duration::from_secs(600)),
            person: false,
        }))
    }

    fn declares(&self, name: &IssuerName, iss: &str) -> bool {
        name.as_str() == "corp" && iss == ISS
    }
}
