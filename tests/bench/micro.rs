//! The stages alone, on one thread: `cargo bench`, or `cargo bench -- decode` for some.
//!
//! Throughput is of CSV bytes, so that the stages compare.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod shape;

use std::sync::LazyLock;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use jiff::Timestamp;
use payoutlake::decode::{Decoder, Options};
use payoutlake::load::{self, Author, Stager};
use payoutlake::model::{Account, Memory, Normalised, RawBatch, RunId};
use payoutlake::normalise::{Normaliser, Origin, parse_decimal, parse_timestamp};
use payoutlake::schema::{Dataset, Registry};

const ROWS: u64 = 100_000;

/// Of what takes a good part of a second.
const SAMPLES: u32 = 20;

struct Input {
    dataset: Dataset,
    file: tempfile::NamedTempFile,
    bytes: usize,
    header: Vec<String>,
    batches: Vec<RawBatch>,
}

static INPUT: LazyLock<Input> = LazyLock::new(|| {
    let registry = Registry::built_in().unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    shape::write(ROWS, shape::Shape::default(), &mut file).unwrap();
    let (header, batches) = read(&file);
    Input {
        dataset: registry.dataset("transaction_history").unwrap().clone(),
        bytes: usize::try_from(file.as_file().metadata().unwrap().len()).unwrap(),
        file,
        header,
        batches,
    }
});

fn read(file: &tempfile::NamedTempFile) -> (Vec<String>, Vec<RawBatch>) {
    let mut decoder = Decoder::open(file.path(), "bench.csv", &Options::default()).unwrap();
    let mut text = decoder.next_file().unwrap().unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = text.next_batch().unwrap() {
        batches.push(batch);
    }
    (text.header().to_vec(), batches)
}

fn normaliser() -> Normaliser {
    let origin = Origin {
        run_id: RunId(uuid::Uuid::nil()),
        request_id: None,
        extracted_at: None,
        loaded_at: Timestamp::UNIX_EPOCH,
        source_file: "bench.csv".to_owned(),
    };
    // As in a run on one thread: texts that come again and again are dictionaries.
    Normaliser::new(&INPUT.dataset, INPUT.dataset.match_header(&INPUT.header).unwrap(), origin)
        .coded(Memory::default().dictionary(1))
}

fn main() {
    divan::main();
}

#[divan::bench]
fn decimal(bencher: Bencher) {
    let cells: [&[u8]; 4] = [b"14175.0130", b"-3994.99", b"0.5", b"1,234,567.25"];
    bencher
        .counter(ItemsCount::new(cells.len()))
        .bench(|| cells.map(|cell| parse_decimal(black_box(cell), 10).unwrap()));
}

#[divan::bench]
fn date(bencher: Bencher) {
    let cells: [&[u8]; 2] = [b"2024-10-14T11:42:54.4925049Z", b"2023-11-25T00:00:00Z"];
    bencher
        .counter(ItemsCount::new(cells.len()))
        .bench(|| cells.map(|cell| parse_timestamp(black_box(cell), None).unwrap()));
}

#[divan::bench]
fn header_match(bencher: Bencher) {
    bencher.bench(|| INPUT.dataset.match_header(black_box(&INPUT.header)).unwrap());
}

/// As in a run: a batch is read into the memory of one that is spent.
fn each_batch(mut take: impl FnMut(&RawBatch)) {
    let mut decoder = Decoder::open(INPUT.file.path(), "bench.csv", &Options::default()).unwrap();
    let mut text = decoder.next_file().unwrap().unwrap();
    let mut spent = RawBatch::new();
    while let Some(batch) = text.next_batch_in(spent).unwrap() {
        take(&batch);
        spent = batch;
    }
}

#[divan::bench(sample_count = SAMPLES)]
fn decode(bencher: Bencher) {
    bencher.counter(BytesCount::new(INPUT.bytes)).bench(|| {
        each_batch(|batch| {
            black_box(batch);
        });
    });
}

/// Both, one after the other.
#[divan::bench(sample_count = SAMPLES)]
fn decode_and_normalise(bencher: Bencher) {
    bencher.counter(BytesCount::new(INPUT.bytes)).with_inputs(normaliser).bench_refs(|normaliser| {
        each_batch(|batch| drop(black_box(normaliser.normalise(batch))));
    });
}

#[divan::bench(sample_count = SAMPLES)]
fn normalise(bencher: Bencher) {
    bencher.counter(BytesCount::new(INPUT.bytes)).with_inputs(normaliser).bench_refs(|normaliser| {
        INPUT.batches.iter().for_each(|batch| drop(black_box(normaliser.normalise(batch))));
    });
}

#[divan::bench(sample_count = SAMPLES)]
fn write(bencher: Bencher) {
    let (spec, options, account) =
        (INPUT.dataset.table(), load::Options::default(), Account::parse("bench").unwrap());
    let author = Author { run_id: RunId(uuid::Uuid::nil()), request_id: None };
    let mut normaliser = normaliser();
    let typed: Vec<Normalised> = INPUT.batches.iter().map(|batch| normaliser.normalise(batch)).collect();
    bencher.counter(BytesCount::new(INPUT.bytes)).with_inputs(|| tempfile::tempdir().unwrap()).bench_refs(
        |folder| {
            let mut stager = Stager::new(&spec, &options, &account, &author, folder.path());
            for rows in &typed {
                stager.push_months(&rows.batch, &rows.months, None).unwrap();
            }
            stager.finish().unwrap()
        },
    );
}
