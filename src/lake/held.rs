//! Windows that a guard holds: the blob stays in the lake with what a person needs to decide, until it is accepted,
//! rejected, or overtaken by a newer export.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::FORMAT;
use super::{Lake, held_path, held_prefix, resolved_path};
use crate::error::{Error, Kind, Result};
use crate::model::{Account, DatasetName, Declared, Difference, RequestId, RunId, Window};

/// One held window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    format: u32,
    /// Ten hex digits, made of account, dataset, window, content and how that was to be read: the same export held twice
    /// is held once.
    pub id: String,
    #[serde(flatten)]
    pub export: HeldExport,
    pub held_at: Timestamp,
    pub run_id: RunId,
    /// In one line.
    pub reason: String,
    pub differences: Vec<Difference>,
}

/// All that is needed to load the blob after all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldExport {
    pub dataset: DatasetName,
    pub account: Account,
    pub window: Option<Window>,
    /// Whether it is the whole truth about the window (or, without one, about everything reachable).
    pub whole: bool,
    /// Name for `_pc_source_file`.
    pub name: String,
    pub request_id: Option<RequestId>,
    /// SHA-256 of the blob `_payoutlake/raw/<sha256>`.
    pub blob: String,
    pub blob_bytes: u64,
    pub extracted_at: Option<Timestamp>,
    /// How it was to be read: accepted later, it is read the same way.
    #[serde(default, skip_serializing_if = "Declared::is_nothing")]
    pub declared: Declared,
    /// What was to be done to columns of personal data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub treatments: BTreeMap<String, String>,
}

/// How a held window ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    Accepted,
    Rejected,
    /// A newer export of the same months was committed.
    Overtaken,
}

#[derive(Serialize)]
struct Resolved<'a> {
    resolution: Resolution,
    resolved_at: Timestamp,
    resolved_by: RunId,
    held: &'a Held,
}

impl Held {
    #[must_use]
    pub fn new(
        export: HeldExport,
        reason: String,
        differences: Vec<Difference>,
        run_id: RunId,
        now: Timestamp,
    ) -> Held {
        let window = export.window.map(|window| window.to_string()).unwrap_or_default();
        let mut named = [export.account.as_str(), export.dataset.as_str(), &window, &export.blob].join("\n");
        if !export.declared.is_nothing() {
            named.push_str(&format!("\n{:?}", export.declared));
        }
        let id = blake3::hash(named.as_bytes()).to_hex()[..10].to_owned();
        Held { format: FORMAT, id, export, held_at: now, run_id, reason, differences }
    }

    /// For people: `transaction_history 2026-07..2026-09 of contoso`.
    #[must_use]
    pub fn scope(&self) -> String {
        let window = self.export.window.map(|window| format!(" {window}")).unwrap_or_default();
        format!("{}{window} of {}", self.export.dataset, self.export.account)
    }

    /// Records it.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn record(&self, lake: &Lake) -> Result<()> {
        let _known_already = lake.create_json(&held_path(&self.id), self).await?;
        Ok(())
    }

    /// Everything that waits for a decision, oldest first.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn all(lake: &Lake) -> Result<Vec<Held>> {
        let mut all = Vec::new();
        for path in lake.list(&held_prefix()).await? {
            all.extend(lake.get_json::<Held>(&path).await?);
        }
        all.sort_by(|a, b| (a.held_at, &a.id).cmp(&(b.held_at, &b.id)));
        Ok(all)
    }

    /// # Errors
    /// [`Kind::Usage`] when nothing of that id waits.
    pub async fn find(lake: &Lake, id: &str) -> Result<Held> {
        let all = Held::all(lake).await?;
        let known: Vec<&str> = all.iter().map(|held| held.id.as_str()).collect();
        let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
        all.iter().find(|held| held.id == id).cloned().ok_or_else(|| {
            Error::new(Kind::Usage, format!("nothing with the id '{id}' is held"))
                .with("held", known)
                .hint("`payoutlake lake held` lists what waits for a decision")
        })
    }

    /// Notes how it ended and takes it off the list.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn resolve(
        &self,
        lake: &Lake,
        resolution: Resolution,
        run_id: RunId,
        now: Timestamp,
    ) -> Result<()> {
        let resolved = Resolved { resolution, resolved_at: now, resolved_by: run_id, held: self };
        let _known_already = lake.create_json(&resolved_path(&self.id, run_id), &resolved).await?;
        lake.remove(&held_path(&self.id)).await
    }

    /// Whether an export of `window`, finished at `extracted_at`, makes this one pointless: it covers the same rows
    /// and is not older.
    #[must_use]
    pub fn is_overtaken_by(
        &self,
        dataset: &DatasetName,
        account: &Account,
        window: Option<Window>,
        extracted_at: Option<Timestamp>,
    ) -> bool {
        let covered = match (self.export.window, window) {
            (Some(held), Some(new)) => new.contains(held.first) && new.contains(held.last),
            (None, None) => true,
            _ => false,
        };
        covered
            && self.export.whole
            && self.export.dataset == *dataset
            && self.export.account == *account
            && self.export.extracted_at <= extracted_at
    }
}
