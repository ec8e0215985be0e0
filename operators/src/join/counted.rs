//! The end of an epoch of a join whose rows are told apart by a residual filter, or bounded in time: every row that is watched has the
//! number of its partners in the state, and the changes of both sides change it.
//!
//! Pairs are `changes(left) x old(right)`, then `new(left) x changes(right)`. In the first pass old rows of the right gain partners, and
//! rows that are new on the left have their first; in the second the other way round. What a row is before is noted when it is first met.
//!
//! Invariants
//! - C1 a row's number of partners counts every pair once: of two rows that change in one epoch, in the second pass, or in the first if
//!   the right one was there before.

use super::operator::{CHUNK_ROWS, Sides};
use super::output::{Emit, sum};
use super::shape::{Entries, Shape};
use super::{Plan, Watch};
use arrow::array::ArrayRef;
use std::sync::Arc;
use thalweg_engine::Result;
use thalweg_engine::key::hash_rows;
use thalweg_engine::state::{Budget, Cursor, KeyedTable, TableSpec, ValueColumn};

/// The rows of one side that this epoch touches, with what they were before.
struct Touched {
    table: KeyedTable,
    hashes: Vec<u64>,
    rows: Vec<u32>,
}

/// The value columns of [`Touched`].
const IS_NOTED: usize = 0;
const WEIGHT: usize = 1;
const PARTNERS: usize = 2;
const MORE: usize = 3;

/// Rows as they were before the epoch.
struct Before<'a> {
    weights: &'a [i64],
    partners: &'a [i64],
}

impl Touched {
    fn new(shape: &Shape, budget: &Arc<Budget>) -> Result<Touched> {
        let values = [
            ValueColumn::new("noted", false),
            ValueColumn::new("weight", 0i64),
            ValueColumn::new("partners", 0i64),
            ValueColumn::new("more", 0i64),
        ];
        let spec = TableSpec::new(shape.fields().cloned(), values);
        Ok(Touched { table: KeyedTable::new(Arc::new(spec), budget)?, hashes: Vec::new(), rows: Vec::new() })
    }

    /// Notes rows as they were, if they are new here, and adds to the number of their partners.
    fn add(&mut self, columns: &[ArrayRef], before: &Before<'_>, more: &[i64]) -> Result<()> {
        hash_rows(columns, more.len(), &mut self.hashes)?;
        self.table.intern(columns, &self.hashes, &mut self.rows)?;
        let noted = self.table.column_mut::<bool>(IS_NOTED)?;
        let is_new: Vec<bool> = self.rows.iter().map(|row| !std::mem::replace(&mut noted[*row], true)).collect();
        for (column, values) in [(WEIGHT, before.weights), (PARTNERS, before.partners)] {
            let column = self.table.column_mut::<i64>(column)?;
            for ((row, value), _) in self.rows.iter().zip(values).zip(&is_new).filter(|(_, is_new)| **is_new) {
                column[*row] = *value;
            }
        }
        let column = self.table.column_mut::<i64>(MORE)?;
        for (row, more) in self.rows.iter().zip(more) {
            column[*row] = sum(column[*row], *more)?;
        }
        Ok(())
    }
}

/// Settles the changes of both sides.
pub(super) fn settle(sides: &mut Sides<'_>, emit: Emit<'_>) -> Result<()> {
    let watches = sides.plan.kind.watches();
    let touched = |side: usize| watches[side].map(|_| Touched::new(&sides.plan.shapes[side], sides.budget)).transpose();
    let mut touched = [touched(0)?, touched(1)?];
    for side in 0..2 {
        sides.pass(side, &mut touched, emit)?;
        sides.absorb(side)?;
    }
    for (side, (touched, watch)) in touched.into_iter().zip(watches).enumerate() {
        if let (Some(touched), Some(watch)) = (touched, watch) {
            sides.conclude(side, watch, touched, emit)?;
        }
    }
    Ok(())
}

impl Sides<'_> {
    /// The changes of one side meet the other, whose state is old in the pass of the left and new in that of the right.
    fn pass(&mut self, side: usize, touched: &mut [Option<Touched>; 2], emit: Emit<'_>) -> Result<()> {
        let plan = self.plan;
        let [first, second] = touched;
        let (own, other) = if side == 0 { (first, second) } else { (second, first) };
        let (mut cursor, mut weights, mut partners) = (Cursor::default(), Vec::new(), Vec::new());
        while let Some(rows) = self.next_changes(side, &mut cursor)? {
            if own.is_some() {
                self.state[side].find(rows.keys(), &rows.hashes, rows.rest(), &mut weights)?;
                self.state[side].find_partners(rows.keys(), &rows.hashes, rows.rest(), &mut partners)?;
            }
            let mut met = vec![0i64; rows.len()];
            plan.meet(side, &rows, self.state[1 - side], &mut |pairs| {
                if plan.kind.has_pairs() {
                    plan.emit_pairs(side, &rows, &pairs, emit)?;
                }
                for (row, weight) in pairs.rows.iter().zip(&pairs.weights) {
                    met[*row as usize] = sum(met[*row as usize], *weight)?;
                }
                if let Some(other) = other.as_mut() {
                    let more: Vec<i64> = pairs.rows.iter().map(|row| rows.weights[*row as usize]).collect();
                    let before = Before { weights: &pairs.weights, partners: &pairs.partners };
                    other.add(&pairs.entries, &before, &more)?;
                }
                Ok(())
            })?;
            if let Some(own) = own.as_mut() {
                // The partners of a row that was there are counted already.
                met.iter_mut().zip(&weights).filter(|(_, old)| **old != 0).for_each(|(met, _)| *met = 0);
                own.add(&rows.columns, &Before { weights: &weights, partners: &partners }, &met)?;
            }
        }
        Ok(())
    }

    /// Emits what the touched rows of a side have become.
    fn conclude(&mut self, side: usize, watch: Watch, mut touched: Touched, emit: Emit<'_>) -> Result<()> {
        let plan: &Plan = self.plan;
        // A row without partner may get one until it is freed.
        let is_silent = plan.has_bound && watch == Watch::Alone;
        let (mut cursor, mut handles, mut weights) = (Cursor::default(), Vec::new(), Vec::new());
        while touched.table.scan(&mut cursor, CHUNK_ROWS, &mut handles)? {
            let table = &touched.table;
            let rows: Entries = plan.shapes[side].entries(table.keys(&handles)?, vec![0; handles.len()])?;
            let (old_weights, old_partners) = (table.column::<i64>(WEIGHT)?, table.column::<i64>(PARTNERS)?);
            let more = table.column::<i64>(MORE)?;
            let state = &mut *self.state[side];
            state.find(rows.keys(), &rows.hashes, rows.rest(), &mut weights)?;
            let (mut changes, mut partners) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
            for (row, weight) in handles.iter().zip(&weights) {
                let now = sum(old_partners[*row], more[*row])?;
                let counted = |partners: i64, weight: i64| if watch.wants(partners) { weight } else { 0 };
                let was = counted(old_partners[*row], old_weights[*row]);
                changes.push(sum(counted(now, *weight), was.saturating_neg())?);
                partners.push(now);
            }
            state.set_partners(rows.keys(), &rows.hashes, rows.rest(), &partners)?;
            if !is_silent {
                plan.emit_entries(side, &rows.columns, &changes, emit)?;
            }
        }
        Ok(())
    }
}
