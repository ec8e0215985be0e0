//! Nexmark events through Kafka topics and windows, at several parallelisms, against a count that uses no engine.
//!
//! On the mock cluster by default; on a real broker if `THALWEG_TEST_KAFKA` names one, and then with more events
//! (`THALWEG_TEST_EVENTS` says how many).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod broker;
#[path = "../cli/crash.rs"]
mod crash;
mod exactly_once;
mod outage;
mod partitions;
mod upsert;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use std::collections::BTreeMap;
use thalweg::Session;
use thalweg_connectors::kafka::testing::{Cluster, TestRecord};
use thalweg_connectors::nexmark::{Generator, NexmarkConfig, Projection, Slice, wide_schema};

const PARTITIONS: i32 = 8;
const SLIDE_MS: i64 = 2_000;
const SIZE_MS: i64 = 10_000;

type Counts = BTreeMap<(String, i64), i64>;

fn events(cluster: &Cluster) -> u64 {
    let asked = std::env::var("THALWEG_TEST_EVENTS").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(if cluster.is_real() { 100_000 } else { 20_000 })
}

/// The text of a window's end; the events start at 2026-01-01 00:00:00 and span minutes.
fn text(end_ms: i64, base_ms: i64) -> String {
    let s = (end_ms - base_ms) / 1000;
    format!("2026-01-01 {:02}:{:02}:{:02}.000", s / 3600, s / 60 % 60, s % 60)
}

/// Bids per hop window and auction, by a loop over the generator's rows.
fn naive(events: u64) -> Counts {
    let config = NexmarkConfig { events_num: events, ..NexmarkConfig::default() };
    let base_ms = 1_767_225_600_000;
    let rows = Generator::new(config).unwrap();
    let all = Projection::new(wide_schema()).unwrap();
    let mut counts = Counts::new();
    for first in (0..events).step_by(8192) {
        let count = 8192.min(events - first) as usize;
        let batch = rows.generate(Slice { first, stride: 1, count }, &all).unwrap();
        let bids = batch.column_by_name("bid").unwrap().as_struct();
        let auction = bids.column_by_name("auction").unwrap().as_primitive::<Int64Type>();
        let time = bids.column_by_name("dateTime").unwrap().as_primitive::<TimestampMillisecondType>();
        for row in (0..count).filter(|r| bids.is_valid(*r)) {
            let last_start = time.value(row).div_euclid(SLIDE_MS) * SLIDE_MS;
            for hop in 0..SIZE_MS / SLIDE_MS {
                let end = last_start - hop * SLIDE_MS + SIZE_MS;
                *counts.entry((text(end, base_ms), auction.value(row))).or_default() += 1;
            }
        }
    }
    counts
}

const COLUMNS: &str = "event_type INT,
    person ROW<id BIGINT, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING,
        dateTime TIMESTAMP(3), extra STRING>,
    auction ROW<id BIGINT, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT,
        dateTime TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra STRING>,
    bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3), extra STRING>";

fn kafka(cluster: &Cluster, topic: &str, more: &str) -> String {
    format!(
        "'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'format' = 'json'{more}",
        cluster.bootstrap()
    )
}

fn fill(session: &Session, cluster: &Cluster, topic: &str, events: u64) {
    let with = kafka(cluster, topic, ", 'sink.partitioner' = 'round-robin'");
    // One writer and small batches: every partition is then in the order of event time, but for a few rows. Two writers are as
    // far apart as the machine lets them run, and the readers would rightly call the rows of the slower one late.
    let totals = session.run(&format!(
        "SET 'batch.rows' = '32';
         SET 'parallelism' = '1';
         CREATE TABLE generated ({COLUMNS}) WITH ('connector' = 'nexmark', 'events.num' = '{events}');
         CREATE TABLE topic ({COLUMNS}) WITH ({with});
         INSERT INTO topic SELECT event_type, person, auction, bid FROM generated;"
    ));
    assert_eq!(totals.unwrap()[0].rows_out, events);
}

fn count(
    session: &Session,
    cluster: &Cluster,
    topic: &str,
    out: &str,
    parallelism: u32,
) -> thalweg_engine::metrics::Totals {
    let from = kafka(
        cluster,
        topic,
        ", 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'properties.fetch.wait.max.ms' = '10'",
    );
    let to = kafka(cluster, out, "");
    let totals = session.run(&format!(
        "SET 'parallelism' = '{parallelism}';
         CREATE TABLE events ({COLUMNS},
            dateTime AS CASE event_type WHEN 0 THEN person.dateTime WHEN 1 THEN auction.dateTime ELSE bid.dateTime END,
            WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND) WITH ({from});
         CREATE TABLE counts (window_end TIMESTAMP(3), auction BIGINT, num BIGINT) WITH ({to});
         CREATE VIEW bids AS SELECT bid.auction AS auction, dateTime FROM events WHERE event_type = 2;
         INSERT INTO counts SELECT window_end, auction, COUNT(*)
         FROM TABLE(HOP(TABLE bids, DESCRIPTOR(dateTime), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
         GROUP BY window_start, window_end, auction;"
    ));
    totals.unwrap()[0]
}

fn read(cluster: &Cluster, topic: &str, rows: usize) -> Counts {
    let mut counts = Counts::new();
    for record in cluster.consume(topic, 2, rows) {
        let row: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let key = (row["window_end"].as_str().unwrap().to_owned(), row["auction"].as_i64().unwrap());
        let before = counts.insert(key, row["num"].as_i64().unwrap());
        assert!(before.is_none(), "a window fired twice: {row}");
    }
    counts
}

#[test]
fn kafka_hop_windows_equal_a_naive_count_at_parallelism_1_2_3() {
    let cluster = Cluster::start();
    let session = Session::new().unwrap();
    let events = events(&cluster);
    let want = naive(events);
    let topic = cluster.topic("nexmark", PARTITIONS);
    fill(&session, &cluster, &topic, events);
    for parallelism in [1, 2, 3] {
        let out = cluster.topic("counts", 2);
        let totals = count(&session, &cluster, &topic, &out, parallelism);
        assert_eq!((totals.rows_in, totals.late_rows, totals.bad_records), (events, 0, 0), "at {parallelism}");
        assert_eq!(totals.rows_out as usize, want.len(), "at {parallelism}");
        assert!(read(&cluster, &out, want.len()) == want, "at {parallelism}");
    }
}

/// Needs the listener with a password of `.ci/kafka-broker`, which `THALWEG_TEST_KAFKA_SASL` names.
#[test]
fn kafka_with_a_password() {
    let Some(listener) = std::env::var("THALWEG_TEST_KAFKA_SASL").ok().filter(|a| !a.is_empty()) else {
        eprintln!("skipped: THALWEG_TEST_KAFKA_SASL names no broker");
        return;
    };
    let cluster = Cluster::start();
    let topic = cluster.topic("password", 2);
    let with = |security: &str| {
        format!(
            "'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{listener}', 'format' = 'json',
             'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset' {security}"
        )
    };
    let login = |password: &str| {
        with(&format!(
            ", 'properties.security.protocol' = 'SASL_PLAINTEXT', 'properties.sasl.mechanism' = 'PLAIN',
             'properties.sasl.username' = 'tester', 'properties.sasl.password' = '{password}'"
        ))
    };
    let copy = |with: &str| {
        Session::new().unwrap().run(&format!(
            "CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '100', 'rows-per-second' = '0',
                'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '100');
             CREATE TABLE topic (n BIGINT) WITH ({with});
             CREATE TABLE forget (n BIGINT) WITH ('connector' = 'blackhole');
             INSERT INTO topic SELECT n FROM numbers;
             INSERT INTO forget SELECT n FROM topic;"
        ))
    };
    let totals = copy(&login("tester-secret")).unwrap();
    assert_eq!((totals[0].rows_out, totals[1].rows_in), (100, 100));
    let wrong = copy(&login("letmein")).err().unwrap().to_string();
    assert!(wrong.contains(&topic) && wrong.contains("uthentication failed"), "{wrong}");
    assert!(wrong.contains("check `properties.security.protocol`, `properties.sasl.*`"), "{wrong}");
    assert!(!wrong.contains("letmein"), "{wrong}");
    let none = copy(&with("")).err().unwrap().to_string();
    assert!(none.contains(&listener) && none.contains("check `properties.security.protocol`"), "{none}");
}

#[test]
fn headers_are_declared_as_what_they_may_hold() {
    let error = |column: &str| {
        let sql = format!(
            "CREATE TABLE t (n BIGINT, {column}) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json',
                'properties.bootstrap.servers' = '127.0.0.1:1', 'scan.startup.mode' = 'earliest-offset');
             SELECT n FROM t;"
        );
        Session::new().unwrap().compile(&sql, &BTreeMap::new()).err().unwrap().to_string()
    };
    let not_null = error("h MAP<STRING, BYTES NOT NULL> METADATA FROM 'headers'");
    assert!(not_null.contains("write MAP<STRING, BYTES>, without NOT NULL"), "{not_null}");
    let other = error("h MAP<STRING, INT> METADATA FROM 'headers'");
    assert!(other.contains("but `headers` of connector `kafka` is MAP<STRING, BYTES>"), "{other}");
    assert!(other.contains("declare it MAP<STRING, BYTES> and cast it in a computed column"), "{other}");
}

/// From one topic to another through tables whose columns are made of the records' headers.
#[test]
fn kafka_headers_pass_through_sql() {
    let cluster = Cluster::start();
    let (from, to) = (cluster.topic("headers", 1), cluster.topic("copied", 1));
    let headers = vec![("trace".to_owned(), Some(b"abc".to_vec())), ("empty".to_owned(), None)];
    let record = |n: i64, headers| TestRecord { headers, ..TestRecord::value(0, format!("{{\"n\":{n}}}")) };
    cluster.produce(&from, &[record(1, headers.clone()), record(2, vec![])]);
    let bounded = ", 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'";
    let columns = "n BIGINT, h MAP<STRING, BYTES> METADATA FROM 'headers'";
    let (source, sink) = (kafka(&cluster, &from, bounded), kafka(&cluster, &to, ""));
    let totals = Session::new().unwrap().run(&format!(
        "CREATE TABLE source ({columns}) WITH ({source});
         CREATE TABLE copy ({columns}) WITH ({sink});
         INSERT INTO copy SELECT n, h FROM source;"
    ));
    assert_eq!(totals.unwrap()[0].rows_out, 2);
    let mut copied = cluster.consume(&to, 1, 2);
    copied.sort_by_key(|r| r.value.clone());
    assert_eq!(copied[0].headers, headers);
    assert_eq!(copied[1].headers, []);
}
