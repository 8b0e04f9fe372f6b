use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::cli::Setting;
use crate::config;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Step};
use crate::lake::{Lake, Moment, Tag};
use crate::model::{Account, format_money};
use crate::output::{self, Format, Progress, number, print_rows};
use crate::pipeline;
use crate::query::{Answer, Moved, Query, Span};

/// What Microsoft changed in rows that the lake had already: totals, or single rows
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("span").required(true).args(["since", "between"]))]
pub(in crate::cli) struct Changes {
    /// The lake to read
    #[arg(long, value_name = "URL", default_value = "./lake")]
    lake: String,
    /// What was committed since: 2026-11-01 (midnight UTC), or a time with its zone (2026-11-01T08:00:00+01:00)
    #[arg(long, value_name = "DATE|TIME")]
    since: Option<String>,
    /// What was committed after the first tag, up to the second
    #[arg(long, num_args = 2, value_names = ["TAG", "TAG"])]
    between: Option<Vec<String>>,
    /// This dataset only
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// This account only
    #[arg(long, value_name = "ALIAS", value_parser = super::lake::account)]
    account: Option<Account>,
    /// Every changed row and field, with the value before and after
    #[arg(long)]
    rows: bool,
    /// Also what Microsoft did not do: roll-backs, other rules of a newer payoutlake, the first load of a month
    #[arg(long)]
    all: bool,
    /// How to print the lines
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Changes {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let lake = pipeline::open_existing(&config::lake_at(&self.lake, &setting.environment)?).await?;
        let span = self.span(&lake).await?;
        if self.dataset.is_some() || self.account.is_some() {
            // A name that the lake does not know is told, instead of answered with nothing.
            let scope = pipeline::Scope { table: self.dataset.clone(), account: self.account.clone() };
            scope.chains(&lake).await?;
        }
        let settings = config::lake_settings("changes", &self.lake, &setting.environment, setting.clock)?;
        let progress = Progress::new(setting.style, settings.run_id, setting.clock);
        // Whoever may only read the lake reads it all the same.
        if let Err(error) = pipeline::follow(&settings).await {
            let message = format!("the newest ones may be missing: {error}");
            progress.observer().tell(Level::Warn, "changes", Step::Commit, message);
        }
        let engine = Engine::new(&settings.engine, lake.store().clone())?;
        let query = Query::open(&lake, &engine, &Moment::Now).await?;
        let (dataset, account) = (self.dataset, self.account);
        let changes = crate::query::Changes { span, dataset, account, rows: self.rows, all: self.all };
        let json = setting.style.json;
        let answer = changes.answer(&query, json.then_some("payoutlake.change.v1")).await?;
        let format = if json { Format::Ndjson } else { self.format };
        let lines = print_rows(format, answer.schema, answer.rows, Answer::failed).await?;
        if !json && !setting.style.quiet {
            let moved = changes.moved(&query).await?;
            output::say(&if lines == 0 { "nothing was changed\n".to_owned() } else { words(&moved) });
            if !changes.all && changes.went_back(&query).await? {
                output::say(WENT_BACK);
            }
        }
        Ok(0)
    }

    async fn span(&self, lake: &Lake) -> Result<Span> {
        match (&self.since, self.between.as_deref()) {
            (Some(text), _) => since(text).map(Span::Since),
            (None, Some([first, last])) => {
                Span::between(&Tag::find(lake, first).await?, &Tag::find(lake, last).await?)
            }
            // The command line asks for one of them.
            _ => Err(Error::new(Kind::Usage, "give --since or --between")),
        }
    }
}

const WENT_BACK: &str = "note: the lake was taken back in that time, and what came in again after it counts again; \
                         with --all everything adds up\n";

/// A day is its midnight in UTC.
fn since(text: &str) -> Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let wrong = |message: String| {
        Error::new(Kind::Usage, message).hint(
            "write 2026-11-01 for midnight UTC, 2026-11-01T08:00:00Z for UTC, or 2026-11-01T08:00:00+01:00 for a time \
             with its offset",
        )
    };
    // A date alone: the parser of dates would take the time behind it for nothing.
    match text.parse::<Date>() {
        Ok(date) if text.len() <= "2026-11-01".len() => TimeZone::UTC
            .to_timestamp(date.at(0, 0, 0, 0))
            .map_err(|cause| wrong(format!("'{text}' is out of range")).caused_by(cause)),
        Ok(_) => Err(wrong(format!("'{text}' does not say its time zone"))),
        Err(_) => Err(wrong(format!("'{text}' is neither a date nor a time"))),
    }
}

/// One line for each money column: by how much its sums moved.
fn words(moved: &[Moved]) -> String {
    let mut columns: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for Moved { dataset, field, currency, units } in moved {
        let currency = if currency.is_empty() { "(no currency)" } else { currency };
        let sum = format!("{currency} {}", number::money(&format_money(*units)));
        columns.entry((dataset, field)).or_default().push(sum);
    }
    if columns.is_empty() {
        return "no sum moved\n".to_owned();
    }
    let line = |((dataset, field), sums): (&(&str, &str), &Vec<String>)| {
        format!("moved in {dataset}.{field}: {}\n", sums.join("   "))
    };
    columns.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_midnight_utc_and_a_time_needs_its_zone() {
        let day = "2026-11-01T00:00:00Z".parse::<Timestamp>().unwrap();
        assert_eq!(since("2026-11-01").unwrap(), day);
        assert_eq!(since("2026-11-01T01:00:00+01:00").unwrap(), day);
        for bad in ["2026-11-01T08:00:00", "2026-11-01 08:00", "2026-11", "yesterday", "", "CLOSE-1"] {
            assert_eq!(since(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }
}
