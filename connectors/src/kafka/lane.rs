//! One transactional id of an exactly-once sink: publishes chunks in order, each in a short transaction together with a marker
//! that says which chunk it was. Called by the committer.
//!
//! Whatever becomes of a transaction (a crash before, in or after its commit, a broker that restarts, another process that takes
//! the id over), opening the lane anew ends it, and the marker then says whether its chunk was published.
//!
//! Invariants
//! - L1 a chunk is published only if the marker, read after the lane was opened, is before it, and of a run that this one comes
//!   from.
//! - L2 readers of committed records see a chunk and its marker together or neither.
//! - L3 the marker partition is the lane's own: another lane's open transaction would hide the newest marker.

use super::chunk::Unpacked;
use super::client::{SinkClient, SourceClient, source_client, transactional_client};
use super::error::{Blame, blame, from_kafka};
use super::options::KafkaOptions;
use super::producer::Producer;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::checkpoint::CheckpointId;
use thalweg_engine::clock::Clock;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::failpoint;
use thalweg_engine::metrics::Note;
use thalweg_engine::sink::JobInfo;

/// How long one question to the cluster may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the end of a transaction is waited for at a time; what is not done then is asked for again.
const TURN: Duration = Duration::from_secs(1);
/// How long reports are waited for at a time.
const REPORTS: Duration = Duration::from_millis(20);
/// How long a chunk may take, over all attempts: a broker's restart takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which chunk was published last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) checkpoint: CheckpointId,
    pub(super) chunk: u32,
    /// Who took the checkpoint.
    pub(super) run: String,
}

/// The runs of the job that a lane belongs to.
#[derive(Clone, Debug)]
pub(super) enum History {
    /// The lane is this job's own: it should know whoever has published.
    Own {
        /// Of this run.
        generation: u32,
        runs: Arc<BTreeMap<u32, String>>,
    },
    /// The lane is of the job that took the savepoint that this one began with; it may have gone on.
    Origin,
}

impl History {
    /// Errors: `user` if the marker is of a run that this one does not come from.
    fn check(&self, marker: &Marker, topic: &str) -> Result<()> {
        let History::Own { generation, runs } = self else { return Ok(()) };
        let by = marker.checkpoint.generation;
        if by <= *generation && runs.get(&by) == Some(&marker.run) {
            return Ok(());
        }
        let text = format!("another run has published rows to topic `{topic}` since, those of its checkpoint");
        let remedy = "to go on from here all the same, as a job of its own that writes the rows since then again, choose a new \
                      checkpoint.dir, and --from with the folder of this one";
        Err(Error::user(format!("{text} {}; this one ends ({remedy})", marker.checkpoint)))
    }
}

/// What a step of a transaction says about going on.
enum Step {
    Done,
    /// The transaction is gone; a new one may be begun.
    Again,
    /// The client is of no more use.
    Reopen,
}

/// See the module.
pub(super) struct Lane {
    options: Arc<KafkaOptions>,
    topic: Arc<str>,
    markers: Arc<str>,
    lane: i32,
    id: String,
    history: History,
    /// Whose lane it is; its note says what the lane waits for.
    job: JobInfo,
    clock: Clock,
    /// The producer, and the marker as it was read or written last.
    open: Option<(Producer, Option<Marker>)>,
}

impl Lane {
    /// Lane number `lane` of the sink whose transactional ids begin with `prefix`. Does nothing yet.
    pub(super) fn new(
        options: Arc<KafkaOptions>,
        topic: Arc<str>,
        markers: Arc<str>,
        prefix: &str,
        lane: i32,
        history: History,
        job: JobInfo,
    ) -> Lane {
        let id = format!("{prefix}-{lane}");
        Lane { options, topic, markers, lane, id, history, job, clock: Clock::system(), open: None }
    }

    /// The last chunk that was published. Ends whatever transaction an earlier owner of the lane left open, and the owner's
    /// means to publish.
    pub(super) fn published(&mut self) -> Result<Option<Marker>> {
        if let Some((_, marker)) = &self.open {
            return Ok(marker.clone());
        }
        failpoint::step("kafka.open", || self.reopen())
    }

    fn reopen(&mut self) -> Result<Option<Marker>> {
        let doing = format!("open transactions `{}`", self.id);
        let client = transactional_client(&self.options, &self.id)?;
        // Without a connection the next call would wait for half a second; its own error is the one to tell.
        let _ = client.client().fetch_metadata(None, ANSWER);
        let until = self.clock.now() + PATIENCE;
        while let Err(e) = client.init_transactions(TURN) {
            let again = matches!(&e, KafkaError::Transaction(t) if t.is_retriable());
            let e = with_complaints(&client, from_kafka(&doing, &e));
            if !again || self.clock.now() > until {
                return Err(e);
            }
            self.job.trouble.set(Some(e.message().into()));
        }
        let marker = self.read_marker()?;
        let producer = Producer::new(client, &self.topic, Arc::new(|| ()))?;
        self.open = Some((producer, marker.clone()));
        Ok(marker)
    }

    fn read_marker(&self) -> Result<Option<Marker>> {
        let doing = format!("read marker {} of topic `{}`", self.lane, self.markers);
        let failed = |e: KafkaError| from_kafka(&doing, &e);
        let client: SourceClient = source_client(&self.options, true)?;
        let (low, high) = client.fetch_watermarks(&self.markers, self.lane, ANSWER).map_err(failed)?;
        let mut last = None;
        if low >= high {
            return Ok(last);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.markers, self.lane, Offset::Offset(low)).map_err(failed)?;
        client.assign(&list).map_err(failed)?;
        let until = self.clock.now() + PATIENCE;
        loop {
            match client.poll(REPORTS) {
                Some(Ok(message)) => {
                    let bytes = message.payload().unwrap_or_default();
                    let marker = serde_json::from_slice(bytes).map_err(|e| {
                        Error::external(format!("{doing}: offset {} holds no marker: {e}", message.offset()))
                            .with_retry(false)
                    })?;
                    last = Some(marker);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
                Some(Err(e)) if !matches!(e.rdkafka_error_code().map(blame), Some(Blame::External)) => {
                    return Err(failed(e));
                }
                _ if self.clock.now() > until => return Err(Error::external(format!("{doing}: no answer"))),
                _ => {}
            }
        }
    }

    /// Publishes a chunk, unless that was done before. Waits for the cluster for two minutes at most, and says so.
    /// Errors: `external` if it does not answer; `user` for what it refuses, and if a later run has published already.
    pub(super) fn publish(&mut self, chunk: &[u8], marker: &Marker) -> Result<()> {
        let published = self.publish_now(chunk, marker);
        self.job.trouble.set(None);
        published
    }

    fn publish_now(&mut self, chunk: &[u8], marker: &Marker) -> Result<()> {
        let until = self.clock.now() + PATIENCE;
        let mut records = None;
        loop {
            let published = self.published()?;
            if let Some(published) = &published {
                self.history.check(published, &self.topic)?;
                if (published.checkpoint, published.chunk) >= (marker.checkpoint, marker.chunk) {
                    return Ok(());
                }
            }
            let records = match &records {
                Some(records) => records,
                None => records.insert(Unpacked::new(chunk)?),
            };
            match self.attempt(records, marker)? {
                Step::Done => return Ok(()),
                Step::Again => {}
                Step::Reopen => {
                    // Perhaps by a later run: to open again would shut that one out, and it in turn this one.
                    self.job.check_owner()?;
                    self.open = None;
                }
            }
            if self.clock.now() > until {
                let text = format!("publish checkpoint {} to topic `{}`", marker.checkpoint, self.topic);
                return Err(Error::external(format!("{text}: not done after {} s", PATIENCE.as_secs())));
            }
        }
    }

    fn attempt(&mut self, records: &Unpacked, marker: &Marker) -> Result<Step> {
        let Some((producer, published)) = &mut self.open else { return Ok(Step::Reopen) };
        let trouble = &self.job.trouble;
        let doing = format!("publish checkpoint {} to topic `{}`", marker.checkpoint, self.topic);
        if let Err(e) = failpoint::step("kafka.begin", || Ok(producer.client().begin_transaction()))? {
            return judge(producer.client(), &doing, &e, trouble);
        }
        let sent =
            failpoint::step("kafka.send", || send(producer, records, &self.markers, (self.lane, marker), trouble));
        if let Err(e) = sent {
            trouble.set(Some(e.message().into()));
            let aborted = producer.client().abort_transaction(ANSWER).is_ok();
            return match e.kind() {
                thalweg_engine::ErrorKind::External if e.retry() => {
                    Ok(if aborted { Step::Again } else { Step::Reopen })
                }
                _ => Err(e),
            };
        }
        let step = failpoint::step("kafka.commit", || commit(producer, &doing, &self.clock, trouble))?;
        if matches!(step, Step::Done) {
            *published = Some(marker.clone());
        }
        Ok(step)
    }
}

/// Commits; what is not certain is asked again.
fn commit(producer: &mut Producer, doing: &str, clock: &Clock, trouble: &Note) -> Result<Step> {
    let until = clock.now() + PATIENCE;
    loop {
        match producer.client().commit_transaction(TURN) {
            Ok(()) => return Ok(Step::Done),
            Err(_) if clock.now() > until => return Ok(Step::Reopen),
            Err(KafkaError::Transaction(e)) if e.is_retriable() => {}
            Err(KafkaError::Flush(_)) => {}
            Err(e) => return judge(producer.client(), doing, &e, trouble),
        }
        producer.reports(Duration::ZERO)?;
        let reason = producer.outage().unwrap_or_else(|| format!("{doing}: no answer").into());
        trouble.set(Some(reason));
    }
}

/// What an error of a transaction leaves to be done.
fn judge(client: &SinkClient, doing: &str, e: &KafkaError, trouble: &Note) -> Result<Step> {
    trouble.set(Some(with_complaints(client, from_kafka(doing, e)).message().into()));
    if let Some(code) = e.rdkafka_error_code() {
        let denied = matches!(code, Code::TransactionalIdAuthorizationFailed);
        if denied || matches!(blame(code), Blame::User(_)) {
            return Err(from_kafka(doing, e));
        }
    }
    Ok(match e {
        KafkaError::Transaction(t) if t.is_retriable() => Step::Again,
        KafkaError::Transaction(t) if t.txn_requires_abort() => match client.abort_transaction(ANSWER) {
            Ok(()) => Step::Again,
            Err(_) => Step::Reopen,
        },
        _ => Step::Reopen,
    })
}

/// Sends all records and the marker, and waits until the cluster has them.
fn send(
    producer: &mut Producer,
    records: &Unpacked,
    markers: &str,
    (lane, marker): (i32, &Marker),
    trouble: &Note,
) -> Result<()> {
    let wait = |producer: &mut Producer| {
        trouble.set(producer.outage());
        producer.reports(REPORTS)
    };
    records.each(|record, extras| {
        loop {
            let taken = match &extras {
                None => producer.send(std::iter::once(record))? == 1,
                Some(extras) => producer.send_with(record, extras.clone())?,
            };
            if taken {
                return Ok(());
            }
            wait(producer)?;
        }
    })?;
    let value = serde_json::to_vec(marker).map_err(|e| Error::internal(format!("a marker: {e}")))?;
    let key = lane.to_string();
    let mut next = BaseRecord::to(markers).partition(lane).key(key.as_str()).payload(value.as_slice());
    while let Err((e, back)) = producer.client().send(next) {
        if e.rdkafka_error_code() != Some(Code::QueueFull) {
            return Err(from_kafka(&format!("write to topic `{markers}`"), &e));
        }
        wait(producer)?;
        next = back;
    }
    while producer.in_flight() > 0 {
        wait(producer)?;
    }
    producer.reports(Duration::ZERO)
}

fn with_complaints(client: &SinkClient, e: Error) -> Error {
    match client.client().context().complaints.recent() {
        Some(reason) => e.context(reason),
        None => e,
    }
}

/// Whether a topic is there. Errors: no broker answers.
pub(super) fn exists(client: &BaseConsumer<super::health::Events>, topic: &str) -> Result<bool> {
    let doing = format!("find topic `{topic}`");
    let metadata = client.fetch_metadata(Some(topic), ANSWER).map_err(|e| from_kafka(&doing, &e))?;
    Ok(metadata.topics().iter().any(|t| t.error().is_none() && !t.partitions().is_empty()))
}
