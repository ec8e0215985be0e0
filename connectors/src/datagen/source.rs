//! The source: what a datagen table gives to [`interleaved`](crate::interleaved), which deals and reads its splits.

use super::field::Field;
use super::values::{EventTime, Rows, Times};
use crate::interleaved::{Generate, ROWS_MAX, SPLITS};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use serde_json::{Map, Value};
use thalweg_engine::clock::Clock;
use thalweg_engine::error::Result;

/// What a batch takes, roughly; a single row may take more.
const BATCH_BYTES: u64 = 4 << 20;

/// The rows of a table.
pub(super) struct Datagen {
    pub(super) schema: SchemaRef,
    pub(super) fields: Vec<Field>,
    /// `None` = no end.
    pub(super) rows: Option<u64>,
    /// `None` = times follow the clock.
    pub(super) event_time: Option<EventTime>,
    pub(super) settings: Map<String, Value>,
}

impl Datagen {
    /// How many rows a batch can have.
    fn rows_of_batch(&self) -> usize {
        let row_bytes = self.fields.iter().fold(1_u64, |sum, field| sum.saturating_add(field.row_bytes()));
        usize::try_from(BATCH_BYTES / row_bytes).unwrap_or(usize::MAX).max(1)
    }
}

impl Generate for Datagen {
    const NAME: &'static str = "datagen";

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn rows(&self) -> u64 {
        self.rows.unwrap_or(ROWS_MAX).min(ROWS_MAX)
    }

    fn bounded(&self) -> bool {
        self.rows.is_some()
    }

    fn settings(&self) -> Result<Value> {
        Ok(Value::Object(self.settings.clone()))
    }

    fn generate(&self, first: u64, count: usize, clock: &Clock) -> Result<RecordBatch> {
        let count = count.min(self.rows_of_batch());
        let numbers: Vec<u64> = (0..count as u64).map(|i| first + i * SPLITS).collect();
        let wall = || Times::Wall { ms: clock.wall_ms() };
        let times = self.event_time.map_or_else(wall, Times::Event);
        let rows = Rows { numbers: &numbers, repeat: 1, times };
        let columns = self.fields.iter().map(|field| field.generate(&rows)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
