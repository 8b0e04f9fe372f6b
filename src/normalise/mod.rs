//! Text cells -> typed rows, faults and control totals. No I/O, no clock, no floats: the same bytes give the same
//! rows, however the file was cut into batches.
//!
//! ```text
//!  1 submit -> 2 wait -> 3 download | 4 decode | [5 NORMALISE] | 6 write | 7 commit | 8 query
//!                                     RawBatch ->  Normalised  -> objects
//!
//!  line 17:  E-1 | CSP Direct Bill Partner |  12.50  | EUR | 2026-09-01T00:00:00Z | (new column) x
//!       earning_id  program_name     earning_amount  transaction_currency  earning_date
//!            E-1  |  CSP Direct ...  | 12.5000000000 |  EUR  | 2026-09-01 00:00 UTC |  _pc_extra {"(new column)":"x"}
//!  totals:  rows 1, earning_amount EUR 12.50        month: 2026-09
//! ```
//!
//! A row is refused whole, by its first fault in the order of the table's columns, and keeps its raw text for the
//! quarantine. A record with more or fewer cells than the header is refused, never shifted. A blank cell (empty, or
//! ASCII blanks alone) is null; a text is otherwise kept byte for byte, outer blanks included.
//!
//! A date such as 9/10/2026 has an order of month and day that its whole column decides, or nobody ([`Survey`]): its rows
//! are refused as [`FaultCode::AmbiguousDate`] until [`Normaliser::decide`] has heard what the file proves.
//!
//! The census of `decode` sums the same money from the bytes, with code of its own: what both sides say must be equal.

mod cells;
mod coder;
mod contract;
mod dates;
mod decimal;
mod hash;
mod lineage;
mod orders;
mod personal;
mod refuse;
mod rules;
mod slashed;
mod typed_totals;

pub use contract::{Contract, OnColumn, OnRow, OnType, Options};
pub use dates::{MonthCell, parse_date, parse_month, parse_timestamp};
pub use decimal::parse_decimal;
pub use lineage::Origin;
pub use orders::Survey;
pub use personal::{HashKey, Personal, Treatment};
pub use rules::rule;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::filter;
use arrow::datatypes::{Schema, SchemaRef};

use crate::model::{DateOrder, FaultCode, MoneyColumn, Normalised, RawBatch};
use crate::schema::{Column, Dataset, HeaderMatch};

use cells::{BadCell, Source, type_rows};
use coder::Coder;
use contract::{decide, may_be_null};
use hash::RowHasher;
use lineage::{Extra, identified, key_text, origin_columns, row_keys};
use orders::Proof;
use personal::Treated;
use refuse::{Columns, nulled, quarantine, with_nulled, without};

/// Types the rows of one file.
pub struct Normaliser {
    schema: SchemaRef,
    /// The same with the columns coded that were coded in the last batch.
    coded_schema: SchemaRef,
    columns: Columns,
    // One for each column that the file has, in the order of the table.
    sources: Vec<Source>,
    extra: Extra,
    contract: Contract,
    may_be_null: Vec<bool>,
    treated: Option<Treated>,
    money: Vec<MoneyColumn>,
    key: Vec<usize>,
    pending: Option<usize>,
    driving_date: usize,
    matched: HeaderMatch,
    origin: Origin,
    /// For each column that the file lacks, nulls for as many rows as the largest batch has: the batches share them.
    nulls: Vec<ArrayRef>,
    decided: bool,
    coded: bool,
    hasher: RowHasher,
}

impl Normaliser {
    #[must_use]
    pub fn new(dataset: &Dataset, matched: HeaderMatch, origin: Origin) -> Normaliser {
        let columns = &dataset.newest().columns;
        let table = dataset.table();
        // The registry has proved that these names exist.
        let index_of = |name: &str| columns.iter().position(|column| column.name == name).unwrap_or_default();
        let source = |(index, (column, cell)): (usize, (&Column, &Option<usize>))| {
            Some(Source {
                column: index,
                cell: (*cell)?,
                logical: column.logical,
                arrow: column.arrow.clone(),
                scale: column.scale().unwrap_or_default(),
                required: column.required,
                order: None,
                text_bytes: 0,
                coder: None,
            })
        };
        Normaliser {
            sources: columns.iter().zip(&matched.cells).enumerate().filter_map(source).collect(),
            columns: Columns::new(columns, &matched),
            extra: Extra::new(&matched.unknown),
            contract: Contract::default(),
            may_be_null: may_be_null(dataset),
            treated: None,
            money: table.money,
            key: dataset.key.iter().map(|name| index_of(name)).collect(),
            pending: dataset.pending.as_deref().map(index_of),
            driving_date: index_of(&dataset.driving_date),
            coded_schema: Arc::clone(&table.schema),
            schema: table.schema,
            matched,
            origin,
            nulls: Vec::new(),
            decided: false,
            coded: false,
            hasher: RowHasher::default(),
        }
    }

    /// Gives texts that come again and again as dictionaries of Arrow, a column of a batch this way or that: see
    /// [`Texts`](crate::model::Texts). One dictionary takes at most so many bytes.
    #[must_use]
    pub fn coded(mut self, most_bytes: u64) -> Normaliser {
        let texts = self.sources.iter_mut().filter(|source| source.has_texts());
        texts.for_each(|source| source.coder = Some(Coder::new(most_bytes)));
        self.coded = true;
        self
    }

    /// By the words of a pipeline.
    #[must_use]
    pub fn under(mut self, options: &Options, dataset: &Dataset) -> Normaliser {
        self.schema = options.table(dataset).schema;
        self.coded_schema = Arc::clone(&self.schema);
        self.treated = Treated::new(
            &options.personal,
            &dataset.newest().columns,
            &self.matched,
            options.contract.columns,
        );
        self.contract = options.contract;
        self.extra = self.extra.under(options.contract.columns);
        self
    }

    /// All slashed dates have this order: a person says so.
    pub fn declare(&mut self, order: DateOrder) {
        self.decided = true;
        self.sources.iter_mut().for_each(|source| source.order = Some(order));
    }

    /// Whether a person or the file has said in which order it writes month and day, or that it does not tell.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.decided
    }

    /// For a look at all rows of the file.
    #[must_use]
    pub fn survey(&self) -> Survey {
        let dates = self.sources.iter().filter(|source| source.has_dates());
        let columns = dates.map(|source| (source.cell, Proof::default())).collect();
        Survey { width: self.matched.width, columns }
    }

    /// Gives each column the order that the file proves, and tells of it in words.
    pub fn decide(&mut self, survey: &Survey) -> Vec<String> {
        self.decided = true;
        let dates = self.sources.iter_mut().filter(|source| source.has_dates());
        let mut told = Vec::new();
        for (source, (_, proof)) in dates.zip(&survey.columns) {
            source.order = proof.order();
            let column = self.columns.note(source.column, *proof);
            if let (Some(order), Some(line)) = (source.order, proof.month_first.or(proof.day_first)) {
                told.push(format!("dates in {column} are {}: line {line} proves it", order.as_str()));
            }
        }
        told
    }

    /// Types one batch of the file.
    pub fn normalise(&mut self, raw: &RawBatch) -> Normalised {
        self.provide_nulls(raw.rows());
        match self.treated.as_ref().map(|treated| treated.apply(raw)) {
            None => self.normalise_treated(raw),
            Some(treated) => counted_as(raw, self.normalise_treated(&treated)),
        }
    }

    fn normalise_treated(&mut self, raw: &RawBatch) -> Normalised {
        let mut bad: Vec<BadCell> = Vec::new();
        let fit = self.well_formed_rows(raw, &mut bad);
        let typed = type_rows(raw, &fit, &mut self.sources, &mut bad);
        let extra = self.extra.column(raw, &fit, self.matched.cells.len(), &mut bad);
        let bad = decide(self.contract, &self.may_be_null, bad);
        let extra = with_nulled(extra, raw, &fit, &bad.nulled, &self.columns);
        let typed = self.sources.iter().zip(typed).map(|(source, array)| {
            let here = bad.nulled.iter().filter(|(_, column, _)| *column == source.column);
            without(&array, &fit, &here.map(|(row, ..)| *row).collect::<Vec<_>>())
        });
        let typed = typed.collect();
        let quarantined = quarantine(raw, &bad.refused, &self.columns);
        let discarded = quarantine(raw, &bad.discarded, &self.columns);
        let nulled = nulled(raw, &bad.nulled, &self.columns);

        let mut gone: Vec<usize> = bad.refused.iter().chain(&bad.discarded).map(|(row, ..)| *row).collect();
        gone.sort_unstable();
        let (rows, typed, extra) = keep_good(fit, &gone, typed, extra);
        let mut columns = self.business_columns(typed, rows.len());
        let business = columns.len();
        let months = typed_totals::months(&columns[self.driving_date]);
        let fields = &self.schema.fields()[..business];
        let totals = typed_totals::sum(&self.money, fields, &columns, rows.len());
        let hashes = self.hasher.hashes(fields, &columns, rows.len());
        let key_parts: Vec<_> = self.key.iter().map(|index| key_text(&columns[*index])).collect();
        let mut keys = row_keys(&key_parts, rows.len());
        if self.key.is_empty() {
            keys = identified(&keys, &hashes, |_| true);
        } else if let Some(pending) = self.pending {
            keys = identified(&keys, &hashes, |row| columns[pending].is_null(row));
        }

        columns.extend(origin_columns(&self.origin, self.matched.version, raw, &rows, self.coded));
        columns.extend([keys, hashes, extra]);
        let batch = RecordBatch::try_new(self.schema_of(&columns), columns)
            .expect("each column was built with the type and length that the schema gives it");
        Normalised { batch, months, quarantined, discarded, nulled, totals }
    }

    /// The table's schema, for columns of which some are coded.
    fn schema_of(&mut self, columns: &[ArrayRef]) -> SchemaRef {
        let fits = |schema: &SchemaRef| {
            schema.fields().iter().zip(columns).all(|(field, column)| field.data_type() == column.data_type())
        };
        if !fits(&self.coded_schema) {
            let fields = self.schema.fields().iter().zip(columns);
            let fields = fields
                .map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()));
            self.coded_schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        }
        Arc::clone(&self.coded_schema)
    }

    fn provide_nulls(&mut self, rows: usize) {
        if self.nulls.first().is_some_and(|nulls| nulls.len() >= rows) {
            return;
        }
        let lacking = self.schema.fields().iter().zip(&self.matched.cells).filter(|(_, cell)| cell.is_none());
        self.nulls = lacking.map(|(field, _)| new_null_array(field.data_type(), rows)).collect();
    }

    fn well_formed_rows(&self, raw: &RawBatch, bad: &mut Vec<BadCell>) -> Vec<usize> {
        let width = self.matched.width;
        let (fit, other): (Vec<usize>, Vec<usize>) =
            (0..raw.rows()).partition(|row| raw.width(*row) == width && !raw.is_misquoted(*row));
        let code = |row: &usize| match raw.is_misquoted(*row) {
            true => FaultCode::BadQuoting,
            false => FaultCode::WrongCellCount,
        };
        bad.extend(other.iter().map(|row| (*row, 0, code(row))));
        fit
    }

    /// Puts the typed columns at their places and nulls at those that the file lacks.
    fn business_columns(&self, typed: Vec<ArrayRef>, rows: usize) -> Vec<ArrayRef> {
        let mut typed = self.sources.iter().map(|source| source.column).zip(typed).peekable();
        let mut nulls = self.nulls.iter();
        (0..self.matched.cells.len())
            .filter_map(|index| match typed.next_if(|(column, _)| *column == index) {
                Some((_, array)) => Some(array),
                None => nulls.next().map(|nulls| nulls.slice(0, rows)),
            })
            .collect()
    }
}

/// Rows that go are counted as they stood in the text: the balance knows nothing of personal data.
fn counted_as(raw: &RawBatch, mut done: Normalised) -> Normalised {
    let lines: BTreeMap<u64, usize> = (0..raw.rows()).map(|row| (raw.line(row), row)).collect();
    for row in done.quarantined.iter_mut().chain(&mut done.discarded) {
        if let Some(index) = lines.get(&row.line) {
            row.treated = Some(std::mem::replace(&mut row.record, raw.record(*index)));
        }
    }
    done
}

/// Takes the refused rows out; `rows` and the arrays stay in step. Nothing is copied where no row was refused.
fn keep_good(
    rows: Vec<usize>,
    refused: &[usize],
    typed: Vec<ArrayRef>,
    extra: ArrayRef,
) -> (Vec<usize>, Vec<ArrayRef>, ArrayRef) {
    let good: Vec<bool> = rows.iter().map(|row| refused.binary_search(row).is_err()).collect();
    if !good.contains(&false) {
        return (rows, typed, extra);
    }
    let kept = rows.iter().zip(&good).filter(|(_, good)| **good).map(|(row, _)| *row).collect();
    let mask = BooleanArray::from(good);
    let keep = |array: &ArrayRef| filter(array, &mask).expect("the mask has a bit for each row");
    (kept, typed.iter().map(keep).collect(), keep(&extra))
}

#[cfg(test)]
mod tests;
