//! The exports that refused rows came with, and whether they still have the last word.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::lake::Manifest;
use crate::load::Refused;
use crate::model::{Account, Month, PartitionKey, RequestId, Window};
use crate::schema::Dataset;

/// What the rows of one export have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Export {
    /// When it was finished; when it was loaded, where nobody knows that.
    pub as_of: Timestamp,
    pub extracted_at: Option<Timestamp>,
    pub request_id: Option<RequestId>,
    pub window: Option<Window>,
    pub whole: bool,
    pub blob: Option<String>,
}

/// Oldest first, as they would have been loaded.
pub(super) fn by_export(rows: Vec<Refused>) -> BTreeMap<Export, Vec<Refused>> {
    let mut exports: BTreeMap<Export, Vec<Refused>> = BTreeMap::new();
    for row in rows {
        let export = Export {
            as_of: row.extracted_at.unwrap_or(row.loaded_at),
            extracted_at: row.extracted_at,
            request_id: row.request_id.clone(),
            window: row.window,
            whole: row.whole,
            blob: row.blob.clone(),
        };
        exports.entry(export).or_default().push(row);
    }
    exports
}

impl Export {
    /// With the time that the manifest has: rows keep microseconds, manifests all digits.
    pub(super) fn as_known_to(&self, table: &Manifest) -> Export {
        let known = table.partitions.iter().filter_map(|part| part.covered_at).chain(table.pulled_at);
        let micros = |at: Timestamp| at.as_microsecond();
        let mut known =
            known.filter(|known| self.extracted_at.is_some_and(|at| micros(at) == micros(*known)));
        Export { extracted_at: known.next().or(self.extracted_at), ..self.clone() }
    }

    /// Whether the export still has the last word about a month: no newer one covers it, and nobody went back to before.
    pub(super) fn is_live(&self, table: &Manifest, account: &Account, month: Option<Month>) -> bool {
        let partition = table.partition(&PartitionKey::of_month(account, month));
        let covered_at = partition.and_then(|partition| partition.covered_at);
        match self.window {
            Some(window) if self.whole && month.is_some_and(|month| window.contains(month)) => {
                covered_at == self.extracted_at
            }
            None if self.whole => table.pulled_at == self.extracted_at,
            _ => covered_at <= Some(self.extracted_at.unwrap_or(self.as_of)),
        }
    }
}

impl Export {
    /// For people.
    pub(super) fn name(&self, dataset: &Dataset) -> String {
        let window = self.window.map(|window| format!(" {window}")).unwrap_or_default();
        format!("{}{window}", dataset.name)
    }
}
