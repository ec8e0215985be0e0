//! The one error of the runtime, its operators and its connectors. The kind says what the reader must do, `retry` whether a
//! restart can help; the restart policy reads only those two. The task that failed is added once, by the task.

use arrow::error::ArrowError;
use std::fmt;

/// What the reader of an error must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// The query, the data or an option is wrong: change it.
    User,
    /// Something outside failed: a broker, a disk, a network, a source that breaks its contract.
    External,
    /// A broken invariant of ours: report it.
    Internal,
    /// The job was cancelled; no failure.
    Cancelled,
}

/// A result of the runtime.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure with its kind, a retry hint and a text made of values.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    retry: bool,
    message: String,
    task: Option<String>,
}

impl Error {
    fn new(kind: ErrorKind, retry: bool, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, retry, message: message.into(), task: None }))
    }

    /// A mistake of the user; a retry never helps.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::User, false, message)
    }

    /// A failure outside; a retry may help.
    pub fn external(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::External, true, message)
    }

    /// A broken invariant.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, false, message)
    }

    /// The job was cancelled.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, false, "cancelled")
    }

    /// Overrides the retry hint.
    pub fn with_retry(mut self, retry: bool) -> Self {
        self.0.retry = retry;
        self
    }

    /// Puts what was being done in front: `open split `a`: no such file`.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// Adds the identity of the task; only the first one stays, which is the one nearest to the cause.
    pub fn in_task(mut self, task: &str) -> Self {
        self.0.task.get_or_insert_with(|| task.to_owned());
        self
    }

    /// What the reader must do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether a restart can help.
    pub fn retry(&self) -> bool {
        self.0.retry
    }

    /// The text without the task.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The task that failed, if known.
    pub fn task(&self) -> Option<&str> {
        self.0.task.as_deref()
    }

    /// Whether this only says that the job was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.kind == ErrorKind::Cancelled
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.task {
            Some(task) => write!(f, "task `{task}`: {}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} error: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

impl From<ArrowError> for Error {
    fn from(e: ArrowError) -> Self {
        Error::from(&e)
    }
}

impl From<&ArrowError> for Error {
    /// Kernels fail on data (division by zero, overflow, a cast) or on our misuse; the former is what users meet.
    fn from(e: &ArrowError) -> Self {
        use ArrowError as A;
        match e {
            A::DivideByZero => Error::user(
                "division by zero; write x / NULLIF(y, 0), which gives NULL, or CASE WHEN y <> 0 THEN x / y END",
            ),
            A::ArithmeticOverflow(text) => {
                Error::user(format!("{}; cast the operands to a wider type", lower_first(text)))
            }
            A::CastError(text) | A::ParseError(text) => {
                Error::user(format!("{}; TRY_CAST gives NULL instead", lower_first(text)))
            }
            A::ComputeError(text) => Error::user(lower_first(text)),
            A::InvalidArgumentError(text) => Error::internal(lower_first(text)),
            A::IoError(..) => Error::external(e.to_string()),
            other => Error::internal(other.to_string()),
        }
    }
}

/// A foreign message as a fragment: its first letter in lower case, unless its first word has more upper-case letters.
pub fn lower_first(message: &str) -> String {
    let mut letters = message.chars();
    let Some(first) = letters.next() else { return String::new() };
    let name = message.chars().take_while(|c| c.is_alphanumeric() || *c == '_').skip(1).any(char::is_uppercase);
    if name { message.to_owned() } else { first.to_lowercase().chain(letters).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_messages_become_fragments_without_spoiling_names() {
        let cases =
            [("Overflow at 1", "overflow at 1"), ("FLOOR takes 1", "FLOOR takes 1"), ("Élan", "élan"), ("", "")];
        for (message, fragment) in cases {
            assert_eq!(lower_first(message), fragment);
        }
        let divided = Error::from(ArrowError::DivideByZero);
        assert!(divided.kind() == ErrorKind::User && divided.message().contains("NULLIF"), "{divided}");
    }

    #[test]
    fn the_first_task_stays_and_context_goes_in_front() {
        let e = Error::external("no such file").context("open split `a`").in_task("scan/0").in_task("sink/1");
        assert_eq!(e.to_string(), "task `scan/0`: open split `a`: no such file");
        assert!(e.retry() && e.kind() == ErrorKind::External);
    }
}
