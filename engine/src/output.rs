//! A task's outgoing edges: a partitioner, and per channel a buffer and the credit that is left.
//!
//! Invariants
//! - O1 rows are sent only while the channel's credit is positive; one batch may overdraw it.
//! - O2 rows buffered for a channel are sent before any later watermark or barrier of that channel.
//! - O3 a buffer is flushed at so many rows, at so many bytes, at a barrier, before a watermark, or when nothing can be fed.

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::message::{Barrier, InBand, Message};
use crate::partition::Partitioner;
use crate::time::Watermark;
use crossbeam_channel::Sender;

/// Rows that wait for company.
#[derive(Debug, Default)]
struct Buffer {
    batches: Vec<Batch>,
    rows: usize,
    bytes: usize,
}

/// The way to one downstream subtask.
#[derive(Debug)]
pub(crate) struct Channel {
    to: Sender<Message>,
    edge: u32,
    credit_bytes: i64,
    in_flight_bytes: i64,
    buffer: Buffer,
}

impl Channel {
    pub fn new(to: Sender<Message>, edge: u32, budget_bytes: u64) -> Channel {
        let credit_bytes = i64::try_from(budget_bytes).unwrap_or(i64::MAX);
        Channel { to, edge, credit_bytes, in_flight_bytes: 0, buffer: Buffer::default() }
    }

    pub fn has_credit(&self) -> bool {
        self.credit_bytes > 0
    }

    pub fn has_buffered(&self) -> bool {
        self.buffer.rows > 0
    }

    /// The receiver is gone only when the job ends; then the rows are nobody's any more.
    fn send(&self, item: InBand) {
        let _ = self.to.send(Message::InBand { edge: self.edge, item });
    }

    fn take_buffered(&mut self) -> Result<Batch> {
        let buffer = std::mem::take(&mut self.buffer);
        match buffer.batches.as_slice() {
            [] => Err(Error::internal("flush of an empty buffer")),
            [one] => Ok(one.clone()),
            [first, ..] => Batch::concat(&first.schema(), &buffer.batches),
        }
    }
}

/// One outgoing edge of a subtask.
#[derive(Debug)]
pub(crate) struct OutEdge {
    pub partitioner: Partitioner,
    pub channels: Vec<Channel>,
    sent: Watermark,
    ended: bool,
}

impl OutEdge {
    pub fn new(partitioner: Partitioner, channels: Vec<Channel>) -> OutEdge {
        OutEdge { partitioner, channels, sent: Watermark::START, ended: false }
    }

    /// Whether this watermark tells the receivers anything new.
    pub fn is_news(&self, mark: Watermark) -> bool {
        mark != self.sent
    }
}

/// A batch that is ready to go to a channel.
pub(crate) struct Shipment {
    pub edge: usize,
    pub channel: usize,
    pub batch: Batch,
}

/// All outgoing edges of a task.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub edges: Vec<OutEdge>,
    batch_rows: usize,
    batch_bytes: usize,
}

impl Outputs {
    pub fn new(edges: Vec<OutEdge>, batch_rows: usize, batch_bytes: usize) -> Outputs {
        Outputs { edges, batch_rows, batch_bytes }
    }

    /// Spreads a batch over the channels of an edge; what is big enough comes back to be shipped, the rest is buffered.
    pub fn partition(&mut self, edge: usize, batch: Batch) -> Result<Vec<Shipment>> {
        let (enough_rows, enough_bytes) = (self.batch_rows, self.batch_bytes);
        let out = self.edges.get_mut(edge).ok_or_else(|| Error::internal(format!("no outgoing edge {edge}")))?;
        let (channels, mut ready) = (&mut out.channels, vec![]);
        out.partitioner.split(batch, |channel, batch| {
            let Some(c) = channels.get_mut(channel) else {
                return Err(Error::internal(format!("no channel {channel} on edge {edge}")));
            };
            c.buffer.rows += batch.num_rows();
            c.buffer.bytes += batch.bytes();
            c.buffer.batches.push(batch);
            // Half a batch is as good as a whole one, and saves the copy that joining it would cost.
            if c.buffer.rows * 2 >= enough_rows || c.buffer.bytes >= enough_bytes {
                ready.push(Shipment { edge, channel, batch: c.take_buffered()? });
            }
            Ok(())
        })?;
        Ok(ready)
    }

    pub fn channel(&mut self, edge: usize, channel: usize) -> Result<&mut Channel> {
        let missing = || Error::internal(format!("no channel {channel} on edge {edge}"));
        self.edges.get_mut(edge).and_then(|e| e.channels.get_mut(channel)).ok_or_else(missing)
    }

    /// Takes the rows that wait for this channel, if any.
    pub fn take_buffered(&mut self, edge: usize, channel: usize) -> Result<Option<Batch>> {
        let c = self.channel(edge, channel)?;
        if c.has_buffered() { c.take_buffered().map(Some) } else { Ok(None) }
    }

    /// Sends rows; the caller has waited for credit.
    pub fn send_rows(&mut self, edge: usize, channel: usize, batch: Batch) -> Result<()> {
        let c = self.channel(edge, channel)?;
        let bytes = i64::try_from(batch.bytes()).unwrap_or(i64::MAX);
        c.credit_bytes = c.credit_bytes.saturating_sub(bytes);
        c.in_flight_bytes += bytes;
        c.send(InBand::Batch(batch));
        Ok(())
    }

    /// Credit came back.
    pub fn add_credit(&mut self, edge: u32, channel: u32, bytes: u64) -> Result<()> {
        let c = self.channel(edge as usize, channel as usize)?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        c.credit_bytes = c.credit_bytes.saturating_add(bytes);
        c.in_flight_bytes -= bytes;
        Ok(())
    }

    /// Bytes sent and not yet given back, over all channels.
    pub fn in_flight_bytes(&self) -> i64 {
        self.edges.iter().flat_map(|e| &e.channels).map(|c| c.in_flight_bytes).sum()
    }

    /// Sends a watermark to all channels of an edge if it is news; buffered rows have been sent by the caller.
    pub fn send_watermark(&mut self, edge: usize, mark: Watermark) {
        if let Some(e) = self.edges.get_mut(edge)
            && e.is_news(mark)
        {
            e.sent = mark;
            e.channels.iter().for_each(|c| c.send(InBand::Watermark(mark)));
        }
    }

    /// Sends time, end of data (once) and the barrier, in this order.
    pub fn send_barrier(&mut self, edge: usize, mark: Watermark, ended: bool, barrier: Barrier) {
        // MAX travels as the end of data only.
        if !ended {
            self.send_watermark(edge, mark);
        }
        let Some(e) = self.edges.get_mut(edge) else { return };
        let news = ended && !e.ended;
        e.ended |= ended;
        for c in &e.channels {
            if news {
                c.send(InBand::End);
            }
            c.send(InBand::Barrier(barrier));
        }
    }

    /// Credit and buffers, for the watchdog.
    pub fn describe(&self) -> String {
        let one = |c: &Channel| format!("{}/{}", c.buffer.rows, c.credit_bytes);
        let edges: Vec<Vec<String>> = self.edges.iter().map(|e| e.channels.iter().map(one).collect()).collect();
        format!("buffered/credit {edges:?}")
    }
}
