//! Rows and cents balance, or nothing is committed.
//!
//! ```text
//! the census of the text   = rows that the reader gave              (decode)
//! rows read                = normalised + quarantined + discarded   (normalise)
//! cents in the text        = those of the same three, and of amounts that became null   (normalise)
//! normalised               = staged + overlap (+ left)              (stage)
//! ```
//!
//! The left side of the first three is taken by code that shares nothing with the typed path: the census reads
//! the bytes, not the cells. `load` goes on: written = staged + carried over - superseded, read back = written.

use crate::decode::{self, Census};
use crate::error::{Error, Kind, Result};
use crate::load::Staged;
use crate::model::{Hop, MoneyCell, Normalised, Totals};

/// What was counted on the way to the staged files.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Rows that the reader gave.
    pub read: u64,
    pub quarantined: u64,
    /// Of the normalised rows, from the typed side.
    pub normalised: Totals,
    /// Of those that a replay leaves where they are, although they fit.
    pub left: Totals,
    /// From the bytes, by the census.
    text: Totals,
    // Amounts that the census could not read: all of them must be refused, left out or null.
    unreadable: u64,
    /// Of the refused records, by the census.
    refused: Totals,
    /// Of the records that the contract leaves out, by the census.
    pub discarded: Totals,
    /// Cells that the contract made null; the sums are those of the amounts among them, by the census.
    pub nulled_cells: u64,
    nulled: Totals,
    // Amounts of all these that the census could not read.
    gone_unreadable: u64,
}

impl Counts {
    pub(super) fn add_text(&mut self, census: &Census) {
        self.text.rows += census.records;
        self.text.merge(&Totals { rows: 0, sums: census.sums.clone() });
        self.unreadable += census.unreadable;
    }

    /// A record that is kept by itself: it was counted in its text once.
    pub(super) fn add_record(&mut self, record: &[u8], money: &[MoneyCell]) {
        self.add_text(&decode::census_of_record(record, money));
    }

    /// Refused rows of which nothing is known but that they are there.
    pub(super) fn add_untried(&mut self, rows: u64) {
        self.read += rows;
        self.quarantined += rows;
        self.text.rows += rows;
        self.refused.rows += rows;
    }

    pub(super) fn add_typed(&mut self, read: u64, rows: &Normalised, money: &[MoneyCell]) {
        self.read += read;
        self.normalised.merge(&rows.totals);
        self.quarantined += rows.quarantined.len() as u64;
        self.nulled_cells += rows.nulled.len() as u64;
        for (gone, totals) in [(&rows.quarantined, &mut self.refused), (&rows.discarded, &mut self.discarded)]
        {
            for row in gone {
                let census = decode::census_of_record(&row.record, money);
                totals.merge(&Totals { rows: 1, sums: census.sums });
                self.gone_unreadable += census.unreadable;
            }
        }
        for cell in &rows.nulled {
            let Some(record) = &cell.record else { continue };
            let money: Vec<MoneyCell> = money.iter().filter(|m| m.column == cell.column).cloned().collect();
            let census = decode::census_of_record(record, &money);
            self.nulled.merge(&Totals { rows: 0, sums: census.sums });
            self.gone_unreadable += census.unreadable;
        }
    }

    /// For the receipt.
    pub(super) fn hops(&self, staged: &Staged) -> Vec<Hop> {
        let hop = |name: &str, totals: &Totals| Hop { name: name.to_owned(), totals: totals.clone() };
        let mut hops = vec![
            hop("text", &self.text),
            hop("quarantined", &self.refused),
            hop("normalised", &self.normalised),
            hop("overlap", &staged.overlap),
            hop("staged", &staged.totals()),
        ];
        hops.extend((self.left.rows > 0).then(|| hop("left", &self.left)));
        hops.extend((self.discarded.rows > 0).then(|| hop("discarded", &self.discarded)));
        hops.extend((self.nulled_cells > 0).then(|| hop("nulled", &self.nulled)));
        hops
    }
}

/// # Errors
/// [`Kind::Contract`] that names the hop.
pub(super) fn check(file: &str, counts: &Counts, staged: &Staged) -> Result<()> {
    if counts.text.rows != counts.read {
        let differs = format!("rows {} against {}", counts.text.rows, counts.read);
        return Err(unbalanced("decode", file, &[differs]));
    }
    let mut typed = counts.normalised.clone();
    [&counts.refused, &counts.discarded, &counts.nulled].iter().for_each(|gone| typed.merge(gone));
    let mut differences = counts.text.differences(&typed);
    if counts.unreadable != counts.gone_unreadable {
        let (all, gone) = (counts.unreadable, counts.gone_unreadable);
        differences
            .push(format!("{all} amounts cannot be read and {gone} of them are in no row of the table"));
    }
    if !differences.is_empty() {
        return Err(unbalanced("normalise", file, &differences));
    }
    let mut split = staged.totals();
    split.merge(&staged.overlap);
    split.merge(&counts.left);
    let differences = counts.normalised.differences(&split);
    if !differences.is_empty() {
        return Err(unbalanced("stage", file, &differences));
    }
    Ok(())
}

fn unbalanced(hop: &str, file: &str, differences: &[String]) -> Error {
    Error::new(Kind::Contract, "rows or cents do not balance")
        .with("hop", hop)
        .with("file", file)
        .with("differs", differences.join(", "))
        .hint("nothing was committed for this window; please report it with the receipt of this run")
}
