//! The rows of one version, in a batch of pairs.

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::Timestamp;

use super::compare::{Comparison, EXTRACTED_AT, HASH, KEY, malformed};
use crate::error::{Error, Kind, Result};
use crate::load::Digest;
use crate::model::{Currency, MoneyColumn};

/// One side of a batch of pairs.
pub(super) struct Side<'a> {
    columns: Vec<&'a ArrayRef>,
    texts: Vec<ArrayFormatter<'a>>,
    keys: &'a StringArray,
    periods: &'a StringArray,
    hashes: &'a FixedSizeBinaryArray,
    extracted_at: &'a ArrayRef,
}

/// Values as text; a NULL is asked for before.
const FORMAT: FormatOptions<'static> = FormatOptions::new();

impl<'a> Side<'a> {
    pub fn new(comparison: &Comparison<'_>, batch: &'a RecordBatch, side: &str) -> Result<Self> {
        let column = |name: &str| {
            batch.column_by_name(&format!("{side} {name}")).ok_or_else(|| {
                Error::new(Kind::Bug, "a compared column is missing from the rows").with("column", name)
            })
        };
        let text = |name: &str| {
            column(name)?
                .as_string_opt::<i32>()
                .ok_or_else(|| Error::new(Kind::Bug, "a compared column is no text").with("column", name))
        };
        let columns =
            comparison.columns.iter().map(|name| column(name)).collect::<Result<Vec<&'a ArrayRef>>>()?;
        // Copied: what is borrowed is the batch.
        let texts = columns.iter().copied();
        let texts = texts.map(|column: &'a ArrayRef| ArrayFormatter::try_new(column.as_ref(), &FORMAT));
        let texts: std::result::Result<Vec<_>, _> = texts.collect();
        Ok(Side {
            texts: texts.map_err(malformed)?,
            columns,
            keys: text(KEY)?,
            periods: text(&comparison.new.partition_columns[1])?,
            hashes: column(HASH)?
                .as_fixed_size_binary_opt()
                .ok_or_else(|| Error::new(Kind::Bug, "a compared column is no hash").with("column", HASH))?,
            extracted_at: column(EXTRACTED_AT)?,
        })
    }

    pub fn is_there(&self, row: usize) -> bool {
        !self.keys.is_null(row)
    }

    pub fn key(&self, row: usize) -> &str {
        self.keys.value(row)
    }

    /// The month that the row stands in.
    pub fn period(&self, row: usize) -> Option<&str> {
        (!self.periods.is_null(row)).then(|| self.periods.value(row))
    }

    /// Of the rows that are there.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.hashes.iter().flatten().for_each(|hash| digest.add(hash));
        digest
    }

    pub fn extracted_at(&self, row: usize) -> Option<i64> {
        let times = self.extracted_at.as_primitive_opt::<TimestampMicrosecondType>()?;
        (!times.is_null(row)).then(|| times.value(row))
    }

    pub fn text(&self, column: usize, row: usize) -> Result<Option<String>> {
        let values = self.columns[column];
        if values.is_null(row) {
            return Ok(None);
        }
        let text = match values.data_type() {
            DataType::Decimal128(..) => {
                let text = self.texts[column].value(row).to_string();
                match text.contains('.') {
                    true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                    false => text,
                }
            }
            DataType::Timestamp(..) => {
                let micros = values.as_primitive::<TimestampMicrosecondType>().value(row);
                Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |at| at.to_string())
            }
            _ => self.texts[column].value(row).to_string(),
        };
        Ok(Some(text))
    }

    /// An amount and its currency as the control totals name it; `None` where the totals count nothing.
    pub fn amount(
        &self,
        comparison: &Comparison<'_>,
        money: &MoneyColumn,
        row: usize,
    ) -> Result<Option<(i128, String)>> {
        let index = |name: &str| comparison.columns.iter().position(|column| column == name);
        let Some(amounts) = index(&money.name).map(|index| self.columns[index]) else { return Ok(None) };
        if !self.is_there(row) || amounts.is_null(row) {
            return Ok(None);
        }
        let units = amounts.as_primitive::<Decimal128Type>().value(row);
        let currency = match &money.currency {
            Currency::Fixed(currency) => currency.clone(),
            Currency::Column(name) => match index(name) {
                Some(index) => self.text(index, row)?.unwrap_or_default().trim_ascii().to_ascii_uppercase(),
                None => String::new(),
            },
        };
        Ok(Some((units, currency)))
    }
}
