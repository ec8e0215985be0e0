//! `thalweg run` and `thalweg explain`: a SQL file compiled, its answers printed, its jobs run one after the other.

use crate::cli::arguments::{ExplainArguments, ProgramArguments, RunArguments};
use crate::cli::console::{Console, ERASE, Failure};
use crate::cli::exit::Exit;
use crate::cli::inputs::{self, Input};
use crate::cli::print;
use crate::cli::watch::{End, Failed, Watch};
use serde_json::{Map, Value};
use std::io::IsTerminal;
use thalweg::connectors::terminal::{RowFormat, Terminal};
use thalweg::engine::graph::NodeKind;
use thalweg::engine::restart::RestartPolicy;
use thalweg::sql::{Answer, Item, Job, Program, SqlError};
use thalweg::{Recovery, Session};

/// Compiles and runs.
pub(crate) fn run(arguments: &RunArguments, console: &mut Console) -> Result<Exit, Failure> {
    let format = if arguments.json { RowFormat::Json } else { RowFormat::Text };
    let same_screen = console.is_live() && std::io::stdout().is_terminal();
    let terminal = Terminal::stdout(format, if same_screen { ERASE } else { "" });
    let (session, program, name) = compile(&arguments.program, &terminal)?;
    check_startable(&program, &name)?;
    check_durable(&session, &program, &name)?;
    let mut watch = Watch::new(console)?;
    for item in &program.items {
        let job = match item {
            Item::Job(job) => job,
            Item::Answer(answer) => {
                print(&shown(answer, arguments.json))?;
                continue;
            }
        };
        match run_job(arguments, &session, job, &mut watch, &terminal)? {
            End::Finished => {}
            end => return Ok(end.exit()),
        }
    }
    Ok(Exit::Done)
}

/// Runs one job to its end, with as many attempts as it takes.
fn run_job(
    arguments: &RunArguments,
    session: &Session,
    job: &Job,
    watch: &mut Watch<'_>,
    terminal: &Terminal,
) -> Result<End, Failure> {
    let settings = session.settings(job).map_err(|e| Failure::refused(e.to_string()))?;
    watch.show_every(settings.progress_interval);
    let mut recovery = Recovery::new(arguments.from.clone().unwrap_or_default(), arguments.allow_dropped_state);
    let mut policy = RestartPolicy::new(settings.backoff());
    let mut restarts = 0;
    loop {
        let failed = match recovery.start(session, job) {
            Ok(started) => {
                watch.started(&started, restarts);
                match watch.until_end(&started.job, || terminal.closed()) {
                    Ok(end) => return Ok(end),
                    Err(failed) => failed,
                }
            }
            // What an attempt after the first meets may pass, as what ended the one before.
            Err(thalweg::Error::Job(error)) if restarts > 0 => Failed { error, progress: false },
            Err(thalweg::Error::Job(error)) => return Err(Failure::of(&error)),
            Err(e) => return Err(Failure::refused(e.to_string())),
        };
        // Whoever asked for the end of the job gets it, and goes on from the last checkpoint when he likes.
        let may_restart = settings.checkpoint_dir.is_some() && !watch.is_stopping();
        let wait = may_restart.then(|| policy.next(&failed.error, failed.progress)).flatten();
        let Some(wait) = wait else { return Err(Failure::failed(failed.error.to_string())) };
        restarts += 1;
        if let Some(end) = watch.pause(&failed.error, wait, || terminal.closed()) {
            return Ok(end);
        }
    }
}

/// Compiles and shows.
pub(crate) fn explain(arguments: &ExplainArguments) -> Result<Exit, Failure> {
    let terminal = Terminal::stdout(RowFormat::Text, "");
    let (_, program, name) = compile(&arguments.program, &terminal)?;
    check_startable(&program, &name)?;
    let mut text = String::new();
    for item in &program.items {
        match item {
            Item::Answer(answer) => text.push_str(&shown(answer, arguments.json)),
            Item::Job(job) if arguments.json => text.push_str(&format!("{}\n", job.graph.to_json())),
            Item::Job(job) => {
                text.push_str(job.explain.trim_end());
                text.push_str("\n\n");
            }
        }
    }
    print(&text)
}

fn compile(arguments: &ProgramArguments, terminal: &Terminal) -> Result<(Session, Program, String), Failure> {
    let Input { name, text, defines, settings } = inputs::read(arguments)?;
    let session = Session::with(settings, terminal.clone());
    let program = session.compile(&text, &defines).map_err(|e| placed(&name, &e))?;
    Ok((session, program, name))
}

/// The error at its place in the file.
pub(crate) fn placed(name: &str, e: &SqlError) -> Failure {
    let text = e.to_string();
    let before = e.position().map(|p| format!("{p}: "));
    let rest = before.as_deref().and_then(|before| text.strip_prefix(before)).unwrap_or(&text);
    Failure::refused(rest).at(name, e.position())
}

/// A text must start something, and everything that it starts must have its turn.
fn check_startable(program: &Program, name: &str) -> Result<(), Failure> {
    if program.items.is_empty() {
        let text = "this starts nothing; write a SELECT or an INSERT INTO after the definitions";
        return Err(Failure::refused(text).at(name, None));
    }
    let jobs: Vec<&Job> = program.jobs().collect();
    let Some((_, others)) = jobs.split_last() else { return Ok(()) };
    match others.iter().find(|job| is_endless(job)) {
        None => Ok(()),
        Some(job) => {
            let reason = "this reads an input without end, and what follows it in the file would never start";
            let remedy = "put both between EXECUTE STATEMENT SET BEGIN and END, or into two files";
            Err(Failure::refused(format!("{reason}; {remedy}")).at(name, job.position))
        }
    }
}

/// A folder of checkpoints is for one job.
fn check_durable(session: &Session, program: &Program, name: &str) -> Result<(), Failure> {
    let keeps = |job: &&Job| session.settings(job).is_ok_and(|s| s.checkpoint_dir.is_some());
    let Some(job) = program.jobs().filter(keeps).nth(1) else { return Ok(()) };
    let reason = "this is a second job, and a checkpoint.dir is for one";
    let remedy = "put both between EXECUTE STATEMENT SET BEGIN and END, or into two files";
    Err(Failure::refused(format!("{reason}; {remedy}")).at(name, job.position))
}

fn is_endless(job: &Job) -> bool {
    let endless = |kind: &NodeKind| matches!(kind, NodeKind::Source { factory, .. } if !factory.bounded());
    job.graph.nodes().iter().any(|n| endless(&n.kind))
}

/// The answer to SHOW, DESCRIBE or EXPLAIN.
pub(crate) fn shown(answer: &Answer, json: bool) -> String {
    if json { answer_json(answer) } else { answer_text(answer) }
}

fn answer_json(answer: &Answer) -> String {
    let object = |row: &Vec<String>| {
        let cells = answer.columns.iter().zip(row).map(|(name, cell)| ((*name).to_owned(), Value::from(cell.as_str())));
        format!("{}\n", Value::Object(Map::from_iter(cells)))
    };
    answer.rows.iter().map(object).collect()
}

/// Padded columns under a line of names; a single column stands alone, as text.
fn answer_text(answer: &Answer) -> String {
    if let [_] = answer.columns.as_slice() {
        return answer.rows.iter().flatten().map(|cell| format!("{cell}\n")).collect();
    }
    let names: Vec<String> = answer.columns.iter().map(|c| (*c).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&names).chain(&answer.rows).collect();
    let width = |i: usize| lines.iter().filter_map(|l| l.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_columns_or_objects() {
        let rows = vec![vec!["a".to_owned(), "BIGINT".to_owned()], vec!["longer".to_owned(), String::new()]];
        let answer = Answer { columns: vec!["name", "type"], rows };
        assert_eq!(shown(&answer, false), "name    type\na       BIGINT\nlonger\n");
        assert_eq!(shown(&answer, true), "{\"name\":\"a\",\"type\":\"BIGINT\"}\n{\"name\":\"longer\",\"type\":\"\"}\n");
        let one = Answer { columns: vec!["plan"], rows: vec![vec!["scan".into()], vec!["  filter".into()]] };
        assert_eq!(shown(&one, false), "scan\n  filter\n");
    }
}
