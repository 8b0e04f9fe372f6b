//! A byte of options and a text.
//!
//! What is read is what the `csv` crate reads; what it writes of that is read back; a text in UTF-16 says what the same
//! text says in UTF-8; how rows are cut into batches changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use payoutlake_fuzz::decode::Options;
use payoutlake_fuzz::model::Encoding;
use payoutlake_fuzz::{Text, read, small_limits};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let options = Options {
        quotes: choice & 1 == 0,
        encoding: [None, Some(Encoding::Windows1252), Some(Encoding::Utf16Le), Some(Encoding::Utf8)]
            [usize::from(choice >> 1 & 3)],
        ..small_limits()
    };
    // Archives are for the other target.
    if bytes.starts_with(b"PK") || bytes.starts_with(b"\x1f\x8b") {
        return;
    }
    let seen = read(bytes, &options);
    let by_rows = read(bytes, &Options { batch_bytes: 1, ..options.clone() });
    assert_eq!(seen.as_ref().map_err(ToString::to_string), by_rows.as_ref().map_err(ToString::to_string));
    let Ok(seen) = seen else { return };
    let text = &seen[0];
    if text.encoding == Encoding::Utf8 {
        let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        // The csv crate drops a second mark as well.
        if !body.starts_with(b"\xef\xbb\xbf") {
            let readings = [b',', b'\t', b';'].map(|delimiter| records(body, delimiter, options.quotes));
            assert!(readings.iter().any(|records| ends_like(records, text)), "{text:?}\n{readings:?}");
        }
        if let Ok(body) = str::from_utf8(body) {
            same_in_utf16(body, text, &options);
        }
    }
    read_back(text, &options);
});

fn records(body: &[u8], delimiter: u8, quotes: bool) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new();
    let reader = reader.delimiter(delimiter).quoting(quotes).has_headers(false).flexible(true);
    let records = reader.from_reader(body).into_byte_records().map(Result::unwrap);
    records.map(|record| record.iter().map(<[u8]>::to_vec).collect()).collect()
}

/// Whether the last records are the header and the rows.
fn ends_like(records: &[Vec<Vec<u8>>], text: &Text) -> bool {
    let Some(preamble) = records.len().checked_sub(text.rows.len() + 1) else {
        return records.is_empty() && text.header.is_empty();
    };
    let header = records[preamble].iter().map(Vec::as_slice);
    header.eq(text.header.iter().map(String::as_bytes))
        && records[preamble + 1..].iter().eq(text.rows.iter().map(|(_, cells)| cells))
}

fn same_in_utf16(body: &str, text: &Text, options: &Options) {
    let mut bytes = b"\xfe\xff".to_vec();
    bytes.extend(body.encode_utf16().flat_map(u16::to_be_bytes));
    // The beginning that decides about the layout has another length there.
    if bytes.len() > 64 << 10 || bytes.starts_with(b"\xfe\xff\0\0\xfe\xff") {
        return;
    }
    if let Ok(seen) = read(&bytes, options) {
        assert_eq!(seen[0], Text { encoding: Encoding::Utf16Be, ..text.clone() });
    } else {
        panic!("refused in UTF-16 only: {body:?}");
    }
}

/// Writes the rows as the csv crate does and reads them again. Bytes that could make the file look like one with other
/// delimiters, or like UTF-16, give way first: then nothing about the layout is in doubt.
fn read_back(text: &Text, options: &Options) {
    let plain = |cell: &Vec<u8>| -> Vec<u8> {
        let plain = |byte: &u8| match byte {
            b'\t' | b';' => b',',
            0 => b'0',
            other => *other,
        };
        cell.iter().map(plain).collect()
    };
    let rows: Vec<Vec<Vec<u8>>> =
        text.rows.iter().map(|(_, cells)| cells.iter().map(plain).collect()).collect();
    let width = rows.iter().map(Vec::len).max().unwrap_or(0).max(1) * 2;
    let header: Vec<Vec<u8>> = (0..width).map(|column| format!("column_{column}").into_bytes()).collect();
    let mut writer =
        csv::WriterBuilder::new().flexible(true).quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
    for record in std::iter::once(&header).chain(&rows) {
        writer.write_record(record).unwrap();
    }
    let written = writer.into_inner().unwrap();
    let wider = Options {
        quotes: true,
        encoding: None,
        max_columns: 200,
        max_record_bytes: 8 << 10,
        ..options.clone()
    };
    let seen = read(&written, &wider).unwrap().remove(0);
    assert_eq!(seen.header.len(), width);
    assert!(seen.rows.iter().map(|(_, cells)| cells).eq(&rows), "{rows:?}\n{seen:?}");
    assert!(!seen.misquoted.contains(&true));
}
