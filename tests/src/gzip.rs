//! The gzip envelope without compression: what an upstream sends that compresses although nobody asked (T24).

use bytes::Bytes;

/// `bytes` as a valid gzip stream of stored blocks. Source: RFC 1951 3.2.4, RFC 1952 2.3.
pub fn gzip(bytes: &[u8]) -> Bytes {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(usize::from(u16::MAX)).peekable();
    if blocks.peek().is_none() {
        stored_block(&mut out, &[], true);
    }
    while let Some(block) = blocks.next() {
        stored_block(&mut out, block, blocks.peek().is_none());
    }
    out.extend_from_slice(&crc32(bytes).to_le_bytes());
    let length = u32::try_from(bytes.len()).expect("less than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    Bytes::from(out)
}

fn stored_block(out: &mut Vec<u8>, block: &[u8], last: bool) {
    let length = u16::try_from(block.len()).expect("chunked to fit");
    out.push(u8::from(last));
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(block);
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn stored_blocks_carry_every_byte() {
        let bytes = vec![7_u8; 70_000];
        let gzipped = gzip(&bytes);
        // Ten bytes of header, two blocks with five bytes before each, eight bytes of trailer.
        assert_eq!(gzipped.len(), 10 + 5 + 5 + bytes.len() + 8);
        assert_eq!(gzipped[..3], [0x1f, 0x8b, 8]);
    }
}
