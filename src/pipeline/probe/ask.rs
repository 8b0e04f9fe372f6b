//! Asks for the export, twice under the same id.

use uuid::Uuid;

use super::export::{IN_THE_PORTAL, Probing};
use super::{days, filter, words};
use crate::error::{Kind, Result};
use crate::event::{Level, Step};
use crate::source::{Asked, Export, ExportRequest, FileFormat};

/// How often the request is sent when answers are lost.
const MAX_REQUESTS: u32 = 2;

impl Probing<'_> {
    /// Asks for the export, by bare days if the service takes them, and for the same again.
    pub(super) async fn ask(&mut self) -> Result<()> {
        // The answer may not come back.
        (self.probe.if_stopped)(format!("an export may have been queued: {IN_THE_PORTAL}"));
        let span = days(self.month);
        for bare in [true, false] {
            let filter = filter(self.dataset, &self.api.window_field, span, bare);
            let request =
                ExportRequest { path: self.api.path.clone(), filter: Some(filter), format: FileFormat::Csv };
            let idempotency = Uuid::new_v4();
            let asked = self.submit(&request, idempotency).await;
            let seen = words::answers(&self.client.seen().answers);
            match asked {
                Ok(export) => {
                    let taken = if bare { "taken" } else { "refused; taken as times" };
                    self.found("bare dates", [taken]);
                    self.found("request", seen);
                    self.opened(export.request_id.clone());
                    let queued = format!("queued as {}; if this stops, {}", export.request_id, self.go_on());
                    self.tell(Level::Warn, Step::Submit, queued);
                    self.repeat(&request, idempotency, &export).await;
                    return Ok(());
                }
                // Some of the documents write times, some bare days.
                Err(error) if bare && error.kind() == Kind::Config => {
                    self.tell(Level::Info, Step::Submit, format!("bare days are refused: {error}"));
                }
                Err(error) => {
                    self.found("request", seen);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// As a run does it: an answer that was lost is asked for again under the same id.
    async fn submit(&mut self, request: &ExportRequest, idempotency: Uuid) -> Result<Export> {
        let mut sent = 0;
        loop {
            sent += 1;
            match self.client.submit(request, idempotency).await? {
                Asked::Queued(export) => return Ok(export),
                Asked::Unanswered(error) if sent >= MAX_REQUESTS => return Err(error.hint(IN_THE_PORTAL)),
                Asked::Unanswered(error) => {
                    let warning =
                        format!("the answer to a request was lost: {IN_THE_PORTAL} for what it has queued");
                    self.warnings.push(warning);
                    self.tell(Level::Warn, Step::Submit, format!("{error}; asks again under the same id"));
                }
            }
        }
    }

    /// The same request under the same id: whether the service knows it again is documented, and not confirmed.
    async fn repeat(&mut self, request: &ExportRequest, idempotency: Uuid, first: &Export) {
        let again = self.client.submit(request, idempotency).await;
        let seen = self.client.seen().answers;
        match again {
            Ok(Asked::Queued(again)) if again.request_id == first.request_id => {
                self.found("idempotency", ["yes: the repeated request is answered with the same export"]);
            }
            Ok(Asked::Queued(again)) => {
                self.found("idempotency", ["no: the repeated request queued another export"]);
                self.opened(again.request_id);
            }
            Ok(Asked::Unanswered(_)) => self.warnings.push(format!(
                "the answer to the repeated request was lost: {IN_THE_PORTAL} for what it has queued"
            )),
            Err(error) if error.kind() == Kind::Config => {
                let answers = words::answers(&seen);
                self.found(
                    "idempotency",
                    ["the repeated request is refused".to_owned()].into_iter().chain(answers),
                );
            }
            // It says nothing about the question, and the first request stands.
            Err(_) => {}
        }
    }
}
