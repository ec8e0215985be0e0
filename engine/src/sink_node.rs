//! A sink at the end of a chain: turns the operator calls of a task into those of a [`Sink`].
//!
//! Invariants
//! - W1 while a sink is busy the chain is not ready; `on_wake` asks it again.
//! - W2 at a barrier of its grain the sink prepares; the barrier waits until it has.

use crate::batch::Batch;
use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::message::Barrier;
use crate::operator::{Context, Flush, Open, Operator, Port};
use crate::sink::{JobInfo, Prepare, Release, Sink, SinkContext, SinkOpen, Written};
use crate::time::EventTime;

/// The largest [`Prepared`](crate::sink::Prepared) that is accepted.
pub const PREPARED_LIMIT_BYTES: usize = 64 * 1024;

pub(crate) struct SinkNode {
    sink: Box<dyn Sink>,
    job: JobInfo,
    release: Release,
    busy: bool,
    frontier: EventTime,
}

impl SinkNode {
    pub fn new(sink: Box<dyn Sink>, job: JobInfo) -> SinkNode {
        SinkNode { sink, job, release: Release::Batch, busy: false, frontier: EventTime::MIN }
    }

    fn with_sink<R>(
        &mut self,
        ctx: &mut Context<'_>,
        f: impl FnOnce(&mut dyn Sink, &mut SinkContext<'_>) -> Result<R>,
    ) -> Result<R> {
        let clock = ctx.clock().clone();
        let mut sink_ctx = SinkContext { clock: &clock, frontier: self.frontier, wake_at: None };
        let answer = f(self.sink.as_mut(), &mut sink_ctx);
        let wake_at: Option<Deadline> = sink_ctx.wake_at;
        if let Some(at) = wake_at {
            ctx.wake_at(at);
        }
        answer
    }

    fn takes_part(&self, barrier: Barrier) -> bool {
        self.release != Release::Checkpoint || barrier.checkpoint
    }
}

impl Operator for SinkNode {
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        let mut open = SinkOpen {
            state: ctx.state,
            job: &self.job,
            subtask: ctx.subtask,
            waker: ctx.waker.clone(),
            clock: ctx.clock.clone(),
            metrics: ctx.metrics.clone(),
        };
        self.release = self.sink.open(&mut open)?;
        Ok(())
    }

    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        ctx.metrics().bytes_in.add(batch.bytes() as u64);
        self.busy = self.with_sink(ctx, |sink, c| sink.write(batch, c))? == Written::Busy;
        Ok(())
    }

    fn on_frontier(&mut self, now: EventTime, ctx: &mut Context<'_>) -> Result<EventTime> {
        self.frontier = self.frontier.max(now);
        self.with_sink(ctx, |sink, c| sink.on_frontier(c))?;
        Ok(now)
    }

    fn on_wake(&mut self, ctx: &mut Context<'_>) -> Result<()> {
        self.busy = self.with_sink(ctx, |sink, c| sink.on_wake(c))? == Written::Busy;
        Ok(())
    }

    fn ready(&self) -> bool {
        !self.busy
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result<Flush> {
        let Some(barrier) = ctx.barrier() else {
            return Err(Error::internal("a sink was flushed without a barrier"));
        };
        if !self.takes_part(barrier) {
            return Ok(Flush::Done);
        }
        let last = barrier.last.is_some();
        match self.with_sink(ctx, |sink, c| sink.prepare(barrier.epoch, last, c))? {
            Prepare::Pending => Ok(Flush::Pending),
            Prepare::Done(prepared) if prepared.bytes.len() > PREPARED_LIMIT_BYTES => {
                let text =
                    format!("a sink prepared {} bytes; the limit is {PREPARED_LIMIT_BYTES}", prepared.bytes.len());
                Err(Error::internal(text))
            }
            Prepare::Done(prepared) => {
                ctx.put_prepared(prepared);
                Ok(Flush::Done)
            }
        }
    }
}
