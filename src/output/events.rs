//! Events as they come: progress lines on a terminal, NDJSON, or plain lines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use super::{Style, number, print, say};
use crate::event::{Event, Level, Observer, Step, Unit};
use crate::model::RunId;

/// Shows the events of one run.
#[derive(Clone)]
pub struct Progress {
    lines: MultiProgress,
    observer: Observer,
}

/// Version of the event lines.
const SCHEMA: &str = "payoutlake.event.v1";

#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    ts: Timestamp,
    event: Step,
    run_id: RunId,
    #[serde(flatten)]
    told: &'a Event,
}

impl Progress {
    #[must_use]
    pub fn new(style: Style, run_id: RunId, clock: fn() -> Timestamp) -> Self {
        let lines = MultiProgress::new();
        if !style.progress || style.json || style.quiet {
            lines.set_draw_target(ProgressDrawTarget::hidden());
        }
        let bars: Arc<Mutex<HashMap<String, ProgressBar>>> = Arc::default();
        let shown = lines.clone();
        let observer = Observer::new(move |event: Event| {
            if style.json {
                tell_json(&event, run_id, clock());
            } else if style.progress && !style.quiet {
                let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
                draw(&shown, &mut bars, &event);
            } else {
                tell_line(style, &event);
            }
        });
        Progress { lines, observer }
    }

    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Takes the lines away before something else is printed.
    pub fn finish(&self) {
        let _gone = self.lines.clear();
    }
}

fn tell_json(event: &Event, run_id: RunId, ts: Timestamp) {
    let line = Line { schema: SCHEMA, ts, event: event.step, run_id, told: event };
    if let Ok(json) = serde_json::to_string(&line) {
        print(&format!("{json}\n"));
    }
}

/// Warnings always; what happened only when asked for; progress never.
fn tell_line(style: Style, event: &Event) {
    let wanted = match event.level {
        Level::Warn => !style.quiet,
        Level::Info => style.verbose,
        Level::Debug => false,
    };
    if !wanted || event.message.is_empty() {
        return;
    }
    let scope = if event.scope.is_empty() { String::new() } else { format!("{}: ", event.scope) };
    let level = if event.level == Level::Warn { "warning: " } else { "" };
    say(&format!("{level}{scope}{}\n", event.message));
}

fn draw(lines: &MultiProgress, bars: &mut HashMap<String, ProgressBar>, event: &Event) {
    if event.level == Level::Warn {
        let _hidden = lines.println(format!("warning: {}: {}", event.scope, event.message));
    }
    if event.scope.is_empty() {
        return;
    }
    let bar = bars.entry(event.scope.clone()).or_insert_with(|| {
        let bar = lines.add(ProgressBar::new_spinner());
        // The template is a constant; without it the default style is used.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:<40} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(event.scope.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    });
    match event.progress {
        Some(progress) => bar.set_message(position(event.step, progress)),
        None if event.step == Step::Done => bar.finish_with_message(event.message.clone()),
        None => bar.set_message(format!("{}: {}", word(event.step), event.message)),
    }
}

fn position(step: Step, progress: crate::event::Progress) -> String {
    let shown = |n: u64| match progress.unit {
        Unit::Bytes => number::bytes(n),
        Unit::Rows => format!("{} rows", number::count(n)),
    };
    match progress.total {
        Some(total) => format!("{}: {} of {}", word(step), shown(progress.done), shown(total)),
        None => format!("{}: {}", word(step), shown(progress.done)),
    }
}

fn word(step: Step) -> &'static str {
    match step {
        Step::Submit => "asking",
        Step::Wait => "waiting",
        Step::Download => "downloading",
        Step::Normalise => "normalising",
        Step::Commit => "committing",
        Step::Done => "done",
    }
}
