//! When a change is not believed: never overwrite with less.

use serde::{Deserialize, Serialize};

use super::verify::{file, objects_of};
use super::{Staged, StagedPart};
use crate::engine::{Engine, ParquetFile, Place};
use crate::error::{Error, Kind, Result};
use crate::lake::{Chain, Partition};
use crate::model::{Difference, MONEY_SCALE, Month, TableSpec, Totals, format_money, treatments};

/// When a window is held instead of committed. Each limit is broken by more than `percent` *and* more than `floor`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guards {
    /// Rows that a month would lose. Losing all of them always breaks it, unless `percent` is 100.
    pub rows: Limit,
    /// What the sum of a money column that every row has would lose in one currency; the floor is in units of it, or in
    /// hundreds of units where the currency has no cents.
    pub sums: Limit,
    /// Rows of the export that are refused.
    pub quarantined: Limit,
    /// Rows that a participant or programme had which is not there at all any more.
    pub vanished: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    pub percent: u32,
    pub floor: u64,
}

impl Default for Guards {
    fn default() -> Self {
        Guards {
            rows: Limit { percent: 10, floor: 20 },
            // Adjustments and returned payments move sums far more often than they move rows.
            sums: Limit { percent: 25, floor: 10_000 },
            quarantined: Limit { percent: 1, floor: 0 },
            vanished: Limit { percent: 1, floor: 10 },
        }
    }
}

impl Limit {
    /// Whether losing `lost` of `whole` breaks the limit.
    #[must_use]
    pub fn is_broken(self, lost: u128, whole: u128) -> bool {
        self.is_broken_in_units(lost, whole, 1)
    }

    /// As [`Limit::is_broken`] for amounts of which `one` makes a unit of the floor.
    fn is_broken_in_units(self, lost: u128, whole: u128, one: u128) -> bool {
        let percent = u128::from(self.percent);
        percent < 100
            && lost.saturating_mul(100) > whole.saturating_mul(percent)
            && lost > u128::from(self.floor).saturating_mul(one)
    }

    /// For people.
    #[must_use]
    pub fn words(self, what: &str) -> String {
        format!("limit: {} % and {} {what}", self.percent, self.floor)
    }
}

/// Currencies whose ISO 4217 has no minor unit: a unit of them is worth what a cent is elsewhere, and a floor counts
/// hundreds of them.
const WITHOUT_CENTS: [&str; 16] = [
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF",
    "XPF",
];

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Why the change is held.
    pub differences: Vec<Difference>,
    /// Values that are new: they are welcome.
    pub news: Vec<String>,
}

/// Compares what is there with what would take its place.
pub(super) struct Comparison<'a> {
    pub guards: &'a Guards,
    pub engine: &'a Engine,
    pub spec: &'a TableSpec,
    pub chain: &'a Chain,
}

impl Comparison<'_> {
    /// One month.
    pub(super) async fn month(
        &self,
        month: Month,
        old: &Partition,
        new: Option<&StagedPart>,
        found: &mut Findings,
    ) -> Result<()> {
        let new: Vec<&StagedPart> = new.into_iter().collect();
        // A request of a neighbour may have brought a few rows of a month that no export has covered yet: their sums say
        // nothing about those of all rows. More rows than the floor are a file that a person has loaded.
        let rows: u64 = new.iter().map(|part| part.totals.rows).sum();
        let stray = old.covered_at.is_none() && old.totals.rows <= self.guards.rows.floor;
        let with_sums = !stray || rows <= old.totals.rows;
        self.compare(&month.to_string(), &[old], &new, with_sums, found).await
    }

    /// A pull of everything against the rows that the service can still reach.
    pub(super) async fn pull(&self, old: &[&Partition], staged: &Staged, found: &mut Findings) -> Result<()> {
        // What stands before the first month of the pull may have left the service's reach.
        let first = staged.parts.iter().filter_map(|part| part.key.month()).min();
        let reachable = |p: &&&Partition| match (p.key.month(), first) {
            (Some(month), Some(first)) => month >= first,
            _ => true,
        };
        let old: Vec<&Partition> = old.iter().filter(reachable).copied().collect();
        let new: Vec<&StagedPart> = staged.parts.iter().collect();
        self.compare("the account", &old, &new, true, found).await
    }

    async fn compare(
        &self,
        scope: &str,
        old: &[&Partition],
        new: &[&StagedPart],
        with_sums: bool,
        found: &mut Findings,
    ) -> Result<()> {
        let (mut before, mut after) = (Totals::default(), Totals::default());
        old.iter().for_each(|partition| before.merge(&partition.totals));
        new.iter().for_each(|part| after.merge(&part.totals));
        if before.rows == 0 {
            return Ok(());
        }
        found.differences.extend(self.rows(scope, before.rows, after.rows));
        if with_sums {
            found.differences.extend(self.sums(scope, &before, &after));
        }
        if after.rows == 0 {
            // The rows say it all.
            return Ok(());
        }
        let now_treated = treatments(&self.spec.schema);
        // A hash is another value than its text.
        let is_same = |column: &&str| {
            let now = now_treated.get(*column).filter(|now| *now != "keep");
            old.iter().all(|part| part.treatments.get(*column) == now)
        };
        let columns: Vec<&str> = self.spec.vanishing.iter().map(String::as_str).filter(is_same).collect();
        let there: Vec<_> = old.iter().flat_map(|part| objects_of(self.chain, part)).collect();
        let known = self.engine.rows_by_text(&columns, Place::Lake, &there).await?;
        let now = self.engine.rows_by_text(&columns, Place::Local, &new_files(new)?).await?;
        for ((column, known), now) in columns.into_iter().zip(known).zip(now) {
            let limit = self.guards.vanished;
            for (value, rows) in known.iter().filter(|(value, _)| !now.contains_key(*value)) {
                if limit.is_broken(u128::from(*rows), u128::from(before.rows)) {
                    found.differences.push(Difference {
                        scope: scope.to_owned(),
                        what: format!("rows of {column} '{value}'"),
                        old: rows.to_string(),
                        new: "0".to_owned(),
                        limit: limit.words("rows"),
                    });
                }
            }
            let news = now.iter().filter(|(value, _)| !known.contains_key(*value));
            found.news.extend(
                news.map(|(value, rows)| format!("new in {scope}: {column} '{value}' with {rows} rows")),
            );
        }
        Ok(())
    }

    fn rows(&self, scope: &str, old: u64, new: u64) -> Option<Difference> {
        let (lost, limit) = (old.saturating_sub(new), self.guards.rows);
        let all = new == 0 && limit.percent < 100;
        (all || limit.is_broken(u128::from(lost), u128::from(old))).then(|| Difference {
            scope: scope.to_owned(),
            what: "rows".to_owned(),
            old: old.to_string(),
            new: new.to_string(),
            limit: limit.words("rows"),
        })
    }

    fn sums<'b>(
        &'b self,
        scope: &'b str,
        old: &'b Totals,
        new: &'b Totals,
    ) -> impl Iterator<Item = Difference> {
        let one = 10u128.pow(u32::from(MONEY_SCALE));
        // A column that may be blank moves between currencies when a payment gets its bank account.
        let is_in_every_row =
            |name: &str| self.spec.schema.field_with_name(name).is_ok_and(|field| !field.is_nullable());
        old.sums.iter().filter(move |((name, _), _)| is_in_every_row(name)).filter_map(
            move |(key, before)| {
                let after = new.sums.get(key).copied().unwrap_or(0);
                // What is lost of a debt counts like what is lost of a credit.
                let lost =
                    if *before < 0 { after.saturating_sub(*before) } else { before.saturating_sub(after) };
                let limit = self.guards.sums;
                let lost = u128::try_from(lost).unwrap_or(0);
                let unit = if WITHOUT_CENTS.contains(&key.1.as_str()) { one * 100 } else { one };
                limit.is_broken_in_units(lost, before.unsigned_abs(), unit).then(|| Difference {
                    scope: scope.to_owned(),
                    what: format!(
                        "sum of {} in {}",
                        key.0,
                        if key.1.is_empty() { "no currency" } else { &key.1 }
                    ),
                    old: format_money(*before),
                    new: format_money(after),
                    limit: limit.words("units of the currency"),
                })
            },
        )
    }
}

/// Staged files under their absolute path.
pub(super) fn new_files(parts: &[&StagedPart]) -> Result<Vec<ParquetFile>> {
    let files = parts.iter().map(|part| {
        let path = object_store::path::Path::from_absolute_path(&part.file).map_err(|cause| {
            Error::new(Kind::Destination, "a staged file cannot be named")
                .with("file", part.file.display())
                .caused_by(cause)
        })?;
        Ok(file(&part.key, path, part.bytes, part.totals.rows))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_broken_by_share_and_size_together() {
        let limit = Limit { percent: 10, floor: 100 };
        for (lost, whole, broken) in [
            (100, 1_000, false),
            (101, 1_010, false),
            (102, 1_010, true),
            (100, 200, false),
            (101, 200, true),
            (5_000, 50_000, false),
            (5_001, 50_000, true),
        ] {
            assert_eq!(limit.is_broken(lost, whole), broken, "{lost} of {whole}");
        }
        assert!(!Limit { percent: 100, floor: 0 }.is_broken(10, 10), "100 % lets everything go");
        assert!(Limit { percent: 0, floor: 0 }.is_broken(1, 1_000_000));
    }
}
