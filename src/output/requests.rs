//! Exports for people and for programs.

use std::fmt::Write as _;

use super::table::table;
use super::{Style, print, print_json};
use crate::model::{AtService, Request, RequestStep};

const SCHEMA: &str = "payoutlake.request.v1";

/// A line for each export; with their events, when they have been asked for.
pub fn print_requests(style: Style, requests: &[Request]) {
    if style.json {
        requests.iter().for_each(|request| print_json(SCHEMA, request));
        return;
    }
    if requests.is_empty() {
        print("no such export\n");
        return;
    }
    let rows: Vec<[String; 6]> = requests.iter().map(row).collect();
    print(&table(["export", "what", "asked for", "step", "service", "run"], &rows));
    for request in requests {
        print(&details(request));
    }
}

fn row(request: &Request) -> [String; 6] {
    let window = request.window.map(|window| format!(" {window}")).unwrap_or_default();
    let step = match request.step {
        RequestStep::Waiting => "waiting",
        RequestStep::ToBeDeleted => "committed, to be deleted",
        RequestStep::Closed => "closed",
    };
    let service = match &request.now {
        AtService::Status(status) => status.clone(),
        AtService::Unknown => "not there".to_owned(),
        AtService::NotAsked | AtService::Failed(_) => {
            format!("{} when last asked", request.status.as_deref().unwrap_or("no answer"))
        }
    };
    let run = match &request.at_work {
        Some(run) => format!("at work on {}", run.host),
        None => "over".to_owned(),
    };
    let asked_at = request.asked_at.strftime("%Y-%m-%d %H:%M UTC").to_string();
    [
        request.export.to_string(),
        format!("{}{window}", request.dataset),
        asked_at,
        step.to_owned(),
        service,
        run,
    ]
}

pub(super) fn orphans(count: u32) -> String {
    format!("{count} more may stand at the service, because an answer was lost; they do no harm")
}

fn details(request: &Request) -> String {
    let mut out = String::new();
    if request.orphans > 0 {
        let _ = writeln!(out, "! {}: {}", request.export, orphans(request.orphans));
    }
    if request.events.is_empty() {
        return out;
    }
    let id = request.request_id.as_ref().map_or("none yet", |id| id.0.as_str());
    let _ = writeln!(out, "request id: {id}");
    for entry in &request.events {
        let _ = writeln!(out, "{}  run {}  {}", entry.at, entry.run_id, entry.event);
    }
    out
}
