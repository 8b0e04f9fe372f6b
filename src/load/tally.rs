//! Counting typed rows: totals per money column and currency, and a digest of the rows.

use arrow::array::{Array, AsArray, Decimal128Array, FixedSizeBinaryArray, RecordBatch};
use arrow::datatypes::Decimal128Type;

use super::rows::Place;
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
    let places: Vec<Place> = (0..batch.num_rows() as u32).map(|row| (0, row)).collect();
    Counted::of(std::slice::from_ref(batch), money)?.add(&places, totals, digest);
    Ok(())
}

/// The columns of some batches that are counted.
pub(super) struct Counted<'a> {
    columns: Vec<(&'a MoneyColumn, Vec<Option<Amounts<'a>>>)>,
    hashes: Vec<&'a FixedSizeBinaryArray>,
}

/// A money column of one batch.
struct Amounts<'a> {
    amounts: &'a Decimal128Array,
    /// `None` where all have the same.
    currencies: Option<Texts<'a>>,
}

impl<'a> Counted<'a> {
    /// # Errors
    /// [`Kind::Bug`] when a counted column is missing or has another type.
    pub(super) fn of(batches: &'a [RecordBatch], money: &'a [MoneyColumn]) -> Result<Self> {
        let amounts = |money| batches.iter().map(|batch| Amounts::of(batch, money)).collect::<Result<_>>();
        let columns = money.iter().map(|money| Ok((money, amounts(money)?))).collect::<Result<_>>()?;
        let hashes = batches.iter().map(|batch| {
            let hashes = column(batch, "_pc_row_hash")?;
            hashes.as_fixed_size_binary_opt().ok_or_else(|| wrong_type("_pc_row_hash"))
        });
        Ok(Counted { columns, hashes: hashes.collect::<Result<_>>()? })
    }

    /// Adds some of the rows; it is quickest where those of a batch stand together.
    pub(super) fn add(&self, places: &[Place], totals: &mut Totals, digest: &mut Digest) {
        totals.rows += places.len() as u64;
        for (money, batches) in &self.columns {
            // A handful of currencies: a scan over them is quicker than a map.
            let mut sums: Vec<(&str, i128)> = Vec::new();
            for places in places.chunk_by(|one, other| one.0 == other.0) {
                let Some(here) = &batches[places[0].0 as usize] else { continue };
                for (currency, sum) in here.sums(&money.currency, places) {
                    match sums.iter_mut().find(|(known, _)| *known == currency) {
                        Some((_, all)) => *all = all.saturating_add(sum),
                        None => sums.push((currency, sum)),
                    }
                }
            }
            for (currency, sum) in sums {
                // Two spellings of one code meet here.
                totals.add(&money.name, &currency.trim_ascii().to_ascii_uppercase(), sum);
            }
        }
        for (batch, row) in places {
            let hashes = self.hashes[*batch as usize];
            if hashes.is_valid(*row as usize) {
                digest.add(hashes.value(*row as usize));
            }
        }
    }
}

impl<'a> Amounts<'a> {
    /// `None` when there are none.
    fn of(batch: &'a RecordBatch, money: &'a MoneyColumn) -> Result<Option<Self>> {
        let amounts = column(batch, &money.name)?;
        if amounts.null_count() == amounts.len() {
            return Ok(None);
        }
        let amounts = amounts.as_primitive_opt::<Decimal128Type>().ok_or_else(|| wrong_type(&money.name))?;
        let currencies = match &money.currency {
            Currency::Fixed(_) => None,
            Currency::Column(name) => Some(Texts::of(column(batch, name)?).ok_or_else(|| wrong_type(name))?),
        };
        Ok(Some(Amounts { amounts, currencies }))
    }

    fn sums(&self, currency: &'a Currency, places: &[Place]) -> Vec<(&'a str, i128)> {
        let rows = places.iter().map(|(_, row)| *row as usize);
        match (&self.currencies, currency) {
            (Some(currencies), _) => currencies.sums(self.amounts, rows),
            (None, Currency::Fixed(currency)) => {
                let mut amounts = rows
                    .filter(|row| self.amounts.is_valid(*row))
                    .map(|row| self.amounts.value(row))
                    .peekable();
                let any = amounts.peek().is_some();
                let sum = amounts.fold(0, i128::saturating_add);
                any.then_some((currency.as_str(), sum)).into_iter().collect()
            }
            (None, Currency::Column(_)) => Vec::new(),
        }
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a arrow::array::ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        Error::new(Kind::Bug, "a column that is counted is missing from the rows").with("column", name)
    })
}

fn wrong_type(name: &str) -> Error {
    Error::new(Kind::Bug, "a column that is counted has another type").with("column", name)
}
