//! What an export changes in the table, and the commit that makes it visible.
//!
//! The table is read, the change is planned on it, objects are written and read back, and one put-if-absent
//! of the next manifest makes them the table. Another writer that was first makes us plan again.

use std::time::Duration;

use datafusion::prelude::Expr;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::plan::{Plan, plan};
use super::publish::{self, Publish};
use super::{Author, Guards, Options, Staged, StagedPart, verify};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::lake::{Chain, Commit, CommitOutcome, Lake, Manifest, Object, Operation, object_path, together};
use crate::model::{Account, Difference, Hop, RunId, TableSpec, Totals, Window};

/// What a change works with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub lake: &'a Lake,
    pub engine: &'a Engine,
    pub options: &'a Options,
    pub publish: Publish,
}

/// What the staged rows are the whole truth about.
#[derive(Debug, Clone)]
pub enum Coverage {
    /// All rows of these months of the account: they are replaced.
    Window(Window),
    /// All rows that the service can reach: they merge by key, rows beyond its reach stay, and all rows in which
    /// the column `pending` is still blank are replaced.
    FullPull { pending: String },
    /// Nothing: rows are merged by key, the newer extraction wins, nothing else is removed.
    Merge {
        /// Old rows that go whatever their key.
        replaces: Option<Expr>,
        /// Whether a covered month has no rows but those of its newest export: then what is older comes too late, also
        /// under a key that the month does not know.
        months_are_whole: bool,
        /// As in [`Coverage::FullPull`], for a table that is pulled whole.
        pending: Option<String>,
    },
    /// Rows of their own kind, which are added to what is there: what the versions of another table say that follow
    /// `after`, up to `version`.
    Append { of: String, after: u64, version: u64 },
}

/// Rows on their way into a table.
#[derive(Debug)]
pub struct Change<'a> {
    pub spec: &'a TableSpec,
    pub account: &'a Account,
    pub coverage: Coverage,
    /// When the export was finished; `None` for hand-downloaded files of unknown age.
    pub extracted_at: Option<Timestamp>,
    pub staged: &'a Staged,
    /// Columns of the table that the export does not have.
    pub absent: &'a [String],
    /// What the rows of a whole export are made of: see [`Partition::made_of`](crate::lake::Partition::made_of).
    pub made_of: Option<String>,
    /// When the change is held; `None`: a person has accepted it.
    pub guards: Option<&'a Guards>,
    pub operation: Operation,
    pub run_id: RunId,
    pub now: Timestamp,
}

/// What became of a change.
#[derive(Debug)]
#[must_use]
pub enum Loaded {
    Applied(Box<Applied>),
    /// A guard refuses it; the lake was left as it is.
    Held(Vec<Difference>),
}

#[derive(Debug, Default)]
pub struct Applied {
    /// Whether the table's rows changed.
    pub rewritten: bool,
    /// Whether the whole change came too late: the lake holds newer exports of all that it covers.
    pub overtaken: bool,
    /// Rows that were left out because the lake holds a newer extraction of them.
    pub rows_too_late: u64,
    /// Rows in the partitions that were written.
    pub rows_written: u64,
    pub files_written: u64,
    pub bytes_written: u64,
    /// The table's newest manifest after this.
    pub manifest: Option<Manifest>,
    pub hops: Vec<Hop>,
    /// What is new and worth knowing.
    pub news: Vec<String>,
}

/// How often a change is planned again because another writer was first.
const MAX_CONFLICTS: u32 = 100;

/// Writers that met wait before they plan again: as long as the first of them needs, and not all equally long.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);

impl Change<'_> {
    pub(super) fn chain(&self) -> Chain {
        Chain::new(&self.spec.name, self.account)
    }

    pub(super) fn author(&self) -> Author {
        Author { run_id: self.run_id, request_id: self.operation.request_id.clone() }
    }
}

/// Applies a change to its table: plan, write objects, read them back, commit, publish.
///
/// # Errors
/// [`Kind::Contract`] when rows or cents do not balance (nothing is committed), [`Kind::Destination`] when
/// the lake fails.
pub async fn load(context: &Context<'_>, change: &Change<'_>) -> Result<Loaded> {
    let chain = change.chain();
    let mut current = chain.newest(context.lake).await?;
    for attempt in 1..=MAX_CONFLICTS {
        if let Some(current) = &current {
            current.check_writable()?;
            current.check_columns(&change.spec.schema)?;
            current.check_treatments(&change.spec.schema)?;
        }
        let mut plan = plan(context, change, current.as_ref()).await?;
        if !plan.found.differences.is_empty() {
            return Ok(Loaded::Held(plan.found.differences));
        }
        let mut manifest = next_manifest(change, current.as_ref(), &plan);
        // The first load makes the table, also when it has no row.
        if let Some(current) = &current
            && current.partitions == manifest.partitions
            && current.pulled_at == manifest.pulled_at
            && current.follows == manifest.follows
        {
            // Nothing to say, not even a newer extraction time.
            return Ok(Loaded::Applied(Box::new(applied(plan, Some(current.clone()), false))));
        }
        let rewritten = manifest.rewritten_in == manifest.version;
        let read_back = put_objects(context, change, &plan.new_files).await?;
        if !manifest.operation.hops.is_empty() {
            plan.hops.push(Hop { name: "read back".to_owned(), totals: read_back });
            manifest.operation.hops.extend(plan.hops.iter().cloned());
        }
        match chain.commit(context.lake, &manifest).await? {
            CommitOutcome::Committed => {
                publish::publish(context.lake, context.publish, &manifest).await?;
                return Ok(Loaded::Applied(Box::new(applied(plan, Some(manifest), rewritten))));
            }
            CommitOutcome::Conflict(winner) => current = Some(*winner),
        }
        tokio::time::sleep(pause(change.run_id, attempt)).await;
    }
    Err(Error::new(Kind::Destination, "other writers kept changing the table")
        .with("table", chain)
        .with("attempts", MAX_CONFLICTS)
        .hint("nothing was committed; run again when fewer runs write this lake"))
}

/// Whether the months of a window hold what a change is made of, so that [`confirm`] is all that is left to do.
///
/// # Errors
/// [`Kind::Destination`] when the lake fails.
pub async fn is_confirmed(context: &Context<'_>, change: &Change<'_>, window: Window) -> Result<bool> {
    let current = change.chain().newest(context.lake).await?;
    Ok(current.is_some_and(|current| Plan::confirming(&current, change, window).is_some()))
}

/// Notes that an export of some months brought the bytes again that they were made of: [`Change::made_of`] tells. Nothing is
/// written but the next manifest; `None` when the lake holds something else by now, and the export has to be read.
///
/// # Errors
/// [`Kind::Destination`] when the lake fails.
pub async fn confirm(
    context: &Context<'_>,
    change: &Change<'_>,
    window: Window,
) -> Result<Option<(Applied, Totals)>> {
    let chain = change.chain();
    let mut current = chain.newest(context.lake).await?;
    for attempt in 1..=MAX_CONFLICTS {
        let Some(there) = &current else { return Ok(None) };
        there.check_writable()?;
        there.check_columns(&change.spec.schema)?;
        there.check_treatments(&change.spec.schema)?;
        let Some((plan, totals)) = Plan::confirming(there, change, window) else { return Ok(None) };
        let manifest = next_manifest(change, current.as_ref(), &plan);
        if there.partitions == manifest.partitions {
            // The same export once more.
            return Ok(Some((applied(plan, Some(there.clone()), false), totals)));
        }
        match chain.commit(context.lake, &manifest).await? {
            CommitOutcome::Committed => {
                publish::publish(context.lake, context.publish, &manifest).await?;
                return Ok(Some((applied(plan, Some(manifest), false), totals)));
            }
            CommitOutcome::Conflict(winner) => current = Some(*winner),
        }
        tokio::time::sleep(pause(change.run_id, attempt)).await;
    }
    // Whoever reads the export has as many tries again.
    Ok(None)
}

fn pause(run_id: RunId, attempt: u32) -> Duration {
    // The last bytes of a run's id are random.
    let share = u32::from(run_id.0.as_bytes()[15].wrapping_add(attempt as u8)) + 1;
    CONFLICT_PAUSE * attempt.min(10) * share / 256
}

fn applied(plan: Plan, manifest: Option<Manifest>, rewritten: bool) -> Applied {
    Applied {
        rewritten,
        overtaken: plan.taken == 0 && plan.passed > 0,
        rows_too_late: plan.rows_too_late,
        rows_written: plan.new_files.iter().map(|(part, _)| part.totals.rows).sum(),
        files_written: plan.new_files.len() as u64,
        bytes_written: plan.new_files.iter().map(|(part, _)| part.bytes).sum(),
        manifest,
        hops: plan.hops,
        news: plan.found.news,
    }
}

/// Makes the files objects, durably, reads each one back, and gives what was counted then.
async fn put_objects(
    context: &Context<'_>,
    change: &Change<'_>,
    files: &[(StagedPart, Object)],
) -> Result<Totals> {
    let (lake, chain) = (context.lake, change.chain());
    let (puts, reads) = (Semaphore::new(lake.puts_together()), Semaphore::new(READ_BACK_TOGETHER));
    let mut verified = Vec::with_capacity(files.len());
    for (part, object) in files {
        let path = object_path(&chain, &object.name);
        let (puts, reads) = (&puts, &reads);
        // Those that are there are read while others are still brought to the disk.
        verified.push(async move {
            let turn = puts.acquire().await;
            lake.put_file(&part.file, &path).await?;
            drop(turn);
            let _turn = reads.acquire().await;
            verify::verify(lake, change.spec, part, path).await
        });
    }
    let mut read_back = Totals::default();
    together(verified).await?.iter().for_each(|totals| read_back.merge(totals));
    Ok(read_back)
}

/// Objects that are read back at the same time: one waits for the store while another is counted.
const READ_BACK_TOGETHER: usize = 4;

fn next_manifest(change: &Change<'_>, current: Option<&Manifest>, plan: &Plan) -> Manifest {
    let commit =
        Commit { operation: change.operation.clone(), run_id: change.run_id, committed_at: change.now };
    let partitions = plan.partitions.values().cloned().collect();
    let mut manifest = Manifest::next(current, &change.chain(), change.spec, partitions, commit);
    manifest.pulled_at = plan.pulled_at;
    if let (Coverage::Append { of, version, .. }, true) = (&change.coverage, plan.taken > 0) {
        manifest.follows.insert(of.clone(), *version);
    }
    manifest
}
