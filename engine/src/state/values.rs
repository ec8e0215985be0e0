//! What a keyed table is made of (its specification) and its value columns. Called by operators to declare and to update.
//!
//! Invariants
//! - V1 the Arrow type of a value column has the storage of its kind, so that a snapshot holds every bit of it.
//! - V2 a new entry's values are the initial ones, also in a reused row.

use super::budget::Budget;
use super::bytes::BytesColumn;
use super::leaf;
use super::page::{Column, Fixed};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, make_array, new_empty_array, new_null_array};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, FieldRef};
use std::sync::Arc;

/// The initial value of a column, and so its storage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// A boolean.
    Bool(bool),
    /// A 64-bit integer; also for dates, times and timestamps.
    I64(i64),
    /// A float.
    F64(f64),
    /// A 128-bit integer; also for decimals.
    I128(i128),
    /// Text or binary, NULL at first.
    Bytes,
}

/// One value column of a keyed table: a name, a type and what new entries start with.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueColumn {
    name: String,
    data_type: DataType,
    initial: Initial,
    shown: Option<DataType>,
}

impl ValueColumn {
    /// A column whose storage is that of `initial`, which new entries start with: `ValueColumn::new("min", i64::MAX)`.
    pub fn new(name: impl Into<String>, initial: impl Into<Initial>) -> ValueColumn {
        let initial = initial.into();
        let data_type = match initial {
            Initial::Bool(_) => DataType::Boolean,
            Initial::I64(_) => DataType::Int64,
            Initial::F64(_) => DataType::Float64,
            Initial::I128(_) => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
            Initial::Bytes => DataType::Binary,
        };
        ValueColumn { name: name.into(), data_type, initial, shown: None }
    }

    /// Binary values, NULL at first.
    pub fn bytes(name: impl Into<String>) -> ValueColumn {
        ValueColumn::new(name, Initial::Bytes)
    }

    /// Text values, NULL at first.
    pub fn text(name: impl Into<String>) -> ValueColumn {
        ValueColumn::bytes(name).with_type(DataType::Utf8)
    }

    /// The Arrow type that snapshots and [`KeyedTable::values`](super::KeyedTable::values) show. It must have the same storage:
    /// any 64-bit integer, time or timestamp for `i64`, any decimal for `i128`, any text or binary for bytes.
    pub fn with_type(mut self, data_type: DataType) -> ValueColumn {
        self.data_type = data_type;
        self
    }

    /// The type that people expect of it, where that is another: of the least date, say, which state has as a number.
    pub fn shown_as(mut self, data_type: &DataType) -> ValueColumn {
        self.shown = (*data_type != self.data_type).then(|| data_type.clone());
        self
    }

    /// What [`ValueColumn::shown_as`] said, if that is another type.
    pub fn shown(&self) -> Option<&DataType> {
        self.shown.as_ref()
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Arrow type.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    fn check(&self) -> Result<()> {
        use DataType::*;
        let fits = match self.initial {
            Initial::Bool(_) => self.data_type == Boolean,
            Initial::I64(_) => {
                matches!(self.data_type, Int64 | UInt64 | Date64 | Time64(_) | Timestamp(..) | Duration(_))
            }
            Initial::F64(_) => self.data_type == Float64,
            Initial::I128(_) => matches!(self.data_type, Decimal128(..)),
            Initial::Bytes => {
                matches!(self.data_type, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView)
            }
        };
        let text =
            || format!("state column `{}` starts with {:?}, which is no {}", self.name, self.initial, self.data_type);
        if fits { Ok(()) } else { Err(Error::internal(text())) }
    }
}

impl From<bool> for Initial {
    fn from(v: bool) -> Initial {
        Initial::Bool(v)
    }
}
impl From<i64> for Initial {
    fn from(v: i64) -> Initial {
        Initial::I64(v)
    }
}
impl From<f64> for Initial {
    fn from(v: f64) -> Initial {
        Initial::F64(v)
    }
}
impl From<i128> for Initial {
    fn from(v: i128) -> Initial {
        Initial::I128(v)
    }
}

/// The columns of a keyed table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    keys: Vec<FieldRef>,
    values: Vec<ValueColumn>,
    group_columns: usize,
    /// How many of the first key columns make a cluster, if there are clusters.
    clustered_by: Option<usize>,
}

impl TableSpec {
    /// A table with these key and value columns. No key column: a table of at most one entry.
    pub fn new(keys: impl IntoIterator<Item = FieldRef>, values: impl IntoIterator<Item = ValueColumn>) -> TableSpec {
        let keys: Vec<_> = keys.into_iter().collect();
        TableSpec { group_columns: keys.len(), keys, values: values.into_iter().collect(), clustered_by: None }
    }

    /// Only the first `columns` key columns decide an entry's key group: they are what the operator's input is partitioned by.
    /// The default is all of them.
    pub fn grouped_by(mut self, columns: usize) -> TableSpec {
        self.group_columns = columns.min(self.keys.len());
        self
    }

    /// On disk, entries whose first `columns` key columns are equal are neighbours, and can be found by them.
    pub(crate) fn clustered_by(mut self, columns: usize) -> TableSpec {
        self.clustered_by = Some(columns.min(self.keys.len()));
        self
    }

    /// The number of columns that [`TableSpec::clustered_by`] said, if it was asked.
    pub(crate) fn cluster_columns(&self) -> Option<usize> {
        self.clustered_by
    }

    /// The key columns.
    pub fn keys(&self) -> &[FieldRef] {
        &self.keys
    }

    /// The value columns.
    pub fn values(&self) -> &[ValueColumn] {
        &self.values
    }

    /// How many of the key columns decide the key group.
    pub fn group_columns(&self) -> usize {
        self.group_columns
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.values.iter().try_for_each(ValueColumn::check)
    }
}

/// The values of one column.
#[derive(Debug)]
pub enum Values {
    /// Booleans.
    Bool(Column<bool>),
    /// 64-bit integers.
    I64(Column<i64>),
    /// Floats.
    F64(Column<f64>),
    /// 128-bit integers.
    I128(Column<i128>),
    /// Text or binary.
    Bytes(BytesColumn),
}

/// A fixed-width type with its kind of [`Values`].
pub trait Stored: Fixed {
    /// The column, if the values are of this type.
    fn of(values: &Values) -> Option<&Column<Self>>;
    /// The column to be changed, if the values are of this type.
    fn of_mut(values: &mut Values) -> Option<&mut Column<Self>>;
}

macro_rules! stored {
    ($($type:ty => $kind:ident),*) => {$(
        impl Stored for $type {
            fn of(values: &Values) -> Option<&Column<Self>> {
                if let Values::$kind(column) = values { Some(column) } else { None }
            }
            fn of_mut(values: &mut Values) -> Option<&mut Column<Self>> {
                if let Values::$kind(column) = values { Some(column) } else { None }
            }
        }
    )*};
}
stored!(bool => Bool, i64 => I64, f64 => F64, i128 => I128);

/// Calls the same method on whichever column it is.
macro_rules! each {
    ($values:expr, $column:ident => $body:expr) => {
        match $values {
            Values::Bool($column) => $body,
            Values::I64($column) => $body,
            Values::F64($column) => $body,
            Values::I128($column) => $body,
            Values::Bytes($column) => $body,
        }
    };
}

impl Values {
    pub(crate) fn new(column: &ValueColumn, budget: &Arc<Budget>) -> Values {
        match column.initial {
            Initial::Bool(v) => Values::Bool(Column::new(budget, v)),
            Initial::I64(v) => Values::I64(Column::new(budget, v)),
            Initial::F64(v) => Values::F64(Column::new(budget, v)),
            Initial::I128(v) => Values::I128(Column::new(budget, v)),
            Initial::Bytes => Values::Bytes(BytesColumn::new(budget)),
        }
    }

    /// The column of type `T`. Errors: `internal` if it is of another type.
    pub fn fixed<T: Stored>(&self) -> Result<&Column<T>> {
        T::of(self).ok_or_else(|| Error::internal("state column of another type"))
    }

    /// The column of type `T`, to be changed. Errors: `internal` if it is of another type.
    pub fn fixed_mut<T: Stored>(&mut self) -> Result<&mut Column<T>> {
        T::of_mut(self).ok_or_else(|| Error::internal("state column of another type"))
    }

    /// The byte strings. Errors: `internal` if it is of another type.
    pub fn bytes(&self) -> Result<&BytesColumn> {
        if let Values::Bytes(column) = self { Ok(column) } else { Err(Error::internal("state column of another type")) }
    }

    /// The byte strings, to be changed. Errors: `internal` if it is of another type.
    pub fn bytes_mut(&mut self) -> Result<&mut BytesColumn> {
        if let Values::Bytes(column) = self { Ok(column) } else { Err(Error::internal("state column of another type")) }
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        each!(self, column => column.memory_bytes())
    }

    pub(crate) fn ensure(&mut self, room: usize) {
        each!(self, column => column.ensure(room));
    }

    pub(crate) fn freeze(&mut self, pages: &[usize]) -> Values {
        match self {
            Values::Bool(c) => Values::Bool(c.freeze(pages)),
            Values::I64(c) => Values::I64(c.freeze(pages)),
            Values::F64(c) => Values::F64(c.freeze(pages)),
            Values::I128(c) => Values::I128(c.freeze(pages)),
            Values::Bytes(c) => Values::Bytes(c.freeze(pages)),
        }
    }

    /// Sets a row to its initial value.
    pub(crate) fn reset(&mut self, row: u32) -> Result<()> {
        match self {
            Values::Bytes(c) => c.set(row, None)?,
            Values::Bool(c) => c.reset(row),
            Values::I64(c) => c.reset(row),
            Values::F64(c) => c.reset(row),
            Values::I128(c) => c.reset(row),
        }
        Ok(())
    }

    /// The values of the rows as an Arrow array of the declared type.
    pub(crate) fn gather(&self, data_type: &DataType, rows: &[u32]) -> Result<ArrayRef> {
        if rows.is_empty() {
            return Ok(new_empty_array(data_type));
        }
        let buffer = match self {
            Values::Bool(c) => return Ok(Arc::new(BooleanArray::from_iter(rows.iter().map(|r| Some(c.get(*r)))))),
            Values::Bytes(c) => {
                let out: Vec<_> = rows.iter().map(|row| c.get(*row)).collect();
                return leaf::bytes_to(data_type, &out);
            }
            Values::I64(c) => gathered(c, rows),
            Values::F64(c) => gathered(c, rows),
            Values::I128(c) => gathered(c, rows),
        };
        let data = ArrayData::builder(data_type.clone()).len(rows.len()).add_buffer(buffer).build()?;
        Ok(make_array(data))
    }

    /// Sets the rows to the values of an array of the declared type.
    pub(crate) fn load(&mut self, rows: &[u32], array: &ArrayRef) -> Result<()> {
        match self {
            Values::Bool(c) => {
                let array = array.as_boolean();
                rows.iter().zip(array.values().iter()).for_each(|(row, v)| c[*row] = v);
            }
            Values::I64(c) => load(c, rows, array),
            Values::F64(c) => load(c, rows, array),
            Values::I128(c) => load(c, rows, array),
            Values::Bytes(c) => {
                let values = leaf::bytes_from(array, None);
                for (i, (row, v)) in rows.iter().zip(values).enumerate() {
                    c.set(*row, array.is_valid(i).then_some(v))?;
                }
            }
        }
        Ok(())
    }
}

fn gathered<T: Fixed + arrow::datatypes::ArrowNativeType>(column: &Column<T>, rows: &[u32]) -> Buffer {
    let mut out = Vec::with_capacity(rows.len());
    column.gather(rows, &mut out);
    Buffer::from_vec(out)
}

fn load<T: Fixed + arrow::datatypes::ArrowNativeType>(column: &mut Column<T>, rows: &[u32], array: &ArrayRef) {
    let data = array.to_data();
    if let [buffer] = data.buffers() {
        let values = ScalarBuffer::<T>::new(buffer.clone(), data.offset(), data.len());
        rows.iter().zip(values.iter()).for_each(|(row, v)| column[*row] = *v);
    }
}

/// `rows` NULLs of a type: the values of a tombstone.
pub(crate) fn absent(data_type: &DataType, rows: usize) -> ArrayRef {
    new_null_array(data_type, rows)
}
