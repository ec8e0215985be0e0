//! The options of a `filesystem` table, typed: Flink's names where Flink has one.
//!
//! Called by the connector when a table is declared or planned; asks no disk.

use super::partition::{PartitionTime, TimePattern};
use super::store::Store;
use crate::bad_record::{BadRecord, BadRecords};
use crate::format::csv::CsvOptions;
use crate::format::json::JsonEncoderOptions;
use crate::format::lines::DEFAULT_MAX_LINE_BYTES;
use crate::options::{OptionError, OptionResult, OptionSpec, TypedOptions, ValueKind};
use crate::registry::TableSpec;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::s3;

use ValueKind::{Bool, Bytes, OneOf, Raw, Text};

/// What the connector knows.
pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "path",
        Text,
        "the folder, with `file://` in front or not, or s3://BUCKET/FOLDER (settings `s3.*`); to read, also one file or a pattern with `*`",
    ),
    OptionSpec::new(
        "format",
        OneOf(&["json", "csv", "parquet"]),
        "'json' (one object a line), 'csv' or 'parquet'; text is UTF-8, with a byte order mark or without",
    ),
    OptionSpec::new(
        "source.path.regex-pattern",
        Raw,
        "only files are read whose whole absolute path this expression matches",
    ),
    OptionSpec::with_default("source.max-line-bytes", Bytes, "16MB", "a longer line is an error (bytes)"),
    OptionSpec::with_default("csv.field-delimiter", Raw, ",", "between two fields; `\\t` is a tabulator"),
    OptionSpec::with_default(
        "csv.quote-character",
        Raw,
        "\"",
        "around fields that hold delimiters, quotes or line ends",
    ),
    OptionSpec::with_default(
        "csv.disable-quote-character",
        Bool,
        "false",
        "no quotes; large files are then read in parts",
    ),
    OptionSpec::new("csv.null-literal", Raw, "what stands for NULL"),
    OptionSpec::with_default("csv.header", Bool, "false", "whether the first record of a file names the columns"),
    OptionSpec::with_default("json.encode.ignore-null-fields", Bool, "false", "fields that are NULL are not written"),
    OptionSpec::with_default("sink.compression", OneOf(&["none", "gzip", "zstd"]), "none", "of JSON and CSV files"),
    OptionSpec::with_default(
        "parquet.compression",
        OneOf(&["snappy", "zstd", "gzip", "lz4", "uncompressed"]),
        "snappy",
        "of parquet files",
    ),
    OptionSpec::with_default("sink.rolling-policy.file-size", Bytes, "128MB", "a file is closed at this size (bytes)"),
    OptionSpec::with_default(
        "sink.rolling-policy.rollover-interval",
        ValueKind::Duration,
        "30 min",
        "a file is closed after this time",
    ),
    OptionSpec::with_default(
        "sink.rolling-policy.inactivity-interval",
        ValueKind::Duration,
        "30 min",
        "a file is closed when nothing was written to it for this time",
    ),
    OptionSpec::with_default(
        "sink.rolling-policy.check-interval",
        ValueKind::Duration,
        "1 min",
        "how often the two intervals are looked at",
    ),
    OptionSpec::with_default(
        "sink.partition-commit.trigger",
        OneOf(&["process-time", "partition-time"]),
        "process-time",
        "what says that a partition is complete: the clock since its first file, or the watermark past its own time",
    ),
    OptionSpec::with_default("sink.partition-commit.delay", ValueKind::Duration, "0 s", "how long to wait on top"),
    OptionSpec::new(
        "sink.partition-commit.policy.kind",
        Text,
        "'success-file': an empty file in every complete partition",
    ),
    OptionSpec::with_default("sink.partition-commit.success-file.name", Text, "_SUCCESS", "the name of that file"),
    OptionSpec::with_default("sink.partition-commit.watermark-time-zone", Text, "UTC", "only UTC"),
    OptionSpec::with_default(
        "partition.time-extractor.kind",
        OneOf(&["default", "custom"]),
        "default",
        "only 'default'",
    ),
    OptionSpec::new("partition.time-extractor.class", Text, "refused: classes cannot be loaded"),
    OptionSpec::new(
        "partition.time-extractor.timestamp-pattern",
        Text,
        "a partition's time from its columns: '$dt $hm:00'; else the first column alone",
    ),
    OptionSpec::new(
        "partition.time-extractor.timestamp-formatter",
        Text,
        "how that text is read: 'yyyy-MM-dd HH:mm:ss' and its parts in other orders",
    ),
];

/// Why a text is no expression; the library draws a picture of several lines, with the reason on the last.
fn regex_reason(e: &regex::Error) -> String {
    let text = e.to_string();
    let reason = text.lines().last().unwrap_or_default();
    reason.strip_prefix("error: ").unwrap_or(reason).to_owned()
}

/// The form of the files.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FileFormat {
    Json(JsonEncoderOptions),
    Csv(CsvOptions),
    Parquet(ParquetCompression),
}

/// Compression inside parquet files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParquetCompression {
    Snappy,
    Zstd,
    Gzip,
    Lz4,
    Uncompressed,
}

/// Compression of whole files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the end of a file's name.
    pub(super) fn of_name(name: &str) -> Compression {
        let extension = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        match extension.as_str() {
            "gz" | "gzip" => Compression::Gzip,
            "zst" | "zstd" => Compression::Zstd,
            _ => Compression::None,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        }
    }
}

/// When files are closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rolling {
    pub(super) file_bytes: u64,
    pub(super) rollover: Duration,
    pub(super) inactivity: Duration,
    pub(super) check: Duration,
}

/// When and how complete partitions are marked.
#[derive(Clone, Debug)]
pub(super) struct PartitionCommit {
    pub(super) trigger: Trigger,
    pub(super) delay_ms: i64,
    pub(super) success_file: String,
}

/// What completes a partition.
#[derive(Clone, Debug)]
pub(super) enum Trigger {
    ProcessTime,
    PartitionTime(PartitionTime),
}

/// All options of a table.
#[derive(Clone, Debug)]
pub(super) struct FileOptions {
    pub(super) path: PathBuf,
    pub(super) store: Arc<Store>,
    pub(super) pattern: Option<regex::Regex>,
    pub(super) format: FileFormat,
    pub(super) max_line_bytes: usize,
    pub(super) compression: Compression,
    pub(super) rolling: Rolling,
    pub(super) partition_commit: Option<PartitionCommit>,
    pub(super) bad_record: BadRecord,
}

impl FileOptions {
    pub(super) fn parse(spec: &TableSpec, o: &TypedOptions<'_>) -> OptionResult<FileOptions> {
        let written = o.required("path")?;
        let mut path = written.strip_prefix("file://").unwrap_or(written);
        if path.starts_with(s3::SCHEME) {
            s3::parse(path).map_err(|e| OptionError::at("path", e.message()))?;
            path = path.trim_end_matches('/');
        } else if path.contains("://") {
            let text = format!("'{written}' is in no storage that is known");
            return Err(OptionError::at("path", text).remedy("write a path, file:///FOLDER or s3://BUCKET/FOLDER"));
        }
        let pattern = o.raw("source.path.regex-pattern").map(|p| regex::Regex::new(&format!("^(?:{p})$")));
        let pattern = pattern.transpose().map_err(|e| {
            OptionError::at("source.path.regex-pattern", format!("no expression: {}", regex_reason(&e)))
        })?;
        let limit = o.bytes("source.max-line-bytes")?.unwrap_or(DEFAULT_MAX_LINE_BYTES as u64);
        if !(1..=1 << 30).contains(&limit) {
            return Err(OptionError::at(
                "source.max-line-bytes",
                format!("{limit} bytes is not within 1 byte and 1 gb"),
            ));
        }
        let compression = [("none", Compression::None), ("gzip", Compression::Gzip), ("zstd", Compression::Zstd)];
        let options = FileOptions {
            path: PathBuf::from(path),
            store: Arc::new(Store::new(spec.s3.clone())),
            pattern,
            format: format(o)?,
            max_line_bytes: limit as usize,
            compression: o.choice("sink.compression", &compression)?.unwrap_or(Compression::None),
            rolling: rolling(o)?,
            partition_commit: partition_commit(spec, o)?,
            bad_record: BadRecords::parse(o)?.policy,
        };
        if options.compression != Compression::None && matches!(options.format, FileFormat::Parquet(_)) {
            let error = OptionError::at("sink.compression", "parquet files are compressed inside");
            return Err(error.remedy("use `parquet.compression`"));
        }
        Ok(options)
    }

    /// Whether the settings allow to reach the path. Asks nobody.
    pub(super) fn check(&self) -> OptionResult<()> {
        self.store.check(&self.path).map_err(|e| OptionError::at("path", e.message()))
    }

    /// The end of the names of files written.
    pub(super) fn extension(&self) -> String {
        let format = match self.format {
            FileFormat::Json(_) => ".json",
            FileFormat::Csv(_) => ".csv",
            FileFormat::Parquet(_) => ".parquet",
        };
        format!("{format}{}", self.compression.extension())
    }
}

fn format(o: &TypedOptions<'_>) -> OptionResult<FileFormat> {
    let name = o.required("format")?.to_ascii_lowercase();
    for (key, _) in o.options().iter() {
        let of = key.split('.').next().filter(|f| matches!(*f, "json" | "csv" | "parquet"));
        if of.is_some_and(|f| f != name) {
            return Err(OptionError::at(key, format!("means nothing for 'format' = '{name}'")).remedy("leave it out"));
        }
    }
    Ok(match name.as_str() {
        "json" => {
            FileFormat::Json(JsonEncoderOptions { ignore_null_fields: o.flag("json.encode.ignore-null-fields")? })
        }
        "csv" => FileFormat::Csv(csv(o)?),
        _ => {
            use ParquetCompression as P;
            let words = [("snappy", P::Snappy), ("zstd", P::Zstd), ("gzip", P::Gzip), ("lz4", P::Lz4)];
            let words = words.into_iter().chain([("uncompressed", P::Uncompressed)]).collect::<Vec<_>>();
            FileFormat::Parquet(o.choice("parquet.compression", &words)?.unwrap_or(P::Snappy))
        }
    })
}

fn csv(o: &TypedOptions<'_>) -> OptionResult<CsvOptions> {
    let character = |key: &str| match o.raw(key).unwrap_or_default() {
        "\\t" => Ok(b'\t'),
        text => match text.as_bytes() {
            [byte] => Ok(*byte),
            _ => Err(OptionError::at(key, format!("'{text}' is not one ASCII character or '\\t'"))),
        },
    };
    let quote = if o.flag("csv.disable-quote-character")? { None } else { Some(character("csv.quote-character")?) };
    let options = CsvOptions {
        delimiter: character("csv.field-delimiter")?,
        quote,
        null_literal: o.raw("csv.null-literal").map(str::to_owned),
        header: o.flag("csv.header")?,
    };
    options.validate()?;
    Ok(options)
}

fn rolling(o: &TypedOptions<'_>) -> OptionResult<Rolling> {
    let time = |name: &str| -> OptionResult<Duration> {
        let key = format!("sink.rolling-policy.{name}");
        let time = o.duration(&key)?.unwrap_or_default();
        if time.is_zero() { Err(OptionError::at(key, "must be longer than nothing")) } else { Ok(time) }
    };
    let size = "sink.rolling-policy.file-size";
    let file_bytes = o.bytes(size)?.unwrap_or_default();
    if file_bytes == 0 {
        return Err(OptionError::at(size, "must be larger than nothing"));
    }
    let (rollover, inactivity) = (time("rollover-interval")?, time("inactivity-interval")?);
    Ok(Rolling { file_bytes, rollover, inactivity, check: time("check-interval")? })
}

fn partition_commit(spec: &TableSpec, o: &TypedOptions<'_>) -> OptionResult<Option<PartitionCommit>> {
    let zone = "sink.partition-commit.watermark-time-zone";
    if o.text(zone).is_some_and(|z| !["UTC", "Z", "GMT", "Etc/UTC"].contains(&z)) {
        return Err(OptionError::at(zone, "only 'UTC' is supported").remedy("leave it out"));
    }
    let class = "partition.time-extractor.class";
    if o.is_given(class) || o.text("partition.time-extractor.kind").is_some_and(|k| k.eq_ignore_ascii_case("custom")) {
        let key = if o.is_given(class) { class } else { "partition.time-extractor.kind" };
        let remedy = "use 'partition.time-extractor.timestamp-pattern'";
        return Err(OptionError::at(key, "classes cannot be loaded").remedy(remedy));
    }
    let kind = "sink.partition-commit.policy.kind";
    let time = PartitionTime::parse(spec, o)?;
    let Some(policy) = o.text(kind) else { return Ok(None) };
    if !policy.eq_ignore_ascii_case("success-file") {
        let text = format!("'{policy}' is not supported");
        return Err(OptionError::at(kind, text).remedy("there is 'success-file'"));
    }
    if spec.partition_keys.is_empty() {
        let error = OptionError::at(kind, format!("table `{}` has no partitions", spec.name));
        return Err(error.remedy("add PARTITIONED BY, or leave the option out"));
    }
    let success = "sink.partition-commit.success-file.name";
    let name = o.text(success).unwrap_or_default();
    if !name.starts_with(['_', '.']) || name.contains('/') {
        let text = format!("'{name}' would be read as data, or lies elsewhere");
        return Err(OptionError::at(success, text).remedy("let it start with `_` or `.` and hold no `/`"));
    }
    let by_partition =
        o.text("sink.partition-commit.trigger").is_some_and(|t| t.eq_ignore_ascii_case("partition-time"));
    let trigger = if by_partition { Trigger::PartitionTime(time) } else { Trigger::ProcessTime };
    let delay = o.duration("sink.partition-commit.delay")?.unwrap_or_default();
    let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    Ok(Some(PartitionCommit { trigger, delay_ms, success_file: name.to_owned() }))
}

impl PartitionTime {
    fn parse(spec: &TableSpec, o: &TypedOptions<'_>) -> OptionResult<PartitionTime> {
        let key = "partition.time-extractor.timestamp-pattern";
        let first = || format!("${}", spec.partition_keys.first().map_or("", String::as_str));
        let text = o.text(key).map_or_else(first, str::to_owned);
        if o.is_given(key) && !spec.partition_keys.iter().any(|k| text.contains(&format!("${k}"))) {
            let names = spec.partition_keys.join(", ");
            let error = OptionError::at(key, format!("'{text}' names no partition column"));
            return Err(error.remedy(format!("write `$` and a name; there are: {names}")));
        }
        let formatter = "partition.time-extractor.timestamp-formatter";
        let format = o.text(formatter).map(TimePattern::parse).transpose();
        let format = format.map_err(|reason| OptionError::at(formatter, reason))?;
        Ok(PartitionTime { pattern: text, format })
    }
}
