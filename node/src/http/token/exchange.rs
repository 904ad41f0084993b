//! Somebody else's token for one of ours: `/oauth2/exchange` as ACR has it, and RFC 8693 at `/oauth2/token`.
//!
//! The exchange takes rule grants and issuers' tokens and gives a refresh token; RFC 8693 takes issuers' tokens alone and gives an
//! access token. Whom a request names as its target has to be this node: a token meant for another one is not asked about. Source:
//! `reference/protocols.md` 1.6, RFC 8693.

use identity::authenticate::{Origin, Proven};
use runtime::Secret;

use super::{super::admit::Access, Form, Refusal};

/// The grant type of RFC 8693.
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What RFC 8693 is answered with.
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What a subject's token may be called: they are one thing here, a JWT of a declared issuer.
const SUBJECTS: [&str; 3] = [
    "urn:ietf:params:oauth:token-type:jwt",
    "urn:ietf:params:oauth:token-type:id_token",
    ACCESS_TOKEN,
];

/// The longest token taken, in bytes.
const MAX_TOKEN: usize = 24 * 1024;

/// Who asks at `/oauth2/exchange`.
pub(super) async fn proven(
    access: &Access,
    form: &Form,
    origin: Origin<'_>,
) -> Result<Proven, Refusal> {
    match form.required("grant_type")? {
        "access_token" => {}
        _ => return Err(Refusal::Grant("the grant taken here is access_token")),
    }
    targets(access, form, "service")?;
    let token = token(form, "access_token")?;
    let exchanged = access.authenticate.exchange(access.local(), &token, origin);
    Ok(exchanged.await?)
}

/// Whom a request of RFC 8693 is for.
pub(super) async fn subject(access: &Access, form: &Form) -> Result<Proven, Refusal> {
    let refused = |said: &str| Err(Refusal::Request(said.to_owned()));
    if form.first("actor_token").is_some() || form.first("actor_token_type").is_some() {
        return refused("nobody acts for another here: actor_token is not taken");
    }
    if !SUBJECTS.contains(&form.required("subject_token_type")?) {
        return refused("the subject_token_type is that of a JWT, an ID token or an access token");
    }
    let wanted = form.first("requested_token_type");
    if wanted.is_some_and(|wanted| !wanted.is_empty() && wanted != ACCESS_TOKEN) {
        return refused("the requested_token_type is that of an access token");
    }
    targets(access, form, "audience")?;
    targets(access, form, "resource")?;
    targets(access, form, "service")?;
    let token = token(form, "subject_token")?;
    if token.expose().is_empty() {
        // As good as left out, by RFC 6749 3.2.
        return refused("the field subject_token is empty");
    }
    Ok(access.authenticate.subject(access.local(), &token).await?)
}

/// Whether every value of a field names this node.
fn targets(access: &Access, form: &Form, field: &'static str) -> Result<(), Refusal> {
    match form.all(field).all(|target| access.is_called(target)) {
        true => Ok(()),
        false => Err(Refusal::Target),
    }
}

fn token(form: &Form, field: &'static str) -> Result<Secret, Refusal> {
    let text = form.required(field)?;
    match text.len() > MAX_TOKEN {
        true => Err(Refusal::TooLong(MAX_TOKEN)),
        false => Ok(Secret::from(text)),
    }
}
