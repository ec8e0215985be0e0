//! A running job in this process: options, start, handle, outcome. The command line, tests and embedding applications use it.
//!
//! [`Job::start`] plans the graph, wires the tasks, starts one thread per task and one for the coordinator (`driver.rs`).

use crate::checkpoint::{Checkpoint, Saved, Writer};
use crate::clock::Clock;
use crate::driver::{Driver, DriverEvent};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::message::{Last, Message};
use crate::metrics::{Registry, Totals};
use crate::plan::Plan;
use crate::sink::JobInfo;
use crate::state::{Budget, SpillArea};
use crate::wiring::{Start, Wired, wire};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::sync::Arc;
use std::time::Duration;

/// How a job runs. The defaults are those of the documented settings.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// Subtasks of every node without a parallelism of its own, 1..=256.
    pub parallelism: u32,
    /// Rows that sources read and partitioners collect per batch.
    pub batch_rows: usize,
    /// Bytes at which a partitioner's buffer is sent, full or not.
    pub batch_bytes: usize,
    /// Bytes in flight into one task over all its channels.
    pub gate_bytes: u64,
    /// Bytes in flight that every channel may have at least.
    pub edge_bytes: u64,
    /// Between two watermarks of a busy source in an append-only job.
    pub watermark_interval: Duration,
    /// After so long without rows a split of an unbounded source is idle; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// Between two epochs in jobs with updating operators.
    pub epoch_interval: Duration,
    /// Most open epochs.
    pub epoch_max_in_flight: usize,
    /// Bytes that a source subtask reads at most in one epoch.
    pub epoch_max_bytes: u64,
    /// Between two checkpoints; `None` = only on demand and at the end.
    pub checkpoint_interval: Option<Duration>,
    /// Whether checkpoints keep state, so that [`JobHandle::checkpoint`] and a restart are possible.
    pub keep_checkpoints: bool,
    /// How many checkpoints in a row may fail before the job does.
    pub tolerated_failures: u32,
    /// A checkpoint that is not durable after so long has failed.
    pub checkpoint_timeout: Duration,
    /// Whether every epoch is a checkpoint (tests).
    pub every_epoch_is_a_checkpoint: bool,
    /// Epochs even if no operator emits updates (tests).
    pub force_epochs: bool,
    /// Bytes of state in memory.
    pub state_bytes: u64,
    /// Where state above that goes; `None` = it stays in memory.
    pub spill: Option<Arc<SpillArea>>,
    /// The clocks.
    pub clock: Clock,
}

impl Default for JobOptions {
    fn default() -> Self {
        JobOptions {
            parallelism: 1,
            batch_rows: 8192,
            batch_bytes: 1 << 20,
            gate_bytes: 8 << 20,
            edge_bytes: 256 << 10,
            watermark_interval: Duration::from_millis(20),
            idle_timeout: Some(Duration::from_secs(5)),
            epoch_interval: Duration::from_millis(100),
            epoch_max_in_flight: 2,
            epoch_max_bytes: 256 << 20,
            checkpoint_interval: None,
            keep_checkpoints: false,
            tolerated_failures: 3,
            checkpoint_timeout: Duration::from_secs(600),
            every_epoch_is_a_checkpoint: false,
            force_epochs: false,
            state_bytes: u64::MAX,
            spill: None,
            clock: Clock::system(),
        }
    }
}

impl JobOptions {
    /// The number of the first epoch of a run.
    pub(crate) fn first_epoch(&self, from: Option<&Checkpoint>, writer: Option<&Writer>) -> u64 {
        writer.map_or_else(|| from.map_or(0, |c| c.epoch) + 1, Writer::first_epoch)
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// All input was read, or drained on demand.
    Finished,
    /// Stopped with a last barrier; open windows stay open.
    Stopped,
    /// Dropped by its owner.
    Cancelled,
    /// An error ended it.
    Failed,
}

/// What is left of a job.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// The root cause, if it failed.
    pub error: Option<Error>,
    /// The last complete checkpoint, if they are kept.
    pub checkpoint: Option<Checkpoint>,
    /// The last durable checkpoint of this run, if there is one.
    pub durable: Option<Saved>,
    /// Barriers that were completed.
    pub epochs: u64,
    /// Epoch triggers that were skipped because too many epochs were open.
    pub skipped_epochs: u64,
}

/// Starts jobs.
#[derive(Debug)]
pub struct Job;

impl Job {
    /// Starts a graph, fresh or from a checkpoint. Looking outside (topics, files) happens after the return; its errors are in
    /// the outcome. Errors here: a plan that cannot be, factories that fail, threads that the system does not give.
    pub fn start(graph: &Graph, options: JobOptions, from: Option<&Checkpoint>) -> Result<JobHandle> {
        Job::launch(graph, options, from, None)
    }

    /// The same with checkpoints that outlive the process, every `checkpoint_interval` and at the end. Errors: as [`Job::start`].
    pub fn start_durable(
        graph: &Graph,
        options: JobOptions,
        from: Option<&Checkpoint>,
        writer: Writer,
    ) -> Result<JobHandle> {
        Job::launch(graph, JobOptions { keep_checkpoints: true, ..options }, from, Some(writer))
    }

    fn launch(
        graph: &Graph,
        options: JobOptions,
        from: Option<&Checkpoint>,
        writer: Option<Writer>,
    ) -> Result<JobHandle> {
        let plan = Plan::new(graph, options.parallelism)?;
        let budget = match &options.spill {
            Some(area) => Budget::spilling("job", options.state_bytes, area),
            None => Budget::new("job", options.state_bytes),
        };
        let (events_tx, events) = crate::inbox::mailbox();
        let first_epoch = options.first_epoch(from, writer.as_ref());
        let job = writer.as_ref().map(|w| JobInfo::durable(w, events_tx.clone())).unwrap_or_default();
        let start = Start { from, first_epoch, job: &job };
        let wired = wire(graph, &plan, &options, start, &budget, events_tx.clone())?;
        let driver = Driver::new(graph, &options, from, writer, &wired, job, (events, events_tx.clone()))?;
        let Wired { tasks, inboxes, registry, .. } = wired;
        let (done, outcome) = bounded(1);
        for mut task in tasks {
            let (name, reports) = (task.name.clone(), events_tx.clone());
            let exited = move |result| drop(reports.send(DriverEvent::exited(result)));
            crate::thread::spawn(&name, move || task.run(), exited)?;
        }
        let body = move || Ok(driver.run());
        let hand_over = move |result: Result<Outcome>| {
            let failed = |error| Outcome {
                ending: Ending::Failed,
                error: Some(error),
                checkpoint: None,
                durable: None,
                epochs: 0,
                skipped_epochs: 0,
            };
            drop(done.send(result.unwrap_or_else(failed)));
        };
        crate::thread::spawn("coordinator", body, hand_over)?;
        let inboxes: Vec<Sender<Message>> = inboxes.into_iter().flatten().collect();
        Ok(JobHandle { commands: events_tx, outcome, registry: Arc::new(registry), inboxes, budget })
    }
}

/// The owner's end of a running job. Dropping it cancels the job.
pub struct JobHandle {
    commands: Sender<DriverEvent>,
    outcome: Receiver<Outcome>,
    registry: Arc<Registry>,
    inboxes: Vec<Sender<Message>>,
    budget: Arc<Budget>,
}

impl JobHandle {
    /// Last barrier and commit; open windows stay open.
    pub fn stop(&self) {
        self.command(DriverEvent::End(Last::Stop));
    }

    /// Event time goes to its end, windows fire, then the last barrier and commit.
    pub fn drain(&self) {
        self.command(DriverEvent::End(Last::Drain));
    }

    /// Drops everything that is not committed.
    pub fn cancel(&self) {
        self.command(DriverEvent::Cancel);
    }

    /// Asks for a checkpoint soon. It is in the outcome unless a later one replaces it.
    pub fn checkpoint(&self) {
        self.command(DriverEvent::Checkpoint);
    }

    /// The coordinator is gone only when the job has ended, and then no command matters.
    fn command(&self, event: DriverEvent) {
        let _ = self.commands.send(event);
    }

    /// All counters.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// All counters, added up.
    pub fn totals(&self) -> Totals {
        self.registry.totals()
    }

    /// Bytes of state now.
    pub fn state_bytes(&self) -> u64 {
        self.budget.used_bytes()
    }

    /// Waits for the end, at most so long.
    pub fn wait_for(&self, time: Duration) -> Option<Outcome> {
        match self.outcome.recv_timeout(time) {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Outcome {
                ending: Ending::Failed,
                error: Some(Error::internal("the coordinator is gone")),
                checkpoint: None,
                durable: None,
                epochs: 0,
                skipped_epochs: 0,
            }),
        }
    }

    /// Waits for the end.
    pub fn wait(&self) -> Outcome {
        loop {
            if let Some(outcome) = self.wait_for(Duration::from_secs(3600)) {
                return outcome;
            }
        }
    }

    /// One line per task that answers within `time`: queues, blocked flags, credits. For a watchdog.
    pub fn describe(&self, time: Duration) -> Vec<String> {
        let (tx, rx) = bounded(self.inboxes.len());
        self.inboxes.iter().for_each(|i| drop(i.send(Message::Describe(tx.clone()))));
        drop(tx);
        let mut lines = vec![];
        while let Ok(line) = rx.recv_timeout(time) {
            lines.push(line);
        }
        lines
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.cancel();
    }
}
