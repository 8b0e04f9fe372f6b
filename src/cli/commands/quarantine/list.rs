use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::{NOTHING, Scope};
use crate::cli::Setting;
use crate::error::Result;
use crate::load::Refused;
use crate::model::Window;
use crate::output::{self, number};

/// Count the refused rows by dataset, account, window, file, fault and column
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    scope: Scope,
}

/// Refused rows that have all of this in common.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Kind {
    dataset: String,
    account: String,
    window: Option<Window>,
    file: String,
    fault: String,
    column: Option<String>,
}

#[derive(Debug, Serialize)]
struct Counted<'a> {
    #[serde(flatten)]
    kind: &'a Kind,
    rows: u64,
    first_line: u64,
    first_id: &'a str,
}

impl List {
    pub(super) async fn perform(self, setting: &Setting) -> Result<u8> {
        let rows = self.scope.rows(setting).await?;
        let mut kinds: BTreeMap<Kind, Vec<&Refused>> = BTreeMap::new();
        rows.iter().for_each(|row| kinds.entry(Kind::of(row)).or_default().push(row));
        let lines = kinds.iter().filter_map(|(kind, rows)| {
            let first = rows.first()?;
            Some(Counted {
                kind,
                rows: rows.len() as u64,
                first_line: first.line,
                first_id: short(&first.id),
            })
        });
        if setting.style.json {
            lines.for_each(|line| output::print_json("payoutlake.refused.v1", &line));
        } else if rows.is_empty() {
            if !setting.style.quiet {
                output::say(NOTHING);
            }
        } else {
            let header = [
                "dataset",
                "account",
                "window",
                "file",
                "fault",
                "column",
                ">rows",
                ">first line",
                "first id",
            ];
            output::print(&output::table(header, &lines.map(|line| line.cells()).collect::<Vec<_>>()));
        }
        Ok(0)
    }
}

impl Kind {
    fn of(row: &Refused) -> Kind {
        Kind {
            dataset: row.dataset.to_string(),
            account: row.account.to_string(),
            window: row.window,
            file: row.file.clone(),
            fault: row.fault.clone(),
            column: row.column.clone(),
        }
    }
}

impl Counted<'_> {
    fn cells(&self) -> [String; 9] {
        let Kind { dataset, account, window, file, fault, column } = self.kind;
        [
            dataset.clone(),
            account.clone(),
            window.map_or_else(|| "-".to_owned(), |window| window.to_string()),
            file.clone(),
            fault.clone(),
            column.clone().unwrap_or_else(|| "-".to_owned()),
            number::count(self.rows),
            self.first_line.to_string(),
            self.first_id.to_owned(),
        ]
    }
}

/// So much of an id tells rows apart.
pub(super) fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}
