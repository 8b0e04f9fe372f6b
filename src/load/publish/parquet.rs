//! Hive-partitioned Parquet folders: one file for each account and month, replaced in one atomic step.

use std::collections::BTreeMap;
use std::time::Duration;

use object_store::ObjectMeta;

use super::{Format, Installed, put_in_place, record, remove, wanted};
use crate::error::Result;
use crate::lake::{Chain, Lake, Manifest, Object, object_path, published_folder, published_path, together};

/// Installs what changed, and again when somebody committed meanwhile: whoever installs last looks last.
pub(super) async fn publish(lake: &Lake, manifest: &Manifest, installed: Option<Installed>) -> Result<()> {
    let (chain, mut copied) = (manifest.chain(), BTreeMap::new());
    install(lake, &chain, manifest, installed, &mut copied).await?;
    let mut shown = manifest.version;
    while let Some(newer) = chain.newest(lake).await?.filter(|newest| newest.version > shown) {
        install(lake, &chain, &newer, record(lake, &chain).await?, &mut copied).await?;
        shown = newer.version;
    }
    Ok(())
}

/// `copied`: what this process has installed itself, by published path. It may have come after what the record tells.
async fn install(
    lake: &Lake,
    chain: &Chain,
    manifest: &Manifest,
    installed: Option<Installed>,
    copied: &mut BTreeMap<String, String>,
) -> Result<()> {
    let path = published_path(chain);
    let installed = match installed {
        Some(installed) => installed,
        None => {
            // That it is there tells the next command that these folders are published, should this one not come to its
            // end.
            lake.replace_json(&path, &Installed::default()).await?;
            Installed::default()
        }
    };
    if installed.manifest > manifest.version {
        // A newer commit was published meanwhile.
        return Ok(());
    }
    let wanted = files(manifest);
    let all = wanted.iter().map(|(path, object)| (path, *object));
    let is_there = |path: &String, object: &Object| {
        installed.files.get(path) == Some(&object.name)
            && copied.get(path).is_none_or(|copied| *copied == object.name)
    };
    let new: Vec<_> = all.filter(|(path, object)| !is_there(path, object)).collect();
    let old: Vec<_> = installed.files.keys().filter(|path| !wanted.contains_key(*path)).collect();
    put_in_place(lake, chain, &new).await?;
    copied.extend(new.iter().map(|(path, object)| ((*path).clone(), object.name.clone())));
    together(old.into_iter().map(|path| remove(lake, path)).collect()).await?;
    let files = names(&wanted);
    if installed.manifest != manifest.version || installed.files != files || !new.is_empty() {
        let tags = tags(lake, chain, installed.tags, &new).await?;
        record_as(lake, chain, manifest, files, tags).await?;
    }
    Ok(())
}

async fn record_as(
    lake: &Lake,
    chain: &Chain,
    manifest: &Manifest,
    files: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
) -> Result<()> {
    let installed = Installed { format: Format::Parquet, manifest: manifest.version, files, tags };
    lake.replace_json(&published_path(chain), &installed).await
}

fn files(manifest: &Manifest) -> BTreeMap<String, &Object> {
    wanted(manifest, |number, _| format!("part-{number}"))
}

/// What an object store calls the contents of the published files: of those that were installed just now, as they are listed
/// once they are whole (Azure may still be copying when it answers), of the others as before.
async fn tags(
    lake: &Lake,
    chain: &Chain,
    mut tags: BTreeMap<String, String>,
    new: &[(&String, &Object)],
) -> Result<BTreeMap<String, String>> {
    if new.is_empty() || !lake.is_object_store() {
        return Ok(tags);
    }
    let mut missing = new.len();
    for _ in 0..COPY_LOOKS {
        let there = lake.list_all(&published_folder(chain)).await?;
        let there: BTreeMap<String, ObjectMeta> =
            there.into_iter().map(|meta| (meta.location.to_string(), meta)).collect();
        let whole = new.iter().filter_map(|(path, object)| {
            let meta = there.get(*path).filter(|meta| meta.size == object.bytes)?;
            Some(((*path).clone(), meta.e_tag.clone()))
        });
        let whole: Vec<_> = whole.collect();
        missing = new.len() - whole.len();
        if missing == 0 {
            tags.extend(whole.into_iter().filter_map(|(path, tag)| Some((path, tag?))));
            break;
        }
        tokio::time::sleep(COPY_PAUSE).await;
    }
    if missing > 0 {
        // Another writer's, or not whole yet: it has no tag, and is looked at again.
        new.iter().for_each(|(path, _)| drop(tags.remove(*path)));
    }
    Ok(tags)
}

/// How often it is looked whether copies within the storage are whole, and how long after each other.
const COPY_LOOKS: u32 = 20;
const COPY_PAUSE: Duration = Duration::from_millis(500);

fn names(wanted: &BTreeMap<String, &Object>) -> BTreeMap<String, String> {
    wanted.iter().map(|(path, object)| (path.clone(), object.name.clone())).collect()
}

/// Compares the folders with the manifest, file by file, and mends what differs: what a crash left, what somebody
/// removed, and what a slower process installed after a faster one.
pub(super) async fn heal(lake: &Lake, manifest: &Manifest) -> Result<()> {
    let (chain, mut shown) = (manifest.chain(), 0);
    // What somebody commits meanwhile is looked at again: who mends last looks last.
    while let Some(newest) = chain.newest(lake).await?.filter(|newest| newest.version > shown) {
        mend(lake, &chain, &newest).await?;
        shown = newest.version;
    }
    Ok(())
}

async fn mend(lake: &Lake, chain: &Chain, manifest: &Manifest) -> Result<()> {
    let there = lake.list_all(&published_folder(chain)).await?;
    let there: BTreeMap<String, ObjectMeta> =
        there.into_iter().map(|meta| (meta.location.to_string(), meta)).collect();
    let tags_then = match lake.is_object_store() {
        true => record(lake, chain).await?.unwrap_or_default().tags,
        false => BTreeMap::new(),
    };
    let wanted = files(manifest);
    let mut wrong = Vec::new();
    for (path, object) in &wanted {
        let shown = match there.get(path).filter(|meta| meta.size == object.bytes) {
            Some(meta) => lake.shows(&object_path(chain, &object.name), meta, tags_then.get(path))?,
            None => false,
        };
        if !shown {
            wrong.push((path, *object));
        }
    }
    put_in_place(lake, chain, &wrong).await?;
    for path in there.keys().filter(|path| is_ours(path) && !wanted.contains_key(*path)) {
        remove(lake, path).await?;
    }
    if !wrong.is_empty() && lake.is_object_store() {
        let tags = tags(lake, chain, tags_then, &wrong).await?;
        record_as(lake, chain, manifest, names(&wanted), tags).await?;
    }
    Ok(())
}

/// Removes all that was published so.
pub(super) async fn withdraw(lake: &Lake, chain: &Chain) -> Result<()> {
    let there = lake.list(&published_folder(chain)).await?;
    let ours = there.iter().filter(|path| is_ours(path.as_ref()));
    together(ours.map(|path| lake.remove(path)).collect()).await.map(drop)
}

/// A file that only payoutlake makes: `part-0.parquet` two folders below the table's.
fn is_ours(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let number = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".parquet"));
    let published = number.is_some_and(|number| number.parse::<u32>().is_ok());
    let depth = path.split('/').filter(|part| part.contains('=')).count();
    depth == 2 && published
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
