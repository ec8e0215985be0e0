//! A task's inputs: one queue per incoming channel, read fairly; alignment and frontier on top. No channel is read here.
//! Called by the task's loop (`next`) and by the inbox (`push`).
//!
//! Invariants
//! - I1 messages of one channel are taken in the order in which they came.
//! - I2 rows are taken only while the task feeds; time and barriers at the head of a queue are taken at any time.
//! - I3 credit goes back after the rows were processed, in steps of at most half the channel's budget.

use crate::align::Aligner;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::frontier::Frontier;
use crate::message::{Barrier, InBand, Message};
use crate::operator::Port;
use crate::time::{EventTime, Watermark};
use crossbeam_channel::Sender;
use std::collections::VecDeque;

/// Where the credit of an incoming channel goes back to.
#[derive(Debug)]
pub(crate) struct CreditReturn {
    pub to: Sender<Message>,
    pub out: u32,
    pub channel: u32,
    pub budget_bytes: u64,
    owed_bytes: u64,
}

impl CreditReturn {
    pub fn new(to: Sender<Message>, out: u32, channel: u32, budget_bytes: u64) -> CreditReturn {
        CreditReturn { to, out, channel, budget_bytes, owed_bytes: 0 }
    }

    fn processed(&mut self, bytes: u64) {
        self.owed_bytes += bytes;
        if self.owed_bytes * 2 >= self.budget_bytes {
            let bytes = std::mem::take(&mut self.owed_bytes);
            // The sender is gone only when the job ends, and then nobody waits for credit.
            let _ = self.to.send(Message::Credit { out: self.out, channel: self.channel, bytes });
        }
    }
}

#[derive(Debug)]
struct Incoming {
    port: Port,
    credit: CreditReturn,
    queue: VecDeque<InBand>,
}

/// What the gate has for the task.
#[derive(Debug)]
pub(crate) enum GateEvent {
    /// Rows of a port; tell [`Gate::processed`] afterwards.
    Rows { edge: usize, port: Port, batch: Batch },
    /// Some watermark or end was taken: ask for [`Gate::frontier`].
    Time,
    /// All inputs stand at this barrier.
    Aligned(Barrier),
    /// Nothing that may be taken now.
    Nothing,
}

/// All inputs of one task.
#[derive(Debug)]
pub(crate) struct Gate {
    incoming: Vec<Incoming>,
    aligner: Aligner,
    frontier: Frontier,
    next: usize,
}

impl Gate {
    /// `reached`: the restored frontier, else MIN.
    pub fn new(channels: Vec<(Port, CreditReturn)>, reached: EventTime) -> Gate {
        let n = channels.len();
        let incoming = |(port, credit)| Incoming { port, credit, queue: VecDeque::new() };
        Gate {
            incoming: channels.into_iter().map(incoming).collect(),
            aligner: Aligner::new(n),
            frontier: Frontier::new(n, reached),
            next: 0,
        }
    }

    /// Files a message.
    pub fn push(&mut self, edge: u32, item: InBand) -> Result<()> {
        let n = self.incoming.len();
        let missing = || Error::internal(format!("message for input {edge} of {n}"));
        self.incoming.get_mut(edge as usize).ok_or_else(missing)?.queue.push_back(item);
        Ok(())
    }

    /// The next thing to do. Without `feed`, rows stay where they are.
    pub fn next(&mut self, feed: bool) -> Result<GateEvent> {
        let n = self.incoming.len();
        for k in 0..n {
            let edge = (self.next + k) % n;
            if self.aligner.is_blocked(edge) {
                continue;
            }
            let Some(input) = self.incoming.get_mut(edge) else { continue };
            if !feed && matches!(input.queue.front(), Some(InBand::Batch(_))) {
                continue;
            }
            match input.queue.pop_front() {
                None => {}
                Some(InBand::Batch(batch)) => {
                    self.next = edge + 1;
                    return Ok(GateEvent::Rows { edge, port: input.port, batch });
                }
                Some(InBand::Watermark(mark)) => {
                    self.frontier.update(edge, mark);
                    return Ok(GateEvent::Time);
                }
                Some(InBand::End) => {
                    self.frontier.end(edge);
                    return Ok(GateEvent::Time);
                }
                Some(InBand::Barrier(barrier)) => {
                    if let Some(b) = self.aligner.deliver(edge, barrier)? {
                        return Ok(GateEvent::Aligned(b));
                    }
                }
            }
        }
        Ok(GateEvent::Nothing)
    }

    /// How far event time has come over all inputs.
    pub fn frontier(&mut self) -> Watermark {
        self.frontier.now()
    }

    /// Whether all channels of a port have ended.
    pub fn port_ended(&self, port: Port) -> bool {
        let mut of_port = self.incoming.iter().enumerate().filter(|(_, i)| i.port == port);
        of_port.all(|(edge, _)| self.frontier.has_ended(edge))
    }

    /// Number of input ports.
    pub fn ports(&self) -> usize {
        self.incoming.iter().map(|i| usize::from(i.port.0) + 1).max().unwrap_or(1)
    }

    /// Whether some inputs are blocked by a barrier that others have not delivered.
    pub fn is_aligning(&self) -> bool {
        self.aligner.is_aligning()
    }

    /// The rows of a channel were processed.
    pub fn processed(&mut self, edge: usize, bytes: usize) {
        if let Some(input) = self.incoming.get_mut(edge) {
            input.credit.processed(bytes as u64);
        }
    }

    /// The barrier was forwarded.
    pub fn release(&mut self) {
        self.aligner.release();
    }

    /// Queues and blocked flags, for the watchdog.
    pub fn describe(&self) -> String {
        let one = |(edge, i): (usize, &Incoming)| {
            format!("{}{}", i.queue.len(), if self.aligner.is_blocked(edge) { "B" } else { "" })
        };
        let queues: Vec<String> = self.incoming.iter().enumerate().map(one).collect();
        format!("queues [{}]", queues.join(" "))
    }
}
