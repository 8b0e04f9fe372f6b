//! What is asked for and why: tiers, gaps, payments that moved, backfills, filters, and what leaves the service's reach.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use payoutlake::config::{self, Environment, RunFlags};
use payoutlake::event::Observer;
use payoutlake::model::{Month, Preview, Reason, spans};
use payoutlake::{pipeline, sandbox};
use serde_json::Value;

use crate::world::{AS_OF, World};

const TIERS: &str = "lookback = [{ months = 3, every = \"1 day\" }, { months = 5, every = \"7 days\" }]";

/// The pipeline of [`World::pipeline`] under a name of its own, with another way to say which months are asked for.
fn pipeline_as(world: &World, name: &str, months: &str, rest: &str) {
    world.pipeline("", "");
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    let text = text
        .replace("\nmonths = 5\nmonths_per_export = 2\n", &format!("\n{months}\nmonths_per_export = 2\n"));
    world.write(name, text + rest);
}

fn json(world: &World, args: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = ["--json"].into_iter().chain(args.iter().copied()).collect();
    world.ok(&args).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Windows of the earnings that a plan would ask for, each with its reasons.
fn planned(world: &World, args: &[&str]) -> Vec<(String, Vec<String>)> {
    let lines = json(world, &[&["plan"], args].concat());
    let (summary, exports) = lines.split_last().unwrap();
    assert_eq!(summary["schema"], "payoutlake.plan_summary.v1");
    assert_eq!(summary["estimate"]["exports"], exports.len());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let earnings = exports.iter().filter(|export| export["dataset"] == "transaction_history");
    let one = |export: &Value| {
        let window = &export["window"];
        let whys = export["why"].as_array().unwrap().iter().map(|why| text(&why["reason"]));
        (format!("{}..{}", text(&window["first"]), text(&window["last"])), whys.collect())
    };
    earnings.map(one).collect()
}

fn windows(planned: &[(String, Vec<String>)]) -> Vec<&str> {
    planned.iter().map(|(window, _)| window.as_str()).collect()
}

/// Windows that the newest run asked for, with their outcome.
fn ran(world: &World, table: &str) -> Vec<String> {
    let newest = world.files("lake/_payoutlake/runs").pop().unwrap();
    let receipt: Value = serde_json::from_slice(&newest.1).unwrap();
    let tables = receipt["tables"].as_array().unwrap();
    let windows =
        tables.iter().filter(|one| one["table"] == table).flat_map(|one| one["windows"].as_array().unwrap());
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    windows
        .map(|w| {
            format!("{}..{} {}", word(&w["window"]["first"]), word(&w["window"]["last"]), word(&w["outcome"]))
        })
        .collect()
}

fn exports_asked_for(world: &World) -> usize {
    world.exports("lake").len()
}

#[test]
fn a_plan_needs_no_secret_and_leaves_no_trace() {
    let world = World::new();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/partner-center.toml"))
        .unwrap();
    world.write("real.toml", text);
    // Nothing of the sign-in is set: only a run needs it.
    assert_eq!(world.run(&["run", "real.toml"]).code, 78);
    let before = world.files("");
    let plan = world.ok(&["plan", "real.toml"]).stdout;
    for part in [
        "first use: ./lake has nothing of contoso yet",
        "gap, nothing covers it yet: ",
        "POST https://api.partner.microsoft.com/v1.0/payouts/transactionhistory?$filter=earningForDate%20ge%20",
        "nothing is there yet",
        "pulled whole by every run",
        "exports, 36 months; the service promises each within 24 hours, 4 wait at a time: at most 96 hours",
    ] {
        assert!(plan.contains(part), "the plan does not say '{part}':\n{plan}");
    }
    assert_eq!(world.files(""), before);
    let exports = plan.matches("POST").count();
    assert!((13..=14).contains(&exports), "36 months and the payments in {exports} exports");
}

#[test]
fn first_use_offers_the_rest_of_the_reach() {
    let world = World::new();
    world.pipeline("", "");
    let plan = world.ok(&["plan", "pipeline.toml"]).stdout;
    assert!(
        plan.contains(
            "the service can still reach 31 more months of transaction_history, 2023-12..2026-06: \
             payoutlake backfill pipeline.toml --from 2023-12 --to 2026-06"
        ),
        "{plan}"
    );
}

#[test]
fn a_run_asks_for_what_is_due_and_a_plan_says_so_before() {
    let world = World::new();
    pipeline_as(&world, "tiers.toml", TIERS, "");
    let first = planned(&world, &["tiers.toml"]);
    assert_eq!(windows(&first), ["2026-07..2026-08", "2026-09..2026-10", "2026-11..2026-11"]);
    assert_eq!(first[0].1, ["gap"]);
    assert_eq!(first[2].1, ["forward"]);
    world.ok(&["run", "tiers.toml"]);
    assert_eq!(ran(&world, "transaction_history").len(), 3);

    // Minutes later only the running month is due, and the plan tells what is there.
    let before = world.files("");
    assert_eq!(windows(&planned(&world, &["tiers.toml"])), ["2026-11..2026-11"]);
    let plan = world.ok(&["plan", "tiers.toml"]).stdout;
    let rows = world.sql("lake", "SELECT count(*) FROM transaction_history WHERE earning_month = '2026-11'");
    assert!(
        plan.contains(&format!("replaces the months 2026-11: {} rows are there, as they were 20", rows[0])),
        "{plan}"
    );
    assert!(plan.contains("the newest run brought 4 exports in "), "{plan}");
    assert_eq!(world.files(""), before, "a plan changed something");
    world.ok(&["run", "tiers.toml"]);
    assert_eq!(ran(&world, "transaction_history"), ["2026-11..2026-11 unchanged"]);

    // A new month begins: the one before is not forgotten, and not asked for before its time.
    let text = std::fs::read_to_string(world.path("tiers.toml")).unwrap();
    world.write("december.toml", text.replace("2026-11-23", "2026-12-01"));
    assert_eq!(windows(&planned(&world, &["december.toml"])), ["2026-12..2026-12"]);
}

#[test]
fn gaps_are_found_from_the_manifests_and_filled() {
    let world = World::new();
    pipeline_as(&world, "two.toml", "months = 2", "");
    pipeline_as(&world, "tiers.toml", TIERS, "");
    world.ok(&["run", "two.toml"]);
    world.ok(&["backfill", "two.toml", "--from", "2026-07", "--to", "2026-07"]);
    assert_eq!(
        planned(&world, &["tiers.toml"]),
        [
            ("2026-08..2026-08".to_owned(), vec!["gap".to_owned()]),
            ("2026-09..2026-09".to_owned(), vec!["gap".to_owned()]),
            ("2026-11..2026-11".to_owned(), vec!["forward".to_owned()]),
        ]
    );
    world.ok(&["run", "tiers.toml"]);
    let months = world.sql("lake", "SELECT count(DISTINCT earning_month) FROM transaction_history");
    assert_eq!(months, ["5"]);
    assert_eq!(windows(&planned(&world, &["tiers.toml"])), ["2026-11..2026-11"]);
}

#[test]
fn an_interrupted_backfill_goes_on_and_moves_nothing_else() {
    let world = World::new();
    pipeline_as(&world, "tiers.toml", TIERS, "");
    let text = std::fs::read_to_string(world.path("tiers.toml")).unwrap();
    let slow = text.replace("delay_millis = 20", "delay_millis = 1500");
    world.write("slow.toml", slow + "\n[wait]\ndeadline_minutes = 0\n");
    let span = ["--from", "2026-07", "--to", "2026-10", "--chunk-months", "1"];
    let due = planned(&world, &["tiers.toml"]);

    assert_eq!(windows(&planned(&world, &[&["slow.toml"], &span[..]].concat())).len(), 4);
    let done = world.run(&[&["backfill", "slow.toml"], &span[..]].concat());
    assert_eq!(done.code, 75, "{}", done.stderr);
    assert!(done.stderr.contains("backfill slow.toml"), "{}", done.stderr);
    assert_eq!(exports_asked_for(&world), 4);
    let plan = world.ok(&[&["plan", "slow.toml"], &span[..]].concat()).stdout;
    assert_eq!(plan.matches("this one goes on with it").count(), 4, "{plan}");
    // Even a run that would cut otherwise keeps the windows that are open.
    assert_eq!(
        windows(&planned(&world, &["tiers.toml"])),
        ["2026-07..2026-07", "2026-08..2026-08", "2026-09..2026-09", "2026-10..2026-10", "2026-11..2026-11"]
    );
    std::thread::sleep(std::time::Duration::from_millis(1600));
    world.ok(&[&["backfill", "slow.toml"], &span[..]].concat());
    assert_eq!(exports_asked_for(&world), 4, "an export was queued twice");
    assert_eq!(ran(&world, "transaction_history").len(), 4);

    // Once more in the same words: nothing is left of it.
    let again = world.ok(&[&["backfill", "tiers.toml"], &span[..]].concat());
    assert_eq!(exports_asked_for(&world), 4, "{}", again.stderr);
    assert!(again.stderr.contains("nothing was due: every month that was asked for is covered newly enough"));
    let plan = world.ok(&[&["plan", "tiers.toml"], &span[..]].concat()).stdout;
    assert!(plan.contains("left out, covered newly enough") && plan.contains("nothing is due"), "{plan}");
    let asked = planned(&world, &[&["tiers.toml", "--again"], &span[..]].concat());
    assert_eq!((asked.len(), asked[0].1.clone()), (4, vec!["backfill".to_owned()]));
    let older = planned(&world, &[&["tiers.toml", "--newer-than", "0 s"], &span[..]].concat());
    assert_eq!(older.len(), 4);

    // What is due for a run is what it was, less what is covered now.
    assert_eq!(planned(&world, &["tiers.toml"]), due[2..]);
    assert!(world.files("lake/payments").is_empty(), "a backfill pulls what has no months");
}

#[test]
fn a_payment_that_moved_is_named_with_its_months() {
    let world = World::new();
    pipeline_as(&world, "tiers.toml", TIERS, "");
    let text = std::fs::read_to_string(world.path("tiers.toml")).unwrap();
    world.write("before.toml", text.replace(AS_OF, "2026-11-10"));
    world.ok(&["run", "before.toml"]);
    // Payments were sent in between; this run sees them, and asks for no older month yet.
    world.ok(&["run", "tiers.toml"]);
    assert_eq!(ran(&world, "transaction_history").len(), 1);

    let plan = json(&world, &["plan", "tiers.toml"]);
    let whys = plan.iter().filter_map(|export| export["why"].as_array()).flatten();
    let payments: BTreeSet<&str> = whys.filter_map(|why| why["payment_id"].as_str()).collect();
    let sent = "SELECT DISTINCT payment_id FROM payments WHERE payment_date >= DATE '2026-11-10' AND payment_status = 'Sent'";
    let sent = world.sql("lake", sent);
    assert!(!payments.is_empty(), "{plan:?}");
    assert!(payments.iter().any(|id| sent.iter().any(|known| known == id)), "{payments:?} and {sent:?}");
    let unpaid =
        "SELECT count(*) FROM transaction_history WHERE payment_id IS NULL AND earning_month < '2026-11'";
    let before = world.sql("lake", unpaid);
    let words = world.ok(&["plan", "tiers.toml"]).stdout;
    assert!(words.contains(" moved to Sent: 2026-"), "{words}");
    assert!(words.contains("more payments that moved"), "{words}");
    world.ok(&["run", "tiers.toml"]);
    assert!(ran(&world, "transaction_history").len() > 1);
    assert_ne!(world.sql("lake", unpaid), before, "nothing was paid");
    assert_eq!(windows(&planned(&world, &["tiers.toml"])), ["2026-11..2026-11"], "named once more");
}

#[test]
fn months_that_cannot_be_asked_for_are_refused() {
    let world = World::new();
    world.pipeline("", "");
    for (span, code) in [
        (["--from", "2023-11", "--to", "2024-01"], 2),
        (["--from", "2026-10", "--to", "2026-12"], 2),
        (["--from", "2026-10", "--to", "2026-09"], 2),
        (["--from", "2026-10", "--to", "soon"], 2),
        (["--from", "2026-10", "--chunk-months", "0"], 2),
    ] {
        let done = world.run(&[&["backfill", "pipeline.toml"], &span[..]].concat());
        assert_eq!(done.code, code, "{span:?}\n{}", done.stderr);
        assert!(!world.path("lake").exists());
    }
    for (line, part) in [
        ("months = 37", "`months` is out of range"),
        ("lookback = []", "`lookback` is out of range"),
        ("lookback = [{ months = 3, every = \"soon\" }]", "'soon' is not a span of time"),
        ("lookback = [{ month = 3 }]", "did you mean `months`?"),
        (
            "lookback = [{ months = 3 }]\nfilter = { lever = \"Core\" }",
            "`lookback` does not go with a filter",
        ),
        ("filter = { programname = \"CSP\" }", "did you mean `program_name`?"),
    ] {
        pipeline_as(&world, "wrong.toml", line, "");
        let done = world.run(&["plan", "wrong.toml"]);
        assert_eq!(done.code, 78, "{line}\n{}", done.stderr);
        assert!(done.stderr.contains(part), "{line}\n{}", done.stderr);
    }
}

#[test]
fn a_filtered_pipeline_covers_nothing_and_takes_nothing_away() {
    let world = World::new();
    pipeline_as(&world, "all.toml", TIERS, "");
    world.ok(&["run", "all.toml", "--lake", "whole"]);
    let by_programme =
        "SELECT program_name, count(*), sum(earning_amount) FROM transaction_history GROUP BY 1 ORDER BY 1";
    let whole = world.sql("whole", by_programme);
    let programme = whole[0].split(',').next().unwrap().to_owned();
    assert!(whole.len() > 1);
    let payments = world.sql("whole", "SELECT count(*), count(payment_id) FROM payments");

    let filter = format!("filter = {{ program_name = [\"{programme}\", \"Nobody's choice\"] }}");
    pipeline_as(&world, "some.toml", "months = 5", &format!("{filter}\n"));
    let text = std::fs::read_to_string(world.path("some.toml")).unwrap();
    world.write(
        "some.toml",
        text.replace("months_per_export = 2\n", &format!("months_per_export = 2\n{filter}\n")),
    );
    let plan = world.ok(&["plan", "some.toml"]).stdout;
    assert!(
        plan.contains(&format!("and (programName eq '{programme}' or programName eq 'Nobody''s choice')")),
        "{plan}"
    );

    // Alone in a lake: its rows are there, and every month is still a gap.
    world.ok(&["run", "some.toml"]);
    assert_eq!(world.sql("lake", by_programme), whole[..1]);
    assert_eq!(windows(&planned(&world, &["all.toml"])).len(), 3, "a filtered export covers a month");

    // Beside an export of everything it replaces nothing, and confirms nothing.
    let objects = world.files("whole/_payoutlake/objects");
    let before = json(&world, &["plan", "all.toml", "--lake", "whole"]);
    world.ok(&["run", "some.toml", "--lake", "whole"]);
    assert_eq!(world.sql("whole", by_programme), whole);
    assert_eq!(world.sql("whole", "SELECT count(*), count(payment_id) FROM payments"), payments);
    assert!(world.files("whole/transaction_history").len() == 5 && !objects.is_empty());
    let after = json(&world, &["plan", "all.toml", "--lake", "whole"]);
    assert_eq!(covered(&before), covered(&after), "a filtered export confirmed a month");
    let rows = world.ok(&["plan", "some.toml", "--lake", "whole"]).stdout;
    assert!(rows.contains("filtered, so it covers nothing: merges by key with"), "{rows}");
}

#[test]
fn a_filtered_pull_of_payments_takes_no_pending_row_away() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let rows = "SELECT count(*), count(payment_id), sum(earned_usd) FROM payments";
    let (before, pulled) = (world.sql("lake", rows), covered(&json(&world, &["plan", "pipeline.toml"])));
    assert_ne!(world.sql("lake", "SELECT count(*) FROM payments WHERE payment_id IS NULL"), ["0"]);
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    let filter = "[datasets.filter]\norder_type = \"REBATE\"\ntotal_payment = { min = \"0.01\" }\n";
    world.write("some.toml", text + filter);
    let plan = world.ok(&["plan", "some.toml"]).stdout;
    assert!(plan.contains("filter:  payoutOrderType eq 'REBATE' and paymentAmount ge 0.01\n"), "{plan}");
    let done = world.ok(&["run", "some.toml"]);
    assert!(
        done.stderr.contains("the pull is filtered: rows that were pending before stay"),
        "{}",
        done.stderr
    );
    assert_eq!(world.sql("lake", rows), before);
    let after = covered(&json(&world, &["plan", "pipeline.toml"]));
    let payments = |plan: &[Value]| plan[plan.len() - 2].clone();
    assert_eq!(payments(&after), payments(&pulled), "a filtered pull counts as one of everything");
}

/// When each export of a plan says that its months were covered.
fn covered(plan: &[Value]) -> Vec<Value> {
    plan.iter().map(|export| export["covered_at"].clone()).collect()
}

#[test]
fn status_counts_down_what_leaves_the_reach() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let status = &json(&world, &["status"])[0];
    let uncovered = status["uncovered"].as_array().unwrap();
    assert_eq!(uncovered.len(), 1, "payments are pulled whole: {uncovered:?}");
    let months = uncovered[0]["months"].as_array().unwrap();
    // By the machine's clock, as the service goes by it.
    let today: Date = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let left = (today.last_of_month() - today).get_days() + 1;
    assert_eq!(months[0]["days_left"], left);
    let oldest = today.first_of_month().checked_sub(35.months()).unwrap().strftime("%Y-%m").to_string();
    assert_eq!(months[0]["month"], oldest);
    let words = world.ok(&["status"]).stdout;
    let days = if left == 1 { "1 day".to_owned() } else { format!("{left} days") };
    let line = format!(
        "! transaction_history of contoso: {oldest} leaves Microsoft's reach in {days}, and no export covers it: \
         payoutlake backfill pipeline.toml --from {oldest} --to {oldest}"
    );
    assert!(words.contains(&line), "{words}");
}

/// Microseconds since 1970-01-01; each look at the clock moves it by a second.
static CLOCK: AtomicI64 = AtomicI64::new(0);

fn clock() -> Timestamp {
    Timestamp::from_microsecond(CLOCK.fetch_add(1_000_000, Ordering::SeqCst)).unwrap()
}

/// Months with the reasons that a plan gives, one text for each reason.
fn whys(preview: &Preview) -> Vec<String> {
    let earnings = preview.exports.iter().filter(|export| export.window.is_some());
    let why = |why: &payoutlake::model::Why| format!("{}: {}", why.reason, spans(&why.months));
    earnings.flat_map(|export| export.why.iter().map(why).collect::<Vec<_>>()).collect()
}

fn payments_in(preview: &Preview) -> usize {
    let whys = preview.exports.iter().flat_map(|export| &export.why);
    whys.filter(|why| matches!(why.reason, Reason::Payment(_))).count()
}

#[test]
fn nights_ask_by_tiers_and_a_payment_names_older_months() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new();
        let (lake, state) = (world.path("lake"), world.path("state"));
        let file = world.write(
            "nights.toml",
            format!(
                "version = 1\naccount = \"contoso\"\nlake = {lake:?}\ncleanup = \"delete\"\n\
                 [load.guards]\nsums = {{ percent = 100, floor = 0 }}\n\
                 [source]\nkind = \"sandbox\"\n\
                 [source.sandbox]\nmonths = 9\nrows_per_month = 40\ndelay_millis = 1000\nstate_dir = {state:?}\n\
                 [[datasets]]\nname = \"transaction_history\"\nmonths_per_export = 1\n\
                 lookback = [{{ months = 1, every = \"1 day\" }}, {{ months = 2, every = \"7 days\" }}, {{ months = 8, every = \"30 days\" }}]\n\
                 [[datasets]]\nname = \"payments\"\n"
            ),
        );
        let plan = || config::run_plan(&file, &RunFlags::default(), &Environment::default(), clock).unwrap();
        let embedded = plan().1.unwrap();
        let server = sandbox::start(&embedded.options, 0, clock).await.unwrap();
        let ready = || {
            let (mut plan, _) = plan();
            embedded.point(&mut plan, server.url());
            plan
        };
        let at = |day: Date| {
            let start = TimeZone::UTC.to_timestamp(day.at(2, 0, 0, 0)).unwrap();
            CLOCK.store(start.as_microsecond(), Ordering::SeqCst);
        };
        let first = Date::constant(2026, 9, 10);
        let mut named = 0;
        for night in 0..13 {
            at(first.checked_add(night.days()).unwrap());
            let before = pipeline::preview(&ready(), &Observer::silent()).await.unwrap();
            named += payments_in(&before);
            let whys = whys(&before);
            let quiet: Vec<&String> = whys.iter().filter(|why| !why.starts_with("payment ")).collect();
            let weekly = "look-back over 2 months, every 7 days: 2026-08".to_owned();
            match night {
                0 => assert_eq!(quiet.len(), 8, "{whys:?}"),
                7 if !whys.contains(&weekly) => panic!("{whys:?}"),
                7 => {}
                _ => assert!(quiet.iter().all(|why| why.ends_with("2026-09") || **why == weekly), "{night}: {whys:?}"),
            }
            // Payments go out from the 17th on; what a night has seen, the next one asks for.
            if night < 7 {
                assert_eq!(payments_in(&before), 0, "{night}: {whys:?}");
            }
            let receipt = pipeline::run(ready(), Observer::silent()).await.unwrap();
            assert_eq!(receipt.exit_code, 0, "{receipt:#?}");
            let asked = receipt.tables[0].windows.len();
            let planned = before.exports.iter().filter(|export| export.window.is_some()).count();
            assert_eq!(asked, planned, "night {night}: a run asks for other exports than the plan says");
            if payments_in(&before) > 0 {
                assert!(whys.iter().any(|why| why.contains(" moved to Sent: ")), "{whys:?}");
                let older = receipt.tables[0].windows.iter().filter(|w| w.window.unwrap().last < Month::new(2026, 9));
                assert!(older.clone().any(|window| window.rows_written > 0), "the payment changed nothing");
            }
        }
        assert!(named > 0, "no payment named a month");
        // All of it is settled: no older month has fewer paid rows than a lake that asks for everything now.
        at(first.checked_add(13.days()).unwrap());
        assert_eq!(payments_in(&pipeline::preview(&ready(), &Observer::silent()).await.unwrap()), 0);
        let mut whole = ready();
        whole.settings.lake = payoutlake::lake::Location::folder(&world.path("whole"));
        assert_eq!(pipeline::run(whole, Observer::silent()).await.unwrap().exit_code, 0);
        let paid = "SELECT earning_month, count(payment_id) FROM transaction_history WHERE earning_month < '2026-09' \
                    GROUP BY 1 ORDER BY 1";
        assert_eq!(world.sql("lake", paid), world.sql("whole", paid));
        server.stop().await;
    });
}
