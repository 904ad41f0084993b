//! Buffers for reads of large content: lent out as `Bytes`, taken back when the last reference goes, reused.
//!
//! A read of 1 MiB that allocates, zeroes and frees costs page faults on every chunk, and buffers that are made on one thread and
//! freed on another pile up in the allocator. A few kept buffers end both. What is kept is bounded; beyond, buffers come and go.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use super::ReadAt;

/// The largest read at once, in bytes, and the size of a kept buffer.
pub(crate) const CHUNK: usize = 1 << 20;
/// How many buffers are kept for the next reads of this process.
const KEPT: usize = 32;
/// Reads up to this size allocate what they need: a kept buffer would hold sixteen times as much.
const SMALL: usize = 64 << 10;

/// Memory belongs to the process, so the buffers do too, whichever node of it reads.
static FREE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer on loan; its first `length` bytes were read.
struct Lent {
    buffer: Option<Box<[u8]>>,
    length: usize,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer
            .as_deref()
            .and_then(|b| b.get(..self.length))
            .unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < KEPT {
                free.push(buffer);
            }
        }
    }
}

/// Reads exactly `length` bytes at `offset`; up to [`CHUNK`] into a kept buffer. Blocks.
///
/// # Errors
/// What the file says; `UnexpectedEof` when it is shorter.
pub(crate) fn read_exact(file: &dyn ReadAt, offset: u64, length: usize) -> io::Result<Bytes> {
    if length <= SMALL || length > CHUNK {
        let mut buffer = vec![0; length];
        fill(file, offset, &mut buffer)?;
        return Ok(buffer.into());
    }
    let kept = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let buffer = kept.unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
    let mut lent = Lent {
        buffer: Some(buffer),
        length,
    };
    let place = lent.buffer.as_deref_mut().and_then(|b| b.get_mut(..length));
    fill(file, offset, place.unwrap_or_default())?;
    Ok(Bytes::from_owner(lent))
}

fn fill(file: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose bytes say where they stand, read a little at a time.
    struct Counting(u64);

    impl ReadAt for Counting {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let left = self.0.saturating_sub(offset).min(10_000) as usize;
            let count = left.min(buffer.len());
            for (n, byte) in buffer[..count].iter_mut().enumerate() {
                *byte = ((offset + n as u64) % 251) as u8;
            }
            Ok(count)
        }
    }

    #[test]
    fn a_reused_buffer_shows_only_what_was_read_into_it() {
        let file = Counting(3_000_000);
        for (offset, length) in [
            (0, CHUNK),
            (5, 70_000),
            (2_999_000, 1_000),
            (7, CHUNK),
            (1, 100_000),
            (0, 0),
        ] {
            let bytes = read_exact(&file, offset, length).unwrap();
            assert_eq!(bytes.len(), length);
            let right = bytes
                .iter()
                .enumerate()
                .all(|(n, b)| u64::from(*b) == (offset + n as u64) % 251);
            assert!(right, "{offset} {length}");
        }
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error_and_the_buffer_is_not_lost() {
        let error = read_exact(&Counting(100_000), 0, 200_000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(!FREE.lock().unwrap().is_empty());
    }
}
