use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;

use crate::cli::Setting;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::lake::Moment;
use crate::load;
use crate::output::{Format, print_rows};
use crate::query::{Answer, Query};
use crate::schema::Registry;
use crate::{config, pipeline};

/// Ask a SQL question about a lake
#[derive(Debug, Args)]
pub(in crate::cli) struct Sql {
    /// The lake to read
    #[arg(long, value_name = "URL", default_value = "./lake")]
    lake: String,
    /// How to print the rows
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The lake as it was then, by commit time: 2026-08-31T23:59:59Z, 2026-08-31T23:59:59+02:00, or the name of a tag
    #[arg(long, value_name = "TIME")]
    as_of: Option<String>,
    /// Folder with schemas of your own, as in the pipeline file: for the views of their versions
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
    /// Read the query from a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "query")]
    file: Option<PathBuf>,
    /// The query; without it and without --file it is read from standard input
    query: Option<String>,
}

impl Sql {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let sql = self.text()?;
        let lake = pipeline::open_existing(&config::lake_at(&self.lake, &setting.environment)?).await?;
        let engine = Engine::new(&config::engine_options(), lake.store().clone())?;
        let moment = match &self.as_of {
            Some(text) => Moment::parse(&lake, text).await?,
            None => Moment::Now,
        };
        let query = Query::open(&lake, &engine, &moment).await?.with_empty(&load::own_tables())?;
        query.add_views(&Registry::load(self.schemas.as_deref())?).await?;
        let answer = query.run(&sql).await?;
        let format = if setting.style.json { Format::Ndjson } else { self.format };
        print_rows(format, answer.schema, answer.rows, Answer::failed).await?;
        Ok(0)
    }

    fn text(&self) -> Result<String> {
        let unreadable = |cause: std::io::Error, from: &str| {
            Error::new(Kind::Usage, "the query cannot be read").with("from", from).caused_by(cause)
        };
        let text = match (&self.query, &self.file) {
            (Some(query), _) => query.clone(),
            (None, Some(file)) => std::fs::read_to_string(file)
                .map_err(|cause| unreadable(cause, &file.display().to_string()))?,
            (None, None) if std::io::stdin().is_terminal() => String::new(),
            (None, None) => {
                let mut text = String::new();
                let read = std::io::stdin().lock().read_to_string(&mut text);
                read.map_err(|cause| unreadable(cause, "standard input"))?;
                text
            }
        };
        if text.trim().is_empty() {
            return Err(Error::new(Kind::Usage, "there is no query").hint(
                "give it as an argument, with --file, or on standard input: payoutlake sql \"SHOW TABLES\"",
            ));
        }
        Ok(text)
    }
}
