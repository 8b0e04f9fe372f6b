//! The money of a text, summed from its bytes.
//!
//! This is the text side of the balance. It shares nothing with the reader that cuts records but how bytes are compared
//! ([`super::blocks`]), nor with the code that makes a cell a decimal: a mistake there must show as a difference here, not stand in
//! both sums.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::blocks::{BLOCK_BYTES, BlockWork, Equal, in_blocks};
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
        let mut counter = MoneyCounter::new(self.dialect, &self.cells);
        counter.count(batch.text());
        let (sums, unreadable) = counter.sums();
        Census { sums, unreadable, ..Census::default() }
    }
}

/// Sums the money cells of the records of a text.
#[derive(Debug)]
struct MoneyCounter<'a> {
    dialect: Dialect,
    cells: &'a [MoneyCell],
    /// The cells of a record that count, ascending.
    wanted: Vec<usize>,
    /// Of the record that is looked at: where the text of each of them stands.
    places: Vec<Range<usize>>,
    /// For each of `cells`: which of `wanted` has its amount.
    amounts: Vec<usize>,
    /// Several amounts have their currency in one cell: these cells, and for each of `cells` which one it is.
    codes: Vec<Code<'a>>,
    code_of: Vec<usize>,
    /// In upper case.
    currencies: Vec<String>,
    /// Of short texts, as they are spelled, which of the currencies they are.
    spellings: Vec<(u64, usize)>,
    /// For each of `codes`: which of the currencies the last record has.
    numbers: Vec<usize>,
    // For each of `cells`: the sum of each of the currencies, if there is an amount.
    sums: Vec<Vec<Option<i128>>>,
    unreadable: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Code<'a> {
    Fixed(&'a str),
    /// Which of the cells that count has it.
    At(usize),
}

impl<'a> MoneyCounter<'a> {
    fn new(dialect: Dialect, cells: &'a [MoneyCell]) -> Self {
        let mut wanted: Vec<usize> = cells.iter().flat_map(indexes).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let place = |index: usize| wanted.partition_point(|wanted| *wanted < index);
        let mut codes = Vec::new();
        let code_of = cells.iter().map(|money| {
            let code = match &money.currency {
                CurrencyCell::Fixed(code) => Code::Fixed(code),
                CurrencyCell::At(index) => Code::At(place(*index)),
            };
            codes.iter().position(|known| *known == code).unwrap_or_else(|| {
                codes.push(code);
                codes.len() - 1
            })
        });
        let code_of = code_of.collect();
        MoneyCounter {
            dialect,
            cells,
            places: vec![0..0; wanted.len()],
            amounts: cells.iter().map(|money| place(money.amount)).collect(),
            wanted,
            codes,
            code_of,
            currencies: Vec::new(),
            spellings: Vec::new(),
            numbers: Vec::new(),
            sums: vec![Vec::new(); cells.len()],
            unreadable: 0,
        }
    }

    /// Adds all records; lines without any byte are none.
    fn count(&mut self, text: &[u8]) {
        if self.cells.is_empty() {
            return;
        }
        let mut from = 0;
        while let Some(byte) = text.get(from) {
            if matches!(byte, b'\n' | b'\r') {
                from += 1;
                continue;
            }
            let quickly = in_blocks(QuickFind { counter: self, text, from });
            let end = quickly.unwrap_or_else(|| self.find(text, from));
            self.add_record(text);
            from = end + 1;
        }
    }

    /// Finds the cells that count in the record that begins at `from`, and where it ends; cell by cell.
    fn find(&mut self, text: &[u8], from: usize) -> usize {
        self.places.fill(0..0);
        let (mut start, mut index) = (from, 0);
        loop {
            let is_quoted = self.dialect.quotes && text.get(start) == Some(&b'"');
            let mut at = start;
            if is_quoted {
                at = closing_quote(&text[start + 1..]).map_or(text.len(), |quote| start + 1 + quote + 1);
            }
            let rest = &text[at..];
            at += memchr::memchr3(self.dialect.delimiter, b'\n', b'\r', rest).unwrap_or(rest.len());
            if let Ok(place) = self.wanted.binary_search(&index) {
                self.places[place] = start..at;
            }
            if text.get(at) != Some(&self.dialect.delimiter) {
                return at;
            }
            (start, index) = (at + 1, index + 1);
        }
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

    /// Adds the record of which the cells were found.
    fn add_record(&mut self, text: &[u8]) {
        for index in 0..self.codes.len() {
            let number = match &self.codes[index] {
                Code::Fixed(code) => self.number(code.as_bytes()),
                Code::At(place) => {
                    let cell = unquoted(&text[self.places[*place].clone()], self.dialect);
                    self.number(cell.trim_ascii())
                }
            };
            match self.numbers.get_mut(index) {
                Some(known) => *known = number,
                None => self.numbers.push(number),
            }
        }
        for ((place, code), sums) in self.amounts.iter().zip(&self.code_of).zip(&mut self.sums) {
            let place = &self.places[*place];
            if place.is_empty() {
                continue;
            }
            let units = match usual_units_of(text, place.clone()) {
                Some(units) => units,
                None => {
                    let cell = unquoted(&text[place.clone()], self.dialect);
                    let amount = cell.trim_ascii();
                    if amount.is_empty() {
                        continue;
                    }
                    let Some(units) = units_of(amount) else {
                        self.unreadable += 1;
                        continue;
                    };
                    units
                }
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

    /// Which of the currencies a text is.
    fn number(&mut self, currency: &[u8]) -> usize {
        let spelled = short(currency);
        let known = self.spellings.iter().find(|(spelling, _)| Some(*spelling) == spelled);
        if let Some((_, number)) = known {
            return *number;
        }
        let known = self.currencies.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(currency));
        let number = known.unwrap_or_else(|| {
            self.currencies.push(String::from_utf8_lossy(currency).to_ascii_uppercase());
            self.currencies.len() - 1
        });
        self.spellings.extend(spelled.map(|spelling| (spelling, number)));
        number
    }
}

/// Finds what [`MoneyCounter::find`] does, many bytes at once: by counting the delimiters outside quotes. Whether a byte is outside, the number of quotes before it tells, as long as each of them
/// opens a cell or closes one: `None` where one does not, and near the end of the text.
struct QuickFind<'a, 'm> {
    counter: &'a mut MoneyCounter<'m>,
    text: &'a [u8],
    from: usize,
}

impl BlockWork for QuickFind<'_, '_> {
    type Done = Option<usize>;

    #[inline(always)]
    fn work(self, equal: impl Equal) -> Option<usize> {
        let QuickFind { counter, text, from } = self;
        let mut at = from;
        // All bits: the bytes looked at begin inside quotes.
        let mut inside_before = 0;
        // Whether the byte before them may stand before an opening quote.
        let mut ready = 1;
        let (mut next, mut start) = (0, from);
        // Delimiters to pass before the next cell that counts, or its end where it has begun.
        let mut ahead = counter.wanted[0];
        let mut begun = ahead == 0;
        loop {
            let seen = Seen::of(text.get(at..)?.first_chunk()?, counter.dialect, equal);
            let (mut delimiters, mut line_ends) = (seen.delimiters, seen.line_ends);
            let stops = delimiters | line_ends | seen.quotes;
            if seen.quotes | inside_before != 0 {
                let mut inside = seen.quotes;
                for step in [1, 2, 4, 8, 16, 32] {
                    inside ^= inside << step;
                }
                inside ^= inside_before;
                (delimiters, line_ends) = (delimiters & !inside, line_ends & !inside);
                let first = line_ends & line_ends.wrapping_neg();
                let opens = seen.quotes & inside & first.wrapping_sub(1);
                if opens & !(stops << 1 | ready) != 0 {
                    return None;
                }
                inside_before = 0u64.wrapping_sub(inside >> (BLOCK_BYTES - 1));
            }
            ready = stops >> (BLOCK_BYTES - 1);
            let line_end = line_ends & line_ends.wrapping_neg();
            delimiters &= line_end.wrapping_sub(1);
            let mut count = delimiters.count_ones() as usize;
            loop {
                if begun {
                    let ends = delimiters | line_end;
                    if ends == 0 {
                        break;
                    }
                    counter.places[next] = start..at + ends.trailing_zeros() as usize;
                    next += 1;
                    begun = false;
                    ahead =
                        counter.wanted.get(next).map_or(usize::MAX, |index| index - counter.wanted[next - 1]);
                }
                if ahead > count {
                    ahead -= count;
                    break;
                }
                count -= ahead;
                for _ in 1..ahead {
                    delimiters &= delimiters - 1;
                }
                start = at + delimiters.trailing_zeros() as usize + 1;
                delimiters &= delimiters - 1;
                begun = true;
            }
            if line_end != 0 {
                counter.places[next..].fill(0..0);
                return Some(at + line_end.trailing_zeros() as usize);
            }
            at += BLOCK_BYTES;
        }
    }
}

/// A text of at most seven bytes as a number, with its length.
fn short(text: &[u8]) -> Option<u64> {
    let number = text.iter().fold(text.len() as u64, |number, byte| number << 8 | u64::from(*byte));
    (text.len() < 8).then_some(number)
}

/// Where the quotes end inside of which a text begins; `None` where they never do.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut quotes = memchr::memchr_iter(b'"', text);
    while let Some(quote) = quotes.next() {
        // A doubled one is text.
        if text.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        quotes.next();
    }
    None
}

/// What a cell says: without the quotes around it, and with single ones for doubled ones.
fn unquoted(cell: &[u8], dialect: Dialect) -> Cow<'_, [u8]> {
    let Some(inner) = cell.strip_prefix(b"\"").filter(|_| dialect.quotes) else { return Cow::Borrowed(cell) };
    let (inside, behind) =
        closing_quote(inner).map_or((inner, &b""[..]), |quote| (&inner[..quote], &inner[quote + 1..]));
    if behind.is_empty() && !inside.contains(&b'"') {
        return Cow::Borrowed(inside);
    }
    let mut text = Vec::with_capacity(cell.len());
    let mut quotes = 0;
    for byte in inside {
        quotes = if *byte == b'"' { quotes + 1 } else { 0 };
        if quotes % 2 == 0 {
            text.push(*byte);
        }
    }
    text.extend_from_slice(behind);
    Cow::Owned(text)
}

/// Of some bytes, the lowest bit for the first.
struct Seen {
    delimiters: u64,
    line_ends: u64,
    quotes: u64,
}

impl Seen {
    #[inline(always)]
    fn of(bytes: &[u8; BLOCK_BYTES], dialect: Dialect, equal: impl Equal) -> Self {
        Seen {
            delimiters: equal(bytes, dialect.delimiter),
            line_ends: equal(bytes, b'\n') | equal(bytes, b'\r'),
            quotes: if dialect.quotes { equal(bytes, b'"') } else { 0 },
        }
    }
}

/// How the quarantine writes records.
const QUARANTINE: Dialect = Dialect { delimiter: b',', quotes: true };

/// The census of one record in the form in which the quarantine keeps it: comma, RFC 4180.
#[must_use]
pub fn census_of_record(record: &[u8], money: &[MoneyCell]) -> Census {
    let mut counter = MoneyCounter::new(QUARANTINE, money);
    counter.count(record);
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

/// `-1234.50`, of a text in which it stands somewhere: a sign, at most eight digits, and a point with at most eight behind it.
/// `None` leaves the cell to [`units_of`].
fn usual_units_of(text: &[u8], place: Range<usize>) -> Option<i128> {
    let (start, end) = (place.start + usize::from(text[place.start] == b'-'), place.end);
    let fraction = text[start..end].iter().rev().take(EIGHT + 1).position(|byte| *byte == b'.');
    let point = end - fraction.map_or(0, |fraction| fraction + 1);
    let whole = eight_digits(text, start, point)?;
    let fraction = fraction.unwrap_or_default();
    let parts = eight_digits(text, end - fraction, end)?;
    let missing = usize::from(MONEY_SCALE) - fraction;
    let units =
        i128::from(whole) * i128::from(UNITS[usize::from(MONEY_SCALE)]) + i128::from(parts * UNITS[missing]);
    let has_digits = point - start + fraction > 0;
    has_digits.then_some(if start > place.start { -units } else { units })
}

const EIGHT: usize = 8;

/// 10^0 to 10^[`MONEY_SCALE`].
const UNITS: [i64; MONEY_SCALE as usize + 1] = {
    let mut units = [1; MONEY_SCALE as usize + 1];
    let mut index = 1;
    while index < units.len() {
        units[index] = units[index - 1] * 10;
        index += 1;
    }
    units
};

/// The number that at most eight digits are, which stand in a text of at least eight bytes up to `end`. The sums of two, four and
/// eight digits are made side by side in one word.
#[inline]
fn eight_digits(text: &[u8], start: usize, end: usize) -> Option<i64> {
    const ZEROS: u64 = u64::from_le_bytes([b'0'; EIGHT]);
    let others = EIGHT.checked_sub(end - start)?;
    let bytes = text[..end].last_chunk::<EIGHT>()?;
    if others == EIGHT {
        return Some(0);
    }
    // What stands before the digits goes out at the low end.
    let digits = ((u64::from_le_bytes(*bytes) ^ ZEROS) >> (EIGHT * others)) << (EIGHT * others);
    if (digits | digits.wrapping_add(u64::from_le_bytes([6; EIGHT]))) & u64::from_le_bytes([0xf0; EIGHT]) != 0
    {
        return None;
    }
    let twos = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = twos.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000 << 32 | 1) >> 32) as i64)
}

/// An amount in units of 10^-[`MONEY_SCALE`].
fn units_of(text: &[u8]) -> Option<i128> {
    any_units_of(std::str::from_utf8(text).ok()?)
}

/// Any amount: the digits are laid side by side in a buffer, padded with zeros to the
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
        fn the_usual_way_and_the_other_agree(text in "-?[0-9]{0,10}[.]?[0-9]{0,10}|[-+.0-9e,:/ ]{1,12}") {
            // Behind other cells, as a rule.
            for before in ["", "1,-", "12345,12345678,"] {
                let line = format!("{before}{text},9.9");
                if let Some(units) = usual_units_of(line.as_bytes(), before.len()..before.len() + text.len()) {
                    prop_assert_eq!(any_units_of(&text), Some(units));
                }
            }
        }
    }

    #[test]
    fn the_usual_way_takes_what_is_usual() {
        for text in ["12.50", "-12.50", "12345678.12345678", "0.1", ".5", "7.", "7", "-0.00"] {
            let line = format!("earlier cells,{text}");
            assert_eq!(usual_units_of(line.as_bytes(), 14..line.len()), any_units_of(text), "{text}");
        }
    }

    /// Cells of which few count: the quick way finds what cell by cell is found, or nothing; and a reader of others reads what
    /// both say.
    #[test]
    fn cells_that_count_are_found() {
        let cell = "([x1é]{0,9}|[x]{60,70}|\"([x,\n]|\"\"){0,70}\"|\"x\"[y\"]{0,2}|[x\"]{1,3})";
        let text = format!("({cell}([,]|[,]|[,\n\r]|\r\n)){{0,60}}");
        proptest!(|(text in text.as_str(), wanted in proptest::collection::btree_set(0..40usize, 1..4), quotes in any::<bool>())| {
            let text = text.as_bytes();
            let cells: Vec<_> = wanted.iter().map(|index| amount(*index, CurrencyCell::Fixed("EUR".into()))).collect();
            let mut counter = MoneyCounter::new(Dialect { quotes, ..QUARANTINE }, &cells);
            let mut reader = csv::ReaderBuilder::new();
            let mut reader = reader.has_headers(false).flexible(true).quoting(quotes).from_reader(text);
            let mut records = reader.byte_records();
            let mut from = 0;
            while from < text.len() {
                if matches!(text[from], b'\n' | b'\r') {
                    from += 1;
                    continue;
                }
                let quick = in_blocks(QuickFind { counter: &mut counter, text, from });
                let quick = quick.map(|end| (end, counter.places.clone()));
                let found = counter.find(text, from);
                if let Some(quick) = quick {
                    prop_assert_eq!(quick, (found, counter.places.clone()));
                }
                let record = records.next().unwrap().unwrap();
                for (index, place) in wanted.iter().zip(&counter.places) {
                    let cell = unquoted(&text[place.clone()], counter.dialect);
                    prop_assert_eq!(&*cell, record.get(*index).unwrap_or_default());
                }
                from = found + 1;
            }
            prop_assert!(records.next().is_none());
        });
    }

    fn amount(amount: usize, currency: CurrencyCell) -> MoneyCell {
        MoneyCell { column: format!("column {amount}"), amount, currency }
    }

    #[test]
    fn money_is_summed_however_it_is_written() {
        let text = b"a,\"1,000.50\",eur\r\n\r\n\"x\"\"\n,\",2.25,\"EUR\"\nb,0,\nc,oops,USD\nd,-3,USD";
        let cells = [
            MoneyCell { column: "earned".into(), amount: 1, currency: CurrencyCell::At(2) },
            MoneyCell { column: "usd".into(), amount: 1, currency: CurrencyCell::Fixed("USD".into()) },
        ];
        // Much text behind the records: they are found quickly.
        for more in ["", &format!("\n{}", "z".repeat(99))] {
            let mut counter = MoneyCounter::new(QUARANTINE, &cells);
            counter.count(&[text, more.as_bytes()].concat());
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
    fn cells_lose_their_quotes_and_nothing_else() {
        for (cell, said) in [
            ("12", "12"),
            ("\"\"", ""),
            ("\"a,b\"", "a,b"),
            ("\"a\"\"b\"", "a\"b"),
            ("\"a\"b\"c", "ab\"c"),
            ("\"never closed", "never closed"),
            ("\"never closed\"\"", "never closed\""),
        ] {
            assert_eq!(&*unquoted(cell.as_bytes(), QUARANTINE), said.as_bytes(), "{cell}");
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
