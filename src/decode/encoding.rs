//! Texts that are not UTF-8 become UTF-8, in pieces of any size.

use std::borrow::Cow;

use crate::model::Encoding;

/// Marks that begin a text and tell its encoding.
const MARKS: [(&[u8], Encoding); 3] =
    [(b"\xef\xbb\xbf", Encoding::Utf8), (b"\xff\xfe", Encoding::Utf16Le), (b"\xfe\xff", Encoding::Utf16Be)];

/// The encoding of a text with this beginning, and the length of the mark before it: a mark is believed first, then
/// the person who declares, then a first line that is surely UTF-16.
pub(super) fn told(beginning: &[u8], declared: Option<Encoding>) -> (Encoding, usize) {
    if let Some((mark, encoding)) = MARKS.iter().find(|(mark, _)| beginning.starts_with(mark)) {
        return (*encoding, mark.len());
    }
    (declared.or_else(|| surely_utf16(beginning)).unwrap_or(Encoding::Utf8), 0)
}

/// Bytes after which a first line is long enough to be sure.
const SURE_AFTER_PAIRS: usize = 8;
const LOOK_AT_PAIRS: usize = 256;

/// A Latin header in UTF-16 has a NUL as every other byte of its line, always on the same side. Text in UTF-8 has none.
fn surely_utf16(beginning: &[u8]) -> Option<Encoding> {
    let (pairs, _) = beginning.as_chunks::<2>();
    let line = pairs.iter().take(LOOK_AT_PAIRS);
    let line: Vec<_> =
        line.take_while(|pair| !matches!(pair, [0, b'\n' | b'\r'] | [b'\n' | b'\r', 0])).collect();
    let nul_on = |side: usize| line.iter().all(|pair| pair[side] == 0 && pair[1 - side] != 0);
    match line.len() {
        ..SURE_AFTER_PAIRS => None,
        _ if nul_on(1) => Some(Encoding::Utf16Le),
        _ if nul_on(0) => Some(Encoding::Utf16Be),
        _ => None,
    }
}

/// Turns bytes of one text into UTF-8. What has no character (half of a surrogate pair, a byte that Windows-1252
/// leaves open) becomes bytes that are no UTF-8 either: the next stage refuses the cell in which they stand.
#[derive(Debug)]
pub(super) struct Transcoder {
    encoding: Encoding,
    /// The first byte of a UTF-16 unit of which the second has not come yet.
    half: Option<u8>,
    /// The first unit of a surrogate pair of which the second has not come yet.
    high: Option<u16>,
}

impl Transcoder {
    /// `None` for UTF-8, which needs none.
    pub(super) fn new(encoding: Encoding) -> Option<Self> {
        (encoding != Encoding::Utf8).then_some(Transcoder { encoding, half: None, high: None })
    }

    /// Appends the next bytes of the text to `out`.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            if self.encoding == Encoding::Windows1252 {
                push_windows_1252(byte, out);
                continue;
            }
            match self.half.take() {
                None => self.half = Some(byte),
                Some(first) if self.encoding == Encoding::Utf16Le => {
                    self.push_unit(u16::from_le_bytes([first, byte]), out);
                }
                Some(first) => self.push_unit(u16::from_be_bytes([first, byte]), out),
            }
        }
    }

    /// Whether the text ends in the middle of a character.
    pub(super) fn is_cut(&self) -> bool {
        self.half.is_some() || self.high.is_some()
    }

    fn push_unit(&mut self, unit: u16, out: &mut Vec<u8>) {
        const LOW: std::ops::RangeInclusive<u16> = 0xdc00..=0xdfff;
        const HIGH: std::ops::RangeInclusive<u16> = 0xd800..=0xdbff;
        match self.high.take() {
            Some(high) if LOW.contains(&unit) => {
                let code = 0x1_0000 + (u32::from(high - HIGH.start()) << 10) + u32::from(unit - LOW.start());
                return push_code(code, out);
            }
            Some(alone) => push_code(alone.into(), out),
            None => {}
        }
        match HIGH.contains(&unit) {
            true => self.high = Some(unit),
            false => push_code(unit.into(), out),
        }
    }
}

/// The beginning of a text as UTF-8.
pub(super) fn transcoded(beginning: &[u8], encoding: Encoding) -> Cow<'_, [u8]> {
    let Some(mut transcoder) = Transcoder::new(encoding) else { return Cow::Borrowed(beginning) };
    let mut text = Vec::new();
    transcoder.push(beginning, &mut text);
    Cow::Owned(text)
}

/// As UTF-8 would write the number if it might: a surrogate alone has three bytes that are no UTF-8.
fn push_code(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            let last_six_bits = |code: u32| 0x80 | (code & 0x3f) as u8;
            out.extend([0xe0 | (code >> 12) as u8, last_six_bits(code >> 6), last_six_bits(code)]);
        }
    }
}

/// What Windows-1252 has at 0x80 to 0x9f, where it is not Latin-1; a blank stands for the five bytes without a character.
const FROM_0X80: [char; 32] = [
    '€', ' ', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', ' ', 'Ž', ' ', //
    ' ', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', ' ', 'ž', 'Ÿ',
];

fn push_windows_1252(byte: u8, out: &mut Vec<u8>) {
    match byte {
        0x80..=0x9f => match FROM_0X80[usize::from(byte - 0x80)] {
            // Alone, it is no UTF-8: it could only continue a character.
            ' ' => out.push(byte),
            char => push_code(char.into(), out),
        },
        _ => push_code(byte.into(), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utf16(text: &str, encoding: Encoding) -> Vec<u8> {
        let bytes = |unit: u16| match encoding {
            Encoding::Utf16Le => unit.to_le_bytes(),
            _ => unit.to_be_bytes(),
        };
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn in_pieces(bytes: &[u8], encoding: Encoding, piece: usize) -> (Vec<u8>, bool) {
        let mut transcoder = Transcoder::new(encoding).unwrap();
        let mut out = Vec::new();
        bytes.chunks(piece.max(1)).for_each(|bytes| transcoder.push(bytes, &mut out));
        (out, transcoder.is_cut())
    }

    #[test]
    fn the_encoding_is_told_by_the_mark_then_by_the_person_then_by_a_sure_line() {
        use Encoding::*;
        let le = utf16("earningId,amount\r\nGrüße 漢,1\r\n", Utf16Le);
        let be = utf16("earningId\tamount\n漢,1\n", Utf16Be);
        type Case<'a> = (&'a [u8], Option<Encoding>, (Encoding, usize));
        let cases: [Case<'_>; 12] = [
            (b"", None, (Utf8, 0)),
            (b"earningId,amount\n", None, (Utf8, 0)),
            (b"\xef\xbb\xbfa,b\n", Some(Windows1252), (Utf8, 3)),
            (b"\xff\xfea\0", Some(Windows1252), (Utf16Le, 2)),
            (b"\xfe\xff\0a", None, (Utf16Be, 2)),
            (b"a,b\n", Some(Windows1252), (Windows1252, 0)),
            (&le, None, (Utf16Le, 0)),
            (&be, None, (Utf16Be, 0)),
            (&be, Some(Windows1252), (Windows1252, 0)),
            // Too short to be sure, and a NUL here and there.
            (b"a\0,\0b\0\n\0", None, (Utf8, 0)),
            (b"earningId\0,amount\n", None, (Utf8, 0)),
            (b"a\0,\0b\0c\0d\0e\0f\0gg,\0\n\0", None, (Utf8, 0)),
        ];
        for (bytes, declared, expected) in cases {
            assert_eq!(told(bytes, declared), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_has_no_character_becomes_no_utf8() {
        let cases: [(&[u8], Encoding, &[u8]); 5] = [
            (b"\0\xd8a\0", Encoding::Utf16Le, b"\xed\xa0\x80a"),
            (b"\0\xdc\0\xd8\0\xd8\0\xdc", Encoding::Utf16Le, b"\xed\xb0\x80\xed\xa0\x80\xf0\x90\x80\x80"),
            (b"\xd8\0\0a", Encoding::Utf16Be, b"\xed\xa0\x80a"),
            (b"\xe9\x81\xe9", Encoding::Windows1252, b"\xc3\xa9\x81\xc3\xa9"),
            (b"\x80 Stra\xdfe \x9f", Encoding::Windows1252, "€ Straße Ÿ".as_bytes()),
        ];
        for (bytes, encoding, expected) in cases {
            for piece in 1..=bytes.len() {
                assert_eq!(in_pieces(bytes, encoding, piece).0, expected, "{}", bytes.escape_ascii());
            }
        }
        assert!(in_pieces(b"a\0b", Encoding::Utf16Le, 9).1);
        assert!(in_pieces(b"a\0\0\xd8", Encoding::Utf16Le, 9).1);
        assert!(!in_pieces(b"a\0", Encoding::Utf16Le, 9).1);
    }

    #[test]
    fn all_of_windows_1252() {
        // Python: bytes(range(256)).decode('cp1252') has 251 characters, and these are undefined.
        let open: Vec<u8> = (0..=255)
            .filter(|byte| str::from_utf8(&in_pieces(&[*byte], Encoding::Windows1252, 1).0).is_err())
            .collect();
        assert_eq!(open, [0x81, 0x8d, 0x8f, 0x90, 0x9d]);
    }

    proptest! {
        #[test]
        fn every_text_reads_back_however_it_is_cut(text in any::<String>(), big in any::<bool>(), piece in 1usize..9) {
            let encoding = if big { Encoding::Utf16Be } else { Encoding::Utf16Le };
            let (read, cut) = in_pieces(&utf16(&text, encoding), encoding, piece);
            prop_assert_eq!(String::from_utf8(read).unwrap(), text);
            prop_assert!(!cut);
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..60), piece in 1usize..9) {
            for encoding in [Encoding::Utf16Le, Encoding::Utf16Be, Encoding::Windows1252] {
                prop_assert_eq!(in_pieces(&bytes, encoding, piece), in_pieces(&bytes, encoding, 100));
            }
        }
    }
}
