//! Counting typed rows: totals per money column and currency, and a digest of the rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Decimal128Array, FixedSizeBinaryArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, UInt16Type};

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
    let (mut currencies, mut tally) = (Currencies::default(), Tally::default());
    Counted::of(batch, money, &mut currencies)?.add(0..batch.num_rows(), &mut tally);
    tally.add_to(&currencies, money, totals, digest);
    Ok(())
}

/// Currencies by number, as totals spell them: two spellings of one code meet here. Amounts without one are under an empty
/// text.
#[derive(Debug, Default)]
pub(super) struct Currencies(Vec<String>);

impl Currencies {
    // A handful of currencies: a scan over them is quicker than a map.
    fn number(&mut self, text: Option<&str>) -> usize {
        let text = text.unwrap_or_default().trim_ascii();
        let known = self.0.iter().position(|known| known.eq_ignore_ascii_case(text));
        known.unwrap_or_else(|| {
            self.0.push(text.to_ascii_uppercase());
            self.0.len() - 1
        })
    }
}

/// What was counted of some rows.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rows: u64,
    digest: Digest,
    /// For each currency and in it for each money column, the sum, and whether it has an amount.
    sums: Vec<(i128, bool)>,
}

impl Tally {
    /// Adds it to what is told of rows. `money`: the columns that were counted.
    pub(super) fn add_to(
        &self,
        currencies: &Currencies,
        money: &[MoneyColumn],
        totals: &mut Totals,
        digest: &mut Digest,
    ) {
        totals.rows += self.rows;
        *digest = digest.plus(self.digest);
        for (currency, sums) in currencies.0.iter().zip(self.sums.chunks(money.len().max(1))) {
            for (money, (sum, occurs)) in money.iter().zip(sums) {
                // Nothing is nothing in every currency.
                if *occurs && (*sum != 0 || !currency.is_empty()) {
                    totals.add(&money.name, currency, *sum);
                }
            }
        }
    }
}

/// The columns of a batch that are counted.
pub(super) struct Counted<'a> {
    /// The amounts of each money column that has any.
    columns: Vec<Option<Amounts<'a>>>,
    hashes: &'a FixedSizeBinaryArray,
    currencies: usize,
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
    fn of(batch: &'a RecordBatch, currency: &'a Currency, currencies: &mut Currencies) -> Result<Self> {
        let mut number = |text: Option<&str>| currencies.number(text);
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
    pub(super) fn of(
        batch: &'a RecordBatch,
        money: &'a [MoneyColumn],
        currencies: &mut Currencies,
    ) -> Result<Self> {
        // Several amounts have their currency in one column.
        let mut known = HashMap::new();
        let columns = money.iter().map(|money| Amounts::of(batch, money, &mut known, currencies));
        let columns = columns.collect::<Result<_>>()?;
        let hashes = column(batch, "_pc_row_hash")?;
        let hashes = hashes.as_fixed_size_binary_opt().ok_or_else(|| wrong_type("_pc_row_hash"))?;
        Ok(Counted { columns, hashes, currencies: currencies.0.len() })
    }

    /// Adds some of the rows.
    pub(super) fn add(&self, rows: impl ExactSizeIterator<Item = usize> + Clone, tally: &mut Tally) {
        tally.rows += rows.len() as u64;
        let width = self.columns.len();
        let needed = tally.sums.len().max(width * self.currencies);
        tally.sums.resize(needed, (0, false));
        for (place, amounts) in self.columns.iter().enumerate() {
            if let Some(amounts) = amounts {
                amounts.add(rows.clone(), &mut tally.sums, width, place);
            }
        }
        for row in rows.filter(|row| self.hashes.is_valid(*row)) {
            tally.digest.add(self.hashes.value(row));
        }
    }
}

impl<'a> Amounts<'a> {
    /// `None` when there are none. `known`: of the batch, the currencies that were looked at, by column or fixed code.
    fn of(
        batch: &'a RecordBatch,
        money: &'a MoneyColumn,
        known: &mut HashMap<&'a Currency, Arc<Numbers<'a>>>,
        currencies: &mut Currencies,
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

    /// To the sums at `place` in each currency's `width` of them.
    fn add(&self, rows: impl Iterator<Item = usize>, sums: &mut [(i128, bool)], width: usize, place: usize) {
        let mut add = |row: usize, number: usize| {
            if self.amounts.is_valid(row) {
                let (sum, occurs) = &mut sums[number * width + place];
                (*sum, *occurs) = (sum.saturating_add(self.amounts.values()[row]), true);
            }
        };
        match &*self.currency {
            Numbers::All(number) => rows.for_each(|row| add(row, *number)),
            Numbers::Coded(keys, numbers) => {
                let none = numbers[numbers.len() - 1];
                rows.for_each(|row| {
                    let key = usize::from(keys.values()[row]);
                    add(row, if keys.is_valid(row) { numbers[key] } else { none });
                });
            }
            Numbers::Rows(numbers) => rows.for_each(|row| add(row, numbers[row])),
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
