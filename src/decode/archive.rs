//! Zip archives: everything that can be refused before an entry is read.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use crc32fast::Hasher;
use flate2::bufread::DeflateDecoder;
use zip::read::{ZipFile, ZipFileEntry};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::limits::Options;
use crate::error::{Error, Kind, Result};

pub(super) type Archive = ZipArchive<BufReader<File>>;

pub(super) const DOWNLOAD_AGAIN: &str = "Download the file again; nothing of it was loaded.";

/// Opens an archive and checks the list of its entries.
pub(super) fn open(mut file: BufReader<File>, name: &str, options: &Options) -> Result<Archive> {
    let declared = declared_entries(&mut file).map_err(|error| read_error(error, name))?;
    check_count(declared.unwrap_or(0), name, options)?;
    let mut archive = ZipArchive::new(file).map_err(|error| zip_error(error, name))?;
    check_count(archive.len() as u64, name, options)?;
    let mut names = BTreeSet::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(|error| zip_error(error, name))?;
        check_entry(&entry, name)?;
        if !names.insert(entry.name_raw().to_vec()) {
            return Err(two_of_a_name(name, entry.name_raw()));
        }
    }
    // Those that the list of entries shows as one.
    if archive.has_duplicate_names() {
        return Err(two_of_a_name(name, b""));
    }
    if archive.has_overlapping_entries().map_err(|error| zip_error(error, name))? {
        return Err(refusal("entries of the zip archive overlap, like a zip bomb", name, DOWNLOAD_AGAIN));
    }
    Ok(archive)
}

fn two_of_a_name(archive: &str, entry: &[u8]) -> Error {
    let error = refusal("two entries of the zip archive have the same name", archive, DOWNLOAD_AGAIN);
    if entry.is_empty() { error } else { error.with("entry", entry.escape_ascii()) }
}

/// Whether an entry is a file that somebody exported: no folder, and not the notes that macOS adds.
pub(super) fn is_file(entry: &ZipFileEntry<'_>) -> bool {
    !entry.is_dir() && !entry.name_raw().starts_with(b"__MACOSX/")
}

/// The name of an entry for people and for the lake: `export.zip!2026-09_1.csv`.
pub(super) fn entry_name(archive: &str, entry: &ZipFileEntry<'_>) -> String {
    format!("{archive}!{}", inner_name(entry))
}

fn inner_name<'e>(entry: &'e ZipFileEntry<'_>) -> Cow<'e, str> {
    entry.name().unwrap_or_else(|_| String::from_utf8_lossy(entry.name_raw()))
}

/// The text in an entry of which only the packed bytes are read so far: stored, or packed with deflate.
///
/// The crate zip would take 8 KB of these at a time. What little comes of them at once repeats what came before, which has
/// to be looked for in a copy: that takes a third longer.
pub(super) fn unpacked<'e>(packed: ZipFile<'e, BufReader<File>>) -> Box<dyn Read + Send + 'e> {
    let (method, crc32) = (packed.compression(), packed.crc32());
    let packed = BufReader::with_capacity(PACKED_AT_ONCE, packed);
    match method {
        CompressionMethod::Stored => Box::new(Checked { bytes: packed, seen: Hasher::new(), crc32 }),
        _ => Box::new(Checked { bytes: DeflateDecoder::new(packed), seen: Hasher::new(), crc32 }),
    }
}

/// Bytes of an entry as the archive has them, read from disk at once.
const PACKED_AT_ONCE: usize = 256 << 10;

/// Bytes that must have a checksum once all are there.
struct Checked<R> {
    bytes: R,
    seen: Hasher,
    crc32: u32,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(into)?;
        self.seen.update(&into[..read]);
        if read == 0 && !into.is_empty() && self.seen.clone().finalize() != self.crc32 {
            let message = "the checksum of a zip entry is not the one that the archive states";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(read)
    }
}

fn check_count(entries: u64, name: &str, options: &Options) -> Result<()> {
    if entries <= options.max_entries {
        return Ok(());
    }
    let message = format!("the zip archive has {entries} entries, more than {}", options.max_entries);
    Err(refusal(&message, name, "If the file is genuine, raise max_entries; otherwise download it again."))
}

fn check_entry(entry: &ZipFileEntry<'_>, archive: &str) -> Result<()> {
    let raw = entry.name_raw();
    if raw == b"[Content_Types].xml" {
        let message = "the file is an Office document (xlsx) and not delimited text";
        return Err(refusal(message, archive, "Save the sheet as CSV UTF-8 and load that file."));
    }
    if !is_safe_name(&inner_name(entry)) || !is_safe_name(&String::from_utf8_lossy(raw)) {
        let message = "an entry of the zip archive has a name that no export has";
        return Err(refusal(message, archive, "Look into the archive before you load it.")
            .with("entry", raw.escape_ascii()));
    }
    let name = entry_name(archive, entry);
    if entry.is_dir() && entry.size() > 0 {
        return Err(refusal("a folder in the zip archive has contents of its own", &name, DOWNLOAD_AGAIN));
    }
    if !is_file(entry) {
        return Ok(());
    }
    if entry.encrypted() {
        return Err(refusal(
            "the zip entry is encrypted",
            &name,
            "Unpack it with its password and load the text file.",
        ));
    }
    if entry.is_symlink() {
        return Err(refusal("the zip entry is a symbolic link", &name, "Load the file that it points to."));
    }
    match entry.compression() {
        CompressionMethod::Stored | CompressionMethod::Deflated => Ok(()),
        other => {
            let message = format!("the zip entry is compressed by a method that is not supported ({other})");
            Err(refusal(&message, &name, "Unpack it and load the text file, or pack it again with deflate."))
        }
    }
}

/// Names never become paths here, but they go into messages and into the lake.
fn is_safe_name(name: &str) -> bool {
    let has_drive = matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    !name.is_empty()
        && !name.starts_with('/')
        && !has_drive
        && !name.contains(|c: char| c.is_control() || c == '\\')
        && !name.split('/').any(|part| part == "..")
}

/// The number of entries as the end record states it, without reading the list of entries into memory.
/// `None` when there is no such record where it should be.
fn declared_entries(file: &mut (impl Read + Seek)) -> io::Result<Option<u64>> {
    // Layout of the two end records: APPNOTE.TXT 4.3.14 to 4.3.16.
    const END_BYTES: u64 = 22;
    const MAX_COMMENT_BYTES: u64 = 0xffff;
    const LOCATOR_BYTES: usize = 20;
    let length = file.seek(SeekFrom::End(0))?;
    let tail_bytes = length.min(END_BYTES + MAX_COMMENT_BYTES + LOCATOR_BYTES as u64);
    file.seek(SeekFrom::End(-(tail_bytes as i64)))?;
    let mut tail = Vec::new();
    file.take(tail_bytes).read_to_end(&mut tail)?;
    let Some(end) = memchr::memmem::rfind(&tail, b"PK\x05\x06") else {
        return Ok(None);
    };
    let Some(entries) = tail.get(end + 10..end + 12) else {
        return Ok(None);
    };
    let entries = u16::from_le_bytes([entries[0], entries[1]]);
    if entries != u16::MAX {
        return Ok(Some(entries.into()));
    }
    let locator = end.checked_sub(LOCATOR_BYTES).map(|start| &tail[start..end]);
    let Some([b'P', b'K', 6, 7, _, _, _, _, offset @ .., _, _, _, _]) = locator else {
        return Ok(Some(entries.into()));
    };
    let Ok(offset) = offset.try_into().map(u64::from_le_bytes) else {
        return Ok(None);
    };
    let mut end64 = [0; 40];
    file.seek(SeekFrom::Start(offset))?;
    match file.read_exact(&mut end64) {
        Ok(()) => Ok(end64[32..].try_into().ok().map(u64::from_le_bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// An error of a read: of the disk when the system says so, otherwise of the bytes.
pub(super) fn read_error(error: io::Error, file: &str) -> Error {
    if error.raw_os_error().is_some() {
        return Error::new(Kind::Destination, "the downloaded file cannot be read from the local disk")
            .with("file", file)
            .hint("Check the disk and the rights to the spool folder, then run again.")
            .caused_by(error);
    }
    refusal("the compressed file is damaged or cut short", file, DOWNLOAD_AGAIN).caused_by(error)
}

pub(super) fn zip_error(error: ZipError, file: &str) -> Error {
    match error {
        ZipError::Io(error) => read_error(error, file),
        error => refusal("the zip archive is damaged or cut short", file, DOWNLOAD_AGAIN).caused_by(error),
    }
}

fn refusal(message: &str, file: &str, next_step: &str) -> Error {
    Error::new(Kind::Contract, message).with("file", file).hint(next_step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_archive_are_unsafe() {
        let unsafe_names =
            ["", "/a.csv", "../a", "x/../a", "..", "x/..", "a\\b", "C:a.csv", "a\0", "a\nb", "a\u{85}"];
        for name in unsafe_names {
            assert!(!is_safe_name(name), "{name:?}");
        }
        for name in ["a.csv", "x/a.csv", "2026-09..1.csv", "x/", "Année.csv", "12:30.csv"] {
            assert!(is_safe_name(name), "{name:?}");
        }
    }
}
