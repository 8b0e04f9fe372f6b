//! Which record is the header, and what parts its cells.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// Tried in this order; the first of equals wins.
const DELIMITERS: [u8; 3] = [b',', b'\t', b';'];

/// A longer cell is no column name. The longest that Microsoft uses has 35 bytes.
const MAX_NAME_BYTES: usize = 200;

/// What parts cells, and whether a quote at the start of a cell quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quotes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) delimiter: u8,
    /// How many records stand before the header.
    pub(super) preamble_records: usize,
}

/// How one record looks under one delimiter.
struct Shape {
    cells: usize,
    /// More than half of its cells say something, and none is long or begins like a number or a date.
    reads_like_names: bool,
}

/// Finds the header in the beginning of a text, after the byte order mark.
///
/// Under each delimiter the header is the first record that reads like names and is more than half as wide as the
/// widest record that does; titles before a table are narrow, or padded with empty cells by a spreadsheet. Without
/// such a record it is the first one that is more than half as wide as the widest of all.
///
/// Between delimiters, a header that reads like names wins over one that does not, then the one that explains more
/// cells: its width times the records that are as wide. Only the first `max_preamble + 1` records are looked at.
pub(super) fn find(beginning: &[u8], max_preamble: usize, quotes: bool) -> Layout {
    let mut best = None;
    for delimiter in DELIMITERS {
        let shapes = shapes(beginning, Dialect { delimiter, quotes }, max_preamble.saturating_add(1));
        let named = named_header(&shapes);
        let Some(index) = named.or_else(|| wide_header(&shapes)) else {
            continue;
        };
        let cells = shapes[index].cells;
        let as_wide = shapes[index..].iter().filter(|shape| shape.cells == cells).count();
        let score = (named.is_some(), cells * as_wide);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, Layout { delimiter, preamble_records: index }));
        }
    }
    best.map_or(Layout { delimiter: DELIMITERS[0], preamble_records: 0 }, |(_, layout)| layout)
}

fn named_header(shapes: &[Shape]) -> Option<usize> {
    let widest = shapes.iter().filter(|shape| shape.reads_like_names).map(|shape| shape.cells).max()?;
    let found = shapes.iter().position(|shape| shape.reads_like_names && shape.cells * 2 > widest);
    found.filter(|_| widest > 1)
}

fn wide_header(shapes: &[Shape]) -> Option<usize> {
    let widest = shapes.iter().map(|shape| shape.cells).max()?;
    shapes.iter().position(|shape| shape.cells * 2 > widest)
}

fn shapes(text: &[u8], dialect: Dialect, most: usize) -> Vec<Shape> {
    let mut reader = reader(dialect);
    // No cell is longer than the text, and no record has more cells than bytes and one.
    let (mut output, mut ends) = (vec![0; text.len() + 1], vec![0; text.len() + 1]);
    let mut shapes = Vec::new();
    let mut rest = text;
    while shapes.len() < most {
        let (mut result, used, wrote, mut cells) = reader.read_record(rest, &mut output, &mut ends);
        rest = &rest[used..];
        // What follows the beginning is not known: the record that it cuts off counts only if it is the first.
        if result == ReadRecordResult::InputEmpty && shapes.is_empty() {
            let last;
            (result, _, _, last) = reader.read_record(&[], &mut output, &mut ends[cells..]);
            cells += last;
        }
        if result != ReadRecordResult::Record {
            break;
        }
        shapes.push(shape(&output[..wrote], &ends[..cells]));
    }
    shapes
}

fn shape(data: &[u8], ends: &[usize]) -> Shape {
    let mut start = 0;
    let mut said = 0;
    let mut names = true;
    for &end in ends {
        let cell = data[start..end].trim_ascii();
        start = end;
        said += usize::from(!cell.is_empty());
        names &= cell.len() <= MAX_NAME_BYTES && !begins_like_a_number(cell);
    }
    Shape { cells: ends.len(), reads_like_names: names && said * 2 > ends.len() }
}

fn begins_like_a_number(cell: &[u8]) -> bool {
    let unsigned = cell.strip_prefix(b"-").or(cell.strip_prefix(b"+")).unwrap_or(cell);
    unsigned.first().is_some_and(u8::is_ascii_digit)
}

/// The reader for a dialect. It has left the start of the file behind, where it would drop a second byte order
/// mark that the rest of this stage takes for text.
pub(super) fn reader(dialect: Dialect) -> Reader {
    let mut reader = ReaderBuilder::new().delimiter(dialect.delimiter).quoting(dialect.quotes).build();
    let _ = reader.read_record(b"\n", &mut [0], &mut [0]);
    reader
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_found() {
        let cases: [(&str, u8, usize); 18] = [
            ("", b',', 0),
            ("name", b',', 0),
            ("name\nvalue\n", b',', 0),
            ("earningId,amount\n1,2\n", b',', 0),
            ("earningId,amount", b',', 0),
            ("earningId\tamount\n1\t2,5\n", b'\t', 0),
            ("earningId;amount\n1;2,5\n", b';', 0),
            // Titles, also with delimiters of their own, and blank lines between.
            ("Transaction history\n\nearningId,amount,currency\n1,2,USD\n", b',', 1),
            ("Report,Contoso\nBy,me; you; them\n\nid,amount,currency,name,day\n1,2,USD,x,y\n", b',', 2),
            // A spreadsheet pads titles to the width of the table.
            ("Transaction history,,,,\nid,amount,currency,name,day\n1,2,USD,x,y\n", b',', 1),
            ("Created,2026-09-01\nid,amount,currency\n1,2,USD\n", b',', 1),
            // The first row is ragged.
            ("id,amount,currency\n1,2\n1,2,USD\n", b',', 0),
            ("id,amount,currency\n1,2,USD,,,\n1,2,USD\n", b',', 0),
            // A quoted cell with other delimiters in it.
            ("id,\"a;b;c;d\",currency\n1,2,USD\n", b',', 0),
            // Rows with more of another delimiter than the table has columns.
            ("id\tname\n1\t,,\n2\t;;;;\n", b'\t', 0),
            ("id,name,city\n1,a;b;c;d;e,x\n2,b,y\n3,c,z\n", b',', 0),
            // No record reads like names.
            ("title\n1,2,3\n4,5,6\n", b',', 1),
            // Words in every row: the first wins.
            ("name,city\nContoso,Oslo\n", b',', 0),
        ];
        for (text, delimiter, preamble_records) in cases {
            assert_eq!(find(text.as_bytes(), 20, true), Layout { delimiter, preamble_records }, "{text:?}");
        }
        assert_eq!(find(b"a\nb\nc\nid,name\n", 2, true).preamble_records, 0);
        assert_eq!(find(b"a\nb\nc\nid,name\n", 3, true).preamble_records, 3);
    }
}
