//! Hive-partitioned Parquet folders: one file for each account and month, replaced in one atomic step.

use std::collections::BTreeMap;

use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::lake::{Chain, Lake, Manifest, Object, object_path, published_path, together};

/// What the folders of a table and account show now. It may be behind, or lost: then more is installed than needed.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Installed {
    /// The manifest that the folders follow.
    manifest: u64,
    /// Published path and name of the object behind it.
    files: BTreeMap<String, String>,
    /// On an object store: published path and the tag that the storage gave the copy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
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
    let is_there = |path: &String, object: &Object| installed.files.get(path) == Some(&object.name);
    let new: Vec<_> = wanted.iter().filter(|(path, object)| !is_there(path, object)).collect();
    let old: Vec<_> = installed.files.keys().filter(|path| !wanted.contains_key(*path)).collect();
    put_in_place(lake, chain, &new).await?;
    together(old.into_iter().map(|path| remove(lake, path)).collect()).await?;
    let files = names(&wanted);
    if installed.manifest != manifest.version || installed.files != files {
        let tags = if new.is_empty() { installed.tags } else { tags(lake, chain).await? };
        lake.replace_json(&record, &Installed { manifest: manifest.version, files, tags }).await?;
    }
    Ok(())
}

async fn put_in_place(lake: &Lake, chain: &Chain, files: &[(&String, &&Object)]) -> Result<()> {
    let install = |(path, object): &(&String, &&Object)| {
        let (object, path) = (object_path(chain, &object.name), Path::from(path.as_str()));
        async move { lake.install(&object, &path).await }
    };
    together(files.iter().map(install).collect()).await.map(drop)
}

async fn remove(lake: &Lake, path: &str) -> Result<()> {
    lake.remove(&Path::from(path)).await
}

/// What an object store calls the contents of the published files now.
async fn tags(lake: &Lake, chain: &Chain) -> Result<BTreeMap<String, String>> {
    if !lake.is_object_store() {
        return Ok(BTreeMap::new());
    }
    let there = lake.list_all(&folder(chain)).await?;
    Ok(there.into_iter().filter_map(|meta| Some((meta.location.to_string(), meta.e_tag?))).collect())
}

fn folder(chain: &Chain) -> Path {
    Path::from(format!("{}/account={}", chain.table, chain.account))
}

fn names(wanted: &BTreeMap<String, &Object>) -> BTreeMap<String, String> {
    wanted.iter().map(|(path, object)| (path.clone(), object.name.clone())).collect()
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
    let there = lake.list_all(&folder(chain)).await?;
    let there: BTreeMap<String, ObjectMeta> =
        there.into_iter().map(|meta| (meta.location.to_string(), meta)).collect();
    let record = published_path(chain);
    let tags_then = match lake.is_object_store() {
        true => lake.get_json::<Installed>(&record).await?.unwrap_or_default().tags,
        false => BTreeMap::new(),
    };
    let wanted = wanted(manifest);
    let mut wrong = Vec::new();
    for (path, object) in &wanted {
        let shown = match there.get(path).filter(|meta| meta.size == object.bytes) {
            Some(meta) => lake.shows(&object_path(chain, &object.name), meta, tags_then.get(path))?,
            None => false,
        };
        if !shown {
            wrong.push((path, object));
        }
    }
    put_in_place(lake, chain, &wrong).await?;
    for path in there.keys().filter(|path| is_ours(path) && !wanted.contains_key(*path)) {
        remove(lake, path).await?;
    }
    if !wrong.is_empty() && lake.is_object_store() {
        let (files, tags) = (names(&wanted), tags(lake, chain).await?);
        lake.replace_json(&record, &Installed { manifest: manifest.version, files, tags }).await?;
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
