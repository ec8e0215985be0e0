//! The connector `upsert-kafka`: a topic as a table with a PRIMARY KEY. Every row that comes is a record under its key, a key whose row
//! goes gets a tombstone; so whoever keeps the last record per key has the table, and so does log compaction.

use crate::builtin::{Kafka, kafka_columns, kafka_parts};
use crate::kafka::plan_sink;
use crate::options::{OptionError, OptionResult, OptionSpec, Options, TypedOptions};
use crate::registry::{Connector, Description, TableSpec};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use thalweg_engine::StreamKind;
use thalweg_engine::sink::SinkFactory;

/// Options of `kafka` that mean nothing here.
const NOT_HERE: [&str; 3] = ["scan.", "key.fields", "sink.partitioner"];

pub(crate) struct UpsertKafka;

/// The table as one of `kafka`, whose key columns are the PRIMARY KEY.
fn as_kafka(spec: &TableSpec) -> OptionResult<TableSpec> {
    if spec.primary_key.is_empty() {
        let text = format!("table `{}` has no PRIMARY KEY", spec.name);
        return Err(OptionError::at("connector", text)
            .remedy("add PRIMARY KEY (..) NOT ENFORCED: its columns are the records' keys"));
    }
    for (name, example) in [("key.format", "json"), ("value.format", "json")] {
        if spec.options.get(name).is_none() {
            return Err(
                OptionError::new(format!("option `{name}` is missing")).remedy(format!("add '{name}' = '{example}'"))
            );
        }
    }
    let key = [("key.fields".to_owned(), spec.primary_key.join(";"))];
    let all = spec.options.as_map().iter().map(|(k, v)| (k.clone(), v.clone())).chain(key);
    Ok(TableSpec { options: Options::new(all)?, ..spec.clone() })
}

impl Connector for UpsertKafka {
    fn describe(&self) -> Description {
        let kafka = Kafka.describe();
        let here = |o: &OptionSpec| o.name != "format" && !NOT_HERE.iter().any(|not| o.name.starts_with(not));
        Description {
            options: kafka.options.into_iter().filter(here).collect(),
            no_source: Some("it is written only, so far; read the topic by connector 'kafka'"),
            upserts: true,
            notes: vec!["Client options are those of `kafka`, with `properties.` in front.".into()],
            metadata: kafka.metadata.into_iter().filter(|m| m.is_writable).collect(),
            ..Description::new(
                "upsert-kafka",
                "a topic as a table with a PRIMARY KEY: the last row of each key, a tombstone for a key whose row goes; takes changes",
            )
        }
    }

    fn check(&self, spec: &TableSpec, _options: &TypedOptions<'_>) -> OptionResult<()> {
        let kafka = as_kafka(spec)?;
        kafka_parts(&kafka)?;
        kafka_columns(&kafka, false).map(drop)
    }

    fn sink(
        &self,
        spec: &TableSpec,
        _options: &TypedOptions<'_>,
        _columns: SchemaRef,
        _kind: StreamKind,
    ) -> OptionResult<Arc<dyn SinkFactory>> {
        let spec = as_kafka(spec)?;
        let (kafka, formats) = kafka_parts(&spec)?;
        let declared = kafka_columns(&spec, true)?;
        let sink = plan_sink(&spec.name, kafka, &declared, |request| formats.encoder(request))?;
        Ok(Arc::new(sink.upserting()))
    }
}
