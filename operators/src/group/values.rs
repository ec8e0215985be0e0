//! The values of arguments of which a group must know more than a sum: of DISTINCT, and of MIN and MAX over rows that may go again. How
//! many rows of a group have each. Called by both phases.
//!
//! Invariants
//! - V1 the keys of a table of values are those of the group, then the value; it is parted into key groups by the former alone, so
//!   that a group and its values are restored to the same subtask.
//! - V2 between epochs the state has no value of 0 rows, and none of fewer.

use crate::aggregate::Program;
use crate::aggregate::program::Inputs;
use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::FieldRef;
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::state::{KeyedTable, TableSpec, ValueColumn};
use thalweg_engine::{Error, Result};

/// The values of one argument, as the program numbers it.
pub(super) struct ArgumentValues {
    pub(super) mask: usize,
    /// The column of values.
    pub(super) field: FieldRef,
    pub(super) table: Arc<TableSpec>,
    /// All values of a group can be asked for.
    pub(super) kept: bool,
}

impl ArgumentValues {
    /// All that a program needs, over groups of these keys.
    pub(super) fn of(program: &Program, keys: &[FieldRef]) -> Vec<ArgumentValues> {
        let one = |kept: bool, (mask, field): (usize, FieldRef)| {
            let columns = keys.iter().chain([&field]).cloned();
            let table = TableSpec::new(columns, [ValueColumn::new("rows", 0i64)]).grouped_by(keys.len());
            ArgumentValues { mask, field, table: Arc::new(table), kept }
        };
        let distinct = program.distincts().into_iter().map(|v| one(false, v));
        distinct.chain(program.kept().into_iter().map(|v| one(true, v))).collect()
    }

    /// Counts the values of rows with these group keys.
    pub(super) fn count_rows(
        &self,
        table: &mut KeyedTable,
        program: &Program,
        keys: &[ArrayRef],
        inputs: &Inputs,
    ) -> Result<()> {
        let (picked, values) = program.distinct_values(self.mask, inputs)?;
        let weight = |row: &u32| inputs.weights().map_or(1, |w| w.get(*row as usize).copied().unwrap_or(0));
        let weights: Vec<i64> = picked.iter().map(weight).collect();
        let picked = UInt32Array::from(picked);
        let mut columns = keys.iter().map(|k| take(k, &picked, None)).collect::<std::result::Result<Vec<_>, _>>()?;
        columns.push(values);
        add(table, &columns, &weights)
    }
}

/// Adds to the number of rows that have each value.
pub(super) fn add(table: &mut KeyedTable, columns: &[ArrayRef], weights: &[i64]) -> Result<()> {
    let (mut hashes, mut handles) = (vec![], vec![]);
    hash_rows(columns, weights.len(), &mut hashes)?;
    table.intern(columns, &hashes, &mut handles)?;
    let rows = table.column_mut::<i64>(0)?;
    handles.iter().zip(weights).for_each(|(row, weight)| rows[*row] = rows[*row].wrapping_add(*weight));
    Ok(())
}

/// What an epoch's changes mean for the set of values: the numbers of those that came or went, and +1 or -1 for each.
pub(super) struct Turned {
    pub(super) picked: UInt32Array,
    pub(super) weights: Vec<i64>,
}

/// Takes an epoch's net changes, each key and value once, into the state. Errors: `external` if more rows went than came.
pub(super) fn settle(table: &mut KeyedTable, columns: &[ArrayRef], changes: &Int64Array) -> Result<Turned> {
    let (mut hashes, mut handles) = (vec![], vec![]);
    hash_rows(columns, changes.len(), &mut hashes)?;
    table.intern(columns, &hashes, &mut handles)?;
    let rows = table.column_mut::<i64>(0)?;
    let (mut picked, mut weights, mut gone) = (vec![], vec![], vec![]);
    for (i, (row, change)) in handles.iter().zip(changes.values()).enumerate() {
        let old = rows[*row];
        let new = old.checked_add(*change).ok_or_else(|| Error::user("more than 2^63 rows have the same value"))?;
        if new < 0 {
            return Err(negative());
        }
        rows[*row] = new;
        if (old == 0) != (new == 0) {
            picked.push(i as u32);
            weights.push(if new == 0 { -1 } else { 1 });
        }
        if new == 0 {
            gone.push(*row);
        }
    }
    table.remove(&gone)?;
    Ok(Turned { picked: picked.into(), weights })
}

/// More rows were taken back than had come.
pub(super) fn negative() -> Error {
    let text = "a changelog takes back rows that it never brought; its source is broken, or was read from its middle";
    Error::external(text).with_retry(false)
}
