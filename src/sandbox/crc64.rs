//! The CRC-64 of Azure's blob store (CRC-64/NVME: reflected, all ones before and after).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The polynomial 0xAD93D23594C93659, its bits in reverse.
const POLYNOMIAL: u64 = 0x9A6C_9329_AC4B_C9B5;

const TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 { (rest >> 1) ^ POLYNOMIAL } else { rest >> 1 };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

/// Goes on from the state after earlier bytes; the first state is `u64::MAX`, and the checksum is the inverted last.
fn update(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| TABLE[usize::from(*byte ^ state as u8)] ^ (state >> 8))
}

/// The checksum of a file as the header `x-ms-content-crc64` spells it, before Base64: little-endian.
///
/// # Errors
/// What the file system says.
pub fn of_file(path: &Path) -> io::Result<[u8; 8]> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    let mut state = u64::MAX;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((!state).to_le_bytes()),
            read => state = update(state, &buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(!update(update(u64::MAX, b"1234"), b"56789"), 0xAE8B_1486_0A79_9888);
    }
}
