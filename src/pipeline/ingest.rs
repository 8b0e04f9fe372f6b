//! The same flow from step 4 on, for files that a person downloaded.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use sha2::{Digest, Sha256};

use super::commit::{Source, commit_read, read_source};
use super::receipt::Outcomes;
use super::{Raw, Settings, Tools, check_treatments, finish, look_after};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Observer, Step};
use crate::lake::{Lake, raw_path};
use crate::model::{Receipt, Window, WindowReceipt};
use crate::schema::Dataset;

/// Files of one dataset that a person downloaded.
#[derive(Debug, Clone)]
pub struct Ingest {
    pub settings: Settings,
    pub dataset: Dataset,
    pub files: Vec<PathBuf>,
    /// What the person says that the files cover; without it they merge by key.
    pub covers: Option<Covers>,
    /// When the files were downloaded, if the person knows.
    pub extracted_at: Option<Timestamp>,
    /// False: a person has looked at the files and wants them as they are.
    pub guarded: bool,
}

/// A person's word that a file is the whole truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    /// About these months.
    Months(Window),
    /// About all that the service could reach.
    Everything,
}

impl Covers {
    fn window(self) -> Option<Window> {
        match self {
            Covers::Months(window) => Some(window),
            Covers::Everything => None,
        }
    }
}

/// Brings downloaded files into the lake, each one by itself.
///
/// Without [`Covers`] rows merge by key and remove nothing; those of unknown age never replace a row whose extraction
/// time is known.
///
/// # Errors
/// What stops the whole command; the outcome of each file is in the receipt.
pub async fn ingest(ingest: Ingest, observer: Observer) -> Result<Receipt> {
    let settings = &ingest.settings;
    for file in &ingest.files {
        check_readable(file)?;
    }
    let lake = settings.open_lake().await?;
    let engine = Engine::new(&settings.engine, lake.store().clone())?;
    let tools = Tools { settings, lake: &lake, engine: &engine, observer: &observer };
    check_treatments(&tools, std::iter::once(&ingest.dataset)).await?;
    look_after(&tools, std::iter::once(&ingest.dataset)).await?;
    let mut outcomes = Outcomes::new(settings, std::iter::once(ingest.dataset.name.as_str()));
    let window = ingest.covers.and_then(Covers::window);
    for file in &ingest.files {
        let mut receipt = WindowReceipt::new(window);
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        let source = Source {
            dataset: ingest.dataset.clone(),
            file: file.clone(),
            name: name.clone(),
            window,
            whole: ingest.covers.is_some(),
            request_id: None,
            extracted_at: ingest.extracted_at,
            scope: name.clone(),
            guarded: ingest.guarded,
            held_as: None,
        };
        receipt.source_files = vec![name.clone()];
        receipt.treatments = settings.terms(&ingest.dataset.name).personal.labels();
        let table = ingest.dataset.name.as_str();
        // The bytes are kept while they are read.
        let state = state_of(file);
        let kept = keep_raw(&lake, file, settings.raw != Raw::None, &mut receipt);
        let settled = match tokio::join!(kept, read_source(&tools, source)) {
            (Ok(_), Ok(_)) if state_of(file) != state => Err(changed(file)),
            (Ok(_), Ok(read)) => commit_read(&tools, read, &mut receipt, None).await,
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        match settled {
            Ok(written) => outcomes.add(table, receipt, Some(written)),
            Err(error) => {
                observer.tell(Level::Info, &name, Step::Done, error.to_string());
                outcomes.add_failure(table, receipt, error);
            }
        }
    }
    finish(&tools, outcomes).await
}

/// Size and time of the last change.
fn state_of(file: &Path) -> Option<(u64, Option<std::time::SystemTime>)> {
    let found = file.metadata().ok()?;
    Some((found.len(), found.modified().ok()))
}

fn changed(file: &Path) -> Error {
    Error::new(Kind::Source, "a file was changed while it was read")
        .with("file", file.display())
        .hint("nothing of it was committed; load it again when it is whole")
}

/// Nothing is begun when one of the files cannot be read at all.
pub(super) fn check_readable(file: &PathBuf) -> Result<()> {
    let opened = std::fs::File::open(file).and_then(|file| file.metadata());
    let refused = match opened {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => Error::new(Kind::Usage, "this is not a file"),
        Err(cause) => Error::new(Kind::Usage, "a file cannot be read").caused_by(cause),
    };
    Err(refused
        .with("file", file.display())
        .hint("name files that exist and that you may read; nothing was changed"))
}

/// Notes hash and size of the file, and keeps its bytes in the lake if it shall: a later change of the file does not reach
/// them.
pub(super) async fn keep_raw(
    lake: &Lake,
    file: &Path,
    keep: bool,
    receipt: &mut WindowReceipt,
) -> Result<String> {
    let spool = keep.then(|| lake.spool_dir()).transpose()?;
    let copy = spool.as_ref().map(|spool| spool.path().join("copy"));
    let work = {
        let (lake, file, copy) = (lake.clone(), file.to_owned(), copy.clone());
        tokio::task::spawn_blocking(move || hash_and_copy(&lake, &file, copy.as_deref()))
    };
    let (sha256, bytes) = work.await.map_err(|cause| {
        Error::new(Kind::Bug, "the hash of a file stopped unexpectedly").caused_by(cause)
    })??;
    if let Some(copy) = copy {
        lake.put_file(&copy, &raw_path(&sha256)).await?;
    }
    receipt.blob_bytes = bytes;
    receipt.blob_sha256 = Some(sha256.clone());
    Ok(sha256)
}

/// The hash and the size of a file, of which each piece is copied while it is in the cache of a core.
fn hash_and_copy(lake: &Lake, file: &Path, copy: Option<&Path>) -> Result<(String, u64)> {
    let unreadable = |cause| {
        Error::new(Kind::Source, "a file cannot be read").with("file", file.display()).caused_by(cause)
    };
    let unwritable = |cause| lake.not_writable(cause);
    let mut from = File::open(file).map_err(unreadable)?;
    let mut copy = copy.map(File::create_new).transpose().map_err(unwritable)?;
    let (mut hasher, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; PIECE_BYTES]);
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => &piece[..read],
            Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
            Err(cause) => return Err(unreadable(cause)),
        };
        hasher.update(read);
        copy.iter_mut().try_for_each(|copy| copy.write_all(read)).map_err(unwritable)?;
        bytes += read.len() as u64;
    }
    Ok((hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), bytes))
}

/// Of 157 MB, pieces of 256 KiB took 43 ms to be read and written, of 64 KiB 47 and of 1 MiB 60 and more.
const PIECE_BYTES: usize = 256 << 10;
