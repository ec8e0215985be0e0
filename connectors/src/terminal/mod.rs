//! Standard output as a sink: what a bare SELECT and the tables of the `print` connector write to. The command line makes one
//! [`Terminal`] per process, so that rows of several sinks never interleave within a line.
//!
//! Tasks hand over lines and go on; a thread of its own writes them, so that a slow reader slows its job by `Busy` and never
//! blocks a task.
//!
//! Invariants
//! - O1 at most [`QUEUE_BYTES`] and one chunk per sink wait to be written.
//! - O2 a barrier passes a sink only when everything that it wrote before has been written.
//! - O3 a reader that has gone (`| head`) is no error: what follows is dropped, and [`Terminal::closed`] says so.

mod changes;
mod queue;
mod text;

use crate::rows::json_lines;
use arrow::datatypes::SchemaRef;
use queue::Queue;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use thalweg_engine::error::{Error, Result};
use thalweg_engine::sink::{Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written};
use thalweg_engine::{Batch, StreamKind};

pub(crate) use text::Table;

pub use queue::QUEUE_BYTES;

/// How rows look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// Padded columns under a line of names.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where rows for people go.
#[derive(Clone)]
pub struct Terminal {
    queue: Queue,
    format: RowFormat,
}

impl Terminal {
    /// A terminal that writes to `out`, from a thread that is started with the first sink. `erase` is written before rows: what
    /// takes a progress line away that stands on the same screen.
    pub fn new(out: impl Write + Send + 'static, format: RowFormat, erase: &'static str) -> Terminal {
        Terminal { queue: Queue::new(Box::new(out), erase), format }
    }

    /// Standard output.
    pub fn stdout(format: RowFormat, erase: &'static str) -> Terminal {
        Terminal::new(std::io::stdout(), format, erase)
    }

    /// Whether nobody reads any more.
    pub fn closed(&self) -> bool {
        self.queue.closed()
    }

    /// A sink for rows of this schema; `prefix` starts every line of text. Rows of a changelog are marked by `+` and `-`, in JSON by
    /// their `$weight`, and shown epoch by epoch.
    pub fn sink(&self, schema: SchemaRef, kind: StreamKind, prefix: Option<String>) -> Arc<dyn SinkFactory> {
        if kind == StreamKind::Changelog {
            return Arc::new(changes::ChangeSink::new(self, &schema, prefix));
        }
        let header = match self.format {
            RowFormat::Text => Some(Table::new(&schema, prefix.clone()).header()),
            RowFormat::Json => None,
        };
        Arc::new(TerminalSink { terminal: self.clone(), schema, prefix, header: Arc::new(Mutex::new(header)) })
    }
}

struct TerminalSink {
    terminal: Terminal,
    schema: SchemaRef,
    prefix: Option<String>,
    /// The line of names, until the first subtask has written it.
    header: Arc<Mutex<Option<String>>>,
}

impl SinkFactory for TerminalSink {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Lines {
            queue: self.terminal.queue.clone(),
            format: self.terminal.format,
            table: Table::new(&self.schema, self.prefix.clone()),
            header: self.header.clone(),
            waiting: None,
            last: 0,
            waker: None,
        }))
    }
}

/// One subtask.
struct Lines {
    queue: Queue,
    format: RowFormat,
    table: Table,
    header: Arc<Mutex<Option<String>>>,
    /// Lines that found the queue full.
    waiting: Option<Vec<u8>>,
    /// The number of the last chunk that was handed over.
    last: u64,
    waker: Option<thalweg_engine::Waker>,
}

impl Lines {
    fn encode(&mut self, batch: &Batch) -> Result<Vec<u8>> {
        match self.format {
            RowFormat::Text => self.table.rows(batch.columns()),
            RowFormat::Json => json_lines(batch.columns()),
        }
    }

    /// Hands over what waits; `Busy` if there is no room yet, and then the waker comes.
    fn hand_over(&mut self) -> Result<Written> {
        let (Some(lines), Some(waker)) = (self.waiting.take(), &self.waker) else { return Ok(Written::Done) };
        match self.queue.push(lines, waker)? {
            Ok(number) => {
                self.last = number;
                Ok(Written::Done)
            }
            Err(lines) => {
                self.waiting = Some(lines);
                Ok(Written::Busy)
            }
        }
    }
}

impl Sink for Lines {
    fn open(&mut self, ctx: &mut SinkOpen<'_>) -> Result<Release> {
        self.queue.start()?;
        self.waker = Some(ctx.waker.clone());
        // Kept locked while the header is handed over: no other subtask can be first with a row.
        let mut header = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = header.take() {
            self.queue.force(line.into_bytes())?;
        }
        Ok(Release::Batch)
    }

    fn write(&mut self, batch: Batch, _ctx: &mut SinkContext<'_>) -> Result<Written> {
        if batch.weights().is_some() {
            return Err(Error::internal("print updates: only appended rows can be shown"));
        }
        let mut lines = self.encode(&batch)?;
        if let Some(mut before) = self.waiting.take() {
            before.append(&mut lines);
            lines = before;
        }
        self.waiting = Some(lines);
        self.hand_over()
    }

    fn on_wake(&mut self, _ctx: &mut SinkContext<'_>) -> Result<Written> {
        self.hand_over()
    }

    fn prepare(&mut self, _id: u64, _last: bool, _ctx: &mut SinkContext<'_>) -> Result<Prepare> {
        if self.hand_over()? == Written::Busy {
            return Ok(Prepare::Pending);
        }
        let Some(waker) = &self.waker else { return Ok(Prepare::Done(Prepared::default())) };
        if self.queue.written(self.last, waker)? {
            Ok(Prepare::Done(Prepared::default()))
        } else {
            Ok(Prepare::Pending)
        }
    }
}

#[cfg(test)]
mod tests;
