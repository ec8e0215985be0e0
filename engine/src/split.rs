//! Event time inside a source: one watermark per split, their minimum for the subtask. Pure; called by the source's task.
//!
//! Invariants
//! - P1 the minimum never goes back.
//! - P2 a split without rows holds MIN; a finished one leaves the minimum; a subtask without splits holds what it had.
//! - P3 a split is idle after `idle_after` without rows on a clock that stands still while the task is backpressured; splits of
//!   bounded sources are never idle.

use crate::clock::{Deadline, Moment};
use crate::source::{Position, SplitId};
use crate::time::{EventTime, Watermark};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One split in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitState {
    /// Where reading goes on.
    pub position: Position,
    /// How far event time had come in it.
    pub watermark: EventTime,
    /// It was read to its end.
    pub finished: bool,
}

#[derive(Debug)]
struct SplitTime {
    watermark: EventTime,
    last_rows: Moment,
    finished: bool,
}

/// The splits of one subtask.
#[derive(Debug)]
pub(crate) struct SplitTimes {
    splits: BTreeMap<SplitId, SplitTime>,
    idle_after: Option<Duration>,
    reached: EventTime,
    /// It was said that there is no split for now, and there may be later.
    waits: bool,
}

impl SplitTimes {
    /// `idle_after`: none for bounded sources.
    pub fn new(idle_after: Option<Duration>) -> SplitTimes {
        SplitTimes { splits: BTreeMap::new(), idle_after, reached: EventTime::MIN, waits: false }
    }

    /// A split was assigned.
    pub fn assign(&mut self, split: SplitId, watermark: EventTime, now: Moment) {
        self.splits.insert(split, SplitTime { watermark, last_rows: now, finished: false });
    }

    /// There is nothing to read for now: event time need not wait for this subtask.
    pub fn nothing_yet(&mut self) {
        self.waits = true;
    }

    /// Rows of a split came, with their highest watermark, if any. Taken after they were emitted.
    pub fn observe(&mut self, split: &SplitId, watermark: Option<EventTime>, now: Moment) {
        if let Some(s) = self.splits.get_mut(split) {
            s.last_rows = s.last_rows.max(now);
            s.watermark = s.watermark.max(watermark.unwrap_or(EventTime::MIN));
        }
    }

    /// A split was read to its end.
    pub fn finish(&mut self, split: &SplitId) {
        if let Some(s) = self.splits.get_mut(split) {
            s.finished = true;
        }
    }

    fn is_idle(&self, s: &SplitTime, now: Moment) -> bool {
        self.idle_after.is_some_and(|after| now.saturating_sub(s.last_rows) >= after)
    }

    /// The subtask's watermark; `now` on the clock that stands still under backpressure.
    pub fn now(&mut self, now: Moment) -> Watermark {
        let open = || self.splits.values().filter(|s| !s.finished);
        let low = open().filter(|s| !self.is_idle(s, now)).map(|s| s.watermark).min();
        let idle = low.is_none() && (open().next().is_some() || self.waits && self.splits.is_empty());
        self.reached = self.reached.max(low.unwrap_or(self.reached));
        Watermark { time: self.reached, idle }
    }

    /// When the next split becomes idle, if none speaks.
    pub fn next_idle(&self, now: Moment) -> Option<Deadline> {
        let after = self.idle_after?;
        let open = self.splits.values().filter(|s| !s.finished && !self.is_idle(s, now));
        open.map(|s| s.last_rows + after).min()
    }

    /// What a checkpoint says of these positions.
    pub fn snapshot(&self, positions: Vec<(SplitId, Position)>) -> Vec<(SplitId, SplitState)> {
        let state = |(id, position): (SplitId, Position)| {
            let (watermark, finished) = match self.splits.get(&id) {
                Some(s) => (s.watermark, s.finished),
                None => (EventTime::MIN, false),
            };
            (id, SplitState { position, watermark, finished })
        };
        positions.into_iter().map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn two(idle_after: Option<Duration>) -> (SplitTimes, SplitId, SplitId) {
        let (a, b): (SplitId, SplitId) = ("a".into(), "b".into());
        let mut s = SplitTimes::new(idle_after);
        s.assign(a.clone(), EventTime::MIN, MS(0));
        s.assign(b.clone(), EventTime::MIN, MS(0));
        (s, a, b)
    }

    #[test]
    fn a_subtask_that_has_nothing_to_read_yet_is_idle_until_it_has() {
        let mut times = SplitTimes::new(Some(Duration::from_secs(5)));
        let at = Duration::from_secs;
        assert_eq!(times.now(at(1)), Watermark { time: EventTime::MIN, idle: false }, "its splits are on their way");
        times.nothing_yet();
        assert_eq!(times.now(at(2)), Watermark { time: EventTime::MIN, idle: true });
        times.assign("a".into(), EventTime(7), at(3));
        assert_eq!(times.now(at(4)), Watermark { time: EventTime(7), idle: false });
        assert_eq!(times.now(at(9)), Watermark { time: EventTime(7), idle: true });
    }

    #[test]
    fn an_unread_split_holds_and_a_finished_one_leaves() {
        let (mut s, a, b) = two(None);
        s.observe(&a, Some(EventTime(10)), MS(1));
        assert_eq!(s.now(MS(9_999)).time, EventTime::MIN, "b was not read; bounded splits are never idle");
        s.observe(&b, Some(EventTime(5)), MS(1));
        assert_eq!(s.now(MS(2)).time, EventTime(5));
        s.finish(&b);
        assert_eq!(s.now(MS(2)).time, EventTime(10));
        s.finish(&a);
        assert_eq!(
            s.now(MS(2)),
            Watermark { time: EventTime(10), idle: false },
            "MAX travels with the end of data only"
        );
    }

    #[test]
    fn a_quiet_split_becomes_idle_and_comes_back_without_going_back() {
        let (mut s, a, b) = two(Some(MS(100)));
        s.observe(&a, Some(EventTime(10)), MS(90));
        assert_eq!(s.next_idle(MS(90)), Some(MS(100)));
        assert_eq!(s.now(MS(100)), Watermark { time: EventTime(10), idle: false }, "b is idle");
        assert_eq!(s.now(MS(190)), Watermark { time: EventTime(10), idle: true });
        s.observe(&b, Some(EventTime(3)), MS(200));
        assert_eq!(s.now(MS(200)), Watermark { time: EventTime(10), idle: false });
    }
}
