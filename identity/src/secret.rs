//! From where a secret is to what it is, at the moment it is asked for.
//!
//! Nothing on this machine is remembered: a file is read each time, so a rotated secret is in force for the next use, and "read again
//! when it changed" cannot be wrong about what changed means. What is in a vault is kept for minutes (`key_vault`). A secret that cannot
//! be read is "cannot be asked", never "not allowed", and the reason names the place, not the value. Source: `spec/identity.md`,
//! "Calling an upstream"; `spec/topology.md`.

use std::{fmt, path::Path, sync::Arc};

use runtime::{Secret, Tasks};
use wire::secret_ref::SecretRef;

use self::key_vault::Vaults;
use crate::token_source::azure::{Id, Machine};

mod env;
mod file;
mod key_vault;

/// The longest secret read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Reads secrets. Clones share the same environment, and what was read from vaults.
#[derive(Clone)]
pub struct Secrets {
    environment: Arc<Lookup>,
    vaults: Option<Vaults>,
    /// Who reads vaults.
    reader: Id,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// `SECRET_UNAVAILABLE`: the secret could not be read; trying again may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Unavailable {
    /// Where it should be: `environment variable HUB_TOKEN`, `file /run/secrets/hub`.
    pub place: String,
    /// Why it cannot be read.
    pub reason: String,
}

impl Secrets {
    /// Secrets whose variables come from `environment`.
    pub fn new(environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self {
            environment: Arc::new(environment),
            vaults: None,
            reader: Id::default(),
        }
    }

    /// Secrets of this process's environment.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(env::of_process)
    }

    /// The same, and those in vaults too, by the Azure identities of `machine`: its own, unless [`Secrets::reading_as`] says another.
    #[must_use]
    pub fn with_vaults(mut self, machine: Machine, tasks: &Tasks) -> Self {
        self.vaults = Some(Vaults::new(machine, tasks));
        self
    }

    /// The same, with vaults read by this identity: that of a credential set.
    #[must_use]
    pub fn reading_as(&self, reader: Id) -> Self {
        Self {
            reader,
            ..self.clone()
        }
    }

    /// What platforms put into this process's environment, for [`Machine`].
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// What was read there is not taken by whom it is for: what is kept of it is read again, at most once in a while. Bounded in time.
    pub async fn refused(&self, reference: &SecretRef) {
        if let (SecretRef::KeyVault(url), Some(vaults)) = (reference, &self.vaults) {
            vaults.refused(&self.reader, url).await;
        }
    }

    /// The secret itself.
    ///
    /// # Errors
    /// When it is not there, not readable, empty, not UTF-8, longer than [`MAX_BYTES`], or in a vault that cannot be read.
    pub async fn read(&self, reference: &SecretRef) -> Result<Secret, Unavailable> {
        let read = match reference {
            SecretRef::Env(name) => env::read(&*self.environment, name),
            SecretRef::File(path) => file::read(path).await,
            SecretRef::KeyVault(url) => match &self.vaults {
                Some(vaults) => vaults.read(&self.reader, url).await,
                None => Err("vaults are read by nodes alone".to_owned()),
            },
        };
        read.map_err(|reason| Unavailable {
            place: place(reference),
            reason,
        })
    }
}

/// The secret in a file: what [`Secrets::read`] does with one.
pub(crate) async fn read_file(path: &Path) -> Result<Secret, String> {
    file::read(path).await
}

fn place(reference: &SecretRef) -> String {
    match reference {
        SecretRef::Env(name) => format!("environment variable {name}"),
        SecretRef::File(path) => format!("file {}", path.display()),
        SecretRef::KeyVault(url) => format!("key vault secret {url}"),
    }
}

/// Takes one trailing line end off and refuses what cannot be a secret.
fn checked(mut text: String) -> Result<Secret, String> {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    let secret = Secret::new(text);
    match secret.expose().len() {
        0 => Err("is empty".to_owned()),
        length if length > MAX_BYTES => Err(format!("is longer than {MAX_BYTES} bytes")),
        _ => Ok(secret),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        Secrets::new(|name| (name == "HUB_TOKEN").then(|| "hunter2".to_owned()))
    }

    #[tokio::test]
    async fn a_variable_is_read_and_a_missing_one_is_named() {
        let read = secrets().read(&SecretRef::Env("HUB_TOKEN".into())).await;
        assert_eq!(read.unwrap().expose(), "hunter2");
        let missing = secrets().read(&SecretRef::Env("OTHER".into())).await;
        assert_eq!(
            missing.unwrap_err().to_string(),
            "environment variable OTHER: is not set"
        );
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hub");
        let reference = SecretRef::File(path.clone());
        for (content, wanted) in [
            ("one\n", "one"),
            ("two", "two"),
            ("thr\r\n", "thr"),
            ("a\n\n", "a\n"),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(secrets().read(&reference).await.unwrap().expose(), wanted);
        }
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(
            secrets().read(&reference).await.unwrap_err().reason,
            "is empty"
        );
        std::fs::remove_file(&path).unwrap();
        let gone = secrets().read(&reference).await.unwrap_err();
        assert!(gone.to_string().starts_with("file "), "{gone}");
        std::fs::write(&path, "x".repeat(MAX_BYTES + 9)).unwrap();
        let long = secrets().read(&reference).await.unwrap_err();
        assert!(long.reason.contains("longer"), "{long}");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(
            secrets().read(&reference).await.unwrap_err().reason,
            "is not UTF-8"
        );
    }

    #[tokio::test]
    async fn a_vault_is_not_read_where_nobody_can() {
        let reference = SecretRef::KeyVault("https://v.vault.azure.net/secrets/hub".into());
        let error = secrets().read(&reference).await.unwrap_err();
        assert!(error.reason.contains("nodes alone"), "{error}");
    }
}
