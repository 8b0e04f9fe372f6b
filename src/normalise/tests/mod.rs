//! The room as a whole: rows in, rows and faults out.

mod orders;

use std::sync::OnceLock;

use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::model::{Fault, Month, RequestId, RunId, Totals};
use crate::schema::Registry;

const HEADER: [&str; 15] = [
    "earningId",
    "participantId",
    "programName",
    "earningType",
    "earningAmount",
    "earningAmountUSD",
    "earningDate",
    "paymentStatus",
    "transactionCurrency",
    "exchangeRateDate",
    "isPrivateOffer",
    "userCount",
    "estimatedPaymentMonth",
    "earningExchangeRate",
    "newColumn",
];

const GOOD: [&str; 15] = [
    "E-1",
    "0042",
    "CSP Direct Bill Partner",
    "Rebate",
    "12.50",
    "13.75",
    "2026-09-01T00:00:00Z",
    "SENT",
    "EUR",
    "2026-08-31",
    "True",
    "3",
    "Oct-2026",
    "1.1",
    "",
];

fn earnings() -> &'static Dataset {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry::built_in().unwrap()).dataset("transaction_history").unwrap()
}

fn origin() -> Origin {
    Origin {
        run_id: RunId(uuid::Uuid::nil()),
        request_id: Some(RequestId("93c2b3cf".to_owned())),
        extracted_at: None,
        loaded_at: Timestamp::from_second(1_790_000_000).unwrap(),
        source_file: "2026-09_1.csv".to_owned(),
    }
}

fn normaliser(header: &[&str]) -> Normaliser {
    Normaliser::new(earnings(), earnings().match_header(header).unwrap(), origin())
}

fn raw_of<T: AsRef<[u8]>>(rows: &[Vec<T>]) -> RawBatch {
    let mut raw = RawBatch::new();
    for (index, row) in rows.iter().enumerate() {
        push(&mut raw, index as u64 + 2, row);
    }
    raw
}

fn push<T: AsRef<[u8]>>(raw: &mut RawBatch, line: u64, row: &[T]) {
    let (mut data, mut ends) = (Vec::new(), Vec::new());
    for cell in row {
        data.extend_from_slice(cell.as_ref());
        ends.push(data.len());
    }
    raw.push_row(line, &data, &ends);
}

/// The good row with some cells replaced.
fn row(changes: &[(&str, &str)]) -> Vec<String> {
    let cells = HEADER.iter().zip(GOOD);
    cells
        .map(|(name, good)| {
            changes.iter().find(|(column, _)| column == name).map_or(good, |(_, cell)| cell).to_owned()
        })
        .collect()
}

fn fault_of(changes: &[(&str, &str)]) -> Option<Fault> {
    let done = normaliser(&HEADER).normalise(&raw_of(&[row(changes)]));
    assert_eq!(done.batch.num_rows() + done.quarantined.len(), 1);
    done.quarantined.into_iter().next().map(|refused| refused.fault)
}

/// Rows and sums of the rows that were not refused, as the census of the text says them, and how many of their
/// amounts it could not read.
fn text_totals(raw: &RawBatch, done: &Normalised) -> (Totals, u64) {
    let cells = earnings().match_header(&HEADER).unwrap().money_cells(earnings());
    let refused: Vec<u64> = done.quarantined.iter().map(|row| row.line).collect();
    let (mut totals, mut unreadable) = (Totals::default(), 0);
    for row in (0..raw.rows()).filter(|row| !refused.contains(&raw.line(*row))) {
        let census = crate::decode::census_of_record(&raw.record(row), &cells);
        totals.merge(&Totals { rows: 1, sums: census.sums });
        unreadable += census.unreadable;
    }
    (totals, unreadable)
}

#[test]
fn one_row_lands_typed() {
    let rows = [row(&[("newColumn", "a \"b\"")]), row(&[("earningId", "E|2"), ("exchangeRateDate", "")])];
    let done = normaliser(&HEADER).normalise(&raw_of(&rows));
    assert!(done.quarantined.is_empty());
    let column = |name: &str| done.batch.column_by_name(name).unwrap().clone();
    let text = |name: &str, row: usize| column(name).as_string::<i32>().value(row).to_owned();
    assert_eq!(done.batch.schema(), earnings().table().schema);
    assert_eq!(text("participant_id", 0), "0042");
    assert_eq!(column("earning_amount").as_primitive::<Decimal128Type>().value(0), 125_000_000_000);
    assert_eq!(
        column("earning_exchange_rate").as_primitive::<Decimal128Type>().value(0),
        11 * 10i128.pow(19)
    );
    assert_eq!(
        column("earning_date").as_primitive::<TimestampMicrosecondType>().value(0),
        1_788_220_800_000_000
    );
    assert_eq!(column("exchange_rate_date").as_primitive::<Date32Type>().value(0), 20_696);
    assert!(column("exchange_rate_date").is_null(1));
    assert!(column("is_private_offer").as_boolean().value(0));
    assert_eq!(column("user_count").as_primitive::<Int64Type>().value(0), 3);
    assert_eq!(text("estimated_payment_month", 0), "2026-10");
    assert_eq!(column("tax_city").null_count(), 2);
    assert_eq!(text("_pc_run_id", 0), "00000000-0000-0000-0000-000000000000");
    assert_eq!(text("_pc_request_id", 1), "93c2b3cf");
    assert_eq!(column("_pc_extracted_at").null_count(), 2);
    assert_eq!(text("_pc_source_file", 0), "2026-09_1.csv");
    assert_eq!(column("_pc_source_line").as_primitive::<Int64Type>().values(), &[2, 3]);
    assert_eq!(column("_pc_schema_version").as_primitive::<Int32Type>().value(0), 7);
    assert_eq!(text("_pc_row_key", 1), "E\\|2");
    assert_eq!(text("_pc_extra", 0), r#"{"newColumn":"a \"b\""}"#);
    assert!(column("_pc_extra").is_null(1));
    assert_eq!(done.months, [Some(Month::new(2026, 9)); 2]);
    assert_eq!(done.totals.rows, 2);
    assert_eq!(done.totals.of("earning_amount").collect::<Vec<_>>(), [("EUR", 250_000_000_000)]);
    assert_eq!(done.totals.of("earning_amount_usd").collect::<Vec<_>>(), [("USD", 275_000_000_000)]);
}

#[test]
fn each_fault_names_its_column() {
    use FaultCode::*;
    for (column, cell, code) in [
        ("earningId", " ", MissingValue),
        ("earningAmount", "", MissingValue),
        ("earningAmount", "12,5", NotADecimal),
        ("earningAmount", "0.00000000001", TooManyDigits),
        ("earningExchangeRate", "1.000000000000000000001", TooManyDigits),
        ("earningDate", "01.09.2026", NotATimestamp),
        ("exchangeRateDate", "1.9.2026", NotADate),
        ("exchangeRateDate", "9/1/2026", AmbiguousDate),
        ("earningDate", "9/15/2026", AmbiguousDate),
        ("isPrivateOffer", "maybe", NotABoolean),
        ("userCount", "2.5", NotAnInteger),
        ("estimatedPaymentMonth", "soon", NotAMonth),
        ("estimatedPaymentMonth", "9/1/2026", AmbiguousDate),
        ("earningAmount", "NaN", NotADecimal),
        ("earningAmount", "-Infinity", NotADecimal),
        ("userCount", "1e30", TooManyDigits),
        ("earningAmount", "1\0", NotADecimal),
    ] {
        let fault = fault_of(&[(column, cell)]).unwrap_or_else(|| panic!("{column} = {cell:?} was accepted"));
        assert_eq!((fault.code, fault.column.as_deref(), fault.found.as_str()), (code, Some(column), cell));
        assert!(!fault.expected.is_empty());
    }
}

#[test]
fn money_without_a_currency_is_summed_by_itself() {
    let rows = [
        row(&[("transactionCurrency", " "), ("earningAmount", "0.00")]),
        row(&[("transactionCurrency", " "), ("earningAmount", "3")]),
        row(&[("transactionCurrency", " eur")]),
    ];
    let raw = raw_of(&rows);
    let done = normaliser(&HEADER).normalise(&raw);
    assert!(done.quarantined.is_empty());
    let sums = done.totals.of("earning_amount").collect::<Vec<_>>();
    assert_eq!(sums, [("", 30_000_000_000), ("EUR", 125_000_000_000)]);
    assert_eq!(text_totals(&raw, &done), (done.totals, 0));
}

#[test]
fn a_record_with_doubtful_quotes_is_refused() {
    let mut raw = raw_of(&[row(&[]), row(&[])]);
    raw.mark_misquoted();
    let done = normaliser(&HEADER).normalise(&raw);
    assert_eq!(done.batch.num_rows(), 1);
    assert_eq!(done.quarantined[0].fault.code, FaultCode::BadQuoting);
}

#[test]
fn the_first_fault_in_column_order_counts_and_the_rest_goes_on() {
    let mut rows = vec![row(&[]); 4];
    rows[1] = row(&[("exchangeRateDate", "x"), ("earningAmount", "y"), ("userCount", "z")]);
    rows[2].pop();
    let done = normaliser(&HEADER).normalise(&raw_of(&rows));
    let faults: Vec<_> = done.quarantined.iter().map(|bad| (bad.line, bad.fault.column.as_deref())).collect();
    assert_eq!(faults, [(3, Some("earningAmount")), (4, None)]);
    assert_eq!(done.quarantined[1].fault.code, FaultCode::WrongCellCount);
    assert_eq!(done.quarantined[1].fault.found, "14 cells");
    assert!(done.quarantined[0].record.starts_with(b"E-1,0042,CSP Direct Bill Partner,Rebate,y,"));
    let lines = done.batch.column_by_name("_pc_source_line").unwrap();
    assert_eq!(lines.as_primitive::<Int64Type>().values(), &[2, 5]);
    assert_eq!(done.months.len(), 2);
}

#[test]
fn bytes_that_are_not_utf8_are_refused_where_they_stand() {
    let plain: Vec<Vec<u8>> = GOOD.iter().map(|cell| cell.as_bytes().to_vec()).collect();
    let mut rows = vec![plain.clone(); 4];
    rows[0][2] = "Größe".as_bytes().to_vec();
    // Two halves of one letter in neighbouring rows: whole only when the column is looked at as one text.
    rows[1][3] = vec![0xc3];
    rows[2][3] = vec![0xa9];
    rows[3][14] = vec![0xff];
    let done = normaliser(&HEADER).normalise(&raw_of(&rows));
    let faults: Vec<_> = done
        .quarantined
        .iter()
        .map(|bad| (bad.line, bad.fault.code, bad.fault.column.as_deref().unwrap()))
        .collect();
    let utf8 = FaultCode::NotUtf8;
    assert_eq!(faults, [(3, utf8, "earningType"), (4, utf8, "earningType"), (5, utf8, "newColumn")]);
    let expected = &done.quarantined[2].fault.expected;
    assert!(
        expected.contains("byte 1 of the cell is 0xff") && expected.contains("windows-1252"),
        "{expected}"
    );
    assert_eq!(done.batch.column_by_name("program_name").unwrap().as_string::<i32>().value(0), "Größe");
}

#[test]
fn the_order_of_columns_and_spelling_of_numbers_change_no_hash() {
    let mut header = HEADER;
    header.reverse();
    let mut reversed = row(&[("earningAmount", "(-0)"), ("newColumn", "x")]);
    reversed[4] = "12.5000".to_owned();
    reversed.reverse();
    let hash = |done: Normalised| {
        done.batch.column_by_name("_pc_row_hash").unwrap().as_fixed_size_binary().value(0).to_vec()
    };
    let left = hash(normaliser(&HEADER).normalise(&raw_of(&[row(&[])])));
    assert_eq!(left, hash(normaliser(&header).normalise(&raw_of(&[reversed]))));
    assert_ne!(left, hash(normaliser(&HEADER).normalise(&raw_of(&[row(&[("earningAmount", "12.51")])]))));
    // What the hash is must stay what it is: the rows in the lake carry it.
    let printed: String = left.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(printed, "004a527d58a3089defaad137c41fb881");
}

#[test]
fn an_empty_batch_is_an_empty_table() {
    let done = normaliser(&HEADER).normalise(&RawBatch::new());
    assert_eq!((done.batch.num_rows(), done.quarantined.len(), done.totals.rows), (0, 0, 0));
}

/// Rows that are mostly good, with the slips of real files in them.
fn random_rows() -> impl Strategy<Value = Vec<Vec<String>>> {
    let amount = prop_oneof![
        6 => "-?[0-9]{1,9}[.][0-9]{2}",
        1 => Just("0".to_owned()),
        1 => Just(String::new()),
        1 => "[(][1-9][0-9]{0,5}[.][0-9]{1,10}[)]",
        1 => "[1-9][0-9]{0,2},[0-9]{3}[.][0-9]{2}",
        1 => "[1-9][0-9]?E[+]?[0-9]",
        1 => "[0-9.,eE()+-]{0,12}",
    ];
    let currency = prop_oneof![6 => Just("EUR"), 2 => Just("usd"), 1 => Just(" JPY "), 1 => Just("")]
        .prop_map(str::to_owned);
    let date = prop_oneof![
        8 => (2019..2027i32, 1..13u8, 1..29u8).prop_map(|(y, m, d)| format!("{y}-{m:02}-{d:02}T00:00:00Z")),
        1 => Just("soon".to_owned()),
    ];
    let row = (amount.clone(), amount, currency, date, "[ a-zA-Zäß|\\\\]{0,6}", 0..20usize).prop_map(
        |(amount, usd, currency, date, extra, short)| {
            let mut row = row(&[
                ("earningAmount", &amount),
                ("earningAmountUSD", &usd),
                ("transactionCurrency", &currency),
                ("earningDate", &date),
                ("newColumn", &extra),
                ("earningId", &format!("E-{extra}")),
            ]);
            row.truncate(if short == 0 { 13 } else { 15 });
            row
        },
    );
    proptest::collection::vec(row, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_text_side_and_the_typed_side_agree(rows in random_rows()) {
        let raw = raw_of(&rows);
        let done = normaliser(&HEADER).normalise(&raw);
        prop_assert_eq!(done.batch.num_rows() + done.quarantined.len(), rows.len());
        let (text, unreadable) = text_totals(&raw, &done);
        prop_assert_eq!(unreadable, 0);
        prop_assert_eq!(text.differences(&done.totals), Vec::<String>::new());
        prop_assert_eq!(text, done.totals);
    }

    #[test]
    fn cutting_a_file_anywhere_changes_nothing(rows in random_rows(), cut in 0..40usize) {
        let cut = cut.min(rows.len());
        let whole = normaliser(&HEADER).normalise(&raw_of(&rows));
        let mut parts = [RawBatch::new(), RawBatch::new()];
        for (index, row) in rows.iter().enumerate() {
            push(&mut parts[usize::from(index >= cut)], index as u64 + 2, row);
        }
        let mut same = normaliser(&HEADER);
        let parts = parts.map(|part| same.normalise(&part));
        let batch = concat_batches(&whole.batch.schema(), parts.iter().map(|part| &part.batch)).unwrap();
        prop_assert_eq!(&batch, &whole.batch);
        let quarantined: Vec<_> = parts.iter().flat_map(|part| part.quarantined.clone()).collect();
        prop_assert_eq!(quarantined, whole.quarantined);
        let months: Vec<_> = parts.iter().flat_map(|part| part.months.clone()).collect();
        prop_assert_eq!(months, whole.months);
        let mut totals = parts[0].totals.clone();
        totals.merge(&parts[1].totals);
        prop_assert_eq!(totals, whole.totals);
    }

    #[test]
    fn any_bytes_are_rows_or_faults(
        rows in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 13..17), 0..12)
    ) {
        let done = normaliser(&HEADER).normalise(&raw_of(&rows));
        prop_assert_eq!(done.batch.num_rows() + done.quarantined.len(), rows.len());
    }
}
