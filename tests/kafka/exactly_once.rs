//! Kafka to windows to Kafka and files, killed again and again and resumed at other parallelisms: readers of committed records
//! see what an undisturbed run writes. On a real broker only: the mock keeps no transactions from readers.

use crate::broker::Broker;
use crate::{COLUMNS, Counts, PARTITIONS, crash, events, fill, kafka, naive};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use thalweg::Session;
use thalweg_connectors::kafka::testing::Cluster;
use thalweg_engine::rng::Rng;

/// One job: events, counted by windows, into a topic and into files.
pub struct Job {
    pub dir: tempfile::TempDir,
}

impl Job {
    fn new(cluster: &Cluster, topic: &str, out: &str) -> Job {
        let from = ", 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
            'properties.fetch.wait.max.ms' = '10'";
        Job::reading(&kafka(cluster, topic, from), cluster, out)
    }

    /// With the events of a table that has these options.
    pub fn reading(from: &str, cluster: &Cluster, out: &str) -> Job {
        let dir = tempfile::tempdir().unwrap();
        let to = kafka(cluster, out, "");
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

    pub fn checkpoints(&self) -> PathBuf {
        self.dir.path().join("checkpoints")
    }

    pub fn command(&self, parallelism: u64) -> Command {
        self.command_from("auto", &self.checkpoints(), parallelism)
    }

    fn command_from(&self, from: &str, checkpoints: &Path, parallelism: u64) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.arg("run").arg(self.dir.path().join("job.sql")).args(["--from", from, "--parallelism"]);
        command.arg(parallelism.to_string()).arg("--set").arg(format!("checkpoint.dir={}", checkpoints.display()));
        command.args(["--set", "checkpoint.interval=20ms", "--set", "restart.delay=10ms"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    pub fn finish(&self, parallelism: u64) {
        let out = self.command(parallelism).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

/// Rows in all visible files; none may be hidden.
pub fn lines(folder: &Path) -> usize {
    let mut lines = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        assert!(!entry.file_name().to_string_lossy().starts_with('.'), "an orphan: {entry:?}");
        lines += std::fs::read_to_string(entry.path()).unwrap().lines().count();
    }
    lines
}

/// How often each row of a topic is there for readers of committed records.
fn times(cluster: &Cluster, topic: &str) -> BTreeMap<((String, i64), i64), u32> {
    cluster.await_no_transaction(topic, 2);
    let mut times = BTreeMap::new();
    for record in cluster.consume_all(topic, 2) {
        let row: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let key = (row["window_end"].as_str().unwrap().to_owned(), row["auction"].as_i64().unwrap());
        *times.entry((key, row["num"].as_i64().unwrap())).or_default() += 1;
    }
    times
}

/// The topic has these rows, each once, and no open transaction.
pub fn assert_once(cluster: &Cluster, topic: &str, want: &Counts, doing: &str) {
    let times = times(cluster, topic);
    let extra = times.values().filter(|t| **t > 1).count();
    let rows: Counts = times.into_keys().collect();
    assert!(rows == *want && extra == 0, "{doing}: {} rows of {}, {extra} of them again", rows.len(), want.len());
}

/// A new topic with events.
fn filled(cluster: &Cluster, events: u64) -> String {
    let topic = cluster.topic("source", PARTITIONS);
    fill(&Session::new().unwrap(), cluster, &topic, events);
    topic
}

fn kills() -> u32 {
    std::env::var("THALWEG_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(25)
}

#[test]
fn killed_and_rescaled_at_random_kafka_and_files_show_every_row_once() {
    let Some(broker) = Broker::start() else { return };
    let cluster = &broker.cluster;
    let events = events(cluster).max(u64::from(kills()) * 12_000);
    let (want, topic, out) = (naive(events), filled(cluster, events), cluster.topic("counted", 2));
    let job = Job::new(cluster, &topic, &out);
    let (mut rng, mut alive, mut deaths, mut begun) = (Rng::new(11), 0, 0, BTreeMap::<u64, u32>::new());
    for kill in 0..kills() {
        let parallelism = [1, 2, 3, 5][rng.below(4) as usize];
        *begun.entry(parallelism).or_default() += 1;
        let mut child = job.command(parallelism).spawn().unwrap();
        // Some die before they have come to anything.
        if kill % 5 != 4 {
            crash::await_checkpoint(&job.checkpoints(), crash::generation(&job.checkpoints()) + 1);
        }
        crash::wait(rng.below(120));
        if kill % 10 == 7 {
            broker.kill();
            broker.restart();
            deaths += 1;
        }
        child.kill().unwrap();
        let out = child.wait_with_output().unwrap();
        assert_ne!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
        alive += u32::from(out.status.code().is_none());
    }
    assert!(alive * 2 > kills(), "only {alive} kills met a job at work");
    let generation = crash::generation(&job.checkpoints());
    job.finish(3);
    assert_once(cluster, &out, &want, "after the last run");
    let files = lines(&job.dir.path().join("files"));
    assert_eq!(files, want.len());
    report(&format!(
        "{} times kill -9 of a job Kafka -> hop windows -> Kafka and files over {events} events, checkpoints every 20 ms\n\
         met at work: {alive}; the others died before their first checkpoint or had just ended\n\
         runs begun at parallelism: {begun:?}; the last one, to the end, at 3\n\
         broker killed by kill -9 and started again under a job at work: {deaths} times\n\
         last run with a committed checkpoint before the last one: {generation}\n\
         rows for readers of committed records: {} of {}, none twice, values as counted by a loop; open transactions: 0\n\
         rows in files: {files}; hidden files: 0\n",
        kills(),
        want.len(),
        want.len(),
    ));
}

/// Writes what a run has shown to the file that `THALWEG_TEST_REPORT` names.
fn report(text: &str) {
    if let Ok(path) = std::env::var("THALWEG_TEST_REPORT") {
        std::fs::write(path, text).unwrap();
    }
}

/// The durable steps of a job that writes to Kafka, and at which time they go wrong.
const STEPS: [(&str, u32); 8] = [
    ("kafka.markers", 1),
    ("kafka.open", 1),
    ("kafka.begin", 2),
    ("kafka.send", 2),
    ("kafka.commit", 2),
    ("prepared.put", 2),
    ("record.create", 2),
    ("marker.put", 2),
];

#[test]
fn kafka_transactions_survive_a_crash_or_an_error_at_any_step() {
    let cluster = Cluster::start();
    if !cluster.is_real() {
        return;
    }
    let (want, topic) = (naive(20_000), filled(&cluster, 20_000));
    for (step, at) in STEPS {
        for action in ["abort-before", "abort-after", "error"] {
            let out = cluster.topic("counted", 2);
            let job = Job::new(&cluster, &topic, &out);
            let ended = job.command(2).env("THALWEG_TEST_FAIL", format!("{step}={action}@{at}")).output().unwrap();
            let code = if action == "error" { Some(0) } else { None };
            assert_eq!(ended.status.code(), code, "{step} {action}: {}", String::from_utf8_lossy(&ended.stderr));
            job.finish(3);
            assert_once(&cluster, &out, &want, &format!("{step} {action}"));
            assert_eq!(lines(&job.dir.path().join("files")), want.len(), "{step} {action}");
        }
    }
}

/// A job that died with checkpoints behind it.
fn crashed(cluster: &Cluster, topic: &str, out: &str) -> Job {
    let job = Job::new(cluster, topic, out);
    let ended = job.command(2).env("THALWEG_TEST_FAIL", "record.create=abort-before@4").output().unwrap();
    assert_eq!(ended.status.code(), None, "{}", String::from_utf8_lossy(&ended.stderr));
    job
}

/// Each is a job of its own: what the savepoint had not published yet comes once, what came after it once from each.
#[test]
fn of_jobs_that_go_on_from_one_savepoint_none_takes_the_others_rows_for_its_own() {
    let cluster = Cluster::start();
    if !cluster.is_real() {
        return;
    }
    let (want, topic, out) = (naive(50_000), filled(&cluster, 50_000), cluster.topic("counted", 2));
    let job = crashed(&cluster, &topic, &out);
    let kept = job.dir.path().join("kept");
    let keep = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["checkpoint", "keep", "latest", "--to"])
        .arg(&kept)
        .arg("--set")
        .arg(format!("checkpoint.dir={}", job.checkpoints().display()))
        .output()
        .unwrap();
    assert!(keep.status.success(), "{}", String::from_utf8_lossy(&keep.stderr));
    let go_on = |name: &str, parallelism| {
        let mut command = job.command_from(kept.to_str().unwrap(), &job.dir.path().join(name), parallelism);
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
        times(&cluster, &out)
    };
    assert!(go_on("first", 2).into_iter().eq(want.iter().map(|(k, n)| ((k.clone(), *n), 1))), "the first");
    let second = go_on("second", 3);
    let again = second.values().filter(|t| **t == 2).count();
    assert!(again > 0 && second.len() == want.len() && second.values().all(|t| *t <= 2), "{again} rows again");
    let third = go_on("third", 1);
    assert!(second.iter().all(|(row, t)| third[row] == if *t == 2 { 3 } else { 1 }), "the third like the second");
}

#[test]
fn of_two_copies_of_one_folder_the_second_ends_with_the_reason() {
    let cluster = Cluster::start();
    if !cluster.is_real() {
        return;
    }
    let (want, topic, out) = (naive(20_000), filled(&cluster, 20_000), cluster.topic("counted", 2));
    let job = crashed(&cluster, &topic, &out);
    let copy = job.dir.path().join("copy");
    let copied = Command::new("cp").arg("-r").arg(job.checkpoints()).arg(&copy).status().unwrap();
    assert!(copied.success());
    job.finish(3);
    for _ in 0..3 {
        let ended = job.command_from("auto", &copy, 2).output().unwrap();
        let shown = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{shown}");
        assert!(shown.contains("another run has published rows to topic"), "{shown}");
        assert_once(&cluster, &out, &want, "after the copy");
    }
}
