//! The kept records of one export, typed by the schema and the contract of today.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;

use super::export::Export;
use crate::decode;
use crate::error::{Error, Kind, Result};
use crate::lake::Manifest;
use crate::load::{self, Refused};
use crate::model::{Account, FaultCode, Month, Window};
use crate::normalise::{Normaliser, Origin};
use crate::pipeline::Settings;
use crate::pipeline::balance::Counts;
use crate::pipeline::process::describe;
use crate::schema::Dataset;

/// The rows of one text, typed again.
pub(super) struct Text {
    pub file: String,
    // A line that was refused for several reasons stands there for each of them.
    pub ids: BTreeMap<u64, Vec<String>>,
    pub rows: RecordBatch,
    pub months: Vec<Option<Month>>,
}

/// Everything that is known after typing.
#[derive(Default)]
pub(super) struct Tried {
    pub counts: Counts,
    pub texts: Vec<Text>,
    pub absent: BTreeSet<String>,
    pub first_fault: Option<String>,
    /// Of the rows that still do not fit.
    pub faults: BTreeMap<FaultCode, u64>,
    /// Rows that cannot be tried: nobody knows their header.
    pub headless: u64,
}

/// Types the records by the schema of today.
pub(super) fn type_again(
    settings: &Settings,
    dataset: &Dataset,
    export: &Export,
    rows: Vec<Refused>,
) -> Result<Tried> {
    let mut tried = Tried::default();
    let mut terms = settings.terms(&dataset.name);
    // What is kept in quarantine is left there: nobody loses it by a second look.
    terms.contract = terms.contract.keeping_all();
    let mut texts: BTreeMap<(String, String, String), BTreeMap<u64, Vec<Refused>>> = BTreeMap::new();
    for row in rows {
        match row.header.clone() {
            Some(header) => {
                let text = texts.entry((row.file.clone(), header, row.treated.clone())).or_default();
                text.entry(row.line).or_default().push(row);
            }
            None => tried.headless += 1,
        }
    }
    tried.counts.add_untried(tried.headless);
    for ((file, header, treated), lines) in texts {
        let header = decode::batch_of_records([(0, header.as_bytes(), false)]);
        let header: Vec<_> = header.cells(0).map(String::from_utf8_lossy).collect();
        let matched = dataset.match_header(&header).map_err(|error| error.with("file", &file))?;
        let lacks = dataset.newest().columns.iter().zip(&matched.cells).filter(|(_, cell)| cell.is_none());
        tried.absent.extend(lacks.map(|(column, _)| column.name.clone()));
        let money = matched.money_cells(dataset);
        let records = lines.iter().filter_map(|(line, rows)| {
            let row = rows.first()?;
            // Quotes are made right when a record is kept; where its cells end is doubtful all the same.
            let misquoted = rows.iter().any(|row| row.fault == FaultCode::BadQuoting.as_str());
            Some((*line, decode::record_as(&row.record, settings.decode.encoding), misquoted))
        });
        let records: Vec<_> = records.collect();
        let batch = decode::batch_of_records(records.iter().map(|(line, text, odd)| (*line, &**text, *odd)));
        records.iter().for_each(|(_, record, _)| tried.counts.add_record(record, &money));
        let mut again = terms.clone();
        // A hash is not hashed again.
        again.personal = again.personal.without(&treated.split(',').collect());
        let origin = Origin {
            run_id: settings.run_id,
            request_id: export.request_id.clone(),
            extracted_at: export.extracted_at,
            loaded_at: settings.now,
            source_file: file.clone(),
        };
        let mut normaliser = Normaliser::new(dataset, matched, origin).under(&again, dataset);
        settings.decode.date_order.into_iter().for_each(|order| normaliser.declare(order));
        let typed = normaliser.normalise(&batch);
        tried.counts.add_typed(batch.rows() as u64, &typed, &money);
        for row in &typed.quarantined {
            *tried.faults.entry(row.fault.code).or_default() += 1;
        }
        if let (None, Some(row)) = (&tried.first_fault, typed.quarantined.first()) {
            tried.first_fault = Some(describe(&file, row));
        }
        let ids = lines.into_iter().map(|(line, rows)| (line, rows.into_iter().map(|row| row.id).collect()));
        tried.texts.push(Text { file, ids: ids.collect(), rows: typed.batch, months: typed.months });
    }
    Ok(tried)
}

impl Text {
    /// For each row whether it may be published, or belongs to a neighbouring window in any case.
    pub(super) fn live(
        &self,
        export: &Export,
        table: &Manifest,
        account: &Account,
        window: Option<(Window, &str)>,
    ) -> Result<Vec<bool>> {
        let live = |(row, month): (usize, &Option<Month>)| match window {
            Some((window, date)) if load::is_overlap(&self.rows, row, *month, window, date)? => Ok(true),
            _ => Ok(export.is_live(table, account, *month)),
        };
        self.months.iter().enumerate().map(live).collect()
    }

    pub(super) fn key(&self, row: usize) -> String {
        let keys = self.rows.column_by_name("_pc_row_key").and_then(|keys| keys.as_string_opt::<i32>());
        keys.map(|keys| keys.value(row).to_owned()).unwrap_or_default()
    }

    pub(super) fn line(&self, row: usize) -> u64 {
        let lines = self.rows.column_by_name("_pc_source_line");
        let lines = lines.and_then(|lines| lines.as_primitive_opt::<Int64Type>());
        lines.map_or(0, |lines| lines.value(row).unsigned_abs())
    }

    pub(super) fn pick(&self, which: impl Iterator<Item = bool>) -> Result<RecordBatch> {
        filter_record_batch(&self.rows, &which.collect::<Vec<bool>>().into())
            .map_err(|cause| Error::new(Kind::Bug, "rows could not be chosen").caused_by(cause))
    }
}
