//! The order of the steps: ledger, resume, balance, receipt.
//!
//! ```text
//!  1 submit -> 2 wait -> 3 download | 4 decode      | 5 normalise         | 6 write      | 7 commit   | 8 query
//!  source                           | decode        | normalise           | load         | load       | query
//! ```
//!
//! [`run`] reads like the strip; exports are waited for side by side, one is read while the one before is committed. [`ingest()`] is the same from step 4 on, for files that a person downloaded.

mod balance;
mod check;
mod commit;
mod detect;
mod explain;
mod fetch;
mod held;
mod history;
mod ingest;
mod known;
mod look;
mod plan;
mod preview;
mod probe;
mod process;
mod receipt;
mod refusal;
mod replay;
mod requests;
mod scout;
mod settle;
mod status;
mod typing;
mod windows;

pub use check::check;
pub use detect::{Detected, detect};
pub use explain::{Wanted as Explain, explain};
pub use held::{Decision, decide, list_held};
pub use history::{
    LiveFile, RollbackTo, RolledBack, Scope, Snapshot, follow, live_files, maintain, rollback, snapshots, tag,
};
pub use ingest::{Covers, Ingest, ingest};
pub use known::Known;
pub use look::{Sight, look_around};
pub use plan::{Cleanup, DatasetPlan, Plan, Raw, Settings, Wait, Wanted};
pub use preview::preview;
pub use probe::{Probe, ProbeOptions};
pub use receipt::exit_code;
pub use replay::{Replay, only_account, refused, replay};
pub use requests::{Which, delete_request, requests, requests_in};
pub use status::status;
pub use windows::{Ask, REACH_MONTHS, Tier, parse_span, reach};

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Observer, Step};
use crate::lake::{
    Chain, ExportState, Identity, Lake, Ledger, LedgerEvent, Location, Present, Taken, check_identity,
    receipt_path,
};
use crate::load::{self, Context, publish};
use crate::model::Receipt;
use crate::schema::Dataset;
use crate::source::Client;

use receipt::Outcomes;

/// What every step of one run shares.
struct Shared {
    plan: Plan,
    lake: Lake,
    engine: Engine,
    client: Client,
    ledger: Ledger,
    observer: Observer,
    /// When the run leaves what is not finished.
    deadline: Instant,
    /// A permit for each blob that is downloaded.
    downloads: Semaphore,
}

/// Blobs that are downloaded at the same time. With more, all would come home at the end, and nothing could be read before.
const DOWNLOADS_TOGETHER: usize = 3;

/// What every step on a lake works with.
#[derive(Clone, Copy)]
struct Tools<'a> {
    settings: &'a Settings,
    lake: &'a Lake,
    engine: &'a Engine,
    observer: &'a Observer,
}

impl<'a> Tools<'a> {
    fn context(&self) -> Context<'a> {
        let Tools { settings, lake, engine, .. } = *self;
        Context { lake, engine, options: &settings.load, publish: settings.publish }
    }
}

impl Shared {
    fn tools(&self) -> Tools<'_> {
        let Shared { plan, lake, engine, observer, .. } = self;
        Tools { settings: &plan.settings, lake, engine, observer }
    }
}

/// Runs a pipeline: asks for every window that is due, waits, downloads, and commits each window that is sound.
///
/// A window that fails or is held does not stop the others; the receipt tells each outcome.
///
/// # Errors
/// What stops the whole run: [`Kind::Auth`], [`Kind::Config`], [`Kind::Destination`], [`Kind::Source`].
pub async fn run(plan: Plan, observer: Observer) -> Result<Receipt> {
    // First: a wrong password leaves no trace on the storage.
    let client = Client::new(plan.source.clone(), plan.auth.clone())?.observed_by(observer.clone());
    client.sign_in().await?;
    let lake = plan.settings.open_lake().await?;
    let engine = Engine::new(&plan.settings.engine, lake.store().clone())?;
    let (account, now) = (&plan.settings.account, plan.settings.now);
    // Whose refresh token it was is known now.
    let (tenant, principal) = client.identity().await;
    let identity = Identity { tenant, principal, ..plan.identity() };
    let expiries = client.expiries().await;
    check_identity(&lake, account, &identity, &expiries, plan.accept_identity, now).await?;
    let tools = Tools { settings: &plan.settings, lake: &lake, engine: &engine, observer: &observer };
    let datasets = || plan.datasets.iter().map(|plan| &plan.dataset);
    check_treatments(&tools, datasets()).await?;
    look_after(&tools, datasets()).await?;
    let present = Present::begin(&lake, plan.settings.run_id, plan.settings.clock).await?;
    let done = ask_for_all(plan, lake, engine, client, observer).await;
    present.end().await;
    done
}

/// From here on other runs leave alone what this one works on.
async fn ask_for_all(
    plan: Plan,
    lake: Lake,
    engine: Engine,
    client: Client,
    observer: Observer,
) -> Result<Receipt> {
    let deadline = Instant::now() + plan.wait.deadline();
    let ledger = Ledger::new(lake.clone(), plan.settings.run_id);
    let open = ledger.open_exports(plan.settings.now).await?;
    let all_wanted = plan.wanted(&known::look(&plan, &lake, &engine, &open, &observer).await?);
    preview::tell(&observer, &plan, &all_wanted);
    let downloads = Semaphore::new(DOWNLOADS_TOGETHER);
    let shared = Arc::new(Shared { plan, lake, engine, client, ledger, observer, deadline, downloads });
    let mut open = left_over(&shared, open).await?;

    let slots = Arc::new(Semaphore::new(shared.plan.wait.slots()));
    let turn = Arc::new(Semaphore::new(1));
    let mut fetches = JoinSet::new();
    for wanted in all_wanted {
        let adopted = wanted.adopt_from(&mut open, &shared.plan);
        let (shared, slots, turn) = (shared.clone(), slots.clone(), turn.clone());
        fetches.spawn(async move {
            let fetched = match tokio::time::timeout_at(deadline, slots.acquire_owned()).await {
                Ok(_slot) => fetch::fetch(&shared, &wanted, adopted).await,
                Err(_) => Err(not_asked(&shared, &wanted)),
            };
            let ready = match fetched {
                Ok(fetched) => Ok(settle::read(&shared, &wanted, fetched, turn).await),
                Err(error) => Err(error),
            };
            (wanted, ready)
        });
    }
    let mut outcomes = Outcomes::new(
        &shared.plan.settings,
        shared.plan.datasets.iter().map(|plan| plan.dataset.name.as_str()),
    );
    loop {
        let ready = match fetches.try_join_next() {
            Some(ready) => ready,
            None => {
                // While nobody reads: many commits are followed in the time of one.
                if turn.available_permits() > 0 {
                    outcomes.follow(&shared.tools()).await;
                }
                let Some(ready) = fetches.join_next().await else { break };
                ready
            }
        };
        let (wanted, ready) = ready.map_err(|cause| {
            Error::new(Kind::Bug, "a part of the run stopped unexpectedly").caused_by(cause)
        })?;
        settle::settle(&shared, &wanted, ready, &mut outcomes).await;
    }
    finish(&shared.tools(), outcomes).await
}

fn not_asked(shared: &Shared, wanted: &Wanted) -> Error {
    Error::new(Kind::Pending, "the deadline came before this export could be asked for")
        .with("export", wanted.scope())
        .with("at the same time", shared.plan.wait.slots())
        .hint("run the same command again; raise wait.max_in_flight or wait.deadline_minutes if this happens often")
}

/// Ends what earlier runs left: exports whose rows are committed and that are yet to be deleted at the service, and those
/// that nobody waits for any more. Gives back the others.
async fn left_over(shared: &Arc<Shared>, open: Vec<ExportState>) -> Result<Vec<ExportState>> {
    let clock = shared.plan.settings.clock;
    let mut waiting = Vec::new();
    for state in open {
        // Another API would say of all that it is gone.
        let ours =
            state.wish.account == shared.plan.settings.account && state.wish.api == shared.plan.api_label();
        let ended = ours && state.committed.is_some();
        if !ended && !shared.plan.gives_up(&state) {
            waiting.push(state);
            continue;
        }
        let Taken::Ours(mut state) = shared.ledger.take(state, clock()).await? else { continue };
        if ended {
            settle::clean_up(shared, &mut state).await;
        } else {
            let reason = "nobody has come back for it within two days".to_owned();
            shared.ledger.append(&mut state, LedgerEvent::Failed { reason }, clock()).await?;
        }
    }
    Ok(waiting)
}

/// What an earlier command left undone is done before anything else: published folders, restatements.
///
/// # Errors
/// [`Kind::Destination`] when live objects are missing or the lake cannot be written.
async fn look_after<'d>(tools: &Tools<'_>, datasets: impl Iterator<Item = &'d Dataset>) -> Result<()> {
    let Tools { settings, lake, observer, .. } = *tools;
    let datasets: Vec<&Dataset> = datasets.collect();
    let tables: Vec<&str> = datasets.iter().map(|dataset| dataset.name.as_str()).collect();
    publish::heal(lake, settings.publish, &settings.chains(&tables)).await?;
    let context = tools.context();
    for dataset in datasets {
        let table = dataset.name.as_str();
        let Some(newest) = Chain::new(table, &settings.account).newest(lake).await? else { continue };
        if let Err(error) = load::follow(&context, &newest, settings.run_id, (settings.clock)()).await {
            let message = format!("restatements or control totals are behind: {error}");
            observer.tell(Level::Warn, table, Step::Commit, message);
        }
    }
    Ok(())
}

/// Stands before the first file of a dataset comes into the lake: raw, held or as rows.
///
/// # Errors
/// [`Kind::Config`] when its table keeps personal data in another way than this command would.
async fn check_treatments<'d>(tools: &Tools<'_>, datasets: impl Iterator<Item = &'d Dataset>) -> Result<()> {
    let Tools { settings, lake, .. } = *tools;
    for dataset in datasets {
        let table = settings.terms(&dataset.name).table(dataset);
        if let Some(newest) = Chain::new(&table.name, &settings.account).newest(lake).await? {
            newest.check_treatments(&table.schema)?;
        }
    }
    Ok(())
}

/// Opens a lake that must exist, for a command that reads it or has no pipeline file, and finishes what an earlier command
/// published only in part: one look at each table when all is well.
///
/// # Errors
/// As [`Lake::open_existing`].
pub async fn open_existing(location: &Location) -> Result<Lake> {
    let lake = Lake::open_existing(location).await?;
    // Whoever may only read the lake reads it all the same.
    let _not_ours_to_mend = catch_up(&lake).await;
    Ok(lake)
}

async fn catch_up(lake: &Lake) -> Result<()> {
    for chain in Chain::all(lake).await? {
        if let Some(newest) = chain.newest(lake).await? {
            publish::catch_up(lake, &newest).await?;
        }
    }
    Ok(())
}

/// Completes the receipt and keeps it in the lake.
async fn finish(tools: &Tools<'_>, mut outcomes: Outcomes) -> Result<Receipt> {
    let Tools { settings, lake, .. } = *tools;
    outcomes.follow(tools).await;
    let receipt = outcomes.receipt(lake, (settings.clock)()).await?;
    let _created = lake.create_json(&receipt_path(settings.run_id), &receipt).await?;
    Ok(receipt)
}

#[cfg(test)]
mod tests;
