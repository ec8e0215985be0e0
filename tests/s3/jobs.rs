//! Jobs whose checkpoints are in a bucket: killed at any moment, resumed at any parallelism, over damage, copies and a server that
//! goes away.

use crate::binary::{Ended, SqlFile, bids_per_auction, lines_of, thalweg};
use crate::crash;
use crate::proxy::{Mode, Proxy};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::Command;
use thalweg_engine::checkpoint::objects::Objects;
use thalweg_engine::clock::Clock;
use thalweg_engine::rng::Rng;
use thalweg_engine::s3::S3Options;
use thalweg_engine::s3::testing::{folder, server};

/// A command that reaches the bucket; no secret is in its arguments.
pub fn environment<'a>(command: &'a mut Command, options: &S3Options) -> &'a mut Command {
    for (name, value) in [
        ("THALWEG_S3_ENDPOINT", &options.endpoint),
        ("THALWEG_S3_ACCESS_KEY", &options.access_key),
        ("THALWEG_S3_SECRET_KEY", &options.secret_key),
    ] {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.env("THALWEG_S3_ALLOW_HTTP", options.allow_http.to_string())
}

/// The newest generation that has completed and committed a checkpoint in a folder; 0: none.
pub fn generation(url: &str, options: &S3Options) -> u64 {
    let generation = |name: &str| name.strip_prefix("markers/")?.split_once('-')?.0.parse().ok();
    let listed = Objects::at(url, options).unwrap().list("markers").unwrap();
    listed.iter().filter_map(|l| generation(&l.name)).max().unwrap_or(0)
}

/// Waits until this generation or a later one has committed a checkpoint, for sixty seconds at most.
pub fn await_checkpoint(url: &str, options: &S3Options, wanted: u64) {
    let clock = Clock::system();
    while generation(url, options) < wanted {
        assert!(clock.now().as_secs() < 60, "no checkpoint of generation {wanted}");
        crash::wait(10);
    }
}

/// Bids per auction in windows, into files; checkpoints in a bucket.
struct Job {
    sql: SqlFile,
    url: String,
    options: S3Options,
}

impl Job {
    fn new(options: &S3Options, events: u64, rate: u64) -> Job {
        let sql = SqlFile::new("");
        let out = sql.file("out").display().to_string();
        let text = bids_per_auction(&out, events, rate);
        std::fs::write(sql.path(), text).unwrap();
        Job { sql, url: folder(), options: options.clone() }
    }

    fn command(&self, parallelism: u64, more: &[&str]) -> Command {
        let (path, dir, parallelism) =
            (self.sql.path(), format!("checkpoint.dir={}", self.url), parallelism.to_string());
        let always = ["run", &path, "--parallelism", &parallelism, "--set", &dir, "--set", "checkpoint.interval=50ms"];
        let mut command = thalweg(&always.into_iter().chain(more.iter().copied()).collect::<Vec<_>>());
        environment(&mut command, &self.options);
        command
    }

    fn run(&self, parallelism: u64, more: &[&str]) -> Ended {
        Ended::new(self.command(parallelism, more).output().unwrap())
    }

    fn checkpoint(&self, more: &[&str]) -> Ended {
        let dir = format!("checkpoint.dir={}", self.url);
        let arguments: Vec<&str> = ["checkpoint"].iter().chain(more).copied().chain(["--set", &dir]).collect();
        Ended::new(environment(&mut thalweg(&arguments), &self.options).output().unwrap())
    }

    fn objects(&self) -> Objects {
        Objects::at(&self.url, &self.options).unwrap()
    }

    fn generation(&self) -> u64 {
        generation(&self.url, &self.options)
    }

    fn await_checkpoint(&self, wanted: u64) {
        await_checkpoint(&self.url, &self.options, wanted);
    }
}

/// What a run without checkpoints and any disturbance writes.
fn undisturbed(options: &S3Options, events: u64) -> BTreeMap<String, u64> {
    let job = Job::new(options, events, 1_000_000_000);
    let out = job.sql.run(&["--parallelism", "2"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let (lines, _) = lines_of(&job.sql.file("out"));
    assert!(lines.len() > 1000, "{} lines", lines.len());
    lines
}

#[test]
fn killed_at_any_moment_and_resumed_at_any_parallelism_every_row_is_there_once() {
    const EVENTS: u64 = 150_000;
    const KILLS: u64 = 10;
    let Some(options) = server() else { return };
    let job = Job::new(&options, EVENTS, 60_000);
    let mut rng = Rng::new(5);
    let (mut kills, mut from_checkpoint) = (0, 0);
    let out = loop {
        let parallelism = [1, 2, 3, 5][rng.below(4) as usize];
        let mut child = job.command(parallelism, &["--from", "auto"]).spawn().unwrap();
        if kills == KILLS {
            break Ended::new(child.wait_with_output().unwrap());
        }
        if !rng.percent(25) {
            job.await_checkpoint(job.generation() + 1);
        }
        crash::wait(rng.below(150));
        child.kill().unwrap();
        let shown = String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned();
        from_checkpoint += u32::from(shown.contains("goes on from checkpoint"));
        kills += 1;
    };
    assert_eq!(out.status, 0, "{}", out.stderr);
    let (lines, hidden) = lines_of(&job.sql.file("out"));
    assert_eq!(lines, undisturbed(&options, EVENTS), "after {kills} kills, {from_checkpoint} restores");
    assert_eq!(hidden, 0, "no orphans");
    assert!(from_checkpoint >= 4, "{from_checkpoint} restores");
    assert_eq!(job.checkpoint(&["verify"]).status, 0);
}

#[test]
fn verify_notices_every_damage_to_every_object() {
    let Some(options) = server() else { return };
    let job = Job::new(&options, 30_000, 60_000);
    assert_eq!(job.run(2, &[]).status, 0);
    let objects = job.objects();
    objects.put("snapshots/left-over", b"x").unwrap();
    let out = job.checkpoint(&["verify", "--json"]);
    assert_eq!(out.status, 0, "{} {}", out.stdout, out.stderr);
    let files = out.rows();
    assert!(files.iter().any(|f| f["kind"] == "orphan" && f["path"] == "snapshots/left-over"), "{}", out.stdout);
    let named: Vec<&str> =
        files.iter().filter(|f| f["kind"] != "orphan").map(|f| f["path"].as_str().unwrap()).collect();
    for kind in ["records/", "manifests/", "snapshots/", "markers/"] {
        assert!(named.iter().any(|path| path.starts_with(kind)), "{named:?}");
    }
    for path in named {
        let good = objects.get(path).unwrap().unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 16;
        for bad in [Some(flipped), Some(good[..good.len() - 1].to_vec()), Some(vec![]), None] {
            objects.delete(path).unwrap();
            if let Some(bytes) = &bad {
                objects.put(path, bytes).unwrap();
            }
            // A marker or record that is gone may have been swept, as far as anybody can tell.
            if bad.is_some() || path.starts_with("manifests") || path.starts_with("snapshots") {
                let out = job.checkpoint(&["verify", "--json"]);
                assert_eq!(out.status, 1, "{path}: {}", out.stdout);
                let found = out.rows().into_iter().find(|f| f["path"] == path).unwrap();
                assert!(found["problem"].is_string(), "{found}");
            }
        }
        objects.put(path, &good).unwrap();
    }
    assert_eq!(job.checkpoint(&["verify"]).status, 0);
}

#[test]
fn checkpoints_are_kept_in_both_directions_and_jobs_go_on_from_the_copies() {
    const EVENTS: u64 = 60_000;
    let Some(options) = server() else { return };
    let job = Job::new(&options, EVENTS, 60_000);
    let mut child = job.command(2, &[]).spawn().unwrap();
    job.await_checkpoint(1);
    crash::wait(200);
    child.kill().unwrap();
    child.wait().unwrap();
    let list = job.checkpoint(&["list", "--json"]).rows();
    let id = list.last().unwrap()["checkpoint"].as_str().unwrap().to_owned();
    let (on_disk, in_bucket) = (job.sql.file("kept").display().to_string(), folder());
    for to in [&on_disk, &in_bucket] {
        let out = job.checkpoint(&["keep", &id, "--to", to]);
        assert!(out.status == 0 && out.stdout.contains(&format!("kept {id} in {to}")), "{} {}", out.stdout, out.stderr);
        let again = job.checkpoint(&["keep", &id, "--to", to]);
        assert!(again.status == 2 && again.stderr.contains("is not empty"), "{}", again.stderr);
    }
    // And from the disk into a bucket.
    let (from, to) = (format!("checkpoint.dir={on_disk}"), folder());
    let mut command = thalweg(&["checkpoint", "keep", &id, "--to", &to, "--set", &from]);
    assert_eq!(Ended::new(environment(&mut command, &options).output().unwrap()).status, 0);

    let expected = undisturbed(&options, EVENTS);
    for from in [&to, &in_bucket] {
        let next = Job { sql: SqlFile::new(""), url: folder(), options: options.clone() };
        std::fs::copy(job.sql.path(), next.sql.path()).unwrap();
        let out = next.run(3, &["--from", from]);
        assert_eq!(out.status, 0, "{}", out.stderr);
        assert!(out.stderr.contains(&format!("goes on from checkpoint {id}")), "{}", out.stderr);
    }
    let (lines, _) = lines_of(&job.sql.file("out"));
    assert!(expected.keys().all(|line| lines.contains_key(line)));
}

#[test]
fn checkpoints_fail_while_the_server_is_away_and_the_job_goes_on() {
    const EVENTS: u64 = 300_000;
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let job = Job { options: proxy.options(&server), ..Job::new(&server, EVENTS, 20_000) };
    let mut child = job.command(2, &["--json", "--set", "checkpoint.tolerated-failures=1000"]).spawn().unwrap();
    let mut says = BufReader::new(child.stderr.take().unwrap());
    let seen = Job { options: server.clone(), url: job.url.clone(), sql: SqlFile::new("") };
    seen.await_checkpoint(1);
    proxy.set(Mode::Down);
    crash::wait(100);
    let before = seen.checkpoint(&["list", "--json"]).rows().len();
    // The server stays away until a checkpoint has failed.
    let mut said = String::new();
    while !said.contains("no answer from") {
        assert!(says.read_line(&mut said).unwrap() > 0, "ended without a word: {said}");
    }
    proxy.set(Mode::Pass);
    says.read_to_string(&mut said).unwrap();
    let out = Ended { stderr: said, ..Ended::new(child.wait_with_output().unwrap()) };
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(before > 0);
    assert!(out.messages("restart").is_empty(), "{}", out.stderr);
    let (lines, hidden) = lines_of(&job.sql.file("out"));
    assert_eq!((lines, hidden), (undisturbed(&server, EVENTS), 0));
    assert_eq!(job.checkpoint(&["verify"]).status, 0);
}

#[test]
fn old_checkpoints_are_swept_out_of_a_bucket() {
    let Some(options) = server() else { return };
    let job = Job::new(&options, 120_000, 60_000);
    assert_eq!(job.run(2, &["--set", "checkpoint.retained=1"]).status, 0);
    let left = job.checkpoint(&["list", "--json"]).rows().len();
    assert!(left <= 1 + 8, "{left}");
    let records = job.objects().list("records").unwrap().len();
    assert!(records <= left + 1, "{records}");
    assert_eq!(job.checkpoint(&["verify"]).status, 0);
}
