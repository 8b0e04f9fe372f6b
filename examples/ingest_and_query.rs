//! payoutlake as a library: a downloaded file goes into a lake, and SQL comes out.
//!
//! ```sh
//! cargo run --example ingest_and_query
//! ```

use futures::TryStreamExt;
use jiff::Timestamp;
use payoutlake::config::{Environment, IngestFlags, ingest_plan};
use payoutlake::engine::{self, Engine};
use payoutlake::event::Observer;
use payoutlake::lake::{Lake, Moment};
use payoutlake::model::{Declared, format_money};
use payoutlake::output::{Format, print_rows};
use payoutlake::pipeline;
use payoutlake::query::{Answer, Query};

/// What the portal's download looks like; real files have a hundred columns more.
const DOWNLOAD: &str = "\
participantID,programName,earned,earnedCurrencyCode,earnedUSD,totalPayment,paymentCurrencyCode,withheldTax,paymentMethod,paymentID,paymentStatus,paymentDate
P-1,CSP Direct Bill Partner,1250.40,EUR,1350.43,1125.36,EUR,125.04,Electronic bank transfer,000000000017,Sent,2026-10-15T00:00:00Z
P-1,Azure Marketplace,98000,JPY,653.33,98000,JPY,,Electronic bank transfer,000000000018,Sent,2026-10-16T00:00:00Z
P-2,Microsoft Commerce Incentives,77.125,KWD,251.10,77.125,KWD,,,,Upcoming,
";

#[tokio::main]
async fn main() -> payoutlake::error::Result<()> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("payments.csv");
    std::fs::write(&file, DOWNLOAD).expect("the file can be written");

    let flags = IngestFlags {
        dataset: "payments".to_owned(),
        schemas: None,
        pipeline: None,
        lake: Some(dir.path().join("lake").display().to_string()),
        account: Some("contoso".to_owned()),
        files: vec![file],
        covers: None,
        extracted_at: None,
        max_quarantined_percent: None,
        no_guards: false,
        declared: Declared::default(),
    };
    let ingest = ingest_plan(flags, &Environment::default(), Timestamp::now)?;
    let location = ingest.settings.lake.clone();
    let receipt = pipeline::ingest(ingest, Observer::silent()).await?;
    assert_eq!(receipt.exit_code, 0, "{receipt:#?}");
    for (currency, units) in receipt.tables[0].totals.of("total_payment") {
        assert_ne!(format_money(units), "0.00", "{currency}");
    }

    let lake = Lake::open_existing(&location).await?;
    let engine = Engine::new(&engine::Options::default(), lake.store().clone())?;
    let query = Query::open(&lake, &engine, &Moment::Now).await?;
    let sql = "SELECT payment_currency_code, payment_month, sum(total_payment) AS paid FROM payments GROUP BY ALL ORDER BY 1, 2";
    let answer = query.run(sql).await?;
    print_rows(Format::Table, answer.schema, answer.rows, Answer::failed).await?;

    // The same rows as Arrow batches, for a program of your own.
    let batches: Vec<_> =
        query.run("SELECT * FROM payments").await?.rows.try_collect().await.map_err(Answer::failed)?;
    assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 3);
    Ok(())
}
