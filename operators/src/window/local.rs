//! The local phase: folds rows into partial states before they travel. Stateless for checkpoints: it holds nothing across a
//! barrier.
//!
//! Invariants
//! - L1 before a frontier is let through, the partial states of every slice with a window that this frontier fires are emitted:
//!   in the global phase they arrive before the frontier, and are never late by it.
//! - L2 at most [`GROUPS_MAX`] groups, and those of one batch, are held.

use super::Plan;
use super::rows::Rows;
use super::spec::Run;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_engine::state::{Budget, Cursor, KeyedTable, TableSpec};
use thalweg_engine::{Batch, Context, Error, EventTime, Flush, Open, Operator, OutPort, Port, Result};

/// With more groups than this in all slices, all are emitted.
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

/// The local phase without its surroundings: what tests and benchmarks drive.
pub struct LocalCore {
    plan: Arc<Plan>,
    spec: Arc<TableSpec>,
    budget: Arc<Budget>,
    slices: BTreeMap<i64, KeyedTable>,
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
        let table = match self.slices.entry(run.end) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(slot) => slot.insert(KeyedTable::new(self.spec.clone(), &self.budget)?),
        };
        if run.len == rows.batch.num_rows() {
            table.intern(&rows.keys, &rows.hashes, &mut self.handles)?;
            return self.plan.program.update(table, &self.handles, &rows.inputs);
        }
        table.intern(&rows.keys_of(run), rows.hashes_of(run), &mut self.handles)?;
        self.plan.program.update(table, &self.handles, &rows.inputs.slice(run.start, run.len))
    }

    /// How many groups are held.
    pub fn groups(&self) -> usize {
        self.slices.values().map(KeyedTable::len).sum()
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
            let table = slot.remove();
            let (mut cursor, mut handles) = (Cursor::default(), Vec::new());
            while table.scan(&mut cursor, BATCH_ROWS, &mut handles) {
                let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![slice_end; handles.len()]))];
                columns.extend(table.keys(&handles)?);
                columns.extend(self.plan.program.partials(&table, &handles)?);
                emit(Batch::new(RecordBatch::try_new(self.plan.partial.clone(), columns)?))?;
            }
        }
        Ok(())
    }
}
