//! Schema files as text -> datasets and versions. Every refusal names the file and the line.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, TimeUnit};
use serde::Deserialize;
use toml::Spanned;

use crate::error::{Error, Kind, Result};
use crate::model::{Currency, DatasetName, MONEY_SCALE, Month};

use super::dataset::{Api, Column, Dataset, LogicalType, Version};

/// A schema file: where it stands and what it says.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// For people: `schemas/payments/v3.toml`, or a path in the user's folder.
    pub file: String,
    pub text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatasetFile {
    name: Spanned<String>,
    title: String,
    #[serde(default)]
    key: Vec<String>,
    driving_date: String,
    partition: String,
    #[serde(default)]
    sort: Vec<String>,
    #[serde(default)]
    lookup: Vec<String>,
    #[serde(default)]
    vanishing: Vec<String>,
    #[serde(default)]
    foreign: Vec<String>,
    pending: Option<String>,
    paid_by: Option<DatasetName>,
    api: Option<Api>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionFile {
    version: Spanned<u32>,
    era: String,
    first_seen: String,
    source: String,
    confidence: String,
    types: BTreeMap<LogicalType, TypeLine>,
    #[serde(rename = "column")]
    columns: Vec<ColumnLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeLine {
    arrow: Spanned<String>,
    #[serde(rename = "why")]
    _why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnLine {
    name: Spanned<String>,
    published: String,
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    falls_back_to: Vec<String>,
    #[serde(rename = "type")]
    logical: LogicalType,
    currency: Option<String>,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    personal: bool,
    since: Option<String>,
    retired: Option<String>,
    confidence: Option<String>,
    meaning: String,
}

impl Source {
    /// An error at a place of this file.
    pub fn wrong(&self, at: usize, message: impl Into<String>) -> Error {
        let line = self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        Error::new(Kind::Config, message).with("file", &self.file).with("line", line)
    }

    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        toml::from_str(&self.text).map_err(|cause| {
            let at = cause.span().map_or(0, |span| span.start);
            let message = cause.message().lines().collect::<Vec<_>>().join(" ");
            self.wrong(at, format!("this schema file cannot be read: {message}"))
                .hint("The keys are explained at the top of schemas/transaction_history/v9.toml.")
        })
    }

    /// Reads a `dataset.toml`; the versions come from [`Source::version`].
    pub fn dataset(&self, folder: &str) -> Result<Dataset> {
        let file: DatasetFile = self.read()?;
        let at = file.name.span().start;
        if file.name.get_ref() != folder {
            return Err(self.wrong(
                at,
                format!("the dataset is named '{}', and its folder '{folder}'", file.name.get_ref()),
            ));
        }
        let name = DatasetName::parse(folder).map_err(|cause| self.wrong(at, cause.to_string()))?;
        Ok(Dataset {
            name,
            title: file.title,
            key: file.key,
            driving_date: file.driving_date,
            partition: file.partition,
            sort: file.sort,
            lookup: file.lookup,
            vanishing: file.vanishing,
            foreign: file.foreign,
            pending: file.pending,
            paid_by: file.paid_by,
            api: file.api,
            versions: Vec::new(),
            all: Arc::new([]),
        })
    }

    /// Reads a `vN.toml`.
    pub fn version(&self, number: u32) -> Result<Version> {
        let file: VersionFile = self.read()?;
        if *file.version.get_ref() != number {
            let message = format!("the file says version {}, and its name {number}", file.version.get_ref());
            return Err(self.wrong(file.version.span().start, message));
        }
        let mut types = BTreeMap::new();
        for (logical, line) in &file.types {
            let arrow = arrow_type(*logical, line.arrow.get_ref())
                .map_err(|message| self.wrong(line.arrow.span().start, message))?;
            types.insert(*logical, arrow);
        }
        let columns =
            file.columns.into_iter().map(|line| self.column(line, &types)).collect::<Result<_>>()?;
        Ok(Version {
            number,
            era: file.era,
            first_seen: file.first_seen,
            source: file.source,
            confidence: file.confidence,
            columns,
        })
    }

    fn column(&self, line: ColumnLine, types: &BTreeMap<LogicalType, DataType>) -> Result<Column> {
        let at = line.name.span().start;
        let name = line.name.into_inner();
        let wrong = |message: String| self.wrong(at, format!("column '{name}': {message}"));
        if !is_snake_case(&name) {
            return Err(wrong("the name must be snake_case: a-z, 0-9 and single '_'".to_owned()));
        }
        let logical = line.logical;
        let Some(arrow) = types.get(&logical) else {
            return Err(wrong(format!("its type '{0}' has no [types.{0}]", logical.as_str())));
        };
        if (logical == LogicalType::Money) != line.currency.is_some() {
            return Err(wrong("money has a currency, and nothing else has one".to_owned()));
        }
        if let Some(month) = &line.retired {
            Month::parse(month).map_err(|cause| wrong(cause.to_string()))?;
        }
        if let Some(since) = &line.since {
            // Of some columns only the year is known.
            let month = if since.len() == "2025".len() { format!("{since}-01") } else { since.clone() };
            Month::parse(&month).map_err(|_| wrong(format!("since '{since}' is no YYYY-MM or YYYY")))?;
        }
        Ok(Column {
            published: line.published,
            also: line.also,
            falls_back_to: line.falls_back_to,
            logical,
            arrow: arrow.clone(),
            currency: line.currency.map(|text| match text.strip_prefix('=') {
                Some(code) => Currency::Fixed(code.to_owned()),
                None => Currency::Column(text),
            }),
            required: line.required,
            personal: line.personal,
            since: line.since,
            retired: line.retired,
            confidence: line.confidence,
            meaning: line.meaning,
            name,
        })
    }
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('_')
        && !name.contains("__")
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The Arrow type of a logical type, from its text; says what it may be when it is something else.
fn arrow_type(logical: LogicalType, text: &str) -> Result<DataType, String> {
    let fixed = match logical {
        LogicalType::String | LogicalType::Month => ("utf8", DataType::Utf8),
        LogicalType::Integer => ("int64", DataType::Int64),
        LogicalType::Boolean => ("boolean", DataType::Boolean),
        LogicalType::Date => ("date32", DataType::Date32),
        LogicalType::Timestamp => {
            ("timestamp(us, UTC)", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
        }
        LogicalType::Money | LogicalType::Rate | LogicalType::Decimal => return decimal_type(logical, text),
    };
    if text == fixed.0 { Ok(fixed.1) } else { Err(format!("{} is '{}'", logical.as_str(), fixed.0)) }
}

fn decimal_type(logical: LogicalType, text: &str) -> Result<DataType, String> {
    let scale = text
        .strip_prefix("decimal128(38, ")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|scale| scale.parse::<u8>().ok())
        .filter(|scale| *scale <= DECIMAL128_MAX_PRECISION);
    match scale {
        // Control totals are integers of this scale, over all datasets and versions.
        Some(scale) if logical == LogicalType::Money && scale != MONEY_SCALE => {
            Err(format!("money has {MONEY_SCALE} fraction digits, as the control totals have"))
        }
        Some(scale) => Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale as i8)),
        None => Err(format!("{} is 'decimal128(38, S)' with S from 0 to 38", logical.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { file: "schemas/x/v1.toml".to_owned(), text: text.to_owned() }
    }

    const HEAD: &str = "version = 1\nera = ''\nfirst_seen = ''\nsource = ''\nconfidence = ''\n\
        [types.string]\narrow = 'utf8'\nwhy = ''\n[types.money]\narrow = 'decimal128(38, 10)'\nwhy = ''\n";

    #[test]
    fn an_unknown_key_is_refused_with_file_and_line() {
        let text = format!(
            "{HEAD}[[column]]\nname = 'a'\npublished = 'A'\ntype = 'string'\nmeaning = ''\nrequierd = true\n"
        );
        let error = source(&text).version(1).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        let printed = error.to_string();
        assert!(printed.contains("requierd") && printed.contains("line=17"), "{printed}");
        assert!(printed.contains("schemas/x/v1.toml"), "{printed}");
    }

    #[test]
    fn a_column_that_contradicts_itself_is_refused() {
        for (bad, says) in [
            ("name = 'earningId'\npublished = 'x'\ntype = 'string'", "snake_case"),
            ("name = 'a'\npublished = 'x'\ntype = 'money'", "currency"),
            ("name = 'a'\npublished = 'x'\ntype = 'string'\ncurrency = '=USD'", "currency"),
            ("name = 'a'\npublished = 'x'\ntype = 'date'", "[types.date]"),
            ("name = 'a'\npublished = 'x'\ntype = 'string'\nretired = '2020'", "YYYY-MM"),
            ("name = 'a'\npublished = 'x'\ntype = 'string'\nsince = '2020-13'", "YYYY-MM or YYYY"),
        ] {
            let error = source(&format!("{HEAD}[[column]]\n{bad}\nmeaning = ''\n")).version(1).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.to_string().contains("line="), "{error}");
        }
        let error = source(&HEAD.replace("(38, 10)", "(38, 2)")).version(1).unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "no column at all: {error}");
    }

    #[test]
    fn money_keeps_the_scale_of_the_totals() {
        assert!(arrow_type(LogicalType::Money, "decimal128(38, 2)").is_err());
        assert_eq!(arrow_type(LogicalType::Rate, "decimal128(38, 15)"), Ok(DataType::Decimal128(38, 15)));
        for bad in ["decimal128(39, 2)", "decimal128(38, 39)", "float64", "decimal128(38,2)"] {
            assert!(arrow_type(LogicalType::Decimal, bad).is_err(), "{bad}");
        }
    }
}
