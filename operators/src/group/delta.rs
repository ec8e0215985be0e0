//! What an epoch has brought for each group, so far: states of its rows alone, folded from rows or merged from partial states. Never
//! in a checkpoint: both phases empty it before a barrier.

use super::Plan;
use super::values::add;
use crate::aggregate::program::Inputs;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::datatypes::{Int64Type, UInt32Type};
use std::ops::Range;
use std::sync::Arc;
use thalweg_engine::state::{Budget, Cursor, KeyedTable, TableSpec};
use thalweg_engine::{Batch, Error, Result};

/// Rows of an emitted batch.
pub(super) const BATCH_ROWS: usize = 4_096;

/// See the module.
pub(super) struct Delta {
    plan: Arc<Plan>,
    spec: Arc<TableSpec>,
    budget: Arc<Budget>,
    groups: KeyedTable,
    values: Vec<KeyedTable>,
    handles: Vec<u32>,
}

impl Delta {
    /// Nothing yet; `budget` is charged for what it holds.
    pub(super) fn new(plan: &Arc<Plan>, budget: &Arc<Budget>) -> Result<Delta> {
        let (spec, budget) = (Arc::new(plan.table()), budget.child("changes"));
        let (groups, values) = tables(plan, &spec, &budget)?;
        Ok(Delta { plan: plan.clone(), spec, budget, groups, values, handles: vec![] })
    }

    /// The groups, and the values of every DISTINCT argument; nothing is held afterwards.
    pub(super) fn take(&mut self) -> Result<(KeyedTable, Vec<KeyedTable>)> {
        let (groups, values) = tables(&self.plan, &self.spec, &self.budget)?;
        Ok((std::mem::replace(&mut self.groups, groups), std::mem::replace(&mut self.values, values)))
    }

    /// A table of groups like the one that it fills.
    pub(super) fn empty_groups(&self) -> Result<KeyedTable> {
        KeyedTable::new(self.spec.clone(), &self.budget)
    }

    /// How many groups and values are held.
    pub(super) fn len(&self) -> usize {
        self.groups.len() + self.values.iter().map(KeyedTable::len).sum::<usize>()
    }

    /// Folds rows.
    pub(super) fn fold(&mut self, keys: &[ArrayRef], hashes: &[u64], inputs: &Inputs) -> Result<()> {
        self.groups.intern(keys, hashes, &mut self.handles)?;
        self.plan.program.update(&mut self.groups, &self.handles, inputs)?;
        for (distinct, table) in self.plan.values.iter().zip(&mut self.values) {
            distinct.count_rows(table, &self.plan.program, keys, inputs)?;
        }
        Ok(())
    }

    /// Merges a batch of the partial schema. `hashes`: of its keys.
    pub(super) fn merge(&mut self, batch: &Batch, hashes: &[u64]) -> Result<()> {
        let columns = batch.columns().columns();
        let (keys, states) = (self.plan.keys.len(), self.plan.program.columns().len());
        if columns.len() != self.plan.partial.fields().len() {
            let text = format!("{} columns of partial states, not {}", columns.len(), self.plan.partial.fields().len());
            return Err(Error::internal(text));
        }
        let (keys, rest) = columns.split_at(keys);
        let (states, rest) = rest.split_at(states);
        let [values @ .., weights, parts] = rest else {
            return self.merge_states(keys, hashes, states);
        };
        let parts = parts.as_primitive_opt::<UInt32Type>().ok_or_else(|| Error::internal("`part` is no u32"))?;
        let weights = weights.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::internal("`weight` is no i64"))?;
        for run in equal(parts.values()) {
            let keys: Vec<ArrayRef> = keys.iter().map(|k| k.slice(run.start, run.len())).collect();
            let part = parts.values().get(run.start).copied().unwrap_or(0) as usize;
            let Some(at) = part.checked_sub(1) else {
                let states: Vec<ArrayRef> = states.iter().map(|s| s.slice(run.start, run.len())).collect();
                self.merge_states(&keys, hashes.get(run.clone()).unwrap_or_default(), &states)?;
                continue;
            };
            let (Some(values), Some(table)) = (values.get(at), self.values.get_mut(at)) else {
                return Err(Error::internal(format!("partial states of part {part}")));
            };
            let mut columns = keys;
            columns.push(values.slice(run.start, run.len()));
            add(table, &columns, weights.values().get(run).unwrap_or_default())?;
        }
        Ok(())
    }

    fn merge_states(&mut self, keys: &[ArrayRef], hashes: &[u64], states: &[ArrayRef]) -> Result<()> {
        self.groups.intern(keys, hashes, &mut self.handles)?;
        self.plan.program.merge(&mut self.groups, &self.handles, states)
    }

    /// Hands everything on as batches of the partial schema, and holds nothing any more. The groups first: a group that has values is
    /// there when they come.
    pub(super) fn drain(&mut self, emit: &mut dyn FnMut(Batch) -> Result<()>) -> Result<()> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let (mut groups, values) = self.take()?;
        let (mut cursor, mut handles) = (Cursor::default(), vec![]);
        while groups.scan(&mut cursor, BATCH_ROWS, &mut handles)? {
            let mut columns = groups.keys(&handles)?;
            columns.extend(self.plan.program.partials(&groups, &handles)?);
            emit(self.partial(columns, None, 0, handles.len())?)?;
        }
        let states = self.plan.program.columns().len();
        for (n, mut table) in values.into_iter().enumerate() {
            let mut cursor = Cursor::default();
            while table.scan(&mut cursor, BATCH_ROWS, &mut handles)? {
                let mut columns = table.keys(&handles)?;
                let weights = table.values(0, &handles)?;
                let (keys, value) = (self.plan.keys.len(), columns.pop());
                columns.extend(self.missing(keys..keys + states + n, handles.len()));
                columns.extend(value);
                emit(self.partial(columns, Some(weights), n as u32 + 1, handles.len())?)?;
            }
        }
        Ok(())
    }

    /// A batch of one part: `columns` first, and NULL in what comes behind them.
    fn partial(&self, columns: Vec<ArrayRef>, weights: Option<ArrayRef>, part: u32, rows: usize) -> Result<Batch> {
        let mut all = columns;
        if !self.plan.values.is_empty() {
            let last = self.plan.partial.fields().len().saturating_sub(2);
            all.extend(self.missing(all.len()..last, rows));
            all.push(weights.unwrap_or_else(|| Arc::new(Int64Array::from(vec![0; rows]))));
            all.push(Arc::new(UInt32Array::from(vec![part; rows])));
        }
        Ok(Batch::new(record_batch(&self.plan.partial, all, rows)?))
    }

    fn missing(&self, columns: Range<usize>, rows: usize) -> impl Iterator<Item = ArrayRef> {
        let fields = self.plan.partial.fields().iter().take(columns.end).skip(columns.start);
        fields.map(move |f| new_null_array(f.data_type(), rows))
    }
}

fn tables(plan: &Plan, spec: &Arc<TableSpec>, budget: &Arc<Budget>) -> Result<(KeyedTable, Vec<KeyedTable>)> {
    let values = plan.values.iter().map(|d| KeyedTable::new(d.table.clone(), budget));
    Ok((KeyedTable::new(spec.clone(), budget)?, values.collect::<Result<_>>()?))
}

/// A record batch that has a length also without columns.
pub(crate) fn record_batch(
    schema: &arrow::datatypes::SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// The runs of equal numbers.
fn equal(parts: &[u32]) -> Vec<Range<usize>> {
    let mut start = 0;
    let runs = parts.chunk_by(|a, b| a == b).map(|run| {
        start += run.len();
        start - run.len()..start
    });
    runs.collect()
}
