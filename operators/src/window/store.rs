//! The state of window aggregation: slices of groups, distinct values beside them, and how far has been fired. Called by the
//! global and the one-phase operator.
//!
//! Invariants
//! - S1 "fired up to" is kept per key group: after a restore, whatever the frontier, a window fires once per group, and rows for
//!   fired windows are late. All groups of a subtask stand at one value again as soon as the frontier has passed them all.
//! - S2 a slice is dropped when the last window it is part of has fired, for all groups.

use super::Plan;
use super::distinct::{self, Distinct};
use super::local::Emit;
use super::rows::Rows;
use super::spec::Run;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit};
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::state::{Budget, Cells, Cursor, KeyedTable, Slices, State, StateStore};
use thalweg_engine::{Batch, Error, EventTime, KeyGroup, KeyGroupRange, Result};

/// Rows handled and emitted at a time.
const BATCH_ROWS: usize = 8_192;
/// The cell that says how far a key group has fired.
const FIRED: &str = "fired";

/// Slices, distinct values and the fired mark of one subtask.
pub(crate) struct Store {
    plan: Arc<Plan>,
    budget: Arc<Budget>,
    range: KeyGroupRange,
    slices: State<Slices>,
    /// Of each of the plan's DISTINCT arguments.
    values: Vec<State<Slices>>,
    cells: State<Cells>,
    /// Per key group of `range`.
    fired: Vec<i64>,
    lowest: i64,
    highest: i64,
    handles: Vec<u32>,
}

impl Store {
    /// Declares the state. Errors: `user` if a key can be none, or the snapshot is of another query.
    pub(crate) fn open(plan: Arc<Plan>, state: &mut StateStore) -> Result<Store> {
        let slices = state.slices("windows", plan.table())?;
        let cells = state.cells("progress")?;
        let mut values = Vec::new();
        for distinct in &plan.distincts {
            values.push(state.slices(&format!("distinct{}", distinct.mask), distinct.table().as_ref().clone())?);
        }
        let range = state.range();
        let mut fired = vec![i64::MIN; usize::from(range.end.saturating_sub(range.start))];
        for (group, value) in cells.lock().groups(FIRED) {
            let place = usize::from(u16::from(group.0).saturating_sub(range.start));
            if let (Some(slot), Ok(value)) = (fired.get_mut(place), <[u8; 8]>::try_from(value)) {
                *slot = i64::from_le_bytes(value);
            }
        }
        let lowest = fired.iter().min().copied().unwrap_or(i64::MIN);
        let highest = fired.iter().max().copied().unwrap_or(i64::MIN);
        let budget = state.budget().child("firing");
        Ok(Store { plan, budget, range, slices, values, cells, fired, lowest, highest, handles: Vec::new() })
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    fn fired(&self, hash: u64) -> i64 {
        let place = usize::from(u16::from(KeyGroup::of(hash).0).saturating_sub(self.range.start));
        self.fired.get(place).copied().unwrap_or(self.highest)
    }

    /// `time`, or the first instant that is in no fired window.
    pub(crate) fn not_fired(&self, time: i64) -> i64 {
        time.max(self.highest)
    }

    /// Parts runs into those that some window still waits for, and late ones. Rows that are in no window at all are dropped.
    pub(crate) fn accept(&self, runs: &[Run], hashes: &[u64]) -> (Vec<Run>, Vec<Run>) {
        let (mut open, mut late) = (Vec::with_capacity(runs.len()), Vec::new());
        for run in runs {
            let Some((_, last)) = self.plan.ends_of(run.end) else { continue };
            if last > self.highest {
                open.push(*run);
            } else if last <= self.lowest {
                late.push(*run);
            } else {
                for i in run.start..run.start + run.len {
                    let is_late = hashes.get(i).is_some_and(|h| last <= self.fired(*h));
                    if is_late { &mut late } else { &mut open }.push(Run { end: run.end, start: i, len: 1 });
                }
            }
        }
        (open, late)
    }

    /// Folds the rows of one run.
    pub(crate) fn fold(&mut self, rows: &Rows, run: &Run) -> Result<()> {
        let (keys, hashes) = (rows.keys_of(run), rows.hashes_of(run));
        let inputs = rows.inputs.slice(run.start, run.len);
        {
            let mut slices = self.slices.lock();
            let table = slices.slice(run.end)?;
            table.intern(&keys, hashes, &mut self.handles)?;
            self.plan.program.update(table, &self.handles, &inputs)?;
        }
        for (distinct, values) in self.plan.distincts.iter().zip(&self.values) {
            let mut values = values.lock();
            let table = values.slice(run.end)?;
            distinct.add(table, &self.plan.program, &keys, &inputs, &mut self.handles)?;
        }
        Ok(())
    }

    /// Merges partial states into a slice.
    pub(crate) fn merge(&mut self, end: i64, keys: &[ArrayRef], hashes: &[u64], partials: &[ArrayRef]) -> Result<()> {
        let mut slices = self.slices.lock();
        let table = slices.slice(end)?;
        table.intern(keys, hashes, &mut self.handles)?;
        self.plan.program.merge(table, &self.handles, partials)
    }

    /// Merges values of the n-th DISTINCT argument into a slice.
    pub(crate) fn merge_values(&mut self, end: i64, n: usize, keys: &[ArrayRef], values: &ArrayRef) -> Result<()> {
        let slices = self.values.get(n).ok_or_else(|| Error::internal(format!("values of DISTINCT argument {n}")))?;
        distinct::intern(slices.lock().slice(end)?, keys, values, &mut self.handles)
    }

    /// The end of the next window that may fire.
    pub(crate) fn next_end(&self) -> Option<i64> {
        let slices = self.slices.lock();
        let next = slices.range(..).filter_map(|(slice, _)| self.first_open(slice).map(|(first, _)| first));
        next.min()
    }

    /// The first end after the lowest fired one, and the last, of the windows that a slice is part of.
    fn first_open(&self, slice_end: i64) -> Option<(i64, i64)> {
        let (first, last) = self.plan.ends_of(slice_end)?;
        let period = self.plan.windows.period();
        let first = if first > self.lowest { first } else { first + ((self.lowest - first) / period + 1) * period };
        (first <= last).then_some((first, last))
    }

    /// Fires all windows that end at or before the frontier, in order, and drops slices that no window needs any more.
    pub(crate) fn fire(&mut self, frontier: EventTime, emit: Emit<'_>) -> Result<()> {
        let through = self.plan.fired_at(frontier.millis());
        if through <= self.lowest || frontier == EventTime::MIN {
            return Ok(());
        }
        let due = self.due(through);
        for end in due {
            self.fire_window(end, emit)?;
        }
        self.mark_fired(through);
        let mut slices = self.slices.lock();
        while let Some(end) = slices.first_end() {
            if self.plan.ends_of(end).is_some_and(|(_, last)| last > self.lowest) {
                break;
            }
            slices.drop_through(end);
            self.values.iter().for_each(|slices| {
                slices.lock().drop_through(end);
            });
        }
        Ok(())
    }

    fn due(&self, through: i64) -> BTreeSet<i64> {
        let mut due = BTreeSet::new();
        let step = usize::try_from(self.plan.windows.period()).unwrap_or(usize::MAX);
        for (slice, _) in self.slices.lock().range(..) {
            if let Some((first, last)) = self.first_open(slice) {
                due.extend((first..=last.min(through)).step_by(step));
            }
        }
        due
    }

    fn mark_fired(&mut self, through: i64) {
        let mut cells = self.cells.lock();
        if through >= self.highest {
            self.fired.fill(through);
            cells.set_range(self.range, FIRED, &through.to_le_bytes());
            (self.lowest, self.highest) = (through, through);
            return;
        }
        for (group, fired) in (self.range.start..self.range.end).zip(&mut self.fired) {
            if *fired < through {
                *fired = through;
                cells.set(KeyGroup(group as u8), FIRED, through.to_le_bytes());
            }
        }
        self.lowest = through;
    }

    fn fire_window(&self, end: i64, emit: Emit<'_>) -> Result<()> {
        let mut slices = self.slices.lock();
        let start = self.plan.windows.start_of(end);
        let first = if self.plan.attached { end } else { start.saturating_add(1) };
        let mut parts: Vec<(i64, &mut KeyedTable)> = slices.range_mut(first..=end).collect();
        if let ([(_, table)], true) = (parts.as_mut_slice(), self.values.is_empty()) {
            return self.emit_window(table, start, end, emit);
        }
        // The largest slice first: the merged table then grows once.
        parts.sort_by_key(|(_, table)| std::cmp::Reverse(table.len()));
        let mut merged = KeyedTable::new(Arc::new(self.plan.table()), &self.budget)?;
        let (mut rows, mut handles, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for (_, table) in parts {
            let mut cursor = Cursor::default();
            while table.scan(&mut cursor, BATCH_ROWS, &mut rows)? {
                let keys = table.keys(&rows)?;
                hash_rows(&keys, rows.len(), &mut hashes)?;
                merged.intern(&keys, &hashes, &mut handles)?;
                self.plan.program.merge(&mut merged, &handles, &self.plan.program.partials(table, &rows)?)?;
            }
        }
        for (distinct, values) in self.plan.distincts.iter().zip(&self.values) {
            self.add_distinct(distinct, values, first, end, &mut merged)?;
        }
        self.emit_window(&mut merged, start, end, emit)
    }

    /// Folds each value that some slice of the window has, once per group.
    fn add_distinct(
        &self,
        distinct: &Distinct,
        values: &State<Slices>,
        first: i64,
        end: i64,
        merged: &mut KeyedTable,
    ) -> Result<()> {
        let mut slices = values.lock();
        let mut all = KeyedTable::new(distinct.table().clone(), &self.budget)?;
        let (mut rows, mut handles, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for (_, table) in slices.range_mut(first..=end) {
            let mut cursor = Cursor::default();
            while table.scan(&mut cursor, BATCH_ROWS, &mut rows)? {
                let columns = table.keys(&rows)?;
                hash_rows(&columns, rows.len(), &mut hashes)?;
                all.intern(&columns, &hashes, &mut handles)?;
                let new = all.created().to_vec();
                let columns = all.keys(&new)?;
                let Some((values, keys)) = columns.split_last() else { continue };
                hash_rows(keys, new.len(), &mut hashes)?;
                merged.intern(keys, &hashes, &mut handles)?;
                self.plan.program.update_distinct(merged, &handles, distinct.mask, values, None)?;
            }
        }
        Ok(())
    }

    /// Emits the groups of a window that have rows and have not fired yet.
    fn emit_window(&self, table: &mut KeyedTable, start: i64, end: i64, emit: Emit<'_>) -> Result<()> {
        let (mut cursor, mut rows) = (Cursor::default(), Vec::new());
        while table.scan(&mut cursor, BATCH_ROWS, &mut rows)? {
            let counts = table.column::<i64>(0)?;
            rows.retain(|row| counts[*row] != 0);
            if end <= self.highest {
                self.retain_open(table, end, &mut rows)?;
            }
            if rows.is_empty() {
                continue;
            }
            let mut columns = table.keys(&rows)?;
            let fields = self.plan.output.fields().iter().skip(columns.len());
            for (field, time) in fields.zip([start, end, end - 1]) {
                columns.push(timestamps(time, rows.len(), field.data_type())?);
            }
            columns.extend(self.plan.program.finish(table, &rows)?);
            emit(Batch::new(RecordBatch::try_new(self.plan.output.clone(), columns)?))?;
        }
        Ok(())
    }

    /// Leaves out groups for which the window fired before a restore.
    fn retain_open(&self, table: &KeyedTable, end: i64, rows: &mut Vec<u32>) -> Result<()> {
        let mut hashes = Vec::new();
        hash_rows(&table.keys(rows)?, rows.len(), &mut hashes)?;
        let mut hashes = hashes.into_iter();
        rows.retain(|_| hashes.next().is_some_and(|hash| self.fired(hash) < end));
        Ok(())
    }
}

/// A column of one instant, given in ms.
fn timestamps(millis: i64, rows: usize, data_type: &DataType) -> Result<ArrayRef> {
    instants(vec![millis; rows], data_type)
}

/// A column of instants, given in ms.
pub(super) fn instants(mut values: Vec<i64>, data_type: &DataType) -> Result<ArrayRef> {
    let factor = match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000,
        _ => 1,
    };
    for value in &mut values {
        *value = match data_type {
            DataType::Timestamp(TimeUnit::Second, _) => value.div_euclid(1000),
            _ => value
                .checked_mul(factor)
                .ok_or_else(|| Error::user(format!("window bound {value} ms is out of range for {data_type}")))?,
        };
    }
    let ints: ArrayRef = Arc::new(arrow::array::Int64Array::from(values));
    crate::aggregate::value::cast(&ints, data_type)
}
