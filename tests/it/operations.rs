//! What a run asks of the lake's storage, and that it stays the same however long the history is.

use bytes::Bytes;
use jiff::Timestamp;
use parquet::file::reader::{FileReader, SerializedFileReader};
use payoutlake::lake::{
    Cause, Chain, Commit, CommitOutcome, Lake, Ledger, LedgerEvent, Location, Operation, Taken, Wish,
};
use payoutlake::model::{DatasetName, RunId, StorageOps};
use uuid::Uuid;

use crate::servers::{self, Stand};
use crate::world::World;

/// Operations of the newest run, without the ledger's words of the service: how many there are is a matter of time.
fn operations(world: &World) -> StorageOps {
    operations_of(world, "lake")
}

fn operations_of(world: &World, lake: &str) -> StorageOps {
    let newest = world.files(&format!("{lake}/_payoutlake/runs")).pop().unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&newest.1).unwrap();
    let mut operations: StorageOps = serde_json::from_value(receipt["storage"].clone()).unwrap();
    let run = receipt["run_id"].as_str().unwrap();
    let exports = world.exports(lake);
    let events = exports.values().filter(|events| events.contains(run));
    let heard = events.map(|events| events.matches("\"event\": \"status\"").count() as u64).sum::<u64>();
    // Each is written after a look at whether the export is still open, and put away when it is closed.
    operations.get -= heard;
    operations.put -= heard;
    operations.remove -= heard;
    operations
}

#[tokio::test]
async fn a_run_asks_the_same_of_the_storage_after_a_thousand_commits() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let first = operations(&world);
    world.ok(&["run", "pipeline.toml"]);
    let quiet = operations(&world);
    world.ok(&["run", "pipeline.toml"]);
    assert_eq!(operations(&world), quiet, "two quiet runs differ");
    // Four exports of two tables. A quiet run lists the published folders and what is open or held; a first one writes.
    let ceiling = StorageOps { list: 24, get: 330, put: 70, copy: 0, remove: 50 };
    assert!(quiet.list <= ceiling.list && quiet.get <= ceiling.get, "{quiet:?}");
    assert!(quiet.put > 20, "{quiet:?}");
    assert!(quiet.put <= ceiling.put && quiet.remove <= ceiling.remove, "{quiet:?}");
    let ceiling = StorageOps { list: 44, get: 540, put: 150, copy: 50, remove: 50 };
    assert!(first.list <= ceiling.list && first.get <= ceiling.get, "{first:?}");
    assert!(first.put <= ceiling.put && first.remove <= ceiling.remove, "{first:?}");

    let lake = Lake::open_existing(&Location::folder(&world.path("lake"))).await.unwrap();
    let chains = Chain::all(&lake).await.unwrap();
    assert_eq!(chains.len(), 4, "{chains:?}");
    for chain in &chains {
        let mut current = chain.newest(&lake).await.unwrap().unwrap();
        for _ in 0..1000 {
            let operation = Operation::new(Cause::Rollback, "nothing".to_owned());
            let commit = Commit { operation, run_id: RunId(Uuid::now_v7()), committed_at: Timestamp::now() };
            let next = current.back_to(&current, commit);
            assert!(matches!(chain.commit(&lake, &next).await.unwrap(), CommitOutcome::Committed));
            current = next;
        }
    }
    // As many exports that were asked for and closed.
    let ledger = Ledger::new(lake.clone(), RunId(Uuid::now_v7()));
    for _ in 0..1000 {
        let wish = Wish {
            dataset: DatasetName::parse("payments").unwrap(),
            account: chains[0].account.clone(),
            window: None,
            filter: None,
            api: "loopback".to_owned(),
        };
        let now = Timestamp::now();
        let Taken::Ours(mut state) = ledger.begin(&wish, now).await.unwrap() else {
            panic!("nobody else is there")
        };
        ledger.append(&mut state, LedgerEvent::Failed { reason: "gone".to_owned() }, now).await.unwrap();
    }
    // These commits were not published: the first run makes up for that.
    world.ok(&["run", "pipeline.toml"]);
    world.ok(&["run", "pipeline.toml"]);
    assert_eq!(operations(&world), quiet, "the cost of a run grows with the history");
}

/// What a cloud bills: one copy for each month that changed, and no more of the rest than on local disk.
#[test]
fn a_run_on_an_object_store_copies_each_month_that_changed_once() {
    let Some(stand) = Stand::new(Some(&servers::S3)) else { return };
    stand.world.pipeline("", "");
    stand.ok(&["run", "pipeline.toml"]);
    stand.lake();
    let first = operations_of(&stand.world, "downloaded");
    let tables = ["transaction_history", "payments"];
    let months = tables.map(|table| stand.world.files(&format!("downloaded/{table}")).len() as u64);
    // Derived tables follow commit by commit: their one month changes with each.
    assert!(
        first.copy >= months.iter().sum() && first.copy <= months.iter().sum::<u64>() + 16,
        "{first:?} {months:?}"
    );
    let ceiling = StorageOps { list: 60, get: 540, put: 160, copy: 50, remove: 50 };
    assert!(first.list <= ceiling.list && first.get <= ceiling.get, "{first:?}");
    assert!(first.put <= ceiling.put && first.remove <= ceiling.remove, "{first:?}");

    stand.ok(&["run", "pipeline.toml"]);
    stand.lake();
    let quiet = operations_of(&stand.world, "downloaded");
    let ceiling = StorageOps { list: 24, get: 345, put: 71, copy: 0, remove: 50 };
    assert_eq!(quiet.copy, 0, "{quiet:?}");
    assert!(quiet.list <= ceiling.list && quiet.get <= ceiling.get, "{quiet:?}");
    assert!(quiet.put <= ceiling.put && quiet.remove <= ceiling.remove, "{quiet:?}");
}

/// A table that is derived grows by a few rows with each commit: most of its row groups are taken as they stand.
#[test]
fn a_table_that_grows_is_not_written_anew_each_time() {
    const COMMITS: usize = 23;
    let world = World::new();
    for number in 0..COMMITS {
        let row = format!(
            "E-{number},P,Program,EUR,Rebate,{number}.25,1.5,2026-09-{:02}T00:00:00Z,SENT",
            number + 1
        );
        let header = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus";
        world.write("e.csv", format!("{header}\n{row}\n"));
        world.ok(&[
            "ingest",
            "--dataset",
            "transaction_history",
            "--account",
            "contoso",
            "--lake",
            "lake",
            "e.csv",
        ]);
    }
    let files = world.files("lake/control_totals");
    let readers = files.into_iter().map(|(_, bytes)| SerializedFileReader::new(Bytes::from(bytes)).unwrap());
    let groups: Vec<i64> = readers
        .flat_map(|reader| {
            reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>()
        })
        .collect();
    // 23 is 10111 in binary; the months of a run at the turn of one are two files.
    assert!((2..=8).contains(&groups.len()), "{groups:?}");
    let said = world.sql(
        "lake",
        "SELECT count(*), count(DISTINCT version), count(DISTINCT _pc_row_key) FROM control_totals",
    );
    let rows: i64 = groups.iter().sum();
    assert_eq!(said, [format!("{rows},{COMMITS},{rows}")]);
    let earned =
        "SELECT sum(\"sum\") FROM control_totals WHERE hop = 'normalised' AND \"column\" = 'earning_amount'";
    assert_eq!(world.sql("lake", earned), ["258.75"]);
}
