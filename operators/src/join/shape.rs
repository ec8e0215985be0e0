//! One side of a join: which of its columns are kept, and how rows become entries and entries rows.
//!
//! Kept are the keys, then the columns that are no keys themselves.
//!
//! Invariants
//! - S1 floats are made canonical (one NaN, no -0.0) before anything else, so that what comes back from state is what was emitted.

use super::packing::Packing;
use super::{nullable, type_of, unit_of};
use crate::expr::{self, Expr, Text};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute;
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type, SchemaRef, TimeUnit};
use datafusion_physical_expr::expressions::Column;
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::state::reader::{Names, label};
use thalweg_engine::{Batch, Error, EventTime, Result};

/// The time of a side's rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    /// Its column in the input.
    column: usize,
    /// Its place among the kept columns.
    pub(super) stored: usize,
    unit: TimeUnit,
    pub(super) keep_ms: i64,
}

/// See the module.
pub(super) struct Shape {
    schema: SchemaRef,
    keys: Vec<Expr>,
    /// Keys, then the rest.
    fields: Vec<FieldRef>,
    /// The columns of the input that are the rest.
    rest: Vec<usize>,
    /// The place of each input column among the kept ones; empty if only keys are kept.
    places: Vec<usize>,
    /// Of each kept column how it is packed, if it is.
    packings: Vec<Option<Packing>>,
    floats: Vec<usize>,
    pub(super) time: Option<Time>,
}

/// Entries of a side, or rows that are to be some.
#[derive(Clone)]
pub(super) struct Entries {
    /// Keys, then the rest.
    pub(super) columns: Vec<ArrayRef>,
    /// Of the keys.
    pub(super) hashes: Vec<u64>,
    pub(super) weights: Vec<i64>,
    keys: usize,
}

impl Entries {
    pub(super) fn keys(&self) -> &[ArrayRef] {
        self.columns.get(..self.keys).unwrap_or(&self.columns)
    }

    pub(super) fn rest(&self) -> &[ArrayRef] {
        self.columns.get(self.keys..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Those for which it is true.
    pub(super) fn filter(&self, keep: &BooleanArray) -> Result<Entries> {
        let columns = filter(&self.columns, keep)?;
        let kept = |i: &usize| keep.value(*i);
        let places: Vec<usize> = (0..self.len()).filter(kept).collect();
        let hashes = places.iter().filter_map(|i| self.hashes.get(*i)).copied().collect();
        let weights = places.iter().filter_map(|i| self.weights.get(*i)).copied().collect();
        Ok(Entries { columns, hashes, weights, keys: self.keys })
    }
}

/// What became of a batch.
pub(super) struct Read {
    /// Rows that may have partners.
    pub(super) entries: Entries,
    /// Rows that match nothing, for their key or time is NULL.
    pub(super) lone: Option<Batch>,
    /// Rows older than the frontier.
    pub(super) late: Option<Batch>,
}

impl Shape {
    /// Errors: `internal` if a key or the time do not fit the schema.
    pub(super) fn new(
        schema: &SchemaRef,
        keys: Vec<Expr>,
        keeps_rows: bool,
        time: Option<(usize, i64)>,
    ) -> Result<Shape> {
        let (mut fields, mut names) = (Vec::new(), Names::default());
        let mut places = vec![usize::MAX; schema.fields().len()];
        for (i, key) in keys.iter().enumerate() {
            let data_type = type_of(key, schema)?;
            fields.push(nullable(&names.unique(label(&Text(key).to_string())), data_type));
            let column = key.downcast_ref::<Column>().map(Column::index);
            if let Some(place) = column.and_then(|c| places.get_mut(c)) {
                *place = i;
            }
        }
        let mut rest = Vec::new();
        let mut packings: Vec<Option<Packing>> = keys.iter().map(|_| None).collect();
        for (column, place) in places.iter_mut().enumerate().filter(|_| keeps_rows) {
            if *place == usize::MAX {
                *place = fields.len();
                let field = schema.field(column);
                let (kept, packing) = Packing::of(&names.unique(field.name()), field)?;
                fields.push(kept);
                packings.push(packing);
                rest.push(column);
            }
        }
        let time = time.map(|(column, keep_ms)| {
            let unit = unit_of(schema, column)?;
            let stored = places.get(column).copied().unwrap_or(usize::MAX);
            // A row that is not late yet may be taken back: it is not freed.
            Ok::<_, Error>(Time { column, stored, unit, keep_ms: keep_ms.max(0) })
        });
        let is_float = |c: &usize| matches!(schema.field(*c).data_type(), DataType::Float32 | DataType::Float64);
        let floats = (0..schema.fields().len()).filter(is_float).collect();
        if !keeps_rows {
            places.clear();
        }
        Ok(Shape { schema: schema.clone(), keys, fields, rest, places, packings, floats, time: time.transpose()? })
    }

    pub(super) fn key_columns(&self) -> usize {
        self.keys.len()
    }

    /// The kept columns.
    pub(super) fn fields(&self) -> impl Iterator<Item = &FieldRef> {
        self.fields.iter()
    }

    pub(super) fn key_fields(&self) -> impl Iterator<Item = &FieldRef> {
        self.fields.iter().take(self.keys.len())
    }

    pub(super) fn rest_fields(&self) -> impl Iterator<Item = &FieldRef> {
        self.fields.iter().skip(self.keys.len())
    }

    /// The types of the input's columns.
    pub(super) fn types(&self) -> impl Iterator<Item = &DataType> {
        self.schema.fields().iter().map(|f| f.data_type())
    }

    /// The input's columns of entries.
    pub(super) fn rows(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let lost = |place: &usize| Error::internal(format!("a join keeps {} columns, not {place}", columns.len()));
        let row = |place: &usize| {
            let column = columns.get(*place).ok_or_else(|| lost(place))?;
            match self.packings.get(*place) {
                Some(Some(packing)) => packing.unpack(column),
                _ => Ok(column.clone()),
            }
        };
        self.places.iter().map(row).collect()
    }

    /// Entries out of their columns.
    pub(super) fn entries(&self, columns: Vec<ArrayRef>, weights: Vec<i64>) -> Result<Entries> {
        let mut hashes = Vec::new();
        hash_rows(columns.get(..self.keys.len()).unwrap_or(&columns), weights.len(), &mut hashes)?;
        Ok(Entries { columns, hashes, weights, keys: self.keys.len() })
    }

    /// Takes a batch in. Errors: `user` for what the data does not allow.
    pub(super) fn read(&self, batch: &Batch, nulls_match: bool, frontier: EventTime) -> Result<Read> {
        let mut batch = self.canonical(batch)?;
        let mut late = None;
        if let Some(time) = &self.time
            && let Some(is_late) = time.late(&batch, frontier)?
        {
            late = Some(batch.filter(&is_late)?);
            batch = batch.filter(&compute::not(&is_late)?)?;
        }
        let mut keys = self.keys.iter().map(|k| expr::evaluate(k, batch.columns())).collect::<Result<Vec<_>>>()?;
        let mut lone = None;
        if let Some(matching) = self.matching(&batch, &keys, nulls_match)? {
            lone = Some(batch.filter(&compute::not(&matching)?)?);
            batch = batch.filter(&matching)?;
            keys = filter(&keys, &matching)?;
        }
        for (column, packing) in self.rest.iter().zip(self.packings.iter().skip(self.keys.len())) {
            let column = batch.column(*column)?;
            keys.push(packing.as_ref().map_or_else(|| Ok(column.clone()), |packing| packing.pack(column))?);
        }
        let weights = batch.weights().map_or_else(|| vec![1; batch.num_rows()], <[i64]>::to_vec);
        Ok(Read { entries: self.entries(keys, weights)?, lone, late })
    }

    /// Which rows may match, if not all.
    fn matching(&self, batch: &Batch, keys: &[ArrayRef], nulls_match: bool) -> Result<Option<BooleanArray>> {
        let time = self.time.map(|t| batch.column(t.column)).transpose()?;
        let keys = keys.iter().filter(|_| !nulls_match);
        let nulls = keys.chain(time).fold(None, |all, c| NullBuffer::union(all.as_ref(), c.logical_nulls().as_ref()));
        Ok(nulls.filter(|n| n.null_count() > 0).map(|n| BooleanArray::new(n.into_inner(), None)))
    }

    fn canonical(&self, batch: &Batch) -> Result<Batch> {
        if self.floats.is_empty() {
            return Ok(batch.clone());
        }
        let mut columns = batch.columns().columns().to_vec();
        for place in &self.floats {
            let Some(column) = columns.get_mut(*place) else { continue };
            if let Some(floats) = column.as_primitive_opt::<Float64Type>() {
                *column = Arc::new(floats.unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }));
            } else if let Some(floats) = column.as_primitive_opt::<Float32Type>() {
                *column = Arc::new(floats.unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }));
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        batch.with_columns(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
    }
}

impl Time {
    /// An instant in the unit of the column.
    fn of(&self, millis: i64) -> i64 {
        match self.unit {
            TimeUnit::Second => millis.div_euclid(1000).saturating_add(i64::from(millis.rem_euclid(1000) > 0)),
            TimeUnit::Millisecond => millis,
            TimeUnit::Microsecond => millis.saturating_mul(1000),
            TimeUnit::Nanosecond => millis.saturating_mul(1_000_000),
        }
    }

    /// Rows older than this are free at a frontier.
    pub(super) fn freed_before(&self, frontier: EventTime) -> i64 {
        match frontier {
            EventTime::MAX => i64::MAX,
            EventTime::MIN => i64::MIN,
            now => self.of(now.minus(self.keep_ms).millis()),
        }
    }

    /// Which rows are older than the frontier, if any is.
    fn late(&self, batch: &Batch, frontier: EventTime) -> Result<Option<BooleanArray>> {
        if frontier == EventTime::MIN {
            return Ok(None);
        }
        let before = self.of(frontier.millis());
        let column = batch.column(self.column)?;
        let ints = compute::cast(column, &DataType::Int64)?;
        let values = ints.as_primitive::<arrow::datatypes::Int64Type>();
        let late = BooleanBuffer::collect_bool(values.len(), |i| values.is_valid(i) && values.value(i) < before);
        Ok((late.count_set_bits() > 0).then(|| BooleanArray::new(late, None)))
    }
}

/// The rows of some columns for which it is true.
pub(super) fn filter(columns: &[ArrayRef], keep: &BooleanArray) -> Result<Vec<ArrayRef>> {
    columns.iter().map(|c| compute::filter(c, keep).map_err(Error::from)).collect()
}

/// The rows of some columns at these places.
pub(super) fn take(columns: &[ArrayRef], places: &[u32]) -> Result<Vec<ArrayRef>> {
    let places = UInt32Array::from(places.to_vec());
    columns.iter().map(|c| compute::take(c, &places, None).map_err(Error::from)).collect()
}
