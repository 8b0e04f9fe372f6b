//! `explain`: from a row of the lake back to the bytes that it was made of.

use serde_json::Value;

use crate::world::World;

fn explained(world: &World, args: &[&str]) -> Vec<Value> {
    let done = world.ok(&[&["--json", "explain", "--lake", "lake"], args].concat());
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn cell<'a>(row: &'a Value, column: &str) -> &'a Value {
    row["cells"].as_array().unwrap().iter().find(|cell| cell["column"] == column).unwrap()
}

#[test]
fn every_cell_is_shown_beside_its_text_and_rule() {
    let world = World::new();
    world.pipeline("faults = [\"unknown-column\"]", "");
    assert_eq!(world.run(&["run", "pipeline.toml"]).code, 0);
    // One row of each month: each may stand in another blob.
    let ids = world.sql("lake", "SELECT min(earning_id) FROM transaction_history GROUP BY earning_month");
    assert_eq!(ids.len(), 5);
    for id in ids {
        let rows = explained(&world, &["--earning-id", &id]);
        assert_eq!(rows.len(), 1, "{id}");
        let row = &rows[0];
        assert_eq!(row["proof"]["proof"], "same_row", "{row}");
        assert_eq!((&row["dataset"], &row["row_key"]), (&"transaction_history".into(), &id.as_str().into()));
        let line = format!(
            "SELECT _pc_source_line, _pc_request_id, earning_month, earning_amount FROM transaction_history \
             WHERE earning_id = '{id}'"
        );
        let stands = world.sql("lake", &line)[0].split(',').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(row["source_line"].to_string(), stands[0]);
        assert_eq!(
            (&row["request_id"], &row["partition"]),
            (&stands[1].as_str().into(), &stands[2].as_str().into())
        );
        // The text is the file's own: it is found on its line of the kept bytes.
        let blob = row["proof"]["blob_sha256"].as_str().unwrap();
        let bytes = std::fs::read(world.path(&format!("lake/_payoutlake/raw/{blob}"))).unwrap();
        let amount = cell(row, "earning_amount");
        let text = amount["text"].as_str().unwrap();
        if !bytes.starts_with(b"PK") {
            let file = String::from_utf8(bytes).unwrap();
            let record = file.lines().nth(stands[0].parse::<usize>().unwrap() - 1).unwrap();
            assert!(record.contains(text) && record.contains(&id), "{record}");
        }
        assert_eq!(amount["value"], stands[3].as_str(), "{amount}");
        assert_eq!(amount["header"], "earningAmount");
        assert!(amount["rule"].as_str().unwrap().starts_with("exact decimal"), "{amount}");
        let unknown = cell(row, "_pc_extra");
        assert!(unknown["rule"].as_str().unwrap().contains("no schema version knows it"), "{unknown}");
        assert!(!unknown["text"].as_str().unwrap().is_empty());
    }
    let text = world.ok(&["explain", "--lake", "lake", "--payment-id", &payment(&world)]).stdout;
    for words in ["payments of contoso", "typed again they give this row", "paymentID", "text, byte for byte"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let nobody = world.run(&["explain", "--lake", "lake", "--earning-id", "it's nobody"]);
    assert_eq!(nobody.code, 2, "{}", nobody.stderr);
    assert!(
        nobody.stderr.contains("no row of transaction_history has earning_id 'it's nobody'"),
        "{}",
        nobody.stderr
    );
    assert_eq!(world.run(&["explain", "--lake", "lake"]).code, 2);
}

fn payment(world: &World) -> String {
    world.sql("lake", "SELECT min(payment_id) FROM payments")[0].clone()
}

/// Files that a person loaded, in an archive and alone, and bytes that are not kept.
#[test]
fn what_is_not_kept_is_said_to_be_unknown() {
    let world = World::new();
    let text = "earningId,participantId,programName,earningType,earningAmount,earningAmountUSD,earningDate,\
                paymentStatus,transactionCurrency\r\n\
                E-1,1,CSP,REBATE,\"(1,234.50)\",-1300,2026-09-03T00:00:00Z,SENT,EUR\r\n\
                E-2,1,CSP,REBATE,7.25,8,2026-09-04T00:00:00Z,SENT,EUR\r\n";
    world.write("export.csv", text);
    world.ok(&["ingest", "--dataset", "transaction_history", "--lake", "lake", "export.csv"]);
    let row = &explained(&world, &["--row-key", "E-1"])[0];
    assert_eq!(
        (&row["proof"]["proof"], &row["source_file"]),
        (&"same_row".into(), &"export.csv".into()),
        "{row}"
    );
    assert!(row["request_id"].is_null());
    let amount = cell(row, "earning_amount");
    assert_eq!((&amount["text"], &amount["value"]), (&"(1,234.50)".into(), &"-1234.50".into()));
    let rule = amount["rule"].as_str().unwrap();
    assert!(rule.contains("parentheses are a minus") && rule.contains("thousands separators"), "{rule}");
    assert_eq!(cell(row, "lever")["rule"], "the file has no such column");

    for (_, blob) in world.files("lake/_payoutlake/raw").into_iter().take(1) {
        assert_eq!(blob, text.as_bytes());
    }
    std::fs::remove_dir_all(world.path("lake/_payoutlake/raw")).unwrap();
    let row = &explained(&world, &["--earning-id", "E-2"])[0];
    assert_eq!(row["proof"]["proof"], "no_bytes", "{row}");
    let amount = cell(row, "earning_amount");
    assert_eq!((&amount["text"], &amount["value"]), (&Value::Null, &"7.25".into()));
}

/// Columns that are treated are not shown, and a cell that the contract made null says so: it is the same row all the same.
#[test]
fn treated_and_nulled_cells_are_explained() {
    let world = World::new();
    let contract = "[datasets.contract]\ntypes = \"null\"\n[datasets.personal]\ncustomer_name = \"mask\"\n";
    crate::contracts::words(
        &world,
        &format!("raw = \"keep-personal\"\n{}", crate::contracts::dataset(contract)),
    );
    let header = "earningId,participantId,programName,earningType,earningAmount,earningAmountUSD,earningDate,\
                  paymentStatus,transactionCurrency,transactionAmount,customerName";
    let row = "E-1,1,CSP,REBATE,7.25,8,2026-08-04T00:00:00Z,SENT,EUR,oops,Ann Canary";
    world.write("file.csv", format!("{header}\n{row}\n"));
    assert_eq!(crate::contracts::ingest(&world, "file.csv").code, 0);
    let row = &explained(&world, &["--earning-id", "E-1"])[0];
    assert_eq!(row["proof"]["proof"], "same_row", "{row}");
    assert!(!row.to_string().contains("Canary"), "{row}");
    assert!(cell(row, "customer_name")["rule"].as_str().unwrap().starts_with("mask"), "{row}");
    let nulled = cell(row, "transaction_amount");
    assert_eq!((&nulled["text"], &nulled["value"]), (&"oops".into(), &Value::Null));
    assert!(nulled["rule"].as_str().unwrap().starts_with("NULL as the contract says"), "{row}");
}
