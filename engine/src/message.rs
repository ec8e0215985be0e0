//! What travels between tasks. *In-band* messages are FIFO per edge; *out-of-band* ones overtake them.

use crate::batch::Batch;
use crate::source::{Position, Split, SplitId};
use crate::time::Watermark;
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a job comes to its last barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Last {
    /// The last barrier repeats the previous watermark: open windows stay in the state.
    Stop,
    /// Event time goes to its end first: open windows fire.
    Drain,
}

/// The end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The number of the epoch that it ends; dense within a run.
    pub epoch: u64,
    /// Whether a snapshot is taken.
    pub checkpoint: bool,
    /// No barrier follows.
    pub last: Option<Last>,
}

/// A message that keeps its place among the rows of its edge.
#[derive(Clone, Debug)]
pub enum InBand {
    /// Rows.
    Batch(Batch),
    /// Event time.
    Watermark(Watermark),
    /// No rows will come any more; the edge leaves the frontier's minimum.
    End,
    /// The end of an epoch.
    Barrier(Barrier),
}

/// Everything that an inbox takes.
#[derive(Debug)]
pub enum Message {
    /// From an upstream subtask; `edge` counts the receiver's incoming channels.
    InBand {
        /// Index of the receiver's incoming channel.
        edge: u32,
        /// What came.
        item: InBand,
    },
    /// A downstream subtask has processed so many bytes.
    Credit {
        /// Index of the sender's outgoing edge.
        out: u32,
        /// Index of the channel in that edge.
        channel: u32,
        /// Bytes given back.
        bytes: u64,
    },
    /// An operator or reader of this task asked to be called.
    Wake(WakeTarget),
    /// Sources: end the epoch.
    Trigger(Barrier),
    /// Sources: splits to read in addition.
    Assign {
        /// Splits with the position to go on from.
        splits: Vec<(Split, Option<Position>)>,
        /// No other split will come.
        no_more: bool,
    },
    /// Sources: a checkpoint that covers these positions is complete.
    CheckpointComplete(Vec<(SplitId, Position)>),
    /// The next snapshot is a full one.
    RestartChains,
    /// Say what the task's queues and credits look like.
    Describe(Sender<String>),
    /// Drop everything.
    Cancel,
}

/// Who is woken in a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeTarget {
    /// The source's reader.
    Reader,
    /// The operator at this place of the chain.
    Node(usize),
}

/// Wakes one operator, sink or reader of one task, from any thread. Wakes are coalesced: at most one is on its way.
#[derive(Clone, Debug)]
pub struct Waker {
    inner: Arc<WakerInner>,
}

#[derive(Debug)]
struct WakerInner {
    to: Option<Sender<Message>>,
    target: WakeTarget,
    on_its_way: AtomicBool,
}

impl Waker {
    pub(crate) fn new(to: Sender<Message>, target: WakeTarget) -> Waker {
        Waker { inner: Arc::new(WakerInner { to: Some(to), target, on_its_way: AtomicBool::new(false) }) }
    }

    /// Wakes nobody: for tests that poll.
    pub fn noop() -> Waker {
        let inner = WakerInner { to: None, target: WakeTarget::Reader, on_its_way: AtomicBool::new(false) };
        Waker { inner: Arc::new(inner) }
    }

    /// Asks for a call. Never blocks; does nothing once the task is gone.
    pub fn wake(&self) {
        let already = self.inner.on_its_way.swap(true, Ordering::AcqRel);
        if let Some(to) = &self.inner.to
            && !already
        {
            // A send fails only when the task is gone, and then nobody needs the wake.
            let _ = to.send(Message::Wake(self.inner.target));
        }
    }

    /// Whether a wake was asked for since the last call to this; what tests without a task use.
    pub fn take(&self) -> bool {
        self.inner.on_its_way.swap(false, Ordering::AcqRel)
    }

    /// The task has received the wake: the next one is sent again. Called before the operator is, so none is lost.
    pub(crate) fn received(&self) {
        self.inner.on_its_way.store(false, Ordering::Release);
    }
}
