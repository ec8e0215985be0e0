//! A batch of rows made ready for folding: cut into runs of one slice, keys hashed, arguments evaluated. Called by the local and
//! the one-phase operator.
//!
//! Invariants
//! - R1 runs cover all rows, in order; rows of one slice that are scattered over many short runs are brought together first.

use super::spec::{Run, clamp, equal_runs, runs};
use super::{Plan, WindowTime};
use crate::aggregate::program::Inputs;
use crate::expr::{Expr, Text, evaluate};
use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use std::collections::HashSet;
use thalweg_engine::key::hash_rows;
use thalweg_engine::{Batch, Error, Result};

/// With more runs than this, rows are sorted by slice first.
const RUNS_MAX: usize = 16;

/// Rows ready to be folded.
pub(crate) struct Rows {
    /// The batch, perhaps in another order.
    pub(crate) batch: Batch,
    pub(crate) runs: Vec<Run>,
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) hashes: Vec<u64>,
    pub(crate) inputs: Inputs,
}

impl Rows {
    /// Reads a batch; `wall_ms` is the time of all rows where time is processing time.
    /// Errors: `user` for a NULL or impossible time, and for what the data does not allow in expressions.
    pub(crate) fn read(plan: &Plan, mut batch: Batch, wall_ms: i64, hashes: Vec<u64>) -> Result<Rows> {
        let (mut times, mut runs) = read_times(plan, &batch, wall_ms)?;
        if runs.len() > RUNS_MAX && runs.iter().map(|r| r.end).collect::<HashSet<_>>().len() < runs.len() {
            runs.sort_by_key(|r| r.end);
            let order = runs.iter().flat_map(|r| r.start as u32..(r.start + r.len) as u32);
            batch = batch.take(&UInt32Array::from_iter_values(order))?;
            (times, runs) = read_times(plan, &batch, wall_ms)?;
        }
        let keys = plan.keys.iter().map(|k| evaluate(k, batch.columns())).collect::<Result<Vec<_>>>()?;
        let mut hashes = hashes;
        hash_rows(&keys, batch.num_rows(), &mut hashes)?;
        let inputs = plan.program.evaluate(&batch, times)?;
        Ok(Rows { batch, runs, keys, hashes, inputs })
    }

    /// The keys of a run.
    pub(crate) fn keys_of(&self, run: &Run) -> Vec<ArrayRef> {
        self.keys.iter().map(|k| k.slice(run.start, run.len)).collect()
    }

    /// The hashes of a run.
    pub(crate) fn hashes_of(&self, run: &Run) -> &[u64] {
        self.hashes.get(run.start..run.start + run.len).unwrap_or_default()
    }
}

fn read_times(plan: &Plan, batch: &Batch, wall_ms: i64) -> Result<(ScalarBuffer<i64>, Vec<Run>)> {
    match &plan.time {
        WindowTime::Event { time, .. } => {
            let times = millis(time, batch)?;
            let runs = runs(&plan.windows, &times).map_err(|e| e.context(format!("column `{}`", Text(time))))?;
            Ok((times, runs))
        }
        WindowTime::Attached { end, .. } => {
            let ends = millis(end, batch)?;
            if let Some(bad) = ends.iter().find(|end| clamp(**end) != **end) {
                return Err(Error::user(format!("window end `{}`: {bad} ms is out of range", Text(end))));
            }
            Ok((ends.clone(), equal_runs(&ends)))
        }
        WindowTime::Processing { .. } => {
            let end = plan.windows.slice_end(wall_ms);
            let n = batch.num_rows();
            Ok((vec![wall_ms; n].into(), vec![Run { end, start: 0, len: n }]))
        }
    }
}

/// The values of a timestamp in ms, floored. Errors: `user` for NULL.
pub(crate) fn millis(time: &Expr, batch: &Batch) -> Result<ScalarBuffer<i64>> {
    let array = evaluate(time, batch.columns())?;
    if array.null_count() > 0 {
        let text = format!("event time `{}` is NULL in {} rows", Text(time), array.null_count());
        return Err(Error::user(format!("{text}; filter them out with WHERE {} IS NOT NULL", Text(time))));
    }
    let floor = |values: &ScalarBuffer<i64>, by: i64| values.iter().map(|v| v.div_euclid(by)).collect();
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().values().clone()
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            array.as_primitive::<TimestampSecondType>().values().iter().map(|v| v.saturating_mul(1000)).collect()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            floor(array.as_primitive::<TimestampMicrosecondType>().values(), 1000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            floor(array.as_primitive::<TimestampNanosecondType>().values(), 1_000_000)
        }
        other => return Err(Error::internal(format!("event time `{}` is {other}, not a timestamp", Text(time)))),
    })
}
