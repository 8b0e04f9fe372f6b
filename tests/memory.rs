//! Memory stays under `limits.memory`, as the allocator of Rust counts it: not what zstd takes in C, nor the program's own pages.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "of two servers, nothing but where they are")]
#[path = "it/servers.rs"]
mod servers;
#[path = "bench/shape.rs"]
mod shape;
#[expect(dead_code, reason = "no program is started here")]
#[path = "it/world.rs"]
mod world;

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use arrow::array::AsArray;
use futures::TryStreamExt;
use jiff::Timestamp;
use payoutlake::config::{Environment, IngestFlags, ingest_plan};
use payoutlake::engine::{self, Engine};
use payoutlake::event::Observer;
use payoutlake::lake::{Lake, Location, Moment};
use payoutlake::model::Declared;
use payoutlake::pipeline;
use payoutlake::query::Query;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// What one test allocates, the other would count.
static ALONE: Mutex<()> = Mutex::new(());

/// The least that a pipeline file may ask for.
const LIMIT: usize = 128 << 20;

/// Of the shorter file. The longer one is written in so many row groups that their metadata do not stay in memory.
const ROWS: u64 = 40_000;

const MONTHS: u64 = 36;

/// Ingests a file of the reference shape, and gives back the most bytes that were allocated at once. Rows of the file are
/// then found again.
fn peak(dir: &Path, lake: &str, rows: u64, seed: u64) -> usize {
    let pipeline = dir.join("pipeline.toml");
    let text = format!(
        "version = 1\naccount = \"contoso\"\nlake = {:?}\nlimits.memory = \"128 MiB\"\n\
         source.kind = \"sandbox\"\ndatasets = [{{ name = \"transaction_history\" }}]\n",
        dir.join(lake)
    );
    std::fs::write(&pipeline, text).unwrap();
    let file = dir.join("earnings.csv");
    let out = BufWriter::new(std::fs::File::create(&file).unwrap());
    shape::write(rows, shape::Shape { seed, months: MONTHS, ..shape::Shape::default() }, out).unwrap();

    let flags = IngestFlags {
        dataset: "transaction_history".to_owned(),
        schemas: None,
        pipeline: Some(pipeline),
        lake: None,
        account: None,
        files: vec![file],
        covers: None,
        extracted_at: None,
        max_quarantined_percent: None,
        no_guards: true,
        declared: Declared::default(),
    };
    ALLOCATED.reset_peak_usage();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let receipt = runtime.block_on(async {
        let ingest = ingest_plan(flags, &Environment::default(), Timestamp::now).unwrap();
        pipeline::ingest(ingest, Observer::silent()).await.unwrap()
    });
    assert_eq!(receipt.exit_code, 0, "{receipt:#?}");
    assert!(receipt.tables[0].totals.rows >= rows);
    let most = ALLOCATED.peak_usage();
    runtime.block_on(rows_are_found(dir, lake));
    most
}

/// As many come back for a key as a look at all rows has: none is hidden by statistics, bloom filters or page indexes.
async fn rows_are_found(dir: &Path, lake: &str) {
    let lake = Lake::open_existing(&Location::folder(&dir.join(lake))).await.unwrap();
    let engine = Engine::new(&engine::Options::default(), lake.store().clone()).unwrap();
    let query = Query::open(&lake, &engine, &Moment::Now).await.unwrap();
    let ids = async |condition: &str| {
        let sql = format!("SELECT earning_id FROM transaction_history WHERE {condition}");
        let rows: Vec<_> = query.run(&sql).await.unwrap().rows.try_collect().await.unwrap();
        let ids = rows.iter().flat_map(|rows| rows.column(0).as_string::<i32>().iter().flatten());
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    let some = ids("_pc_source_line % 4999 = 7").await;
    assert!(some.len() >= 8);
    for id in some {
        assert_eq!(ids(&format!("earning_id = '{id}'")).await, [id]);
    }
}

/// 36 months stand in one file in no order, as an export may have them.
#[test]
fn a_file_of_any_length_is_loaded_and_merged_under_the_ceiling() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let mib = |bytes: usize| bytes >> 20;
    let short = peak(dir.path(), "short", ROWS, 1);
    let long = peak(dir.path(), "long", 3 * ROWS, 1);
    // Other rows of the same months: all 36 are written anew, with the rows of both.
    let merged = peak(dir.path(), "short", ROWS, 2);
    println!("{} MiB, three times the rows {} MiB, merged {} MiB", mib(short), mib(long), mib(merged));
    assert!(short < LIMIT && long < LIMIT && merged < LIMIT);
    assert!(long * 100 < short * 115, "it must not grow with the rows");
}

/// Files go to a server, and come back, part by part.
#[test]
fn a_large_file_is_never_whole_in_memory() {
    const FILE: usize = 256 << 20;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let (large, back) = (dir.path().join("large"), dir.path().join("back"));
    let mut out = BufWriter::new(std::fs::File::create(&large).unwrap());
    (0..FILE as u64 / 8).for_each(|number| out.write_all(&number.to_le_bytes()).unwrap());
    out.into_inner().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for server in [&servers::AZURE, &servers::S3] {
        let Some(served) = server.lake() else { continue };
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        runtime.block_on(async {
            let lake = Lake::open(&served.location(), Timestamp::now()).await.unwrap();
            lake.put_file(&large, &"large".into()).await.unwrap();
            assert!(lake.copy_to(&"large".into(), &back).await.unwrap());
        });
        let most = ALLOCATED.peak_usage() - before;
        println!("{}: {} MiB", served.url, most >> 20);
        assert!(most < 48 << 20, "{most} bytes at once");
        assert!(std::fs::read(&back).unwrap() == std::fs::read(&large).unwrap(), "the bytes differ");
    }
}
