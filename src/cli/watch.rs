//! Sees a running job to its end: shows progress and notices, turns signals into stop and cancel, sums up. Called by `run`.
//!
//! Invariants
//! - W1 the first Ctrl-C (or SIGTERM) stops: last barrier and commit. The second cancels. The third leaves at once.
//! - W2 whoever closes standard output has seen enough: the job is cancelled, and that is a success.
//! - W3 the loop waits in one place, for the outcome, for at most [`LOOK`]; nothing that a job does can keep it longer.

use crate::cli::console::{Console, Failure};
use crate::cli::exit::Exit;
use crate::cli::notices::Notices;
use crate::cli::progress::{Progress, summary_json, summary_line};
use crate::cli::usage::Usage;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::time::Duration;
use thalweg::Started;
use thalweg::engine::clock::Clock;
use thalweg::engine::error::Error;
use thalweg::engine::job::{Ending, JobHandle, Outcome};

/// How long the loop waits before it looks for signals again.
const LOOK: Duration = Duration::from_millis(20);
/// How long a cancelled job may take to end before the process leaves without it.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// How much rarer progress is where lines cannot overwrite each other.
const LASTING_LINES: u32 = 10;

/// How a job came to its end without failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All input was read.
    Finished,
    /// Ended in order, on request.
    Stopped,
    /// Dropped, on request.
    Cancelled,
    /// Dropped, because nobody reads standard output.
    Closed,
}

impl End {
    /// What it makes of the command.
    pub(crate) fn exit(self) -> Exit {
        match self {
            End::Finished | End::Stopped | End::Closed => Exit::Done,
            End::Cancelled => Exit::Cancelled,
        }
    }

    fn name(self) -> &'static str {
        match self {
            End::Finished => "finished",
            End::Stopped => "stopped",
            End::Cancelled => "cancelled",
            End::Closed => "closed",
        }
    }
}

/// Why an attempt ended.
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// It has completed a checkpoint.
    pub(crate) progress: bool,
}

/// The wish of the user, which only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    /// Let it run.
    Run,
    /// End it in order; since when.
    Stop(Duration),
    /// Drop it; since when.
    Cancel(Duration),
    /// Leave now.
    Leave,
}

/// Watches jobs with one clock and one set of signal handlers.
pub(crate) struct Watch<'a> {
    console: &'a mut Console,
    signals: Signals,
    clock: Clock,
    progress_interval: Option<Duration>,
    wish: Wish,
}

impl<'a> Watch<'a> {
    /// From now on signals do not end the process by themselves.
    pub(crate) fn new(console: &'a mut Console) -> Result<Watch<'a>, Failure> {
        let signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| Failure::failed(format!("handle signals: {e}")))?;
        Ok(Watch { console, signals, clock: Clock::system(), progress_interval: None, wish: Wish::Run })
    }

    /// Whether the end of the job was asked for.
    pub(crate) fn is_stopping(&self) -> bool {
        self.wish != Wish::Run
    }

    /// How often to show progress, `None` = never; stretched where lines cannot overwrite each other.
    pub(crate) fn show_every(&mut self, interval: Option<Duration>) {
        let every = if self.console.is_live() || self.console.is_json() { 1 } else { LASTING_LINES };
        self.progress_interval = interval.map(|i| i.saturating_mul(every));
    }

    /// Says from where a job goes on.
    pub(crate) fn started(&mut self, started: &Started, restarts: u32) {
        for note in &started.notes {
            self.say(note);
        }
        if let Some(from) = started.from {
            let text = format!("goes on from checkpoint {from}");
            let json = json!({ "type": "restored", "checkpoint": from.to_string(), "restarts": restarts });
            self.console.message(&text, || json);
        }
    }

    fn say(&mut self, text: &str) {
        self.console.message(text, || json!({ "type": "message", "message": text }));
    }

    /// Says that a job has failed, and waits before it is started again; an end if its owner does not want that.
    pub(crate) fn pause(&mut self, error: &Error, wait: Duration, closed: impl Fn() -> bool) -> Option<End> {
        let text = format!("failed: {error}; starts again in {wait:?}");
        let wait_ms = wait.as_millis() as u64;
        self.console.message(&text, || json!({ "type": "restart", "error": error.to_string(), "wait_ms": wait_ms }));
        // The door to waiting is a queue that nobody fills.
        let (_filler, quiet) = std::sync::mpsc::channel::<()>();
        let until = self.clock.now() + wait;
        while self.clock.now() < until {
            let _ = quiet.recv_timeout(until.saturating_sub(self.clock.now()).min(LOOK));
            if closed() {
                return Some(End::Closed);
            }
            if self.signals.pending().next().is_some() {
                self.say("cancelled while it waited to start again");
                return Some(End::Cancelled);
            }
        }
        None
    }

    /// Waits for the end of a job. `closed` says whether nobody reads standard output any more.
    pub(crate) fn until_end(&mut self, job: &JobHandle, closed: impl Fn() -> bool) -> Result<End, Failed> {
        let start = self.clock.now();
        let mut progress = Progress::default();
        let mut notices = Notices::default();
        let mut next = self.progress_interval;
        let outcome = loop {
            let elapsed = self.clock.now().saturating_sub(start);
            let pause = next.map_or(LOOK, |n| n.saturating_sub(elapsed).min(LOOK));
            if let Some(outcome) = job.wait_for(pause) {
                break outcome;
            }
            self.obey(job, &closed);
            if self.overdue() {
                return Ok(if closed() { End::Closed } else { End::Cancelled });
            }
            let elapsed = self.clock.now().saturating_sub(start);
            self.notify(job, &mut notices);
            if next.is_some_and(|n| n <= elapsed) {
                progress.observe(job.totals(), elapsed);
                self.console.progress(&progress.line(self.clock.wall_ms()), || progress.json());
                next = self.progress_interval.map(|i| elapsed + i);
            }
        };
        let elapsed = self.clock.now().saturating_sub(start);
        self.sum_up(job, elapsed, outcome, closed())
    }

    /// Hands new wishes on to the job.
    fn obey(&mut self, job: &JobHandle, closed: &impl Fn() -> bool) {
        let now = self.clock.now();
        let heard = self.signals.pending().count();
        let mut wish = self.wish;
        for _ in 0..heard {
            wish = match wish {
                Wish::Run => Wish::Stop(now),
                Wish::Stop(_) => Wish::Cancel(now),
                Wish::Cancel(_) | Wish::Leave => Wish::Leave,
            };
        }
        if closed() && wish < Wish::Cancel(Duration::ZERO) {
            wish = Wish::Cancel(now);
        }
        if wish == self.wish {
            return;
        }
        self.wish = wish;
        match wish {
            Wish::Run => {}
            Wish::Stop(_) => {
                job.stop();
                let text = "stopping; Ctrl-C again cancels";
                self.console.message(text, || json!({ "type": "message", "message": text }));
            }
            Wish::Cancel(_) | Wish::Leave => job.cancel(),
        }
    }

    /// Says what is new aside from progress.
    fn notify(&mut self, job: &JobHandle, notices: &mut Notices) {
        let now = self.clock.now();
        let mut new = notices.observe(job.registry(), now);
        if let Wish::Stop(since) = self.wish {
            new.extend(notices.stopping(job.registry(), now.saturating_sub(since)));
        }
        for notice in new {
            self.console.message(&notice.text, || notice.json);
        }
    }

    /// Whether the job was cancelled so long ago that nobody waits for it any more.
    fn overdue(&self) -> bool {
        match self.wish {
            Wish::Cancel(since) => self.clock.now().saturating_sub(since) > CANCEL_PATIENCE,
            Wish::Leave => true,
            Wish::Run | Wish::Stop(_) => false,
        }
    }

    fn sum_up(&mut self, job: &JobHandle, elapsed: Duration, outcome: Outcome, closed: bool) -> Result<End, Failed> {
        let end = match outcome.ending {
            // A sink may fail when its reader has gone; that is how a quiet end looks from inside.
            Ending::Failed | Ending::Cancelled if closed => Some(End::Closed),
            Ending::Finished => Some(End::Finished),
            Ending::Stopped => Some(End::Stopped),
            Ending::Cancelled => Some(End::Cancelled),
            Ending::Failed => None,
        };
        let totals = job.totals();
        let how = end.map_or("failed", End::name);
        if end == Some(End::Closed) {
            self.console.clear();
        } else {
            let usage = Usage::now();
            let line = summary_line(how, elapsed, &totals, &usage);
            self.console.message(&line, || summary_json(how, elapsed, &totals, &usage));
        }
        if let (Some(End::Stopped), Some(saved)) = (end, &outcome.durable) {
            let text = format!("savepoint {}; go on from it with --from {0}", saved.id);
            self.console.message(&text, || json!({ "type": "savepoint", "checkpoint": saved.id.to_string() }));
        }
        end.ok_or_else(|| {
            let error = outcome.error.unwrap_or_else(|| Error::internal("the job failed without a reason"));
            Failed { error, progress: outcome.durable.is_some() }
        })
    }
}
