//! `regmesh login` and `logout`: with a token at hand, an account of the topology, or an issuer; and logins of docker at nodes.

use std::{io::IsTerminal, path::PathBuf};

use anyhow::Context;
use clap::Args;
use http::Method;
use runtime::secret::Secret;
use serde_json::json;
use url::Url;
use wire::api::sign_in::{Session, SignedIn, WhoAmI};

use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    fault::Code,
    login::{self, Login},
    output,
};

mod device;
mod docker;
#[cfg(test)]
mod tests;

/// `regmesh login`
#[derive(Debug, Clone, Default, Args)]
pub struct SignIn {
    /// Sign in as this account; its password is asked for, or read from --password-file or standard input
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Where the account's password is
    #[arg(long, value_name = "FILE", requires = "account")]
    pub password_file: Option<PathBuf>,
    /// Sign in with this issuer of the topology, in a browser (default: the only one that people sign in with)
    #[arg(long, value_name = "NAME", conflicts_with = "account")]
    pub issuer: Option<String>,
    /// Sign in with the OIDC token of a declared issuer in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["account", "issuer"])]
    pub oidc_token_file: Option<PathBuf>,
    /// Log docker, podman and others of this machine in at these nodes, instead of this command at the control plane
    #[arg(long, value_name = "NODE|LOGIN_SERVER", num_args = 1..)]
    pub docker: Vec<String>,
}

/// Signs in and keeps the token.
///
/// # Errors
/// When the token or password is not accepted, or the control plane cannot be asked.
pub async fn run(sign_in: SignIn, global: &Global) -> anyhow::Result<Exit> {
    if !sign_in.docker.is_empty() {
        return docker::run(&sign_in, global).await;
    }
    let address = login::address(global)?;
    if let Some(account) = &sign_in.account {
        let password = password(&sign_in, account)?;
        let client = Client::at(global, address.clone(), None)?;
        let request = json!({"account": account, "password": password.expose()});
        let session: Session = client
            .send(Method::POST, "/api/v1/sign-in", NOTHING, &request)
            .await?;
        return keep(global, &address, &session.token, None).await;
    }
    if let Some(path) = &sign_in.oidc_token_file {
        let token = login::read(path)?;
        return keep(global, &address, token.expose(), Some(token.expose())).await;
    }
    if sign_in.issuer.is_none()
        && let Some(token) = login::given(global, &address)?
    {
        return keep(global, &address, token.expose(), None).await;
    }
    match pick(&sign_in, &device::offered(global, &address).await?)? {
        Some(issuer) => signed_in(global, &address, &issuer).await.map(|_| Exit::Ok),
        None => {
            anyhow::bail!(Code::NoToken.says(
                "name a token with --token-file or REGMESH_TOKEN, or an account with --account"
            ))
        }
    }
}

/// The issuer to sign in with: the one that was named, or the only one; none when nobody signs in with any.
fn pick(sign_in: &SignIn, offered: &[String]) -> anyhow::Result<Option<String>> {
    match (&sign_in.issuer, offered) {
        (Some(issuer), offered) if offered.contains(issuer) => Ok(Some(issuer.clone())),
        (Some(issuer), []) => {
            anyhow::bail!(Code::NotFound.says(format!(
                "nobody signs in with '{issuer}' here, nor with any other issuer"
            )))
        }
        (Some(issuer), offered) => anyhow::bail!(Code::NotFound.says(format!(
            "nobody signs in with '{issuer}' here; there are: {}",
            offered.join(", ")
        ))),
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(only.clone())),
        (None, several) => anyhow::bail!(Code::NoToken.says(format!(
            "name the issuer to sign in with by --issuer: {}; or an account with --account",
            several.join(", ")
        ))),
    }
}

/// Has a person sign in, and keeps what they get.
async fn signed_in(global: &Global, address: &Url, issuer: &str) -> anyhow::Result<SignedIn> {
    let signed_in = device::sign_in(global, address, issuer).await?;
    keep(global, address, &signed_in.token, Some(&signed_in.id_token)).await?;
    Ok(signed_in)
}

/// Keeps a token that the control plane takes.
async fn keep(
    global: &Global,
    address: &Url,
    token: &str,
    id_token: Option<&String>,
) -> anyhow::Result<Exit> {
    let client = Client::at(global, address.clone(), Some(Secret::new(token.to_owned())))?;
    let me: WhoAmI = client.get("/api/v1/whoami", NOTHING).await?;
    let kept = Login {
        who: me.who.clone(),
        token: token.to_owned(),
        expires_at: me.expires_at.map(|until| until.to_string()),
        id_token: id_token.cloned(),
    };
    let path = login::keep(address, kept)?;
    let (who, path) = (wire::oci_error::clean(&me.who), path.display());
    let text = format!("signed in to {address} as {who}; kept in {path}");
    output::words(global, &text);
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
        Code::NoToken.error(format!(
            "there is no token for {address}: sign in with `regmesh login`"
        ))
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
    let told = match login::forget(&address)? {
        Some(login) => signed_out(&address, &login),
        None => format!("there was no login for {address}"),
    };
    output::words(global, &told);
    Ok(Exit::Ok)
}

/// The control plane keeps no list of sessions, so whoever has a copy of the token still has it.
fn signed_out(address: &Url, login: &Login) -> String {
    let until = match &login.expires_at {
        Some(end) => format!("until {end}"),
        None => "until it is changed at the control plane".to_owned(),
    };
    format!("signed out of {address}; a copy of the token stays valid {until}")
}

fn password(sign_in: &SignIn, account: &str) -> anyhow::Result<Secret<String>> {
    let text = match &sign_in.password_file {
        Some(path) => std::fs::read_to_string(path).with_context(|| {
            Code::FileUnreadable.says(format!("cannot read {}", path.display()))
        })?,
        None if std::io::stdin().is_terminal() => dialoguer::Password::new()
            .with_prompt(format!("Password of {account}"))
            .interact()?,
        None => std::io::read_to_string(std::io::stdin())?,
    };
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
