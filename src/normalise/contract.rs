//! What becomes of columns, cells and rows that the schema does not expect: the words of a pipeline's contract.

use serde::{Deserialize, Serialize};

use crate::model::{FaultCode, TableSpec, with_treatments};
use crate::schema::Dataset;

use super::cells::BadCell;
use super::personal::Personal;

/// How rows are typed, for one dataset of a pipeline.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub contract: Contract,
    pub personal: Personal,
}

impl Options {
    /// The table of a dataset, which says what is done to its columns.
    #[must_use]
    pub fn table(&self, dataset: &Dataset) -> TableSpec {
        let table = dataset.table();
        TableSpec { schema: with_treatments(&table.schema, &self.personal.labels()), ..table }
    }
}

/// One word for each kind of surprise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contract {
    pub columns: OnColumn,
    pub types: OnType,
    pub rows: OnRow,
}

/// A column in the header that no schema version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnColumn {
    /// Its cells are kept in `_pc_extra`.
    #[default]
    Evolve,
    /// The window is held.
    Freeze,
    /// Rows with a value in it are refused.
    Quarantine,
    /// It is left out.
    Discard,
}

/// A cell that does not fit the type of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnType {
    /// Its row is refused.
    #[default]
    Quarantine,
    /// It becomes null, and its text is kept in `_pc_extra`. Where a row cannot be without the value, it is refused.
    Null,
    /// The window is held.
    Freeze,
    /// Its row is left out.
    Discard,
}

/// A row without a value that every row has, or a record that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRow {
    #[default]
    Quarantine,
    /// The window is held.
    Freeze,
    /// It is left out.
    Discard,
}

impl Contract {
    /// The same, but nothing is left out: for rows that were kept once.
    #[must_use]
    pub fn keeping_all(self) -> Contract {
        let types = if self.types == OnType::Discard { OnType::Quarantine } else { self.types };
        let rows = if self.rows == OnRow::Discard { OnRow::Quarantine } else { self.rows };
        Contract { types, rows, ..self }
    }

    /// What a fault does to its row; a frozen window is typed to its end, so that all that is wrong in it can be told.
    fn fate(self, code: FaultCode, may_be_null: bool) -> Fate {
        match (code.is_of_row(), self.rows, self.types) {
            _ if code == FaultCode::UnknownColumn => Fate::Refused,
            (true, OnRow::Discard, _) | (false, _, OnType::Discard) => Fate::Discarded,
            (false, _, OnType::Null) if may_be_null => Fate::Nulled,
            _ => Fate::Refused,
        }
    }
}

/// The graver one counts for the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Nulled,
    Discarded,
    Refused,
}

/// The bad cells of a batch by what becomes of them: for a row that goes the first one that takes it.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub refused: Vec<BadCell>,
    pub discarded: Vec<BadCell>,
    /// All of them, in rows that stay.
    pub nulled: Vec<BadCell>,
}

pub(super) fn decide(contract: Contract, may_be_null: &[bool], mut bad: Vec<BadCell>) -> Decided {
    bad.sort_unstable();
    let fate = |(_, column, code): &BadCell| {
        contract.fate(*code, may_be_null.get(*column).copied().unwrap_or_default())
    };
    let mut decided = Decided::default();
    for row in bad.chunk_by(|a, b| a.0 == b.0) {
        let gravest = row.iter().map(fate).max();
        let mut of_it = row.iter().filter(|cell| Some(fate(cell)) == gravest);
        match gravest {
            Some(Fate::Refused) => decided.refused.extend(of_it.next()),
            Some(Fate::Discarded) => decided.discarded.extend(of_it.next()),
            _ => decided.nulled.extend(of_it),
        }
    }
    decided
}

/// Which columns of the table a row may be without, whatever their text says: neither what names or dates it, nor the
/// currency of an amount.
pub(super) fn may_be_null(dataset: &Dataset) -> Vec<bool> {
    let columns = &dataset.newest().columns;
    let is_currency = |name: &String| {
        let of = |currency: &crate::model::Currency| matches!(currency, crate::model::Currency::Column(of) if of == name);
        columns.iter().any(|column| column.currency.as_ref().is_some_and(of))
    };
    let needed =
        |name: &String| dataset.key.contains(name) || dataset.driving_date == *name || is_currency(name);
    columns.iter().map(|column| !column.required && !needed(&column.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_fault_decides_for_its_row() {
        let bad = vec![
            (1, 2, FaultCode::NotADate),
            (1, 0, FaultCode::NotADecimal),
            (2, 1, FaultCode::NotADecimal),
            (2, 0, FaultCode::NotADate),
            (3, 0, FaultCode::NotADate),
            (3, 4, FaultCode::MissingValue),
        ];
        let nullable = [true, false, true];
        let of = |types, rows| {
            let contract = Contract { types, rows, ..Contract::default() };
            let Decided { refused, discarded, nulled } = decide(contract, &nullable, bad.clone());
            let rows = |cells: Vec<BadCell>| cells.iter().map(|cell| (cell.0, cell.1)).collect::<Vec<_>>();
            [rows(refused), rows(discarded), rows(nulled)]
        };
        use {OnRow as R, OnType as T};
        let firsts = vec![(1, 0), (2, 0), (3, 0)];
        assert_eq!(of(T::Quarantine, R::Quarantine), [firsts.clone(), vec![], vec![]]);
        assert_eq!(of(T::Freeze, R::Freeze), [firsts.clone(), vec![], vec![]]);
        assert_eq!(of(T::Discard, R::Discard), [vec![], firsts, vec![]]);
        assert_eq!(of(T::Quarantine, R::Discard), [vec![(1, 0), (2, 0), (3, 0)], vec![], vec![]]);
        assert_eq!(of(T::Null, R::Discard), [vec![(2, 1)], vec![(3, 4)], vec![(1, 0), (1, 2)]]);
        assert_eq!(of(T::Null, R::Quarantine), [vec![(2, 1), (3, 4)], vec![], vec![(1, 0), (1, 2)]]);
    }
}
