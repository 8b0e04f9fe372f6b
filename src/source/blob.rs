//! The verified download: hashed on the way, whole or absent.
//!
//! The bytes go to `<into>.part`, which gets its name when all of them are there and on the disk. A transfer that breaks
//! goes on where it stopped when the server vouches that the bytes are the same (`If-Range` with a strong `ETag`), and
//! begins again otherwise; also under a fresh address, and in another process (see `part`).

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode, header};
use tokio::time::Instant;

use super::export::BlobLocation;
use super::host;
use super::http::{Wire, read_body};
use super::part::{Part, Whole};
use super::quote::Quoter;
use super::retry::{Failure, Passing, is_passing, retry_after};
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Observer, Progress, Step, Unit};

/// Between two events of progress: faster than an eye follows.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// How often bytes that do not match their checksum are asked for again: a line that damages them may do it once.
const MAX_DAMAGED: u32 = 2;

/// A broken try that brought at least this many new bytes does not count as a failed one: long downloads over bad lines end.
const WORTH_A_TRY_BYTES: u64 = 1024 * 1024;

/// What became of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Download {
    Done(Downloaded),
    /// The address is not honoured (any more): ask for the export's status again, which gives a new one, under which the
    /// download goes on.
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
    let part = Part::open(into).await?;
    if part.bytes() > 0 {
        let message = format!("goes on after {} bytes that came before", part.bytes());
        observer.tell(Level::Info, scope, Step::Download, message);
    }
    let mut transfer = Transfer { wire, location, part, told: Told::new(observer, scope) };
    let got = transfer.fill().await;
    let part = transfer.part;
    match got {
        Ok(true) => part.finish(into).await.map(Download::Done),
        Ok(false) => part.keep().await.map(|()| Download::Expired),
        Err(error) => {
            // The first error is the one that matters. What came is good for the next run, unless it is refused.
            let _ = if error.kind() == Kind::Contract { part.discard().await } else { part.keep().await };
            Err(error.with("address", location))
        }
    }
}

/// Asks for the first byte, once, and leaves the answer to the witness.
pub(super) async fn try_range(wire: &Wire, location: &BlobLocation) -> Result<()> {
    host::check_blob(&wire.options, location.url())?;
    let request = wire.request(Method::GET, location.url().clone()).header(header::RANGE, "bytes=0-0");
    match wire.send(request).await {
        Ok(response) => {
            if let Some(witness) = &wire.witness {
                witness.blob(&response, true);
            }
            // A server that knows no ranges sends the whole: the connection is closed instead.
            Ok(())
        }
        Err(Failure::Final(error)) => Err(error),
        Err(Failure::Passing(passing)) => Err(wire.tries(location.url()).give_up(passing)),
    }
}

/// One download under way.
struct Transfer<'a> {
    wire: &'a Wire,
    location: &'a BlobLocation,
    part: Part,
    told: Told<'a>,
}

impl Transfer<'_> {
    /// Whether all bytes came; `false` when the address has expired.
    async fn fill(&mut self) -> Result<bool> {
        let mut tries = self.wire.tries(self.location.url());
        let mut furthest = self.part.bytes();
        let mut damaged = 0;
        loop {
            match self.fill_once().await {
                Ok(false) => return Ok(false),
                Ok(true) => match self.part.check() {
                    Ok(()) => return Ok(true),
                    Err(error) if damaged >= MAX_DAMAGED => return Err(error),
                    Err(error) => {
                        damaged += 1;
                        self.part.restart(Whole::default()).await?;
                        tries.wait(Passing::new(error.message()), Step::Download).await?;
                    }
                },
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(passing)) => {
                    self.part.save().await?;
                    if self.part.bytes() >= furthest + WORTH_A_TRY_BYTES {
                        furthest = self.part.bytes();
                        tries = self.wire.tries(self.location.url());
                    }
                    tries.wait(passing, Step::Download).await?;
                }
            }
        }
    }

    async fn fill_once(&mut self) -> Result<bool, Failure> {
        if self.part.is_whole() {
            return Ok(true);
        }
        // No Authorization header: the signature in the address is all that the blob host gets.
        let mut request = self.wire.request(Method::GET, self.location.url().clone());
        match self.part.resumable() {
            Some(etag) => {
                let range = format!("bytes={}-", self.part.bytes());
                request = request.header(header::RANGE, range).header(header::IF_RANGE, etag);
            }
            None => self.part.restart(Whole::default()).await?,
        }
        let response = self.wire.send(request).await?;
        if let Some(witness) = &self.wire.witness {
            witness.blob(&response, self.part.bytes() > 0);
        }
        match response.status() {
            StatusCode::OK => self.part.restart(Whole::of(&response)).await?,
            StatusCode::PARTIAL_CONTENT if self.part.goes_on(&response) => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.part.restart(Whole::default()).await?;
                return Err(Failure::Passing(Passing::new(
                    "answered with another part of the file than the one asked for",
                )));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Ok(false);
            }
            _ => return Err(refused(response, self.location).await),
        }
        self.check_limit(self.part.total().unwrap_or(0))?;
        self.receive(response).await?;
        Ok(true)
    }

    async fn receive(&mut self, mut response: Response) -> Result<(), Failure> {
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(cause) => return Err(Failure::Passing(Passing::of_transport(cause))),
            };
            self.check_limit(self.part.bytes() + chunk.len() as u64)?;
            self.part.write(&chunk).await?;
            self.told.progress(self.part.bytes(), self.part.total());
        }
        let (got, total) = (self.part.bytes(), self.part.total());
        if let Some(total) = total
            && total != got
        {
            self.part.restart(Whole::default()).await?;
            return Err(Failure::Passing(Passing::new(format!("sent {got} bytes of {total}"))));
        }
        self.told.end(got, total);
        Ok(())
    }

    fn check_limit(&self, bytes: u64) -> Result<()> {
        let limit = self.wire.options.max_blob_bytes;
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::new(Kind::Contract, "the export is larger than a download may be; nothing of it was kept")
            .with("bytes", bytes)
            .with("limit", limit)
            .hint("If an export of this size is expected, raise source.api.max_blob_bytes; or ask for fewer months at once."))
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
