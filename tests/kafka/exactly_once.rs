//! Kafka to windows to Kafka and files, killed again and again and resumed at other parallelisms: readers of committed records
//! see what an undisturbed run writes. On a real broker only: the mock keeps no transactions from readers.

use crate::{COLUMNS, PARTITIONS, crash, events, fill, kafka, naive, read};
use std::path::Path;
use std::process::{Command, Stdio};
use thalweg::Session;
use thalweg_connectors::kafka::testing::Cluster;
use thalweg_engine::rng::Rng;

/// One job: events of a topic, counted by windows, into a topic and into files.
struct Job {
    dir: tempfile::TempDir,
}

impl Job {
    fn new(cluster: &Cluster, topic: &str, out: &str) -> Job {
        let dir = tempfile::tempdir().unwrap();
        let from = ", 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
            'properties.fetch.wait.max.ms' = '10'";
        let (from, to) = (kafka(cluster, topic, from), kafka(cluster, out, ""));
        let files = dir.path().join("files").display().to_string();
        let sql = format!(
            "SET 'batch.rows' = '256';
             CREATE TABLE events ({COLUMNS},
                dateTime AS CASE event_type WHEN 0 THEN person.dateTime WHEN 1 THEN auction.dateTime ELSE bid.dateTime END,
                WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND) WITH ({from});
             CREATE TABLE counts (window_end TIMESTAMP(3), auction BIGINT, num BIGINT) WITH ({to});
             CREATE TABLE files (window_end TIMESTAMP(3), auction BIGINT, num BIGINT)
             WITH ('connector' = 'filesystem', 'path' = '{files}', 'format' = 'json');
             CREATE VIEW bids AS SELECT bid.auction AS auction, dateTime FROM events WHERE event_type = 2;
             CREATE VIEW counted AS SELECT window_end, auction, COUNT(*) AS num
             FROM TABLE(HOP(TABLE bids, DESCRIPTOR(dateTime), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
             GROUP BY window_start, window_end, auction;
             EXECUTE STATEMENT SET BEGIN
               INSERT INTO counts SELECT window_end, auction, num FROM counted;
               INSERT INTO files SELECT window_end, auction, num FROM counted;
             END;"
        );
        std::fs::write(dir.path().join("job.sql"), sql).unwrap();
        Job { dir }
    }

    fn checkpoints(&self) -> std::path::PathBuf {
        self.dir.path().join("checkpoints")
    }

    fn command(&self, parallelism: u64) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.arg("run").arg(self.dir.path().join("job.sql")).args(["--from", "auto", "--parallelism"]);
        command
            .arg(parallelism.to_string())
            .arg("--set")
            .arg(format!("checkpoint.dir={}", self.checkpoints().display()));
        command.args(["--set", "checkpoint.interval=20ms", "--set", "restart.delay=10ms"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn finish(&self, parallelism: u64) {
        let out = self.command(parallelism).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

/// Rows in all visible files; none may be hidden.
fn lines(folder: &Path) -> usize {
    let mut lines = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        assert!(!entry.file_name().to_string_lossy().starts_with('.'), "an orphan: {entry:?}");
        lines += std::fs::read_to_string(entry.path()).unwrap().lines().count();
    }
    lines
}

fn kills() -> u32 {
    std::env::var("THALWEG_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(25)
}

#[test]
fn killed_and_rescaled_at_random_kafka_and_files_show_every_row_once() {
    let cluster = Cluster::start();
    if !cluster.is_real() {
        return;
    }
    let events = events(&cluster).max(300_000);
    let want = naive(events);
    let (topic, out) = (cluster.topic("source", PARTITIONS), cluster.topic("counted", 2));
    fill(&Session::new().unwrap(), &cluster, &topic, events);
    let job = Job::new(&cluster, &topic, &out);
    let (mut rng, mut alive) = (Rng::new(11), 0);
    for kill in 0..kills() {
        let mut child = job.command([1, 2, 3, 5][rng.below(4) as usize]).spawn().unwrap();
        // Some die before they have come to anything.
        if kill % 5 != 4 {
            crash::await_checkpoint(&job.checkpoints(), crash::generation(&job.checkpoints()) + 1);
        }
        crash::wait(rng.below(120));
        child.kill().unwrap();
        let out = child.wait_with_output().unwrap();
        assert_ne!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
        alive += u32::from(out.status.code().is_none());
    }
    assert!(alive * 2 > kills(), "only {alive} kills met a job at work");
    job.finish(3);
    assert!(read(&cluster, &out, want.len()) == want);
    assert_eq!(lines(&job.dir.path().join("files")), want.len());
    cluster.await_no_transaction(&out, 2);
}

#[test]
fn kafka_transactions_survive_a_crash_or_an_error_at_any_step() {
    let cluster = Cluster::start();
    if !cluster.is_real() {
        return;
    }
    let events = 20_000;
    let want = naive(events);
    let topic = cluster.topic("source", PARTITIONS);
    fill(&Session::new().unwrap(), &cluster, &topic, events);
    for step in ["kafka.commit", "record.create", "prepared.put", "marker.put"] {
        for action in ["abort-before", "abort-after", "error"] {
            let out = cluster.topic("counted", 2);
            let job = Job::new(&cluster, &topic, &out);
            let ended = job.command(2).env("THALWEG_TEST_FAIL", format!("{step}={action}@2")).output().unwrap();
            let code = if action == "error" { Some(0) } else { None };
            assert_eq!(ended.status.code(), code, "{step} {action}: {}", String::from_utf8_lossy(&ended.stderr));
            job.finish(3);
            assert!(read(&cluster, &out, want.len()) == want, "{step} {action}");
            assert_eq!(lines(&job.dir.path().join("files")), want.len(), "{step} {action}");
            cluster.await_no_transaction(&out, 2);
        }
    }
}
