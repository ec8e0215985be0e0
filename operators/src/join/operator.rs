//! The operator of a join. An inner join meets the other side with every batch; the others gather the changes of an epoch, and settle
//! them when it ends. With a time bound nothing is taken back that waiting would spare, so they settle with every batch.
//!
//! Invariants
//! - J1 at a barrier no changes are gathered: state is all there is.
//! - J2 nothing is emitted that is older than the watermark let through before.

use super::output::Emit;
use super::shape::{Entries, filter};
use super::{Plan, Watch, counted, keyed, not_in};
use arrow::array::BooleanArray;
use arrow::util::display::array_value_to_string;
use std::sync::Arc;
use thalweg_engine::state::{Budget, Cursor, Matches, Multimap, State, StateStore};
use thalweg_engine::{Batch, Context, Error, EventTime, Flush, Open, Operator, OutPort, Port, Result};

/// Entries of changes taken at a time.
pub(super) const CHUNK_ROWS: usize = 4096;

/// See the module.
pub(super) struct JoinOperator {
    plan: Arc<Plan>,
    core: Option<Core>,
}

impl JoinOperator {
    pub(super) fn new(plan: Arc<Plan>) -> JoinOperator {
        JoinOperator { plan, core: None }
    }

    fn core(&mut self) -> Result<&mut Core> {
        self.core.as_mut().ok_or_else(|| Error::internal("a join was not opened"))
    }
}

impl Operator for JoinOperator {
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        self.core = Some(Core::open(self.plan.clone(), ctx.state)?);
        Ok(())
    }

    fn process(&mut self, port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        let late = self.core()?.process(usize::from(port.0), &batch, &mut |rows| ctx.emit(OutPort::MAIN, rows))?;
        late.map_or(Ok(()), |late| ctx.emit_late(late))
    }

    fn on_frontier(&mut self, now: EventTime, ctx: &mut Context<'_>) -> Result<EventTime> {
        self.core()?.on_frontier(now, &mut |rows| ctx.emit(OutPort::MAIN, rows))
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result<Flush> {
        let core = self.core()?;
        core.settle(&mut |rows| ctx.emit(OutPort::MAIN, rows))?;
        core.refuse_negative()?;
        Ok(Flush::Done)
    }
}

/// The join without its surroundings.
pub(super) struct Core {
    plan: Arc<Plan>,
    pub(super) state: [State<Multimap>; 2],
    /// Of this epoch, not in `state` yet.
    changes: [Multimap; 2],
    budget: Arc<Budget>,
    frontier: EventTime,
}

/// Both sides while changes are settled.
pub(super) struct Sides<'a> {
    pub(super) plan: &'a Plan,
    pub(super) state: [&'a mut Multimap; 2],
    pub(super) changes: &'a mut [Multimap; 2],
    pub(super) budget: &'a Arc<Budget>,
}

impl Core {
    pub(super) fn open(plan: Arc<Plan>, state: &mut StateStore) -> Result<Core> {
        let budget = state.budget().child("changes");
        let left = state.multimap("left", plan.spec(0, false))?;
        let right = state.multimap("right", plan.spec(1, false))?;
        let changes = changes(&plan, &budget)?;
        Ok(Core { plan, state: [left, right], changes, budget, frontier: EventTime::MIN })
    }

    /// Takes a batch in; returns what is late.
    pub(super) fn process(&mut self, side: usize, batch: &Batch, emit: Emit<'_>) -> Result<Option<Batch>> {
        let (Some(shape), Some(own), Some(changes)) =
            (self.plan.shapes.get(side), self.state.get(side), self.changes.get_mut(side))
        else {
            return Err(Error::internal(format!("port {side} of a join")));
        };
        let read = shape.read(batch, self.plan.nulls_match, self.frontier)?;
        if let (Some(lone), Some(Watch::Alone)) = (read.lone, self.plan.kind.watches()[side]) {
            let weights = lone.weights().map_or_else(|| vec![1; lone.num_rows()], <[i64]>::to_vec);
            self.plan.emit_alone(side, lone.columns().columns().to_vec(), &weights, emit)?;
        }
        let rows = read.entries;
        if rows.len() > 0 && self.plan.waits() {
            changes.update(rows.keys(), &rows.hashes, rows.rest(), Some(&rows.weights))?;
            if self.plan.has_bound {
                self.settle(emit)?;
            }
        } else if rows.len() > 0 {
            {
                let other = self.state[1 - side].lock();
                self.plan.meet(side, &rows, &other, &mut |pairs| self.plan.emit_pairs(side, &rows, &pairs, emit))?;
            }
            own.lock().update(rows.keys(), &rows.hashes, rows.rest(), Some(&rows.weights))?;
        }
        Ok(read.late)
    }

    /// Takes the gathered changes into the state, and emits what they change.
    pub(super) fn settle(&mut self, emit: Emit<'_>) -> Result<()> {
        if self.changes.iter().all(Multimap::is_empty) {
            return Ok(());
        }
        let (mut left, mut right) = (self.state[0].lock(), self.state[1].lock());
        let mut sides = Sides {
            plan: &self.plan,
            state: [&mut left, &mut right],
            changes: &mut self.changes,
            budget: &self.budget,
        };
        if self.plan.is_not_in {
            not_in::settle(&mut sides, emit)?;
        } else if self.plan.counts {
            counted::settle(&mut sides, emit)?;
        } else {
            keyed::settle(&mut sides, emit)?;
        }
        self.changes = changes(&self.plan, &self.budget)?;
        Ok(())
    }

    /// Errors: `external` if a row was taken back that had not come.
    pub(super) fn refuse_negative(&self) -> Result<()> {
        for (state, name) in self.state.iter().zip(["left", "right"]) {
            let mut state = state.lock();
            if !state.has_negative() {
                continue;
            }
            let columns = state.find_negative()?.unwrap_or_default();
            let texts: Vec<String> = columns.iter().map(|c| array_value_to_string(c, 0).unwrap_or_default()).collect();
            let text = format!("the {name} input of a join takes a row back that it never gave: {}", texts.join(", "));
            return Err(Error::external(text).with_retry(false));
        }
        Ok(())
    }

    /// Frees rows that can have no more partners.
    pub(super) fn on_frontier(&mut self, now: EventTime, emit: Emit<'_>) -> Result<EventTime> {
        if !self.plan.has_bound {
            return Ok(now);
        }
        self.frontier = self.frontier.max(now);
        let mut longest = 0;
        for (side, (state, shape)) in self.state.iter().zip(&self.plan.shapes).enumerate() {
            let Some(time) = &shape.time else { continue };
            longest = longest.max(time.keep_ms);
            let is_awaited = self.plan.kind.watches()[side] == Some(Watch::Alone);
            state.lock().evict(time.freed_before(now), &mut |freed| {
                let alone: BooleanArray = freed.partners.iter().map(|n| Some(*n == 0)).collect();
                if !is_awaited || alone.true_count() == 0 {
                    return Ok(());
                }
                let columns = filter(freed.columns, &alone)?;
                let weights: Vec<i64> =
                    freed.weights.iter().zip(freed.partners).filter(|(_, n)| **n == 0).map(|(w, _)| *w).collect();
                self.plan.emit_entries(side, &columns, &weights, emit)
            })?;
        }
        Ok(if matches!(now, EventTime::MIN | EventTime::MAX) { now } else { now.minus(longest) })
    }
}

fn changes(plan: &Plan, budget: &Arc<Budget>) -> Result<[Multimap; 2]> {
    Ok([Multimap::new(plan.spec(0, true), budget)?, Multimap::new(plan.spec(1, true), budget)?])
}

impl Sides<'_> {
    /// State and changes of a side, state and changes of the other.
    pub(super) fn of(&mut self, side: usize) -> (&mut Multimap, &mut Multimap, &mut Multimap, &mut Multimap) {
        let ([left, right], [left_changes, right_changes]) = (&mut self.state, &mut *self.changes);
        match side {
            0 => (left, left_changes, right, right_changes),
            _ => (right, right_changes, left, left_changes),
        }
    }

    /// The next changes of a side.
    pub(super) fn next_changes(&mut self, side: usize, cursor: &mut Cursor) -> Result<Option<Entries>> {
        self.plan.next_entries(side, &mut self.changes[side], cursor)
    }

    /// Emits the pairs of a side's changes and the other's state as it is now.
    pub(super) fn emit_met(&mut self, side: usize, emit: Emit<'_>) -> Result<()> {
        let mut cursor = Cursor::default();
        while let Some(rows) = self.next_changes(side, &mut cursor)? {
            let each = &mut |pairs| self.plan.emit_pairs(side, &rows, &pairs, emit);
            self.plan.meet(side, &rows, self.state[1 - side], each)?;
        }
        Ok(())
    }

    /// Takes the changes of a side into its state.
    pub(super) fn absorb(&mut self, side: usize) -> Result<()> {
        let mut cursor = Cursor::default();
        while let Some(rows) = self.next_changes(side, &mut cursor)? {
            self.state[side].update(rows.keys(), &rows.hashes, rows.rest(), Some(&rows.weights))?;
        }
        Ok(())
    }
}

impl Plan {
    /// The next entries of a side.
    pub(super) fn next_entries(&self, side: usize, map: &mut Multimap, cursor: &mut Cursor) -> Result<Option<Entries>> {
        let mut matches = Matches::default();
        if !map.scan(cursor, CHUNK_ROWS, &mut matches)? {
            return Ok(None);
        }
        self.shapes[side].entries(map.columns(&matches)?, map.weights(&matches)?).map(Some)
    }
}
