//! The `nexmark` source: interleaved splits of events, read in step with each other, as fast as asked for.
//!
//! Made by the planner from settings and the columns that somebody reads. Rows are generated when they are asked for, or, for
//! measurements, all beforehand. Splits, readers and the limit of rows per second are those of every generated table
//! ([`interleaved`](crate::interleaved)).

use super::config::NexmarkConfig;
use super::generator::{Generator, Slice};
use super::schema::Projection;
use super::{ConfigError, SPLITS};
use crate::interleaved::{Generate, Interleaved};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use thalweg_engine::clock::Clock;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::source::{SourceFactory, SourceReader, SplitEnumerator};

/// Rows of one batch generated beforehand.
const STORED_ROWS: usize = 4_096;

/// A Nexmark table, read.
pub struct NexmarkSource(Interleaved<Rows>);

/// Where rows come from; shared by the readers.
struct Rows {
    generator: Generator,
    projection: Projection,
    /// For each split its batches of [`STORED_ROWS`] rows; `None` if rows are generated when asked for.
    stored: Option<Vec<Vec<RecordBatch>>>,
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Error::user(error.to_string())
    }
}

impl NexmarkSource {
    fn of(rows: Rows) -> Self {
        let rows_per_second = rows.generator.config().rows_per_second;
        Self(Interleaved::new(rows, rows_per_second))
    }

    /// A source of the columns that `schema` names. Errors: `user`, if a setting or a column is none of a Nexmark table.
    pub fn new(config: NexmarkConfig, schema: SchemaRef) -> Result<Self> {
        let projection = Projection::new(schema).map_err(|error| Error::user(error.to_string()))?;
        let rows = Rows { generator: Generator::new(config)?, projection, stored: None };
        Ok(Self::of(rows))
    }

    /// The same, with all rows generated now: for measuring what comes after the source. Errors: as [`new`](Self::new), and if the
    /// table has no end.
    pub fn pregenerated(config: NexmarkConfig, schema: SchemaRef) -> Result<Self> {
        if config.events_num == 0 {
            return Err(Error::user("option `events.num`: rows generated beforehand need a number of events"));
        }
        let projection = Projection::new(schema).map_err(|error| Error::user(error.to_string()))?;
        let mut rows = Rows { generator: Generator::new(config)?, projection, stored: None };
        let store = |split| {
            let firsts = (split..rows.generator.len()).step_by(SPLITS as usize * STORED_ROWS);
            firsts.map(|first| rows.make(first, STORED_ROWS)).collect::<Result<Vec<_>>>()
        };
        rows.stored = Some((0..SPLITS).map(store).collect::<Result<_>>()?);
        Ok(Self::of(rows))
    }
}

impl Rows {
    fn make(&self, first: u64, count: usize) -> Result<RecordBatch> {
        Ok(self.generator.generate(Slice { first, stride: SPLITS, count }, &self.projection)?)
    }

    /// The rows from `first` on of its split: at least one and at most `count`.
    fn take(&self, first: u64, count: usize) -> Result<RecordBatch> {
        let Some(stored) = &self.stored else { return self.make(first, count) };
        let row = (first / SPLITS) as usize;
        let batch = stored.get((first % SPLITS) as usize).and_then(|batches| batches.get(row / STORED_ROWS));
        let batch = batch.ok_or_else(|| Error::internal(format!("event {first} was not generated")))?;
        let offset = row % STORED_ROWS;
        Ok(batch.slice(offset, count.min(batch.num_rows() - offset)))
    }
}

impl Generate for Rows {
    const NAME: &'static str = "nexmark";

    fn schema(&self) -> SchemaRef {
        self.projection.schema().clone()
    }

    fn rows(&self) -> u64 {
        self.generator.len()
    }

    fn bounded(&self) -> bool {
        self.generator.config().events_num > 0
    }

    fn settings(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self.generator.config()).map_err(|error| Error::internal(error.to_string()))
    }

    fn generate(&self, first: u64, count: usize, _clock: &Clock) -> Result<RecordBatch> {
        self.take(first, count)
    }
}

impl SourceFactory for NexmarkSource {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn bounded(&self) -> bool {
        self.0.bounded()
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        self.0.enumerator()
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        self.0.reader()
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
