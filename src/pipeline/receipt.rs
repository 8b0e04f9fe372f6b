//! The receipt: every outcome of a run, and the exit code that follows from them.

use jiff::Timestamp;

use super::Settings;
use crate::error::{EXIT_WARNED, Error, Kind, Result, SEVERITY};
use crate::lake::{Chain, Lake};
use crate::load::Applied;
use crate::model::{Outcome, RECEIPT_FORMAT, Receipt, TableReceipt, Totals, WindowReceipt};

/// What a committed window brought.
pub(super) struct Written {
    pub applied: Box<Applied>,
    /// Rows and sums of the window.
    pub staged: Totals,
    /// The money columns that every row has.
    pub headline: Vec<String>,
}

impl Written {
    pub(super) fn manifest_version(&self) -> u64 {
        self.applied.manifest.as_ref().map_or(0, |manifest| manifest.version)
    }
}

/// Collects outcomes as they come.
pub(super) struct Outcomes {
    settings: Settings,
    tables: Vec<TableReceipt>,
}

impl Outcomes {
    /// The receipt lists the tables in the order in which they are given here.
    pub(super) fn new<'a>(settings: &Settings, tables: impl Iterator<Item = &'a str>) -> Self {
        let mut outcomes = Outcomes { settings: settings.clone(), tables: Vec::new() };
        for table in tables {
            outcomes.table(table);
        }
        outcomes
    }

    pub(super) fn add(&mut self, table: &str, window: WindowReceipt, written: Option<Written>) {
        let table = self.table(table);
        if let Some(written) = written {
            table.totals.merge(&written.staged);
            table.headline = written.headline;
            table.files_written += written.applied.files_written;
            table.bytes_written += written.applied.bytes_written;
        }
        table.windows.push(window);
    }

    pub(super) fn add_failure(&mut self, table: &str, mut window: WindowReceipt, error: Error) {
        window.outcome = match error.kind() {
            Kind::Contract => Outcome::Held,
            Kind::Pending => Outcome::Pending,
            _ => Outcome::Failed,
        };
        window.error = Some(error.message().to_owned());
        let facts = error.context().iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        let causes = error.causes().into_iter().map(|cause| ("cause".to_owned(), cause));
        window.error_context = facts.chain(causes).collect();
        window.error_kind = Some(error.kind().as_str().to_owned());
        window.hint = error.hint_text().map(str::to_owned);
        self.add(table, window, None);
    }

    /// The receipt, with the size of each table as it is now.
    pub(super) async fn receipt(mut self, lake: &Lake, finished_at: Timestamp) -> Result<Receipt> {
        for table in &mut self.tables {
            table.windows.sort_by_key(|window| window.window);
            let chain = Chain::new(&table.table, &self.settings.account);
            if let Some(manifest) = chain.newest(lake).await? {
                table.manifest = Some(manifest.version);
                table.table_rows = manifest.rows();
                table.table_files = manifest.objects().count() as u64;
                table.table_bytes = manifest.objects().map(|object| object.bytes).sum();
            }
        }
        let exit_code = exit_code(&self.tables);
        Ok(Receipt {
            format: RECEIPT_FORMAT,
            min_reader: RECEIPT_FORMAT,
            min_writer: RECEIPT_FORMAT,
            run_id: self.settings.run_id,
            payoutlake_version: env!("CARGO_PKG_VERSION").to_owned(),
            command: self.settings.command,
            account: self.settings.account,
            lake: self.settings.lake.to_string(),
            lake_argument: self.settings.lake.argument(),
            started_at: self.settings.now,
            finished_at,
            tables: self.tables,
            storage: lake.operations(),
            exit_code,
        })
    }

    fn table(&mut self, name: &str) -> &mut TableReceipt {
        let index = self.tables.iter().position(|table| table.table == name).unwrap_or_else(|| {
            self.tables.push(TableReceipt {
                table: name.to_owned(),
                windows: Vec::new(),
                totals: Totals::default(),
                headline: Vec::new(),
                files_written: 0,
                bytes_written: 0,
                manifest: None,
                table_rows: 0,
                table_files: 0,
                table_bytes: 0,
            });
            self.tables.len() - 1
        });
        &mut self.tables[index]
    }
}

/// The exit code of all outcomes: the first of [`SEVERITY`] that occurred, 3 when rows were quarantined or
/// something was warned about, 0 otherwise.
#[must_use]
pub fn exit_code(tables: &[TableReceipt]) -> u8 {
    let windows = || tables.iter().flat_map(|table| &table.windows);
    for kind in SEVERITY {
        if windows().any(|window| window.error_kind.as_deref() == Some(kind.as_str())) {
            return kind.exit_code();
        }
    }
    if windows().any(|window| window.error_kind.is_some()) {
        // A kind that no window should end with.
        return Kind::Bug.exit_code();
    }
    let warned = windows().any(|window| window.rows_quarantined > 0 || !window.warnings.is_empty());
    if warned { EXIT_WARNED } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(windows: Vec<WindowReceipt>) -> TableReceipt {
        TableReceipt {
            table: "t".into(),
            windows,
            totals: Totals::default(),
            headline: Vec::new(),
            files_written: 0,
            bytes_written: 0,
            manifest: None,
            table_rows: 0,
            table_files: 0,
            table_bytes: 0,
        }
    }

    fn failed(kind: Kind) -> WindowReceipt {
        WindowReceipt { error_kind: Some(kind.as_str().into()), ..WindowReceipt::new(None) }
    }

    #[test]
    fn the_gravest_outcome_decides() {
        let fine = WindowReceipt::new(None);
        let refused = WindowReceipt { rows_quarantined: 1, ..fine.clone() };
        assert_eq!(exit_code(&[table(vec![fine.clone()])]), 0);
        assert_eq!(exit_code(&[table(vec![fine, refused.clone()])]), 3);
        let pending = failed(Kind::Pending);
        assert_eq!(exit_code(&[table(vec![refused, pending.clone()])]), 75);
        let all = [pending, failed(Kind::Source), failed(Kind::Contract), failed(Kind::Destination)];
        assert_eq!(exit_code(&[table(all.to_vec())]), 65);
        assert_eq!(exit_code(&[table([&all[..], &[failed(Kind::Auth)]].concat())]), 77);
    }
}
