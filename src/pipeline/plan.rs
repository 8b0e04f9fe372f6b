//! What a run will do, with every value resolved: a plain value that can be printed before it is performed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::decode;
use crate::engine;
use crate::error::Result;
use crate::lake::{Chain, ExportState, Identity, Lake, Location, Wish};
use crate::load::{self, DERIVED, QUARANTINE, publish::Publish};
use crate::model::{Account, DatasetName, Reason, RunId, Why, Window};
use crate::normalise;
use crate::schema::Dataset;
use crate::source::filter::{Filter, Value};
use crate::source::{self, Auth};

use super::known::Known;
use super::windows::{self, Ask, Past};

/// What a run and an ingest have in common.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For the receipt: `run pipelines/quickstart.toml`.
    pub command: String,
    pub run_id: RunId,
    pub account: Account,
    pub lake: Location,
    pub decode: decode::Options,
    /// How rows are typed, where that is not as everywhere.
    pub normalise: BTreeMap<DatasetName, normalise::Options>,
    pub load: load::Options,
    pub engine: engine::Options,
    pub publish: Publish,
    pub raw: Raw,
    /// Tests only: the point of the storage operations at which the process is killed.
    pub kill_at: Option<u64>,
    /// Start of the run.
    pub now: Timestamp,
    /// For the times of single events; the only clock.
    pub clock: fn() -> Timestamp,
}

impl Settings {
    /// Opens the lake for writing.
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub async fn open_lake(&self) -> Result<Lake> {
        Lake::open_to_be_killed(&self.lake, self.now, self.kill_at).await
    }

    /// How the rows of a dataset are typed.
    #[must_use]
    pub fn terms(&self, dataset: &DatasetName) -> normalise::Options {
        self.normalise.get(dataset).cloned().unwrap_or_default()
    }

    /// The histories that a change of these datasets may write.
    #[must_use]
    pub fn chains(&self, tables: &[&str]) -> Vec<Chain> {
        let tables = tables.iter().copied().chain([QUARANTINE]).chain(DERIVED);
        tables.map(|table| Chain::new(table, &self.account)).collect()
    }
}

/// A pipeline, resolved.
#[derive(Debug, Clone)]
pub struct Plan {
    pub settings: Settings,
    pub source: source::Options,
    pub auth: Auth,
    pub datasets: Vec<DatasetPlan>,
    pub wait: Wait,
    pub cleanup: Cleanup,
    /// Whether an identity other than the recorded one becomes the account's.
    pub accept_identity: bool,
}

/// One dataset of a pipeline.
#[derive(Debug, Clone)]
pub struct DatasetPlan {
    pub dataset: Dataset,
    pub ask: Ask,
    /// What rows must be, besides standing in the window. An export under a condition is the whole truth about nothing.
    pub condition: Option<Filter>,
}

/// One export to ask for.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub dataset: Dataset,
    /// `None`: the whole reachable history.
    pub window: Option<Window>,
    pub path: String,
    pub filter: Option<String>,
    /// Whether it is the whole truth about its window; a filtered export only merges by key.
    pub whole: bool,
    pub why: Vec<Why>,
}

/// How long and how wide a run waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wait {
    /// Minutes after its start at which a run leaves with 75 what the service has not finished; the ledger keeps it.
    /// 0 asks for everything at once, takes what is finished, and leaves.
    pub deadline_minutes: u64,
    /// Exports that are asked for at the same time.
    pub max_in_flight: usize,
    /// How often an export that the service gave up (`Failed`, or vanished) is asked for in all.
    pub max_attempts: u32,
    /// How often a finished export may come without the address of its file before it counts as given up.
    pub max_looks_without_address: u32,
}

impl Default for Wait {
    fn default() -> Self {
        // The service promises an export within 24 hours.
        Wait {
            deadline_minutes: 24 * 60,
            max_in_flight: 4,
            max_attempts: 2,
            // Half an hour at the slowest pace.
            max_looks_without_address: 8,
        }
    }
}

impl Wait {
    pub(super) fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_minutes.min(MAX_DEADLINE_MINUTES) * 60)
    }

    /// How many exports may be under way together.
    pub(super) fn slots(&self) -> usize {
        if self.deadline_minutes == 0 { Semaphore::MAX_PERMITS } else { self.max_in_flight.max(1) }
    }
}

/// Two days: no export is waited for after that.
const MAX_DEADLINE_MINUTES: u64 = 2 * 24 * 60;

/// An export that was asked for longer ago is not waited for any more: the service promises it within 24 hours,
/// and its rows would be a day old at least.
const MAX_ADOPTED_AGE: SignedDuration = SignedDuration::from_hours(48);

/// What happens to an export at the service after its rows are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cleanup {
    /// It stays, and people can still download it in the portal.
    #[default]
    Keep,
    Delete,
}

/// What happens to blobs after their rows are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Raw {
    /// They stay in the lake as `_payoutlake/raw/<sha256>`: every number can be traced back to its text.
    #[default]
    Keep,
    /// As `keep`, although the pipeline hashes, masks or drops personal data: the files have it all.
    KeepPersonal,
    None,
}

impl Plan {
    /// The names of the tables of datasets that a run may write.
    #[must_use]
    pub fn tables(&self) -> Vec<&str> {
        self.datasets.iter().map(|plan| plan.dataset.name.as_str()).collect()
    }

    /// The last part of a dataset's address at the API, if this pipeline pulls it.
    pub(super) fn path_of(&self, dataset: &DatasetName) -> Option<&str> {
        let plan = self.datasets.iter().find(|plan| plan.dataset.name == *dataset)?;
        plan.dataset.api.as_ref().map(|api| api.path.as_str())
    }

    /// Who asks.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let (tenant, principal) = self.auth.identity();
        Identity { tenant: tenant.to_owned(), principal: principal.to_owned(), api: self.api_label() }
    }

    /// The exports to ask for, in the order of the pipeline file. On first use nothing is known.
    #[must_use]
    pub fn wanted(&self, known: &Known) -> Vec<Wanted> {
        let now = self.settings.now;
        self.datasets.iter().flat_map(|plan| plan.wanted(now, known.of(plan))).collect()
    }
}

impl DatasetPlan {
    fn wanted(&self, now: Timestamp, past: &Past) -> Vec<Wanted> {
        let Some(api) = &self.dataset.api else { return Vec::new() };
        let wanted = |window: Option<Window>, why| Wanted {
            dataset: self.dataset.clone(),
            window,
            path: api.path.clone(),
            filter: self.filter(window),
            whole: self.condition.is_none(),
            why,
        };
        if self.ask == Ask::Whole {
            return vec![wanted(None, vec![Why { reason: Reason::Whole, months: Vec::new() }])];
        }
        windows::due(&self.ask, now, past).into_iter().map(|due| wanted(Some(due.window), due.why)).collect()
    }

    /// The text of `$filter` for a window, or for everything.
    pub(super) fn filter(&self, window: Option<Window>) -> Option<String> {
        let field = self.dataset.api.as_ref().map(|api| api.window_field.as_str());
        let window = window.zip(field).map(|(window, field)| in_window(field, window));
        let parts: Vec<Filter> = window.into_iter().chain(self.condition.clone()).collect();
        (!parts.is_empty()).then(|| Filter::all(parts).to_string())
    }
}

/// The months of a window and one day on either side: how the service compares its filter field with the
/// column that dates a row is not documented.
fn in_window(field: &str, window: Window) -> Filter {
    let at = |date: jiff::civil::Date, time: Time| {
        TimeZone::UTC.to_timestamp(date.to_datetime(time)).unwrap_or(Timestamp::UNIX_EPOCH)
    };
    let first = window.first.first_day().saturating_sub(jiff::Span::new().days(1));
    let last = window.last.last_day().saturating_add(jiff::Span::new().days(1));
    let (first, last) = (at(first, Time::midnight()), at(last, Time::constant(23, 59, 59, 999_000_000)));
    Filter::all([Filter::ge(field, Value::Time(first)), Filter::le(field, Value::Time(last))])
}

impl Wanted {
    /// For people: `transaction_history 2026-07..2026-09`.
    #[must_use]
    pub fn scope(&self) -> String {
        match self.window {
            Some(window) => format!("{} {window}", self.dataset.name),
            None => self.dataset.name.to_string(),
        }
    }

    /// Takes the open export that asks for the same: a run goes on where the last one stood.
    pub(super) fn adopt_from(&self, open: &mut Vec<ExportState>, plan: &Plan) -> Option<ExportState> {
        // The newest one: its rows are the freshest.
        let index = open.iter().rposition(|state| self.is_asked_by(state, plan))?;
        Some(open.remove(index))
    }

    /// Whether an open export asks for the same.
    pub(super) fn is_asked_by(&self, state: &ExportState, plan: &Plan) -> bool {
        state.wish == self.wish(plan) && plan.may_adopt(state, &self.dataset)
    }

    /// As the ledger keeps it.
    pub(super) fn wish(&self, plan: &Plan) -> Wish {
        Wish {
            dataset: self.dataset.name.clone(),
            account: plan.settings.account.clone(),
            window: self.window,
            filter: self.filter.clone(),
            api: plan.api_label(),
        }
    }
}

impl Plan {
    /// Whether an open export is one of ours that is still worth waiting for.
    pub(super) fn may_adopt(&self, state: &ExportState, dataset: &Dataset) -> bool {
        state.is_waiting()
            && state.wish.dataset == dataset.name
            && state.wish.account == self.settings.account
            && state.wish.api == self.api_label()
            && !self.is_too_old(state)
    }

    fn is_too_old(&self, state: &ExportState) -> bool {
        self.settings.now.duration_since(state.planned_at) > MAX_ADOPTED_AGE
    }

    /// Whether an open export of this account is too old to be adopted by anybody.
    pub(super) fn gives_up(&self, state: &ExportState) -> bool {
        state.wish.account == self.settings.account && self.is_too_old(state)
    }

    /// The API as the ledger names it. Embedded sandboxes listen on another port each time and are one API.
    pub(super) fn api_label(&self) -> String {
        match self.source.api.host_str() {
            Some("127.0.0.1" | "localhost" | "[::1]") => "loopback".to_owned(),
            _ => self.source.api.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Month;

    #[test]
    fn a_request_overlaps_its_neighbours_by_a_day() {
        let window = Window::new(Month::new(2026, 1), Month::new(2026, 2));
        assert_eq!(
            in_window("earningForDate", window).to_string(),
            "earningForDate ge 2025-12-31T00:00:00Z and earningForDate le 2026-03-01T23:59:59.999Z"
        );
    }
}
