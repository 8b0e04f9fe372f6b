//! The report on disk: complete or absent, and what an earlier probe of the same export has left in it.

use std::io::Write;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Kind, Result};
use crate::model::{Finding, PROBE_FORMAT, ProbeReport};

/// What a report says that is not finished.
pub(super) const WAITING: &str = "waiting";
pub(super) const COMPLETE: &str = "complete";

/// # Errors
/// `Destination` when its folder cannot be written.
pub(super) fn check(path: &Path) -> Result<()> {
    new_beside(path).map(drop).map_err(|cause| cannot_write(path, cause))
}

/// # Errors
/// `Destination`.
pub(super) fn write(path: &Path, report: &ProbeReport) -> Result<()> {
    let written = || {
        let mut file = new_beside(path)?;
        serde_json::to_writer_pretty(&mut file, report)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    written().map_err(|cause| cannot_write(path, cause))
}

/// What a probe has found that did not end: a later one cannot see again how the export was asked for.
pub(super) fn unfinished(path: &Path) -> Vec<Finding> {
    let report = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<ProbeReport>(&text).ok());
    let report = report.filter(|report| report.schema == PROBE_FORMAT && report.outcome != COMPLETE);
    report.map(|report| report.findings).unwrap_or_default()
}

/// Fills what was not seen with what was seen before.
pub(super) fn filled(mut findings: Vec<Finding>, earlier: Vec<Finding>) -> Vec<Finding> {
    for finding in &mut findings {
        let same = |other: &&Finding| (&other.about, &other.column) == (&finding.about, &finding.column);
        if let Some(before) = earlier.iter().find(same).filter(|_| finding.seen.is_empty()) {
            finding.seen.clone_from(&before.seen);
        }
    }
    findings
}

fn new_beside(path: &Path) -> std::io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    tempfile::Builder::new().prefix(".payoutlake-probe-").tempfile_in(folder.unwrap_or(Path::new(".")))
}

fn cannot_write(path: &Path, cause: std::io::Error) -> Error {
    Error::new(Kind::Destination, "cannot write the report")
        .with("file", path.display())
        .caused_by(cause)
        .hint("name a file in a folder that exists and may be written: --report FILE")
}
