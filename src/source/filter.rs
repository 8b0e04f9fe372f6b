//! The text of `$filter`: only `eq`, `ge`, `le`, `and`, `or` and parentheses are documented, so only they are written.
//!
//! ```
//! use payoutlake::source::filter::{Filter, Value};
//!
//! let programmes = ["CSP Direct Bill Partner", "Partner's choice"];
//! let filter = Filter::all([
//!     Filter::eq("payoutStatus", Value::Text("SENT")),
//!     Filter::any(programmes.map(|name| Filter::eq("programName", Value::Text(name)))),
//! ]);
//! assert_eq!(
//!     filter.to_string(),
//!     "payoutStatus eq 'SENT' and (programName eq 'CSP Direct Bill Partner' or programName eq 'Partner''s choice')",
//! );
//! ```

use std::fmt;

use jiff::civil::Date;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// A condition. Field names are written as they are: they come from our own lists, not from a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    text: String,
    joined: Joined,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joined {
    Single,
    And,
    Or,
}

/// What a field is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Put between apostrophes; apostrophes inside are doubled.
    Text(&'a str),
    /// Written in UTC, to the millisecond: rounded down for `ge` and up for `le`, so that no instant is lost.
    Time(Timestamp),
    /// A bare day, as some of the documents write it; what `le` means then is not documented.
    Day(Date),
    /// Digits as they are, never through a float: `1000.50`.
    Number(&'a str),
}

impl Filter {
    #[must_use]
    pub fn eq(field: &str, value: Value<'_>) -> Self {
        Filter::single(field, "eq", value, RoundMode::Trunc)
    }

    #[must_use]
    pub fn ge(field: &str, value: Value<'_>) -> Self {
        Filter::single(field, "ge", value, RoundMode::Floor)
    }

    #[must_use]
    pub fn le(field: &str, value: Value<'_>) -> Self {
        Filter::single(field, "le", value, RoundMode::Ceil)
    }

    /// Every part must hold. `or` groups inside get parentheses. Of no parts at all: an empty text, no filter.
    #[must_use]
    pub fn all(parts: impl IntoIterator<Item = Filter>) -> Self {
        Filter::joined(parts, Joined::And)
    }

    /// One part must hold. `and` groups inside get parentheses.
    #[must_use]
    pub fn any(parts: impl IntoIterator<Item = Filter>) -> Self {
        Filter::joined(parts, Joined::Or)
    }

    fn single(field: &str, operator: &str, value: Value<'_>, mode: RoundMode) -> Self {
        let value = match value {
            Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Value::Time(at) => {
                let round = TimestampRound::new().smallest(Unit::Millisecond).mode(mode);
                // Fails only within a millisecond of the year 9999's end.
                at.round(round).unwrap_or(at).to_string()
            }
            Value::Day(day) => day.to_string(),
            Value::Number(digits) => digits.to_owned(),
        };
        Filter { text: format!("{field} {operator} {value}"), joined: Joined::Single }
    }

    fn joined(parts: impl IntoIterator<Item = Filter>, by: Joined) -> Self {
        let mut parts: Vec<Filter> = parts.into_iter().filter(|part| !part.text.is_empty()).collect();
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let word = if by == Joined::And { " and " } else { " or " };
        let texts: Vec<String> = parts
            .into_iter()
            .map(|part| {
                let plain = part.joined == Joined::Single || part.joined == by;
                if plain { part.text } else { format!("({})", part.text) }
            })
            .collect();
        Filter { text: texts.join(word), joined: by }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::http::percent_encoded;
    use super::*;

    fn window(field: &str, from: Timestamp, to: Timestamp) -> String {
        Filter::all([Filter::ge(field, Value::Time(from)), Filter::le(field, Value::Time(to))]).to_string()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_written_in_utc() {
        assert_eq!(
            window("earningForDate", at("2026-08-31T22:00:00-02:00"), at("2026-09-30T23:59:59.9999999Z")),
            "earningForDate ge 2026-09-01T00:00:00Z and earningForDate le 2026-10-01T00:00:00Z"
        );
        assert_eq!(
            window("f", at("2026-09-01T00:00:00.0009Z"), at("2026-09-30T23:59:59.999Z")),
            "f ge 2026-09-01T00:00:00Z and f le 2026-09-30T23:59:59.999Z"
        );
        // Before 1970 rounding must still go outwards.
        assert_eq!(
            window("f", at("1969-12-31T23:59:59.9999Z"), at("1969-12-31T23:59:59.9991Z")),
            "f ge 1969-12-31T23:59:59.999Z and f le 1970-01-01T00:00:00Z"
        );
    }

    #[test]
    fn groups_are_bracketed_only_where_it_matters() {
        let a = || Filter::eq("a", Value::Number("1"));
        let b = || Filter::eq("b", Value::Number("2"));
        let text = |filter: Filter| filter.to_string();
        assert_eq!(text(Filter::all([a(), Filter::all([b(), a()])])), "a eq 1 and b eq 2 and a eq 1");
        assert_eq!(text(Filter::all([a(), Filter::any([b(), a()])])), "a eq 1 and (b eq 2 or a eq 1)");
        assert_eq!(text(Filter::any([a(), Filter::all([b(), a()])])), "a eq 1 or (b eq 2 and a eq 1)");
        assert_eq!(text(Filter::all([a(), Filter::any([b()])])), "a eq 1 and b eq 2");
        assert_eq!(text(Filter::any([])), "");
        assert_eq!(text(Filter::all([Filter::any([]), a()])), "a eq 1");
    }

    /// Reads an OData string literal at the start of the text: its value, and what follows it.
    fn read_literal(text: &str) -> Option<(String, &str)> {
        let mut rest = text.strip_prefix('\'')?;
        let mut value = String::new();
        loop {
            let (before, after) = rest.split_once('\'')?;
            value.push_str(before);
            match after.strip_prefix('\'') {
                Some(more) => {
                    value.push('\'');
                    rest = more;
                }
                None => return Some((value, after)),
            }
        }
    }

    proptest! {
        #[test]
        fn a_value_never_leaves_its_apostrophes(value in "(\\PC|'){0,40}") {
            let filter = Filter::all([
                Filter::eq("programName", Value::Text(&value)),
                Filter::eq("payoutStatus", Value::Text("SENT")),
            ]).to_string();
            let literal = filter.strip_prefix("programName eq ").unwrap();
            let (read, rest) = read_literal(literal).unwrap();
            prop_assert_eq!(read, value);
            prop_assert_eq!(rest, " and payoutStatus eq 'SENT'");
        }

        #[test]
        fn a_filter_survives_the_query_string(value in "\\PC{0,40}") {
            let filter = Filter::eq("programName", Value::Text(&value)).to_string();
            let mut url = url::Url::parse("https://api.example/v1.0/payouts/x").unwrap();
            url.set_query(Some(&format!("$filter={}&fileformat=csv", percent_encoded(&filter))));
            prop_assert!(!url.as_str().contains(['+', ' ', '\'']));
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(&pairs[0], &("$filter".to_owned(), filter));
            prop_assert_eq!(pairs.len(), 2);
        }
    }
}
