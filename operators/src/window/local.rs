//! The local phase: folds rows into partial states before they travel. Stateless for checkpoints: it holds nothing across a
//! barrier.
//!
//! Invariants
//! - L1 before a frontier is let through, the partial states of every slice with a window that this frontier fires are emitted:
//!   in the global phase they arrive before the frontier, and are never late by it.
//! - L2 at most [`GROUPS_MAX`] groups and DISTINCT values, and those of one batch, are held.

use super::Plan;
use super::rows::Rows;
use super::spec::Run;
use crate::aggregate::program::Inputs;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array, new_null_array};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use thalweg_engine::state::{Budget, Cursor, KeyedTable, TableSpec};
use thalweg_engine::{Batch, Context, Error, EventTime, Flush, Open, Operator, OutPort, Port, Result};

/// With more groups and DISTINCT values than this in all slices, all are emitted.
pub const GROUPS_MAX: usize = 16_384;
/// Rows of an emitted batch.
const BATCH_ROWS: usize = 8_192;

/// The operator in front of the hash edge.
pub(crate) struct LocalWindow {
    core: Option<LocalCore>,
    plan: Arc<Plan>,
}

impl LocalWindow {
    pub(crate) fn new(plan: Arc<Plan>) -> LocalWindow {
        LocalWindow { core: None, plan }
    }

    fn core(&mut self) -> Result<&mut LocalCore> {
        self.core.as_mut().ok_or_else(|| Error::internal("a window operator was not opened"))
    }
}

impl Operator for LocalWindow {
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        self.core = Some(LocalCore::new(self.plan.clone(), ctx.state.budget()));
        Ok(())
    }

    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        let core = self.core()?;
        core.process(batch, &mut |late| ctx.emit_late(late))?;
        if core.groups() > GROUPS_MAX {
            core.flush(i64::MAX, &mut |partials| ctx.emit(OutPort::MAIN, partials))?;
        }
        Ok(())
    }

    fn on_frontier(&mut self, now: EventTime, ctx: &mut Context<'_>) -> Result<EventTime> {
        self.core()?.on_frontier(now, &mut |partials| ctx.emit(OutPort::MAIN, partials))?;
        Ok(now)
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result<Flush> {
        self.core()?.flush(i64::MAX, &mut |partials| ctx.emit(OutPort::MAIN, partials))?;
        Ok(Flush::Done)
    }
}

/// Takes batches that leave an operator.
pub type Emit<'a> = &'a mut dyn FnMut(Batch) -> Result<()>;

/// The groups of a slice, and the values of each DISTINCT argument.
struct Slice {
    groups: KeyedTable,
    values: Vec<KeyedTable>,
}

impl Slice {
    fn new(plan: &Plan, groups: &Arc<TableSpec>, budget: &Arc<Budget>) -> Result<Slice> {
        let values = plan.distincts.iter().map(|d| KeyedTable::new(d.table().clone(), budget));
        Ok(Slice { groups: KeyedTable::new(groups.clone(), budget)?, values: values.collect::<Result<_>>()? })
    }

    fn fold(
        &mut self,
        plan: &Plan,
        keys: &[ArrayRef],
        hashes: &[u64],
        inputs: &Inputs,
        handles: &mut Vec<u32>,
    ) -> Result<()> {
        self.groups.intern(keys, hashes, handles)?;
        plan.program.update(&mut self.groups, handles, inputs)?;
        for (distinct, table) in plan.distincts.iter().zip(&mut self.values) {
            distinct.add(table, &plan.program, keys, inputs, handles)?;
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.groups.len() + self.values.iter().map(KeyedTable::len).sum::<usize>()
    }
}

/// The local phase without its surroundings: what tests and benchmarks drive.
pub struct LocalCore {
    plan: Arc<Plan>,
    spec: Arc<TableSpec>,
    budget: Arc<Budget>,
    slices: BTreeMap<i64, Slice>,
    /// Windows ending here and before have fired, as far as this subtask can know.
    fired: i64,
    hashes: Vec<u64>,
    handles: Vec<u32>,
}

impl LocalCore {
    /// Nothing held. `budget` is charged for the groups.
    pub fn new(plan: Arc<Plan>, budget: &Arc<Budget>) -> LocalCore {
        LocalCore {
            spec: Arc::new(plan.table()),
            plan,
            budget: budget.child("local"),
            slices: BTreeMap::new(),
            fired: i64::MIN,
            hashes: Vec::new(),
            handles: Vec::new(),
        }
    }

    /// Folds a batch; late rows go to `late`, as they came in. Errors: `user` for what the data does not allow.
    pub fn process(&mut self, batch: Batch, late: Emit<'_>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let rows = Rows::read(&self.plan, batch, 0, std::mem::take(&mut self.hashes))?;
        for run in &rows.runs {
            match self.plan.ends_of(run.end) {
                Some((_, last)) if last <= self.fired => late(rows.batch.slice(run.start, run.len))?,
                Some(_) => self.fold(&rows, run)?,
                // Between the windows of a HOP whose slide is longer than its size: the row is in none.
                None => {}
            }
        }
        self.hashes = rows.hashes;
        Ok(())
    }

    fn fold(&mut self, rows: &Rows, run: &Run) -> Result<()> {
        use std::collections::btree_map::Entry;
        let slice = match self.slices.entry(run.end) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(slot) => slot.insert(Slice::new(&self.plan, &self.spec, &self.budget)?),
        };
        if run.len == rows.batch.num_rows() {
            return slice.fold(&self.plan, &rows.keys, &rows.hashes, &rows.inputs, &mut self.handles);
        }
        let inputs = rows.inputs.slice(run.start, run.len);
        slice.fold(&self.plan, &rows.keys_of(run), rows.hashes_of(run), &inputs, &mut self.handles)
    }

    /// How many groups are held, and values of DISTINCT arguments.
    pub fn groups(&self) -> usize {
        self.slices.values().map(Slice::len).sum()
    }

    /// Emits what must travel before the frontier `now` does.
    pub fn on_frontier(&mut self, now: EventTime, emit: Emit<'_>) -> Result<()> {
        let fired = self.plan.fired_at(now.millis());
        if fired > self.fired && now > EventTime::MIN {
            self.fired = fired;
            self.flush(fired, emit)?;
        }
        Ok(())
    }

    /// Emits all slices that have a window ending at or before `end`.
    pub fn flush(&mut self, end: i64, emit: Emit<'_>) -> Result<()> {
        while let Some(slot) = self.slices.first_entry() {
            let slice_end = *slot.key();
            if self.plan.ends_of(slice_end).is_some_and(|(first, _)| first > end) {
                break;
            }
            let mut slice = slot.remove();
            self.emit_slice(slice_end, &mut slice, emit)?;
        }
        Ok(())
    }

    /// The groups first: a group that has values is there when they come.
    fn emit_slice(&self, end: i64, slice: &mut Slice, emit: Emit<'_>) -> Result<()> {
        let (keys, mut handles) = (self.plan.key_fields.len(), Vec::new());
        let mut cursor = Cursor::default();
        while slice.groups.scan(&mut cursor, BATCH_ROWS, &mut handles)? {
            let mut columns = slice.groups.keys(&handles)?;
            columns.extend(self.plan.program.partials(&slice.groups, &handles)?);
            emit(self.partial(end, 0, handles.len(), columns)?)?;
        }
        for (n, table) in slice.values.iter_mut().enumerate() {
            let mut cursor = Cursor::default();
            while table.scan(&mut cursor, BATCH_ROWS, &mut handles)? {
                let mut columns = table.keys(&handles)?;
                let values = columns.split_off(keys);
                let nothing = keys + self.plan.program.columns().len() + n;
                columns.extend(self.missing(1 + keys..1 + nothing, handles.len()));
                columns.extend(values);
                emit(self.partial(end, n as u32 + 1, handles.len(), columns)?)?;
            }
        }
        Ok(())
    }

    /// A batch of one part: `columns` behind the slice's end, and NULL in what comes behind them.
    fn partial(&self, end: i64, part: u32, rows: usize, columns: Vec<ArrayRef>) -> Result<Batch> {
        let mut all: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![end; rows]))];
        all.extend(columns);
        if !self.plan.distincts.is_empty() {
            let last = self.plan.partial.fields().len() - 1;
            all.extend(self.missing(all.len()..last, rows));
            all.push(Arc::new(UInt32Array::from(vec![part; rows])));
        }
        Ok(Batch::new(RecordBatch::try_new(self.plan.partial.clone(), all)?))
    }

    fn missing(&self, columns: Range<usize>, rows: usize) -> impl Iterator<Item = ArrayRef> {
        let fields = self.plan.partial.fields().iter().take(columns.end).skip(columns.start);
        fields.map(move |f| new_null_array(f.data_type(), rows))
    }
}
