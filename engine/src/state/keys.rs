//! The key columns of a keyed table: a batch's keys made comparable, compared and stored column by column. Called by the table.
//!
//! A struct is flattened into one leaf that says whether it is there and the leaves of its fields; everything else is one leaf.
//!
//! Invariants
//! - Y1 two keys are equal exactly if all their leaves are, where NULL equals NULL (see `leaf.rs`, L1).
//! - Y2 the leaves of a batch, of the columns and of a gathered result stand in the order of the fields, depth first.

use super::budget::Budget;
use super::bytes::BytesColumn;
use super::index::NONE;
use super::leaf::{self, Class};
use super::page::Column;
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, StructArray, new_empty_array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields};
use std::sync::Arc;

/// The values of one leaf of a batch.
enum LeafValues<'a> {
    Int(ScalarBuffer<i64>),
    Wide(ScalarBuffer<i128>),
    Bytes(Vec<&'a [u8]>),
    Null,
}

/// One leaf of a batch.
struct InputLeaf<'a> {
    values: LeafValues<'a>,
    nulls: Option<NullBuffer>,
}

impl InputLeaf<'_> {
    #[inline(always)]
    fn is_null(&self, i: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(i))
    }
}

/// The keys of a batch, ready to be compared.
pub(crate) struct InputKeys<'a> {
    leaves: Vec<InputLeaf<'a>>,
}

impl<'a> InputKeys<'a> {
    /// Prepares decoded columns (see [`decode`]).
    pub(crate) fn new(keys: &'a [ArrayRef]) -> Result<InputKeys<'a>> {
        let mut leaves = Vec::with_capacity(keys.len());
        for key in keys {
            flatten(key, None, &mut leaves)?;
        }
        Ok(InputKeys { leaves })
    }
}

fn flatten<'a>(array: &'a dyn Array, parent: Option<&NullBuffer>, out: &mut Vec<InputLeaf<'a>>) -> Result<()> {
    let nulls = NullBuffer::union(parent, array.nulls()).filter(|n| n.null_count() > 0);
    if let Some(array) = array.as_struct_opt() {
        let there = (0..array.len()).map(|i| i64::from(nulls.as_ref().is_none_or(|n| n.is_valid(i)))).collect();
        out.push(InputLeaf { values: LeafValues::Int(there), nulls: None });
        for column in array.columns() {
            flatten(column, nulls.as_ref(), out)?;
        }
        return Ok(());
    }
    let values = match leaf::class_of(array.data_type())? {
        Class::Int => LeafValues::Int(leaf::ints_from(array, nulls.as_ref())),
        Class::Wide => LeafValues::Wide(leaf::wides_from(array, nulls.as_ref())),
        Class::Bytes => LeafValues::Bytes(leaf::bytes_from(array, nulls.as_ref())),
        Class::Null => LeafValues::Null,
    };
    out.push(InputLeaf { values, nulls });
    Ok(())
}

/// Checks the columns against the declared fields and decodes dictionaries. Errors: `internal` if they do not fit.
pub(crate) fn decode(fields: &[FieldRef], keys: &[ArrayRef], rows: usize) -> Result<Option<Vec<ArrayRef>>> {
    if fields.len() != keys.len() {
        return Err(Error::internal(format!("{} key columns for a table with {}", keys.len(), fields.len())));
    }
    let mut dictionaries = false;
    for (field, key) in fields.iter().zip(keys) {
        if !leaf::fits(field.data_type(), key.data_type()) {
            let (name, declared, given) = (field.name(), field.data_type(), key.data_type());
            return Err(Error::internal(format!("key column `{name}` is {declared}, given {given}")));
        }
        if key.len() != rows {
            return Err(Error::internal(format!("key column `{}`: {} rows, {rows} hashes", field.name(), key.len())));
        }
        dictionaries |= has_dictionary(key.data_type());
    }
    if !dictionaries {
        return Ok(None);
    }
    let decoded = fields.iter().zip(keys).map(|(f, k)| Ok(arrow::compute::cast(k, f.data_type())?));
    decoded.collect::<Result<_>>().map(Some)
}

fn has_dictionary(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..) => true,
        DataType::Struct(fields) => fields.iter().any(|f| has_dictionary(f.data_type())),
        _ => false,
    }
}

/// The stored values of one leaf; NULL flags appear with the first NULL.
#[derive(Debug)]
enum LeafColumn {
    Int(Column<i64>, Option<Column<bool>>),
    Wide(Column<i128>, Option<Column<bool>>),
    Bytes(BytesColumn),
    Null,
}

/// The stored keys of a table.
#[derive(Debug)]
pub(crate) struct KeyColumns {
    fields: Fields,
    leaves: Vec<LeafColumn>,
    room: usize,
    budget: Arc<Budget>,
}

impl KeyColumns {
    /// No rows. Errors: `user` if a field can be no key.
    pub(crate) fn new(fields: &[FieldRef], budget: &Arc<Budget>) -> Result<KeyColumns> {
        let mut leaves = Vec::new();
        for field in fields {
            add_leaves(field.data_type(), budget, &mut leaves)
                .map_err(|e| e.context(format!("key `{}`", field.name())))?;
        }
        Ok(KeyColumns { fields: fields.into(), leaves, room: 0, budget: budget.clone() })
    }

    /// Bytes allocated beside the pages.
    pub(crate) fn own_bytes(&self) -> u64 {
        (self.leaves.capacity() * size_of::<LeafColumn>()) as u64
    }

    /// Bytes of all pages.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let nulls = |nulls: &Option<Column<bool>>| nulls.as_ref().map_or(0, Column::memory_bytes);
        let leaf = |leaf: &LeafColumn| match leaf {
            LeafColumn::Int(values, n) => values.memory_bytes() + nulls(n),
            LeafColumn::Wide(values, n) => values.memory_bytes() + nulls(n),
            LeafColumn::Bytes(values) => values.memory_bytes(),
            LeafColumn::Null => 0,
        };
        self.leaves.iter().map(leaf).sum()
    }

    pub(crate) fn ensure(&mut self, room: usize) {
        self.room = room;
        for leaf in &mut self.leaves {
            match leaf {
                LeafColumn::Int(values, nulls) => ensure(values, nulls, room),
                LeafColumn::Wide(values, nulls) => ensure(values, nulls, room),
                LeafColumn::Bytes(values) => values.ensure(room),
                LeafColumn::Null => {}
            }
        }
    }

    /// Turns each candidate whose key differs from that of input row `offset + i` into [`NONE`].
    pub(crate) fn verify(&self, input: &InputKeys<'_>, offset: usize, rows: &mut [u32]) {
        for (column, input) in self.leaves.iter().zip(&input.leaves) {
            match (column, &input.values) {
                (LeafColumn::Int(values, nulls), LeafValues::Int(keys)) => {
                    verify_fixed(values, &keys[offset..], rows);
                    verify_nulls(nulls.as_ref(), input, offset, rows);
                }
                (LeafColumn::Wide(values, nulls), LeafValues::Wide(keys)) => {
                    verify_fixed(values, &keys[offset..], rows);
                    verify_nulls(nulls.as_ref(), input, offset, rows);
                }
                (LeafColumn::Bytes(values), LeafValues::Bytes(keys)) => verify_bytes(values, keys, input, offset, rows),
                _ => {}
            }
        }
    }

    /// Whether the key of `row` is that of input row `i`.
    pub(crate) fn same(&self, input: &InputKeys<'_>, i: usize, row: u32) -> bool {
        self.leaves.iter().zip(&input.leaves).all(|(column, input)| match (column, &input.values) {
            (LeafColumn::Int(values, nulls), LeafValues::Int(keys)) => {
                values.try_get(row) == Some(keys[i]) && is_null(nulls.as_ref(), row) == input.is_null(i)
            }
            (LeafColumn::Wide(values, nulls), LeafValues::Wide(keys)) => {
                values.try_get(row) == Some(keys[i]) && is_null(nulls.as_ref(), row) == input.is_null(i)
            }
            (LeafColumn::Bytes(values), LeafValues::Bytes(keys)) => {
                values.get(row) == (!input.is_null(i)).then_some(keys[i])
            }
            _ => true,
        })
    }

    /// Whether two rows are equal in the first `leaves` leaves.
    pub(crate) fn same_rows(&self, a: u32, b: u32, leaves: usize) -> bool {
        self.leaves.iter().take(leaves).all(|column| match column {
            LeafColumn::Int(values, nulls) => {
                values.get(a) == values.get(b) && is_null(nulls.as_ref(), a) == is_null(nulls.as_ref(), b)
            }
            LeafColumn::Wide(values, nulls) => {
                values.get(a) == values.get(b) && is_null(nulls.as_ref(), a) == is_null(nulls.as_ref(), b)
            }
            LeafColumn::Bytes(values) => values.get(a) == values.get(b),
            LeafColumn::Null => true,
        })
    }

    /// How many leaves the first `fields` fields have.
    pub(crate) fn leaves_of(&self, fields: usize) -> usize {
        fn leaves(data_type: &DataType) -> usize {
            match data_type {
                DataType::Struct(fields) => 1 + fields.iter().map(|f| leaves(f.data_type())).sum::<usize>(),
                _ => 1,
            }
        }
        self.fields.iter().take(fields).map(|f| leaves(f.data_type())).sum()
    }

    /// The value of a row in a leaf of whole numbers, `None` if it is NULL or no such leaf.
    pub(crate) fn int(&self, leaf: usize, row: u32) -> Option<i64> {
        match self.leaves.get(leaf) {
            Some(LeafColumn::Int(values, nulls)) if !is_null(nulls.as_ref(), row) => values.try_get(row),
            _ => None,
        }
    }

    /// Stores the key of input row `i` as that of `row`.
    pub(crate) fn set(&mut self, input: &InputKeys<'_>, i: usize, row: u32) -> Result<()> {
        let (room, budget) = (self.room, &self.budget);
        for (column, input) in self.leaves.iter_mut().zip(&input.leaves) {
            let null = input.is_null(i);
            match (column, &input.values) {
                (LeafColumn::Int(values, nulls), LeafValues::Int(keys)) => {
                    values[row] = keys[i];
                    set_null(nulls, row, null, room, budget);
                }
                (LeafColumn::Wide(values, nulls), LeafValues::Wide(keys)) => {
                    values[row] = keys[i];
                    set_null(nulls, row, null, room, budget);
                }
                (LeafColumn::Bytes(values), LeafValues::Bytes(keys)) => {
                    values.set(row, (!null).then_some(keys[i]))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The keys of the rows, as Arrow columns of the declared types.
    pub(crate) fn gather(&self, rows: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut leaves = self.leaves.iter();
        self.fields.iter().map(|field| gather(field.data_type(), &mut leaves, rows)).collect()
    }

    pub(crate) fn freeze(&mut self, pages: &[usize]) -> KeyColumns {
        let leaves = self.leaves.iter_mut().map(|leaf| match leaf {
            LeafColumn::Int(v, n) => LeafColumn::Int(v.freeze(pages), n.as_mut().map(|n| n.freeze(pages))),
            LeafColumn::Wide(v, n) => LeafColumn::Wide(v.freeze(pages), n.as_mut().map(|n| n.freeze(pages))),
            LeafColumn::Bytes(v) => LeafColumn::Bytes(v.freeze(pages)),
            LeafColumn::Null => LeafColumn::Null,
        });
        KeyColumns { leaves: leaves.collect(), fields: self.fields.clone(), room: 0, budget: self.budget.clone() }
    }
}

fn add_leaves(data_type: &DataType, budget: &Arc<Budget>, out: &mut Vec<LeafColumn>) -> Result<()> {
    if let DataType::Struct(fields) = data_type {
        out.push(LeafColumn::Int(Column::new(budget, 0), None));
        return fields.iter().try_for_each(|f| add_leaves(f.data_type(), budget, out));
    }
    out.push(match leaf::class_of(data_type)? {
        Class::Int => LeafColumn::Int(Column::new(budget, 0), None),
        Class::Wide => LeafColumn::Wide(Column::new(budget, 0), None),
        Class::Bytes => LeafColumn::Bytes(BytesColumn::new(budget)),
        Class::Null => LeafColumn::Null,
    });
    Ok(())
}

fn ensure<T: super::page::Fixed>(values: &mut Column<T>, nulls: &mut Option<Column<bool>>, room: usize) {
    values.ensure(room);
    if let Some(nulls) = nulls {
        nulls.ensure(room);
    }
}

#[inline(always)]
fn is_null(nulls: Option<&Column<bool>>, row: u32) -> bool {
    nulls.is_some_and(|n| n.try_get(row) == Some(true))
}

fn set_null(nulls: &mut Option<Column<bool>>, row: u32, null: bool, room: usize, budget: &Arc<Budget>) {
    if null && nulls.is_none() {
        let mut column = Column::new(budget, false);
        column.ensure(room);
        *nulls = Some(column);
    }
    if let Some(nulls) = nulls {
        nulls[row] = null;
    }
}

fn verify_fixed<T: super::page::Fixed + PartialEq>(values: &Column<T>, keys: &[T], rows: &mut [u32]) {
    let verified = |row: u32, key: &T| if values.try_get(row) == Some(*key) { row } else { NONE };
    if !values.is_large() {
        return rows.iter_mut().zip(keys).for_each(|(row, key)| *row = verified(*row, key));
    }
    for (i, key) in keys.iter().enumerate().take(rows.len()) {
        values.prefetch(rows, i);
        rows[i] = verified(rows[i], key);
    }
}

fn verify_nulls(nulls: Option<&Column<bool>>, input: &InputLeaf<'_>, offset: usize, rows: &mut [u32]) {
    if nulls.is_none() && input.nulls.is_none() {
        return;
    }
    for (i, row) in rows.iter_mut().enumerate() {
        if is_null(nulls, *row) != input.is_null(offset + i) {
            *row = NONE;
        }
    }
}

fn verify_bytes(values: &BytesColumn, keys: &[&[u8]], input: &InputLeaf<'_>, offset: usize, rows: &mut [u32]) {
    for (i, key) in keys[offset..].iter().enumerate().take(rows.len()) {
        values.prefetch(rows, i);
        let key = (!input.is_null(offset + i)).then_some(*key);
        let row = &mut rows[i];
        if *row != NONE && values.get(*row) != key {
            *row = NONE;
        }
    }
}

fn null_buffer(nulls: Option<&Column<bool>>, rows: &[u32]) -> Option<NullBuffer> {
    let nulls = nulls?;
    Some(rows.iter().map(|row| !nulls.get(*row)).collect())
}

fn gather<'a>(
    data_type: &DataType,
    leaves: &mut impl Iterator<Item = &'a LeafColumn>,
    rows: &[u32],
) -> Result<ArrayRef> {
    let missing = || Error::internal(format!("a key of type {data_type} has no column"));
    let column = leaves.next().ok_or_else(missing)?;
    if let DataType::Struct(fields) = data_type {
        let there = match column {
            LeafColumn::Int(values, _) => rows.iter().map(|row| values.get(*row) != 0).collect::<NullBuffer>(),
            _ => return Err(missing()),
        };
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            columns.push(gather(field.data_type(), leaves, rows)?);
        }
        return Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, Some(there), rows.len())?));
    }
    match column {
        LeafColumn::Int(values, nulls) => {
            let mut out = Vec::with_capacity(rows.len());
            values.gather(rows, &mut out);
            leaf::ints_to(data_type, out, null_buffer(nulls.as_ref(), rows))
        }
        LeafColumn::Wide(values, nulls) => {
            let mut out = Vec::with_capacity(rows.len());
            values.gather(rows, &mut out);
            leaf::wides_to(data_type, out, null_buffer(nulls.as_ref(), rows))
        }
        LeafColumn::Bytes(_) if rows.is_empty() => Ok(new_empty_array(data_type)),
        LeafColumn::Bytes(values) => {
            let out: Vec<_> = rows.iter().map(|row| values.get(*row)).collect();
            leaf::bytes_to(data_type, &out)
        }
        LeafColumn::Null => Ok(leaf::nothing(rows.len())),
    }
}
