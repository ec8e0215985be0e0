//! Where the columns of a table are: in its files, in their paths, or beside them (metadata).
//!
//! Made when a statement is planned; used by discovery, readers and sinks.

use super::discover::FileSplit;
use super::partition::{repeated, typed};
use crate::options::{OptionError, OptionResult};
use crate::registry::{MetadataSpec, TableSpec};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::type_name;

/// The metadata columns.
pub(super) fn metadata() -> Vec<MetadataSpec> {
    let column = |key, data_type, doc| MetadataSpec { key, data_type, is_writable: false, doc };
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    vec![
        column("file.path", DataType::Utf8, "the file's whole path"),
        column("file.name", DataType::Utf8, "the file's name"),
        column("file.size", DataType::Int64, "the file's size in bytes"),
        column("file.modification-time", time, "when the file was last written"),
    ]
}

/// Where one column of a source comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// A column of the file's rows, by index.
    File(usize),
    /// A partition column, by name.
    Partition(String),
    /// Metadata, by key.
    Metadata(String),
}

/// The columns of one use of a table.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// What the source gives, in order.
    pub(super) schema: SchemaRef,
    origins: Vec<Origin>,
    /// What is read of each file.
    pub(super) file: SchemaRef,
    /// The names of all columns of a file, in the table's order.
    pub(super) fields: Vec<String>,
    /// The partition columns, in the order of PARTITIONED BY.
    pub(super) partition: Vec<FieldRef>,
}

impl Layout {
    /// Sorts the `columns` that somebody reads. Errors: a partition column that is no column.
    pub(super) fn new(spec: &TableSpec, columns: SchemaRef) -> OptionResult<Layout> {
        let partition = partition_fields(spec)?;
        let is_partition = |name: &str| spec.partition_keys.iter().any(|k| k == name);
        let (mut origins, mut file) = (Vec::new(), Vec::<FieldRef>::new());
        for (index, field) in spec.indices(&columns)?.into_iter().zip(columns.fields()) {
            let metadata = spec.columns.get(index).and_then(|c| c.metadata.as_ref());
            origins.push(match metadata {
                Some(metadata) => Origin::Metadata(metadata.key.clone()),
                None if is_partition(field.name()) => Origin::Partition(field.name().clone()),
                None => {
                    file.push(field.clone());
                    Origin::File(file.len() - 1)
                }
            });
        }
        let physical = spec.columns.iter().filter(|c| c.metadata.is_none()).map(|c| c.field.name());
        let fields = physical.filter(|n| !is_partition(n)).cloned().collect();
        Ok(Layout { schema: columns, origins, file: Arc::new(Schema::new(file)), fields, partition })
    }

    /// The columns of a split that are the same in all of its rows: one row each; `None` for those of the file.
    pub(super) fn constants(&self, split: &FileSplit) -> Result<Vec<Option<ArrayRef>>> {
        let constant = |(origin, field): (&Origin, &Arc<Field>)| {
            let value = match origin {
                Origin::File(_) => return Ok(None),
                Origin::Partition(name) => {
                    let value = split.partition.get(name).and_then(Option::as_deref);
                    typed(value, field.data_type())?
                }
                Origin::Metadata(key) => metadata_value(key, split)?,
            };
            Ok(Some(value))
        };
        self.origins.iter().zip(self.schema.fields()).map(constant).collect()
    }

    /// Puts the rows of a file and the constants of its split together.
    pub(super) fn assemble(&self, rows: &RecordBatch, constants: &[Option<ArrayRef>]) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let column = |(origin, constant): (&Origin, &Option<ArrayRef>)| match (origin, constant) {
            (_, Some(value)) => repeated(value, count),
            (Origin::File(i), None) => {
                let column = rows.columns().get(*i).cloned();
                column.ok_or_else(|| Error::internal(format!("the format gave no column {i}")))
            }
            (origin, None) => Err(Error::internal(format!("{origin:?} has no value"))),
        };
        let columns = self.origins.iter().zip(constants).map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// The fields of PARTITIONED BY. Errors: a name that is no physical column, one that is there twice, or no column left.
pub(super) fn partition_fields(spec: &TableSpec) -> OptionResult<Vec<FieldRef>> {
    let mut out: Vec<FieldRef> = Vec::new();
    for key in &spec.partition_keys {
        let column = spec.columns.iter().find(|c| c.metadata.is_none() && c.field.name() == key);
        let Some(column) = column else {
            let text = format!("table `{}` is PARTITIONED BY `{key}`, which is no physical column", spec.name);
            return Err(OptionError::new(text));
        };
        if out.iter().any(|f| f.name() == key) {
            return Err(OptionError::new(format!("table `{}` is PARTITIONED BY `{key}` twice", spec.name)));
        }
        let kind = column.field.data_type();
        if !arrow::compute::can_cast_types(&DataType::Utf8, kind) || kind.is_nested() {
            let text = format!("table `{}` cannot be PARTITIONED BY `{key}` of type {}", spec.name, type_name(kind));
            return Err(OptionError::new(text));
        }
        out.push(column.field.clone());
    }
    let physical = spec.columns.iter().filter(|c| c.metadata.is_none()).count();
    if !out.is_empty() && out.len() == physical {
        return Err(OptionError::new(format!("table `{}` has no column besides its partitions", spec.name)));
    }
    Ok(out)
}

fn metadata_value(key: &str, split: &FileSplit) -> Result<ArrayRef> {
    Ok(match key {
        "file.path" => Arc::new(StringArray::from(vec![split.path.to_string_lossy().into_owned()])),
        "file.name" => {
            let name = split.path.file_name().unwrap_or_default();
            Arc::new(StringArray::from(vec![name.to_string_lossy().into_owned()]))
        }
        "file.size" => Arc::new(Int64Array::from(vec![i64::try_from(split.bytes).unwrap_or(i64::MAX)])),
        "file.modification-time" => {
            Arc::new(TimestampMillisecondArray::from(vec![split.modified_ms]).with_timezone("UTC"))
        }
        other => return Err(Error::internal(format!("no metadata `{other}`"))),
    })
}
