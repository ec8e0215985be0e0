//! The coordinator's decisions: when an epoch ends, when a barrier is complete, how a job ends. Pure: it is told what happened
//! and the time, and answers what to do; `job.rs` does it.
//!
//! Invariants
//! - D1 epochs are numbered densely; at most `max_in_flight` are open, and a trigger that comes too early is skipped.
//! - D2 after the last barrier nothing is triggered.
//! - D3 the first error is the job's; what follows from it is not.
//! - D4 the job has ended when every task has exited and every commit it asked for has been answered.
//! - D5 at most one durable checkpoint is under way; the last barrier waits for it.

use crate::clock::Moment;
use crate::error::Error;
use crate::message::{Barrier, Last};
use crate::report::Part;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// When barriers are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Between two epochs of a job with updating operators.
    pub epochs: Option<Duration>,
    /// Between two checkpoints.
    pub checkpoints: Option<Duration>,
    /// Most open epochs.
    pub max_in_flight: usize,
    /// The first barrier's number.
    pub first_epoch: u64,
    /// Every barrier is a checkpoint; what tests that restart a job want.
    pub every_epoch_is_a_checkpoint: bool,
    /// Checkpoints are made durable: one at a time.
    pub durable: bool,
    /// How many checkpoints in a row may fail.
    pub tolerated_failures: u32,
    /// A checkpoint that is not durable after so long has failed.
    pub timeout: Duration,
}

/// What happened.
pub(crate) enum Event {
    /// Sources and sinks have looked outside; rows may flow.
    Ready,
    /// A barrier's part came.
    Done(Box<Part>),
    /// A reader has nothing more to read, ever.
    Exhausted { task: usize, subtask: u32 },
    /// A source wants the epoch to end.
    Full,
    /// A task's thread ended.
    Exited(Result<(), Error>),
    /// Something outside the tasks failed.
    Failed(Error),
    /// The commits of a barrier were done.
    Committed,
    /// A checkpoint is durable.
    Persisted,
    /// A checkpoint could not be made durable.
    NotPersisted(Error),
    /// The owner wants a checkpoint now.
    Checkpoint,
    /// The owner wants the job to end.
    End(Last),
    /// The owner wants the job gone.
    Cancel,
}

/// What to do.
pub(crate) enum Action {
    /// Tell all sources.
    Trigger(Barrier),
    /// All parts of a barrier are there: commit, and keep the checkpoint.
    Complete { barrier: Barrier, parts: Vec<Part> },
    /// Tell all tasks.
    CancelAll,
}

struct Open {
    barrier: Barrier,
    parts: Vec<Part>,
}

/// See the module.
pub(crate) struct Coordinator {
    schedule: Schedule,
    tasks: usize,
    source_tasks: usize,
    ready: bool,
    next_epoch: u64,
    open: BTreeMap<u64, Open>,
    epoch_due: Moment,
    checkpoint_due: Moment,
    checkpoint_wanted: bool,
    epoch_wanted: bool,
    exhausted: BTreeSet<(usize, u32)>,
    last: Option<Last>,
    last_sent: bool,
    cancelled: bool,
    exited: usize,
    commits_open: usize,
    /// When the checkpoint that is under way was triggered.
    checkpoint_since: Option<Moment>,
    /// Checkpoints that failed in a row.
    failures: u32,
    error: Option<Error>,
    /// Triggers that came while too many epochs were open.
    pub skipped: u64,
}

impl Coordinator {
    /// For so many subtasks in all, and so many of them sources.
    pub fn new(schedule: Schedule, tasks: usize, source_tasks: usize, now: Moment) -> Coordinator {
        Coordinator {
            schedule,
            tasks,
            source_tasks,
            ready: false,
            next_epoch: schedule.first_epoch,
            open: BTreeMap::new(),
            epoch_due: now,
            checkpoint_due: now + schedule.checkpoints.unwrap_or_default(),
            checkpoint_wanted: false,
            epoch_wanted: false,
            exhausted: BTreeSet::new(),
            last: None,
            last_sent: false,
            cancelled: false,
            exited: 0,
            commits_open: 0,
            checkpoint_since: None,
            failures: 0,
            error: None,
            skipped: 0,
        }
    }

    /// Takes an event in.
    pub fn step(&mut self, event: Event, now: Moment) -> Vec<Action> {
        let mut actions = vec![];
        match event {
            Event::Ready => self.ready = true,
            Event::Done(part) => actions.extend(self.done(*part)),
            Event::Exhausted { task, subtask } => {
                self.exhausted.insert((task, subtask));
                if self.exhausted.len() == self.source_tasks {
                    self.last = self.last.or(Some(Last::Drain));
                } else {
                    // Its end travels with a barrier; without one the others would wait for its time.
                    self.epoch_wanted = true;
                }
            }
            Event::Full => self.epoch_wanted = true,
            Event::Exited(result) => {
                self.exited += 1;
                if let Err(e) = result {
                    actions.extend(self.fail(e));
                }
            }
            Event::Failed(e) => {
                actions.extend(self.fail(e));
                self.commits_open = 0;
            }
            Event::Committed => self.commits_open = self.commits_open.saturating_sub(1),
            Event::Persisted => (self.checkpoint_since, self.failures) = (None, 0),
            Event::NotPersisted(e) => {
                self.checkpoint_since = None;
                actions.extend(self.checkpoint_failed(e));
            }
            Event::Checkpoint => self.checkpoint_wanted = true,
            Event::End(last) => self.last = self.last.or(Some(last)),
            Event::Cancel => actions.extend(self.cancel()),
        }
        actions.extend(self.tick(now));
        actions
    }

    fn cancel(&mut self) -> Option<Action> {
        let first = !std::mem::replace(&mut self.cancelled, true);
        first.then_some(Action::CancelAll)
    }

    fn fail(&mut self, e: Error) -> Option<Action> {
        if self.error.is_none() && !e.is_cancelled() && !self.cancelled {
            self.error = Some(e);
        }
        self.cancel()
    }

    /// A failed checkpoint is made up for by the next one, if there will be one.
    fn checkpoint_failed(&mut self, e: Error) -> Option<Action> {
        self.failures += 1;
        let hopeless = self.last_sent || !e.retry();
        if hopeless || self.failures > self.schedule.tolerated_failures { self.fail(e) } else { None }
    }

    fn done(&mut self, part: Part) -> Option<Action> {
        let epoch = part.epoch;
        let Some(open) = self.open.get_mut(&epoch) else {
            return self.fail(Error::internal(format!("a part of epoch {epoch}, which is not open")));
        };
        open.parts.push(part);
        if open.parts.len() < self.tasks {
            return None;
        }
        let Open { barrier, parts } = self.open.remove(&epoch)?;
        self.commits_open += 1;
        Some(Action::Complete { barrier, parts })
    }

    /// What the time asks for.
    pub fn tick(&mut self, now: Moment) -> Option<Action> {
        if !self.ready || self.last_sent || self.cancelled {
            return None;
        }
        let epoch_due = self.schedule.epochs.is_some() && now >= self.epoch_due;
        let checkpoint_due = self.schedule.checkpoints.is_some() && now >= self.checkpoint_due;
        self.checkpoint_wanted |= checkpoint_due;
        if checkpoint_due {
            self.checkpoint_due = now + self.schedule.checkpoints.unwrap_or_default();
        }
        if epoch_due {
            self.epoch_due = now + self.schedule.epochs.unwrap_or_default();
        }
        if let Some(action) = self.check_timeout(now) {
            return Some(action);
        }
        let busy = self.checkpoint_since.is_some();
        let checkpoint = !busy && (self.checkpoint_wanted || self.last.is_some());
        if !(epoch_due || checkpoint || self.epoch_wanted) || busy && self.schedule.every_epoch_is_a_checkpoint {
            return None;
        }
        if self.open.len() >= self.schedule.max_in_flight {
            self.skipped += u64::from(epoch_due);
            return None;
        }
        Some(Action::Trigger(self.open_next(checkpoint || self.schedule.every_epoch_is_a_checkpoint, now)))
    }

    fn check_timeout(&mut self, now: Moment) -> Option<Action> {
        let since = self.checkpoint_since.filter(|since| now >= *since + self.schedule.timeout)?;
        // Once per timeout; whenever its parts come they are used.
        self.checkpoint_since = Some(now);
        let waited = now.saturating_sub(since);
        self.checkpoint_failed(Error::external(format!("a checkpoint is not complete after {waited:?}")))
    }

    fn open_next(&mut self, checkpoint: bool, now: Moment) -> Barrier {
        let last = self.last.filter(|_| checkpoint);
        let barrier = Barrier { epoch: self.next_epoch, checkpoint, last };
        self.next_epoch += 1;
        self.open.insert(barrier.epoch, Open { barrier, parts: vec![] });
        self.epoch_wanted = false;
        if checkpoint {
            self.checkpoint_wanted = false;
            self.checkpoint_since = self.schedule.durable.then_some(now);
        }
        self.last_sent = last.is_some();
        barrier
    }

    /// When to call [`Coordinator::tick`] again.
    pub fn next_tick(&self) -> Option<Moment> {
        if !self.ready || self.last_sent || self.cancelled {
            return None;
        }
        let epochs = self.schedule.epochs.map(|_| self.epoch_due);
        let checkpoints = self.schedule.checkpoints.map(|_| self.checkpoint_due);
        let timeout = self.checkpoint_since.map(|since| since + self.schedule.timeout);
        epochs.into_iter().chain(checkpoints).chain(timeout).min()
    }

    /// Whether nothing is left to do.
    pub fn has_ended(&self) -> bool {
        self.exited == self.tasks && (self.cancelled || self.commits_open == 0)
    }

    /// Whether the job was cancelled, by its owner or by an error.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// How the job is ending, if it is.
    pub fn last(&self) -> Option<Last> {
        self.last
    }

    /// The job's error.
    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::EventTime;

    fn schedule() -> Schedule {
        Schedule {
            epochs: Some(Duration::from_millis(100)),
            checkpoints: None,
            max_in_flight: 2,
            first_epoch: 1,
            every_epoch_is_a_checkpoint: false,
            durable: false,
            tolerated_failures: 1,
            timeout: Duration::from_secs(60),
        }
    }

    fn part(task: usize, epoch: u64) -> Event {
        let (splits, prepared, snapshots) = (vec![], vec![], vec![]);
        let (frontier, pauses) = (EventTime::MIN, Default::default());
        Event::Done(Box::new(Part { task, subtask: 0, epoch, frontier, splits, prepared, snapshots, pauses }))
    }

    fn triggers(actions: &[Action]) -> Vec<u64> {
        let epoch = |a: &Action| match a {
            Action::Trigger(b) => Some(b.epoch),
            _ => None,
        };
        actions.iter().filter_map(epoch).collect()
    }

    #[test]
    fn late_triggers_are_skipped_and_complete_epochs_make_room() {
        let ms = Duration::from_millis;
        let mut c = Coordinator::new(schedule(), 2, 1, ms(0));
        assert!(c.tick(ms(500)).is_none(), "nothing before sources have looked outside");
        assert_eq!(triggers(&c.step(Event::Ready, ms(500))), [1]);
        assert_eq!(triggers(&c.tick(ms(600)).into_iter().collect::<Vec<_>>()), [2]);
        assert!(c.tick(ms(700)).is_none());
        assert_eq!(c.skipped, 1);
        assert!(c.step(part(0, 1), ms(710)).is_empty());
        let done = c.step(part(1, 1), ms(710));
        assert!(
            matches!(&done[..], [Action::Complete { barrier: Barrier { epoch: 1, .. }, parts }] if parts.len() == 2)
        );
        assert_eq!(triggers(&c.tick(ms(800)).into_iter().collect::<Vec<_>>()), [3]);
    }

    #[test]
    fn the_end_of_all_sources_is_the_last_barrier_and_waits_for_its_commit() {
        let at = Duration::ZERO;
        let mut c = Coordinator::new(Schedule { epochs: None, ..schedule() }, 1, 1, at);
        c.step(Event::Ready, at);
        let actions = c.step(Event::Exhausted { task: 0, subtask: 0 }, at);
        assert!(matches!(
            actions[..],
            [Action::Trigger(Barrier { epoch: 1, checkpoint: true, last: Some(Last::Drain) })]
        ));
        c.step(part(0, 1), at);
        c.step(Event::Exited(Ok(())), at);
        assert!(!c.has_ended(), "the tail of a bounded input is not committed yet");
        c.step(Event::Committed, at);
        assert!(c.has_ended() && c.take_error().is_none());
    }

    fn durable() -> (Coordinator, Duration) {
        let checkpoints = Some(Duration::from_millis(10));
        let schedule = Schedule { epochs: None, checkpoints, durable: true, tolerated_failures: 1, ..schedule() };
        let mut c = Coordinator::new(schedule, 1, 1, Duration::ZERO);
        assert!(c.step(Event::Ready, Duration::ZERO).is_empty());
        (c, Duration::from_millis(10))
    }

    #[test]
    fn one_durable_checkpoint_is_under_way_and_the_last_barrier_waits_for_it() {
        let (mut c, ms10) = durable();
        assert_eq!(triggers(&c.tick(ms10).into_iter().collect::<Vec<_>>()), [1]);
        assert!(c.tick(2 * ms10).is_none() && c.tick(3 * ms10).is_none());
        assert_eq!(c.step(part(0, 1), 3 * ms10).len(), 1, "complete, and not durable");
        assert!(c.step(Event::End(Last::Stop), 3 * ms10).is_empty(), "the last barrier is a checkpoint too");
        let last = c.step(Event::Persisted, 4 * ms10);
        assert!(matches!(last[..], [Action::Trigger(Barrier { epoch: 2, checkpoint: true, last: Some(Last::Stop) })]));
    }

    #[test]
    fn failed_checkpoints_are_made_up_for_until_too_many_fail_in_a_row() {
        let (mut c, ms10) = durable();
        let fail = |c: &mut Coordinator, e: Error, at| {
            let open = c.next_epoch - 1;
            c.step(part(0, open), at);
            c.step(Event::NotPersisted(e), at)
        };
        let disk = || Error::external("disk full");
        c.tick(ms10);
        assert_eq!(triggers(&fail(&mut c, disk(), 2 * ms10)), [2], "the next one is tried");
        c.step(part(0, 2), 2 * ms10);
        c.step(Event::Persisted, 2 * ms10);
        c.tick(3 * ms10);
        assert_eq!(triggers(&fail(&mut c, disk(), 4 * ms10)), [4], "counted anew after a success");
        assert!(matches!(fail(&mut c, disk(), 5 * ms10)[..], [Action::CancelAll]));
        assert_eq!(c.take_error().unwrap().message(), "disk full");

        let (mut c, ms10) = durable();
        c.tick(ms10);
        assert!(matches!(fail(&mut c, Error::user("fenced"), 2 * ms10)[..], [Action::CancelAll]), "no retry helps");
    }

    #[test]
    fn a_checkpoint_that_takes_longer_than_its_timeout_has_failed() {
        let (mut c, ms10) = durable();
        c.tick(ms10);
        let timeout = Duration::from_secs(60);
        assert_eq!(c.next_tick(), Some(2 * ms10));
        assert!(c.tick(ms10 + timeout).is_none(), "one is tolerated");
        assert!(matches!(c.tick(ms10 + 2 * timeout), Some(Action::CancelAll)));
        assert!(c.take_error().unwrap().message().contains("not complete after"));
    }

    #[test]
    fn the_first_error_wins_and_cancels_once() {
        let at = Duration::ZERO;
        let mut c = Coordinator::new(schedule(), 2, 1, at);
        let first = c.step(Event::Exited(Err(Error::user("first"))), at);
        assert!(matches!(first[..], [Action::CancelAll]));
        assert!(c.step(Event::Exited(Err(Error::external("second"))), at).is_empty());
        assert!(c.has_ended());
        assert_eq!(c.take_error().map(|e| e.message().to_owned()).as_deref(), Some("first"));
    }
}
