//! `$filter`: the OData-like text that narrows an export, and whether a row passes it.
//!
//! ```text
//! any   = all ("or" all)*        test    = field ("eq" | "ge" | "le") literal
//! all   = one ("and" one)*       literal = 'text', with doubled quotes | number | date | date-time
//! one   = "(" any ")" | test
//! ```
//!
//! Fields and operators are found without regard to case, and so are texts. A bare date is its midnight in UTC,
//! also behind `le`: whether the service means the whole day is not documented, and a client must not rely on it.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::Dataset;

/// Parentheses inside parentheses, at most: a filter comes from outside, and the parser calls itself.
const MAX_DEPTH: usize = 32;

/// What a filter can ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    EarningForDate,
    ParticipantId,
    ProgramName,
    LeverCode,
    OrderType,
    PaymentId,
    PayoutStatus,
    TransactionAmount,
    EarningAmount,
    EngagementName,
    StatusUpdated,
    PaymentAmount,
    PaymentDate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    /// Quoted.
    Text,
    /// Quoted or not: the documentation prints both.
    Id,
    Number,
    Time,
}

/// Fields of each data set as they are documented, and their types.
const EARNINGS: [(&str, Field, Type); 10] = [
    ("earningForDate", Field::EarningForDate, Type::Time),
    ("enrollmentParticipantId", Field::ParticipantId, Type::Id),
    ("programName", Field::ProgramName, Type::Text),
    ("leverCode", Field::LeverCode, Type::Text),
    ("payableSubType", Field::OrderType, Type::Text),
    ("paymentId", Field::PaymentId, Type::Id),
    ("payoutStatus", Field::PayoutStatus, Type::Text),
    ("transactionAmount", Field::TransactionAmount, Type::Number),
    ("earningAmount", Field::EarningAmount, Type::Number),
    ("engagementName", Field::EngagementName, Type::Text),
];

const PAYMENTS: [(&str, Field, Type); 7] = [
    ("enrollmentParticipantId", Field::ParticipantId, Type::Id),
    ("payoutStatusUpdateTS", Field::StatusUpdated, Type::Time),
    ("programName", Field::ProgramName, Type::Text),
    ("payoutOrderType", Field::OrderType, Type::Text),
    ("paymentId", Field::PaymentId, Type::Id),
    ("paymentAmount", Field::PaymentAmount, Type::Number),
    ("paymentDate", Field::PaymentDate, Type::Time),
];

/// What a row says about a field.
#[derive(Debug, Clone, Copy)]
pub enum Fact<'a> {
    Text(&'a str),
    /// A payment id: twelve digits.
    Digits(u64),
    /// In units of 10⁻¹⁰.
    Number(i128),
    /// Seconds since 1970-01-01.
    Time(i64),
    Blank,
}

/// A filter that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    Any(Vec<Filter>),
    All(Vec<Filter>),
    Test { field: Field, operator: Operator, value: Value },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equal,
    AtLeast,
    AtMost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    /// In units of 10⁻¹⁰.
    Number(i128),
    /// Nanoseconds since 1970-01-01.
    Time(i128),
}

const NANOS: i128 = 1_000_000_000;

impl Filter {
    /// # Errors
    /// What the service would answer with 400, naming the field, operator or value.
    pub fn parse(text: &str, dataset: Dataset) -> Result<Filter, String> {
        let fields: &[_] = match dataset {
            Dataset::TransactionHistory => &EARNINGS,
            Dataset::Payments => &PAYMENTS,
        };
        let mut parser = Parser { tokens: tokens(text)?, next: 0, fields };
        let filter = parser.any(0)?;
        match parser.take() {
            None => Ok(filter),
            Some(token) => Err(format!("unexpected '{}' after the end of the filter", token.shown())),
        }
    }

    /// Whether a row passes; `fact` tells what the row says about a field.
    pub fn holds<'a>(&self, fact: &impl Fn(Field) -> Fact<'a>) -> bool {
        match self {
            Filter::Any(parts) => parts.iter().any(|part| part.holds(fact)),
            Filter::All(parts) => parts.iter().all(|part| part.holds(fact)),
            Filter::Test { field, operator, value } => operator.holds(fact(*field), value),
        }
    }

    /// The span of seconds outside of which no row passes, as far as `field` tells: for skipping whole months.
    #[must_use]
    pub fn span(&self, field: Field) -> (i64, i64) {
        const ALL: (i64, i64) = (i64::MIN, i64::MAX);
        match self {
            Filter::All(parts) => {
                parts.iter().map(|part| part.span(field)).fold(ALL, |a, b| (a.0.max(b.0), a.1.min(b.1)))
            }
            Filter::Any(parts) => parts
                .iter()
                .map(|part| part.span(field))
                .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
                .unwrap_or(ALL),
            Filter::Test { field: tested, operator, value: Value::Time(nanos) } if *tested == field => {
                let second = i64::try_from(nanos.div_euclid(NANOS)).unwrap_or(i64::MAX);
                match operator {
                    Operator::Equal => (second, second),
                    Operator::AtLeast => (second, i64::MAX),
                    Operator::AtMost => (i64::MIN, second),
                }
            }
            Filter::Test { .. } => ALL,
        }
    }
}

impl Operator {
    fn holds(self, fact: Fact<'_>, value: &Value) -> bool {
        let ordering = match (fact, value) {
            (Fact::Text(fact), Value::Text(text)) => return fact.eq_ignore_ascii_case(text),
            (Fact::Digits(fact), Value::Text(text)) => return text.parse() == Ok(fact),
            (Fact::Number(fact), Value::Number(number)) => fact.cmp(number),
            (Fact::Time(fact), Value::Time(nanos)) => (i128::from(fact) * NANOS).cmp(nanos),
            _ => return false,
        };
        match self {
            Operator::Equal => ordering.is_eq(),
            Operator::AtLeast => ordering.is_ge(),
            Operator::AtMost => ordering.is_le(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Word(String),
    Quoted(String),
}

impl Token {
    fn shown(&self) -> &str {
        match self {
            Token::Open => "(",
            Token::Close => ")",
            Token::Word(text) | Token::Quoted(text) => text,
        }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self, Token::Word(text) if text.eq_ignore_ascii_case(word))
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '=' => (Token::Word("=".to_owned()), 1),
            '\'' => quoted(rest)?,
            _ => {
                let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '\'' | '=');
                let length = rest.find(ends).unwrap_or(rest.len());
                (Token::Word(rest[..length].to_owned()), length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The text between apostrophes, and how many bytes it took with them.
fn quoted(text: &str) -> Result<(Token, usize), String> {
    let mut value = String::new();
    let mut at = 1;
    loop {
        let Some(length) = text[at..].find('\'') else {
            return Err(format!("the text {text} has no closing apostrophe"));
        };
        value.push_str(&text[at..at + length]);
        at += length + 1;
        if !text[at..].starts_with('\'') {
            return Ok((Token::Quoted(value), at));
        }
        value.push('\'');
        at += 1;
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    fields: &'static [(&'static str, Field, Type)],
}

impl Parser {
    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn take_if(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.next).is_some_and(|token| token.is_word(word));
        self.next += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.all(depth)?];
        while self.take_if("or") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.one(depth)?];
        while self.take_if("and") {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::All(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} parentheses inside each other"));
        }
        match self.take() {
            Some(Token::Open) => {
                let inner = self.any(depth + 1)?;
                match self.take() {
                    Some(Token::Close) => Ok(inner),
                    _ => Err("a parenthesis is not closed".to_owned()),
                }
            }
            Some(Token::Word(name)) => self.test(&name),
            Some(token) => Err(format!("a field must stand where '{}' stands", token.shown())),
            None => Err("a field is missing at the end of the filter".to_owned()),
        }
    }

    fn test(&mut self, name: &str) -> Result<Filter, String> {
        let Some((name, field, kind)) =
            self.fields.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))
        else {
            return Err(format!("the field '{name}' is not known or cannot be filtered"));
        };
        let operator = self.take().ok_or_else(|| format!("an operator is missing behind '{name}'"))?;
        let operator = match operator.shown().to_ascii_lowercase().as_str() {
            "eq" => Operator::Equal,
            "ge" if matches!(kind, Type::Number | Type::Time) => Operator::AtLeast,
            "le" if matches!(kind, Type::Number | Type::Time) => Operator::AtMost,
            other => return Err(format!("the operator '{other}' is not known for '{name}'")),
        };
        let value = self.take().ok_or_else(|| format!("a value is missing behind '{name}'"))?;
        let value = literal(&value, *kind)
            .ok_or_else(|| format!("the value '{}' does not fit the field '{name}'", value.shown()))?;
        Ok(Filter::Test { field: *field, operator, value })
    }
}

fn literal(token: &Token, kind: Type) -> Option<Value> {
    match (token, kind) {
        (Token::Quoted(text), Type::Text | Type::Id) => Some(Value::Text(text.clone())),
        (Token::Word(text), Type::Id) if text.bytes().all(|b| b.is_ascii_digit()) => {
            Some(Value::Text(text.clone()))
        }
        (Token::Word(text), Type::Number) => number(text).map(Value::Number),
        (Token::Word(text), Type::Time) => time(text).map(Value::Time),
        _ => None,
    }
}

/// A plain decimal number in units of 10⁻¹⁰; more digits than that cannot be compared exactly and do not fit.
fn number(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || whole.len() > 20 || fraction.len() > 10 {
        return None;
    }
    let units: i128 = format!("{whole}{fraction:0<10}").parse().ok()?;
    Some(sign * units)
}

/// A date, or a date and time with or without fraction and `Z`, as nanoseconds in UTC.
fn time(text: &str) -> Option<i128> {
    // Words such as `2026-W01` or a zone in brackets are no literals of OData.
    if !text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'.' | b'T' | b'Z' | b't' | b'z'))
    {
        return None;
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_nanosecond());
    }
    let civil = if text.contains(['T', 't']) {
        text.parse::<DateTime>().ok()?
    } else {
        text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())
    };
    TimeZone::UTC.to_timestamp(civil).ok().map(Timestamp::as_nanosecond)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn earnings(text: &str) -> Result<Filter, String> {
        Filter::parse(text, Dataset::TransactionHistory)
    }

    /// A row of 1234567, CSP, 12.50, at 2026-03-31T23:59:59Z, paid by 000000000012.
    fn holds(text: &str) -> bool {
        earnings(text).unwrap().holds(&|field| match field {
            Field::EarningForDate => Fact::Time(1_775_001_599),
            Field::ParticipantId => Fact::Text("1234567"),
            Field::ProgramName => Fact::Text("O'Neill's Program"),
            Field::EarningAmount => Fact::Number(125_000_000_000),
            Field::PayoutStatus => Fact::Text("Sent"),
            Field::PaymentId => Fact::Digits(12),
            _ => Fact::Blank,
        })
    }

    #[test]
    fn documented_filters_are_understood() {
        for text in [
            "earningForDate ge 2019-01-27T23:16:31.009Z and earningForDate le 2019-09-25T23:16:31.009Z",
            "earningForDate ge 2023-03-01 and earningForDate le 2023-04-12",
            "(programName eq 'CSP Direct Bill Partner' or programName eq 'CSP 1T Direct Partner')",
            "leverCode eq 'CSP Direct Partner: Core' and payoutStatus eq 'SENT'",
            "transactionAmount ge 1000 and transactionAmount le 5000.5",
            "enrollmentParticipantId eq 12345",
            "enrollmentParticipantId eq '12345'",
        ] {
            earnings(text).unwrap();
        }
        Filter::parse("payoutStatusUpdateTS le 2019-09-25T23:11:55.647Z", Dataset::Payments).unwrap();
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        for (text, named) in [
            ("payoutStatusUpdateTS ge 2023-01-01", "payoutStatusUpdateTS"),
            ("?$filter=earningForDate ge 2023-01-01", "?$filter"),
            ("payableSubType='REBATE'", "'='"),
            ("earningForDate gt 2023-01-01", "'gt'"),
            ("programName ge 'A'", "'ge'"),
            ("earningForDate ge 2023-02-30", "2023-02-30"),
            ("earningForDate ge '2023-02-01'", "2023-02-01"),
            ("earningAmount ge 1.00000000001", "1.00000000001"),
            ("programName eq 'open", "apostrophe"),
            ("(programName eq 'A'", "parenthesis"),
            ("programName eq 'A' programName eq 'B'", "programName"),
            ("programName eq 'A' and", "missing"),
            ("programName eq", "missing"),
            ("programName eq \u{2019}A\u{2019}", "\u{2019}A\u{2019}"),
        ] {
            let why = earnings(text).unwrap_err();
            assert!(why.contains(named), "{text}: {why}");
        }
        assert!(earnings(&"(".repeat(100_000)).unwrap_err().contains("32"));
    }

    #[test]
    fn rows_pass_as_the_grammar_says() {
        for (text, expected) in [
            ("earningForDate le 2026-03-31", false),
            ("earningForDate le 2026-03-31T23:59:59Z", true),
            ("earningForDate le 2026-03-31T23:59:58.999Z", false),
            ("earningForDate ge 2026-03-31", true),
            ("EARNINGFORDATE GE 2026-04-01T00:00:00", false),
            ("enrollmentParticipantId eq 1234567", true),
            ("programName eq 'O''Neill''s program'", true),
            ("programName eq 'ONeills'", false),
            ("earningAmount eq 12.5", true),
            ("earningAmount ge -3 and earningAmount le 12.49", false),
            ("payoutStatus eq 'SENT'", true),
            ("paymentId eq '000000000012'", true),
            ("transactionAmount ge -999999", false),
            ("payoutStatus eq 'x' or payoutStatus eq 'sent' and earningAmount ge 12", true),
            ("(payoutStatus eq 'sent' or payoutStatus eq 'x') and earningAmount ge 13", false),
        ] {
            assert_eq!(holds(text), expected, "{text}");
        }
    }

    #[test]
    fn a_span_is_never_narrower_than_the_filter() {
        let span = |text| earnings(text).unwrap().span(Field::EarningForDate);
        assert_eq!(span("earningForDate ge 1970-01-02 and earningForDate le 1970-01-03"), (86_400, 172_800));
        assert_eq!(span("earningForDate ge 1970-01-02 or payoutStatus eq 'x'"), (i64::MIN, i64::MAX));
        assert_eq!(span("earningForDate eq 1970-01-02 or earningForDate eq 1970-01-04").1, 259_200);
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_a_refusal(text in "\\PC{0,60}") {
            let _ = Filter::parse(&text, Dataset::Payments);
        }

        #[test]
        fn any_row_of_words_is_a_filter_or_a_refusal(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "(", ")", "and", "or", "eq", "ge", "le", "'a'", "'", "''", "1.5", "-", "2023-01-01",
                    "9999-12-31T23:59:59.9999999Z", "earningForDate", "programName", "paymentId", "=", "é",
                ]),
                0..30,
            )
        ) {
            let _ = Filter::parse(&words.join(" "), Dataset::TransactionHistory);
        }

        #[test]
        fn a_quoted_text_comes_back(text in "[^\u{0}]{0,20}") {
            let filter = earnings(&format!("programName eq '{}'", text.replace('\'', "''"))).unwrap();
            let Filter::Test { value: Value::Text(back), .. } = filter else { panic!("not a test") };
            prop_assert_eq!(back, text);
        }
    }
}
