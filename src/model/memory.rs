//! How much memory a command may take, and who of it takes how much.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::Invalid;

const MIB: u64 = 1 << 20;

/// A ceiling of the memory of a whole process: `512 MiB`.
///
/// | part | what it bounds |
/// |---|---|
/// | half | joins, sorts and aggregates of the engine; above it they spill to disk |
/// | 3/32, twice | typed rows that wait for their row group, and the metadata of those that are written, at most 1/32: a run reads one export and commits another |
/// | 1/16 | batches of text on their way to typed rows, over all threads |
/// | 5/32 | dictionaries of texts that come again, over all threads: 1/8, and a quarter of it for finding them |
///
/// What is left is for row groups while they are encoded, refused rows, buffers of downloads, and the program itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(u64);

/// A batch of text, its cells' places and its typed rows take so many times the bytes of the text.
const BATCH_FACTOR: u64 = 4;

/// Columns of texts that a table has, about.
const TEXT_COLUMNS: u64 = 64;

/// A thread that types rows is worth its memory from here on.
const THREAD_BYTES: u64 = 32 * MIB;

/// What others have to read is not larger, in Arrow's memory.
const LARGEST_ROW_GROUP: u64 = 128 * MIB;

impl Default for Memory {
    fn default() -> Self {
        Memory(512 * MIB)
    }
}

impl Memory {
    /// With less, nothing works well.
    pub const LEAST: Memory = Memory(128 * MIB);

    /// # Errors
    /// When the text is not a number with `MiB` or `GiB` behind it, or less than [`Memory::LEAST`].
    pub fn parse(text: &str) -> Result<Memory, Invalid> {
        let wrong = || Invalid(format!("'{text}' is no amount of memory: write \"512 MiB\" or \"2 GiB\""));
        let (number, unit) = match (text.strip_suffix("MiB"), text.strip_suffix("GiB")) {
            (Some(number), _) => (number, MIB),
            (_, Some(number)) => (number, 1024 * MIB),
            _ => return Err(wrong()),
        };
        let number: u64 = number.trim().parse().map_err(|_| wrong())?;
        let memory = Memory(number.checked_mul(unit).ok_or_else(wrong)?);
        if memory < Memory::LEAST {
            return Err(Invalid(format!("{memory} of memory is too little: {} is the least", Memory::LEAST)));
        }
        Ok(memory)
    }

    /// Less than anybody may ask for.
    #[cfg(test)]
    #[must_use]
    pub fn tiny(bytes: u64) -> Memory {
        Memory(bytes)
    }

    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Of joins, sorts and aggregates.
    #[must_use]
    pub fn engine(self) -> u64 {
        self.0 / 2
    }

    /// Of rows that wait for their row group.
    #[must_use]
    pub fn waiting(self) -> u64 {
        self.0 / 32 * 3
    }

    /// Of the rows of one row group, which are among those that wait.
    #[must_use]
    pub fn row_group(self) -> u64 {
        (self.0 / 16).min(LARGEST_ROW_GROUP)
    }

    /// Of metadata of row groups in open files: a part of what waits.
    #[must_use]
    pub fn footers(self) -> u64 {
        self.0 / 32
    }

    /// Of refused rows, until they are in the lake.
    #[must_use]
    pub fn refused(self) -> u64 {
        self.0 / 8
    }

    /// Of hashes of keys: of a file that is read, of those that are looked for in the lake, and of files there, each.
    #[must_use]
    pub fn keys(self) -> u64 {
        self.0 / 64
    }

    /// How many of some threads may type rows.
    #[must_use]
    pub fn threads(self, cores: usize) -> usize {
        usize::try_from(self.0 / THREAD_BYTES).unwrap_or(cores).min(cores).max(1)
    }

    /// Text of one of so many batches that are under way at once.
    #[must_use]
    pub fn batch(self, batches: usize) -> u64 {
        self.0 / 16 / BATCH_FACTOR / batches.max(1) as u64
    }

    /// The dictionary of one column of texts, of which each thread has its own.
    #[must_use]
    pub fn dictionary(self, threads: usize) -> u64 {
        self.0 / 8 / TEXT_COLUMNS / threads.max(1) as u64
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0 / MIB)
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Memory::parse(&String::deserialize(deserializer)?).map_err(|invalid| D::Error::custom(invalid.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        assert_eq!(Memory::parse("512 MiB"), Ok(Memory::default()));
        assert_eq!(Memory::parse("2GiB"), Ok(Memory(2 << 30)));
        for wrong in ["512", "512 MB", "-1 MiB", "1.5 GiB", "99999999999999 GiB", "127 MiB", ""] {
            assert!(Memory::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// However many threads a machine has, and however little memory it may use.
    #[test]
    fn the_parts_are_less_than_all() {
        for memory in [Memory::LEAST, Memory::default(), Memory(64 << 30)] {
            for threads in [1, 2, 16, 256].map(|cores| memory.threads(cores)) {
                let batches = memory.batch(threads + 2) * BATCH_FACTOR * (threads as u64 + 2);
                let dictionaries = memory.dictionary(threads) * 5 / 4 * TEXT_COLUMNS * threads as u64;
                let rows = 2 * memory.waiting();
                let parts = memory.engine() + rows + batches + dictionaries;
                assert!(parts < memory.bytes(), "{memory}, {threads} threads: {parts}");
                assert!(memory.row_group() + memory.footers() <= memory.waiting());
            }
        }
    }
}
