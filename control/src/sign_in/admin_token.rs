//! The admin token: made at the first start, kept in `admin.token` of the data directory, for its owner's eyes alone.
//!
//! It is the way in before there are accounts and the way back when they are wrong. A file that is there is never replaced: what people
//! have copied goes on working. Taking it away makes a new one at the next start.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use runtime::Secret;
use zeroize::Zeroizing;

/// The file's name.
pub const FILE: &str = "admin.token";
/// The shortest text taken for a token, in characters: one of ours has 43.
const SHORTEST: usize = 32;

/// Why there is no admin token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("cannot read or make {}: {source}; it must belong to the user that runs the control plane", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no token.
    #[error("{} holds no token of at least {SHORTEST} characters; remove it, and a new one is made", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
    },
    /// No randomness.
    #[error("this machine gives no randomness")]
    Randomness,
}

/// The token of `data_dir`; made, durably, when there is none. Blocks for one small file.
///
/// # Errors
/// When the file cannot be read or made, or holds something else.
pub fn open(data_dir: &Path) -> Result<Secret, Error> {
    let path = data_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => kept(path, Secret::new(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => made(path),
        Err(source) => Err(Error::File { path, source }),
    }
}

fn kept(path: PathBuf, text: Secret) -> Result<Secret, Error> {
    let token = text.expose().trim();
    if token.len() < SHORTEST || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::Damaged { path });
    }
    let open_to_others =
        fs::metadata(&path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if open_to_others {
        tracing::warn!(path = %path.display(), "the admin token can be read by others on this machine; make it mode 0600");
    }
    Ok(Secret::from(token))
}

fn made(path: PathBuf) -> Result<Secret, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| Error::Randomness)?;
    let token = Secret::new(URL_SAFE_NO_PAD.encode(*bytes));
    match write(&path, &token) {
        Ok(()) => Ok(token),
        Err(source) => Err(Error::File { path, source }),
    }
}

/// Under another name first, so that half a token is never found under the right one.
fn write(path: &Path, token: &Secret) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let beside = path.with_extension("token.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(token.expose().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_for_its_owner_alone_and_then_kept() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(&directory.path().join("below")).unwrap();
        assert_eq!(first.expose().len(), 43);
        let path = directory.path().join("below").join(FILE);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = open(&directory.path().join("below")).unwrap();
        assert_eq!(first.expose(), again.expose());
        let other = open(&directory.path().join("elsewhere")).unwrap();
        assert_ne!(first.expose(), other.expose());
    }

    #[test]
    fn what_is_no_token_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for junk in ["", "short", &"with space ".repeat(8)] {
            fs::write(&path, junk).unwrap();
            assert!(matches!(open(directory.path()), Err(Error::Damaged { .. })));
            assert_eq!(fs::read_to_string(&path).unwrap(), junk);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("admin.token"), "{error}");
    }
}
