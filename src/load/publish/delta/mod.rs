//! Delta: the folder of a table is a Delta table of all accounts, with one transaction for each commit that changed rows.
//!
//! The files are those of the lake under names of their own (`<object>.parquet`), so that a reader of an older version finds
//! what it was promised until `lake maintain` drops it. The application transaction id of an account says which of its
//! manifests the table shows: whatever was cut short is found out from the table itself and done again, once.

mod stats;
mod table;

use std::collections::BTreeMap;

use deltalake_core::kernel::{Action, Transaction};
use object_store::path::Path;
use serde_json::json;

use super::{Format, Installed, parquet, put_in_place, wanted};
use crate::error::{Error, Kind, Result};
use crate::lake::{
    Chain, Lake, Manifest, Object, published_folder, published_path, published_prefix, together,
};
use crate::model::Account;
use table::{Table, info_of};

/// How many transactions of others may come before ours.
const MAX_CONFLICTS: u32 = 100;

/// How many commits a table may be behind and still get each as a version of its own.
const MAX_PENDING: usize = 20;

pub(super) async fn publish(lake: &Lake, manifest: &Manifest, installed: Option<Installed>) -> Result<()> {
    let chain = manifest.chain();
    let was = installed.unwrap_or(Installed { format: Format::Delta, ..Installed::default() });
    if was.format == Format::Delta && was.manifest >= manifest.rewritten_in {
        // The rows are those that are shown.
        if was.manifest < manifest.version {
            note(lake, &chain, manifest.version).await?;
        }
        return Ok(());
    }
    let begins = was.manifest == 0 || was.format == Format::Parquet;
    if begins {
        // Tells the next command that these folders are published so, should this one not come to its end.
        note(lake, &chain, 0).await?;
    }
    let shown = follow(lake, &chain).await?;
    if begins {
        parquet::withdraw(lake, &chain).await?;
    }
    note(lake, &chain, shown).await
}

/// Notes which manifest the table shows.
async fn note(lake: &Lake, chain: &Chain, manifest: u64) -> Result<()> {
    let installed = Installed { format: Format::Delta, manifest, ..Installed::default() };
    lake.replace_json(&published_path(chain), &installed).await
}

/// Commits what the table does not show yet, oldest first; the manifest that it shows then.
async fn follow(lake: &Lake, chain: &Chain) -> Result<u64> {
    for _ in 0..MAX_CONFLICTS {
        // The table before the manifests: another publisher may be faster, and then it is not ahead of what we know.
        let mut table = Table::open(lake, &chain.table).await?;
        let shown = table.shown(chain).await?;
        let Some(newest) = chain.newest(lake).await? else { return Ok(0) };
        let mut done = Ok(());
        for manifest in pending(lake, chain, shown, &newest).await? {
            done = table.commit(lake, chain, &manifest).await;
            if done.is_err() {
                break;
            }
        }
        if done.is_ok() {
            let live = table.live(chain)?;
            if live.keys().eq(files(&newest).keys()) {
                return Ok(newest.version);
            }
            // It says that it shows this manifest, and has other files: somebody else's hand, or a lake of another time.
            done = table.commit(lake, chain, &newest).await;
        }
        retry_after(lake, &table, done).await?;
    }
    Err(overtaken(chain))
}

/// Whether a transaction that failed may be tried again: only because somebody was first.
async fn retry_after(lake: &Lake, table: &Table, done: Result<()>) -> Result<()> {
    let Err(error) = done else { return Ok(()) };
    // It may be ours all the same: the table tells when it is looked at again.
    if Table::open(lake, &table.name).await?.version() == table.version() {
        return Err(error);
    }
    Ok(())
}

fn overtaken(chain: &Chain) -> Error {
    Error::new(Kind::Destination, "other writers kept changing the Delta table")
        .with("table", &chain.table)
        .with("attempts", MAX_CONFLICTS)
        .hint("what was committed is safe, and the next command publishes it")
}

/// The manifests that changed rows and that the table does not show, oldest first. A table that shows nothing yet, that is
/// far behind, or that shows what the lake does not know, goes on with the newest.
async fn pending(lake: &Lake, chain: &Chain, shown: Option<u64>, newest: &Manifest) -> Result<Vec<Manifest>> {
    let only_newest = || Ok(vec![newest.clone()]);
    let Some(shown) = shown.filter(|shown| *shown <= newest.version) else { return only_newest() };
    let mut pending = Vec::new();
    let mut rewritten_in = newest.rewritten_in;
    // From each version that changed rows to the one before: what only confirms is not read.
    while rewritten_in > shown {
        let Some(manifest) = chain.read(lake, rewritten_in).await? else { return only_newest() };
        let before = match rewritten_in {
            1 => None,
            version => chain.read(lake, version - 1).await?,
        };
        pending.push(manifest);
        if pending.len() > MAX_PENDING {
            return only_newest();
        }
        let Some(before) = before else { break };
        rewritten_in = before.rewritten_in;
    }
    pending.reverse();
    Ok(pending)
}

/// Compares the table with the manifest, and brings back what somebody removed: files, the log, or what the log says. Of all
/// accounts that the table shows: what is done to it is done to all of them, and some may not be run again for long.
pub(super) async fn heal(lake: &Lake, manifest: &Manifest) -> Result<()> {
    heal_account(lake, manifest).await?;
    for other in others(lake, &manifest.chain()).await? {
        if let Some(newest) = other.newest(lake).await? {
            heal_account(lake, &newest).await?;
        }
    }
    Ok(())
}

/// The other accounts that a table shows.
async fn others(lake: &Lake, chain: &Chain) -> Result<Vec<Chain>> {
    let mut others = Vec::new();
    for path in lake.list(&published_prefix().join(chain.table.as_str())).await? {
        let name = path.filename().and_then(|name| name.strip_suffix(".json"));
        let Some(account) = name.and_then(|name| Account::parse(name).ok()) else { continue };
        // 0: it is about to come, or to leave.
        let shown = lake.get_json::<Installed>(&path).await;
        let is_shown = matches!(shown, Ok(Some(Installed { format: Format::Delta, manifest: 1.., .. })));
        if is_shown && account != chain.account {
            others.push(Chain { table: chain.table.clone(), account });
        }
    }
    Ok(others)
}

async fn heal_account(lake: &Lake, manifest: &Manifest) -> Result<()> {
    let chain = manifest.chain();
    let there = lake.list_all(&published_folder(&chain)).await?;
    let there: BTreeMap<String, u64> =
        there.into_iter().map(|meta| (meta.location.to_string(), meta.size)).collect();
    let wanted = files(manifest);
    let all = wanted.iter().map(|(path, object)| (path, *object));
    let lost: Vec<_> = all.filter(|(path, object)| there.get(*path) != Some(&object.bytes)).collect();
    put_in_place(lake, &chain, &lost).await?;
    let table = Table::open(lake, &chain.table).await?;
    if !table.live(&chain)?.keys().eq(wanted.keys()) {
        follow(lake, &chain).await?;
    }
    Ok(())
}

/// Ends the publishing of an account as Delta: its rows leave the table, and its files the folder.
pub(super) async fn withdraw(lake: &Lake, chain: &Chain) -> Result<()> {
    // Should this be cut short, nothing is known to be shown.
    note(lake, chain, 0).await?;
    for _ in 0..MAX_CONFLICTS {
        let table = Table::open(lake, &chain.table).await?;
        let gone: Vec<_> = table.live(chain)?.into_values().map(Action::Remove).collect();
        if gone.is_empty() {
            // Only now: no reader of the log asks for them any more.
            let files = lake.list(&published_folder(chain)).await?;
            return together(files.iter().map(|path| lake.remove(path)).collect()).await.map(drop);
        }
        let nothing_shown = Transaction::new(app_id(chain), 0);
        let done = table.transact(gone, nothing_shown, info_of("withdraw", json!({}))).await;
        retry_after(lake, &table, done.map(drop)).await?;
    }
    Err(overtaken(chain))
}

/// Removes the log of a table that no account publishes as Delta any more.
pub(super) async fn drop_unused_log(lake: &Lake, table: &str) -> Result<()> {
    for path in lake.list(&published_prefix().join(table)).await? {
        // What cannot be read may be one.
        let read = lake.get_json::<Installed>(&path).await;
        if !matches!(read, Ok(Some(Installed { format: Format::Parquet, .. }) | None)) {
            return Ok(());
        }
    }
    // The newest first: what is left of a log that is cut short here is a table of an earlier time.
    for path in lake.list(&log(table)).await?.into_iter().rev() {
        lake.remove(&path).await?;
    }
    Ok(())
}

/// Whether a table has a log.
pub(super) async fn has_log(lake: &Lake, table: &str) -> Result<bool> {
    Ok(!lake.list(&log(table)).await?.is_empty())
}

fn log(table: &str) -> Path {
    Path::from(table).join("_delta_log")
}

fn files(manifest: &Manifest) -> BTreeMap<String, &Object> {
    wanted(manifest, |_, object| object.name.clone())
}

/// Says in a Delta table which manifest of an account it shows.
fn app_id(chain: &Chain) -> String {
    format!("payoutlake/{}/{}", chain.table, chain.account)
}
