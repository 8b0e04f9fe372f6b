//! The money of a text, summed from its bytes.
//!
//! This is the text side of the balance. It shares nothing with the reader that cuts records, nor with the code that
//! makes a cell a decimal: a mistake there must show as a difference here, not stand in both sums.

use std::collections::BTreeMap;

use wide::u8x64;

use super::census::Census;
use super::header::Dialect;
use crate::model::{CurrencyCell, MONEY_SCALE, MoneyCell, RawBatch, Totals};

/// Sums the money of batches, from their text. That a batch ends where a record ends is the reader's word, which the count
/// of records tests: see [`Census::records`].
#[derive(Debug, Clone)]
pub struct MoneyCensus {
    dialect: Dialect,
    cells: Vec<MoneyCell>,
}

impl MoneyCensus {
    pub(super) fn new(dialect: Dialect, cells: Vec<MoneyCell>) -> Self {
        MoneyCensus { dialect, cells }
    }

    /// The sums and what could not be read; nothing else.
    #[must_use]
    pub fn of(&self, batch: &RawBatch) -> Census {
        let mut counter = MoneyCounter::new(self.dialect, self.cells.clone());
        counter.feed(batch.text());
        counter.finish();
        let (sums, unreadable) = counter.sums();
        Census { sums, unreadable, ..Census::default() }
    }
}

/// Sums the money cells of the records of a text that comes in pieces.
#[derive(Debug)]
struct MoneyCounter {
    dialect: Dialect,
    cells: Vec<MoneyCell>,
    // For each cell of a record up to the last one that counts: which slot keeps its bytes.
    slot_of: Vec<Option<usize>>,
    // For each of these: how many cells further on the next one stands that has a slot.
    until: Vec<usize>,
    slots: Vec<Vec<u8>>,
    place: Place,
    cell: usize,
    /// The current record has at least one byte.
    open: bool,
    /// Several amounts have their currency in one cell: these cells, and for each of `cells` which one it is.
    codes: Vec<CurrencyCell>,
    code_of: Vec<usize>,
    /// In upper case.
    currencies: Vec<String>,
    /// For each of `codes`: which of the currencies the last record has.
    numbers: Vec<usize>,
    // For each of `cells`: the sum of each of the currencies, if there is an amount.
    sums: Vec<Vec<Option<i128>>>,
    unreadable: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first byte of a cell.
    Start,
    Plain,
    Quoted,
    /// After a quote inside quotes.
    QuoteInQuoted,
}

impl MoneyCounter {
    fn new(dialect: Dialect, cells: Vec<MoneyCell>) -> Self {
        let mut slot_of = Vec::new();
        let mut slots = 0;
        for index in cells.iter().flat_map(indexes) {
            if slot_of.len() <= index {
                slot_of.resize(index + 1, None);
            }
            slot_of[index].get_or_insert_with(|| {
                slots += 1;
                slots - 1
            });
        }
        let mut until: Vec<usize> = slot_of
            .iter()
            .rev()
            .scan(0, |until, slot| {
                *until = if slot.is_some() { 0 } else { *until + 1 };
                Some(*until)
            })
            .collect();
        until.reverse();
        let mut codes = Vec::new();
        let code_of = cells.iter().map(|money| {
            codes.iter().position(|code| *code == money.currency).unwrap_or_else(|| {
                codes.push(money.currency.clone());
                codes.len() - 1
            })
        });
        let code_of = code_of.collect();
        MoneyCounter {
            dialect,
            slot_of,
            until,
            slots: vec![Vec::new(); slots],
            place: Place::Start,
            cell: 0,
            open: false,
            codes,
            code_of,
            currencies: Vec::new(),
            numbers: Vec::new(),
            sums: vec![Vec::new(); cells.len()],
            cells,
            unreadable: 0,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.cells.is_empty() {
            return;
        }
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            let passed = match self.place {
                Place::Quoted => self.quoted(rest),
                Place::QuoteInQuoted if byte == b'"' => {
                    self.keep(b"\"");
                    self.place = Place::Quoted;
                    1
                }
                Place::Start if byte == b'"' && self.dialect.quotes => {
                    self.open = true;
                    self.place = Place::Quoted;
                    1
                }
                Place::Start | Place::Plain | Place::QuoteInQuoted => self.plain(rest),
            };
            rest = &rest[passed..];
        }
    }

    /// Inside quotes, up to the next one; returns how many bytes that took.
    fn quoted(&mut self, rest: &[u8]) -> usize {
        let quote = memchr::memchr(b'"', rest);
        self.keep(&rest[..quote.unwrap_or(rest.len())]);
        let Some(quote) = quote else { return rest.len() };
        self.place = Place::QuoteInQuoted;
        quote + 1
    }

    /// Over cells without quotes, up to one with quotes or the end of the record; returns how many bytes that took.
    fn plain(&mut self, rest: &[u8]) -> usize {
        let delimiter = self.dialect.delimiter;
        let mut ends = CellEnds::of(rest, delimiter);
        let mut at = 0;
        // Cells without a slot need no look at each.
        while let Some(found) = ends.next(self.until.get(self.cell).copied().unwrap_or(usize::MAX)) {
            let end = match found {
                Found::End(end) => end,
                Found::Passed { cells, behind } => {
                    self.open = true;
                    self.cell += cells;
                    at = behind;
                    continue;
                }
            };
            self.keep_plain(&rest[at..end]);
            at = end + 1;
            if rest[end] != delimiter {
                self.end_record();
                return at;
            }
            self.open = true;
            self.cell += 1;
            if rest.get(at).is_none_or(|next| *next == b'"') {
                self.place = Place::Start;
                return at;
            }
        }
        self.keep_plain(&rest[at..]);
        self.place = Place::Plain;
        rest.len()
    }

    #[inline]
    fn keep_plain(&mut self, text: &[u8]) {
        if !text.is_empty() {
            self.open = true;
            self.keep(text);
        }
    }

    /// Ends a last record that has no line end.
    fn finish(&mut self) {
        self.end_record();
    }

    /// Exact sums by column and currency, and how many amounts could not be read.
    fn sums(&self) -> (BTreeMap<(String, String), i128>, u64) {
        let mut totals = Totals::default();
        for (cell, sums) in self.cells.iter().zip(&self.sums) {
            for (currency, units) in self.currencies.iter().zip(sums) {
                units.iter().for_each(|units| totals.add(&cell.column, currency, *units));
            }
        }
        (totals.sums, self.unreadable)
    }

    /// However long the cell is: an amount behind a thousand blanks or zeros is one, too. The reader's limits bound it.
    #[inline]
    fn keep(&mut self, text: &[u8]) {
        if let Some(Some(slot)) = self.slot_of.get(self.cell) {
            self.slots[*slot].extend_from_slice(text);
        }
    }

    fn end_record(&mut self) {
        if self.open {
            self.add_record();
        }
        self.slots.iter_mut().for_each(Vec::clear);
        (self.place, self.cell, self.open) = (Place::Start, 0, false);
    }

    fn add_record(&mut self) {
        let text = |index: usize| {
            let slot = self.slot_of.get(index).copied().flatten();
            slot.map_or(&b""[..], |slot| self.slots[slot].trim_ascii())
        };
        let numbers = self.codes.iter().map(|code| {
            let currency = match code {
                CurrencyCell::Fixed(code) => code.as_bytes(),
                CurrencyCell::At(index) => text(*index),
            };
            let known =
                self.currencies.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(currency));
            known.unwrap_or_else(|| {
                self.currencies.push(String::from_utf8_lossy(currency).to_ascii_uppercase());
                self.currencies.len() - 1
            })
        });
        self.numbers.clear();
        self.numbers.extend(numbers);
        for ((money, code), sums) in self.cells.iter().zip(&self.code_of).zip(&mut self.sums) {
            let amount = text(money.amount);
            if amount.is_empty() {
                continue;
            }
            let Some(units) = units_of(amount) else {
                self.unreadable += 1;
                continue;
            };
            let number = self.numbers[*code];
            // Nothing is nothing in every currency.
            if units == 0 && self.currencies[number].is_empty() {
                continue;
            }
            if sums.len() <= number {
                sums.resize(number + 1, None);
            }
            sums[number] = Some(sums[number].unwrap_or_default().saturating_add(units));
        }
    }
}

/// Where the delimiters and line ends of a text are, found for so many bytes at a time.
struct CellEnds<'a> {
    text: &'a [u8],
    delimiter: u8,
    /// Up to here was looked at.
    seen: usize,
    /// Of the last bytes that were looked at, those that were not given yet; the lowest bit is the first of these bytes.
    delimiters: u64,
    line_ends: u64,
    /// Where nothing but delimiters matters: no line end and no quote stands before the byte behind.
    plain: u64,
}

/// A bit of a word for each.
const SEEN_AT_ONCE: usize = 64;

/// What comes next in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// A delimiter or line end.
    End(usize),
    /// So many delimiters, without a line end or a quote among them or right behind; the next cell begins at `behind`.
    Passed { cells: usize, behind: usize },
}

impl<'a> CellEnds<'a> {
    fn of(text: &'a [u8], delimiter: u8) -> Self {
        CellEnds { text, delimiter, seen: 0, delimiters: 0, line_ends: 0, plain: 0 }
    }

    /// The next one, or at most `most` delimiters at once.
    #[inline]
    fn next(&mut self, most: usize) -> Option<Found> {
        loop {
            let begins = self.seen.saturating_sub(SEEN_AT_ONCE);
            let plain = self.delimiters & self.plain;
            if most > 0 && plain != 0 {
                let mut left = 0;
                let mut cells = plain.count_ones() as usize;
                if cells > most {
                    cells = most;
                    left = (0..most).fold(plain, |left, _| left & (left - 1));
                }
                let passed = plain ^ left;
                self.delimiters ^= passed;
                return Some(Found::Passed { cells, behind: begins + passed.ilog2() as usize + 1 });
            }
            let ends = self.delimiters | self.line_ends;
            if ends != 0 {
                let others = !(ends & ends.wrapping_neg());
                (self.delimiters, self.line_ends) = (self.delimiters & others, self.line_ends & others);
                return Some(Found::End(begins + ends.trailing_zeros() as usize));
            }
            self.look()?;
        }
    }

    /// Looks at the next bytes; `None` at the end of the text.
    // At one place: where two such looks are merged, LLVM takes words of bits apart, bit by bit.
    #[inline]
    fn look(&mut self) -> Option<()> {
        let rest = self.text.get(self.seen..).filter(|rest| !rest.is_empty())?;
        let mut last = [0; SEEN_AT_ONCE];
        let bytes = u8x64::new(*rest.first_chunk().unwrap_or_else(|| {
            last[..rest.len()].copy_from_slice(rest);
            &last
        }));
        let are = |byte| bytes.simd_eq(u8x64::splat(byte)).to_bitmask();
        self.delimiters = are(self.delimiter);
        self.line_ends = are(b'\n') | are(b'\r');
        let stops = self.line_ends | are(b'"');
        let first = stops & stops.wrapping_neg();
        // A quote right behind a delimiter opens a cell; behind the last byte there may be one.
        let behind = rest.get(SEEN_AT_ONCE);
        self.plain = match behind {
            _ if stops != 0 => (first >> 1).saturating_sub(1),
            Some(next) if *next != b'"' => u64::MAX,
            _ => !(u64::MAX << (rest.len().min(SEEN_AT_ONCE) - 1)),
        };
        self.seen += SEEN_AT_ONCE;
        Some(())
    }
}

/// How the quarantine writes records.
const QUARANTINE: Dialect = Dialect { delimiter: b',', quotes: true };

/// The census of one record in the form in which the quarantine keeps it: comma, RFC 4180.
#[must_use]
pub fn census_of_record(record: &[u8], money: &[MoneyCell]) -> Census {
    let mut counter = MoneyCounter::new(QUARANTINE, money.to_vec());
    counter.feed(record);
    counter.finish();
    let (sums, unreadable) = counter.sums();
    Census { bytes: record.len() as u64, records: 1, unterminated: true, sums, unreadable }
}

/// The cells that a sum needs.
fn indexes(money: &MoneyCell) -> impl Iterator<Item = usize> {
    let currency = match money.currency {
        CurrencyCell::At(index) => Some(index),
        CurrencyCell::Fixed(_) => None,
    };
    [money.amount].into_iter().chain(currency)
}

/// An amount in units of 10^-[`MONEY_SCALE`].
fn units_of(text: &[u8]) -> Option<i128> {
    usual_units_of(text).or_else(|| any_units_of(std::str::from_utf8(text).ok()?))
}

/// `-1234.50`: a sign, and at most 18 digits with a point among them. `None` leaves the text to [`any_units_of`].
// Apart: among all that its caller does, the number would go through memory for each digit.
#[inline(never)]
fn usual_units_of(text: &[u8]) -> Option<i128> {
    let (negative, number) = text.strip_prefix(b"-").map_or((false, text), |number| (true, number));
    let (mut digits, mut count, mut point) = (0i64, 0, None);
    for byte in number {
        match byte {
            b'0'..=b'9' if count < 18 => (digits, count) = (digits * 10 + i64::from(byte - b'0'), count + 1),
            b'.' if point.is_none() => point = Some(count),
            _ => return None,
        }
    }
    let fraction = count - point.unwrap_or(count);
    let missing = usize::from(MONEY_SCALE).checked_sub(fraction).filter(|_| count > 0)?;
    let units = i128::from(digits) * i128::from(10i64.pow(missing as u32));
    Some(if negative { -units } else { units })
}

/// Every other amount: the digits are laid side by side in a buffer, padded with zeros to the
/// right place, and read as an integer by the standard library.
fn any_units_of(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => ("-", inner),
        None if text.starts_with('-') => ("-", &text[1..]),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut line = Line::new(sign.as_bytes());
    let whole = whole.trim_start_matches('0').bytes().filter(|byte| *byte != b',');
    let digits = whole.clone().chain(fraction.bytes());
    // The point stands behind so many digits, once the exponent and the scale have moved it to the right.
    let point = whole.count() as i64 + i64::from(exponent) + i64::from(MONEY_SCALE);
    let mut place = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        if place < point {
            line.write(digit)?;
        } else if digit != b'0' {
            return None;
        }
        place += 1;
    }
    if place == 0 && !number.contains('0') {
        return None;
    }
    // A zero stays a zero wherever its point goes; only real digits need their zeros behind them.
    while line.has_digits && place < point {
        line.write(b'0')?;
        place += 1;
    }
    if !line.has_digits {
        return Some(0);
    }
    std::str::from_utf8(&line.bytes[..line.length]).ok()?.parse().ok()
}

/// A line of text on the stack: a sign and 39 digits are all that an `i128` prints.
struct Line {
    bytes: [u8; 48],
    length: usize,
    has_digits: bool,
}

impl Line {
    fn new(sign: &[u8]) -> Self {
        let mut line = Line { bytes: [0; 48], length: sign.len(), has_digits: false };
        line.bytes[..sign.len()].copy_from_slice(sign);
        line
    }

    /// Adds a digit; zeros in front of all others say nothing and are left out. `None` when the line is full.
    fn write(&mut self, digit: u8) -> Option<()> {
        if digit == b'0' && !self.has_digits {
            return Some(());
        }
        *self.bytes.get_mut(self.length)? = digit;
        self.length += 1;
        self.has_digits = true;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts() {
        let one = 10i128.pow(10);
        for (text, units) in [
            ("0", Some(0)),
            ("-0.00", Some(0)),
            ("0e99", Some(0)),
            ("00000000000000000000000000000000000000000000000000000000000012.5", Some(12 * one + one / 2)),
            ("12.5", Some(12 * one + one / 2)),
            ("-12.5", Some(-12 * one - one / 2)),
            ("(12.5)", Some(-12 * one - one / 2)),
            ("+.5", Some(one / 2)),
            ("7.", Some(7 * one)),
            ("1,234.50", Some(1234 * one + one / 2)),
            ("1E+3", Some(1000 * one)),
            ("1.5e-2", Some(15 * one / 1000)),
            ("0.0000000001", Some(1)),
            ("0.000000000100000000000000000000000000000000000000000000000000000000000000000000000", Some(1)),
            ("0.00000000001", None),
            ("1e-11", None),
            ("1e99", None),
            ("", None),
            (".", None),
            ("-", None),
            ("abc", None),
            ("--5", None),
        ] {
            assert_eq!(units_of(text.as_bytes()), units, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_usual_way_and_the_other_agree(text in "-?[0-9]{0,20}[.]?[0-9]{0,12}") {
            if let Some(units) = usual_units_of(text.as_bytes()) {
                prop_assert_eq!(any_units_of(&text), Some(units));
            }
        }
    }

    proptest! {
        #[test]
        fn ends_are_where_a_look_at_each_byte_finds_them(
            text in proptest::collection::vec(prop_oneof![
                3 => Just(b','), 1 => Just(b'\n'), 200 => 16..32u8, 50 => any::<u8>()
            ], 0..300),
            most in 0..9usize,
        ) {
            let each: Vec<_> = (0..text.len()).filter(|at| b",\n\r".contains(&text[*at])).collect();
            let mut ends = CellEnds::of(&text, b',');
            let mut found = Vec::new();
            while let Some(next) = ends.next(most) {
                match next {
                    Found::End(end) => found.push(end),
                    Found::Passed { cells, behind } => {
                        let passed = &each[found.len()..found.len() + cells];
                        prop_assert!((1..=most).contains(&cells));
                        prop_assert_eq!(passed.last().map(|end| end + 1), Some(behind));
                        for end in passed {
                            prop_assert!(text[*end] == b',' && text.get(end + 1).is_some_and(|next| *next != b'"'));
                        }
                        found.extend(passed);
                    }
                }
            }
            prop_assert_eq!(found, each);
        }
    }

    proptest! {
        /// Cells of which few count, in text that comes at once and byte by byte.
        #[test]
        fn what_is_passed_holds_no_money(
            text in "([x1-9]{0,9},|[x1-9]{0,70},|,{0,70}|\"[x,1-9\n\"]{0,9}\",?|\n){0,60}",
            amounts in proptest::collection::vec(0..40usize, 0..4),
            quotes in any::<bool>(),
        ) {
            let amounts = amounts.into_iter().map(|amount| MoneyCell {
                column: format!("column {amount}"),
                amount,
                currency: CurrencyCell::At(amount + 7),
            });
            let dialect = Dialect { quotes, ..QUARANTINE };
            let mut whole = MoneyCounter::new(dialect, amounts.collect());
            let mut bytes = MoneyCounter::new(dialect, whole.cells.clone());
            whole.feed(text.as_bytes());
            text.as_bytes().chunks(1).for_each(|byte| bytes.feed(byte));
            whole.finish();
            bytes.finish();
            prop_assert_eq!(whole.sums(), bytes.sums());
        }
    }

    #[test]
    fn money_is_summed_however_the_text_is_cut() {
        let text = b"a,\"1,000.50\",eur\r\n\r\n\"x\"\"\n,\",2.25,\"EUR\"\nb,0,\nc,oops,USD\nd,-3,USD";
        let cells = vec![
            MoneyCell { column: "earned".into(), amount: 1, currency: CurrencyCell::At(2) },
            MoneyCell { column: "usd".into(), amount: 1, currency: CurrencyCell::Fixed("USD".into()) },
        ];
        for piece in 1..text.len() {
            let mut counter = MoneyCounter::new(QUARANTINE, cells.clone());
            text.chunks(piece).for_each(|bytes| counter.feed(bytes));
            counter.finish();
            let (sums, unreadable) = counter.sums();
            assert_eq!(unreadable, 2, "the same bad cell counts for each column that reads it");
            let sum =
                |column: &str, currency: &str| sums.get(&(column.to_owned(), currency.to_owned())).copied();
            assert_eq!(sum("earned", "EUR"), Some(10_027_500_000_000));
            assert_eq!(sum("earned", "USD"), Some(-30_000_000_000));
            assert_eq!(sum("usd", "USD"), Some(9_997_500_000_000));
        }
    }

    #[test]
    fn long_amounts_and_currencies_are_whole() {
        let (zeros, blanks, name) = ("0".repeat(300), " ".repeat(300), "e".repeat(300));
        let cells = [MoneyCell { column: "earned".into(), amount: 0, currency: CurrencyCell::At(1) }];
        let census = census_of_record(format!("{blanks}{zeros}12.5{zeros},{name}").as_bytes(), &cells);
        assert_eq!(census.unreadable, 0);
        assert_eq!(census.sums, [(("earned".to_owned(), name.to_uppercase()), 125_000_000_000)].into());
    }

    #[test]
    fn a_refused_record_counts_like_the_text_that_it_came_from() {
        let cells = [MoneyCell { column: "earned".into(), amount: 0, currency: CurrencyCell::At(1) }];
        let census = census_of_record(b"12.5,\"EUR\",too,many", &cells);
        assert_eq!(census.sums.values().copied().collect::<Vec<_>>(), [125_000_000_000]);
        assert_eq!(census_of_record(b"", &cells).sums.len(), 0);
    }
}
