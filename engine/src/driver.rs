//! The coordinator's thread: takes reports and commands, asks `coordinator.rs` what to do, and does it. Runs the enumerators, and
//! starts the threads that look outside (discovery, sink checks) and that commit.
//!
//! Order of a start: sinks recover and are checked, enumerators discover, each on a thread of its own; when all have answered,
//! splits are assigned and barriers begin. An error of any of them fails the job with its text.
//!
//! Invariants
//! - R1 commits are asked for in the order of epochs, and what was prepared is in every checkpoint until its commit is confirmed: a
//!   barrier that completes while its job is being cancelled, or after a commit failed, would else be a hole in the output.
//! - R2 with durable checkpoints the commit of one, and of every epoch after it, is asked for only when it is durable.

use crate::checkpoint::{
    Chains, Checkpoint, CheckpointId, PreparedParts, Saved, SourceCheckpoint, Writer, prepared_by_sink,
};
use crate::clock::{Clock, Moment};
use crate::coordinator::{Action, Coordinator, Event, Schedule};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeKind};
use crate::job::{Ending, JobOptions, Outcome};
use crate::message::{Barrier, Last, Message};
use crate::metrics::{CheckpointMetrics, LastCheckpoint};
use crate::persist::{Task, Told};
use crate::report::{Part, Pauses, Report};
use crate::sink::{Committer, JobInfo, SinkFactory};
use crate::source::{Assignment, Discovery, Fact, Position, SourceFactory, Split, SplitEnumerator, SplitId};
use crate::split::SplitState;
use crate::thread::spawn;
use crate::wiring::Wired;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything that wakes the coordinator.
pub(crate) enum DriverEvent {
    Report(Report),
    /// A source has looked outside.
    /// A source has looked for more splits; `None`: it could not.
    FoundMore {
        source: usize,
        found: Option<Discovery>,
    },
    Discovered {
        source: usize,
        enumerator: Box<dyn SplitEnumerator>,
        found: Option<Discovery>,
    },
    /// A sink can be written; its committer is with the committing thread.
    Checked,
    Failed(Error),
    Committed {
        epoch: u64,
    },
    /// The committing thread is gone.
    CommitsEnded,
    /// A checkpoint is durable, or could not be made so.
    Persist(Told),
    Checkpoint,
    End(Last),
    Cancel,
}

impl DriverEvent {
    pub fn exited(result: Result<()>) -> DriverEvent {
        DriverEvent::Report(Report::Exited { result })
    }
}

impl From<Report> for DriverEvent {
    fn from(report: Report) -> DriverEvent {
        DriverEvent::Report(report)
    }
}

struct SourceDriver {
    id: String,
    inboxes: Vec<Sender<Message>>,
    /// Away while it discovers.
    enumerator: Option<Box<dyn SplitEnumerator>>,
    /// The splits of the restored checkpoint. They are part of every later checkpoint, overlaid by what readers say: a finished
    /// split, or one that a reader got after its part of a barrier was made, would else be read from its start after the next
    /// restore.
    carried: BTreeMap<String, SplitState>,
    /// Whether the enumerator has taken state back.
    restored: bool,
    /// For sources that may have more splits later.
    looks: Option<Looks>,
}

/// When a source looks outside again.
struct Looks {
    factory: Arc<dyn SourceFactory>,
    every: Duration,
    due: Moment,
    /// A look is under way.
    is_away: bool,
}

/// Where one reader stood at a barrier.
struct ReaderPositions {
    task: usize,
    subtask: u32,
    splits: Vec<(SplitId, Position)>,
}

/// An epoch that is complete, and whose commit is not confirmed.
struct Uncommitted {
    /// Where readers stood, for a checkpoint.
    positions: Vec<ReaderPositions>,
    parts: PreparedParts,
    stage: Stage,
}

/// How far an epoch is on its way to its commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is a checkpoint that is not durable, and so are perhaps those after it.
    Waiting,
    /// The next one to be committed if all before it are under way.
    Ready,
    /// Given to the committing thread.
    Sent,
}

/// One barrier's prepared parts.
struct CommitJob {
    epoch: u64,
    parts: PreparedParts,
}

pub(crate) struct Driver {
    coordinator: Coordinator,
    clock: Clock,
    inboxes: Vec<Vec<Sender<Message>>>,
    sources: Vec<SourceDriver>,
    sinks: Vec<(String, Arc<dyn SinkFactory>)>,
    job: JobInfo,
    roots: Vec<String>,
    graph: Value,
    keep: bool,
    chains: Chains,
    checkpoint: Option<Checkpoint>,
    /// Until its thread is started.
    writer: Option<Writer>,
    persist: Option<Sender<Task>>,
    persist_ended: bool,
    durable: Option<Saved>,
    /// When each checkpoint that is under way was triggered, and its longest pauses, by epoch.
    triggered: BTreeMap<u64, (Moment, Pauses)>,
    metrics: Arc<CheckpointMetrics>,
    /// Index of each task by the ids of its operators.
    tasks_of: BTreeMap<String, usize>,
    recover: Option<(u64, BTreeMap<u64, PreparedParts>)>,
    events: Receiver<DriverEvent>,
    me: Sender<DriverEvent>,
    commits: Option<Sender<CommitJob>>,
    /// By epoch.
    uncommitted: BTreeMap<u64, Uncommitted>,
    waiting_for: usize,
    commits_ended: bool,
    epochs: u64,
}

/// How long a cancelled job waits for a commit that hangs.
const COMMIT_PATIENCE: Duration = Duration::from_millis(800);

impl Driver {
    pub fn new(
        graph: &Graph,
        options: &JobOptions,
        from: Option<&Checkpoint>,
        writer: Option<Writer>,
        wired: &Wired,
        job: JobInfo,
        (events, me): (Receiver<DriverEvent>, Sender<DriverEvent>),
    ) -> Result<Driver> {
        let Wired { sources, inboxes, roots, tasks_of, registry, .. } = wired;
        let clock = options.clock.clone();
        let epochs = (graph.has_epochs() || options.force_epochs).then_some(options.epoch_interval);
        let schedule = Schedule {
            epochs,
            checkpoints: options.checkpoint_interval,
            max_in_flight: options.epoch_max_in_flight.max(1),
            first_epoch: options.first_epoch(from, writer.as_ref()),
            every_epoch_is_a_checkpoint: options.every_epoch_is_a_checkpoint,
            durable: writer.is_some(),
            tolerated_failures: options.tolerated_failures,
            timeout: options.checkpoint_timeout,
        };
        let tasks = inboxes.iter().map(Vec::len).sum();
        let readers = sources.iter().filter_map(|(_, t)| inboxes.get(*t)).map(Vec::len).sum();
        let coordinator = Coordinator::new(schedule, tasks, readers, clock.now());
        let now = options.clock.now();
        let drivers = sources.iter().map(|(id, t)| source_driver(graph, id, inboxes.get(*t), from, now));
        let sources = drivers.collect::<Result<Vec<_>>>()?;
        let sinks = graph.nodes().iter().filter_map(|n| match &n.kind {
            NodeKind::Sink { factory, .. } => Some((n.id.clone(), factory.clone())),
            _ => None,
        });
        Ok(Driver {
            coordinator,
            clock,
            inboxes: inboxes.clone(),
            sources,
            sinks: sinks.collect(),
            job,
            roots: roots.clone(),
            graph: graph.to_json(),
            keep: options.keep_checkpoints,
            chains: Chains::default(),
            checkpoint: None,
            writer,
            persist: None,
            persist_ended: true,
            durable: None,
            triggered: BTreeMap::new(),
            metrics: registry.checkpoints.clone(),
            tasks_of: tasks_of.clone(),
            recover: from.map(|c| (c.epoch, c.prepared.clone())),
            events,
            me,
            commits: None,
            uncommitted: BTreeMap::new(),
            waiting_for: 0,
            commits_ended: true,
            epochs: 0,
        })
    }

    /// Runs until the job has ended.
    pub fn run(mut self) -> Outcome {
        if let Err(e) = self.look_outside() {
            let actions = self.coordinator.step(Event::Failed(e), self.clock.now());
            self.act(actions);
        }
        while !self.coordinator.has_ended() {
            let now = self.clock.now();
            let looks = self.sources.iter().filter_map(|s| s.looks.as_ref()).filter(|l| !l.is_away).map(|l| l.due);
            let next = self.coordinator.next_tick().into_iter().chain(looks).min();
            let until = next.map_or(Duration::from_secs(1), |t| t.saturating_sub(now));
            self.look_again(now);
            match self.events.recv_timeout(until) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {
                    let actions = self.coordinator.tick(self.clock.now()).into_iter().collect();
                    self.act(actions);
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.finish_commits();
        self.outcome()
    }

    /// What was complete is committed before the job is said to have ended: nobody may start the next one beside it.
    fn finish_commits(&mut self) {
        self.commits = None;
        if self.commits_ended {
            self.persist = None;
        }
        let patience = self.clock.now() + COMMIT_PATIENCE;
        while !(self.commits_ended && self.persist_ended) {
            match self.events.recv_timeout(patience.saturating_sub(self.clock.now())) {
                Ok(DriverEvent::CommitsEnded) => self.commits_ended = true,
                Ok(DriverEvent::Committed { epoch }) => self.committed(epoch),
                Ok(DriverEvent::Persist(told)) => self.told(told),
                Ok(_) => {}
                Err(_) => return,
            }
            if self.commits_ended {
                self.persist = None;
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let error = self.coordinator.take_error();
        let ending = match (&error, self.coordinator.is_cancelled(), self.coordinator.last()) {
            (Some(_), ..) => Ending::Failed,
            (None, true, _) => Ending::Cancelled,
            (None, false, Some(Last::Stop)) => Ending::Stopped,
            (None, false, _) => Ending::Finished,
        };
        let skipped_epochs = self.coordinator.skipped;
        let (epochs, durable) = (self.epochs, self.durable);
        Outcome { ending, error, checkpoint: self.checkpoint, durable, epochs, skipped_epochs }
    }

    /// Starts the threads that do I/O before the first row.
    fn look_outside(&mut self) -> Result<()> {
        for source in 0..self.sources.len() {
            let Some(driver) = self.sources.get_mut(source) else { continue };
            let Some(mut enumerator) = driver.enumerator.take() else { continue };
            let restored = driver.restored && driver.looks.is_none();
            let (to, failed) = (self.me.clone(), self.me.clone());
            let body = move || {
                // What was fixed when the job first started (bounded ends, lists of files) stays.
                let found = if restored { None } else { Some(enumerator.discover()?) };
                Ok((enumerator, found))
            };
            let done = move |result: Result<(Box<dyn SplitEnumerator>, Option<Discovery>)>| match result {
                Ok((enumerator, found)) => drop(to.send(DriverEvent::Discovered { source, enumerator, found })),
                Err(e) => drop(failed.send(DriverEvent::Failed(e))),
            };
            spawn(&format!("discover {}", driver.id), body, done)?;
            self.waiting_for += 1;
        }
        if let Some(writer) = self.writer.take() {
            let me = self.me.clone();
            self.persist = Some(crate::persist::start(writer, move |told| drop(me.send(DriverEvent::Persist(told))))?);
            self.persist_ended = false;
        }
        self.start_committing()
    }

    /// Lets sources look for more splits whose time has come. A look that fails is made again: readers tell outages.
    fn look_again(&mut self, now: Moment) {
        for (source, driver) in self.sources.iter_mut().enumerate() {
            let (Some(looks), Some(enumerator)) = (&mut driver.looks, &driver.enumerator) else { continue };
            if looks.is_away || looks.due > now {
                continue;
            }
            let (factory, known, me) = (looks.factory.clone(), enumerator.snapshot(), self.me.clone());
            // Not the enumerator that readers depend on: barriers want its state in the meantime.
            let body = move || {
                let mut scout = factory.enumerator()?;
                scout.restore(&known)?;
                scout.discover()
            };
            let done =
                move |found: Result<Discovery>| drop(me.send(DriverEvent::FoundMore { source, found: found.ok() }));
            looks.is_away = spawn(&format!("look for more of {}", driver.id), body, done).is_ok();
            looks.due = now + looks.every;
        }
    }

    /// One thread checks, recovers and then commits for all sinks, in the order of epochs.
    fn start_committing(&mut self) -> Result<()> {
        let (commits, jobs) = crate::inbox::mailbox::<CommitJob>();
        let (sinks, recover, me) = (self.sinks.clone(), self.recover.take(), self.me.clone());
        let (failed, job) = (self.me.clone(), self.job.clone());
        let body = move || {
            let mut committers = open_sinks(&sinks, &job, recover.as_ref())?;
            let _ = me.send(DriverEvent::Checked);
            while let Ok(CommitJob { epoch, parts }) = jobs.recv() {
                for (id, committer) in &mut committers {
                    if let Some(parts) = parts.get(id) {
                        committer.commit(epoch, parts).map_err(|e| e.context(format!("commit {epoch} of `{id}`")))?;
                    }
                }
                let _ = me.send(DriverEvent::Committed { epoch });
            }
            Ok(())
        };
        let done = move |result: Result<()>| {
            if let Err(e) = result {
                let _ = failed.send(DriverEvent::Failed(e));
            }
            let _ = failed.send(DriverEvent::CommitsEnded);
        };
        spawn("commit", body, done)?;
        self.commits = Some(commits);
        self.commits_ended = false;
        self.waiting_for += 1;
        Ok(())
    }

    fn take(&mut self, event: DriverEvent) {
        let event = match event {
            DriverEvent::Report(Report::Drained { source, subtask }) => {
                if let Some(i) = self.sources.iter().position(|s| s.id == source) {
                    self.tell_enumerator(i, Fact::Drained { subtask });
                }
                return;
            }
            DriverEvent::Report(Report::Done(part)) => Event::Done(part),
            DriverEvent::Report(Report::Exhausted { task, subtask }) => Event::Exhausted { task, subtask },
            DriverEvent::Report(Report::Full) => Event::Full,
            DriverEvent::Report(Report::Exited { result }) => Event::Exited(result),
            DriverEvent::Discovered { source, enumerator, found } => {
                self.discovered(source, enumerator, found);
                match self.one_less() {
                    Some(e) => e,
                    None => return,
                }
            }
            DriverEvent::FoundMore { source, found } => {
                if let Some(looks) = self.sources.get_mut(source).and_then(|s| s.looks.as_mut()) {
                    looks.is_away = false;
                    looks.due = self.clock.now() + looks.every;
                }
                if let Some(found) = found {
                    self.tell_enumerator(source, Fact::Discovered(found));
                }
                return;
            }
            DriverEvent::Checked => match self.one_less() {
                Some(e) => e,
                None => return,
            },
            DriverEvent::Failed(e) => Event::Failed(e),
            DriverEvent::Committed { epoch } => {
                self.committed(epoch);
                Event::Committed
            }
            DriverEvent::CommitsEnded => {
                self.commits_ended = true;
                return;
            }
            DriverEvent::Persist(told) => match self.persisted(told) {
                Some(e) => e,
                None => return,
            },
            DriverEvent::Checkpoint => Event::Checkpoint,
            DriverEvent::End(last) => Event::End(last),
            DriverEvent::Cancel => Event::Cancel,
        };
        let actions = self.coordinator.step(event, self.clock.now());
        self.act(actions);
    }

    /// When the last of those that look outside has answered, rows may flow.
    fn one_less(&mut self) -> Option<Event> {
        self.waiting_for -= 1;
        if self.waiting_for > 0 {
            return None;
        }
        for i in 0..self.sources.len() {
            let Some(s) = self.sources.get(i) else { continue };
            let finished = s.carried.iter().filter(|(_, s)| s.finished).map(|(id, _)| id.clone()).collect();
            let parallelism = s.inboxes.len() as u32;
            self.tell_enumerator(i, Fact::Started { parallelism, finished });
        }
        Some(Event::Ready)
    }

    fn discovered(&mut self, source: usize, mut enumerator: Box<dyn SplitEnumerator>, found: Option<Discovery>) {
        // Taken in before `Started`, so that nothing is assigned yet.
        let early = found.map(|f| enumerator.step(Fact::Discovered(f))).unwrap_or_default();
        if let Some(s) = self.sources.get_mut(source) {
            s.enumerator = Some(enumerator);
            s.assign(early);
        }
    }

    fn tell_enumerator(&mut self, source: usize, fact: Fact) {
        if let Some(s) = self.sources.get_mut(source)
            && let Some(enumerator) = &mut s.enumerator
        {
            let assignments = enumerator.step(fact);
            s.assign(assignments);
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Trigger(barrier) => {
                    if barrier.checkpoint && self.persist.is_some() {
                        self.triggered.insert(barrier.epoch, (self.clock.now(), Pauses::default()));
                    }
                    let all = self.sources.iter().flat_map(|s| &s.inboxes);
                    all.for_each(|i| drop(i.send(Message::Trigger(barrier))));
                }
                Action::Complete { barrier, parts } => {
                    if let Err(e) = self.complete(barrier, parts) {
                        let actions = self.coordinator.step(Event::Failed(e), self.clock.now());
                        self.act(actions);
                    }
                }
                Action::CancelAll => {
                    self.commits = None;
                    self.inboxes.iter().flatten().for_each(|i| drop(i.send(Message::Cancel)));
                }
            }
        }
    }

    fn complete(&mut self, barrier: Barrier, parts: Vec<Part>) -> Result<()> {
        self.epochs += 1;
        let epoch = barrier.epoch;
        let positions = |p: &Part| {
            let splits = p.splits.iter().map(|(id, s)| (id.clone(), s.position.clone())).collect();
            ReaderPositions { task: p.task, subtask: p.subtask, splits }
        };
        let positions = if barrier.checkpoint { parts.iter().map(positions).collect() } else { vec![] };
        let waits = barrier.checkpoint && self.persist.is_some();
        let stage = if waits { Stage::Waiting } else { Stage::Ready };
        self.uncommitted.insert(epoch, Uncommitted { positions, parts: prepared_by_sink(&parts), stage });
        if let Some((_, longest)) = self.triggered.get_mut(&epoch) {
            *longest = parts.iter().map(|p| p.pauses).fold(*longest, Pauses::max);
        }
        if barrier.checkpoint && (self.keep || waits) {
            let sources = self.sources.iter().map(|s| (s.id.clone(), s.checkpoint())).collect();
            let mut checkpoint = Checkpoint::assemble(epoch, self.graph.clone(), &parts, &self.roots, sources);
            checkpoint.prepared = self.uncommitted.iter().map(|(epoch, u)| (*epoch, u.parts.clone())).collect();
            match &self.persist {
                Some(persist) => {
                    let savepoint = barrier.last == Some(Last::Stop);
                    let snapshots = parts.into_iter().flat_map(Part::into_snapshots).collect();
                    // A thread that is gone has told why.
                    let _ = persist.send(Task::Save { checkpoint: Box::new(checkpoint), snapshots, savepoint });
                }
                None => {
                    checkpoint.add_state(&parts, &mut self.chains)?;
                    self.checkpoint = Some(checkpoint);
                }
            }
        }
        self.commit();
        Ok(())
    }

    /// Asks for the commits of all epochs that may be committed.
    fn commit(&mut self) {
        let Some(commits) = &self.commits else { return };
        let open = self.uncommitted.iter_mut().take_while(|(_, u)| u.stage != Stage::Waiting);
        for (epoch, uncommitted) in open.filter(|(_, u)| u.stage == Stage::Ready) {
            uncommitted.stage = Stage::Sent;
            // A committing thread that is gone has sent its error.
            let _ = commits.send(CommitJob { epoch: *epoch, parts: uncommitted.parts.clone() });
        }
    }

    fn persisted(&mut self, told: Told) -> Option<Event> {
        let event = match &told {
            Told::Saved { result: Ok(_), .. } => Some(Event::Persisted),
            Told::Saved { epoch, result: Err(e), .. } => {
                let id = CheckpointId::of_epoch(*epoch);
                Some(Event::NotPersisted(e.clone().context(format!("checkpoint {id}"))))
            }
            Told::Ended(Err(e)) => Some(Event::Failed(e.clone())),
            Told::Swept(_) | Told::Ended(Ok(())) => None,
        };
        self.told(told);
        event
    }

    fn count(&mut self, epoch: u64, saved: &Saved) {
        let now = self.clock.now();
        let (since, pauses) = self.triggered.remove(&epoch).unwrap_or((now, Pauses::default()));
        // Those before it have failed.
        self.triggered = self.triggered.split_off(&epoch);
        let number = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
        self.metrics.complete(LastCheckpoint {
            id: saved.id,
            at_ms: self.clock.wall_ms(),
            duration_ms: number(now.saturating_sub(since).as_millis()),
            align_ms: number(pauses.aligned.as_millis()),
            freeze_us: number(pauses.frozen.as_micros()),
            written_bytes: saved.written_bytes,
            state_bytes: saved.state_bytes,
        });
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Saved { epoch, result: Ok(saved), long_chains } => {
                self.count(epoch, &saved);
                self.durable = Some(saved);
                self.job.completed(epoch);
                for uncommitted in self.uncommitted.range_mut(..=epoch).map(|(_, u)| u) {
                    if uncommitted.stage == Stage::Waiting {
                        uncommitted.stage = Stage::Ready;
                    }
                }
                for (operator, subtask) in long_chains {
                    let task = self.tasks_of.get(&operator).and_then(|t| self.inboxes.get(*t));
                    if let Some(inbox) = task.and_then(|t| t.get(subtask as usize)) {
                        let _ = inbox.send(Message::RestartChains);
                    }
                }
                self.commit();
            }
            Told::Saved { epoch, result: Err(e), .. } => {
                self.metrics.failed.add(1);
                let id = CheckpointId::of_epoch(epoch);
                self.metrics.trouble.set(Some(format!("checkpoint {id} failed: {}", e.message()).into()));
            }
            Told::Swept(result) => self.metrics.unswept.set(result.err().map(|e| e.message().into())),
            Told::Ended(_) => self.persist_ended = true,
        }
    }

    fn committed(&mut self, epoch: u64) {
        let positions = self.uncommitted.remove(&epoch).map(|u| u.positions).unwrap_or_default();
        if let Some(persist) = self.persist.as_ref().filter(|_| !positions.is_empty()) {
            let _ = persist.send(Task::Committed(CheckpointId::of_epoch(epoch)));
        }
        for ReaderPositions { task, subtask, splits } in positions {
            if let Some(inbox) = self.inboxes.get(task).and_then(|t| t.get(subtask as usize))
                && !splits.is_empty()
            {
                let _ = inbox.send(Message::CheckpointComplete(splits));
            }
        }
    }
}

impl SourceDriver {
    fn checkpoint(&self) -> SourceCheckpoint {
        let enumerator = self.enumerator.as_ref().map_or(Value::Null, |e| e.snapshot());
        SourceCheckpoint { enumerator, splits: self.carried.clone() }
    }

    fn assign(&mut self, assignments: Vec<Assignment>) {
        for Assignment { subtask, splits, no_more } in assignments {
            let position = |split: Split| {
                let position = self.carried.get(&split.id).map(|s| s.position.clone());
                (split, position)
            };
            let splits = splits.into_iter().map(position).collect();
            if let Some(inbox) = self.inboxes.get(subtask as usize) {
                let _ = inbox.send(Message::Assign { splits, no_more });
            }
        }
    }
}

fn source_driver(
    graph: &Graph,
    id: &str,
    inboxes: Option<&Vec<Sender<Message>>>,
    from: Option<&Checkpoint>,
    start: Moment,
) -> Result<SourceDriver> {
    let node = graph.nodes().iter().find(|n| n.id == id);
    let Some(NodeKind::Source { factory, .. }) = node.map(|n| &n.kind) else {
        return Err(Error::internal(format!("`{id}` is no source")));
    };
    let mut enumerator = factory.enumerator()?;
    let from = from.and_then(|c| c.sources.get(id));
    if let Some(checkpoint) = from {
        enumerator.restore(&checkpoint.enumerator)?;
    }
    let carried = from.map(|c| c.splits.clone()).unwrap_or_default();
    let inboxes = inboxes.cloned().unwrap_or_default();
    let looks = |every| Looks { factory: factory.clone(), every, due: start + every, is_away: false };
    let looks = enumerator.look_again().map(looks);
    let (id, enumerator) = (id.to_owned(), Some(enumerator));
    Ok(SourceDriver { id, inboxes, enumerator, carried, restored: from.is_some(), looks })
}

type Committers = Vec<(String, Box<dyn Committer>)>;

/// Checks every sink, and lets those with a committer finish what a restored checkpoint had prepared.
fn open_sinks(
    sinks: &[(String, Arc<dyn SinkFactory>)],
    job: &JobInfo,
    recover: Option<&(u64, BTreeMap<u64, PreparedParts>)>,
) -> Result<Committers> {
    let mut committers = vec![];
    for (id, factory) in sinks {
        factory.check(job).map_err(|e| e.context(format!("sink `{id}`")))?;
        let Some(mut committer) = factory.committer(job)? else { continue };
        if let Some((epoch, prepared)) = recover {
            finish(id, committer.as_mut(), *epoch, prepared).map_err(|e| e.context(format!("recover sink `{id}`")))?;
        } else if job.is_durable() {
            // Runs before this one may have died without a checkpoint.
            committer.recover(0, &[]).map_err(|e| e.context(format!("recover sink `{id}`")))?;
        }
        committers.push((id.clone(), committer));
    }
    Ok(committers)
}

/// Commits what the checkpoint `epoch` holds of this sink, oldest first; anything may have been committed before.
fn finish(id: &str, committer: &mut dyn Committer, epoch: u64, prepared: &BTreeMap<u64, PreparedParts>) -> Result<()> {
    let of = |parts: &PreparedParts| parts.get(id).cloned().unwrap_or_default();
    for (earlier, parts) in prepared.range(..epoch) {
        committer.commit(*earlier, &of(parts))?;
    }
    committer.recover(epoch, &prepared.get(&epoch).map(of).unwrap_or_default())
}
