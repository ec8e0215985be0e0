//! The loop of one thread. A task runs a chain of operators and is in one of two states:
//!
//! - `Running`: feeds rows, one batch a step, and moves time.
//! - `Aligned(walk)`: all inputs stand at a barrier; the walk goes through the chain, parents first, and may be parked at one
//!   operator whose flush is pending.
//!
//! Invariants
//! - T1 it waits in one place, [`Inbox::wait`], and nowhere else.
//! - T2 during a walk no rows are fed; wakes of operators that the walk has passed are kept until the barrier is forwarded.
//! - T3 a barrier goes to all outputs before any later row; before it go the rows, the time and the end that belong to it.
//! - T4 in jobs with epochs time moves only in walks; in append-only jobs it also moves with the gate and with wakes.

use crate::batch::Batch;
use crate::chain::{Link, Node, Target, call, deliver, feed};
use crate::clock::Deadline;
use crate::driver::DriverEvent;
use crate::error::{Error, Result};
use crate::gate::GateEvent;
use crate::inbox::{Inbox, Waiting};
use crate::message::{Barrier, WakeTarget};
use crate::operator::{Flush, OutPort, Port, Subtask};
use crate::report::{Part, Pauses, Report};
use crate::source::SplitId;
use crate::source_task::{SourceStep, SourceTask};
use crate::time::{EventTime, Watermark};
use crossbeam_channel::Sender;
use std::time::Duration;

/// What the task needs to know of its job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskMode {
    /// Time moves only at barriers.
    pub epochs: bool,
    /// Whether snapshots are taken at checkpoint barriers.
    pub snapshots: bool,
}

pub(crate) struct Task {
    pub index: usize,
    pub subtask: Subtask,
    pub name: String,
    pub mode: TaskMode,
    pub inbox: Inbox,
    pub source: Option<SourceTask>,
    pub nodes: Vec<Node>,
    pub reports: Sender<DriverEvent>,
    /// What the task had spent aligning when the barrier before this one was forwarded.
    pub aligned: Duration,
}

/// How far the walk of one barrier has come.
struct Walk {
    barrier: Barrier,
    mark: Watermark,
    /// The source has no more rows.
    end: bool,
    node: usize,
    entered: bool,
}

enum State {
    Running,
    Aligned(Walk),
}

impl Task {
    /// Runs until the last barrier was forwarded, an error, or a cancel.
    pub fn run(&mut self) -> Result<()> {
        let started = i64::try_from(self.inbox.clock.now().as_nanos()).unwrap_or(i64::MAX);
        self.inbox.metrics.started_ns.set(started);
        crate::wiring::open_nodes(&mut self.nodes, self.subtask, &self.inbox.clock)?;
        let mut state = State::Running;
        loop {
            self.inbox.drain()?;
            self.wakes(&state)?;
            state = match state {
                State::Running => self.step()?.map_or(State::Running, State::Aligned),
                State::Aligned(mut walk) => {
                    if self.walk(&mut walk)? {
                        let last = walk.barrier.last.is_some();
                        self.forward(walk)?;
                        if last {
                            return Ok(());
                        }
                        State::Running
                    } else {
                        self.inbox.wait(Waiting::Credit, None)?;
                        State::Aligned(walk)
                    }
                }
            };
        }
    }

    fn wakes(&mut self, state: &State) -> Result<()> {
        for _ in 0..self.inbox.wakes.len() {
            let Some(target) = self.inbox.wakes.pop_front() else { break };
            let WakeTarget::Node(i) = target else { continue };
            match state {
                State::Aligned(walk) if i < walk.node => self.inbox.wakes.push_back(target),
                _ => {
                    call(&mut self.nodes, 0, i, &mut self.inbox, |op, ctx| op.on_wake(ctx))?;
                    if !self.mode.epochs && matches!(state, State::Running) {
                        self.ask_again(i)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// In append-only jobs an operator that held the frontier back is asked again after its wake.
    fn ask_again(&mut self, i: usize) -> Result<()> {
        let Some(node) = self.nodes.get(i) else { return Ok(()) };
        let (seen, passed, idle) = (node.seen, node.passed, self.current_mark().idle);
        if passed < seen {
            self.tell(i, seen)?;
            let moved = self.nodes.get(i).is_some_and(|n| n.passed > passed);
            if moved {
                self.propagate(i + 1, idle)?;
            }
        }
        Ok(())
    }

    fn current_mark(&mut self) -> Watermark {
        match &self.source {
            Some(s) => s.mark,
            None => self.inbox.gate.frontier(),
        }
    }

    fn step(&mut self) -> Result<Option<Walk>> {
        let ready = self.nodes.iter().all(|n| n.operator.ready());
        if self.source.is_some() { self.step_source(ready) } else { self.step_gate(ready) }
    }

    fn rest(&mut self, ready: bool, until: Option<Deadline>) -> Result<()> {
        self.inbox.flush_where_free()?;
        let why = match (ready, self.inbox.gate.is_aligning()) {
            (false, _) => Waiting::Credit,
            (true, true) => Waiting::Alignment,
            (true, false) => Waiting::Input,
        };
        self.inbox.wait(why, until)
    }

    fn step_gate(&mut self, ready: bool) -> Result<Option<Walk>> {
        match self.inbox.gate.next(ready)? {
            GateEvent::Rows { edge, port, batch } => {
                let bytes = batch.bytes();
                feed(&mut self.nodes, 0, 0, port, batch, &mut self.inbox)?;
                self.inbox.gate.processed(edge, bytes);
                Ok(None)
            }
            GateEvent::Time => {
                if !self.mode.epochs {
                    let mark = self.inbox.gate.frontier();
                    self.advance(mark)?;
                }
                Ok(None)
            }
            GateEvent::Aligned(barrier) => {
                let mark = self.inbox.gate.frontier();
                Ok(Some(Walk { barrier, mark, end: false, node: 0, entered: false }))
            }
            GateEvent::Nothing => self.rest(ready, None).map(|()| None),
        }
    }

    fn step_source(&mut self, ready: bool) -> Result<Option<Walk>> {
        let Some(source) = &mut self.source else { return Ok(None) };
        source.take_assignments(&mut self.inbox)?;
        if let Some(barrier) = self.inbox.triggers.pop_front() {
            let (mark, end) = source.at_barrier(barrier, &self.inbox);
            return Ok(Some(Walk { barrier, mark, end, node: 0, entered: false }));
        }
        let can_move_time = !self.mode.epochs;
        if can_move_time && let Some(mark) = source.due_mark(&self.inbox, false) {
            self.advance(mark)?;
            return Ok(None);
        }
        match source.poll(ready, &mut self.inbox, &self.reports)? {
            SourceStep::Rows { split, batch, rejected } => self.emit_rows(split, batch, rejected).map(|()| None),
            SourceStep::Again => Ok(None),
            SourceStep::Rest { until } => {
                if can_move_time && let Some(mark) = source.due_mark(&self.inbox, true) {
                    self.advance(mark)?;
                    return Ok(None);
                }
                self.rest(ready, until).map(|()| None)
            }
        }
    }

    fn emit_rows(&mut self, split: SplitId, batch: Batch, rejected: Option<Batch>) -> Result<()> {
        let Some(source) = &mut self.source else { return Ok(()) };
        let watermark = source.observe(&batch)?;
        let outs: Vec<(OutPort, Batch)> = [(OutPort::MAIN, Some(batch)), (OutPort::REJECTED, rejected)]
            .into_iter()
            .filter_map(|(port, b)| b.filter(|b| !b.is_empty()).map(|b| (port, b)))
            .collect();
        for (port, b) in outs {
            deliver(source.links(), port, b, &mut self.nodes, 0, &mut self.inbox)?;
        }
        // Taken after the rows are out, so the idle clock stands still while we are backpressured.
        source.read(&split, watermark, &self.inbox);
        Ok(())
    }

    /// Append-only jobs: event time moved; the chain is told, parents first, and the edges after it.
    fn advance(&mut self, mark: Watermark) -> Result<()> {
        self.note_watermark(mark.time);
        if let Some(source) = &self.source {
            send_marks(source.links(), mark, &mut self.inbox)?;
        }
        for i in 0..self.nodes.len() {
            self.enter_time(i, mark.time)?;
        }
        self.send_node_marks(0, mark.idle)
    }

    fn propagate(&mut self, from: usize, idle: bool) -> Result<()> {
        let root = self.current_mark().time;
        for i in from..self.nodes.len() {
            self.enter_time(i, root)?;
        }
        self.send_node_marks(from.saturating_sub(1), idle)
    }

    fn send_node_marks(&mut self, from: usize, idle: bool) -> Result<()> {
        for node in self.nodes.iter().skip(from) {
            send_marks(&node.links, Watermark { time: node.passed, idle }, &mut self.inbox)?;
        }
        Ok(())
    }

    fn note_watermark(&self, time: EventTime) {
        self.inbox.metrics.watermark_ms.set(time.millis());
    }

    /// Tells node `i` the time that its parent let through, if that is news.
    fn enter_time(&mut self, i: usize, root: EventTime) -> Result<()> {
        let Some(node) = self.nodes.get(i) else { return Ok(()) };
        let now = match node.parent {
            Some(p) => self.nodes.get(p).map_or(root, |n| n.passed),
            None => root,
        };
        if now > node.seen { self.tell(i, now) } else { Ok(()) }
    }

    fn tell(&mut self, i: usize, now: EventTime) -> Result<()> {
        let through = call(&mut self.nodes, 0, i, &mut self.inbox, |op, ctx| op.on_frontier(now, ctx))?;
        let Some(node) = self.nodes.get_mut(i) else { return Ok(()) };
        if through > now {
            return Err(Error::internal(format!("operator `{}` let {through} through at {now}", node.id)));
        }
        node.seen = now;
        node.passed = node.passed.max(through);
        Ok(())
    }

    /// Operator by operator: time, ends, flush until done, then the held watermark once more. False: a flush is pending.
    fn walk(&mut self, walk: &mut Walk) -> Result<bool> {
        self.inbox.barrier = Some(walk.barrier);
        while walk.node < self.nodes.len() {
            if !walk.entered {
                walk.entered = true;
                self.enter(walk.node, walk)?;
            }
            if !self.flush(walk.node)? {
                return Ok(false);
            }
            walk.node += 1;
            walk.entered = false;
        }
        self.inbox.barrier = None;
        Ok(true)
    }

    fn enter(&mut self, i: usize, walk: &Walk) -> Result<()> {
        self.enter_time(i, walk.mark.time)?;
        let Some(node) = self.nodes.get_mut(i) else { return Ok(()) };
        // A sink prepares at every barrier, once: the flush below clears this.
        node.touched |= node.always_flush;
        let parent = node.parent;
        for port in 0..node.ended.len() {
            let ended = match parent {
                Some(p) => self.nodes.get(p).is_some_and(|n| n.ended.iter().all(|e| *e)),
                None if self.source.is_some() => walk.end,
                None => self.inbox.gate.port_ended(Port(port as u8)),
            };
            let Some(done) = self.nodes.get_mut(i).and_then(|n| n.ended.get_mut(port)) else { continue };
            if ended && !*done {
                *done = true;
                call(&mut self.nodes, 0, i, &mut self.inbox, |op, ctx| op.on_end(Port(port as u8), ctx))?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, i: usize) -> Result<bool> {
        loop {
            if self.nodes.get(i).is_some_and(|n| n.touched) {
                match call(&mut self.nodes, 0, i, &mut self.inbox, |op, ctx| op.flush(ctx))? {
                    Flush::Pending => return Ok(false),
                    Flush::Done => self.nodes.iter_mut().skip(i).take(1).for_each(|n| n.touched = false),
                }
            }
            let Some(node) = self.nodes.get(i) else { return Ok(true) };
            let (seen, passed) = (node.seen, node.passed);
            // A sink lets everything through; asking it again would make it prepare twice.
            if passed >= seen || node.always_flush {
                return Ok(true);
            }
            self.tell(i, seen)?;
            if self.nodes.get(i).is_none_or(|n| n.passed <= passed) {
                self.nodes.iter_mut().skip(i).take(1).for_each(|n| n.touched = false);
                return Ok(true);
            }
        }
    }

    /// Snapshots, sends time, end and barrier to every edge, reports, and reads on.
    fn forward(&mut self, walk: Walk) -> Result<()> {
        let barrier = walk.barrier;
        self.note_watermark(walk.mark.time);
        let part = self.part(&walk)?;
        if let Some(source) = &mut self.source {
            source.ended |= walk.end;
            for edge in edges(source.links()) {
                self.inbox.send_barrier(edge, walk.mark, source.ended, barrier)?;
            }
        }
        for node in &self.nodes {
            let ended = node.ended.iter().all(|e| *e);
            let mark = Watermark { time: node.passed, idle: walk.mark.idle };
            for edge in edges(&node.links) {
                self.inbox.send_barrier(edge, mark, ended, barrier)?;
            }
        }
        self.inbox.gate.release();
        self.inbox.epoch = barrier.epoch + 1;
        // The coordinator is gone only when the job is; its end is ours.
        let _ = self.reports.send(Report::Done(Box::new(part)).into());
        Ok(())
    }

    fn part(&mut self, walk: &Walk) -> Result<Part> {
        let snapshot = walk.barrier.checkpoint && self.mode.snapshots;
        let (mut snapshots, mut frozen) = (vec![], Duration::ZERO);
        let restart = snapshot && std::mem::take(&mut self.inbox.restart_chains);
        for node in &mut self.nodes {
            if restart {
                node.state.restart_chain();
            }
            node.metrics.state_bytes.set(i64::try_from(node.state.bytes()).unwrap_or(i64::MAX));
            if snapshot {
                let begun = self.inbox.clock.now();
                snapshots.push((node.id.clone(), node.state.freeze()));
                frozen += self.inbox.clock.now().saturating_sub(begun);
            }
        }
        let aligned = Duration::from_nanos(self.inbox.metrics.aligning_ns.get());
        let pauses = Pauses { aligned: aligned.saturating_sub(self.aligned), frozen };
        self.aligned = aligned;
        let prepared = std::mem::take(&mut self.inbox.prepared);
        let named = |(i, p): (usize, _)| self.nodes.get(i).map(|n| (n.id.clone(), p));
        Ok(Part {
            task: self.index,
            subtask: self.subtask.index,
            epoch: walk.barrier.epoch,
            frontier: if self.source.is_some() { EventTime::MIN } else { walk.mark.time },
            splits: self.source.as_ref().map_or_else(Vec::new, SourceTask::snapshot),
            prepared: prepared.into_iter().filter_map(named).collect(),
            snapshots,
            pauses,
        })
    }
}

fn edges(links: &[Link]) -> impl Iterator<Item = usize> + '_ {
    links.iter().filter_map(|l| match l.target {
        Target::Edge(e) => Some(e),
        Target::Node(..) => None,
    })
}

fn send_marks(links: &[Link], mark: Watermark, inbox: &mut Inbox) -> Result<()> {
    edges(links).try_for_each(|edge| inbox.send_watermark(edge, mark))
}
