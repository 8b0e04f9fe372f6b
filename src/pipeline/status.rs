//! A lake at a glance: a value, told by `output`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::history::is_dataset;
use super::known;
use super::windows::{self, REACH_MONTHS};
use crate::engine::Engine;
use crate::error::Result;
use crate::lake::{Chain, ExportState, Held, Lake, Ledger, Manifest, Moment, Tag, expiries, receipts_prefix};
use crate::model::{
    Age, AtWork, HeldWindow, LastRun, Lateness, Leaving, Month, OpenExport, Receipt, RunId, Status,
    TableStatus, Tiers, Uncovered, Window,
};
use crate::query::{Late, Query, lateness};
use crate::schema::Registry;

/// Looks at everything that a lake says of itself.
///
/// # Errors
/// [`crate::error::Kind::Destination`], [`crate::error::Kind::Contract`] when the lake is newer than this build.
pub async fn status(lake: &Lake, engine: &Engine, now: Timestamp) -> Result<Status> {
    let (mut tables, mut not_covered) = (Vec::new(), Vec::new());
    let registry = Registry::built_in()?;
    let today = TimeZone::UTC.to_datetime(now).date();
    for chain in Chain::all(lake).await? {
        let Some(manifest) = chain.newest(lake).await? else { continue };
        tables.push(table(&chain, &manifest));
        let api = registry.dataset(&chain.table).ok().and_then(|dataset| dataset.api.as_ref());
        if api.is_some_and(|api| api.windowed) {
            not_covered.extend(uncovered(&manifest, today));
        }
    }
    // Only looks: no run has this id.
    let ledger = Ledger::new(lake.clone(), RunId(uuid::Uuid::nil()));
    let open_exports = ledger
        .open_exports(now)
        .await?
        .into_iter()
        .filter(ExportState::is_waiting)
        .map(open_export)
        .collect();
    let held = Held::all(lake).await?.into_iter().map(|held| HeldWindow {
        scope: held.scope(),
        id: held.id,
        reason: held.reason,
        held_at: held.held_at,
    });
    let query = Query::open(lake, engine, &Moment::Now).await?;
    let late = lateness(&query).await?;
    Ok(Status {
        lake: lake.shown().to_owned(),
        at: now,
        tables,
        last_run: last_run(lake).await?,
        at_work: ledger.all_at_work(now).await?.into_iter().map(AtWork::from).collect(),
        expiries: expiries(lake, now).await?,
        open_exports,
        held: held.collect(),
        tags: Tag::all(lake).await?.len() as u64,
        lateness: late.into_iter().map(measured).collect(),
        uncovered: not_covered,
    })
}

fn table(chain: &Chain, manifest: &Manifest) -> TableStatus {
    let months: BTreeSet<Month> = match is_dataset(chain) {
        true => manifest.partitions.iter().filter_map(|partition| partition.key.month()).collect(),
        // Our own tables are about no months.
        false => BTreeSet::new(),
    };
    let window = months.first().zip(months.last()).map(|(first, last)| Window::new(*first, *last));
    let all = window.into_iter().flat_map(Window::months);
    let extracted = manifest.partitions.iter().filter_map(|part| part.covered_at.max(part.merged_at));
    TableStatus {
        table: chain.table.clone(),
        account: chain.account.clone(),
        rows: manifest.rows(),
        files: manifest.objects().count() as u64,
        bytes: manifest.objects().map(|object| object.bytes).sum(),
        months: window,
        gaps: all.filter(|month| !months.contains(month)).collect(),
        extracted_at: extracted.max().filter(|_| is_dataset(chain)),
        version: manifest.version,
        committed_at: manifest.committed_at,
    }
}

/// The months that the service can still reach and no export covers; `None` without any.
///
/// It reaches 36 whole months, the running one included: the oldest leaves with the end of the running one.
fn uncovered(manifest: &Manifest, today: Date) -> Option<Uncovered> {
    let covered = known::covered(manifest);
    let reach = windows::reach(Month::of(today));
    let leaving = |month: Month| {
        let gone = month.plus(REACH_MONTHS as i32).first_day();
        Leaving { month, days_left: (gone - today).get_days() }
    };
    let months: Vec<Leaving> =
        reach.months().filter(|month| !covered.contains_key(month)).map(leaving).collect();
    let (dataset, account) = (manifest.table.clone(), manifest.account.clone());
    (!months.is_empty()).then_some(Uncovered { dataset, account, months })
}

/// Names of receipts are UUIDv7: the last one by name is the newest.
async fn last_run(lake: &Lake) -> Result<Option<LastRun>> {
    let Some(path) = lake.list(&receipts_prefix()).await?.pop() else { return Ok(None) };
    let Some(receipt) = lake.get_json::<Receipt>(&path).await? else { return Ok(None) };
    let windows = receipt.tables.iter().flat_map(|table| &table.windows);
    Ok(Some(LastRun {
        outcomes: windows.map(|window| window.outcome).collect(),
        run_id: receipt.run_id,
        command: receipt.command,
        account: receipt.account,
        started_at: receipt.started_at,
        finished_at: receipt.finished_at,
        exit_code: receipt.exit_code,
    }))
}

fn open_export(state: ExportState) -> OpenExport {
    OpenExport {
        dataset: state.wish.dataset,
        account: state.wish.account,
        window: state.wish.window,
        request_id: state.request_id,
        status: state.status,
        planned_at: state.planned_at,
        orphans: state.orphans,
    }
}

/// Fewer nights say little about how late a month still changes.
const NIGHTS_NEEDED: u64 = 14;

fn measured((dataset, late): (String, Late)) -> Lateness {
    let ages: Vec<Age> =
        late.ages.iter().map(|(months, keys)| Age { months: *months, changed_keys: *keys }).collect();
    Lateness {
        dataset,
        nights: late.nights,
        nights_needed: NIGHTS_NEEDED,
        proposed: tiers(&ages).filter(|_| late.nights >= NIGHTS_NEEDED),
        ages,
    }
}

/// How far back to ask how often. The nightly tier reaches 95 % of the changed keys that were seen, the weekly one
/// 99.5 %, the monthly one the oldest of them. Each has one month of margin, and none goes beyond the service's reach.
///
/// A key of age 0 stands in the running month: reaching age `n` takes `n + 1` months. `ages` ascend; `None` without
/// any.
fn tiers(ages: &[Age]) -> Option<Tiers> {
    let all: u64 = ages.iter().map(|age| age.changed_keys).sum();
    let oldest = ages.iter().rev().find(|age| age.changed_keys > 0)?;
    let reaching = |per_mille: u64| {
        let mut seen = 0;
        let reached = ages.iter().find(|age| {
            seen += age.changed_keys;
            u128::from(seen) * 1000 >= u128::from(all) * u128::from(per_mille)
        });
        reached.unwrap_or(oldest).months
    };
    let months = |age: u32| age.saturating_add(2).min(REACH_MONTHS);
    Some(Tiers {
        nightly_months: months(reaching(950)),
        weekly_months: months(reaching(995)),
        monthly_months: months(oldest.months),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ages(pairs: &[(u32, u64)]) -> Vec<Age> {
        pairs
            .iter()
            .map(|(months, changed_keys)| Age { months: *months, changed_keys: *changed_keys })
            .collect()
    }

    fn proposed(pairs: &[(u32, u64)]) -> Option<(u32, u32, u32)> {
        tiers(&ages(pairs)).map(|tiers| (tiers.nightly_months, tiers.weekly_months, tiers.monthly_months))
    }

    #[test]
    fn tiers_reach_what_was_seen_and_a_month_more() {
        assert_eq!(proposed(&[]), None);
        assert_eq!(proposed(&[(3, 0)]), None);
        // All in the running month.
        assert_eq!(proposed(&[(0, 7)]), Some((2, 2, 2)));
        // 95 of 100, 99 and a half, and the last.
        assert_eq!(proposed(&[(0, 500), (1, 450), (4, 45), (11, 5)]), Some((3, 6, 13)));
        // One key less at the young end: each share needs the next age.
        assert_eq!(proposed(&[(0, 500), (1, 449), (4, 45), (11, 6)]), Some((6, 13, 13)));
        // Never beyond what the service has.
        assert_eq!(proposed(&[(0, 1), (50, 1)]), Some((36, 36, 36)));
    }

    #[test]
    fn a_proposal_needs_two_weeks() {
        let late = |nights| Late { nights, ages: [(1, 10)].into() };
        assert!(measured(("payments".to_owned(), late(13))).proposed.is_none());
        assert_eq!(
            measured(("payments".to_owned(), late(14))).proposed.map(|tiers| tiers.nightly_months),
            Some(3)
        );
    }
}
