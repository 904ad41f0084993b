//! The node's own signatures: JWTs with ES256 and nothing else, by keys that outlive a restart.
//!
//! The algorithm is ours, never the token's: a header that says anything else is refused, as is any `crit`. Keys embedded in
//! or pointed at by a header (`jwk`, `jku`, `x5c`, `x5u`) are never read; `kid` picks among our own (`public.rs`). Written on
//! aws-lc-rs rather than a JWT library, so that each of these is a line. Keys lie in one file of mode 0600, which replicas can
//! share: the first signs, all verify. Source: RFC 7515, RFC 7638; `reference/protocols.md` 5.2; `reference/faults.md` T50.

use std::{collections::BTreeMap, io, path::Path};

use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{
    Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD as URL,
};
use runtime::{Secret, file::Files};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

mod public;

pub use public::{Public, Signed, Typ, typ};

/// The longest token looked at, in bytes.
pub const MAX_TOKEN: usize = 32 * 1024;
/// The longest key file read, in bytes.
const MAX_FILE: u64 = 64 * 1024;
const ALGORITHM: &str = "ES256";

/// Keys of one signer: one signs, all of them verify.
#[derive(Debug)]
pub struct Keys {
    signing: EcdsaKeyPair,
    kid: String,
    /// By thumbprint.
    verifying: Public,
    /// One of each key, the signing one's first.
    macs: Vec<hmac::Key>,
}

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file cannot be read or written.
    #[error("the key file {path} cannot be used")]
    File {
        /// Where it is.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key file holds no keys of ours. It is not replaced: new keys would end every session.
    #[error("the key file {path} is damaged: restore it, or remove it to begin with new keys")]
    Damaged {
        /// Where it is.
        path: String,
    },
    /// The cryptographic library failed.
    #[error("a key could not be made or used")]
    Crypto,
}

/// The token is not one that these keys signed for this use. There is no more to say to whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not one of ours")]
pub struct Invalid;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    /// PKCS #8 in base64; the first one signs.
    keys: Vec<String>,
}

impl Keys {
    /// New keys that live in memory alone.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        Self::of(&[new_key()?])
    }

    /// The keys of a file; made, durably, when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged.
    pub fn open(files: &dyn Files, path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File {
            path: path.display().to_string(),
            source,
        };
        let text = match files.len(path).map_err(failed)? {
            Some(length) => read(files, path, length).map_err(failed)?,
            None => create(files, path, &new_key()?).map_err(failed)?,
        };
        parse(text.expose())
            .and_then(|keys| Self::of(&keys).ok())
            .ok_or_else(|| Error::Damaged {
                path: path.display().to_string(),
            })
    }

    /// A new private key, PKCS #8, for [`Keys::of`]: for who keeps keys elsewhere than in a file.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn new_secret() -> Result<Secret<Vec<u8>>, Error> {
        new_key()
    }

    /// These private keys (PKCS #8, P-256); the first one signs.
    ///
    /// # Errors
    /// When there is none, or one is no such key.
    pub fn of(keys: &[Secret<Vec<u8>>]) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for key in keys {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.expose());
            pairs.push(pair.map_err(|_| Error::Crypto)?);
        }
        let public = |pair: &EcdsaKeyPair| pair.public_key().as_ref().to_vec();
        let points = pairs
            .iter()
            .map(|pair| (thumbprint(&public(pair)), public(pair)));
        let verifying = Public::new(points.collect());
        let macs = keys.iter().map(mac_key).collect();
        let signing = pairs.into_iter().next().ok_or(Error::Crypto)?;
        Ok(Self {
            macs,
            kid: thumbprint(&public(&signing)),
            signing,
            verifying,
        })
    }

    /// The public keys by id (RFC 7638): uncompressed points in base64url without padding, as slices carry them.
    #[must_use]
    pub fn points(&self) -> BTreeMap<String, String> {
        self.verifying.write()
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// A MAC of `text` under each key, the signing one's first: what only who has the keys can tell from chance.
    #[must_use]
    pub fn macs(&self, text: &[u8]) -> Vec<String> {
        let mac = |key| hex::encode(hmac::sign(key, text));
        self.macs.iter().map(mac).collect()
    }

    /// A compact JWS of `typ` over `claims`.
    ///
    /// # Errors
    /// When the cryptographic library fails, or `claims` has no JSON form.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<Secret, Error> {
        let header = serde_json::json!({ "alg": ALGORITHM, "typ": typ, "kid": self.kid });
        let claims = serde_json::to_vec(claims).map_err(|_| Error::Crypto)?;
        let mut token = format!("{}.{}", URL.encode(header.to_string()), URL.encode(claims));
        let signature = self.signing.sign(&SystemRandom::new(), token.as_bytes());
        token.push('.');
        token.push_str(&URL.encode(signature.map_err(|_| Error::Crypto)?));
        Ok(Secret::new(token))
    }

    /// The claims of a token of `typ` that one of these keys signed. Times, issuer and audience are the caller's to check.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn verify<C: DeserializeOwned>(&self, typ: &str, token: &str) -> Result<C, Invalid> {
        self.verifying
            .verify(typ, token)
            .map(|signed: Signed<C>| signed.claims)
    }

    /// The keys that verify.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.verifying
    }
}

fn mac_key(key: &Secret<Vec<u8>>) -> hmac::Key {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"regmesh mac key\0");
    context.update(key.expose());
    hmac::Key::new(hmac::HMAC_SHA256, context.finish().as_ref())
}

/// RFC 7638: SHA-256 over the required members of the JWK, in order.
fn thumbprint(point: &[u8]) -> String {
    // An uncompressed point: a mark, then two coordinates of the same length.
    let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
    let (x, y) = (URL.encode(x), URL.encode(y));
    let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL.encode(digest::digest(&digest::SHA256, jwk.as_bytes()))
}

fn new_key() -> Result<Secret<Vec<u8>>, Error> {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let document = document.map_err(|_| Error::Crypto)?;
    Ok(Secret::new(document.as_ref().to_vec()))
}

fn parse(text: &[u8]) -> Option<Vec<Secret<Vec<u8>>>> {
    let file: File = serde_json::from_slice(text).ok()?;
    let keys = file.keys.into_iter().map(Secret::new);
    let decoded = keys.map(|key| STANDARD.decode(key.expose()).ok().map(Secret::new));
    decoded
        .collect::<Option<Vec<_>>>()
        .filter(|_| file.version == 1)
}

fn read(files: &dyn Files, path: &Path, length: u64) -> io::Result<Secret<Vec<u8>>> {
    if length > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let handle = files.open(path)?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut at = 0;
    while at < bytes.len() {
        match handle.read_at(&mut bytes[at..], at as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => at += n,
        }
    }
    Ok(Secret::new(bytes))
}

/// Written beside, synced, renamed: a crash leaves no file or a whole one. One process at a time has the directory.
fn create(files: &dyn Files, path: &Path, key: &Secret<Vec<u8>>) -> io::Result<Secret<Vec<u8>>> {
    let directory = path.parent().unwrap_or(Path::new(""));
    files.create_dir_all(directory)?;
    let file = File {
        version: 1,
        keys: vec![STANDARD.encode(key.expose())],
    };
    let text = Secret::new(serde_json::to_vec(&file).map_err(io::Error::other)?);
    let beside = path.with_extension("new");
    // Left by a crash before the rename; nobody has signed with it.
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
mod tests;
