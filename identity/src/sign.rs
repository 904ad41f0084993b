//! The node's own signatures: JWTs with ES256 and nothing else, by keys that outlive a restart.
//!
//! The algorithm is ours, never the token's: a header that says anything else is refused, as is any `crit`. Keys embedded in
//! or pointed at by a header (`jwk`, `jku`, `x5c`, `x5u`) are never read; `kid` picks among our own. Written on aws-lc-rs
//! rather than a JWT library, so that each of these is a line here. Keys lie in one file of mode 0600, which replicas can
//! share: the first signs, all verify. Source: RFC 7515, RFC 7638; `reference/protocols.md` 5.2; `reference/faults.md` T50.

use std::{collections::BTreeMap, io, path::Path};

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        UnparsedPublicKey,
    },
};
use base64::{
    Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD as URL,
};
use runtime::{Secret, file::Files};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

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
    /// Uncompressed public points by thumbprint.
    verifying: BTreeMap<String, Vec<u8>>,
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

/// What of a header is looked at. Doubled members are an error; embedded keys are unknown members and so ignored.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    crit: Option<serde_json::Value>,
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

    fn of(keys: &[Secret<Vec<u8>>]) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for key in keys {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.expose());
            pairs.push(pair.map_err(|_| Error::Crypto)?);
        }
        let public = |pair: &EcdsaKeyPair| pair.public_key().as_ref().to_vec();
        let verifying = pairs
            .iter()
            .map(|pair| (thumbprint(&public(pair)), public(pair)))
            .collect();
        let signing = pairs.into_iter().next().ok_or(Error::Crypto)?;
        Ok(Self {
            kid: thumbprint(&public(&signing)),
            signing,
            verifying,
        })
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
        if token.len() > MAX_TOKEN {
            return Err(Invalid);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Invalid)?;
        let (header, claims) = signed.split_once('.').ok_or(Invalid)?;
        let header: Header = json(header)?;
        if header.alg != ALGORITHM || header.typ != typ || header.crit.is_some() {
            return Err(Invalid);
        }
        let public = self.verifying.get(&header.kid).ok_or(Invalid)?;
        let signature = URL.decode(signature).map_err(|_| Invalid)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Invalid)?;
        json(claims)
    }
}

fn json<T: DeserializeOwned>(part: &str) -> Result<T, Invalid> {
    let bytes = URL.decode(part).map_err(|_| Invalid)?;
    serde_json::from_slice(&bytes).map_err(|_| Invalid)
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
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use runtime::file::Real;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn keys_outlive_a_restart_and_are_their_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/token-keys.json");
        let first = Keys::open(&Real, &path).unwrap();
        let token = first.sign("t", &json!({"a": 1})).unwrap();
        let second = Keys::open(&Real, &path).unwrap();
        assert_eq!(
            second.verify::<Value>("t", token.expose()),
            Ok(json!({"a": 1}))
        );
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(
            Keys::open(&Real, &path),
            Err(Error::Damaged { .. })
        ));
    }

    #[test]
    fn an_older_key_still_verifies_and_no_longer_signs() {
        let (old, new) = (new_key().unwrap(), new_key().unwrap());
        let before = Keys::of(std::slice::from_ref(&old)).unwrap();
        let after = Keys::of(&[new, old]).unwrap();
        let token = before.sign("t", &json!({})).unwrap();
        assert!(after.verify::<Value>("t", token.expose()).is_ok());
        let token = after.sign("t", &json!({})).unwrap();
        assert!(before.verify::<Value>("t", token.expose()).is_err());
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // The P-256 key of RFC 7517 appendix A.1.
        let x = URL
            .decode("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4")
            .unwrap();
        let y = URL
            .decode("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM")
            .unwrap();
        let point = [vec![4], x, y].concat();
        assert_eq!(
            thumbprint(&point),
            "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
        );
    }

    /// T50, the part about headers and signatures; times and audiences are in `access_token`.
    #[test]
    fn no_forged_token_verifies() {
        let (keys, thief) = (Keys::generate().unwrap(), Keys::generate().unwrap());
        let good = keys.sign("t", &json!({"sub": "a"})).unwrap();
        let good = good.expose();
        assert!(keys.verify::<Value>("t", good).is_ok());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let public = keys.verifying[&keys.kid].clone();
        let thief_jwk = json!({"kty": "EC", "crv": "P-256", "x": URL.encode(&thief.verifying[&thief.kid][1..33])});
        // By the thief's key, under whatever header, also one that names our key.
        let forge = |header: Value| {
            let signed = format!("{}.{claims}", URL.encode(header.to_string()));
            let signature = thief
                .signing
                .sign(&SystemRandom::new(), signed.as_bytes())
                .unwrap();
            format!("{signed}.{}", URL.encode(signature))
        };
        // By our own key, to show that a header is refused for itself.
        let ours = |header: &str| {
            let signed = format!("{}.{claims}", URL.encode(header));
            let signature = keys
                .signing
                .sign(&SystemRandom::new(), signed.as_bytes())
                .unwrap();
            format!("{signed}.{}", URL.encode(signature))
        };
        let (kid, theirs) = (&keys.kid, &thief.kid);
        let hmac = {
            let header = json!({"alg": "HS256", "typ": "t", "kid": kid});
            let signed = format!("{}.{claims}", URL.encode(header.to_string()));
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
            format!(
                "{signed}.{}",
                URL.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()))
            )
        };
        let none = |alg: &str| URL.encode(json!({"alg": alg, "typ": "t", "kid": kid}).to_string());
        let elsewhere = URL.encode(json!({"sub": "admin"}).to_string());
        let attacks = [
            ("alg none", format!("{}.{claims}.", none("none"))),
            (
                "alg None with our signature",
                format!("{}.{claims}.{signature}", none("None")),
            ),
            ("HS256 by the public key", hmac),
            (
                "RS256",
                ours(&json!({"alg": "RS256", "typ": "t", "kid": kid}).to_string()),
            ),
            (
                "our kid, another key",
                forge(json!({"alg": "ES256", "typ": "t", "kid": kid})),
            ),
            (
                "their kid",
                forge(json!({"alg": "ES256", "typ": "t", "kid": theirs})),
            ),
            (
                "embedded jwk",
                forge(json!({"alg": "ES256", "typ": "t", "kid": theirs, "jwk": thief_jwk})),
            ),
            (
                "jku",
                forge(
                    json!({"alg": "ES256", "typ": "t", "kid": theirs, "jku": "http://thief/keys"}),
                ),
            ),
            (
                "x5c",
                forge(json!({"alg": "ES256", "typ": "t", "kid": kid, "x5c": ["AAAA"]})),
            ),
            (
                "kid a path",
                forge(json!({"alg": "ES256", "typ": "t", "kid": "../../../dev/null"})),
            ),
            ("no kid", ours(r#"{"alg":"ES256","typ":"t"}"#)),
            ("kid a number", ours(r#"{"alg":"ES256","typ":"t","kid":1}"#)),
            (
                "unknown crit",
                ours(
                    &json!({"alg": "ES256", "typ": "t", "kid": kid, "crit": ["x"], "x": 1})
                        .to_string(),
                ),
            ),
            (
                "empty crit",
                ours(&json!({"alg": "ES256", "typ": "t", "kid": kid, "crit": []}).to_string()),
            ),
            (
                "doubled alg",
                ours(&format!(
                    r#"{{"alg":"none","alg":"ES256","typ":"t","kid":"{kid}"}}"#
                )),
            ),
            (
                "another typ",
                ours(&json!({"alg": "ES256", "typ": "u", "kid": kid}).to_string()),
            ),
            (
                "no typ",
                ours(&json!({"alg": "ES256", "kid": kid}).to_string()),
            ),
            ("other claims", format!("{header}.{elsewhere}.{signature}")),
            ("no signature", format!("{signed}.")),
            ("two parts", signed.to_owned()),
            ("four parts", format!("{good}.{signature}")),
            ("signature cut", good[..good.len() - 2].to_owned()),
            ("padding", format!("{good}==")),
            ("white space", format!(" {good}")),
            ("empty", String::new()),
            (
                "too long",
                format!("{header}.{}.{signature}", "A".repeat(MAX_TOKEN)),
            ),
        ];
        for (attack, token) in attacks {
            assert!(keys.verify::<Value>("t", &token).is_err(), "{attack}");
        }
        for n in 0..1_000 {
            let flood = forge(json!({"alg": "ES256", "typ": "t", "kid": format!("random-{n}")}));
            assert!(keys.verify::<Value>("t", &flood).is_err());
        }
        assert!(keys.verify::<Value>("t", good).is_ok());
    }
}
