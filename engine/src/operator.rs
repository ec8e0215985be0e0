//! What an operator is, and what it is given. Operators see batches, the frontier and `flush`; barriers, alignment, snapshots
//! and watermark forwarding are the task's business (`task.rs`), state is the containers' (`state`).
//!
//! The life of one operator: `open` once; then, in any order that time and data dictate, `process`, `on_frontier`, `on_wake`;
//! before every barrier `on_frontier`, `on_end` for newly ended ports and `flush` until done.

use crate::batch::Batch;
use crate::chain::{Exits, Link, Node, deliver};
use crate::clock::{Clock, Deadline};
use crate::error::Result;
use crate::key::KeyGroupRange;
use crate::message::{Barrier, Waker};
use crate::metrics::NodeMetrics;
use crate::sink::Prepared;
use crate::state::StateStore;
use crate::time::EventTime;
use std::sync::Arc;

/// An input of an operator; an operator with one input has only port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Port(pub u8);

/// An output of an operator or a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct OutPort(pub u8);

impl OutPort {
    /// The result.
    pub const MAIN: OutPort = OutPort(0);
    /// Rows older than the frontier allows, as they came in.
    pub const LATE: OutPort = OutPort(1);
    /// Records that could not be decoded: source, position, reason, raw bytes.
    pub const REJECTED: OutPort = OutPort(2);
    /// The first port for an operator's own tags.
    pub const FIRST_TAG: u8 = 3;
}

/// The answer to `flush`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Everything that belongs before the barrier has been emitted.
    Done,
    /// Call again after a wake; the barrier waits.
    Pending,
}

/// One parallel instance of a streaming operator. All calls come from one thread.
pub trait Operator: Send {
    /// Declares state; it is already restored when the declaration returns.
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// Takes a batch in. Must accept everything, ready or not.
    fn process(&mut self, port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()>;

    /// The frontier rose to `now` (or is asked again, after a flush or a wake, while the answer was lower). Returns the watermark
    /// let through: at most `now`, never lower than before. Whatever it would make late is emitted first.
    fn on_frontier(&mut self, now: EventTime, ctx: &mut Context<'_>) -> Result<EventTime> {
        let _ = ctx;
        Ok(now)
    }

    /// A deadline passed or a [`Waker`] fired; may be spurious.
    fn on_wake(&mut self, ctx: &mut Context<'_>) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// Advisory: while false, the task feeds no rows into the chain; time and barriers still come.
    fn ready(&self) -> bool {
        true
    }

    /// A barrier is next: emit what is buffered.
    fn flush(&mut self, ctx: &mut Context<'_>) -> Result<Flush> {
        let _ = ctx;
        Ok(Flush::Done)
    }

    /// No more rows will come on `port`. Idempotent: it is called again after a restore.
    fn on_end(&mut self, port: Port, ctx: &mut Context<'_>) -> Result<()> {
        let _ = (port, ctx);
        Ok(())
    }
}

/// Makes the subtasks of one operator; the planner puts it into the graph.
pub trait OperatorFactory: Send + Sync {
    /// A fresh instance. Errors: `user` for expressions that cannot be compiled, else `internal`.
    fn operator(&self) -> Result<Box<dyn Operator>>;
}

impl<F: Fn() -> Result<Box<dyn Operator>> + Send + Sync> OperatorFactory for F {
    fn operator(&self) -> Result<Box<dyn Operator>> {
        self()
    }
}

/// Which instance of how many this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subtask {
    /// 0-based.
    pub index: u32,
    /// How many instances there are, 1..=256.
    pub parallelism: u32,
}

impl Subtask {
    /// The key groups whose rows and state come here.
    pub fn key_groups(self) -> KeyGroupRange {
        KeyGroupRange::of(self.index, self.parallelism)
    }
}

/// Given to `open`: state, identity, wake-ups.
pub struct Open<'a> {
    /// Where containers are declared.
    pub state: &'a mut StateStore,
    /// Which instance this is.
    pub subtask: Subtask,
    /// The clocks of the job.
    pub clock: &'a Clock,
    /// Wakes this operator from any thread.
    pub waker: Waker,
    /// The counters of this operator's subtask.
    pub metrics: Arc<NodeMetrics>,
}

/// Given to every later call. Borrows only the operators below this one, so a direct call down the tree needs no lock.
pub struct Context<'a> {
    pub(crate) links: &'a [Link],
    pub(crate) below: &'a mut [Node],
    /// Index of `below[0]` in the chain.
    pub(crate) base: usize,
    pub(crate) node: usize,
    pub(crate) metrics: &'a NodeMetrics,
    pub(crate) exits: &'a mut dyn Exits,
}

impl Context<'_> {
    /// Hands rows to everything that is connected to `port`. May wait for credit; fails with `Cancelled` at once on cancel.
    pub fn emit(&mut self, port: OutPort, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if port == OutPort::MAIN {
            self.metrics.rows_out.add(batch.num_rows() as u64);
        }
        deliver(self.links, port, batch, self.below, self.base, self.exits)
    }

    /// Counts rows as late and hands them to the late port, as they came in.
    pub fn emit_late(&mut self, batch: Batch) -> Result<()> {
        self.metrics.late_rows.add(batch.num_rows() as u64);
        self.emit(OutPort::LATE, batch)
    }

    /// Whether anything is connected to `port`.
    pub fn is_connected(&self, port: OutPort) -> bool {
        self.links.iter().any(|l| l.port == port)
    }

    /// The clocks of the job.
    pub fn clock(&self) -> &Clock {
        self.exits.clock()
    }

    /// Asks for `on_wake` at `deadline`. Deadlines are not state: ask again in `open` or later after a restore.
    pub fn wake_at(&mut self, deadline: Deadline) {
        self.exits.wake_at(self.node, deadline);
    }

    /// The number of the epoch that the next barrier will end.
    pub fn epoch(&self) -> u64 {
        self.exits.epoch()
    }

    /// The counters of this subtask.
    pub fn metrics(&self) -> &NodeMetrics {
        self.metrics
    }

    /// The barrier that is being walked; only a sink's adapter may know.
    pub(crate) fn barrier(&self) -> Option<Barrier> {
        self.exits.barrier()
    }

    pub(crate) fn put_prepared(&mut self, prepared: Prepared) {
        self.exits.put_prepared(self.node, prepared);
    }
}
