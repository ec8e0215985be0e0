//! A broker that dies while rows are published, and comes back: nothing is lost or written twice, and people are told. Each test
//! has a broker of its own.

use crate::broker::Broker;
use crate::exactly_once::{Job, assert_once, lines};
use crate::{crash, naive};
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr};

const EVENTS: u64 = 150_000;

/// A job at work for some seconds, and what it says.
fn spawn(job: &Job, parallelism: u64) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut child = job.command(parallelism).args(["--json", "--set", "progress.interval=100ms"]).spawn().unwrap();
    let says = BufReader::new(child.stderr.take().unwrap()).lines();
    (child, says)
}

/// Reads on until a notice of the kind has come.
fn await_notice(says: &mut Lines<BufReader<ChildStderr>>, kind: &str) -> String {
    let mut all = vec![];
    for line in says {
        let line = line.unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        if said["kind"] == kind {
            return said["message"].as_str().unwrap().to_owned();
        }
        all.push(line);
    }
    panic!("no notice `{kind}`: {}", all.join("\n"));
}

#[test]
fn a_broker_that_dies_while_rows_are_published_is_told_and_changes_nothing() {
    let Some(broker) = Broker::start() else { return };
    let want = naive(EVENTS);
    let out = broker.cluster.topic("counted", 2);
    let from = format!("'connector' = 'nexmark', 'events.num' = '{EVENTS}', 'rows-per-second' = '30000'");
    let job = Job::reading(&from, &broker.cluster, &out);

    // The broker dies and comes back under a job at work,
    let (mut child, mut says) = spawn(&job, 2);
    crash::await_checkpoint(&job.checkpoints(), crash::generation(&job.checkpoints()) + 1);
    crash::wait(300);
    broker.kill();
    let told = await_notice(&mut says, "unpublished");
    assert!(told.starts_with("output waits to be published: ") && told.ends_with("; trying again"), "{told}");
    broker.restart();
    let told = await_notice(&mut says, "recovered");
    assert!(told.starts_with("output is published again, after "), "{told}");
    // and both die together.
    broker.kill();
    await_notice(&mut says, "unpublished");
    child.kill().unwrap();
    child.wait().unwrap();
    broker.restart();
    job.finish(3);
    assert_once(&broker.cluster, &out, &want, "after two deaths of the broker");
    assert_eq!(lines(&job.dir.path().join("files")), want.len());
}
