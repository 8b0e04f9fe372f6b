//! Waits for the export, and takes its file and whatever its address and its store tell.

use std::path::Path;

use super::export::Probing;
use super::{file, words};
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Step};
use crate::model::RequestId;
use crate::source::{BlobLocation, Download};

/// How often an address that is not honoured is asked for again.
const MAX_NEW_ADDRESSES: u32 = 3;

impl Probing<'_> {
    /// Waits for the export, downloads its file, and looks at both. Tells whether the service has given the export up.
    pub(super) async fn read(&mut self, id: &RequestId) -> Result<bool> {
        let mut statuses = Vec::new();
        let waited = self.wait(id, true, &mut statuses).await;
        self.found("statuses", statuses);
        let looks = words::answers(&self.client.seen().answers);
        self.found("looks", looks);
        let Some(location) = waited?.blob else { return Ok(true) };
        self.found("address", words::address(&location.signature(), (self.plan.settings.clock)()));
        // What customers trust to us stands here alone, and goes when the probe ends.
        let folder = tempfile::Builder::new().prefix("payoutlake-probe-").tempdir().map_err(|cause| {
            Error::new(Kind::Destination, "cannot make a folder for the download").caused_by(cause)
        })?;
        let file = folder.path().join("export");
        self.download(id, location, &file).await?;
        self.tell(Level::Info, Step::Normalise, "looks at the file");
        let (dataset, decode, asked) =
            (self.dataset.dataset.clone(), self.plan.settings.decode.clone(), self.days);
        let looked = tokio::task::spawn_blocking(move || {
            let mut findings = Vec::new();
            let read = file::look(&file, &dataset, &decode, asked, &mut findings);
            (findings, read)
        });
        let (findings, read) = looked
            .await
            .map_err(|cause| Error::new(Kind::Bug, "the file was not looked at").caused_by(cause))?;
        self.file = findings;
        read.map(|()| false)
    }

    async fn download(&mut self, id: &RequestId, location: BlobLocation, into: &Path) -> Result<()> {
        let first = location.clone();
        let mut location = location;
        for _ in 0..=MAX_NEW_ADDRESSES {
            match self.client.download(&location, into, self.probe.observer, &self.scope).await? {
                Download::Done(done) => {
                    let seen = self.client.seen();
                    let answered = seen.blobs.iter().find(|blob| !blob.ranged && blob.status == 200);
                    let words = answered.map(|blob| words::download(blob, done.bytes));
                    self.found("download", words.unwrap_or_default());
                    return self.try_range(id, &first).await;
                }
                Download::Expired => location = self.fresh(id).await?,
            }
        }
        Err(Error::new(Kind::Source, "the address of the export's file is not honoured")
            .with("addresses tried", MAX_NEW_ADDRESSES + 1))
    }

    async fn fresh(&mut self, id: &RequestId) -> Result<BlobLocation> {
        let export = self.wait(id, true, &mut Vec::new()).await?;
        export.blob.ok_or_else(|| {
            Error::new(Kind::Source, "the service has given up a finished export").with("request", id)
        })
    }

    /// Whether the blob host gives parts, under an address of its own: one may be good for a single request.
    async fn try_range(&mut self, id: &RequestId, first: &BlobLocation) -> Result<()> {
        let location = self.fresh(id).await?;
        let changes = if location == *first { "no" } else { "yes" };
        if let Some(address) = self.service.iter_mut().find(|finding| finding.about == "address") {
            address.seen.push(format!("another address at each look: {changes}"));
        }
        // That it does not answer is no reason to end.
        if self.client.try_range(&location).await.is_ok() {
            let seen = self.client.seen();
            let range = seen.blobs.iter().find(|blob| blob.ranged).map(words::range);
            self.found("range", range.unwrap_or_default());
        }
        Ok(())
    }
}
