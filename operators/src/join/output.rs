//! What a join emits: pairs, and rows of one side by themselves, in batches of bounded size.
//!
//! Invariants
//! - O1 a batch has at most [`BATCH_ROWS`] rows, none of weight 0.
//! - O2 an output that only appends has no weights: a row that is there n times is emitted n times.

use super::Plan;
use super::shape::take;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use thalweg_engine::{Batch, Error, Result, StreamKind};

/// Rows of a batch, at most.
pub(super) const BATCH_ROWS: usize = 4096;

/// Takes results.
pub(super) type Emit<'a> = &'a mut dyn FnMut(Batch) -> Result<()>;

impl Plan {
    /// Emits rows of the output with their weights.
    pub(super) fn emit(&self, columns: Vec<ArrayRef>, weights: &[i64], emit: Emit<'_>) -> Result<()> {
        if weights.iter().all(|w| *w == 1) {
            return slices(&Batch::new(self.batch(columns, weights.len())?), emit);
        }
        if self.stream == StreamKind::Append {
            return self.emit_repeated(&columns, weights, emit);
        }
        if weights.contains(&0) {
            let places: Vec<u32> = (0..weights.len() as u32).filter(|i| weights[*i as usize] != 0).collect();
            let weights: Vec<i64> = weights.iter().copied().filter(|w| *w != 0).collect();
            return if places.is_empty() { Ok(()) } else { self.emit(take(&columns, &places)?, &weights, emit) };
        }
        let rows = Batch::with_weights(self.batch(columns, weights.len())?, weights.to_vec().into())?;
        slices(&rows, emit)
    }

    fn emit_repeated(&self, columns: &[ArrayRef], weights: &[i64], emit: Emit<'_>) -> Result<()> {
        if let Some(weight) = weights.iter().find(|w| **w < 0) {
            return Err(Error::internal(format!("a join that only appends has a row of weight {weight}")));
        }
        let mut places = Vec::with_capacity(BATCH_ROWS.min(weights.len()));
        for (i, weight) in weights.iter().enumerate() {
            for _ in 0..*weight {
                places.push(i as u32);
                if places.len() == BATCH_ROWS {
                    emit(Batch::new(self.batch(take(columns, &places)?, places.len())?))?;
                    places.clear();
                }
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        emit(Batch::new(self.batch(take(columns, &places)?, places.len())?))
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let mut columns = columns;
        // Text comes back from state in the declared encoding; batches may have another.
        for (column, field) in columns.iter_mut().zip(self.output.fields()) {
            if column.data_type() != field.data_type() {
                *column = arrow::compute::cast(column, field.data_type())?;
            }
        }
        Ok(RecordBatch::try_new_with_options(self.output.clone(), columns, &options)?)
    }

    /// Emits rows of one side, given as its input's columns; the other side is NULL.
    pub(super) fn emit_alone(&self, side: usize, rows: Vec<ArrayRef>, weights: &[i64], emit: Emit<'_>) -> Result<()> {
        let columns = if self.kind.has_pairs() {
            let nulls = |s: usize| self.shapes[s].types().map(|t| new_null_array(t, weights.len()));
            match side {
                0 => rows.into_iter().chain(nulls(1)).collect(),
                _ => nulls(0).chain(rows).collect(),
            }
        } else {
            rows
        };
        self.emit(columns, weights, emit)
    }

    /// Emits entries of one side, given as the kept columns.
    pub(super) fn emit_entries(
        &self,
        side: usize,
        columns: &[ArrayRef],
        weights: &[i64],
        emit: Emit<'_>,
    ) -> Result<()> {
        self.emit_alone(side, self.shapes[side].rows(columns)?, weights, emit)
    }
}

fn slices(rows: &Batch, emit: Emit<'_>) -> Result<()> {
    for start in (0..rows.num_rows()).step_by(BATCH_ROWS) {
        emit(rows.slice(start, BATCH_ROWS.min(rows.num_rows() - start)))?;
    }
    Ok(())
}

/// How often a pair is there.
pub(super) fn product(a: i64, b: i64) -> Result<i64> {
    let text = || format!("a joined row that is there {a} times {b} times is beyond the range of BIGINT");
    a.checked_mul(b).ok_or_else(|| Error::user(text()))
}

/// The sum of two numbers of rows.
pub(super) fn sum(a: i64, b: i64) -> Result<i64> {
    a.checked_add(b).ok_or_else(|| Error::user(format!("{a} and {b} rows are beyond the range of BIGINT")))
}
