//! Two versions of a table, compared by key.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::JoinType;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::ExprFunctionExt;
use datafusion::prelude::{DataFrame, ident};
use futures::TryStreamExt;

use super::lines::{Line, Lines, micros};
use super::side::Side;
use crate::engine::{MergeParts, ParquetFiles, Place, Slice, failed};
use crate::error::{Error, Kind, Result};
use crate::lake::{Manifest, Partition};
use crate::load::verify::objects_of;
use crate::load::{Context, Digest, Stager};
use crate::model::{Currency, DEFAULT_PARTITION, MoneyColumn, Totals, format_money};

pub(super) const KEY: &str = "_pc_row_key";
pub(super) const HASH: &str = "_pc_row_hash";
pub(super) const EXTRACTED_AT: &str = "_pc_extracted_at";
/// Numbers rows of one key: a key may stand twice.
const PLACE: &str = "place";

/// Lines that are held before they go to the stager.
const BATCH: usize = 8192;

/// Writes the lines of what `new` changed, and gives back how many there are besides those of first loads.
///
/// # Errors
/// [`Kind::Contract`] when they do not add up, [`Kind::Destination`] when objects cannot be read.
pub(in crate::load) async fn compare(
    context: &Context<'_>,
    old: Option<&Manifest>,
    new: &Manifest,
    out: &mut Stager<'_>,
) -> Result<u64> {
    let pairs = changed(old, new);
    // Where rows go from one month, those that come in another may be the same: they are told one by one. Months that
    // come without that are told by their sums.
    let by_sums = pairs.iter().all(|pair| pair.old.is_none());
    let (loaded, pairs): (Vec<Pair<'_>>, Vec<Pair<'_>>) = pairs.into_iter().partition(|_| by_sums);
    let mut lines = Lines::new(new, new.operation.cause.as_str());
    for Pair { new: part, .. } in loaded {
        if let Some(part) = part {
            lines_of_first_load(part, &mut lines)?;
        }
    }
    flush(&mut lines, out)?;
    let Some(old) = old.filter(|_| !pairs.is_empty()) else { return Ok(0) };
    let first_loads = lines.numbered();

    let comparison = Comparison::new(old, new, &pairs)?;
    let cause = if comparison.by_other_rules { "upgrade" } else { new.operation.cause.as_str() };
    let expected = comparison.expected(&pairs)?;
    let mut lines = Lines::new(new, cause).after(first_loads);
    let found = comparison.write(context, &pairs, &mut lines, out).await?;
    let mut differences = expected.totals.differences(&found.totals);
    if expected.rows != found.rows {
        differences.push("the rows themselves".to_owned());
    }
    if differences.is_empty() {
        return Ok(lines.numbered() - first_loads);
    }
    Err(Error::new(Kind::Contract, "the restatements do not add up to the difference of two versions")
        .with("hop", "restate")
        .with("table", new.chain())
        .with("version", new.version)
        .with("differs", differences.join(", "))
        .hint(
            "the table itself is right and complete; please report this with the manifests of both versions",
        ))
}

/// The difference of two versions.
struct Moved {
    /// The count of rows is a signed number in the two's complement of u64: rows may become fewer.
    totals: Totals,
    /// The hashes of the rows that came, less those of the rows that went: a row that took the place of another with the
    /// same amounts shows here.
    rows: Digest,
}

/// A partition before and after.
struct Pair<'a> {
    old: Option<&'a Partition>,
    new: Option<&'a Partition>,
}

/// The partitions of which the rows changed.
fn changed<'a>(old: Option<&'a Manifest>, new: &'a Manifest) -> Vec<Pair<'a>> {
    let before = |key| old.and_then(|old| old.partition(key));
    let after = new.partitions.iter().map(|part| Pair { old: before(&part.key), new: Some(part) });
    let gone = old.into_iter().flat_map(|old| &old.partitions);
    let gone = gone.filter(|part| new.partition(&part.key).is_none());
    let all = after.chain(gone.map(|part| Pair { old: Some(part), new: None }));
    let objects = |part: Option<&'a Partition>| part.map(|part| part.objects.as_slice()).unwrap_or_default();
    all.filter(|pair| objects(pair.old) != objects(pair.new)).collect()
}

/// A month's first rows: sums instead of rows.
fn lines_of_first_load(part: &Partition, lines: &mut Lines<'_>) -> Result<()> {
    let base = Line {
        change: "loaded",
        period: period(&part.key.value),
        new_extracted_at: micros(part.covered_at.max(part.merged_at)),
        ..Line::default()
    };
    lines.push(&Line { rows: part.totals.rows as i64, ..base.clone() })?;
    for ((column, currency), units) in &part.totals.sums {
        let (field, currency) = (Some(column.as_str()), Some(currency.as_str()));
        lines.push(&Line { field, currency, moved: Some(*units), ..base.clone() })?;
    }
    Ok(())
}

fn period(value: &str) -> Option<&str> {
    (value != DEFAULT_PARTITION).then_some(value)
}

fn flush(lines: &mut Lines<'_>, out: &mut Stager<'_>) -> Result<()> {
    if lines.len() == 0 {
        return Ok(());
    }
    let key = lines.partition();
    out.push(key, lines.take()?)
}

/// What two versions have in common.
pub(super) struct Comparison<'a> {
    old: &'a Manifest,
    pub new: &'a Manifest,
    /// The shape in which both are read.
    schema: Arc<arrow::datatypes::Schema>,
    /// Business columns that both know.
    pub columns: Vec<String>,
    money: Vec<MoneyColumn>,
    by_other_rules: bool,
}

impl<'a> Comparison<'a> {
    fn new(old: &'a Manifest, new: &'a Manifest, pairs: &[Pair<'_>]) -> Result<Self> {
        let parts = || pairs.iter().flat_map(|pair| pair.old.into_iter().chain(pair.new));
        let filled = || parts().filter(|part| !part.objects.is_empty());
        let absent: BTreeSet<&str> = filled().flat_map(|part| &part.absent).map(String::as_str).collect();
        let (before, after) = (old.schema.to_arrow()?, new.schema.to_arrow()?);
        // What was hashed on one side and not on the other says nothing, and must not be told.
        let names: BTreeSet<&String> = filled().flat_map(|part| part.treatments.keys()).collect();
        let first = filled().next();
        let is_alike =
            |name: &str| first.is_none_or(|first| filled().all(|part| part.is_treated_like(first, name)));
        let unlike: BTreeSet<&str> =
            names.iter().map(|name| name.as_str()).filter(|name| !is_alike(name)).collect();
        let columns: Vec<String> = (after.fields().iter())
            .filter(|field| !field.name().starts_with("_pc_") && !absent.contains(field.name().as_str()))
            .filter(|field| !unlike.contains(field.name().as_str()))
            .filter(|field| {
                before.field_with_name(field.name()).is_ok_and(|o| o.data_type() == field.data_type())
            })
            .map(|field| field.name().clone())
            .collect();
        let money = after.fields().iter().filter(|field| columns.contains(field.name()));
        let money = money.filter_map(|field| {
            let currency = field.metadata().get(Currency::METADATA).map(|text| Currency::parse(text))?;
            Some(MoneyColumn { name: field.name().clone(), currency })
        });
        // An amount of which one side does not know the currency cannot be compared.
        let known = |money: &MoneyColumn| match &money.currency {
            Currency::Column(name) => columns.contains(name),
            Currency::Fixed(_) => true,
        };
        let money = money.filter(known).collect();
        let wider = if before.fields().len() > after.fields().len() { before } else { after };
        let rules: BTreeSet<u32> = filled().map(|part| part.rules).collect();
        let label = |part: &Partition, name: &str| part.treatments.get(name).cloned();
        let changed = |name: &&str| {
            filled().any(|part| first.is_some_and(|first| label(part, name) != label(first, name)))
        };
        let by_other_rules = rules.len() > 1 || unlike.iter().any(changed);
        Ok(Comparison { old, new, schema: Arc::new(wider), columns, money, by_other_rules })
    }

    /// What the lines must add up to.
    fn expected(&self, pairs: &[Pair<'_>]) -> Result<Moved> {
        let mut totals = Totals::default();
        pairs.iter().filter_map(|pair| pair.new).for_each(|part| totals.merge(&part.totals));
        let mut before = Totals::default();
        pairs.iter().filter_map(|pair| pair.old).for_each(|part| before.merge(&part.totals));
        totals.rows = totals.rows.wrapping_sub(before.rows);
        for ((column, currency), units) in &before.sums {
            totals.add(column, currency, -*units);
        }
        totals.sums.retain(|(column, _), _| self.money.iter().any(|money| money.name == *column));
        let mut rows = Digest::default();
        for pair in pairs {
            let digest = |part: Option<&Partition>| {
                part.map_or(Ok(Digest::default()), |part| Digest::of_hex(&part.digest))
            };
            rows = rows.plus(digest(pair.new)?).minus(digest(pair.old)?);
        }
        Ok(Moved { totals, rows })
    }

    /// Writes the lines, and gives back what they add up to.
    async fn write(
        &self,
        context: &Context<'_>,
        pairs: &[Pair<'_>],
        lines: &mut Lines<'_>,
        out: &mut Stager<'_>,
    ) -> Result<Moved> {
        let mut found = Moved { totals: Totals::default(), rows: Digest::default() };
        let rows = |part: Option<&Partition>| part.map_or(0, |part| part.totals.rows);
        let rows = pairs.iter().map(|pair| rows(pair.old).max(rows(pair.new))).sum();
        let chain = self.new.chain();
        let before = pairs.iter().filter_map(|pair| pair.old).flat_map(|part| objects_of(&chain, part));
        let after = pairs.iter().filter_map(|pair| pair.new).flat_map(|part| objects_of(&chain, part));
        let (before, after): (Vec<_>, Vec<_>) = (before.collect(), after.collect());
        for slice in Slice::ALL.parts(rows, context.engine.keys_at_once()) {
            let [gone, come] = context.engine.unlike(&before, &after, slice).await?;
            let [gone, come] = [(self.old, gone), (self.new, come)].map(|(manifest, files)| {
                let (schema, columns) = (Arc::clone(&self.schema), &manifest.partition_columns);
                Arc::new(ParquetFiles::new(Place::Lake, schema, columns, files))
            });
            let most = gone.rows().max(come.rows());
            if most == 0 {
                continue;
            }
            for slice in slice.parts(most, context.engine.rows_at_once()) {
                let rows = self.plan(context, [&gone, &come], slice).map_err(comparing)?;
                self.write_some(rows, lines, out, &mut found).await?;
            }
        }
        flush(lines, out)?;
        Ok(found)
    }

    /// Writes the lines of some pairs of rows, and adds them up.
    async fn write_some(
        &self,
        rows: DataFrame,
        lines: &mut Lines<'_>,
        out: &mut Stager<'_>,
        found: &mut Moved,
    ) -> Result<()> {
        let mut rows = MergeParts::stream(rows).await?;
        while let Some(batch) = rows.try_next().await.map_err(comparing)? {
            let sides = [Side::new(self, &batch, "old")?, Side::new(self, &batch, "new")?];
            let [gone, come] = [sides[0].digest(), sides[1].digest()];
            found.rows = found.rows.plus(come).minus(gone);
            for row in 0..batch.num_rows() {
                self.row(&sides, row, lines, &mut found.totals)?;
                if lines.len() >= BATCH {
                    flush(lines, out)?;
                }
            }
        }
        Ok(())
    }

    /// Of a slice, the rows that have gone and those that have come, of one key side by side.
    fn plan(
        &self,
        context: &Context<'_>,
        [gone, come]: [&Arc<ParquetFiles>; 2],
        slice: Slice,
    ) -> datafusion::common::Result<DataFrame> {
        let side = |files: &Arc<ParquetFiles>, side: &str| {
            let ours = [KEY, HASH, EXTRACTED_AT, self.new.partition_columns[1].as_str()];
            let names = self.columns.iter().map(String::as_str).chain(ours);
            let rows = context.engine.session().read_table(Arc::clone(files) as Arc<dyn TableProvider>)?;
            let place = row_number().partition_by(vec![ident(KEY)]);
            let place = place.order_by(vec![ident(HASH).sort(true, true)]).build()?;
            let named = |name: &str| ident(name).alias(format!("{side} {name}"));
            let rows = slice.filter(rows)?.with_column(PLACE, place)?;
            rows.select(names.chain([PLACE]).map(named).collect::<Vec<_>>())
        };
        let by = |side: &str| [format!("{side} {KEY}"), format!("{side} {PLACE}")];
        let (left, right) = (by("old"), by("new"));
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        let right: Vec<&str> = right.iter().map(String::as_str).collect();
        side(gone, "old")?.join(side(come, "new")?, JoinType::Full, &left, &right, None)
    }

    /// The lines of one key.
    fn row(
        &self,
        sides: &[Side<'_>; 2],
        row: usize,
        lines: &mut Lines<'_>,
        found: &mut Totals,
    ) -> Result<()> {
        let [old, new] = sides;
        let (before, after) = (old.is_there(row), new.is_there(row));
        let shown = if after { new } else { old };
        let base = Line {
            change: if !before {
                "added"
            } else if after {
                "changed"
            } else {
                "removed"
            },
            row_key: Some(shown.key(row)),
            period: shown.period(row),
            old_extracted_at: old.extracted_at(row),
            new_extracted_at: new.extracted_at(row),
            ..Line::default()
        };
        if before != after {
            let rows = if after { 1 } else { -1 };
            found.rows = found.rows.wrapping_add_signed(rows);
            lines.push(&Line { rows, ..base.clone() })?;
        } else {
            self.fields(sides, row, &base, lines)?;
        }
        self.money(sides, row, &base, lines, found)
    }

    /// One line for each field that changed, money apart.
    fn fields(
        &self,
        [old, new]: &[Side<'_>; 2],
        row: usize,
        base: &Line<'_>,
        lines: &mut Lines<'_>,
    ) -> Result<()> {
        for (index, name) in self.columns.iter().enumerate() {
            if self.money.iter().any(|money| money.name == *name) {
                continue;
            }
            let (before, after) = (old.text(index, row)?, new.text(index, row)?);
            if before != after {
                let field = Some(name.as_str());
                lines.push(&Line { field, old_value: before, new_value: after, ..base.clone() })?;
            }
        }
        Ok(())
    }

    /// What moved in each money column. An amount that changes its currency leaves the one and enters the other.
    fn money(
        &self,
        [old, new]: &[Side<'_>; 2],
        row: usize,
        base: &Line<'_>,
        lines: &mut Lines<'_>,
        found: &mut Totals,
    ) -> Result<()> {
        for money in &self.money {
            let before = old.amount(self, money, row)?;
            let after = new.amount(self, money, row)?;
            if before == after {
                continue;
            }
            let field = Some(money.name.as_str());
            let mut push = |before: Option<i128>, after: Option<i128>, currency: &str| {
                let moved = after.unwrap_or(0) - before.unwrap_or(0);
                if moved == 0 && base.rows_moved() {
                    // A row comes or goes with nothing in this column.
                    return Ok(());
                }
                found.add(&money.name, currency, moved);
                let (old_value, new_value) = (before.map(format_money), after.map(format_money));
                let (currency, moved) = (Some(currency), Some(moved));
                lines.push(&Line { field, old_value, new_value, currency, moved, ..base.clone() })
            };
            match (&before, &after) {
                (Some((before, from)), Some((after, to))) if from == to => {
                    push(Some(*before), Some(*after), from)?;
                }
                _ => {
                    if let Some((units, currency)) = &before {
                        push(Some(*units), None, currency)?;
                    }
                    if let Some((units, currency)) = &after {
                        push(None, Some(*units), currency)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn comparing(cause: datafusion::error::DataFusionError) -> Error {
    failed(cause, "two versions could not be compared")
}

pub(super) fn malformed(cause: arrow::error::ArrowError) -> Error {
    Error::new(Kind::Bug, "two versions could not be compared").caused_by(cause)
}
