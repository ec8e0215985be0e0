//! The global phase: merges partial states behind the hash edge, fires windows. Also what a retry after a restore meets: how far
//! it has fired is in its state.

use super::Plan;
use super::local::Emit;
use super::spec::equal_runs;
use super::store::Store;
use crate::aggregate::program::rows_of;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Int64Type;
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::state::StateStore;
use thalweg_engine::{Batch, Context, Error, EventTime, Open, Operator, OutPort, Port, Result};

/// The operator behind the hash edge.
pub(crate) struct GlobalWindow {
    plan: Arc<Plan>,
    core: Option<GlobalCore>,
}

impl GlobalWindow {
    pub(crate) fn new(plan: Arc<Plan>) -> GlobalWindow {
        GlobalWindow { plan, core: None }
    }

    fn core(&mut self) -> Result<&mut GlobalCore> {
        self.core.as_mut().ok_or_else(|| Error::internal("a window operator was not opened"))
    }
}

impl Operator for GlobalWindow {
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        self.core = Some(GlobalCore::open(self.plan.clone(), ctx.state)?);
        Ok(())
    }

    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        let late = self.core()?.process(&batch)?;
        ctx.metrics().late_rows.add(late);
        Ok(())
    }

    fn on_frontier(&mut self, now: EventTime, ctx: &mut Context<'_>) -> Result<EventTime> {
        self.core()?.on_frontier(now, &mut |rows| ctx.emit(OutPort::MAIN, rows))?;
        Ok(now)
    }
}

/// The global phase without its surroundings: what tests and benchmarks drive.
pub struct GlobalCore {
    store: Store,
    hashes: Vec<u64>,
}

impl GlobalCore {
    /// Declares its state. Errors: `user` if a key can be none, or the snapshot is of another query.
    pub fn open(plan: Arc<Plan>, state: &mut StateStore) -> Result<GlobalCore> {
        Ok(GlobalCore { store: Store::open(plan, state)?, hashes: Vec::new() })
    }

    /// Merges a batch of partial states; returns how many rows were late in it.
    pub fn process(&mut self, batch: &Batch) -> Result<u64> {
        let columns = batch.columns().columns();
        let [ends, rest @ ..] = columns else { return Err(Error::internal("partial states without `slice_end`")) };
        let ends = ends.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::internal("`slice_end` is no i64"))?;
        let keys = self.store.plan().keys.len();
        if rest.len() < keys {
            return Err(Error::internal(format!("{} columns of partial states, {keys} keys", rest.len())));
        }
        let (keys, partials) = rest.split_at(keys);
        hash_rows(keys, batch.num_rows(), &mut self.hashes)?;
        let (runs, late) = self.store.accept(&equal_runs(ends.values()), &self.hashes);
        let slice = |arrays: &[ArrayRef], start, len| arrays.iter().map(|a| a.slice(start, len)).collect::<Vec<_>>();
        for run in runs {
            let hashes = self.hashes.get(run.start..run.start + run.len).unwrap_or_default();
            self.store.merge(
                run.end,
                &slice(keys, run.start, run.len),
                hashes,
                &slice(partials, run.start, run.len),
            )?;
        }
        Ok(late.iter().map(|run| rows_of(&slice(partials, run.start, run.len))).sum())
    }

    /// Fires all windows that end at or before `now`.
    pub fn on_frontier(&mut self, now: EventTime, emit: Emit<'_>) -> Result<()> {
        self.store.fire(now, emit)
    }
}
