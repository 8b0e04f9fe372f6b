//! One small export, asked for, read and deleted, to see what no document says; nothing is written to the lake.
//!
//! ```text
//! POST, and the same POST again -> GET until it is finished -> the file, and its first byte alone -> DELETE -> GET
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `mod` | which export is asked for, and how the probe ends |
//! | `export`, `ask`, `take` | its life: asked for, waited for, taken, deleted |
//! | `words` | what the service's answers looked like |
//! | `file` | what the file is packed in, how its text is written, what its header says |
//! | `columns`, `shapes` | what is left of the cells when their values are taken away |
//! | `report` | the report on disk |

mod ask;
mod columns;
mod export;
mod file;
mod report;
mod shapes;
mod take;
mod words;

use std::path::PathBuf;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::windows::Ask;
use super::{DatasetPlan, Plan};
use crate::error::{Error, Kind, Result};
use crate::event::Observer;
use crate::model::{Finding, Month, PROBE_FORMAT, ProbeReport, RequestId};
use crate::source::filter::{Filter, Value};
use export::Probing;

/// What a person says of a probe.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// Without it the last complete month.
    pub month: Option<Month>,
    /// Exports of an earlier probe to go on with: the first is looked at, and all are deleted. Empty: a new one is
    /// asked for.
    pub requests: Vec<RequestId>,
    /// Where the report goes.
    pub report: PathBuf,
    /// The command as it was typed, without the month and the requests.
    pub command: String,
}

/// A probe, and who is told.
pub struct Probe<'a> {
    pub options: &'a ProbeOptions,
    pub observer: &'a Observer,
    /// Told what to do if the command stops now, whenever that changes: exports must not be lost.
    pub if_stopped: &'a (dyn Fn(String) + Send + Sync),
}

/// How a probe ended.
pub(super) struct Probed {
    pub report: ProbeReport,
    /// What a person should look after, although all was seen.
    pub warnings: Vec<String>,
    /// The error that ended it, and the next step for the exports that are left.
    pub failure: Option<(Error, String)>,
}

/// Makes the probe and writes the report, also when it ends early.
///
/// # Errors
/// What stops it before anything is asked for: `Config` without a dataset of the API, `Destination` when the report cannot
/// be written.
pub(super) async fn probe(plan: &Plan, probe: &Probe<'_>) -> Result<Probed> {
    let options = probe.options;
    let Some(dataset) = smallest(plan) else {
        return Err(Error::new(Kind::Config, "no dataset of the pipeline can be asked for")
            .hint("add one that the API has: transaction_history"));
    };
    report::check(&options.report)?;
    let earlier = if options.requests.is_empty() { Vec::new() } else { report::unfinished(&options.report) };
    let mut probing = Probing::new(plan, dataset, probe)?;
    let done = probing.perform().await;
    let outcome = match &done {
        Ok(()) => report::COMPLETE,
        Err(error) if error.kind() == Kind::Pending => report::WAITING,
        Err(error) => error.kind().as_str(),
    };
    let go_on = probing.go_on();
    let warnings = std::mem::take(&mut probing.warnings);
    let findings = report::filled(probing.findings(), earlier);
    let told = told(dataset, outcome, findings);
    report::write(&options.report, &told)?;
    let failure = done.err().map(|error| (error, go_on));
    Ok(Probed { report: told, warnings, failure })
}

fn told(dataset: &DatasetPlan, outcome: &str, findings: Vec<Finding>) -> ProbeReport {
    ProbeReport {
        schema: PROBE_FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        dataset: dataset.dataset.name.to_string(),
        outcome: outcome.to_owned(),
        findings,
    }
}

/// The first dataset that is asked for by months, else the first of the API.
fn smallest(plan: &Plan) -> Option<&DatasetPlan> {
    let windowed = |plan: &&DatasetPlan| plan.dataset.api.as_ref().is_some_and(|api| api.windowed);
    let asked = || plan.datasets.iter().filter(|plan| plan.dataset.api.is_some());
    asked().find(windowed).or_else(|| asked().next())
}

/// The days of one month that are asked for: all but the first and the last, so that rows of those two show whether the
/// service compares months, and rows of the last asked day what `le` means with a bare date.
fn days(month: Month) -> (Date, Date) {
    let day = Span::new().days(1);
    (month.first_day().saturating_add(day), month.last_day().saturating_sub(day))
}

fn last_complete_month(dataset: &DatasetPlan, now: Timestamp) -> Month {
    let running = match &dataset.ask {
        // A sandbox may stand at another day than the clock.
        Ask::LookBack { running, .. } => *running,
        Ask::Backfill { .. } | Ask::Windows(_) | Ask::Whole => {
            Month::of(TimeZone::UTC.to_datetime(now).date())
        }
    };
    running.plus(-1)
}

/// The filter of the days, as bare days or as times, and of the pipeline's own condition.
fn filter(dataset: &DatasetPlan, field: &str, (first, last): (Date, Date), bare: bool) -> String {
    let time = |date: Date, hour: i8, minute: i8, second: i8| {
        let at = date.at(hour, minute, second, 0);
        Value::Time(TimeZone::UTC.to_timestamp(at).unwrap_or(Timestamp::UNIX_EPOCH))
    };
    let (from, to) = match bare {
        true => (Value::Day(first), Value::Day(last)),
        false => (time(first, 0, 0, 0), time(last, 23, 59, 59)),
    };
    let days = [Filter::ge(field, from), Filter::le(field, to)];
    Filter::all(days.into_iter().chain(dataset.condition.clone())).to_string()
}
