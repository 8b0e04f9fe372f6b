//! What the first bytes of a file say about it.

use std::io::{self, Read};

use super::Container;
use crate::error::{Error, Kind, Result};

/// Bytes that begin a file, what such a file is, and what to do about it.
struct Foreign {
    begins: &'static [u8],
    what: &'static str,
    next_step: &'static str,
}

const EXPORT_AS_CSV: &str = "Export the report as CSV or TSV and load that file.";
const SAVE_AS_UTF8: &str = "Save the file as UTF-8 text, or download it again from Partner Center.";
const DECLARE_UTF16: &str = "Say which it is (`encoding` in [decode], --encoding of ingest: utf-16le or utf-16be), or save it as UTF-8.";
const PACK_AS_GZIP: &str = "Unpack the file, or pack it as zip or gzip.";
const LOOK_INSIDE: &str =
    "Open the file in a text editor: it says why the report was not delivered. Then download it again.";
const UNPACK: &str = "Unpack the outer archive and load the inner files one by one.";

const fn foreign(begins: &'static [u8], what: &'static str, next_step: &'static str) -> Foreign {
    Foreign { begins, what, next_step }
}

const BINARY: [Foreign; 11] = [
    foreign(b"\xff\xfe\0\0", "UTF-32 text", SAVE_AS_UTF8),
    foreign(b"\0\0\xfe\xff", "UTF-32 text", SAVE_AS_UTF8),
    foreign(b"%PDF-", "a PDF document", EXPORT_AS_CSV),
    foreign(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (xls)", EXPORT_AS_CSV),
    foreign(b"PAR1", "a Parquet file", EXPORT_AS_CSV),
    foreign(b"\x28\xb5\x2f\xfd", "a zstd archive", PACK_AS_GZIP),
    foreign(b"BZh91AY&SY", "a bzip2 archive", PACK_AS_GZIP),
    foreign(b"\xfd7zXZ\0", "an xz archive", PACK_AS_GZIP),
    foreign(b"7z\xbc\xaf\x27\x1c", "a 7z archive", PACK_AS_GZIP),
    foreign(b"Rar!\x1a\x07", "a rar archive", PACK_AS_GZIP),
    foreign(b"SQLite format 3\0", "an SQLite database", EXPORT_AS_CSV),
];

/// Pages that a server sends in place of a report, in lower case. White space may stand before.
const PAGES: [Foreign; 5] = [
    foreign(b"<!doctype", "an HTML page", LOOK_INSIDE),
    foreign(b"<html", "an HTML page", LOOK_INSIDE),
    foreign(b"<?xml", "an XML document", LOOK_INSIDE),
    foreign(b"<error", "an XML document", LOOK_INSIDE),
    foreign(b"{\"", "a JSON document", LOOK_INSIDE),
];

/// The container that the first bytes of a file announce.
pub(super) fn container(first: &[u8]) -> Container {
    // An archive without entries begins with its end record.
    if first.starts_with(b"PK\x03\x04") || first.starts_with(b"PK\x05\x06") {
        Container::Zip
    } else if first.starts_with(b"\x1f\x8b") {
        Container::Gzip
    } else {
        Container::Plain
    }
}

/// Refuses the first bytes of a file that is no text. Stands before anything else: UTF-32 begins like UTF-16.
pub(super) fn check_bytes(first: &[u8], file: &str) -> Result<()> {
    if container(first) != Container::Plain {
        return Err(refusal("an archive inside an archive", UNPACK, file));
    }
    match BINARY.iter().find(|foreign| first.starts_with(foreign.begins)) {
        Some(found) => Err(refusal(found.what, found.next_step, file)),
        None => Ok(()),
    }
}

/// Refuses the beginning of a text, in UTF-8 and without its byte order mark, that is no delimited text.
pub(super) fn check_text(first: &[u8], file: &str) -> Result<()> {
    if looks_like_utf16(first) {
        let what = "text that looks like UTF-16 and does not say so with a byte order mark";
        return Err(refusal(what, DECLARE_UTF16, file));
    }
    let text = first.trim_ascii_start();
    let begins = |foreign: &&Foreign| {
        text.get(..foreign.begins.len()).is_some_and(|start| start.eq_ignore_ascii_case(foreign.begins))
    };
    match PAGES.iter().find(begins) {
        Some(found) => Err(refusal(found.what, found.next_step, file)),
        None => Ok(()),
    }
}

fn refusal(what: &str, next_step: &str, file: &str) -> Error {
    Error::new(Kind::Contract, format!("the file is {what} and not delimited text"))
        .with("file", file)
        .hint(next_step)
}

/// Latin text in UTF-16 has a NUL in every other byte. UTF-8 text has none at all.
fn looks_like_utf16(first: &[u8]) -> bool {
    const LOOK_AT_PAIRS: usize = 256;
    let (pairs, _) = first.as_chunks::<2>();
    let pairs = &pairs[..pairs.len().min(LOOK_AT_PAIRS)];
    let nul_in = |side: usize| pairs.iter().filter(|pair| pair[side] == 0 && pair[1 - side] != 0).count();
    let most = nul_in(0).max(nul_in(1));
    most > 0 && most * 2 > pairs.len()
}

/// Reads until `buffer` is full or the input ends.
pub(super) fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_files_are_named() {
        let check = |bytes| check_bytes(bytes, "x.csv").and_then(|()| check_text(bytes, "x.csv"));
        let cases: [(&[u8], &str); 11] = [
            (b"a\0,\0b\0\n\0", "UTF-16"),
            (b"\0a\0,\0b\0\n", "UTF-16"),
            (b"\xff\xfe\0\0a\0\0\0", "UTF-32"),
            (b"%PDF-1.7\n", "PDF"),
            (b"\r\n <!DOCTYPE html>", "HTML"),
            (b"<HTML><body>", "HTML"),
            (b"<?xml version=\"1.0\"?><Error>", "XML"),
            (b"{\"error\":{}}", "JSON"),
            (b"PK\x03\x04....", "archive inside"),
            (b"\x1f\x8b\x08", "archive inside"),
            (b"PAR1....", "Parquet"),
        ];
        for (bytes, word) in cases {
            let error = check(bytes).unwrap_err();
            assert_eq!(error.kind(), Kind::Contract);
            assert!(error.message().contains(word), "{error:?}");
            assert!(error.hint_text().is_some(), "{error:?}");
        }
        for bytes in [&b""[..], b"a,b\n1,\0\n", b"BZh,PK,%PDF\n", b"\"{\",b\n"] {
            assert!(check(bytes).is_ok(), "{}", bytes.escape_ascii());
        }
    }
}
