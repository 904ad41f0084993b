//! `regmesh login` and `logout`: with the admin token, or with an account of the topology; and docker's configuration.

use std::{io::IsTerminal, path::PathBuf};

use clap::Args;
use http::Method;
use runtime::secret::Secret;
use serde::Deserialize;
use serde_json::json;

use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    login::{self, Login},
    output,
};

/// `regmesh login`
#[derive(Debug, Clone, Args)]
pub struct SignIn {
    /// Sign in as this account; its password is asked for, or read from --password-file or standard input
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Where the account's password is
    #[arg(long, value_name = "FILE", requires = "account")]
    pub password_file: Option<PathBuf>,
}

/// What the control plane answers to an account.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedIn {
    token: String,
    expires_at: String,
}

/// What it says about who asks.
#[derive(Deserialize)]
struct WhoAmI {
    who: String,
}

/// Signs in and keeps the token.
///
/// # Errors
/// When the token or password is not accepted, or the control plane cannot be asked.
pub async fn run(sign_in: SignIn, global: &Global) -> anyhow::Result<Exit> {
    let address = login::address(global)?;
    let (token, expires_at) = match &sign_in.account {
        Some(account) => {
            let password = password(&sign_in, account)?;
            let client = Client::at(global, address.clone(), None)?;
            let request = json!({"account": account, "password": password.expose()});
            let answer: SignedIn = client
                .send(Method::POST, "/api/v1/sign-in", NOTHING, &request)
                .await?;
            (Secret::new(answer.token), Some(answer.expires_at))
        }
        None => {
            let token = login::token(global, &address)?;
            let token = token.ok_or_else(|| {
                anyhow::anyhow!(
                    "name a token with --token-file or REGMESH_TOKEN, or an account with --account"
                )
            })?;
            (token, None)
        }
    };
    let client = Client::at(global, address.clone(), Some(token.clone()))?;
    let me: WhoAmI = client.get("/api/v1/whoami", NOTHING).await?;
    let kept = Login {
        who: me.who.clone(),
        token: token.expose().clone(),
        expires_at,
    };
    let path = login::keep(&address, kept)?;
    output::words(
        global,
        &format!(
            "signed in to {address} as {}; kept in {}",
            me.who,
            path.display()
        ),
    );
    Ok(Exit::Ok)
}

/// Prints the token that commands would use, for other programs.
///
/// # Errors
/// When there is none.
pub fn print(global: &Global) -> anyhow::Result<Exit> {
    let address = login::address(global)?;
    let token = login::token(global, &address)?;
    let token = token.ok_or_else(|| {
        anyhow::anyhow!("there is no token for {address}: sign in with `regmesh login`")
    })?;
    output::data(token.expose());
    Ok(Exit::Ok)
}

/// Forgets the kept login.
///
/// # Errors
/// When the file cannot be read or written.
pub fn forget(global: &Global) -> anyhow::Result<Exit> {
    let address = login::address(global)?;
    let told = if login::forget(&address)? {
        format!("signed out of {address}")
    } else {
        format!("there was no login for {address}")
    };
    output::words(global, &told);
    Ok(Exit::Ok)
}

fn password(sign_in: &SignIn, account: &str) -> anyhow::Result<Secret<String>> {
    let text = match &sign_in.password_file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))?,
        None if std::io::stdin().is_terminal() => dialoguer::Password::new()
            .with_prompt(format!("Password of {account}"))
            .interact()?,
        None => std::io::read_to_string(std::io::stdin())?,
    };
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
