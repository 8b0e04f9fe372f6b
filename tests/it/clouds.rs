//! A lake on a server has the cells of one on local disk, whatever becomes of the server's answers.

use crate::crash::{committed, seen};
use crate::servers::{AZURE, GCS, LOSSY_AZURE, LOSSY_S3, S3, Server, Stand};

/// What says who wrote a row and when, and which export it came from: two runs differ in it.
const OURS: &str = "EXCLUDE (_pc_run_id, _pc_request_id, _pc_extracted_at, _pc_loaded_at, _pc_source_file)";

fn cells(server: Option<&Server>, publish: &str) -> Option<Vec<Vec<String>>> {
    let stand = Stand::new(server)?;
    let setting = format!("publish = \"{publish}\"");
    let text = std::fs::read_to_string(stand.world.pipeline("", &setting)).unwrap();
    for as_of in ["2026-10-20", "2026-11-23"] {
        stand.world.write("pipeline.toml", text.replace("2026-11-23", as_of));
        stand.ok(&["run", "pipeline.toml"]);
    }
    let lake = stand.lake();
    assert_eq!(seen(&lake), committed(&lake));
    let moved = "SELECT dataset, change, field, currency, sum(rows), sum(moved) FROM restatements GROUP BY ALL ORDER BY 1, 2, 3, 4";
    let queries = [
        format!("SELECT * {OURS} FROM transaction_history ORDER BY earning_month, _pc_row_key, _pc_row_hash"),
        format!("SELECT * {OURS} FROM payments ORDER BY payment_month, _pc_row_key, _pc_row_hash"),
        moved.to_owned(),
    ];
    Some(queries.iter().map(|query| stand.sql(query)).collect())
}

#[test]
fn every_cell_is_that_of_a_lake_on_disk() {
    same_as_on_disk(&[(&AZURE, "parquet"), (&S3, "parquet"), (&GCS, "parquet")]);
}

/// An attempt whose answer is lost has done its work; the next one must not do it again.
#[test]
fn lost_answers_change_no_cell() {
    same_as_on_disk(&[(&LOSSY_AZURE, "parquet"), (&LOSSY_S3, "delta")]);
}

fn same_as_on_disk(lakes: &[(&Server, &str)]) {
    let mut disk = None;
    for (server, publish) in lakes {
        let Some(there) = cells(Some(server), publish) else { continue };
        let here = disk.get_or_insert_with(|| cells(None, "parquet").unwrap());
        assert!(here[0].len() > 1000 && here[1].len() > 300 && here[2].len() > 20, "too few rows");
        for (there, here) in there.iter().zip(here.iter()) {
            assert!(there == here, "the cells differ: {:?}", there.iter().zip(here).find(|(a, b)| a != b));
        }
    }
}
