//! In words: what a cell goes through on its way to a value.

use super::MonthCell;
use super::cells::is_blank;
use crate::schema::{Column, LogicalType, comparable_name};

/// How the text of a cell becomes the value of a column, for people. `header` is the name that stands over the cell.
#[must_use]
pub fn rule(column: &Column, header: &str, cell: &[u8]) -> String {
    let mut words = Vec::new();
    let published = comparable_name(&column.published);
    let comparable = comparable_name(header);
    if comparable != published {
        let own = column.also.iter().any(|name| comparable_name(name) == comparable);
        words.push(match own {
            true => format!("another spelling of {}", column.published),
            false => format!("stands in for {}, which the file lacks", column.published),
        });
    }
    words.extend(value_rule(column, cell));
    words.join("; ")
}

fn value_rule(column: &Column, cell: &[u8]) -> Vec<String> {
    if is_blank(cell) {
        return vec!["blank is NULL".to_owned()];
    }
    let kind = match column.logical {
        LogicalType::String => "text, byte for byte".to_owned(),
        LogicalType::Money | LogicalType::Rate | LogicalType::Decimal => {
            format!("exact decimal, {} fraction digits", column.scale().unwrap_or_default())
        }
        LogicalType::Integer => "decimal without a fraction".to_owned(),
        LogicalType::Boolean => "true, yes, 1 or false, no, 0 in any case".to_owned(),
        LogicalType::Date => "date; a time behind it must be midnight".to_owned(),
        LogicalType::Timestamp => "time in UTC, to the microsecond".to_owned(),
        LogicalType::Month => match super::parse_month(cell, None) {
            Ok(MonthCell::Text(_)) => "text that says why there is no month".to_owned(),
            _ => "month, written YYYY-MM".to_owned(),
        },
    };
    let has = |marks: &[u8]| cell.iter().any(|byte| marks.contains(byte));
    let is_number = matches!(
        column.logical,
        LogicalType::Money | LogicalType::Rate | LogicalType::Decimal | LogicalType::Integer
    );
    let mut words = vec![kind];
    for (spelled, what) in [
        (has(b"("), "parentheses are a minus"),
        (has(b","), "thousands separators left out"),
        (has(b"eE"), "exponent worked out"),
    ] {
        if is_number && spelled {
            words.push(what.to_owned());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Registry;

    #[test]
    fn rules_say_what_was_done() {
        let registry = Registry::built_in().unwrap();
        let of = |dataset: &str, column: &str, header: &str, cell: &str| {
            let dataset = registry.dataset(dataset).unwrap();
            rule(dataset.newest().column(column).unwrap(), header, cell.as_bytes())
        };
        for (column, header, cell, words) in [
            ("earning_id", "Earning ID", "E-1", "text, byte for byte"),
            ("earning_amount", "earningAmount", " ", "blank is NULL"),
            ("earning_amount", "earningAmount", "12.50", "exact decimal, 10 fraction digits"),
            (
                "earning_amount",
                "earningAmount",
                "(1,234.50)",
                "exact decimal, 10 fraction digits; parentheses are a minus; thousands separators left out",
            ),
            ("estimated_payment_month", "estimatedPaymentMonth", "Sep-2020", "month, written YYYY-MM"),
            (
                "estimated_payment_month",
                "Estimated payment month",
                "Not applicable",
                "text that says why there is no month",
            ),
        ] {
            assert_eq!(of("transaction_history", column, header, cell), words, "{column} {cell}");
        }
        assert_eq!(
            of("payments", "payment_currency_code", "currencyCode", "EUR"),
            "stands in for paymentCurrencyCode, which the file lacks; text, byte for byte"
        );
    }
}
