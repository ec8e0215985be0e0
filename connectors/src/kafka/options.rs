//! The options of a Kafka table: Flink's names, typed once, unknown ones refused with a suggestion.
//!
//! Called by the planner when a table is declared; nothing here asks a broker. Options of formats (`json.*`, `csv.*`, with or
//! without `value.` or `key.` in front) and of the planner (`bad-record*`, `late.*`) are handed back untouched.

use super::properties::ClientProperties;
use crate::options::{nearest, parse_duration};
use std::collections::BTreeMap;
use std::time::Duration;
use thalweg_engine::error::{Error, Result};

/// The table options of this connector, besides `properties.*`.
pub const TABLE_OPTIONS: &[&str] = &[
    "connector",
    "format",
    "key.fields",
    "key.fields-prefix",
    "key.format",
    "scan.bounded.mode",
    "scan.bounded.specific-offsets",
    "scan.bounded.timestamp-millis",
    "scan.parallelism",
    "scan.startup.mode",
    "scan.startup.specific-offsets",
    "scan.startup.timestamp-millis",
    "scan.topic-partition-discovery.interval",
    "sink.delivery-guarantee",
    "sink.parallelism",
    "sink.partitioner",
    "sink.transactional-id-prefix",
    "topic",
    "topic-pattern",
    "value.fields-include",
    "value.format",
];

/// Options that are Flink's but not (yet) ours: name, and what to do instead.
const REFUSED: &[(&str, &str)] = &[
    ("topic-pattern", "name the topics in `topic`, separated by `;`"),
    ("scan.parallelism", "set the parallelism of the job"),
    ("sink.parallelism", "set the parallelism of the job"),
    (
        "sink.transactional-id-prefix",
        "only `sink.delivery-guarantee` = 'exactly-once' needs it, which is not supported yet",
    ),
];

/// Prefixes of options that belong to somebody else.
const PASSED_ON: &[&str] =
    &["json.", "csv.", "value.json.", "value.csv.", "key.json.", "key.csv.", "bad-record", "late."];

/// Offsets by partition, as `partition:0,offset:42;partition:1,offset:300` gives them.
pub type PartitionOffsets = BTreeMap<i32, i64>;

/// Where reading starts in a partition that no checkpoint knows (`scan.startup.mode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup {
    /// The oldest record.
    Earliest,
    /// After the newest record at the start of the job.
    Latest,
    /// Where the consumer group stands; else as `properties.auto.offset.reset` says, else an error. The default.
    GroupOffsets,
    /// The first record with at least this timestamp, in ms since 1970 UTC.
    Timestamp(i64),
    /// The given offsets; where the group stands, else the oldest record, for partitions not named.
    Specific(PartitionOffsets),
}

/// Where reading ends (`scan.bounded.mode`). Fixed for every partition when the job starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bounded {
    /// Never. The default.
    Unbounded,
    /// After the newest record at the start of the job.
    Latest,
    /// Where the consumer group stood at the start of the job.
    GroupOffsets,
    /// Before the first record with at least this timestamp, in ms since 1970 UTC.
    Timestamp(i64),
    /// Before the given offsets; after the newest record for partitions not named.
    Specific(PartitionOffsets),
}

/// Which columns the value holds if there are key fields (`value.fields-include`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueFields {
    /// All of them, the key's too; reading takes the value's. The default.
    All,
    /// All but those of the key.
    ExceptKey,
}

/// Which partition a row goes to (`sink.partitioner`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    /// By the hash of the key, as Java clients compute it (murmur2); rows without a key go anywhere. The default.
    Default,
    /// Every subtask writes to one partition.
    Fixed,
    /// Every subtask takes the partitions in turn.
    RoundRobin,
}

/// What is promised to readers (`sink.delivery-guarantee`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Rows may be lost in a crash of the job or of a broker.
    None,
    /// No row is lost; rows after the last checkpoint may come twice after a crash. The default of a job without checkpoints.
    AtLeastOnce,
    /// Readers of committed records see each row once, when its checkpoint is complete. The default of a job with checkpoints.
    ExactlyOnce,
}

/// The options of one table, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaOptions {
    /// One topic, or several to read.
    pub topics: Vec<String>,
    /// The client's options; `bootstrap.servers` is among them.
    pub properties: ClientProperties,
    /// Where reading starts.
    pub startup: Startup,
    /// Where reading ends.
    pub bounded: Bounded,
    /// How often to look for new partitions; `None` = never.
    pub discovery: Option<Duration>,
    /// Format of the value.
    pub value_format: String,
    /// Format of the key, if the table has key fields.
    pub key_format: Option<String>,
    /// Columns that are in the key.
    pub key_fields: Vec<String>,
    /// What stands in front of the key's columns in the table, but not in the key.
    pub key_fields_prefix: String,
    /// Which columns the value holds.
    pub value_fields: ValueFields,
    /// Which partition a row goes to.
    pub partitioner: Partitioner,
    /// What is promised to readers; `None`: as much as the job can.
    pub delivery: Option<Delivery>,
}

impl KafkaOptions {
    /// Checks a table's options. Returns them and those that belong to formats and to the planner. Errors: `user`, naming the
    /// option, what is wrong and what to write.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<(KafkaOptions, BTreeMap<String, String>)> {
        let mut properties = ClientProperties::default();
        let mut rest = BTreeMap::new();
        for (name, value) in options {
            if let Some(property) = name.strip_prefix("properties.") {
                properties.insert(property, value)?;
            } else if PASSED_ON.iter().any(|p| name.starts_with(p)) {
                rest.insert(name.clone(), value.clone());
            } else {
                known(name)?;
            }
        }
        if properties.get("bootstrap.servers").is_none_or(|v| v.trim().is_empty()) {
            return Err(missing("properties.bootstrap.servers", "a list of brokers, host:port"));
        }
        properties.check()?;
        let o = Reader(options);
        let (value_format, key_format, key_fields) = formats(&o)?;
        let parsed = KafkaOptions {
            topics: topics(&o)?,
            startup: startup(&o, &properties)?,
            bounded: bounded(&o, &properties)?,
            discovery: discovery(&o)?,
            value_format,
            key_format,
            key_fields_prefix: key_fields_prefix(&o, &key_fields)?,
            key_fields,
            value_fields: o
                .choice("value.fields-include", &[("ALL", ValueFields::All), ("EXCEPT_KEY", ValueFields::ExceptKey)])?,
            partitioner: partitioner(&o)?,
            delivery: delivery(&o)?,
            properties,
        };
        Ok((parsed, rest))
    }

    /// The broker list.
    pub fn bootstrap_servers(&self) -> &str {
        self.properties.get("bootstrap.servers").unwrap_or_default()
    }

    /// Checks what only a table that is read from needs. Errors: `user`, naming the option.
    pub fn check_source(&self) -> Result<()> {
        let lost = self.startup == Startup::GroupOffsets && self.properties.get("group.id").is_none();
        if lost { Err(missing_group()) } else { Ok(()) }
    }

    /// The one topic to write to. Errors: `user` if the table names several.
    pub fn sink_topic(&self) -> Result<&str> {
        match self.topics.as_slice() {
            [one] => Ok(one),
            many => Err(Error::user(format!(
                "option `topic` names {} topics, and only one can be written to: declare a table for each",
                many.len()
            ))),
        }
    }
}

fn known(name: &str) -> Result<()> {
    if let Some((_, instead)) = REFUSED.iter().find(|(n, _)| *n == name) {
        return Err(Error::user(format!("option `{name}` is not supported: {instead}")));
    }
    if TABLE_OPTIONS.contains(&name) {
        return Ok(());
    }
    let hint = match nearest(name, TABLE_OPTIONS.iter().copied()) {
        Some(option) => format!("did you mean `{option}`?"),
        None => format!("this connector knows {}", TABLE_OPTIONS.join(", ")),
    };
    Err(Error::user(format!("unknown option `{name}` of connector `kafka`; {hint}")))
}

fn missing(name: &str, what: &str) -> Error {
    Error::user(format!("option `{name}` is missing: {what}"))
}

fn bad(name: &str, value: &str, wanted: &str) -> Error {
    Error::user(format!("option `{name}` = '{value}': {wanted}"))
}

struct Reader<'a>(&'a BTreeMap<String, String>);

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|v| v.trim())
    }

    /// The value of an option that is one of a few words; the first one is the default. Case does not matter.
    fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T> {
        let words = || choices.iter().map(|(w, _)| format!("'{w}'")).collect::<Vec<_>>().join(", ");
        let value = self.get(name).or(choices.first().map(|c| c.0)).unwrap_or_default();
        let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(value));
        found.map(|(_, choice)| *choice).ok_or_else(|| bad(name, value, &format!("expected one of {}", words())))
    }

    fn list(&self, name: &str) -> Vec<String> {
        let items = self.get(name).unwrap_or_default().split(';').map(str::trim);
        items.filter(|s| !s.is_empty()).map(str::to_owned).collect()
    }

    fn millis(&self, name: &str, mode: &str) -> Result<i64> {
        let value =
            self.get(name).ok_or_else(|| missing(name, &format!("{mode} = 'timestamp' needs it, in ms since 1970")))?;
        let millis = value.parse::<i64>().ok().filter(|ms| *ms >= 0);
        millis.ok_or_else(|| bad(name, value, "expected milliseconds since 1970-01-01 UTC"))
    }

    fn offsets(&self, name: &str, mode: &str) -> Result<PartitionOffsets> {
        let example = "write 'partition:0,offset:42;partition:1,offset:300'";
        let value =
            self.get(name).ok_or_else(|| missing(name, &format!("{mode} = 'specific-offsets' needs it; {example}")))?;
        let mut offsets = PartitionOffsets::new();
        for item in value.split(';').map(str::trim).filter(|s| !s.is_empty()) {
            let (partition, offset) = partition_offset(item).ok_or_else(|| bad(name, value, example))?;
            if offsets.insert(partition, offset).is_some() {
                return Err(bad(name, value, &format!("partition {partition} is named twice")));
            }
        }
        if offsets.is_empty() { Err(bad(name, value, example)) } else { Ok(offsets) }
    }
}

fn partition_offset(item: &str) -> Option<(i32, i64)> {
    let (partition, offset) = item.split_once(',')?;
    let partition = partition.trim().strip_prefix("partition:")?.trim().parse().ok()?;
    let offset = offset.trim().strip_prefix("offset:")?.trim().parse().ok()?;
    (partition >= 0 && offset >= 0).then_some((partition, offset))
}

/// An option that another one, `mode`, makes meaningless is a mistake, not a detail.
fn only_with(o: &Reader<'_>, name: &str, mode: &str, wanted: &str, is_wanted: bool) -> Result<()> {
    match o.get(name) {
        Some(value) if !is_wanted => {
            let found = o.get(mode).map_or("not given".to_owned(), |v| format!("'{v}'"));
            Err(bad(name, value, &format!("it needs `{mode}` = '{wanted}', which is {found}; remove one of the two")))
        }
        _ => Ok(()),
    }
}

fn topics(o: &Reader<'_>) -> Result<Vec<String>> {
    let topics = o.list("topic");
    if topics.is_empty() {
        return Err(missing("topic", "the name of the topic"));
    }
    for (i, topic) in topics.iter().enumerate() {
        let legal = topic.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !legal || topic.len() > 249 || topic == "." || topic == ".." {
            let wanted = "a topic's name has at most 249 letters, digits, `.`, `_` and `-`";
            return Err(bad("topic", topic, wanted));
        }
        if topics.iter().take(i).any(|t| t == topic) {
            return Err(bad("topic", topic, "named twice"));
        }
    }
    Ok(topics)
}

fn missing_group() -> Error {
    let what =
        "`scan.startup.mode` = 'group-offsets' (the default) needs it; or choose 'earliest-offset' or 'latest-offset'";
    missing("properties.group.id", what)
}

fn startup(o: &Reader<'_>, properties: &ClientProperties) -> Result<Startup> {
    let mode = "scan.startup.mode";
    let word = o.choice(
        mode,
        &[
            ("group-offsets", 0),
            ("earliest-offset", 1),
            ("latest-offset", 2),
            ("timestamp", 3),
            ("specific-offsets", 4),
        ],
    )?;
    // Where it is not said, nothing is wrong yet: a table that is only written to starts nowhere.
    if word == 0 && o.get(mode).is_some() && properties.get("group.id").is_none() {
        return Err(missing_group());
    }
    only_with(o, "scan.startup.timestamp-millis", mode, "timestamp", word == 3)?;
    only_with(o, "scan.startup.specific-offsets", mode, "specific-offsets", word == 4)?;
    Ok(match word {
        0 => Startup::GroupOffsets,
        1 => Startup::Earliest,
        2 => Startup::Latest,
        3 => Startup::Timestamp(o.millis("scan.startup.timestamp-millis", mode)?),
        _ => Startup::Specific(o.offsets("scan.startup.specific-offsets", mode)?),
    })
}

/// Partitions that are made later are read from their beginning; a bounded table has those of its start.
fn discovery(o: &Reader<'_>) -> Result<Option<Duration>> {
    const DEFAULT: Duration = Duration::from_secs(300);
    let name = "scan.topic-partition-discovery.interval";
    let Some(value) = o.get(name) else { return Ok(Some(DEFAULT)) };
    let every = parse_duration(name, value).map_err(|e| Error::user(e.to_string()))?;
    Ok(Some(every).filter(|every| !every.is_zero()))
}

fn bounded(o: &Reader<'_>, properties: &ClientProperties) -> Result<Bounded> {
    let mode = "scan.bounded.mode";
    let word = o.choice(
        mode,
        &[("unbounded", 0), ("latest-offset", 1), ("group-offsets", 2), ("timestamp", 3), ("specific-offsets", 4)],
    )?;
    if word == 2 && properties.get("group.id").is_none() {
        return Err(missing("properties.group.id", "`scan.bounded.mode` = 'group-offsets' needs it"));
    }
    only_with(o, "scan.bounded.timestamp-millis", mode, "timestamp", word == 3)?;
    only_with(o, "scan.bounded.specific-offsets", mode, "specific-offsets", word == 4)?;
    Ok(match word {
        0 => Bounded::Unbounded,
        1 => Bounded::Latest,
        2 => Bounded::GroupOffsets,
        3 => Bounded::Timestamp(o.millis("scan.bounded.timestamp-millis", mode)?),
        _ => Bounded::Specific(o.offsets("scan.bounded.specific-offsets", mode)?),
    })
}

/// Format of the value, format of the key, columns of the key.
fn formats(o: &Reader<'_>) -> Result<(String, Option<String>, Vec<String>)> {
    let value = match (o.get("format"), o.get("value.format")) {
        (Some(_), Some(_)) => {
            return Err(Error::user("options `format` and `value.format` mean the same: give one of them"));
        }
        (Some(f), None) | (None, Some(f)) if !f.is_empty() => f.to_owned(),
        _ => return Err(missing("format", "the format of the records, for instance 'json'")),
    };
    let key = o.get("key.format").filter(|f| !f.is_empty()).map(str::to_owned);
    let fields = o.list("key.fields");
    match (&key, fields.is_empty()) {
        (Some(_), true) => Err(missing("key.fields", "`key.format` needs the columns of the key, separated by `;`")),
        (None, false) => Err(missing("key.format", "`key.fields` needs the format of the key, for instance 'json'")),
        _ => Ok((value, key, fields)),
    }
}

fn key_fields_prefix(o: &Reader<'_>, key_fields: &[String]) -> Result<String> {
    let prefix = o.get("key.fields-prefix").unwrap_or_default();
    if prefix.is_empty() {
        return Ok(String::new());
    }
    if !o.get("value.fields-include").is_some_and(|v| v.eq_ignore_ascii_case("EXCEPT_KEY")) {
        return Err(bad("key.fields-prefix", prefix, "it needs `value.fields-include` = 'EXCEPT_KEY'"));
    }
    match key_fields.iter().find(|f| !f.starts_with(prefix)) {
        Some(field) => {
            Err(bad("key.fields-prefix", prefix, &format!("column `{field}` of `key.fields` does not begin so")))
        }
        None => Ok(prefix.to_owned()),
    }
}

fn partitioner(o: &Reader<'_>) -> Result<Partitioner> {
    o.choice(
        "sink.partitioner",
        &[("default", Partitioner::Default), ("fixed", Partitioner::Fixed), ("round-robin", Partitioner::RoundRobin)],
    )
}

fn delivery(o: &Reader<'_>) -> Result<Option<Delivery>> {
    let names = [
        ("exactly-once", Some(Delivery::ExactlyOnce)),
        ("at-least-once", Some(Delivery::AtLeastOnce)),
        ("none", Some(Delivery::None)),
    ];
    if o.get("sink.delivery-guarantee").is_none() { Ok(None) } else { o.choice("sink.delivery-guarantee", &names) }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
