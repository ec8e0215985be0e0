//! The global phase: merges partial states behind the hash edge, fires windows. Also what a retry after a restore meets: how far
//! it has fired is in its state.

use super::Plan;
use super::local::Emit;
use super::spec::{Run, equal_runs};
use super::store::Store;
use crate::aggregate::program::rows_of;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Int64Type, UInt32Type};
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

    /// Merges a batch of partial states and DISTINCT values; returns how many rows were late in it.
    pub fn process(&mut self, batch: &Batch) -> Result<u64> {
        let columns = batch.columns().columns();
        let [ends, rest @ ..] = columns else { return Err(Error::internal("partial states without `slice_end`")) };
        let ends = ends.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::internal("`slice_end` is no i64"))?;
        let plan = self.store.plan();
        let (keys, states) = (plan.keys.len(), plan.program.columns().len());
        if columns.len() != plan.partial.fields().len() {
            let text = format!("{} columns of partial states, not {}", columns.len(), plan.partial.fields().len());
            return Err(Error::internal(text));
        }
        let (keys, rest) = rest.split_at(keys);
        let (states, values) = rest.split_at(states);
        let parts = values.last().and_then(|p| p.as_primitive_opt::<UInt32Type>()).map(|p| p.values().as_ref());
        hash_rows(keys, batch.num_rows(), &mut self.hashes)?;
        let (runs, late) = self.store.accept(&runs(ends.values(), parts), &self.hashes);
        let slice =
            |arrays: &[ArrayRef], run: &Run| arrays.iter().map(|a| a.slice(run.start, run.len)).collect::<Vec<_>>();
        let part = |run: &Run| parts.and_then(|p| p.get(run.start)).map_or(0, |part| *part as usize);
        for run in &runs {
            let keys = slice(keys, run);
            match part(run).checked_sub(1) {
                None => {
                    let hashes = self.hashes.get(run.start..run.start + run.len).unwrap_or_default();
                    self.store.merge(run.end, &keys, hashes, &slice(states, run))?;
                }
                Some(n) => {
                    let values = values.get(n).ok_or_else(|| Error::internal(format!("no DISTINCT argument {n}")))?;
                    self.store.merge_values(run.end, n, &keys, &values.slice(run.start, run.len))?;
                }
            }
        }
        Ok(late.iter().filter(|run| part(run) == 0).map(|run| rows_of(&slice(states, run))).sum())
    }

    /// Fires all windows that end at or before `now`.
    pub fn on_frontier(&mut self, now: EventTime, emit: Emit<'_>) -> Result<()> {
        self.store.fire(now, emit)
    }
}

/// Runs of one slice and part each.
fn runs(ends: &[i64], parts: Option<&[u32]>) -> Vec<Run> {
    let of_slices = equal_runs(ends);
    let Some(parts) = parts else { return of_slices };
    let mut runs = Vec::with_capacity(of_slices.len());
    for Run { end, mut start, len } in of_slices {
        for part in parts.get(start..start + len).unwrap_or_default().chunk_by(|a, b| a == b) {
            runs.push(Run { end, start, len: part.len() });
            start += part.len();
        }
    }
    runs
}
