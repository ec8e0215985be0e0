//! Ctrl-C: once stops, twice cancels, also when nobody reads the rows; and what is said of a broker that is away.

use crate::binary::{ENDLESS, Ended, SqlFile};
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use thalweg_connectors::kafka::testing::Cluster;

fn interrupt(child: &Child) {
    // SAFETY: the child has not been waited for, so the number is still its own.
    let sent = unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    assert_eq!(sent, 0);
}

/// Reads standard error up to the line that holds `text`; returns that line.
fn await_line(stderr: &mut impl BufRead, text: &str) -> String {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "standard error ended without `{text}`");
    }
    line
}

fn await_rows(child: &mut Child) {
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 8]).unwrap();
}

#[test]
fn once_stops_in_order() {
    let sql = SqlFile::new(&format!("{ENDLESS}SELECT event_type FROM events;"));
    let mut child = sql.start(&[]);
    await_rows(&mut child);
    interrupt(&child);
    let out = Ended::new(child.wait_with_output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.stderr.contains("stopped after"), "{}", out.stderr);
}

#[test]
fn twice_cancels_although_nobody_reads_the_rows() {
    let sql = SqlFile::new(
        "CREATE TABLE events (event_type INT, bid ROW<url STRING>) WITH ('connector' = 'nexmark');
         SELECT bid.url FROM events;",
    );
    let mut child = sql.start(&["--json"]);
    await_rows(&mut child);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    interrupt(&child);
    await_line(&mut stderr, "stopping");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("panicked"), "{rest}");
}

#[test]
fn a_stop_skips_the_jobs_that_follow() {
    let sql = SqlFile::new(
        "CREATE TABLE few (event_type INT)
         WITH ('connector' = 'nexmark', 'events.num' = '10000', 'rows-per-second' = '100');
         SELECT event_type FROM few;
         SELECT event_type AS second FROM few;",
    );
    let mut child = sql.start(&[]);
    await_rows(&mut child);
    interrupt(&child);
    let out = Ended::new(child.wait_with_output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(!out.stdout.contains("second"), "{}", out.stdout);
}

#[test]
fn outages_of_a_broker_are_told_and_what_a_stop_waits_for() {
    let cluster = Cluster::mock();
    let topic = cluster.topic("outage", 1);
    let brokers = cluster.bootstrap();
    let sql = SqlFile::new(&format!(
        "SET 'progress.interval' = 'off';
         CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '100');
         CREATE TABLE topic (n BIGINT) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'format' = 'json',
            'properties.bootstrap.servers' = '{brokers}');
         INSERT INTO topic SELECT n FROM numbers;"
    ));
    let mut child = sql.start(&["--json"]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let said = |line: &str, kind: &str| {
        let said: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((said["type"].as_str(), said["kind"].as_str()), (Some("notice"), Some(kind)), "{line}");
        said["message"].as_str().unwrap().to_owned()
    };
    assert!(!cluster.consume(&topic, 1, 1).is_empty());
    cluster.set_broker_up(false);
    let trouble = said(&await_line(&mut stderr, "notice"), "trouble");
    assert!(trouble.contains("write topic: cannot reach Kafka: ") && trouble.contains("; trying again"), "{trouble}");
    cluster.set_broker_up(true);
    let over = said(&await_line(&mut stderr, "notice"), "recovered");
    assert!(over.contains("write topic: works again, after "), "{over}");
    cluster.set_broker_up(false);
    said(&await_line(&mut stderr, "notice"), "trouble");
    interrupt(&child);
    let stopping = said(&await_line(&mut stderr, "notice"), "stopping");
    assert!(stopping.contains(" not acknowledged by `") && stopping.contains("Ctrl-C again cancels"), "{stopping}");
    assert!(stopping.contains(brokers), "{stopping}");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
