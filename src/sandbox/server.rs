//! The server: one listener on the loopback interface with sign-in, API and blob store behind it.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use url::Url;

use crate::error::{Error, Kind, Result};

use super::build::Job;
use super::clock::{Clock, Moment};
use super::exports::{Exports, Request};
use super::faults::injector::Injector;
use super::faults::wire::{Listener, Wire};
use super::faults::{Fault, FaultKind, is_set};
use super::filter::Filter;
use super::log::{Log, Record};
use super::tokens::{Key, Tickets};
use super::{Options, api};

/// Exports built at once; the others wait.
const BUILDERS: usize = 2;

/// How long a stop waits for answers under way.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// A running sandbox. It stops when this is dropped.
pub struct Running {
    url: Url,
    service: Arc<Service>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// What the handlers share.
pub(super) struct Service {
    pub(super) options: Options,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    pub(super) clock: Clock,
    pub(super) base: Url,
    pub(super) key: Key,
    pub(super) tickets: Tickets,
    pub(super) exports: Exports,
    pub(super) injector: Injector,
    pub(super) log: Log,
    pub(super) stopping: AtomicBool,
    builders: Semaphore,
    /// Deleted when the last handler and the last build are done.
    _temporary: Option<TempDir>,
}

/// Starts a sandbox on `127.0.0.1:port`; port 0 takes a free one. `now` is the clock of its clients, and the source of
/// its own.
///
/// Requests of an earlier start with the same `state_dir` go on.
///
/// # Errors
/// [`Kind::Destination`] when the state folder or the request log cannot be used, [`Kind::Config`] when the port is
/// taken, the clock has no speed, or the state folder is of another version.
pub async fn start(
    options: &Options,
    port: u16,
    now: impl Fn() -> Timestamp + Send + Sync + 'static,
) -> Result<Running> {
    if options.clock_speed == 0 {
        return Err(Error::new(Kind::Config, "the sandbox's clock would stand still")
            .hint("Set `clock_speed` to 1 or more, or leave it out."));
    }
    let (dir, temporary) = match &options.state_dir {
        Some(dir) => (dir.clone(), None),
        None => {
            let temporary = TempDir::with_prefix("payoutlake-sandbox-").map_err(|cause| {
                Error::new(Kind::Destination, "cannot make a temporary folder for the sandbox")
                    .hint("Name a folder as `state_dir`.")
                    .caused_by(cause)
            })?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let (exports, key) = Exports::open(&dir)?;
    let fail = |what: &'static str| {
        move |cause: io::Error| {
            Error::new(Kind::Destination, what)
                .hint("Check `state_dir` and `request_log`; a file that is damaged can be deleted.")
                .caused_by(cause)
        }
    };
    let clock = Clock::open(&dir, options.clock_speed, now())
        .map_err(fail("cannot use the clock in the state folder of the sandbox"))?;
    let tickets = Tickets::open(&dir)
        .map_err(fail("cannot use the refresh tokens in the state folder of the sandbox"))?;
    let log = Log::open(options.request_log.as_deref())
        .map_err(fail("cannot write the request log of the sandbox"))?;
    let (listener, base) = listen(port).await?;
    let service = Arc::new(Service {
        options: options.clone(),
        now: Box::new(now),
        clock,
        base: base.clone(),
        key,
        tickets,
        exports,
        injector: Injector::new(&options.faults),
        log,
        stopping: AtomicBool::new(false),
        builders: Semaphore::new(BUILDERS),
        _temporary: temporary,
    });
    for request in service.exports.unbuilt() {
        service.build(request);
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let router = api::router(service.clone()).into_make_service_with_connect_info::<Wire>();
    let server = axum::serve(Listener(listener), router).with_graceful_shutdown(async {
        // Also when the sender is dropped.
        let _ = stopped.await;
    });
    let task = tokio::spawn(async {
        // The listener is on loopback and accepts again after any error; there is nobody to tell.
        let _ = server.await;
    });
    Ok(Running { url: base, service, stop: Some(stop), task })
}

async fn listen(port: u16) -> Result<(TcpListener, Url)> {
    let fail = |cause: io::Error| {
        Error::new(Kind::Config, "cannot listen on the loopback interface")
            .with("port", port)
            .hint("Choose another port, or 0 for a free one.")
            .caused_by(cause)
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let url = Url::parse(&format!("http://{address}/"))
        .map_err(|cause| Error::new(Kind::Bug, "the address of the sandbox is no URL").caused_by(cause))?;
    Ok((listener, url))
}

impl Running {
    /// `http://127.0.0.1:PORT/`: the authority of sign-in, the host of the API and of the blobs.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Requests since the start, oldest first; those of `GET /_sandbox/requests` are not among them.
    #[must_use]
    pub fn requests(&self) -> Vec<Record> {
        self.service.log.records()
    }

    /// Stops listening, and waits a moment for answers under way.
    pub async fn stop(mut self) {
        self.signal();
        // After the wait the drop below ends what is left.
        let _ = tokio::time::timeout(STOP_WAIT, &mut self.task).await;
    }

    fn signal(&mut self) {
        self.service.stopping.store(true, Ordering::Relaxed);
        if let Some(stop) = self.stop.take() {
            // The server may have ended already.
            let _ = stop.send(());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal();
        self.task.abort();
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Service {
    pub(super) fn moment(&self) -> Moment {
        self.clock.at((self.now)())
    }

    /// Now, by the sandbox's own clock.
    pub(super) fn now(&self) -> Timestamp {
        self.moment().own
    }

    /// An address of this server under another name: whoever follows it shows up in the log.
    pub(super) fn elsewhere(&self) -> String {
        format!("http://localhost:{}/elsewhere", self.base.port().unwrap_or(80))
    }

    /// Builds the blob of a request in the background.
    pub(super) fn build(self: &Arc<Self>, request: Request) {
        let service = self.clone();
        tokio::spawn(async move {
            let Ok(_permit) = service.builders.acquire().await else {
                return;
            };
            let builder = service.clone();
            let id = request.id;
            let build = tokio::task::spawn_blocking(move || builder.build_now(&request));
            if build.await.is_err() {
                service.exports.finish(id, Err(io::Error::other("the build panicked")));
            }
        });
    }

    fn build_now(&self, request: &Request) {
        let parsed = request.filter.as_deref().map(|text| Filter::parse(text, request.dataset));
        let faults: Vec<Fault> = self.options.faults.iter().chain(&request.faults).copied().collect();
        let outcome = match parsed.transpose() {
            _ if is_set(&faults, FaultKind::ExportFailed, request.dataset) => {
                Err(io::Error::other("made to fail"))
            }
            Err(message) => Err(io::Error::other(message)),
            _ if self.stopping.load(Ordering::Relaxed) => return,
            Ok(filter) => match self.exports.reuse(request) {
                Some(built) => Ok(built),
                None => {
                    let options = Options { as_of: Some(request.as_of), ..self.options.clone() };
                    let job = Job {
                        corpus: options.corpus(request.as_of),
                        dataset: request.dataset,
                        filter,
                        format: request.format,
                        zip_above_rows: self.options.zip_above_rows,
                        faults,
                    };
                    job.build(&self.exports.blob(request.id), &self.stopping)
                }
            },
        };
        if !self.stopping.load(Ordering::Relaxed) {
            self.exports.finish(request.id, outcome);
        }
    }
}
