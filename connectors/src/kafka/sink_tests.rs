//! The sink against a cluster (the mock, or the broker of `THALWEG_TEST_KAFKA`): what was written is there when a barrier has
//! passed, in its place, and a cluster that does not take it is waited for without losing or blocking anything.

use super::super::metadata::MetadataColumn;
use super::super::testing::{Cluster, ReadRecord};
use super::*;
use crate::format::json::JsonEncoder;
use arrow::array::{
    BinaryBuilder, Int64Array, MapBuilder, MapFieldNames, StringArray, StringBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Schema};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use thalweg_engine::clock::Clock;
use thalweg_engine::error::ErrorKind;
use thalweg_engine::message::Waker;
use thalweg_engine::operator::Subtask;
use thalweg_engine::state::{Budget, StateStore};
use thalweg_engine::time::EventTime;

fn part(columns: &[usize], names: &[(&str, DataType)]) -> SinkPart {
    let fields: Vec<Field> = names.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect();
    SinkPart {
        columns: columns.to_vec(),
        schema: Arc::new(Schema::new(fields)),
        encoder: Arc::new(|| Ok(Box::new(JsonEncoder::default()))),
    }
}

/// Value `{"n":..}`, no key.
fn numbers() -> SinkLayout {
    SinkLayout { value: part(&[0], &[("n", DataType::Int64)]), key: None, timestamp: None, headers: None }
}

/// Value `{"n":..}`, key `{"id":..}` from the column `k_id`.
fn keyed() -> SinkLayout {
    SinkLayout { key: Some(part(&[1], &[("id", DataType::Int64)])), ..numbers() }
}

fn options(cluster: &Cluster, topic: &str, extra: &[(&str, &str)]) -> KafkaOptions {
    let base = [
        ("topic", topic),
        ("format", "json"),
        ("scan.startup.mode", "earliest-offset"),
        ("properties.bootstrap.servers", cluster.bootstrap()),
    ];
    let all = base.iter().chain(extra).map(|(k, v)| (k.to_string(), v.to_string()));
    KafkaOptions::parse(&all.collect::<BTreeMap<_, _>>()).unwrap().0
}

struct Task {
    sink: Box<dyn Sink>,
    waker: Waker,
    clock: Clock,
    wakes: usize,
    metrics: Arc<NodeMetrics>,
}

impl Task {
    fn start(factory: &KafkaSink, index: u32) -> Task {
        let (sink, metrics) = (factory.sink().unwrap(), Arc::default());
        let mut task = Task { sink, waker: Waker::noop(), clock: Clock::system(), wakes: 0, metrics };
        let subtask = Subtask { index, parallelism: 4 };
        let mut state = StateStore::new("sink", subtask.key_groups(), &Budget::unlimited("test"));
        let mut open = SinkOpen {
            state: &mut state,
            job: &JobInfo::default(),
            subtask,
            waker: task.waker.clone(),
            clock: task.clock.clone(),
            metrics: task.metrics.clone(),
        };
        assert_eq!(task.sink.open(&mut open).unwrap(), Release::Batch);
        task
    }

    fn call<T>(&mut self, f: impl FnOnce(&mut dyn Sink, &mut SinkContext<'_>) -> Result<T>) -> Result<T> {
        let mut ctx = SinkContext { clock: &self.clock, frontier: EventTime::MIN, wake_at: None };
        f(&mut *self.sink, &mut ctx)
    }

    /// Waits for the waker alone: a lost wake fails here.
    fn await_wake(&mut self) {
        let start = self.clock.now();
        while !self.waker.take() {
            assert!(self.clock.now() - start < Duration::from_secs(60), "no wake came");
            std::thread::yield_now();
        }
        self.wakes += 1;
    }

    fn write(&mut self, rows: RecordBatch) -> Result<()> {
        let mut written = self.call(|sink, ctx| sink.write(Batch::new(rows), ctx))?;
        while written == Written::Busy {
            self.await_wake();
            written = self.call(|sink, ctx| sink.on_wake(ctx))?;
        }
        Ok(())
    }

    fn barrier(&mut self, id: u64) -> Result<()> {
        while self.call(|sink, ctx| sink.prepare(id, false, ctx))? == Prepare::Pending {
            self.await_wake();
        }
        Ok(())
    }
}

/// Rows `n`, `k_id`.
fn rows(numbers: std::ops::Range<i64>) -> RecordBatch {
    let n = Int64Array::from_iter_values(numbers.clone());
    let id = Int64Array::from_iter_values(numbers.map(|n| n % 10));
    RecordBatch::try_from_iter([("n", Arc::new(n) as ArrayRef), ("k_id", Arc::new(id) as ArrayRef)]).unwrap()
}

fn text(bytes: &Option<Vec<u8>>) -> String {
    String::from_utf8(bytes.clone().unwrap_or_default()).unwrap()
}

fn number(json: &str) -> i64 {
    json.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

fn values(records: &[ReadRecord]) -> BTreeSet<String> {
    records.iter().map(|r| text(&r.value)).collect()
}

#[test]
fn after_a_barrier_every_row_is_there() {
    let cluster = Cluster::start();
    let topic = cluster.topic("written", 3);
    let factory = KafkaSink::new("out", options(&cluster, &topic, &[]), numbers()).unwrap();
    factory.check(&JobInfo::default()).unwrap();
    let mut task = Task::start(&factory, 0);
    for batch in 0..20 {
        task.write(rows(batch * 1000..(batch + 1) * 1000)).unwrap();
    }
    task.barrier(1).unwrap();
    assert_eq!(cluster.ends(&topic, 3).iter().sum::<i64>(), 20_000, "acknowledged means there");
    let records = cluster.consume(&topic, 3, 20_000);
    assert_eq!(values(&records), (0..20_000).map(|n| format!("{{\"n\":{n}}}")).collect());
    assert!(records.iter().all(|r| r.key.is_none()));
    // A barrier without rows passes at once.
    assert_eq!(task.call(|s, ctx| s.prepare(2, true, ctx)).unwrap(), Prepare::Done(Prepared::default()));
}

#[test]
fn equal_keys_meet_in_the_partition_that_java_chooses_and_keep_their_order() {
    let cluster = Cluster::start();
    let topic = cluster.topic("keyed", 4);
    let factory = KafkaSink::new("out", options(&cluster, &topic, &[]), keyed()).unwrap();
    let mut task = Task::start(&factory, 0);
    task.write(rows(0..500)).unwrap();
    task.write(rows(500..1000)).unwrap();
    task.barrier(1).unwrap();
    let records = cluster.consume(&topic, 4, 1000);
    let mut last: BTreeMap<String, (i32, i64)> = BTreeMap::new();
    for record in &records {
        let (key, n) = (text(&record.key), number(&text(&record.value)));
        assert_eq!(key, format!("{{\"id\":{}}}", n % 10));
        assert_eq!(record.partition, java_partition(key.as_bytes(), 4), "{key}");
        if let Some((partition, before)) = last.insert(key, (record.partition, n)) {
            assert!(partition == record.partition && before < n);
        }
    }
    assert_eq!(last.len(), 10);
}

/// What Kafka's own clients compute: murmur2 with their seed, made positive, modulo the partitions.
fn java_partition(key: &[u8], partitions: i32) -> i32 {
    let m = 0x5bd1_e995_u32;
    let mut hash = 0x9747_b28c_u32 ^ key.len() as u32;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(m);
        k = (k ^ (k >> 24)).wrapping_mul(m);
        hash = hash.wrapping_mul(m) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        hash = hash.wrapping_mul(m);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(m);
    ((hash ^ (hash >> 15)) & 0x7fff_ffff) as i32 % partitions
}

#[test]
fn fixed_and_round_robin_partitioners() {
    let cluster = Cluster::start();
    let topic = cluster.topic("placed", 3);
    for (partitioner, index, expected) in
        [("fixed", 1, [0, 90, 0]), ("fixed", 3, [90, 90, 0]), ("round-robin", 2, [120, 120, 30])]
    {
        let options = options(&cluster, &topic, &[("sink.partitioner", partitioner)]);
        let mut task = Task::start(&KafkaSink::new("out", options, numbers()).unwrap(), index);
        for _ in 0..9 {
            task.write(rows(0..10)).unwrap();
        }
        task.barrier(1).unwrap();
        assert_eq!(cluster.ends(&topic, 3), expected, "{partitioner}");
    }
}

#[test]
fn timestamps_and_headers_are_written() {
    let cluster = Cluster::start();
    let topic = cluster.topic("extras", 1);
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut map = MapBuilder::new(Some(names), StringBuilder::new(), BinaryBuilder::new());
    map.keys().append_value("trace");
    map.values().append_value(b"abc");
    map.keys().append_value("empty");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    let headers = map.finish();
    assert_eq!(headers.data_type(), &MetadataColumn::Headers.data_type());
    let at = TimestampMillisecondArray::from(vec![Some(1_767_225_600_123), None]);
    let rows = RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("at", Arc::new(at) as ArrayRef),
        ("headers", Arc::new(headers) as ArrayRef),
    ]);
    let layout = SinkLayout { timestamp: Some(1), headers: Some(2), ..numbers() };
    let factory = KafkaSink::new("out", options(&cluster, &topic, &[]), layout).unwrap();
    let mut task = Task::start(&factory, 0);
    task.write(rows.unwrap()).unwrap();
    task.barrier(1).unwrap();
    let records = cluster.consume(&topic, 1, 2);
    assert_eq!(records[0].timestamp, Some(1_767_225_600_123));
    assert_eq!(records[0].headers, [("trace".to_owned(), Some(b"abc".to_vec())), ("empty".to_owned(), None)]);
    assert!(records[1].headers.is_empty() && records[1].timestamp > Some(1_767_225_600_123), "NULL is now");
}

#[test]
fn a_full_buffer_makes_the_sink_busy_and_loses_nothing() {
    let cluster = Cluster::start();
    let topic = cluster.topic("full", 2);
    let small = [("properties.queue.buffering.max.messages", "700")];
    for layout in [keyed(), SinkLayout { headers: Some(9), ..keyed() }] {
        let factory = KafkaSink::new("out", options(&cluster, &topic, &small), layout).unwrap();
        let mut task = Task::start(&factory, 0);
        // Two writes without a look at the answer: everything that comes is accepted.
        for range in [0..3000, 3000..6000] {
            let written = task.call(|sink, ctx| sink.write(Batch::new(rows(range)), ctx)).unwrap();
            assert_eq!(written, Written::Busy);
        }
        task.barrier(1).unwrap();
        assert!(task.wakes > 2);
    }
    let records = cluster.consume(&topic, 2, 12_000);
    assert_eq!(values(&records), (0..6000).map(|n| format!("{{\"n\":{n}}}")).collect());
    assert_eq!(records.len(), 12_000);
}

#[test]
fn an_unreachable_broker_holds_the_barrier_and_then_fails_the_job() {
    let cluster = Cluster::mock();
    let topic = cluster.topic("outage", 1);
    let factory = KafkaSink::new("out", options(&cluster, &topic, &[]), numbers()).unwrap();
    let mut task = Task::start(&factory, 0);
    task.write(rows(0..10)).unwrap();
    task.barrier(1).unwrap();
    cluster.set_broker_up(false);
    task.write(rows(10..20)).unwrap();
    while task.metrics.trouble.get().is_none() {
        assert_eq!(task.call(|s, ctx| s.prepare(2, false, ctx)).unwrap(), Prepare::Pending);
        task.await_wake();
    }
    assert!(task.metrics.trouble.get().unwrap().contains("cannot reach Kafka"));
    assert!(task.metrics.unacknowledged.get() >= 10, "{}", task.metrics.unacknowledged.get());
    assert_eq!(task.metrics.peer.get().as_deref(), Some(cluster.bootstrap()));
    cluster.set_broker_up(true);
    task.barrier(2).unwrap();
    assert_eq!(task.metrics.unacknowledged.get(), 0);
    while task.metrics.trouble.get().is_some() {
        task.await_wake();
        task.call(|sink, ctx| sink.on_wake(ctx)).unwrap();
    }
    assert_eq!(cluster.ends(&topic, 1), [20]);

    // Nobody is there from the start, so that no time limit races with a delivery.
    cluster.set_broker_up(false);
    let short = [("properties.delivery.timeout.ms", "300"), ("properties.linger.ms", "0")];
    let factory = KafkaSink::new("out", options(&cluster, &topic, &short), numbers()).unwrap();
    let mut task = Task::start(&factory, 0);
    task.write(rows(30..40)).unwrap();
    let error = task.barrier(1).unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::External, true));
    assert!(error.message().contains(&format!("write to topic `{topic}`")), "{error}");
}

#[test]
fn mistakes_are_named() {
    let cluster = Cluster::start();
    let topic = cluster.topic("mistakes", 1);
    let two = options(&cluster, &format!("{topic};other"), &[]);
    assert_eq!(KafkaSink::new("out", two, numbers()).err().unwrap().kind(), ErrorKind::User);

    let factory = KafkaSink::new("out", options(&cluster, &topic, &[]), numbers()).unwrap();
    let mut task = Task::start(&factory, 0);
    let change = Batch::with_weights(rows(0..2), vec![1, -1].into()).unwrap();
    let error = task.call(|sink, ctx| sink.write(change, ctx)).unwrap_err();
    assert!(error.kind() == ErrorKind::User && error.message().contains("only appends"), "{error}");

    let big = StringArray::from(vec!["x".repeat(3_000_000)]);
    let layout = SinkLayout { value: part(&[0], &[("s", DataType::Utf8)]), ..numbers() };
    let mut task = Task::start(&KafkaSink::new("out", options(&cluster, &topic, &[]), layout).unwrap(), 0);
    let error = task.write(RecordBatch::try_from_iter([("s", Arc::new(big) as ArrayRef)]).unwrap()).unwrap_err();
    assert!(error.kind() == ErrorKind::User && error.message().contains("message.max.bytes"), "{error}");
    assert_eq!(cluster.ends(&topic, 1), [0]);
}

#[test]
fn a_key_whose_row_goes_gets_a_tombstone_unless_another_comes_for_it() {
    let cluster = Cluster::start();
    let topic = cluster.topic("upserts", 1);
    let factory = KafkaSink::new("out", options(&cluster, &topic, &[]), keyed()).unwrap().upserting();
    let mut task = Task::start(&factory, 0);
    let mut change = |rows: std::ops::Range<i64>, weights: &[i64]| {
        let batch = Batch::with_weights(self::rows(rows), weights.to_vec().into()).unwrap();
        task.call(|sink, ctx| sink.write(batch, ctx)).unwrap();
    };
    change(0..3, &[1, 1, 1]);
    // 1 is replaced, 2 goes, 5 comes and goes.
    change(1..3, &[-1, -1]);
    change(11..12, &[1]);
    change(5..6, &[1]);
    change(5..6, &[-1]);
    task.barrier(1).unwrap();
    let records = cluster.consume(&topic, 1, 7);
    let shown: Vec<_> =
        records.iter().map(|r| (text(&r.key), r.value.as_ref().map(|_| number(&text(&r.value))))).collect();
    let key = |k: i64| format!("{{\"id\":{k}}}");
    let wanted = [(0, Some(0)), (1, Some(1)), (2, Some(2)), (1, Some(11)), (5, Some(5)), (2, None), (5, None)];
    assert_eq!(shown, wanted.map(|(k, v)| (key(k), v)));
    assert_eq!(cluster.ends(&topic, 1), [7]);
}
