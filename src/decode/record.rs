//! The limits of a record, and records as the quarantine keeps them.

use std::borrow::Cow;

use super::encoding::transcoded;
use super::header::Dialect;
use super::limits::Options;
use super::split::{Cells, Splitter};
use crate::model::{Encoding, RawBatch};

/// Records in the form in which the quarantine keeps them (comma, RFC 4180) as rows: each with its line, and whether text
/// stood behind a closing quote in it.
#[must_use]
pub fn batch_of_records<'a>(records: impl IntoIterator<Item = (u64, &'a [u8], bool)>) -> RawBatch {
    let mut batch = RawBatch::new();
    for (line, text, misquoted) in records {
        let mut cells = Cells::default();
        Splitter::new(Dialect { delimiter: b',', quotes: true }).record(text, 0, true, &mut cells);
        let ends = cells.lengths(0).scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        let ends: Vec<usize> = ends.collect();
        batch.push_row(line, &cells.each(text).collect::<Vec<_>>().concat(), &ends);
        if misquoted {
            batch.mark_misquoted();
        }
    }
    batch
}

/// A record that was kept because its bytes are no UTF-8, read as what a person says that they are.
#[must_use]
pub fn record_as(record: &[u8], declared: Option<Encoding>) -> Cow<'_, [u8]> {
    match declared {
        Some(Encoding::Windows1252) if str::from_utf8(record).is_err() => {
            transcoded(record, Encoding::Windows1252)
        }
        _ => Cow::Borrowed(record),
    }
}

/// Why a record is refused, and the next step.
pub(super) struct Problem {
    pub(super) message: String,
    /// Which cell it is about, if it is about one.
    pub(super) cell: Option<usize>,
    pub(super) hint: &'static str,
}

/// Judges a record of so many bytes with its quotes and delimiters, and of cells of these lengths.
pub(super) fn over_limit<L: Iterator<Item = usize>>(
    bytes: usize,
    lengths: impl Fn() -> L,
    options: &Options,
) -> Option<Problem> {
    // Few records need a look at each of their cells.
    if bytes <= options.max_cell_bytes.min(options.max_record_bytes).min(options.max_columns) {
        return None;
    }
    if lengths().count() > options.max_columns {
        let message = format!("a record has more than {} cells", options.max_columns);
        let hint = "If the file is genuine, raise max_columns in [decode].";
        return Some(Problem { message, cell: None, hint });
    }
    if let Some(cell) = lengths().position(|length| length > options.max_cell_bytes) {
        let message = format!("cell {} of a record has more than {} bytes", cell + 1, options.max_cell_bytes);
        let hint = "Look for a quote without its partner on that line; if the file is genuine, raise max_cell_bytes in [decode].";
        return Some(Problem { message, cell: Some(cell), hint });
    }
    (lengths().sum::<usize>() > options.max_record_bytes).then(|| Problem {
        message: format!("a record has more than {} bytes", options.max_record_bytes),
        cell: None,
        hint: "Look for a quote without its partner on that line; if the file is genuine, raise max_record_bytes in [decode].",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_kept_reads_back_as_it_was() {
        let rows: [&[&str]; 5] =
            [&["a", "b"], &["x\"y", "", "1,5\r\n"], &["", ""], &[""], &["\u{feff}ü", "'"]];
        let mut kept = RawBatch::new();
        for (line, row) in rows.iter().enumerate() {
            let ends = row.iter().scan(0, |end, cell| {
                *end += cell.len();
                Some(*end)
            });
            kept.push_row(line as u64, row.concat().as_bytes(), &ends.collect::<Vec<_>>());
        }
        let records: Vec<Vec<u8>> = (0..kept.rows()).map(|row| kept.record(row)).collect();
        let kept_so = records.iter().zip(7..).map(|(record, line)| (line, record.as_slice(), line == 8));
        let back = batch_of_records(kept_so);
        assert!(back.is_misquoted(1) && !back.is_misquoted(2));
        assert_eq!(back.rows(), kept.rows());
        for row in 0..kept.rows() {
            assert_eq!(back.cells(row).collect::<Vec<_>>(), kept.cells(row).collect::<Vec<_>>());
            assert_eq!(back.line(row), row as u64 + 7);
        }
    }
}
