//! Where the control plane is and what opens it: flags, the environment, the files of `regmesh up`, the kept login; in that order.
//!
//! A kept login is worth something at one address only and never leaves for another. Source: `spec/operations.md`, first paragraph.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use runtime::secret::Secret;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{args::Global, fault::Code};

/// Where the control plane is unless somebody says otherwise.
pub const DEFAULT: &str = "http://127.0.0.1:7080";
/// Where `regmesh up` and `regmesh control` leave the admin token, below the working directory.
pub const ADMIN_TOKEN: &str = ".regmesh/admin.token";
/// Where `regmesh up` and `regmesh control` leave their address, below the working directory.
pub const ADDRESS: &str = ".regmesh/control.url";
/// The name of that file in a data directory.
pub const ADDRESS_FILE: &str = "control.url";

/// Logins by the control plane's address.
#[derive(Default, Serialize, Deserialize)]
struct Kept(BTreeMap<String, Login>);

/// What signing in gave.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// As whom.
    pub who: String,
    /// The bearer token.
    pub token: String,
    /// When it ends, RFC 3339; absent for the admin token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The issuer's token, which nodes take for as long as it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
}

/// The control plane's address.
///
/// # Errors
/// When it is no URL.
pub fn address(global: &Global) -> anyhow::Result<Url> {
    let text = match &global.control {
        Some(text) => text.clone(),
        None => fs::read_to_string(ADDRESS)
            .map(|text| text.trim().to_owned())
            .unwrap_or_else(|_| DEFAULT.to_owned()),
    };
    let url: Url = text.parse().with_context(|| {
        Code::InvalidAddress.says(format!(
            "the control plane's address '{text}' is no URL; write it like {DEFAULT}"
        ))
    })?;
    anyhow::ensure!(
        matches!(url.scheme(), "http" | "https") && url.host().is_some(),
        Code::InvalidAddress.says(format!(
            "the control plane's address '{text}' is not http or https; write it like {DEFAULT}"
        ))
    );
    Ok(url)
}

/// The token for `address`, if there is one.
///
/// # Errors
/// When a file that was named cannot be read.
pub fn token(global: &Global, address: &Url) -> anyhow::Result<Option<Secret<String>>> {
    if let Some(token) = given(global, address)? {
        return Ok(Some(token));
    }
    Ok(kept(address)?.map(|login| Secret::new(login.token)))
}

/// What signing in at `address` gave, if it is kept.
///
/// # Errors
/// When the file cannot be read.
pub fn kept(address: &Url) -> anyhow::Result<Option<Login>> {
    Ok(load()?.0.remove(&key(address)))
}

/// The token for `address` that a flag or the environment names, or that lies here.
///
/// # Errors
/// When a file that was named cannot be read.
pub fn given(global: &Global, address: &Url) -> anyhow::Result<Option<Secret<String>>> {
    if let Some(path) = &global.token_file {
        return read(path).map(Some);
    }
    if let Some(token) = &global.token {
        return Ok(Some(Secret::new(token.trim().to_owned())));
    }
    let local = Path::new(ADMIN_TOKEN);
    if local.exists() && !is_elsewhere(address) {
        return read(local).map(Some);
    }
    Ok(None)
}

/// Whether an address is beyond this machine, where a token that lies in the working directory has no business by itself.
fn is_elsewhere(address: &Url) -> bool {
    match address.host() {
        Some(url::Host::Domain(name)) => name != "localhost",
        Some(url::Host::Ipv4(ip)) => !ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => !ip.is_loopback(),
        None => true,
    }
}

/// The token in a file.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn read(path: &Path) -> anyhow::Result<Secret<String>> {
    let text = fs::read_to_string(path).with_context(|| {
        Code::FileUnreadable.says(format!("cannot read the token in {}", path.display()))
    })?;
    anyhow::ensure!(
        !text.trim().is_empty(),
        Code::InvalidFile.says(format!("{} holds no token", path.display()))
    );
    Ok(Secret::new(text.trim().to_owned()))
}

/// Keeps a login for `address`.
///
/// # Errors
/// When the file cannot be written.
pub fn keep(address: &Url, login: Login) -> anyhow::Result<PathBuf> {
    let mut kept = load()?;
    kept.0.insert(key(address), login);
    store(&kept)
}

/// Forgets the login of `address`, and says what it was.
///
/// # Errors
/// When the file cannot be read or written.
pub fn forget(address: &Url) -> anyhow::Result<Option<Login>> {
    let mut kept = load()?;
    let forgotten = kept.0.remove(&key(address));
    if forgotten.is_some() {
        store(&kept)?;
    }
    Ok(forgotten)
}

fn key(address: &Url) -> String {
    address.origin().ascii_serialization()
}

fn path() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))
        .context(
            Code::NoHome.says("there is no home directory to keep a login in; use --token-file"),
        )?;
    Ok(base.join("regmesh").join("login.json"))
}

fn load() -> anyhow::Result<Kept> {
    let path = path()?;
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
            Code::InvalidFile.says(format!(
                "{} is damaged; remove it and sign in again",
                path.display()
            ))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(error)
            .with_context(|| Code::FileUnreadable.says(format!("cannot read {}", path.display()))),
    }
}

fn store(kept: &Kept) -> anyhow::Result<PathBuf> {
    let path = path()?;
    let dir = path
        .parent()
        .context(Code::FileUnwritable.says("a file has a folder"))?;
    fs::create_dir_all(dir)
        .with_context(|| Code::FileUnwritable.says(format!("cannot make {}", dir.display())))?;
    let beside = path.with_extension("new");
    // Made anew, so that nobody else's permissions stay on it.
    let _ = fs::remove_file(&beside);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(&serde_json::to_vec_pretty(kept)?))
        .and_then(|()| fs::rename(&beside, &path));
    written
        .with_context(|| Code::FileUnwritable.says(format!("cannot write {}", path.display())))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_lies_around_stays_on_this_machine() {
        for (address, elsewhere) in [
            ("http://127.0.0.1:7080", false),
            ("http://localhost:7080", false),
            ("http://[::1]:7080", false),
            ("https://control.example", true),
            ("http://10.0.0.1:7080", true),
        ] {
            let url = address.parse().unwrap();
            assert_eq!(is_elsewhere(&url), elsewhere, "{address}");
        }
    }
}
