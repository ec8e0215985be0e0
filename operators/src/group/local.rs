//! The local phase: folds rows into partial states before they travel. Stateless for checkpoints: it holds nothing across a barrier.
//!
//! Invariants
//! - L1 at most [`GROUPS_MAX`] groups and DISTINCT values, and those of one batch, are held.

use super::Plan;
use super::delta::Delta;
use crate::expr::evaluate;
use crate::window::millis;
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::{Batch, Context, Error, Flush, Open, Operator, OutPort, Port, Result};

/// With more groups and DISTINCT values than this, all are emitted.
const GROUPS_MAX: usize = 16_384;

/// The operator in front of the hash edge.
pub(super) struct LocalGroup {
    plan: Arc<Plan>,
    delta: Option<Delta>,
    hashes: Vec<u64>,
}

impl LocalGroup {
    pub(super) fn new(plan: Arc<Plan>) -> LocalGroup {
        LocalGroup { plan, delta: None, hashes: vec![] }
    }

    fn delta(&mut self) -> Result<&mut Delta> {
        self.delta.as_mut().ok_or_else(|| Error::internal("an aggregate was not opened"))
    }
}

impl Operator for LocalGroup {
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        self.delta = Some(Delta::new(&self.plan, ctx.state.budget())?);
        Ok(())
    }

    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        let plan = self.plan.clone();
        let times = match &plan.time {
            Some(time) => millis(time, &batch)?,
            None => vec![].into(),
        };
        let keys = plan.keys.iter().map(|k| evaluate(k, batch.columns())).collect::<Result<Vec<_>>>()?;
        let mut hashes = std::mem::take(&mut self.hashes);
        hash_rows(&keys, batch.num_rows(), &mut hashes)?;
        let inputs = plan.program.evaluate(&batch, times)?;
        let delta = self.delta()?;
        delta.fold(&keys, &hashes, &inputs)?;
        if plan.at_once || delta.len() > GROUPS_MAX {
            delta.drain(&mut |partials| ctx.emit(OutPort::MAIN, partials))?;
        }
        self.hashes = hashes;
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result<Flush> {
        self.delta()?.drain(&mut |partials| ctx.emit(OutPort::MAIN, partials))?;
        Ok(Flush::Done)
    }
}
