//! A Kafka cluster for tests and examples: an in-process mock, or the broker that `THALWEG_TEST_KAFKA` names.
//!
//! The mock speaks Kafka's protocol over TCP on 127.0.0.1, keeps at most 5 MiB per partition, and knows neither transactions nor
//! offsets by timestamp: tests that need those ask [`Cluster::is_real`]. Topics get names of their own, so that tests may share a
//! broker and run at once.
//!
//! Waits here are the client library's own, each with a limit; nothing sleeps.

#![expect(clippy::expect_used, clippy::panic, reason = "a test without a cluster has failed")]

use super::admin::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashSet;
use std::time::Duration;
use thalweg_engine::checkpoint::unique_name;
use thalweg_engine::clock::Clock;

const ANSWER: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

struct Mock(MockCluster<'static, DefaultProducerContext>);

#[expect(unsafe_code, reason = "the wrapper holds a raw pointer, so the compiler cannot know")]
// SAFETY: every call on a mock cluster is an operation queued to the cluster's own thread, which the caller waits for.
unsafe impl Send for Mock {}
#[expect(unsafe_code, reason = "the wrapper holds a raw pointer, so the compiler cannot know")]
// SAFETY: as above; operations of several threads are queued one after the other.
unsafe impl Sync for Mock {}

/// A cluster for as long as it lives.
pub struct Cluster {
    mock: Option<Mock>,
    bootstrap: String,
}

/// A record to write.
#[derive(Clone, Debug, Default)]
pub struct TestRecord {
    /// Which partition it goes to.
    pub partition: i32,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since 1970 UTC; `None` = now.
    pub timestamp: Option<i64>,
    /// Names and values.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl TestRecord {
    /// A record with a value only.
    pub fn value(partition: i32, value: impl Into<Vec<u8>>) -> TestRecord {
        TestRecord { partition, value: Some(value.into()), ..TestRecord::default() }
    }
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    /// Where it was.
    pub partition: i32,
    /// At which offset.
    pub offset: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since 1970 UTC.
    pub timestamp: Option<i64>,
    /// Names and values.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Cluster {
    /// The broker of `THALWEG_TEST_KAFKA`, else a mock.
    pub fn start() -> Cluster {
        match std::env::var("THALWEG_TEST_KAFKA") {
            Ok(bootstrap) if !bootstrap.is_empty() => Cluster::real(bootstrap),
            _ => Cluster::mock(),
        }
    }

    /// The broker at an address.
    pub fn real(bootstrap: impl Into<String>) -> Cluster {
        Cluster { mock: None, bootstrap: bootstrap.into() }
    }

    /// A mock with one broker, whatever the environment says.
    pub fn mock() -> Cluster {
        let mock = MockCluster::new(1).expect("a mock cluster starts");
        let bootstrap = mock.bootstrap_servers();
        Cluster { mock: Some(Mock(mock)), bootstrap }
    }

    /// Whether this is a broker that keeps all of Kafka's promises.
    pub fn is_real(&self) -> bool {
        self.mock.is_none()
    }

    /// Its address, for `properties.bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Makes a topic whose name begins with `prefix` and that nobody else has; returns the name.
    pub fn topic(&self, prefix: &str, partitions: i32) -> String {
        let name = format!("{prefix}-{}", unique_name(&Clock::system()));
        match &self.mock {
            Some(mock) => mock.0.create_topic(&name, partitions, 1).expect("a topic is made"),
            None => self.create_real(&name, partitions),
        }
        self.await_partitions(&name, partitions);
        name
    }

    fn create_real(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an admin client");
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let made = block_on(admin.create_topics(&[topic], &AdminOptions::new().operation_timeout(Some(ANSWER))));
        for result in made.expect("the broker answers") {
            result.expect("a topic is made");
        }
    }

    /// Gives a topic of a real broker more partitions.
    pub fn grow(&self, name: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an admin client");
        let more = NewPartitions::new(name, partitions);
        let made = block_on(admin.create_partitions(&[more], &AdminOptions::new().operation_timeout(Some(ANSWER))));
        for result in made.expect("the broker answers") {
            result.expect("a topic grows");
        }
        self.await_partitions(name, i32::try_from(partitions).expect("a small number"));
    }

    fn await_partitions(&self, name: &str, partitions: i32) {
        let consumer: BaseConsumer = self.config().create().expect("a consumer");
        for _ in 0..500 {
            let metadata = consumer.fetch_metadata(Some(name), ANSWER).expect("metadata");
            let led = metadata.topics().iter().flat_map(|t| t.partitions()).filter(|p| p.leader() > 0).count();
            if i32::try_from(led) == Ok(partitions) {
                return;
            }
            let _ = consumer.poll(POLL);
        }
        panic!("topic `{name}` has no leaders");
    }

    /// A client's settings for this cluster.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("group.id", "testing").set("enable.auto.commit", "false");
        config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "500");
        // An idle mock answers a fetch only after the whole wait.
        config
            .set("fetch.wait.max.ms", "10")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// Writes records and waits until the cluster has all of them.
    pub fn produce(&self, topic: &str, records: &[TestRecord]) {
        let producer: BaseProducer = self.config().set("linger.ms", "0").create().expect("a producer");
        for record in records {
            send(&producer, topic, record);
        }
        flush(&producer);
    }

    /// Writes records in a transaction that ends with an abort or a commit. Only a real broker hides aborted ones.
    pub fn produce_in_transaction(&self, topic: &str, records: &[TestRecord], commit: bool) {
        let id = format!("{topic}-writer");
        let producer: BaseProducer = self.config().set("transactional.id", id).create().expect("a producer");
        producer.init_transactions(ANSWER).expect("transactions start");
        producer.begin_transaction().expect("a transaction begins");
        for record in records {
            send(&producer, topic, record);
        }
        flush(&producer);
        if commit {
            producer.commit_transaction(ANSWER).expect("a transaction is committed");
        } else {
            producer.abort_transaction(ANSWER).expect("a transaction is aborted");
        }
    }

    /// Reads the first `count` records of a topic, in the order of (partition, offset); fails if they do not come.
    pub fn consume(&self, topic: &str, partitions: i32, count: usize) -> Vec<ReadRecord> {
        let consumer: BaseConsumer = self.config().create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition is listed");
        }
        consumer.assign(&list).expect("partitions are assigned");
        let mut records = Vec::with_capacity(count);
        let mut empty_polls = 0;
        while records.len() < count {
            match consumer.poll(POLL) {
                Some(message) => records.push(read(&message.expect("a record"))),
                None => empty_polls += 1,
            }
            assert!(empty_polls < 1500, "only {} of {count} records came", records.len());
        }
        records.sort_by_key(|r| (r.partition, r.offset));
        records
    }

    /// Reads all committed records of a topic, in the order of (partition, offset).
    pub fn consume_all(&self, topic: &str, partitions: i32) -> Vec<ReadRecord> {
        let consumer: BaseConsumer = self.config().set("enable.partition.eof", "true").create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition is listed");
        }
        consumer.assign(&list).expect("partitions are assigned");
        let (mut records, mut ended, mut empty_polls) = (vec![], HashSet::new(), 0);
        while ended.len() < partitions as usize {
            match consumer.poll(POLL) {
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
                Some(message) => records.push(read(&message.expect("a record"))),
                None => empty_polls += 1,
            }
            assert!(empty_polls < 1500, "no end of topic `{topic}` after {} records", records.len());
        }
        records.sort_by_key(|r| (r.partition, r.offset));
        records
    }

    /// Offset after the last record of each partition, as readers of committed records see it.
    pub fn ends(&self, topic: &str, partitions: i32) -> Vec<i64> {
        let consumer: BaseConsumer = self.config().create().expect("a consumer");
        (0..partitions).map(|p| consumer.fetch_watermarks(topic, p, ANSWER).expect("watermarks").1).collect()
    }

    /// Waits until no transaction is open in a topic: what is committed then reaches to the end. Fails after twenty seconds.
    pub fn await_no_transaction(&self, topic: &str, partitions: i32) {
        let ends = |level: &str| -> Vec<i64> {
            let consumer: BaseConsumer = self.config().set("isolation.level", level).create().expect("a consumer");
            let end = |p| consumer.fetch_watermarks(topic, p, ANSWER).expect("watermarks").1;
            let ends = (0..partitions).map(end).collect();
            let _ = consumer.poll(POLL);
            ends
        };
        for _ in 0..500 {
            if ends("read_committed") == ends("read_uncommitted") {
                return;
            }
        }
        panic!("a transaction is open in topic `{topic}`");
    }

    /// Commits an offset for a group.
    pub fn commit_group(&self, group: &str, topic: &str, offsets: &[(i32, i64)]) {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).expect("a partition is listed");
        }
        consumer.commit(&list, CommitMode::Sync).expect("offsets are committed");
    }

    /// The offsets that a group has committed, by partition.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let answer = consumer.committed_offsets(list, ANSWER).expect("the group's offsets");
        let offset = |p| answer.find_partition(topic, p).and_then(|e| e.offset().to_raw()).filter(|o| *o >= 0);
        (0..partitions).map(offset).collect()
    }

    /// Takes the mock's broker down or up again; a real one stays.
    pub fn set_broker_up(&self, up: bool) {
        if let Some(mock) = &self.mock {
            let done = if up { mock.0.broker_up(1) } else { mock.0.broker_down(1) };
            done.expect("the mock's broker obeys");
        }
    }
}

fn send(producer: &BaseProducer, topic: &str, record: &TestRecord) {
    let mut headers = OwnedHeaders::new();
    for (key, value) in &record.headers {
        headers = headers.insert(Header { key, value: value.as_deref() });
    }
    let mut next: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(record.partition).headers(headers);
    next.key = record.key.as_deref();
    next.payload = record.value.as_deref();
    next.timestamp = record.timestamp;
    while let Err((error, back)) = producer.send(next) {
        assert!(error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::QueueFull), "{error}");
        producer.poll(POLL);
        next = back;
    }
}

fn flush(producer: &BaseProducer) {
    for _ in 0..2000 {
        if producer.in_flight_count() == 0 {
            return;
        }
        producer.poll(POLL);
    }
    panic!("{} records were not delivered", producer.in_flight_count());
}

fn read(message: &impl Message) -> ReadRecord {
    let headers = message
        .headers()
        .map(|headers| headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect());
    ReadRecord {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp: message.timestamp().to_millis(),
        headers: headers.unwrap_or_default(),
    }
}
