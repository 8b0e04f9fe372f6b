//! What a file may cost before it is refused.

use crate::error::{Error, Kind, Result};
use crate::model::{DateOrder, Declared, Encoding};

/// What a person says of the text because it cannot say it itself, and limits and sizes of this stage. The defaults are far above what Microsoft delivers (files of at most 1 GB, about
/// 100 columns) and far below what would hurt the host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How characters stand in bytes, where no byte order mark tells it. `None`: UTF-8, or UTF-16 with a sure first line.
    pub encoding: Option<Encoding>,
    /// Whether a quote at the start of a cell quotes it. False: quotes are text like any other, as some TSV has them.
    pub quotes: bool,
    /// How dates such as 9/10/2026 are meant. `None`: as the file itself proves it, column by column. For the next stage.
    pub date_order: Option<DateOrder>,
    /// Largest cell, in bytes.
    pub max_cell_bytes: usize,
    /// Largest record without its quotes and delimiters, in bytes. An open quote is noticed here at the latest.
    pub max_record_bytes: usize,
    /// Most cells of one record.
    pub max_columns: usize,
    /// Most entries of a zip archive, folders included.
    pub max_entries: u64,
    /// Most bytes of text of one downloaded file, over all its entries.
    pub max_expanded_bytes: u64,
    /// Most bytes of text for one compressed byte, once a file has given 10 MiB.
    pub max_ratio: u64,
    /// Bytes of text for one batch. A batch ends with the record that reaches it. For what is done once for each column of a
    /// batch, those of half the size took as long in one comparison, and 5 and 12 % longer in two others.
    pub batch_bytes: usize,
    /// Most records that may stand before the header.
    pub max_preamble_lines: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            encoding: None,
            quotes: true,
            date_order: None,
            max_cell_bytes: 1 << 20,
            max_record_bytes: 8 << 20,
            max_columns: 2_000,
            max_entries: 10_000,
            max_expanded_bytes: 64 << 30,
            max_ratio: 200,
            batch_bytes: 2 << 20,
            max_preamble_lines: 20,
        }
    }
}

impl Options {
    /// What a person says of the text.
    #[must_use]
    pub fn declared(&self) -> Declared {
        Declared { encoding: self.encoding, quotes: self.quotes, date_order: self.date_order }
    }

    /// The same limits for a text of which a person said this.
    #[must_use]
    pub fn with(self, declared: Declared) -> Options {
        let Declared { encoding, quotes, date_order } = declared;
        Options { encoding, quotes, date_order, ..self }
    }
}

/// Small files may be as repetitive as they like.
const RATIO_CHECKED_FROM_BYTES: u64 = 10 << 20;

/// Counts the text that comes out of a container and stops it when it grows beyond the limits.
pub(super) struct Growth<'a> {
    /// Text of all files of the container so far, in bytes.
    pub(super) total_bytes: &'a mut u64,
    /// Text of this file so far, in bytes.
    pub(super) file_bytes: u64,
    /// Size of this file before it was expanded, in bytes; `None` for plain text.
    pub(super) compressed_bytes: Option<u64>,
}

impl Growth<'_> {
    /// Takes note of `bytes` more.
    pub(super) fn add(&mut self, bytes: usize, options: &Options, file: &str) -> Result<()> {
        self.file_bytes += bytes as u64;
        *self.total_bytes += bytes as u64;
        if *self.total_bytes > options.max_expanded_bytes {
            let message = format!("the file holds more than {} bytes of text", options.max_expanded_bytes);
            return Err(Error::new(Kind::Contract, message)
                .with("file", file)
                .hint("If the file is genuine, raise max_expanded_bytes; otherwise download it again."));
        }
        if let Some(compressed) = self.compressed_bytes
            && self.file_bytes > RATIO_CHECKED_FROM_BYTES
            && self.file_bytes > compressed.saturating_mul(options.max_ratio)
        {
            let message = format!(
                "{compressed} compressed bytes expand to more than {} times as many, like a zip bomb",
                options.max_ratio
            );
            return Err(Error::new(Kind::Contract, message)
                .with("file", file)
                .hint("If the file is genuine, raise max_ratio; otherwise download it again."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_options_are_refused_and_missing_ones_have_defaults() {
        let options: Options = serde_json::from_str(r#"{"max_ratio": 7}"#).unwrap();
        assert_eq!(options, Options { max_ratio: 7, ..Options::default() });
        assert!(serde_json::from_str::<Options>(r#"{"max_ration": 7}"#).is_err());
    }
}
