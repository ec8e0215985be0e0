//! Starts the real binary, with an environment that holds no settings.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The binary with these arguments, at the project's root, without settings in its environment.
pub fn thalweg(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("THALWEG_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn new(output: Output) -> Ended {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let status = output.status.code().unwrap_or_else(|| panic!("ended by a signal: {:?}", output.status));
        Ended { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Standard output as JSON lines.
    pub fn rows(&self) -> Vec<Value> {
        json_lines(&self.stdout)
    }

    /// The JSON messages of that type on standard error.
    pub fn messages(&self, kind: &str) -> Vec<Value> {
        json_lines(&self.stderr).into_iter().filter(|m| m["type"] == kind).collect()
    }
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("`{l}`: {e}"))).collect()
}

/// Runs the binary to its end.
pub fn ended(arguments: &[&str]) -> Ended {
    Ended::new(thalweg(arguments).output().unwrap())
}

/// A file of SQL that lives as long as this.
pub struct SqlFile {
    dir: tempfile::TempDir,
}

impl SqlFile {
    pub fn new(sql: &str) -> SqlFile {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("job.sql"), sql).unwrap();
        SqlFile { dir }
    }

    pub fn path(&self) -> String {
        self.file("job.sql").to_str().unwrap().to_owned()
    }

    /// A file beside it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn arguments<'a>(&'a self, path: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        ["run", path].iter().chain(more).copied().collect()
    }

    /// `thalweg run` with more arguments.
    pub fn run(&self, more: &[&str]) -> Ended {
        ended(&self.arguments(&self.path(), more))
    }

    /// The same, still running.
    pub fn start(&self, more: &[&str]) -> Child {
        thalweg(&self.arguments(&self.path(), more)).spawn().unwrap()
    }
}

/// Runs SQL with `--json`.
pub fn run_json(sql: &str, more: &[&str]) -> Ended {
    let arguments: Vec<&str> = ["--json"].iter().chain(more).copied().collect();
    SqlFile::new(sql).run(&arguments)
}

/// Runs SQL from standard input.
pub fn run_stdin(sql: &str, more: &[&str]) -> Ended {
    let arguments: Vec<&str> = ["run", "-"].iter().chain(more).copied().collect();
    let mut child = thalweg(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    Ended::new(child.wait_with_output().unwrap())
}

/// A bounded table of the generator, `n` events.
pub fn nexmark(n: u64) -> String {
    format!(
        "CREATE TABLE events (event_type INT, bid ROW<auction BIGINT, price BIGINT, `dateTime` TIMESTAMP(3)>)
         WITH ('connector' = 'nexmark', 'events.num' = '{n}');\n"
    )
}

/// A job: bids per auction in windows of a second, from the generator into CSV files; `rate`: rows per second of the wall clock.
pub fn bids_per_auction(out: &str, events: u64, rate: u64) -> String {
    format!(
        "CREATE TABLE events (event_type INT, bid ROW<auction BIGINT, `dateTime` TIMESTAMP(3)>,
           ts AS CASE event_type WHEN 2 THEN bid.`dateTime` END, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
         WITH ('connector' = 'nexmark', 'events.num' = '{events}', 'rows-per-second' = '{rate}', 'first-event.rate' = '10000');
         CREATE TABLE counts (at TIMESTAMP(3), auction BIGINT, bids BIGINT)
         WITH ('connector' = 'filesystem', 'path' = '{out}', 'format' = 'csv');
         INSERT INTO counts SELECT window_end, bid.auction, COUNT(*)
         FROM TABLE(HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '2' SECOND))
         WHERE event_type = 2 GROUP BY window_start, window_end, bid.auction;"
    )
}

/// The visible lines of all files, with how often each is there, and the number of hidden files.
pub fn lines_of(folder: &Path) -> (BTreeMap<String, u64>, usize) {
    let (mut lines, mut hidden) = (BTreeMap::new(), 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if name.starts_with('.') {
                hidden += 1;
            } else if !name.starts_with('_') {
                for line in std::fs::read_to_string(entry.path()).unwrap().lines() {
                    *lines.entry(line.to_owned()).or_default() += 1;
                }
            }
        }
    }
    (lines, hidden)
}

/// An endless table of the generator, slow enough not to fill anything.
pub const ENDLESS: &str = "CREATE TABLE events (event_type INT)
    WITH ('connector' = 'nexmark', 'rows-per-second' = '1000');\n";
