//! The history of a lake: snapshots, tags, going back, and what retention removes.

use jiff::Timestamp;
use serde::Serialize;

use super::{Settings, Tools};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::Observer;
use crate::lake::{
    self, Cause, Chain, Commit, CommitOutcome, Lake, Maintained, Moment, Operation, Retention, Tag, Tagged,
    check_objects, object_path,
};
use crate::load::{self, DERIVED, QUARANTINE, publish};
use crate::model::{Account, RunId};

/// Which tables and accounts a command is about; `None`: all.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub table: Option<String>,
    pub account: Option<Account>,
}

impl Scope {
    /// The histories in the scope.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the lake has none such, [`Kind::Destination`].
    pub async fn chains(&self, lake: &Lake) -> Result<Vec<Chain>> {
        let all = Chain::all(lake).await?;
        let names = |chain: &Chain| {
            self.table.as_ref().is_none_or(|table| *table == chain.table)
                && self.account.as_ref().is_none_or(|account| *account == chain.account)
        };
        let chosen: Vec<Chain> = all.iter().filter(|chain| names(chain)).cloned().collect();
        if !chosen.is_empty() || (self.table.is_none() && self.account.is_none()) {
            return Ok(chosen);
        }
        let known: Vec<String> = all.iter().map(ToString::to_string).collect();
        Err(Error::new(Kind::Usage, "the lake has no such table or account")
            .with("lake", lake.shown())
            .with("it has", if known.is_empty() { "nothing yet".to_owned() } else { known.join(", ") })
            .hint("give --table and --account as they are listed here"))
    }
}

/// One version of one table.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    pub table: String,
    pub account: Account,
    pub version: u64,
    pub committed_at: Timestamp,
    pub run_id: RunId,
    pub operation: Operation,
    /// Whether rows changed, or were only confirmed.
    pub rewritten: bool,
    pub rows: u64,
    pub tags: Vec<String>,
}

/// The newest `last` versions of each table in the scope, newest first.
///
/// # Errors
/// As [`Scope::chains`].
pub async fn snapshots(lake: &Lake, scope: &Scope, last: usize) -> Result<Vec<Snapshot>> {
    let tags = Tag::all(lake).await?;
    let mut snapshots = Vec::new();
    for chain in scope.chains(lake).await? {
        for version in chain.versions(lake).await?.into_iter().rev().take(last) {
            let Some(manifest) = chain.read(lake, version).await? else { continue };
            let named = tags.iter().filter(|tag| tag.version(&chain) == Some(version));
            snapshots.push(Snapshot {
                table: chain.table.clone(),
                account: chain.account.clone(),
                version,
                committed_at: manifest.committed_at,
                run_id: manifest.run_id,
                rewritten: manifest.rewritten_in == version,
                rows: manifest.rows(),
                tags: named.map(|tag| tag.name.clone()).collect(),
                operation: manifest.operation,
            });
        }
    }
    Ok(snapshots)
}

/// One live object.
#[derive(Debug, Clone, Serialize)]
pub struct LiveFile {
    pub table: String,
    pub account: Account,
    /// `earning_month=2026-09`
    pub partition: String,
    /// Where other programs find it.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
}

/// The objects that are the tables in the scope, now or at an instant.
///
/// # Errors
/// As [`Scope::chains`].
pub async fn live_files(lake: &Lake, scope: &Scope, moment: &Moment) -> Result<Vec<LiveFile>> {
    let mut files = Vec::new();
    for chain in scope.chains(lake).await? {
        let Some(manifest) = chain.at(lake, moment).await? else { continue };
        for partition in &manifest.partitions {
            files.extend(partition.objects.iter().map(|object| LiveFile {
                table: chain.table.clone(),
                account: chain.account.clone(),
                partition: format!("{}={}", manifest.partition_columns[1], partition.key.value),
                path: lake.address(&object_path(&chain, &object.name)),
                rows: object.rows,
                bytes: object.bytes,
            }));
        }
    }
    Ok(files)
}

/// Gives a name to the versions of all tables, now or at an instant.
///
/// # Errors
/// [`Kind::Usage`] for a name that is taken or no name, or a lake without tables.
pub async fn tag(settings: &Settings, name: &str, as_of: Option<&str>) -> Result<Tag> {
    let lake = settings.open_lake().await?;
    let chains = follow_all(settings, &lake).await?;
    let moment = match as_of {
        Some(text) => Moment::parse(&lake, text).await?,
        None => Moment::Now,
    };
    let mut tables = Vec::new();
    for chain in chains {
        let manifest = chain.at(&lake, &moment).await?.filter(|manifest| !manifest.partitions.is_empty());
        tables.extend(manifest.map(|manifest| Tagged {
            version: manifest.version,
            committed_at: manifest.committed_at,
            chain,
        }));
    }
    if tables.is_empty() {
        return Err(Error::new(Kind::Usage, "there is nothing to tag")
            .with("lake", lake.shown())
            .hint("the lake has no tables, or had none at that time: see `payoutlake lake snapshots`"));
    }
    Tag::create(&lake, name, tables, (settings.clock)()).await
}

/// Derives what is behind: the restatements of a commit whose process ended right after it.
///
/// # Errors
/// [`Kind::Destination`], also when something is behind and the lake may only be read.
pub async fn follow(settings: &Settings) -> Result<()> {
    let lake = settings.open_lake().await?;
    follow_all(settings, &lake).await.map(drop)
}

/// Derives what is behind, so that a tag or a clean-up sees all of it.
async fn follow_all(settings: &Settings, lake: &Lake) -> Result<Vec<Chain>> {
    let engine = Engine::new(&settings.engine, lake.store().clone())?;
    let observer = Observer::silent();
    let tools = Tools { settings, lake, engine: &engine, observer: &observer };
    let chains = Chain::all(lake).await?;
    for chain in chains.iter().filter(|chain| is_dataset(chain)) {
        if let Some(newest) = chain.newest(lake).await? {
            // What cannot be derived stays to be derived: the next run warns of it, and retention keeps what it needs.
            let _behind = load::follow(&tools.context(), &newest, settings.run_id, (settings.clock)()).await;
        }
    }
    // The first lines of a derived table make it.
    Chain::all(lake).await
}

pub(super) fn is_dataset(chain: &Chain) -> bool {
    chain.table != QUARANTINE && !DERIVED.contains(&chain.table.as_str())
}

/// Where to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackTo {
    /// A version of one table.
    Version(u64),
    /// The versions that a tag names.
    Tag(String),
}

/// A table that was taken back.
#[derive(Debug, Clone, Serialize)]
pub struct RolledBack {
    pub table: String,
    pub account: Account,
    pub from: u64,
    pub to: u64,
    /// The new commit that has the old content; equal to `from` when nothing had to change.
    pub version: u64,
    pub rows_before: u64,
    pub rows_after: u64,
}

/// Makes an earlier version the table again, by a new commit: nothing is lost, and it can be taken back the same way.
///
/// # Errors
/// [`Kind::Usage`] when there is no such version or it is not clear of which table; [`Kind::Destination`] when objects
/// of that version are gone.
pub async fn rollback(settings: &Settings, scope: &Scope, to: &RollbackTo) -> Result<Vec<RolledBack>> {
    let lake = settings.open_lake().await?;
    let mut chains = scope.chains(&lake).await?;
    // What derived tables tell stays true; they tell of this, too.
    chains.retain(|chain| !DERIVED.contains(&chain.table.as_str()));
    let targets = match to {
        RollbackTo::Tag(name) => {
            let tag = Tag::find(&lake, name).await?;
            chains.into_iter().filter_map(|chain| Some((tag.version(&chain)?, chain))).collect()
        }
        RollbackTo::Version(version) => match chains.as_slice() {
            [chain] => vec![(*version, chain.clone())],
            several => {
                let names: Vec<String> = several.iter().map(ToString::to_string).collect();
                return Err(Error::new(Kind::Usage, "a version belongs to one table of one account")
                    .with("the lake has", names.join(", "))
                    .hint("add --table and --account, or go back to a tag: nothing was changed"));
            }
        },
    };
    let mut done = Vec::new();
    for (version, chain) in targets {
        done.push(rollback_one(settings, &lake, &chain, version).await?);
    }
    follow_all(settings, &lake).await?;
    Ok(done)
}

async fn rollback_one(settings: &Settings, lake: &Lake, chain: &Chain, to: u64) -> Result<RolledBack> {
    let missing = || {
        Error::new(Kind::Usage, format!("there is no version {to} of {chain}"))
            .hint("`payoutlake lake snapshots` lists the versions that are kept; nothing was changed")
    };
    let target = chain.read(lake, to).await?.ok_or_else(missing)?;
    check_objects(lake, &target).await?;
    let mut current = chain.newest(lake).await?.ok_or_else(missing)?;
    loop {
        current.check_writable()?;
        let mut told = RolledBack {
            table: chain.table.clone(),
            account: chain.account.clone(),
            from: current.version,
            to,
            version: current.version,
            rows_before: current.rows(),
            rows_after: target.rows(),
        };
        if current.partitions == target.partitions {
            return Ok(told);
        }
        let operation = Operation::new(Cause::Rollback, format!("to version {to}"));
        let (run_id, committed_at) = (settings.run_id, (settings.clock)());
        let manifest = current.back_to(&target, Commit { operation, run_id, committed_at });
        match chain.commit(lake, &manifest).await? {
            CommitOutcome::Committed => {
                // Retention may have removed the objects at the same moment.
                check_objects(lake, &manifest).await?;
                publish::publish(lake, settings.publish, &manifest).await?;
                told.version = manifest.version;
                return Ok(told);
            }
            CommitOutcome::Conflict(winner) => current = *winner,
        }
    }
}

/// Removes what retention does not keep, after everything was derived from it that is to be derived.
///
/// # Errors
/// [`Kind::Destination`].
pub async fn maintain(settings: &Settings, retention: Retention) -> Result<Maintained> {
    let lake = settings.open_lake().await?;
    if !retention.dry_run {
        follow_all(settings, &lake).await?;
    }
    lake::maintain(&lake, retention, (settings.clock)()).await
}
