//! The source against a cluster (the mock, or the broker of `THALWEG_TEST_KAFKA`): what was written is what is read, whatever
//! the start, the end, the parallelism and the restart.

use super::super::metadata::MetadataColumn;
use super::super::testing::{Cluster, TestRecord};
use super::*;
use crate::format::csv::{CsvDecoder, CsvOptions};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimestampMillisecondType};
use std::collections::BTreeMap;
use std::time::Duration;
use thalweg_engine::batch::Batch;
use thalweg_engine::clock::Clock;
use thalweg_engine::error::ErrorKind;
use thalweg_engine::message::Waker;
use thalweg_engine::metrics::NodeMetrics;
use thalweg_engine::operator::Subtask;
use thalweg_engine::source::{Fact, Poll, Position, ReaderContext, Split, SplitId};

/// Records of one field, `text`; nothing can be read from a text with a stray quote.
fn texts() -> DecoderFactory {
    Arc::new(|| {
        let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
        Ok(Box::new(CsvDecoder::new(schema, &["text".to_owned()], CsvOptions::default())?))
    })
}

struct Table {
    options: BTreeMap<String, String>,
    bad_record: BadRecord,
}

impl Table {
    fn new(cluster: &Cluster, topic: &str) -> Table {
        let table = Table { options: BTreeMap::new(), bad_record: BadRecord::Fail };
        table
            .with("topic", topic)
            .with("format", "json")
            .with("properties.bootstrap.servers", cluster.bootstrap())
            .with("properties.fetch.wait.max.ms", "10")
            .with("scan.startup.mode", "earliest-offset")
    }

    fn bounded(cluster: &Cluster, topic: &str) -> Table {
        Table::new(cluster, topic).with("scan.bounded.mode", "latest-offset")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.options.insert(name.to_owned(), value.to_owned());
        self
    }

    fn source(&self, columns: &[(&str, ColumnSource)]) -> KafkaSource {
        let field = |(name, column): &(&str, ColumnSource)| match column {
            ColumnSource::Metadata(m) => Field::new(*name, m.data_type(), true),
            _ => Field::new(*name, DataType::Utf8, true),
        };
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let has = |wanted: ColumnSource| columns.iter().any(|c| c.1 == wanted);
        let decoders = [has(ColumnSource::Value(0)).then(texts), has(ColumnSource::Key(0)).then(texts)];
        let options = KafkaOptions::parse(&self.options).unwrap().0;
        let columns = columns.iter().map(|c| c.1).collect();
        KafkaSource::new("orders", options, schema, columns, decoders, self.bad_record).unwrap()
    }

    /// Partition, offset and text: what most tests look at.
    fn rows_source(&self) -> KafkaSource {
        self.source(&[
            ("partition", ColumnSource::Metadata(MetadataColumn::Partition)),
            ("offset", ColumnSource::Metadata(MetadataColumn::Offset)),
            ("text", ColumnSource::Value(0)),
        ])
    }

    fn discover_error(&self) -> Error {
        self.rows_source().enumerator().unwrap().discover().unwrap_err()
    }
}

struct Job {
    readers: Vec<Box<dyn SourceReader>>,
    metrics: Vec<Arc<NodeMetrics>>,
    wakers: Vec<Waker>,
    rejected: Vec<Batch>,
    finished: Vec<String>,
}

type Row = (i32, i64, String);

impl Job {
    fn start(source: &KafkaSource, parallelism: u32) -> (Job, serde_json::Value) {
        let mut enumerator = source.enumerator().unwrap();
        let mut assigned = enumerator.step(Fact::Started { parallelism, finished: vec![] });
        let found = enumerator.discover().unwrap();
        assert!(found.complete);
        assigned.extend(enumerator.step(Fact::Discovered(found)));
        let shares = assigned.into_iter().map(|a| a.splits.into_iter().map(|s| (s, None)).collect());
        (Job::with(source, shares.collect()), enumerator.snapshot())
    }

    fn resume(
        source: &KafkaSource,
        parallelism: u32,
        state: &serde_json::Value,
        at: &[(SplitId, Position)],
        finished: &[String],
    ) -> Job {
        let mut enumerator = source.enumerator().unwrap();
        enumerator.restore(state).unwrap();
        let assigned = enumerator.step(Fact::Started { parallelism, finished: finished.to_vec() });
        let no_more = enumerator.look_again().is_none();
        assert!(assigned.iter().all(|a| a.no_more == no_more) && assigned.len() == parallelism as usize);
        let position = |split: &Split| at.iter().find(|(id, _)| **id == *split.id).map(|(_, p)| p.clone());
        let shares = assigned.into_iter().map(|a| a.splits.into_iter().map(|s| (s.clone(), position(&s))).collect());
        Job::with(source, shares.collect())
    }

    fn with(source: &KafkaSource, shares: Vec<Vec<(Split, Option<Position>)>>) -> Job {
        let mut job = Job { readers: vec![], metrics: vec![], wakers: vec![], rejected: vec![], finished: vec![] };
        let parallelism = shares.len() as u32;
        for (index, share) in (0..).zip(shares) {
            let mut reader = source.reader().unwrap();
            let ctx = ReaderContext {
                subtask: Subtask { index, parallelism },
                waker: Waker::noop(),
                clock: Clock::system(),
                metrics: Arc::default(),
            };
            reader.open(&ctx).unwrap();
            reader.assign(share).unwrap();
            job.readers.push(reader);
            job.metrics.push(ctx.metrics);
            job.wakers.push(ctx.waker);
        }
        job
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.readers.iter().flat_map(|r| r.positions()).collect()
    }

    /// Batches of all readers until they are finished, or until `enough` of them; sleeps only until a reader's waker fires.
    fn batches(&mut self, max_rows: usize, mut enough: impl FnMut(&[RecordBatch]) -> bool) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        let clock = Clock::system();
        while !enough(&batches) {
            let mut done = 0;
            for index in 0..self.readers.len() {
                match self.readers[index].poll(max_rows)? {
                    Poll::Batch { batch, rejected, .. } => {
                        assert!(batch.num_rows() <= max_rows);
                        batches.push(batch.columns().clone());
                        self.rejected.extend(rejected);
                    }
                    Poll::SplitFinished(id) => self.finished.push(id.to_string()),
                    Poll::Finished => done += 1,
                    Poll::Idle { until } => {
                        assert_eq!(until, None);
                        self.await_wake(index, &clock);
                    }
                }
            }
            if done == self.readers.len() {
                break;
            }
        }
        Ok(batches)
    }

    /// With one reader only its waker ends the wait, so a lost wake would be a failure; with several they are polled in turn.
    fn await_wake(&self, index: usize, clock: &Clock) {
        assert!(clock.now() < Duration::from_secs(60), "no progress; positions {:?}", self.positions());
        while self.readers.len() == 1 && !self.wakers[index].take() {
            assert!(clock.now() < Duration::from_secs(60), "no wake came; positions {:?}", self.positions());
            std::thread::yield_now();
        }
    }

    fn all(&mut self) -> Result<Vec<Row>> {
        Ok(rows(&self.batches(1000, |_| false)?))
    }

    fn first(&mut self, count: usize) -> Vec<Row> {
        let counted = |b: &[RecordBatch]| b.iter().map(RecordBatch::num_rows).sum::<usize>() >= count;
        rows(&self.batches(1000, counted).unwrap())
    }
}

fn rows(batches: &[RecordBatch]) -> Vec<Row> {
    let mut rows = Vec::new();
    for b in batches {
        let (partition, offset) = (b.column(0).as_primitive::<Int32Type>(), b.column(1).as_primitive::<Int64Type>());
        let text = b.column(2).as_string::<i32>();
        let of_batch = (0..b.num_rows()).map(|i| (partition.value(i), offset.value(i), text.value(i).to_owned()));
        let of_batch: Vec<Row> = of_batch.collect();
        assert!(of_batch.windows(2).all(|w| w[0].0 == w[1].0 && w[0].1 < w[1].1), "one partition, in order");
        rows.extend(of_batch);
    }
    rows.sort();
    rows
}

/// `count` records in turn over `partitions`, and the rows that they are.
fn fill(cluster: &Cluster, topic: &str, partitions: i32, count: i32) -> Vec<Row> {
    let records: Vec<TestRecord> = (0..count).map(|i| TestRecord::value(i % partitions, format!("r{i}"))).collect();
    cluster.produce(topic, &records);
    let mut rows: Vec<Row> = (0..count).map(|i| (i % partitions, i64::from(i / partitions), format!("r{i}"))).collect();
    rows.sort();
    rows
}

#[test]
fn a_bounded_topic_is_read_whole_at_any_parallelism() {
    let cluster = Cluster::start();
    let topic = cluster.topic("whole", 5);
    // Partition 4 stays empty.
    let expected = fill(&cluster, &topic, 4, 10_000);
    for parallelism in [1, 2, 3, 8] {
        let source = Table::bounded(&cluster, &topic).rows_source();
        assert!(source.bounded());
        let (mut job, _) = Job::start(&source, parallelism);
        assert_eq!(job.all().unwrap(), expected, "parallelism {parallelism}");
        job.finished.sort();
        assert_eq!(job.finished, (0..5).map(|p| format!("{topic}-{p}")).collect::<Vec<_>>());
        let bytes: u64 = job.metrics.iter().map(|m| m.bytes_in.get()).sum();
        assert_eq!(bytes, expected.iter().map(|r| r.2.len() as u64).sum::<u64>());
        assert!(job.metrics.iter().all(|m| m.lag.get() == 0));
    }
}

#[test]
fn rows_after_the_start_of_a_bounded_job_are_left_out() {
    let cluster = Cluster::start();
    let topic = cluster.topic("fixed-end", 2);
    let expected = fill(&cluster, &topic, 2, 100);
    let source = Table::bounded(&cluster, &topic).rows_source();
    let (mut job, _) = Job::start(&source, 1);
    cluster.produce(&topic, &[TestRecord::value(0, "late"), TestRecord::value(1, "late")]);
    assert_eq!(job.all().unwrap(), expected);
}

#[test]
fn an_empty_bounded_topic_finishes() {
    let cluster = Cluster::start();
    let topic = cluster.topic("empty", 3);
    let (mut job, _) = Job::start(&Table::bounded(&cluster, &topic).rows_source(), 2);
    assert_eq!(job.all().unwrap(), []);
    assert_eq!(job.finished.len(), 3);
}

#[test]
fn an_unbounded_source_waits_and_is_woken() {
    let cluster = Cluster::start();
    let topic = cluster.topic("woken", 2);
    let mut expected = fill(&cluster, &topic, 2, 20);
    let source = Table::new(&cluster, &topic).rows_source();
    assert!(!source.bounded());
    let (mut job, _) = Job::start(&source, 1);
    assert_eq!(job.first(20), expected);
    for round in 0..5 {
        let text = format!("more {round}");
        cluster.produce(&topic, &[TestRecord::value(1, text.clone())]);
        expected = vec![(1, 10 + round, text)];
        assert_eq!(job.first(1), expected);
    }
}

#[test]
fn a_job_resumes_at_another_parallelism_where_it_stood() {
    let cluster = Cluster::start();
    let topic = cluster.topic("resume", 4);
    let expected = fill(&cluster, &topic, 3, 3000);
    let source = Table::bounded(&cluster, &topic).rows_source();
    let (mut job, state) = Job::start(&source, 2);
    let stop = |b: &[RecordBatch]| b.iter().map(RecordBatch::num_rows).sum::<usize>() >= 700;
    let mut read = rows(&job.batches(64, stop).unwrap());
    assert!(read.len() < expected.len());
    let positions = job.positions();
    assert_eq!(positions.len(), 4, "quiet partitions have a position too");
    let finished = job.finished.clone();
    drop(job);
    let mut job = Job::resume(&source, 3, &state, &positions, &finished);
    read.extend(job.all().unwrap());
    read.sort();
    assert_eq!(read, expected);
}

#[test]
fn starts_and_ends_of_every_mode() {
    let cluster = Cluster::start();
    let topic = cluster.topic("modes", 2);
    let all = fill(&cluster, &topic, 2, 40);
    let group = format!("{topic}-group");
    cluster.commit_group(&group, &topic, &[(0, 5), (1, 7)]);
    let bounded = || Table::bounded(&cluster, &topic).with("properties.group.id", &group);
    let between = |table: Table, from: [i64; 2], to: [i64; 2]| {
        let expected: Vec<Row> =
            all.iter().filter(|r| (from[r.0 as usize]..to[r.0 as usize]).contains(&r.1)).cloned().collect();
        assert_eq!(Job::start(&table.rows_source(), 2).0.all().unwrap(), expected, "{:?}", table.options);
    };
    between(bounded(), [0, 0], [20, 20]);
    between(bounded().with("scan.startup.mode", "latest-offset"), [20, 20], [20, 20]);
    between(bounded().with("scan.startup.mode", "group-offsets"), [5, 7], [20, 20]);
    let some = "scan.startup.specific-offsets";
    between(
        bounded().with("scan.startup.mode", "specific-offsets").with(some, "partition:1,offset:15"),
        [5, 15],
        [20, 20],
    );
    between(bounded().with("scan.bounded.mode", "group-offsets"), [0, 0], [5, 7]);
    let end = "scan.bounded.specific-offsets";
    between(bounded().with("scan.bounded.mode", "specific-offsets").with(end, "partition:0,offset:3"), [0, 0], [3, 20]);
    between(bounded().with("scan.bounded.mode", "specific-offsets").with(end, "partition:0,offset:0"), [0, 0], [0, 20]);
}

#[test]
fn starts_and_ends_by_timestamp() {
    let cluster = Cluster::start();
    if !cluster.is_real() {
        // The mock answers every question for a timestamp with the end.
        return;
    }
    let topic = cluster.topic("times", 1);
    let at =
        |i: i64| TestRecord { timestamp: Some(1_767_225_600_000 + i * 1000), ..TestRecord::value(0, format!("r{i}")) };
    cluster.produce(&topic, &(0..10).map(at).collect::<Vec<_>>());
    let table = Table::bounded(&cluster, &topic)
        .with("scan.startup.mode", "timestamp")
        .with("scan.startup.timestamp-millis", "1767225602500")
        .with("scan.bounded.mode", "timestamp")
        .with("scan.bounded.timestamp-millis", "1767225607000");
    let offsets: Vec<i64> = Job::start(&table.rows_source(), 1).0.all().unwrap().iter().map(|r| r.1).collect();
    assert_eq!(offsets, [3, 4, 5, 6]);
}

#[test]
fn transactions_leave_gaps_that_end_nothing_too_late() {
    let cluster = Cluster::start();
    if !cluster.is_real() {
        // The mock writes no control records and hides nothing.
        return;
    }
    let topic = cluster.topic("transactions", 2);
    let records = |text: &str, n: usize| (0..n).map(|i| TestRecord::value(0, format!("{text}{i}"))).collect::<Vec<_>>();
    cluster.produce_in_transaction(&topic, &records("kept", 5), true);
    cluster.produce_in_transaction(&topic, &records("gone", 5), false);
    let source = Table::bounded(&cluster, &topic).rows_source();
    // The last offset is a control record: nobody sees it, and the split must end all the same.
    let (mut job, _) = Job::start(&source, 1);
    let texts: Vec<String> = job.all().unwrap().into_iter().map(|r| r.2).collect();
    assert_eq!(texts, ["kept0", "kept1", "kept2", "kept3", "kept4"]);
    assert_eq!(job.positions()[0].1.0, 12);
    let uncommitted = Table::bounded(&cluster, &topic).with("properties.isolation.level", "read_uncommitted");
    assert_eq!(Job::start(&uncommitted.rows_source(), 1).0.all().unwrap().len(), 10);
}

#[test]
fn metadata_and_keys_stand_beside_the_value() {
    let cluster = Cluster::start();
    let topic = cluster.topic("metadata", 1);
    let header = |name: &str, value: Option<&str>| (name.to_owned(), value.map(|v| v.as_bytes().to_vec()));
    let record = TestRecord {
        key: Some(b"k0".to_vec()),
        timestamp: Some(1_767_225_600_123),
        headers: vec![header("a", Some("1")), header("b", None), header("a", Some("2"))],
        ..TestRecord::value(0, "zero")
    };
    cluster.produce(&topic, &[record]);
    let all = super::super::metadata::METADATA_COLUMNS;
    let mut columns: Vec<_> = all.iter().map(|(n, c)| (*n, ColumnSource::Metadata(*c))).collect();
    columns.extend([("k", ColumnSource::Key(0)), ("v", ColumnSource::Value(0))]);
    let source = Table::bounded(&cluster, &topic).source(&columns);
    let batches = Job::start(&source, 1).0.batches(10, |_| false).unwrap();
    let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
    let at = |name: &str| batch.column_by_name(name).unwrap();
    assert_eq!(at("topic").as_string::<i32>().value(0), topic);
    assert_eq!(at("offset").as_primitive::<Int64Type>().value(0), 0);
    assert_eq!(at("timestamp").as_primitive::<TimestampMillisecondType>().value(0), 1_767_225_600_123);
    assert_eq!(at("timestamp-type").as_string::<i32>().value(0), "CreateTime");
    assert_eq!(at("key").as_binary::<i32>().value(0), b"k0");
    assert_eq!((at("k").as_string::<i32>().value(0), at("v").as_string::<i32>().value(0)), ("k0", "zero"));
    let headers = at("headers").as_map().value(0);
    let names: Vec<_> = headers.column(0).as_string::<i32>().iter().flatten().collect();
    let values: Vec<_> = headers.column(1).as_binary::<i32>().iter().collect();
    assert_eq!((names, values), (vec!["a", "b"], vec![Some(b"2".as_slice()), None]));
}

#[test]
fn bad_records_fail_are_skipped_or_set_aside() {
    let cluster = Cluster::start();
    let topic = cluster.topic("bad", 1);
    let keyed = |key: &str, value: Option<&str>| TestRecord {
        key: Some(key.as_bytes().to_vec()),
        value: value.map(|v| v.as_bytes().to_vec()),
        ..TestRecord::default()
    };
    cluster.produce(
        &topic,
        &[
            keyed("a", Some("one")),
            keyed("b", Some("\"two")),
            keyed("\"c", Some("three")),
            keyed("d", None),
            keyed("e", Some("five")),
            keyed("\"f", Some("\"six")),
        ],
    );
    let columns = [
        ("partition", ColumnSource::Metadata(MetadataColumn::Partition)),
        ("offset", ColumnSource::Metadata(MetadataColumn::Offset)),
        ("text", ColumnSource::Value(0)),
        ("key", ColumnSource::Key(0)),
    ];
    let mut table = Table::bounded(&cluster, &topic);
    let error = Job::start(&table.source(&columns), 1).0.all().unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::User, false));
    let at = format!("table `orders`: record at {topic}-0:1: value: ");
    assert!(error.message().starts_with(&at), "{error}");
    for policy in [BadRecord::Skip, BadRecord::DeadLetter] {
        table.bad_record = policy;
        let (mut job, _) = Job::start(&table.source(&columns), 1);
        assert_eq!(job.all().unwrap(), [(0, 0, "one".to_owned()), (0, 4, "five".to_owned())]);
        assert_eq!(job.metrics[0].bad_records.get(), 4);
        let dead: usize = job.rejected.iter().map(Batch::num_rows).sum();
        assert_eq!(dead, if policy == BadRecord::Skip { 0 } else { 4 });
        if let Some(first) = job.rejected.first() {
            let text = |i: usize| first.columns().column(i).as_string::<i32>().value(0).to_owned();
            assert_eq!((text(0), text(1)), ("orders".to_owned(), format!("{topic}-0:1")));
            assert_eq!(first.columns().column(3).as_binary::<i32>().value(0), b"\"two");
        }
    }
}

#[test]
fn a_table_without_value_columns_keeps_tombstones() {
    let cluster = Cluster::start();
    let topic = cluster.topic("tombstones", 1);
    cluster.produce(&topic, &[TestRecord::default(), TestRecord::value(0, "x")]);
    let source = Table::bounded(&cluster, &topic).source(&[("offset", ColumnSource::Metadata(MetadataColumn::Offset))]);
    let batches = Job::start(&source, 1).0.batches(10, |_| false).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    // Nor does a table of which nobody reads any column lose rows: it can still be counted.
    let source = Table::bounded(&cluster, &topic).source(&[]);
    let batches = Job::start(&source, 1).0.batches(10, |_| false).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
}

#[test]
fn offsets_reach_the_group_when_a_checkpoint_is_complete() {
    let cluster = Cluster::start();
    let topic = cluster.topic("committed", 1);
    fill(&cluster, &topic, 1, 10);
    let group = format!("{topic}-lag");
    let source = Table::bounded(&cluster, &topic).with("properties.group.id", &group).rows_source();
    let (mut job, _) = Job::start(&source, 1);
    job.all().unwrap();
    assert_eq!(cluster.committed(&group, &topic, 1), [None]);
    let positions = job.positions();
    job.readers[0].on_checkpoint_complete(&positions).unwrap();
    for _ in 0..200 {
        let _ = job.readers[0].poll(1).unwrap();
        if cluster.committed(&group, &topic, 1) == [Some(10)] {
            return;
        }
    }
    panic!("the group stands at {:?}", cluster.committed(&group, &topic, 1));
}

#[test]
fn what_cannot_be_read_is_an_error_that_says_what_to_do() {
    let cluster = Cluster::start();
    let topic = cluster.topic("errors", 2);
    fill(&cluster, &topic, 2, 10);
    let unknown = Table::bounded(&cluster, "no-such-topic-anywhere").discover_error();
    assert_eq!(unknown.kind(), ErrorKind::User);
    assert!(unknown.message().contains("`no-such-topic-anywhere`") && unknown.message().contains("create the topic"));
    let group = Table::bounded(&cluster, &topic)
        .with("scan.startup.mode", "group-offsets")
        .with("properties.group.id", "a-group-that-never-was")
        .discover_error();
    assert!(group.message().contains("has no offset") && group.message().contains("auto.offset.reset"), "{group}");
    let partition = Table::bounded(&cluster, &topic)
        .with("scan.bounded.mode", "specific-offsets")
        .with("scan.bounded.specific-offsets", "partition:7,offset:1")
        .discover_error();
    assert!(partition.message().contains("there is no partition 7"), "{partition}");
}

#[test]
fn a_bounded_start_past_the_end_is_no_empty_partition() {
    let cluster = Cluster::start();
    let topic = cluster.topic("past", 1);
    fill(&cluster, &topic, 1, 10);
    let from = |offset: &str| {
        Table::bounded(&cluster, &topic)
            .with("scan.startup.mode", "specific-offsets")
            .with("scan.startup.specific-offsets", offset)
    };
    let error = from("partition:0,offset:11").discover_error();
    assert!(error.message().contains("offset 11 is past the log's end 10"), "{error}");
    let unbounded = from("partition:0,offset:11").with("scan.bounded.mode", "unbounded").discover_error();
    assert!(unbounded.message().contains("offset 11 is past the log's end 10"), "{unbounded}");
    let (mut job, _) = Job::start(&from("partition:0,offset:10").rows_source(), 1);
    assert_eq!(job.all().unwrap().len(), 0);
}

#[test]
fn a_position_that_is_gone_is_never_skipped_over() {
    let cluster = Cluster::start();
    let topic = cluster.topic("gone", 1);
    fill(&cluster, &topic, 1, 10);
    let source = Table::new(&cluster, &topic).rows_source();
    let (job, state) = Job::start(&source, 1);
    drop(job);
    let id: SplitId = format!("{topic}-0").as_str().into();
    let mut job = Job::resume(&source, 1, &state, &[(id, Position(1000.into()))], &[]);
    let error = job.all().unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::External, false));
    assert!(error.message().contains("at offset 1000") && error.message().contains("were deleted"), "{error}");
}

/// A bounded table's checkpoint, and the topic then created anew with fewer records: nothing may pass as read.
#[test]
fn a_bounded_position_that_is_gone_is_never_skipped_over() {
    let cluster = Cluster::start();
    let (old, new) = (cluster.topic("old", 1), cluster.topic("new", 1));
    fill(&cluster, &old, 1, 10);
    fill(&cluster, &new, 1, 3);
    let (job, state) = Job::start(&Table::bounded(&cluster, &old).rows_source(), 1);
    drop(job);
    let state: serde_json::Value = serde_json::from_str(&state.to_string().replace(&old, &new)).unwrap();
    let source = Table::bounded(&cluster, &new).rows_source();
    let at = |position: i64| [(SplitId::from(format!("{new}-0").as_str()), Position(position.into()))];
    let error = Job::resume(&source, 1, &state, &at(7), &[]).all().unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::External, false));
    assert!(error.message().contains("at offset 7") && error.message().contains("created anew"), "{error}");

    let mut enumerator = source.enumerator().unwrap();
    enumerator.restore(&state).unwrap();
    let splits = enumerator.step(Fact::Started { parallelism: 1, finished: vec![] }).remove(0).splits;
    let mut job = Job::with(&source, vec![vec![]]);
    let [(_, past)] = at(1000);
    let error = job.readers[0].assign(splits.into_iter().map(|s| (s, Some(past.clone()))).collect()).unwrap_err();
    assert!(error.message().contains("position 1000 is past its end 10; "), "{error}");
}

#[test]
fn a_broker_that_goes_away_and_comes_back_is_waited_for() {
    let cluster = Cluster::mock();
    let topic = cluster.topic("outage", 1);
    fill(&cluster, &topic, 1, 10);
    let (mut job, _) = Job::start(&Table::new(&cluster, &topic).rows_source(), 1);
    assert_eq!(job.first(10).len(), 10);
    assert_eq!(job.metrics[0].peer.get().as_deref(), Some(cluster.bootstrap()));
    let mut until_troubled = |troubled: bool| loop {
        assert!(matches!(job.readers[0].poll(10).unwrap(), Poll::Idle { .. }));
        let trouble = job.metrics[0].trouble.get();
        if trouble.is_some() == troubled {
            break trouble;
        }
        job.await_wake(0, &Clock::system());
    };
    assert_eq!(until_troubled(false), None);
    cluster.set_broker_up(false);
    let trouble = until_troubled(true).unwrap();
    let address = cluster.bootstrap().split(',').next().unwrap();
    assert!(trouble.contains("cannot reach Kafka") && trouble.contains(address), "{trouble}");
    // The end is noticed without a record.
    cluster.set_broker_up(true);
    assert_eq!(until_troubled(false), None);
    cluster.produce(&topic, &[TestRecord::value(0, "back")]);
    assert_eq!(job.first(1), [(0, 10, "back".to_owned())]);
}

#[test]
fn the_state_of_another_table_is_refused() {
    let cluster = Cluster::start();
    let topic = cluster.topic("state", 1);
    let (_, state) = Job::start(&Table::bounded(&cluster, &topic).rows_source(), 1);
    let mut other = Table::bounded(&cluster, "something-else").rows_source().enumerator().unwrap();
    assert!(other.restore(&state).unwrap_err().message().contains("and the table now reads topic `something-else`"));
    assert!(other.restore(&serde_json::json!([1])).is_err());
}

/// The way of a planner: a declared table, JSON values and CSV keys, some of the columns.
#[test]
fn a_declared_table_is_read_through_its_formats() {
    use super::super::{Formats, TableColumn, plan_source};
    let cluster = Cluster::start();
    let topic = cluster.topic("declared", 1);
    let record =
        |key: &str, value: &str| TestRecord { key: Some(key.as_bytes().to_vec()), ..TestRecord::value(0, value) };
    cluster.produce(
        &topic,
        &[
            record("7|x", r#"{"a":1,"inner":{"b":"one","c":[1]}}"#),
            record("8|y", r#"{"a":"none","inner":null}"#),
            record("9|z", r#"{"a":3,"inner":{"b":"three"}}"#),
        ],
    );
    let table = Table::bounded(&cluster, &topic)
        .with("key.format", "csv")
        .with("key.csv.field-delimiter", "|")
        .with("key.fields", "k_id;k_name")
        .with("key.fields-prefix", "k_")
        .with("value.fields-include", "EXCEPT_KEY");
    let (options, mut rest) = KafkaOptions::parse(&table.options).unwrap();
    let formats = Formats::parse(&mut rest).unwrap();
    assert!(rest.is_empty());
    let b = Field::new("b", DataType::Utf8, true);
    let c = Field::new("c", DataType::new_list(DataType::Int32, true), true);
    let inner = |fields: Vec<Field>| Arc::new(Field::new("inner", DataType::Struct(fields.into()), true));
    let column =
        |name: &str, data_type| TableColumn { field: Arc::new(Field::new(name, data_type, true)), metadata: None };
    let columns = [
        column("k_id", DataType::Int64),
        column("a", DataType::Int64),
        TableColumn { field: inner(vec![b.clone(), c]), metadata: None },
        column("k_name", DataType::Utf8),
    ];
    let read = Arc::new(Schema::new(vec![columns[3].field.clone(), inner(vec![b]), columns[1].field.clone()]));
    let decoder = |request: super::super::FormatRequest<'_>| formats.decoder(request);
    let source = plan_source("t", options, &columns, (&[3, 2, 1], read), BadRecord::Skip, decoder).unwrap();
    let (mut job, _) = Job::start(&source, 1);
    let batches = job.batches(10, |_| false).unwrap();
    let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
    let cell = |row, column: &_| arrow::util::display::array_value_to_string(column, row).unwrap();
    let row = |i| batch.columns().iter().map(|c| cell(i, c)).collect::<Vec<_>>();
    assert_eq!((0..batch.num_rows()).map(row).collect::<Vec<_>>(), [["x", "{b: one}", "1"], ["z", "{b: three}", "3"]]);
    assert_eq!(job.metrics[0].bad_records.get(), 1);
}
