//! docker's `config.json`, which podman, skopeo, buildah, containerd's tools, helm and oras read too: one login in, everything else kept.
//!
//! A refresh token stands as `identitytoken` beside a user name without a password, as `docker login` leaves it. Where the file names a
//! credential helper, the token goes to that by its `store`, as docker does it, and never into the file. The file is written beside, for
//! its owner's eyes alone, and takes its name in one step; what was there is kept as a backup. Signing in takes a person minutes, in which
//! others log in too: the file is read again just before it is written.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use runtime::{clock::Clock, secret::Secret};
use serde_json::{Map, Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{fault::Code, registry::TOKEN_USER};

/// What a helper is told for a user name when it keeps a token.
const HELPERS_USER: &str = "<token>";
/// How long a helper may take: some ask the person.
const PATIENCE: Duration = Duration::from_secs(120);

/// The file.
#[derive(Debug)]
pub struct DockerConfig {
    path: PathBuf,
    content: Map<String, Value>,
    /// Whether there is something that may be wanted back.
    was_there: bool,
    backed_up: bool,
}

/// Where a login is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// In the file itself.
    File,
    /// By `docker-credential-NAME`.
    Helper(String),
}

impl DockerConfig {
    /// Where docker looks: `$DOCKER_CONFIG`, else `~/.docker`.
    ///
    /// # Errors
    /// When there is no home.
    pub fn place() -> anyhow::Result<PathBuf> {
        let folder = std::env::var_os("DOCKER_CONFIG")
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".docker")))
            .context(Code::NoHome.says(
                "there is no home directory for docker's configuration; set DOCKER_CONFIG",
            ))?;
        Ok(folder.join("config.json"))
    }

    /// Reads it; a file that is not there is an empty one.
    ///
    /// # Errors
    /// When it cannot be read, or is none of docker's.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let text = match fs::read(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| {
                    Code::FileUnreadable.says(format!("cannot read {}", path.display()))
                });
            }
        };
        let content = match text.as_deref().filter(|text| !text.trim_ascii().is_empty()) {
            Some(text) => serde_json::from_slice(text).with_context(|| {
                Code::InvalidFile.says(format!(
                    "{} is no JSON object; nothing was changed",
                    path.display()
                ))
            })?,
            None => Map::new(),
        };
        Ok(Self {
            was_there: text.is_some(),
            backed_up: false,
            path,
            content,
        })
    }

    /// What is there by now.
    fn again(&mut self) -> anyhow::Result<()> {
        let backed_up = self.backed_up;
        *self = Self::read(&self.path)?;
        self.backed_up = backed_up;
        Ok(())
    }

    /// Who keeps logins of `server`.
    ///
    /// # Errors
    /// When a helper's name is no name of a program.
    pub fn keeper(&self, server: &str) -> anyhow::Result<Keeper> {
        let of_server = self
            .content
            .get("credHelpers")
            .and_then(|all| all.get(server));
        let name = of_server.or_else(|| self.content.get("credsStore"));
        let name = name.and_then(Value::as_str).unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        anyhow::ensure!(
            name.chars().all(plain),
            Code::InvalidFile.says(format!(
                "{} names a credential helper '{}', which is no name of a program",
                self.path.display(),
                wire::oci_error::clean(name)
            ))
        );
        Ok(match name {
            "" => Keeper::File,
            name => Keeper::Helper(name.to_owned()),
        })
    }

    /// Keeps `token` for `server`, where logins of it are kept; where that is.
    ///
    /// # Errors
    /// When a helper does not take it, or the file cannot be written; it is as before then.
    pub async fn keep(&mut self, server: &str, token: &Secret<String>) -> anyhow::Result<String> {
        self.again()?;
        let keeper = self.keeper(server)?;
        let entry = match &keeper {
            Keeper::Helper(name) => {
                store(name, server, token).await?;
                self.again()?;
                json!({})
            }
            Keeper::File => {
                let auth = STANDARD.encode(format!("{TOKEN_USER}:"));
                json!({"auth": auth, "identitytoken": token.expose()})
            }
        };
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        let auths = auths.as_object_mut().with_context(|| {
            Code::InvalidFile.says(format!(
                "`auths` in {} is no object; nothing was changed",
                self.path.display()
            ))
        })?;
        auths.insert(server.to_owned(), entry);
        self.write()?;
        Ok(match keeper {
            Keeper::Helper(name) => format!("docker-credential-{name}"),
            Keeper::File => self.path.display().to_string(),
        })
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let told = || Code::FileUnwritable.says(format!("cannot write {}", self.path.display()));
        let folder = self
            .path
            .parent()
            .context(Code::FileUnwritable.says("a file has a folder"))?;
        fs::create_dir_all(folder).with_context(told)?;
        // The first state is what somebody may want back, not that after the first of several logins.
        if self.was_there && !self.backed_up {
            let mut backup = self.path.clone().into_os_string();
            backup.push(".regmesh-backup");
            let old = fs::read(&self.path).with_context(told)?;
            replace(Path::new(&backup), &old).with_context(|| {
                Code::FileUnwritable
                    .says(format!("cannot keep a backup of {}", self.path.display()))
            })?;
        }
        self.backed_up = true;
        let mut text = serde_json::to_vec_pretty(&self.content)?;
        text.push(b'\n');
        replace(&self.path, &text).with_context(told)
    }
}

/// Gives a file this content in one step, for its owner's eyes alone.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(format!(".{}", std::process::id()));
    // Made anew, so that nobody else's permissions stay on it.
    let _ = fs::remove_file(&beside);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Has a helper keep the token: JSON on its standard input, so that no argument holds it.
async fn store(name: &str, server: &str, token: &Secret<String>) -> anyhow::Result<()> {
    let program = format!("docker-credential-{name}");
    let told = || format!("{program}, which docker's configuration names");
    let mut child = Command::new(&program)
        .arg("store")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| Code::CredentialHelper.says(format!("cannot run {}", told())))?;
    let said = json!({"ServerURL": server, "Username": HELPERS_USER, "Secret": token.expose()});
    let input = Secret::new(said.to_string());
    let mut stdin = child
        .stdin
        .take()
        .context(Code::CredentialHelper.says("a pipe was asked for"))?;
    let whole = async {
        // Whether it reads everything is its affair; its status tells.
        let _ = stdin.write_all(input.expose().as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await
    };
    let ended = Clock::system().timeout(PATIENCE, whole).await;
    let output = ended
        .with_context(|| Code::CredentialHelper.says(format!("{} does not end", told())))??;
    anyhow::ensure!(
        output.status.success(),
        Code::CredentialHelper.says(format!(
            "{} did not keep the token: {}",
            told(),
            wire::oci_error::clean(&String::from_utf8_lossy(&output.stdout))
        ))
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn token() -> Secret<String> {
        Secret::new("canary-refresh".to_owned())
    }

    fn read(path: &Path) -> Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_login_is_added_for_its_owner_alone_and_everything_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("config.json");
        let mut config = DockerConfig::read(&path).unwrap();
        config.keep("one.example", &token()).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        let entry = json!({"auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==", "identitytoken": "canary-refresh"});
        assert_eq!(read(&path), json!({"auths": {"one.example": entry}}));

        let before = json!({"auths": {"other.example": {"auth": "eDp5"}, "one.example": {"auth": "b2xk"}},
            "psFormat": "x", "credHelpers": {"third.example": ""}});
        fs::write(&path, before.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut config = DockerConfig::read(&path).unwrap();
        for server in ["one.example", "third.example"] {
            config.keep(server, &token()).await.unwrap();
        }
        let after = read(&path);
        assert_eq!(after["auths"]["one.example"], entry);
        assert_eq!(
            after["auths"]["third.example"], entry,
            "an empty helper is none"
        );
        assert_eq!(
            after["auths"]["other.example"],
            before["auths"]["other.example"]
        );
        assert_eq!(after["psFormat"], "x");
        let backup = path.with_file_name("config.json.regmesh-backup");
        assert_eq!(
            (read(&backup), mode(&backup), mode(&path)),
            (before, 0o600, 0o600)
        );
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            2,
            "nothing else is left"
        );
    }

    #[tokio::test]
    async fn a_login_that_others_made_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let mut config = DockerConfig::read(&path).unwrap();
        // While a person was typing a code somewhere.
        let theirs = json!({"auths": {"other.example": {"auth": "eDp5"}}});
        fs::write(&path, theirs.to_string()).unwrap();
        config.keep("one.example", &token()).await.unwrap();
        let mut after = read(&path);
        assert_eq!(
            after["auths"]["other.example"],
            theirs["auths"]["other.example"]
        );
        after["auths"]["third.example"] = json!({"auth": "eDp5"});
        fs::write(&path, after.to_string()).unwrap();
        config.keep("two.example", &token()).await.unwrap();
        let servers = read(&path)["auths"].as_object().unwrap().len();
        assert_eq!(servers, 4);
        let backup = path.with_file_name("config.json.regmesh-backup");
        assert_eq!(read(&backup), theirs, "what was there before any of ours");
    }

    #[tokio::test]
    async fn what_is_not_dockers_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for bad in ["[]", "{", "text"] {
            fs::write(&path, bad).unwrap();
            assert!(DockerConfig::read(&path).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
        for (bad, why) in [
            (json!({"auths": []}), "no object"),
            (json!({"credsStore": "../../evil"}), "no name of a program"),
            (
                json!({"credHelpers": {"a.example": "a b"}}),
                "no name of a program",
            ),
            (json!({"credsStore": "that-is-not-there"}), "cannot run"),
        ] {
            fs::write(&path, bad.to_string()).unwrap();
            let mut config = DockerConfig::read(&path).unwrap();
            let error = format!(
                "{:#}",
                config.keep("a.example", &token()).await.unwrap_err()
            );
            assert!(error.contains(why) && !error.contains("canary"), "{error}");
            assert_eq!(read(&path), bad, "nothing was changed");
        }
    }

    #[test]
    fn a_helper_of_the_registry_comes_before_the_one_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let content = json!({"credsStore": "desktop", "credHelpers": {"a.example": "pass"}});
        fs::write(&path, content.to_string()).unwrap();
        let config = DockerConfig::read(&path).unwrap();
        let keeper = |server| config.keeper(server).unwrap();
        assert_eq!(keeper("a.example"), Keeper::Helper("pass".to_owned()));
        assert_eq!(keeper("b.example"), Keeper::Helper("desktop".to_owned()));
    }
}
