//! The state of checkpoints as tables: what a query says of a job's state against what its input makes it, of a job that runs, was
//! killed, spilled, or stopped with a savepoint; exports; and every refusal.

use crate::binary::{Ended, SqlFile, ended, thalweg};
use crate::crash::{await_checkpoint, generation, wait};
use crate::durable::{damage, signal};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Child;
use thalweg_engine::clock::Clock;
use thalweg_engine::rng::Rng;

/// What is kept for a key and a slice: rows, the sum in cents and whether there is one, the least value in cents, the greatest name.
type Kept = (u64, i64, Option<i64>, Option<String>);

/// A job that reads rows of a year to come from files, and then waits for a generator that never gets there: no window fires.
struct Job {
    sql: SqlFile,
    rows: u64,
    /// By key and the end of the slice, in hours.
    want: BTreeMap<(String, u64), Kept>,
}

impl Job {
    fn new(rows: u64, keys: u64, windows: &str) -> Job {
        let sql = SqlFile::new("");
        let (mut rng, mut want) = (Rng::new(11), BTreeMap::<(String, u64), Kept>::new());
        std::fs::create_dir(sql.file("in")).unwrap();
        for part in 0..3 {
            let mut text = String::new();
            for i in 0..rows / 3 {
                let (key, hour) = (format!("key-{:040}", rng.below(keys)), i * 20 / (rows / 3));
                let cents = (!rng.percent(20)).then(|| rng.below(100_000) as i64 - 50_000);
                let name = (!rng.percent(30)).then(|| format!("n{}", rng.below(1000)));
                let price = cents.map_or("null".into(), |c| format!("{}.{:02}", c / 100, c.abs() % 100));
                let price = if cents.is_some_and(|c| c < 0 && c > -100) { format!("-{price}") } else { price };
                let shown = name.as_ref().map_or("null".into(), |n| format!("\"{n}\""));
                let at = format!("2099-03-01 {hour:02}:{:02}:00", rng.below(60));
                writeln!(text, r#"{{"k":"{key}","v":{},"price":{price},"name":{shown},"at":"{at}"}}"#, i % 7).unwrap();
                let kept = want.entry((key, hour + 1)).or_default();
                kept.0 += 1;
                kept.1 += (i % 7) as i64;
                kept.2 = kept.2.into_iter().chain(cents).min();
                kept.3 = kept.3.take().into_iter().chain(name).max();
            }
            std::fs::write(sql.file("in").join(format!("{part}.json")), text).unwrap();
        }
        let (input, out) = (sql.file("in").display().to_string(), sql.file("out").display().to_string());
        let text = format!(
            "CREATE TABLE orders (k STRING, v BIGINT, price DECIMAL(10, 2), name STRING, at TIMESTAMP(3), WATERMARK FOR at AS at)
             WITH ('connector' = 'filesystem', 'path' = '{input}', 'format' = 'json');
             CREATE TABLE ticks (event_type INT, bid ROW<`dateTime` TIMESTAMP(3)>,
               at AS CASE event_type WHEN 2 THEN bid.`dateTime` END, WATERMARK FOR at AS at)
             WITH ('connector' = 'nexmark', 'rows-per-second' = '100');
             CREATE VIEW both_of_them AS SELECT k, v, price, name, at FROM orders UNION ALL
               SELECT CAST(event_type AS STRING), CAST(event_type AS BIGINT), CAST(event_type AS DECIMAL(10, 2)), '', at FROM ticks
               WHERE event_type > 100;
             CREATE TABLE sums (e TIMESTAMP(3), k STRING, n BIGINT, s BIGINT, low DECIMAL(10, 2), last STRING)
             WITH ('connector' = 'filesystem', 'path' = '{out}', 'format' = 'csv');
             INSERT INTO sums SELECT window_end, k, COUNT(*), SUM(v), MIN(price), MAX(name) FROM TABLE({windows})
             GROUP BY window_start, window_end, k;"
        );
        std::fs::write(sql.path(), text).unwrap();
        Job { sql, rows: rows / 3 * 3, want }
    }

    fn tumbling(rows: u64, keys: u64) -> Job {
        Job::new(rows, keys, "TUMBLE(TABLE both_of_them, DESCRIPTOR(at), INTERVAL '1' HOUR)")
    }

    fn checkpoints(&self) -> PathBuf {
        self.sql.file("checkpoints")
    }

    fn start(&self, parallelism: u64, more: &[&str]) -> Child {
        let (path, dir) = (self.sql.path(), format!("checkpoint.dir={}", self.checkpoints().display()));
        let parallelism = parallelism.to_string();
        let always = ["run", &path, "--parallelism", &parallelism, "--set", &dir, "--set", "checkpoint.interval=100ms"];
        thalweg(&always.into_iter().chain(more.iter().copied()).collect::<Vec<_>>()).spawn().unwrap()
    }

    /// Waits until the newest checkpoint has all rows: asks it while the job runs.
    fn await_rows(&self, child: &mut Child) {
        let clock = Clock::system();
        loop {
            let out = query(&self.checkpoints(), "latest", "SELECT SUM(`count`) AS n FROM windows");
            if out.status == 0 && out.rows()[0]["n"].as_u64() == Some(self.rows) {
                return;
            }
            let is_early = out.status == 2 && out.stderr.contains("holds no checkpoint");
            assert!(out.status == 0 || is_early || out.stderr.contains("`windows` does not exist"), "{}", out.stderr);
            assert_eq!(child.try_wait().unwrap(), None, "the job has ended");
            assert!(clock.now().as_secs() < 120, "{out:?}");
            wait(20);
        }
    }

    fn killed_with_all_rows(&self, parallelism: u64, more: &[&str]) {
        let mut child = self.start(parallelism, more);
        self.await_rows(&mut child);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn assert_answer(&self, out: &Ended) {
        assert_eq!(out.status, 0, "{}", out.stderr);
        let found: BTreeMap<_, _> = out.rows().iter().map(kept).collect();
        assert_eq!(found.len(), out.rows().len(), "no row comes twice");
        assert!(found == self.want, "{} rows of {}", found.len(), self.want.len());
    }
}

/// A row of `ALL` as key and what is kept.
fn kept(row: &Value) -> ((String, u64), Kept) {
    let cents = |v: &Value| v.as_f64().map(|v| (v * 100.0).round() as i64);
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let hour: u64 = row["slice_end"].as_str().unwrap()[11..13].parse().unwrap();
    let values = (row["count"].as_u64().unwrap(), row["sum_v"].as_i64().unwrap());
    ((text(&row["k"]).unwrap(), hour), (values.0, values.1, cents(&row["min_price"]), text(&row["max_name"])))
}

const ALL: &str = "SELECT * FROM windows ORDER BY k, slice_end";

fn query(checkpoints: &Path, which: &str, sql: &str) -> Ended {
    let dir = format!("checkpoint.dir={}", checkpoints.display());
    ended(&["state", "query", which, sql, "--json", "--set", &dir])
}

/// All files below a folder, with what is in them.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut out, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                drop(out.insert(path.clone(), std::fs::read(path).unwrap()))
            }
        }
    }
    out
}

#[test]
fn state_is_what_the_input_makes_it_at_any_parallelism_and_after_a_kill() {
    let mut answers = vec![];
    for parallelism in [1, 3] {
        let job = Job::tumbling(6_000, 40);
        job.killed_with_all_rows(parallelism, &[]);
        let before = content(&job.checkpoints());
        let out = query(&job.checkpoints(), "latest", ALL);
        job.assert_answer(&out);
        assert_eq!(content(&job.checkpoints()), before, "nothing is written");
        answers.push(out.stdout);

        // Going on at another parallelism makes chains of old and new snapshots.
        let before = generation(&job.checkpoints());
        let mut child = job.start(4 - parallelism, &["--from", "auto"]);
        await_checkpoint(&job.checkpoints(), before + 1);
        job.await_rows(&mut child);
        job.assert_answer(&query(&job.checkpoints(), "latest", ALL));
        signal(&child, libc::SIGINT);
        assert_eq!(Ended::new(child.wait_with_output().unwrap()).status, 0);
        let out = query(&job.checkpoints(), "latest", "SELECT kind FROM state.checkpoint");
        assert_eq!(out.rows()[0]["kind"], "savepoint", "{}", out.stderr);
        job.assert_answer(&query(&job.checkpoints(), "latest", ALL));

        let kept = job.sql.file("kept").display().to_string();
        let dir = format!("checkpoint.dir={}", job.checkpoints().display());
        assert_eq!(ended(&["checkpoint", "keep", "latest", "--to", &kept, "--set", &dir]).status, 0);
        std::fs::remove_dir_all(job.checkpoints()).unwrap();
        job.assert_answer(&ended(&["state", "query", &kept, ALL, "--json"]));
    }
    assert_eq!(answers[0], answers[1], "parallelism changes nothing");
}

#[test]
fn windows_of_several_slices_are_made_of_them_by_sql() {
    let job = Job::new(3_000, 5, "HOP(TABLE both_of_them, DESCRIPTOR(at), INTERVAL '1' HOUR, INTERVAL '3' HOURS)");
    job.killed_with_all_rows(2, &[]);
    job.assert_answer(&query(&job.checkpoints(), "latest", ALL));
    let sql = "SELECT k, SUM(`count`) AS n, SUM(sum_v) AS s, MIN(slice_start) AS f FROM windows
               WHERE slice_end > TIMESTAMP '2099-03-01 07:00:00' AND slice_end <= TIMESTAMP '2099-03-01 10:00:00'
               GROUP BY k ORDER BY n DESC, k";
    let out = query(&job.checkpoints(), "latest", sql);
    let mut want = BTreeMap::<&str, (u64, i64)>::new();
    for ((key, _), kept) in job.want.iter().filter(|((_, hour), _)| (8..=10).contains(hour)) {
        let of = want.entry(key).or_default();
        *of = (of.0 + kept.0, of.1 + kept.1);
    }
    let mut want: Vec<(&str, u64, i64)> = want.into_iter().map(|(k, (n, s))| (k, n, s)).collect();
    want.sort_by_key(|(k, n, _)| (std::cmp::Reverse(*n), *k));
    let rows = out.rows();
    let found: Vec<(&str, u64, i64)> =
        rows.iter().map(|r| (r["k"].as_str().unwrap(), r["n"].as_u64().unwrap(), r["s"].as_i64().unwrap())).collect();
    assert_eq!(found, want, "{}", out.stderr);
    assert!(rows.iter().all(|r| r["f"] == "2099-03-01 07:00:00.000"), "{}", out.stdout);
}

#[test]
fn state_that_was_spilled_is_read_in_parts() {
    let job = Job::tumbling(240_000, 200_000);
    let spill = format!("state.spill-dir={}", job.sql.file("spill").display());
    let little = ["--set", "state.memory=16 MiB", "--set", &spill];
    job.killed_with_all_rows(2, &little);
    let dir = format!("checkpoint.dir={}", job.checkpoints().display());
    let sql = "SELECT COUNT(*) AS entries, SUM(`count`) AS n, SUM(sum_v) AS s FROM windows";
    let out = ended(&[&["state", "query", "latest", sql, "--json", "--set", &dir], &little[..]].concat());
    let sum: i64 = job.want.values().map(|kept| kept.1).sum();
    let want = serde_json::json!({ "entries": job.want.len(), "n": job.rows, "s": sum });
    assert_eq!(out.rows(), [want], "{}", out.stderr);
    let sql = "SELECT * FROM windows ORDER BY `count` DESC, k, slice_end LIMIT 20";
    let out = ended(&[&["state", "query", "latest", sql, "--json", "--set", &dir], &little[..]].concat());
    let mut want: Vec<_> = job.want.iter().collect();
    want.sort_by_key(|(key, kept)| (std::cmp::Reverse(kept.0), *key));
    let rows: Vec<_> = out.rows().iter().map(kept).collect();
    assert!(rows.iter().map(|(k, v)| (k, v)).eq(want.into_iter().take(20)), "{}", out.stdout);
    let out = ended(&[&["state", "query", "latest", ALL, "--json", "--set", &dir], &little[..]].concat());
    assert!(out.status == 1 && out.stderr.contains("raise state.memory"), "{} {}", out.status, out.stderr);
    assert_eq!(std::fs::read_dir(job.sql.file("spill")).unwrap().count(), 0, "nothing is left on disk");
}

#[test]
fn exports_hold_what_queries_show() {
    let job = Job::tumbling(3_000, 40);
    job.killed_with_all_rows(2, &[]);
    let dir = format!("checkpoint.dir={}", job.checkpoints().display());
    let tables = query(&job.checkpoints(), "latest", "SELECT name FROM tables WHERE short_name = 'windows'").rows();
    let name = tables[0]["name"].as_str().unwrap();
    for format in ["json", "parquet"] {
        let folder = job.sql.file(format);
        let to = folder.display().to_string();
        let export = ["checkpoint", "export", "latest", "--to", &to, "--format", format, "--json", "--set", &dir];
        let out = ended(&export);
        assert_eq!(out.status, 0, "{}", out.stderr);
        let told: BTreeMap<String, u64> =
            out.rows().iter().map(|r| (r["table"].as_str().unwrap().to_owned(), r["rows"].as_u64().unwrap())).collect();
        assert_eq!(told[name], job.want.len() as u64);
        let before = content(&folder);
        let again = ended(&export);
        assert!(again.status == 2 && again.stderr.contains("is not empty"), "{} {}", again.status, again.stderr);
        assert_eq!(content(&folder), before);
        let part = folder.join(name).display().to_string();
        let back = format!(
            "CREATE TABLE t (k STRING, slice_end TIMESTAMP(3), `count` BIGINT, sum_v DECIMAL(38, 0), min_price DECIMAL(38, 2), max_name STRING)
             WITH ('connector' = 'filesystem', 'path' = '{part}', 'format' = '{format}'); SELECT * FROM t;"
        );
        job.assert_answer(&crate::binary::run_json(&back, &[]));
    }
}

#[test]
fn sources_and_sizes_are_told() {
    let job = Job::tumbling(3_000, 40);
    job.killed_with_all_rows(2, &[]);
    let ask = |sql: &str| query(&job.checkpoints(), "latest", sql);
    let out = ask("SELECT split, finished FROM sources WHERE source = 'orders' ORDER BY split");
    assert_eq!(out.rows().len(), 3, "{} {}", out.stdout, out.stderr);
    assert!(out.rows().iter().all(|r| r["finished"] == true));
    let out = ask(
        "SELECT COUNT(`offset`) AS n, MAX(watermark) < TIMESTAMP '2099-01-01 00:00:00' AS early FROM sources WHERE source = 'ticks'",
    );
    assert!(
        out.rows()[0]["n"].as_u64().unwrap() > 0 && out.rows()[0]["early"] == true,
        "{} {}",
        out.stdout,
        out.stderr
    );
    let out = ask(
        "SELECT o.bytes, o.subtasks, t.name FROM operators o JOIN tables t ON t.operator = o.operator WHERE t.short_name = 'windows'",
    );
    assert!(out.rows()[0]["bytes"].as_u64().unwrap() > 1000 && out.rows()[0]["subtasks"] == 2, "{}", out.stdout);
    let dir = format!("checkpoint.dir={}", job.checkpoints().display());
    let listed = ended(&["state", "query", "latest", "--set", &dir]);
    assert!(
        listed.stdout.contains("in short windows") && listed.stdout.contains("min_price DECIMAL(10, 2)"),
        "{}",
        listed.stdout
    );
    let described = ended(&["state", "query", "latest", "DESCRIBE windows", "--set", &dir]);
    assert!(
        described.stdout.contains("slice_end") && described.stdout.contains("TIMESTAMP(3)"),
        "{}",
        described.stdout
    );
    let text = ended(&["state", "query", "latest", "SELECT source, finished FROM sources LIMIT 1", "--set", &dir]);
    assert_eq!(text.stdout.lines().count(), 2, "{}", text.stdout);
    assert!(text.stdout.starts_with("source  "), "{}", text.stdout);
}

#[test]
fn what_cannot_be_asked_is_refused_with_the_place() {
    let job = Job::tumbling(300, 4);
    job.killed_with_all_rows(1, &[]);
    let dir = format!("checkpoint.dir={}", job.checkpoints().display());
    for (sql, texts) in [
        ("SELECT * FROM window_s", ["query:1:15:", "write `windows`"]),
        ("SELECT kount FROM windows", ["query:1:8:", "write `count`"]),
        ("INSERT INTO windows SELECT 1", ["query:1:1:", "write SELECT, SHOW TABLES or DESCRIBE"]),
        ("DROP TABLE windows", ["query:1:1:", "this is no SELECT"]),
        ("SELECT 1; SELECT 2", ["query:1:11:", "several statements"]),
        ("", ["there is no query", "write a SELECT"]),
        ("SELEC 1", ["query:1:1:", "no statement begins with `SELEC`"]),
        ("SELECT * FROM other.windows", ["`windows` does not exist", "state"]),
        ("SELECT nofunction(1)", ["query:1:8:", "nofunction"]),
    ] {
        let out = ended(&["state", "query", "latest", sql, "--set", &dir]);
        assert!(out.status == 2 && out.stdout.is_empty(), "{sql}: {} {}", out.status, out.stderr);
        assert!(texts.iter().all(|t| out.stderr.contains(t)), "{sql}: {}", out.stderr);
    }
    for (which, text) in [
        ("99-1", "holds no checkpoint 99-1"),
        ("auto", "`auto` names no checkpoint"),
        ("newest", "is none of auto, latest"),
        ("./nowhere/at/all", "holds no checkpoint"),
    ] {
        let out = ended(&["state", "query", which, "SELECT 1", "--set", &dir]);
        assert!(out.status == 2 && out.stderr.contains(text), "{which}: {} {}", out.status, out.stderr);
    }
    let out = ended(&["state", "query", "latest", "SELECT 1"]);
    assert!(out.status == 2 && out.stderr.contains("--set checkpoint.dir="), "{}", out.stderr);
    let out = ended(&["state", "query", "latest", "SELECT CAST('x' AS INT) FROM windows", "--set", &dir]);
    assert!(out.status != 0 && out.stderr.contains("error: "), "{}", out.stderr);
}

#[test]
fn a_damaged_file_is_an_error_and_no_other_answer() {
    let job = Job::tumbling(600, 10);
    job.killed_with_all_rows(1, &[]);
    let checkpoints = job.checkpoints();
    let ask = |sql: &str| query(&checkpoints, "latest", sql);
    let (id, dir) = (ask("SELECT id FROM checkpoint").rows(), format!("checkpoint.dir={}", checkpoints.display()));
    let manifest = checkpoints.join("manifests").join(id[0]["id"].as_str().unwrap());
    let named: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    let files = named["operators"].as_object().unwrap().values().flat_map(|s| s.as_array().unwrap());
    let files: Vec<String> =
        files.flat_map(|s| s["files"].as_array().unwrap()).map(|f| f["path"].as_str().unwrap().to_owned()).collect();
    assert!(!files.is_empty());
    for file in &files {
        let path = checkpoints.join(file);
        let whole = std::fs::read(&path).unwrap();
        for gone in [false, true] {
            if gone {
                std::fs::remove_file(&path).unwrap()
            } else {
                damage(&path)
            }
            let out = ask(ALL);
            assert!(out.status == 1 && out.stderr.contains(file.as_str()), "{file}: {} {}", out.status, out.stderr);
            let to = job.sql.file("export").display().to_string();
            let out = ended(&["checkpoint", "export", "latest", "--to", &to, "--set", &dir]);
            assert!(out.status == 1 && out.stderr.contains(file.as_str()), "{file}: {} {}", out.status, out.stderr);
            let _ = std::fs::remove_dir_all(to);
            assert_eq!(ask("SELECT * FROM sources").status, 0, "what is not asked for is not read");
            std::fs::write(&path, &whole).unwrap();
        }
    }
    job.assert_answer(&ask(ALL));
    damage(&manifest);
    let out = ask("SELECT * FROM sources");
    assert!(out.status == 1 && out.stderr.contains("manifests/"), "{} {}", out.status, out.stderr);
    let records = content(&checkpoints.join("records"));
    damage(records.keys().next_back().unwrap());
    let out = ask("SELECT * FROM sources");
    assert!(
        // With one checkpoint only, nothing is left that could be named.
        out.status == 2
            && (out.stderr.contains("may have held a later checkpoint")
                || out.stderr.contains("can be read: read record")),
        "{} {}",
        out.status,
        out.stderr
    );
}

#[test]
fn checkpoints_of_the_first_format_can_be_asked() {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints/1/checkpoints");
    let sql =
        "SELECT slice_end, SUM(`count`) AS n FROM windows WHERE auction > 0 GROUP BY slice_end ORDER BY slice_end";
    let out = ended(&["state", "query", kept, sql, "--json"]);
    assert!(
        out.rows().len() > 1 && out.rows().iter().all(|r| r["n"].as_u64() > Some(1000)),
        "{} {}",
        out.stdout,
        out.stderr
    );
    let out = ended(&["state", "query", kept, "SELECT DISTINCT time FROM progress", "--json"]);
    assert_eq!(out.stdout, "{\"time\":\"2026-01-01 00:00:02.000\"}\n", "{}", out.stderr);
}
