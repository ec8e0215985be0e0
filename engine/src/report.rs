//! What tasks tell the coordinator.

use crate::checkpoint::writer::Snapshot;
use crate::error::Error;
use crate::sink::Prepared;
use crate::source::SplitId;
use crate::split::SplitState;
use crate::state::FrozenState;
use crate::time::EventTime;
use std::time::Duration;

/// For how long a barrier has kept a task from its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pauses {
    /// Some inputs waited for the barrier of the others, and there was nothing else to do.
    pub aligned: Duration,
    /// The state was frozen.
    pub frozen: Duration,
}

impl Pauses {
    /// The longer ones.
    pub fn max(self, other: Pauses) -> Pauses {
        Pauses { aligned: self.aligned.max(other.aligned), frozen: self.frozen.max(other.frozen) }
    }
}

/// One task's part of a barrier.
pub(crate) struct Part {
    /// The task's index in the plan.
    pub task: usize,
    pub subtask: u32,
    pub epoch: u64,
    /// The gate's frontier; MIN for sources.
    pub frontier: EventTime,
    /// Where every split ever assigned stands.
    pub splits: Vec<(SplitId, SplitState)>,
    /// What sinks have prepared, by operator id.
    pub prepared: Vec<(String, Prepared)>,
    /// What changed in the state, by operator id; empty unless the barrier is a checkpoint.
    pub snapshots: Vec<(String, FrozenState)>,
    pub pauses: Pauses,
}

impl Part {
    /// What its operators froze.
    pub fn into_snapshots(self) -> impl Iterator<Item = Snapshot> {
        let subtask = self.subtask;
        self.snapshots.into_iter().map(move |(operator, frozen)| Snapshot { operator, subtask, frozen })
    }
}

/// A message to the coordinator.
pub(crate) enum Report {
    /// A barrier was forwarded.
    Done(Box<Part>),
    /// A reader has read all that it was given, and may be given more.
    Drained { source: String, subtask: u32 },
    /// A reader has read all that it will ever be given.
    Exhausted { task: usize, subtask: u32 },
    /// A source has read its bytes of this epoch.
    Full,
    /// A task's thread has ended.
    Exited { result: Result<(), Error> },
}
