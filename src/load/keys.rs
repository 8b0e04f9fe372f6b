//! Whether a key may stand on more than one row: cheap to tell, in fixed memory, and nearly always no.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::{Memory, Texts};

/// The hashes of the keys of all rows so far.
#[derive(Debug)]
pub(super) struct Keys {
    hashes: Vec<u64>,
    /// Sorted runs of hashes, `run` of them in each.
    file: PathBuf,
    runs: usize,
    run: usize,
}

impl Keys {
    /// What does not fit into memory goes to a file of its own in `dir`.
    pub(super) fn new(dir: &Path, memory: Memory) -> Self {
        let run = usize::try_from(memory.keys()).unwrap_or(usize::MAX) / size_of::<u64>();
        Keys { hashes: Vec::new(), file: dir.join("keys"), runs: 0, run }
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let Some(keys) = batch.column_by_name("_pc_row_key").and_then(Texts::of) else { return Ok(()) };
        for key in (0..batch.num_rows()).filter_map(|row| keys.get(row)) {
            self.hashes.push(xxh3_64(key.as_bytes()));
            if self.hashes.len() == self.run {
                self.write_run()?;
            }
        }
        Ok(())
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.hashes.sort_unstable();
        let mut file = BufWriter::new(File::options().append(true).create(true).open(&self.file)?);
        self.hashes.drain(..).try_for_each(|hash| file.write_all(&hash.to_le_bytes()))?;
        file.flush()?;
        self.runs += 1;
        Ok(())
    }

    /// False only when all keys differ.
    pub(super) fn may_repeat(&mut self) -> io::Result<bool> {
        self.hashes.sort_unstable();
        if self.runs == 0 {
            return Ok(self.hashes.windows(2).any(|two| two[0] == two[1]));
        }
        let last: Vec<u8> = self.hashes.iter().copied().flat_map(u64::to_le_bytes).collect();
        let mut runs: Vec<Box<dyn Read>> = vec![Box::new(io::Cursor::new(last))];
        let bytes = (self.run * size_of::<u64>()) as u64;
        for number in 0..self.runs as u64 {
            let mut file = File::open(&self.file)?;
            file.seek(SeekFrom::Start(number * bytes))?;
            runs.push(Box::new(BufReader::new(file.take(bytes))));
        }
        let mut heap = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            heap.extend(next(run)?.map(|hash| Reverse((hash, number))));
        }
        let mut before = None;
        while let Some(Reverse((hash, number))) = heap.pop() {
            if before == Some(hash) {
                return Ok(true);
            }
            before = Some(hash);
            heap.extend(next(&mut runs[number])?.map(|hash| Reverse((hash, number))));
        }
        Ok(false)
    }
}

fn next(run: &mut impl Read) -> io::Result<Option<u64>> {
    let mut bytes = [0; size_of::<u64>()];
    match run.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(u64::from_le_bytes(bytes))),
        Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_that_stands_twice_is_seen_in_any_batch(
            batches in proptest::collection::vec(proptest::collection::vec(0..60u32, 0..6), 0..6),
            run in 1..9usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut keys = Keys { run, ..Keys::new(dir.path(), Memory::default()) };
            for rows in &batches {
                let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(u32::to_string)));
                keys.add(&RecordBatch::try_from_iter([("_pc_row_key", texts)]).unwrap()).unwrap();
            }
            let all = batches.concat();
            let different: std::collections::BTreeSet<_> = all.iter().collect();
            prop_assert_eq!(keys.may_repeat().unwrap(), different.len() < all.len());
        }
    }
}
