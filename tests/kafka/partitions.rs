//! Partitions over the life of a job: those that are quiet for several restarts, and those that are made while it runs or is down.

use crate::{crash, kafka};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use thalweg_connectors::kafka::testing::{Cluster, TestRecord};
use thalweg_engine::clock::Clock;

/// A job without end that copies numbers of a topic into files.
struct Copy {
    dir: tempfile::TempDir,
}

impl Copy {
    fn new(cluster: &Cluster, topic: &str, start: &str) -> Copy {
        let dir = tempfile::tempdir().unwrap();
        let options = format!(
            ", 'scan.startup.mode' = '{start}', 'scan.topic-partition-discovery.interval' = '100 ms',
             'properties.fetch.wait.max.ms' = '10'"
        );
        let sql = format!(
            "CREATE TABLE numbers (n BIGINT) WITH ({});
             CREATE TABLE files (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv');
             INSERT INTO files SELECT n FROM numbers;",
            kafka(cluster, topic, &options),
            dir.path().join("files").display()
        );
        std::fs::write(dir.path().join("job.sql"), sql).unwrap();
        Copy { dir }
    }

    fn checkpoints(&self) -> PathBuf {
        self.dir.path().join("checkpoints")
    }

    fn start(&self, parallelism: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.arg("run").arg(self.dir.path().join("job.sql")).args(["--from", "auto", "--parallelism", parallelism]);
        command.arg("--set").arg(format!("checkpoint.dir={}", self.checkpoints().display()));
        command.args(["--set", "checkpoint.interval=20ms"]).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        crash::await_checkpoint(&self.checkpoints(), crash::generation(&self.checkpoints()) + 1);
        child
    }

    /// How often each number is in visible files.
    fn numbers(&self) -> BTreeMap<i64, u32> {
        let mut numbers = BTreeMap::new();
        for entry in std::fs::read_dir(self.dir.path().join("files")).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            for line in std::fs::read_to_string(entry.path()).unwrap_or_default().lines() {
                *numbers.entry(line.parse().unwrap()).or_default() += 1;
            }
        }
        numbers
    }

    /// Waits until all of `0..count` are there, once.
    fn await_all(&self, count: i64) {
        let (clock, want) = (Clock::system(), (0..count).map(|n| (n, 1)).collect::<BTreeMap<_, _>>());
        while self.numbers() != want {
            assert!(clock.now().as_secs() < 60, "{:?} instead of 0..{count}", self.numbers());
            crash::wait(20);
        }
    }
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Five numbers from `first` on, into one partition.
fn produce(cluster: &Cluster, topic: &str, partition: i32, first: i64) {
    let record = |n: i64| TestRecord::value(partition, format!("{{\"n\":{n}}}"));
    cluster.produce(topic, &(first..first + 5).map(record).collect::<Vec<_>>());
}

#[test]
fn a_partition_that_was_quiet_over_two_restarts_is_neither_read_again_nor_lost() {
    let cluster = Cluster::start();
    let topic = cluster.topic("quiet", 3);
    (0..3).for_each(|partition| produce(&cluster, &topic, partition, i64::from(partition) * 5));
    let job = Copy::new(&cluster, &topic, "earliest-offset");
    let first = job.start("2");
    job.await_all(15);
    // The checkpoint that says so.
    crash::wait(100);
    end(first);
    let second = job.start("3");
    produce(&cluster, &topic, 0, 15);
    job.await_all(20);
    crash::wait(100);
    end(second);
    let third = job.start("1");
    produce(&cluster, &topic, 1, 20);
    produce(&cluster, &topic, 0, 25);
    job.await_all(30);
    crash::wait(200);
    job.await_all(30);
    end(third);
}

#[test]
fn partitions_that_are_made_later_are_read_from_their_beginning() {
    let cluster = Cluster::start();
    if !cluster.is_real() {
        return;
    }
    let topic = cluster.topic("growing", 1);
    produce(&cluster, &topic, 0, 1000);
    let job = Copy::new(&cluster, &topic, "latest-offset");
    let first = job.start("3");
    produce(&cluster, &topic, 0, 0);
    job.await_all(5);
    cluster.grow(&topic, 3);
    produce(&cluster, &topic, 2, 5);
    produce(&cluster, &topic, 1, 10);
    job.await_all(15);
    crash::wait(100);
    end(first);
    cluster.grow(&topic, 4);
    produce(&cluster, &topic, 3, 15);
    produce(&cluster, &topic, 2, 20);
    let second = job.start("2");
    job.await_all(25);
    crash::wait(100);
    end(second);
    let third = job.start("1");
    produce(&cluster, &topic, 3, 25);
    job.await_all(30);
    end(third);
}
