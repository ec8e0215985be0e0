//! Starts the real binary, with an environment that holds no settings.

use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
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

/// An endless table of the generator, slow enough not to fill anything.
pub const ENDLESS: &str = "CREATE TABLE events (event_type INT)
    WITH ('connector' = 'nexmark', 'rows-per-second' = '1000');\n";
