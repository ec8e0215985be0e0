//! The `filesystem` connector: a folder on the local disk or in a bucket as a table, JSON lines, CSV or parquet, read once and written in
//! checkpoints.
//!
//! | file | holds |
//! |---|---|
//! | `options` | the options, typed |
//! | `layout`, `partition` | which column is where; folders such as `dt=2026-01-01` and their values |
//! | `discover`, `source`, `text`, `columnar` | files to splits; splits to rows |
//! | `sink`, `writer`, `commit` | rows to hidden files; hidden files to visible ones, marks of complete partitions |
//! | `store` | the one door to files |
//! | `disk`, `objects` | the local disk; buckets that speak S3 |

mod columnar;
mod commit;
mod discover;
mod disk;
#[cfg(test)]
mod job_tests;
mod layout;
mod objects;
mod options;
mod partition;
mod sink;
mod source;
mod store;
#[cfg(test)]
#[path = "testing_tests.rs"]
mod testing;
mod text;
mod writer;

use crate::options::{OptionResult, TypedOptions};
use crate::registry::{Connector, Description, TableSpec};
use arrow::datatypes::SchemaRef;
use layout::Layout;
use options::FileOptions;
use sink::FileSink;
use source::FileSource;
use std::sync::Arc;
use thalweg_engine::StreamKind;
use thalweg_engine::sink::SinkFactory;
use thalweg_engine::source::SourceFactory;

const NOTES: [&str; 3] = [
    "JSON fields and columns of parquet files are found by name. One that a file lacks is NULL, in all its rows, or an error if the \
     table's column is NOT NULL; one that the table lacks is not read.",
    "Columns of CSV are found by place, or with `csv.header` by the names that the first record of each file gives.",
    "A partition column that is NULL or empty is written to the folder `__DEFAULT_PARTITION__`, and read from there as NULL: an empty \
     text does not come back.",
];

/// `connector = 'filesystem'`.
pub struct FilesystemConnector;

/// What to do with a changelog.
const CHANGES: &str = "aggregate in windows (FROM TABLE(TUMBLE(..)) .. GROUP BY .., window_start, window_end), or write to 'print' or 'upsert-kafka'";

impl Connector for FilesystemConnector {
    fn describe(&self) -> Description {
        Description {
            options: options::OPTIONS.to_vec(),
            metadata: layout::metadata(),
            notes: NOTES.map(String::from).to_vec(),
            append_only: Some(CHANGES),
            decodes: true,
            partitions: true,
            ..Description::new(
                "filesystem",
                "a folder of JSON, CSV or parquet files, on the local disk or in a bucket that speaks S3",
            )
        }
    }

    fn check(&self, spec: &TableSpec, options: &TypedOptions<'_>) -> OptionResult<()> {
        FileOptions::parse(spec, options)?;
        layout::partition_fields(spec).map(drop)
    }

    fn source(
        &self,
        spec: &TableSpec,
        options: &TypedOptions<'_>,
        columns: SchemaRef,
    ) -> OptionResult<Arc<dyn SourceFactory>> {
        let options = FileOptions::parse(spec, options)?;
        options.check()?;
        Ok(Arc::new(FileSource::new(&spec.name, options, Layout::new(spec, columns)?)?))
    }

    fn sink(
        &self,
        spec: &TableSpec,
        options: &TypedOptions<'_>,
        columns: SchemaRef,
        _kind: StreamKind,
    ) -> OptionResult<Arc<dyn SinkFactory>> {
        let options = FileOptions::parse(spec, options)?;
        options.check()?;
        Ok(Arc::new(FileSink::new(spec, options, &columns)?))
    }
}
