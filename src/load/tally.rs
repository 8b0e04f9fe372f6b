//! Counting typed rows: totals per money column and currency, and a digest of the rows.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Decimal128Type;

use crate::error::{Error, Kind, Result};
use crate::model::{Currency, MoneyColumn, Texts, Totals};

/// The sum modulo 2^128 of row hashes: the same for the same rows in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(u128);

impl Digest {
    pub fn add(&mut self, hash: &[u8]) {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(hash);
        self.0 = self.0.wrapping_add(u128::from_le_bytes(bytes));
    }

    /// Of the rows of both.
    #[must_use]
    pub fn plus(self, other: Digest) -> Digest {
        Digest(self.0.wrapping_add(other.0))
    }

    /// Without the rows of the other.
    #[must_use]
    pub fn minus(self, other: Digest) -> Digest {
        Digest(self.0.wrapping_sub(other.0))
    }

    /// What [`Digest::to_hex`] wrote.
    ///
    /// # Errors
    /// [`Kind::Destination`] when it is something else.
    pub fn of_hex(text: &str) -> Result<Digest> {
        let wrong = |cause| {
            Error::new(Kind::Destination, "the lake holds a digest that is none")
                .with("digest", text)
                .caused_by(cause)
        };
        u128::from_str_radix(text, 16).map(Digest).map_err(wrong)
    }

    #[must_use]
    pub fn to_hex(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// Adds the rows of a batch to totals and digest. The batch may hold only the columns that are counted.
///
/// # Errors
/// [`Kind::Bug`] when a counted column is missing or has another type.
pub fn tally(
    batch: &RecordBatch,
    money: &[MoneyColumn],
    totals: &mut Totals,
    digest: &mut Digest,
) -> Result<()> {
    add_rows(batch, money, 0..batch.num_rows(), totals, digest)
}

/// The same for some of its rows.
///
/// # Errors
/// As [`tally`].
pub(super) fn tally_rows(
    batch: &RecordBatch,
    money: &[MoneyColumn],
    rows: &[u32],
    totals: &mut Totals,
    digest: &mut Digest,
) -> Result<()> {
    add_rows(batch, money, rows.iter().map(|row| *row as usize), totals, digest)
}

fn add_rows(
    batch: &RecordBatch,
    money: &[MoneyColumn],
    rows: impl ExactSizeIterator<Item = usize> + Clone,
    totals: &mut Totals,
    digest: &mut Digest,
) -> Result<()> {
    totals.rows += rows.len() as u64;
    for column in money {
        tally_column(batch, column, rows.clone(), totals)?;
    }
    let hashes = column(batch, "_pc_row_hash")?;
    let hashes = hashes.as_fixed_size_binary_opt().ok_or_else(|| wrong_type("_pc_row_hash"))?;
    rows.filter(|row| hashes.is_valid(*row)).for_each(|row| digest.add(hashes.value(row)));
    Ok(())
}

fn tally_column(
    batch: &RecordBatch,
    money: &MoneyColumn,
    rows: impl Iterator<Item = usize>,
    totals: &mut Totals,
) -> Result<()> {
    let amounts = column(batch, &money.name)?;
    if amounts.null_count() == amounts.len() {
        return Ok(());
    }
    let amounts = amounts.as_primitive_opt::<Decimal128Type>().ok_or_else(|| wrong_type(&money.name))?;
    let rows = rows.filter(|row| amounts.is_valid(*row));
    let currencies = match &money.currency {
        Currency::Fixed(currency) => {
            let mut sum = None;
            rows.for_each(|row| sum = Some(sum.unwrap_or(0i128).saturating_add(amounts.value(row))));
            sum.into_iter().for_each(|sum| totals.add(&money.name, currency, sum));
            return Ok(());
        }
        Currency::Column(name) => Texts::of(column(batch, name)?).ok_or_else(|| wrong_type(name))?,
    };
    for (currency, sum) in currencies.sums(amounts, rows) {
        totals.add(&money.name, &currency.trim_ascii().to_ascii_uppercase(), sum);
    }
    Ok(())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a arrow::array::ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        Error::new(Kind::Bug, "a column that is counted is missing from the rows").with("column", name)
    })
}

fn wrong_type(name: &str) -> Error {
    Error::new(Kind::Bug, "a column that is counted has another type").with("column", name)
}
