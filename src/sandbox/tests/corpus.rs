//! The corpus: the same bytes for the same day, the truth about them, and what another day changes.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::sandbox::{Amount, Fault, FaultKind, TableTruth, truth};

/// Money columns with the column of their currency, or `USD`.
const EARNING_MONEY: [(&str, &str); 9] = [
    ("transactionAmount", "transactionCurrency"),
    ("transactionAmountUSD", "USD"),
    ("earningAmount", "transactionCurrency"),
    ("earningAmountUSD", "USD"),
    ("earningAmountInLastPaymentCurrency", "lastPaymentCurrency"),
    ("taxRemitted", "transactionCurrency"),
    ("storeFee", "transactionCurrency"),
    ("instantRebateAmount", "transactionCurrency"),
    ("baseline", "USD"),
];

const PAYMENT_MONEY: [(&str, &str); 6] = [
    ("earned", "earnedCurrencyCode"),
    ("earnedUSD", "USD"),
    ("withheldTax", "paymentCurrencyCode"),
    ("salesTax", "paymentCurrencyCode"),
    ("serviceFeeTax", "paymentCurrencyCode"),
    ("totalPayment", "paymentCurrencyCode"),
];

type SumsByColumn = BTreeMap<(String, String), i128>;

/// Sums that another program would take from the text.
fn sums<'a>(
    rows: impl Iterator<Item = &'a BTreeMap<String, String>>,
    money: &[(&str, &str)],
) -> (u64, SumsByColumn) {
    let (mut count, mut sums) = (0, SumsByColumn::new());
    for row in rows {
        count += 1;
        for (column, currency) in money {
            let currency = row.get(*currency).map_or(*currency, String::as_str);
            if let Some(units) = units(&row[*column]) {
                *sums.entry(((*column).to_owned(), currency.to_owned())).or_default() += units;
            }
        }
    }
    (count, sums)
}

fn flat(table: &crate::sandbox::Sums) -> SumsByColumn {
    let pairs = table.money.iter().flat_map(|(column, sums)| {
        sums.iter()
            .map(move |(currency, Amount(units))| (((*column).to_owned(), (*currency).to_owned()), *units))
    });
    pairs.collect()
}

fn check(truth: &TableTruth, table: &Table, date: &str, money: &[(&str, &str)]) {
    let (rows, all) = sums(table.rows.iter(), money);
    assert_eq!((truth.all.rows, flat(&truth.all)), (rows, all));
    for (month, expected) in &truth.by_month {
        let of_month = table.rows.iter().filter(|row| row[date].get(..7).unwrap_or("none") == month);
        let (rows, sums) = sums(of_month, money);
        assert_eq!((expected.rows, flat(expected)), (rows, sums), "{month}");
    }
    let mut statuses = BTreeMap::new();
    for row in &table.rows {
        *statuses.entry(row["paymentStatus"].clone()).or_insert(0_u64) += 1;
    }
    assert_eq!(truth.rows_by_status, statuses);
}

#[test]
fn the_truth_is_what_the_files_say() {
    for seed in [7, 8] {
        let options = Options { seed, ..small() };
        let truth = truth(&options, TODAY);
        let earnings = read(&options, Dataset::TransactionHistory, None);
        check(&truth.transaction_history, &earnings, "earningDate", &EARNING_MONEY);
        check(&truth.payments, &read(&options, Dataset::Payments, None), "paymentDate", &PAYMENT_MONEY);
        assert!(!format!("{truth}").is_empty());
        let json = serde_json::to_value(&truth).unwrap();
        assert!(json["payments"]["all"]["money"]["totalPayment"]["USD"].is_string());
    }
}

#[test]
fn named_differences_add_up_to_the_cent() {
    let mut names = BTreeSet::new();
    for (seed, months, rows, day) in [
        (7, 12, 400, TODAY),
        (7, 3, 300, TODAY),
        (11, 12, 200, Date::constant(2026, 1, 15)),
        (3, 1, 100, Date::constant(2026, 2, 28)),
        (3, 36, 60, Date::constant(2025, 12, 31)),
    ] {
        let options = Options { seed, months, rows_per_month: rows, as_of: Some(day), ..small() };
        let truth = truth(&options, day);
        let earnings = sums(read(&options, Dataset::TransactionHistory, None).rows.iter(), &EARNING_MONEY).1;
        let payments = sums(read(&options, Dataset::Payments, None).rows.iter(), &PAYMENT_MONEY).1;
        for currency in ["USD", "EUR", "SEK", "JPY", "KWD"] {
            let sum = |sums: &SumsByColumn, column: &str| {
                sums.get(&(column.to_owned(), currency.to_owned())).copied().unwrap_or(0)
            };
            let named: i128 =
                truth.differences.iter().filter_map(|d| d.amounts.get(currency)).map(|amount| amount.0).sum();
            assert_eq!(
                named,
                sum(&payments, "totalPayment") - sum(&earnings, "earningAmount"),
                "{currency} {day}"
            );
        }
        names.extend(truth.differences.iter().map(|difference| difference.name));
    }
    assert_eq!(names.len(), 12, "{names:?}");
}

#[test]
fn the_same_day_gives_the_same_bytes() {
    for dataset in [Dataset::TransactionHistory, Dataset::Payments] {
        for zip_above_rows in [0, 50_000] {
            let options = Options { zip_above_rows, ..small() };
            let first = bytes(&options, dataset, None, Format::Csv);
            assert!(first == bytes(&options, dataset, None, Format::Csv));
            let other = Options { seed: 8, ..options };
            assert!(first != bytes(&other, dataset, None, Format::Csv));
        }
    }
}

#[test]
fn a_later_day_restates_earlier_months() {
    let later = Options { as_of: Some(Date::constant(2026, 10, 23)), ..small() };
    let key = |row: &BTreeMap<String, String>| row["earningId"].clone();
    let before = read(&small(), Dataset::TransactionHistory, None);
    let after: BTreeMap<_, _> = read(&later, Dataset::TransactionHistory, None)
        .rows
        .into_iter()
        .map(|row| (key(&row), row))
        .collect();
    let mut changed: BTreeMap<&str, u32> = BTreeMap::new();
    for row in before.rows.iter().filter(|row| row["earningDate"].as_str() >= "2025-11-01") {
        let new = &after[&key(row)];
        for (column, value) in row {
            if &new[column] != value {
                *changed.entry(column).or_default() += 1;
            }
        }
    }
    for column in ["paymentStatus", "paymentId", "earningAmount", "calculationDate", "customerName"] {
        assert!(changed.contains_key(column), "{column} never changes: {changed:?}");
    }
    for column in ["earningDate", "participantId", "transactionAmount", "transactionCurrency", "programName"]
    {
        assert!(!changed.contains_key(column), "{column} must not change");
    }
    let known: BTreeSet<String> = before.rows.iter().map(key).collect();
    let adjusted = |row: &&BTreeMap<String, String>| {
        !known.contains(&row["earningId"])
            && row["earningDate"].as_str() < "2026-07"
            && !row["reasonCode"].is_empty()
    };
    assert!(after.values().filter(adjusted).count() > 0, "no adjustment was booked into an old month");
}

#[test]
fn every_row_is_filled_where_it_must_be() {
    let table = read(&small(), Dataset::TransactionHistory, None);
    assert_eq!(table.header.len(), 104);
    assert_eq!(table.header.iter().collect::<BTreeSet<_>>().len(), 104);
    let ids: BTreeSet<_> = table.rows.iter().map(|row| &row["earningId"]).collect();
    assert_eq!(ids.len(), table.rows.len());
    let always = [
        "earningId",
        "participantId",
        "programName",
        "earningType",
        "earningAmount",
        "earningAmountUSD",
        "earningDate",
        "paymentStatus",
        "transactionCurrency",
    ];
    for row in &table.rows {
        for column in always {
            assert!(!row[column].is_empty(), "{column} {row:?}");
        }
        assert_ne!(row["participantId"], "5100073", "an invisible participant is visible");
        let bare = row["earningType"].starts_with("Adjustment-");
        assert_eq!(bare, !row["reasonCode"].is_empty());
        assert!(!bare || row["customerName"].is_empty() && row["productName"].is_empty());
        let paid = row["paymentStatus"] == "Sent";
        assert_eq!(paid, !row["lastPaymentCurrency"].is_empty());
        assert!(
            row["earningType"] != "Co-op"
                || ["Unprocessed", "Upcoming"].contains(&row["paymentStatus"].as_str())
        );
    }
    for (column, _) in EARNING_MONEY {
        assert!(table.rows.iter().any(|row| !row[column].is_empty()), "{column} is always blank");
    }
}

#[test]
fn a_split_is_sixty_to_forty() {
    let table = read(&small(), Dataset::TransactionHistory, None);
    let mut transactions: BTreeMap<&str, Vec<&BTreeMap<String, String>>> = BTreeMap::new();
    for row in table.rows.iter().filter(|row| !row["transactionId"].is_empty()) {
        transactions.entry(&row["transactionId"]).or_default().push(row);
    }
    let mut twins = 0;
    for rows in transactions.values().filter(|rows| rows.len() == 2) {
        let Some(coop) = rows.iter().find(|row| row["earningType"] == "Co-op") else {
            continue;
        };
        let rebate = rows.iter().find(|row| row["earningType"] == "Rebate").unwrap();
        let (coop, rebate) =
            (units(&coop["earningAmount"]).unwrap(), units(&rebate["earningAmount"]).unwrap());
        // Sixty percent, up to half of the largest smallest coin: a yen.
        assert!((rebate * 10 - (coop + rebate) * 6).abs() <= 50_000_000_000, "{rebate} {coop}");
        twins += 1;
    }
    assert!(twins > 100, "{twins}");
}

#[test]
fn a_payment_is_the_sum_of_its_earnings() {
    let earnings = read(&small(), Dataset::TransactionHistory, None);
    let payments = read(&small(), Dataset::Payments, None);
    assert_eq!(payments.header[0], "participantID");
    assert_eq!(payments.header.len(), 18);
    let mut keys = BTreeSet::new();
    let mut compared = 0;
    for row in &payments.rows {
        let money = |column: &str| units(&row[column]).unwrap_or(0);
        if row["earnedCurrencyCode"] == row["paymentCurrencyCode"] {
            let total = money("earned") - money("withheldTax") + money("salesTax") - money("serviceFeeTax");
            assert_eq!(money("totalPayment"), total, "{row:?}");
        }
        assert_eq!(row["paymentID"].is_empty(), row["paymentDate"].is_empty());
        if row["paymentID"].is_empty() {
            continue;
        }
        let key = ["participantID", "programName", "paymentID", "earnedCurrencyCode"].map(|c| row[c].clone());
        assert!(keys.insert(key), "{row:?}");
        // Adjustments of months before the reach are paid by then, also those that a bank refused once.
        if row["paymentStatus"] != "Sent" || row["paymentDate"].as_str() < "2026-09" {
            continue;
        }
        let own = |earning: &&BTreeMap<String, String>| {
            earning["paymentId"] == row["paymentID"]
                && earning["participantId"] == row["participantID"]
                && earning["programName"] == row["programName"]
                && earning["transactionCurrency"] == row["earnedCurrencyCode"]
        };
        let (count, sums) = sums(earnings.rows.iter().filter(own), &EARNING_MONEY);
        if count > 0 {
            let sum = |column: &str, currency: &str| sums[&(column.to_owned(), row[currency].clone())];
            assert_eq!(sum("earningAmount", "earnedCurrencyCode"), money("earned"));
            assert_eq!(sums[&("earningAmountUSD".to_owned(), "USD".to_owned())], money("earnedUSD"));
            compared += 1;
        }
    }
    assert!(compared > 10, "{compared}");
}

#[test]
fn a_filter_narrows_to_what_it_says() {
    let options = small();
    let all = read(&options, Dataset::TransactionHistory, None);
    for (filter, column, low, high) in [
        (
            "earningForDate ge 2026-03-01 and earningForDate le 2026-03-31",
            "earningDate",
            "2026-03-01",
            "2026-03-31T00:00:00Z",
        ),
        (
            "earningForDate ge 2026-03-01T00:00:00Z and earningForDate le 2026-05-31T23:59:59.999Z",
            "earningDate",
            "2026-03-01",
            "2026-05-31T23:59:59Z",
        ),
        ("programName eq 'SPLAR'", "programName", "SPLAR", "SPLAR"),
    ] {
        let expected: Vec<_> = all
            .rows
            .iter()
            .filter(|row| row[column].as_str() >= low && row[column].as_str() <= high)
            .collect();
        let some = read(&options, Dataset::TransactionHistory, Some(filter));
        assert!(!expected.is_empty());
        assert!(some.rows.iter().eq(expected), "{filter}");
    }
    let edge = |second: &str| all.rows.iter().any(|row| row["earningDate"].ends_with(second));
    assert!(edge("-01T00:00:00Z") && edge("T23:59:59Z"), "no row stands on the edge of a month");
}

#[test]
fn a_zip_has_one_file_for_each_month_and_the_same_rows() {
    let options = Options { zip_above_rows: 100, months: 4, ..small() };
    let plain =
        read(&Options { zip_above_rows: 50_000, ..options.clone() }, Dataset::TransactionHistory, None);
    let entries = unzip(&bytes(&options, Dataset::TransactionHistory, None, Format::Csv));
    let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["2026-06_1.csv", "2026-07_1.csv", "2026-08_1.csv", "2026-09_1.csv"]);
    let rows: Vec<_> = entries.iter().flat_map(|(_, bytes)| read_text(bytes, b',').rows).collect();
    assert!(rows == plain.rows);
    let tabs =
        bytes(&Options { zip_above_rows: 50_000, ..options }, Dataset::TransactionHistory, None, Format::Tsv);
    assert!(read_text(&tabs, b'\t').rows == plain.rows);
}

#[test]
fn names_break_careless_readers() {
    let table = read(&small(), Dataset::TransactionHistory, None);
    for hard in [",", "\"", "\r\n", "\n", "Ромашка", "北京", "شركة", "é"] {
        assert!(table.rows.iter().any(|row| row["customerName"].contains(hard)), "{hard:?}");
    }
}

#[test]
fn every_fault_of_the_file_shows() {
    let with = |kind| Options { faults: vec![Fault::everywhere(kind)], months: 2, ..small() };
    let earnings = Dataset::TransactionHistory;
    let good = bytes(&Options { months: 2, ..small() }, earnings, None, Format::Csv);
    let rows = read_text(&good, b',').rows.len();
    let broken = |kind| bytes(&with(kind), earnings, None, Format::Csv);
    let bad = |kind| {
        let table = read_text(&broken(kind), b',');
        let plain = |text: &str| {
            text.split_once('.').is_none_or(|(_, fraction)| fraction.len() <= 10)
                && text.parse::<f64>().is_ok()
        };
        table.rows.iter().filter(|row| !plain(&row["earningAmount"])).count()
    };
    assert_eq!(broken(FaultKind::BlobZeroBytes), b"");
    assert_eq!(broken(FaultKind::BlobBomOnly), b"\xEF\xBB\xBF");
    assert_eq!(read_text(&broken(FaultKind::BlobHeaderOnly), b',').rows.len(), 0);
    assert_eq!(broken(FaultKind::BlobTruncated), good[..good.len() / 2]);
    assert!(std::str::from_utf8(&broken(FaultKind::BlobCorrupt)).is_err());
    assert_eq!(read_text(&broken(FaultKind::MissingKeyColumn), b',').header[0], "participantId");
    assert!(good.starts_with(&broken(FaultKind::ShortLastRecord)));
    assert_ne!(broken(FaultKind::ShortLastRecord).last(), Some(&b'\n'));
    assert_eq!(bad(FaultKind::BadCells), 5);
    assert_eq!(bad(FaultKind::ManyBadCells), (rows + 16) / 20);
    let fewer = read_text(&broken(FaultKind::FewerRows), b',').rows.len();
    assert!(fewer * 2 >= rows && fewer * 2 <= rows + 2, "{fewer} of {rows}");
    assert_eq!(read_text(&broken(FaultKind::UnknownColumn), b',').header[104], "incentiveTier");
    let mut zipped = with(FaultKind::BlobCorrupt);
    zipped.zip_above_rows = 0;
    let zip = bytes(&zipped, earnings, None, Format::Csv);
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&zip)).unwrap();
    let damaged = (0..archive.len()).any(|at| {
        let mut entry = archive.by_index(at).unwrap();
        entry.read_to_end(&mut Vec::new()).is_err()
    });
    assert!(damaged, "no entry of the zip fails its checksum");
}
