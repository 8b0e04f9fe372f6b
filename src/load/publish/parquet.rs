//! Hive-partitioned Parquet folders: one file for each account and month, replaced in one atomic step.

use std::collections::{BTreeMap, BTreeSet};

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::lake::{Lake, Manifest, object_path, published_path};

/// What the folders of a table show now.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Installed {
    /// The manifest that the folders follow.
    manifest: u64,
    /// Published path and hash of the object behind it.
    files: BTreeMap<String, String>,
}

pub(super) async fn publish(lake: &Lake, manifest: &Manifest) -> Result<()> {
    let record = published_path(&manifest.table);
    let mut installed: Installed = lake.get_json(&record).await?.unwrap_or_default();
    if installed.manifest > manifest.version {
        // A newer commit was published meanwhile.
        return Ok(());
    }
    let wanted = wanted(manifest);
    for (path, hash) in &wanted {
        if installed.files.get(path) != Some(hash) {
            lake.install(&object_path(&manifest.table, hash), &Path::from(path.as_str())).await?;
        }
    }
    for path in installed.files.keys().filter(|path| !wanted.contains_key(*path)) {
        lake.remove(&Path::from(path.as_str())).await?;
    }
    if installed.manifest != manifest.version || installed.files != wanted {
        installed = Installed { manifest: manifest.version, files: wanted };
        lake.replace_json(&record, &installed).await?;
    }
    Ok(())
}

pub(super) async fn heal(lake: &Lake, manifest: &Manifest) -> Result<()> {
    publish(lake, manifest).await?;
    let there: BTreeSet<String> =
        lake.list(&Path::from(manifest.table.as_str())).await?.iter().map(ToString::to_string).collect();
    for (path, hash) in wanted(manifest).iter().filter(|(path, _)| !there.contains(*path)) {
        lake.install(&object_path(&manifest.table, hash), &Path::from(path.as_str())).await?;
    }
    Ok(())
}

/// Published path and object hash of every partition that has rows.
fn wanted(manifest: &Manifest) -> BTreeMap<String, String> {
    let files = manifest.partitions.iter().flat_map(|partition| {
        let folder = partition.key.path(&manifest.partition_columns);
        partition.objects.iter().enumerate().map(move |(number, object)| {
            (format!("{}/{folder}/part-{number}.parquet", manifest.table), object.hash.clone())
        })
    });
    files.collect()
}
