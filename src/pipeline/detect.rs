//! What downloaded files are, by their headers alone.

use std::path::PathBuf;

use super::ingest::check_readable;
use crate::decode::{Decoder, Options};
use crate::error::Result;
use crate::schema::{Candidate, Registry};

/// One text file, and what its header resembles.
#[derive(Debug)]
pub struct Detected {
    /// For an entry of an archive with the archive's name before it.
    pub file: String,
    /// Cells of its header; none where the file is empty.
    pub columns: usize,
    pub header_line: u64,
    /// Best first; the first one is what the file is, unless it is refused.
    pub candidates: Vec<Candidate>,
}

impl Detected {
    /// What the file is.
    #[must_use]
    pub fn found(&self) -> Option<&Candidate> {
        self.candidates.first().filter(|best| best.refused.is_none())
    }
}

/// Reads each text file as far as its header.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for a file that cannot be read,
/// [`Kind::Contract`](crate::error::Kind::Contract) for one that is no delimited text.
pub fn detect(files: &[PathBuf], registry: &Registry) -> Result<Vec<Detected>> {
    let mut detected = Vec::new();
    for path in files {
        check_readable(path)?;
        let mut decoder = Decoder::open(path, &path.display().to_string(), &Options::default())?;
        while let Some(text) = decoder.next_file()? {
            let header = text.header();
            detected.push(Detected {
                file: text.name().to_owned(),
                columns: header.len(),
                header_line: text.header_line(),
                candidates: if header.is_empty() { Vec::new() } else { registry.detect(header) },
            });
        }
    }
    Ok(detected)
}
