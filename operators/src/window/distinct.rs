//! The values of DISTINCT aggregates: each is kept once per group and slice, in a table beside the slice's groups. Called by all
//! window operators.
//!
//! Invariants
//! - D1 the keys of a table of values are those of the group, then the value; it is parted into key groups by the former alone, so
//!   that a group and its values are restored to the same subtask.

use crate::aggregate::Program;
use crate::aggregate::program::Inputs;
use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::FieldRef;
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::state::{KeyedTable, TableSpec};
use thalweg_engine::{Error, Result};

/// The values of one DISTINCT argument, as the program numbers it.
pub(crate) struct Distinct {
    pub(crate) mask: usize,
    /// The column of values.
    pub(crate) field: FieldRef,
    table: Arc<TableSpec>,
}

impl Distinct {
    /// All that a program needs, over groups of these keys.
    pub(crate) fn of(program: &Program, keys: &[FieldRef]) -> Vec<Distinct> {
        let distinct = |(mask, field): (usize, FieldRef)| {
            let table = TableSpec::new(keys.iter().chain([&field]).cloned(), []).grouped_by(keys.len());
            Distinct { mask, field, table: Arc::new(table) }
        };
        program.distincts().into_iter().map(distinct).collect()
    }

    /// The table of values.
    pub(crate) fn table(&self) -> &Arc<TableSpec> {
        &self.table
    }

    /// Adds the values of rows with these group keys. Errors: `internal` for retractions.
    pub(crate) fn add(
        &self,
        table: &mut KeyedTable,
        program: &Program,
        keys: &[ArrayRef],
        inputs: &Inputs,
        handles: &mut Vec<u32>,
    ) -> Result<()> {
        if inputs.weights().is_some() {
            return Err(Error::internal("a DISTINCT aggregate of a stream with retractions"));
        }
        let (picked, values) = program.distinct_values(self.mask, inputs)?;
        if picked.len() == keys.first().map_or(picked.len(), |k| k.len()) {
            return intern(table, keys, &values, handles);
        }
        let picked = UInt32Array::from(picked);
        let keys = keys.iter().map(|k| take(k, &picked, None)).collect::<std::result::Result<Vec<_>, _>>()?;
        intern(table, &keys, &values, handles)
    }
}

/// Adds values to the groups of these keys, row by row.
pub(crate) fn intern(
    table: &mut KeyedTable,
    keys: &[ArrayRef],
    values: &ArrayRef,
    handles: &mut Vec<u32>,
) -> Result<()> {
    let columns: Vec<ArrayRef> = keys.iter().chain([values]).cloned().collect();
    let mut hashes = Vec::new();
    hash_rows(&columns, values.len(), &mut hashes)?;
    table.intern(&columns, &hashes, handles).map(drop)
}
