//! Reads the rows of one split of a parquet file. Positions are numbers of rows within the split.
//!
//! A column that the file lacks is NULL; one of another type is cast; structs are brought to the fields that somebody reads.

use super::discover::FileSplit;
use super::objects::Chunks;
use super::store::Store;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::metrics::NodeMetrics;
use thalweg_engine::type_name;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 4_096;

/// Why a file cannot be read: what the storage says, or what the file lacks.
pub(super) fn invalid(path: &Path, e: ParquetError) -> Error {
    let known = match &e {
        ParquetError::External(cause) => cause.downcast_ref::<Error>().cloned(),
        _ => None,
    };
    known.unwrap_or_else(|| Error::user(format!("file `{}` is no valid parquet file: {e}", path.display())))
}

/// One split, being read.
pub(super) struct ParquetReader {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
}

impl ParquetReader {
    /// Opens a split after `skip` of its rows.
    pub(super) fn open(
        split: &FileSplit,
        store: &Store,
        schema: SchemaRef,
        skip: u64,
        metrics: &NodeMetrics,
    ) -> Result<ParquetReader> {
        let path = split.path.clone();
        let wrong = |e: ParquetError| invalid(&split.path, e);
        let file: Chunks = store.chunks(&path, split.bytes)?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(wrong)?;
        let roots: Vec<usize> = {
            let columns = builder.schema().fields().iter().enumerate();
            columns.filter(|(_, f)| schema.field_with_name(f.name()).is_ok()).map(|(i, _)| i).collect()
        };
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
        let groups = (split.start..split.end).map(|g| usize::try_from(g).unwrap_or(usize::MAX)).collect::<Vec<_>>();
        if groups.last().is_some_and(|last| *last >= builder.metadata().num_row_groups()) {
            let text = format!("file `{}` has lost row groups since the job started", path.display());
            return Err(Error::user(text));
        }
        let (leaves, columns) = (builder.parquet_schema(), builder.metadata().row_groups());
        let ranges = groups.iter().filter_map(|g| columns.get(*g)).map(|group| {
            let read = group.columns().iter().enumerate();
            let read = read.filter(|(leaf, _)| roots.contains(&leaves.get_column_root_idx(*leaf)));
            read.map(|(_, column)| column.byte_range()).map(|(at, bytes)| at..at.saturating_add(bytes)).collect()
        });
        let ranges: Vec<Vec<Range<u64>>> = ranges.collect();
        metrics.bytes_in.add(ranges.iter().flatten().map(|r| r.end - r.start).sum());
        file.plan(ranges);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let builder = builder.with_projection(mask).with_row_groups(groups).with_batch_size(BATCH_ROWS);
        let reader = if skip > 0 { builder.with_offset(skip) } else { builder }.build().map_err(wrong)?;
        Ok(ParquetReader { path, reader, schema })
    }

    /// The next rows; `None` at the end of the split.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        let wrong = |e: String| Error::user(format!("file `{}`: {e}", self.path.display()));
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.map_err(|e| wrong(format!("cannot be decoded: {e}")))?;
        let columns = self.schema.fields().iter().map(|field| {
            let column = match batch.column_by_name(field.name()) {
                Some(column) => adapt(column, field).map_err(|e| wrong(e.message().to_owned()))?,
                None => new_null_array(field.data_type(), batch.num_rows()),
            };
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(wrong(format!("column `{}` is NOT NULL, but has NULL values", field.name())));
            }
            Ok(column)
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(Some(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?))
    }
}

/// The column in the type that the table declares.
fn adapt(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    match (column.data_type(), field.data_type()) {
        (given, wanted) if given == wanted => Ok(column.clone()),
        (DataType::Struct(_), DataType::Struct(wanted)) => {
            let rows = column.as_struct();
            let children = wanted.iter().map(|child| match rows.column_by_name(child.name()) {
                Some(column) => adapt(column, child),
                None => Ok(new_null_array(child.data_type(), rows.len())),
            });
            let children = children.collect::<Result<Vec<_>>>()?;
            let nulls = rows.nulls().cloned();
            if wanted.is_empty() {
                return Ok(Arc::new(StructArray::new_empty_fields(rows.len(), nulls)));
            }
            let built = StructArray::try_new(wanted.clone(), children, nulls);
            Ok(Arc::new(built.map_err(|e| Error::user(format!("column `{}`: {e}", field.name())))?))
        }
        (given, wanted) => {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let cast = cast_with_options(column, wanted, &options);
            cast.map_err(|e| {
                let text = format!("column `{}` is {}, not {}", field.name(), type_name(given), type_name(wanted));
                Error::user(if can_cast_types(given, wanted) { format!("{text}: {e}") } else { text })
            })
        }
    }
}
