//! The cells of the columns that are typed, and of those that nobody knows: their shapes.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::shapes::{self, Tally};
use crate::model::{Finding, RawBatch, magnitude};
use crate::normalise::parse_timestamp;
use crate::schema::{Dataset, HeaderMatch, LogicalType};

/// The longest name of an unknown column that is told.
const MAX_NAME_CHARS: usize = 40;

/// The most columns that are told, over all files.
const MAX_COLUMNS: usize = 2_000;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What is looked at in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Dates,
    Numbers,
    Booleans,
    Unknown,
}

impl About {
    fn of(logical: LogicalType) -> Option<About> {
        match logical {
            LogicalType::String => None,
            LogicalType::Date | LogicalType::Timestamp | LogicalType::Month => Some(About::Dates),
            LogicalType::Money | LogicalType::Rate | LogicalType::Decimal | LogicalType::Integer => {
                Some(About::Numbers)
            }
            LogicalType::Boolean => Some(About::Booleans),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            About::Dates => "dates",
            About::Numbers => "numbers",
            About::Booleans => "booleans",
            About::Unknown => "unknown column",
        }
    }
}

/// What was seen of one column, over all files.
#[derive(Debug, Default)]
struct Column {
    shapes: Tally,
    blank: u64,
    whole_digits: usize,
    fraction_digits: usize,
    day_first: u64,
    month_first: u64,
}

impl Column {
    fn count(&mut self, about: About, cell: &[u8]) {
        let cell = cell.trim_ascii();
        if cell.is_empty() {
            self.blank += 1;
            return;
        }
        self.shapes.count(match about {
            About::Dates => {
                let first = shapes::day_first(cell);
                self.day_first += u64::from(first == Some(true));
                self.month_first += u64::from(first == Some(false));
                shapes::date(cell)
            }
            About::Numbers => {
                let number = shapes::number(cell);
                self.whole_digits = self.whole_digits.max(number.whole_digits);
                self.fraction_digits = self.fraction_digits.max(number.fraction_digits);
                number.shape
            }
            About::Booleans => shapes::boolean(cell),
            About::Unknown => shapes::kind(cell).to_owned(),
        });
    }

    /// Nothing when every cell was blank.
    fn words(&self, about: About) -> Vec<String> {
        let mut words = self.shapes.words();
        if words.is_empty() {
            return words;
        }
        if about == About::Numbers {
            let Column { whole_digits, fraction_digits, .. } = self;
            words.push(format!("up to {whole_digits} digits before the point, {fraction_digits} behind it"));
        }
        for (order, count) in [("day", self.day_first), ("month", self.month_first)] {
            if count > 0 {
                words.push(format!("the {order} comes first ({})", magnitude(count)));
            }
        }
        words.push(format!("blank ({})", magnitude(self.blank)));
        words
    }
}

/// The columns of all files of an export.
#[derive(Debug, Default)]
pub(super) struct Columns {
    columns: BTreeMap<(About, String), Column>,
    /// For the file that is being read: what is looked at in which cell.
    cells: Vec<(usize, About, String)>,
    driving_cell: Option<usize>,
    pub(super) days: Option<Days>,
}

impl Columns {
    pub(super) fn new(asked: Option<(Date, Date)>) -> Self {
        Columns { days: asked.map(Days::new), ..Columns::default() }
    }

    /// Begins with the rows of a file.
    pub(super) fn begin(&mut self, dataset: &Dataset, header: &[String], found: &HeaderMatch) {
        let known = dataset.newest().columns.iter().zip(&found.cells);
        let typed = known.clone().filter_map(|(column, cell)| {
            // A spelling of a known name, or that name.
            let name = plain_name(&header[(*cell)?]).unwrap_or_else(|| column.published.clone());
            Some(((*cell)?, About::of(column.logical)?, name))
        });
        let unknown =
            found.unknown.iter().map(|(cell, _)| (*cell, About::Unknown, column_name(*cell, &header[*cell])));
        self.cells = typed.chain(unknown).collect();
        let driving = known.clone().find(|(column, _)| column.name == dataset.driving_date);
        self.driving_cell = driving.and_then(|(_, cell)| *cell);
        for (_, about, name) in &self.cells {
            if self.columns.len() < MAX_COLUMNS {
                self.columns.entry((*about, name.clone())).or_default();
            }
        }
    }

    pub(super) fn count(&mut self, batch: &RawBatch) {
        for (cell, about, name) in &self.cells {
            let Some(column) = self.columns.get_mut(&(*about, name.clone())) else { continue };
            (0..batch.rows())
                .filter_map(|row| batch.cell(row, *cell))
                .for_each(|text| column.count(*about, text));
        }
        if let (Some(cell), Some(days)) = (self.driving_cell, &mut self.days) {
            (0..batch.rows()).filter_map(|row| batch.cell(row, cell)).for_each(|text| days.count(text));
        }
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        let of = |((about, name), column): (&(About, String), &Column)| {
            Finding::of_column(about.as_str(), name, column.words(*about))
        };
        self.columns.iter().map(of)
    }
}

/// A header as it may be told: Microsoft's names are plain. Anything else might be somebody's data.
pub(super) fn column_name(cell: usize, header: &str) -> String {
    plain_name(header).unwrap_or_else(|| format!("unknown column {}", cell + 1))
}

fn plain_name(header: &str) -> Option<String> {
    let name = header.trim_start_matches('\u{feff}').trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_');
    let fits = !name.is_empty() && name.len() <= MAX_NAME_CHARS && name.chars().all(plain);
    fits.then(|| name.to_owned())
}

/// Where rows stand beside the days that were asked for, by the date that drives their month: days since 1970-01-01.
#[derive(Debug)]
pub(super) struct Days {
    first: i64,
    last: i64,
    inside: u64,
    last_at_midnight: u64,
    last_later: u64,
    /// On the day before the last one: without such rows none on the last day say nothing.
    day_before: u64,
    /// Outside, in the month that was asked for.
    same_month: u64,
    other_months: u64,
    farthest: i64,
    unreadable: u64,
    month: (i16, i8),
}

impl Days {
    fn new((first, last): (Date, Date)) -> Self {
        let days = |date: Date| i64::from((date - Date::constant(1970, 1, 1)).get_days());
        let month = (first.year(), first.month());
        let (first, last) = (days(first), days(last));
        Days {
            first,
            last,
            month,
            inside: 0,
            last_at_midnight: 0,
            last_later: 0,
            day_before: 0,
            same_month: 0,
            other_months: 0,
            farthest: 0,
            unreadable: 0,
        }
    }

    fn count(&mut self, cell: &[u8]) {
        let Ok(micros) = parse_timestamp(cell, None) else {
            self.unreadable += 1;
            return;
        };
        let day = micros.div_euclid(MICROS_PER_DAY);
        let date = i32::try_from(day)
            .ok()
            .and_then(|day| Date::constant(1970, 1, 1).checked_add(jiff::Span::new().days(day)).ok());
        match () {
            () if (self.first..=self.last).contains(&day) => {
                self.inside += 1;
                let midnight = micros.rem_euclid(MICROS_PER_DAY) == 0;
                self.last_at_midnight += u64::from(day == self.last && midnight);
                self.last_later += u64::from(day == self.last && !midnight);
                self.day_before += u64::from(day == self.last - 1);
            }
            () if date.is_some_and(|date| (date.year(), date.month()) == self.month) => self.same_month += 1,
            () => {
                self.other_months += 1;
                self.farthest = self.farthest.max(self.first - day).max(day - self.last);
            }
        }
    }

    pub(super) fn words(&self) -> Vec<String> {
        if self.inside + self.same_month + self.other_months == 0 {
            return Vec::new();
        }
        let far = [(1, "a day"), (7, "a week"), (31, "a month"), (366, "a year")];
        let far = far.into_iter().find(|(days, _)| self.farthest <= *days).map_or("more", |(_, words)| words);
        let mut words = vec![
            format!("inside the asked days ({})", magnitude(self.inside)),
            format!(
                "on the last asked day at 00:00 ({}), later on that day ({})",
                magnitude(self.last_at_midnight),
                magnitude(self.last_later)
            ),
            format!("on the day before ({})", magnitude(self.day_before)),
            format!("outside, in the same month ({})", magnitude(self.same_month)),
            format!("in other months ({})", magnitude(self.other_months)),
        ];
        if self.other_months > 0 {
            words.push(format!("at most {far} away"));
        }
        if self.unreadable > 0 {
            words.push(format!("blank or not readable ({})", magnitude(self.unreadable)));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_beside_the_asked_days_are_counted() {
        let mut days = Days::new((Date::constant(2026, 10, 2), Date::constant(2026, 10, 30)));
        for cell in [
            "2026-10-02",
            "2026-10-30T00:00:00Z",
            "2026-10-30T23:59:59Z",
            "2026-10-01T10:00:00Z",
            "2026-11-03",
            "",
        ] {
            days.count(cell.as_bytes());
        }
        assert_eq!(
            days.words(),
            [
                "inside the asked days (<10)",
                "on the last asked day at 00:00 (<10), later on that day (<10)",
                "on the day before (none)",
                "outside, in the same month (<10)",
                "in other months (<10)",
                "at most a week away",
                "blank or not readable (<10)",
            ]
        );
    }

    #[test]
    fn only_plain_names_of_columns_are_told() {
        for name in ["earningId", "Program Code", "snake_case_2"] {
            assert_eq!(column_name(3, name), name);
        }
        assert_eq!(column_name(0, "\u{feff}earningId "), "earningId");
        for name in ["", "a@contoso.com", "Année", "x,y", "a/b-c", &"x".repeat(41)] {
            assert_eq!(column_name(3, name), "unknown column 4", "{name}");
        }
    }
}
