//! Whether a run would work: each thing that it needs, tried without an export and without leaving anything behind.

use jiff::{SignedDuration, Timestamp};

use super::Plan;
use super::probe::{self, Probe, Probed};
use crate::decode::Decoder;
use crate::error::{EXIT_WARNED, Error, Kind, Result, SEVERITY};
use crate::lake::{Chain, Lake, Manifest, Tried, raw_path};
use crate::model::{Check, Checkup, ProbeReport, Verdict};
use crate::schema::Dataset;
use crate::source::auth::SignedIn;
use crate::source::{Client, Looked, Options};

/// A person waits for the answer: what does not answer in this time counts as down.
const RETRY_ATTEMPTS: u32 = 3;
const RETRY_BUDGET_SECS: u64 = 30;

/// Signatures of addresses and tokens are dated: a clock that is further off breaks them some day.
const MAX_CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_mins(2);

/// One file of an export has up to 1 GB (Microsoft's limit), and stands beside what becomes of it.
const ENOUGH_FREE_BYTES: u64 = 2_000_000_000;

/// The name of the check that asks for an export.
const PROBE: &str = "probe";

/// How many names a line lists before it only counts.
const MAX_NAMES: usize = 8;

/// Checks everything that a run of the pipeline needs. A plan that could not be made is the first thing that is wrong.
///
/// With a probe one small export is asked for as well, once the service has passed its checks.
pub async fn check(file: &str, planned: Result<Plan>, probe: Option<&Probe<'_>>) -> Checkup {
    let mut checks = Vec::new();
    let mut report = None;
    match planned.and_then(|plan| Ok((client(&plan)?, plan))) {
        Err(error) => {
            checks.push(failed("pipeline file", &error));
            let rest = ["sign-in", "API", "blob hosts", "lake", "schema", "clock"];
            let rest = rest.into_iter().chain(probe.map(|_| PROBE));
            checks.extend(rest.map(|name| skipped(name, "needs a pipeline file that can be read")));
        }
        Ok((client, plan)) => {
            let datasets = plan.tables().join(", ");
            let seen = format!("{file}: account {}, {datasets}", plan.settings.account);
            checks.push(ok("pipeline file", seen));
            all(&plan, &client, &mut checks).await;
            if let Some(probe) = probe {
                let (check, found) = try_export(&plan, probe, &checks).await;
                checks.push(check);
                report = found;
            }
        }
    }
    let exit_code = exit_code(&checks);
    Checkup { checks, probe: report, exit_code }
}

/// A client for a person who waits.
pub(super) fn client(plan: &Plan) -> Result<Client> {
    let options = Options {
        retry_attempts: plan.source.retry_attempts.min(RETRY_ATTEMPTS),
        retry_budget_secs: plan.source.retry_budget_secs.min(RETRY_BUDGET_SECS),
        ..plan.source.clone()
    };
    Client::new(options, plan.auth.clone())
}

async fn all(plan: &Plan, client: &Client, checks: &mut Vec<Check>) {
    let signed_in = client.signed_in().await;
    let path = plan.datasets.iter().find_map(|plan| plan.dataset.api.as_ref()).map(|api| api.path.as_str());
    let looked = match (&signed_in, path) {
        (Ok(_), Some(path)) => Some((client.look(path).await, (plan.settings.clock)())),
        _ => None,
    };
    checks.push(sign_in(&signed_in));
    checks.push(match &looked {
        Some((Ok(looked), _)) => api(looked),
        Some((Err(error), _)) => failed("API", error),
        None => skipped("API", "needs the sign-in"),
    });
    checks.push(blob_hosts(&plan.source));
    let tried = Lake::try_out(&plan.settings.lake).await;
    checks.push(lake(&plan.settings.lake.to_string(), &tried));
    checks.push(match &tried {
        Ok(tried) => schema(plan, tried.lake.as_ref()).await,
        Err(_) => skipped("schema", "needs the lake"),
    });
    checks.push(match looked {
        Some((Ok(Looked { date: Some(date), .. }), ours)) => clock(ours, date),
        Some((Ok(_), _)) => skipped("clock", "the API does not tell the time"),
        _ => skipped("clock", "needs the API"),
    });
}

/// Makes the probe if what it needs is there: the lake is not.
async fn try_export(plan: &Plan, probe: &Probe<'_>, checks: &[Check]) -> (Check, Option<ProbeReport>) {
    let needed = ["sign-in", "API", "blob hosts"];
    if checks.iter().any(|check| needed.contains(&check.check) && check.verdict == Verdict::Failed) {
        return (skipped(PROBE, "needs the sign-in, the API and the blob hosts"), None);
    }
    let Probed { report, warnings, failure } = match probe::probe(plan, probe).await {
        Ok(probed) => probed,
        Err(error) => return (failed(PROBE, &error), None),
    };
    let written = format!("the report is in {}", probe.options.report.display());
    let check = match failure {
        Some((error, go_on)) => {
            let told = failed(PROBE, &error);
            let hint = told.hint.iter().chain(&warnings).chain([&go_on]).map(String::as_str);
            Check { hint: Some(hint.collect::<Vec<_>>().join("; ")), ..told }
        }
        None => {
            let seen = format!("an export of {} was asked for and read; {written}", report.dataset);
            match warnings.is_empty() {
                true => ok(PROBE, seen),
                false => warning(PROBE, seen, warnings.join("; ")),
            }
        }
    };
    (check, Some(report))
}

fn sign_in(signed_in: &Result<SignedIn>) -> Check {
    let signed_in = match signed_in {
        Ok(signed_in) => signed_in,
        Err(error) => return failed("sign-in", error),
    };
    let mut seen = format!("{} in {}, by {}", signed_in.principal, signed_in.tenant, signed_in.kind);
    let mut tell = |name: &str, values: &str| {
        if !values.is_empty() {
            seen.push_str(&format!("; {name} {values}"));
        }
    };
    tell("token for", signed_in.audience.as_deref().unwrap_or_default());
    tell("scopes", &signed_in.scopes.join(" "));
    tell("roles", &signed_in.roles.join(" "));
    tell("proved by", &signed_in.methods.join(" "));
    match signed_in.warnings.is_empty() {
        true => ok("sign-in", seen),
        false => warning("sign-in", seen, signed_in.warnings.join("; ")),
    }
}

fn api(looked: &Looked) -> Check {
    let Looked { host, status, .. } = looked;
    ok("API", format!("{host} takes the token, and answers {status} for an export that does not exist"))
}

fn blob_hosts(source: &Options) -> Check {
    let hosts = source.blob_hosts.join(", ");
    if source.is_loopback() {
        return ok("blob hosts", "this machine, as the API");
    }
    if source.blob_hosts.is_empty() {
        let error = Error::new(Kind::Config, "no host may serve the files of exports")
            .hint("write blob_hosts = [\".blob.core.windows.net\"] below [source.api]");
        return failed("blob hosts", &error);
    }
    let doubtful = source.doubtful_blob_hosts();
    match doubtful.is_empty() {
        true => ok("blob hosts", hosts),
        false => {
            let hint =
                "write host names, or suffixes such as \".blob.core.windows.net\", to source.api.blob_hosts";
            warning("blob hosts", doubtful.join("; "), hint)
        }
    }
}

fn lake(url: &str, tried: &Result<Tried>) -> Check {
    let Tried { lake, free_bytes } = match tried {
        Ok(tried) => tried,
        Err(error) => return failed("lake", error),
    };
    let state = if lake.is_some() { "there" } else { "not there yet, the first run makes it" };
    let mut seen = format!("{url} is {state}; written, listed, read, and a second create refused");
    let Some(free) = free_bytes else { return ok("lake", seen) };
    seen.push_str(&format!("; {} GB free", free / 1_000_000_000));
    match *free < ENOUGH_FREE_BYTES {
        true => warning("lake", seen, "make room: an export may take some GB"),
        false => ok("lake", seen),
    }
}

/// What the newest export of one dataset looks like.
struct LastExport {
    seen: String,
    hint: Option<String>,
}

async fn schema(plan: &Plan, lake: Option<&Lake>) -> Check {
    let mut told = Vec::new();
    for dataset in plan.datasets.iter().map(|plan| &plan.dataset) {
        let Some(lake) = lake else { break };
        match last_export(plan, lake, dataset).await {
            Ok(found) => told.extend(found),
            Err(error) => return failed("schema", &error.with("dataset", &dataset.name)),
        }
    }
    if told.is_empty() {
        return skipped("schema", "nothing is loaded yet");
    }
    let seen = told.iter().map(|one| one.seen.as_str()).collect::<Vec<_>>().join("; ");
    match told.iter().find_map(|one| one.hint.clone()) {
        Some(hint) => warning("schema", seen, hint),
        None => ok("schema", seen),
    }
}

async fn last_export(plan: &Plan, lake: &Lake, dataset: &Dataset) -> Result<Option<LastExport>> {
    let chain = Chain::new(dataset.name.as_str(), &plan.settings.account);
    let Some(manifest) = chain.newest(lake).await? else { return Ok(None) };
    // Refuses what a commit would refuse.
    manifest.check_columns(&dataset.table().schema)?;
    let (name, newest) = (&dataset.name, dataset.newest().number);
    let spool = lake.spool_dir()?;
    let kept = match newest_blob(&manifest) {
        Some(blob) if lake.is_object_store() => {
            let copy = spool.path().join("blob");
            lake.copy_to(&raw_path(blob), &copy).await?.then_some(copy)
        }
        Some(blob) => lake.local_file(&raw_path(blob)),
        None => None,
    };
    let Some(file) = kept else {
        let seen = format!("{name} fits v{newest} (the last export itself is not kept)");
        return Ok(Some(LastExport { seen, hint: None }));
    };
    let mut decoder = Decoder::open(&file, "the last export", &plan.settings.decode)?;
    let Some(text) = decoder.next_file()?.filter(|text| !text.header().is_empty()) else {
        return Ok(Some(LastExport { seen: format!("{name}: the last export is empty"), hint: None }));
    };
    let found = dataset.match_header(text.header())?;
    let mut last = LastExport { seen: format!("{name} is v{}", found.version), hint: None };
    if found.version < newest {
        last.seen.push_str(&format!(" (newest known: v{newest})"));
    }
    if !found.unknown.is_empty() {
        let names: Vec<&str> = found.unknown.iter().map(|(_, name)| name.as_str()).take(MAX_NAMES).collect();
        let more = found.unknown.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        last.seen.push_str(&format!(", with columns that no version knows: {}{more}", names.join(", ")));
        last.hint = Some(
            "their values are kept in _pc_extra; a newer payoutlake, or a schema file of your own, gives them types"
                .to_owned(),
        );
    }
    Ok(Some(last))
}

/// SHA-256 of the newest export behind a table.
fn newest_blob(manifest: &Manifest) -> Option<&str> {
    let newest =
        manifest.partitions.iter().filter(|part| !part.blobs.is_empty()).max_by_key(|part| part.covered_at);
    manifest.operation.blob.as_deref().or_else(|| newest?.blobs.last().map(String::as_str))
}

fn clock(ours: Timestamp, theirs: Timestamp) -> Check {
    let difference = ours.duration_since(theirs);
    let seconds = difference.as_secs();
    let seen = match seconds {
        0 => "as the API's".to_owned(),
        _ => {
            format!("{} seconds {} the API's", seconds.abs(), if seconds > 0 { "ahead of" } else { "behind" })
        }
    };
    match difference.abs() > MAX_CLOCK_DIFFERENCE {
        true => warning("clock", seen, "set this machine's clock: signatures and tokens are dated"),
        false => ok("clock", seen),
    }
}

fn ok(check: &'static str, seen: impl Into<String>) -> Check {
    Check { check, verdict: Verdict::Ok, seen: seen.into(), hint: None, code: None }
}

fn skipped(check: &'static str, why: &str) -> Check {
    Check { verdict: Verdict::Skipped, ..ok(check, why) }
}

fn warning(check: &'static str, seen: impl Into<String>, hint: impl Into<String>) -> Check {
    Check { verdict: Verdict::Warning, hint: Some(hint.into()), ..ok(check, seen) }
}

fn failed(check: &'static str, error: &Error) -> Check {
    let hint = error.hint_text().map(str::to_owned);
    // One line, whatever a server has said.
    let seen = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Check { verdict: Verdict::Failed, hint, code: Some(error.kind().exit_code()), ..ok(check, seen) }
}

fn exit_code(checks: &[Check]) -> u8 {
    let codes: Vec<u8> = checks.iter().filter_map(|check| check.code).collect();
    let worst = SEVERITY.iter().map(|kind| kind.exit_code()).find(|code| codes.contains(code));
    let warned = checks.iter().any(|check| check.verdict == Verdict::Warning);
    worst.or(codes.first().copied()).unwrap_or(if warned { EXIT_WARNED } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        for (ours, verdict, seen) in [
            (0, Verdict::Ok, "as the API's"),
            (-120, Verdict::Ok, "120 seconds behind the API's"),
            (121, Verdict::Warning, "121 seconds ahead of the API's"),
        ] {
            let check = clock(at(ours), at(0));
            assert_eq!((check.verdict, check.seen.as_str()), (verdict, seen));
        }
    }

    #[test]
    fn the_worst_check_is_the_exit_code() {
        let failure = |kind| failed("x", &Error::new(kind, "m"));
        let of = |kinds: &[Kind]| exit_code(&kinds.iter().map(|kind| failure(*kind)).collect::<Vec<_>>());
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[Kind::Source, Kind::Destination]), 74);
        assert_eq!(of(&[Kind::Destination, Kind::Auth]), 77);
        assert_eq!(of(&[Kind::Auth, Kind::Config]), 78);
        assert_eq!(exit_code(&[ok("a", ""), warning("b", "", ""), skipped("c", "")]), 3);
    }

    #[test]
    fn a_list_of_blob_hosts_is_judged() {
        let with = |hosts: &[&str]| {
            let blob_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            blob_hosts_of(Options { blob_hosts, ..Options::default() })
        };
        fn blob_hosts_of(options: Options) -> (Verdict, Option<u8>) {
            let check = blob_hosts(&options);
            (check.verdict, check.code)
        }
        assert_eq!(with(&[".blob.core.windows.net"]), (Verdict::Ok, None));
        assert_eq!(with(&[".net"]), (Verdict::Warning, None));
        assert_eq!(with(&[]), (Verdict::Failed, Some(78)));
    }
}
