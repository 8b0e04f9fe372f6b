//! `[datasets.filter]` of a pipeline file becomes the condition of its requests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use toml::Value as Toml;

use super::nearest;
use crate::error::{Error, Kind, Result};
use crate::normalise::parse_decimal;
use crate::schema::{Dataset, FilterKind};
use crate::source::filter::{Filter, Value};

/// Values that one field may be compared with: an address has an end.
const MAX_VALUES: usize = 50;
const MAX_CHARS: usize = 200;
/// Digits after the point that an amount may have.
const SCALE: u8 = 10;

/// What rows must be; `None` for no filter.
///
/// # Errors
/// [`Kind::Config`] that names the key.
pub(super) fn condition(dataset: &Dataset, wanted: &BTreeMap<String, Toml>) -> Result<Option<Filter>> {
    let known: Vec<_> = dataset.api.iter().flat_map(|api| api.conditions()).collect();
    if let Some(key) = wanted.keys().find(|key| !known.iter().any(|(name, _)| name == key)) {
        let names: Vec<String> = known.iter().map(|(name, _)| format!("`{name}`")).collect();
        let message = format!("unknown filter `{key}`");
        let hint = nearest::suggestion(&format!("{message}, expected one of {}", names.join(", ")));
        let error = Error::new(Kind::Config, message).with("dataset", &dataset.name);
        return Err(error.hint(hint.unwrap_or_default()));
    }
    let mut parts = Vec::new();
    for (name, field) in known {
        let Some(value) = wanted.get(name) else { continue };
        let part = of_field(&field.field, field.kind, value).map_err(|wrong| {
            Error::new(Kind::Config, format!("the filter `{name}` is wrong: {wrong}"))
                .with("dataset", &dataset.name)
                .hint(example(name, field.kind))
        })?;
        parts.push(part);
    }
    Ok((!parts.is_empty()).then(|| Filter::all(parts)))
}

fn example(name: &str, kind: FilterKind) -> String {
    match kind {
        FilterKind::Text => format!("write {name} = \"one\" or {name} = [\"one\", \"other\"]"),
        FilterKind::Id => format!(
            "write {name} = \"4711\" or {name} = [\"4711\", \"4712\"]; without quotes the request has none"
        ),
        FilterKind::Number => {
            format!("write {name} = {{ min = 1000, max = \"5000.50\" }}; quote an amount with a point")
        }
        FilterKind::Time => format!("write {name} = {{ min = \"2026-01-01\", max = \"2026-03-31\" }}"),
    }
}

fn of_field(field: &str, kind: FilterKind, value: &Toml) -> Result<Filter, String> {
    match kind {
        FilterKind::Text | FilterKind::Id => {
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            if values.is_empty() || values.len() > MAX_VALUES {
                return Err(format!("it takes 1 to {MAX_VALUES} values, and has {}", values.len()));
            }
            let each = values.iter().map(|value| equal(field, kind, value));
            Ok(Filter::any(each.collect::<Result<Vec<_>, _>>()?))
        }
        FilterKind::Number => {
            span(value, |end, at| amount(at).map(|digits| compare(end, field, Value::Number(&digits))))
        }
        FilterKind::Time => span(value, |end, at| Ok(compare(end, field, Value::Time(instant(at, end)?)))),
    }
}

fn equal(field: &str, kind: FilterKind, value: &Toml) -> Result<Filter, String> {
    match value {
        Toml::Integer(number) if kind == FilterKind::Id && *number >= 0 => {
            Ok(Filter::eq(field, Value::Number(&number.to_string())))
        }
        Toml::String(text) => {
            let is_good = !text.trim().is_empty()
                && text.chars().count() <= MAX_CHARS
                && !text.contains(char::is_control);
            let wrong = || format!("a text has 1 to {MAX_CHARS} characters, on one line");
            is_good.then(|| Filter::eq(field, Value::Text(text))).ok_or_else(wrong)
        }
        other => Err(format!("a text is expected, not {}", a_kind(other))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

fn compare(end: End, field: &str, value: Value<'_>) -> Filter {
    match end {
        End::Min => Filter::ge(field, value),
        End::Max => Filter::le(field, value),
    }
}

/// `{ min = ..., max = ... }`, one of them at least.
fn span(value: &Toml, part: impl Fn(End, &Toml) -> Result<Filter, String>) -> Result<Filter, String> {
    let Some(ends) = value.as_table().filter(|ends| !ends.is_empty()) else {
        return Err(format!("`min`, `max` or both are expected, not {}", a_kind(value)));
    };
    if let Some(key) = ends.keys().find(|key| *key != "min" && *key != "max") {
        return Err(format!("`{key}` is neither `min` nor `max`"));
    }
    let ends = [(End::Min, ends.get("min")), (End::Max, ends.get("max"))];
    let parts = ends.into_iter().filter_map(|(end, at)| at.map(|at| part(end, at)));
    Ok(Filter::all(parts.collect::<Result<Vec<_>, _>>()?))
}

/// Digits as they are written: an amount is never a float.
fn amount(value: &Toml) -> Result<String, String> {
    let digits = match value {
        Toml::Integer(number) => number.to_string(),
        Toml::String(text) => text.clone(),
        Toml::Float(_) => {
            return Err("an amount with a point must stand in quotes, so that it is never a float".to_owned());
        }
        other => return Err(format!("an amount is expected, not {}", a_kind(other))),
    };
    let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-');
    match plain && parse_decimal(digits.as_bytes(), SCALE).is_ok() {
        true => Ok(digits),
        false => Err(format!("an amount is plain digits, with at most {SCALE} after the point")),
    }
}

/// A day counts whole.
fn instant(value: &Toml, end: End) -> Result<Timestamp, String> {
    let text = match value {
        Toml::String(text) => text.clone(),
        Toml::Datetime(at) => at.to_string(),
        other => return Err(format!("a day or a time is expected, not {}", a_kind(other))),
    };
    let time = if end == End::Min { Time::midnight() } else { Time::constant(23, 59, 59, 999_000_000) };
    let day = text.parse::<Date>().ok().filter(|_| !text.contains([':', 'T', 't']));
    let at = match day {
        Some(day) => TimeZone::UTC.to_timestamp(day.to_datetime(time)).ok(),
        None => text.parse().ok(),
    };
    at.ok_or_else(|| "a day is YYYY-MM-DD, a time has its zone: 2026-01-01T08:00:00Z".to_owned())
}

fn a_kind(value: &Toml) -> &'static str {
    match value {
        Toml::String(_) => "a text",
        Toml::Integer(_) => "a whole number",
        Toml::Float(_) => "a number with a point",
        Toml::Boolean(_) => "true or false",
        Toml::Datetime(_) => "a time",
        Toml::Array(_) => "a list",
        Toml::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Registry;

    fn of(dataset: &str, text: &str) -> Result<Option<String>> {
        let registry = Registry::built_in().unwrap();
        let wanted: BTreeMap<String, Toml> = toml::from_str(text).unwrap();
        let condition = condition(registry.dataset(dataset).unwrap(), &wanted)?;
        Ok(condition.map(|condition| condition.to_string()))
    }

    #[test]
    fn every_documented_field_can_be_asked_by() {
        let earnings = "participant_id = ['1', 2]\nprogram_name = \"Partner's choice\"\nlever = 'Core'\nearning_type = 'REBATE'\n\
            payment_id = '000000000012'\npayment_status = ['SENT', 'UPCOMING']\ntransaction_amount = { min = 1000, max = '5000.50' }\n\
            earning_amount = { max = -3 }\nengagement_name = 'Azure'";
        assert_eq!(
            of("transaction_history", earnings).unwrap().unwrap(),
            "(enrollmentParticipantId eq '1' or enrollmentParticipantId eq 2) and programName eq 'Partner''s choice' \
             and leverCode eq 'Core' and payableSubType eq 'REBATE' and paymentId eq '000000000012' \
             and (payoutStatus eq 'SENT' or payoutStatus eq 'UPCOMING') and transactionAmount ge 1000 \
             and transactionAmount le 5000.50 and earningAmount le -3 and engagementName eq 'Azure'"
        );
        let payments = "order_type = 'FEE'\nstatus_updated = { min = 2026-01-01, max = '2026-01-31' }\ntotal_payment = { min = 1 }";
        assert_eq!(
            of("payments", payments).unwrap().unwrap(),
            "payoutStatusUpdateTS ge 2026-01-01T00:00:00Z and payoutStatusUpdateTS le 2026-01-31T23:59:59.999Z \
             and payoutOrderType eq 'FEE' and paymentAmount ge 1"
        );
        assert_eq!(of("payments", "").unwrap(), None);
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, part) in [
            ("programme_name = 'x'", "unknown filter `programme_name`"),
            ("earning_date = '2026-01-01'", "unknown filter `earning_date`"),
            ("program_name = 7", "not a whole number"),
            ("program_name = []", "1 to 50 values"),
            ("program_name = ' '", "1 to 200 characters"),
            ("program_name = \"a\\nb\"", "on one line"),
            ("participant_id = 1.5", "not a number with a point"),
            ("earning_amount = { min = 1.5 }", "must stand in quotes"),
            ("earning_amount = { min = '1e5' }", "plain digits"),
            ("earning_amount = { min = '1.00000000001' }", "plain digits"),
            ("earning_amount = { least = 1 }", "neither `min` nor `max`"),
            ("earning_amount = 5", "`min`, `max` or both"),
            ("earning_amount = {}", "`min`, `max` or both"),
        ] {
            let error = of("transaction_history", text).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{text}");
            assert!(error.to_string().contains(part), "{text}: {error}");
            assert!(error.hint_text().is_some_and(|hint| !hint.is_empty()), "{text}");
        }
        assert!(of("payments", "status_updated = { min = '2026-02-30' }").is_err());
        let hint = of("transaction_history", "programname = 'x'").unwrap_err();
        assert!(hint.hint_text().unwrap().starts_with("did you mean `program_name`?"));
    }
}
