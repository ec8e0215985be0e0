//! Every query of a file, killed behind a durable checkpoint in the middle of its input, and resumed by a new process at another
//! parallelism. `main.rs` calls it once per file; the processes are this test binary again.
//!
//! The first process begins all jobs of the file, lets each read half of its rows and make a checkpoint, and aborts with all of them at
//! work. The second one goes on from what the first has left. What both have shown is in files, one per commit.

use crate::run::{added_up, changes};
use crate::tables::Tables;
use crate::{Context, items};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use thalweg::settings::{Origin, Resolver};
use thalweg::{Recovery, Session, Start, Started};
use thalweg_connectors::terminal::{RowFormat, Terminal};
use thalweg_engine::Ending;
use thalweg_engine::batch::Batch;
use thalweg_engine::sink::{
    Committer, JobInfo, Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written,
};

type Result<T> = std::result::Result<T, String>;

/// Names the file whose jobs this process begins or ends, and where they keep what they have.
const FILE: &str = "THALWEG_TEST_SLT_FILE";
const FOLDER: &str = "THALWEG_TEST_SLT_FOLDER";
const RESUME: &str = "THALWEG_TEST_SLT_RESUME";

/// Reached only by a job that hangs.
const HANGS_MS: usize = 60_000;

/// The rows of every query of the file, by its line.
pub fn answers(file: &str) -> Result<BTreeMap<usize, Vec<String>>> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let child = |resume: bool| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]).env(FILE, file).env(FOLDER, folder.path());
        if resume {
            command.env(RESUME, "1");
        }
        command.stdin(Stdio::null()).output().map_err(|e| e.to_string())
    };
    let crashed = child(false)?;
    let said = |out: &std::process::Output| {
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    };
    if crashed.status.code().is_some() {
        return Err(format!("the first process was to be killed: {}", said(&crashed)));
    }
    let resumed = child(true)?;
    if !resumed.status.success() {
        return Err(format!("the second process failed: {}", said(&resumed)));
    }
    let jobs = std::fs::read_dir(folder.path()).map_err(|e| e.to_string())?;
    jobs.map(|job| {
        let job = job.map_err(|e| e.to_string())?;
        let line = job.file_name().to_string_lossy().parse().map_err(|_| "a folder that is no job".to_owned())?;
        Ok((line, shown(&job.path())?))
    })
    .collect()
}

/// All rows that were committed.
fn shown(job: &Path) -> Result<Vec<String>> {
    let mut lines = vec![];
    for commit in std::fs::read_dir(job.join("shown")).into_iter().flatten() {
        let bytes = std::fs::read(commit.unwrap().path()).map_err(|e| e.to_string())?;
        lines.extend(serde_json::from_slice::<Vec<(String, i64)>>(&bytes).map_err(|e| e.to_string())?);
    }
    Ok(added_up(lines))
}

/// One of the two processes; nothing in any other.
pub fn child() {
    let (Ok(file), Some(folder)) = (std::env::var(FILE), std::env::var_os(FOLDER)) else { return };
    let resume = std::env::var_os(RESUME).is_some();
    let mut context = Context::default();
    let mut at_work = vec![];
    for item in items(&file) {
        let crate::script::Kind::Query(query) = item.kind else {
            // What is refused or fails is tested elsewhere.
            if !matches!(item.kind, crate::script::Kind::Fails { .. }) {
                context.item(item.kind).unwrap();
            }
            continue;
        };
        let job = Job { folder: PathBuf::from(&folder).join(item.line.to_string()) };
        let tables = context.tables().with_sinks(job.sinks());
        let (program, tables) = context.compiled_with(&query.sql, tables).unwrap();
        let sql_job = program.jobs().next().unwrap();
        let done = if resume { job.resume(sql_job, &tables).map(|()| None) } else { job.begin(sql_job, &tables) };
        at_work.extend(done.unwrap_or_else(|e| panic!("{file}.slt:{}: {e}", item.line)));
    }
    if !resume {
        std::process::abort();
    }
}

/// One query's job.
struct Job {
    folder: PathBuf,
}

impl Job {
    fn sinks(&self) -> impl Fn(Option<String>) -> Arc<dyn SinkFactory> + Send + Sync + 'static {
        let folder = self.folder.join("shown");
        move |name| Arc::new(Shown { name, folder: folder.clone() })
    }

    fn start(&self, job: &thalweg_sql::Job, start: Start, parallelism: &str) -> Result<Started> {
        let mut settings = Resolver::new().map_err(|e| e.to_string())?;
        let dir = self.folder.join("checkpoints").display().to_string();
        let fixed = [("checkpoint.dir", dir.as_str()), ("checkpoint.interval", "off"), ("batch.rows", "7")];
        for (name, value) in fixed.into_iter().chain([("parallelism", parallelism)]) {
            settings.put(name, value, Origin::Argument("test".into())).map_err(|e| e.to_string())?;
        }
        let session = Session::with(settings, Terminal::new(std::io::sink(), RowFormat::Text, ""));
        Recovery::new(start, false).start(&session, job).map_err(|e| e.to_string())
    }

    /// Reads half of every split and makes a checkpoint. `None`: it has ended before, as one without sources does.
    fn begin(&self, job: &thalweg_sql::Job, tables: &Tables) -> Result<Option<Started>> {
        tables.begin(true);
        let started = self.start(job, Start::Fresh, "2")?;
        let mut asked = false;
        for _ in 0..HANGS_MS {
            if let Some(outcome) = started.job.wait_for(Duration::from_millis(1)) {
                let unfit = outcome.ending != Ending::Finished || tables.has_splits();
                return if unfit { Err(format!("ended {:?}: {:?}", outcome.ending, outcome.error)) } else { Ok(None) };
            }
            if !asked && tables.paused() {
                started.job.checkpoint();
                asked = true;
            }
            if started.job.registry().checkpoints.last().is_some() {
                return Ok(Some(started));
            }
        }
        Err("no checkpoint".into())
    }

    /// Reads the rest.
    fn resume(&self, job: &thalweg_sql::Job, tables: &Tables) -> Result<()> {
        tables.begin(false);
        let started = self.start(job, Start::Latest, "3")?;
        for _ in 0..HANGS_MS {
            if let Some(outcome) = started.job.wait_for(Duration::from_millis(1)) {
                let text = format!("ended {:?}: {:?}", outcome.ending, outcome.error);
                return if outcome.ending == Ending::Finished { Ok(()) } else { Err(text) };
            }
        }
        Err(format!("hangs:\n{}", started.job.describe(Duration::from_millis(500)).join("\n")))
    }
}

/// A sink whose rows wait in the checkpoint as text, and are shown as a file per commit.
#[derive(Clone)]
struct Shown {
    name: Option<String>,
    folder: PathBuf,
}

impl SinkFactory for Shown {
    fn sink(&self) -> thalweg_engine::Result<Box<dyn Sink>> {
        Ok(Box::new(Waiting { name: self.name.clone(), lines: vec![] }))
    }

    fn committer(&self, _: &JobInfo) -> thalweg_engine::Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(self.clone())))
    }
}

impl Committer for Shown {
    fn commit(&mut self, id: u64, parts: &[Prepared]) -> thalweg_engine::Result<()> {
        let lines = parts.iter().flat_map(|p| serde_json::from_slice::<Vec<(String, i64)>>(&p.bytes).unwrap());
        let lines: Vec<(String, i64)> = lines.collect();
        std::fs::create_dir_all(&self.folder).unwrap();
        let file = format!("{id}-{}", self.name.as_deref().unwrap_or_default());
        std::fs::write(self.folder.join(file), serde_json::to_vec(&lines).unwrap()).unwrap();
        Ok(())
    }

    fn recover(&mut self, id: u64, parts: &[Prepared]) -> thalweg_engine::Result<()> {
        if id > 0 { self.commit(id, parts) } else { Ok(()) }
    }
}

struct Waiting {
    name: Option<String>,
    lines: Vec<(String, i64)>,
}

impl Sink for Waiting {
    fn open(&mut self, _: &mut SinkOpen<'_>) -> thalweg_engine::Result<Release> {
        Ok(Release::Checkpoint)
    }

    fn write(&mut self, batch: Batch, _: &mut SinkContext<'_>) -> thalweg_engine::Result<Written> {
        let head = self.name.as_ref().map(|n| format!("{n}: ")).unwrap_or_default();
        self.lines.extend(changes(&batch).into_iter().map(|(row, n)| (format!("{head}{row}"), n)));
        Ok(Written::Done)
    }

    fn prepare(&mut self, _: u64, _: bool, _: &mut SinkContext<'_>) -> thalweg_engine::Result<Prepare> {
        let lines = std::mem::take(&mut self.lines);
        Ok(Prepare::Done(Prepared::new(serde_json::to_vec(&lines).unwrap())))
    }
}
