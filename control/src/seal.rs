//! The seal: keys rest in the database encrypted, with a key that is not in it.
//!
//! AES-256-GCM under a random nonce; the name under which a value is stored is authenticated with it, so that one sealed value cannot be
//! put in another's place. The key is a file of mode 0600 (`DATA_DIR/control/seal.key`, or `--seal-key FILE` for several control planes);
//! it is made when there is none. Source: `spec/control-plane.md` "State".

use std::{io, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand::{SecureRandom, SystemRandom},
};
use runtime::{Secret, file::Files};

/// The seal. It shows nothing of its key.
pub struct Seal(RandomizedNonceKey);

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file cannot be read or made.
    #[error("the seal key {path} cannot be used")]
    File {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The key file holds something else.
    #[error("the seal key {0} is damaged: restore it from a backup")]
    Damaged(String),
    /// The key is not the one it was sealed with, or the value was changed.
    #[error(
        "'{0}' was sealed with another key: give the control plane the seal.key that belongs to its database (--seal-key)"
    )]
    OtherKey(String),
    /// The machine gives no randomness.
    #[error("the machine gives no randomness")]
    Random,
}

impl Seal {
    /// The seal whose key is in a file; made, durably, when there is none. Blocks for a small file.
    ///
    /// # Errors
    /// When the file cannot be read or made, or is damaged.
    pub fn open(files: &dyn Files, path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let failed = |source| Error::File {
            path: name.clone(),
            source,
        };
        let text = match files.len(path).map_err(failed)? {
            Some(length) => read(files, path, length).map_err(failed)?,
            None => create(files, path).map_err(failed)?,
        };
        let text = std::str::from_utf8(text.expose()).ok();
        let key = text.and_then(|text| hex::decode(text.trim()).ok());
        let key = Secret::new(key.ok_or_else(|| Error::Damaged(name.clone()))?);
        Self::of(&key).ok_or(Error::Damaged(name))
    }

    /// A seal that ends with the process.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        Self::of(&random().map_err(|_| Error::Random)?).ok_or(Error::Random)
    }

    fn of(key: &Secret<Vec<u8>>) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, key.expose())
            .ok()
            .map(Self)
    }

    /// `plain` as it may be stored under `name`.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn seal(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut body = plain.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(name), &mut body);
        let nonce = nonce.map_err(|_| Error::Random)?;
        Ok([nonce.as_ref().as_slice(), &body].concat())
    }

    /// What was sealed under `name`.
    ///
    /// # Errors
    /// When it was sealed with another key or under another name, or changed.
    pub fn open_value(&self, name: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>, Error> {
        let other = || Error::OtherKey(name.to_owned());
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or_else(other)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| other())?;
        let mut body = body.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(name), &mut body);
        let length = plain.map_err(|_| other())?.len();
        body.truncate(length);
        Ok(Secret::new(body))
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

fn random() -> io::Result<Secret<Vec<u8>>> {
    let mut key = vec![0; 32];
    let filled = SystemRandom::new().fill(&mut key);
    filled.map_err(|_| io::Error::other("no randomness"))?;
    Ok(Secret::new(key))
}

fn read(files: &dyn Files, path: &Path, length: u64) -> io::Result<Secret<Vec<u8>>> {
    if length > 1024 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    let handle = files.open(path)?;
    let mut at = 0;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match handle.read_at(rest, at as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => at += read,
        }
    }
    Ok(Secret::new(bytes))
}

/// Written beside, synced, renamed: a crash leaves no file or a whole one.
fn create(files: &dyn Files, path: &Path) -> io::Result<Secret<Vec<u8>>> {
    let directory = path.parent().unwrap_or(Path::new(""));
    files.create_dir_all(directory)?;
    let text = Secret::new(hex::encode(random()?.expose()).into_bytes());
    let beside = path.with_extension("new");
    if files.len(&beside)?.is_some() {
        files.remove(&beside)?;
    }
    let handle = files.create_new(&beside)?;
    handle.write_all_at(text.expose(), 0)?;
    handle.sync()?;
    files.rename(&beside, path)?;
    files.sync_dir(directory)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use runtime::file::Real;

    use super::*;

    #[test]
    fn a_sealed_value_opens_under_its_name_with_its_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control/seal.key");
        let seal = Seal::open(&Real, &path).unwrap();
        let sealed = seal.seal("ca", b"private").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"private"));

        let again = Seal::open(&Real, &path).unwrap();
        assert_eq!(
            again.open_value("ca", &sealed).unwrap().expose(),
            b"private"
        );
        assert!(again.open_value("other", &sealed).is_err());
        assert!(again.open_value("ca", &sealed[..5]).is_err());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(again.open_value("ca", &changed).is_err());
        assert!(Seal::generate().unwrap().open_value("ca", &sealed).is_err());
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        std::fs::write(&path, "half a k").unwrap();
        assert!(matches!(Seal::open(&Real, &path), Err(Error::Damaged(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half a k");
    }
}
