//! Exports as the ledger and the service know them: looked at, and removed at the service.

use jiff::Timestamp;

use super::Plan;
use crate::error::{Error, Kind, Result};
use crate::event::Observer;
use crate::lake::{
    ExportState, Identity, Lake, Ledger, LedgerEvent, Location, Presence, Present, Taken, check_identity,
};
use crate::model::{AtService, AtWork, Month, Request, RequestEvent, RequestStep, RunId};
use crate::source::{Client, Deleted, Status};

/// Which exports are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Open,
    /// Also those that were closed, as far back as this month.
    Since(Month),
    /// The one with this id: of the export (or how it begins), or of the service.
    Id(String),
}

/// Looks at exports of the plan's account, oldest first, and asks the service about them unless `offline`.
///
/// The second value is the error of the service, if it could not be asked: the ledger's part is there all the same.
///
/// # Errors
/// [`Kind::Destination`] when the lake cannot be read, [`Kind::Usage`] when no export or several have the id.
pub async fn requests(
    plan: &Plan,
    which: &Which,
    offline: bool,
    observer: &Observer,
) -> Result<(Vec<Request>, Option<Error>)> {
    let lake = Lake::open_existing(&plan.settings.lake).await?;
    // Only looks: no run has this id.
    let ledger = Ledger::new(lake, RunId(uuid::Uuid::nil()));
    let (client, mut failure) = match offline {
        true => (None, None),
        false => match signed_in(plan, observer).await {
            Ok(client) => (Some(client), None),
            Err(error) => (None, Some(error)),
        },
    };
    let now = plan.settings.now;
    let mut found = Vec::new();
    for state in states(&ledger, which, |state| is_of(plan, state), now).await? {
        let at_work = ledger.at_work(state.owner, now).await?;
        let now = match (&client, &failure) {
            // One that does not answer is not asked about every export.
            (Some(client), None) => ask(plan, client, &state).await.unwrap_or_else(|error| {
                let told = AtService::Failed(error.to_string());
                failure = Some(error);
                told
            }),
            (_, Some(error)) => AtService::Failed(error.to_string()),
            (None, None) => AtService::NotAsked,
        };
        let events = if matches!(which, Which::Id(_)) { events(&state) } else { Vec::new() };
        found.push(request(state, at_work, now, events));
    }
    Ok((found, failure))
}

/// Looks at exports of all accounts in a lake, oldest first, as its ledger knows them: without a sign-in there is nobody to
/// ask.
///
/// # Errors
/// As [`requests`].
pub async fn requests_in(lake: &Location, which: &Which, now: Timestamp) -> Result<Vec<Request>> {
    let ledger = Ledger::new(Lake::open_existing(lake).await?, RunId(uuid::Uuid::nil()));
    let mut found = Vec::new();
    for state in states(&ledger, which, |_| true, now).await? {
        let at_work = ledger.at_work(state.owner, now).await?;
        let events = if matches!(which, Which::Id(_)) { events(&state) } else { Vec::new() };
        found.push(request(state, at_work, AtService::NotAsked, events));
    }
    Ok(found)
}

fn is_of(plan: &Plan, state: &ExportState) -> bool {
    state.wish.account == plan.settings.account && state.wish.api == plan.api_label()
}

/// Removes an export at the service and closes it in the ledger.
///
/// # Errors
/// [`Kind::Pending`] while the service builds it or another run works on it, [`Kind::Usage`] when it cannot be named to
/// the service, and what the service or the lake answers.
pub async fn delete_request(plan: &Plan, id: &str, observer: &Observer) -> Result<Request> {
    let client = signed_in(plan, observer).await?;
    let lake = plan.settings.open_lake().await?;
    // Another identity does not see the export, and would take that for its absence.
    let (tenant, principal) = client.identity().await;
    let identity = Identity { tenant, principal, ..plan.identity() };
    let expiries = client.expiries().await;
    check_identity(&lake, &plan.settings.account, &identity, &expiries, false, plan.settings.now).await?;
    let present = Present::begin(&lake, plan.settings.run_id, plan.settings.clock).await?;
    let deleted = delete(plan, &Ledger::new(lake, plan.settings.run_id), &client, id).await;
    present.end().await;
    deleted
}

async fn delete(plan: &Plan, ledger: &Ledger, client: &Client, id: &str) -> Result<Request> {
    let clock = plan.settings.clock;
    let which = Which::Id(id.to_owned());
    let Some(mut state) = states(ledger, &which, |state| is_of(plan, state), clock()).await?.pop() else {
        return Err(Error::new(Kind::Bug, "an export was found and is not there"));
    };
    let named = state.request_id.clone().zip(plan.path_of(&state.wish.dataset));
    let Some((request_id, path)) = named else {
        return Err(Error::new(Kind::Usage, "this export cannot be named to the service")
            .with("export", &state.wish)
            .hint(
                "it has no request id yet, or the pipeline does not pull its dataset; nothing was deleted",
            ));
    };
    // An unknown word means that it is not finished.
    if let AtService::Status(status) = ask(plan, client, &state).await?
        && !matches!(Status::of(&status), Status::Completed | Status::Failed)
    {
        return Err(building(&state).with("status", status));
    }
    if !state.closed {
        state = match ledger.take(state, clock()).await? {
            Taken::Ours(state) => *state,
            Taken::Busy(running) => {
                return Err(Error::new(Kind::Pending, "another run works on this export")
                    .with("run", running.run_id)
                    .with("host", running.host)
                    .hint("let it finish, or stop it; then delete again"));
            }
            Taken::Closed => {
                return Err(Error::new(Kind::Pending, "another run has just finished this export")
                    .hint("delete again: nothing was deleted yet"));
            }
        };
    }
    match client.delete(path, &request_id).await? {
        Deleted::Deleted | Deleted::Gone => {}
        Deleted::StillProcessing => return Err(building(&state)),
    }
    let by_person = || LedgerEvent::Failed { reason: "deleted by a person".to_owned() };
    match (state.closed, state.committed) {
        (true, _) => ledger.note(&mut state, LedgerEvent::Deleted, clock()).await?,
        (false, Some(_)) => ledger.append(&mut state, LedgerEvent::Deleted, clock()).await?,
        (false, None) => ledger.append(&mut state, by_person(), clock()).await?,
    }
    Ok(request(state, None, AtService::Unknown, Vec::new()))
}

fn building(state: &ExportState) -> Error {
    Error::new(Kind::Pending, "the service is still building this export, and deletes none until then")
        .with("export", &state.wish)
        .hint("delete it when it is Completed or Failed; nothing was deleted")
}

async fn signed_in(plan: &Plan, observer: &Observer) -> Result<Client> {
    let client = Client::new(plan.source.clone(), plan.auth.clone())?.observed_by(observer.clone());
    client.sign_in().await?;
    Ok(client)
}

async fn ask(plan: &Plan, client: &Client, state: &ExportState) -> Result<AtService> {
    let (Some(id), Some(path)) = (&state.request_id, plan.path_of(&state.wish.dataset)) else {
        return Ok(AtService::NotAsked);
    };
    let export = client.status(path, id).await?;
    Ok(export.map_or(AtService::Unknown, |export| AtService::Status(export.status.to_string())))
}

async fn states(
    ledger: &Ledger,
    which: &Which,
    is_wanted: impl Fn(&ExportState) -> bool,
    now: Timestamp,
) -> Result<Vec<ExportState>> {
    let mut states = match which {
        Which::Open => ledger.open_exports(now).await?,
        Which::Since(month) => ledger.exports_since(*month, now).await?,
        // The ledger is younger than the service's reach.
        Which::Id(_) => ledger.exports_since(Month::new(2019, 1), now).await?,
    };
    states.retain(is_wanted);
    let Which::Id(id) = which else { return Ok(states) };
    let is_it = |state: &ExportState| {
        state.id.to_string().starts_with(id.as_str())
            || state.id.to_string().ends_with(id.as_str())
            || state.request_id.as_ref().is_some_and(|request| request.0.eq_ignore_ascii_case(id))
    };
    states.retain(is_it);
    match states.len() {
        1 => Ok(states),
        0 => Err(Error::new(Kind::Usage, format!("no export has the id '{id}'"))
            .hint("`payoutlake requests list --all` names those of this pipeline or lake")),
        many => Err(Error::new(Kind::Usage, format!("{many} exports have ids that begin with '{id}'"))
            .hint("write more of it; ids of the same minute begin alike")),
    }
}

fn events(state: &ExportState) -> Vec<RequestEvent> {
    let event = |entry: &crate::lake::Entry| RequestEvent {
        at: entry.at,
        run_id: entry.run_id,
        event: serde_json::to_value(&entry.event).unwrap_or_default(),
    };
    state.entries.iter().map(event).collect()
}

fn request(
    state: ExportState,
    at_work: Option<Presence>,
    now: AtService,
    events: Vec<RequestEvent>,
) -> Request {
    let step = match (state.closed, state.committed) {
        (true, _) => RequestStep::Closed,
        (false, Some(_)) => RequestStep::ToBeDeleted,
        (false, None) => RequestStep::Waiting,
    };
    Request {
        export: state.id,
        dataset: state.wish.dataset,
        account: state.wish.account,
        window: state.wish.window,
        request_id: state.request_id,
        asked_at: state.planned_at,
        status: state.status,
        step,
        orphans: state.orphans,
        run_id: state.owner,
        at_work: at_work.filter(|_| step != RequestStep::Closed).map(AtWork::from),
        now,
        events,
    }
}
