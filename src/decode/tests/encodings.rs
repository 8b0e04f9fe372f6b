//! Texts that are not UTF-8, and texts whose quotes are none.

use proptest::prelude::*;

use super::*;
use crate::model::Encoding;

const TEXT: &str = "earningId,name,amount\r\nE-1,\"Größe, \"\"漢\"\"\r\n😀\",1.50\rE-2,naïve,2.25\n";

fn utf16(text: &str, big: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

fn declared(encoding: Encoding) -> Options {
    Options { encoding: Some(encoding), ..Options::default() }
}

#[test]
fn utf16_says_what_utf8_says() {
    let plain = decode_one(TEXT.as_bytes());
    for big in [false, true] {
        let encoding = if big { Encoding::Utf16Be } else { Encoding::Utf16Le };
        let marked = utf16(&format!("\u{feff}{TEXT}"), big);
        let bare = utf16(TEXT, big);
        // A header of which nothing is Latin is told by nobody but a person.
        let foreign = utf16(&TEXT.replace("earningId", "漢漢漢漢"), big);
        for (bytes, options) in [
            (marked.clone(), Options::default()),
            (marked.clone(), declared(Encoding::Windows1252)),
            (bare.clone(), Options::default()),
            (bare, declared(encoding)),
            (foreign, declared(encoding)),
        ] {
            let length = bytes.len() as u64;
            for packed in [bytes.clone(), gzip_of(&bytes), zip_of(&[("a.csv", &bytes)])] {
                let seen = decode_with(&packed, &options).unwrap().remove(0);
                assert_eq!(seen.header[1..], plain.header[1..]);
                assert_eq!(seen.rows, plain.rows);
                assert_eq!(seen.census, Census { bytes: length, ..plain.census.clone() });
            }
        }
        let mut page = utf16("\u{feff}<!DOCTYPE html>", big);
        refused(decode(&page), "HTML");
        page.pop();
        refused(decode(&[&marked[..], b"x"].concat()), "in the middle of a character");
        refused(decode(&utf16("\u{feff}a,b,c\n1,2,3\n4,5", big)), "ends in the middle of its last record");
        // Mostly NULs in turn, and not surely so.
        refused(decode(&utf16("漢,name,amount,currency\n1,2,3,4\n", big)), "looks like UTF-16");
        assert!(decode_one(&utf16("\u{feff}", big)).header.is_empty());
    }
}

#[test]
fn windows_1252_is_read_when_declared_and_refused_when_not() {
    let text = b"earningId,name\nE-1,M\xfcller \x96 \x80 5\nE-2,\x81\n";
    let seen = decode_with(text, &declared(Encoding::Windows1252)).unwrap().remove(0);
    assert_eq!(seen.rows[0].1[1], "Müller – € 5".as_bytes());
    assert!(
        str::from_utf8(&seen.rows[1].1[1]).is_err(),
        "a byte without a character is for the next stage to refuse"
    );
    assert!(str::from_utf8(&decode_one(text).rows[0].1[1]).is_err());
    // A mark is believed before a person.
    let marked = [b"\xef\xbb\xbf", TEXT.as_bytes()].concat();
    assert_eq!(
        decode_with(&marked, &declared(Encoding::Windows1252)).unwrap()[0].rows,
        decode_one(TEXT.as_bytes()).rows
    );
    let error = refused(decode(b"earningId,Gr\xf6\xdfe\n1,2\n"), "the header is not UTF-8 text");
    assert_eq!((fact(&error, "line"), fact(&error, "cell")), (Some("1"), Some("2")));
    assert_eq!(fact(&error, "byte"), Some("0xf6 in 'Gr\\xf6\\xdfe'"));
}

#[test]
fn quotes_are_text_when_a_person_says_so() {
    let text = b"id\tname\tnote\n1\t\"Alpha\" GmbH\t\"open\n2\t\"b\"\t\"\n";
    let options = Options { quotes: false, ..Options::default() };
    let seen = decode_with(text, &options).unwrap().remove(0);
    assert_eq!(texts(&seen), [(2, vec!["1", "\"Alpha\" GmbH", "\"open"]), (3, vec!["2", "\"b\"", "\""])]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn neither_the_encoding_nor_the_cut_changes_a_row(
        text in "[abc1,;\t\"\r\nßé漢😀]{0,80}", big in any::<bool>(), read_bytes in 1_usize..9, batch_bytes in 0_usize..30,
    ) {
        let bytes = utf16(&format!("\u{feff}{text}"), big);
        let whole = decode_in_pieces(text.as_bytes(), &Options::default(), 1 << 10);
        let options = Options { batch_bytes, ..Options::default() };
        let pieces = decode_in_pieces(&bytes, &options, read_bytes);
        // The size of a text in bytes is all that differs.
        let without_bytes = |seen: Result<Seen>| seen.map(|seen| Seen { census: Census { bytes: 0, ..seen.census }, ..seen });
        prop_assert_eq!(format!("{:?}", without_bytes(whole)), format!("{:?}", without_bytes(pieces)));
    }

    #[test]
    fn declared_bytes_are_read_however_they_are_cut(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), read_bytes in 1_usize..9, choice in 0_usize..3, quotes in any::<bool>(),
    ) {
        let encoding = [Encoding::Utf16Le, Encoding::Utf16Be, Encoding::Windows1252][choice];
        let options = Options { quotes, ..declared(encoding) };
        let whole = decode_in_pieces(&bytes, &options, 1 << 10);
        let pieces = decode_in_pieces(&bytes, &Options { batch_bytes: 1, ..options }, read_bytes);
        prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    }
}
