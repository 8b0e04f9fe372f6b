use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::cli::Setting;
use crate::config::{self, Environment, RunFlags};
use crate::error::{EXIT_WARNED, Result};
use crate::event::Observer;
use crate::output::{Progress, print_device_code, print_logged_out, print_signed_in, print_stored_sign_ins};
use crate::source::Client;
use crate::source::auth::{WARN_DAYS, stored_in};
use crate::{pipeline, sandbox};

/// Sign in with a browser, see who is signed in and until when, sign out
#[derive(Debug, Args)]
pub(in crate::cli) struct Auth {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Login(Login),
    Status(Status),
    Logout(Logout),
}

/// Sign a person in: shows an address, and a code to enter there on any device
#[derive(Debug, Args)]
struct Login {
    #[command(flatten)]
    target: Target,
}

/// Try the sign-in, tell whose it is and what of it ends soon (exit code 3); without a pipeline, what is kept here
#[derive(Debug, Args)]
struct Status {
    /// A pipeline file
    pipeline: Option<PathBuf>,
    /// The account's alias, instead of the pipeline file's
    #[arg(long, value_name = "ALIAS")]
    account: Option<String>,
}

/// Forget the stored refresh token
#[derive(Debug, Args)]
struct Logout {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Target {
    /// A pipeline file
    pipeline: PathBuf,
    /// The account's alias, instead of the pipeline file's
    #[arg(long, value_name = "ALIAS")]
    account: Option<String>,
}

impl Auth {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        match self.command {
            Command::Login(Login { target }) => login(target, setting).await,
            Command::Logout(Logout { target }) => logout(target, setting).await,
            Command::Status(Status { pipeline: Some(pipeline), account }) => {
                status(Target { pipeline, account }, setting).await
            }
            Command::Status(Status { pipeline: None, .. }) => stored(setting),
        }
    }
}

/// A plan's client, and the embedded sandbox that it speaks to.
struct Opened {
    client: Client,
    plan: pipeline::Plan,
    sandbox: Option<sandbox::Running>,
}

impl Target {
    fn plan(&self, setting: &Setting) -> Result<(pipeline::Plan, Option<config::SandboxPlan>)> {
        let flags = RunFlags { account: self.account.clone(), ..RunFlags::default() };
        config::run_plan(&self.pipeline, &flags, &setting.environment, setting.clock)
    }

    async fn open(&self, setting: &Setting) -> Result<Opened> {
        let (mut plan, embedded) = self.plan(setting)?;
        let mut sandbox = None;
        if let Some(embedded) = embedded {
            let server = sandbox::start(&embedded.options, 0, setting.clock).await?;
            embedded.point(&mut plan, server.url());
            sandbox = Some(server);
        }
        let progress = Progress::new(setting.style, plan.settings.run_id, setting.clock);
        let client = client(&plan, progress.observer())?;
        Ok(Opened { client, plan, sandbox })
    }
}

fn client(plan: &pipeline::Plan, observer: Observer) -> Result<Client> {
    Ok(Client::new(plan.source.clone(), plan.auth.clone())?.observed_by(observer))
}

async fn login(target: Target, setting: &Setting) -> Result<u8> {
    let opened = target.open(setting).await?;
    opened.client.log_in(|code| print_device_code(setting.style, code, (setting.clock)())).await?;
    // With a new client: what was stored is what is tried.
    let client = client(&opened.plan, Observer::silent())?;
    let done = told(&client, &target.pipeline, setting).await;
    close(opened).await;
    done
}

async fn status(target: Target, setting: &Setting) -> Result<u8> {
    let opened = target.open(setting).await?;
    let done = told(&opened.client, &target.pipeline, setting).await;
    close(opened).await;
    done
}

async fn told(client: &Client, pipeline: &Path, setting: &Setting) -> Result<u8> {
    let signed_in = client.signed_in().await?;
    print_signed_in(setting.style, &signed_in, pipeline, &Environment::program());
    Ok(if signed_in.warnings.is_empty() { 0 } else { EXIT_WARNED })
}

async fn close(opened: Opened) {
    if let Some(server) = opened.sandbox {
        server.stop().await;
    }
}

async fn logout(target: Target, setting: &Setting) -> Result<u8> {
    let (plan, _) = target.plan(setting)?;
    let was = client(&plan, Observer::silent())?.log_out().await?;
    print_logged_out(setting.style, was);
    Ok(0)
}

fn stored(setting: &Setting) -> Result<u8> {
    let found = match config::sign_in_folder(&setting.environment) {
        Some(folder) => stored_in(&folder, WARN_DAYS, (setting.clock)())?,
        None => Vec::new(),
    };
    print_stored_sign_ins(setting.style, &found);
    let near = found.iter().filter_map(|one| one.expiry.as_ref()).any(|expiry| expiry.near);
    Ok(if near { EXIT_WARNED } else { 0 })
}
