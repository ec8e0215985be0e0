//! The end of an epoch of an outer, semi or anti join without residual filter: whether a row has a partner is a matter of its key, so
//! only keys that got their first partner or lost their last one change rows that were there before.
//!
//! Of a side X that is watched and the other side Y, with the number of rows of Y per key before and after:
//! 1. keys under which rows of X are results no more: take back the old rows of X;
//! 2. changes of X under keys where they were results and still are: hand them on;
//! 3. keys under which rows of X are results now: emit the new rows of X.
//!
//! Pairs are `changes(left) x old(right) + new(left) x changes(right)`.

use super::Watch;
use super::operator::{CHUNK_ROWS, Sides};
use super::output::Emit;
use super::shape::Entries;
use crate::join::output::sum;
use arrow::array::{Array, BooleanArray};
use thalweg_engine::Result;
use thalweg_engine::state::{Cursor, Matches};

/// Which keys are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Their rows were results.
    Leave,
    /// Their rows become results.
    Enter,
}

/// Settles the changes of both sides.
pub(super) fn settle(sides: &mut Sides<'_>, emit: Emit<'_>) -> Result<()> {
    let watches = sides.plan.kind.watches();
    let watched = |side: usize| watches[side].map(|watch| (side, watch));
    for (side, watch) in (0..2).filter_map(watched) {
        sides.turn(side, watch, Turn::Leave, false, emit)?;
        sides.stay(side, watch, false, false, emit)?;
    }
    let has_pairs = sides.plan.kind.has_pairs();
    if has_pairs {
        sides.emit_met(0, emit)?;
    }
    sides.absorb(0)?;
    if let Some((side, watch)) = watched(0) {
        sides.turn(side, watch, Turn::Enter, false, emit)?;
    }
    if has_pairs {
        sides.emit_met(1, emit)?;
    }
    sides.absorb(1)?;
    if let Some((side, watch)) = watched(1) {
        sides.turn(side, watch, Turn::Enter, true, emit)?;
    }
    Ok(())
}

/// How many partners each key had and has, from what it has in the state now and by how much it changes.
fn before_and_after(now: &[i64], change: &[i64], is_absorbed: bool) -> Result<Vec<(i64, i64)>> {
    let each = now.iter().zip(change).map(|(now, change)| match is_absorbed {
        true => Ok((sum(*now, change.saturating_neg())?, *now)),
        false => Ok((*now, sum(*now, *change)?)),
    });
    each.collect()
}

impl Sides<'_> {
    /// Emits the rows of a side under keys whose turn it is. `is_absorbed`: the other side's state has its changes already.
    pub(super) fn turn(
        &mut self,
        side: usize,
        watch: Watch,
        turn: Turn,
        is_absorbed: bool,
        emit: Emit<'_>,
    ) -> Result<()> {
        let plan = self.plan;
        let (rows, _, other, changes) = self.of(side);
        let (mut cursor, mut now, mut matches) = (Cursor::default(), Vec::new(), Matches::default());
        while let Some((keys, change)) = changes.scan_totals(&mut cursor, CHUNK_ROWS)? {
            let keys = plan.shapes[1 - side].entries(keys, change)?;
            other.totals(keys.keys(), &keys.hashes, &mut now)?;
            let turns = before_and_after(&now, &keys.weights, is_absorbed)?;
            let turns = turns.iter().map(|(old, new)| (watch.wants(*old), watch.wants(*new)));
            let wanted = if turn == Turn::Leave { (true, false) } else { (false, true) };
            let mask: BooleanArray = turns.map(|t| Some(t == wanted)).collect();
            if mask.true_count() == 0 {
                continue;
            }
            let keys = keys.filter(&mask)?;
            let mut probe = rows.probe(keys.keys(), &keys.hashes)?;
            while rows.next(&mut probe, CHUNK_ROWS, &mut matches)? {
                let mut weights = rows.weights(&matches)?;
                if turn == Turn::Leave {
                    weights.iter_mut().for_each(|w| *w = w.saturating_neg());
                }
                plan.emit_entries(side, &rows.columns(&matches)?, &weights, emit)?;
            }
        }
        Ok(())
    }

    /// Emits the changes of a side under keys where its rows were results and still are; those without a NULL key only, if so asked.
    pub(super) fn stay(
        &mut self,
        side: usize,
        watch: Watch,
        is_absorbed: bool,
        without_null: bool,
        emit: Emit<'_>,
    ) -> Result<()> {
        let mut cursor = Cursor::default();
        while let Some(rows) = self.next_changes(side, &mut cursor)? {
            let partners = self.partners(side, &rows, is_absorbed)?;
            let stays = |(i, (old, new)): (usize, &(i64, i64))| {
                watch.wants(*old) && watch.wants(*new) && !(without_null && has_null(&rows, i))
            };
            let mask: BooleanArray = partners.iter().enumerate().map(|p| Some(stays(p))).collect();
            if mask.true_count() > 0 {
                let rows = rows.filter(&mask)?;
                self.plan.emit_entries(side, &rows.columns, &rows.weights, emit)?;
            }
        }
        Ok(())
    }

    /// How many partners rows of a side had and have.
    pub(super) fn partners(&mut self, side: usize, rows: &Entries, is_absorbed: bool) -> Result<Vec<(i64, i64)>> {
        let (_, _, other, changes) = self.of(side);
        let (mut now, mut change) = (Vec::new(), Vec::new());
        other.totals(rows.keys(), &rows.hashes, &mut now)?;
        changes.totals(rows.keys(), &rows.hashes, &mut change)?;
        before_and_after(&now, &change, is_absorbed)
    }
}

/// Whether a key of a row is NULL.
pub(super) fn has_null(rows: &Entries, i: usize) -> bool {
    rows.keys().iter().any(|key| key.is_null(i))
}
