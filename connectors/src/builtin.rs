//! The connectors of this build, in the registry: thin wrappers that turn a declared table into the parts of a connector.

use crate::bad_record::BadRecords;
use crate::blackhole::BlackholeSink;
use crate::datagen::DatagenConnector;
use crate::filesystem::FilesystemConnector;
use crate::kafka::{
    CLIENT_OPTIONS, FORMAT_OPTIONS, Formats, KafkaOptions, METADATA_COLUMNS, MetadataColumn, TABLE_OPTIONS, plan_sink,
    plan_source,
};
use crate::nexmark::{self, NexmarkConfig, NexmarkSource};
use crate::options::{OptionError, OptionResult, OptionSpec, TypedOptions, ValueKind};
use crate::registry::{Connector, Description, MetadataSpec, Registry, TableSpec};
use crate::terminal::Terminal;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use thalweg_engine::StreamKind;
use thalweg_engine::sink::SinkFactory;
use thalweg_engine::source::SourceFactory;

impl Registry {
    /// All connectors of this build. `print` tables write to `terminal`.
    pub fn standard(terminal: &Terminal) -> Registry {
        let mut registry = Registry::new();
        registry.register(Arc::new(Nexmark));
        registry.register(Arc::new(Kafka));
        registry.register(Arc::new(crate::upsert_kafka::UpsertKafka));
        registry.register(Arc::new(FilesystemConnector));
        registry.register(Arc::new(DatagenConnector));
        registry.register(Arc::new(Print(terminal.clone())));
        registry.register(Arc::new(Blackhole));
        registry
    }
}

struct Nexmark;

impl Nexmark {
    fn config(spec: &TableSpec) -> OptionResult<NexmarkConfig> {
        let mut config = NexmarkConfig::default();
        for (key, value) in spec.options.iter().filter(|(k, _)| nexmark::OPTIONS.iter().any(|(o, _)| o == k)) {
            config.set(key, value).map_err(|e| OptionError::at(key, e.to_string()))?;
        }
        config.validate().map_err(|e| OptionError::new(e.to_string()))?;
        Ok(config)
    }
}

impl Connector for Nexmark {
    fn describe(&self) -> Description {
        let option = |(name, doc): &(&'static str, &'static str)| OptionSpec::new(name, ValueKind::Text, doc);
        Description {
            options: nexmark::OPTIONS.iter().map(option).collect(),
            no_sink: Some("it generates rows; write to 'print', 'blackhole', 'filesystem' or 'kafka'"),
            ..Description::new("nexmark", "persons, auctions and bids of the Nexmark benchmark, from a seed")
        }
    }

    fn check(&self, spec: &TableSpec, _options: &TypedOptions<'_>) -> OptionResult<()> {
        NexmarkSource::new(Self::config(spec)?, spec.physical())?;
        Ok(())
    }

    fn source(
        &self,
        spec: &TableSpec,
        _options: &TypedOptions<'_>,
        columns: SchemaRef,
    ) -> OptionResult<Arc<dyn SourceFactory>> {
        Ok(Arc::new(NexmarkSource::new(Self::config(spec)?, columns)?))
    }
}

pub(crate) struct Kafka;

/// A declared table in the words of the Kafka connector; columns of a sink are those that are not VIRTUAL.
pub(crate) fn kafka_columns(spec: &TableSpec, sink: bool) -> OptionResult<Vec<crate::kafka::TableColumn>> {
    let of_sink = |c: &&crate::registry::TableColumn| !sink || c.metadata.as_ref().is_none_or(|m| !m.is_virtual);
    let column = |c: &crate::registry::TableColumn| {
        let metadata = c.metadata.as_ref().map(|m| MetadataColumn::named(&m.key)).transpose()?;
        Ok(crate::kafka::TableColumn { field: c.field.clone(), metadata })
    };
    spec.columns.iter().filter(of_sink).map(column).collect()
}

pub(crate) fn kafka_parts(spec: &TableSpec) -> OptionResult<(KafkaOptions, Formats)> {
    let (options, mut rest) = KafkaOptions::parse(spec.options.as_map())?;
    Ok((options, Formats::parse(&mut rest)?))
}

/// What an option of a Kafka table means.
fn kafka_doc(name: &str) -> &'static str {
    match name {
        "topic" => "the topic; several to read from, separated by `;`",
        "topic-pattern" => "not supported; name the topics",
        "format" | "value.format" => "format of the value: json or csv; one of the two names is required",
        "key.format" => "format of the key: json or csv; required with `key.fields`",
        "key.fields" => "columns that are in the key, separated by `;`",
        "key.fields-prefix" => "stands in front of the key's columns in the table, but not in the key",
        "value.fields-include" => "ALL (default) or EXCEPT_KEY: whether the key's columns are in the value too",
        "scan.startup.mode" => {
            "where reading starts: group-offsets (default), earliest-offset, latest-offset, timestamp, specific-offsets"
        }
        "scan.startup.specific-offsets" => "partition:0,offset:42;partition:1,offset:300",
        "scan.startup.timestamp-millis" => "ms since 1970-01-01 UTC",
        "scan.bounded.mode" => {
            "where reading ends: unbounded (default), latest-offset, group-offsets, timestamp, specific-offsets; fixed at the start"
        }
        "scan.bounded.specific-offsets" => "as for the start; the offset is the first one that is not read",
        "scan.bounded.timestamp-millis" => "ms since 1970-01-01 UTC",
        "scan.topic-partition-discovery.interval" => {
            "how often to look for new partitions, which are read from their beginning (5 min; 0 = never); not with a bounded mode"
        }
        "sink.partitioner" => "default (murmur2 of the key, as Java clients), fixed, round-robin",
        "sink.delivery-guarantee" => {
            "exactly-once (readers of committed records see each row once, when its checkpoint is complete; the default with checkpoint.dir), at-least-once (the default without) or none"
        }
        "scan.parallelism" | "sink.parallelism" => "not supported; set the parallelism of the job",
        "sink.transactional-id-prefix" => "not supported: it belongs to exactly-once",
        "csv.disable-quote-character" => "read and write without quotes (false)",
        "csv.field-delimiter" => "between two fields, one character (,)",
        "csv.null-literal" => "text that stands for NULL",
        "csv.quote-character" => "around fields with delimiters, one character (\")",
        "json.encode.ignore-null-fields" => "leave NULL fields out when writing (false)",
        _ => "an option of the format, for the key or the value alone",
    }
}

impl Connector for Kafka {
    fn describe(&self) -> Description {
        let text = |name: &'static str| OptionSpec::new(name, ValueKind::Text, kafka_doc(name));
        let mut options: Vec<OptionSpec> =
            TABLE_OPTIONS.iter().filter(|name| **name != "connector").map(|name| text(name)).collect();
        // A delimiter may be a blank, a literal empty.
        let raw = |name: &'static str| OptionSpec { kind: ValueKind::Raw, ..text(name) };
        options.extend(FORMAT_OPTIONS.iter().map(|name| raw(name)));
        options.extend(["key.csv.*", "key.json.*", "value.csv.*", "value.json.*"].map(raw));
        options.push(OptionSpec::new(
            "properties.*",
            ValueKind::Text,
            "an option of the Kafka client, from an allow-list; of security this build has SASL PLAIN, and no TLS",
        ));
        let metadata = |(key, column): &(&'static str, MetadataColumn)| MetadataSpec {
            key,
            data_type: column.data_type(),
            is_writable: column.is_writable(),
            doc: "of the record",
        };
        Description {
            options,
            metadata: METADATA_COLUMNS.iter().map(metadata).collect(),
            notes: vec![format!(
                "Client options, each with `properties.` in front: {}.",
                CLIENT_OPTIONS.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            )],
            append_only: Some(
                "aggregate in windows (FROM TABLE(TUMBLE(..)) .. GROUP BY .., window_start, window_end), or write to 'print' or, with a PRIMARY KEY, to 'upsert-kafka'",
            ),
            decodes: true,
            ..Description::new(
                "kafka",
                "topics of Apache Kafka, read by partitions; written exactly once in a job with `checkpoint.dir`, else at least once",
            )
        }
    }

    fn check(&self, spec: &TableSpec, _options: &TypedOptions<'_>) -> OptionResult<()> {
        kafka_parts(spec)?;
        kafka_columns(spec, false).map(drop)
    }

    fn source(
        &self,
        spec: &TableSpec,
        options: &TypedOptions<'_>,
        columns: SchemaRef,
    ) -> OptionResult<Arc<dyn SourceFactory>> {
        let (kafka, formats) = kafka_parts(spec)?;
        let bad_record = BadRecords::parse(options)?.policy;
        let (declared, used) = (kafka_columns(spec, false)?, spec.indices(&columns)?);
        let decoder = |request: crate::kafka::FormatRequest<'_>| formats.decoder(request);
        Ok(Arc::new(plan_source(&spec.name, kafka, &declared, (&used, columns), bad_record, decoder)?))
    }

    fn sink(
        &self,
        spec: &TableSpec,
        _options: &TypedOptions<'_>,
        _columns: SchemaRef,
        _kind: StreamKind,
    ) -> OptionResult<Arc<dyn SinkFactory>> {
        let (kafka, formats) = kafka_parts(spec)?;
        let declared = kafka_columns(spec, true)?;
        Ok(Arc::new(plan_sink(&spec.name, kafka, &declared, |request| formats.encoder(request))?))
    }
}

struct Print(Terminal);

const PRINT_OPTIONS: &[OptionSpec] =
    &[OptionSpec::new("print-identifier", ValueKind::Text, "stands in front of every line of text")];

impl Connector for Print {
    fn describe(&self) -> Description {
        Description {
            options: PRINT_OPTIONS.to_vec(),
            no_source: Some("it shows rows; read from 'nexmark', 'datagen', 'filesystem' or 'kafka'"),
            ..Description::new("print", "rows on standard output, as a table or as JSON lines")
        }
    }

    fn check(&self, _spec: &TableSpec, _options: &TypedOptions<'_>) -> OptionResult<()> {
        Ok(())
    }

    fn sink(
        &self,
        _spec: &TableSpec,
        options: &TypedOptions<'_>,
        columns: SchemaRef,
        kind: StreamKind,
    ) -> OptionResult<Arc<dyn SinkFactory>> {
        let prefix = options.text("print-identifier").map(str::to_owned);
        Ok(self.0.sink(columns, kind, prefix))
    }
}

struct Blackhole;

impl Connector for Blackhole {
    fn describe(&self) -> Description {
        Description {
            no_source: Some("it forgets rows; read from 'nexmark', 'datagen', 'filesystem' or 'kafka'"),
            ..Description::new("blackhole", "forgets its rows; the metrics count them")
        }
    }

    fn check(&self, _spec: &TableSpec, _options: &TypedOptions<'_>) -> OptionResult<()> {
        Ok(())
    }

    fn sink(
        &self,
        _spec: &TableSpec,
        _options: &TypedOptions<'_>,
        _columns: SchemaRef,
        _kind: StreamKind,
    ) -> OptionResult<Arc<dyn SinkFactory>> {
        Ok(Arc::new(BlackholeSink))
    }
}
