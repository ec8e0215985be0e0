//! The source half of a task: a reader, the event time of its splits, and what a barrier does to them. Called by the task's loop.
//!
//! Invariants
//! - R1 an assignment takes effect between two barriers, never inside a walk.
//! - R2 an exhausted source stays: it sends end of data once and keeps sending barriers until the last one.
//! - R3 after `epoch_bytes` a source in a job with epochs reads no more before the next barrier.

use crate::batch::Batch;
use crate::chain::Link;
use crate::clock::{Deadline, Moment};
use crate::driver::DriverEvent;
use crate::error::Result;
use crate::inbox::{Assigned, Inbox};
use crate::message::{Barrier, Last};
use crate::metrics::NodeMetrics;
use crate::report::Report;
use crate::source::{Poll, Position, SourceReader, Split, SplitId, WatermarkStrategy};
use crate::split::{SplitState, SplitTimes};
use crate::time::{EventTime, Watermark};
use crossbeam_channel::Sender;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct SourceTask {
    parts: SourceParts,
    pub mark: Watermark,
    pub ended: bool,
    state: Reading,
    no_more: bool,
    read_bytes: u64,
    full: bool,
    last_mark: Moment,
}

/// What the reader has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Nothing was assigned yet.
    Unassigned,
    /// There are splits to read.
    Open,
    /// All assigned splits are read; others may come.
    Drained,
    /// All splits are read and no other will come.
    Exhausted,
}

/// What a step of the source gave.
pub(crate) enum SourceStep {
    Rows {
        split: SplitId,
        batch: Batch,
        rejected: Option<Batch>,
    },
    /// Something changed; ask again.
    Again,
    /// Nothing to do before a message or the deadline.
    Rest {
        until: Option<Deadline>,
    },
}

/// What a source task is made of.
pub(crate) struct SourceParts {
    pub id: String,
    pub index: usize,
    pub subtask: u32,
    pub reader: Box<dyn SourceReader>,
    pub strategy: Option<Box<dyn WatermarkStrategy>>,
    pub links: Vec<Link>,
    pub metrics: Arc<NodeMetrics>,
    pub times: SplitTimes,
    pub batch_rows: usize,
    pub watermark_interval: Duration,
    /// Most bytes read between two barriers of a job with epochs.
    pub epoch_bytes: u64,
    /// Watermarks of restored splits, taken when they are assigned.
    pub restored: HashMap<String, EventTime>,
}

impl SourceTask {
    pub fn new(parts: SourceParts) -> SourceTask {
        SourceTask {
            parts,
            mark: Watermark::START,
            ended: false,
            state: Reading::Unassigned,
            no_more: false,
            read_bytes: 0,
            full: false,
            last_mark: Duration::ZERO,
        }
    }

    pub fn links(&self) -> &[Link] {
        &self.parts.links
    }

    /// The clock of idleness: it stands still while the task waits for credit or a busy sink.
    pub fn unblocked_now(inbox: &Inbox) -> Moment {
        inbox.clock.now().saturating_sub(inbox.backpressured)
    }

    pub fn take_assignments(&mut self, inbox: &mut Inbox) -> Result<()> {
        while let Some(Assigned { splits, no_more }) = inbox.assigned.pop_front() {
            let now = Self::unblocked_now(inbox);
            for (split, _) in &splits {
                let watermark = self.parts.restored.remove(&split.id).unwrap_or(EventTime::MIN);
                self.parts.times.assign(split.id.as_str().into(), watermark, now);
            }
            self.no_more |= no_more;
            self.assign(splits)?;
        }
        while let Some(positions) = inbox.completed.pop_front() {
            self.parts.reader.on_checkpoint_complete(&positions)?;
        }
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        if splits.is_empty() && !self.no_more {
            self.parts.times.nothing_yet();
            return Ok(());
        }
        self.state = Reading::Open;
        if splits.is_empty() { Ok(()) } else { self.parts.reader.assign(splits) }
    }

    /// What this barrier's walk starts with: the watermark, and whether the source has ended.
    pub fn at_barrier(&mut self, barrier: Barrier, inbox: &Inbox) -> (Watermark, bool) {
        self.read_bytes = 0;
        self.full = false;
        let end = self.state == Reading::Exhausted && barrier.last != Some(Last::Stop) || self.ended;
        let end = end || barrier.last == Some(Last::Drain);
        if end {
            self.mark = Watermark { time: EventTime::MAX, idle: false };
        } else if barrier.last != Some(Last::Stop) {
            self.mark = self.parts.times.now(Self::unblocked_now(inbox));
        }
        (self.mark, end)
    }

    /// Append-only jobs: the watermark, if it is news and its interval has passed or the source is about to rest.
    pub fn due_mark(&mut self, inbox: &Inbox, resting: bool) -> Option<Watermark> {
        let now = inbox.clock.now();
        if self.ended || (!resting && now.saturating_sub(self.last_mark) < self.parts.watermark_interval) {
            return None;
        }
        self.last_mark = now;
        let mark = self.parts.times.now(Self::unblocked_now(inbox));
        if mark == self.mark {
            return None;
        }
        self.mark = mark;
        Some(mark)
    }

    /// A batch is out: its split stands at `watermark`, if it has one.
    pub fn read(&mut self, split: &SplitId, watermark: Option<EventTime>, inbox: &Inbox) {
        let now = Self::unblocked_now(inbox);
        self.parts.times.observe(split, watermark, now);
    }

    /// The highest watermark of a batch.
    pub fn observe(&mut self, batch: &Batch) -> Result<Option<EventTime>> {
        match &mut self.parts.strategy {
            Some(s) if !batch.is_empty() => s.observe(batch),
            _ => Ok(None),
        }
    }

    pub fn poll(&mut self, ready: bool, inbox: &mut Inbox, reports: &Sender<DriverEvent>) -> Result<SourceStep> {
        if self.state != Reading::Open || !ready || self.full {
            return Ok(SourceStep::Rest { until: self.next_idle(ready, inbox) });
        }
        match self.parts.reader.poll(self.parts.batch_rows)? {
            Poll::Batch { split, batch, rejected } => {
                self.parts.metrics.rows_in.add(batch.num_rows() as u64);
                self.parts.metrics.rows_out.add(batch.num_rows() as u64);
                self.parts.metrics.batches_in.add(1);
                self.read_bytes += batch.bytes() as u64;
                if self.read_bytes >= self.parts.epoch_bytes && !self.full {
                    self.full = true;
                    let _ = reports.send(Report::Full.into());
                }
                Ok(SourceStep::Rows { split, batch, rejected })
            }
            Poll::SplitFinished(split) => {
                self.parts.times.finish(&split);
                Ok(SourceStep::Again)
            }
            Poll::Idle { until } => {
                let until = [until, self.next_idle(ready, inbox)].into_iter().flatten().min();
                Ok(SourceStep::Rest { until })
            }
            Poll::Finished => {
                self.state = if self.no_more { Reading::Exhausted } else { Reading::Drained };
                // The coordinator is gone only when the job is.
                let report = match self.state {
                    Reading::Exhausted => Report::Exhausted { task: self.parts.index, subtask: self.parts.subtask },
                    _ => Report::Drained { source: self.parts.id.clone(), subtask: self.parts.subtask },
                };
                let _ = reports.send(report.into());
                Ok(SourceStep::Again)
            }
        }
    }

    /// When to look for idle splits again, on the real clock. Not while blocked: the idle clock stands still.
    fn next_idle(&self, ready: bool, inbox: &Inbox) -> Option<Deadline> {
        if !ready || self.state != Reading::Open {
            return None;
        }
        let at = self.parts.times.next_idle(Self::unblocked_now(inbox))?;
        Some(at + inbox.backpressured)
    }

    pub fn snapshot(&self) -> Vec<(SplitId, SplitState)> {
        self.parts.times.snapshot(self.parts.reader.positions())
    }
}
