//! Both phases in one: folds rows right into state and fires windows, by event time or by the wall clock.
//!
//! Invariants
//! - O1 by the wall clock a row never falls into a window that has fired, also if the clock was set back.
//! - O2 while a window of the wall clock is open, a wake-up for the next end is asked for; after a restore the first call of any
//!   kind does so, and fires what is overdue.

use super::local::Emit;
use super::rows::Rows;
use super::store::Store;
use super::{Plan, WindowTime};
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::{Batch, Context, Error, EventTime, Flush, Open, Operator, OutPort, Port, Result};

/// The one operator of an aggregation in one phase.
pub(crate) struct OnePhase {
    plan: Arc<Plan>,
    core: Option<OneCore>,
    by_wall: bool,
    /// The window end that a wake-up was asked for.
    armed: Option<i64>,
}

impl OnePhase {
    pub(crate) fn new(plan: Arc<Plan>) -> OnePhase {
        let by_wall = matches!(plan.time, WindowTime::Processing { .. });
        OnePhase { plan, core: None, by_wall, armed: None }
    }

    fn core(&mut self) -> Result<&mut OneCore> {
        self.core.as_mut().ok_or_else(|| Error::internal("a window operator was not opened"))
    }

    /// Fires windows of the wall clock that are due, and asks for a wake-up at the next one.
    fn turn(&mut self, ctx: &mut Context<'_>) -> Result<()> {
        if !self.by_wall {
            return Ok(());
        }
        let wall = ctx.clock().wall_ms();
        let core = self.core()?;
        core.store.fire(EventTime(wall), &mut |rows| ctx.emit(OutPort::MAIN, rows))?;
        let next = core.store.next_end();
        if next != self.armed {
            self.armed = next;
            if let Some(end) = next {
                let wait = u64::try_from(end.saturating_sub(wall)).unwrap_or_default().max(1);
                ctx.wake_at(ctx.clock().now() + Duration::from_millis(wait));
            }
        }
        Ok(())
    }
}

impl Operator for OnePhase {
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        self.core = Some(OneCore::new(Store::open(self.plan.clone(), ctx.state)?));
        if self.by_wall {
            ctx.waker.wake();
        }
        Ok(())
    }

    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        self.turn(ctx)?;
        let wall = ctx.clock().wall_ms();
        self.core()?.process(batch, wall, &mut |late| ctx.emit_late(late))?;
        self.turn(ctx)
    }

    fn on_frontier(&mut self, now: EventTime, ctx: &mut Context<'_>) -> Result<EventTime> {
        if !self.by_wall || now == EventTime::MAX {
            self.core()?.store.fire(now, &mut |rows| ctx.emit(OutPort::MAIN, rows))?;
        }
        self.turn(ctx)?;
        Ok(now)
    }

    fn on_wake(&mut self, ctx: &mut Context<'_>) -> Result<()> {
        self.armed = None;
        self.turn(ctx)
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result<Flush> {
        self.turn(ctx)?;
        Ok(Flush::Done)
    }
}

/// One phase without its surroundings.
pub(crate) struct OneCore {
    pub(crate) store: Store,
    hashes: Vec<u64>,
}

impl OneCore {
    pub(crate) fn new(store: Store) -> OneCore {
        OneCore { store, hashes: Vec::new() }
    }

    pub(crate) fn process(&mut self, batch: Batch, wall_ms: i64, late: Emit<'_>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let wall = self.store.not_fired(wall_ms);
        let rows = Rows::read(self.store.plan(), batch, wall, std::mem::take(&mut self.hashes))?;
        let (runs, late_runs) = self.store.accept(&rows.runs, &rows.hashes);
        for run in runs {
            self.store.fold(&rows, &run)?;
        }
        for run in late_runs {
            late(rows.batch.slice(run.start, run.len))?;
        }
        self.hashes = rows.hashes;
        Ok(())
    }
}
