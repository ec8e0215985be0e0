//! What goes wrong between SQL text and job graph, for people: where, why, and what to write instead.
//!
//! Inside the crate a mistake travels as a `Fault`, which knows a place in the *expanded* text (after `${NAME}`); at the
//! crate's border `SourceText` turns it into a [`SqlError`], which knows the user's line and column and shows them.
//!
//! Invariants
//! - E1 every `SqlError` about text has a line and a column of the user's own file, never of the expanded text.
//! - E2 reason and remedy are lowercase fragments without a full stop.

use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::tokenizer::Span;
use std::fmt;

/// What kind of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// The text is no statement.
    Syntax,
    /// A statement that cannot mean anything: unknown names, wrong types, contradictions.
    Invalid,
    /// A statement with a meaning that this version cannot run.
    Unsupported,
    /// The text is larger, deeper or longer than a limit allows.
    Limit,
    /// A broken invariant of ours.
    Internal,
}

/// A place in the user's file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A refused SQL text, with the reason, the place and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    kind: SqlErrorKind,
    position: Option<Position>,
    line: Option<ShownLine>,
    reason: String,
    remedy: Option<String>,
}

/// The offending line as the user wrote it, secrets aside, and which of its characters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownLine {
    pub(crate) text: String,
    pub(crate) before: usize,
    pub(crate) chars: usize,
}

/// Longer lines are cut around the caret, in characters.
const SHOWN_CHARS: usize = 160;
/// Longer reasons and remedies are cut, in characters: they quote the text, and a name in it may have any length.
const REASON_CHARS: usize = 1_000;

/// The beginning of a text that may be very long.
fn clipped(text: String) -> String {
    match text.char_indices().nth(REASON_CHARS) {
        Some((at, _)) => format!("{}..", &text[..at]),
        None => text,
    }
}

impl SqlError {
    pub(crate) fn new(fault: Fault, position: Option<Position>, line: Option<ShownLine>) -> SqlError {
        let Fault { kind, reason, remedy, .. } = fault;
        let (reason, remedy) = (clipped(reason), remedy.map(clipped));
        SqlError(Box::new(Inner { kind, position, line, reason, remedy }))
    }

    /// What kind of mistake it is.
    pub fn kind(&self) -> SqlErrorKind {
        self.0.kind
    }

    /// Where it is, in the user's file.
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }

    /// Why it is refused.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// What to write or do instead.
    pub fn remedy(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }
}

impl fmt::Display for SqlError {
    /// `line 3, column 8: reason`, then the line with a caret, then the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.0.position {
            write!(f, "{position}: ")?;
        }
        write!(f, "{}", self.0.reason)?;
        if let (Some(position), Some(line)) = (self.0.position, &self.0.line) {
            let (shown, before) = window(&line.text, line.before);
            let number = position.line.to_string();
            let pad = " ".repeat(number.len());
            let caret = "^".repeat(line.chars.clamp(1, (shown.chars().count().saturating_sub(before)).max(1)));
            write!(f, "\n {pad} |\n {number} | {shown}\n {pad} | {}{caret}", " ".repeat(before))?;
        }
        match &self.0.remedy {
            Some(remedy) => write!(f, "\n{remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SqlError {}

impl From<SqlError> for thalweg_engine::error::Error {
    fn from(e: SqlError) -> Self {
        match e.kind() {
            SqlErrorKind::Internal => thalweg_engine::error::Error::internal(e.to_string()),
            _ => thalweg_engine::error::Error::user(e.to_string()),
        }
    }
}

/// The part of a line around a column, tabs as spaces, and how many characters of it stand before that column.
fn window(line: &str, at: usize) -> (String, usize) {
    let from = at.saturating_sub(SHOWN_CHARS / 2);
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    (line.chars().skip(from).take(SHOWN_CHARS).map(clean).collect(), at - from)
}

/// A result inside this crate.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// A mistake found in the expanded text; becomes a [`SqlError`] at the crate's border.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: SqlErrorKind,
    /// Where, in the expanded text; empty = unknown yet.
    pub(crate) span: Span,
    pub(crate) reason: String,
    pub(crate) remedy: Option<String>,
}

impl Fault {
    pub(crate) fn new(kind: SqlErrorKind, span: Span, reason: impl Into<String>) -> Fault {
        Fault { kind, span, reason: reason.into(), remedy: None }
    }

    pub(crate) fn syntax(span: Span, reason: impl Into<String>) -> Fault {
        Fault::new(SqlErrorKind::Syntax, span, reason)
    }

    pub(crate) fn invalid(span: Span, reason: impl Into<String>) -> Fault {
        Fault::new(SqlErrorKind::Invalid, span, reason)
    }

    /// `what` is not supported yet.
    pub(crate) fn unsupported(span: Span, what: impl fmt::Display) -> Fault {
        Fault::new(SqlErrorKind::Unsupported, span, format!("{what} is not supported yet"))
    }

    pub(crate) fn limit(span: Span, reason: impl Into<String>) -> Fault {
        Fault::new(SqlErrorKind::Limit, span, reason)
    }

    pub(crate) fn internal(reason: impl Into<String>) -> Fault {
        Fault::new(SqlErrorKind::Internal, Span::empty(), reason)
    }

    /// Says what to do instead.
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Fault {
        Fault { remedy: Some(remedy.into()), ..self }
    }

    /// Says where, if nobody closer to the mistake has.
    pub(crate) fn at(self, span: Span) -> Fault {
        if self.span == Span::empty() { Fault { span, ..self } } else { self }
    }
}

impl fmt::Display for Fault {
    /// What DataFusion quotes where it turns a fault into text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remedy {
            Some(remedy) => write!(f, "{}; {remedy}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for DataFusionError {
    /// Carries a fault through DataFusion's planner; `plan::fault` takes it out again.
    fn from(fault: Fault) -> Self {
        DataFusionError::External(Box::new(fault))
    }
}
