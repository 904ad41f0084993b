//! What is kept of a password: an argon2id hash with a salt of its own, and the MACs by which it is known again.
//!
//! A hash takes 19 MiB and a core for a while; how many are made at once is the caller's to bound.

use argon2::Argon2;
use aws_lc_rs::{constant_time::verify_slices_are_equal, rand};
use runtime::Secret;

use super::{Mac, crypto};
use crate::error::Error;

/// An argon2id hash, the MAC of the password it was made of, and what ties tokens to it.
pub(super) struct Hash {
    pub(super) mac: Mac,
    pub(super) ties: Vec<String>,
    salt: [u8; 16],
    hash: [u8; 32],
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hash]")
    }
}

impl Hash {
    pub(super) fn is_of(&self, password: &Secret) -> bool {
        argon2id(password, &self.salt)
            .is_ok_and(|hash| verify_slices_are_equal(&hash, &self.hash).is_ok())
    }
}

/// Hashes with a fresh salt.
pub(super) fn make_hash(password: &Secret, mac: Mac, ties: Vec<String>) -> Result<Hash, Error> {
    let mut salt = [0; 16];
    rand::fill(&mut salt).map_err(|error| crypto(Box::new(error)))?;
    let hash = argon2id(password, &salt).map_err(|error| crypto(error.to_string().into()))?;
    Ok(Hash {
        mac,
        ties,
        salt,
        hash,
    })
}

/// The hash of nobody's password: random bytes, so that it costs no memory and no time to have one, and as much as any other to
/// compare with.
pub(super) fn nobody() -> Result<Hash, Error> {
    let (mut salt, mut hash) = ([0; 16], [0; 32]);
    for bytes in [&mut salt[..], &mut hash[..]] {
        rand::fill(bytes).map_err(|error| crypto(Box::new(error)))?;
    }
    Ok(Hash {
        mac: [0; 32],
        ties: Vec::new(),
        salt,
        hash,
    })
}

/// argon2id, version 19, 19 MiB, two passes, one lane.
fn argon2id(password: &Secret, salt: &[u8]) -> Result<[u8; 32], argon2::Error> {
    let mut out = [0; 32];
    Argon2::default().hash_password_into(password.expose().as_bytes(), salt, &mut out)?;
    Ok(out)
}
