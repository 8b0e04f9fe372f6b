use clap::{Args, Subcommand};
use jiff::SignedDuration;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::cli::Setting;
use crate::error::Result;
use crate::{output, sandbox};

/// Serve an imitation of Partner Center on this machine, for trying things out without an account
#[derive(Debug, Args)]
pub(in crate::cli) struct Sandbox {
    #[command(flatten)]
    corpus: Corpus,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Milliseconds that an export takes
    #[arg(long, value_name = "MILLIS", conflicts_with = "delay")]
    delay_millis: Option<u64>,
    /// What an export takes, such as 90s or 24h; several, with commas, are for the first exports in their order, the
    /// last for all that follow
    #[arg(long, value_name = "TIME", value_delimiter = ',', value_parser = millis)]
    delay: Vec<u64>,
    /// Seconds of the sandbox in one second of yours: at 1000 an export of 24h takes 86 seconds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    clock_speed: u32,
    /// How long an access token is good, by the sandbox's clock [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = millis)]
    token_lifetime: Option<u64>,
    /// Folder for requests and blobs, so that they outlive a restart
    #[arg(long, value_name = "DIR")]
    state_dir: Option<std::path::PathBuf>,
    /// Something that goes wrong on purpose: NAME, NAME:DATASET, and with @7, @7-9 or @7.. only for these requests,
    /// counted from 1; may be repeated
    #[arg(long, value_name = "NAME[:DATASET][@K]")]
    fault: Vec<sandbox::Fault>,
    /// Show every fault with what it does, and stop
    #[arg(long)]
    list_faults: bool,
    /// File that gets one JSON line for each request; what it held is gone
    #[arg(long, value_name = "FILE")]
    request_log: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What the sandbox's data is made of.
#[derive(Debug, Args)]
struct Corpus {
    /// The same seed and day give the same rows
    #[arg(long, default_value_t = 7, global = true)]
    seed: u64,
    /// Earning months, the one of the day included
    #[arg(long, default_value_t = 12, global = true)]
    months: u32,
    /// Earnings a month
    #[arg(long, default_value_t = 20_000, global = true)]
    rows_per_month: u32,
    /// The sandbox's day, YYYY-MM-DD; without it today
    #[arg(long, value_name = "DATE", global = true)]
    as_of: Option<Date>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the rows, sums and named differences that a lake of this sandbox must hold
    Truth,
}

impl Sandbox {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        if self.list_faults {
            output::print(&faults(setting.style.json));
            return Ok(0);
        }
        let options = self.options();
        let today = TimeZone::UTC.to_datetime((setting.clock)()).date();
        if let Some(Command::Truth) = self.command {
            let truth = sandbox::truth(&options, today);
            let text = match setting.style.json {
                true => serde_json::to_string_pretty(&truth).unwrap_or_default() + "\n",
                false => truth.to_string(),
            };
            output::print(&text);
            return Ok(0);
        }
        let server = sandbox::start(&options, self.port, setting.clock).await?;
        output::print(&greeting(server.url(), setting.style.json));
        // Until Ctrl-C.
        std::future::pending::<()>().await;
        Ok(0)
    }

    fn options(&self) -> sandbox::Options {
        let defaults = sandbox::Options::default();
        sandbox::Options {
            seed: self.corpus.seed,
            months: self.corpus.months,
            rows_per_month: self.corpus.rows_per_month,
            as_of: self.corpus.as_of,
            delay_millis: self.delay.last().copied().or(self.delay_millis).unwrap_or(defaults.delay_millis),
            delays_millis: self.delay.clone(),
            clock_speed: self.clock_speed,
            token_lifetime_secs: self.token_lifetime.map_or(defaults.token_lifetime_secs, |millis| {
                u32::try_from(millis / 1_000).unwrap_or(u32::MAX)
            }),
            state_dir: self.state_dir.clone(),
            faults: self.fault.clone(),
            request_log: self.request_log.clone(),
            ..defaults
        }
    }
}

/// Reads `300ms`, `90s`, `24h` as milliseconds.
fn millis(text: &str) -> std::result::Result<u64, String> {
    let time: SignedDuration =
        text.parse().map_err(|_| format!("'{text}' is no time: 300ms, 90s, 5m, 24h"))?;
    u64::try_from(time.as_millis()).map_err(|_| format!("'{text}' is below zero"))
}

/// The list of faults, for people or as one JSON line for each.
fn faults(json: bool) -> String {
    let lines = sandbox::FAULTS.iter().map(|fault| {
        let (reach, when) = (fault.reach.about, fault.when.about());
        if json {
            let line = serde_json::json!({
                "name": fault.name, "hits": reach, "without_position": when, "about": fault.about,
            });
            return format!("{line}\n");
        }
        format!("{}\n    {}\n    hits: {reach}; without @K {when}\n", fault.name, fault.about)
    });
    lines.collect()
}

/// Where the sandbox listens and how to sign in to it: none of this is a secret.
fn greeting(url: &url::Url, json: bool) -> String {
    if json {
        let line = serde_json::json!({
            "schema": "payoutlake.sandbox.v1",
            "url": url.as_str(),
            "api": format!("{url}v1.0/"),
            "authority": url.as_str(),
            "tenant": sandbox::TENANT,
            "client_id": sandbox::CLIENT_ID,
            "client_secret": sandbox::CLIENT_SECRET,
            "username": sandbox::USERNAME,
            "password": sandbox::PASSWORD,
        });
        return format!("{line}\n");
    }
    format!(
        "the sandbox listens on {url}\n\n\
         [source]\n\
         kind = \"partner-center\"\n\n\
         [source.api]\n\
         api = \"{url}v1.0/\"\n\
         authority = \"{url}\"\n\n\
         [source.auth]\n\
         kind = \"username-password\"   # or client-secret, with client_secret = \"{}\"\n\
         tenant = \"{}\"\n\
         client_id = \"{}\"\n\
         username = \"{}\"\n\
         password = \"{}\"\n\n\
         stop it with Ctrl-C; {url}_sandbox/requests shows every request so far\n",
        sandbox::CLIENT_SECRET,
        sandbox::TENANT,
        sandbox::CLIENT_ID,
        sandbox::USERNAME,
        sandbox::PASSWORD,
    )
}
