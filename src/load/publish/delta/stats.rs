//! Statistics of a file for readers of the Delta log, from the file's own footer.
//!
//! A reader skips a file whose bounds exclude what is asked for, so a bound is right or absent. Numbers without a fraction,
//! dates and times have bounds. Decimals have none, because JSON numbers are read as doubles by some; texts have none, because
//! every month has all of them, and a log is no place for names of customers.
//! <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics>

use std::ops::Range;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use jiff::civil::Date;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::async_reader::MetadataFetch;
use parquet::basic::{LogicalType, TimeUnit};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Map, Value, json};

use crate::error::{Error, Kind, Result};
use crate::lake::{Lake, Object};
use crate::secret::redact_error;

/// Most footers have less: one request.
const FOOTER_BYTES: usize = 64 * 1024;

struct Footer<'a> {
    lake: &'a Lake,
    path: &'a Path,
}

impl MetadataFetch for Footer<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let read = self.lake.store().get_range(self.path, range);
        read.map(|read| read.map_err(|cause| ParquetError::External(Box::new(cause)))).boxed()
    }
}

pub(super) async fn of(lake: &Lake, path: &Path, object: &Object) -> Result<String> {
    let footer = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
    let footer = footer.load_and_finish(Footer { lake, path }, object.bytes).await;
    let footer = footer.map_err(|cause| {
        Error::new(Kind::Destination, "the footer of an object cannot be read")
            .with("file", lake.address(path))
            .hint("what was committed is safe; check the storage and run the same command again")
            .caused_by(redact_error(&cause))
    })?;
    let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
    let schema = footer.file_metadata().schema_descr();
    for (index, column) in schema.columns().iter().enumerate() {
        let mut parts = footer.row_groups().iter().map(|group| group.column(index).statistics());
        let Some(all) = parts.try_fold(Vec::new(), |mut all, part| {
            all.push(part?);
            Some(all)
        }) else {
            continue;
        };
        let Some(count) = all.iter().map(|part| part.null_count_opt()).sum::<Option<u64>>() else { continue };
        nulls.insert(column.name().to_owned(), json!(count));
        // A part of a row group that is all null has no bounds, and needs none.
        let bounds: Vec<_> = all.iter().filter(|part| part.min_bytes_opt().is_some()).collect();
        let rows_beside = all.iter().zip(footer.row_groups()).any(|(part, group)| {
            part.min_bytes_opt().is_none()
                && part.null_count_opt() != Some(u64::try_from(group.num_rows()).unwrap_or_default())
        });
        if rows_beside || bounds.is_empty() {
            continue;
        }
        if let Some((least, greatest)) = bounds_of(column, &bounds) {
            low.extend(least.map(|value| (column.name().to_owned(), value)));
            high.extend(greatest.map(|value| (column.name().to_owned(), value)));
        }
    }
    Ok(json!({"numRecords": object.rows, "minValues": low, "maxValues": high, "nullCount": nulls})
        .to_string())
}

/// The least and the greatest value over some row groups, as the Delta log writes them.
fn bounds_of(column: &ColumnDescriptor, parts: &[&&Statistics]) -> Option<(Option<Value>, Option<Value>)> {
    let of = |part: &Statistics| match part {
        Statistics::Int32(part) => Some((i64::from(*part.min_opt()?), i64::from(*part.max_opt()?))),
        Statistics::Int64(part) => Some((*part.min_opt()?, *part.max_opt()?)),
        _ => None,
    };
    let all = parts.iter().map(|part| of(part)).collect::<Option<Vec<_>>>()?;
    let least = all.iter().map(|(least, _)| *least).min()?;
    let greatest = all.iter().map(|(_, greatest)| *greatest).max()?;
    integers(column, least, greatest)
}

fn integers(column: &ColumnDescriptor, least: i64, greatest: i64) -> Option<(Option<Value>, Option<Value>)> {
    match column.logical_type_ref() {
        None | Some(LogicalType::Integer { .. }) => Some((Some(json!(least)), Some(json!(greatest)))),
        Some(LogicalType::Date) => {
            let date = |days: i64| {
                Date::new(1970, 1, 1).ok()?.checked_add(jiff::Span::new().try_days(days).ok()?).ok()
            };
            Some((
                date(least).map(|date| json!(date.to_string())),
                date(greatest).map(|date| json!(date.to_string())),
            ))
        }
        Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::MICROS => {
            // Milliseconds: the bounds go outward.
            let text = |millis: i64| {
                let at = Timestamp::from_millisecond(millis).ok()?;
                Some(json!(at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()))
            };
            Some((
                text(least.div_euclid(1000)),
                text(greatest.div_euclid(1000) + i64::from(greatest.rem_euclid(1000) > 0)),
            ))
        }
        _ => None,
    }
}
