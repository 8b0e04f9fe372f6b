//! The record that is being read, and its limits.

use csv_core::{ReadRecordResult, Reader};

use super::header::{self, Dialect};
use super::limits::Options;
use crate::model::RawBatch;

/// Records in the form in which the quarantine keeps them (comma, RFC 4180) as rows: each with its line, and whether text
/// stood behind a closing quote in it.
#[must_use]
pub fn batch_of_records<'a>(records: impl IntoIterator<Item = (u64, &'a [u8], bool)>) -> RawBatch {
    let mut batch = RawBatch::new();
    for (line, text, misquoted) in records {
        let mut reader = header::reader(Dialect { delimiter: b',', quotes: true });
        // A record has no more bytes of cells than of text, and no more cells than bytes and one.
        let (mut data, mut ends) = (vec![0; text.len() + 1], vec![0; text.len() + 2]);
        let (_, _, bytes, cells) = reader.read_record(text, &mut data, &mut ends);
        // An empty input is the end of the text, and so of the record.
        let (_, _, rest, last) = reader.read_record(&[], &mut data[bytes..], &mut ends[cells..]);
        // A record of nothing has one empty cell.
        let cells = (cells + last).max(1);
        batch.push_row(line, &data[..bytes + rest], &ends[..cells]);
        if misquoted {
            batch.mark_misquoted();
        }
    }
    batch
}

/// Why a record is refused, and the next step.
pub(super) struct Problem {
    pub(super) message: String,
    /// Which cell it is about, if it is about one.
    pub(super) cell: Option<usize>,
    pub(super) hint: &'static str,
}

/// The record that is being read, in buffers that are used again for the next.
pub(super) struct Record {
    reader: Reader,
    data: Vec<u8>,
    ends: Vec<usize>,
    bytes: usize,
    cells: usize,
    /// Bytes of text that the record took.
    pub(super) text_bytes: usize,
}

impl Record {
    pub(super) fn new(dialect: Dialect) -> Self {
        let reader = header::reader(dialect);
        Record { reader, data: vec![0; 16 << 10], ends: vec![0; 256], bytes: 0, cells: 0, text_bytes: 0 }
    }

    pub(super) fn clear(&mut self) {
        (self.bytes, self.cells, self.text_bytes) = (0, 0, 0);
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.data[..self.bytes]
    }

    /// How many cells there are.
    pub(super) fn width(&self) -> usize {
        self.cells
    }

    /// End of each cell in `data`.
    pub(super) fn ends(&self) -> &[usize] {
        &self.ends[..self.cells]
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends().iter().copied());
        starts.zip(self.ends()).map(|(start, &end)| &self.data[start..end])
    }

    /// Reads on in `input`; an empty input is the end of the text. Returns how many bytes were used.
    #[inline]
    pub(super) fn read(&mut self, input: &[u8]) -> (ReadRecordResult, usize) {
        let (output, ends) = (&mut self.data[self.bytes..], &mut self.ends[self.cells..]);
        let (result, used, wrote, cells) = self.reader.read_record(input, output, ends);
        self.bytes += wrote;
        self.cells += cells;
        self.text_bytes += used;
        (result, used)
    }

    // One more than allowed is kept, so that a record of exactly the largest size is told from a larger one.
    pub(super) fn grow_data(&mut self, options: &Options) -> bool {
        grow(&mut self.data, options.max_record_bytes.saturating_add(1))
    }

    pub(super) fn grow_ends(&mut self, options: &Options) -> bool {
        grow(&mut self.ends, options.max_columns.saturating_add(1))
    }

    /// Also of a record that was not read to its end: what stands behind its last whole cell is a cell, too.
    pub(super) fn over_limit(&self, options: &Options) -> Option<Problem> {
        let large_cell = || {
            let open = self.ends().last().map_or(self.bytes, |end| self.bytes - end);
            let mut lengths = self.cells().map(<[u8]>::len).chain([open]);
            lengths.position(|length| length > options.max_cell_bytes)
        };
        if self.cells > options.max_columns {
            let message = format!("a record has more than {} cells", options.max_columns);
            let hint = "If the file is genuine, raise max_columns in [decode].";
            return Some(Problem { message, cell: None, hint });
        }
        // Few records need a look at each of their cells.
        if self.bytes <= options.max_cell_bytes.min(options.max_record_bytes) {
            return None;
        }
        if let Some(cell) = large_cell() {
            let message =
                format!("cell {} of a record has more than {} bytes", cell + 1, options.max_cell_bytes);
            let hint = "Look for a quote without its partner on that line; if the file is genuine, raise max_cell_bytes in [decode].";
            return Some(Problem { message, cell: Some(cell), hint });
        }
        (self.bytes > options.max_record_bytes).then(|| Problem {
            message: format!("a record has more than {} bytes", options.max_record_bytes),
            cell: None,
            hint: "Look for a quote without its partner on that line; if the file is genuine, raise max_record_bytes in [decode].",
        })
    }
}

/// Doubles a buffer up to a limit; false when it is there already.
fn grow<T: Clone + Default>(buffer: &mut Vec<T>, limit: usize) -> bool {
    let larger = buffer.len().saturating_mul(2).min(limit);
    let grows = larger > buffer.len();
    if grows {
        buffer.resize(larger, T::default());
    }
    grows
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
