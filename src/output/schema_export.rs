//! A version for other programs: as a JSON Schema of a row, or as a page in Markdown.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::schema::{headers, type_words};
use super::{Style, print, print_json};
use crate::model::Currency;
use crate::schema::{Column, Dataset, LogicalType, Version};

/// How a version is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaFormat {
    /// A row as `sql --format json` prints it (JSON Schema 2020-12)
    JsonSchema,
    /// A page with a table of the columns
    Markdown,
}

/// Prints the document; with `--json` one line that holds it.
pub fn print_schema(style: Style, format: SchemaFormat, dataset: &Dataset, version: &Version) {
    let document = match format {
        SchemaFormat::JsonSchema => json_schema(dataset, version),
        SchemaFormat::Markdown => Value::String(markdown(dataset, version)),
    };
    if style.json {
        let line = json!({ "dataset": dataset.name, "version": version.number, "document": document });
        print_json("payoutlake.schema.export.v1", &line);
        return;
    }
    match document {
        Value::String(text) => print(&text),
        // A document of maps and texts can be written.
        document => print(&format!("{}\n", serde_json::to_string_pretty(&document).unwrap_or_default())),
    }
}

fn json_schema(dataset: &Dataset, version: &Version) -> Value {
    let properties: Map<String, Value> =
        version.columns.iter().map(|column| (column.name.clone(), property(column))).collect();
    let required: Vec<&str> =
        version.columns.iter().filter(|column| column.required).map(|column| column.name.as_str()).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("{} v{}", dataset.name, version.number),
        "description": format!("{}. {}", dataset.title, version.era),
        "type": "object",
        "properties": properties,
        "required": required,
    })
}

/// A column as JSON has it: decimals are strings, so that nobody makes a float of them.
fn property(column: &Column) -> Value {
    const DATE: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$";
    const TIME: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$";
    let (name, pattern) = match column.logical {
        LogicalType::String | LogicalType::Month => ("string", None),
        LogicalType::Money | LogicalType::Rate | LogicalType::Decimal => (
            "string",
            Some(format!(r"^-?[0-9]+(\.[0-9]{{1,{}}})?$", column.scale().unwrap_or_default().max(1))),
        ),
        LogicalType::Integer => ("integer", None),
        LogicalType::Boolean => ("boolean", None),
        LogicalType::Date => ("string", Some(DATE.to_owned())),
        LogicalType::Timestamp => ("string", Some(TIME.to_owned())),
    };
    let mut property = Map::new();
    let kind = if column.required { json!(name) } else { json!([name, "null"]) };
    property.insert("type".to_owned(), kind);
    property.extend(pattern.map(|pattern| ("pattern".to_owned(), json!(pattern))));
    property.insert("description".to_owned(), json!(column.meaning));
    let facts = [
        ("x-logical-type", Some(json!(column.logical.as_str()))),
        ("x-published", Some(json!(column.published))),
        ("x-currency", column.currency.as_ref().map(|currency| json!(Currency::to_text(currency)))),
        ("x-personal", column.personal.then_some(Value::Bool(true))),
        ("x-since", column.since.as_ref().map(|since| json!(since))),
        ("x-retired", column.retired.as_ref().map(|month| json!(month))),
        ("x-confidence", column.confidence.as_ref().map(|sure| json!(sure))),
    ];
    property.extend(facts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Value::Object(property)
}

fn markdown(dataset: &Dataset, version: &Version) -> String {
    let mut out = format!(
        "# {}, v{}\n\n{}. {}.\n\nFirst seen {}; source: {}; confidence: {}.\n\n\
         | column | type | since | filled from | meaning |\n|---|---|---|---|---|\n",
        dataset.name,
        version.number,
        dataset.title,
        version.era,
        version.first_seen,
        version.source,
        version.confidence
    );
    for column in &version.columns {
        let retired = column.retired.as_ref().map(|month| format!(" Not in files since {month}."));
        let since = column.since.as_deref().unwrap_or_default();
        let meaning = format!("{}{}", column.meaning, retired.unwrap_or_default());
        let cells =
            [&type_words(column), since, &headers(column), &meaning].map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(out, "| `{}` | {} |", column.name, cells.join(" | "));
    }
    out
}
