//! The history of one table of one account: numbered manifests, of which the newest is the table.
//!
//! A commit is one put-if-absent of the next number. A writer that meets "already exists" reads what is there: it may
//! be its own success, told twice. Accounts have histories of their own: nothing that one of them commits can stand in
//! the way of another, or replace its rows.
//!
//! Opening a table costs the same after ten commits and after ten thousand: a small document says which number was the
//! newest when somebody looked last, and from there one looks ahead until nothing is found.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::Needs;
use super::{
    Created, Lake, Manifest, manifest_path, manifests_of_table, manifests_prefix, manifests_root, newest_path,
};
use crate::error::{Error, Kind, Result};
use crate::model::Account;

/// One table of one account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Chain {
    pub table: String,
    pub account: Account,
}

/// What became of a commit.
#[derive(Debug)]
#[must_use]
pub enum CommitOutcome {
    Committed,
    /// Another writer was first; this is the table now. Plan again on it.
    Conflict(Box<Manifest>),
}

/// The table as it was at an instant.
#[derive(Debug)]
pub enum AsOf {
    Manifest(Box<Manifest>),
    /// The table was not there yet; its first manifest says what it looked like later.
    NotYet(Box<Manifest>),
}

/// Where to begin to look for the newest manifest. It may be behind, or lost: it is only a short cut.
#[derive(Debug, Serialize, Deserialize)]
struct Newest {
    version: u64,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.table, self.account)
    }
}

impl Chain {
    #[must_use]
    pub fn new(table: &str, account: &Account) -> Self {
        Chain { table: table.to_owned(), account: account.clone() }
    }

    /// Names of the tables that have a commit, sorted.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn tables(lake: &Lake) -> Result<Vec<String>> {
        lake.folders(&manifests_root()).await
    }

    /// The histories of one table, by account.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn of_table(lake: &Lake, table: &str) -> Result<Vec<Chain>> {
        let accounts = lake.folders(&manifests_of_table(table)).await?;
        let accounts = accounts.iter().filter_map(|name| Account::parse(name).ok());
        Ok(accounts.map(|account| Chain { table: table.to_owned(), account }).collect())
    }

    /// All histories of a lake, by table and account.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn all(lake: &Lake) -> Result<Vec<Chain>> {
        let mut chains = Vec::new();
        for table in Chain::tables(lake).await? {
            chains.extend(Chain::of_table(lake, &table).await?);
        }
        Ok(chains)
    }

    /// The newest manifest; `None` before the first commit.
    ///
    /// # Errors
    /// [`Kind::Destination`] when it cannot be read, [`Kind::Contract`] when it is newer than this build.
    pub async fn newest(&self, lake: &Lake) -> Result<Option<Manifest>> {
        // A short cut that cannot be read is none.
        let known: Option<Newest> = lake.get_json(&newest_path(self)).await.ok().flatten();
        let mut newest = match known {
            Some(Newest { version }) => match lake.known(self, version) {
                Some(known) => Some(known),
                None => self.read(lake, version).await?,
            },
            None => None,
        };
        if newest.is_none() {
            let Some(last) = self.versions(lake).await?.pop() else { return Ok(None) };
            newest = self.read(lake, last).await?;
        }
        while let Some(found) = &newest {
            match self.read(lake, found.version + 1).await? {
                Some(next) => newest = Some(next),
                None => break,
            }
        }
        newest.iter().for_each(|newest| lake.note(newest));
        Ok(newest)
    }

    /// The manifest of a version; `None` when there is none, or retention removed it.
    ///
    /// # Errors
    /// As [`Chain::newest`].
    pub async fn read(&self, lake: &Lake, version: u64) -> Result<Option<Manifest>> {
        let path = manifest_path(self, version);
        let Some(bytes) = lake.get(&path).await? else { return Ok(None) };
        lake.parse_json::<Needs>(&bytes, &path)?.check_reader(path.as_ref())?;
        let manifest: Manifest = lake.parse_json(&bytes, &path)?;
        if manifest.chain() == *self && manifest.version == version {
            return Ok(Some(manifest));
        }
        Err(Error::new(Kind::Contract, "a manifest stands in a place that is not its own")
            .with("file", lake.address(&path))
            .with("it says", format!("{} version {}", manifest.chain(), manifest.version))
            .hint("restore `_payoutlake/manifests` from a backup of the lake; nothing was changed"))
    }

    /// The versions that are kept, ascending.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn versions(&self, lake: &Lake) -> Result<Vec<u64>> {
        let paths = lake.list(&manifests_prefix(self)).await?;
        let number = |path: &object_store::path::Path| path.filename()?.strip_suffix(".json")?.parse().ok();
        let mut versions: Vec<u64> = paths.iter().filter_map(number).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The table as it was at an instant: the newest manifest that was committed by then.
    ///
    /// # Errors
    /// As [`Chain::newest`]; [`Kind::Usage`] when retention has removed the history of that time.
    pub async fn as_of(&self, lake: &Lake, at: Timestamp) -> Result<Option<AsOf>> {
        let versions = self.versions(lake).await?;
        // Commit times ascend with the versions: binary search, some ten reads for a year of nights.
        let (mut known, mut low, mut high) = (None, 0, versions.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.read(lake, versions[middle]).await? {
                Some(manifest) if manifest.committed_at <= at => {
                    known = Some(manifest);
                    low = middle + 1;
                }
                // Removed by retention since it was listed: older than what is kept.
                None => low = middle + 1,
                Some(_) => high = middle,
            }
        }
        let not_kept = |from: Timestamp| {
            Error::new(Kind::Usage, "the history of that time is not kept any more")
                .with("table", self)
                .with("asked for", at)
                .with("kept from", from)
                .hint("give a later time; tagged versions are kept for ever: see `payoutlake lake snapshots`")
        };
        if let Some(manifest) = known {
            // A tag keeps single versions: between them others are gone, and one of those was the table then.
            if let Some(next) = versions.get(low).filter(|next| **next > manifest.version + 1) {
                let next = self.read(lake, *next).await?;
                return Err(not_kept(next.map_or(manifest.committed_at, |next| next.committed_at)));
            }
            return Ok(Some(AsOf::Manifest(Box::new(manifest))));
        }
        let Some(first) = versions.first() else { return Ok(None) };
        let Some(manifest) = self.read(lake, *first).await? else { return Ok(None) };
        if manifest.version == 1 {
            return Ok(Some(AsOf::NotYet(Box::new(manifest))));
        }
        Err(not_kept(manifest.committed_at))
    }

    /// Makes `manifest` the table, unless another writer was first.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn commit(&self, lake: &Lake, manifest: &Manifest) -> Result<CommitOutcome> {
        let path = manifest_path(self, manifest.version);
        let bytes = serde_json::to_vec(manifest).map_err(|cause| {
            Error::new(Kind::Bug, "a manifest cannot be written as JSON").caused_by(cause)
        })?;
        let mine = match lake.create(&path, bytes.into()).await? {
            Created::New => true,
            // Our own put may be answered twice (a retry after a lost answer).
            Created::Exists => self.read(lake, manifest.version).await?.is_some_and(|there| {
                there.commit_id == manifest.commit_id && there.run_id == manifest.run_id
            }),
        };
        if mine && self.fills_a_gap(lake, manifest.version).await? {
            lake.remove(&path).await?;
        } else if mine {
            lake.replace_json(&newest_path(self), &Newest { version: manifest.version }).await?;
            lake.note(manifest);
            return Ok(CommitOutcome::Committed);
        }
        match self.newest(lake).await? {
            Some(winner) => Ok(CommitOutcome::Conflict(Box::new(winner))),
            None => Err(Error::new(Kind::Destination, "a manifest exists and cannot be read")
                .with("manifest", lake.address(&path))
                .hint("check the storage, then run again; nothing was changed")),
        }
    }

    /// Whether newer versions are known: then retention removed the one of this number, and a writer that planned on
    /// an older one has put it where nobody looks.
    async fn fills_a_gap(&self, lake: &Lake, version: u64) -> Result<bool> {
        let known: Option<Newest> = lake.get_json(&newest_path(self)).await.ok().flatten();
        Ok(known.is_some_and(|known| known.version > version))
    }

    /// Brings the short cut to a version up to date.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub(super) async fn point_at(&self, lake: &Lake, version: u64) -> Result<()> {
        lake.replace_json(&newest_path(self), &Newest { version }).await
    }
}

impl Manifest {
    /// # Errors
    /// [`Kind::Contract`] when this build is too old to extend the table.
    pub fn check_writable(&self) -> Result<()> {
        Needs { min_reader: self.min_reader, min_writer: self.min_writer }
            .check_writer(manifest_path(&self.chain(), self.version).as_ref())
    }
}
