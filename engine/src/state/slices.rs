//! Slices: the partial aggregates of windows, one keyed table per slice end, dropped whole once every window over it has fired.
//! Called by window operators.
//!
//! Invariants
//! - D1 a dropped slice is one row in the next snapshot, whatever it held; within a snapshot drops precede upserts, so a slice
//!   that is dropped and made again restores as the new one.
//! - D2 a drop in one old subtask's chain concerns that chain's entries only: at a restore, entries older than the last drop of
//!   their slice in their own chain are skipped.

use super::budget::Budget;
use super::frozen::{self, FrozenRows, by_slice, dropped, encode, table_schema};
use super::snapshot::{ContainerKind, Parts, column, kind};
use super::store::{Container, Encoded, Frozen};
use super::table::KeyedTable;
use super::values::TableSpec;
use crate::error::Result;
use crate::key::KeyGroupRange;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt8Type};
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeBounds;
use std::sync::Arc;

struct Slice {
    table: KeyedTable,
    /// The chain of snapshots has entries of it.
    base: bool,
}

/// Keyed tables with one specification, ordered by the end of their slice in ms.
pub struct Slices {
    spec: Arc<TableSpec>,
    budget: Arc<Budget>,
    slices: BTreeMap<i64, Slice>,
    /// Slices that the chain of snapshots has, dropped since the last freeze.
    dropped: Vec<i64>,
}

impl Slices {
    /// No slices. Errors: `user` if a field can be no key.
    pub fn new(spec: Arc<TableSpec>, budget: &Arc<Budget>) -> Result<Slices> {
        KeyedTable::new(spec.clone(), budget)?;
        Ok(Slices { spec, budget: budget.clone(), slices: BTreeMap::new(), dropped: Vec::new() })
    }

    /// The table of the slice that ends at `end`, made if it is not there.
    pub fn slice(&mut self, end: i64) -> Result<&mut KeyedTable> {
        self.relieve()?;
        use std::collections::btree_map::Entry;
        let slice = match self.slices.entry(end) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(slot) => {
                slot.insert(Slice { table: KeyedTable::new(self.spec.clone(), &self.budget)?, base: false })
            }
        };
        Ok(&mut slice.table)
    }

    /// The table of the slice that ends at `end`, if there is one.
    pub fn get(&self, end: i64) -> Option<&KeyedTable> {
        self.slices.get(&end).map(|s| &s.table)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, end: i64) -> Option<&mut KeyedTable> {
        self.slices.get_mut(&end).map(|s| &mut s.table)
    }

    /// The slices whose ends lie in `ends`, in order.
    pub fn range(&self, ends: impl RangeBounds<i64>) -> impl DoubleEndedIterator<Item = (i64, &KeyedTable)> {
        self.slices.range(ends).map(|(end, slice)| (*end, &slice.table))
    }

    /// The same, to be changed or scanned.
    pub fn range_mut(
        &mut self,
        ends: impl RangeBounds<i64>,
    ) -> impl DoubleEndedIterator<Item = (i64, &mut KeyedTable)> {
        self.slices.range_mut(ends).map(|(end, slice)| (*end, &mut slice.table))
    }

    /// Writes the largest slice to disk if memory is needed.
    fn relieve(&mut self) -> Result<()> {
        if self.budget.over_bytes() == 0 || self.budget.spill().is_none() {
            return Ok(());
        }
        let largest = self.slices.values_mut().max_by_key(|slice| slice.table.memory_rows());
        largest.map_or(Ok(()), |slice| slice.table.relieve())
    }

    /// The first slice's end.
    pub fn first_end(&self) -> Option<i64> {
        self.slices.first_key_value().map(|(end, _)| *end)
    }

    /// The last slice's end.
    pub fn last_end(&self) -> Option<i64> {
        self.slices.last_key_value().map(|(end, _)| *end)
    }

    /// Number of slices.
    pub fn len(&self) -> usize {
        self.slices.len()
    }

    /// Whether there is no slice.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Drops all slices that end at or before `end` and gives their memory back; returns how many.
    pub fn drop_through(&mut self, end: i64) -> usize {
        let before = self.slices.len();
        while let Some(slot) = self.slices.first_entry().filter(|slot| *slot.key() <= end) {
            let (end, slice) = slot.remove_entry();
            if slice.base {
                self.dropped.push(end);
            }
        }
        before - self.slices.len()
    }

    fn apply(&mut self, rows: &RecordBatch, kinds: u8, alive: impl Fn(i64) -> bool) -> Result<()> {
        let Some(rows) = frozen::of_kind(rows, kinds)? else { return Ok(()) };
        for (end, rows) in by_slice(&rows)? {
            if alive(end) {
                frozen::apply(self.slice(end)?, &rows, kinds)?;
            }
        }
        Ok(())
    }
}

impl Container for Slices {
    fn freeze(&mut self, full: bool) -> Box<dyn Frozen> {
        let mut tables = Vec::new();
        for (end, slice) in &mut self.slices {
            let rows = slice.table.freeze(full);
            slice.base = (slice.base && !full) || !rows.is_empty();
            if !rows.is_empty() {
                tables.push((Some(*end), rows));
            }
        }
        let mut dropped = std::mem::take(&mut self.dropped);
        if full {
            dropped.clear();
        }
        Box::new(FrozenSlices { spec: self.spec.clone(), tables, dropped })
    }

    fn restore(&mut self, chains: &[Parts<'_>], range: KeyGroupRange) -> Result<()> {
        for chain in chains {
            let mut last_drop: HashMap<i64, usize> = HashMap::new();
            // What belongs to no key group is read only, at first.
            chain.each(KeyGroupRange { start: 0, end: 0 }, |at, snapshot| {
                frozen::check(chain.name, &snapshot.schema, &self.spec, true)?;
                for piece in snapshot.pieces.iter().filter(|p| p.groups.is_none()) {
                    last_drop.extend(drops(&piece.rows)?.map(|end| (end, at)));
                }
                Ok(())
            })?;
            chain.each(range, |at, snapshot| {
                for kinds in [kind::DELETE, kind::UPSERT] {
                    for rows in snapshot.read(range) {
                        self.apply(&rows?, kinds, |end| last_drop.get(&end).is_none_or(|drop| *drop <= at))?;
                    }
                }
                Ok(())
            })?;
        }
        self.slices.retain(|_, slice| !slice.table.is_empty());
        Ok(())
    }
}

fn drops(rows: &RecordBatch) -> Result<impl Iterator<Item = i64>> {
    let kinds = column(rows, "$kind")?.as_primitive::<UInt8Type>();
    let ends = column(rows, "$slice")?.as_primitive::<Int64Type>();
    Ok(kinds.values().iter().zip(ends.values()).filter(|(k, _)| **k == kind::DROP_SLICE).map(|(_, end)| *end))
}

struct FrozenSlices {
    spec: Arc<TableSpec>,
    tables: Vec<(Option<i64>, FrozenRows)>,
    dropped: Vec<i64>,
}

impl Frozen for FrozenSlices {
    fn encode(&self, each: &mut dyn FnMut(Encoded) -> Result<()>) -> Result<()> {
        let schema = table_schema(&self.spec, true);
        // A slice that was dropped may have been made again: the drop comes first.
        let mut first = match self.dropped.as_slice() {
            [] => None,
            ends => Some(dropped(ends, &schema)?),
        };
        encode(&self.tables, &schema, &mut |mut pieces| {
            pieces.splice(0..0, first.take());
            each(Encoded { kind: ContainerKind::Slices, schema: schema.clone(), pieces })
        })
    }
}

impl Container for KeyedTable {
    fn freeze(&mut self, full: bool) -> Box<dyn Frozen> {
        let kind = ContainerKind::KeyedTable;
        Box::new(FrozenTable { kind, table: [(None, KeyedTable::freeze(self, full))] })
    }

    fn restore(&mut self, chains: &[Parts<'_>], range: KeyGroupRange) -> Result<()> {
        chains.iter().try_for_each(|chain| {
            chain.each(range, |_, snapshot| {
                frozen::check(chain.name, &snapshot.schema, self.spec(), false)?;
                for kinds in [kind::DELETE, kind::UPSERT] {
                    snapshot.read(range).try_for_each(|rows| frozen::apply(self, &rows?, kinds))?;
                }
                Ok(())
            })
        })
    }
}

/// The frozen entries of one table.
pub(crate) struct FrozenTable {
    pub(crate) kind: ContainerKind,
    pub(crate) table: [(Option<i64>, FrozenRows); 1],
}

impl Frozen for FrozenTable {
    fn encode(&self, each: &mut dyn FnMut(Encoded) -> Result<()>) -> Result<()> {
        let [(_, rows)] = &self.table;
        let schema = table_schema(&rows.spec, false);
        encode(&self.table, &schema, &mut |pieces| each(Encoded { kind: self.kind, schema: schema.clone(), pieces }))
    }
}
