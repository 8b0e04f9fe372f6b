//! The public error: what happened, where, what is safe, and the one next step.
//!
//! Rules:
//! 1. A public function that can fail returns [`Result`]. A refused cell or row is a value
//!    ([`crate::model::Fault`]), never an error.
//! 2. The kind is chosen where the cause is known and never changed on the way up.
//! 3. Never re-wrap: add facts with [`Error::with`], a next step with [`Error::hint`].
//! 4. No secret, token, password or URL query in any part (see [`crate::secret`]).
//! 5. A message is a lower-case fragment that fits behind "error: "; the hint is a sentence.

use std::error::Error as StdError;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means to the caller; each kind has one exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The command line cannot be understood.
    Usage,
    /// The bytes, a checksum, a contract or a control total is not what it must be; nothing was published.
    Contract,
    /// The source cannot be reached or cannot deliver, after retries.
    Source,
    /// A defect of payoutlake.
    Bug,
    /// The lake cannot be read or written.
    Destination,
    /// The export is still running; the ledger knows it.
    Pending,
    /// Sign-in failed or a role is missing.
    Auth,
    /// The pipeline file, the environment or a schema file is wrong.
    Config,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

/// When a run has several outcomes its exit code is the first of these that applies.
pub const SEVERITY: [Kind; 7] =
    [Kind::Bug, Kind::Config, Kind::Auth, Kind::Contract, Kind::Destination, Kind::Source, Kind::Pending];

/// Published, and rows were quarantined or a check warned.
pub const EXIT_WARNED: u8 = 3;

impl Kind {
    /// The process exit code, by meaning (sysexits.h where it has one).
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Contract => 65,
            Kind::Source => 69,
            Kind::Bug => 70,
            Kind::Destination => 74,
            Kind::Pending => 75,
            Kind::Auth => 77,
            Kind::Config => 78,
            Kind::Interrupted => 130,
            Kind::Terminated => 143,
        }
    }

    /// Whether the same command may succeed later without a person changing anything.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Kind::Source | Kind::Destination | Kind::Pending | Kind::Interrupted | Kind::Terminated
        )
    }

    /// A stable lower-case word for logs and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::Contract => "contract",
            Kind::Source => "source",
            Kind::Bug => "bug",
            Kind::Destination => "destination",
            Kind::Pending => "pending",
            Kind::Auth => "auth",
            Kind::Config => "config",
            Kind::Interrupted => "interrupted",
            Kind::Terminated => "terminated",
        }
    }
}

/// An error with its kind, the facts around it, and the next step.
///
/// `{}` prints one line for logs; `{:#}` prints several for people.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: Kind,
    message: String,
    // In the order in which they were added: innermost first.
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                context: Vec::new(),
                hint: None,
                source: None,
            }),
        }
    }

    /// Adds a fact: `("file", "export.csv")`, `("line", "17")`, `("request", id)`.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.inner.context.push((key, value.to_string()));
        self
    }

    /// Sets the next step, as one or two sentences. The innermost hint stays.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint.get_or_insert(hint.into());
        self
    }

    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    #[must_use]
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.inner.context
    }

    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// The messages of the chain of causes, outermost first, without repeats.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !causes.iter().any(|seen| seen.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (newline, facts) = if f.alternate() { ("\n", true) } else { ("; ", false) };
        write!(f, "{}", self.inner.message)?;
        for (key, value) in &self.inner.context {
            if facts {
                write!(f, "{newline}  {key}: {value}")?;
            } else {
                write!(f, "{newline}{key}={value}")?;
            }
        }
        for cause in self.causes() {
            write!(f, "{newline}{}cause: {cause}", if facts { "  " } else { "" })?;
        }
        if facts && let Some(hint) = &self.inner.hint {
            write!(f, "{newline}  hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {self:#}", self.inner.kind.as_str())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
