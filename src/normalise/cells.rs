//! Text cells of one column -> typed values, with a fault for each cell that does not fit.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

use crate::model::{DateOrder, FaultCode, RawBatch};
use crate::schema::LogicalType;

use super::coder::{Coder, Uncoded};
use super::dates::{MonthCell, parse_date, parse_month, parse_timestamp};
use super::decimal::{parse_decimal, parse_short};

/// Rows are taken in blocks whose text stays in the processor's cache while all columns go over it: as many as a word has
/// bits, one for each row that has a value.
const BLOCK_ROWS: usize = u64::BITS as usize;

/// A column of the table and the cell that fills it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Place of the column in the table.
    pub column: usize,
    /// Index of the cell in a record.
    pub cell: usize,
    pub logical: LogicalType,
    pub arrow: DataType,
    /// Fraction digits of the decimals.
    pub scale: u8,
    pub required: bool,
    /// Of its slashed dates. `None`: not known.
    pub order: Option<DateOrder>,
    /// The most bytes of text that a batch has had there: what the next one is given from the start.
    pub text_bytes: usize,
    /// Of its texts, as long as they come again and again.
    pub coder: Option<Coder>,
}

impl Source {
    pub fn has_texts(&self) -> bool {
        matches!(self.logical, LogicalType::String | LogicalType::Month)
    }

    pub fn has_dates(&self) -> bool {
        matches!(self.logical, LogicalType::Date | LogicalType::Timestamp | LogicalType::Month)
    }
}

/// A cell that does not fit: row, rank of the column, code. They sort into "first fault in column order".
pub(super) type BadCell = (usize, usize, FaultCode);

/// The values of one column; a null has a place-holder in `values`, and its bit in `valid` is not set.
struct Column {
    /// A word for each block, the lowest bit for its first row.
    valid: Vec<u64>,
    values: Values,
}

enum Values {
    Text { bytes: Vec<u8>, ends: Vec<i32> },
    Coded(Vec<u16>),
    Decimal(Vec<i128>),
    // Integers, and timestamps in microseconds.
    Wide(Vec<i64>),
    Days(Vec<i32>),
    Boolean(Vec<bool>),
}

/// A row of the batch, and where its cells begin.
type Row = (usize, usize);

/// Types the given rows of a batch, which have a cell for each column of the header: one array per source, with a place-holder where a cell is at fault.
pub(super) fn type_rows(
    raw: &RawBatch,
    rows: &[usize],
    sources: &mut [Source],
    bad: &mut Vec<BadCell>,
) -> Vec<ArrayRef> {
    let mut columns: Vec<Column> = sources.iter().map(|source| Column::new(source, rows.len())).collect();
    let mut block: Vec<Row> = Vec::with_capacity(BLOCK_ROWS);
    for rows in rows.chunks(BLOCK_ROWS) {
        block.clear();
        block.extend(rows.iter().map(|row| (*row, raw.first_cell(*row))));
        let block = block.as_slice();
        raw.touch(rows);
        for (source, column) in sources.iter_mut().zip(&mut columns) {
            column.take(raw, block, source, bad);
        }
    }
    for (source, column) in sources.iter_mut().zip(&columns) {
        if let Values::Text { bytes, .. } = &column.values {
            source.text_bytes = source.text_bytes.max(bytes.len());
        }
    }
    sources.iter_mut().zip(columns).map(|(source, column)| column.finish(rows, source, bad)).collect()
}

#[inline]
pub(super) fn is_blank(cell: &[u8]) -> bool {
    match cell.first() {
        None => true,
        Some(first) => first.is_ascii_whitespace() && cell.trim_ascii().is_empty(),
    }
}

impl Column {
    fn new(source: &Source, rows: usize) -> Self {
        let values = match source.logical {
            LogicalType::String | LogicalType::Month if source.coder.is_some() => {
                Values::Coded(Vec::with_capacity(rows))
            }
            LogicalType::String | LogicalType::Month => {
                let mut ends = Vec::with_capacity(rows + 1);
                ends.push(0);
                Values::Text { bytes: Vec::with_capacity(source.text_bytes), ends }
            }
            LogicalType::Money | LogicalType::Rate | LogicalType::Decimal => {
                Values::Decimal(Vec::with_capacity(rows))
            }
            LogicalType::Integer | LogicalType::Timestamp => Values::Wide(Vec::with_capacity(rows)),
            LogicalType::Date => Values::Days(Vec::with_capacity(rows)),
            LogicalType::Boolean => Values::Boolean(Vec::with_capacity(rows)),
        };
        Column { valid: Vec::with_capacity(rows.div_ceil(BLOCK_ROWS)), values }
    }

    fn take(&mut self, raw: &RawBatch, block: &[Row], source: &mut Source, bad: &mut Vec<BadCell>) {
        let valid = match &mut self.values {
            Values::Text { .. } | Values::Coded(_) => {
                take_text(raw, block, source, &self.valid, &mut self.values, bad)
            }
            Values::Decimal(values) => take_values(raw, block, source, values, bad, |place, cell| match raw
                .tail(place)
                .and_then(|tail| parse_short(tail, cell, source.scale))
            {
                Some(units) => Ok(units),
                None => parse_decimal(cell, source.scale),
            }),
            Values::Wide(values) if source.logical == LogicalType::Timestamp => {
                take_values(raw, block, source, values, bad, |_, cell| parse_timestamp(cell, source.order))
            }
            Values::Wide(values) => {
                take_values(raw, block, source, values, bad, |_, cell| parse_integer(cell))
            }
            Values::Days(values) => {
                take_values(raw, block, source, values, bad, |_, cell| parse_date(cell, source.order))
            }
            Values::Boolean(values) => {
                take_values(raw, block, source, values, bad, |_, cell| parse_boolean(cell))
            }
        };
        self.valid.push(valid);
    }

    fn finish(self, rows: &[usize], source: &mut Source, bad: &mut Vec<BadCell>) -> ArrayRef {
        // The bits of an Arrow bitmap stand in this order.
        let valid: Vec<u64> = self.valid.into_iter().map(u64::to_le).collect();
        let nulls = NullBuffer::new(BooleanBuffer::new(valid.into(), 0, rows.len()));
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        match self.values {
            Values::Text { bytes, ends } => text_array(rows, source, bytes, ends, nulls, bad),
            Values::Coded(codes) => {
                let coder = source.coder.as_mut().expect("a column is coded as long as it has a coder");
                coder.passed(codes.len());
                coder.array(codes, nulls)
            }
            Values::Decimal(values) => {
                Arc::new(Decimal128Array::new(values.into(), nulls).with_data_type(source.arrow.clone()))
            }
            Values::Wide(values) if source.logical == LogicalType::Timestamp => {
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC"))
            }
            Values::Wide(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Days(values) => Arc::new(Date32Array::new(values.into(), nulls)),
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
        }
    }
}

/// Reads the block's cells of one column, and gives back which have a value; a blank is null unless the column is required.
// Apart, as each loop over a block is: in one large function what it counts with would go through memory.
#[inline(never)]
fn take_values<T: Default>(
    raw: &RawBatch,
    block: &[Row],
    source: &Source,
    values: &mut Vec<T>,
    bad: &mut Vec<BadCell>,
    parse: impl Fn(usize, &[u8]) -> Result<T, FaultCode>,
) -> u64 {
    let (start, mut valid) = (values.len(), 0);
    values.resize_with(start + block.len(), T::default);
    for (bit, (&(row, first), value)) in block.iter().zip(&mut values[start..]).enumerate() {
        let place = first + source.cell;
        let cell = raw.cell_at(place);
        let is_blank = is_blank(cell);
        if is_blank && !source.required {
            continue;
        }
        valid |= 1 << bit;
        match if is_blank { Err(FaultCode::MissingValue) } else { parse(place, cell) } {
            Ok(parsed) => *value = parsed,
            Err(code) => bad.push((row, source.column, code)),
        }
    }
    valid
}

/// Texts are taken as they stand, outer blanks included; whether plain ones are UTF-8 is looked at in [`text_array`]. Gives back
/// which cells have a value; `before`: those of the blocks before.
fn take_text(
    raw: &RawBatch,
    block: &[Row],
    source: &mut Source,
    before: &[u64],
    values: &mut Values,
    bad: &mut Vec<BadCell>,
) -> u64 {
    let (usual, mut valid) = match values {
        Values::Coded(codes) => take_coded(raw, block, source, codes),
        _ => (0, 0),
    };
    for (bit, &(row, first)) in block.iter().enumerate().skip(usual) {
        let cell = raw.cell_at(first + source.cell);
        let blank = is_blank(cell);
        if blank && source.required {
            bad.push((row, source.column, FaultCode::MissingValue));
        }
        let month;
        let text = match source.logical {
            _ if blank => &b""[..],
            LogicalType::Month => match parse_month(cell, source.order) {
                Ok(MonthCell::Month(found)) => {
                    month = found.text();
                    &month
                }
                Ok(MonthCell::Text(text)) => text,
                Err(code) => {
                    bad.push((row, source.column, code));
                    b""
                }
            },
            _ => cell,
        };
        let is_valid = !blank || source.required;
        push_text(text, is_valid, row, source, before.iter().chain([&valid]), values, bad);
        valid |= u64::from(is_valid) << bit;
    }
    valid
}

/// Takes texts as long as each has a number and none is missing. Gives back how many these were, and which have a value. An
/// empty cell has a number too, which nobody looks at: whether a cell is empty no processor can guess.
#[inline(never)]
fn take_coded(raw: &RawBatch, block: &[Row], source: &mut Source, codes: &mut Vec<u16>) -> (usize, u64) {
    let Some(coder) = &mut source.coder else { return (0, 0) };
    let (start, mut valid) = (codes.len(), 0);
    codes.resize(start + block.len(), 0);
    let mut taken = 0;
    loop {
        let recent = coder.recent();
        for ((_, first), code) in block[taken..].iter().zip(&mut codes[start + taken..]) {
            let place = first + source.cell;
            let Some((head, length)) = raw.head(place) else { break };
            // At once, without a branch for each: a blank begins like an empty cell.
            let may_be_blank = (head as u8 <= b' ') & ((length > 0) | source.required);
            let known = recent.code(head, length, || raw.cell_at(place));
            let Some(known) = known.filter(|_| !may_be_blank) else { break };
            *code = known;
            valid |= u64::from(length > 0) << taken;
            taken += 1;
        }
        let Some((_, first)) = block.get(taken) else { return (taken, valid) };
        let cell = raw.cell_at(first + source.cell);
        let is_odd = is_blank(cell) && (source.required || !cell.is_empty());
        let is_month = source.logical == LogicalType::Month && !cell.is_empty();
        let code = match is_odd {
            true => None,
            false if is_month => month_code(coder, cell, source.order),
            false => coder.code(cell).ok(),
        };
        let Some(code) = code else {
            codes.truncate(start + taken);
            return (taken, valid);
        };
        codes[start + taken] = code;
        valid |= u64::from(!cell.is_empty()) << taken;
        taken += 1;
    }
}

/// The number of the month that a cell has, or of the text in its place. What stands in the cell is known by it from now on: a month as
/// it is kept is read as that month.
#[inline(never)]
fn month_code(coder: &mut Coder, cell: &[u8], order: Option<DateOrder>) -> Option<u16> {
    let month;
    let text = match parse_month(cell, order).ok()? {
        MonthCell::Month(found) => {
            month = found.text();
            &month
        }
        MonthCell::Text(text) => text,
    };
    let code = coder.code(text).ok()?;
    if text != cell {
        coder.know(cell, code);
    }
    Some(code)
}

/// `valid`: of the texts before this one.
#[inline]
fn push_text<'a>(
    text: &[u8],
    is_valid: bool,
    row: usize,
    source: &mut Source,
    valid: impl Iterator<Item = &'a u64>,
    values: &mut Values,
    bad: &mut Vec<BadCell>,
) {
    if let (Values::Coded(codes), Some(coder)) = (&mut *values, &mut source.coder) {
        match if is_valid { coder.code(text) } else { Ok(0) } {
            Ok(code) => return codes.push(code),
            Err(Uncoded::NotUtf8) => {
                bad.push((row, source.column, FaultCode::NotUtf8));
                // The row goes, or the cell becomes null.
                if let Ok(code) = coder.code(b"") {
                    return codes.push(code);
                }
            }
            Err(Uncoded::TooMany) => {}
        }
        *values = plain(codes, valid, coder);
        source.coder = None;
    }
    if let Values::Text { bytes, ends } = values {
        bytes.extend_from_slice(text);
        ends.push(bytes.len() as i32);
    }
}

/// What was coded so far, as it stands.
fn plain<'a>(codes: &[u16], valid: impl Iterator<Item = &'a u64>, coder: &Coder) -> Values {
    let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(codes.len() + 1));
    ends.push(0);
    for (codes, valid) in codes.chunks(BLOCK_ROWS).zip(valid) {
        for (bit, code) in codes.iter().enumerate() {
            bytes.extend_from_slice(if valid >> bit & 1 == 1 { coder.text(*code) } else { b"" });
            ends.push(bytes.len() as i32);
        }
    }
    Values::Text { bytes, ends }
}

/// One look over the whole column tells that it is ASCII, which nearly all are; else each cell is looked at.
fn text_array(
    rows: &[usize],
    source: &Source,
    bytes: Vec<u8>,
    ends: Vec<i32>,
    nulls: Option<NullBuffer>,
    bad: &mut Vec<BadCell>,
) -> ArrayRef {
    let (mut bytes, mut ends) = (bytes, ends);
    if !bytes.is_ascii() {
        let cells = rows.iter().zip(ends.windows(2));
        let wrong: Vec<usize> = cells
            .filter(|(_, ends)| std::str::from_utf8(&bytes[ends[0] as usize..ends[1] as usize]).is_err())
            .map(|(row, _)| *row)
            .collect();
        if !wrong.is_empty() {
            bad.extend(wrong.iter().map(|row| (*row, source.column, FaultCode::NotUtf8)));
            (bytes, ends) = copy_without(rows, &bytes, &ends, &wrong);
        }
    }
    Arc::new(StringArray::new(OffsetBuffer::new(ScalarBuffer::from(ends)), bytes.into(), nulls))
}

/// The column again, with nothing in place of the cells that are not UTF-8.
fn copy_without(rows: &[usize], bytes: &[u8], ends: &[i32], wrong: &[usize]) -> (Vec<u8>, Vec<i32>) {
    let (mut kept, mut kept_ends) = (Vec::with_capacity(bytes.len()), vec![0]);
    for (row, ends) in rows.iter().zip(ends.windows(2)) {
        if wrong.binary_search(row).is_err() {
            kept.extend_from_slice(&bytes[ends[0] as usize..ends[1] as usize]);
        }
        kept_ends.push(kept.len() as i32);
    }
    (kept, kept_ends)
}

/// A decimal without a fraction: `12`, `12.00`, `1.2E1`.
fn parse_integer(cell: &[u8]) -> Result<i64, FaultCode> {
    let units = parse_decimal(cell, 0).map_err(|_| FaultCode::NotAnInteger)?;
    i64::try_from(units).map_err(|_| FaultCode::TooManyDigits)
}

fn parse_boolean(cell: &[u8]) -> Result<bool, FaultCode> {
    const SPELLINGS: [(&str, bool); 6] =
        [("true", true), ("false", false), ("1", true), ("0", false), ("yes", true), ("no", false)];
    let cell = cell.trim_ascii();
    let found = SPELLINGS.iter().find(|(text, _)| cell.eq_ignore_ascii_case(text.as_bytes()));
    found.map(|(_, value)| *value).ok_or(FaultCode::NotABoolean)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that are too many, with cells that are no text on both sides of the one that is too much.
    #[test]
    fn a_column_that_stops_being_coded_keeps_its_cells() {
        let mut raw = RawBatch::new();
        let texts: Vec<Vec<u8>> = (0..6000u32)
            .map(|row| if row % 1000 == 7 { vec![0xe9, b'x'] } else { format!("text {row}").into_bytes() })
            .collect();
        texts.iter().zip(1..).for_each(|(text, line)| raw.push_row(line, text, &[text.len()]));
        let source = |coder| Source {
            column: 0,
            cell: 0,
            logical: LogicalType::String,
            arrow: DataType::Utf8,
            scale: 0,
            required: false,
            order: None,
            text_bytes: 0,
            coder,
        };
        let rows: Vec<usize> = (0..raw.rows()).collect();
        let typed = |coder| {
            let (mut bad, mut sources) = (Vec::new(), [source(coder)]);
            let arrays = type_rows(&raw, &rows, &mut sources, &mut bad);
            bad.sort_unstable();
            assert!(sources[0].coder.is_none());
            (arrays, bad)
        };
        let (plain, bad) = typed(None);
        assert_eq!(bad.iter().map(|(row, ..)| *row).collect::<Vec<_>>(), [7, 1007, 2007, 3007, 4007, 5007]);
        assert_eq!(typed(Some(Coder::new(u64::MAX))), (plain, bad));
    }

    /// Coded months are those that each cell has by itself, however it spells them and however often it comes again.
    #[test]
    fn months_are_coded_by_what_they_mean() {
        let cells = [
            "2026-09",
            "Sep-2026",
            "",
            "September 2026",
            " 2026-09",
            "09/2026",
            "2026-09-17T00:00:00Z",
            "2026-13",
            "Not applicable",
            "10/3/2026",
            "not applicable",
            "2026-10",
        ];
        let mut raw = RawBatch::new();
        let rows: Vec<usize> = (0..400).collect();
        for row in &rows {
            let cell = cells[(row * 7 + row / 5) % cells.len()];
            raw.push_row(*row as u64, cell.as_bytes(), &[cell.len()]);
        }
        for (order, required) in [(None, false), (Some(DateOrder::DayFirst), true)] {
            let typed = |coder| {
                let source = Source {
                    column: 0,
                    cell: 0,
                    logical: LogicalType::Month,
                    arrow: DataType::Utf8,
                    scale: 0,
                    required,
                    order,
                    text_bytes: 0,
                    coder,
                };
                let (mut bad, mut sources) = (Vec::new(), [source]);
                let array = type_rows(&raw, &rows, &mut sources, &mut bad).remove(0);
                let texts = crate::model::Texts::of(&array).unwrap();
                let texts: Vec<_> = rows.iter().map(|row| texts.get(*row).map(str::to_owned)).collect();
                (texts, bad)
            };
            let (texts, bad) = typed(None);
            assert!(!bad.is_empty() && texts.contains(&Some("2026-09".to_owned())));
            assert_eq!(typed(Some(Coder::new(u64::MAX))), (texts, bad));
        }
    }

    #[test]
    fn booleans_and_integers() {
        for (cell, value) in [("True", true), ("FALSE", false), (" yes ", true), ("0", false), ("No", false)]
        {
            assert_eq!(parse_boolean(cell.as_bytes()), Ok(value), "{cell}");
        }
        assert_eq!(parse_boolean(b"y"), Err(FaultCode::NotABoolean));
        for (cell, value) in [
            ("12", Ok(12)),
            ("12.00", Ok(12)),
            ("-1.2E1", Ok(-12)),
            ("12.5", Err(FaultCode::NotAnInteger)),
            ("9223372036854775808", Err(FaultCode::TooManyDigits)),
        ] {
            assert_eq!(parse_integer(cell.as_bytes()), value, "{cell}");
        }
    }
}
