//! Finds the partitions of a table's topics and fixes where each is read from and to. Asks the cluster, so it runs off the
//! tasks, once per job: what it found is part of every checkpoint, and a restored job never asks again.
//!
//! Invariants
//! - D1 every start and end is a number, also for "earliest" and "latest": a partition that stays quiet until the first
//!   checkpoint is resumed where the job found it.
//! - D2 ends are those of the reader's isolation level: under `read_committed` the last stable offset, behind which nothing can
//!   be read before its transaction ends.

use super::client::{SourceClient, partitions, source_client};
use super::error::{from_code, from_kafka};
use super::options::{Bounded, KafkaOptions, PartitionOffsets, Startup};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::source::Split;

/// How long one question about offsets may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A partition and what is read of it. It is the `spec` of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartitionSpec {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The first offset to read.
    pub(crate) start: i64,
    /// The first offset not to read any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<i64>,
    /// The start was the oldest record: if that is deleted before anything was read, the next one is as good.
    #[serde(default)]
    pub(crate) from_oldest: bool,
}

impl PartitionSpec {
    /// The split's name: `orders-3`.
    pub(crate) fn id(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }

    /// As the engine carries it.
    pub(crate) fn split(&self) -> Result<Split> {
        let spec = serde_json::to_value(self).map_err(|e| Error::internal(format!("split `{}`: {e}", self.id())))?;
        Ok(Split { id: self.id(), spec })
    }

    /// Back from a split.
    pub(crate) fn of(split: &Split) -> Result<PartitionSpec> {
        serde_json::from_value(split.spec.clone()).map_err(|e| Error::internal(format!("split `{}`: {e}", split.id)))
    }
}

/// Where a partition begins and ends now.
#[derive(Clone, Copy, Debug)]
struct Extent {
    low: i64,
    high: i64,
}

type At = (String, i32);

/// Looks at the cluster. Errors: `user` for topics that do not exist, missing grants, wrong credentials, a group without
/// offsets; `external` if the cluster does not answer.
pub(crate) fn discover(options: &KafkaOptions) -> Result<Vec<PartitionSpec>> {
    let client = source_client(options, false)?;
    let mut extents = BTreeMap::new();
    for topic in &options.topics {
        for partition in partitions(&client, options.bootstrap_servers(), topic, false)? {
            let doing = format!("ask for the offsets of `{topic}-{partition}`");
            let (low, high) = client.fetch_watermarks(topic, partition, ANSWER).map_err(|e| from_kafka(&doing, &e))?;
            extents.insert((topic.clone(), partition), Extent { low, high });
        }
    }
    let starts = starts(options, &client, &extents)?;
    let ends = ends(options, &client, &extents)?;
    // A group may have read on behind an open transaction, which is no end for a job that waits for more.
    if options.bounded != Bounded::Unbounded || matches!(options.startup, Startup::Specific(_)) {
        check_starts(&starts, &extents)?;
    }
    let from_oldest = options.startup == Startup::Earliest;
    let specs = extents.iter().map(|(at, extent)| {
        let end = ends.get(at).copied();
        // A start before the log's is a start at the log's: there is nothing older. Records that a checkpoint still wanted are
        // another matter, and an error in the reader.
        let start = starts.get(at).copied().unwrap_or(extent.low).max(extent.low);
        PartitionSpec { topic: at.0.clone(), partition: at.1, start, end, from_oldest }
    });
    Ok(specs.collect())
}

/// Looks for partitions that are not among the known ones. Errors: as [`discover`].
pub(crate) fn discover_new(options: &KafkaOptions, known: &HashSet<&str>) -> Result<Vec<PartitionSpec>> {
    let client = source_client(options, false)?;
    let mut new = vec![];
    for topic in &options.topics {
        for partition in partitions(&client, options.bootstrap_servers(), topic, false)? {
            let topic = topic.clone();
            let spec = PartitionSpec { topic, partition, start: 0, end: None, from_oldest: true };
            if !known.contains(spec.id().as_str()) {
                let doing = format!("ask for the offsets of `{}`", spec.id());
                let ends = client.fetch_watermarks(&spec.topic, partition, ANSWER);
                let (start, _) = ends.map_err(|e| from_kafka(&doing, &e))?;
                new.push(PartitionSpec { start, ..spec });
            }
        }
    }
    Ok(new)
}

fn starts(options: &KafkaOptions, client: &SourceClient, extents: &BTreeMap<At, Extent>) -> Result<BTreeMap<At, i64>> {
    match &options.startup {
        Startup::Earliest => Ok(all(extents, |e| e.low)),
        Startup::Latest => Ok(all(extents, |e| e.high)),
        Startup::Timestamp(millis) => at_timestamp(client, extents, *millis),
        Startup::GroupOffsets => {
            let committed = committed(client, extents)?;
            let found = extents.iter().map(|(at, extent)| {
                let offset = committed.get(at).copied().map_or_else(|| without_group(options, at, *extent), Ok)?;
                Ok((at.clone(), offset))
            });
            found.collect()
        }
        Startup::Specific(offsets) => {
            check_named(offsets, extents, "scan.startup.specific-offsets")?;
            let named = extents.keys().all(|at| offsets.contains_key(&at.1));
            let group = options.properties.get("group.id").is_some() && !named;
            let committed = if group { committed(client, extents)? } else { BTreeMap::new() };
            let pick = |at: &At, e: &Extent| offsets.get(&at.1).or(committed.get(at)).copied().unwrap_or(e.low);
            Ok(extents.iter().map(|(at, extent)| (at.clone(), pick(at, extent))).collect())
        }
    }
}

fn ends(options: &KafkaOptions, client: &SourceClient, extents: &BTreeMap<At, Extent>) -> Result<BTreeMap<At, i64>> {
    match &options.bounded {
        Bounded::Unbounded => Ok(BTreeMap::new()),
        Bounded::Latest => Ok(all(extents, |e| e.high)),
        Bounded::Timestamp(millis) => at_timestamp(client, extents, *millis),
        Bounded::GroupOffsets => {
            let committed = committed(client, extents)?;
            match extents.keys().find(|at| !committed.contains_key(*at)) {
                Some(at) => Err(no_group_offset(options, at, "choose another `scan.bounded.mode`")),
                None => Ok(committed),
            }
        }
        Bounded::Specific(offsets) => {
            check_named(offsets, extents, "scan.bounded.specific-offsets")?;
            let pick = |at: &At, e: &Extent| offsets.get(&at.1).copied().unwrap_or(e.high);
            Ok(extents.iter().map(|(at, extent)| (at.clone(), pick(at, extent))).collect())
        }
    }
}

fn all(extents: &BTreeMap<At, Extent>, pick: impl Fn(&Extent) -> i64) -> BTreeMap<At, i64> {
    extents.iter().map(|(at, extent)| (at.clone(), pick(extent))).collect()
}

/// A start behind the log's end would be a partition without a row. It is that of another topic, or of this one before it was
/// created anew.
fn check_starts(starts: &BTreeMap<At, i64>, extents: &BTreeMap<At, Extent>) -> Result<()> {
    let past =
        starts.iter().find_map(|(at, start)| extents.get(at).filter(|e| *start > e.high).map(|e| (at, start, e)));
    let Some(((topic, partition), start, Extent { high, .. })) = past else { return Ok(()) };
    let remedy =
        "correct `scan.startup.specific-offsets` or the group's offsets; 'earliest-offset' reads from the beginning";
    Err(Error::user(format!("start of `{topic}-{partition}`: offset {start} is past the log's end {high}; {remedy}")))
}

/// A partition that does not exist would be waited for in vain.
fn check_named(offsets: &PartitionOffsets, extents: &BTreeMap<At, Extent>, option: &str) -> Result<()> {
    match offsets.keys().find(|p| !extents.keys().any(|at| at.1 == **p)) {
        Some(partition) => Err(Error::user(format!("option `{option}`: there is no partition {partition}"))),
        None => Ok(()),
    }
}

fn without_group(options: &KafkaOptions, at: &At, extent: Extent) -> Result<i64> {
    match options.properties.get("auto.offset.reset") {
        Some("earliest" | "smallest" | "beginning") => Ok(extent.low),
        Some("latest" | "largest" | "end") => Ok(extent.high),
        _ => {
            let remedy =
                "set `properties.auto.offset.reset` to 'earliest' or 'latest', or choose another `scan.startup.mode`";
            Err(no_group_offset(options, at, remedy))
        }
    }
}

fn no_group_offset(options: &KafkaOptions, at: &At, remedy: &str) -> Error {
    let group = options.properties.get("group.id").unwrap_or_default();
    Error::user(format!("group `{group}` has no offset for `{}-{}`; {remedy}", at.0, at.1))
}

fn list(extents: &BTreeMap<At, Extent>, offset: Offset) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(extents.len());
    for (topic, partition) in extents.keys() {
        list.add_partition_offset(topic, *partition, offset).map_err(|e| from_kafka("list partitions", &e))?;
    }
    Ok(list)
}

/// The offsets that the client's group has committed; partitions without one are absent.
fn committed(client: &SourceClient, extents: &BTreeMap<At, Extent>) -> Result<BTreeMap<At, i64>> {
    let asked = list(extents, Offset::Invalid)?;
    let answer = client.committed_offsets(asked, ANSWER).map_err(|e| from_kafka("ask for the group's offsets", &e))?;
    offsets_of(&answer, "ask for the group's offsets")
}

/// The first offset with at least the timestamp; the end if there is none.
fn at_timestamp(client: &SourceClient, extents: &BTreeMap<At, Extent>, millis: i64) -> Result<BTreeMap<At, i64>> {
    let doing = "ask for offsets by timestamp";
    let asked = list(extents, Offset::Offset(millis))?;
    let answer = client.offsets_for_times(asked, ANSWER).map_err(|e| from_kafka(doing, &e))?;
    let found = offsets_of(&answer, doing)?;
    Ok(extents.iter().map(|(at, e)| (at.clone(), found.get(at).copied().unwrap_or(e.high).min(e.high))).collect())
}

fn offsets_of(answer: &TopicPartitionList, doing: &str) -> Result<BTreeMap<At, i64>> {
    let mut offsets = BTreeMap::new();
    for element in answer.elements() {
        if let Err(e) = element.error() {
            let code = e.rdkafka_error_code().unwrap_or(Code::Unknown);
            return Err(from_code(&format!("{doing} of `{}-{}`", element.topic(), element.partition()), code, ""));
        }
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert((element.topic().to_owned(), element.partition()), offset);
        }
    }
    Ok(offsets)
}
