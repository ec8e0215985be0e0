//! Metadata columns: what a record carries besides its value, as columns of a table (`METADATA FROM 'offset'`).
//!
//! The planner asks [`MetadataColumn::named`] and [`MetadataColumn::data_type`] when a table is declared; the reader fills the
//! columns that somebody reads.

use super::queue::{Record, TimestampType};
use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, MapBuilder, MapFieldNames, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};

/// A metadata column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataColumn {
    /// `topic`: STRING.
    Topic,
    /// `partition`: INT.
    Partition,
    /// `offset`: BIGINT.
    Offset,
    /// `timestamp`: TIMESTAMP_LTZ(3), NULL for records without one. Writable.
    Timestamp,
    /// `timestamp-type`: STRING, `NoTimestampType`, `CreateTime` or `LogAppendTime`.
    TimestampType,
    /// `leader-epoch`: INT, NULL if unknown.
    LeaderEpoch,
    /// `headers`: MAP<STRING, BYTES>; of headers with one name the last counts. Writable.
    Headers,
    /// `key`: BYTES, as it is in the record.
    Key,
}

/// Names of all metadata columns.
pub const METADATA_COLUMNS: &[(&str, MetadataColumn)] = &[
    ("topic", MetadataColumn::Topic),
    ("partition", MetadataColumn::Partition),
    ("offset", MetadataColumn::Offset),
    ("timestamp", MetadataColumn::Timestamp),
    ("timestamp-type", MetadataColumn::TimestampType),
    ("leader-epoch", MetadataColumn::LeaderEpoch),
    ("headers", MetadataColumn::Headers),
    ("key", MetadataColumn::Key),
];

impl MetadataColumn {
    /// The column of this name. Errors: `user`, naming those that exist.
    pub fn named(name: &str) -> Result<MetadataColumn> {
        let found = METADATA_COLUMNS.iter().find(|(n, _)| *n == name);
        found.map(|(_, column)| *column).ok_or_else(|| {
            let names: Vec<&str> = METADATA_COLUMNS.iter().map(|(n, _)| *n).collect();
            Error::user(format!("connector `kafka` has no metadata column `{name}`; there are {}", names.join(", ")))
        })
    }

    /// Its type, if a table does not ask for another.
    pub fn data_type(self) -> DataType {
        match self {
            MetadataColumn::Topic | MetadataColumn::TimestampType => DataType::Utf8,
            MetadataColumn::Partition | MetadataColumn::LeaderEpoch => DataType::Int32,
            MetadataColumn::Offset => DataType::Int64,
            MetadataColumn::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            MetadataColumn::Headers => headers_type(),
            MetadataColumn::Key => DataType::Binary,
        }
    }

    /// Whether a sink can write it.
    pub fn is_writable(self) -> bool {
        matches!(self, MetadataColumn::Timestamp | MetadataColumn::Headers)
    }
}

/// As SQL's `MAP<STRING, BYTES>` is made.
fn headers_type() -> DataType {
    let entries =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// Fills one metadata column.
pub(crate) enum MetadataBuilder {
    Topic(StringBuilder),
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMillisecondBuilder),
    TimestampType(StringBuilder),
    LeaderEpoch(Int32Builder),
    Headers(Box<MapBuilder<StringBuilder, BinaryBuilder>>, Vec<Header>),
    Key(BinaryBuilder),
}

type Header = (Vec<u8>, Option<Vec<u8>>);

impl MetadataBuilder {
    pub(crate) fn new(column: MetadataColumn) -> MetadataBuilder {
        match column {
            MetadataColumn::Topic => MetadataBuilder::Topic(StringBuilder::new()),
            MetadataColumn::Partition => MetadataBuilder::Partition(Int32Builder::new()),
            MetadataColumn::Offset => MetadataBuilder::Offset(Int64Builder::new()),
            MetadataColumn::Timestamp => {
                MetadataBuilder::Timestamp(TimestampMillisecondBuilder::new().with_timezone("UTC"))
            }
            MetadataColumn::TimestampType => MetadataBuilder::TimestampType(StringBuilder::new()),
            MetadataColumn::LeaderEpoch => MetadataBuilder::LeaderEpoch(Int32Builder::new()),
            MetadataColumn::Headers => {
                let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
                let entries = MapBuilder::new(Some(names), StringBuilder::new(), BinaryBuilder::new());
                MetadataBuilder::Headers(Box::new(entries), Vec::new())
            }
            MetadataColumn::Key => MetadataBuilder::Key(BinaryBuilder::new()),
        }
    }

    /// Appends a value for each record.
    pub(crate) fn append(&mut self, topic: &str, partition: i32, records: &[Record<'_>]) -> Result<()> {
        match self {
            MetadataBuilder::Topic(b) => records.iter().for_each(|_| b.append_value(topic)),
            MetadataBuilder::Partition(b) => records.iter().for_each(|_| b.append_value(partition)),
            MetadataBuilder::Offset(b) => records.iter().for_each(|r| b.append_value(r.offset())),
            MetadataBuilder::Timestamp(b) => records.iter().for_each(|r| b.append_option(r.timestamp().0)),
            MetadataBuilder::TimestampType(b) => records.iter().for_each(|r| b.append_value(name_of(r.timestamp().1))),
            MetadataBuilder::LeaderEpoch(b) => records.iter().for_each(|r| b.append_option(r.leader_epoch())),
            MetadataBuilder::Key(b) => records.iter().for_each(|r| b.append_option(r.key())),
            MetadataBuilder::Headers(b, scratch) => {
                for record in records {
                    append_headers(b, scratch, *record)?;
                }
            }
        }
        Ok(())
    }

    /// The column; the builder is empty again.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            MetadataBuilder::Topic(b) | MetadataBuilder::TimestampType(b) => Arc::new(b.finish()),
            MetadataBuilder::Partition(b) | MetadataBuilder::LeaderEpoch(b) => Arc::new(b.finish()),
            MetadataBuilder::Offset(b) => Arc::new(b.finish()),
            MetadataBuilder::Timestamp(b) => Arc::new(b.finish()),
            MetadataBuilder::Headers(b, _) => Arc::new(b.finish()),
            MetadataBuilder::Key(b) => Arc::new(b.finish()),
        }
    }
}

fn name_of(kind: TimestampType) -> &'static str {
    match kind {
        TimestampType::None => "NoTimestampType",
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn append_headers(
    b: &mut MapBuilder<StringBuilder, BinaryBuilder>,
    scratch: &mut Vec<Header>,
    record: Record<'_>,
) -> Result<()> {
    scratch.clear();
    record.headers(|name, value| {
        let value = value.map(<[u8]>::to_vec);
        match scratch.iter_mut().find(|h| h.0 == name) {
            Some(header) => header.1 = value,
            None => scratch.push((name.to_vec(), value)),
        }
    });
    for (name, value) in scratch.iter() {
        b.keys().append_value(String::from_utf8_lossy(name));
        b.values().append_option(value.as_deref());
    }
    Ok(b.append(true)?)
}
