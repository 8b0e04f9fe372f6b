//! The verified download: hashed on the way, whole or absent.
//!
//! The bytes go to `<into>.part`, which gets its name when all of them are there and on the disk. A transfer that breaks
//! goes on where it stopped when the server vouches that the bytes are the same (`If-Range` with a strong `ETag`), and
//! begins again otherwise.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, Response, StatusCode, header};
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};
use tokio::time::Instant;

use super::export::BlobLocation;
use super::host;
use super::http::{Wire, header_text, read_body};
use super::quote::Quoter;
use super::retry::{Failure, Passing, is_passing, retry_after};
use crate::error::{Error, Kind, Result};
use crate::event::{Observer, Progress, Step, Unit};

/// Between two events of progress: faster than an eye follows.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1024 * 1024;

/// A broken try that brought at least this many new bytes does not count as a failed one: long downloads over bad lines end.
const WORTH_A_TRY_BYTES: u64 = 1024 * 1024;

/// What became of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Download {
    Done(Downloaded),
    /// The address is not honoured (any more): ask for the export's status again, which gives a new one.
    Expired,
}

/// A file that is whole and on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    pub bytes: u64,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
}

pub(super) async fn download(
    wire: &Wire,
    location: &BlobLocation,
    into: &Path,
    observer: &Observer,
    scope: &str,
) -> Result<Download> {
    host::check_blob(&wire.options, location.url())?;
    let mut part = Part::create(into).await?;
    let got = part.fill(wire, location, &mut Told::new(observer, scope)).await;
    match got {
        Ok(true) => part.finish(into).await.map(Download::Done),
        Ok(false) => part.discard().await.map(|()| Download::Expired),
        Err(error) => {
            // The first error is the one that matters.
            let _ = part.discard().await;
            Err(error.with("address", location))
        }
    }
}

/// The bytes that have come so far.
struct Part {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    // Of the whole, when the server says it.
    total: Option<u64>,
    // Strong ones only: two answers with the same one have the same bytes.
    etag: Option<String>,
}

impl Part {
    async fn create(into: &Path) -> Result<Self> {
        let path = into.with_added_extension("part");
        let file = File::create(&path).await.map_err(|cause| cannot_write(&path, cause))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Part { path, file, hash: Sha256::new(), bytes: 0, total: None, etag: None })
    }

    /// Whether all bytes came; `false` when the address has expired.
    async fn fill(&mut self, wire: &Wire, location: &BlobLocation, told: &mut Told<'_>) -> Result<bool> {
        let mut tries = wire.tries(location.url());
        let mut furthest = 0;
        loop {
            match self.fill_once(wire, location, told).await {
                Ok(whole) => return Ok(whole),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(passing)) => {
                    if self.bytes >= furthest + WORTH_A_TRY_BYTES {
                        furthest = self.bytes;
                        tries = wire.tries(location.url());
                    }
                    tries.wait(passing, Step::Download).await?;
                }
            }
        }
    }

    async fn fill_once(
        &mut self,
        wire: &Wire,
        location: &BlobLocation,
        told: &mut Told<'_>,
    ) -> Result<bool, Failure> {
        // No Authorization header: the signature in the address is all that the blob host gets.
        let mut request = wire.request(Method::GET, location.url().clone());
        match &self.etag {
            Some(etag) if self.bytes > 0 => {
                let range = format!("bytes={}-", self.bytes);
                request = request.header(header::RANGE, range).header(header::IF_RANGE, etag);
            }
            _ => self.restart().await?,
        }
        let response = wire.send(request).await?;
        match response.status() {
            StatusCode::OK => self.begin(&response).await?,
            StatusCode::PARTIAL_CONTENT if self.goes_on(&response) => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart().await?;
                return Err(Failure::Passing(Passing::new(
                    "answered with another part of the file than the one asked for",
                )));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Ok(false);
            }
            _ => return Err(refused(response, location).await),
        }
        self.check_limit(wire, self.total.unwrap_or(0))?;
        self.receive(wire, response, told).await?;
        Ok(true)
    }

    async fn receive(
        &mut self,
        wire: &Wire,
        mut response: Response,
        told: &mut Told<'_>,
    ) -> Result<(), Failure> {
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(cause) => return Err(Failure::Passing(Passing::of_transport(cause))),
            };
            self.check_limit(wire, self.bytes + chunk.len() as u64)?;
            self.hash.update(&chunk);
            self.file.write_all(&chunk).await.map_err(|cause| cannot_write(&self.path, cause))?;
            self.bytes += chunk.len() as u64;
            told.progress(self.bytes, self.total);
        }
        if let Some(total) = self.total
            && total != self.bytes
        {
            let got = self.bytes;
            self.restart().await?;
            return Err(Failure::Passing(Passing::new(format!("sent {got} bytes of {total}"))));
        }
        told.end(self.bytes, self.total);
        Ok(())
    }

    /// Takes over what the answer says about the whole file.
    async fn begin(&mut self, response: &Response) -> Result<()> {
        self.restart().await?;
        self.total = header_text(response, header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let etag = header_text(response, header::ETAG).filter(|etag| etag.starts_with('"'));
        self.etag = etag.map(str::to_owned);
        Ok(())
    }

    /// Whether a partial answer begins where we stopped and belongs to the same whole.
    fn goes_on(&self, response: &Response) -> bool {
        let range = header_text(response, header::CONTENT_RANGE).unwrap_or_default();
        let Some((begin, total)) = range.strip_prefix("bytes ").and_then(|range| {
            let (span, total) = range.split_once('/')?;
            Some((span.split_once('-')?.0.parse::<u64>().ok()?, total))
        }) else {
            return false;
        };
        let same_total = self.total.is_none_or(|known| total == "*" || total.parse() == Ok(known));
        self.bytes > 0 && begin == self.bytes && same_total
    }

    async fn restart(&mut self) -> Result<()> {
        self.hash = Sha256::new();
        self.bytes = 0;
        self.total = None;
        self.etag = None;
        self.emptied().await.map_err(|cause| cannot_write(&self.path, cause))
    }

    async fn emptied(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(0)).await?;
        self.file.get_mut().set_len(0).await
    }

    fn check_limit(&self, wire: &Wire, bytes: u64) -> Result<()> {
        let limit = wire.options.max_blob_bytes;
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::new(Kind::Contract, "the export is larger than a download may be; nothing of it was kept")
            .with("bytes", bytes)
            .with("limit", limit)
            .hint("If an export of this size is expected, raise source.api.max_blob_bytes; or ask for fewer months at once."))
    }

    async fn finish(self, into: &Path) -> Result<Downloaded> {
        let Part { path, mut file, hash, bytes, .. } = self;
        let written = async {
            file.flush().await?;
            file.get_ref().sync_all().await?;
            fs::rename(&path, into).await
        };
        if let Err(cause) = written.await {
            let _ = fs::remove_file(&path).await;
            return Err(cannot_write(into, cause));
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Downloaded { bytes, sha256 })
    }

    async fn discard(self) -> Result<()> {
        drop(self.file);
        fs::remove_file(&self.path).await.map_err(|cause| cannot_write(&self.path, cause))
    }
}

/// Why the blob host gave no bytes.
async fn refused(response: Response, location: &BlobLocation) -> Failure {
    let status = response.status();
    let after = retry_after(&response);
    let secrets = location.secrets();
    let body = read_body(response).await.ok().flatten().unwrap_or_default();
    let words = Quoter::new(&secrets).quote_body(&body);
    if is_passing(status) {
        return Failure::Passing(Passing::of_answer(status, after, words));
    }
    let error = if status.is_redirection() {
        Error::new(
            Kind::Contract,
            "the address of the export redirects to another one, which is not followed",
        )
        .hint("Check that no proxy or portal answers in the place of the blob host.")
    } else {
        Error::new(Kind::Source, "the blob host does not hand out the export").hint(
            "Run the same command again; if it stays, the words of the answer are for Microsoft's support.",
        )
    };
    let error = error.with("status", status.as_u16());
    Failure::Final(match words {
        Some(words) => error.with("answer", words),
        None => error,
    })
}

fn cannot_write(path: &Path, cause: std::io::Error) -> Error {
    Error::new(Kind::Destination, "cannot write the download")
        .with("file", path.display())
        .caused_by(cause)
        .hint("Check that the folder exists, may be written, and has room for the export.")
}

/// Tells progress, not too often.
struct Told<'a> {
    observer: &'a Observer,
    scope: &'a str,
    last: Option<Instant>,
}

impl<'a> Told<'a> {
    fn new(observer: &'a Observer, scope: &'a str) -> Self {
        Told { observer, scope, last: None }
    }

    fn progress(&mut self, done: u64, total: Option<u64>) {
        if self.last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            self.end(done, total);
        }
    }

    fn end(&mut self, done: u64, total: Option<u64>) {
        self.last = Some(Instant::now());
        self.observer.progress(self.scope, Step::Download, Progress { done, total, unit: Unit::Bytes });
    }
}
