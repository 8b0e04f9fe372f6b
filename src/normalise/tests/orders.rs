//! Which order of month and day holds: for a whole column of a file, or for none of its cells.

use super::*;
use crate::model::{DateOrder, FaultCode};

/// The rows as the pipeline types them: batch by batch, with a look at all of them at the first slashed date.
fn typed(rows: &[Vec<String>], batch_rows: usize, declared: Option<DateOrder>) -> (Normalised, Vec<String>) {
    let batches: Vec<RawBatch> = rows
        .chunks(batch_rows)
        .enumerate()
        .map(|(index, rows)| {
            let mut raw = RawBatch::new();
            for (row, cells) in rows.iter().enumerate() {
                push(&mut raw, (index * batch_rows + row) as u64 + 2, cells);
            }
            raw
        })
        .collect();
    let mut normaliser = normaliser(&HEADER);
    declared.into_iter().for_each(|order| normaliser.declare(order));
    let is_ambiguous =
        |done: &Normalised| done.quarantined.iter().any(|row| row.fault.code == FaultCode::AmbiguousDate);
    let (mut notes, mut asked) = (Vec::new(), false);
    let mut all: Vec<Normalised> = Vec::new();
    for raw in &batches {
        let mut done = normaliser.normalise(raw);
        if is_ambiguous(&done) && !asked && declared.is_none() {
            asked = true;
            let mut survey = normaliser.survey();
            batches.iter().for_each(|raw| survey.look(raw));
            notes = normaliser.decide(&survey);
            done = normaliser.normalise(raw);
        }
        all.push(done);
    }
    let schema = earnings().table().schema;
    let mut totals = Totals::default();
    all.iter().for_each(|done| totals.merge(&done.totals));
    let whole = Normalised {
        batch: concat_batches(&schema, all.iter().map(|done| &done.batch)).unwrap(),
        months: all.iter().flat_map(|done| done.months.clone()).collect(),
        quarantined: all.iter().flat_map(|done| done.quarantined.clone()).collect(),
        discarded: Vec::new(),
        nulled: Vec::new(),
        totals,
    };
    (whole, notes)
}

/// The days of a column of dates, and the lines that are refused with what was expected there.
fn days(cells: &[&str], declared: Option<DateOrder>) -> (Vec<String>, Vec<(u64, FaultCode)>, String) {
    let rows: Vec<_> = cells.iter().map(|cell| row(&[("exchangeRateDate", cell)])).collect();
    let (done, _) = typed(&rows, 2, declared);
    let column = done.batch.column_by_name("exchange_rate_date").unwrap();
    let epoch = jiff::civil::Date::constant(1970, 1, 1);
    let days = column.as_primitive::<Date32Type>().iter().flatten();
    let days = days.map(|days| (epoch + jiff::Span::new().days(days)).to_string()).collect();
    let faults = done.quarantined.iter().map(|row| (row.line, row.fault.code)).collect();
    let expected = done.quarantined.first().map(|row| row.fault.expected.clone());
    (days, faults, expected.unwrap_or_default())
}

#[test]
fn one_cell_decides_for_its_column_and_a_contradiction_for_nobody() {
    use DateOrder::{DayFirst, MonthFirst};
    use FaultCode::{AmbiguousDate, NotADate};
    /// Cells, the declared order, days, refused lines, and words.
    type Case<'a> = (&'a [&'a str], Option<DateOrder>, &'a [&'a str], &'a [(u64, FaultCode)], &'a str);
    let cases: [Case<'_>; 9] = [
        (
            &["2026-09-10", "9/10/2026", "", "9/15/2026"],
            None,
            &["2026-09-10", "2026-09-10", "2026-09-15"],
            &[],
            "",
        ),
        (&["9/10/2026", "1/2/2026", "15/9/2026"], None, &["2026-10-09", "2026-02-01", "2026-09-15"], &[], ""),
        (
            &["9/10/2026", "2026-09-15", "9/9/2026"],
            None,
            &["2026-09-15"],
            &[(2, AmbiguousDate), (4, AmbiguousDate)],
            "above 12",
        ),
        (
            &["2026-09-15", "9/10/2026", "9/15/2026", "15/9/2026"],
            None,
            &["2026-09-15"],
            &[(3, AmbiguousDate), (4, AmbiguousDate), (5, AmbiguousDate)],
            "line 4 has the month first and line 5 the day",
        ),
        // What is no date in either order proves nothing.
        (
            &["9/10/2026", "13/13/2026", "2/30/2026"],
            None,
            &[],
            &[(2, AmbiguousDate), (3, NotADate), (4, NotADate)],
            "above 12",
        ),
        // The time of day counts for a column of days, but not for what the cell proves.
        (&["9/10/2026", "9/15/2026 1:00:00 PM"], None, &["2026-09-10"], &[(3, NotADate)], "yyyy-MM-dd"),
        (&["9/10/2026"], Some(MonthFirst), &["2026-09-10"], &[], ""),
        (&["9/10/2026"], Some(DayFirst), &["2026-10-09"], &[], ""),
        (&["9/10/2026", "9/15/2026"], Some(DayFirst), &["2026-10-09"], &[(3, NotADate)], ""),
    ];
    for (cells, declared, expected, faults, words) in cases {
        let (days, found, told) = days(cells, declared);
        assert_eq!(
            (&days[..], &found[..]),
            (&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..], faults),
            "{cells:?}"
        );
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn each_column_has_an_order_of_its_own_and_tells_it() {
    let rows = [
        row(&[("exchangeRateDate", "15/9/2026"), ("earningDate", "9/10/2026 1:02:03 PM")]),
        row(&[
            ("exchangeRateDate", "9/10/2026"),
            ("earningDate", "9/15/2026"),
            ("estimatedPaymentMonth", "9/10/2026"),
        ]),
        row(&[("exchangeRateDate", ""), ("estimatedPaymentMonth", "13/2/2026")]),
        // Its cells stand one to the right: they are no proof for the columns in which they seem to be.
        std::iter::once("E-9".to_owned())
            .chain(row(&[("userCount", "15/9/2026"), ("earningAmount", "15/9/2026")]))
            .collect(),
    ];
    let (done, notes) = typed(&rows, 1, None);
    assert_eq!(done.batch.num_rows(), 3);
    assert_eq!(done.months, [Some(Month::new(2026, 9)); 3]);
    let text = |row| {
        done.batch.column_by_name("estimated_payment_month").unwrap().as_string::<i32>().value(row).to_owned()
    };
    assert_eq!((text(1), text(2)), ("2026-10".to_owned(), "2026-02".to_owned()));
    assert_eq!(
        notes,
        [
            "dates in earningDate are month-first: line 3 proves it",
            "dates in exchangeRateDate are day-first: line 2 proves it",
            "dates in estimatedPaymentMonth are day-first: line 4 proves it",
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn where_a_file_is_cut_decides_nothing(
        cells in proptest::collection::vec((0..9usize, 0..9usize, 0..4usize), 1..14), batch_rows in 1..6usize,
    ) {
        const CELLS: [&str; 9] =
            ["", "2026-09-01", "9/10/2026", "9/15/2026", "15/9/2026", "31/31/2026", "9/9/2026", "1/2/2026", "x"];
        let rows: Vec<_> = cells
            .iter()
            .map(|(first, second, amount)| {
                let amount = ["1.00", "oops", "2.00", "3.00"][*amount];
                let date = if CELLS[*second].is_empty() { "2026-09-01" } else { CELLS[*second] };
                row(&[("exchangeRateDate", CELLS[*first]), ("earningDate", date), ("earningAmount", amount)])
            })
            .collect();
        let (whole, notes) = typed(&rows, rows.len(), None);
        let (cut, cut_notes) = typed(&rows, batch_rows, None);
        prop_assert_eq!(whole.batch, cut.batch);
        prop_assert_eq!(whole.quarantined, cut.quarantined);
        prop_assert_eq!((whole.months, whole.totals), (cut.months, cut.totals));
        prop_assert_eq!(notes, cut_notes);
    }
}
