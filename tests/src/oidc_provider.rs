//! The certified npm `oidc-provider` as a real OpenID provider: device flow, client credentials.
//!
//! `tests/oidc-provider` holds the script and its lock file; `tests/run` installs what it needs (`npm ci`). Without node or the
//! packages a test skips loudly ([`available`]).

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::peer;
use crate::process::{Process, free_port};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oidc-provider");
/// The public client that people sign in with.
pub const CLIENT: &str = "regmesh-cli";
/// The robot, and its secret.
pub const ROBOT: (&str, &str) = ("ci", "canary-oidc-ci-5ecre7");

/// A running provider. Killed when dropped.
pub struct OidcProvider {
    process: Process,
    url: String,
    http: reqwest::Client,
}

/// Whether Node.js and the packages are there. If not: tells so on stderr. Packages missing beside Node.js fail where peers are
/// required; a machine without Node.js (Debian 12 has it too old) is no broken one.
pub fn available() -> bool {
    if peer::program("node").is_err() {
        eprintln!(
            "\n!!! SKIPPED, because node is not installed: this test proves nothing here !!!\n"
        );
        return false;
    }
    let installed = Path::new(DIR).join("node_modules/oidc-provider").is_dir();
    installed || peer::available(&["oidc-provider: npm ci --prefix tests/oidc-provider"])
}

impl OidcProvider {
    pub async fn start() -> Result<Self> {
        let port = free_port().to_string();
        let script = format!("{DIR}/provider.mjs");
        let process = Process::start(&peer::program("node")?, [&script, &port], &[])?;
        let line = process.says("listening ").await;
        let (_, url) = line.split_once("listening ").context("an issuer")?;
        Ok(Self {
            url: url.to_owned(),
            process,
            http: reqwest::Client::builder().no_proxy().build()?,
        })
    }

    /// Its `iss`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it said.
    pub fn said(&self) -> Vec<String> {
        self.process.said()
    }

    /// A person types the code and signs in under that name.
    pub async fn approve(&self, user_code: &str, login: &str) -> Result<()> {
        self.decide("approve", &[("user_code", user_code), ("login", login)])
            .await
    }

    /// A person types the code and refuses.
    pub async fn deny(&self, user_code: &str) -> Result<()> {
        self.decide("deny", &[("user_code", user_code)]).await
    }

    async fn decide(&self, what: &str, query: &[(&str, &str)]) -> Result<()> {
        let request = self.http.post(format!("{}/{what}", self.url)).query(query);
        let status = request.send().await?.status();
        ensure!(status == 204, "{what}: {status}: {:#?}", self.said());
        Ok(())
    }

    /// A token of the robot for an audience: a host, as nodes want it.
    pub async fn robot_token(&self, audience: &str) -> Result<String> {
        let resource = format!("https://{audience}");
        let form = [
            ("grant_type", "client_credentials"),
            ("resource", &resource),
            ("scope", "pull"),
        ];
        let request = self.http.post(format!("{}/token", self.url));
        let request = request.basic_auth(ROBOT.0, Some(ROBOT.1)).form(&form);
        let body: Value = request.send().await?.json().await?;
        let token = body["access_token"].as_str().map(str::to_owned);
        token.with_context(|| format!("{body}: {:#?}", self.said()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt;

    #[tokio::test]
    async fn a_person_signs_in_by_a_code_and_a_robot_by_its_secret() {
        if !available() {
            return;
        }
        let provider = OidcProvider::start().await.unwrap();
        let post = async |path: &str, form: &[(&str, &str)]| {
            let url = format!("{}{path}", provider.url());
            let answer = provider.http.post(url).form(form).send().await.unwrap();
            answer.json::<Value>().await.unwrap()
        };
        let begin = [("client_id", CLIENT), ("scope", "openid email")];
        let begun = post("/device/auth", &begin).await;
        let device = begun["device_code"].as_str().unwrap();
        let poll = [
            ("client_id", CLIENT),
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", device),
        ];
        assert_eq!(
            post("/token", &poll).await["error"],
            "authorization_pending"
        );
        let code = begun["user_code"].as_str().unwrap();
        provider.approve(code, "ada").await.unwrap();
        let signed_in = post("/token", &poll).await;
        let id = jwt::parts(signed_in["id_token"].as_str().unwrap()).unwrap();
        assert_eq!((id.text("sub"), id.text("aud")), ("ada", CLIENT), "{id:?}");
        assert_eq!(id.text("email"), "ada@example.test");
        let robot = provider.robot_token("hub.example:5000").await.unwrap();
        let robot = jwt::parts(&robot).unwrap();
        assert_eq!(robot.text("aud"), "hub.example:5000", "{robot:?}");
    }
}
