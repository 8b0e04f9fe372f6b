//! The command line: types, dispatch, exit code.

mod commands;
mod confirm;

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, Parser, Subcommand, ValueEnum};
use confirm::confirm;
use jiff::Timestamp;

use crate::config::Environment;
use crate::error::{Error, Kind, Result};
use crate::output::{self, Style};

/// Microsoft Partner Center payouts and earnings in a lake that people can trust with money.
#[derive(Debug, Parser)]
#[command(name = "payoutlake", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 published or nothing to do; 2 bad command line; 3 published, and rows were quarantined or a check \
warned; 65 contract, checksum or control total violated; 69 source unavailable; 70 a bug; 74 lake cannot be read \
or written; 75 export still running, run again later; 77 sign-in or role; 78 configuration; 130 interrupted, safe \
to run again.";

#[derive(Debug, Args)]
struct Global {
    /// Events and a final summary as JSON lines on standard output
    #[arg(long, global = true)]
    json: bool,
    /// Print errors only
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Tell every step, and every sum in the receipt
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// No progress lines
    #[arg(long, global = true)]
    no_progress: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Colour,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Colour {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(commands::init::Init),
    Check(commands::check::Check),
    Run(commands::run::Run),
    Plan(commands::plan::Plan),
    Backfill(commands::backfill::Backfill),
    Ingest(commands::ingest::Ingest),
    Sql(commands::sql::Sql),
    Explain(commands::explain::Explain),
    Status(commands::status::Status),
    Changes(commands::changes::Changes),
    Schema(commands::schema::Schema),
    Quarantine(commands::quarantine::Quarantine),
    Lake(commands::lake::Lake),
    Auth(commands::auth::Auth),
    Requests(commands::requests::Requests),
    Sandbox(commands::sandbox::Sandbox),
}

/// What a command works with.
struct Setting {
    style: Style,
    environment: Environment,
    clock: fn() -> Timestamp,
    if_stopped: IfStopped,
}

/// What to do after an interruption, where that is not simply the same command again.
#[derive(Debug, Clone, Default)]
struct IfStopped(Arc<Mutex<Option<String>>>);

impl IfStopped {
    fn set(&self, next_step: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(next_step);
    }

    fn next_step(&self) -> String {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        told.unwrap_or_else(|| {
            "nothing is half committed; run the same command again and it goes on where this one stood"
                .to_owned()
        })
    }
}

/// Parses the command line, runs the command and gives the exit code.
#[must_use]
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output with 0, mistakes to standard error with 2.
            let _closed = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let environment = Environment::of_process();
    let style = style(&cli.global, &environment);
    let setting = Setting { style, environment, clock: Timestamp::now, if_stopped: IfStopped::default() };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dispatch(cli.command, setting))) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            output::print_error(style, &error);
            error.kind().exit_code()
        }
        Err(_) => {
            let bug = Error::new(Kind::Bug, "payoutlake stopped unexpectedly; the message above says where")
                .hint("what was committed is safe; please report this with the command that you ran");
            output::print_error(style, &bug);
            Kind::Bug.exit_code()
        }
    }
}

fn dispatch(command: Command, setting: Setting) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::new(Kind::Bug, "the async runtime could not start").caused_by(cause))?;
    let if_stopped = setting.if_stopped.clone();
    let done = runtime.block_on(async {
        // On a thread of its own: work that does not pause must not keep a signal waiting.
        let command = tokio::spawn(perform(command, setting));
        tokio::select! {
            done = command => done.unwrap_or_else(|cause| match cause.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(cause) => Err(Error::new(Kind::Bug, "the command was stopped").caused_by(cause)),
            }),
            kind = signal() => Err(Error::new(kind, "interrupted").hint(if_stopped.next_step())),
        }
    });
    // Threads that still decode or write are not waited for: nothing that they do is part of the table.
    runtime.shutdown_background();
    done
}

async fn perform(command: Command, setting: Setting) -> Result<u8> {
    let setting = &setting;
    match command {
        Command::Init(init) => init.perform(setting).await,
        Command::Check(check) => check.perform(setting).await,
        Command::Run(run) => run.perform(setting).await,
        Command::Plan(plan) => plan.perform(setting).await,
        Command::Backfill(backfill) => backfill.perform(setting).await,
        Command::Ingest(ingest) => ingest.perform(setting).await,
        Command::Sql(sql) => sql.perform(setting).await,
        Command::Explain(explain) => explain.perform(setting).await,
        Command::Status(status) => status.perform(setting).await,
        Command::Changes(changes) => changes.perform(setting).await,
        Command::Schema(schema) => schema.perform(setting),
        Command::Quarantine(quarantine) => quarantine.perform(setting).await,
        Command::Lake(lake) => lake.perform(setting).await,
        Command::Auth(auth) => auth.perform(setting).await,
        Command::Requests(requests) => requests.perform(setting).await,
        Command::Sandbox(sandbox) => sandbox.perform(setting).await,
    }
}

/// Ends when the user or the system asks the process to stop.
#[cfg(unix)]
async fn signal() -> Kind {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        done = tokio::signal::ctrl_c() => match done {
            Ok(()) => Kind::Interrupted,
            Err(_) => std::future::pending().await,
        },
        _ = terminate.recv() => Kind::Terminated,
    }
}

#[cfg(not(unix))]
async fn signal() -> Kind {
    match tokio::signal::ctrl_c().await {
        Ok(()) => Kind::Interrupted,
        Err(_) => std::future::pending().await,
    }
}

fn style(global: &Global, environment: &Environment) -> Style {
    let terminal = std::io::stderr().is_terminal();
    let colour = match global.color {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => terminal && environment.get("NO_COLOR").is_none(),
    };
    Style {
        json: global.json,
        quiet: global.quiet,
        verbose: global.verbose,
        progress: terminal && !global.no_progress,
        colour,
    }
}
