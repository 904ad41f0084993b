//! Content digests, and the one hasher that checks bytes against them as they arrive.
//!
//! Only `sha256` and `sha512` exist here; any other algorithm is refused where it is parsed, so content of an unknown
//! algorithm can be neither stored nor asked for. Source: OCI image-spec, "Digests".

use std::{fmt, str::FromStr, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256, SHA512};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A digest algorithm that nodes store content under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Algorithm {
    /// SHA-256, 64 hexadecimal digits.
    #[default]
    Sha256,
    /// SHA-512, 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// The name in a digest: `sha256`, `sha512`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(DigestError::Algorithm(text.chars().take(64).collect())),
        }
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `algorithm:hex` in it.
    #[error("a digest is ALGORITHM:HEX, for example sha256:e3b0…")]
    Form,
    /// The algorithm is not one that is stored.
    #[error("the digest algorithm '{0}' is not supported (sha256 and sha512 are)")]
    Algorithm(String),
    /// Wrong length, or not lower-case hexadecimal.
    #[error("a {0} digest has {1} lower-case hexadecimal digits")]
    Hex(&'static str, usize),
}

/// The digest of some content. Cloning one is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    text: Arc<str>,
}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The whole text: `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The hexadecimal part.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.text.split_once(':').map_or("", |(_, hex)| hex)
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::Form)?;
        let algorithm: Algorithm = algorithm.parse()?;
        let ok = hex.len() == algorithm.hex_length()
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !ok {
            return Err(DigestError::Hex(algorithm.as_str(), algorithm.hex_length()));
        }
        Ok(Self {
            algorithm,
            text: text.into(),
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Hashes bytes as they arrive and counts them. Cloning one forks the state, so that a second reader can go on from here.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: Context,
    length: u64,
}

impl Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let context = match algorithm {
            Algorithm::Sha256 => Context::new(&SHA256),
            Algorithm::Sha512 => Context::new(&SHA512),
        };
        Self {
            algorithm,
            context,
            length: 0,
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
    }

    /// How many bytes it has seen.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of everything seen.
    #[must_use]
    pub fn finish(self) -> Digest {
        let value = hex::encode(self.context.finish());
        Digest {
            algorithm: self.algorithm,
            text: format!("{}:{value}", self.algorithm.as_str()).into(),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("algorithm", &self.algorithm)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const EMPTY_512: &str = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";

    #[test]
    fn known_content_has_its_known_digest() {
        assert_eq!(Digest::sha256(b"").as_str(), EMPTY);
        assert_eq!(Digest::of(Algorithm::Sha512, b"").as_str(), EMPTY_512);
        assert_eq!(
            Digest::sha256(b"abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let hex = Digest::sha256(b"").hex().to_owned();
        for bad in [
            String::new(),
            hex.clone(),
            format!("sha256:{}", hex.to_ascii_uppercase()),
            format!("SHA256:{hex}"),
            format!("sha256:{hex}0"),
            format!("sha256:{}", hex.get(1..).expect("longer")),
            format!("sha512:{hex}"),
            format!("sha384:{hex}"),
            format!("sha256+b64:{hex}"),
            format!("sha256: {hex}"),
            format!("sha256:sha256:{hex}"),
            format!("sha256:{}/../x", hex.get(8..).expect("longer")),
            "sha256:../../../../../../../../../../../../../../../../../../../../../..".into(),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn hashing_in_pieces_is_hashing_at_once(bytes in prop::collection::vec(any::<u8>(), 0..500), at in 0_usize..500) {
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(head);
                let fork = hasher.clone();
                hasher.update(tail);
                prop_assert_eq!(hasher.length(), bytes.len() as u64);
                prop_assert_eq!(hasher.finish(), Digest::of(algorithm, &bytes));
                prop_assert_eq!(fork.finish(), Digest::of(algorithm, head));
            }
        }

        #[test]
        fn a_digest_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let digest = Digest::sha256(&bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        }

        #[test]
        fn whatever_parses_is_what_was_written(text in "(sha256|sha512|.{0,8}):[0-9a-fA-F/.]{0,130}|.{0,80}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.as_str(), text);
            }
        }
    }
}
