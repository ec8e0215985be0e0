//! The `nexmark` source: interleaved splits of events, read in step with each other, as fast as asked for.
//!
//! Made by the planner from settings and the columns that somebody reads. Rows are generated when they are asked for. Splits,
//! readers and the limit of rows per second are those of every generated table ([`interleaved`](crate::interleaved)).

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

/// A Nexmark table, read.
pub struct NexmarkSource(Interleaved<Rows>);

/// Where rows come from; shared by the readers.
struct Rows {
    generator: Generator,
    projection: Projection,
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Error::user(error.to_string())
    }
}

impl NexmarkSource {
    /// A source of the columns that `schema` names. Errors: `user`, if a setting or a column is none of a Nexmark table.
    pub fn new(config: NexmarkConfig, schema: SchemaRef) -> Result<Self> {
        let projection = Projection::new(schema).map_err(|error| Error::user(error.to_string()))?;
        let rows_per_second = config.rows_per_second;
        Ok(Self(Interleaved::new(Rows { generator: Generator::new(config)?, projection }, rows_per_second)))
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
        Ok(self.generator.generate(Slice { first, stride: SPLITS, count }, &self.projection)?)
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
