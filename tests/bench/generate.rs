//! Writes a transaction history of the reference shape: 78 columns of September 2020 (era E3), some 770 bytes a row, with
//! quotes, line breaks and non-ASCII text in it. Needs the standard library alone:
//!
//! ```sh
//! rustc -O --edition 2024 -o generate tests/bench/generate.rs
//! ./generate ROWS [--seed 1] [--months 12] [--bad 0] [--moved 0] > earnings.csv
//! ```
//!
//! `--bad 10` spoils one cell in 10 of 1,000 rows, `--moved 10` changes amount, payment and status of 10. Rows of one seed are
//! the same on every machine, and the first rows of a longer file are those of a shorter one. Rows come in no order of months,
//! as an export of several months may have them.

mod shape;

use std::io::{BufWriter, Result};

use shape::{Shape, write};

fn number(text: Option<String>, what: &str) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{what} must be a number"))
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let rows = number(args.next(), "ROWS");
    let mut shape = Shape::default();
    while let Some(name) = args.next() {
        let place = match name.as_str() {
            "--seed" => &mut shape.seed,
            "--months" => &mut shape.months,
            "--bad" => &mut shape.bad,
            "--moved" => &mut shape.moved,
            _ => panic!("{name} is unknown"),
        };
        *place = number(args.next(), &name);
    }
    write(rows, shape, BufWriter::with_capacity(1 << 20, std::io::stdout().lock()))
}
