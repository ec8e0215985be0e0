//! Standard error: progress that overwrites itself on a terminal, plain lines elsewhere, JSON on request. Called by every
//! command; rows never pass here.
//!
//! Invariants
//! - C1 a message never lands behind an unfinished progress line.
//! - C2 a closed standard error is no reason to fail.

use crate::cli::exit::Exit;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use thalweg::engine::{Error, ErrorKind};
use thalweg::sql::Position;

/// Takes a progress line away: back to the first column, and nothing right of it.
pub(crate) const ERASE: &str = "\r\x1b[K";
/// Lines that are too long are cut by the terminal, not wrapped: a wrapped line could not be erased.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// Where progress, summaries and errors go.
#[derive(Debug)]
pub(crate) struct Console {
    json: bool,
    live: bool,
    shown: bool,
}

impl Console {
    /// Standard error as it is; `json` makes every message one JSON object a line.
    pub(crate) fn new(json: bool) -> Console {
        let live = !json && std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|t| t != "dumb");
        Console { json, live, shown: false }
    }

    /// Whether messages are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether progress overwrites itself.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Shows how the job is doing.
    pub(crate) fn progress(&mut self, line: &str, json: impl FnOnce() -> Value) {
        if self.json {
            write(&format!("{}\n", json()));
        } else if self.live {
            write(&format!("{ERASE}{NO_WRAP}{line}{WRAP}"));
            self.shown = true;
        } else {
            write(&format!("{line}\n"));
        }
    }

    /// Takes the progress line away; rows that share the terminal come next.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            write(ERASE);
        }
    }

    /// Says something.
    pub(crate) fn message(&mut self, text: &str, json: impl FnOnce() -> Value) {
        self.clear();
        if self.json { write(&format!("{}\n", json())) } else { write(&format!("{text}\n")) }
    }

    /// Says why the command ends.
    pub(crate) fn error(&mut self, failure: &Failure) {
        let place = failure.place.as_ref();
        let before = place.map_or_else(String::new, |p| format!("{}:{}:{}: ", p.file, p.line, p.column));
        self.message(&format!("error: {before}{}", failure.text), || {
            let mut out = json!({ "type": "error", "status": failure.exit.status(), "message": failure.text });
            if let Some(p) = place {
                out["file"] = json!(p.file);
                out["line"] = json!(p.line);
                out["column"] = json!(p.column);
            }
            out
        });
    }
}

/// Why a command ends without success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) text: String,
    /// Where in a text, as editors and terminals can follow it.
    pub(crate) place: Option<Place>,
}

/// A place in a text, from line 1 and column 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Failure {
    /// Nothing was started.
    pub(crate) fn refused(text: impl Into<String>) -> Failure {
        Failure { exit: Exit::Refused, text: text.into(), place: None }
    }

    /// Something failed while it ran.
    pub(crate) fn failed(text: impl Into<String>) -> Failure {
        Failure { exit: Exit::Failed, text: text.into(), place: None }
    }

    /// The same, at a place of a file.
    pub(crate) fn at(self, file: &str, position: Option<Position>) -> Failure {
        match position {
            None => Failure { text: format!("{file}: {}", self.text), ..self },
            Some(p) => Failure { place: Some(Place { file: file.to_owned(), line: p.line, column: p.column }), ..self },
        }
    }

    /// What the engine says before anything runs: a mistake of the user is refused.
    pub(crate) fn of(e: &Error) -> Failure {
        match e.kind() {
            ErrorKind::User => Failure::refused(e.message()),
            _ => Failure::failed(e.message()),
        }
    }
}

fn write(text: &str) {
    // Whoever closed standard error does not want to read this.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
