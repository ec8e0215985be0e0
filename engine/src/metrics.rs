//! Counters of a running job, and what its subtasks have to say. Counters are written by one thread each with relaxed atomics,
//! once per batch or wait; a [`Note`] takes a lock and changes rarely. Read by anybody.

use crate::checkpoint::CheckpointId;
use crate::state::SpillArea;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A number that only grows; one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug)]
pub struct Gauge(AtomicI64);

impl Gauge {
    fn new(value: i64) -> Gauge {
        Gauge(AtomicI64::new(value))
    }

    /// Sets the value.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a subtask says about itself at this moment, in words; mostly nothing.
#[derive(Debug, Default)]
pub struct Note(Mutex<Option<Arc<str>>>);

impl Note {
    /// Replaces the text; `None` = nothing to say.
    pub fn set(&self, text: Option<Arc<str>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// The text now.
    pub fn get(&self) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The counters of one operator's subtask.
#[derive(Debug)]
pub struct NodeMetrics {
    /// Rows taken in (a source: rows read).
    pub rows_in: Counter,
    /// Rows emitted on the main output (a sink: rows written).
    pub rows_out: Counter,
    /// Batches taken in.
    pub batches_in: Counter,
    /// Bytes taken in (a source: bytes read, as its reader counts them).
    pub bytes_in: Counter,
    /// Rows that were too late for every window.
    pub late_rows: Counter,
    /// Records that could not be decoded and were skipped or rejected.
    pub bad_records: Counter,
    /// Bytes of state.
    pub state_bytes: Gauge,
    /// How far behind the end of its input a reader is, in records; -1 = unknown.
    pub lag: Gauge,
    /// Rows that a sink has taken and its system has not acknowledged.
    pub unacknowledged: Gauge,
    /// The system that a source or sink talks to, as its options name it: broker addresses.
    pub peer: Note,
    /// Why the subtask cannot do its work right now, while it goes on trying: brokers that cannot be reached.
    pub trouble: Note,
}

impl Default for NodeMetrics {
    fn default() -> Self {
        NodeMetrics {
            rows_in: Counter::default(),
            rows_out: Counter::default(),
            batches_in: Counter::default(),
            bytes_in: Counter::default(),
            late_rows: Counter::default(),
            bad_records: Counter::default(),
            state_bytes: Gauge::new(0),
            lag: Gauge::new(-1),
            unacknowledged: Gauge::new(0),
            peer: Note::default(),
            trouble: Note::default(),
        }
    }
}

/// The counters of one task: where its time goes, in nanoseconds; the four parts and the rest (busy) make up its life.
#[derive(Debug)]
pub struct TaskMetrics {
    /// Waiting for input with nothing to do.
    pub idle_ns: Counter,
    /// Waiting for credit, or for a sink that is busy.
    pub backpressured_ns: Counter,
    /// Waiting with some inputs blocked by a barrier.
    pub aligning_ns: Counter,
    /// The task's start, in nanoseconds of the job's clock.
    pub started_ns: Gauge,
    /// The watermark, in event time milliseconds; `i64::MIN` = none.
    pub watermark_ms: Gauge,
    /// Bytes sent and not yet processed by the receivers.
    pub in_flight_bytes: Gauge,
    /// The most that `in_flight_bytes` ever was.
    pub in_flight_peak_bytes: Gauge,
}

impl Default for TaskMetrics {
    fn default() -> Self {
        TaskMetrics {
            idle_ns: Counter::default(),
            backpressured_ns: Counter::default(),
            aligning_ns: Counter::default(),
            started_ns: Gauge::new(0),
            watermark_ms: Gauge::new(i64::MIN),
            in_flight_bytes: Gauge::new(0),
            in_flight_peak_bytes: Gauge::new(0),
        }
    }
}

/// One operator's subtask in the registry.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// The operator's id.
    pub id: String,
    /// The operator's label.
    pub label: String,
    /// What it is.
    pub role: Role,
    /// 0-based.
    pub subtask: u32,
    /// Its counters.
    pub metrics: Arc<NodeMetrics>,
}

/// What kind of node counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Source,
    /// Computes.
    Operator,
    /// Writes.
    Sink,
}

/// One task in the registry.
#[derive(Clone, Debug)]
pub struct TaskEntry {
    /// `label/subtask`.
    pub name: String,
    /// Its counters.
    pub metrics: Arc<TaskMetrics>,
}

/// A checkpoint that was made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LastCheckpoint {
    /// Which.
    pub id: CheckpointId,
    /// When it was complete, in milliseconds since 1970.
    pub at_ms: i64,
    /// From its trigger until then.
    pub duration_ms: u64,
    /// For how long the barrier of one input has kept a task waiting for those of others, at most.
    pub align_ms: u64,
    /// For how long a task's state was frozen, at most.
    pub freeze_us: u64,
    /// Bytes written for it.
    pub written_bytes: u64,
    /// Bytes that a restore of it reads.
    pub state_bytes: u64,
}

/// The durable checkpoints of one execution.
#[derive(Debug, Default)]
pub struct CheckpointMetrics {
    /// How many were completed.
    pub completed: Counter,
    /// How many failed.
    pub failed: Counter,
    /// Why the one taken last failed, if it did.
    pub trouble: Note,
    /// Why what is not needed any more cannot be removed.
    pub unswept: Note,
    /// What keeps a sink from showing what a checkpoint has made ready.
    pub uncommitted: Arc<Note>,
    last: Mutex<Option<LastCheckpoint>>,
}

impl CheckpointMetrics {
    pub(crate) fn new(uncommitted: Arc<Note>) -> CheckpointMetrics {
        let (completed, failed) = (Counter::default(), Counter::default());
        let (trouble, unswept, last) = (Note::default(), Note::default(), Mutex::default());
        CheckpointMetrics { completed, failed, trouble, unswept, uncommitted, last }
    }

    /// The last one that was completed.
    pub fn last(&self) -> Option<LastCheckpoint> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn complete(&self, last: LastCheckpoint) {
        self.completed.add(1);
        self.trouble.set(None);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}

/// All counters of one job's execution, fixed when it starts.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// One entry per operator and subtask.
    pub nodes: Vec<NodeEntry>,
    /// One entry per task.
    pub tasks: Vec<TaskEntry>,
    /// Durable checkpoints.
    pub checkpoints: Arc<CheckpointMetrics>,
    /// State that is not in memory.
    pub spill: Option<Arc<SpillArea>>,
}

/// Sums over a job at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
pub struct Totals {
    /// Rows read by all sources.
    pub rows_in: u64,
    /// Bytes read by all sources.
    pub bytes_in: u64,
    /// Rows written by all sinks.
    pub rows_out: u64,
    /// Late rows of all operators.
    pub late_rows: u64,
    /// Undecodable records of all sources.
    pub bad_records: u64,
    /// Bytes of state in memory.
    pub state_bytes: u64,
    /// Bytes of state on local disk.
    pub state_disk_bytes: u64,
    /// Bytes of state that were ever written there.
    pub spilled_bytes: u64,
    /// The lowest watermark of all tasks that have one, in milliseconds.
    pub watermark_ms: Option<i64>,
    /// Records behind, over all sources that know it.
    pub lag: Option<u64>,
    /// Milliseconds that tasks waited with inputs blocked by a barrier, over all tasks.
    pub aligning_ms: u64,
    /// The last durable checkpoint.
    pub checkpoint: Option<LastCheckpoint>,
    /// Durable checkpoints that failed.
    pub failed_checkpoints: u64,
}

impl Registry {
    /// Adds everything up.
    pub fn totals(&self) -> Totals {
        let mut t = Totals::default();
        for n in &self.nodes {
            let m = &n.metrics;
            match n.role {
                Role::Source => {
                    t.rows_in += m.rows_in.get();
                    t.bytes_in += m.bytes_in.get();
                }
                Role::Sink => t.rows_out += m.rows_in.get(),
                Role::Operator => {}
            }
            t.late_rows += m.late_rows.get();
            t.bad_records += m.bad_records.get();
            t.state_bytes += u64::try_from(m.state_bytes.get()).unwrap_or(0);
            if let Ok(lag) = u64::try_from(m.lag.get()) {
                t.lag = Some(t.lag.unwrap_or(0) + lag);
            }
        }
        let known = self.tasks.iter().map(|t| t.metrics.watermark_ms.get()).filter(|w| *w > i64::MIN && *w < i64::MAX);
        t.watermark_ms = known.min();
        t.aligning_ms = self.tasks.iter().map(|t| t.metrics.aligning_ns.get()).sum::<u64>() / 1_000_000;
        t.checkpoint = self.checkpoints.last();
        if let Some(area) = &self.spill {
            (t.state_disk_bytes, t.spilled_bytes) = (area.bytes(), area.written_bytes());
        }
        t.failed_checkpoints = self.checkpoints.failed.get();
        t
    }
}

/// Nanoseconds of a duration, as counters take them.
pub(crate) fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
