//! The life of the export that a probe asks for.

use std::time::Duration;

use jiff::civil::Date;
use tokio::time::Instant;

use super::{DatasetPlan, Plan, Probe, days, last_complete_month, report, told, words};
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Step};
use crate::model::{Finding, Month, RequestId};
use crate::schema::Api;
use crate::source::{Client, Deleted, Export, Status, next_poll};

/// What is asked of every service, in the order of the report.
const QUESTIONS: [&str; 12] = [
    "API",
    "sign-in",
    "request",
    "bare dates",
    "idempotency",
    "statuses",
    "looks",
    "address",
    "download",
    "range",
    "delete",
    "after delete",
];

pub(super) const IN_THE_PORTAL: &str = "look at the page 'Export data' in Partner Center";

/// A probe under way.
pub(super) struct Probing<'a> {
    pub(super) plan: &'a Plan,
    pub(super) dataset: &'a DatasetPlan,
    pub(super) api: &'a Api,
    pub(super) probe: &'a Probe<'a>,
    pub(super) client: Client,
    pub(super) scope: String,
    pub(super) month: Month,
    /// Whether that month was asked for: what an earlier probe has asked for, only a person can say.
    month_known: bool,
    /// The days that are asked for, where they are known.
    pub(super) days: Option<(Date, Date)>,
    started: Instant,
    deadline: Instant,
    /// Exports that stand at the service because of this probe.
    open: Vec<RequestId>,
    /// What was seen of the service, and of the file.
    pub(super) service: Vec<Finding>,
    pub(super) file: Vec<Finding>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Probing<'a> {
    pub(super) fn new(plan: &'a Plan, dataset: &'a DatasetPlan, probe: &'a Probe<'a>) -> Result<Self> {
        let Some(api) = &dataset.dataset.api else {
            return Err(Error::new(Kind::Bug, "a dataset that the API does not have is probed"));
        };
        let client = Client::new(plan.source.clone(), plan.auth.clone())?;
        let now = plan.settings.now;
        let month = probe.options.month.unwrap_or_else(|| last_complete_month(dataset, now));
        let open = probe.options.requests.clone();
        let month_known = open.is_empty() || probe.options.month.is_some();
        let started = Instant::now();
        Ok(Probing {
            plan,
            dataset,
            api,
            probe,
            client: client.observed_by(probe.observer.clone()).witnessed(),
            scope: format!("probe {} {month}", dataset.dataset.name),
            month,
            month_known,
            // A dataset that is pulled whole is not dated by the field that is filtered.
            days: (month_known && api.windowed).then(|| days(month)),
            started,
            deadline: started + plan.wait.deadline(),
            open,
            service: Vec::new(),
            file: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// Every question with its answer, then what was seen of the file.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let not_seen = |about: &str| Finding::new(about, Vec::<String>::new());
        let of = |about: &&str| self.service.iter().find(|finding| finding.about == **about).cloned();
        let service = QUESTIONS.iter().map(|about| of(about).unwrap_or_else(|| not_seen(about)));
        service.chain(self.file.iter().cloned()).collect()
    }

    /// What to do if the probe ends now.
    pub(super) fn go_on(&self) -> String {
        if self.open.is_empty() {
            return format!(
                "nothing of the probe is left at the service; to begin anew: {}",
                self.probe.options.command
            );
        }
        let requests: String = self.open.iter().map(|id| format!(" --request {id}")).collect();
        let month = if self.month_known { format!(" --probe-month {}", self.month) } else { String::new() };
        format!(
            "the service still has what this probe has asked for; to go on with it and not to ask again: {}{month}{requests}",
            self.probe.options.command
        )
    }

    pub(super) fn found(&mut self, about: &str, seen: impl IntoIterator<Item = impl Into<String>>) {
        self.service.push(Finding::new(about, seen));
    }

    pub(super) fn opened(&mut self, id: RequestId) {
        self.open.push(id);
        (self.probe.if_stopped)(self.go_on());
    }

    fn closed(&mut self, id: &RequestId) {
        self.open.retain(|open| open != id);
        (self.probe.if_stopped)(self.go_on());
    }

    pub(super) fn tell(&self, level: Level, step: Step, message: impl Into<String>) {
        self.probe.observer.tell(level, &self.scope, step, message);
    }

    /// # Errors
    /// [`Kind::Pending`] at the deadline; what the service or the file says otherwise. What was found stays.
    pub(super) async fn perform(&mut self) -> Result<()> {
        let signed_in = self.client.signed_in().await?;
        self.found("API", [words::api(&self.plan.source)]);
        self.found("sign-in", [signed_in.kind]);
        match self.open.is_empty() {
            true => self.ask().await?,
            false => (self.probe.if_stopped)(self.go_on()),
        }
        // Seen once: a probe that goes on with the export cannot see it again.
        if self.probe.options.requests.is_empty() {
            let waiting = told(self.dataset, report::WAITING, self.findings());
            report::write(&self.probe.options.report, &waiting)?;
        }
        let mut exports = self.open.clone().into_iter();
        if let Some(id) = exports.next() {
            let given_up = self.read(&id).await?;
            self.remove(&id).await?;
            if given_up {
                return Err(Error::new(Kind::Source, "the service reports the export as Failed"));
            }
        }
        for id in exports {
            let _finished = self.wait(&id, false, &mut Vec::new()).await?;
            self.delete(&id).await?;
        }
        Ok(())
    }

    /// Looks at the export until it is finished: Failed, or Completed and with an address if that is wanted.
    ///
    /// # Errors
    /// [`Kind::Pending`] at the deadline, [`Kind::Source`] when the service does not know it or never gives an address.
    pub(super) async fn wait(
        &mut self,
        id: &RequestId,
        address: bool,
        statuses: &mut Vec<String>,
    ) -> Result<Export> {
        let (mut last, mut without_address) = (None, 0);
        for attempt in 0.. {
            let Some(export) = self.client.status(&self.api.path, id).await? else {
                self.closed(id);
                return Err(
                    Error::new(Kind::Source, "the service does not know the export").with("request", id)
                );
            };
            if last.as_ref() != Some(&export.status) {
                let since = self.since_request(&export);
                statuses.push(format!("{} after {}", words::status(&export.status), words::about(since)));
                last = Some(export.status.clone());
            }
            without_address += u32::from(export.status == Status::Completed && export.blob.is_none());
            match export.status {
                Status::Failed => return Ok(export),
                Status::Completed if export.blob.is_some() || !address => return Ok(export),
                Status::Completed if without_address >= self.plan.wait.max_looks_without_address.max(1) => {
                    return Err(Error::new(
                        Kind::Source,
                        "the service gives no address for a finished export",
                    )
                    .with("request", id));
                }
                _ => {}
            }
            let pause = next_poll(&self.plan.source, attempt);
            if Instant::now() + pause > self.deadline {
                break;
            }
            let message = format!("{}; the next look is in {}", export.status, words::about(pause));
            self.tell(Level::Info, Step::Wait, message);
            tokio::time::sleep(pause).await;
        }
        Err(Error::new(Kind::Pending, "the export is still running at the service").with("request", id))
    }

    /// By this machine's clock, or by both clocks when an earlier command has asked.
    fn since_request(&self, export: &Export) -> Duration {
        let adopted = export.requested_at.filter(|_| !self.probe.options.requests.is_empty());
        match adopted {
            Some(at) => (self.plan.settings.clock)().duration_since(at).try_into().unwrap_or_default(),
            None => self.started.elapsed(),
        }
    }

    /// Deletes the export that was looked at, and asks for it once more.
    async fn remove(&mut self, id: &RequestId) -> Result<()> {
        let _before = self.client.seen();
        let deleted = self.delete(id).await;
        let answers = words::answers(&self.client.seen().answers);
        self.found("delete", answers);
        deleted?;
        let after = self.client.status(&self.api.path, id).await;
        let mut seen = words::answers(&self.client.seen().answers);
        if let Ok(Some(export)) = after {
            seen.push(format!("status {}", words::status(&export.status)));
        }
        self.found("after delete", seen);
        Ok(())
    }

    /// Only of a finished export: one in work is not to be deleted.
    async fn delete(&mut self, id: &RequestId) -> Result<()> {
        match self.client.delete(&self.api.path, id).await {
            Ok(Deleted::Deleted | Deleted::Gone) => self.closed(id),
            Ok(Deleted::StillProcessing) => self.not_deleted(id, "the service refuses it"),
            Err(error) if error.kind() == Kind::Source => self.not_deleted(id, error.message()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn not_deleted(&mut self, id: &RequestId, why: &str) {
        self.warnings.push(format!("export {id} is not deleted ({why}): {IN_THE_PORTAL}"));
    }
}
