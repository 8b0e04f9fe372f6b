//! What the lake knows that decides what a run asks for.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::windows::{self, Ask, Past};
use super::{DatasetPlan, Plan};
use crate::engine::Engine;
use crate::error::Result;
use crate::event::{Level, Observer, Step};
use crate::lake::{Chain, ExportState, Lake, Manifest, Moment};
use crate::load::RESTATEMENTS;
use crate::model::{DatasetName, Month, MovedPayment};
use crate::query::{PaidBy, Query};

/// By dataset; nothing on first use.
#[derive(Debug, Clone, Default)]
pub struct Known(BTreeMap<DatasetName, Past>);

const NOTHING: &Past = &Past { covered: BTreeMap::new(), moved: BTreeMap::new(), open: Vec::new() };

impl Known {
    pub(super) fn of(&self, plan: &DatasetPlan) -> &Past {
        self.0.get(&plan.dataset.name).unwrap_or(NOTHING)
    }
}

/// Reads what is known: the newest manifest of each dataset, and what moved if a month that is not due anyway may hang
/// on it. Nothing is written. When payments cannot be looked through, that is told: the tiers bring their months later.
///
/// # Errors
/// [`Kind::Destination`](crate::error::Kind::Destination),
/// [`Kind::Contract`](crate::error::Kind::Contract) when the lake is newer than this build.
pub(super) async fn look(
    plan: &Plan,
    lake: &Lake,
    engine: &Engine,
    open: &[ExportState],
    observer: &Observer,
) -> Result<Known> {
    let mut known = Known::default();
    for wish in plan.datasets.iter().filter(|wish| wish.ask != Ask::Whole) {
        let chain = Chain::new(wish.dataset.name.as_str(), &plan.settings.account);
        let covered = chain.newest(lake).await?.map(|manifest| covered(&manifest)).unwrap_or_default();
        // The newest one first: its rows are the freshest.
        let open = open.iter().rev().filter(|state| plan.may_adopt(state, &wish.dataset));
        let open = open.filter(|state| state.wish.filter == wish.filter(state.wish.window));
        let mut past =
            Past { covered, open: open.filter_map(|state| state.wish.window).collect(), ..Past::default() };
        past.moved = moved(plan, wish, &past, lake, engine).await.unwrap_or_else(|error| {
            let message = format!("payments that moved could not be looked for: {error}");
            observer.tell(Level::Warn, wish.dataset.name.as_str(), Step::Submit, message);
            BTreeMap::new()
        });
        known.0.insert(wish.dataset.name.clone(), past);
    }
    Ok(known)
}

/// When the newest export was finished that is the whole truth about a month.
pub(super) fn covered(manifest: &Manifest) -> BTreeMap<Month, Timestamp> {
    let months = manifest.partitions.iter();
    months.filter_map(|partition| Some((partition.key.month()?, partition.covered_at?))).collect()
}

/// Payments that moved, by the months that are not due without them. They are looked for only among the changes that
/// were seen since the oldest export of these months.
async fn moved(
    plan: &Plan,
    wish: &DatasetPlan,
    past: &Past,
    lake: &Lake,
    engine: &Engine,
) -> Result<BTreeMap<Month, Vec<MovedPayment>>> {
    let nothing = Ok(BTreeMap::new());
    let (Ask::LookBack { running, tiers, .. }, Some(payments)) = (&wish.ask, &wish.dataset.paid_by) else {
        return nothing;
    };
    let (now, account) = (plan.settings.now, &plan.settings.account);
    let due = windows::due(&wish.ask, now, past);
    let mut quiet = past.covered.clone();
    let reached = windows::reached(*running, tiers);
    quiet.retain(|month, _| reached.contains(*month) && !due.iter().any(|due| due.window.contains(*month)));
    let Some(oldest) = quiet.values().min() else { return nothing };
    let since = windows::unsettled_since(*oldest);
    // Without a change since then nothing has to be opened.
    let changes = Chain::new(RESTATEMENTS, account).newest(lake).await?;
    if changes.is_none_or(|changes| changes.committed_at < since) {
        return nothing;
    }
    let query = Query::open(lake, engine, &Moment::Now).await?;
    let paid_by = PaidBy { dataset: &wish.dataset, payments: payments.as_str(), account, since };
    let Some(newest) = paid_by.newest(&query).await? else { return nothing };
    quiet.retain(|_, covered_at| windows::unsettled_since(*covered_at) <= newest);
    let quiet: Vec<Month> = quiet.into_keys().collect();
    paid_by.months(&query, &quiet).await
}
