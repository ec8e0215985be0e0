//! Publishes the rows of complete checkpoints to a topic, exactly once. One per sink and job, on a thread of its own.
//!
//! Rows wait in the checkpoint itself, as chunks; here they go out in short transactions, so that no transaction is open while a
//! job works, and none can time out with rows in it. Each lane has a transactional id and a partition of the marker topic; a
//! subtask's rows go through the lane of its number. Lanes are fixed, so that a job may change its parallelism.
//!
//! Invariants
//! - O1 chunks of a lane are published in the order of checkpoints, subtasks and chunks.
//! - O2 of complete checkpoints at most [`WAITING_MAX`] with rows wait to be published, and of all [`UNPUBLISHED_MAX`] bytes; beyond either
//!   the sink takes no rows: neither memory nor what a start has to publish first can grow. Checkpoints that could not be completed do
//!   not count, for the sink may have to take rows to get to the next barrier.
//! - O3 rows that wait in a restored checkpoint are published only if the topic of markers is there to ask.

use super::admin;
use super::chunk::Packer;
use super::client::source_client;
use super::lane::{History, Lane, Marker, exists};
use super::options::KafkaOptions;
use super::producer::{Extras, Outgoing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thalweg_engine::Waker;
use thalweg_engine::checkpoint::CheckpointId;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::failpoint;
use thalweg_engine::sink::{Committer, JobInfo, Prepared};

/// Lanes of a sink, and partitions of its topic of markers.
pub(super) const LANES: i32 = 8;
/// The version of [`Part`].
const VERSION: u32 = 2;
/// Bytes that a subtask gathers before it asks for a checkpoint.
const GATHERED_MAX: usize = 64 << 20;
/// Bytes of complete checkpoints that wait to be published, above which the sink takes no rows.
const UNPUBLISHED_MAX: u64 = 256 << 20;
/// Checkpoints with rows that wait to be published, above which the sink takes no rows.
const WAITING_MAX: usize = 8;

/// What a subtask says about its rows.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    version: u32,
    lane: i32,
    /// The job whose lane and marker say whether they were published: what a job begins with may be from another one.
    job: String,
    /// Who took the checkpoint.
    run: String,
}

impl Part {
    fn unpack(bytes: &[u8]) -> Result<Part> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let failed = |e: serde_json::Error| Error::internal(format!("unpack rows: {e}"));
        let Version { version } = serde_json::from_slice(bytes).map_err(failed)?;
        if version != VERSION {
            return Err(Error::user(format!(
                "unpublished rows have version {version}, and this binary knows {VERSION}"
            )));
        }
        serde_json::from_slice(bytes).map_err(failed)
    }
}

/// Rows between a complete barrier and their publication: shared by the subtasks and the committer of a process.
#[derive(Default)]
pub(super) struct Unpublished {
    /// By checkpoint: the bytes of all subtasks.
    waiting: Mutex<BTreeMap<u64, u64>>,
    wakers: Mutex<Vec<Waker>>,
}

impl Unpublished {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self, job: &JobInfo) -> bool {
        let waiting = self.lock();
        waiting.keys().filter(|id| job.is_complete(**id)).count() >= WAITING_MAX
            || waiting.values().sum::<u64>() > UNPUBLISHED_MAX
    }

    /// A subtask has prepared its rows of checkpoint `id`.
    fn prepared(&self, id: u64, bytes: u64) {
        if bytes > 0 {
            *self.lock().entry(id).or_default() += bytes;
        }
    }

    /// All checkpoints up to `id` are published, or will never be complete.
    fn published(&self, id: u64) {
        self.lock().retain(|waiting, _| *waiting > id);
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Waker::wake);
    }
}

/// The rows of one subtask since the last barrier.
pub(super) struct Gathered {
    job: JobInfo,
    lane: i32,
    packer: Packer,
    chunks: Vec<Arc<[u8]>>,
    bytes: usize,
    asked: bool,
    unpublished: Arc<Unpublished>,
}

impl Gathered {
    pub(super) fn new(job: &JobInfo, subtask: u32, waker: &Waker, unpublished: &Arc<Unpublished>) -> Gathered {
        unpublished.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker.clone());
        Gathered {
            job: job.clone(),
            lane: i32::try_from(subtask).unwrap_or(0) % LANES,
            packer: Packer::default(),
            chunks: vec![],
            bytes: 0,
            asked: false,
            unpublished: unpublished.clone(),
        }
    }

    /// Adds a record.
    pub(super) fn add(&mut self, record: &Outgoing<'_>, extras: Option<&Extras>) -> Result<()> {
        let finished = self.packer.add(record, extras)?;
        self.keep(finished);
        Ok(())
    }

    fn keep(&mut self, chunk: Option<Arc<[u8]>>) {
        self.bytes += chunk.as_ref().map_or(0, |c| c.len());
        self.chunks.extend(chunk);
    }

    /// Whether the sink should take no more rows: earlier ones wait for the cluster. Asks for a checkpoint when there are many.
    pub(super) fn is_busy(&mut self) -> bool {
        if !self.asked && self.bytes + self.packer.begun_bytes() > GATHERED_MAX {
            self.asked = true;
            self.job.request_checkpoint();
        }
        self.unpublished.is_full(&self.job)
    }

    /// What the checkpoint keeps.
    pub(super) fn prepare(&mut self, id: u64) -> Result<Prepared> {
        let last = self.packer.finish()?;
        self.keep(last);
        self.asked = false;
        self.unpublished.prepared(id, std::mem::take(&mut self.bytes) as u64);
        let part = serde_json::to_vec(&Part {
            version: VERSION,
            lane: self.lane,
            job: self.job.id.to_string(),
            run: self.job.run().to_owned(),
        });
        let bytes = part.map_err(|e| Error::internal(format!("pack rows: {e}")))?;
        Ok(Prepared { bytes, rows: std::mem::take(&mut self.chunks) })
    }
}

/// See the module.
pub(super) struct KafkaCommitter {
    options: Arc<KafkaOptions>,
    topic: Arc<str>,
    /// The table's name, as topics and transactional ids may have it.
    table: String,
    job: JobInfo,
    /// By job.
    markers: BTreeMap<String, Markers>,
    unpublished: Arc<Unpublished>,
}

/// What one job has published to the topic.
struct Markers {
    topic: Arc<str>,
    prefix: String,
    lanes: BTreeMap<i32, Lane>,
}

impl KafkaCommitter {
    /// For the table's topic. Asks nobody yet.
    pub(super) fn new(
        table: &str,
        topic: &Arc<str>,
        options: &Arc<KafkaOptions>,
        job: &JobInfo,
        unpublished: &Arc<Unpublished>,
    ) -> KafkaCommitter {
        KafkaCommitter {
            options: options.clone(),
            topic: topic.clone(),
            table: legal(table),
            job: job.clone(),
            markers: BTreeMap::new(),
            unpublished: unpublished.clone(),
        }
    }

    /// The markers of a job, which must be there if rows of checkpoint `id` were restored.
    fn find_markers(&self, job: &str, id: CheckpointId) -> Result<Markers> {
        let topic = self.topic_of(job);
        let is_restored = id.generation < self.job.generation;
        if is_restored && !exists(&source_client(&self.options, false)?, &topic)? {
            let text = format!("topic `{topic}` is missing, which says whether checkpoint {id} was published");
            let remedy =
                "bring it back, or go on without these rows by --allow-dropped-state and another name for the table";
            return Err(Error::user(format!("{text}; {remedy}")));
        }
        self.make_markers(job)
    }

    fn make_markers(&self, job: &str) -> Result<Markers> {
        let topic = self.topic_of(job);
        failpoint::step("kafka.markers", || admin::create_compacted(&self.options, &topic, LANES))?;
        Ok(Markers { topic: topic.into(), prefix: self.prefix_of(job), lanes: BTreeMap::new() })
    }

    fn prefix_of(&self, job: &str) -> String {
        format!("thalweg-{job}-{}", self.table)
    }

    fn topic_of(&self, job: &str) -> String {
        format!("{}-markers", self.prefix_of(job))
    }

    fn lane(&mut self, part: &Part, id: CheckpointId) -> Result<&mut Lane> {
        let found = match self.markers.remove(&part.job) {
            Some(found) => found,
            None => self.find_markers(&part.job, id)?,
        };
        let Markers { topic, prefix, lanes } = self.markers.entry(part.job.clone()).or_insert(found);
        let history = || match *part.job == *self.job.id {
            true => History::Own { generation: self.job.generation, runs: self.job.runs.clone() },
            false => History::Origin,
        };
        let (options, to) = (&self.options, &self.topic);
        let new =
            || Lane::new(options.clone(), to.clone(), topic.clone(), prefix, part.lane, history(), self.job.clone());
        Ok(lanes.entry(part.lane).or_insert_with(new))
    }

    fn publish(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        let checkpoint = CheckpointId::of_epoch(id);
        let mut counts: BTreeMap<i32, u32> = BTreeMap::new();
        for prepared in parts.iter().filter(|p| !p.rows.is_empty()) {
            let part = Part::unpack(&prepared.bytes)?;
            let lane = self.lane(&part, checkpoint)?;
            for chunk in &prepared.rows {
                let count = counts.entry(part.lane).or_default();
                lane.publish(chunk, &Marker { checkpoint, chunk: *count, run: part.run.clone() })?;
                *count += 1;
            }
        }
        self.unpublished.published(id);
        Ok(())
    }
}

impl Committer for KafkaCommitter {
    fn commit(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        self.publish(id, parts)
    }

    fn recover(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        self.publish(id, parts)?;
        // What an attempt before this one has prepared since is gone.
        self.unpublished.published(CheckpointId { generation: self.job.generation, number: 0 }.epoch());
        // Before any checkpoint of this run has rows: without the topic nobody could say later whether they were published.
        let job = self.job.id.to_string();
        if !self.markers.contains_key(&job) {
            let markers = self.make_markers(&job)?;
            self.markers.insert(job, markers);
        }
        Ok(())
    }
}

/// The name with what a topic's name may hold, and no other name's.
fn legal(table: &str) -> String {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if table.chars().all(is_legal) && table.len() <= 100 {
        return table.to_owned();
    }
    let shown: String = table.chars().filter(|c| is_legal(*c)).take(60).collect();
    let hash = thalweg_engine::key::hash_content(table.as_bytes());
    format!("{shown}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_complete_checkpoints_wait_to_be_published_and_failed_ones_do_not_count() {
        let (unpublished, job) = (Unpublished::default(), JobInfo::detached("job", 1));
        for id in 1..=100 {
            unpublished.prepared(id, 1);
            unpublished.prepared(id, 1);
            assert!(!unpublished.is_full(&job), "none is complete");
        }
        job.completed(WAITING_MAX as u64 - 1);
        assert!(!unpublished.is_full(&job));
        unpublished.prepared(1000, 0);
        job.completed(1000);
        assert!(unpublished.is_full(&job));
        unpublished.published(101 - WAITING_MAX as u64);
        assert!(!unpublished.is_full(&job), "and one without rows does not count");
        unpublished.prepared(1001, UNPUBLISHED_MAX);
        assert!(unpublished.is_full(&job), "bytes count always");
        unpublished.published(1001);
        assert!(!unpublished.is_full(&job) && unpublished.lock().is_empty());
    }

    #[test]
    fn names_of_tables_make_names_of_topics() {
        assert_eq!(legal("hot_items.v2"), "hot_items.v2");
        let (a, b) = (legal("größe"), legal("grö\u{308}ße"));
        assert!(a != b && a.starts_with("gre-") && a.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{a} {b}");
        assert!(legal(&"x".repeat(300)).len() < 100);
    }
}
