//! Text cells with their line numbers, before any typing.

/// Rows of text cells of one file: bytes and offsets, no `String` per cell.
///
/// The cells of all rows stand one after another in one buffer, without quotes and delimiters.
/// A row may have more or fewer cells than the header: that is for `normalise` to refuse.
#[derive(Debug, Clone, Default)]
pub struct RawBatch {
    data: Vec<u8>,
    // End of each cell in `data`; a cell begins where the one before it ends.
    cell_ends: Vec<usize>,
    // Index into `cell_ends` one past the last cell of each row.
    row_ends: Vec<usize>,
    lines: Vec<u64>,
    // Rows with text behind a closing quote, ascending.
    misquoted: Vec<usize>,
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
            cell_ends: Vec::with_capacity(cells),
            row_ends: Vec::with_capacity(rows),
            lines: Vec::with_capacity(rows),
            misquoted: Vec::new(),
        }
    }

    /// Appends a row whose cells are `data` cut at `ends` (ends relative to `data`), which begins on
    /// physical line `line` of its file (1-based).
    pub fn push_row(&mut self, line: u64, data: &[u8], ends: &[usize]) {
        let base = self.data.len();
        self.data.extend_from_slice(data);
        self.cell_ends.extend(ends.iter().map(|end| base + end));
        self.row_ends.push(self.cell_ends.len());
        self.lines.push(line);
    }

    /// Says of the last row that text stands behind a closing quote in it.
    pub fn mark_misquoted(&mut self) {
        self.misquoted.extend(self.rows().checked_sub(1));
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

    /// Bytes of all cells.
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
        self.row_ends[row] - self.row_start(row)
    }

    /// The bytes of one cell; `None` when the row is too short.
    #[must_use]
    #[inline]
    pub fn cell(&self, row: usize, column: usize) -> Option<&[u8]> {
        let index = self.row_start(row) + column;
        if index >= self.row_ends[row] {
            return None;
        }
        let start = if index == 0 { 0 } else { self.cell_ends[index - 1] };
        Some(&self.data[start..self.cell_ends[index]])
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
            let cells = self.row_ends.last().copied().unwrap_or(0);
            self.cell_ends.truncate(cells);
            self.data.truncate(self.cell_ends.last().copied().unwrap_or(0));
        }
    }

    /// Damages one cell, for tests of the balance: changes its last digit.
    pub fn change_last_digit(&mut self, row: usize, column: usize) {
        let index = self.row_start(row) + column;
        let start = if index == 0 { 0 } else { self.cell_ends[index - 1] };
        let cell = &mut self.data[start..self.cell_ends[index]];
        if let Some(digit) = cell.iter_mut().rev().find(|b| b.is_ascii_digit()) {
            *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
        }
    }

    fn row_start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { self.row_ends[row - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
