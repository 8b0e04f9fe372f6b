//! Text as it really comes: the same rows in every form that they are known or feared to take, through the binary.

use std::io::Write;

use crate::world::{Done, World};

const HEADER: [&str; 11] = [
    "earningId",
    "participantId",
    "programName",
    "transactionCurrency",
    "earningType",
    "earningAmount",
    "earningAmountUSD",
    "earningDate",
    "paymentStatus",
    "customerName",
    "exchangeRateDate",
];

type Row<'a> = [&'a str; 11];

const GOOD: Row<'_> =
    ["E-1", "P-1", "CSP", "EUR", "Rebate", "1.25", "1.50", "2026-09-03T00:00:00Z", "SENT", "Contoso", ""];

/// The good row with other cells, by index.
fn row<'a>(changes: &[(usize, &'a str)]) -> Row<'a> {
    let mut row = GOOD;
    changes.iter().for_each(|(index, cell)| row[*index] = cell);
    row
}

const ID: usize = 0;
const AMOUNT: usize = 5;
const EARNING_DATE: usize = 7;
const NAME: usize = 9;
const RATE_DATE: usize = 10;

/// Quoted where it must be.
fn text(rows: &[Row<'_>], delimiter: char, line_end: &str) -> String {
    let quoted = |cell: &&str| match cell.contains([delimiter, '"', '\r', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => (*cell).to_owned(),
    };
    let line = |row: &Row<'_>| {
        let cells: Vec<String> = row.iter().map(quoted).collect();
        cells.join(&delimiter.to_string()) + line_end
    };
    std::iter::once(&HEADER).chain(rows).map(line).collect()
}

fn csv(rows: &[Row<'_>]) -> Vec<u8> {
    text(rows, ',', "\r\n").into_bytes()
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

fn ingest(world: &World, file: &str, flags: &[&str]) -> Done {
    let args = ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "contoso"];
    world.run(&[&args[..], flags, &[file]].concat())
}

const ROWS: &str = "SELECT earning_id, customer_name, earning_amount, earning_date, exchange_rate_date \
    FROM transaction_history ORDER BY 1";

#[test]
fn every_form_says_the_same() {
    let rows = [
        row(&[(NAME, "Größe, \"A\" – €"), (RATE_DATE, "2026-08-31")]),
        row(&[(ID, "E-2"), (NAME, "two\nlines"), (AMOUNT, "(1,234.50)")]),
        row(&[(ID, "E-3"), (NAME, "a \"b\" c"), (AMOUNT, "1.5E+2")]),
    ];
    let (lf, crlf, cr) = (text(&rows, ',', "\n"), text(&rows, ',', "\r\n"), text(&rows, ',', "\r"));
    let (tsv, semicolon) = (text(&rows, '\t', "\n"), text(&rows, ';', "\n"));
    let windows_1252: Vec<u8> = lf
        .chars()
        .map(|char| match char {
            '–' => 0x96,
            '€' => 0x80,
            _ => u8::try_from(u32::from(char)).unwrap(),
        })
        .collect();
    let declared: &[&str] = &["--encoding", "windows-1252"];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&utf16(&format!("\u{feff}{lf}"), false)).unwrap();
    let preamble = format!("Transaction history\r\nCreated,2026-11-02\r\n\r\n{crlf}");
    let forms: Vec<(&str, Vec<u8>, &[&str], &str)> = vec![
        ("utf-8", lf.clone().into_bytes(), &[], ""),
        ("mark", format!("\u{feff}{crlf}").into_bytes(), &[], ""),
        ("cr", cr.into_bytes(), &[], ""),
        ("tsv", tsv.into_bytes(), &[], ""),
        ("semicolon", semicolon.into_bytes(), &[], ""),
        ("preamble", preamble.into_bytes(), &[], ""),
        ("utf-16le", utf16(&format!("\u{feff}{crlf}"), false), &[], "read as utf-16le"),
        ("utf-16be", utf16(&format!("\u{feff}{crlf}"), true), &[], "read as utf-16be"),
        ("utf-16 without a mark", utf16(&crlf, false), &[], "read as utf-16le"),
        ("utf-16 in gzip", gzip.finish().unwrap(), &[], "read as utf-16le"),
        ("windows-1252", windows_1252, declared, "read as windows-1252"),
        ("a mark wins", format!("\u{feff}{lf}").into_bytes(), declared, ""),
    ];
    let world = World::new();
    let expected = [
        "E-1,\"Größe, \"\"A\"\" – €\",1.25,2026-09-03T00:00:00Z,2026-08-31",
        "E-2,\"two",
        "lines\",-1234.50,2026-09-03T00:00:00Z,",
        "E-3,\"a \"\"b\"\" c\",150.00,2026-09-03T00:00:00Z,",
    ];
    for (name, bytes, flags, told) in forms {
        world.write("file", bytes);
        let done = ingest(&world, "file", flags);
        assert_eq!(done.code, 0, "{name}:\n{}", done.stderr);
        assert!(done.stderr.contains(told), "{name} does not say '{told}':\n{}", done.stderr);
        assert_eq!(world.sql("lake", ROWS), expected, "{name}");
    }
}

#[test]
fn tsv_without_quoting_is_declared() {
    let world = World::new();
    let rows = [row(&[(NAME, "\"Alpha\" GmbH")]), row(&[(ID, "E-2"), (NAME, "\"open")]), row(&[(ID, "E-3")])];
    let line = |row: &Row<'_>| row.join("\t") + "\n";
    world.write("file", std::iter::once(&HEADER).chain(&rows).map(line).collect::<String>());
    let done = ingest(&world, "file", &["--no-quotes"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let names = world.sql("lake", "SELECT customer_name FROM transaction_history ORDER BY earning_id");
    assert_eq!(names, ["\"\"\"Alpha\"\" GmbH\"", "\"\"\"open\"", "Contoso"]);
    // Not declared, it is refused: where the cell of the second row ends, nobody knows.
    assert_eq!(ingest(&world, "file", &[]).code, 65);
}

/// Ninety-nine good rows: so that one more may be refused without the file being held.
fn filled<'a>(ids: &'a [String], rows: &[Row<'a>]) -> Vec<u8> {
    csv(&ids.iter().map(|id| row(&[(ID, id)])).chain(rows.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let ids: Vec<String> = (0..150).map(|index| format!("G-{index}")).collect();
    let large = "x".repeat(10 << 20);
    let with = |index, cell| filled(&ids, &[row(&[(index, cell)])]);
    let bytes = |cell: &[u8]| {
        let text = with(NAME, "@@@");
        let at = text.windows(3).position(|window| window == b"@@@").unwrap();
        [&text[..at], cell, &text[at + 3..]].concat()
    };
    let header = String::from_utf8(csv(&[GOOD])).unwrap().replace("customerName", "Gr@sse");
    let header = header.bytes().map(|byte| if byte == b'@' { 0xf6 } else { byte }).collect::<Vec<u8>>();
    let cases: Vec<(&str, Vec<u8>, i32, &[&str])> = vec![
        // Windows-1252 that nobody declared.
        (
            "latin",
            bytes(b"M\xfcller"),
            3,
            &["line 152", "not-utf8 in customerName", "byte 2 of the cell is 0xfc", "windows-1252"],
        ),
        ("header", header, 65, &["the header is not UTF-8", "line: 1", "cell: 10", "0xf6", "--encoding"]),
        (
            "surrogate",
            utf16(&format!("\u{feff}{}", String::from_utf8(bytes(b"@@@")).unwrap()), false),
            3,
            &["not-utf8"],
        ),
        (
            "large",
            with(NAME, &large),
            65,
            &["cell 10 of a record has more than 1048576 bytes", "line: 152", "column: customerName", "hint"],
        ),
        ("nan", with(AMOUNT, "NaN"), 3, &["not-a-decimal in earningAmount", "line 152"]),
        ("infinity", with(AMOUNT, "-Infinity"), 3, &["not-a-decimal in earningAmount"]),
        ("comma", with(AMOUNT, "1,234"), 3, &["not-a-decimal in earningAmount", "could also mean 1.234"]),
        ("nul amount", with(AMOUNT, "1\0"), 3, &["not-a-decimal in earningAmount"]),
        // A text with a NUL is that text.
        ("nul name", with(NAME, "a\0b"), 0, &[]),
        (
            "ambiguous",
            with(RATE_DATE, "9/10/2026"),
            3,
            &["ambiguous-date in exchangeRateDate", "line 152", "--date-order"],
        ),
        ("european", with(RATE_DATE, "15.9.2026"), 3, &["not-a-date in exchangeRateDate"]),
    ];
    for (name, mut bytes, code, words) in cases {
        if name == "surrogate" {
            // The cell's three signs: the second one loses its partner.
            let at = utf16("@@@", false);
            let at = bytes.windows(6).position(|window| window == at).unwrap();
            bytes[at + 2..at + 4].copy_from_slice(&[0x00, 0xd8]);
        }
        let world = World::new();
        world.write("file", bytes);
        let done = ingest(&world, "file", &[]);
        assert_eq!(done.code, code, "{name}:\n{}", done.stderr);
        for word in words {
            assert!(done.stderr.contains(word), "{name} does not say '{word}':\n{}", done.stderr);
        }
        match code {
            65 => assert!(world.files("lake/transaction_history").is_empty(), "{name} left something behind"),
            _ => {
                let rows = world.sql("lake", "SELECT count(*) FROM transaction_history");
                assert_eq!(rows, [if code == 0 { "151" } else { "150" }], "{name}");
            }
        }
    }
}

#[test]
fn a_column_of_slashed_dates_is_decided_by_the_whole_file_or_refused() {
    let day = |id, date| row(&[(ID, id), (RATE_DATE, date)]);
    let american = ["2026-09-10", "2026-01-02", "2026-09-15"];
    let european = ["2026-10-09", "2026-02-01", "2026-09-15"];
    /// The cell beside two that are ambiguous, flags, exit code, days, and words.
    type Case<'a> = (&'a str, &'a [&'a str], i32, &'a [&'a str], &'a str);
    let refused: &[&str] = &[];
    let month_first: &[&str] = &["--date-order", "month-first"];
    let day_first: &[&str] = &["--date-order", "day-first"];
    let cases: [Case<'_>; 7] = [
        ("9/15/2026", &[], 0, &american, "dates in exchangeRateDate are month-first: line 4 proves it"),
        ("15/9/2026", &[], 0, &european, "dates in exchangeRateDate are day-first: line 4 proves it"),
        ("9/15/2026", month_first, 0, &american, ""),
        ("15/9/2026", day_first, 0, &european, ""),
        (
            "2026-09-15",
            &[],
            65,
            refused,
            "ambiguous-date in exchangeRateDate, expected a date whose month is certain: no cell",
        ),
        ("2026-09-15", day_first, 0, &european, ""),
        ("9/15/2026", day_first, 65, refused, "not-a-date in exchangeRateDate"),
    ];
    for (proof, flags, code, expected, words) in cases {
        let world = World::new();
        let rows = [day("E-1", "9/10/2026"), day("E-2", "1/2/2026"), day("E-3", proof)];
        world.write("file", csv(&rows));
        let done = ingest(&world, "file", flags);
        assert_eq!(done.code, code, "{proof} {flags:?}:\n{}", done.stderr);
        assert!(done.stderr.contains(words), "{proof} {flags:?} does not say '{words}':\n{}", done.stderr);
        if code == 0 {
            let days =
                world.sql("lake", "SELECT exchange_rate_date FROM transaction_history ORDER BY earning_id");
            assert_eq!(days, expected, "{proof} {flags:?}");
        }
    }
    // A file that contradicts itself is held, with the lines that do.
    let world = World::new();
    world.write("file", csv(&[day("E-1", "9/15/2026"), day("E-2", "9/10/2026"), day("E-3", "15/9/2026")]));
    let done = ingest(&world, "file", &[]);
    assert_eq!(done.code, 65, "{}", done.stderr);
    assert!(done.stderr.contains("line 2 has the month first and line 4 the day"), "{}", done.stderr);
}

#[test]
fn each_text_of_an_archive_has_its_own_header_and_its_own_order() {
    let date = |id, date| row(&[(ID, id), (EARNING_DATE, date)]);
    let american = [date("E-1", "9/10/2026 1:02:03 PM"), date("E-2", "9/15/2026 12:00:00 AM")];
    let european = [date("E-3", "15/9/2026"), date("E-4", "9/10/2026")];
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut reversed = text(&european, ';', "\n").lines().map(str::to_owned).collect::<Vec<_>>();
    for line in &mut reversed {
        *line = line.split(';').rev().collect::<Vec<_>>().join(";") + ";x";
    }
    let reversed = reversed.join("\n").replacen(";x", ";incentiveTier", 1) + "\n";
    for (name, bytes) in [
        ("1.csv", csv(&american)),
        ("notes/", Vec::new()),
        ("2.csv", csv(&[date("E-5", "2026-09-20")])),
        ("3.csv", reversed.into_bytes()),
    ] {
        let options = zip::write::SimpleFileOptions::default();
        match name.strip_suffix('/') {
            Some(folder) => zip.add_directory(folder, options).unwrap(),
            None => {
                zip.start_file(name, options).unwrap();
                zip.write_all(&bytes).unwrap();
            }
        }
    }
    let world = World::new();
    world.write("file", zip.finish().unwrap().into_inner());
    let done = ingest(&world, "file", &[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let rows = world.sql(
        "lake",
        "SELECT earning_id, earning_date, _pc_extra, _pc_source_file FROM transaction_history ORDER BY 1",
    );
    assert_eq!(
        rows,
        [
            "E-1,2026-09-10T13:02:03Z,,file!1.csv",
            "E-2,2026-09-15T00:00:00Z,,file!1.csv",
            "E-3,2026-09-15T00:00:00Z,\"{\"\"incentiveTier\"\":\"\"x\"\"}\",file!3.csv",
            "E-4,2026-10-09T00:00:00Z,\"{\"\"incentiveTier\"\":\"\"x\"\"}\",file!3.csv",
            "E-5,2026-09-20T00:00:00Z,,file!2.csv",
        ]
    );
    for word in [
        "file!1.csv: dates in earningDate are month-first: line 3",
        "file!3.csv: dates in earningDate are day-first: line 2",
    ] {
        assert!(done.stderr.contains(word), "{}", done.stderr);
    }
}

#[test]
fn an_id_that_stands_twice_is_kept_twice_and_told() {
    let world = World::new();
    let rows = [
        GOOD,
        row(&[(AMOUNT, "9.00")]),
        row(&[(ID, "E-2")]),
        row(&[(ID, "E-2")]),
        row(&[(ID, "E-2")]),
        row(&[(ID, "E-3")]),
    ];
    world.write("file", csv(&rows));
    let done = ingest(&world, "file", &[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let told = "keys that stand on more than one row: 2, on 5 rows, 1 of them with different contents; all rows are kept; first: E-1";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    assert_eq!(
        world.sql("lake", "SELECT count(*), sum(earning_amount) FROM transaction_history"),
        ["6,15.25"]
    );
}

#[test]
fn a_held_file_is_accepted_as_it_was_to_be_read() {
    let world = World::new();
    let mut bytes = text(
        &[row(&[(NAME, "@"), (RATE_DATE, "9/10/2026")]), row(&[(ID, "E-2"), (AMOUNT, "soon")])],
        ',',
        "\n",
    );
    bytes = bytes.replace('@', "\u{80}");
    let bytes: Vec<u8> = bytes.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect();
    world.write("file", bytes);
    let flags = ["--encoding", "windows-1252", "--date-order", "day-first"];
    // Nothing is declared, and then all of it: two things to decide.
    for flags in [&[][..], &flags] {
        assert_eq!(ingest(&world, "file", flags).code, 65);
    }
    let ids: Vec<String> = world
        .files("lake/_payoutlake/held")
        .iter()
        .filter(|(_, held)| String::from_utf8_lossy(held).contains("windows-1252"))
        .map(|(name, _)| name.trim_end_matches(".json").to_owned())
        .collect();
    assert_eq!((ids.len(), world.files("lake/_payoutlake/held").len()), (1, 2));
    assert_eq!(world.run(&["lake", "held", "--lake", "lake", "--accept", &ids[0]]).code, 3);
    let rows = world.sql("lake", "SELECT customer_name, exchange_rate_date FROM transaction_history");
    assert_eq!(rows, ["€,2026-10-09"]);
}

/// What a lake holds of what was loaded, apart from who loaded it when.
fn contents(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    for table in ["transaction_history", "payments"] {
        let sql = format!(
            "SELECT * EXCLUDE (_pc_run_id, _pc_request_id, _pc_extracted_at, _pc_loaded_at, _pc_source_file) FROM {table} ORDER BY _pc_row_key, _pc_row_hash"
        );
        lines.extend(world.sql("lake", &sql));
    }
    lines.extend(
        world.sql(
            "lake",
            "SELECT fault, \"column\", found, raw, _pc_source_line FROM quarantine ORDER BY ALL",
        ),
    );
    lines
}

#[test]
fn batches_and_threads_change_nothing() {
    let mut all = Vec::new();
    for (batch_bytes, threads) in [(1 << 20, 1), (1, 4), (777, 2)] {
        let world = World::new();
        let rest = format!(
            "[decode]\nbatch_bytes = {batch_bytes}\n[engine]\nthreads = {threads}\n\
             [load.guards]\nquarantined = {{ percent = 5, floor = 0 }}"
        );
        world.pipeline("faults = [\"bad-cells:transactionhistory\"]", &rest);
        assert_eq!(world.run(&["run", "pipeline.toml"]).code, 3);
        // A week later payments merge by key.
        let later =
            std::fs::read_to_string(world.path("pipeline.toml")).unwrap().replace("2026-11-23", "2026-11-30");
        world.write("pipeline.toml", later);
        let done = world.run(&["run", "pipeline.toml"]);
        assert_eq!(done.code, 3, "{}", done.stderr);
        all.push(contents(&world));
    }
    assert!(all[0].len() > 1000);
    assert!(all[0] == all[1] && all[0] == all[2], "batch size or threads changed a row");
}

/// A file that was sorted with its header, and one in which quotes are text: no row goes unseen.
#[test]
fn rows_above_the_header_and_rows_in_a_cell_are_refused() {
    let world = World::new();
    let ids: Vec<String> = (0..15).map(|n| format!("E-{n}")).collect();
    let line = |row: &Row<'_>| row.join("\t") + "\n";
    let rows: Vec<Row<'_>> = ids.iter().map(|id| row(&[(ID, id.as_str())])).collect();
    let sorted: String = rows.iter().chain([&HEADER]).map(line).collect();
    let mut open = rows.clone();
    (open[3][NAME], open[11][NAME]) = ("\"Open", "Close\"");
    let swallowed: String = std::iter::once(&HEADER).chain(&open).map(line).collect();
    for (name, text, words) in [
        ("sorted.tsv", sorted, "a record above the header has 11 cells, like a row"),
        ("swallowed.tsv", swallowed, "a quoted cell takes 9 whole rows into one"),
    ] {
        world.write(name, text);
        let done = ingest(&world, name, &[]);
        assert_eq!(done.code, 65, "{name}\n{}", done.stderr);
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
    assert_eq!(ingest(&world, "swallowed.tsv", &["--no-quotes"]).code, 0);
    assert_eq!(world.sql("lake", "SELECT count(*) FROM transaction_history"), ["15"]);
    // A title is told.
    world.write("titled.csv", ["Earnings of Contoso\n\n".as_bytes(), &csv(&[GOOD])].concat());
    let done = ingest(&world, "titled.csv", &[]);
    assert!(
        done.stderr.contains("lines above the header are no rows: 1; the header is on line 3"),
        "{}",
        done.stderr
    );
}
