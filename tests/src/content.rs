//! Bytes to serve, without holding them: what is large is a function of the offset.
//!
//! A pattern's blocks repeat but for their number, so no slice of it equals another at a different offset: a body that was pieced
//! together wrongly hashes differently.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use wire::digest::{Algorithm, Digest, Hasher};

use crate::chance::Chance;

/// The unit in which a pattern repeats and content is handed out.
const BLOCK: usize = 64 * 1024;

/// Bytes of known length, or without an end. Cloning is a reference count.
#[derive(Clone, Debug)]
pub struct Content {
    source: Source,
    range: Range<u64>,
    flip: Option<u64>,
}

#[derive(Clone, Debug)]
enum Source {
    Bytes(Bytes),
    Pattern { block: Arc<[u8]>, tar: Option<Tar> },
}

/// What makes a pattern the content of the one file of a tar archive: the header before it and the zeros after it.
#[derive(Clone, Debug)]
struct Tar {
    header: Bytes,
    end: u64,
}

const TAR_HEADER: u64 = 512;
const TAR_END: u64 = 1024;

impl Content {
    /// `size` bytes that look random, the same for the same seed.
    pub fn pattern(seed: u64, size: u64) -> Self {
        Self {
            source: Source::Pattern {
                block: block(seed),
                tar: None,
            },
            range: 0..size,
            flip: None,
        }
    }

    /// A tar archive with one file, as a layer that real clients unpack. Its length is `size`, or the next that an archive can have.
    pub fn tar(seed: u64, size: u64) -> Self {
        let file = size
            .saturating_sub(TAR_HEADER + TAR_END)
            .next_multiple_of(TAR_HEADER);
        let tar = Tar {
            header: tar_header(&format!("file-{seed}"), file),
            end: TAR_HEADER + file,
        };
        let range = 0..tar.end + TAR_END;
        Self {
            source: Source::Pattern {
                block: block(seed),
                tar: Some(tar),
            },
            range,
            flip: None,
        }
    }

    /// A body that never ends.
    pub fn endless() -> Self {
        Self::pattern(0, u64::MAX)
    }

    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// A part of it. Panics outside.
    pub fn slice(&self, range: Range<u64>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len());
        let start = self.range.start;
        Self {
            source: self.source.clone(),
            range: start + range.start..start + range.end,
            flip: self.flip,
        }
    }

    /// The same with one bit wrong, `offset` bytes from the beginning.
    pub fn flipped(mut self, offset: u64) -> Self {
        assert!(offset < self.len());
        self.flip = Some(self.range.start + offset);
        self
    }

    /// Some bytes from `offset` on, at least one unless it is the end.
    pub fn chunk(&self, offset: u64) -> Bytes {
        let at = self.range.start + offset;
        let left = usize::try_from(self.range.end - at).unwrap_or(usize::MAX);
        let chunk = match &self.source {
            Source::Bytes(bytes) => {
                let at = usize::try_from(at).expect("bytes in memory fit a usize");
                bytes.slice(at..at + left.min(BLOCK))
            }
            Source::Pattern { block, tar } => pattern_chunk(block, tar.as_ref(), at, left),
        };
        match self.flip {
            Some(flip) if (at..at + chunk.len() as u64).contains(&flip) => {
                let mut wrong = chunk.to_vec();
                wrong[usize::try_from(flip - at).expect("within the chunk")] ^= 1;
                Bytes::from(wrong)
            }
            _ => chunk,
        }
    }

    /// All of it in memory.
    pub fn to_bytes(&self) -> Bytes {
        if let (Source::Bytes(bytes), None) = (&self.source, self.flip) {
            let range = usize::try_from(self.range.start).expect("in memory")
                ..usize::try_from(self.range.end).expect("in memory");
            return bytes.slice(range);
        }
        let mut all = Vec::new();
        while (all.len() as u64) < self.len() {
            all.extend_from_slice(&self.chunk(all.len() as u64));
        }
        Bytes::from(all)
    }

    pub fn digest(&self) -> Digest {
        self.digest_by(Algorithm::Sha256)
    }

    pub fn digest_by(&self, algorithm: Algorithm) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        while hasher.length() < self.len() {
            hasher.update(&self.chunk(hasher.length()));
        }
        hasher.finish()
    }
}

impl<T: Into<Bytes>> From<T> for Content {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        Self {
            range: 0..bytes.len() as u64,
            source: Source::Bytes(bytes),
            flip: None,
        }
    }
}

/// What the pattern says from `at` to the end of that block: the block, its first eight bytes replaced by its number.
fn pattern_chunk(block: &[u8], tar: Option<&Tar>, at: u64, left: usize) -> Bytes {
    let (number, within) = (at / BLOCK as u64, at % BLOCK as u64);
    let mut bytes = block.to_vec();
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    if let Some(tar) = tar {
        if number == 0 {
            bytes[..tar.header.len()].copy_from_slice(&tar.header);
        }
        let end = tar.end.saturating_sub(number * BLOCK as u64);
        let end = usize::try_from(end).unwrap_or(BLOCK).min(BLOCK);
        bytes[end..].fill(0);
    }
    let within = usize::try_from(within).expect("less than a block");
    Bytes::from(bytes).slice(within..BLOCK.min(within.saturating_add(left)))
}

/// The ustar header of a file that anybody may read. Source: POSIX.1-2017, pax, ustar interchange format.
fn tar_header(name: &str, size: u64) -> Bytes {
    let mut header = [0_u8; 512];
    let size = format!("{size:011o}");
    for (at, field) in [
        (0, name),
        (100, "0000644"),
        (108, "0000000"),
        (116, "0000000"),
        (124, size.as_str()),
        (136, "00000000000"),
        (148, "        "),
        (156, "0"),
        (257, "ustar\0"),
        (263, "00"),
    ] {
        header[at..at + field.len()].copy_from_slice(field.as_bytes());
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Bytes::copy_from_slice(&header)
}

fn block(seed: u64) -> Arc<[u8]> {
    let mut chance = Chance::new(seed);
    let mut bytes = Vec::with_capacity(BLOCK);
    while bytes.len() < BLOCK {
        bytes.extend_from_slice(&chance.number().to_le_bytes());
    }
    Arc::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_a_pattern_is_that_part_of_it() {
        let whole = Content::pattern(7, 200_000);
        let bytes = whole.to_bytes();
        assert_eq!(bytes.len(), 200_000);
        for range in [0..10, 65_530..65_540, 199_999..200_000, 3..3] {
            let slice = whole.slice(range.clone());
            assert_eq!(
                slice.to_bytes(),
                bytes[range.start as usize..range.end as usize]
            );
        }
        assert_eq!(whole.digest(), Digest::sha256(&bytes));
    }

    #[test]
    fn a_tar_has_a_header_a_file_and_two_empty_blocks() {
        for size in [2_048, 65_536, 65_600, 300_000] {
            let bytes = Content::tar(1, size).to_bytes();
            assert!(bytes.len() as u64 >= size && bytes.len().is_multiple_of(512));
            assert_eq!(&bytes[257..262], b"ustar");
            let (file, end) = bytes[512..].split_at(bytes.len() - 512 - 1024);
            assert!(end.iter().all(|byte| *byte == 0));
            assert_eq!(format!("{:011o}", file.len()).as_bytes(), &bytes[124..135]);
            assert!(file.iter().any(|byte| *byte != 0));
        }
    }

    #[test]
    fn blocks_and_seeds_differ() {
        let whole = Content::pattern(1, 3 * BLOCK as u64).to_bytes();
        assert_ne!(whole[..BLOCK], whole[BLOCK..2 * BLOCK]);
        assert_ne!(
            Content::pattern(1, 64).digest(),
            Content::pattern(2, 64).digest()
        );
    }

    #[test]
    fn a_flipped_bit_changes_one_byte() {
        for content in [
            Content::pattern(1, 100_000),
            Content::from(vec![9_u8; 100_000]),
        ] {
            let (right, wrong) = (
                content.to_bytes(),
                content.clone().flipped(70_000).to_bytes(),
            );
            let differ: Vec<usize> = (0..right.len())
                .filter(|i| right[*i] != wrong[*i])
                .collect();
            assert_eq!(differ, [70_000]);
            let tail = content.flipped(70_000).slice(60_000..80_000).to_bytes();
            assert_eq!(tail, wrong[60_000..80_000]);
        }
    }
}
