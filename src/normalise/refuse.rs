//! Faults of cells -> refused rows with their reasons in words.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::compute::nullif;

use crate::model::{Fault, FaultCode, NulledCell, QuarantinedRow, RawBatch};
use crate::schema::{Column, HeaderMatch, LogicalType};

use super::cells::BadCell;
use super::orders::Proof;

/// Characters of a cell that a fault shows.
const FOUND_CHARS: usize = 200;

/// What a fault says about a column: those of the table first, then the unknown ones of the file.
pub(super) struct Columns {
    width: usize,
    columns: Vec<Described>,
}

struct Described {
    name: String,
    published: String,
    /// Another name than that of an unknown column.
    name_in_extra: String,
    cell: Option<usize>,
    logical: LogicalType,
    scale: u8,
    /// What the file proves about the order of its slashed dates.
    proof: Proof,
}

impl Columns {
    pub fn new(columns: &[Column], matched: &HeaderMatch) -> Self {
        let is_taken = |name: &String| matched.unknown.iter().any(|(_, unknown)| unknown == name);
        let known = columns.iter().zip(&matched.cells).map(|(column, cell)| Described {
            name: column.name.clone(),
            published: column.published.clone(),
            name_in_extra: match is_taken(&column.published) {
                true => format!("{} (null)", column.published),
                false => column.published.clone(),
            },
            cell: *cell,
            logical: column.logical,
            scale: column.scale().unwrap_or_default(),
            proof: Proof::default(),
        });
        let unknown = matched.unknown.iter().map(|(cell, name)| Described {
            name: name.clone(),
            published: name.clone(),
            name_in_extra: name.clone(),
            cell: Some(*cell),
            logical: LogicalType::String,
            scale: 0,
            proof: Proof::default(),
        });
        Columns { width: matched.width, columns: known.chain(unknown).collect() }
    }

    /// Takes note of what the file proves about a column, and gives back its published name.
    pub fn note(&mut self, column: usize, proof: Proof) -> &str {
        let about = &mut self.columns[column];
        about.proof = proof;
        &about.published
    }
}

/// One row for each bad cell that takes it away.
pub(super) fn quarantine(raw: &RawBatch, bad: &[BadCell], columns: &Columns) -> Vec<QuarantinedRow> {
    let refused = |(row, column, code): &BadCell| {
        let fault = describe(raw, *row, *column, *code, columns);
        QuarantinedRow { line: raw.line(*row), fault, record: raw.record(*row), treated: None }
    };
    bad.iter().map(refused).collect()
}

/// The cells that become null; their text goes to `_pc_extra`.
pub(super) fn nulled(raw: &RawBatch, bad: &[BadCell], columns: &Columns) -> Vec<NulledCell> {
    let nulled = |(row, column, code): &BadCell| {
        let about = &columns.columns[*column];
        let record = (about.logical == LogicalType::Money).then(|| raw.record(*row));
        NulledCell { column: about.name.clone(), code: *code, record }
    };
    bad.iter().map(nulled).collect()
}

/// `_pc_extra` of the rows, with the text of the cells that became null.
pub(super) fn with_nulled(
    extra: ArrayRef,
    raw: &RawBatch,
    rows: &[usize],
    nulled: &[BadCell],
    columns: &Columns,
) -> ArrayRef {
    if nulled.is_empty() {
        return extra;
    }
    let known = extra.as_string::<i32>();
    let objects = rows.iter().enumerate().map(|(place, row)| {
        let mut object = known.is_valid(place).then(|| known.value(place).to_owned());
        let first = nulled.partition_point(|(other, ..)| other < row);
        for (_, column, _) in nulled[first..].iter().take_while(|(other, ..)| other == row) {
            let about = &columns.columns[*column];
            let cell = about.cell.and_then(|cell| raw.cell(*row, cell)).unwrap_or_default();
            let text = serde_json::Value::from(String::from_utf8_lossy(cell));
            let name = serde_json::Value::from(about.name_in_extra.as_str());
            object = Some(match object {
                Some(object) => format!("{},{name}:{text}}}", object.strip_suffix('}').unwrap_or(&object)),
                None => format!("{{{name}:{text}}}"),
            });
        }
        object
    });
    Arc::new(StringArray::from_iter(objects))
}

/// A column with nulls at these of the rows, ascending.
pub(super) fn without(array: &ArrayRef, rows: &[usize], nulled: &[usize]) -> ArrayRef {
    if nulled.is_empty() {
        return Arc::clone(array);
    }
    let mask: BooleanArray = rows.iter().map(|row| Some(nulled.binary_search(row).is_ok())).collect();
    nullif(array, &mask).expect("the mask has a bit for each row")
}

fn describe(raw: &RawBatch, row: usize, column: usize, code: FaultCode, columns: &Columns) -> Fault {
    let of_record = match code {
        FaultCode::WrongCellCount => Some(format!("{} cells, as the header has", columns.width)),
        FaultCode::BadQuoting => Some("a delimiter or a line end behind each closing quote".to_owned()),
        _ => None,
    };
    if let Some(expected) = of_record {
        return Fault { code, column: None, expected, found: format!("{} cells", raw.width(row)) };
    }
    let about = &columns.columns[column];
    let cell = about.cell.and_then(|cell| raw.cell(row, cell)).unwrap_or_default();
    Fault {
        code,
        column: Some(about.published.clone()),
        expected: expected(code, about, cell),
        found: String::from_utf8_lossy(cell).chars().take(FOUND_CHARS).collect(),
    }
}

fn expected(code: FaultCode, about: &Described, cell: &[u8]) -> String {
    let text = match (code, about.logical) {
        (FaultCode::MissingValue, _) => "a value: this column is never blank",
        (FaultCode::NotUtf8, _) => {
            let at = str::from_utf8(cell).err().map_or(0, |found| found.valid_up_to());
            let byte = cell.get(at).copied().unwrap_or_default();
            return format!(
                "UTF-8, and byte {} of the cell is 0x{byte:02x}; if the file is in another encoding, declare it \
                 (encoding = \"windows-1252\" in [decode], --encoding of ingest)",
                at + 1
            );
        }
        (FaultCode::UnknownColumn, _) => "no value: no schema version knows this column",
        (FaultCode::NotADecimal, _) => {
            "a decimal number such as -1234.50 or 1,234.50; '1,234' alone could also mean 1.234"
        }
        (FaultCode::TooManyDigits, LogicalType::Integer) => "a whole number of at most 18 digits",
        (FaultCode::TooManyDigits, _) => {
            let (whole, fraction) = (38 - about.scale, about.scale);
            return format!(
                "at most {whole} digits before the point and {fraction} behind it: nothing is rounded"
            );
        }
        (FaultCode::NotAnInteger, _) => "a whole number",
        (FaultCode::NotABoolean, _) => "true, false, yes, no, 1 or 0",
        (FaultCode::NotADate, _) => "a date yyyy-MM-dd, or M/d/yyyy, between 1900 and 2999",
        (FaultCode::NotATimestamp, _) => {
            "a UTC time such as 2026-09-01T10:11:12Z, or M/d/yyyy h:mm:ss AM, between 1900 and 2999"
        }
        (FaultCode::AmbiguousDate, _) => {
            return format!(
                "a date whose month is certain: {}; say which stands first \
                 (date_order = \"month-first\" or \"day-first\" in [decode], --date-order of ingest)",
                about.proof.lack()
            );
        }
        (FaultCode::NotAMonth, _) => {
            "a month such as Sep-2026 or 2026-09, 'Not applicable' or 'Not available'"
        }
        (FaultCode::WrongCellCount | FaultCode::BadQuoting, _) => "a whole record",
    };
    text.to_owned()
}
