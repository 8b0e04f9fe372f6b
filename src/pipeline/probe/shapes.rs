//! What is left of a cell when its value is taken away.

use crate::model::magnitude;

/// How many shapes of a column are told apart; the others are counted together.
const MAX_SHAPES: usize = 6;

/// The longest shape that is told.
const MAX_SHAPE_CHARS: usize = 40;

/// A run of letters that is longer than this is no name of a month.
const MAX_LETTERS: usize = 9;

/// Letters that stand in dates of everybody.
const DATE_WORDS: [&[u8]; 8] = [b"T", b"t", b"Z", b"z", b"AM", b"PM", b"am", b"pm"];

/// Spellings of truth that are told as they are.
const BOOLEANS: [&str; 22] = [
    "True", "true", "TRUE", "False", "false", "FALSE", "1", "0", "Yes", "yes", "YES", "No", "no", "NO", "Y",
    "y", "N", "n", "T", "t", "F", "f",
];

/// Counts shapes.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    counts: Vec<(String, u64)>,
    others: u64,
}

impl Tally {
    pub(super) fn count(&mut self, shape: String) {
        match self.counts.iter().position(|(known, _)| *known == shape) {
            Some(index) => self.counts[index].1 += 1,
            None if self.counts.len() < MAX_SHAPES => self.counts.push((shape, 1)),
            None => self.others += 1,
        }
    }

    /// `9999-99-99 (<100)`, the most frequent first.
    pub(super) fn words(&self) -> Vec<String> {
        let mut counts: Vec<&(String, u64)> = self.counts.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let told = |shape: &str, count: u64| format!("{shape} ({})", magnitude(count));
        let words = counts.into_iter().map(|(shape, count)| told(shape, *count));
        words.chain((self.others > 0).then(|| told("other shapes", self.others))).collect()
    }
}

/// Runs of bytes of one kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Digits,
    Letters,
    /// Beyond ASCII, and control characters.
    Foreign,
    /// A sign of ASCII, which stands for itself.
    Sign,
}

fn run_of(byte: u8) -> Run {
    match byte {
        b'0'..=b'9' => Run::Digits,
        b'a'..=b'z' | b'A'..=b'Z' => Run::Letters,
        b' '..=b'~' => Run::Sign,
        _ => Run::Foreign,
    }
}

/// The cell run by run: digits, letters, what is beyond ASCII, and each sign for itself.
fn runs(cell: &[u8]) -> impl Iterator<Item = (Run, &[u8])> {
    let mut rest = cell;
    std::iter::from_fn(move || {
        let run = run_of(*rest.first()?);
        let same = rest.iter().take_while(|byte| run_of(**byte) == run).count();
        let (taken, left) = rest.split_at(if run == Run::Sign { 1 } else { same });
        rest = left;
        Some((run, taken))
    })
}

fn short(shape: String) -> String {
    if shape.len() <= MAX_SHAPE_CHARS { shape } else { "longer than a shape".to_owned() }
}

/// `2026-09-01T00:00:00Z` as `9999-99-99T99:99:99Z`; other letters become `a`, what is beyond ASCII `?`.
pub(super) fn date(cell: &[u8]) -> String {
    let shape = runs(cell).map(|(run, text)| match run {
        Run::Digits => "9".repeat(text.len().min(MAX_SHAPE_CHARS)),
        Run::Letters if DATE_WORDS.contains(&text) => String::from_utf8_lossy(text).into_owned(),
        Run::Letters if text.len() > MAX_LETTERS => format!("{}+", "a".repeat(MAX_LETTERS)),
        Run::Letters => "a".repeat(text.len()),
        Run::Foreign => "?".to_owned(),
        Run::Sign => char::from(text[0]).to_string(),
    });
    short(shape.collect())
}

/// Which of day and month comes first, where the numbers can tell: `Some(true)` is the day. Of `13/2/2026` and the like.
pub(super) fn day_first(cell: &[u8]) -> Option<bool> {
    let mut numbers = runs(cell).filter(|(run, _)| *run != Run::Foreign);
    let mut next = || numbers.next().map(|(_, text)| text);
    let (first, sign, second) = (next()?, next()?, next()?);
    let number = |text: &[u8]| str::from_utf8(text).ok()?.parse::<u32>().ok().filter(|_| text.len() <= 2);
    let (first, second) = (number(first)?, number(second)?);
    let apart = matches!(sign, [b'/' | b'.' | b'-']);
    match (first > 12, second > 12) {
        (true, false) if apart => Some(true),
        (false, true) if apart => Some(false),
        _ => None,
    }
}

/// What is left of a number: its shape, and how many digits stand before and behind its point (or its last comma, when
/// it has no point).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub shape: String,
    pub whole_digits: usize,
    pub fraction_digits: usize,
}

/// `-1,234.50` as `-9,9.9`: a run of digits is one `9`, a run of letters one `a`, an exponent stays `E`.
pub(super) fn number(cell: &[u8]) -> Number {
    let mut shape = String::new();
    for (run, text) in runs(cell) {
        match run {
            Run::Digits => shape.push('9'),
            Run::Letters if matches!(text, b"E" | b"e") && shape.ends_with('9') => {
                shape.push(char::from(text[0]));
            }
            Run::Letters => shape.push('a'),
            Run::Foreign => shape.push('?'),
            Run::Sign => shape.push(char::from(text[0])),
        }
    }
    while shape.contains("9,9,9") {
        shape = shape.replace("9,9,9", "9,9");
    }
    let mantissa = cell.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
    let at = mantissa.iter().rposition(|byte| *byte == b'.');
    let at = at.or_else(|| mantissa.iter().rposition(|byte| *byte == b','));
    let (whole, fraction) = mantissa.split_at(at.unwrap_or(mantissa.len()));
    let digits = |text: &[u8]| text.iter().filter(|byte| byte.is_ascii_digit()).count();
    Number { shape: short(shape), whole_digits: digits(whole), fraction_digits: digits(fraction) }
}

/// The cell itself if it is a known spelling, else `other`.
pub(super) fn boolean(cell: &[u8]) -> String {
    let known = BOOLEANS.into_iter().find(|known| known.as_bytes() == cell);
    known.unwrap_or("other").to_owned()
}

/// What an unknown column seems to hold, in one word.
pub(super) fn kind(cell: &[u8]) -> &'static str {
    let date = date(cell);
    let letters = cell.iter().any(u8::is_ascii_alphabetic);
    let number = number(cell);
    match () {
        () if boolean(cell) != "other" && letters => "true or false",
        () if date.starts_with("9999-99-99") || date.matches('/').count() == 2 && !letters => "dates",
        () if number.whole_digits > 0 && number.shape.chars().all(|c| "9-+.,()Ee".contains(c)) => "numbers",
        () if date.len() == 36 && date.matches('-').count() == 4 => "GUIDs",
        () => "text",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_keep_their_form_alone() {
        for (cell, shape) in [
            ("2026-09-01T00:00:00Z", "9999-99-99T99:99:99Z"),
            ("2026-09-01 00:00:00.1234567+02:00", "9999-99-99 99:99:99.9999999+99:99"),
            ("9/1/2026 1:02:03 PM", "9/9/9999 9:99:99 PM"),
            ("Sep-2026", "aaa-9999"),
            ("Not applicable", "aaa aaaaaaaaa+"),
            ("Année", "aaa?a"),
            ("", ""),
        ] {
            assert_eq!(date(cell.as_bytes()), shape, "{cell}");
        }
        assert_eq!(date("9".repeat(500).as_bytes()), "9".repeat(40));
        assert_eq!(date("1-".repeat(500).as_bytes()), "longer than a shape");
    }

    #[test]
    fn the_order_of_day_and_month_is_told_where_it_shows() {
        for (cell, first) in [
            ("13/2/2026", Some(true)),
            ("2/13/2026 1:00:00 PM", Some(false)),
            ("31.12.2026", Some(true)),
            ("2/3/2026", None),
            ("2026-13-01", None),
            ("13:14", None),
            ("", None),
        ] {
            assert_eq!(day_first(cell.as_bytes()), first, "{cell}");
        }
    }

    #[test]
    fn numbers_keep_their_form_alone() {
        for (cell, shape, whole, fraction) in [
            ("-12.50", "-9.9", 2, 2),
            ("1,234,567.8", "9,9.9", 7, 1),
            ("(12.34)", "(9.9)", 2, 2),
            ("1.5E-07", "9.9E-9", 1, 1),
            ("1,5", "9,9", 1, 1),
            ("17", "9", 2, 0),
            ("$ 1.0", "$ 9.9", 1, 1),
            ("1 234,50 €", "9 9,9 ?", 4, 2),
            ("NaN", "a", 0, 0),
        ] {
            let expected = Number { shape: shape.to_owned(), whole_digits: whole, fraction_digits: fraction };
            assert_eq!(number(cell.as_bytes()), expected, "{cell}");
        }
    }

    #[test]
    fn unknown_columns_are_told_by_kind() {
        for (cell, told) in [
            ("true", "true or false"),
            ("1", "numbers"),
            ("-1,234.5", "numbers"),
            ("2026-09-01", "dates"),
            ("9/1/2026", "dates"),
            ("93c2b3cf-c6d8-4e7e-ade1-007768a6eba4", "GUIDs"),
            ("Contoso", "text"),
        ] {
            assert_eq!(kind(cell.as_bytes()), told, "{cell}");
        }
    }

    #[test]
    fn only_so_many_shapes_are_told_apart() {
        let mut tally = Tally::default();
        (1..=8).for_each(|length| tally.count("9".repeat(length)));
        tally.count("99".to_owned());
        let words = tally.words();
        assert_eq!(words.len(), MAX_SHAPES + 1);
        assert_eq!((words[0].as_str(), words[MAX_SHAPES].as_str()), ("99 (<10)", "other shapes (<10)"));
    }

    proptest! {
        #[test]
        fn no_shape_holds_a_letter_or_digit_of_its_cell(cell in "\\PC{0,60}") {
            for shape in [date(cell.as_bytes()), number(cell.as_bytes()).shape] {
                if shape == "longer than a shape" { continue }
                let kept = |c: &char| c.is_alphanumeric() && !"9aATtZzPMpmEe?".contains(*c);
                prop_assert_eq!(shape.chars().find(kept), None, "{} of {}", shape, cell);
            }
            prop_assert!(["other"].contains(&boolean(cell.as_bytes()).as_str()) || cell.len() <= 5);
        }
    }
}
