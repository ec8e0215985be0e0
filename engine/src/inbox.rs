//! A task's inbox and everything behind it: it files messages, waits (the only place where a task does), and sends rows under
//! credit. Called by the task's loop and, through [`Exits`], by the operators of its chain.
//!
//! Invariants
//! - N1 a task waits only in [`Inbox::wait`]: for a message or a deadline.
//! - N2 while a task waits for credit inside `emit`, messages are filed only; nothing is processed. Cancel acts at once.
//! - N3 the channel behind it is unbounded, because credits bound the rows in it and everything else is small and counted.

use crate::batch::Batch;
use crate::chain::Exits;
use crate::clock::{Clock, Deadline, Moment};
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::message::{Barrier, Message, WakeTarget, Waker};
use crate::metrics::{TaskMetrics, nanos};
use crate::output::{Outputs, Shipment};
use crate::sink::Prepared;
use crate::source::{Position, Split, SplitId};
use crate::time::Watermark;
use crate::timer::Timers;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Why a task waits; decides which counter the time goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// There is nothing to do.
    Input,
    /// For credit, or for an operator or sink that is not ready.
    Credit,
    /// For the barriers of other inputs.
    Alignment,
}

/// Splits given to this source's reader.
pub(crate) struct Assigned {
    pub splits: Vec<(Split, Option<Position>)>,
    pub no_more: bool,
}

/// See the module.
pub(crate) struct Inbox {
    messages: Receiver<Message>,
    me: Sender<Message>,
    pub gate: Gate,
    pub outputs: Outputs,
    pub clock: Clock,
    pub metrics: Arc<TaskMetrics>,
    pub timers: Timers,
    pub wakes: VecDeque<WakeTarget>,
    pub triggers: VecDeque<Barrier>,
    pub assigned: VecDeque<Assigned>,
    pub completed: VecDeque<Vec<(SplitId, Position)>>,
    pub epoch: u64,
    /// The barrier that is being walked, for the operators that ask.
    pub barrier: Option<Barrier>,
    /// The next snapshot is a full one.
    pub restart_chains: bool,
    /// What sinks have prepared at this barrier.
    pub prepared: Vec<(usize, Prepared)>,
    wakers: Vec<(WakeTarget, Waker)>,
    cancelled: bool,
    /// All time spent waiting for credit or a busy sink: the idle clock of sources stands still for it.
    pub backpressured: Duration,
}

impl Inbox {
    pub fn new(
        channel: (Sender<Message>, Receiver<Message>),
        gate: Gate,
        outputs: Outputs,
        clock: Clock,
        metrics: Arc<TaskMetrics>,
        epoch: u64,
    ) -> Inbox {
        let (me, messages) = channel;
        Inbox {
            messages,
            me,
            gate,
            outputs,
            clock,
            metrics,
            timers: Timers::default(),
            wakes: VecDeque::new(),
            triggers: VecDeque::new(),
            assigned: VecDeque::new(),
            completed: VecDeque::new(),
            epoch,
            barrier: None,
            restart_chains: false,
            prepared: vec![],
            wakers: vec![],
            cancelled: false,
            backpressured: Duration::ZERO,
        }
    }

    /// A waker for one target of this task.
    pub fn waker(&mut self, target: WakeTarget) -> Waker {
        let waker = Waker::new(self.me.clone(), target);
        self.wakers.push((target, waker.clone()));
        waker
    }

    fn file(&mut self, message: Message) -> Result<()> {
        match message {
            Message::InBand { edge, item } => self.gate.push(edge, item)?,
            Message::Credit { out, channel, bytes } => {
                self.outputs.add_credit(out, channel, bytes)?;
                self.metrics.in_flight_bytes.set(self.outputs.in_flight_bytes());
            }
            Message::Wake(target) => {
                self.wakers.iter().filter(|(t, _)| *t == target).for_each(|(_, w)| w.received());
                if !self.wakes.contains(&target) {
                    self.wakes.push_back(target);
                }
            }
            Message::Trigger(barrier) => self.triggers.push_back(barrier),
            Message::Assign { splits, no_more } => self.assigned.push_back(Assigned { splits, no_more }),
            Message::CheckpointComplete(positions) => self.completed.push_back(positions),
            Message::Describe(answer) => drop(answer.try_send(self.describe())),
            Message::RestartChains => self.restart_chains = true,
            Message::Cancel => self.cancelled = true,
        }
        Ok(())
    }

    /// Files all that has arrived; never waits.
    pub fn drain(&mut self) -> Result<()> {
        while let Ok(message) = self.messages.try_recv() {
            self.file(message)?;
        }
        if !self.timers.is_empty() {
            let now = self.clock.now();
            while let Some(node) = self.timers.pop_due(now) {
                let target = WakeTarget::Node(node);
                if !self.wakes.contains(&target) {
                    self.wakes.push_back(target);
                }
            }
        }
        if self.cancelled { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Waits for a message, or until the deadline or an operator's timer, then files all that has arrived.
    pub fn wait(&mut self, why: Waiting, until: Option<Deadline>) -> Result<()> {
        let before = self.clock.now();
        let until = [until, self.timers.next()].into_iter().flatten().min();
        let got = match until {
            None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.messages.recv_timeout(at.saturating_sub(before)),
        };
        self.count_wait(why, before);
        match got {
            Ok(message) => self.file(message)?,
            Err(RecvTimeoutError::Timeout) => {}
            // Cannot happen while `me` lives; if it did, waiting again would never end.
            Err(RecvTimeoutError::Disconnected) => self.cancelled = true,
        }
        self.drain()
    }

    fn count_wait(&mut self, why: Waiting, before: Moment) {
        let waited = self.clock.now().saturating_sub(before);
        match why {
            Waiting::Input => self.metrics.idle_ns.add(nanos(waited)),
            Waiting::Alignment => self.metrics.aligning_ns.add(nanos(waited)),
            Waiting::Credit => {
                self.metrics.backpressured_ns.add(nanos(waited));
                self.backpressured += waited;
            }
        }
    }

    fn ship(&mut self, shipment: Shipment) -> Result<()> {
        let Shipment { edge, channel, batch } = shipment;
        while !self.outputs.channel(edge, channel)?.has_credit() {
            self.wait(Waiting::Credit, None)?;
        }
        self.outputs.send_rows(edge, channel, batch)?;
        let in_flight = self.outputs.in_flight_bytes();
        self.metrics.in_flight_bytes.set(in_flight);
        if in_flight > self.metrics.in_flight_peak_bytes.get() {
            self.metrics.in_flight_peak_bytes.set(in_flight);
        }
        Ok(())
    }

    /// Ships what is buffered where credit is left; never waits.
    pub fn flush_where_free(&mut self) -> Result<()> {
        for edge in 0..self.outputs.edges.len() {
            for channel in 0..self.channels(edge) {
                let c = self.outputs.channel(edge, channel)?;
                if c.has_credit()
                    && c.has_buffered()
                    && let Some(batch) = self.outputs.take_buffered(edge, channel)?
                {
                    self.ship(Shipment { edge, channel, batch })?;
                }
            }
        }
        Ok(())
    }

    fn channels(&self, edge: usize) -> usize {
        self.outputs.edges.get(edge).map_or(0, |e| e.channels.len())
    }

    fn flush_edge(&mut self, edge: usize) -> Result<()> {
        for channel in 0..self.channels(edge) {
            if let Some(batch) = self.outputs.take_buffered(edge, channel)? {
                self.ship(Shipment { edge, channel, batch })?;
            }
        }
        Ok(())
    }

    /// Sends a watermark behind the rows that were emitted before it.
    pub fn send_watermark(&mut self, edge: usize, mark: Watermark) -> Result<()> {
        if self.outputs.edges.get(edge).is_some_and(|e| e.is_news(mark)) {
            self.flush_edge(edge)?;
            self.outputs.send_watermark(edge, mark);
        }
        Ok(())
    }

    /// Rows, then time, then end, then the barrier, on every channel of the edge.
    pub fn send_barrier(&mut self, edge: usize, mark: Watermark, ended: bool, barrier: Barrier) -> Result<()> {
        self.flush_edge(edge)?;
        self.outputs.send_barrier(edge, mark, ended, barrier);
        Ok(())
    }

    /// Queues, blocked flags, credits, triggers: what the watchdog prints.
    pub fn describe(&self) -> String {
        let (gate, out) = (self.gate.describe(), self.outputs.describe());
        format!("epoch {} {gate} {out} triggers {} wakes {:?}", self.epoch, self.triggers.len(), self.wakes)
    }
}

impl Exits for Inbox {
    fn emit(&mut self, edge: usize, batch: Batch) -> Result<()> {
        for shipment in self.outputs.partition(edge, batch)? {
            self.ship(shipment)?;
        }
        Ok(())
    }

    fn wake_at(&mut self, node: usize, deadline: Deadline) {
        self.timers.add(deadline, node);
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn barrier(&self) -> Option<Barrier> {
        self.barrier
    }

    fn put_prepared(&mut self, node: usize, prepared: Prepared) {
        self.prepared.push((node, prepared));
    }
}

/// The channel behind an inbox.
#[expect(clippy::disallowed_methods, reason = "bounded by credits; what needs no credit is small and counted")]
pub(crate) fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    crossbeam_channel::unbounded()
}
