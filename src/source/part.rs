//! The bytes of a download that have come so far, with what is known of the whole.
//!
//! ```text
//! <into>.part        the bytes
//! <into>.part.json   how many of them are on the disk, and what the server said of the whole
//! ```
//!
//! A process that finds them goes on after the last byte that was on the disk.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use md5::Md5;
use reqwest::{Response, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufWriter};
use tokio::time::Instant;

use super::blob::Downloaded;
use super::http::header_text;
use crate::error::{Error, Kind, Result};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1024 * 1024;

/// How much of a download a crash may cost. The disk is waited for each time, some milliseconds.
const SAVE_EVERY: Duration = Duration::from_millis(250);

/// The checksum of Azure's blob store (`x-ms-content-crc64`) is the one that NVMe names; the header has its bytes in
/// base64, the lowest first.
const CRC64: crc::Crc<u64> = crc::Crc::<u64>::new(&crc::CRC_64_NVME);

/// What a server says of the whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Whole {
    bytes: Option<u64>,
    /// Strong ones only: two answers with the same one have the same bytes.
    etag: Option<String>,
    /// In base64.
    md5: Option<String>,
    crc64: Option<String>,
}

impl Whole {
    /// Of an answer with all bytes.
    pub(super) fn of(response: &Response) -> Self {
        let text = |name: &'static str| {
            let text = header_text(response, header::HeaderName::from_static(name))?;
            Some(text.trim().to_owned())
        };
        Whole {
            bytes: text("content-length").and_then(|text| text.parse().ok()),
            etag: text("etag").filter(|etag| etag.starts_with('"')),
            md5: text("content-md5"),
            crc64: text("x-ms-content-crc64"),
        }
    }
}

/// The document beside the bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    bytes: u64,
    whole: Whole,
}

pub(super) struct Part {
    path: PathBuf,
    file: BufWriter<File>,
    sums: Sums,
    bytes: u64,
    whole: Whole,
    saved_at: Instant,
}

/// What is counted on the way.
struct Sums {
    sha256: Sha256,
    md5: Md5,
    crc64: crc::Digest<'static, u64>,
}

impl Sums {
    fn new() -> Self {
        static TABLE: crc::Crc<u64> = CRC64;
        Sums { sha256: Sha256::new(), md5: Md5::new(), crc64: TABLE.digest() }
    }

    /// The checksums of the blob store only where it offered them.
    fn update(&mut self, bytes: &[u8], whole: &Whole) {
        self.sha256.update(bytes);
        if whole.md5.is_some() {
            self.md5.update(bytes);
        }
        if whole.crc64.is_some() {
            self.crc64.update(bytes);
        }
    }
}

impl Part {
    /// What an earlier process has brought of the same file, or nothing yet.
    pub(super) async fn open(into: &Path) -> Result<Self> {
        let path = into.with_added_extension("part");
        let saved = match fs::read(path.with_added_extension("json")).await {
            Ok(text) => serde_json::from_slice::<Saved>(&text).ok(),
            Err(_) => None,
        };
        let opened = async {
            let options = std::fs::OpenOptions::new().read(true).write(true).create(true).to_owned();
            let mut file = fs::OpenOptions::from(options).open(&path).await?;
            let there = file.metadata().await?.len();
            let saved = saved.filter(|saved| saved.bytes <= there && saved.whole.etag.is_some());
            let Saved { bytes, whole } = saved.unwrap_or(Saved { bytes: 0, whole: Whole::default() });
            file.set_len(bytes).await?;
            let sums = read_again(&mut file, bytes, &whole).await?;
            Ok((file, sums, bytes, whole))
        };
        let (file, sums, bytes, whole) =
            opened.await.map_err(|cause: std::io::Error| cannot_write(&path, cause))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Part { path, file, sums, bytes, whole, saved_at: Instant::now() })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the whole, when the server says it.
    pub(super) fn total(&self) -> Option<u64> {
        self.whole.bytes
    }

    pub(super) fn is_whole(&self) -> bool {
        self.bytes > 0 && self.whole.bytes == Some(self.bytes)
    }

    /// By what the server can tell that the rest belongs to these bytes.
    pub(super) fn resumable(&self) -> Option<&str> {
        self.whole.etag.as_deref().filter(|_| self.bytes > 0)
    }

    /// Whether a partial answer begins where we stopped and belongs to the same whole.
    pub(super) fn goes_on(&self, response: &Response) -> bool {
        let range = header_text(response, header::CONTENT_RANGE).unwrap_or_default();
        let Some((begin, total)) = range.strip_prefix("bytes ").and_then(|range| {
            let (span, total) = range.split_once('/')?;
            Some((span.split_once('-')?.0.parse::<u64>().ok()?, total))
        }) else {
            return false;
        };
        let same_total = self.whole.bytes.is_none_or(|known| total == "*" || total.parse() == Ok(known));
        let etag = header_text(response, header::ETAG);
        let same_file = etag.is_none() || etag == self.whole.etag.as_deref();
        self.bytes > 0 && begin == self.bytes && same_total && same_file
    }

    pub(super) async fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.sums.update(chunk, &self.whole);
        self.file.write_all(chunk).await.map_err(|cause| cannot_write(&self.path, cause))?;
        self.bytes += chunk.len() as u64;
        if self.saved_at.elapsed() >= SAVE_EVERY { self.save().await } else { Ok(()) }
    }

    /// Begins at the first byte of a file.
    pub(super) async fn restart(&mut self, whole: Whole) -> Result<()> {
        self.sums = Sums::new();
        self.bytes = 0;
        self.whole = whole;
        let emptied = async {
            self.file.seek(SeekFrom::Start(0)).await?;
            self.file.get_mut().set_len(0).await
        };
        emptied.await.map_err(|cause| cannot_write(&self.path, cause))?;
        self.save().await
    }

    /// Brings the bytes to the disk, then notes how many there are.
    pub(super) async fn save(&mut self) -> Result<()> {
        self.saved_at = Instant::now();
        let note = self.path.with_added_extension("json");
        let saved = Saved { bytes: self.bytes, whole: self.whole.clone() };
        let written = async {
            self.file.flush().await?;
            self.file.get_ref().sync_data().await?;
            let new = note.with_added_extension("new");
            fs::write(&new, serde_json::to_vec(&saved)?).await?;
            fs::rename(new, &note).await
        };
        written.await.map_err(|cause| cannot_write(&note, cause))
    }

    /// Leaves what another try can go on with, and nothing else.
    pub(super) async fn keep(mut self) -> Result<()> {
        if self.resumable().is_some() { self.save().await } else { self.discard().await }
    }

    /// # Errors
    /// `Contract` when the bytes are not those that the server has counted.
    pub(super) fn check(&self) -> Result<()> {
        let Whole { md5, crc64, .. } = &self.whole;
        let ours_md5 = base64(&self.sums.md5.clone().finalize());
        let ours_crc = base64(&self.sums.crc64.clone().finalize().to_le_bytes());
        for (name, theirs, ours) in [("MD5", md5, ours_md5), ("CRC64", crc64, ours_crc)] {
            if theirs.as_ref().is_some_and(|theirs| *theirs != ours) {
                return Err(Error::new(Kind::Contract, "sent bytes that do not match their checksum")
                    .with("checksum", name)
                    .with("bytes", self.bytes)
                    .hint("Nothing was committed. Run again; if it stays, a proxy or the service damages the file."));
            }
        }
        Ok(())
    }

    pub(super) async fn finish(mut self, into: &Path) -> Result<Downloaded> {
        let written = async {
            self.file.flush().await?;
            self.file.get_ref().sync_all().await?;
            fs::rename(&self.path, into).await
        };
        if let Err(cause) = written.await {
            return Err(cannot_write(into, cause));
        }
        // Nobody needs it any more.
        let _ = fs::remove_file(self.path.with_added_extension("json")).await;
        let sha256 = self.sums.sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Downloaded { bytes: self.bytes, sha256 })
    }

    pub(super) async fn discard(self) -> Result<()> {
        drop(self.file);
        let _absent = fs::remove_file(self.path.with_added_extension("json")).await;
        fs::remove_file(&self.path).await.map_err(|cause| cannot_write(&self.path, cause))
    }
}

/// Counts what is there already, and stands behind it.
async fn read_again(file: &mut File, bytes: u64, whole: &Whole) -> std::io::Result<Sums> {
    let mut sums = Sums::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = bytes;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = file.read(&mut buffer[..most]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        sums.update(&buffer[..read], whole);
        left -= read as u64;
    }
    Ok(sums)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(super) fn cannot_write(path: &Path, cause: std::io::Error) -> Error {
    Error::new(Kind::Destination, "cannot write the download")
        .with("file", path.display())
        .caused_by(cause)
        .hint("Check that the folder exists, may be written, and has room for the export.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_spelled_as_azure_spells_them() {
        let mut sums = Sums::new();
        let whole = Whole { md5: Some(String::new()), crc64: Some(String::new()), ..Whole::default() };
        sums.update(b"123456789", &whole);
        // printf 123456789 | openssl md5 -binary | base64
        assert_eq!(base64(&sums.md5.finalize()), "JfnnlDI7RTiF9RgfG2JNCw==");
        // The check value that the catalogue of CRC algorithms gives for CRC-64/NVME.
        assert_eq!(sums.crc64.finalize(), 0xAE8B_1486_0A79_9888);
    }
}
