//! Steps 4 to 6 for one downloaded file: decode on one thread, normalise on all cores, stage.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::balance::{self, Counts};
use super::scout::Scout;
use super::typing::{self, Look, Work, type_all};
use crate::decode::{self, Census, Decoder, TextFile};
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Observer, Progress, Step, Unit};
use crate::load::{self, Author, QuarantineOrigin, Staged, Stager};
use crate::model::{
    Account, Encoding, FaultCode, MoneyCell, Normalised, QuarantinedRow, RawBatch, SourceText, TableSpec,
    Window,
};
use crate::normalise::{self, Normaliser, OnColumn, Origin, Survey};
use crate::schema::{Dataset, HeaderMatch};

/// One file and what is known about it.
pub(super) struct Input<'a> {
    pub dataset: &'a Dataset,
    pub spec: &'a TableSpec,
    pub account: &'a Account,
    /// The months that the file is the whole truth about, if it is.
    pub window: Option<Window>,
    /// Whether it is.
    pub whole: bool,
    pub file: &'a Path,
    /// For messages and `_pc_source_file`.
    pub name: &'a str,
    /// Everything of the origin but the file's name.
    pub origin: Origin,
    pub decode: &'a decode::Options,
    pub normalise: &'a normalise::Options,
    pub load: &'a load::Options,
    pub spool: &'a Path,
    pub observer: &'a Observer,
    pub scope: &'a str,
}

/// What the file became, balanced.
pub(super) struct Processed {
    pub staged: Staged,
    pub counts: Counts,
    /// Text files in it: one, or the entries of an archive.
    pub files: Vec<TextReport>,
    pub quarantine: Vec<arrow::array::RecordBatch>,
    pub faults: BTreeMap<FaultCode, u64>,
    /// What the contract has decided instead, and how often.
    pub decisions: BTreeMap<String, u64>,
    /// Columns that no schema version knows.
    pub unknown: BTreeSet<String>,
    /// The first refused row, for people.
    pub first_fault: Option<String>,
    /// The first that has a cell of another type, and the first that lacks a value or is none.
    pub first_of: [Option<String>; 2],
}

/// One text file of the input.
#[derive(Default)]
pub(super) struct TextReport {
    pub text: SourceText,
    pub schema_version: Option<u32>,
    pub warnings: Vec<String>,
    pub notes: Vec<String>,
    /// Columns of the table that its header lacks.
    pub absent: Vec<String>,
}

/// About what a refused row takes besides its text.
const ROW_OVERHEAD_BYTES: usize = 512;

/// Decodes, normalises and stages one file. Blocking: call it on a blocking thread.
///
/// # Errors
/// [`Kind::Contract`] when the bytes, the header or the balance are wrong, [`Kind::Destination`] when the
/// staged files cannot be written.
pub(super) fn process(input: &Input<'_>) -> Result<Processed> {
    let most = input.load.memory.batch(typing::batches(typing::threads(input.load.memory)));
    let batch_bytes = input.decode.batch_bytes.min(usize::try_from(most).unwrap_or(usize::MAX));
    let decode = decode::Options { batch_bytes, ..input.decode.clone() };
    let mut decoder = Decoder::open(input.file, input.name, &decode)?;
    let author = Author { run_id: input.origin.run_id, request_id: input.origin.request_id.clone() };
    let mut stager = Stager::new(input.spec, input.load, input.account, &author, input.spool);
    let mut seen = Seen::default();
    let mut scout = Scout::new(input, &decode);
    loop {
        let place = decoder.place();
        let Some(mut file) = decoder.next_file()? else { break };
        let mut look = |survey: &mut Survey| scout.look(place, survey);
        let report = process_text(input, &mut file, &mut look, &mut stager, &mut seen)?;
        seen.files.push(report);
        stager.end_of_text()?;
    }
    let staged = stager.finish()?;
    balance::check(input.name, &seen.counts, &staged)?;
    Ok(Processed {
        staged,
        counts: seen.counts,
        files: seen.files,
        quarantine: seen.quarantine,
        faults: seen.faults,
        decisions: seen.decisions,
        unknown: seen.unknown,
        first_fault: seen.first_fault,
        first_of: seen.first_of,
    })
}

#[derive(Default)]
struct Seen {
    counts: Counts,
    files: Vec<TextReport>,
    quarantine: Vec<arrow::array::RecordBatch>,
    quarantine_bytes: usize,
    faults: BTreeMap<FaultCode, u64>,
    decisions: BTreeMap<String, u64>,
    unknown: BTreeSet<String>,
    first_fault: Option<String>,
    first_of: [Option<String>; 2],
}

fn process_text(
    input: &Input<'_>,
    file: &mut TextFile<'_>,
    look: Look<'_>,
    stager: &mut Stager<'_>,
    seen: &mut Seen,
) -> Result<TextReport> {
    let name = file.name().to_owned();
    if file.header().is_empty() {
        // Nothing at all, or a byte order mark alone: zero rows are a result.
        return Ok(TextReport { text: file.counted(), ..TextReport::default() });
    }
    let matched = input
        .dataset
        .match_header(file.header())
        .map_err(|error| error.with("file", &name).with("line", file.header_line()))?;
    let header = header_record(file.header());
    let mut notes = notes_of(&matched, input.normalise.contract.columns);
    notes.iter().for_each(|note| input.observer.tell(Level::Info, input.scope, Step::Normalise, note));
    seen.unknown.extend(matched.unknown.iter().map(|(_, name)| name.clone()));
    let (version, mut warnings) = (matched.version, Vec::new());
    let preamble = file.counted().preamble;
    if preamble > 0 {
        notes.push(format!(
            "lines above the header are no rows: {preamble}; the header is on line {}",
            file.header_line()
        ));
    }
    if file.encoding() != Encoding::Utf8 {
        notes.push(format!("the text was read as {}", file.encoding().as_str()));
    }
    let columns = &input.dataset.newest().columns;
    let absent = columns.iter().zip(&matched.cells).filter(|(_, cell)| cell.is_none());
    let absent = absent.map(|(column, _)| column.name.clone()).collect();
    let money = matched.money_cells(input.dataset);
    let money_census = file.money_census(money.clone());
    let origin = Origin { source_file: name.clone(), ..input.origin.clone() };
    let declared = input.decode.date_order;
    let threads = typing::threads(input.load.memory);
    let normaliser = || {
        let mut normaliser = Normaliser::new(input.dataset, matched.clone(), origin.clone())
            .under(input.normalise, input.dataset)
            .coded(input.load.memory.dictionary(threads));
        declared.into_iter().for_each(|order| normaliser.declare(order));
        normaliser
    };
    let look = declared.is_none().then_some(look);

    let damage = input.load.mutation.as_deref();
    let amount = money.first().map(|cell| cell.amount);
    let text = Text { version, name: &name, header: &header, money: &money };
    let count = |batch: &mut RawBatch| {
        let census = money_census.of(batch);
        damage.into_iter().for_each(|damage| damage.on_raw("decode", batch, amount));
        (batch.rows() as u64, census)
    };
    let take = |(read, census): (u64, Census), rows| {
        seen.counts.add_text(&census);
        stage(input, &text, read, rows, stager, seen)
    };
    notes.extend(file.unpacked_ahead(|file| {
        type_all(Work { threads, read: |spent| file.next_batch_in(spent), count, normaliser }, look, take)
    })?);
    let census = file.census();
    seen.counts.add_text(&census);
    if census.unterminated && census.records > 0 {
        warnings.push(
            "the last line has no line end: whether its last cell is whole, the file cannot tell".to_owned(),
        );
    }
    Ok(TextReport { text: file.counted(), schema_version: Some(version), warnings, notes, absent })
}

/// What the later stages know of one text file.
struct Text<'a> {
    version: u32,
    name: &'a str,
    /// As a CSV record.
    header: &'a str,
    money: &'a [MoneyCell],
}

/// The header in the form in which the quarantine keeps records.
fn header_record(header: &[String]) -> String {
    let ends = header.iter().scan(0, |end, name| {
        *end += name.len();
        Some(*end)
    });
    let mut batch = RawBatch::new();
    batch.push_row(0, header.concat().as_bytes(), &ends.collect::<Vec<_>>());
    String::from_utf8_lossy(&batch.record(0)).into_owned()
}

fn stage(
    input: &Input<'_>,
    text: &Text<'_>,
    read: u64,
    mut rows: Normalised,
    stager: &mut Stager<'_>,
    seen: &mut Seen,
) -> Result<()> {
    // Only requests overlap their neighbours; a downloaded file has what it has.
    let window = input.window.filter(|_| input.origin.request_id.is_some());
    let window = window.map(|window| (window, input.dataset.driving_date.as_str()));
    seen.counts.add_typed(read, &rows, text.money);
    if let (Some(damage), Some(money)) = (&input.load.mutation, input.spec.money.first()) {
        damage.on_rows("normalise", &mut rows.batch, &money.name);
        rows.months.truncate(rows.batch.num_rows());
    }
    seen.decide(&rows);
    if !rows.quarantined.is_empty() {
        seen.refuse(input, text, &rows.quarantined)?;
    }
    stager.push_months(&rows.batch, &rows.months, window)?;
    let done = Progress { done: seen.counts.read, total: None, unit: Unit::Rows };
    input.observer.progress(input.scope, Step::Normalise, done);
    Ok(())
}

impl Seen {
    /// Notes what the contract has decided about rows and cells.
    fn decide(&mut self, rows: &Normalised) {
        for row in &rows.discarded {
            let column = row.fault.column.as_ref().map(|column| format!(" in {column}")).unwrap_or_default();
            let decision = format!("rows left out: {}{column}", row.fault.code);
            *self.decisions.entry(decision).or_default() += 1;
        }
        for cell in &rows.nulled {
            let decision = format!("cells set to null: {} in {}", cell.code, cell.column);
            *self.decisions.entry(decision).or_default() += 1;
        }
    }

    fn refuse(&mut self, input: &Input<'_>, text: &Text<'_>, rows: &[QuarantinedRow]) -> Result<()> {
        let origin = QuarantineOrigin {
            dataset: &input.dataset.name,
            window: input.window,
            source_file: text.name,
            run_id: input.origin.run_id,
            request_id: input.origin.request_id.as_ref(),
            extracted_at: input.origin.extracted_at,
            loaded_at: input.origin.loaded_at,
            schema_version: text.version,
            header: text.header,
            whole: input.whole,
            treated: &input.normalise.personal.treated().join(","),
        };
        for row in rows {
            self.quarantine_bytes += row.kept().len() + ROW_OVERHEAD_BYTES;
            *self.faults.entry(row.fault.code).or_default() += 1;
            let first = &mut self.first_of[usize::from(row.fault.code.is_of_row())];
            first.get_or_insert_with(|| describe(text.name, row));
            if self.first_fault.is_none() {
                self.first_fault.clone_from(first);
            }
        }
        // They are few, or the export is held.
        if self.quarantine_bytes as u64 > input.load.memory.refused() {
            return Err(Error::new(Kind::Contract, "more rows are refused than the quarantine is made for")
                .with("file", input.name)
                .with("first", self.first_fault.clone().unwrap_or_default())
                .hint("nothing was committed; the file does not look like this dataset: look at the first fault"));
        }
        self.quarantine.push(load::quarantined_batch(rows, &origin)?);
        Ok(())
    }
}

/// One refused row for people: `export.csv line 17: not-a-decimal in earningAmount, expected ..., found '...'`.
pub(super) fn describe(file: &str, row: &QuarantinedRow) -> String {
    let column = row.fault.column.as_ref().map(|column| format!(" in {column}")).unwrap_or_default();
    format!(
        "{file} line {}: {}{column}, expected {}, found '{}'",
        row.line, row.fault.code, row.fault.expected, row.fault.found
    )
}

/// Microsoft adds columns every year: one that no version knows yet is kept, and no reason to wake anybody.
fn notes_of(matched: &HeaderMatch, word: OnColumn) -> Vec<String> {
    let (known, unknown): (Vec<_>, Vec<_>) = matched
        .unknown
        .iter()
        .partition(|(cell, _)| matched.duplicates.iter().any(|twice| twice.extra == *cell));
    let [known, unknown] =
        [known, unknown].map(|cells| cells.into_iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>());
    let fate = match word {
        OnColumn::Evolve => "are kept in _pc_extra",
        OnColumn::Discard => "are left out, as the contract says",
        OnColumn::Quarantine => "are refused with the rows that have a value there, as the contract says",
        OnColumn::Freeze => "are there, and the contract takes none",
    };
    let told = |what: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| format!("columns that {what} {fate}: {}", names.join(", ")))
    };
    let unknown = told("no schema version knows", unknown);
    let known = told("stand in the file twice (the other one is taken)", known);
    let rather = matched.rather.as_ref().map(|other| {
        format!("the header is rather one of dataset {} (version {})", other.dataset, other.version)
    });
    unknown.into_iter().chain(known).chain(rather).collect()
}
