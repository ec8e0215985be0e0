//! The `kafka` sink: rows become records of one topic, and a barrier passes when the cluster has all of them.
//!
//! The factory is made by the planner and asks no broker; `check` looks whether the topic can be written before the first row.
//! Rows are encoded in [`KafkaSinkTask::write`] and handed to the client as far as its buffer allows; the rest waits in the
//! subtask, which is then busy.
//!
//! In a job that keeps checkpoints rows are published exactly once, unless the table asks for less: they wait in the checkpoint
//! (`committer.rs`). Otherwise they are handed to the client at once.
//!
//! Invariants
//! - S1 at least once: `prepare` is done only when every record before it has been acknowledged, or is part of the checkpoint; a
//!   record that could not be delivered fails the job.
//! - S2 bounded: at most [`IN_FLIGHT_MAX`] records, the client's `queue.buffering.max.kbytes`, and one batch.
//! - S3 records of one subtask with one key stay in order.

use super::client::{partitions, sink_client};
use super::committer::{Gathered, KafkaCommitter, Unpublished};
use super::options::{Delivery, KafkaOptions, Partitioner};
use super::producer::{ANY_PARTITION, Extras, Outgoing, Producer};
use crate::format::{Encoded, Encoder};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMillisecondType};
use rdkafka::message::{Header, OwnedHeaders};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use thalweg_engine::batch::Batch;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::metrics::NodeMetrics;
use thalweg_engine::sink::{
    Committer, JobInfo, Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written,
};

/// Records in flight above which a subtask is busy.
pub const IN_FLIGHT_MAX: usize = 32_768;
/// Records in flight below which it takes rows again.
const IN_FLIGHT_RESUME: usize = IN_FLIGHT_MAX / 2;

/// Makes the encoder of one subtask.
pub type EncoderFactory = Arc<dyn Fn() -> Result<Box<dyn Encoder>> + Send + Sync>;

/// The columns of a record's value or key.
#[derive(Clone)]
pub struct SinkPart {
    /// Which columns of the rows.
    pub columns: Vec<usize>,
    /// As the format sees them: for a key without the prefix of its columns' names.
    pub schema: SchemaRef,
    /// The format.
    pub encoder: EncoderFactory,
}

/// How rows become records.
#[derive(Clone)]
pub struct SinkLayout {
    /// The value.
    pub value: SinkPart,
    /// The key, if the table has one.
    pub key: Option<SinkPart>,
    /// The column of the `timestamp` metadata.
    pub timestamp: Option<usize>,
    /// The column of the `headers` metadata.
    pub headers: Option<usize>,
}

/// A table's topic, written.
pub struct KafkaSink {
    table: Arc<str>,
    topic: Arc<str>,
    options: Arc<KafkaOptions>,
    layout: SinkLayout,
    /// How many partitions the topic has, once somebody has asked.
    partitions: Arc<OnceLock<i32>>,
    unpublished: Arc<Unpublished>,
    /// Rows go by key: see [`KafkaSink::upserting`].
    upserts: bool,
}

impl KafkaSink {
    /// A sink for rows laid out so. Errors: `user` if the table names several topics.
    pub fn new(table: &str, options: KafkaOptions, layout: SinkLayout) -> Result<KafkaSink> {
        let topic = options.sink_topic()?.into();
        let options = Arc::new(options);
        Ok(KafkaSink {
            table: table.into(),
            topic,
            options,
            layout,
            partitions: Arc::default(),
            unpublished: Arc::default(),
            upserts: false,
        })
    }

    /// Takes changes of rows with a key each: a row that comes is written, whatever was there under its key; a key whose row goes, and
    /// no other comes for it before the next barrier, gets a tombstone.
    pub fn upserting(self) -> KafkaSink {
        KafkaSink { upserts: true, ..self }
    }
}

impl SinkFactory for KafkaSink {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        let with_encoder = |part: &SinkPart| -> Result<_> { Ok((part.clone(), (part.encoder)()?)) };
        Ok(Box::new(KafkaSinkTask {
            table: self.table.clone(),
            topic: self.topic.clone(),
            options: self.options.clone(),
            value: with_encoder(&self.layout.value)?,
            key: self.layout.key.as_ref().map(with_encoder).transpose()?,
            timestamp: self.layout.timestamp,
            headers: self.layout.headers,
            partitions: self.partitions.clone(),
            placing: Placing::ByKey,
            pending: VecDeque::new(),
            unpublished: self.unpublished.clone(),
            gone: self.upserts.then(BTreeSet::new),
            open: None,
        }))
    }

    fn committer(&self, job: &JobInfo) -> Result<Option<Box<dyn Committer>>> {
        let KafkaSink { table, topic, options, unpublished, .. } = self;
        let exactly = delivery(options, job) == Delivery::ExactlyOnce;
        Ok(exactly.then(|| Box::new(KafkaCommitter::new(table, topic, options, job, unpublished)) as _))
    }

    fn check(&self, job: &JobInfo) -> Result<()> {
        if delivery(&self.options, job) == Delivery::ExactlyOnce && !job.is_durable() {
            let text = format!("table `{}`: 'sink.delivery-guarantee' = 'exactly-once' needs checkpoints", self.table);
            return Err(Error::user(format!("{text}; set checkpoint.dir, or choose 'at-least-once'")));
        }
        count_partitions(&self.options, &self.topic, &self.partitions).map(|_| ())
    }
}

/// What is promised to readers: unless the table says it, as much as the job can.
fn delivery(options: &KafkaOptions, job: &JobInfo) -> Delivery {
    let most = if job.is_durable() { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce };
    options.delivery.unwrap_or(most)
}

fn count_partitions(options: &KafkaOptions, topic: &str, known: &OnceLock<i32>) -> Result<i32> {
    if let Some(count) = known.get() {
        return Ok(*count);
    }
    let found = partitions(&sink_client(options, Delivery::AtLeastOnce)?, options.bootstrap_servers(), topic, true)?;
    let count = i32::try_from(found.len()).unwrap_or(i32::MAX);
    Ok(*known.get_or_init(|| count))
}

/// One subtask of the sink.
struct KafkaSinkTask {
    table: Arc<str>,
    topic: Arc<str>,
    options: Arc<KafkaOptions>,
    value: (SinkPart, Box<dyn Encoder>),
    key: Option<(SinkPart, Box<dyn Encoder>)>,
    timestamp: Option<usize>,
    headers: Option<usize>,
    partitions: Arc<OnceLock<i32>>,
    placing: Placing,
    /// Batches of which the client has not taken everything yet.
    pending: VecDeque<Pending>,
    unpublished: Arc<Unpublished>,
    /// In a sink that takes changes: the keys whose rows went since the last barrier, and for which none came.
    gone: Option<BTreeSet<Vec<u8>>>,
    open: Option<(Out, Arc<NodeMetrics>)>,
}

/// Where records go.
enum Out {
    /// To the cluster; whether a barrier waits for them.
    Sent { producer: Producer, acknowledged: bool },
    /// Into the next checkpoint.
    Gathered(Gathered),
}

/// Which partition the next record goes to.
enum Placing {
    ByKey,
    Fixed(i32),
    InTurn { next: i32, partitions: i32 },
}

impl Placing {
    fn of(&self, index: usize) -> i32 {
        match self {
            Placing::ByKey => ANY_PARTITION,
            Placing::Fixed(partition) => *partition,
            // Both are below the number of partitions, so the sum fits.
            Placing::InTurn { next, partitions } => {
                let step = i32::try_from(index % (*partitions).max(1) as usize).unwrap_or(0);
                next.wrapping_add(step).rem_euclid((*partitions).max(1))
            }
        }
    }

    fn advance(&mut self, records: usize) {
        let to = self.of(records);
        if let Placing::InTurn { next, .. } = self {
            *next = to;
        }
    }
}

/// The encoded rows of one batch, of which the first `sent` are the client's business already.
struct Pending {
    /// `None`: tombstones.
    values: Option<Encoded>,
    keys: Keys,
    records: usize,
    timestamps: Option<ArrayRef>,
    headers: Option<ArrayRef>,
    sent: usize,
}

/// The keys of some records.
enum Keys {
    None,
    Encoded(Encoded),
    Listed(Vec<Vec<u8>>),
}

impl Keys {
    fn of(&self, index: usize) -> Option<&[u8]> {
        match self {
            Keys::None => None,
            Keys::Encoded(keys) => Some(keys.row(index)),
            Keys::Listed(keys) => keys.get(index).map(Vec::as_slice),
        }
    }
}

impl Pending {
    fn tombstones(keys: Vec<Vec<u8>>) -> Pending {
        let records = keys.len();
        Pending { values: None, keys: Keys::Listed(keys), records, timestamps: None, headers: None, sent: 0 }
    }

    fn is_sent(&self) -> bool {
        self.sent >= self.records
    }

    fn record(&self, index: usize, partition: i32) -> Outgoing<'_> {
        let value = self.values.as_ref().map(|values| values.row(index));
        Outgoing { key: self.keys.of(index), value, partition }
    }

    fn extras(&self, index: usize) -> Extras {
        let timestamp = self.timestamps.as_ref().and_then(|column| {
            let column = column.as_primitive::<TimestampMillisecondType>();
            column.is_valid(index).then(|| column.value(index))
        });
        Extras { timestamp, headers: self.headers.as_ref().and_then(|column| headers_of(column, index)) }
    }
}

fn headers_of(column: &ArrayRef, index: usize) -> Option<OwnedHeaders> {
    let column = column.as_map_opt()?;
    if column.is_null(index) {
        return None;
    }
    let entries = column.value(index);
    let names = entries.column(0).as_string_opt::<i32>()?;
    let values = entries.column(1).as_binary_opt::<i32>()?;
    let mut headers = OwnedHeaders::new_with_capacity(entries.len());
    for (key, value) in names.iter().zip(values) {
        headers = headers.insert(Header { key: key.unwrap_or_default(), value });
    }
    Some(headers)
}

fn encode(part: &mut (SinkPart, Box<dyn Encoder>), rows: &RecordBatch) -> Result<Encoded> {
    let (SinkPart { columns, schema, .. }, encoder) = part;
    let columns = columns.iter().map(|i| {
        let column = rows.columns().get(*i).cloned();
        column.ok_or_else(|| Error::internal(format!("column {i} of {}", rows.num_columns())))
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<_>>()?, &options)?;
    let mut encoded = Encoded::default();
    encoder.encode(&rows, &mut encoded)?;
    if encoded.len() != rows.num_rows() {
        return Err(Error::internal(format!("{} records of {} rows", encoded.len(), rows.num_rows())));
    }
    Ok(encoded)
}

fn millis_of(rows: &RecordBatch, column: Option<usize>) -> Result<Option<ArrayRef>> {
    let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
    let column = column.and_then(|i| rows.columns().get(i));
    Ok(column.map(|c| compute::cast(c, &millis)).transpose()?)
}

impl KafkaSinkTask {
    /// Accepts everything, as is the contract: what the client has no room for yet is behind what is there already.
    fn push(&mut self, rows: &RecordBatch) -> Result<()> {
        self.pending.push_back(Pending {
            values: Some(encode(&mut self.value, rows)?),
            keys: self.key.as_mut().map(|part| encode(part, rows)).transpose()?.map_or(Keys::None, Keys::Encoded),
            records: rows.num_rows(),
            timestamps: millis_of(rows, self.timestamp)?,
            headers: self.headers.and_then(|i| rows.columns().get(i)).cloned(),
            sent: 0,
        });
        if let Some((_, metrics)) = &self.open {
            metrics.rows_out.add(rows.num_rows() as u64);
        }
        Ok(())
    }

    /// Takes rows that come and go. Of a key, what goes in an epoch is handed over before what comes.
    fn write_changes(&mut self, batch: &Batch) -> Result<Written> {
        let (Some(gone), Some(key)) = (&mut self.gone, &mut self.key) else {
            return Err(Error::internal(format!("table `{}` takes changes and has no key", self.table)));
        };
        let come = match batch.weights() {
            None => batch.clone(),
            Some(weights) => {
                let lost = batch.filter(&weights.iter().map(|w| Some(*w < 0)).collect())?;
                let keys = encode(key, lost.columns())?;
                gone.extend((0..keys.len()).map(|i| keys.row(i).to_vec()));
                batch.filter(&weights.iter().map(|w| Some(*w > 0)).collect())?
            }
        };
        if !come.is_empty() {
            if !gone.is_empty() {
                let keys = encode(key, come.columns())?;
                (0..keys.len()).for_each(|i| {
                    gone.remove(keys.row(i));
                });
            }
            self.push(come.columns())?;
        }
        self.pump(IN_FLIGHT_MAX)
    }

    /// Hands over what there is room for, and takes the client's reports. `limit`: above this many in flight it is busy.
    fn pump(&mut self, limit: usize) -> Result<Written> {
        let (out, metrics) = self.open.as_mut().ok_or_else(|| Error::internal("the kafka sink was not opened"))?;
        let producer = match out {
            Out::Sent { producer, .. } => producer,
            Out::Gathered(gathered) => {
                for pending in self.pending.drain(..) {
                    gather(gathered, &pending, &self.placing)?;
                    self.placing.advance(pending.records);
                }
                return Ok(if gathered.is_busy() { Written::Busy } else { Written::Done });
            }
        };
        producer.reports(Duration::ZERO)?;
        metrics.trouble.set(producer.outage());
        while let Some(pending) = self.pending.front_mut() {
            let sent = send(producer, pending, &self.placing)?;
            self.placing.advance(sent);
            pending.sent += sent;
            if !pending.is_sent() {
                break;
            }
            self.pending.pop_front();
        }
        let in_flight = producer.in_flight();
        let waiting: usize = self.pending.iter().map(|p| p.records - p.sent).sum();
        metrics.unacknowledged.set(i64::try_from(in_flight + waiting).unwrap_or(i64::MAX));
        let busy = !self.pending.is_empty() || in_flight > limit;
        Ok(if busy { Written::Busy } else { Written::Done })
    }
}

/// Adds all records of a batch to the next checkpoint.
fn gather(gathered: &mut Gathered, pending: &Pending, placing: &Placing) -> Result<()> {
    let plain = pending.timestamps.is_none() && pending.headers.is_none();
    for index in 0..pending.records {
        let extras = (!plain).then(|| pending.extras(index));
        gathered.add(&pending.record(index, placing.of(index)), extras.as_ref())?;
    }
    Ok(())
}

/// Sends what is left of a batch; returns how many records the client took.
fn send(producer: &mut Producer, pending: &Pending, placing: &Placing) -> Result<usize> {
    let rest = (pending.sent..pending.records).enumerate();
    if pending.timestamps.is_none() && pending.headers.is_none() {
        return producer.send(rest.map(|(n, index)| pending.record(index, placing.of(n))));
    }
    for (sent, index) in rest {
        if !producer.send_with(pending.record(index, placing.of(sent)), pending.extras(index))? {
            return Ok(sent);
        }
    }
    Ok(pending.records - pending.sent)
}

impl Sink for KafkaSinkTask {
    fn open(&mut self, ctx: &mut SinkOpen<'_>) -> Result<Release> {
        let subtask = i32::try_from(ctx.subtask.index).unwrap_or(0);
        self.placing = match self.options.partitioner {
            Partitioner::Default => Placing::ByKey,
            // `check` has asked the cluster, so this is known.
            Partitioner::Fixed => {
                Placing::Fixed(subtask % count_partitions(&self.options, &self.topic, &self.partitions)?.max(1))
            }
            Partitioner::RoundRobin => {
                let partitions = count_partitions(&self.options, &self.topic, &self.partitions)?.max(1);
                Placing::InTurn { next: subtask % partitions, partitions }
            }
        };
        ctx.metrics.peer.set(Some(self.options.bootstrap_servers().into()));
        let delivery = delivery(&self.options, ctx.job);
        if delivery == Delivery::ExactlyOnce {
            let gathered = Gathered::new(ctx.job, ctx.subtask.index, &ctx.waker, &self.unpublished);
            self.open = Some((Out::Gathered(gathered), ctx.metrics.clone()));
            return Ok(Release::Checkpoint);
        }
        let (waker, client) = (ctx.waker.clone(), sink_client(&self.options, delivery)?);
        let producer = Producer::new(client, &self.topic, Arc::new(move || waker.wake()))?;
        let acknowledged = delivery != Delivery::None;
        self.open = Some((Out::Sent { producer, acknowledged }, ctx.metrics.clone()));
        Ok(Release::Batch)
    }

    fn write(&mut self, batch: Batch, _: &mut SinkContext<'_>) -> Result<Written> {
        if self.gone.is_some() {
            return self.write_changes(&batch);
        }
        if batch.weights().is_some_and(|w| w.iter().any(|w| *w != 1)) {
            let text =
                "rows are changed or removed, and connector `kafka` only appends; write to a sink that takes changes";
            return Err(Error::user(format!("table `{}`: {text}", self.table)));
        }
        self.push(batch.columns())?;
        self.pump(IN_FLIGHT_MAX)
    }

    fn on_wake(&mut self, _: &mut SinkContext<'_>) -> Result<Written> {
        self.pump(IN_FLIGHT_RESUME)
    }

    fn prepare(&mut self, id: u64, _: bool, _: &mut SinkContext<'_>) -> Result<Prepare> {
        // In order: what came before is behind nothing.
        if let Some(gone) = self.gone.as_mut().map(std::mem::take).filter(|gone| !gone.is_empty()) {
            self.pending.push_back(Pending::tombstones(gone.into_iter().collect()));
            self.pump(usize::MAX)?;
        }
        let limit = match &mut self.open {
            Some((Out::Gathered(gathered), _)) => return gathered.prepare(id).map(Prepare::Done),
            Some((Out::Sent { acknowledged: false, .. }, _)) => usize::MAX,
            _ => 0,
        };
        Ok(match self.pump(limit)? {
            Written::Done => Prepare::Done(Prepared::default()),
            Written::Busy => Prepare::Pending,
        })
    }
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
