//! What travels: an Arrow record batch with optional weights.
//!
//! Invariants
//! - B1 no weights means that every row is an insertion (+1); append streams never carry weights.
//! - B2 if there are weights, there is one per row.
//! - B3 sizes count the bytes of the slice, never of the buffers under it.

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};

/// What a stream carries; known when a job is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum StreamKind {
    /// Rows that appear and stay. No batch has weights.
    #[default]
    Append,
    /// Rows that appear and may go again.
    Changelog,
}

impl StreamKind {
    /// What people see.
    pub fn name(self) -> &'static str {
        match self {
            StreamKind::Append => "append",
            StreamKind::Changelog => "changelog",
        }
    }
}

/// Rows on their way, as columns; a Z-set if there are weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    columns: RecordBatch,
    weights: Option<ScalarBuffer<i64>>,
}

impl Batch {
    /// Insertions only.
    pub fn new(columns: RecordBatch) -> Batch {
        Batch { columns, weights: None }
    }

    /// Rows with a weight each. Errors: `internal` if the lengths differ.
    pub fn with_weights(columns: RecordBatch, weights: ScalarBuffer<i64>) -> Result<Batch> {
        if weights.len() != columns.num_rows() {
            let text = format!("{} weights for {} rows", weights.len(), columns.num_rows());
            return Err(Error::internal(text));
        }
        Ok(Batch { columns, weights: Some(weights) })
    }

    /// The same weights over other columns of the same length: what a projection gives.
    pub fn with_columns(&self, columns: RecordBatch) -> Result<Batch> {
        match &self.weights {
            Some(w) => Batch::with_weights(columns, w.clone()),
            None => Ok(Batch::new(columns)),
        }
    }

    /// No rows.
    pub fn empty(schema: SchemaRef) -> Batch {
        Batch::new(RecordBatch::new_empty(schema))
    }

    /// The columns.
    pub fn columns(&self) -> &RecordBatch {
        &self.columns
    }

    /// Column `i`. Errors: `internal` if there is none.
    pub fn column(&self, i: usize) -> Result<&ArrayRef> {
        let width = self.columns.num_columns();
        self.columns.columns().get(i).ok_or_else(|| Error::internal(format!("column {i} of {width}")))
    }

    /// The weights; `None` = all +1.
    pub fn weights(&self) -> Option<&[i64]> {
        self.weights.as_deref()
    }

    /// The schema of the columns.
    pub fn schema(&self) -> SchemaRef {
        self.columns.schema()
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.columns.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.num_rows() == 0
    }

    /// Bytes of the rows themselves; at least 1 per row, so that rows without columns have a size too.
    pub fn bytes(&self) -> usize {
        let columns: usize = self.columns.columns().iter().map(|c| array_bytes(c)).sum();
        let weights = self.weights.as_ref().map_or(0, |w| w.len() * 8);
        (columns + weights).max(self.num_rows())
    }

    /// Rows `offset..offset + length`, sharing the buffers.
    pub fn slice(&self, offset: usize, length: usize) -> Batch {
        let weights = self.weights.as_ref().map(|w| w.slice(offset, length));
        Batch { columns: self.columns.slice(offset, length), weights }
    }

    /// The rows at `indices`, in that order: one gather per column.
    pub fn take(&self, indices: &UInt32Array) -> Result<Batch> {
        let columns = if self.columns.num_columns() == 0 {
            empty_columns(self.schema(), indices.len())?
        } else {
            compute::take_record_batch(&self.columns, indices)?
        };
        let weights = match &self.weights {
            None => None,
            Some(w) => {
                let w = Int64Array::new(w.clone(), None);
                Some(compute::take(&w, indices, None)?.as_primitive::<arrow::datatypes::Int64Type>().values().clone())
            }
        };
        Ok(Batch { columns, weights })
    }

    /// The rows where `keep` is true (NULL is false).
    pub fn filter(&self, keep: &BooleanArray) -> Result<Batch> {
        let columns = compute::filter_record_batch(&self.columns, keep)?;
        let weights = match &self.weights {
            None => None,
            Some(w) => {
                let w = Int64Array::new(w.clone(), None);
                Some(compute::filter(&w, keep)?.as_primitive::<arrow::datatypes::Int64Type>().values().clone())
            }
        };
        Ok(Batch { columns, weights })
    }

    /// Only these columns, in this order.
    pub fn project(&self, indices: &[usize]) -> Result<Batch> {
        Ok(Batch { columns: self.columns.project(indices)?, weights: self.weights.clone() })
    }

    /// The batches one after the other; weights appear as soon as one of them has any.
    pub fn concat(schema: &SchemaRef, batches: &[Batch]) -> Result<Batch> {
        let columns = compute::concat_batches(schema, batches.iter().map(|b| &b.columns))?;
        if batches.iter().all(|b| b.weights.is_none()) {
            return Ok(Batch::new(columns));
        }
        let mut weights = Vec::with_capacity(columns.num_rows());
        for b in batches {
            match &b.weights {
                Some(w) => weights.extend_from_slice(w),
                None => weights.resize(weights.len() + b.num_rows(), 1),
            }
        }
        Batch::with_weights(columns, weights.into())
    }
}

impl From<RecordBatch> for Batch {
    fn from(columns: RecordBatch) -> Batch {
        Batch::new(columns)
    }
}

fn empty_columns(schema: SchemaRef, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, vec![], &options)?)
}

/// Bytes of one array's slice: values, offsets and validity of its own rows only.
pub fn array_bytes(array: &dyn Array) -> usize {
    let rows = array.len();
    let validity = if array.nulls().is_some() { rows.div_ceil(8) } else { 0 };
    let body = match array.data_type() {
        DataType::Null => 0,
        DataType::Boolean => rows.div_ceil(8),
        DataType::Utf8 => offsets_bytes(array.as_string::<i32>().value_offsets()),
        DataType::Binary => offsets_bytes(array.as_binary::<i32>().value_offsets()),
        DataType::Struct(_) => array.as_struct().columns().iter().map(|c| array_bytes(c)).sum(),
        other => match other.primitive_width() {
            Some(width) => rows * width,
            None => array.to_data().get_slice_memory_size().unwrap_or(0),
        },
    };
    body + validity
}

fn offsets_bytes(offsets: &[i32]) -> usize {
    let data = match (offsets.first(), offsets.last()) {
        (Some(a), Some(b)) => (b - a) as usize,
        _ => 0,
    };
    data + offsets.len() * 4
}
