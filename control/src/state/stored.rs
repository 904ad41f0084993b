//! How generations, entries and points look at rest: JSON, and generations compressed.
//!
//! gzip carries a checksum, so that a document on which the disk lied is damage and not a topology. To change a stored shape: only add
//! fields with defaults; older rows are never rewritten.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wire::{generation::Generation, time::WallTime};

use super::{Desired, Error, Published};

/// The longest generation read back: a document of 16 MiB, escaped, with its recalls.
const LONGEST: u64 = 64 << 20;

#[derive(Serialize)]
struct Written<'a> {
    at: WallTime,
    by: &'a str,
    desired: &'a Desired,
}

#[derive(Deserialize)]
struct Kept {
    at: WallTime,
    by: String,
    desired: Desired,
}

/// A generation, but for its number, as bytes.
pub(super) fn pack(published: &Published) -> Result<Vec<u8>, Error> {
    let written = Written {
        at: published.at,
        by: &published.by,
        desired: &published.desired,
    };
    let json = serde_json::to_vec(&written).map_err(unwritable)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&json).map_err(unwritable)?;
    encoder.finish().map_err(unwritable)
}

/// The inverse of `pack`.
pub(super) fn unpack(generation: i64, bytes: &[u8]) -> Result<Published, Error> {
    let generation = Generation(super::sql::unsigned(generation)?);
    let damaged = |error: &dyn std::fmt::Display| {
        Error::Damaged(format!("generation {generation} cannot be read: {error}"))
    };
    let mut json = Vec::new();
    let mut decoder = GzDecoder::new(bytes).take(LONGEST);
    decoder.read_to_end(&mut json).map_err(|e| damaged(&e))?;
    let kept: Kept = serde_json::from_slice(&json).map_err(|e| damaged(&e))?;
    Ok(Published {
        generation,
        at: kept.at,
        by: kept.by,
        desired: kept.desired,
    })
}

/// A value as JSON.
pub(super) fn text(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(unwritable)
}

/// The inverse of `text`.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text)
        .map_err(|error| Error::Damaged(format!("an entry cannot be read: {error}")))
}

fn unwritable(error: impl std::fmt::Display) -> Error {
    Error::Unavailable(format!("what was to be written cannot be: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damaged_byte_of_a_generation_is_noticed() {
        let published = Published {
            generation: Generation(7),
            at: WallTime(1),
            by: "me".to_owned(),
            desired: Desired {
                document: "mesh: contoso\nnodes: {}\n".repeat(100),
                ..Desired::default()
            },
        };
        let bytes = pack(&published).unwrap();
        assert!(bytes.len() < 300, "{}", bytes.len());
        assert_eq!(unpack(7, &bytes), Ok(published.clone()));
        // Bytes 4 to 9 of a gzip header are a time and who wrote it: they mean nothing.
        for position in (0..4).chain(10..bytes.len()) {
            let mut bad = bytes.clone();
            bad[position] ^= 0x10;
            let read = unpack(7, &bad);
            let same = read.as_ref() == Ok(&published);
            assert!(
                same || matches!(read, Err(Error::Damaged(_))),
                "{position}: {read:?}"
            );
        }
        for length in 0..bytes.len() {
            let cut = unpack(7, &bytes[..length]);
            assert!(matches!(cut, Err(Error::Damaged(_))), "{length}");
        }
    }

    #[test]
    fn a_generation_of_an_earlier_release_says_nothing_of_grants() {
        let old =
            br#"{"at":1,"by":"me","desired":{"document":"mesh: m\n","recalls":{},"revoked":{}}}"#;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(old).unwrap();
        let read = unpack(3, &encoder.finish().unwrap()).unwrap();
        assert_eq!(read.desired.grants, super::super::Grants::default());
        assert_eq!(read.desired.document, "mesh: m\n");
    }
}
