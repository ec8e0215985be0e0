//! Tables in buckets: what is read is what is there, what is written is there once, whatever happens on the way.

use crate::binary::{Ended, SqlFile, bids_per_auction, thalweg};
use crate::crash;
use crate::jobs::{await_checkpoint, environment, generation};
use crate::proxy::{Mode, Proxy};
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::Command;
use thalweg_engine::rng::Rng;
use thalweg_engine::s3::testing::{folder, server};
use thalweg_engine::s3::{Bucket, S3Options, parse};

/// `thalweg run` of a text, with more arguments.
fn command(sql: &SqlFile, options: &S3Options, more: &[&str]) -> Command {
    let path = sql.path();
    let arguments: Vec<&str> = ["run", &path].into_iter().chain(more.iter().copied()).collect();
    let mut command = thalweg(&arguments);
    environment(&mut command, options);
    command
}

fn run(text: &str, options: &S3Options, more: &[&str]) -> Ended {
    Ended::new(command(&SqlFile::new(text), options, more).output().unwrap())
}

fn bucket(url: &str, options: &S3Options) -> (Bucket, String) {
    let (name, key) = parse(url).unwrap();
    (Bucket::open(&name, options).unwrap(), key)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn json_rows(from: u64, to: u64) -> String {
    (from..to).map(|n| format!("{{\"n\":{n},\"s\":\"row {n}\"}}\n")).collect()
}

/// The numbers that a query over a folder gives, sorted.
fn numbers(url: &str, options: &S3Options, format: &str, parallelism: &str) -> Vec<u64> {
    let text = format!(
        "CREATE TABLE t (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{url}', 'format' = '{format}'); SELECT n FROM t;"
    );
    let out = run(&text, options, &["--json", "--parallelism", parallelism]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let mut numbers: Vec<u64> = out.rows().iter().map(|r| r["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn files_of_every_kind_are_read_and_what_is_hidden_is_not() {
    let Some(options) = server() else { return };
    let url = folder();
    let (bucket, key) = bucket(&url, &options);
    let put = |name: &str, bytes: &[u8]| bucket.put(&format!("{key}/{name}"), bytes).unwrap();
    put("a.json", json_rows(0, 10).as_bytes());
    put("deep/er/b.json.gz", &gzip(&json_rows(10, 5_000)));
    put("c d+e=f.json", json_rows(5_000, 5_010).as_bytes());
    put("empty.json", b"");
    put("_SUCCESS", b"");
    put(".hidden.json", json_rows(0, 10).as_bytes());
    put("_temporary/x.json", json_rows(0, 10).as_bytes());
    assert_eq!(numbers(&url, &options, "json", "2"), (0..5_010).collect::<Vec<_>>());
    assert_eq!(numbers(&format!("{url}/"), &options, "json", "1"), (0..5_010).collect::<Vec<_>>());
    assert_eq!(numbers(&format!("{url}/a.json"), &options, "json", "1"), (0..10).collect::<Vec<_>>());
    assert_eq!(numbers(&format!("{url}/*.json"), &options, "json", "1").len(), 20);
    assert_eq!(numbers(&format!("{url}/deep/*"), &options, "json", "1"), (10..5_000).collect::<Vec<_>>());
    assert_eq!(numbers(&format!("{url}/d*"), &options, "json", "1"), (10..5_000).collect::<Vec<_>>());
}

#[test]
fn large_files_are_read_in_pieces_by_several_readers() {
    let Some(options) = server() else { return };
    let url = folder();
    let (bucket, key) = bucket(&url, &options);
    // More than one split, and many pieces.
    let pad = "x".repeat(400);
    let text: String = (0..180_000).map(|n| format!("{{\"n\":{n},\"s\":\"{pad}\"}}\n")).collect();
    assert!(text.len() > 72_000_000);
    bucket.put(&format!("{key}/large.json"), text.as_bytes()).unwrap();
    let sql = format!(
        "CREATE TABLE t (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{url}', 'format' = 'json');
         CREATE TABLE out (n BIGINT) WITH ('connector' = 'blackhole'); INSERT INTO out SELECT n FROM t;"
    );
    for parallelism in ["1", "3"] {
        let out = run(&sql, &options, &["--json", "--parallelism", parallelism]);
        assert_eq!(out.status, 0, "{}", out.stderr);
        let summary = &out.messages("summary")[0];
        assert_eq!(summary["rows_in"], 180_000, "{summary}");
    }
}

/// Numbers into partitions, at the disk or in a bucket.
fn writes(url: &str, format: &str, rows: u64, more: &str) -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '{rows}', 'rows-per-second' = '0',
            'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '{}');
         CREATE TABLE files (n BIGINT, s STRING, p INT) PARTITIONED BY (p)
         WITH ('connector' = 'filesystem', 'path' = '{url}', 'format' = '{format}' {more});
         INSERT INTO files SELECT n, CONCAT('row ', CAST(n AS STRING)), CAST(n % 3 AS INT) FROM numbers;",
        rows - 1
    )
}

#[test]
fn what_is_written_is_what_is_written_to_the_disk() {
    const ROWS: u64 = 20_000;
    let Some(options) = server() else { return };
    for (format, more) in [("json", ""), ("json", ", 'sink.compression' = 'gzip'"), ("csv", ""), ("parquet", "")] {
        let url = folder();
        let mark = ", 'sink.partition-commit.policy.kind' = 'success-file'";
        let out = run(&writes(&url, format, ROWS, &format!("{more}{mark}")), &options, &["--parallelism", "2"]);
        assert_eq!(out.status, 0, "{format}: {}", out.stderr);
        let (bucket, key) = bucket(&url, &options);
        let names: Vec<String> = bucket.list(&format!("{key}/")).unwrap().into_iter().map(|l| l.name).collect();
        assert!(names.iter().all(|n| !n.contains("/.")), "{names:?}");
        for partition in 0..3 {
            assert!(names.contains(&format!("{key}/p={partition}/_SUCCESS")), "{names:?}");
        }
        let text = format!(
            "CREATE TABLE files (n BIGINT, s STRING, p INT) PARTITIONED BY (p)
             WITH ('connector' = 'filesystem', 'path' = '{url}', 'format' = '{format}');
             SELECT n, s, p FROM files;"
        );
        let out = run(&text, &options, &["--json", "--parallelism", "2"]);
        assert_eq!(out.status, 0, "{format}: {}", out.stderr);
        let rows: BTreeMap<u64, (String, u64)> = out
            .rows()
            .iter()
            .map(|r| (r["n"].as_u64().unwrap(), (r["s"].as_str().unwrap().to_owned(), r["p"].as_u64().unwrap())))
            .collect();
        let expected = (0..ROWS).map(|n| (n, (format!("row {n}"), n % 3)));
        assert_eq!(out.rows().len() as u64, ROWS);
        assert!(rows.into_iter().eq(expected), "{format}");
    }
}

/// A job: 60 000 rows of half a kilobyte into one JSON file.
fn wide_rows(url: &str) -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT, s STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '60000',
            'rows-per-second' = '0', 'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '59999',
            'fields.s.length' = '500');
         CREATE TABLE files (n BIGINT, s STRING) WITH ('connector' = 'filesystem', 'path' = '{url}', 'format' = 'json');
         INSERT INTO files SELECT n, s FROM numbers;"
    )
}

#[test]
fn files_larger_than_a_part_are_sent_in_parts() {
    let Some(options) = server() else { return };
    let url = folder();
    let text = wide_rows(&url);
    let out = run(&text, &options, &["--parallelism", "1"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let (bucket, key) = bucket(&url, &options);
    let listed = bucket.list(&format!("{key}/")).unwrap();
    assert!(listed.len() == 1 && listed[0].bytes > 25 << 20, "{listed:?}");
    assert_eq!(numbers(&url, &options, "json", "1"), (0..60_000).collect::<Vec<_>>());
}

#[test]
fn uploads_that_a_crash_cut_off_are_ended_by_whoever_goes_on() {
    let Some(options) = server() else { return };
    let (url, dir) = (folder(), format!("checkpoint.dir={}", folder()));
    let text = wide_rows(&url);
    let sql = SqlFile::new(&text);
    let more = ["--parallelism", "1", "--from", "auto", "--set", &dir, "--set", "checkpoint.interval=off"];
    let out = command(&sql, &options, &more).env("THALWEG_TEST_FAIL", "file.close=abort-before").output().unwrap();
    assert_eq!(out.status.code(), None);
    let (bucket, key) = bucket(&url, &options);
    assert_eq!(bucket.uploads(&key).unwrap().len(), 1);
    let out = Ended::new(command(&sql, &options, &more).output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(bucket.uploads(&key).unwrap().is_empty());
    assert_eq!(numbers(&url, &options, "json", "1"), (0..60_000).collect::<Vec<_>>());
}

/// Bids per auction in windows, into a bucket, with checkpoints in it.
struct Counts {
    sql: SqlFile,
    url: String,
    checkpoints: String,
    options: S3Options,
}

impl Counts {
    fn new(options: &S3Options, events: u64, rate: u64) -> Counts {
        let (url, checkpoints) = (folder(), folder());
        let text = bids_per_auction(&url, events, rate);
        Counts { sql: SqlFile::new(&text), url, checkpoints, options: options.clone() }
    }

    fn command(&self, parallelism: u64, more: &[&str]) -> Command {
        let (dir, parallelism) = (format!("checkpoint.dir={}", self.checkpoints), parallelism.to_string());
        let always = ["--parallelism", &parallelism, "--set", &dir, "--set", "checkpoint.interval=100ms"];
        command(&self.sql, &self.options, &always.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    }

    fn run(&self, parallelism: u64, more: &[&str]) -> Ended {
        Ended::new(self.command(parallelism, more).output().unwrap())
    }

    /// The visible lines, with how often each is there, and the number of hidden objects.
    fn output(&self, options: &S3Options) -> (BTreeMap<String, u64>, usize) {
        let (bucket, key) = bucket(&self.url, options);
        let (mut lines, mut hidden) = (BTreeMap::new(), 0);
        for object in bucket.list(&format!("{key}/")).unwrap() {
            if object.name.contains("/.") {
                hidden += 1;
                continue;
            }
            let mut text = String::new();
            bucket.get(&object.name).unwrap().unwrap().as_slice().read_to_string(&mut text).unwrap();
            for line in text.lines() {
                *lines.entry(line.to_owned()).or_default() += 1;
            }
        }
        (lines, hidden)
    }
}

fn undisturbed(options: &S3Options, events: u64) -> BTreeMap<String, u64> {
    let counts = Counts::new(options, events, 1_000_000_000);
    assert_eq!(counts.run(2, &[]).status, 0);
    let (lines, hidden) = counts.output(options);
    assert!(lines.len() > 1000 && hidden == 0 && lines.values().all(|n| *n == 1), "{} lines", lines.len());
    lines
}

#[test]
fn killed_at_any_moment_every_row_is_in_the_bucket_once() {
    const EVENTS: u64 = 200_000;
    let Some(options) = server() else { return };
    let counts = Counts::new(&options, EVENTS, 60_000);
    let mut rng = Rng::new(6);
    for _ in 0..8 {
        let parallelism = [1, 2, 3][rng.below(3) as usize];
        let mut child = counts.command(parallelism, &["--from", "auto"]).spawn().unwrap();
        if !rng.percent(25) {
            await_checkpoint(&counts.checkpoints, &options, generation(&counts.checkpoints, &options) + 1);
        }
        crash::wait(rng.below(200));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let out = counts.run(3, &["--from", "auto"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.stderr.contains("goes on from checkpoint"), "{}", out.stderr);
    let (lines, hidden) = counts.output(&options);
    assert_eq!(lines, undisturbed(&options, EVENTS));
    assert_eq!(hidden, 0, "no orphans");
}

#[test]
fn a_crash_or_error_at_any_step_of_a_file_changes_nothing() {
    const EVENTS: u64 = 40_000;
    let Some(options) = server() else { return };
    let expected = undisturbed(&options, EVENTS);
    for step in ["file.close", "file.publish"] {
        for action in ["abort-before", "abort-after", "error", "error-after"] {
            let counts = Counts::new(&options, EVENTS, 40_000);
            let mut first = counts.command(2, &["--set", "restart.delay=1ms"]);
            let out = first.env("THALWEG_TEST_FAIL", format!("{step}={action}@2")).output().unwrap();
            let shown = String::from_utf8_lossy(&out.stderr).into_owned();
            let code = action.starts_with("error").then_some(0);
            assert_eq!(out.status.code(), code, "{step} {action}: {shown}");
            let out = counts.run(3, &["--from", "auto"]);
            assert_eq!(out.status, 0, "{step} {action}: {}", out.stderr);
            let (lines, hidden) = counts.output(&options);
            assert!(lines == expected, "{step} {action}: {} lines of {}", lines.len(), expected.len());
            assert_eq!(hidden, 0, "{step} {action}: orphans");
        }
    }
}

#[test]
fn lost_answers_and_a_server_that_goes_away_change_nothing() {
    const EVENTS: u64 = 200_000;
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let counts = Counts::new(&proxy.options(&server), EVENTS, 20_000);
    let child = counts.command(2, &["--set", "restart.delay=100ms", "--set", "checkpoint.tolerated-failures=1000"]);
    let child = { child }.spawn().unwrap();
    for words in [&["PUT"][..], &["PUT", "part-"], &["POST"], &["GET"]] {
        crash::wait(700);
        proxy.set(Mode::Lose(words, 3));
    }
    crash::wait(500);
    proxy.set(Mode::Down);
    crash::wait(1_500);
    proxy.set(Mode::Pass);
    let out = Ended::new(child.wait_with_output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    let (lines, hidden) = counts.output(&server);
    assert_eq!((lines, hidden), (undisturbed(&server, EVENTS), 0));
}

#[test]
fn tables_that_cannot_be_reached_are_refused_with_the_place() {
    let Some(options) = server() else { return };
    let table = |url: &str| {
        format!(
            "CREATE TABLE t (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{url}', 'format' = 'json');
             CREATE TABLE b (n BIGINT) WITH ('connector' = 'blackhole');"
        )
    };
    let read = |url: &str| format!("{} INSERT INTO b SELECT n FROM t;", table(url));
    let url = folder();
    let plain = S3Options { allow_http: false, ..options.clone() };
    for (text, options, status, reason) in [
        (read(&url), &options, 1, "table `t`: folder `s3://tests/"),
        (read(&format!("{url}/*.json")), &options, 1, "no file matches `s3://tests/"),
        (read("s3://nowhere/a"), &options, 1, "has no bucket `nowhere`"),
        (read("s3://"), &options, 2, "write s3://BUCKET/FOLDER"),
        (read("gs://a/b"), &options, 2, "write a path, file:///FOLDER or s3://BUCKET"),
        (read(&url), &plain, 2, "is not encrypted; write https://, or set s3.allow-http=true"),
    ] {
        let out = run(&text, options, &["--parallelism", "1"]);
        assert!(out.status == status && out.stderr.contains(reason), "{}: {}", out.status, out.stderr);
    }
    let write = "CREATE TABLE g (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '3'); INSERT INTO t SELECT n FROM g;";
    let out = run(&format!("{} {write}", table("s3://nowhere/a")), &options, &[]);
    assert!(
        out.status == 1 && out.stderr.contains("table `t`") && out.stderr.contains("has no bucket"),
        "{}",
        out.stderr
    );
}

#[test]
fn set_says_how_a_bucket_is_reached() {
    let Some(options) = server() else { return };
    let url = folder();
    let text = |secret: &str| {
        format!(
            "CREATE TABLE t (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{url}', 'format' = 'json');
             CREATE TABLE g (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '3');
             SET 's3.endpoint' = '{}'; SET 's3.allow-http' = 'true';
             SET 's3.access-key' = '{}'; SET 's3.secret-key' = '{secret}';
             INSERT INTO t SELECT n FROM g;",
            options.endpoint.as_ref().unwrap(),
            options.access_key.as_ref().unwrap(),
        )
    };
    let out = SqlFile::new(&text(options.secret_key.as_ref().unwrap())).run(&[]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let out = SqlFile::new(&text("hunter2hunter2")).run(&[]);
    assert!(out.status == 1 && out.stderr.contains("are `s3.access-key` and `s3.secret-key` right"), "{}", out.stderr);
    assert!(!out.stderr.contains("hunter2"), "{}", out.stderr);
}
