//! The stage as a whole: bytes in, rows and refusals out.

use std::io::{Cursor, Write};

use proptest::prelude::*;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

mod encodings;

use super::header::Dialect;
use super::limits::Growth;
use super::text::Input;
use super::*;
use crate::error::{Error, Kind, Result};
use crate::model::RawBatch;

/// All that can be seen of one text file.
#[derive(Debug, PartialEq)]
struct Seen {
    name: String,
    header: Vec<String>,
    header_line: u64,
    rows: Vec<(u64, Vec<Vec<u8>>)>,
    census: Census,
}

fn see(mut file: TextFile<'_>) -> Result<Seen> {
    let mut rows = Vec::new();
    let mut spent = RawBatch::new();
    while let Some(batch) = file.next_batch_in(spent)? {
        assert!(!batch.is_empty());
        for row in 0..batch.rows() {
            rows.push((batch.line(row), batch.cells(row).map(<[u8]>::to_vec).collect()));
        }
        spent = batch;
    }
    assert!(file.next_batch()?.is_none());
    let census = file.census();
    assert_eq!(census.records, rows.len() as u64);
    let (name, header) = (file.name().to_owned(), file.header().to_vec());
    Ok(Seen { name, header, header_line: file.header_line(), rows, census })
}

/// Through a file on disk, as the pipeline does it.
fn decode_with(bytes: &[u8], options: &Options) -> Result<Vec<Seen>> {
    let mut spool = tempfile::NamedTempFile::new().unwrap();
    spool.write_all(bytes).unwrap();
    let mut decoder = Decoder::open(spool.path(), "export", options)?;
    let mut seen = Vec::new();
    while let Some(file) = decoder.next_file()? {
        seen.push(see(file)?);
    }
    Ok(seen)
}

fn decode(bytes: &[u8]) -> Result<Vec<Seen>> {
    decode_with(bytes, &Options::default())
}

fn decode_one(text: &[u8]) -> Seen {
    let mut seen = decode(text).unwrap();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

/// In memory, with a read buffer of any size.
fn decode_in_pieces(text: &[u8], options: &Options, read_bytes: usize) -> Result<Seen> {
    let mut total_bytes = 0;
    let growth = Growth { total_bytes: &mut total_bytes, file_bytes: 0, compressed_bytes: None };
    let input = Input { reader: Box::new(Cursor::new(text)), growth, declared: None };
    see(TextFile::open_in_pieces("export".to_owned(), input, options, read_bytes)?)
}

fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9));
    for (name, bytes) in entries {
        if name.ends_with('/') {
            zip.add_directory(*name, options).unwrap();
        } else {
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
    }
    zip.finish().unwrap().into_inner()
}

fn gzip_of(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Where a zip's list of entries holds its `nth` entry.
fn central_header(zip: &[u8], nth: usize) -> usize {
    memchr::memmem::find_iter(zip, b"PK\x01\x02").nth(nth).unwrap()
}

#[track_caller]
fn refused(result: Result<Vec<Seen>>, words: &str) -> Error {
    // The rows of a large file are nothing to print.
    let error = result.map(|files| files.len()).expect_err(words);
    assert_eq!(error.kind(), Kind::Contract, "{error:?}");
    assert!(error.message().contains(words), "{error:?}");
    assert!(error.hint_text().is_some(), "{error:?}");
    assert!(fact(&error, "file").is_some_and(|file| file.starts_with("export")), "{error:?}");
    error
}

fn fact<'e>(error: &'e Error, key: &str) -> Option<&'e str> {
    error.context().iter().find(|(found, _)| *found == key).map(|(_, value)| value.as_str())
}

fn texts(seen: &Seen) -> Vec<(u64, Vec<&str>)> {
    seen.rows
        .iter()
        .map(|(line, cells)| (*line, cells.iter().map(|cell| str::from_utf8(cell).unwrap()).collect()))
        .collect()
}

const SMALL: &[u8] = b"earningId,amount\r\nE-1,1.50\r\nE-2,2.25\r\n";

#[test]
fn the_example_row() {
    let text = b"\xef\xbb\xbfearningId,name,amount,currency\r\n\"E-1\",\"Contoso, Ltd.\",12.50,USD\r\n";
    let seen = decode_one(text);
    assert_eq!(seen.header, ["earningId", "name", "amount", "currency"]);
    assert_eq!(seen.header_line, 1);
    assert_eq!(texts(&seen), [(2, vec!["E-1", "Contoso, Ltd.", "12.50", "USD"])]);
    assert_eq!(
        seen.census,
        Census { bytes: text.len() as u64, records: 1, unterminated: false, ..Census::default() }
    );
}

#[test]
fn no_rows_is_a_result() {
    for (text, header, line, unterminated) in [
        (&b""[..], vec![], 0, false),
        (b"\xef\xbb\xbf", vec![], 0, false),
        (b"\xef\xbb\xbf\r\n\r\n", vec![], 0, false),
        (b"a,b\n", vec!["a", "b"], 1, false),
        (b"\n\na,b", vec!["a", "b"], 3, true),
    ] {
        let seen = decode_one(text);
        assert_eq!(seen.header, header);
        assert_eq!(seen.header_line, line);
        assert_eq!(
            seen.census,
            Census { bytes: text.len() as u64, records: 0, unterminated, ..Census::default() }
        );
        assert!(seen.rows.is_empty());
    }
}

#[test]
fn rows_pass_as_they_are() {
    let text = b"Report of Contoso\r\n\r\nid\tname\tnote\r1\tx \"y\"\t\n\n2\t\"a\r\nb\rc\nd\"\r\n\r\n3\t\"q\"\"\"z\t\xff\t4\n5\t6\t7";
    let seen = decode_one(text);
    assert_eq!(seen.header, ["id", "name", "note"]);
    assert_eq!(seen.header_line, 3);
    let cells = |cells: &[&[u8]]| cells.iter().map(|cell| cell.to_vec()).collect::<Vec<_>>();
    let expected = [
        (4, cells(&[b"1", b"x \"y\"", b""])),
        (6, cells(&[b"2", b"a\r\nb\rc\nd"])),
        (11, cells(&[b"3", b"q\"z", b"\xff", b"4"])),
        (12, cells(&[b"5", b"6", b"7"])),
    ];
    assert_eq!(seen.rows, expected);
    assert!(seen.census.unterminated);
}

#[test]
fn what_stands_above_the_header_is_told_or_refused() {
    let count = |text: &[u8]| {
        let mut spool = tempfile::NamedTempFile::new().unwrap();
        spool.write_all(text).unwrap();
        let mut decoder = Decoder::open(spool.path(), "export", &Options::default()).unwrap();
        let mut file = decoder.next_file().unwrap().unwrap();
        while file.next_batch().unwrap().is_some() {}
        (file.counted().preamble, file.counted().records)
    };
    assert_eq!(count(SMALL), (0, 2));
    assert_eq!(count(b"Report\n\nby me\nid,amount,name\n1,2,x\n"), (2, 1));
    assert_eq!(count(b"Report,,\nid,amount,name\n1,2,x\n"), (1, 1));
    // A file that was sorted: its header stands where the sort has put it.
    for text in [
        "1,2,x\n3,4,y\nid,amount,name\n",
        "Report\n1,2,x\nid,amount,name\n3,4,y\n",
        "1,2,x,\nid,amount,name\n",
    ] {
        let error = refused(decode(text.as_bytes()), "a record above the header has");
        assert!(fact(&error, "line").is_some() && fact(&error, "header on line").is_some(), "{error:?}");
    }
}

#[test]
fn a_quote_that_takes_whole_rows_is_refused() {
    let header = "a,b,c,d,e,f,g,h\n";
    let rows = "1,2,3,4,5,6,7,\"8\n1,2,3,4,5,6,7,8\n1,2,3,4,5,6,7,8\"\n";
    let swallowed = format!("{header}{rows}");
    let error = refused(decode(swallowed.as_bytes()), "takes 3 whole rows into one");
    assert_eq!(fact(&error, "line"), Some("2"));
    assert!(error.hint_text().unwrap().contains("--no-quotes"));
    let options = Options { quotes: false, ..Options::default() };
    assert_eq!(decode_with(swallowed.as_bytes(), &options).unwrap()[0].rows.len(), 3);
    // Lines of a cell that are no rows, also where some have as many commas.
    for cell in ["8\nto be continued\n\n", "8\n1,2,3,4,5,6,7,8\nand so on", "1,2,3,4,5,6,7,8\n9"] {
        let text = format!("{header}1,2,3,4,5,6,7,\"{cell}\"\n");
        assert_eq!(decode_one(text.as_bytes()).rows[0].1[7], cell.as_bytes());
    }
    let open = refused(decode(format!("{header}1,2,3,4,5,6,7,\"8\n").as_bytes()), "ends in the middle");
    assert!(open.hint_text().unwrap().contains("--no-quotes"), "{open:?}");
}

#[test]
fn blank_lines_are_no_rows_however_many() {
    let blank = "\n".repeat(1 << 20);
    let text = format!("{blank}a,b\n1,2\n{blank}\r\n3,4\n{blank}");
    for options in [Options::default(), Options { batch_bytes: 1, ..Options::default() }] {
        let seen = decode_with(text.as_bytes(), &options).unwrap();
        let lines: Vec<u64> = seen[0].rows.iter().map(|(line, _)| *line).collect();
        assert_eq!((seen[0].header_line, lines), ((1 << 20) + 1, vec![(1 << 20) + 2, (2 << 20) + 4]));
    }
}

#[test]
fn a_title_with_odd_quotes_hides_no_odd_row() {
    let text = b"\"Trans\"action history\na,b\n\"1\"x,2\n3,4\n";
    let mut spool = tempfile::NamedTempFile::new().unwrap();
    spool.write_all(text).unwrap();
    let mut decoder = Decoder::open(spool.path(), "export", &Options::default()).unwrap();
    let batch = decoder.next_file().unwrap().unwrap().next_batch().unwrap().unwrap();
    assert_eq!([batch.is_misquoted(0), batch.is_misquoted(1)], [true, false]);
}

#[test]
fn a_second_byte_order_mark_is_text() {
    let seen = decode_one(b"\xef\xbb\xbf\xef\xbb\xbfa,b\n\xef\xbb\xbf\n");
    assert_eq!(seen.header, ["\u{feff}a", "b"]);
    assert_eq!(texts(&seen), [(2, vec!["\u{feff}"])]);
}

#[test]
fn a_zip_gives_its_entries_in_order() {
    let zip = zip_of(&[
        ("x/", b""),
        ("x/2026-09_2.csv", SMALL),
        ("__MACOSX/x/._2026-09_2.csv", b"\0\x05\x16\x07"),
        ("2026-09_1.csv", b"name;id\nz;9\n"),
        ("empty.csv", b""),
    ]);
    let seen = decode(&zip).unwrap();
    let names: Vec<_> = seen.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["export!x/2026-09_2.csv", "export!2026-09_1.csv", "export!empty.csv"]);
    assert_eq!(texts(&seen[0]), [(2, vec!["E-1", "1.50"]), (3, vec!["E-2", "2.25"])]);
    assert_eq!(texts(&seen[1]), [(2, vec!["z", "9"])]);
    assert!(seen[2].header.is_empty() && seen[2].rows.is_empty());
    assert!(decode(&zip_of(&[])).unwrap().is_empty());
}

#[test]
fn a_large_file_is_read_across_all_buffers() {
    let mut text = b"id,note\r\n".to_vec();
    for id in 0..50_000 {
        text.extend(format!("{id},\"note\n{id}, \"\"x\"\"\"\r\n").bytes());
    }
    for bytes in [text.clone(), gzip_of(&text)] {
        let seen = decode_one(&bytes);
        assert_eq!(seen.rows.len(), 50_000);
        assert_eq!(seen.census.bytes, text.len() as u64);
        for (id, (line, cells)) in seen.rows.iter().enumerate() {
            assert_eq!(*line, 2 + 2 * id as u64);
            assert_eq!(cells[0], id.to_string().into_bytes());
            assert_eq!(cells[1], format!("note\n{id}, \"x\"").into_bytes());
        }
    }
}

#[test]
fn gzip_members_are_one_text() {
    let gzip = [gzip_of(&SMALL[..20]), gzip_of(&SMALL[20..])].concat();
    assert_eq!(decode_one(&gzip), decode_one(SMALL));
}

#[test]
fn the_container_is_told_by_its_bytes() {
    for (bytes, container) in
        [(SMALL.to_vec(), Container::Plain), (gzip_of(SMALL), Container::Gzip), (zip_of(&[]), Container::Zip)]
    {
        let mut spool = tempfile::Builder::new().suffix(".pdf").tempfile().unwrap();
        spool.write_all(&bytes).unwrap();
        let decoder = Decoder::open(spool.path(), "export", &Options::default()).unwrap();
        assert_eq!(decoder.container(), container);
    }
    let missing = Decoder::open("/nowhere/at/all".as_ref(), "export", &Options::default()).err().unwrap();
    assert_eq!(missing.kind(), Kind::Destination);
}

#[test]
fn a_file_that_ends_in_the_middle_of_a_record_is_refused() {
    let cut_short = "ends in the middle of its last record";
    let error = refused(decode(b"a,b,c\n1,2,3\n4,5"), cut_short);
    assert_eq!(fact(&error, "line"), Some("3"));
    let error = refused(decode(b"a,b,c\n1,2,3\n4,5,\"6\n7,8,9\n"), cut_short);
    assert_eq!(fact(&error, "line"), Some("3"));
    refused(decode(b"a,b,\"c"), cut_short);
    assert!(decode_one(b"a,b,c\n1,2,3\n4,5,").census.unterminated);
    assert!(decode_one(b"a,b,c\n1,2,\"3\"").census.unterminated);
    // A short record with its line end is for the next stage.
    assert_eq!(decode_one(b"a,b,c\n1,2,3\n4,5\n").rows.len(), 2);
}

#[test]
fn limits_name_the_line() {
    let options = Options { max_cell_bytes: 5, max_record_bytes: 12, max_columns: 4, ..Options::default() };
    let fits = b"a,b\n12345,\"12345\"\n1,2,3,4\n";
    assert_eq!(decode_with(fits, &options).unwrap()[0].rows.len(), 2);
    for (row, words) in [
        ("1,123456", "cell 2 of a record has more than 5 bytes"),
        ("12345,12345,123", "a record has more than 12 bytes"),
        ("1,2,3,4,5", "a record has more than 4 cells"),
    ] {
        let error = refused(decode_with(format!("a,b\n1,2\n{row}\n").as_bytes(), &options), words);
        assert_eq!(fact(&error, "line"), Some("3"), "{error:?}");
    }
    // Far beyond the buffers that a record starts with.
    let wide = format!("a,b\n{}\n", ",".repeat(100_000));
    refused(decode(wide.as_bytes()), "a record has more than 2000 cells");
    let open_quote = format!("a,b\n\"{}", "x,y\n".repeat(5_000_000));
    let error = refused(decode(open_quote.as_bytes()), "cell 1 of a record has more than 1048576 bytes");
    assert_eq!((fact(&error, "line"), fact(&error, "column")), (Some("2"), Some("a")));
    let large = format!("a,b\n1,{}\n", "x".repeat(10 << 20));
    let error = refused(decode(large.as_bytes()), "cell 2 of a record has more than 1048576 bytes");
    assert_eq!((fact(&error, "line"), fact(&error, "column")), (Some("2"), Some("b")));
    let large = format!("a,b\n{},{}\n", "x".repeat(1 << 20), "y".repeat(1 << 20));
    assert_eq!(decode_one(large.as_bytes()).rows[0].1[1].len(), 1 << 20);
}

#[test]
fn after_a_refusal_every_call_fails() {
    let options = Options { batch_bytes: 1, ..Options::default() };
    let mut spool = tempfile::NamedTempFile::new().unwrap();
    spool.write_all(b"a,b,c\n1,2,3\n4,5").unwrap();
    let mut decoder = Decoder::open(spool.path(), "export", &options).unwrap();
    let mut file = decoder.next_file().unwrap().unwrap();
    assert_eq!(file.next_batch().unwrap().unwrap().rows(), 1);
    assert!(file.next_batch().is_err());
    assert!(file.next_batch().is_err());
}

#[test]
fn bombs_are_refused() {
    let bomb = [b"name,city\n".to_vec(), b"aaaaaaaaa\n".repeat(2_000_000)].concat();
    let ratio = "expand to more than 200 times as many";
    refused(decode(&gzip_of(&bomb)), ratio);
    refused(decode(&zip_of(&[("a.csv", SMALL), ("b.csv", &bomb)])), ratio);
    // Below 10 MiB nobody minds.
    assert_eq!(decode_one(&gzip_of(&bomb[..1_000_000])).rows.len(), 99_999);

    let options = Options { max_expanded_bytes: 60, ..Options::default() };
    assert!(decode_with(&zip_of(&[("a.csv", SMALL)]), &options).is_ok());
    refused(
        decode_with(&zip_of(&[("a.csv", SMALL), ("b.csv", SMALL)]), &options),
        "more than 60 bytes of text",
    );

    let options = Options { max_entries: 2, ..Options::default() };
    let three = zip_of(&[("a.csv", SMALL), ("b.csv", SMALL), ("c.csv", SMALL)]);
    refused(decode_with(&three, &options), "has 3 entries, more than 2");

    // Two entries share one piece of data.
    let mut overlap = zip_of(&[("a.csv", SMALL), ("b.csv", SMALL)]);
    let second = central_header(&overlap, 1);
    overlap[second + 42..second + 46].fill(0);
    refused(decode(&overlap), "overlap");
}

#[test]
fn many_entries_are_refused_before_they_are_listed() {
    // End records that state entries which are not there; the second one is of zip64.
    let end = |entries: u16| [&b"PK\x05\x06\0\0\0\0\0\0"[..], &entries.to_le_bytes(), &[0; 10]].concat();
    refused(decode(&end(50_000)), "has 50000 entries");
    let mut zip64 =
        [&b"PK\x03\x04PK\x06\x06"[..], &[0; 28], &77_000_000_u64.to_le_bytes(), &[0; 16]].concat();
    zip64.extend(b"PK\x06\x07\0\0\0\0\x04\0\0\0\0\0\0\0\x01\0\0\0");
    zip64.extend(end(u16::MAX));
    refused(decode(&zip64), "has 77000000 entries");
}

#[test]
fn strange_archives_are_refused() {
    refused(
        decode(&zip_of(&[("[Content_Types].xml", b"<?xml?>"), ("xl/workbook.xml", b"")])),
        "Office document",
    );
    let error =
        refused(decode(&zip_of(&[("in.zip", &zip_of(&[("a.csv", SMALL)]))])), "an archive inside an archive");
    assert_eq!(fact(&error, "file"), Some("export!in.zip"));
    refused(decode(&gzip_of(&gzip_of(SMALL))), "an archive inside an archive");
    refused(decode(b"\xef\xbb\xbf<?xml version=\"1.0\"?><Error/>"), "XML");

    let good = zip_of(&[("a.csv", SMALL), ("b.csv", SMALL)]);
    let second = central_header(&good, 1);
    let changed = |at: usize, bytes: &[u8]| {
        let mut zip = good.clone();
        zip[at..at + bytes.len()].copy_from_slice(bytes);
        decode(&zip)
    };
    // Places in an entry of the list: APPNOTE.TXT 4.3.12.
    let error = refused(changed(second + 8, b"\x01"), "encrypted");
    assert_eq!(fact(&error, "file"), Some("export!b.csv"));
    refused(changed(second + 10, b"\x0c"), "method that is not supported");
    refused(changed(second + 46, b"a.csv"), "same name");
    refused(changed(second + 46, b"../ab"), "name that no export has");
    refused(changed(second + 46, b"b.cs/"), "contents of its own");
    refused(changed(second + 24, b"\xff"), "the archive states");
    refused(changed(second + 24, b"\x01"), "the archive states");
    refused(changed(second + 16, b"\0\0\0\0"), "damaged");
}

#[test]
fn damaged_and_shortened_archives_are_refused() {
    let zip = zip_of(&[("a.csv", SMALL)]);
    for length in 4..zip.len() {
        refused(decode(&zip[..length]), "damaged or cut short");
    }
    let gzip = gzip_of(SMALL);
    for length in 2..gzip.len() {
        refused(decode(&gzip[..length]), "damaged or cut short");
    }
    let mut wrong = gzip.clone();
    let check = wrong.len() - 8;
    wrong[check] ^= 1;
    refused(decode(&wrong), "damaged or cut short");
    refused(decode(&[gzip, b"more".to_vec()].concat()), "damaged or cut short");
}

/// Texts in which everything that matters to the reader is frequent.
fn tricky_text() -> impl Strategy<Value = Vec<u8>> {
    let byte = proptest::sample::select(&b"aaa1,,;\t\"\"\"\r\n\n\xef\xbb\xbf\xff"[..]);
    proptest::collection::vec(byte, 0..120)
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        3 => "[a-z0-9 .,;\t]{0,6}",
        2 => "[a\"\r\n,é漢]{0,5}",
        1 => any::<String>(),
    ]
}

fn table() -> impl Strategy<Value = Vec<Vec<String>>> {
    (1_usize..6).prop_flat_map(|width| {
        proptest::collection::vec(proptest::collection::vec(cell(), width..=width), 0..12)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_csv_crate_writes_is_read_back(
        rows in table(),
        delimiter in proptest::sample::select(&b",\t;"[..]),
        terminator in proptest::sample::select(vec![
            csv::Terminator::CRLF, csv::Terminator::Any(b'\n'), csv::Terminator::Any(b'\r'),
        ]),
        always_quoted in any::<bool>(),
        bom in any::<bool>(),
    ) {
        let width = rows.first().map_or(2, Vec::len).max(2);
        let header: Vec<String> = (0..width).map(|column| format!("column_{column}")).collect();
        let style = if always_quoted { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
        let mut text = if bom { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        let mut expected = Vec::new();
        for (index, row) in std::iter::once(&header).chain(&rows).enumerate() {
            let before = String::from_utf8(text.clone()).unwrap().replace("\r\n", "\n").replace('\r', "\n");
            let line = 1 + before.matches('\n').count() as u64;
            let mut writer = csv::WriterBuilder::new()
                .delimiter(delimiter).terminator(terminator).quote_style(style).from_writer(Vec::new());
            writer.write_record(row).unwrap();
            text.extend(writer.into_inner().unwrap());
            if index > 0 {
                expected.push((line, row.iter().map(|cell| cell.clone().into_bytes()).collect::<Vec<_>>()));
            }
        }
        // In a small table full of delimiters another reading can be as good.
        let layout = header::find(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text), 20, true);
        prop_assume!(layout == header::Layout { delimiter, preamble_records: 0 });
        let seen = decode_one(&text);
        prop_assert_eq!(seen.header, header);
        prop_assert_eq!(seen.rows, expected);
        prop_assert_eq!(seen.census.bytes, text.len() as u64);
        prop_assert!(!seen.census.unterminated);
    }

    #[test]
    fn rows_do_not_depend_on_the_cut(text in tricky_text(), read_bytes in 1_usize..9, batch_bytes in 0_usize..30) {
        let whole = decode_in_pieces(&text, &Options::default(), 1 << 10);
        let options = Options { batch_bytes, ..Options::default() };
        let pieces = decode_in_pieces(&text, &options, read_bytes);
        prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    }

    #[test]
    fn the_reader_the_census_and_the_csv_crate_count_the_same(text in tricky_text()) {
        let body = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        let layout = header::find(body, Options::default().max_preamble_lines, true);
        // The csv crate drops a second mark as well; a cell cannot begin with one here.
        prop_assume!(!body.starts_with(b"\xef\xbb\xbf"));
        let mut oracle = csv::ReaderBuilder::new()
            .delimiter(layout.delimiter).has_headers(false).flexible(true).from_reader(body);
        let records: Vec<csv::ByteRecord> = oracle.byte_records().map(|record| record.unwrap()).collect();
        let mut counter = census::Counter::new(Dialect { delimiter: layout.delimiter, quotes: true });
        counter.feed(body);
        prop_assert_eq!(counter.records(), records.len() as u64);
        match decode_in_pieces(&text, &Options::default(), 7) {
            Ok(seen) => {
                let rows = records.iter().skip(layout.preamble_records + 1);
                let rows: Vec<Vec<Vec<u8>>> = rows.map(|row| row.iter().map(<[u8]>::to_vec).collect()).collect();
                prop_assert_eq!(seen.rows.into_iter().map(|row| row.1).collect::<Vec<_>>(), rows);
            }
            Err(error) => prop_assert!(
                ["ends in the middle", "not UTF-8", "not delimited text", "like a row"].iter().any(|words| error.message().contains(words)),
                "{:?}", error
            ),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(start in 0_usize..5, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let starts: [&[u8]; 5] = [b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08\0", b"\xef\xbb\xbf"];
        if let Err(error) = decode(&[starts[start], &bytes].concat()) {
            prop_assert_eq!(error.kind(), Kind::Contract);
        }
    }

    #[test]
    fn a_changed_byte_in_an_archive_changes_no_row(
        gzip in any::<bool>(), at in any::<proptest::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut packed = if gzip { gzip_of(SMALL) } else { zip_of(&[("a.csv", SMALL)]) };
        let at = at.index(packed.len());
        // The first bytes say what the file is; another start is another file.
        prop_assume!(at >= 4);
        packed[at] = byte;
        match decode(&packed) {
            Ok(seen) => for file in seen {
                prop_assert_eq!(&file.rows, &decode_one(SMALL).rows);
            },
            Err(error) => prop_assert_eq!(error.kind(), Kind::Contract),
        }
    }
}

#[test]
fn text_behind_a_closing_quote_marks_its_record() {
    let text = b"a,b\n\"1\",2\n\"3\"x,4\n5,\"6\" \n\"7\"\"\",8\n9,\"10\"";
    for read_bytes in 1..text.len() {
        let mut total_bytes = 0;
        let growth = Growth { total_bytes: &mut total_bytes, file_bytes: 0, compressed_bytes: None };
        let input = Input { reader: Box::new(&text[..]), growth, declared: None };
        let options = Options::default();
        let mut file = TextFile::open_in_pieces("t.csv".to_owned(), input, &options, read_bytes).unwrap();
        let mut marked = Vec::new();
        while let Some(batch) = file.next_batch().unwrap() {
            marked.extend((0..batch.rows()).map(|row| batch.is_misquoted(row)));
        }
        assert_eq!(marked, [false, true, true, false, false], "in pieces of {read_bytes}");
    }
}
