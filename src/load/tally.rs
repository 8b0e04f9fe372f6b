//! Counting typed rows: totals per money column and currency, and a digest of the rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Decimal128Array, FixedSizeBinaryArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, UInt16Type};

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
    /// The amounts of each batch that has any.
    columns: Vec<(&'a MoneyColumn, Vec<Option<Amounts<'a>>>)>,
    hashes: Vec<&'a FixedSizeBinaryArray>,
    /// As totals spell them: two spellings of one code meet here. Amounts without one are under an empty text.
    currencies: Vec<String>,
}

/// A money column of one batch.
struct Amounts<'a> {
    amounts: &'a Decimal128Array,
    currency: Arc<Numbers<'a>>,
}

/// Which of the currencies a row has.
enum Numbers<'a> {
    All(usize),
    /// By entry of a dictionary; the last is of rows without one.
    Coded(&'a PrimitiveArray<UInt16Type>, Vec<usize>),
    Rows(Vec<usize>),
}

impl<'a> Numbers<'a> {
    fn of(batch: &'a RecordBatch, currency: &'a Currency, currencies: &mut Vec<String>) -> Result<Self> {
        // A handful of currencies: a scan over them is quicker than a map.
        let mut number = |text: Option<&str>| {
            let text = text.unwrap_or_default().trim_ascii();
            let known = currencies.iter().position(|known| known.eq_ignore_ascii_case(text));
            known.unwrap_or_else(|| {
                currencies.push(text.to_ascii_uppercase());
                currencies.len() - 1
            })
        };
        let name = match currency {
            Currency::Fixed(currency) => return Ok(Numbers::All(number(Some(currency)))),
            Currency::Column(name) => name,
        };
        Ok(match Texts::of(column(batch, name)?).ok_or_else(|| wrong_type(name))? {
            Texts::Coded { keys, entries } => {
                Numbers::Coded(keys, entries.iter().chain([None]).map(number).collect())
            }
            Texts::Plain(texts) => Numbers::Rows(texts.iter().map(number).collect()),
        })
    }
}

impl<'a> Counted<'a> {
    /// # Errors
    /// [`Kind::Bug`] when a counted column is missing or has another type.
    pub(super) fn of(batches: &'a [RecordBatch], money: &'a [MoneyColumn]) -> Result<Self> {
        let mut currencies = Vec::new();
        let mut columns: Vec<(_, Vec<_>)> =
            money.iter().map(|money| (money, Vec::with_capacity(batches.len()))).collect();
        for batch in batches {
            // Several amounts have their currency in one column.
            let mut known = HashMap::new();
            for (money, amounts) in &mut columns {
                amounts.push(Amounts::of(batch, money, &mut known, &mut currencies)?);
            }
        }
        let hashes = batches.iter().map(|batch| {
            let hashes = column(batch, "_pc_row_hash")?;
            hashes.as_fixed_size_binary_opt().ok_or_else(|| wrong_type("_pc_row_hash"))
        });
        Ok(Counted { columns, hashes: hashes.collect::<Result<_>>()?, currencies })
    }

    /// Adds some of the rows; it is quickest where those of a batch stand together.
    pub(super) fn add(&self, places: &[Place], totals: &mut Totals, digest: &mut Digest) {
        totals.rows += places.len() as u64;
        for (money, batches) in &self.columns {
            // Of each currency, and whether it has an amount.
            let mut sums = vec![(0, false); self.currencies.len()];
            for places in places.chunk_by(|one, other| one.0 == other.0) {
                if let Some(here) = &batches[places[0].0 as usize] {
                    here.add(places.iter().map(|(_, row)| *row as usize), &mut sums);
                }
            }
            for (currency, (sum, occurs)) in self.currencies.iter().zip(sums) {
                // Nothing is nothing in every currency.
                if occurs && (sum != 0 || !currency.is_empty()) {
                    totals.add(&money.name, currency, sum);
                }
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
    /// `None` when there are none. `known`: of the batch, the currencies that were looked at, by column or fixed code.
    fn of(
        batch: &'a RecordBatch,
        money: &'a MoneyColumn,
        known: &mut HashMap<&'a Currency, Arc<Numbers<'a>>>,
        currencies: &mut Vec<String>,
    ) -> Result<Option<Self>> {
        let amounts = column(batch, &money.name)?;
        if amounts.null_count() == amounts.len() {
            return Ok(None);
        }
        let amounts = amounts.as_primitive_opt::<Decimal128Type>().ok_or_else(|| wrong_type(&money.name))?;
        let currency = match known.entry(&money.currency) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(new) => {
                Arc::clone(new.insert(Arc::new(Numbers::of(batch, &money.currency, currencies)?)))
            }
        };
        Ok(Some(Amounts { amounts, currency }))
    }

    fn add(&self, rows: impl Iterator<Item = usize>, sums: &mut [(i128, bool)]) {
        match &*self.currency {
            Numbers::All(number) => self.add_by(rows, sums, |_| *number),
            Numbers::Coded(keys, numbers) => {
                let none = numbers[numbers.len() - 1];
                let coded =
                    |row| if keys.is_valid(row) { numbers[usize::from(keys.values()[row])] } else { none };
                self.add_by(rows, sums, coded);
            }
            Numbers::Rows(numbers) => self.add_by(rows, sums, |row| numbers[row]),
        }
    }

    #[inline]
    fn add_by(
        &self,
        rows: impl Iterator<Item = usize>,
        sums: &mut [(i128, bool)],
        number: impl Fn(usize) -> usize,
    ) {
        let amounts = self.amounts.values();
        for row in rows.filter(|row| self.amounts.is_valid(*row)) {
            let (sum, occurs) = &mut sums[number(row)];
            (*sum, *occurs) = (sum.saturating_add(amounts[row]), true);
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
