//! A program of the user: started without a shell, ended when it takes too long, its complaints quoted without secrets.

use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::source::quote::Quoter;

/// Output that is read; a token has some kilobytes.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A longer run of the letters of tokens is taken for one. An id (a UUID) has 36.
const LONGEST_WORD: usize = 40;

/// A program with its arguments and its time. Its `Debug` shows the program alone: an argument may be a secret.
#[derive(Clone)]
pub struct Argv {
    argv: Vec<String>,
    timeout: Duration,
}

impl fmt::Debug for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Argv({} ...)", self.program())
    }
}

impl Argv {
    /// # Errors
    /// `Config` when there is no program, or no time.
    pub fn new(key: &str, argv: Vec<String>, timeout: Duration) -> Result<Self> {
        if argv.first().is_none_or(|program| program.trim().is_empty()) || timeout.is_zero() {
            return Err(Error::new(Kind::Config, format!("`{key}` names no program, or has no time to run"))
                .hint(
                    "Write a list: the program, then each argument by itself. It is started without a shell.",
                ));
        }
        Ok(Argv { argv, timeout })
    }

    #[must_use]
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// Runs the program and gives its standard output without white space around it.
    ///
    /// # Errors
    /// `Config` when it cannot be started, `Auth` when it fails or prints too much, `Source` when it takes too long.
    pub(super) async fn run(&self, input: Option<&Secret>) -> Result<Secret> {
        let quoter = Quoter::new(input);
        let mut child = self.start(input.is_some())?;
        let writer = child.stdin.take().zip(input.cloned()).map(|(mut pipe, input)| {
            std::thread::spawn(move || {
                // A program that does not read its input says by its exit code whether that is well.
                let _ = pipe.write_all(input.expose().as_bytes());
            })
        });
        let out = child.stdout.take().map(reader);
        let err = child.stderr.take().map(reader);
        let status = self.wait(&mut child).await?;
        drop(writer);
        let (out, err) = (self.collected(out).await?, self.collected(err).await?);
        if !status.success() {
            let mut error =
                self.error(Kind::Auth, "failed").with("exit", status.code().map_or(-1, |code| code));
            let words = without_tokens(&quoter.quote(&String::from_utf8_lossy(&err)));
            if !words.is_empty() {
                error = error.with("stderr", words);
            }
            return Err(error);
        }
        match String::from_utf8(out) {
            Ok(text) => Ok(Secret::new(text.trim().trim_start_matches('\u{feff}'))),
            Err(_) => Err(self.error(Kind::Auth, "did not print text")),
        }
    }

    fn start(&self, with_input: bool) -> Result<Child> {
        Command::new(self.program())
            .args(&self.argv[1..])
            .stdin(if with_input { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|cause| {
                self.error(Kind::Config, "cannot be started")
                    .hint("Check that it is installed here and on the PATH; a shell's builtins need [\"sh\", \"-c\", \"...\"].")
                    .caused_by(cause)
            })
    }

    async fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
                Ok(None) => {
                    // It may have ended in this moment.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(self
                        .error(Kind::Source, "took too long and was stopped")
                        .with("after", format!("{} s", self.timeout.as_secs()))
                        .hint("Try it by hand; if it needs more time, raise timeout_secs."));
                }
                Err(cause) => return Err(self.error(Kind::Bug, "cannot be waited for").caused_by(cause)),
            }
        }
    }

    /// What a pipe gave. A grandchild may keep it open after the program has ended: it is not waited for long.
    async fn collected(&self, read: Option<Reading>) -> Result<Vec<u8>> {
        let Some(read) = read else { return Ok(Vec::new()) };
        match tokio::time::timeout(Duration::from_secs(2), read).await {
            Ok(Ok(bytes)) if bytes.len() as u64 <= MAX_OUTPUT_BYTES => Ok(bytes),
            Ok(Ok(_)) => Err(self
                .error(Kind::Auth, "printed too much")
                .with("limit", format!("{MAX_OUTPUT_BYTES} bytes"))),
            Ok(Err(_)) | Err(_) => Err(self.error(Kind::Auth, "ended and left its output open")),
        }
    }

    fn error(&self, kind: Kind, what: &str) -> Error {
        Error::new(kind, format!("the command {} {what}", self.program()))
    }
}

type Reading = tokio::sync::oneshot::Receiver<Vec<u8>>;

fn reader(pipe: impl Read + Send + 'static) -> Reading {
    let (done, read) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before a broken pipe is all that there is.
        let _ = pipe.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut bytes);
        let _ = done.send(bytes);
    });
    read
}

/// The text with everything that looks like a token blanked out: a program may print what it was given.
fn without_tokens(text: &str) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.~+".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_token) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !is_token(c)).unwrap_or(from.len());
        out.push_str(before);
        out.push_str(if end > LONGEST_WORD { "[secret]" } else { &from[..end] });
        rest = &from[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, secs: u64) -> Argv {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        Argv::new("command", argv, Duration::from_secs(secs)).unwrap()
    }

    #[tokio::test]
    async fn a_program_is_fed_and_read() {
        let out = sh("printf ' <%s> \\n' \"$(cat)\"", 5).run(Some(&Secret::new("in"))).await.unwrap();
        assert_eq!(out.expose(), "<in>");
        // A program that reads nothing does not hang, however much it is given.
        let much = Secret::new("x".repeat(1 << 20));
        assert_eq!(sh("echo ok", 5).run(Some(&much)).await.unwrap().expose(), "ok");
    }

    #[tokio::test]
    async fn its_complaints_are_quoted_without_secrets() {
        let token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl";
        let script = format!("cat >&2; echo ' Bearer {token} of login.microsoftonline.com' >&2; exit 3");
        let error = sh(&script, 5).run(Some(&Secret::new("0.CANARY"))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Auth);
        let text = format!("{error:#}");
        assert!(text.contains("exit: 3") && text.contains("login.microsoftonline.com"), "{text}");
        assert!(!text.contains("CANARY") && !text.contains("eyJ0"), "{text}");
    }

    #[tokio::test]
    async fn too_long_too_much_and_not_there() {
        let started = Instant::now();
        let error = sh("sleep 30", 1).run(None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Source);
        assert!(started.elapsed() < Duration::from_secs(5));
        let error = sh("head -c 100000 /dev/zero | tr '\\0' x", 5).run(None).await.unwrap_err();
        assert!(error.message().contains("too much"), "{error}");
        let argv = Argv::new("command", vec!["no-such-program-here".to_owned()], LOOK).unwrap();
        let error = argv.run(None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(Argv::new("command", Vec::new(), LOOK).is_err());
        assert!(Argv::new("command", vec!["az".to_owned()], Duration::ZERO).is_err());
        assert!(!format!("{:?}", sh("CANARY", 1)).contains("CANARY"));
    }
}
