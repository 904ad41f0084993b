//! A credential set: user name and password, read where they are each time they are needed.
//!
//! The version grows when what was read differs from what was read before, so that a rotation drops the tokens of the old
//! password with the next request and nothing has to be told.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use runtime::Secret;
use wire::secret_ref::SecretRef;

use super::{Error, Presented, Proof, TokenSource};
use crate::secret::Secrets;

/// A credential set by reference.
#[derive(Debug)]
pub struct Password {
    secrets: Secrets,
    username: SecretRef,
    password: SecretRef,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    version: u64,
    read: Option<(Secret, Secret)>,
}

impl Password {
    /// A source that reads both through `secrets`.
    #[must_use]
    pub fn new(secrets: Secrets, username: SecretRef, password: SecretRef) -> Self {
        Self {
            secrets,
            username,
            password,
            last: Mutex::default(),
        }
    }

    fn version_of(&self, username: &Secret, password: &Secret) -> u64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let same = last.read.as_ref().is_some_and(|(user, pass)| {
            user.expose() == username.expose() && pass.expose() == password.expose()
        });
        if !same {
            last.version += 1;
            last.read = Some((username.clone(), password.clone()));
        }
        last.version
    }
}

#[async_trait]
impl TokenSource for Password {
    fn kind(&self) -> &'static str {
        "password"
    }

    async fn proof(&self) -> Result<Presented, Error> {
        let username = self.secrets.read(&self.username).await?;
        let password = self.secrets.read(&self.password).await?;
        let version = self.version_of(&username, &password);
        Ok(Presented {
            proof: Proof::Password { username, password },
            version,
        })
    }

    async fn refused(&self, _version: u64) {
        self.secrets.refused(&self.username).await;
        self.secrets.refused(&self.password).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rotated_password_is_another_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "one\n").unwrap();
        let secrets = Secrets::new(|_| Some("robot".to_owned()));
        let source = Password::new(
            secrets,
            SecretRef::Env("USER".into()),
            SecretRef::File(path.clone()),
        );
        super::super::conformance::check(&source).await;
        let before = source.proof().await.unwrap().version;
        std::fs::write(&path, "two\n").unwrap();
        let after = source.proof().await.unwrap();
        assert!(after.version > before);
        let Proof::Password { username, password } = after.proof else {
            unreachable!("a credential set is a password");
        };
        assert_eq!(
            (username.expose().as_str(), password.expose().as_str()),
            ("robot", "two")
        );
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(source.proof().await, Err(Error::Secret(_))));
    }
}
