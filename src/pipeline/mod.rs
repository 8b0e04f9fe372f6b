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
mod ingest;
mod plan;
mod process;
mod receipt;
mod settle;

pub use ingest::{Covers, Ingest, ingest};
pub use plan::{Cleanup, DatasetPlan, Plan, Raw, Settings, Wait, Wanted};
pub use receipt::exit_code;

use tokio::task::JoinSet;

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Observer, Step};
use crate::lake::{Lake, Ledger, receipt_path};
use crate::load::publish;
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

/// Runs a pipeline: asks for every window, waits, downloads, and commits each window that is sound.
///
/// A window that fails or is held does not stop the others; the receipt tells each outcome.
///
/// # Errors
/// What stops the whole run: [`Kind::Auth`], [`Kind::Config`], [`Kind::Destination`], [`Kind::Source`].
pub async fn run(plan: Plan, observer: Observer) -> Result<Receipt> {
    let lake = Lake::open(&plan.settings.lake)?;
    let engine = Engine::new(&plan.settings.engine, lake.store().clone())?;
    publish::heal(&lake, plan.settings.publish, plan.tables()).await?;
    let client = Client::new(plan.source.clone(), plan.auth.clone())?.observed_by(observer.clone());
    client.sign_in().await?;
    observer.tell(
        Level::Info,
        "",
        Step::Submit,
        format!("signed in; {} exports to ask for", plan.wanted().len()),
    );

    let ledger = Ledger::new(lake.clone(), plan.settings.run_id);
    let mut open = ledger.open_exports().await?;
    let shared = std::sync::Arc::new(Shared { plan, lake, engine, client, ledger, observer });

    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(shared.plan.wait.max_in_flight.max(1)));
    let mut fetches = JoinSet::new();
    for wanted in shared.plan.wanted() {
        let adopted = wanted.adopt_from(&mut open, &shared.plan);
        let (shared, slots) = (shared.clone(), slots.clone());
        fetches.spawn(async move {
            let _slot = slots.acquire_owned().await;
            let fetched = fetch::fetch(&shared, &wanted, adopted).await;
            (wanted, fetched)
        });
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

/// Completes the receipt and keeps it in the lake.
async fn finish(lake: &Lake, outcomes: Outcomes, settings: &Settings) -> Result<Receipt> {
    let receipt = outcomes.receipt(lake, (settings.clock)()).await?;
    let _created = lake.create_json(&receipt_path(settings.run_id), &receipt).await?;
    Ok(receipt)
}
