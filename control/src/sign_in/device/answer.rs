//! What an issuer answers in a device flow, read: every answer bounded, every text cleaned, nothing taken that a person should not open.
//!
//! Pure. An issuer is declared by an operator and yet a stranger to whoever signs in: what it sends is shown on their terminal. Source:
//! RFC 8628 3.2 and 3.5, RFC 6749 5.2.

use std::time::Duration;

use identity::keys::discovery::Document;
use runtime::Secret;
use serde::Deserialize;
use url::{Host, Url};
use wire::oci_error::clean;

/// The longest code that a person types, in characters.
const USER_CODE: usize = 64;
/// The longest device code, in bytes.
const DEVICE_CODE: usize = 8 << 10;
/// The longest address shown, in bytes.
const ADDRESS: usize = 2 << 10;
/// How long a flow lasts at most, and when the issuer does not say.
const LIFE: (u64, u64) = (1_800, 600);
/// The pause between two questions: what it is when the issuer does not say, and the longest.
const INTERVAL: (u64, u64) = (5, 60);

/// What discovery says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) device: Url,
    pub(super) token: Url,
    /// Whether the client secret goes into the body instead of a header.
    pub(super) in_body: bool,
    /// What is asked for.
    pub(super) scope: String,
}

/// A flow that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) code: Secret,
    pub(super) user_code: String,
    pub(super) uri: Url,
    pub(super) complete: Option<Url>,
    pub(super) interval: Duration,
    pub(super) life: Duration,
}

/// How one stands.
#[derive(Debug)]
pub(super) enum Polled {
    Pending,
    SlowDown,
    Denied,
    Expired,
    /// The ID token.
    Token(Secret),
}

/// Where to ask, by what the issuer at `url` says of itself. Client secrets and tokens go there, so without TLS on loopback alone, and of
/// an issuer that has none either.
pub(super) fn places(document: &Document, url: &str) -> Result<Places, String> {
    let endpoint = |name: &str, text: Option<&String>| {
        let text = text.ok_or_else(|| format!("it has no {name}, so no device flow"))?;
        let parsed = Url::parse(text).ok().filter(|endpoint| {
            let secure = endpoint.scheme() == "https"
                || (endpoint.scheme() == "http"
                    && url.starts_with("http://")
                    && is_loopback(endpoint));
            secure && is_plain(endpoint)
        });
        parsed.ok_or_else(|| format!("its {name} is not an address to send anything to"))
    };
    let supports = |list: &[String], word: &str| list.iter().any(|each| each == word);
    let mut scope = "openid".to_owned();
    for wanted in ["profile", "email", "groups"] {
        if supports(&document.scopes_supported, wanted) {
            scope.push(' ');
            scope.push_str(wanted);
        }
    }
    let methods = &document.token_endpoint_auth_methods_supported;
    Ok(Places {
        device: endpoint(
            "device_authorization_endpoint",
            document.device_authorization_endpoint.as_ref(),
        )?,
        token: endpoint("token_endpoint", document.token_endpoint.as_ref())?,
        in_body: supports(methods, "client_secret_post")
            && !supports(methods, "client_secret_basic"),
        scope,
    })
}

#[derive(Deserialize)]
struct Authorized {
    device_code: String,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: Option<u64>,
    interval: Option<u64>,
}

/// A flow that has begun, by the answer of the device authorization endpoint.
pub(super) fn begun(body: &[u8]) -> Result<Begun, String> {
    let read: Authorized =
        serde_json::from_slice(body).map_err(|_| "its answer begins no device flow")?;
    let user_code = clean(&read.user_code);
    let whole = user_code == read.user_code && (1..=USER_CODE).contains(&user_code.chars().count());
    let code = (1..=DEVICE_CODE).contains(&read.device_code.len());
    let (uri, complete) = (read.verification_uri, read.verification_uri_complete);
    let uri = address(&uri).filter(|_| whole && code);
    Ok(Begun {
        code: Secret::new(read.device_code),
        user_code,
        uri: uri.ok_or("its answer holds what nobody should be shown")?,
        complete: complete.as_deref().and_then(address),
        interval: Duration::from_secs(read.interval.unwrap_or(INTERVAL.0).clamp(1, INTERVAL.1)),
        life: Duration::from_secs(read.expires_in.unwrap_or(LIFE.1).clamp(1, LIFE.0)),
    })
}

#[derive(Deserialize)]
struct Given {
    id_token: Option<String>,
}

#[derive(Deserialize)]
struct Failed {
    error: String,
    error_description: Option<String>,
}

/// How the flow stands, by the answer of the token endpoint.
pub(super) fn polled(ok: bool, body: &[u8]) -> Result<Polled, String> {
    if ok {
        let given = serde_json::from_slice::<Given>(body).ok();
        let token = given.and_then(|given| given.id_token);
        return token
            .map(|token| Polled::Token(Secret::new(token)))
            .ok_or_else(|| "it gave no ID token".to_owned());
    }
    let failed: Failed =
        serde_json::from_slice(body).map_err(|_| "its answer cannot be read".to_owned())?;
    match failed.error.as_str() {
        "authorization_pending" => Ok(Polled::Pending),
        "slow_down" => Ok(Polled::SlowDown),
        "access_denied" => Ok(Polled::Denied),
        "expired_token" => Ok(Polled::Expired),
        _ => Err(said(&failed)),
    }
}

/// What an error says, for people.
pub(super) fn refused(body: &[u8]) -> String {
    match serde_json::from_slice::<Failed>(body) {
        Ok(failed) => said(&failed),
        Err(_) => "its answer cannot be read".to_owned(),
    }
}

fn said(failed: &Failed) -> String {
    let (error, why) = (clean(&failed.error), &failed.error_description);
    match why {
        Some(why) => format!("{error}: {}", clean(why)),
        None => error,
    }
}

/// An address that a person may be sent to.
fn address(text: &str) -> Option<Url> {
    let parsed = Url::parse(text).ok().filter(|_| text.len() <= ADDRESS)?;
    (matches!(parsed.scheme(), "https" | "http") && is_plain(&parsed)).then_some(parsed)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn is_plain(url: &Url) -> bool {
    url.host().is_some() && url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document(change: &Value) -> Document {
        let mut document = json!({
            "issuer": "https://corp.example",
            "jwks_uri": "https://corp.example/keys",
            "device_authorization_endpoint": "https://corp.example/device",
            "token_endpoint": "https://tokens.example/token",
        });
        let members = document.as_object_mut().unwrap();
        members.extend(change.as_object().unwrap().clone());
        serde_json::from_value(document).unwrap()
    }

    fn read(change: &Value) -> Option<Places> {
        let document = document(change);
        places(&document, &document.issuer).ok()
    }

    #[test]
    fn discovery_leads_nowhere_without_tls_where_the_issuer_has_it() {
        let found = read(&json!({})).unwrap();
        assert_eq!(found.token.as_str(), "https://tokens.example/token");
        assert_eq!((found.scope.as_str(), found.in_body), ("openid", false));
        let more = json!({
            "scopes_supported": ["openid", "email", "groups", "offline_access"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        });
        let found = read(&more).unwrap();
        assert_eq!(
            (found.scope.as_str(), found.in_body),
            ("openid email groups", true)
        );
        for bad in [
            json!({"token_endpoint": "http://corp.example/token"}),
            json!({"device_authorization_endpoint": "http://corp.example/device"}),
            json!({"device_authorization_endpoint": null}),
            json!({"token_endpoint": "https://user:pass@corp.example/token"}),
            json!({"token_endpoint": "file:///etc/passwd"}),
        ] {
            assert!(read(&bad).is_none(), "{bad}");
        }
        let plain = json!({"issuer": "http://127.0.0.1:1", "device_authorization_endpoint": "http://127.0.0.1:1/d",
            "token_endpoint": "http://127.0.0.1:1/t"});
        assert!(read(&plain).is_some());
        let beyond = json!({"issuer": "http://corp.example", "device_authorization_endpoint": "http://corp.example/d",
            "token_endpoint": "http://corp.example/t"});
        assert!(read(&beyond).is_none(), "a client secret would go there");
    }

    #[test]
    fn nobody_is_shown_what_does_harm() {
        let answer = |change: Value| {
            let mut answer = json!({"device_code": "canary", "user_code": "WDJB-MJHT", "verification_uri": "https://corp.example/d"});
            answer
                .as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
            begun(answer.to_string().as_bytes())
        };
        let plain = answer(json!({})).unwrap();
        assert_eq!(plain.user_code, "WDJB-MJHT");
        assert_eq!((plain.interval.as_secs(), plain.life.as_secs()), (5, 600));
        let long = answer(json!({"interval": 86_400, "expires_in": u64::MAX})).unwrap();
        assert_eq!((long.interval.as_secs(), long.life.as_secs()), (60, 1_800));
        let odd =
            answer(json!({"interval": 0, "verification_uri_complete": "javascript:alert(1)"}));
        let odd = odd.unwrap();
        assert_eq!((odd.interval.as_secs(), odd.complete), (1, None));
        for bad in [
            json!({"user_code": "\u{1b}]0;owned\u{7}"}),
            json!({"user_code": "a\nb"}),
            json!({"user_code": ""}),
            json!({"user_code": "x".repeat(65)}),
            json!({"verification_uri": "javascript:alert(1)"}),
            json!({"verification_uri": "file:///etc/passwd"}),
            json!({"verification_uri": format!("https://corp.example/{}", "x".repeat(3_000))}),
            json!({"verification_uri": "https://corp.example@evil.example/"}),
            json!({"device_code": "x".repeat(9_000)}),
            json!({"device_code": ""}),
            json!({"device_code": null}),
            json!({"interval": -1}),
        ] {
            let error = answer(bad.clone()).expect_err(&bad.to_string());
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn the_words_of_the_protocol_are_told_apart() {
        let word = |ok, body: &str| match polled(ok, body.as_bytes()) {
            Ok(Polled::Pending) => "pending".to_owned(),
            Ok(Polled::SlowDown) => "slow".to_owned(),
            Ok(Polled::Denied) => "denied".to_owned(),
            Ok(Polled::Expired) => "expired".to_owned(),
            Ok(Polled::Token(token)) => format!("token {}", token.expose()),
            Err(why) => why,
        };
        let cases = [
            (false, r#"{"error":"authorization_pending"}"#, "pending"),
            (false, r#"{"error":"slow_down"}"#, "slow"),
            (
                false,
                r#"{"error":"access_denied","error_description":"no"}"#,
                "denied",
            ),
            (false, r#"{"error":"expired_token"}"#, "expired"),
            (
                false,
                r#"{"error":"invalid_client","error_description":"who\u001b are you"}"#,
                "invalid_client: who are you",
            ),
            (false, "<html>", "its answer cannot be read"),
            (
                true,
                r#"{"id_token":"a.b.c","access_token":"x"}"#,
                "token a.b.c",
            ),
            (true, r#"{"access_token":"x"}"#, "it gave no ID token"),
            (true, "[]", "it gave no ID token"),
        ];
        for (ok, body, expected) in cases {
            assert_eq!(word(ok, body), expected, "{body}");
        }
    }
}
