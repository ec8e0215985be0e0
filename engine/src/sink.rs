//! Sinks: where rows leave the engine, and when others may see them.
//!
//! A [`Sink`] per subtask runs in the task, as the last operator of a chain. What it has written becomes visible at its *release*
//! grain: with every batch, or when a barrier has been prepared by all subtasks and the job's [`Committer`] has committed it.
//!
//! Invariants
//! - C1 `prepare` is called at every barrier of the release grain (for `Batch`: at every barrier, to push out what is in flight).
//! - C2 `commit(id)` comes after every subtask has prepared `id`, in the order of ids, on a thread of its own, and may come
//!   again after a crash: it is idempotent. A restore first commits what earlier barriers had prepared and nobody confirmed.
//! - C3 no call blocks; `Busy` means "accepted, feed no more until a wake".

use crate::batch::Batch;
use crate::checkpoint::archive::runs;
use crate::checkpoint::{Archive, Writer};
use crate::clock::{Clock, Deadline};
use crate::driver::DriverEvent;
use crate::error::Result;
use crate::message::Waker;
use crate::metrics::{NodeMetrics, Note};
use crate::operator::Subtask;
use crate::state::StateStore;
use crate::time::EventTime;
use crossbeam_channel::Sender;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// When written rows become visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// As they are written.
    Batch,
    /// All rows of an epoch at once, when all subtasks have it.
    Epoch,
    /// All rows of a checkpoint at once, when it is complete.
    Checkpoint,
}

/// The answer to `write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Go on.
    Done,
    /// Accepted; feed no more until the waker fired and [`Sink::on_wake`] answered `Done`.
    Busy,
}

/// What one subtask hands to the committer. All of it is part of every checkpoint until its commit is confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Versioned bytes of the sink's own form, at most 64 KiB.
    pub bytes: Vec<u8>,
    /// Rows that have left the job nowhere yet, in chunks of the sink's own form: stored beside the snapshots, once.
    pub rows: Vec<Arc<[u8]>>,
}

impl Prepared {
    /// Without rows.
    pub fn new(bytes: Vec<u8>) -> Prepared {
        Prepared { bytes, rows: vec![] }
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.rows.is_empty()
    }
}

/// The job that a sink belongs to.
#[derive(Clone, Debug, Default)]
pub struct JobInfo {
    /// The same in every run of the job; empty if it keeps no checkpoints.
    pub id: Arc<str>,
    /// The number of this run; checkpoints of earlier ones have lower numbers.
    pub generation: u32,
    /// Who ran each generation, this one included: a name that no other run has. Copies of a job's checkpoints may go on each for
    /// itself, and then have generations of the same number.
    pub runs: Arc<BTreeMap<u32, String>>,
    /// What a [`Committer`] says while it has to wait for the world outside; `None` again when it has done its work.
    pub trouble: Arc<Note>,
    /// The newest epoch that is complete, so that its commit may be asked for.
    complete: Arc<AtomicU64>,
    commands: Option<Sender<DriverEvent>>,
    /// Where its checkpoints are.
    archive: Option<Archive>,
}

impl JobInfo {
    /// A job that keeps checkpoints under this id.
    pub(crate) fn durable(writer: &Writer, commands: Sender<DriverEvent>) -> JobInfo {
        let (generation, runs) = (writer.generation(), Arc::new(writer.runs().clone()));
        let id = writer.job().into();
        let archive = Some(writer.archive().clone());
        JobInfo { id, generation, runs, commands: Some(commands), archive, ..JobInfo::default() }
    }

    /// A job that keeps checkpoints and hears no requests: for tests.
    pub fn detached(id: &str, generation: u32) -> JobInfo {
        let runs = (1..=generation).map(|g| (g, format!("{id}-{g}")));
        JobInfo { id: id.into(), generation, runs: Arc::new(runs.collect()), ..JobInfo::default() }
    }

    /// Who runs it now.
    pub fn run(&self) -> &str {
        self.runs.get(&self.generation).map_or("", String::as_str)
    }

    /// Whether checkpoints outlive the process, so that what waits for one is never lost.
    pub fn is_durable(&self) -> bool {
        !self.id.is_empty()
    }

    /// Looks whether this run still has the job: whoever is shut out of a sink asks before he shuts out others. Reads storage.
    /// Errors: `user` if a later run has taken over; what the storage says.
    pub fn check_owner(&self) -> Result<()> {
        let Some(archive) = &self.archive else { return Ok(()) };
        let newest = runs(&archive.sequence()?).into_keys().max();
        if newest.is_some_and(|newest| newest > self.generation) {
            Err(archive.taken_over(self.generation))
        } else {
            Ok(())
        }
    }

    /// Whether what was prepared at barrier `epoch` waits for its commit only, and for no storage.
    pub fn is_complete(&self, epoch: u64) -> bool {
        epoch <= self.complete.load(Ordering::Acquire)
    }

    /// All epochs up to this one are complete.
    pub fn completed(&self, epoch: u64) {
        self.complete.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Asks for a checkpoint soon: too much waits for the next.
    pub fn request_checkpoint(&self) {
        if let Some(commands) = &self.commands {
            // The coordinator is gone only when the job is.
            let _ = commands.send(DriverEvent::Checkpoint);
        }
    }
}

/// The answer to `prepare`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepare {
    /// Ready to be committed.
    Done(Prepared),
    /// Something is still in flight: ask again after a wake. The barrier waits.
    Pending,
}

/// Given to a sink's `open`.
pub struct SinkOpen<'a> {
    /// Where containers are declared; already restored when the declaration returns.
    pub state: &'a mut StateStore,
    /// The job.
    pub job: &'a JobInfo,
    /// Which instance of how many.
    pub subtask: Subtask,
    /// Wakes this sink from any thread.
    pub waker: Waker,
    /// The clocks of the job.
    pub clock: Clock,
    /// The sink's counters.
    pub metrics: Arc<NodeMetrics>,
}

/// Given to a sink's later calls.
pub struct SinkContext<'a> {
    /// The clocks of the job.
    pub clock: &'a Clock,
    /// How far event time has come at this sink.
    pub frontier: EventTime,
    /// Set by the sink to ask for `on_wake` at that time.
    pub wake_at: Option<Deadline>,
}

/// One parallel instance of a sink. All calls come from one thread; none may block on anything remote.
pub trait Sink: Send {
    /// Called once; declares state and answers the release grain.
    fn open(&mut self, ctx: &mut SinkOpen<'_>) -> Result<Release>;

    /// Takes rows.
    fn write(&mut self, batch: Batch, ctx: &mut SinkContext<'_>) -> Result<Written>;

    /// The waker or a deadline fired; may be spurious. `Busy` keeps the input closed.
    fn on_wake(&mut self, ctx: &mut SinkContext<'_>) -> Result<Written> {
        let _ = ctx;
        Ok(Written::Done)
    }

    /// Event time rose to `ctx.frontier`.
    fn on_frontier(&mut self, ctx: &mut SinkContext<'_>) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// A barrier: close what belongs to it. `last` says that no row will follow, ever.
    fn prepare(&mut self, id: u64, last: bool, ctx: &mut SinkContext<'_>) -> Result<Prepare>;
}

/// Makes prepared rows visible; one per sink and job, on a thread of its own.
pub trait Committer: Send {
    /// All subtasks' parts of `id`. Idempotent.
    fn commit(&mut self, id: u64, parts: &[Prepared]) -> Result<()>;

    /// After a restore from `id`, and after the commits of ids before it that were not confirmed: finishes its commit, and removes
    /// what was prepared after it. Idempotent. In a job that keeps checkpoints also at a start from the beginning, with 0 and
    /// nothing to finish: earlier runs may have left something.
    fn recover(&mut self, id: u64, parts: &[Prepared]) -> Result<()>;
}

/// A sink as the planner puts it into the graph. Creating it does no I/O.
pub trait SinkFactory: Send + Sync {
    /// A fresh instance for one subtask.
    fn sink(&self) -> Result<Box<dyn Sink>>;

    /// The job's committer; `None` for sinks that release per batch.
    fn committer(&self, job: &JobInfo) -> Result<Option<Box<dyn Committer>>> {
        let _ = job;
        Ok(None)
    }

    /// Looks outside before the first row: can it be written? Called once, off the tasks. Errors name the remedy.
    fn check(&self, job: &JobInfo) -> Result<()> {
        let _ = job;
        Ok(())
    }
}
