//! From a declared table to a source or a sink: which columns are in the value, in the key, or metadata.
//!
//! Called by the planner, which says what the table declares, what is read of it, and how formats are made. Asks no broker.

use super::metadata::MetadataColumn;
use super::options::{KafkaOptions, ValueFields};
use super::rows::ColumnSource;
use super::sink::{EncoderFactory, KafkaSink, SinkLayout, SinkPart};
use super::source::{DecoderFactory, KafkaSource};
use crate::bad_record::BadRecord;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};

/// A column that a table declares; computed columns are the planner's own matter.
#[derive(Clone, Debug)]
pub struct TableColumn {
    /// Name, type and nullability.
    pub field: FieldRef,
    /// What it shows, for a METADATA column.
    pub metadata: Option<MetadataColumn>,
}

/// A part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordPart {
    /// The value.
    Value,
    /// The key.
    Key,
}

/// What a format is asked for.
#[derive(Debug)]
pub struct FormatRequest<'a> {
    /// Of which part.
    pub part: RecordPart,
    /// The format's name, as the table's options give it.
    pub format: &'a str,
    /// The columns to read or to write, named as in the record; those that nobody reads are left out.
    pub schema: SchemaRef,
    /// The names of all columns of this part, in the order of the table.
    pub fields: Vec<String>,
}

/// A source for the columns `used` of a table, in that order. `read` are their fields: those of the table, structs with the fields
/// that somebody reads. Errors: `user` for key fields that are no columns, and what
/// `decoder` refuses.
pub fn plan_source(
    table: &str,
    options: KafkaOptions,
    columns: &[TableColumn],
    (used, read): (&[usize], SchemaRef),
    bad_record: BadRecord,
    mut decoder: impl FnMut(FormatRequest<'_>) -> Result<DecoderFactory>,
) -> Result<KafkaSource> {
    options.check_source()?;
    let parts = Parts::of(table, &options, columns)?;
    // Reading takes a column that is in both from the value.
    let from_key: Vec<usize> = parts.key.iter().copied().filter(|c| !parts.value.contains(c)).collect();
    let (value, key) = (read_of(&parts.value, used), read_of(&from_key, used));
    let place = |of: &[usize], column: usize| of.iter().position(|c| *c == column);
    let mut sources = Vec::with_capacity(used.len());
    for index in used {
        let column = declared(table, columns, *index)?;
        let source = match (column.metadata, place(&value, *index), place(&key, *index)) {
            (Some(metadata), ..) => ColumnSource::Metadata(metadata),
            (None, Some(place), _) => ColumnSource::Value(place),
            (None, None, Some(place)) => ColumnSource::Key(place),
            (None, None, None) => return Err(Error::internal(format!("table `{table}`: column {index} is nowhere"))),
        };
        sources.push(source);
    }
    // A part that the table has columns of is decoded even if none of them is read: whether a record is bad must not depend
    // on what a query looks at.
    let pruned = |column: usize| used.iter().zip(read.fields()).find(|(u, _)| **u == column).map(|(_, field)| field);
    let mut make = |part, all: &[usize], wanted: &[usize]| match all {
        [] => Ok(None),
        all => decoder(request(&options, columns, part, all, wanted, pruned)?).map(Some),
    };
    let decoders = [make(RecordPart::Value, &parts.value, &value)?, make(RecordPart::Key, &from_key, &key)?];
    KafkaSource::new(table, options, read, sources, decoders, bad_record)
}

/// A sink for rows with all `columns` of a table, in that order. Errors: `user` for key fields that are no columns, metadata that
/// cannot be written, and what `encoder` refuses.
pub fn plan_sink(
    table: &str,
    options: KafkaOptions,
    columns: &[TableColumn],
    mut encoder: impl FnMut(FormatRequest<'_>) -> Result<EncoderFactory>,
) -> Result<KafkaSink> {
    let parts = Parts::of(table, &options, columns)?;
    if let Some(column) = columns.iter().find(|c| c.metadata.is_some_and(|m| !m.is_writable())) {
        let name = column.field.name();
        let remedy = "declare it VIRTUAL; `timestamp` and `headers` can be written";
        return Err(Error::user(format!("table `{table}`: metadata column `{name}` cannot be written: {remedy}")));
    }
    let mut make = |part, of: &[usize]| -> Result<SinkPart> {
        let asked = request(&options, columns, part, of, of, |_| None)?;
        Ok(SinkPart { columns: of.to_vec(), schema: asked.schema.clone(), encoder: encoder(asked)? })
    };
    let metadata = |wanted| columns.iter().position(|c| c.metadata == Some(wanted));
    let layout = SinkLayout {
        value: make(RecordPart::Value, &parts.value)?,
        key: if parts.key.is_empty() { None } else { Some(make(RecordPart::Key, &parts.key)?) },
        timestamp: metadata(MetadataColumn::Timestamp),
        headers: metadata(MetadataColumn::Headers),
    };
    KafkaSink::new(table, options, layout)
}

/// Which columns are in which part of a record, in the order of the table (the value) and of `key.fields` (the key).
struct Parts {
    value: Vec<usize>,
    key: Vec<usize>,
}

impl Parts {
    fn of(table: &str, options: &KafkaOptions, columns: &[TableColumn]) -> Result<Parts> {
        let physical = |c: &TableColumn| c.metadata.is_none();
        let mut key = Vec::with_capacity(options.key_fields.len());
        for name in &options.key_fields {
            let found = columns.iter().position(|c| physical(c) && c.field.name() == name);
            let found = found.ok_or_else(|| {
                let remedy = "name columns that are neither METADATA nor computed";
                Error::user(format!("table `{table}`: option `key.fields`: there is no column `{name}`; {remedy}"))
            })?;
            key.push(found);
        }
        let in_value = |i: usize| options.value_fields == ValueFields::All || !key.contains(&i);
        let value = columns.iter().enumerate().filter(|(i, c)| physical(c) && in_value(*i)).map(|(i, _)| i);
        Ok(Parts { value: value.collect(), key })
    }
}

/// Asks for the format of a part with the columns `all`, of which `wanted` are read or written; `pruned` gives a column's field where
/// less than the whole of it is read.
fn request<'a, 'f>(
    options: &'a KafkaOptions,
    columns: &'f [TableColumn],
    part: RecordPart,
    all: &[usize],
    wanted: &[usize],
    pruned: impl Fn(usize) -> Option<&'f FieldRef>,
) -> Result<FormatRequest<'a>> {
    let (format, prefix) = match part {
        RecordPart::Value => (options.value_format.as_str(), ""),
        RecordPart::Key => (options.key_format.as_deref().unwrap_or_default(), options.key_fields_prefix.as_str()),
    };
    let bare = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
    let mut fields = Vec::with_capacity(wanted.len());
    for index in wanted {
        let field = pruned(*index).map_or_else(|| declared("", columns, *index).map(|c| &c.field), Ok)?;
        fields.push(field.as_ref().clone().with_name(bare(field.name())));
    }
    let names = all.iter().map(|i| declared("", columns, *i).map(|c| bare(c.field.name())));
    Ok(FormatRequest { part, format, schema: Arc::new(Schema::new(fields)), fields: names.collect::<Result<_>>()? })
}

/// The columns of a part that are read, each once.
fn read_of(part: &[usize], used: &[usize]) -> Vec<usize> {
    part.iter().copied().filter(|c| used.contains(c)).collect()
}

fn declared<'a>(table: &str, columns: &'a [TableColumn], index: usize) -> Result<&'a TableColumn> {
    columns.get(index).ok_or_else(|| Error::internal(format!("table `{table}`: column {index} of {}", columns.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};
    use std::collections::BTreeMap;
    use thalweg_engine::source::SourceFactory;

    fn options(extra: &[(&str, &str)]) -> KafkaOptions {
        let base = [
            ("topic", "t"),
            ("format", "json"),
            ("scan.startup.mode", "earliest-offset"),
            ("properties.bootstrap.servers", "b:1"),
        ];
        let all = base.iter().chain(extra).map(|(k, v)| (k.to_string(), v.to_string()));
        KafkaOptions::parse(&all.collect::<BTreeMap<_, _>>()).unwrap().0
    }

    const KEYED: &[(&str, &str)] = &[
        ("key.format", "csv"),
        ("key.fields", "k_id;k_at"),
        ("key.fields-prefix", "k_"),
        ("value.fields-include", "EXCEPT_KEY"),
    ];

    fn columns() -> Vec<TableColumn> {
        let column =
            |name: &str, metadata| TableColumn { field: Arc::new(Field::new(name, DataType::Int64, true)), metadata };
        vec![
            column("a", None),
            column("k_at", None),
            column("at", Some(MetadataColumn::Timestamp)),
            column("b", None),
            column("k_id", None),
        ]
    }

    type Asked = Vec<(RecordPart, String, Vec<String>, Vec<String>)>;

    fn note(asked: &mut Asked, request: &FormatRequest<'_>) {
        let read = request.schema.fields().iter().map(|f| f.name().clone()).collect();
        asked.push((request.part, request.format.to_owned(), read, request.fields.clone()));
    }

    fn source(extra: &[(&str, &str)], used: &[usize]) -> (Asked, Result<KafkaSource>) {
        let mut asked = Vec::new();
        let read = used.iter().map(|i| columns()[*i].field.clone()).collect::<Vec<_>>();
        let read = (used, Arc::new(Schema::new(read)));
        let source = plan_source("t", options(extra), &columns(), read, BadRecord::Fail, |request| {
            note(&mut asked, &request);
            Ok(Arc::new(|| Err(Error::internal("not asked to decode"))))
        });
        (asked, source)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| n.to_string()).collect()
    }

    #[test]
    fn columns_are_pruned_per_part_and_the_prefix_is_the_tables() {
        let (asked, source) = source(KEYED, &[4, 2, 3]);
        let fields: Vec<String> = source.unwrap().schema().fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(fields, ["k_id", "at", "b"]);
        assert_eq!(
            asked,
            [
                (RecordPart::Value, "json".to_owned(), names(&["b"]), names(&["a", "b"])),
                (RecordPart::Key, "csv".to_owned(), names(&["id"]), names(&["id", "at"])),
            ]
        );
    }

    #[test]
    fn a_key_that_is_in_the_value_too_is_read_from_the_value() {
        let (asked, source) = source(&[("key.format", "csv"), ("key.fields", "k_id")], &[4]);
        assert!(source.is_ok());
        let all = names(&["a", "k_at", "b", "k_id"]);
        assert_eq!(asked, [(RecordPart::Value, "json".to_owned(), names(&["k_id"]), all)]);
    }

    #[test]
    fn a_part_of_which_nothing_is_read_is_still_checked() {
        let (asked, source) = source(&[], &[2]);
        assert!(source.is_ok());
        assert_eq!(asked, [(RecordPart::Value, "json".to_owned(), vec![], names(&["a", "k_at", "b", "k_id"]))]);
    }

    #[test]
    fn a_sink_writes_keys_values_and_writable_metadata() {
        let mut asked = Vec::new();
        let mut encoder = |request: FormatRequest<'_>| -> Result<EncoderFactory> {
            note(&mut asked, &request);
            Ok(Arc::new(|| Err(Error::internal("not asked to encode"))))
        };
        plan_sink("t", options(KEYED), &columns(), &mut encoder).unwrap();
        let mut virtual_missing = columns();
        virtual_missing[2].metadata = Some(MetadataColumn::Offset);
        let error = plan_sink("t", options(&[]), &virtual_missing, &mut encoder).err().unwrap();
        assert!(error.message().contains("metadata column `at` cannot be written: declare it VIRTUAL"), "{error}");
        assert_eq!(
            asked,
            [
                (RecordPart::Value, "json".to_owned(), names(&["a", "b"]), names(&["a", "b"])),
                (RecordPart::Key, "csv".to_owned(), names(&["id", "at"]), names(&["id", "at"])),
            ]
        );
    }

    #[test]
    fn key_fields_are_columns() {
        for field in ["nowhere", "at"] {
            let (_, source) = source(&[("key.format", "csv"), ("key.fields", field)], &[0]);
            let error = source.err().unwrap();
            assert!(error.message().contains(&format!("there is no column `{field}`")), "{error}");
        }
    }
}
