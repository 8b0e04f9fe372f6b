//! Files of every era of every report, which `tests/eras/files.py` writes from the published lists of columns.

use std::collections::BTreeSet;
use std::process::Command;

use payoutlake::schema::{Change, OUR_COLUMNS, Registry};
use serde_json::Value;

use crate::readers::{python, script, with_ten_digits};
use crate::world::World;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/eras/");

/// The files, in the world's folder, and what is known about them.
fn files(world: &World) -> Value {
    let done = Command::new("python3").arg(format!("{FOLDER}files.py")).arg(world.path("")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Loads one file of each era. Rows without a key can only replace whole months.
fn load(world: &World, files: &Value) {
    for file in files["files"].as_array().unwrap().iter().filter(|file| file["load"] == true) {
        let (dataset, name) = (file["dataset"].as_str().unwrap(), file["name"].as_str().unwrap());
        let mut args = vec!["ingest", "--lake", "lake", "--dataset", dataset, name];
        if dataset == "earnings_summarized" {
            let covers = file["covers"].as_str().unwrap();
            args.extend(["--covers", covers, "--extracted-at", "2026-10-01T00:00:00Z"]);
        }
        let done = world.ok(&args);
        assert!(!done.stderr.contains("rather one of"), "{name}: {}", done.stderr);
    }
}

#[test]
fn every_era_is_told_by_its_header_alone() {
    let world = World::new();
    let files = files(&world);
    let files = files["files"].as_array().unwrap();
    let mut args = vec!["schema", "detect", "--json"];
    args.extend(files.iter().map(|file| file["name"].as_str().unwrap()));
    let done = world.run(&args);
    // The exports from before the API are of no dataset.
    assert_eq!(done.code, 65, "{}", done.stderr);
    let found = json_lines(&done.stdout);
    assert_eq!(found.len(), files.len());
    for (file, line) in files.iter().zip(&found) {
        assert_eq!(line["schema"], "payoutlake.schema.detected.v1");
        assert_eq!(line["found"]["dataset"], file["dataset"], "{line}");
        assert_eq!(line["found"]["version"], file["version"], "{line}");
        if file["dataset"].is_null() {
            continue;
        }
        assert_eq!(line["found"]["unknown"], serde_json::json!([]), "{line}");
        let twice = if file["era"] == "E2" { vec!["Customer Country"] } else { vec![] };
        assert_eq!(list(&line["found"]["duplicates"]), twice, "{line}");
    }
}

#[test]
fn every_era_is_loaded_to_the_last_cell_and_cent() {
    let world = World::new();
    let files = files(&world);
    load(&world, &files);
    for (dataset, money) in files["money"].as_object().unwrap() {
        let spec = Registry::built_in().unwrap().dataset(dataset).unwrap().table();
        let month = &spec.partition_columns[1];
        let mut ours = Vec::new();
        for (name, currency) in list(money).iter().map(|column| column.split_once(':').unwrap()) {
            let currency = currency.strip_prefix('=').map_or(currency.to_owned(), |code| format!("'{code}'"));
            ours.extend(world.sql(
                "lake",
                &format!(
                    "SELECT '{name}', {month}, {currency}, count(*), sum({name}) FROM {dataset} \
                     WHERE {name} IS NOT NULL GROUP BY ALL"
                ),
            ));
        }
        let ours: BTreeSet<String> = ours.iter().map(|line| with_ten_digits(line)).collect();
        let expected: BTreeSet<String> =
            list(&files["sums"][dataset]).into_iter().map(str::to_owned).collect();
        assert_eq!(ours, expected, "{dataset}");

        let folder = world.path("lake").join(dataset).display().to_string();
        let mut args = vec![folder.as_str(), month];
        args.extend(list(money));
        for (reader, lines) in script("sums.py", &args).as_object().unwrap() {
            let lines: BTreeSet<String> = list(lines).into_iter().map(str::to_owned).collect();
            assert_eq!(lines, expected, "{dataset} read by {reader}");
        }
    }

    let done =
        Command::new(python()).arg(format!("{FOLDER}check.py")).arg(world.path("lake")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let checked: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(checked["wrong"], serde_json::json!([]));
    assert!(checked["cells"].as_u64().unwrap() > 40_000, "{checked}");

    older_shapes(&world, &files);
}

/// Each version has a view with its own columns, over all rows.
fn older_shapes(world: &World, files: &Value) {
    let registry = Registry::built_in().unwrap();
    for dataset in registry.datasets() {
        let count = world.sql("lake", &format!("SELECT count(*) FROM {}", dataset.name));
        for version in &dataset.versions {
            let view = format!("{}_v{}", dataset.name, version.number);
            assert_eq!(world.sql("lake", &format!("SELECT count(*) FROM {view}")), count, "{view}");
            let described = world.sql("lake", &format!("DESCRIBE {view}"));
            let names: Vec<&str> = described.iter().map(|line| line.split(',').next().unwrap()).collect();
            let mut expected: Vec<&str> = version.columns.iter().map(|column| column.name.as_str()).collect();
            expected.extend(OUR_COLUMNS.iter().map(|(name, _)| *name));
            expected.extend(["account", dataset.partition.as_str()]);
            assert_eq!(names, expected, "{view}");
        }
    }
    // The one name of then has the sums of the two of now.
    let sums = world.sql(
        "lake",
        "SELECT 'earned', payment_month, currency_code, count(*), sum(earned) FROM payments_v1 GROUP BY ALL",
    );
    let sums: BTreeSet<String> = sums.iter().map(|line| with_ten_digits(line)).collect();
    let expected = list(&files["sums"]["payments"]).into_iter().filter(|line| line.starts_with("earned,"));
    assert_eq!(sums, expected.map(str::to_owned).collect());
}

#[test]
fn an_amount_never_stands_beside_a_currency_that_it_is_not_in() {
    let world = World::new();
    world.write(
        "p.csv",
        "participantID,programName,paymentID,paymentMethod,paymentStatus,paymentDate,earned,earnedCurrencyCode,totalPayment,\
         paymentCurrencyCode\nP-1,CSP,1,Wire,SENT,2026-01-15,10.00,EUR,10.00,EUR\nP-1,CSP,2,Wire,SENT,2026-01-15,20.00,EUR,\
         21.00,USD\n",
    );
    world.ok(&["ingest", "--lake", "lake", "--dataset", "payments", "p.csv"]);
    let rows = world.sql("lake", "SELECT payment_id, earned, currency_code FROM payments_v2 ORDER BY 1");
    assert_eq!(rows, ["1,10.00,EUR", "2,20.00,"]);
}

/// Dataset, versions, then what was added, gone and renamed, by published names.
type Step = (&'static str, u32, u32, &'static str, &'static str, &'static str);

/// The time line of the published lists, one step for each pair of neighbours; and from November 2019 to September 2020,
/// of which the lists themselves say what went.
#[rustfmt::skip]
const TIME_LINE: [Step; 12] = [
    ("transaction_history", 1, 2,
     "calculationDate claimId customerCity customerCountry customerState customerZip externalReferenceId \
      externalReferenceIdLabel localProviderSeller parentProductId parentProductName paymentAmountWOTax paymentCurrency \
      paymentExchangeRate planId productId productType programOfferingLevel purchaseOrderCoverageEndDate \
      purchaseOrderCoverageStartDate purchaseOrderType purchaseTypeCode quantityType storeFee taxRemitModel taxRemitted \
      TenantID tpan transactionId transactionPaymentMethod transactionType",
     "offerId", ""),
    ("transaction_history", 2, 3,
     "AssetId CustomerEmailAddress earningAmountInLastPaymentCurrency lastPaymentCurrency LicensingProgramName LineItemId \
      OrderId ProgramCode SkuId taxCity taxCountry taxState taxZipCode transactionCountryCode",
     "agreementEndDate agreementNumber agreementStartDate claimId distributorId distributorName planId \
      programOfferingLevel purchaseOrderCoverageEndDate purchaseOrderCoverageStartDate purchaseOrderType purchaseTypeCode \
      subscriptionEndDate subscriptionId subscriptionStartDate workload", ""),
    ("transaction_history", 3, 4,
     "agreementEndDate agreementNumber agreementStartDate distributorId distributorName Estimatedpaymentmonth offerId \
      subscriptionEndDate subscriptionId subscriptionStartDate workload",
     "AssetId calculationDate customerCountry CustomerEmailAddress customerCity customerState customerZip \
      externalReferenceId externalReferenceIdLabel LicensingProgramName LineItemId localProviderSeller OrderId \
      parentProductId parentProductName paymentAmountWOTax paymentCurrency paymentExchangeRate productId productType \
      ProgramCode quantityType SkuId storeFee taxCity taxCountry taxRemitModel taxRemitted taxState taxZipCode TenantID \
      tpan transactionId transactionPaymentMethod transactionType", ""),
    ("transaction_history", 4, 5,
     "calculationDate claimId customerCountry customerEmail customerTenantId externalReferenceId externalReferenceIdLabel \
      instantRebateAmount invoiceDate LicensingProgramName LineItemId localProviderSeller OrderId parentProductId \
      parentProductName productId productType ProgramCode purchaseOrderCoverageEndDate purchaseOrderCoverageStartDate \
      purchaseOrderType purchaseTypeCode reasonCode resellerCountry SkuId storeFee taxCity taxCountry taxRemitModel \
      taxRemitted taxState taxZipCode tpan transactionId transactionPaymentMethod transactionType",
     "customerId offerId", "Estimatedpaymentmonth>Maturitymonth"),
    ("transaction_history", 2, 5,
     "customerEmail earningAmountInLastPaymentCurrency instantRebateAmount invoiceDate lastPaymentCurrency \
      LicensingProgramName LineItemId Maturitymonth OrderId ProgramCode reasonCode resellerCountry SkuId taxCity \
      taxCountry taxState taxZipCode transactionCountryCode",
     "quantityType paymentAmountWOTax paymentCurrency paymentExchangeRate planId customerId customerCity customerState \
      customerZip programOfferingLevel",
     "TenantID>customerTenantId"),
    ("transaction_history", 5, 6, "baseline baselineType", "", ""),
    ("transaction_history", 6, 7,
     "bucketSize compensableUnits desktopCount earningParticipantId earningParticipantIdType earningParticipantName \
      engagementId engagementName estimatedPaymentMonth fundCategory isPrivateOffer milestone partnerAssociation \
      partnerRole purchaseTypeName quantityAlt quantityAltType quantityType resourceId solutionArea userCount", "", ""),
    ("transaction_history", 7, 8, "agreementName", "", ""),
    ("transaction_history", 8, 9, "agreementType AssetId categoryId customerId revenueClassification", "", ""),
    ("payments", 1, 2, "serviceFeeTax", "", ""),
    ("payments", 2, 3, "CIReferenceNumber", "", "currencyCode>earnedCurrencyCode,paymentCurrencyCode"),
    ("earnings_growth", 1, 2, "engagementId engagementName paymentStatus", "", ""),
];

#[test]
fn what_differs_between_two_versions_is_the_published_time_line() {
    let registry = Registry::built_in().unwrap();
    for (name, from, to, added, gone, renamed) in TIME_LINE {
        let dataset = registry.dataset(name).unwrap();
        let found = dataset.diff(dataset.version(from).unwrap(), dataset.version(to).unwrap());
        let of = |change: Change| -> BTreeSet<String> {
            let found = found.iter().filter(|difference| difference.change == change);
            let names = found.map(|difference| {
                let names = difference.before.iter().chain(&difference.after).cloned().collect::<Vec<_>>();
                names.join(">").replace(' ', "")
            });
            names.collect()
        };
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
        let what = format!("{name} v{from} v{to}");
        assert_eq!(of(Change::Additive), words(added), "{what}");
        assert_eq!(of(Change::Retired), words(gone), "{what}");
        assert_eq!(of(Change::Renamed), words(renamed), "{what}");
        assert_eq!(of(Change::Breaking), words(""), "{what}");
    }
    let pairs: usize = registry.datasets().map(|dataset| dataset.versions.len() - 1).sum();
    assert_eq!(
        pairs + 1,
        TIME_LINE.len(),
        "each pair of neighbours has its line, and one pair is not of neighbours"
    );
}

#[test]
fn a_column_is_as_old_as_the_first_version_that_has_it() {
    for dataset in Registry::built_in().unwrap().datasets() {
        for column in dataset.versions.iter().flat_map(|version| &version.columns) {
            let what = format!("{}.{}", dataset.name, column.name);
            let since = column.since.as_deref().unwrap_or_else(|| panic!("{what} does not say since when"));
            let first =
                dataset.versions.iter().find(|version| version.column(&column.name).is_some()).unwrap();
            let same = first.column(&column.name).unwrap();
            assert_eq!(same.since.as_deref(), Some(since), "{what}");
            assert_eq!((&same.meaning, same.personal), (&column.meaning, column.personal), "{what}");
            // A column may have been there some months before or behind the list that it was first read in.
            let (year, list) =
                (since[..4].parse::<i32>().unwrap(), first.first_seen[..4].parse::<i32>().unwrap());
            assert!((list - 1..=list).contains(&year), "{what}: {since} and {}", first.first_seen);
        }
    }
}

const NEW_COLUMN: &str =
    "\n[[column]]\nname = \"fee_note\"\npublished = \"feeNote\"\ntype = \"string\"\nmeaning = \"A note.\"\n";

/// Payments whose next version has one more column, in a schema folder; the header of before.
pub fn payments_with_a_note(world: &World) -> &'static str {
    let v3 =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/payments/v3.toml")).unwrap();
    world.write("schemas/payments/v4.toml", v3.replace("version = 3", "version = 4") + NEW_COLUMN);
    "participantID,programName,paymentID,paymentMethod,paymentStatus,paymentDate,earned,earnedCurrencyCode,\
     totalPayment,paymentCurrencyCode"
}

#[test]
fn a_new_column_rewrites_no_old_month() {
    let world = World::new();
    let header = payments_with_a_note(&world);
    world.write("old.csv", format!("{header}\nP-1,CSP,1,Wire,SENT,2026-01-15,10.00,EUR,10.00,EUR\n"));
    world.write(
        "new.csv",
        format!("{header},feeNote\nP-1,CSP,2,Wire,SENT,2026-02-15,20.00,EUR,20.00,EUR,hello\n"),
    );
    let ingest = |file: &str| {
        world.run(&["ingest", "--lake", "lake", "--dataset", "payments", "--schemas", "schemas", file])
    };
    world.ok(&["ingest", "--lake", "lake", "--dataset", "payments", "old.csv"]);
    let objects = || world.files("lake/_payoutlake/objects/payments");
    let before = objects();
    assert_eq!(before.len(), 1);
    assert_eq!(ingest("new.csv").code, 0);
    let after = objects();
    assert_eq!((after.len(), after.contains(&before[0])), (2, true), "the old month is the same file");

    let rows = ["1,10.00,,2", "2,20.00,hello,4"];
    let sql = "SELECT payment_id, earned, fee_note, _pc_schema_version FROM payments ORDER BY 1";
    assert_eq!(world.sql("lake", sql).iter().map(|row| row.replace(",3", ",2")).collect::<Vec<_>>(), rows);
    // Queries of before the column see what they saw, and the new version has its view too.
    let old = world.sql("lake", "SELECT * FROM payments_v3");
    assert_eq!(old[0].split(',').count(), 18 + OUR_COLUMNS.len() + 2);
    let args = ["sql", "--lake", "lake", "--format", "csv", "--schemas", "schemas"];
    let new = world.ok(&[&args[..], &["SELECT fee_note FROM payments_v4 ORDER BY 1"]].concat());
    assert_eq!(new.stdout, "fee_note\nhello\n\n");
    let diff = world.ok(&["schema", "diff", "payments", "3", "4", "--schemas", "schemas", "--json"]);
    let lines = json_lines(&diff.stdout);
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["change"], &lines[0]["column"]), (&"additive".into(), &"fee_note".into()));

    // Whoever does not know the column leaves the table alone.
    let unknowing = world.run(&["ingest", "--lake", "lake", "--dataset", "payments", "old.csv"]);
    assert_eq!(unknowing.code, 65, "{}", unknowing.stderr);
    assert!(unknowing.stderr.contains("a column that this command does not know"), "{}", unknowing.stderr);
}

#[test]
fn rows_without_a_key_replace_whole_months() {
    let world = World::new();
    let header = "participantId,programName,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus,transactionCurrency";
    let file = |amounts: &[&str]| {
        let row = |amount: &&str| format!("P-1,CSP,Rebate,{amount},1.00,2026-01-15T00:00:00Z,SENT,EUR\n");
        format!("{header}\n{}", amounts.iter().map(row).collect::<String>())
    };
    world.write("s.csv", file(&["5.00", "5.00", "7.00"]));
    let args = ["ingest", "--lake", "lake", "--dataset", "earnings_summarized", "--no-guards", "s.csv"];
    let alone = world.run(&args);
    assert_eq!(alone.code, 2, "{}", alone.stderr);
    assert!(
        alone.stderr.contains("have no key") && alone.stderr.contains("--covers 2025-01"),
        "{}",
        alone.stderr
    );
    let sums = || world.sql("lake", "SELECT count(*), sum(earning_amount) FROM earnings_summarized");
    let whole = |at: &str| {
        world.ok(&[&args[..], &["--covers", "2026-01", "--extracted-at", at]].concat());
    };
    whole("2026-02-01T00:00:00Z");
    assert_eq!(sums(), ["3,17.00"], "equal rows are two rows");
    world.write("s.csv", file(&["5.00", "7.50"]));
    whole("2026-03-01T00:00:00Z");
    assert_eq!(sums(), ["2,12.50"], "no aggregate of before stays");
}

#[test]
fn a_file_of_another_report_is_refused_or_told() {
    let world = World::new();
    files(&world);
    let ingest =
        |dataset: &str, file: &str| world.run(&["ingest", "--lake", "lake", "--dataset", dataset, file]);
    for (dataset, file, looks_like) in [
        ("transaction_history", "earnings_growth-G1-plain.csv", "earnings_growth"),
        ("transaction_history", "payments-P1-plain.csv", "payments"),
        ("transaction_history", "earnings_summarized-S1-plain.csv", "earnings_summarized"),
        ("earnings_marketplace", "transaction_history-E5-plain.csv", "transaction_history"),
        ("earnings_store", "earnings_marketplace-M1-plain.csv", "earnings_marketplace"),
        ("earnings_growth", "transaction_history-E3-plain.csv", "transaction_history"),
        (
            "historical_statements_paid",
            "historical_statements_reserved-HS-plain.csv",
            "historical_statements_reserved",
        ),
    ] {
        let done = ingest(dataset, file);
        assert_eq!(done.code, 65, "{file} as {dataset}: {}", done.stderr);
        let hint = format!("This looks like a file of dataset '{looks_like}'");
        assert!(done.stderr.contains(&hint), "{file} as {dataset}: {}", done.stderr);
    }
    // The same earnings in another template: every column has its place, so they are loaded, and it is told.
    let told = ingest("transaction_history", "earnings_marketplace-M1-plain.csv");
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(
        told.stderr.contains("rather one of dataset earnings_marketplace (version 1)"),
        "{}",
        told.stderr
    );
}
