//! Signing in with an issuer: a code to type in a browser, and waiting until somebody did.
//!
//! The control plane talks with the issuer; here the code is shown and the outcome asked for, no more often than it says. It also says when
//! the time is over: the clock of this machine may be wrong, so here time only passes.

use std::time::Duration;

use anyhow::Context;
use http::Method;
use runtime::clock::Clock;
use serde_json::json;
use url::Url;
use wire::api::sign_in::{Device, Offered, Pending, SignedIn};

use crate::{
    args::Global,
    client::{self, Client, NOTHING},
    fault::Code,
    output,
};

/// Longer than any control plane lets a sign-in last.
const LONGEST: Duration = Duration::from_secs(35 * 60);

/// The issuers that people sign in with at this control plane.
///
/// # Errors
/// When it cannot be asked.
pub(super) async fn offered(global: &Global, address: &Url) -> anyhow::Result<Vec<String>> {
    let client = Client::at(global, address.clone(), None)?;
    let offered: Offered = client.get("/api/v1/sign-in", NOTHING).await?;
    Ok(offered.issuers.iter().map(ToString::to_string).collect())
}

/// Has a person sign in.
///
/// # Errors
/// When they do not, or nobody can be asked.
pub(super) async fn sign_in(
    global: &Global,
    address: &Url,
    issuer: &str,
) -> anyhow::Result<SignedIn> {
    let (client, clock) = (Client::at(global, address.clone(), None)?, Clock::system());
    let begun: Device = client
        .send(
            Method::POST,
            "/api/v1/sign-in/device",
            NOTHING,
            &json!({"issuer": issuer}),
        )
        .await
        .with_context(|| format!("cannot begin to sign in with {issuer}"))?;
    // Not words: without them nothing goes on.
    output::complain(&told(&begun));
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    anyhow::ensure!(
        begun.id.bytes().all(plain),
        Code::UnknownAnswer
            .says("the control plane's answer is not what this release of regmesh understands")
    );
    let path = format!("/api/v1/sign-in/device/{}", begun.id);
    let mut interval = begun.interval;
    let late = || format!("nobody has signed in with {issuer} in time");
    let began = clock.now();
    while clock.now().duration_since(began) < LONGEST {
        clock
            .sleep(Duration::from_secs(u64::from(interval.max(1))))
            .await;
        match client.outcome::<SignedIn, Pending>(&path).await {
            Ok(Ok(signed_in)) => return Ok(signed_in),
            Ok(Err(pending)) => interval = pending.interval,
            // The issuer is away for a moment.
            Err(error) if client::is(&error, 503) => {
                output::words(global, &format!("not yet: {error:#}"));
                interval = interval.saturating_mul(2).min(30);
            }
            Err(error) if client::is(&error, 404) => {
                return Err(error.context(Code::TimedOut.says(late())));
            }
            Err(error) => return Err(error),
        }
    }
    anyhow::bail!(Code::TimedOut.says(late()))
}

fn told(begun: &Device) -> String {
    let plain = wire::oci_error::clean;
    let (uri, code) = (plain(&begun.verification_uri), plain(&begun.user_code));
    let mut text = format!("to sign in, open {uri} and type the code {code}");
    if let Some(complete) = &begun.verification_uri_complete {
        text.push_str(&format!(
            "\nor open {} and confirm that code",
            plain(complete)
        ));
    }
    text
}
