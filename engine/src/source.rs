//! Sources: who finds the units of reading (splits), who reads them, and who says how far event time has come in them.
//!
//! A [`SplitEnumerator`] per source runs beside the coordinator: `discover` does I/O, `step` decides. A [`SourceReader`] per
//! subtask runs in the task: it is assigned splits between two barriers and polled for batches, bounded in rows.
//!
//! Invariants
//! - S1 no batch of a reader mixes splits; the watermark is made per split, before any filter.
//! - S2 `positions` names every split ever assigned, also those never read and those that are quiet.
//! - S3 a position given to `assign` is where reading goes on: the first row not yet emitted.
//! - S4 a split of a bounded source that was not read yet holds the watermark at MIN; a finished one leaves the minimum.

use crate::batch::Batch;
use crate::clock::{Clock, Deadline};
use crate::error::Result;
use crate::message::Waker;
use crate::metrics::NodeMetrics;
use crate::operator::Subtask;
use crate::time::EventTime;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The stable name of a split, unique within its source: `orders-3`, a file's path.
pub type SplitId = Arc<str>;

/// A unit of reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Stable name.
    pub id: String,
    /// What the connector needs to read it (its bounded end, for instance), fixed when it was discovered.
    pub spec: serde_json::Value,
}

/// Where reading a split goes on; the connector's own form, readable in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub serde_json::Value);

/// What `discover` found.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    /// All splits known now, old ones included.
    pub splits: Vec<Split>,
    /// No other split will ever be found.
    pub complete: bool,
}

/// What an enumerator is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The job starts (or starts again, after `restore`) with this many readers, none of which has a split.
    Started {
        /// Number of readers.
        parallelism: u32,
        /// Splits that were read to their end before the restore.
        finished: Vec<String>,
    },
    /// `discover` answered.
    Discovered(Discovery),
    /// A reader has read all that it was given.
    Drained {
        /// The reader's subtask.
        subtask: u32,
    },
}

/// What an enumerator decides. It takes effect between two barriers.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The reader's subtask.
    pub subtask: u32,
    /// Splits to read in addition.
    pub splits: Vec<Split>,
    /// This reader will get no other split.
    pub no_more: bool,
}

/// Finds and assigns the splits of one source. Its state is part of every checkpoint.
pub trait SplitEnumerator: Send {
    /// Looks outside: partitions, files, their ends. Called off the tasks, once at the start unless the restored state is
    /// complete; may take seconds but must end. Errors: `user` (no such topic, no such folder) or `external`.
    fn discover(&mut self) -> Result<Discovery>;

    /// After how long to look outside again while the job runs, and whether to look when it is restored; `None`: what was found
    /// first is all there will be. What is found then comes as another [`Fact::Discovered`].
    fn look_again(&self) -> Option<Duration> {
        None
    }

    /// Takes a fact, returns assignments. Pure: no I/O, no clock.
    fn step(&mut self, fact: Fact) -> Vec<Assignment>;

    /// Its state: the splits known, with what was fixed about them.
    fn snapshot(&self) -> serde_json::Value;

    /// Takes state back, before the first fact. Errors: `user` if it belongs to something else.
    fn restore(&mut self, state: &serde_json::Value) -> Result<()>;
}

/// The answer of a poll.
#[derive(Debug)]
pub enum Poll {
    /// Rows of one split.
    Batch {
        /// The split, as assigned.
        split: SplitId,
        /// Its next rows.
        batch: Batch,
        /// Records of this split that could not be decoded and are to be kept, with [`rejected_schema`].
        rejected: Option<Batch>,
    },
    /// The split was read to its end; its last rows were given before.
    SplitFinished(SplitId),
    /// Nothing now: poll after a wake or at the deadline.
    Idle {
        /// When to poll at the latest.
        until: Option<Deadline>,
    },
    /// All assigned splits are finished. Asked again only after another assignment.
    Finished,
}

/// Given to a reader's `open`.
#[derive(Clone)]
pub struct ReaderContext {
    /// Which reader of how many.
    pub subtask: Subtask,
    /// Tells the task to poll again, from any thread.
    pub waker: Waker,
    /// The clocks of the job.
    pub clock: Clock,
    /// The source's counters: skipped records, lag.
    pub metrics: Arc<NodeMetrics>,
}

/// Reads the splits of one subtask. All calls come from one thread; none may block.
pub trait SourceReader: Send {
    /// Called once, before the first assignment.
    fn open(&mut self, ctx: &ReaderContext) -> Result<()>;

    /// More splits to read; a position is there after a restore.
    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()>;

    /// The next rows: at most `max_rows`, after a bounded time.
    fn poll(&mut self, max_rows: usize) -> Result<Poll>;

    /// Where every split ever assigned stands, after the last batch given.
    fn positions(&self) -> Vec<(SplitId, Position)>;

    /// A checkpoint that covers these positions is complete (for offsets shown to lag tools); advisory.
    fn on_checkpoint_complete(&mut self, positions: &[(SplitId, Position)]) -> Result<()> {
        let _ = positions;
        Ok(())
    }
}

/// A source as the planner puts it into the graph: what it gives, and how its parts are made. Creating it does no I/O.
pub trait SourceFactory: Send + Sync {
    /// The columns that the readers give, already pruned.
    fn schema(&self) -> SchemaRef;

    /// Whether it ends by itself. Splits of an unbounded source may become idle, those of a bounded one never do.
    fn bounded(&self) -> bool;

    /// The source's enumerator.
    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>>;

    /// A reader.
    fn reader(&self) -> Result<Box<dyn SourceReader>>;
}

/// Says how far event time has come: evaluated on every batch of a split, before any filter.
pub trait WatermarkStrategy: Send {
    /// The highest watermark that this batch's rows justify; `None` if no row has an event time.
    fn observe(&mut self, batch: &Batch) -> Result<Option<EventTime>>;
}

/// Makes the watermark strategy of one subtask.
pub type WatermarkFactory = Arc<dyn Fn() -> Result<Box<dyn WatermarkStrategy>> + Send + Sync>;

/// The columns of [`OutPort::REJECTED`](crate::operator::OutPort::REJECTED) of a source.
pub fn rejected_schema() -> SchemaRef {
    use arrow::datatypes::{DataType, Field, Schema};
    Arc::new(Schema::new(vec![
        Field::new("source", DataType::Utf8, false),
        Field::new("position", DataType::Utf8, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("raw", DataType::Binary, true),
    ]))
}
