//! Text cells with their line numbers, before any typing.

use std::ops::Range;

/// Rows of text cells of one file: bytes and places, no `String` per cell.
///
/// The cells stand in one buffer, in any order and with anything between them: of a file they stay where the file has them.
/// A row may have more or fewer cells than the header: that is for `normalise` to refuse.
#[derive(Debug, Clone, Default)]
pub struct RawBatch {
    data: Vec<u8>,
    // Where each cell begins and ends in `data`.
    cells: Vec<[u32; 2]>,
    // Index into `cells` one past the last cell of each row.
    row_ends: Vec<u32>,
    lines: Vec<u64>,
    // Rows with text behind a closing quote, ascending.
    misquoted: Vec<usize>,
    // Where in `data` the text of the rows stands as it was read.
    text: Range<usize>,
}

impl RawBatch {
    #[must_use]
    pub fn new() -> Self {
        RawBatch::default()
    }

    #[must_use]
    pub fn with_capacity(bytes: usize, cells: usize, rows: usize) -> Self {
        RawBatch {
            data: Vec::with_capacity(bytes),
            cells: Vec::with_capacity(cells),
            row_ends: Vec::with_capacity(rows),
            lines: Vec::with_capacity(rows),
            misquoted: Vec::new(),
            text: 0..0,
        }
    }

    /// Rows whose cells are places in `data`, where they stand as they were read at `text`. `rows` has of each the line on
    /// which it begins and, in `cells`, one past its last cell.
    #[must_use]
    pub fn of_places(data: Vec<u8>, text: Range<usize>, cells: Vec<[u32; 2]>, rows: Vec<(u64, u32)>) -> Self {
        let (lines, row_ends) = rows.into_iter().unzip();
        RawBatch { data, cells, row_ends, lines, misquoted: Vec::new(), text }
    }

    /// The rows as they were read, with the line ends between them. Empty for rows that were put together.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.data[self.text.clone()]
    }

    /// The memory of its bytes and of its places, for another batch; empty.
    #[must_use]
    pub fn into_memory(self) -> (Vec<u8>, Vec<[u32; 2]>) {
        let (mut data, mut cells) = (self.data, self.cells);
        data.clear();
        cells.clear();
        (data, cells)
    }

    /// Appends a row whose cells are `data` cut at `ends` (ends relative to `data`), which begins on
    /// physical line `line` of its file (1-based).
    pub fn push_row(&mut self, line: u64, data: &[u8], ends: &[usize]) {
        let base = self.data.len();
        self.data.extend_from_slice(data);
        let mut start = base as u32;
        for end in ends {
            let end = (base + end) as u32;
            self.cells.push([start, end]);
            start = end;
        }
        self.row_ends.push(self.cells.len() as u32);
        self.lines.push(line);
    }

    /// Says of the last row that text stands behind a closing quote in it.
    pub fn mark_misquoted(&mut self) {
        self.misquoted.extend(self.rows().checked_sub(1));
    }

    /// The same of some rows, ascending.
    #[must_use]
    pub fn misquoted(mut self, rows: Vec<usize>) -> Self {
        self.misquoted = rows;
        self
    }

    /// Whether text stands behind a closing quote somewhere in the row.
    #[must_use]
    pub fn is_misquoted(&self, row: usize) -> bool {
        self.misquoted.binary_search(&row).is_ok()
    }

    #[must_use]
    pub fn rows(&self) -> usize {
        self.row_ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.row_ends.is_empty()
    }

    /// Bytes of all cells, and of what stands between them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The physical line on which the row begins, 1-based.
    #[must_use]
    pub fn line(&self, row: usize) -> u64 {
        self.lines[row]
    }

    /// How many cells the row has.
    #[must_use]
    pub fn width(&self, row: usize) -> usize {
        self.row_ends[row] as usize - self.row_start(row)
    }

    /// The bytes of one cell; `None` when the row is too short.
    #[must_use]
    #[inline]
    pub fn cell(&self, row: usize, column: usize) -> Option<&[u8]> {
        let index = self.row_start(row) + column;
        if index >= self.row_ends[row] as usize {
            return None;
        }
        let [start, end] = self.cells[index];
        Some(&self.data[start as usize..end as usize])
    }

    /// Where the cells of a row begin, for [`RawBatch::cell_at`]: the next cells of the row follow.
    #[must_use]
    pub fn first_cell(&self, row: usize) -> usize {
        self.row_start(row)
    }

    /// The bytes of the cell at a place that a row has.
    #[must_use]
    #[inline]
    pub fn cell_at(&self, place: usize) -> &[u8] {
        let [start, end] = self.cells[place];
        &self.data[start as usize..end as usize]
    }

    /// The first [`WORD_BYTES`] of the cell at a place, the first one lowest, with zeros behind the last of a shorter cell; and its
    /// length. `None` near the end of all bytes.
    #[must_use]
    #[inline]
    pub fn head(&self, place: usize) -> Option<(u128, u32)> {
        let [start, end] = self.cells[place];
        let bytes = self.data.get(start as usize..)?.first_chunk()?;
        let length = end - start;
        Some((u128::from_le_bytes(*bytes) & LOWEST[(length as usize).min(WORD_BYTES)], length))
    }

    /// The bytes that stand up to the end of the cell at a place, the last one lowest; before a short cell, others. `None` near
    /// the beginning of all bytes.
    #[must_use]
    #[inline]
    pub fn tail(&self, place: usize) -> Option<u128> {
        let [_, end] = self.cells[place];
        self.data.get(..end as usize)?.last_chunk().map(|bytes| u128::from_be_bytes(*bytes))
    }

    /// Looks at the memory of some rows, ascending, in its order, so that the processor fetches ahead. Whoever goes over it
    /// column by column waits otherwise for each line of the cache: that was a quarter of typing.
    pub fn touch(&self, rows: &[usize]) {
        const LINE_BYTES: usize = 64;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
        let cells = &self.cells[self.row_start(*first)..self.row_ends[*last] as usize];
        // Cells that were put together anew stand behind the text, far from the others.
        let as_read = |[start, _]: &&[u32; 2]| self.text.contains(&(*start as usize));
        let text = match (cells.iter().find(as_read), cells.iter().rfind(as_read)) {
            (Some([start, _]), Some([_, end])) => self.data.get(*start as usize..*end as usize),
            _ => None,
        };
        let text = text.unwrap_or_default().iter().step_by(LINE_BYTES);
        let places = cells.iter().step_by(LINE_BYTES / size_of::<[u32; 2]>());
        let seen = places.fold(0, |seen, [start, _]| seen ^ start);
        std::hint::black_box(text.fold(seen, |seen, byte| seen ^ u32::from(*byte)));
    }

    pub fn cells(&self, row: usize) -> impl Iterator<Item = &[u8]> {
        (0..self.width(row)).filter_map(move |column| self.cell(row, column))
    }

    /// The row as one CSV record (RFC 4180, comma, no line end): the raw text that the quarantine keeps.
    #[must_use]
    pub fn record(&self, row: usize) -> Vec<u8> {
        let mut record = Vec::new();
        for (index, cell) in self.cells(row).enumerate() {
            if index > 0 {
                record.push(b',');
            }
            let needs_quotes = cell.iter().any(|b| matches!(b, b',' | b'"' | b'\r' | b'\n'));
            if needs_quotes {
                record.push(b'"');
                for &byte in cell {
                    if byte == b'"' {
                        record.push(b'"');
                    }
                    record.push(byte);
                }
                record.push(b'"');
            } else {
                record.extend_from_slice(cell);
            }
        }
        record
    }

    /// Damages one row, for tests of the balance: drops it.
    pub fn drop_last_row(&mut self) {
        if self.row_ends.pop().is_some() {
            self.lines.pop();
            self.cells.truncate(self.row_ends.last().copied().unwrap_or(0) as usize);
        }
    }

    /// Damages one cell, for tests of the balance: changes its last digit.
    pub fn change_last_digit(&mut self, row: usize, column: usize) {
        let [start, end] = self.cells[self.row_start(row) + column];
        let cell = &mut self.data[start as usize..end as usize];
        if let Some(digit) = cell.iter_mut().rev().find(|b| b.is_ascii_digit()) {
            *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
        }
    }

    fn row_start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { self.row_ends[row - 1] as usize }
    }
}

/// Bytes that are one number.
pub const WORD_BYTES: usize = size_of::<u128>();

/// All bits of so many bytes, the lowest ones.
pub static LOWEST: [u128; WORD_BYTES + 1] = {
    let mut lowest = [0; WORD_BYTES + 1];
    let mut bytes = 1;
    while bytes <= WORD_BYTES {
        lowest[bytes] = lowest[bytes - 1] << 8 | 0xff;
        bytes += 1;
    }
    lowest
};

/// As [`RawBatch::head`], of a text that stands anywhere.
#[must_use]
pub fn head_of(text: &[u8]) -> u128 {
    let mut bytes = [0; WORD_BYTES];
    let length = text.len().min(WORD_BYTES);
    bytes[..length].copy_from_slice(&text[..length]);
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_tails_are_the_ends_of_cells() {
        let text = b"abcdefghijklmnopqrstuvwxyz";
        let mut batch = RawBatch::new();
        batch.push_row(1, text, &[0, 2, 18, 26]);
        let head = |text: &[u8]| Some((head_of(text), text.len() as u32));
        let heads = [head(b""), head(b"ab"), head(b"cdefghijklmnopqr"), None];
        assert_eq!([0, 1, 2, 3].map(|place| batch.head(place)), heads);
        assert_eq!(head_of(text), head_of(&text[..16]));
        assert_eq!(head_of(b"ab"), u128::from(u16::from_le_bytes(*b"ab")));
        assert_eq!(batch.tail(1), None);
        assert_eq!(batch.tail(3).map(u128::to_be_bytes).as_ref(), text.last_chunk());
    }

    #[test]
    fn rows_of_different_width_keep_their_cells() {
        let mut batch = RawBatch::new();
        batch.push_row(2, b"abc", &[1, 3]);
        batch.push_row(3, b"", &[]);
        batch.push_row(4, b"x\"y", &[3, 3]);
        assert_eq!(batch.rows(), 3);
        assert_eq!(batch.cells(0).collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
        assert_eq!(batch.width(1), 0);
        assert_eq!(batch.cell(2, 0), Some(&b"x\"y"[..]));
        assert_eq!(batch.cell(2, 2), None);
        assert_eq!(batch.record(2), b"\"x\"\"y\",");
        assert_eq!(batch.line(2), 4);
    }
}
