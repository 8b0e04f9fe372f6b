//! MD5 (RFC 1321), for the header `Content-MD5` that blob stores send. It guards against accidents, not against people.

/// Rotations of the four rounds.
const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The integer part of `2^32 × |sin(i + 1)|`, as the RFC lists it.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// A running checksum.
pub struct Md5 {
    state: [u32; 4],
    /// Less than a block of 64 bytes.
    rest: Vec<u8>,
    length: u64,
}

impl Md5 {
    #[must_use]
    pub fn new() -> Self {
        Md5 {
            state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476],
            rest: Vec::with_capacity(64),
            length: 0,
        }
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.rest.is_empty() {
            let (part, after) = bytes.split_at(bytes.len().min(64 - self.rest.len()));
            self.rest.extend_from_slice(part);
            bytes = after;
            if let Ok(block) = <[u8; 64]>::try_from(self.rest.as_slice()) {
                self.block(&block);
                self.rest.clear();
            }
        }
        let (blocks, rest) = bytes.as_chunks::<64>();
        for block in blocks {
            self.block(block);
        }
        self.rest.extend_from_slice(rest);
    }

    #[must_use]
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8);
        let padding = (119 - self.length % 64) % 64 + 1;
        self.update(&[&[0x80], &vec![0; padding as usize - 1][..]].concat());
        self.update(&bits.to_le_bytes());
        let mut digest = [0; 16];
        for (place, word) in digest.chunks_exact_mut(4).zip(self.state) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }

    fn block(&mut self, block: &[u8; 64]) {
        let mut words = [0_u32; 16];
        for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut state = self.state;
        round(&mut state, &words, 0, |step| step, |b, c, d| (b & c) | (!b & d));
        round(&mut state, &words, 1, |step| (5 * step + 1) % 16, |b, c, d| (d & b) | (!d & c));
        round(&mut state, &words, 2, |step| (3 * step + 5) % 16, |b, c, d| b ^ c ^ d);
        round(&mut state, &words, 3, |step| (7 * step) % 16, |b, c, d| c ^ (b | !d));
        for (sum, value) in self.state.iter_mut().zip(state) {
            *sum = sum.wrapping_add(value);
        }
    }
}

/// Sixteen steps; `word` chooses the word of each step, `mix` is the function of the round.
#[inline]
fn round(
    [a, b, c, d]: &mut [u32; 4],
    words: &[u32; 16],
    number: usize,
    word: impl Fn(usize) -> usize,
    mix: impl Fn(u32, u32, u32) -> u32,
) {
    for step in 0..16 {
        let sum = a
            .wrapping_add(mix(*b, *c, *d))
            .wrapping_add(SINES[number * 16 + step])
            .wrapping_add(words[word(step)]);
        let next = b.wrapping_add(sum.rotate_left(SHIFTS[number][step % 4]));
        (*a, *d, *c, *b) = (*d, *c, *b, next);
    }
}

/// Base64 with padding, as `Content-MD5` spells a digest (RFC 1864).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let three = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn md5(text: &str) -> String {
        let mut md5 = Md5::new();
        for chunk in text.as_bytes().chunks(7) {
            md5.update(chunk);
        }
        md5.finish().map(|byte| format!("{byte:02x}")).concat()
    }

    #[test]
    fn the_digests_of_the_rfc() {
        assert_eq!(md5(""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(md5("abc"), "900150983cd24fb0d6963f7d28e17f72");
        let digits = "1234567890".repeat(8);
        assert_eq!(md5(&digits), "57edf4a22be3c955ac49da2e2107b67a");
        assert_eq!(
            md5("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"),
            "d174ab98d277d9f5a5611c2c9f419d9f"
        );
    }

    #[test]
    fn base64_pads() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }
}
