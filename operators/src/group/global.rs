//! The global phase: one entry per group. What an epoch brings is merged apart from the state, and taken into it at the barrier: old
//! and new results stand side by side then, and only what differs is emitted.
//!
//! Invariants
//! - G1 between epochs the state has a group exactly if one of its rows is there, or if there are no keys and an epoch has ended.
//! - G2 the row that is taken back is computed from the state that it was emitted from, so it is the same to the bit.

use super::Plan;
use super::delta::{BATCH_ROWS, Delta, record_batch};
use super::values::{ArgumentValues, negative, settle};
use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{concat, take};
use arrow::datatypes::Int64Type;
use std::collections::HashSet;
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::state::{Cursor, KeyedTable, Matches, Multimap, MultimapSpec, State, StateStore};
use thalweg_engine::{Batch, Context, Error, Flush, KeyGroup, KeyGroupRange, Open, Operator, OutPort, Port, Result};

/// The operator behind the hash edge.
pub(super) struct GlobalGroup {
    plan: Arc<Plan>,
    core: Option<Core>,
}

impl GlobalGroup {
    pub(super) fn new(plan: Arc<Plan>) -> GlobalGroup {
        GlobalGroup { plan, core: None }
    }

    fn core(&mut self) -> Result<&mut Core> {
        self.core.as_mut().ok_or_else(|| Error::internal("an aggregate was not opened"))
    }
}

impl Operator for GlobalGroup {
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        self.core = Some(Core::open(self.plan.clone(), ctx.state)?);
        Ok(())
    }

    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        let at_once = self.plan.at_once;
        let core = self.core()?;
        core.merge(&batch)?;
        if at_once {
            core.flush(&mut |rows| ctx.emit(OutPort::MAIN, rows))?;
        }
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result<Flush> {
        self.core()?.flush(&mut |rows| ctx.emit(OutPort::MAIN, rows))?;
        Ok(Flush::Done)
    }
}

struct Core {
    plan: Arc<Plan>,
    groups: State<KeyedTable>,
    values: Vec<Values>,
    delta: Delta,
    /// The key groups of this subtask.
    range: KeyGroupRange,
    hashes: Vec<u64>,
}

/// What is known about the values of an argument.
enum Values {
    /// How many rows have each.
    Counted(State<KeyedTable>),
    /// The same, by group.
    Kept(State<Multimap>),
}

impl Values {
    fn open(plan: &Plan, of: &ArgumentValues, state: &mut StateStore) -> Result<Values> {
        if !of.kept {
            return Ok(Values::Counted(state.keyed_table(of.field.name(), of.table.as_ref().clone())?));
        }
        let spec = MultimapSpec::new(plan.key_fields.iter().cloned(), [of.field.clone()]);
        Ok(Values::Kept(state.multimap(of.field.name(), spec)?))
    }
}

/// What an epoch has brought, with the best of the kept values that went.
struct Epoch {
    groups: KeyedTable,
    gone: Option<KeyedTable>,
}

/// The results of some groups before and after an epoch.
struct Changed {
    keys: Vec<ArrayRef>,
    old: Vec<ArrayRef>,
    new: Vec<ArrayRef>,
    /// Which of them there was a result of before,
    before: Vec<bool>,
    /// and is one now.
    after: Vec<bool>,
}

impl Core {
    fn open(plan: Arc<Plan>, state: &mut StateStore) -> Result<Core> {
        let delta = Delta::new(&plan, state.budget())?;
        let groups = state.keyed_table("groups", plan.table())?;
        let values = plan.values.iter().map(|of| Values::open(&plan, of, state)).collect::<Result<_>>()?;
        Ok(Core { plan, groups, values, delta, range: state.range(), hashes: vec![] })
    }

    fn merge(&mut self, batch: &Batch) -> Result<()> {
        let keys = batch.columns().columns().get(..self.plan.keys.len()).unwrap_or_default();
        hash_rows(keys, batch.num_rows(), &mut self.hashes)?;
        self.delta.merge(batch, &self.hashes)
    }

    fn flush(&mut self, emit: &mut dyn FnMut(Batch) -> Result<()>) -> Result<()> {
        if self.delta.len() == 0 {
            return self.emit_nothing(emit);
        }
        let (groups, values) = self.delta.take()?;
        let mut epoch = Epoch { groups, gone: None };
        for (n, table) in values.into_iter().enumerate() {
            match self.values.get(n) {
                Some(Values::Counted(_)) => self.settle_values(n, table, &mut epoch.groups)?,
                Some(Values::Kept(_)) => self.settle_kept(n, table, &mut epoch)?,
                None => return Err(Error::internal(format!("no values of argument {n}"))),
            }
        }
        self.apply(epoch, emit)
    }

    /// Without keys there is a result, even if there never was a row.
    fn emit_nothing(&mut self, emit: &mut dyn FnMut(Batch) -> Result<()>) -> Result<()> {
        if !self.plan.keys.is_empty() || !self.groups.lock().is_empty() {
            return Ok(());
        }
        let mut handles = vec![];
        hash_rows(&[], 1, &mut self.hashes)?;
        if !self.hashes.iter().any(|hash| self.range.contains(KeyGroup::of(*hash))) {
            return Ok(());
        }
        let mut groups = self.groups.lock();
        groups.intern(&[], &self.hashes, &mut handles)?;
        let new = self.plan.program.finish(&groups, &handles)?;
        let changed = Changed { keys: vec![], old: new.clone(), new, before: vec![false], after: vec![true] };
        self.emit(changed, emit)
    }

    /// Takes the values of a DISTINCT argument into the state; those that came or went are folded into their groups' changes.
    fn settle_values(&mut self, n: usize, mut changes: KeyedTable, delta: &mut KeyedTable) -> Result<()> {
        let (Some(distinct), Some(Values::Counted(state))) = (self.plan.values.get(n), self.values.get(n)) else {
            return Err(Error::internal(format!("no DISTINCT argument {n}")));
        };
        let (mut cursor, mut handles, mut groups) = (Cursor::default(), vec![], vec![]);
        while changes.scan(&mut cursor, BATCH_ROWS, &mut handles)? {
            let columns = changes.keys(&handles)?;
            let weights = changes.values(0, &handles)?;
            let weights = weights.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::internal("`rows` is no i64"))?;
            let turned = settle(&mut state.lock(), &columns, weights)?;
            if turned.weights.is_empty() {
                continue;
            }
            let mut columns = taken(&columns, &turned.picked)?;
            let Some(values) = columns.pop() else { continue };
            hash_rows(&columns, turned.weights.len(), &mut self.hashes)?;
            delta.intern(&columns, &self.hashes, &mut groups)?;
            self.plan.program.update_distinct(delta, &groups, distinct.mask, &values, Some(&turned.weights))?;
        }
        Ok(())
    }

    /// Takes the values of an argument of MIN or MAX into the state; those that came are folded into their groups' changes, those that
    /// went are folded apart.
    fn settle_kept(&mut self, n: usize, mut changes: KeyedTable, epoch: &mut Epoch) -> Result<()> {
        let (Some(kept), Some(Values::Kept(state))) = (self.plan.values.get(n), self.values.get(n)) else {
            return Err(Error::internal(format!("no kept values of argument {n}")));
        };
        let program = &self.plan.program;
        let (mut cursor, mut handles, mut groups) = (Cursor::default(), vec![], vec![]);
        while changes.scan(&mut cursor, BATCH_ROWS, &mut handles)? {
            let rows = changes.column::<i64>(0)?;
            handles.retain(|h| rows[*h] != 0);
            let weights: Vec<i64> = handles.iter().map(|h| rows[*h]).collect();
            let mut keys = changes.keys(&handles)?;
            let Some(values) = keys.pop() else { continue };
            hash_rows(&keys, weights.len(), &mut self.hashes)?;
            state.lock().update(&keys, &self.hashes, std::slice::from_ref(&values), Some(&weights))?;
            epoch.groups.intern(&keys, &self.hashes, &mut groups)?;
            let came: BooleanBuffer = weights.iter().map(|w| *w > 0).collect();
            program.update_kept(&mut epoch.groups, &groups, kept.mask, &values, Some(&came))?;
            if came.count_set_bits() < came.len() {
                let gone = epoch.gone.get_or_insert(self.delta.empty_groups()?);
                gone.intern(&keys, &self.hashes, &mut groups)?;
                program.update_kept(gone, &groups, kept.mask, &values, Some(&!&came))?;
            }
        }
        if state.lock().has_negative() { Err(negative()) } else { Ok(()) }
    }

    /// Takes an epoch's states into the groups, and emits what has changed by that.
    fn apply(&mut self, mut epoch: Epoch, emit: &mut dyn FnMut(Batch) -> Result<()>) -> Result<()> {
        let (mut cursor, mut rows, mut handles) = (Cursor::default(), vec![], vec![]);
        let program = &self.plan.program;
        while epoch.groups.scan(&mut cursor, BATCH_ROWS, &mut rows)? {
            let keys = epoch.groups.keys(&rows)?;
            hash_rows(&keys, rows.len(), &mut self.hashes)?;
            let changed = {
                let mut groups = self.groups.lock();
                groups.intern(&keys, &self.hashes, &mut handles)?;
                let created: HashSet<u32> = groups.created().iter().copied().collect();
                let before: Vec<bool> = handles.iter().map(|h| !created.contains(h)).collect();
                let old = program.finish(&groups, &handles)?;
                program.merge(&mut groups, &handles, &program.partials(&epoch.groups, &rows)?)?;
                if let Some(gone) = &mut epoch.gone {
                    self.fold_anew(&mut groups, &handles, &keys, gone)?;
                }
                let new = program.finish(&groups, &handles)?;
                let after = self.plan.remove_empty(&mut groups, &handles)?;
                Changed { keys, old, new, before, after }
            };
            self.emit(changed, emit)?;
        }
        Ok(())
    }

    /// Folds the kept values of groups again where the one that was shown may have gone.
    fn fold_anew(
        &self,
        groups: &mut KeyedTable,
        handles: &[u32],
        keys: &[ArrayRef],
        gone: &mut KeyedTable,
    ) -> Result<()> {
        let (program, mut found, mut matches) = (&self.plan.program, vec![], Matches::default());
        gone.lookup(keys, &self.hashes, &mut found)?;
        for (kept, state) in self.plan.values.iter().zip(&self.values) {
            let Values::Kept(state) = state else { continue };
            let stale = program.stale(groups, handles, gone, &found, kept.mask)?;
            let picked: Vec<u32> = (0..handles.len() as u32).filter(|i| stale[*i as usize]).collect();
            if picked.is_empty() {
                continue;
            }
            let of = |i: &u32| handles.get(*i as usize).copied().unwrap_or(KeyedTable::ABSENT);
            let stale: Vec<u32> = picked.iter().map(of).collect();
            program.forget_kept(groups, &stale, kept.mask)?;
            let hashes: Vec<u64> = picked.iter().filter_map(|i| self.hashes.get(*i as usize).copied()).collect();
            let state = state.lock();
            let mut probe = state.probe(&taken(keys, &picked.into())?, &hashes)?;
            while state.next(&mut probe, BATCH_ROWS, &mut matches)? {
                let Some(values) = state.columns(&matches)?.pop() else { continue };
                let handles: Vec<u32> = matches.rows().iter().filter_map(|i| stale.get(*i as usize).copied()).collect();
                program.update_kept(groups, &handles, kept.mask, &values, None)?;
            }
        }
        Ok(())
    }

    /// Emits the results that differ, those that go before those that come.
    fn emit(&self, changed: Changed, emit: &mut dyn FnMut(Batch) -> Result<()>) -> Result<()> {
        let Changed { keys, old, new, before, after } = changed;
        let mut differs: Vec<bool> = before.iter().zip(&after).map(|(b, a)| b != a).collect();
        for (old, new) in old.iter().zip(&new) {
            let unlike = distinct(old, new)?;
            differs.iter_mut().zip(unlike.values()).for_each(|(d, unlike)| *d |= unlike);
        }
        let picked = |there: &[bool]| -> UInt32Array {
            let both = differs.iter().zip(there).enumerate().filter(|(_, (differs, there))| **differs && **there);
            both.map(|(i, _)| i as u32).collect::<Vec<_>>().into()
        };
        let (gone, come) = (picked(&before), picked(&after));
        let rows = gone.len() + come.len();
        if rows == 0 {
            return Ok(());
        }
        let column = |(old, new): (&ArrayRef, &ArrayRef)| -> Result<ArrayRef> {
            let (old, new) = (take(old, &gone, None)?, take(new, &come, None)?);
            Ok(if old.is_empty() { new } else { concat(&[&old, &new])? })
        };
        let pairs = keys.iter().zip(&keys).chain(old.iter().zip(&new));
        let columns = pairs.map(column).collect::<Result<Vec<_>>>()?;
        let columns = record_batch(&self.plan.output, columns, rows)?;
        if self.plan.at_once {
            return emit(Batch::new(columns));
        }
        let weights = std::iter::repeat_n(-1, gone.len()).chain(std::iter::repeat_n(1, come.len()));
        emit(Batch::with_weights(columns, weights.collect::<Vec<i64>>().into())?)
    }
}

impl Plan {
    /// Which of the groups have rows; the others are removed. Errors: `external` if one has fewer than none.
    fn remove_empty(&self, groups: &mut KeyedTable, handles: &[u32]) -> Result<Vec<bool>> {
        let counts = groups.column::<i64>(0)?;
        if handles.iter().any(|h| counts[*h] < 0) {
            return Err(negative());
        }
        if self.keys.is_empty() {
            return Ok(vec![true; handles.len()]);
        }
        let after: Vec<bool> = handles.iter().map(|h| counts[*h] > 0).collect();
        let gone: Vec<u32> = handles.iter().zip(&after).filter(|(_, after)| !**after).map(|(h, _)| *h).collect();
        groups.remove(&gone)?;
        Ok(after)
    }
}

fn taken(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    Ok(columns.iter().map(|c| take(c, rows, None)).collect::<std::result::Result<Vec<_>, _>>()?)
}
