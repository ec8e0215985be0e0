//! Runs a compiled query in every way that must make no difference, and gives its rows as text. Called by `main.rs`.

use crate::tables::Tables;
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::collections::BTreeMap;
use std::time::Duration;
use thalweg_engine::{Batch, Ending, Graph, Job, JobHandle, JobOptions, Outcome};

/// Parallelism and rows per batch of the runs without a restart.
const RUNS: [(u32, usize); 9] = [(1, 8192), (1, 7), (1, 1), (2, 8192), (2, 7), (2, 1), (5, 8192), (5, 7), (5, 1)];

/// Reached only by a job that hangs.
const HANGS_MS: usize = 60_000;

/// How it was run, and its sorted rows or its error.
pub type Answer = (String, Result<Vec<String>, String>);

/// Which runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum HowMany {
    All,
    /// One whole at parallelism 2, and one with a restart.
    Few,
}

/// The runs, one after the other.
pub fn answers<'a>(graph: &'a Graph, tables: &'a Tables, which: HowMany) -> impl Iterator<Item = Answer> + 'a {
    let some = move |run: &(u32, usize)| which == HowMany::All || *run == (2, 7);
    let whole = RUNS.into_iter().filter(some).map(move |(parallelism, batch_rows)| {
        tables.begin(false);
        let job = Job::start(graph, options(parallelism, batch_rows), None);
        let rows = job.map_err(|e| e.to_string()).and_then(|j| ended(&j)).and_then(|o| finished(o, tables));
        (format!("parallelism {parallelism}, batches of {batch_rows}"), rows)
    });
    let again = [7, 1].into_iter().take(if which == HowMany::All { 2 } else { 1 }).map(move |batch_rows| {
        let how = format!("a checkpoint at parallelism 2 resumed at 3, batches of {batch_rows}");
        (how, restarted(graph, tables, batch_rows))
    });
    // Every row is an epoch of its own: all that can be taken back is.
    let epochs = [(1, 1), (3, 1)].into_iter().map(move |(parallelism, batch_rows)| {
        tables.begin(false);
        let few = Duration::from_millis(1);
        let options = JobOptions { epoch_max_bytes: 1, epoch_interval: few, ..options(parallelism, batch_rows) };
        let job = Job::start(graph, options, None);
        let rows = job.map_err(|e| e.to_string()).and_then(|j| ended(&j)).and_then(|o| finished(o, tables));
        (format!("parallelism {parallelism}, an epoch per row"), rows)
    });
    whole.chain(again).chain(epochs)
}

fn options(parallelism: u32, batch_rows: usize) -> JobOptions {
    JobOptions { parallelism, batch_rows, ..JobOptions::default() }
}

/// Reads half of every split, takes a checkpoint, crashes when it is committed, and reads the rest at another parallelism.
fn restarted(graph: &Graph, tables: &Tables, batch_rows: usize) -> Result<Vec<String>, String> {
    let options = |parallelism| JobOptions { keep_checkpoints: true, ..options(parallelism, batch_rows) };
    tables.begin(true);
    let job = Job::start(graph, options(2), None).map_err(|e| e.to_string())?;
    let early = match ended_before(&job, || tables.paused())? {
        Some(outcome) => Some(outcome),
        None => {
            job.checkpoint();
            ended_before(&job, || tables.committed())?
        }
    };
    match early {
        Some(outcome) if outcome.error.is_none() && tables.has_splits() => {
            return Err("ended although its sources did not".into());
        }
        // It failed, or it has no source.
        Some(outcome) => return finished(outcome, tables),
        None => {}
    }
    job.cancel();
    let crashed = ended(&job)?;
    if crashed.ending != Ending::Cancelled {
        return Err(format!("ended {:?} before its sources did: {:?}", crashed.ending, crashed.error));
    }
    let checkpoint = crashed.checkpoint.ok_or("the committed checkpoint is not kept")?;
    tables.open();
    let job = Job::start(graph, options(3), Some(&checkpoint)).map_err(|e| e.to_string())?;
    ended(&job).and_then(|o| finished(o, tables))
}

fn ended(job: &JobHandle) -> Result<Outcome, String> {
    ended_before(job, || false).map(Option::unwrap)
}

/// The outcome if the job ends before this is so. Errors: neither comes.
fn ended_before(job: &JobHandle, is_so: impl Fn() -> bool) -> Result<Option<Outcome>, String> {
    for _ in 0..HANGS_MS {
        if is_so() {
            return Ok(None);
        }
        if let Some(outcome) = job.wait_for(Duration::from_millis(1)) {
            return Ok(Some(outcome));
        }
    }
    Err(format!("hangs:\n{}", job.describe(Duration::from_millis(500)).join("\n")))
}

fn finished(outcome: Outcome, tables: &Tables) -> Result<Vec<String>, String> {
    match outcome.error {
        Some(error) => Err(error.to_string()),
        None if outcome.ending != Ending::Finished => Err(format!("ended {:?}", outcome.ending)),
        None => Ok(written(tables)),
    }
}

fn written(tables: &Tables) -> Vec<String> {
    let mut lines = vec![];
    for (name, batches) in tables.written() {
        let head = name.map(|n| format!("{n}: ")).unwrap_or_default();
        let changes = batches.iter().flat_map(changes).map(|(row, n)| (format!("{head}{row}"), n));
        lines.extend(added_up(changes));
    }
    lines.sort();
    lines
}

/// Every row of a batch with its weight.
pub fn changes(batch: &Batch) -> Vec<(String, i64)> {
    let weight = |i| batch.weights().map_or(1, |w| w[i]);
    rows(batch.columns()).into_iter().enumerate().map(|(i, row)| (row, weight(i))).collect()
}

/// The rows that are left when every row that goes has taken one that came with it.
pub fn added_up(changes: impl IntoIterator<Item = (String, i64)>) -> Vec<String> {
    let mut all: BTreeMap<String, i64> = BTreeMap::new();
    for (row, weight) in changes {
        *all.entry(row).or_default() += weight;
    }
    let repeated = |(row, n): (String, i64)| {
        let n = usize::try_from(n).unwrap_or_else(|_| panic!("`{row}` came {n} times"));
        std::iter::repeat_n(row, n)
    };
    all.into_iter().flat_map(repeated).collect()
}

/// Rows as `.slt` files write them.
pub fn rows(batch: &RecordBatch) -> Vec<String> {
    let format = FormatOptions::new().with_null("NULL");
    let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &format).unwrap()).collect();
    let row = |i| columns.iter().map(|c| c.value(i).to_string()).collect::<Vec<_>>().join("|");
    let shown = |row: String| if row.is_empty() { "(empty)".to_owned() } else { row };
    (0..batch.num_rows()).map(row).map(shown).collect()
}
