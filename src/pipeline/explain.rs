//! From a row of the lake back to the bytes that it was made of.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use jiff::Timestamp;

use crate::decode::{self, Decoder};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::lake::{Chain, Lake, Manifest, Moment, raw_path};
use crate::model::{
    Account, DateOrder, Explained, ExplainedCell, PartitionKey, Proof, RawBatch, RequestId, RunId,
    shorten_decimal,
};
use crate::normalise::{self, Contract, Normaliser, OnType, Origin, rule};
use crate::query::{Answer, Query};
use crate::schema::{Dataset, HeaderMatch};

/// Which row is asked about.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub dataset: Dataset,
    /// The column that names it, for example `earning_id`.
    pub column: String,
    pub value: String,
    /// `None`: of every account.
    pub account: Option<Account>,
}

/// A value may name many rows; who looks at one does not read more.
const MAX_ROWS: usize = 20;

/// Tells of each row where it came from: text, rule and value of every cell.
///
/// # Errors
/// [`Kind::Usage`] when there is no such row, [`Kind::Destination`].
pub async fn explain(
    lake: &Lake,
    engine: &Engine,
    wanted: &Wanted,
    options: &decode::Options,
) -> Result<Vec<Explained>> {
    let rows = rows(lake, engine, wanted).await?;
    let mut told = Vec::new();
    for (batch, row) in rows.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row))) {
        let row = Row { batch, row };
        let chain = Chain::new(wanted.dataset.name.as_str(), &row.account()?);
        let Some(manifest) = chain.newest(lake).await? else { continue };
        let found = find(lake, &manifest, &row, wanted, options).await?;
        told.push(row.explained(wanted, &manifest, found));
    }
    match told.is_empty() {
        false => Ok(told),
        true => {
            let Wanted { dataset, column, value, .. } = wanted;
            Err(Error::new(Kind::Usage, format!("no row of {} has {column} '{value}'", dataset.name)).hint(
                "refused rows stand in the table `quarantine`; `payoutlake sql` finds the ids that are there",
            ))
        }
    }
}

async fn rows(lake: &Lake, engine: &Engine, wanted: &Wanted) -> Result<Vec<RecordBatch>> {
    let query = Query::open(lake, engine, &Moment::Now).await?;
    let text = |value: &str| format!("'{}'", value.replace('\'', "''"));
    let name = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut sql = format!(
        "SELECT * FROM {} WHERE {} = {}",
        name(wanted.dataset.name.as_str()),
        name(&wanted.column),
        text(&wanted.value)
    );
    if let Some(account) = &wanted.account {
        sql.push_str(&format!(" AND account = {}", text(account.as_str())));
    }
    sql.push_str(&format!(" ORDER BY _pc_source_file, _pc_source_line LIMIT {MAX_ROWS}"));
    query.run(&sql).await?.rows.try_collect().await.map_err(Answer::failed)
}

/// A record in the kept bytes of an export.
struct Found {
    blob: String,
    header: Vec<String>,
    matched: HeaderMatch,
    record: RawBatch,
    same: bool,
    /// What is done to columns of the row's partition that say something about a person.
    treated: BTreeMap<String, String>,
}

/// Looks for the row's record in the blobs behind its partition, the newest first; one that gives the same row wins.
async fn find(
    lake: &Lake,
    manifest: &Manifest,
    row: &Row<'_>,
    wanted: &Wanted,
    options: &decode::Options,
) -> Result<Option<Found>> {
    let key = PartitionKey { account: manifest.account.clone(), value: row.partition(wanted) };
    let partition = manifest.partition(&key);
    let blobs = partition.map(|part| part.blobs.as_slice()).unwrap_or_default();
    let treated = partition.map(|part| part.treatments.clone()).unwrap_or_default();
    let spool = lake.spool_dir()?;
    let mut other = None;
    for blob in blobs.iter().rev() {
        let file = spool.path().join(blob);
        if !lake.copy_to(&raw_path(blob), &file).await? {
            continue;
        }
        let name = row.text("_pc_source_file").unwrap_or_default();
        for (header, record) in records_at(&file, &name, row.line(), options)? {
            let matched = wanted.dataset.match_header(&header)?;
            let same = row.is_made_of(&wanted.dataset, &matched, &record, &treated);
            let found = Found { blob: blob.clone(), header, matched, record, same, treated: treated.clone() };
            if same {
                return Ok(Some(found));
            }
            other = other.or(Some(found));
        }
    }
    Ok(other)
}

/// The record that begins on a line of the text file with this name, and the header over it. The name is that of the blob,
/// which the blob itself does not have, and of an entry of it: two entries may fit.
fn records_at(
    file: &std::path::Path,
    name: &str,
    line: u64,
    options: &decode::Options,
) -> Result<Vec<(Vec<String>, RawBatch)>> {
    let mut found = Vec::new();
    let mut decoder = Decoder::open(file, "", options)?;
    while let Some(mut text) = decoder.next_file()? {
        if !name.ends_with(text.name()) || text.header().is_empty() {
            continue;
        }
        let header = text.header().to_vec();
        while let Some(batch) = text.next_batch()? {
            let rows = batch.rows();
            if rows == 0 || batch.line(rows - 1) < line {
                continue;
            }
            let Some(row) = (0..rows).find(|row| batch.line(*row) == line) else { break };
            let (mut data, mut ends) = (Vec::new(), Vec::new());
            for cell in batch.cells(row) {
                data.extend_from_slice(cell);
                ends.push(data.len());
            }
            let mut record = RawBatch::new();
            record.push_row(line, &data, &ends);
            found.push((header, record));
            break;
        }
    }
    Ok(found)
}

/// One row of an answer.
struct Row<'a> {
    batch: &'a RecordBatch,
    row: usize,
}

impl Row<'_> {
    /// As SQL shows it; `None` for NULL and for a column that is not there.
    fn text(&self, column: &str) -> Option<String> {
        let column = self.batch.column_by_name(column)?;
        if column.is_null(self.row) {
            return None;
        }
        let options = FormatOptions::default();
        let text = ArrayFormatter::try_new(column, &options).ok()?.value(self.row).to_string();
        Some(if matches!(column.data_type(), DataType::Decimal128(..)) {
            shorten_decimal(text)
        } else {
            text
        })
    }

    fn account(&self) -> Result<Account> {
        let text = self.text("account").unwrap_or_default();
        Account::parse(&text)
            .map_err(|cause| Error::new(Kind::Contract, "a row has no account").with("account", cause.0))
    }

    fn partition(&self, wanted: &Wanted) -> String {
        self.text(&wanted.dataset.partition).unwrap_or_default()
    }

    fn line(&self) -> u64 {
        let lines = self.batch.column_by_name("_pc_source_line");
        let lines = lines.and_then(|lines| lines.as_primitive_opt::<Int64Type>());
        lines.map_or(0, |lines| lines.value(self.row).unsigned_abs())
    }

    fn time(&self, column: &str) -> Option<Timestamp> {
        let times = self.batch.column_by_name(column)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        times.is_valid(self.row).then(|| Timestamp::from_microsecond(times.value(self.row)).ok())?
    }

    fn schema_version(&self) -> u32 {
        let versions = self.batch.column_by_name("_pc_schema_version");
        let versions = versions.and_then(|versions| versions.as_primitive_opt::<Int32Type>());
        versions.map_or(0, |versions| versions.value(self.row).unsigned_abs())
    }

    fn hash(&self) -> Option<&[u8]> {
        let hashes = self.batch.column_by_name("_pc_row_hash")?.as_fixed_size_binary_opt()?;
        Some(hashes.value(self.row))
    }

    /// Whether a record, typed today, is this row: as far as its text may be known.
    fn is_made_of(
        &self,
        dataset: &Dataset,
        matched: &HeaderMatch,
        record: &RawBatch,
        treated: &BTreeMap<String, String>,
    ) -> bool {
        // Where the row has a null in place of a cell that does not fit, its contract has said so.
        let contract = Contract { types: OnType::Null, ..Contract::default() };
        let options = normalise::Options { contract, ..normalise::Options::default() };
        let origin = Origin {
            run_id: RunId(uuid::Uuid::nil()),
            request_id: self.text("_pc_request_id").map(RequestId),
            extracted_at: None,
            loaded_at: Timestamp::UNIX_EPOCH,
            source_file: String::new(),
        };
        // How slashed dates were read is decided by the whole file, or by a person: one of both orders it was.
        [None, Some(DateOrder::MonthFirst), Some(DateOrder::DayFirst)].into_iter().any(|order| {
            let mut normaliser =
                Normaliser::new(dataset, matched.clone(), origin.clone()).under(&options, dataset);
            order.into_iter().for_each(|order| normaliser.declare(order));
            let typed = normaliser.normalise(record);
            let made = Row { batch: &typed.batch, row: 0 };
            let mut kept =
                dataset.newest().columns.iter().filter(|column| !treated.contains_key(&column.name));
            typed.batch.num_rows() == 1
                && match treated.is_empty() {
                    true => made.hash() == self.hash(),
                    false => kept.all(|column| made.text(&column.name) == self.text(&column.name)),
                }
        })
    }

    fn explained(&self, wanted: &Wanted, manifest: &Manifest, found: Option<Found>) -> Explained {
        let dataset = &wanted.dataset;
        let mut cells = Vec::new();
        for (index, column) in dataset.newest().columns.iter().enumerate() {
            let value = self.text(&column.name);
            cells.push(match &found {
                None => ExplainedCell {
                    column: column.name.clone(),
                    header: None,
                    text: None,
                    value,
                    rule: String::new(),
                },
                Some(found) => found.cell(column, found.matched.cells[index], value),
            });
        }
        cells.extend(found.iter().flat_map(Found::unknown));
        Explained {
            dataset: dataset.name.to_string(),
            account: manifest.account.clone(),
            partition: self.partition(wanted),
            version: manifest.version,
            row_key: self.text("_pc_row_key").unwrap_or_default(),
            run_id: self.text("_pc_run_id").unwrap_or_default(),
            request_id: self.text("_pc_request_id"),
            extracted_at: self.time("_pc_extracted_at"),
            loaded_at: self.time("_pc_loaded_at"),
            source_file: self.text("_pc_source_file").unwrap_or_default(),
            source_line: self.line(),
            schema_version: self.schema_version(),
            proof: match found {
                Some(Found { blob, same: true, .. }) => Proof::SameRow { blob_sha256: blob },
                Some(Found { blob, .. }) => Proof::OtherRow { blob_sha256: blob },
                None => Proof::NoBytes,
            },
            cells,
        }
    }
}

impl Found {
    fn cell(
        &self,
        column: &crate::schema::Column,
        cell: Option<usize>,
        value: Option<String>,
    ) -> ExplainedCell {
        let Some(cell) = cell else {
            let rule = "the file has no such column".to_owned();
            return ExplainedCell { column: column.name.clone(), header: None, text: None, value, rule };
        };
        let (header, text) = (self.printed(cell), self.record.cell(0, cell).unwrap_or_default());
        let name = column.name.clone();
        if let Some(label) = self.treated.get(&name) {
            let rule = format!("{label}: what it says about a person is not shown");
            return ExplainedCell { column: name, header: Some(header), text: None, value, rule };
        }
        let mut rule = rule(column, &header, text);
        if self.same && value.is_none() && !text.trim_ascii().is_empty() {
            rule = format!("NULL as the contract says, because it is none: {rule}");
        }
        let text = Some(String::from_utf8_lossy(text).into_owned());
        ExplainedCell { column: name, rule, header: Some(header), text, value }
    }

    fn unknown(&self) -> impl Iterator<Item = ExplainedCell> {
        self.matched.unknown.iter().map(|(cell, name)| {
            let text = String::from_utf8_lossy(self.record.cell(0, *cell).unwrap_or_default()).into_owned();
            ExplainedCell {
                column: "_pc_extra".to_owned(),
                header: Some(name.clone()),
                value: (!text.trim().is_empty()).then(|| text.clone()),
                text: Some(text),
                rule: "no schema version knows it: kept as it stands".to_owned(),
            }
        })
    }

    fn printed(&self, cell: usize) -> String {
        self.header
            .get(cell)
            .map(|name| name.trim_start_matches('\u{feff}').trim().to_owned())
            .unwrap_or_default()
    }
}
