//! Rows of an answer as a table, CSV, JSON or NDJSON. Decimals print exactly, in plain digits.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::{Stream, TryStreamExt};

use super::print;
use crate::error::{Error, Kind, Result};
use crate::model::shorten_decimal;

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// A header line and plain values; NULL is empty.
    Csv,
    /// One array of objects. Decimals are strings.
    Json,
    /// One object a line. Decimals are strings.
    Ndjson,
}

/// Rows of a table that are looked at before the widths are fixed and printing begins.
const WIDTH_SAMPLE_ROWS: usize = 10_000;

/// Prints the rows of a stream as they come.
///
/// # Errors
/// What the stream fails with, turned into an error by the caller's `failed`.
pub async fn print_rows<E>(
    format: Format,
    schema: SchemaRef,
    mut rows: impl Stream<Item = Result<RecordBatch, E>> + Unpin,
    failed: impl Fn(E) -> Error,
) -> Result<u64> {
    let mut printer = Printer::new(format, schema);
    let mut count = 0;
    while let Some(batch) = rows.try_next().await.map_err(&failed)? {
        count += batch.num_rows() as u64;
        print(&printer.batch(&batch)?);
    }
    print(&printer.end());
    Ok(count)
}

struct Printer {
    format: Format,
    schema: SchemaRef,
    started: bool,
    // Rows of a table wait until their widths are known.
    waiting: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

impl Printer {
    fn new(format: Format, schema: SchemaRef) -> Self {
        Printer { format, schema, started: false, waiting: Vec::new(), widths: None }
    }

    fn names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<String> {
        let columns = batch.columns().iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        let mut out = self.start();
        for row in 0..batch.num_rows() {
            match self.format {
                Format::Table => self.waiting.push(columns.iter().map(|column| column.text(row)).collect()),
                Format::Csv => out.push_str(&csv_line(columns.iter().map(|column| column.text(row)))),
                Format::Ndjson => out.push_str(&format!("{}\n", self.object(&columns, row))),
                Format::Json => {
                    out.push_str(if self.started { ",\n" } else { "" });
                    out.push_str(&self.object(&columns, row));
                    self.started = true;
                }
            }
        }
        if self.waiting.len() >= WIDTH_SAMPLE_ROWS {
            out.push_str(&self.table_lines());
        }
        Ok(out)
    }

    /// What stands before the first row.
    fn start(&mut self) -> String {
        match self.format {
            Format::Csv if !self.started => {
                self.started = true;
                csv_line(self.names().into_iter())
            }
            Format::Json if self.widths.is_none() => {
                self.widths = Some(Vec::new());
                "[\n".to_owned()
            }
            _ => String::new(),
        }
    }

    /// What stands after the last row; also the whole frame when there was none.
    fn end(&mut self) -> String {
        let mut out = self.start();
        match self.format {
            Format::Json => out.push_str("\n]\n"),
            Format::Table => out.push_str(&self.table_lines()),
            Format::Csv | Format::Ndjson => {}
        }
        out
    }

    fn object(&self, columns: &[Column<'_>], row: usize) -> String {
        let fields = self.schema.fields().iter().zip(columns).map(|(field, column)| {
            format!("{}:{}", serde_json::Value::from(field.name().as_str()), column.json(row))
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }

    fn table_lines(&mut self) -> String {
        let names = self.names();
        let first = self.widths.is_none();
        let waiting = std::mem::take(&mut self.waiting);
        let widths = self.widths.get_or_insert_with(|| {
            let cells = |i: usize| waiting.iter().map(move |row| row[i].chars().count());
            (0..names.len()).map(|i| cells(i).chain([names[i].chars().count()]).max().unwrap_or(0)).collect()
        });
        let right: Vec<bool> =
            self.schema.fields().iter().map(|field| is_number(field.data_type())).collect();
        let line = |row: &[String]| {
            let cells = row.iter().zip(widths.iter()).zip(&right).map(|((cell, width), right)| {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                if *right { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
            });
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        let mut out = String::new();
        if first {
            out.push_str(&line(&names));
            out.push_str(&line(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>()));
        }
        waiting.iter().for_each(|row| out.push_str(&line(row)));
        out
    }
}

/// One column of a batch, ready to print.
struct Column<'a> {
    array: &'a ArrayRef,
    formatter: ArrayFormatter<'a>,
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_null("");
        let formatter = ArrayFormatter::try_new(array.as_ref(), &OPTIONS)
            .map_err(|cause| Error::new(Kind::Bug, "a column cannot be printed").caused_by(cause))?;
        Ok(Column { array, formatter })
    }

    fn text(&self, row: usize) -> String {
        let text = self.formatter.value(row).to_string();
        match self.array.data_type() {
            DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => shorten_decimal(text),
            _ => text,
        }
    }

    fn json(&self, row: usize) -> String {
        if self.array.is_null(row) {
            return "null".to_owned();
        }
        match self.array.data_type() {
            DataType::Boolean => self.array.as_boolean().value(row).to_string(),
            data_type if data_type.is_integer() => self.text(row),
            // A float that JSON cannot write (NaN, infinity) is text.
            data_type if data_type.is_floating() && self.text(row).parse::<serde_json::Number>().is_ok() => {
                self.text(row)
            }
            _ => serde_json::Value::from(self.text(row)).to_string(),
        }
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let cells = cells.map(|cell| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell
        }
    });
    format!("{}\n", cells.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn sample() -> RecordBatch {
        let money = Decimal128Array::from(vec![Some(-12_500_000_000), None, Some(1)])
            .with_precision_and_scale(38, 10)
            .unwrap();
        RecordBatch::try_from_iter([
            ("name", Arc::new(StringArray::from(vec!["a,\"b\"", "", "ü"])) as ArrayRef),
            ("amount", Arc::new(money)),
            ("n", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ])
        .unwrap()
    }

    fn printed(format: Format, batches: &[RecordBatch]) -> String {
        let mut printer = Printer::new(format, sample().schema());
        let mut out = String::new();
        for batch in batches {
            out.push_str(&printer.batch(batch).unwrap());
        }
        out + &printer.end()
    }

    #[test]
    fn every_format_prints_decimals_exactly() {
        assert_eq!(
            printed(Format::Csv, &[sample()]),
            "name,amount,n\n\"a,\"\"b\"\"\",-1.25,1\n,,2\nü,0.0000000001,3\n"
        );
        assert_eq!(
            printed(Format::Ndjson, &[sample()]).lines().next().unwrap(),
            r#"{"name":"a,\"b\"","amount":"-1.25","n":1}"#
        );
        let json: serde_json::Value =
            serde_json::from_str(&printed(Format::Json, &[sample(), sample()])).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 6);
        assert_eq!(json[4]["amount"], serde_json::Value::Null);
        assert_eq!(
            printed(Format::Table, &[sample()]),
            "name         amount  n\n-----  ------------  -\na,\"b\"         -1.25  1\n                     2\nü      0.0000000001  3\n"
        );
    }

    #[test]
    fn an_empty_answer_still_has_its_frame() {
        assert_eq!(printed(Format::Csv, &[]), "name,amount,n\n");
        assert_eq!(printed(Format::Ndjson, &[]), "");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&printed(Format::Json, &[])).unwrap(),
            serde_json::json!([])
        );
        assert_eq!(printed(Format::Table, &[]), "name  amount  n\n----  ------  -\n");
    }
}
