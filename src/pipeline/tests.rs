//! From bytes to staged files: however a file is packed, encoded and cut, it becomes the same.

use std::fs::File;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::OnceLock;

use jiff::Timestamp;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::PageIndexPolicy;
use proptest::prelude::*;

use super::process::{Input, Processed, process};
use crate::decode;
use crate::error::Result;
use crate::event::Observer;
use crate::load::{self, Digest};
use crate::model::{Account, Memory, RunId, Totals};
use crate::normalise::{self, Origin};
use crate::schema::{Dataset, Registry};

const HEADER: &str = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,\
    earningAmountUSD,earningDate,paymentStatus,customerName,exchangeRateDate\n";

fn earnings() -> &'static Dataset {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry::built_in().unwrap()).dataset("transaction_history").unwrap()
}

fn processed(dir: &Path, bytes: &[u8], batch_bytes: usize, memory: Memory) -> Result<Processed> {
    let file = dir.join("file");
    std::fs::write(&file, bytes).unwrap();
    let (dataset, now) = (earnings(), Timestamp::UNIX_EPOCH);
    let spec = dataset.table();
    let account = Account::parse("contoso").unwrap();
    process(&Input {
        dataset,
        spec: &spec,
        account: &account,
        window: None,
        whole: false,
        file: &file,
        name: "file",
        origin: Origin {
            run_id: RunId(uuid::Uuid::nil()),
            request_id: None,
            extracted_at: None,
            loaded_at: now,
            source_file: "file".to_owned(),
        },
        decode: &decode::Options { batch_bytes, ..decode::Options::default() },
        normalise: &normalise::Options::default(),
        load: &load::Options { memory, ..load::Options::default() },
        spool: dir,
        observer: &Observer::silent(),
        scope: "file",
    })
}

/// All that is seen of a file behind this room's first half, apart from its size.
fn outcome(bytes: &[u8], batch_bytes: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    let done = match processed(dir.path(), bytes, batch_bytes, Memory::default()) {
        Ok(done) => done,
        Err(error) => return error.to_string(),
    };
    let parts: Vec<_> =
        done.staged.parts.iter().map(|part| (&part.key, &part.totals, part.digest.to_hex())).collect();
    let quarantine = done
        .quarantine
        .first()
        .map(|first| arrow::compute::concat_batches(&first.schema(), &done.quarantine).unwrap());
    let notes: Vec<_> = done
        .files
        .iter()
        .flat_map(|file| file.notes.iter().filter(|note| !note.contains("read as")).chain(&file.warnings))
        .collect();
    let hops = done.counts.hops(&done.staged);
    format!("{parts:?} {hops:?} {:?} {:?} {notes:?} {quarantine:?}", done.faults, done.first_fault)
}

fn gzip(pieces: &[&[u8]]) -> Vec<u8> {
    // Each member ends a read: the text is cut there.
    let member = |piece: &&[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(piece).unwrap();
        gzip.finish().unwrap()
    };
    pieces.iter().map(member).collect::<Vec<_>>().concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn neither_packing_nor_encoding_nor_batches_change_a_file(
        rows in proptest::collection::vec((0..8usize, 0..8usize, 0..6usize, 0..5usize), 0..30),
        cut in any::<proptest::sample::Index>(),
        batch_bytes in 0_usize..400,
        unterminated in any::<bool>(),
    ) {
        const DATES: [&str; 8] =
            ["2026-09-01", "9/10/2026", "9/15/2026", "15/9/2026", "2026-10-01T00:00:00Z", "1/2/2026", "soon", ""];
        const AMOUNTS: [&str; 6] = ["1.25", "-3", "(2.00)", "\"1,000.50\"", "1e99", ""];
        const NAMES: [&str; 5] = ["Größe", "\"a, \"\"b\"\"\r\nc\"", "\"x\"y", "😀", "one,too many"];
        let mut text = HEADER.to_owned();
        for (index, (date, rate, amount, name)) in rows.iter().enumerate() {
            let (date, rate, amount, name) = (DATES[*date], DATES[*rate], AMOUNTS[*amount], NAMES[*name]);
            text.push_str(&format!("E-{},P,CSP,EUR,Rebate,{amount},1.10,{date},SENT,{name},{rate}\n", index / 2));
        }
        if unterminated {
            text.pop();
        }
        let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cut = cut.index(text.len());
        let expected = outcome(text.as_bytes(), 1 << 20);
        prop_assert_eq!(&outcome(text.as_bytes(), batch_bytes), &expected);
        prop_assert_eq!(&outcome(&utf16, batch_bytes), &expected);
        prop_assert_eq!(&outcome(&gzip(&[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]), batch_bytes), &expected);
    }
}

/// In so little memory that each few rows are a row group, and files are written in parts.
#[test]
fn files_in_many_parts_hold_the_rows_with_their_indexes() {
    let mut text = HEADER.to_owned();
    for row in 0..900 {
        let month = row % 3 + 7;
        text.push_str(&format!(
            "E-{row},P,CSP,EUR,Rebate,{row}.25,1.10,2026-0{month}-01,SENT,x,2026-01-01\n"
        ));
    }
    let [much, little] = [Memory::default(), Memory::tiny(128 << 10)].map(|memory| {
        let dir = tempfile::tempdir().unwrap();
        let done = processed(dir.path(), text.as_bytes(), 700, memory).unwrap();
        (dir, done.staged)
    });
    assert_eq!((much.1.parts.len(), little.1.parts.len()), (3, 3));
    let spec = earnings().table();
    let mut ids = 0;
    for (one, other) in much.1.parts.iter().zip(&little.1.parts) {
        assert_eq!((&one.key, &one.totals, one.digest), (&other.key, &other.totals, other.digest));
        let file = File::open(&other.file).unwrap();
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
        let (metadata, schema) = (reader.metadata().clone(), reader.parquet_schema().clone());
        assert!(metadata.num_row_groups() > 3, "{} row groups", metadata.num_row_groups());
        let id = schema.columns().iter().position(|column| column.name() == "earning_id").unwrap();
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let rows = metadata.offset_index().unwrap()[number][id].page_locations();
            assert_eq!((rows.len(), rows[0].offset), (1, group.column(id).data_page_offset()));
            let file = File::open(&other.file).unwrap();
            let filter = Sbbf::read_from_column_chunk(group.column(id), &file).unwrap().unwrap();
            let found = (0..900).filter(|row| filter.check(format!("E-{row}").as_str())).count();
            assert!(found >= group.num_rows() as usize && found < 900 / 2);
            ids += group.num_rows();
        }
        let (mut totals, mut digest) = (Totals::default(), Digest::default());
        for batch in reader.build().unwrap() {
            load::tally(&batch.unwrap(), &spec.money, &mut totals, &mut digest).unwrap();
        }
        assert_eq!((&totals, digest), (&one.totals, one.digest));
    }
    assert_eq!(ids, 900);
}

#[test]
fn an_archive_of_many_texts_is_looked_at_again_where_it_must() {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for number in 0..40 {
        zip.start_file(format!("{number}.csv"), zip::write::SimpleFileOptions::default()).unwrap();
        let proof = ["2026-09-02", "9/15/2026", "15/9/2026"][number % 3];
        let row =
            |id: &str, date: &str| format!("{id}-{number},P,CSP,EUR,Rebate,1,1,2026-09-01,SENT,x,{date}\n");
        let text = [HEADER, &row("A", "9/10/2026"), &row("B", proof)].concat();
        zip.write_all(text.as_bytes()).unwrap();
    }
    let zip = zip.finish().unwrap().into_inner();
    let seen = outcome(&zip, 1 << 20);
    assert_eq!(seen.matches("are month-first: line 3 proves it").count(), 13, "{seen}");
    assert_eq!(seen.matches("are day-first: line 3 proves it").count(), 13, "{seen}");
    assert!(seen.contains("{AmbiguousDate: 14}"), "{seen}");
    assert_eq!(outcome(&zip, 1), seen);
}
