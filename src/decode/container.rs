//! From a downloaded file to the text files in it.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::archive::{self, Archive, read_error, zip_error};
use super::limits::{Growth, Options};
use super::sniff;
use super::spelling::{self, Spelling};
use super::text::{Input, TextFile};
use crate::error::Result;
use crate::model::Packed;

/// Compressed bytes read from disk at once.
const DISK_BUFFER_BYTES: usize = 128 << 10;

/// What a downloaded file is packed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Text as it is.
    Plain,
    /// One or more gzip members, which together are one text.
    Gzip,
    /// A zip archive; each entry is a text of its own.
    Zip,
}

/// Gives the text files of one downloaded file.
pub struct Decoder {
    name: String,
    options: Options,
    source: Source,
    /// Text that was read so far, over all files, in bytes.
    expanded_bytes: u64,
}

enum Source {
    Plain(Option<File>),
    Gzip(Option<File>),
    Zip { archive: Box<Archive>, next_entry: usize },
}

impl Decoder {
    /// Opens a file on the local disk. `name` stands for it in messages and in the lake; no part of the file's
    /// own path does.
    ///
    /// # Errors
    /// `Destination` when the disk cannot be read; `Contract` when the file is a damaged or hostile archive.
    pub fn open(path: &Path, name: &str, options: &Options) -> Result<Decoder> {
        let failed = |error| read_error(error, name);
        let mut file = File::open(path).map_err(failed)?;
        let mut first = [0; 4];
        let filled = sniff::read_full(&mut file, &mut first).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let source = match sniff::container(&first[..filled]) {
            Container::Plain => Source::Plain(Some(file)),
            Container::Gzip => Source::Gzip(Some(file)),
            Container::Zip => {
                let file = BufReader::with_capacity(DISK_BUFFER_BYTES, file);
                Source::Zip { archive: Box::new(archive::open(file, name, options)?), next_entry: 0 }
            }
        };
        Ok(Decoder { name: name.to_owned(), options: options.clone(), source, expanded_bytes: 0 })
    }

    /// What the file is packed in, by its bytes.
    #[must_use]
    pub fn container(&self) -> Container {
        match self.source {
            Source::Plain(_) => Container::Plain,
            Source::Gzip(_) => Container::Gzip,
            Source::Zip { .. } => Container::Zip,
        }
    }

    /// Where the next text file stands, for [`Decoder::go_to`] of another decoder of the same file.
    #[must_use]
    pub fn place(&self) -> usize {
        match self.source {
            Source::Zip { next_entry, .. } => next_entry,
            Source::Plain(_) | Source::Gzip(_) => 0,
        }
    }

    /// Goes on to the text file at a place, without a look at those between. The one text of plain files and of gzip
    /// is where they begin.
    pub fn go_to(&mut self, place: usize) {
        if let Source::Zip { next_entry, .. } = &mut self.source {
            *next_entry = place;
        }
    }

    /// The next text file, opened as far as its header: the one file of plain text or gzip, or the next entry of a
    /// zip archive in the order of its list. `None` after the last.
    ///
    /// # Errors
    /// `Contract` when the file is no delimited text, is damaged, or exceeds a limit; `Destination` when the disk
    /// cannot be read.
    pub fn next_file(&mut self) -> Result<Option<TextFile<'_>>> {
        let options = self.options.clone();
        let Some((name, input)) = self.next_input()? else { return Ok(None) };
        TextFile::open(name, input, &options).map(Some)
    }

    /// How the next text file is written, instead of what stands in it. It is read to its end.
    ///
    /// # Errors
    /// As [`Decoder::next_file`].
    pub fn next_spelling(&mut self) -> Result<Option<Spelling>> {
        let options = self.options.clone();
        let Some((name, input)) = self.next_input()? else { return Ok(None) };
        spelling::read(&name, input, &options).map(Some)
    }

    fn next_input(&mut self) -> Result<Option<(String, Input<'_>)>> {
        let mut name = self.name.clone();
        let mut growth =
            Growth { total_bytes: &mut self.expanded_bytes, file_bytes: 0, compressed_bytes: None };
        let mut declared = None;
        let reader: Box<dyn Read + Send + '_> = match &mut self.source {
            Source::Plain(file) => {
                let Some(file) = file.take() else { return Ok(None) };
                Box::new(file)
            }
            Source::Gzip(file) => {
                let Some(file) = file.take() else { return Ok(None) };
                let metadata = file.metadata().map_err(|error| read_error(error, &name))?;
                growth.compressed_bytes = Some(metadata.len());
                Box::new(MultiGzDecoder::new(BufReader::with_capacity(DISK_BUFFER_BYTES, file)))
            }
            Source::Zip { archive, next_entry } => {
                let Some(index) = next_file_entry(archive, next_entry) else {
                    return Ok(None);
                };
                let entry = archive.by_index_raw(index).map_err(|error| zip_error(error, &name))?;
                name = archive::entry_name(&name, &entry.entry());
                growth.compressed_bytes = Some(entry.compressed_size());
                let packed =
                    Packed { packed_bytes: entry.compressed_size(), crc32: format!("{:08x}", entry.crc32()) };
                declared = Some((entry.size(), packed));
                archive::unpacked(entry)
            }
        };
        Ok(Some((name, Input { reader, growth, declared })))
    }
}

/// Skips folders and the like, and moves past the entry that it returns.
fn next_file_entry(archive: &Archive, next_entry: &mut usize) -> Option<usize> {
    while *next_entry < archive.len() {
        let index = *next_entry;
        *next_entry += 1;
        if archive.by_index_data(index).is_ok_and(|entry| archive::is_file(&entry)) {
            return Some(index);
        }
    }
    None
}
