//! State larger than its memory: the same answer, also after `kill -9` and at another parallelism, with memory near the budget; and
//! a disk that cannot be used.

use crate::binary::{Ended, SqlFile, thalweg};
use crate::crash;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::Command;
use thalweg_engine::rng::Rng;

const MIB: u64 = 1 << 20;

/// Rows with uniform keys, and the memory for their state. Keys are long, so that few rows make much state.
#[derive(Clone, Copy)]
struct Size {
    rows: u64,
    keys: u64,
    key_bytes: usize,
    budget: u64,
}

impl Size {
    fn small(rows: u64, keys: u64) -> Size {
        Size { rows, keys, key_bytes: 180, budget: 16 * MIB }
    }
}

/// Sums and counts per key over one day, of JSON rows, into files.
struct Job {
    sql: SqlFile,
    size: Size,
    want: BTreeMap<u64, (u64, u64)>,
}

impl Job {
    fn new(size: Size) -> Job {
        let Size { rows, keys, key_bytes, .. } = size;
        let prefix = "0".repeat(key_bytes - 12);
        let sql = SqlFile::new("");
        let (mut rng, mut want) = (Rng::new(8), BTreeMap::<u64, (u64, u64)>::new());
        std::fs::create_dir(sql.file("in")).unwrap();
        for part in 0..4 {
            let mut text = BufWriter::new(File::create(sql.file("in").join(format!("{part}.json"))).unwrap());
            for i in 0..rows / 4 {
                let (k, v) = (rng.below(keys), rng.below(1000));
                let minute = i * 1439 / (rows / 4);
                let at = format!("2026-03-01 {:02}:{:02}:00", minute / 60, minute % 60);
                writeln!(text, r#"{{"k":"{prefix}{k:012}","v":{v},"at":"{at}"}}"#).unwrap();
                let of = want.entry(k).or_default();
                *of = (of.0 + 1, of.1 + v);
            }
            text.flush().unwrap();
        }
        let (input, out) = (sql.file("in").display().to_string(), sql.file("out").display().to_string());
        let text = format!(
            "CREATE TABLE events (k STRING, v BIGINT, at TIMESTAMP(3), WATERMARK FOR at AS at - INTERVAL '1' MINUTE)
             WITH ('connector' = 'filesystem', 'path' = '{input}', 'format' = 'json');
             CREATE TABLE sums (k STRING, n BIGINT, s BIGINT)
             WITH ('connector' = 'filesystem', 'path' = '{out}', 'format' = 'csv');
             INSERT INTO sums SELECT RIGHT(k, 12), COUNT(*), SUM(v) FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(at), INTERVAL '1' DAY))
             GROUP BY window_start, window_end, k;"
        );
        std::fs::write(sql.path(), text).unwrap();
        Job { sql, size, want }
    }

    fn command(&self, parallelism: u64, more: &[&str]) -> Command {
        let (path, parallelism) = (self.sql.path(), parallelism.to_string());
        let spill = format!("state.spill-dir={}", self.sql.file("spill").display());
        let memory = format!("state.memory={} MiB", self.size.budget / MIB);
        let always = ["run", &path, "--json", "--parallelism", &parallelism, "--set", &memory, "--set", &spill];
        thalweg(&always.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    }

    fn assert_answer(&self) {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(self.sql.file("out")).unwrap() {
            for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
                let cells: Vec<u64> = line.split(',').map(|c| c.parse().unwrap()).collect();
                assert_eq!(found.insert(cells[0], (cells[1], cells[2])), None, "a key came twice");
            }
        }
        assert!(found == self.want, "{} keys of {}", found.len(), self.want.len());
    }
}

#[test]
fn state_of_several_times_its_memory_gives_the_same_answer() {
    let job = Job::new(Size::small(400_000, 300_000));
    for parallelism in [2, 1] {
        let out = Ended::new(job.command(parallelism, &[]).output().unwrap());
        assert_eq!(out.status, 0, "{}", out.stderr);
        let summary = &out.messages("summary")[0];
        let spilled = summary["spilled_bytes"].as_u64().unwrap();
        assert!(spilled > 4 * job.size.budget, "{summary}");
        job.assert_answer();
        assert_eq!(std::fs::read_dir(job.sql.file("spill")).unwrap().count(), 0, "nothing is left on disk");
        std::fs::remove_dir_all(job.sql.file("out")).unwrap();
    }
}

#[test]
fn state_on_disk_survives_kills_and_comes_back_at_another_parallelism() {
    let job = Job::new(Size::small(300_000, 250_000));
    let checkpoints = job.sql.file("checkpoints");
    let dir = format!("checkpoint.dir={}", checkpoints.display());
    let durable = ["--from", "auto", "--set", &dir, "--set", "checkpoint.interval=300ms"];
    for parallelism in [2, 3, 1, 2] {
        let mut child = job.command(parallelism, &durable).spawn().unwrap();
        crash::await_checkpoint(&checkpoints, crash::generation(&checkpoints) + 1);
        crash::wait(200);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(std::fs::read_dir(job.sql.file("spill")).map_or(0, Iterator::count), 0, "files have no names");
    }
    let out = Ended::new(job.command(3, &durable).output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.messages("summary")[0]["spilled_bytes"].as_u64().unwrap() > job.size.budget, "{}", out.stderr);
    job.assert_answer();
}

#[test]
fn a_folder_that_cannot_be_used_is_told_with_the_remedy() {
    let job = Job::new(Size::small(120_000, 120_000));
    std::fs::write(job.sql.file("spill"), "a file").unwrap();
    let out = Ended::new(job.command(2, &[]).output().unwrap());
    assert_eq!(out.status, 2, "{}", out.stderr);
    assert!(out.stderr.contains("choose another state.spill-dir"), "{}", out.stderr);
}

#[test]
fn a_crash_or_error_while_state_goes_to_disk_changes_nothing() {
    let job = Job::new(Size::small(160_000, 140_000));
    for (step, at) in [("spill.create", 3), ("spill.write", 9)] {
        for action in ["abort-before", "abort-after", "error"] {
            let dir = format!("checkpoint.dir={}", job.sql.file(&format!("{step}-{action}")).display());
            let durable = ["--from", "auto", "--set", &dir, "--set", "checkpoint.interval=100ms"];
            let mut first = job.command(2, &durable);
            let fail = format!("{step}={action}@{at}");
            let out = first.args(["--set", "restart.delay=1ms"]).env("THALWEG_TEST_FAIL", fail).output().unwrap();
            assert_eq!(out.status.code(), if action == "error" { Some(0) } else { None }, "{step} {action}");
            let out = Ended::new(job.command(3, &durable).output().unwrap());
            assert_eq!(out.status, 0, "{}", out.stderr);
            job.assert_answer();
            std::fs::remove_dir_all(job.sql.file("out")).unwrap();
        }
    }
}

/// State of eight times a budget of 256 MiB, killed when most of it is in a checkpoint and resumed at another parallelism. It takes
/// some minutes, in a step of its own of `.ci/run`: only with `THALWEG_TEST_LARGE=1`.
#[test]
fn memory_stays_near_the_budget_also_in_a_restore() {
    if std::env::var_os("THALWEG_TEST_LARGE").is_none() {
        return;
    }
    let job = Job::new(Size { rows: 3_200_000, keys: 3_200_000, key_bytes: 1000, budget: 256 * MIB });
    let limit = job.size.budget * 13 / 10 + 256 * MIB;
    let dir = format!("checkpoint.dir={}", job.sql.file("checkpoints").display());
    let durable = ["--set", &dir, "--set", "checkpoint.interval=5s", "--from", "auto"];
    let progress = job.sql.file("progress");
    let mut child = job.command(2, &durable).stderr(File::create(&progress).unwrap()).spawn().unwrap();
    // The checkpoint after the one that was the newest when three quarters of the rows were in.
    let await_progress = |is_enough: &dyn Fn(&Value) -> bool| {
        loop {
            let text = std::fs::read_to_string(&progress).unwrap();
            let newest = text.lines().rev().find_map(|l| serde_json::from_str::<Value>(l).ok());
            let Some(newest) = newest.filter(|m| m["type"] == "progress" || m["type"] == "summary") else { continue };
            assert_eq!(newest["type"], "progress", "it ended before it could be killed");
            if is_enough(&newest) {
                return newest;
            }
            crash::wait(100);
        }
    };
    let then = await_progress(&|p| p["rows_in"].as_u64() >= Some(job.size.rows * 3 / 4));
    let killed = await_progress(&|p| p["checkpoint"]["id"] != then["checkpoint"]["id"]);
    let first_peak = peak_memory_bytes(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    let spilled = killed["spilled_bytes"].as_u64().unwrap();
    assert!(spilled >= 5 * job.size.budget, "{killed}");
    assert!(first_peak <= limit, "{} MiB of {}: {killed}", first_peak / MIB, limit / MIB);

    let out = Ended::new(job.command(3, &durable).output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    job.assert_answer();
    let summary = &out.messages("summary")[0];
    assert!(summary["rows_in"].as_u64() < Some(job.size.rows / 2), "{summary}");
    let peak = summary["peak_memory_bytes"].as_u64().unwrap();
    eprintln!("peak memory {} and {} MiB of {}: {summary}", first_peak / MIB, peak / MIB, limit / MIB);
    assert!(peak <= limit, "{} MiB of {}: {summary}", peak / MIB, limit / MIB);
}

/// The most memory that a process has had so far.
fn peak_memory_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
