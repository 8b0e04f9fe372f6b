//! Hive-partitioned Parquet folders: one file for each account and month, replaced in one atomic step.

use std::collections::BTreeMap;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::lake::{Lake, Manifest, Object, object_path, published_path};

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
    // A record that cannot be read is a projection like the rest: everything is installed again.
    let installed: Installed = lake.get_json(&record).await.ok().flatten().unwrap_or_default();
    if installed.manifest > manifest.version {
        // A newer commit was published meanwhile.
        return Ok(());
    }
    let wanted = wanted(manifest);
    for (path, file) in &wanted {
        if installed.files.get(path) != Some(&file.hash) {
            lake.install(&object_path(&manifest.table, &file.hash), &Path::from(path.as_str())).await?;
        }
    }
    for path in installed.files.keys().filter(|path| !wanted.contains_key(*path)) {
        lake.remove(&Path::from(path.as_str())).await?;
    }
    let files = wanted.into_iter().map(|(path, file)| (path, file.hash.clone())).collect();
    if installed.manifest != manifest.version || installed.files != files {
        lake.replace_json(&record, &Installed { manifest: manifest.version, files }).await?;
    }
    Ok(())
}

pub(super) async fn heal(lake: &Lake, manifest: &Manifest) -> Result<()> {
    publish(lake, manifest).await?;
    let there: BTreeMap<String, u64> = (lake.list_sizes(&Path::from(manifest.table.as_str())).await?)
        .into_iter()
        .map(|(path, bytes)| (path.to_string(), bytes))
        .collect();
    // Missing, or another file: somebody removed it, or two runs published at the same moment.
    for (path, file) in wanted(manifest).iter().filter(|(path, file)| there.get(*path) != Some(&file.bytes)) {
        lake.install(&object_path(&manifest.table, &file.hash), &Path::from(path.as_str())).await?;
    }
    Ok(())
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
