//! The order of the steps: ledger, resume, balance, receipt.
//!
//! ```text
//!  1 submit -> 2 wait -> 3 download | 4 decode      | 5 normalise         | 6 write      | 7 commit   | 8 query
//!  source                           | decode        | normalise           | load         | load       | query
//! ```
//!
//! [`run`] reads like the strip. [`ingest()`] is the same from step 4 on, for files that a person downloaded.

mod balance;
mod fetch;
mod held;
mod history;
mod ingest;
mod known;
mod plan;
mod preview;
mod process;
mod receipt;
mod settle;
mod status;
mod windows;

pub use held::{Decision, decide, list_held};
pub use history::{
    LiveFile, RollbackTo, RolledBack, Scope, Snapshot, follow, live_files, maintain, rollback, snapshots, tag,
};
pub use ingest::{Covers, Ingest, ingest};
pub use known::Known;
pub use plan::{Cleanup, DatasetPlan, Plan, Raw, Settings, Wait, Wanted};
pub use preview::preview;
pub use receipt::exit_code;
pub use status::status;
pub use windows::{Ask, REACH_MONTHS, Tier, parse_span, reach};

use tokio::task::JoinSet;

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Observer, Step};
use crate::lake::{Chain, Identity, Lake, Ledger, LedgerEvent, check_identity, receipt_path};
use crate::load::{self, Context, publish};
use crate::model::Receipt;
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
}

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
    check_identity(&lake, account, &identity, plan.accept_identity, now).await?;
    let tools = Tools { settings: &plan.settings, lake: &lake, engine: &engine, observer: &observer };
    look_after(&tools, &plan.tables()).await?;
    let ledger = Ledger::new(lake.clone(), plan.settings.run_id);
    let mut open = ledger.open_exports(now).await?;
    let all_wanted = plan.wanted(&known::look(&plan, &lake, &engine, &open, &observer).await?);
    preview::tell(&observer, &plan, &all_wanted);
    let shared = std::sync::Arc::new(Shared { plan, lake, engine, client, ledger, observer });

    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(shared.plan.wait.max_in_flight.max(1)));
    let mut fetches = JoinSet::new();
    for wanted in all_wanted {
        let adopted = wanted.adopt_from(&mut open, &shared.plan);
        let (shared, slots) = (shared.clone(), slots.clone());
        fetches.spawn(async move {
            let _slot = slots.acquire_owned().await;
            let fetched = fetch::fetch(&shared, &wanted, adopted).await;
            (wanted, fetched)
        });
    }
    // What nobody waits for any more is closed, so that it is not looked at every night.
    for mut state in open.into_iter().filter(|state| shared.plan.gives_up(state)) {
        let reason = "nobody has come back for it within two days".to_owned();
        let now = (shared.plan.settings.clock)();
        shared.ledger.append(&mut state, LedgerEvent::Failed { reason }, now).await?;
    }
    let mut outcomes = Outcomes::new(
        &shared.plan.settings,
        shared.plan.datasets.iter().map(|plan| plan.dataset.name.as_str()),
    );
    while let Some(fetched) = fetches.join_next().await {
        let (wanted, fetched) = fetched.map_err(|cause| {
            Error::new(Kind::Bug, "a part of the run stopped unexpectedly").caused_by(cause)
        })?;
        settle::settle(&shared, &wanted, fetched, &mut outcomes).await;
    }
    finish(&shared.lake, outcomes, &shared.plan.settings).await
}

/// What an earlier command left undone is done before anything else: published folders, restatements.
///
/// # Errors
/// [`Kind::Destination`] when live objects are missing or the lake cannot be written.
async fn look_after(tools: &Tools<'_>, tables: &[&str]) -> Result<()> {
    let Tools { settings, lake, observer, .. } = *tools;
    publish::heal(lake, settings.publish, &settings.chains(tables)).await?;
    let context = tools.context();
    for table in tables {
        let Some(newest) = Chain::new(table, &settings.account).newest(lake).await? else { continue };
        if let Err(error) = load::follow(&context, &newest, settings.run_id, (settings.clock)()).await {
            let message = format!("restatements are behind: {error}");
            observer.tell(Level::Warn, table, Step::Commit, message);
        }
    }
    Ok(())
}

/// Opens a lake that must exist, for a command that reads it or has no pipeline file, and finishes what an earlier command
/// published only in part: one look at each table when all is well.
///
/// # Errors
/// As [`Lake::open_existing`].
pub async fn open_existing(url: &str) -> Result<Lake> {
    let lake = Lake::open_existing(url).await?;
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
async fn finish(lake: &Lake, outcomes: Outcomes, settings: &Settings) -> Result<Receipt> {
    let receipt = outcomes.receipt(lake, (settings.clock)()).await?;
    let _created = lake.create_json(&receipt_path(settings.run_id), &receipt).await?;
    Ok(receipt)
}
