//! Windows that a guard holds: kept with their blob, and loaded or dropped on a person's word.

use super::commit::{Source, commit_prepared, prepare};
use super::ingest::keep_raw;
use super::receipt::Outcomes;
use super::{Raw, Settings, Tools, finish, look_after};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Observer, Step};
use crate::lake::{Held, HeldExport, Lake, Resolution, raw_path};
use crate::model::{Difference, Receipt, WindowReceipt};
use crate::schema::Registry;

/// Keeps an export that a guard refuses, and gives back the error that tells of it.
///
/// # Errors
/// [`Kind::Destination`] when it cannot be kept.
pub(super) async fn hold(
    tools: &Tools<'_>,
    source: &Source,
    differences: Vec<Difference>,
    receipt: &mut WindowReceipt,
) -> Result<Error> {
    let Tools { settings, lake, .. } = *tools;
    // To be taken as it is later a window must be kept as it is: not where personal data must not be.
    let kept = settings.raw != Raw::None || !settings.terms(&source.dataset.name).personal.treats_any();
    let blob = keep_raw(lake, &source.file, kept, receipt).await?;
    let reason = match differences.as_slice() {
        [first] => first.to_string(),
        [first, rest @ ..] => format!("{first}; and {} more", rest.len()),
        [] => "a guard refuses it".to_owned(),
    };
    if !kept {
        receipt.differences = differences;
        return Ok(Error::new(Kind::Contract, format!("held back: {reason}"))
            .with("export", &source.scope)
            .with("file", &source.name)
            .hint(
                "the lake was left as it is for these months, and the file is not kept, because personal data is treated: \
                 look at the export in the portal, then raise the limit in the pipeline file and run again; or write \
                 raw = \"keep-personal\", and it can be accepted",
            ));
    }
    let export = HeldExport {
        dataset: source.dataset.name.clone(),
        account: settings.account.clone(),
        window: source.window,
        whole: source.whole,
        name: source.name.clone(),
        request_id: source.request_id.clone(),
        blob,
        blob_bytes: receipt.blob_bytes,
        extracted_at: source.extracted_at,
        declared: settings.decode.declared(),
        treatments: settings.terms(&source.dataset.name).personal.labels(),
    };
    let held = Held::new(export, reason.clone(), differences.clone(), settings.run_id, (settings.clock)());
    held.record(lake).await?;
    // What was held of the same months before is older news.
    overtake(tools, source, Some(&held.id)).await?;
    receipt.held_id = Some(held.id.clone());
    receipt.differences = differences;
    Ok(Error::new(Kind::Contract, format!("held back: {reason}"))
        .with("export", &source.scope)
        .with("file", &source.name)
        .with("held as", &held.id)
        .hint(format!(
            "the lake was left as it is for these months, and the file is kept: look at it with `payoutlake lake held \
             --lake {lake}`, then `--accept {id}` or `--reject {id}`",
            lake = lake.shown(),
            id = held.id
        )))
}

/// Takes off the list what this export makes pointless, other than itself.
pub(super) async fn overtake(tools: &Tools<'_>, source: &Source, but: Option<&str>) -> Result<()> {
    let Tools { settings, lake, .. } = *tools;
    if !source.whole {
        return Ok(());
    }
    let (dataset, account) = (&source.dataset.name, &settings.account);
    for held in Held::all(lake).await? {
        let overtaken = held.is_overtaken_by(dataset, account, source.window, source.extracted_at);
        if overtaken && Some(held.id.as_str()) != but {
            held.resolve(lake, Resolution::Overtaken, settings.run_id, (settings.clock)()).await?;
        }
    }
    Ok(())
}

/// What waits for a decision, oldest first.
///
/// # Errors
/// [`Kind::Destination`].
pub async fn list_held(lake: &Lake) -> Result<Vec<Held>> {
    Held::all(lake).await
}

/// A person's word about a held window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Load it as it is.
    Accept,
    /// Forget it; the next run asks for a fresh export.
    Reject,
}

/// Accepts or rejects a held window. Nothing is downloaded.
///
/// # Errors
/// [`Kind::Usage`] when nothing of that id is held; what can happen to any window.
pub async fn decide(
    settings: Settings,
    registry: &Registry,
    id: &str,
    decision: Decision,
    observer: Observer,
) -> Result<Receipt> {
    let lake = settings.open_lake().await?;
    let held = Held::find(&lake, id).await?;
    let decode = settings.decode.clone().with(held.export.declared);
    let settings = Settings { account: held.export.account.clone(), decode, ..settings };
    let engine = Engine::new(&settings.engine, lake.store().clone())?;
    let tools = Tools { settings: &settings, lake: &lake, engine: &engine, observer: &observer };
    let mut outcomes = Outcomes::new(&settings, std::iter::once(held.export.dataset.as_str()));
    if decision == Decision::Reject {
        held.resolve(&lake, Resolution::Rejected, settings.run_id, (settings.clock)()).await?;
        observer.tell(Level::Info, &held.scope(), Step::Done, "rejected");
        return finish(&tools, outcomes).await;
    }
    let dataset = registry.dataset(held.export.dataset.as_str())?;
    look_after(&tools, std::iter::once(dataset)).await?;
    let mut receipt = WindowReceipt::new(held.export.window);
    match accept(&tools, registry, &held, &mut receipt).await {
        Ok(written) => {
            let late = written.applied.overtaken;
            let resolution = if late { Resolution::Overtaken } else { Resolution::Accepted };
            held.resolve(&lake, resolution, settings.run_id, (settings.clock)()).await?;
            outcomes.add(held.export.dataset.as_str(), receipt, Some(written));
        }
        Err(error) => outcomes.add_failure(held.export.dataset.as_str(), receipt, error),
    }
    finish(&tools, outcomes).await
}

async fn accept(
    tools: &Tools<'_>,
    registry: &Registry,
    held: &Held,
    receipt: &mut WindowReceipt,
) -> Result<super::receipt::Written> {
    let export = &held.export;
    let said = tools.settings.terms(&export.dataset).personal.labels();
    if let Some(column) = export.treatments.keys().find(|column| !said.contains_key(*column)) {
        return Err(Error::new(Kind::Config, "personal data of the held window was not to be kept as it is")
            .with("column", column)
            .with("what was to be done", &export.treatments[column])
            .hint("add --pipeline FILE with the pipeline file that says so; nothing was changed"));
    }
    let spool = tools.lake.spool_dir()?;
    let file = spool.path().join("blob");
    if !tools.lake.copy_to(&raw_path(&export.blob), &file).await? {
        return Err(Error::new(Kind::Destination, "the bytes of the held window are gone")
            .with("file", raw_path(&export.blob))
            .hint("reject it, and run the pipeline again: it asks for a fresh export"));
    }
    receipt.request_id.clone_from(&export.request_id);
    let found = keep_raw(tools.lake, &file, false, receipt).await?;
    if found != export.blob {
        return Err(Error::new(Kind::Contract, "the bytes of the held window are not those that were held")
            .with("file", raw_path(&export.blob))
            .with("SHA-256", found)
            .hint("the disk has damaged them: reject it, and run the pipeline again for a fresh export"));
    }
    let source = Source {
        dataset: registry.dataset(export.dataset.as_str())?.clone(),
        file,
        name: export.name.clone(),
        window: export.window,
        whole: export.whole,
        request_id: export.request_id.clone(),
        extracted_at: export.extracted_at,
        scope: held.scope(),
        guarded: false,
        held_as: Some(held.id.clone()),
    };
    let prepared = prepare(tools, source, receipt).await?;
    commit_prepared(tools, prepared, receipt, None).await
}
