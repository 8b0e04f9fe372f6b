//! The rooms that read foreign bytes, compiled for fuzzing from the sources of payoutlake itself.
//!
//! They are taken file by file because the whole library needs DataFusion, which takes most of an hour to compile with a
//! sanitizer and gives the fuzzer millions of branches that it cannot reach.

#![allow(dead_code, unused_imports, reason = "a part of a crate")]

#[path = "../../../src/decode/mod.rs"]
pub mod decode;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/model/mod.rs"]
pub mod model;
pub mod normalise;

use std::io::Write;

use decode::{Decoder, Options};
use error::{Kind, Result};
use model::{Encoding, RawBatch};

/// Bytes as a file that disappears; in memory where the system has a place for that.
pub struct Spool(tempfile::NamedTempFile);

impl Spool {
    pub fn new(bytes: &[u8]) -> Spool {
        let shared_memory = std::path::Path::new("/dev/shm");
        let folder = if shared_memory.is_dir() { shared_memory.to_owned() } else { std::env::temp_dir() };
        let mut file = tempfile::NamedTempFile::new_in(folder).expect("a place for temporary files");
        file.write_all(bytes).expect("room for a temporary file");
        Spool(file)
    }
}

/// All that a text file gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub header: Vec<String>,
    pub encoding: Encoding,
    /// Line and cells.
    pub rows: Vec<(u64, Vec<Vec<u8>>)>,
    pub misquoted: Vec<bool>,
}

/// Reads a file as the pipeline does, and holds it to what must be true of every file.
pub fn read(bytes: &[u8], options: &Options) -> Result<Vec<Text>> {
    let spool = Spool::new(bytes);
    let read = read_spool(&spool, options);
    if let Err(error) = &read {
        assert_eq!(error.kind(), Kind::Contract, "{error:?}");
        assert!(
            error.hint_text().is_some() && error.context().iter().any(|(key, _)| *key == "file"),
            "{error:?}"
        );
    }
    read
}

fn read_spool(spool: &Spool, options: &Options) -> Result<Vec<Text>> {
    let mut decoder = Decoder::open(spool.0.path(), "export", options)?;
    let (mut texts, mut all_bytes) = (Vec::new(), 0);
    while let Some(mut file) = decoder.next_file()? {
        let mut text = Text {
            header: file.header().to_vec(),
            encoding: file.encoding(),
            rows: Vec::new(),
            misquoted: Vec::new(),
        };
        let mut last_line = file.header_line();
        let mut spent = RawBatch::new();
        while let Some(batch) = file.next_batch_in(spent)? {
            assert!(!batch.is_empty());
            for row in 0..batch.rows() {
                let cells: Vec<Vec<u8>> = batch.cells(row).map(<[u8]>::to_vec).collect();
                assert!(batch.line(row) > last_line, "lines go up");
                last_line = batch.line(row);
                assert!(cells.len() <= options.max_columns);
                assert!(cells.iter().all(|cell| cell.len() <= options.max_cell_bytes));
                assert!(cells.iter().map(Vec::len).sum::<usize>() <= options.max_record_bytes);
                text.misquoted.push(batch.is_misquoted(row));
                text.rows.push((batch.line(row), cells));
            }
            spent = batch;
        }
        let census = file.census();
        assert_eq!(census.records, text.rows.len() as u64, "the census counts as the reader does");
        all_bytes += census.bytes;
        texts.push(text);
    }
    assert!(all_bytes <= options.max_expanded_bytes);
    assert!(texts.len() as u64 <= options.max_entries.max(1));
    Ok(texts)
}

/// Limits that small inputs can reach.
pub fn small_limits() -> Options {
    Options {
        max_cell_bytes: 1 << 10,
        max_record_bytes: 4 << 10,
        max_columns: 100,
        max_entries: 20,
        // Longer than the buffers.
        max_expanded_bytes: 384 << 10,
        ..Options::default()
    }
}
