//! The receipt: every outcome of a run, and the exit code that follows from them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Settings, Tools};
use crate::error::{EXIT_WARNED, Error, Kind, Result, SEVERITY};
use crate::lake::{Chain, Lake, Manifest};
use crate::load::{self, Applied};
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
    /// What is committed, and not yet followed by the derived tables.
    ahead: Vec<Ahead>,
    /// By table, the newest version that changed rows and is followed. So that a run asks the same of the storage however
    /// often it has time to look.
    followed: BTreeMap<usize, u64>,
}

/// A window that was committed.
struct Ahead {
    // Places in `tables`, and in the windows of that.
    table: usize,
    window: usize,
    manifest: Manifest,
    /// Whether the manifest is this window's own, and changed rows.
    rewritten: bool,
}

impl Outcomes {
    /// The receipt lists the tables in the order in which they are given here.
    pub(super) fn new<'a>(settings: &Settings, tables: impl Iterator<Item = &'a str>) -> Self {
        let mut outcomes = Outcomes {
            settings: settings.clone(),
            tables: Vec::new(),
            ahead: Vec::new(),
            followed: BTreeMap::new(),
        };
        for table in tables {
            outcomes.place(table);
        }
        outcomes
    }

    pub(super) fn add(&mut self, table: &str, window: WindowReceipt, written: Option<Written>) {
        let place = self.place(table);
        let table = &mut self.tables[place];
        if let Some(written) = written {
            let Written { applied, staged, headline } = written;
            table.totals.merge(&staged);
            table.headline = headline;
            table.files_written += applied.files_written;
            table.bytes_written += applied.bytes_written;
            let (window, rewritten) = (table.windows.len(), applied.rewritten);
            // Also where nothing was rewritten: what an earlier run could not derive is to be told until it is there.
            let ahead = |manifest| Ahead { table: place, window, manifest, rewritten };
            self.ahead.extend(applied.manifest.map(ahead));
        }
        table.windows.push(window);
    }

    /// Derives what was changed since the last time, of many commits at once, and tells each window its part. The rows are
    /// safe whatever becomes of it, and the next run makes up for it.
    pub(super) async fn follow(&mut self, tools: &Tools<'_>) {
        let ahead = std::mem::take(&mut self.ahead);
        let mut newest: BTreeMap<usize, &Manifest> = BTreeMap::new();
        for Ahead { table, manifest, .. } in &ahead {
            let newest = newest.entry(*table).or_insert(manifest);
            if newest.version < manifest.version {
                *newest = manifest;
            }
        }
        for (table, newest) in newest {
            if self.followed.get(&table).is_some_and(|followed| newest.rewritten_in <= *followed) {
                continue;
            }
            let Settings { run_id, clock, .. } = *tools.settings;
            let lines = load::follow(&tools.context(), newest, run_id, clock()).await;
            if lines.is_ok() {
                self.followed.insert(table, newest.rewritten_in);
            }
            for Ahead { window, manifest, rewritten, .. } in ahead.iter().filter(|ahead| ahead.table == table)
            {
                let window = &mut self.tables[table].windows[*window];
                match &lines {
                    Ok(lines) => {
                        let own = lines.get(&manifest.version).filter(|_| *rewritten);
                        window.restatements = own.copied().unwrap_or_default();
                    }
                    Err(error) => window.warnings.push(format!(
                        "the rows are committed, but what they changed could not be written down; the next run tries again: {error}"
                    )),
                }
            }
        }
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

    /// The place of a table, which may be new.
    fn place(&mut self, name: &str) -> usize {
        self.tables.iter().position(|table| table.table == name).unwrap_or_else(|| {
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
        })
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
