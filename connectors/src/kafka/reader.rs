//! Reads the partitions of one subtask: takes batches from their queues in turn, decodes them, and knows where each stands.
//!
//! Called by the task only. No call waits for a broker: the client's threads fetch, and wake the task when a queue fills.
//!
//! Invariants
//! - K1 `next` of a split is one more than the last offset given or passed over; every split ever assigned has one.
//! - K2 a bounded split ends when everything before its end was read. The offset before the end may belong to a control record
//!   that nobody sees, so the client's notice of having reached the end counts as well as a record at or behind it.
//! - K3 partitions take turns: one that is always full cannot starve the others.

use super::client::{SourceClient, source_client};
use super::discovery::PartitionSpec;
use super::error::from_code;
use super::options::{Bounded, KafkaOptions};
use super::queue::{Item, PartitionQueue, Record, Records, Wake, has_events};
use super::rows::{Place, Rows};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::source::{Poll, Position, ReaderContext, SourceReader, Split, SplitId};

/// The reader of one subtask.
pub(crate) struct KafkaReader {
    table: Arc<str>,
    options: Arc<KafkaOptions>,
    rows: Rows,
    splits: Vec<SplitState>,
    /// Whose turn it is.
    turn: usize,
    records: Records,
    /// After the splits, so that their queues go first.
    open: Option<OpenReader>,
}

struct OpenReader {
    client: Arc<SourceClient>,
    /// The client has something to say that belongs to no partition.
    talks: Arc<AtomicBool>,
    wake: Wake,
    ctx: ReaderContext,
}

struct SplitState {
    id: SplitId,
    spec: PartitionSpec,
    next: i64,
    /// How many records behind, when last looked.
    lag: i64,
    progress: Progress,
}

enum Progress {
    /// Being read.
    Reading(PartitionQueue),
    /// Read to its end, which the task does not know yet.
    Ended,
    /// Over.
    Finished,
}

/// What one look into a queue found.
#[derive(Default)]
struct Taken<'a> {
    records: Vec<Record<'a>>,
    /// Everything before this offset was read.
    upto: i64,
    bytes: u64,
    failure: Option<(Code, String)>,
}

impl KafkaReader {
    pub(crate) fn new(table: Arc<str>, options: Arc<KafkaOptions>, rows: Rows) -> KafkaReader {
        KafkaReader { table, options, rows, splits: Vec::new(), turn: 0, records: Records::default(), open: None }
    }

    fn opened(&self) -> Result<&OpenReader> {
        self.open.as_ref().ok_or_else(|| Error::internal("the kafka reader was not opened"))
    }

    /// Lets the client say what belongs to no partition.
    fn serve(&mut self) -> Result<()> {
        let open = self.opened()?;
        if !open.talks.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let doing = format!("read table `{}` from `{}`", self.table, self.options.bootstrap_servers());
        while has_events(&open.client) {
            if let Some(Ok(message)) = open.client.poll(Duration::ZERO) {
                use rdkafka::Message;
                let text = format!("a record of `{}-{}` outside of its queue", message.topic(), message.partition());
                return Err(Error::internal(text));
            }
        }
        open.ctx.metrics.trouble.set(open.client.context().outage());
        let own_group = self.options.properties.get("group.id").is_some();
        match open.client.context().complaints.hopeless(&doing, own_group) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Takes what is there from split `index`; nothing if it holds no rows.
    fn read(&mut self, index: usize, max_rows: usize) -> Result<Option<Poll>> {
        let Some(split) = self.splits.get_mut(index) else { return Ok(None) };
        let Progress::Reading(queue) = &split.progress else { return Ok(None) };
        let metrics = &self.open.as_ref().ok_or_else(|| Error::internal("the reader was not opened"))?.ctx.metrics;
        if queue.take(max_rows, &mut self.records) == 0 {
            return Ok(None);
        }
        let taken = sift(&self.records, split.next, split.spec.end);
        if let Some((code, reason)) = &taken.failure {
            let (code, reason, clean) = (*code, reason.clone(), taken.records.is_empty());
            return self.failed(index, code, &reason, clean).map(|()| None);
        }
        split.next = taken.upto;
        split.lag = queue.high_watermark().map_or(0, |high| (high - split.next).max(0));
        if split.spec.end.is_some_and(|end| split.next >= end) {
            split.progress = Progress::Ended;
        }
        metrics.bytes_in.add(taken.bytes);
        let place = Place { table: &self.table, topic: &split.spec.topic, partition: split.spec.partition };
        let decoded = match taken.records.as_slice() {
            [] => None,
            records => Some(self.rows.decode(place, records, metrics)?),
        };
        let id = split.id.clone();
        let ended = matches!(split.progress, Progress::Ended);
        self.records.clear();
        if ended {
            self.leave(index)?;
        }
        let decoded = decoded.filter(|d| d.batch.num_rows() > 0 || d.rejected.is_some());
        Ok(decoded.map(|d| Poll::Batch { split: id, batch: d.batch, rejected: d.rejected }))
    }

    /// The client cannot read split `index` on. Goes on at the oldest record where that is what was asked for.
    fn failed(&mut self, index: usize, code: Code, reason: &str, clean: bool) -> Result<()> {
        let Some(split) = self.splits.get_mut(index) else { return Ok(()) };
        let doing = format!("read `{}` at offset {}", split.id, split.next);
        let lost = matches!(code, Code::AutoOffsetReset | Code::OffsetOutOfRange);
        if !(clean && lost && split.spec.from_oldest && split.next == split.spec.start) {
            return Err(from_code(&doing, code, reason));
        }
        split.spec.from_oldest = false;
        let (topic, partition) = (split.spec.topic.clone(), split.spec.partition);
        self.records.clear();
        let client = &self.opened()?.client;
        let done = one(&topic, partition, Offset::Invalid)
            .and_then(|list| client.incremental_unassign(&list))
            .and_then(|()| one(&topic, partition, Offset::Beginning))
            .and_then(|list| client.incremental_assign(&list));
        done.map_err(|e| super::error::from_kafka(&doing, &e))
    }

    /// Fetches nothing more of split `index`.
    fn leave(&self, index: usize) -> Result<()> {
        let Some(split) = self.splits.get(index) else { return Ok(()) };
        let client = &self.opened()?.client;
        let left = one(&split.spec.topic, split.spec.partition, Offset::Invalid)
            .and_then(|list| client.incremental_unassign(&list));
        left.map_err(|e| super::error::from_kafka(&format!("leave `{}`", split.id), &e))
    }

    fn show_lag(&self) {
        if let Some(open) = &self.open {
            open.ctx.metrics.lag.set(self.splits.iter().map(|s| s.lag).sum());
        }
    }
}

impl SourceReader for KafkaReader {
    fn open(&mut self, ctx: &ReaderContext) -> Result<()> {
        let mut client = source_client(&self.options, self.options.bounded != Bounded::Unbounded)?;
        let waker = ctx.waker.clone();
        let wake: Wake = Arc::new(move || waker.wake());
        let talks = Arc::new(AtomicBool::new(true));
        let (talking, woken) = (talks.clone(), wake.clone());
        client.set_nonempty_callback(move || {
            talking.store(true, Ordering::Release);
            woken();
        });
        ctx.metrics.peer.set(Some(self.options.bootstrap_servers().into()));
        self.open = Some(OpenReader { client: Arc::new(client), talks, wake, ctx: ctx.clone() });
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        let open = self.opened()?;
        let mut list = TopicPartitionList::new();
        let mut added = Vec::with_capacity(splits.len());
        for (split, position) in splits {
            let spec = PartitionSpec::of(&split)?;
            let next = match position {
                Some(position) => offset_of(&split.id, &position)?,
                None => spec.start,
            };
            if let Some(end) = spec.end.filter(|end| next > *end && next > spec.start) {
                let text = format!("restore `{}`: position {next} is past its end {end}", split.id);
                let remedy = "this is the state of another job: start without it";
                return Err(Error::user(format!("{text}; {remedy}")));
            }
            let progress = if spec.end.is_some_and(|end| next >= end) {
                Progress::Ended
            } else {
                let queue = PartitionQueue::new(open.client.clone(), &spec.topic, spec.partition, open.wake.clone())?;
                let added = list.add_partition_offset(&spec.topic, spec.partition, Offset::Offset(next));
                added.map_err(|e| super::error::from_kafka(&format!("assign `{}`", split.id), &e))?;
                Progress::Reading(queue)
            };
            added.push(SplitState { id: split.id.as_str().into(), spec, next, lag: 0, progress });
        }
        if list.count() > 0 {
            let assigned = open.client.incremental_assign(&list);
            assigned.map_err(|e| super::error::from_kafka("assign partitions", &e))?;
        }
        self.splits.extend(added);
        Ok(())
    }

    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        self.serve()?;
        for _ in 0..self.splits.len() {
            let index = self.turn % self.splits.len();
            self.turn = index + 1;
            let ready = match self.splits.get_mut(index).map(|s| &mut s.progress) {
                Some(Progress::Reading(queue)) => queue.is_ready(),
                Some(ended @ Progress::Ended) => {
                    *ended = Progress::Finished;
                    self.show_lag();
                    return Ok(Poll::SplitFinished(self.splits[index].id.clone()));
                }
                _ => false,
            };
            if ready && let Some(poll) = self.read(index, max_rows)? {
                return Ok(poll);
            }
        }
        self.show_lag();
        let ended = self.splits.iter().any(|s| matches!(s.progress, Progress::Ended));
        let reading = self.splits.iter().any(|s| matches!(s.progress, Progress::Reading(_)));
        match (ended, reading) {
            // It ended during this round, behind the turn.
            (true, _) => self.poll(max_rows),
            (false, true) => Ok(Poll::Idle { until: None }),
            (false, false) => Ok(Poll::Finished),
        }
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.splits.iter().map(|s| (s.id.clone(), Position(s.next.into()))).collect()
    }

    fn on_checkpoint_complete(&mut self, positions: &[(SplitId, Position)]) -> Result<()> {
        // Only a group that the user named is of interest to anybody.
        if self.options.properties.get("group.id").is_none() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (id, position) in positions {
            let Some(split) = self.splits.iter().find(|s| s.id == *id) else { continue };
            let offset = Offset::Offset(offset_of(id, position)?);
            let added = list.add_partition_offset(&split.spec.topic, split.spec.partition, offset);
            added.map_err(|e| super::error::from_kafka("commit offsets", &e))?;
        }
        // For tools that show lag; the job's own positions are in the checkpoint, so a failure harms nobody.
        if list.count() > 0 {
            let _ = self.opened()?.client.commit(&list, CommitMode::Async);
        }
        Ok(())
    }
}

fn one(topic: &str, partition: i32, offset: Offset) -> rdkafka::error::KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset)?;
    Ok(list)
}

fn offset_of(id: &str, position: &Position) -> Result<i64> {
    position.0.as_i64().ok_or_else(|| Error::user(format!("split `{id}`: position {} is no offset", position.0)))
}

/// Separates records from notes, drops those outside of `next..end`, and finds up to where everything was seen.
fn sift(records: &Records, next: i64, end: Option<i64>) -> Taken<'_> {
    let end = end.unwrap_or(i64::MAX);
    let mut taken = Taken { upto: next, ..Taken::default() };
    for record in records.iter() {
        match record.item() {
            Item::Record(record) if record.offset() >= end => taken.upto = end,
            Item::Record(record) if record.offset() < next => {}
            Item::Record(record) => {
                taken.upto = record.offset() + 1;
                taken.bytes += record.value().map_or(0, <[u8]>::len) as u64;
                taken.records.push(record);
            }
            Item::End(offset) => taken.upto = taken.upto.max(offset.min(end)),
            Item::Failed(code, reason) => {
                taken.failure = Some((code, reason));
                break;
            }
        }
    }
    taken
}
