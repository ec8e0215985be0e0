//! Hostile input of every kind, one table: SQL texts, options, settings, values, records, files. Each case is a run of the real
//! binary in a folder of its own; what it must say and how it must end stand beside it.
//!
//! For every case
//! - H1 the process ends by itself with the stated status, in bounded time and memory; it neither panics nor dies of a signal.
//! - H2 standard error is one clear error that holds the stated parts: where, what, and what to do.
//! - H3 nothing is in the folder of results that a reader would take for a result.

mod files;
mod options;
mod running;
mod texts;
mod values;

use running::check;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The tables that every text has on its first line.
const TABLES: &str = "CREATE TABLE t (a BIGINT, b INT, s STRING, d DOUBLE, ts TIMESTAMP(3), \
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) \
    WITH ('connector' = 'filesystem', 'path' = '${DIR}/in', 'format' = 'json'); \
    CREATE TABLE out (a BIGINT, s STRING) \
    WITH ('connector' = 'filesystem', 'path' = '${DIR}/out', 'format' = 'json');\n";

/// The rows of `t`, if the case has no file of its own.
const ROWS: &str = r#"{"a":1,"b":0,"s":"x","d":1.5,"ts":"2026-01-01 00:00:00"}
{"a":2,"b":3,"s":"y","d":-0.5,"ts":"2026-01-01 00:00:01"}
{"a":3,"b":-1,"s":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!","d":1e300,"ts":"2026-01-01 00:00:02"}
"#;

/// Cases at one time; those with brokers that do not answer only wait.
const WORKERS: usize = 3;

/// One hostile input and the answer to it.
struct Case {
    name: String,
    /// The bytes of `job.sql`.
    sql: Vec<u8>,
    /// More files in the case's folder, by path.
    files: Vec<(String, Vec<u8>)>,
    /// After `run job.sql --define DIR=.`.
    arguments: Vec<String>,
    environment: Option<(&'static str, &'static str)>,
    /// Where standard output goes, if to a device.
    stdout: Option<&'static str>,
    status: i32,
    /// Parts of standard error.
    says: Vec<&'static str>,
    /// What must not be in standard error.
    hides: Option<&'static str>,
}

/// The text, below the tables, is refused before anything starts.
fn refused(sql: impl Into<String>, says: &[&'static str]) -> Case {
    let sql = sql.into();
    let name = sql.chars().take(100).collect();
    Case {
        name,
        sql: format!("{TABLES}{sql}").into_bytes(),
        files: vec![],
        arguments: vec![],
        environment: None,
        stdout: None,
        status: 2,
        says: says.to_vec(),
        hides: None,
    }
}

/// The text starts and fails.
fn fails(sql: impl Into<String>, says: &[&'static str]) -> Case {
    Case { status: 1, ..refused(sql, says) }
}

/// A harmless text, for what is hostile around it.
fn harmless(says: &[&'static str]) -> Case {
    refused("INSERT INTO out SELECT a, s FROM t;", says)
}

impl Case {
    fn named(self, name: &str) -> Case {
        Case { name: name.to_owned(), ..self }
    }

    fn bytes(self, sql: impl Into<Vec<u8>>) -> Case {
        Case { sql: sql.into(), ..self }
    }

    fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Case {
        self.files.push((path.to_owned(), bytes.into()));
        self
    }

    fn arguments(self, more: &[&str]) -> Case {
        Case { arguments: more.iter().map(|a| (*a).to_owned()).collect(), ..self }
    }

    fn environment(self, name: &'static str, value: &'static str) -> Case {
        Case { environment: Some((name, value)), ..self }
    }

    fn hides(self, secret: &'static str) -> Case {
        Case { hides: Some(secret), ..self }
    }
}

#[test]
fn hostile_input_gets_a_clear_error() {
    let cases: Vec<Case> =
        [texts::cases(), options::cases(), values::cases(), files::cases()].into_iter().flatten().collect();
    assert!(cases.len() >= 60, "{} hostile inputs", cases.len());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(text) = check(case) {
                        wrong.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}
