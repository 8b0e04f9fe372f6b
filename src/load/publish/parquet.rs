//! Hive-partitioned Parquet folders: one file for each account and month, replaced in one atomic step.

use std::collections::BTreeMap;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::lake::{Chain, Lake, Manifest, Object, object_path, published_path};

/// What the folders of a table and account show now. It may be behind, or lost: then more is installed than needed.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Installed {
    /// The manifest that the folders follow.
    manifest: u64,
    /// Published path and name of the object behind it.
    files: BTreeMap<String, String>,
}

/// Installs what changed, and again when somebody committed meanwhile: whoever installs last looks last.
pub(super) async fn publish(lake: &Lake, manifest: &Manifest) -> Result<()> {
    let chain = manifest.chain();
    install(lake, &chain, manifest).await?;
    let mut shown = manifest.version;
    while let Some(newer) = chain.newest(lake).await?.filter(|newest| newest.version > shown) {
        install(lake, &chain, &newer).await?;
        shown = newer.version;
    }
    Ok(())
}

async fn install(lake: &Lake, chain: &Chain, manifest: &Manifest) -> Result<()> {
    let record = published_path(chain);
    let installed = match lake.get_json::<Installed>(&record).await {
        Ok(Some(installed)) => installed,
        // A record that cannot be read is a projection like the rest: everything is installed again. That it is there
        // tells the next command that these folders are published, should this one not come to its end.
        _ => {
            lake.replace_json(&record, &Installed::default()).await?;
            Installed::default()
        }
    };
    if installed.manifest > manifest.version {
        // A newer commit was published meanwhile.
        return Ok(());
    }
    let wanted = wanted(manifest);
    for (path, object) in &wanted {
        if installed.files.get(path) != Some(&object.name) {
            lake.install(&object_path(chain, &object.name), &Path::from(path.as_str())).await?;
        }
    }
    for path in installed.files.keys().filter(|path| !wanted.contains_key(*path)) {
        lake.remove(&Path::from(path.as_str())).await?;
    }
    let files = wanted.into_iter().map(|(path, object)| (path, object.name.clone())).collect();
    if installed.manifest != manifest.version || installed.files != files {
        lake.replace_json(&record, &Installed { manifest: manifest.version, files }).await?;
    }
    Ok(())
}

/// Whether the folders of a table are published at all.
pub(super) async fn is_published(lake: &Lake, manifest: &Manifest) -> Result<bool> {
    Ok(lake.size(&published_path(&manifest.chain())).await?.is_some())
}

/// Whether the folders are published and behind the manifest: one read.
pub(super) async fn is_behind(lake: &Lake, manifest: &Manifest) -> Result<bool> {
    let installed: Option<Installed> = lake.get_json(&published_path(&manifest.chain())).await?;
    Ok(installed.is_some_and(|installed| installed.manifest < manifest.version))
}

/// Compares the folders with the manifest, file by file, and mends what differs: what a crash left, what somebody
/// removed, and what a slower process installed after a faster one.
pub(super) async fn heal(lake: &Lake, manifest: &Manifest) -> Result<()> {
    publish(lake, manifest).await?;
    let (chain, mut shown) = (manifest.chain(), 0);
    // What somebody commits meanwhile is looked at again: who mends last looks last.
    while let Some(newest) = chain.newest(lake).await?.filter(|newest| newest.version > shown) {
        mend(lake, &chain, &newest).await?;
        shown = newest.version;
    }
    Ok(())
}

async fn mend(lake: &Lake, chain: &Chain, manifest: &Manifest) -> Result<()> {
    let folder = Path::from(format!("{}/account={}", chain.table, chain.account));
    let there: BTreeMap<String, u64> = lake
        .list_all(&folder)
        .await?
        .into_iter()
        .map(|meta| (meta.location.to_string(), meta.size))
        .collect();
    let wanted = wanted(manifest);
    for (path, object) in &wanted {
        let (object_at, path_at) = (object_path(chain, &object.name), Path::from(path.as_str()));
        let same = there.get(path) == Some(&object.bytes) && lake.shows(&object_at, &path_at)?;
        if !same {
            lake.install(&object_at, &path_at).await?;
        }
    }
    for path in there.keys().filter(|path| is_ours(path) && !wanted.contains_key(*path)) {
        lake.remove(&Path::from(path.as_str())).await?;
    }
    Ok(())
}

/// A file that only payoutlake makes: `part-0.parquet` two folders below the table's.
fn is_ours(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let number = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".parquet"));
    let published = number.is_some_and(|number| number.parse::<u32>().is_ok());
    let depth = path.split('/').filter(|part| part.contains('=')).count();
    depth == 2 && published
}

/// The object behind every partition that has rows, by published path.
fn wanted(manifest: &Manifest) -> BTreeMap<String, &Object> {
    let files = manifest.partitions.iter().flat_map(|partition| {
        let folder = partition.key.path(&manifest.partition_columns);
        partition.objects.iter().enumerate().map(move |(number, object)| {
            (format!("{}/{folder}/part-{number}.parquet", manifest.table), object)
        })
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_files_are_ours() {
        assert!(is_ours("t/account=a/earning_month=2026-09/part-0.parquet"));
        for theirs in [
            "t/account=a/earning_month=2026-09/mine.parquet",
            "t/account=a/part-0.parquet",
            "t/account=a/m=x/part-0.csv",
        ] {
            assert!(!is_ours(theirs), "{theirs}");
        }
    }
}
