//! What a run would do: a value, told by `output`. Nothing is sent, nothing is written, nobody signs in.

use std::collections::BTreeMap;

use super::known::{self, Known};
use super::windows::{self, Ask};
use super::{Plan, Wanted};
use crate::engine::Engine;
use crate::error::Result;
use crate::event::{Level, Observer, Step};
use crate::lake::{Chain, ExportState, Lake, Ledger, Manifest, receipts_prefix};
use crate::model::{
    Estimate, LeftOut, Measured, Month, Outcome, PlannedExport, Preview, Receipt, RunId, Window,
    reasons_in_words,
};
use crate::source::{ExportRequest, FileFormat};

/// The service promises an export within so many hours.
const HOURS_PROMISED: u32 = 24;

/// What the lake has of the datasets of a plan.
#[derive(Default)]
struct There {
    manifests: BTreeMap<String, Manifest>,
    known: Known,
    open: Vec<ExportState>,
    last_run: Option<Measured>,
}

/// Looks at everything that a run would ask for. A lake that is not there yet is an empty one.
///
/// # Errors
/// [`crate::error::Kind::Destination`], [`crate::error::Kind::Contract`] when the lake is newer than this build.
pub async fn preview(plan: &Plan, observer: &Observer) -> Result<Preview> {
    let there = match Lake::find(&plan.settings.lake).await? {
        Some(lake) => there(plan, &lake, observer).await?,
        None => There::default(),
    };
    let wanted = plan.wanted(&there.known);
    let exports = wanted.iter().map(|wanted| planned(plan, wanted, &there)).collect::<Result<Vec<_>>>()?;
    let (mut left_out, mut fresh) = (Vec::new(), Vec::new());
    for wish in &plan.datasets {
        let past = there.known.of(wish);
        match &wish.ask {
            Ask::LookBack { running, .. } => {
                let asked = |month: &Month| {
                    let mine = wanted.iter().filter(|wanted| wanted.dataset.name == wish.dataset.name);
                    mine.filter_map(|wanted| wanted.window).any(|window| window.contains(*month))
                };
                let reach = windows::reach(*running).months();
                let months = reach.filter(|month| !past.covered.contains_key(month) && !asked(month));
                left_out.push(LeftOut { dataset: wish.dataset.name.clone(), months: months.collect() });
            }
            Ask::Backfill { months, fresh_for, .. } => {
                let now = plan.settings.now;
                fresh
                    .extend(months.months().filter(|month| windows::is_fresh(past, *month, now, *fresh_for)));
            }
            Ask::Whole | Ask::Windows(_) => {}
        }
    }
    left_out.retain(|left_out| !left_out.months.is_empty());
    Ok(Preview {
        lake: plan.settings.lake.to_string(),
        account: plan.settings.account.clone(),
        first_use: there.manifests.is_empty(),
        estimate: estimate(plan, &wanted, &there),
        exports,
        left_out,
        fresh,
    })
}

async fn there(plan: &Plan, lake: &Lake, observer: &Observer) -> Result<There> {
    let mut manifests = BTreeMap::new();
    for table in plan.tables() {
        let newest = Chain::new(table, &plan.settings.account).newest(lake).await?;
        manifests.extend(newest.map(|manifest| (table.to_owned(), manifest)));
    }
    // Only looks: no run has this id.
    let open = Ledger::new(lake.clone(), RunId(uuid::Uuid::nil())).open_exports(plan.settings.now).await?;
    let engine = Engine::new(&plan.settings.engine, lake.store().clone())?;
    let known = known::look(plan, lake, &engine, &open, observer).await?;
    Ok(There { manifests, known, open, last_run: last_run(lake).await? })
}

fn planned(plan: &Plan, wanted: &Wanted, there: &There) -> Result<PlannedExport> {
    let request =
        ExportRequest { path: wanted.path.clone(), filter: wanted.filter.clone(), format: FileFormat::Csv };
    let manifest = there.manifests.get(wanted.dataset.name.as_str());
    let is_inside = |month: Option<Month>| match wanted.window {
        Some(window) => month.is_some_and(|month| window.contains(month)),
        None => true,
    };
    let parts = || manifest.iter().flat_map(|m| &m.partitions).filter(|part| is_inside(part.key.month()));
    let open = there.open.iter().rev().find(|state| wanted.is_asked_by(state, plan));
    Ok(PlannedExport {
        dataset: wanted.dataset.name.clone(),
        account: plan.settings.account.clone(),
        window: wanted.window,
        url: request.url(&plan.source)?.to_string(),
        filter: wanted.filter.clone(),
        replaces: wanted.whole && wanted.window.is_some(),
        why: wanted.why.clone(),
        rows_there: parts().map(|part| part.totals.rows).sum(),
        covered_at: match wanted.window {
            Some(_) => parts().filter_map(|part| part.covered_at).min(),
            None => manifest.and_then(|manifest| manifest.pulled_at),
        },
        asked_at: open.map(|state| state.planned_at),
    })
}

fn estimate(plan: &Plan, wanted: &[Wanted], there: &There) -> Estimate {
    let months = |wanted: &Wanted| wanted.window.into_iter().flat_map(Window::months).count() as u32;
    let at_a_time = u32::try_from(plan.wait.max_in_flight.max(1)).unwrap_or(u32::MAX);
    let exports = wanted.len() as u32;
    let rows = |wanted: &Wanted| -> Option<u64> {
        let manifest = there.manifests.get(wanted.dataset.name.as_str())?;
        let Some(window) = wanted.window else { return Some(manifest.rows()) };
        let months = manifest.partitions.iter().filter(|part| part.covered_at.is_some());
        let known: BTreeMap<Month, u64> =
            months.filter_map(|part| Some((part.key.month()?, part.totals.rows))).collect();
        let filled: Vec<u64> = known.values().copied().filter(|rows| *rows > 0).collect();
        let usual = filled.iter().sum::<u64>().checked_div(filled.len() as u64);
        window.months().map(|month| known.get(&month).copied().or(usual)).sum()
    };
    Estimate {
        exports,
        months: wanted.iter().map(months).sum(),
        at_a_time,
        at_most_hours: exports.div_ceil(at_a_time) * HOURS_PROMISED,
        rows: wanted.iter().map(rows).sum(),
        last_run: there.last_run,
    }
}

/// Names of receipts are UUIDv7: the last one by name is the newest.
async fn last_run(lake: &Lake) -> Result<Option<Measured>> {
    let Some(path) = lake.list(&receipts_prefix()).await?.pop() else { return Ok(None) };
    let Some(receipt) = lake.get_json::<Receipt>(&path).await? else { return Ok(None) };
    let windows = receipt.tables.iter().flat_map(|table| &table.windows);
    let done = |outcome: Outcome| matches!(outcome, Outcome::Published | Outcome::Unchanged);
    let exports = windows.filter(|window| window.request_id.is_some() && done(window.outcome)).count() as u32;
    let seconds = receipt.finished_at.duration_since(receipt.started_at).as_secs();
    Ok((exports > 0).then_some(Measured { exports, seconds }))
}

/// Tells while a run begins what it asks for, and why.
pub(super) fn tell(observer: &Observer, plan: &Plan, wanted: &[Wanted]) {
    let many = match wanted.len() {
        0 => "nothing is due: every month that was asked for is covered newly enough".to_owned(),
        many => {
            let exports = if many == 1 { "export" } else { "exports" };
            let hours = estimate(plan, wanted, &There::default()).at_most_hours;
            format!("{many} {exports} to ask for, by the service's promise within {hours} hours")
        }
    };
    observer.tell(Level::Info, "", Step::Submit, format!("signed in; {many}"));
    for wanted in wanted {
        observer.tell(Level::Info, &wanted.scope(), Step::Submit, reasons_in_words(&wanted.why).join("; "));
    }
}
