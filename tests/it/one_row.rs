//! One row, followed through every hand-over: the test that goes with `src/docs/one-row.md`.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, TimestampMicrosecondType};
use jiff::Timestamp;
use payoutlake::decode::{self, Decoder};
use payoutlake::engine::{self, Engine};
use payoutlake::lake::{Cause, Chain, Lake, Location, Moment, Operation};
use payoutlake::load::{self, Author, Change, Context, Coverage, Loaded, Stager, publish::Publish};
use payoutlake::model::{Account, Month, RunId, Window};
use payoutlake::normalise::{Normaliser, Origin};
use payoutlake::query::Query;
use payoutlake::schema::Registry;

const FILE: &str = "\u{feff}earningId,participantId,programName,transactionCurrency,earningType,earningAmount,\
earningAmountUSD,earningDate,paymentStatus,customerName,revenueWeather\r\n\
E-2026-09-000017,P-1,CSP Direct Bill Partner,EUR,Rebate,12.34,13.45,2026-09-30T23:59:59Z,SENT,\"Contoso, \"\"Ltd.\"\"\",mild\r\n";

#[tokio::test]
async fn one_row_from_bytes_to_sql() {
    let dir = tempfile::tempdir().unwrap();
    let blob = dir.path().join("blob");
    std::fs::write(&blob, FILE).unwrap();

    // 4 decode: bytes become cells, with the line on which they stand.
    let mut decoder = Decoder::open(&blob, "export.csv", &decode::Options::default()).unwrap();
    let mut file = decoder.next_file().unwrap().unwrap();
    assert_eq!(file.header()[0], "earningId");
    let raw = file.next_batch().unwrap().unwrap();
    assert_eq!((raw.rows(), raw.line(0)), (1, 2));
    assert_eq!(raw.cell(0, 5), Some(&b"12.34"[..]));
    assert_eq!(raw.cell(0, 9), Some(&b"Contoso, \"Ltd.\""[..]));

    // 5 normalise: cells become values under a schema version.
    let registry = Registry::built_in().unwrap();
    let dataset = registry.dataset("transaction_history").unwrap();
    let matched = dataset.match_header(file.header()).unwrap();
    let run_id = RunId(uuid::Uuid::now_v7());
    let extracted_at: Timestamp = "2026-10-05T04:00:00Z".parse().unwrap();
    let origin = Origin {
        run_id,
        request_id: None,
        extracted_at: Some(extracted_at),
        loaded_at: extracted_at,
        source_file: "export.csv".into(),
    };
    let typed = Normaliser::new(dataset, matched, origin).normalise(&raw);
    assert!(typed.quarantined.is_empty(), "{:?}", typed.quarantined);
    let column = |name: &str| typed.batch.column_by_name(name).unwrap();
    let amount = column("earning_amount").as_primitive::<Decimal128Type>();
    assert_eq!(amount.value(0), 123_400_000_000, "12.34 in units of 10^-10");
    let at = column("earning_date").as_primitive::<TimestampMicrosecondType>();
    assert_eq!(Timestamp::from_microsecond(at.value(0)).unwrap().to_string(), "2026-09-30T23:59:59Z");
    assert_eq!(column("customer_name").as_string::<i32>().value(0), "Contoso, \"Ltd.\"");
    assert!(column("payment_id").is_null(0));
    assert_eq!(column("_pc_extra").as_string::<i32>().value(0), r#"{"revenueWeather":"mild"}"#);
    assert_eq!(column("_pc_row_key").as_string::<i32>().value(0), "E-2026-09-000017");
    let month = Month::new(2026, 9);
    assert_eq!(typed.months, [Some(month)]);
    assert_eq!(typed.totals.of("earning_amount").collect::<Vec<_>>(), [("EUR", 123_400_000_000)]);

    // 6 write: values become a sorted Parquet file of one account and month.
    let spec = dataset.table();
    let account = Account::parse("contoso").unwrap();
    let options = load::Options::default();
    let window = Window::new(month, month);
    let mut stager = Stager::new(&spec, &options, &account, &Author { run_id, request_id: None }, dir.path());
    stager.push_months(&typed.batch, &typed.months, Some((window, &dataset.driving_date))).unwrap();
    let staged = stager.finish().unwrap();
    assert_eq!(staged.parts.len(), 1);
    assert_eq!(staged.parts[0].key.to_string(), "contoso/2026-09");
    assert_eq!(staged.totals(), typed.totals);

    // 7 commit: the file becomes an object, the object the table, the table a published folder.
    let lake = Lake::open(&Location::folder(&dir.path().join("lake")), extracted_at).await.unwrap();
    let engine = Engine::new(&engine::Options::default(), lake.store().clone()).unwrap();
    let context = Context { lake: &lake, engine: &engine, options: &options, publish: Publish::Parquet };
    let change = Change {
        spec: &spec,
        account: &account,
        coverage: Coverage::Window(window),
        extracted_at: Some(extracted_at),
        staged: &staged,
        absent: &[],
        made_of: None,
        guards: Some(&options.guards),
        operation: Operation { window: Some(window), ..Operation::new(Cause::File, "export.csv".to_owned()) },
        run_id,
        now: extracted_at,
    };
    let Loaded::Applied(applied) = load::load(&context, &change).await.unwrap() else { panic!("held") };
    assert!(applied.rewritten);
    let manifest = Chain::new("transaction_history", &account).newest(&lake).await.unwrap().unwrap();
    assert_eq!((manifest.version, manifest.rows()), (1, 1));
    let object = manifest.objects().next().unwrap();
    let root = dir.path().join("lake");
    let objects = root.join("_payoutlake/objects/transaction_history/contoso");
    let object = std::fs::read(objects.join(format!("{}.parquet", object.name))).unwrap();
    let published = root.join("transaction_history/account=contoso/earning_month=2026-09/part-0.parquet");
    assert_eq!(std::fs::read(published).unwrap(), object);

    // The same change again changes nothing.
    let Loaded::Applied(again) = load::load(&context, &change).await.unwrap() else { panic!("held") };
    assert!(!again.rewritten);
    assert_eq!(again.manifest.unwrap().version, 1);

    // 8 query: SQL finds the row in its month.
    let query = Query::open(&lake, &engine, &Moment::Now).await.unwrap();
    let sql = "SELECT earning_id, earning_amount, earning_month FROM transaction_history WHERE earning_month = '2026-09'";
    let rows = query.run(sql).await.unwrap().rows;
    let batches = futures::TryStreamExt::try_collect::<Vec<_>>(rows).await.unwrap();
    assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 1);
    let none =
        query.run("SELECT 1 FROM transaction_history WHERE earning_month = '2026-08'").await.unwrap().rows;
    let none = futures::TryStreamExt::try_collect::<Vec<_>>(none).await.unwrap();
    assert_eq!(none.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 0);
}
