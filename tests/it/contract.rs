//! What every storage must do: the same tests on a lake on local disk, on one in memory, and on the servers of
//! `tests/servers`.

use std::path::Path as FsPath;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;
use jiff::Timestamp;
use object_store::path::Path;
use payoutlake::decode::{self, Decoder};
use payoutlake::engine::{self, Engine};
use payoutlake::error::Kind;
use payoutlake::lake::{
    Cause, Chain, Commit, CommitOutcome, Created, Lake, Ledger, LedgerEvent, Location, Manifest, Moment,
    Operation, Taken, Wish, check_objects, object_path,
};
use payoutlake::load::{self, Applied, Author, Change, Context, Coverage, Loaded, Stager, publish};
use payoutlake::model::{Account, Month, RequestId, RunId, TableSpec, Window};
use payoutlake::normalise::{Normaliser, Origin};
use payoutlake::query::Query;
use payoutlake::schema::{Dataset, Registry};

/// Runs each test once on every kind of storage.
macro_rules! on_every_storage {
    ($($test:ident),* $(,)?) => {
        mod on_disk {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let dir = tempfile::tempdir().unwrap();
                let lake = super::Lake::open(&super::Location::folder(&dir.path().join("lake")), super::at(0)).await;
                super::$test(&lake.unwrap()).await;
            })*
        }
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&super::Lake::in_memory(super::at(0)).await.unwrap()).await;
            })*
        }
        mod on_azure {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::on(&crate::servers::AZURE, async |lake| super::$test(lake).await).await;
            })*
        }
        mod on_s3 {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::on(&crate::servers::S3, async |lake| super::$test(lake).await).await;
            })*
        }
        mod on_gcs {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::on(&crate::servers::GCS, async |lake| super::$test(lake).await).await;
            })*
        }
    };
}

on_every_storage!(
    an_object_is_made_once,
    objects_are_read_listed_and_removed,
    files_become_objects_and_come_back,
    a_published_file_is_replaced_whole,
    a_commit_has_one_winner,
    the_newest_version_is_found_without_its_short_cut,
    a_table_goes_from_rows_to_sql_and_back_in_time,
    writers_of_one_table_lose_nothing,
    an_export_is_remembered_until_it_is_done,
);

/// Where it plays no part who was told of a success.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_double_nothing() {
    for server in [&crate::servers::LOSSY_AZURE, &crate::servers::LOSSY_S3] {
        on(server, async |lake| {
            files_become_objects_and_come_back(lake).await;
            a_published_file_is_replaced_whole(lake).await;
            writers_of_one_table_lose_nothing(lake).await;
            an_export_is_remembered_until_it_is_done(lake).await;
        })
        .await;
    }
}

/// On a server, where there is one.
async fn on(server: &crate::servers::Server, test: impl AsyncFnOnce(&Lake)) {
    let Some(lake) = server.lake() else { return };
    test(&Lake::open(&lake.location(), at(0)).await.unwrap()).await;
}

/// `hours` after the lake was made.
fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_748_736_000 + hours * 3600).unwrap()
}

fn path(text: &str) -> Path {
    Path::from(text)
}

async fn text(lake: &Lake, at: &str) -> Option<String> {
    let found = lake.get(&path(at)).await.unwrap()?;
    Some(String::from_utf8(found.to_vec()).unwrap())
}

async fn names(lake: &Lake, prefix: &str) -> Vec<String> {
    lake.list(&path(prefix)).await.unwrap().iter().map(ToString::to_string).collect()
}

async fn an_object_is_made_once(lake: &Lake) {
    let put = |number: u32| async move {
        let text = format!("writer {number}");
        (lake.create(&path("a/race"), Bytes::from(text.clone())).await.unwrap(), text)
    };
    let outcomes = join_all((0..16).map(put)).await;
    let won: Vec<&String> =
        outcomes.iter().filter(|(created, _)| *created == Created::New).map(|(_, text)| text).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    assert_eq!(text(lake, "a/race").await.as_ref(), won.first().copied(), "the loser's bytes are there");
    // A document of which a reader needs no truth may be replaced.
    for value in [1, 2] {
        lake.replace_json(&path("a/hint"), &value).await.unwrap();
        assert_eq!(lake.get_json::<u32>(&path("a/hint")).await.unwrap(), Some(value));
    }
    assert_eq!(lake.create_json(&path("a/hint"), &3).await.unwrap(), Created::Exists);
    let wrong = lake.get_json::<u32>(&path("a/race")).await.unwrap_err();
    assert_eq!(wrong.kind(), Kind::Contract);
}

async fn objects_are_read_listed_and_removed(lake: &Lake) {
    for name in ["t/b/2", "t/b/10", "t/a/1", "ta/1", "t/b c/ü=#%20"] {
        assert_eq!(lake.create(&path(name), Bytes::from(name.to_owned())).await.unwrap(), Created::New);
    }
    assert_eq!(names(lake, "t/b").await, ["t/b/10", "t/b/2"], "by whole parts of a name, sorted");
    assert_eq!(names(lake, "t").await.len(), 4);
    assert!(names(lake, "nothing").await.is_empty());
    assert_eq!(lake.folders(&path("t")).await.unwrap(), ["a", "b", "b c"]);
    assert!(lake.folders(&path("t/b")).await.unwrap().is_empty());
    assert_eq!(lake.size(&path("t/b/10")).await.unwrap(), Some(6));
    assert_eq!(lake.size(&path("t/b/1")).await.unwrap(), None);
    assert_eq!(text(lake, "t/b").await, None, "a folder is no object");
    assert_eq!(text(lake, "t/b c/ü=#%20").await.as_deref(), Some("t/b c/ü=#%20"));
    let sizes: Vec<u64> = lake.list_all(&path("t/b")).await.unwrap().iter().map(|found| found.size).collect();
    assert_eq!(sizes, [6, 5]);
    for _ in 0..2 {
        // Also one that is not there (any more).
        lake.remove(&path("t/a/1")).await.unwrap();
    }
    assert_eq!(text(lake, "t/a/1").await, None);
    assert_eq!(lake.folders(&path("t")).await.unwrap(), ["b", "b c"], "an empty folder is none");
}

async fn files_become_objects_and_come_back(lake: &Lake) {
    let dir = tempfile::tempdir().unwrap();
    // More than one part of a multipart upload.
    let large: Vec<u8> = (0..20_000_000_u32).map(|index| (index % 251) as u8).collect();
    for (name, content) in [("large", &large), ("empty", &Vec::new())] {
        let (file, copy) = (dir.path().join(name), dir.path().join("copy"));
        std::fs::write(&file, content).unwrap();
        lake.put_file(&file, &path(name)).await.unwrap();
        assert_eq!(lake.size(&path(name)).await.unwrap(), Some(content.len() as u64));
        assert!(lake.copy_to(&path(name), &copy).await.unwrap());
        assert!(std::fs::read(&copy).unwrap() == *content, "{name} came back otherwise");
    }
    assert!(!lake.copy_to(&path("missing"), &dir.path().join("none")).await.unwrap());
    // An object that is there stays as it is: objects are named by their content.
    let spool = lake.spool_dir().unwrap();
    for (name, content) in [("first", "one"), ("second", "two")] {
        let file = spool.path().join(name);
        std::fs::write(&file, content).unwrap();
        lake.put_file(&file, &path("object")).await.unwrap();
    }
    assert_eq!(text(lake, "object").await.as_deref(), Some("one"));
    let kept = spool.path().to_owned();
    drop(spool);
    assert!(!kept.exists(), "the spool stays behind");
}

async fn a_published_file_is_replaced_whole(lake: &Lake) {
    for name in ["one", "two"] {
        let _new = lake.create(&path(name), Bytes::from(name.repeat(1000))).await.unwrap();
    }
    let mut before = None;
    for (object, times) in [("one", 1), ("two", 1), ("two", 2), ("one", 1)] {
        for _ in 0..times {
            lake.install(&[(path(object), path("shown/m=1/part-0"))]).await.unwrap();
        }
        assert_eq!(text(lake, "shown/m=1/part-0").await, Some(object.repeat(1000)));
        assert_eq!(names(lake, "shown").await, ["shown/m=1/part-0"], "something is left behind");
        let now = lake.list_all(&path("shown")).await.unwrap().remove(0);
        assert!(lake.shows(&path(object), &now, now.e_tag.as_ref()).unwrap());
        // What is replaced by something of the same size is told.
        if let Some((object, tag)) = before.replace((object, now.e_tag.clone())).filter(|_| times == 1) {
            assert!(!lake.shows(&path(object), &now, tag.as_ref()).unwrap());
        }
    }
    lake.remove(&path("shown/m=1/part-0")).await.unwrap();
    assert_eq!(text(lake, "one").await, Some("one".repeat(1000)), "the object went with its published file");
    assert!(lake.install(&[(path("missing"), path("shown/x"))]).await.is_err());
}

fn dataset() -> Dataset {
    Registry::built_in().unwrap().dataset("transaction_history").unwrap().clone()
}

fn account() -> Account {
    Account::parse("contoso").unwrap()
}

fn chain() -> Chain {
    Chain::new("transaction_history", &account())
}

fn operation(what: &str) -> Operation {
    Operation::new(Cause::File, what.to_owned())
}

/// A commit without rows, by a run of its own.
fn next(current: Option<&Manifest>, spec: &TableSpec, hours: i64) -> Manifest {
    let run_id = RunId(uuid::Uuid::now_v7());
    let commit = Commit { operation: operation("nothing"), run_id, committed_at: at(hours) };
    Manifest::next(current, &chain(), spec, Vec::new(), commit)
}

async fn a_commit_has_one_winner(lake: &Lake) {
    let (chain, spec) = (chain(), dataset().table());
    assert!(chain.newest(lake).await.unwrap().is_none());
    let mut current: Option<Manifest> = None;
    for version in 1..=5 {
        let rivals: Vec<Manifest> = (0..8).map(|_| next(current.as_ref(), &spec, version)).collect();
        let outcomes = join_all(rivals.iter().map(|rival| chain.commit(lake, rival))).await;
        let outcomes: Vec<CommitOutcome> = outcomes.into_iter().map(Result::unwrap).collect();
        let winner = chain.newest(lake).await.unwrap().unwrap();
        assert_eq!(winner.version, version as u64);
        for (rival, outcome) in rivals.iter().zip(&outcomes) {
            match outcome {
                CommitOutcome::Committed => assert_eq!(rival.run_id, winner.run_id, "two have won"),
                CommitOutcome::Conflict(told) => assert_eq!(told.run_id, winner.run_id),
            }
        }
        assert_eq!(outcomes.iter().filter(|o| matches!(o, CommitOutcome::Committed)).count(), 1);
        // The answer was lost, and the winner asks again: it is its own success.
        assert!(matches!(chain.commit(lake, &winner).await.unwrap(), CommitOutcome::Committed));
        current = Some(winner);
    }
    assert_eq!(chain.versions(lake).await.unwrap(), [1, 2, 3, 4, 5]);
    let late = next(None, &spec, 9);
    let CommitOutcome::Conflict(told) = chain.commit(lake, &late).await.unwrap() else {
        panic!("a late winner")
    };
    assert_eq!(told.version, 5, "the newest is told, not the one that was met");
}

async fn the_newest_version_is_found_without_its_short_cut(lake: &Lake) {
    let (chain, spec) = (chain(), dataset().table());
    let mut current = None;
    for version in 1..=12 {
        let manifest = next(current.as_ref(), &spec, version);
        assert!(matches!(chain.commit(lake, &manifest).await.unwrap(), CommitOutcome::Committed));
        current = Some(manifest);
    }
    let hint = path("_payoutlake/newest/transaction_history/contoso.json");
    let behind = serde_json::json!({ "version": 3 });
    let ahead = serde_json::json!({ "version": 99 });
    for wrong in [Some(behind), Some(ahead), Some(serde_json::json!("no number")), None] {
        match &wrong {
            Some(wrong) => lake.replace_json(&hint, wrong).await.unwrap(),
            None => lake.remove(&hint).await.unwrap(),
        }
        assert_eq!(chain.newest(lake).await.unwrap().unwrap().version, 12, "short cut {wrong:?}");
    }
    assert_eq!(Chain::all(lake).await.unwrap(), std::slice::from_ref(&chain));
    for (hours, version) in [(1, 1), (7, 7), (12, 12), (100, 12)] {
        let found = chain.at(lake, &Moment::At(at(hours))).await.unwrap().unwrap();
        assert_eq!(found.version, version, "{hours} hours later");
    }
}

/// Rows on their way into a lake: id, month and amount of each.
struct Load<'a> {
    rows: &'a [(&'a str, u8, &'a str)],
    months: (u8, u8),
    hours: i64,
}

impl Load<'_> {
    async fn load(&self, lake: &Lake) -> Applied {
        let (dataset, dir) = (dataset(), tempfile::tempdir().unwrap());
        let (spec, options, run_id) =
            (dataset.table(), load::Options::default(), RunId(uuid::Uuid::now_v7()));
        let staged = self.stage(&dataset, &spec, &options, run_id, dir.path());
        let engine = Engine::new(&engine::Options::default(), lake.store().clone()).unwrap();
        let context =
            Context { lake, engine: &engine, options: &options, publish: publish::Publish::Parquet };
        let window = Window::new(Month::new(2025, self.months.0), Month::new(2025, self.months.1));
        let change = Change {
            spec: &spec,
            account: &account(),
            coverage: Coverage::Window(window),
            extracted_at: Some(at(self.hours)),
            staged: &staged,
            absent: &[],
            made_of: None,
            guards: None,
            operation: operation("file.csv"),
            run_id,
            now: at(self.hours),
        };
        let Loaded::Applied(applied) = load::load(&context, &change).await.unwrap() else { panic!("held") };
        let newest = applied.manifest.as_ref().unwrap();
        load::follow(&context, newest, run_id, at(self.hours)).await.unwrap();
        *applied
    }

    fn stage(
        &self,
        dataset: &Dataset,
        spec: &TableSpec,
        options: &load::Options,
        run_id: RunId,
        dir: &FsPath,
    ) -> load::Staged {
        let mut csv = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,\
                       earningAmountUSD,earningDate,paymentStatus\n"
            .to_owned();
        for (id, month, amount) in self.rows {
            csv += &format!("{id},P-1,CSP,EUR,Rebate,{amount},1.00,2025-{month:02}-03T00:00:00Z,SENT\n");
        }
        let file = dir.join("file.csv");
        std::fs::write(&file, csv).unwrap();
        let mut decoder = Decoder::open(&file, "file.csv", &decode::Options::default()).unwrap();
        let mut text = decoder.next_file().unwrap().unwrap();
        let (extracted_at, loaded_at) = (Some(at(self.hours)), at(self.hours));
        let origin =
            Origin { run_id, request_id: None, extracted_at, loaded_at, source_file: "file.csv".into() };
        let matched = dataset.match_header(text.header()).unwrap();
        let mut normaliser = Normaliser::new(dataset, matched, origin);
        let author = Author { run_id, request_id: None };
        let mut stager = Stager::new(spec, options, &account(), &author, dir);
        while let Some(batch) = text.next_batch().unwrap() {
            let typed = normaliser.normalise(&batch);
            stager.push_months(&typed.batch, &typed.months, None).unwrap();
        }
        stager.finish().unwrap()
    }
}

/// One column of one answer, as text.
async fn sql(lake: &Lake, moment: &Moment, query: &str) -> Vec<String> {
    let engine = Engine::new(&engine::Options::default(), lake.store().clone()).unwrap();
    let session = Query::open(lake, &engine, moment).await.unwrap();
    let batches: Vec<_> = session.run(query).await.unwrap().rows.try_collect().await.unwrap();
    let cells = |batch: &arrow::array::RecordBatch| -> Vec<String> {
        let column = batch.column(0);
        let text = |row| arrow::util::display::array_value_to_string(column, row).unwrap();
        (0..batch.num_rows()).map(text).collect()
    };
    batches.iter().flat_map(cells).collect()
}

const SUM: &str = "SELECT sum(earning_amount) FROM transaction_history";

async fn a_table_goes_from_rows_to_sql_and_back_in_time(lake: &Lake) {
    let first = Load {
        rows: &[("E-1", 1, "1.00"), ("E-2", 1, "2.00"), ("E-3", 2, "4.00")],
        months: (1, 2),
        hours: 1,
    };
    assert!(first.load(lake).await.rewritten);
    let again = first.load(lake).await;
    assert!(!again.rewritten, "the same rows were written again");
    let second = Load { rows: &[("E-1", 1, "1.50"), ("E-4", 1, "8.00")], months: (1, 1), hours: 2 };
    assert_eq!(second.load(lake).await.files_written, 1);
    let late = Load { rows: &[("E-9", 1, "99.00")], months: (1, 1), hours: 1 };
    assert!(late.load(lake).await.overtaken);
    assert_eq!(sql(lake, &Moment::Now, SUM).await, ["13.5000000000"]);
    assert_eq!(sql(lake, &Moment::At(at(1)), SUM).await, ["7.0000000000"]);
    let told = "SELECT change || coalesce(row_key, '') FROM restatements WHERE version > 1 AND field IS NULL ORDER BY 1";
    assert_eq!(sql(lake, &Moment::Now, told).await, ["addedE-4", "removedE-2"]);

    // Published files have the bytes of their objects, and heal.
    let newest = chain().newest(lake).await.unwrap().unwrap();
    check_objects(lake, &newest).await.unwrap();
    let published = names(lake, "transaction_history").await;
    assert_eq!(
        published,
        ["01", "02"]
            .map(|m| format!("transaction_history/account=contoso/earning_month=2025-{m}/part-0.parquet"))
    );
    let bytes = async |name: &str| lake.get(&path(name)).await.unwrap();
    for (shown, object) in published.iter().zip(newest.objects()) {
        assert_eq!(bytes(shown).await, lake.get(&object_path(&chain(), &object.name)).await.unwrap());
    }
    let whole = bytes(&published[0]).await;
    lake.remove(&path(&published[0])).await.unwrap();
    let ghost = path(&published[0].replace("2025-01", "2025-12"));
    assert_eq!(lake.create(&ghost, Bytes::from("a ghost")).await.unwrap(), Created::New);
    publish::heal(lake, publish::Publish::Parquet, std::slice::from_ref(&chain())).await.unwrap();
    assert_eq!(names(lake, "transaction_history").await, published);
    assert_eq!(bytes(&published[0]).await, whole);

    // A month that has no rows any more is no file.
    let none = Load { rows: &[], months: (1, 1), hours: 3 };
    assert!(none.load(lake).await.rewritten);
    assert_eq!(names(lake, "transaction_history").await, published[1..]);
    assert_eq!(sql(lake, &Moment::Now, SUM).await, ["4.0000000000"]);

    // An object that is gone is named.
    let newest = chain().newest(lake).await.unwrap().unwrap();
    let victim = object_path(&chain(), &newest.objects().next().unwrap().name);
    lake.remove(&victim).await.unwrap();
    let error = check_objects(lake, &newest).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Destination);
}

async fn writers_of_one_table_lose_nothing(lake: &Lake) {
    // Four on months of their own, and four on one month, of which the newest wins.
    let ids = ["A", "B", "C", "D"];
    let own: Vec<[(&str, u8, &str); 1]> =
        (0..4).map(|index| [(ids[index], index as u8 + 1, "1.00")]).collect();
    let shared: Vec<[(&str, u8, &str); 1]> = ["10", "20", "30", "40"].map(|amount| [("S", 9, amount)]).into();
    let mut writers = Vec::new();
    for index in 0..4 {
        let month = index as u8 + 1;
        writers.push(Load { rows: &own[index], months: (month, month), hours: 1 });
        writers.push(Load { rows: &shared[index], months: (9, 9), hours: 1 + index as i64 });
    }
    join_all(writers.iter().map(|writer| writer.load(lake))).await;
    assert_eq!(sql(lake, &Moment::Now, SUM).await, ["44.0000000000"]);
    let newest = chain().newest(lake).await.unwrap().unwrap();
    let versions: Vec<u64> = (1..=newest.version).collect();
    assert_eq!(chain().versions(lake).await.unwrap(), versions, "the history has a gap");
    assert_eq!(names(lake, "transaction_history").await.len(), 5);
    assert_eq!(sql(lake, &Moment::Now, "SELECT sum(rows) FROM restatements").await, ["5"]);
}

async fn an_export_is_remembered_until_it_is_done(lake: &Lake) {
    let run = || Ledger::new(lake.clone(), RunId(uuid::Uuid::now_v7()));
    let wish = Wish {
        dataset: dataset().name,
        account: account(),
        window: Some(Window::new(Month::new(2025, 1), Month::new(2025, 3))),
        filter: None,
        api: "loopback".to_owned(),
    };
    let Taken::Ours(mut state) = run().begin(&wish, at(1)).await.unwrap() else {
        panic!("nobody else is there")
    };
    let request_id = RequestId("r-1".to_owned());
    let submitted = LedgerEvent::Submitted { request_id, requested_at: None };
    run().append(&mut state, submitted.clone(), at(1)).await.unwrap();
    let open = run().open_exports(at(2)).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].id, open[0].planned_at), (state.id, at(1)));
    assert_eq!(open[0].request_id, Some(RequestId("r-1".to_owned())));
    // Of two processes that go on with it one is told that the other was first.
    let mut stale = open[0].clone();
    run().append(&mut state, LedgerEvent::Status { status: "Queued".to_owned() }, at(2)).await.unwrap();
    assert!(run().append(&mut stale, submitted, at(2)).await.is_err());
    run().append(&mut state, LedgerEvent::Committed { manifest: 1, cleanup: false }, at(3)).await.unwrap();
    assert!(run().open_exports(at(4)).await.unwrap().is_empty());
}
