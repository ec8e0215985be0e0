//! The `kafka` source as the planner puts it into a graph.
//!
//! Made when a statement is planned, from options and the columns that somebody reads; asks no broker. The enumerator finds the
//! partitions when the job starts, readers read them.

use super::enumerator::KafkaEnumerator;
use super::metadata::MetadataBuilder;
use super::options::{Bounded, KafkaOptions};
use super::reader::KafkaReader;
use super::rows::{ColumnSource, Rows};
use crate::bad_record::BadRecord;
use crate::format::Decoder;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::source::{SourceFactory, SourceReader, SplitEnumerator};

/// Makes the decoder of one reader.
pub type DecoderFactory = Arc<dyn Fn() -> Result<Box<dyn Decoder>> + Send + Sync>;

/// A table's topic(s), read.
pub struct KafkaSource {
    table: Arc<str>,
    options: Arc<KafkaOptions>,
    schema: SchemaRef,
    columns: Vec<ColumnSource>,
    value: Option<DecoderFactory>,
    key: Option<DecoderFactory>,
    bad_record: BadRecord,
}

impl KafkaSource {
    /// A source of `columns`, one for each field of `schema`. Without a value decoder values are not looked at, and tombstones
    /// are rows. Errors: `internal` if columns and fields, or columns and decoders, do not fit.
    pub fn new(
        table: &str,
        options: KafkaOptions,
        schema: SchemaRef,
        columns: Vec<ColumnSource>,
        [value, key]: [Option<DecoderFactory>; 2],
        bad_record: BadRecord,
    ) -> Result<KafkaSource> {
        let reads = |wanted: fn(&ColumnSource) -> bool| columns.iter().any(wanted);
        let fits = columns.len() == schema.fields().len()
            && (value.is_some() || !reads(|c| matches!(c, ColumnSource::Value(_))))
            && (key.is_some() || !reads(|c| matches!(c, ColumnSource::Key(_))));
        if !fits {
            let text = format!("table `{table}`: {} columns for {} fields", columns.len(), schema.fields().len());
            return Err(Error::internal(text));
        }
        Ok(KafkaSource { table: table.into(), options: Arc::new(options), schema, columns, value, key, bad_record })
    }
}

impl SourceFactory for KafkaSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn bounded(&self) -> bool {
        self.options.bounded != Bounded::Unbounded
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(KafkaEnumerator::new(self.options.clone())))
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        let metadata = self.columns.iter().filter_map(|c| match c {
            ColumnSource::Metadata(column) => Some(MetadataBuilder::new(*column)),
            _ => None,
        });
        let rows = Rows {
            schema: self.schema.clone(),
            columns: self.columns.clone(),
            value: self.value.as_ref().map(|make| make()).transpose()?,
            key: self.key.as_ref().map(|make| make()).transpose()?,
            metadata: metadata.collect(),
            policy: self.bad_record,
        };
        Ok(Box::new(KafkaReader::new(self.table.clone(), self.options.clone(), rows)))
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
