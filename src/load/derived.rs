//! Tables that are derived from the history of another one: what its versions changed, and what was counted on the way to
//! them. So they cannot miss a commit, however the process that made it ended; whoever comes next goes on where the last
//! one stopped.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::control::{self, CONTROL_TOTALS, control_totals_spec};
use super::restate::{self, RESTATEMENTS, restatements_spec};
use super::{Author, Change, Context, Coverage, Loaded, Stager, load};
use crate::error::{Error, Kind, Result};
use crate::lake::{Cause, Chain, Manifest, Operation};
use crate::model::{RunId, TableSpec};

/// The names of the derived tables.
pub const DERIVED: [&str; 2] = [RESTATEMENTS, CONTROL_TOTALS];

#[derive(Debug, Clone, Copy)]
enum Derived {
    Restatements,
    ControlTotals,
}

impl Derived {
    fn spec(self) -> TableSpec {
        match self {
            Derived::Restatements => restatements_spec(),
            Derived::ControlTotals => control_totals_spec(),
        }
    }

    /// Writes the lines of one version, and gives back how many there are besides those of first loads.
    async fn derive(
        self,
        context: &Context<'_>,
        old: Option<&Manifest>,
        new: &Manifest,
        out: &mut Stager<'_>,
    ) -> Result<u64> {
        match self {
            Derived::Restatements => restate::compare(context, old, new, out).await,
            Derived::ControlTotals => control::write(new, out),
        }
    }
}

/// Brings the derived tables of a table up to its newest version, and gives back how many restatements each version took,
/// those of first loads not counted.
///
/// # Errors
/// [`Kind::Contract`] when restatements do not add up to the difference of the versions, [`Kind::Destination`].
pub async fn follow(
    context: &Context<'_>,
    newest: &Manifest,
    run_id: RunId,
    now: Timestamp,
) -> Result<BTreeMap<u64, u64>> {
    follow_with(context, Derived::ControlTotals, newest, run_id, now).await?;
    follow_with(context, Derived::Restatements, newest, run_id, now).await
}

async fn follow_with(
    context: &Context<'_>,
    derived: Derived,
    newest: &Manifest,
    run_id: RunId,
    now: Timestamp,
) -> Result<BTreeMap<u64, u64>> {
    let spec = derived.spec();
    let mine = Chain::new(&spec.name, &newest.account);
    loop {
        let known = mine.newest(context.lake).await?;
        let known = known.and_then(|manifest| manifest.follows.get(&newest.table).copied()).unwrap_or(0);
        if newest.rewritten_in <= known {
            return Ok(BTreeMap::new());
        }
        // `None`: another process was first with some of the versions; what is left is derived again.
        if let Some(lines) = follow_from(context, derived, &spec, newest, known, run_id, now).await? {
            return Ok(lines);
        }
    }
}

/// Derives the versions after `known`; `None` when the table follows others than those by now.
async fn follow_from(
    context: &Context<'_>,
    derived: Derived,
    spec: &TableSpec,
    newest: &Manifest,
    known: u64,
    run_id: RunId,
    now: Timestamp,
) -> Result<Option<BTreeMap<u64, u64>>> {
    let chain = newest.chain();
    let spool = context.lake.spool_dir()?;
    let author = Author { run_id, request_id: None };
    let mut stager = Stager::new(spec, context.options, &chain.account, &author, spool.path());
    let mut lines = BTreeMap::new();
    for (old, new) in rewrites(context, newest, known).await? {
        lines.insert(new.version, derived.derive(context, old.as_ref(), &new, &mut stager).await?);
    }
    let staged = stager.finish()?;
    let change = Change {
        spec,
        account: &chain.account,
        coverage: Coverage::Append { of: chain.table.clone(), after: known, version: newest.version },
        extracted_at: Some(newest.committed_at),
        staged: &staged,
        absent: &[],
        made_of: None,
        guards: None,
        operation: Operation::new(
            Cause::Derived,
            format!("{} up to version {}", chain.table, newest.version),
        ),
        run_id,
        now,
    };
    match load(context, &change).await? {
        Loaded::Applied(applied) if applied.overtaken => Ok(None),
        Loaded::Applied(_) => Ok(Some(lines)),
        Loaded::Held(_) => Err(Error::new(Kind::Bug, "a derived table was held by a guard")),
    }
}

/// The versions after `known` that changed rows, oldest first, each with the one before it. Those that only confirmed
/// rows, a night of them after the other, are not read.
async fn rewrites(
    context: &Context<'_>,
    newest: &Manifest,
    known: u64,
) -> Result<Vec<(Option<Manifest>, Manifest)>> {
    let chain = newest.chain();
    let mut found = Vec::new();
    let mut version = newest.rewritten_in;
    while version > known {
        let Some(new) = chain.read(context.lake, version).await? else { break };
        let old = if version == 1 { None } else { chain.read(context.lake, version - 1).await? };
        if old.is_none() && version > 1 {
            // Retention keeps what is yet to be compared; what is gone all the same cannot be.
            break;
        }
        version = old.as_ref().map_or(0, |old| old.rewritten_in);
        found.push((old, new));
    }
    found.reverse();
    Ok(found)
}
