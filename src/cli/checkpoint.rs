//! `thalweg checkpoint ..`: what a folder of checkpoints holds, whether it is whole, and copies of it. Reads only; a job that runs
//! is not disturbed.

use crate::cli::arguments::{CheckpointArguments, CheckpointCommand};
use crate::cli::console::Failure;
use crate::cli::exit::Exit;
use crate::cli::inputs;
use crate::cli::print;
use crate::cli::progress::{bytes, instant};
use crate::cli::state;
use serde_json::{Value, json};
use std::fmt::Write;
use thalweg::engine::Error;
use thalweg::engine::checkpoint::archive::complete;
use thalweg::engine::checkpoint::verify::{Checked, FileKind};
use thalweg::engine::checkpoint::{Archive, CheckpointId, Complete, Found, Manifest};
use thalweg::engine::clock::Clock;

/// More orphans than these are counted only.
const ORPHANS_SHOWN: usize = 8;

/// Runs one of the commands.
pub(crate) fn checkpoint(command: &CheckpointCommand) -> Result<Exit, Failure> {
    match command {
        CheckpointCommand::List(arguments) => list(arguments),
        CheckpointCommand::Show { id, arguments } => show(id, arguments),
        CheckpointCommand::Verify(arguments) => verify(arguments),
        CheckpointCommand::Export { id, to, format, arguments } => state::export(id, to, *format, arguments),
        CheckpointCommand::Keep { id, to, arguments } => keep(id, to, arguments),
    }
}

fn archive(arguments: &CheckpointArguments) -> Result<Archive, Failure> {
    let settings = inputs::settings(&arguments.settings)?.settings();
    let missing = || Failure::refused("which folder of checkpoints? add --set checkpoint.dir=PATH");
    Archive::with(&settings.checkpoint_dir.ok_or_else(missing)?, &settings.s3)
        .map_err(|e| Failure::refused(e.message()))
}

/// What is there. Errors: nothing at all is.
fn sequence(archive: &Archive) -> Result<Vec<Found>, Failure> {
    let sequence = archive.sequence().map_err(|e| Failure::of(&e))?;
    if sequence.is_empty() {
        let text = format!("`{}` is no folder of checkpoints: it has no records", archive.objects().url());
        return Err(Failure::refused(text));
    }
    Ok(sequence)
}

fn find(archive: &Archive, id: &str) -> Result<Complete, Failure> {
    let complete = complete(&sequence(archive)?);
    if id == "latest" {
        return latest(archive);
    }
    let wanted: CheckpointId =
        id.parse().map_err(|e: Error| Failure::refused(format!("{}, or latest", e.message())))?;
    complete.into_iter().find(|c| c.id == wanted).ok_or_else(|| {
        Failure::refused(format!(
            "`{}` holds no checkpoint {wanted}; see `thalweg checkpoint list`",
            archive.objects().url()
        ))
    })
}

/// The newest. Errors: there may have been a later one.
fn latest(archive: &Archive) -> Result<Complete, Failure> {
    let url = archive.objects().url();
    let (mut complete, gap) = archive.listed().map_err(|e| Failure::of(&e))?;
    Err(Failure::refused(match (complete.pop(), gap) {
        (Some(newest), None) => return Ok(newest),
        (Some(Complete { id, .. }), Some(gap)) => {
            format!("`{url}` may have held a later checkpoint than {id}: {gap}; write {id} for that one")
        }
        (None, Some(gap)) => format!("no checkpoint in `{url}` can be read: {gap}"),
        (None, None) => format!("`{url}` holds no checkpoint"),
    }))
}

fn list(arguments: &CheckpointArguments) -> Result<Exit, Failure> {
    let archive = archive(arguments)?;
    let mut out = String::new();
    let complete = complete(&sequence(&archive)?);
    if complete.is_empty() && !arguments.json {
        out.push_str("no checkpoint is complete yet\n");
    }
    for checkpoint in complete {
        let manifest = archive.manifest(&checkpoint);
        let kind = if checkpoint.savepoint { "savepoint" } else { "checkpoint" };
        let _ = match (arguments.json, &manifest) {
            (true, _) => {
                let object = json!({
                    "checkpoint": checkpoint.id.to_string(), "kind": kind, "written_ms": checkpoint.written_ms,
                    "state_bytes": manifest.as_ref().ok().map(Manifest::state_bytes),
                    "problem": manifest.as_ref().err().map(Error::message),
                });
                writeln!(out, "{object}")
            }
            (false, Ok(manifest)) => {
                let size = bytes(manifest.state_bytes());
                writeln!(out, "{:<10} {kind:<10} {}  {size}", checkpoint.id.to_string(), instant(checkpoint.written_ms))
            }
            (false, Err(e)) => {
                let at = instant(checkpoint.written_ms);
                writeln!(out, "{:<10} {kind:<10} {at}  {}", checkpoint.id.to_string(), e.message())
            }
        };
    }
    print(&out)
}

fn show(id: &str, arguments: &CheckpointArguments) -> Result<Exit, Failure> {
    let archive = archive(arguments)?;
    let manifest = archive.manifest(&find(&archive, id)?).map_err(|e| Failure::of(&e))?;
    if arguments.json {
        let value = serde_json::to_value(&manifest).map_err(|e| Failure::failed(e.to_string()))?;
        return print(&format!("{value}\n"));
    }
    print(&shown(&manifest))
}

fn shown(manifest: &Manifest) -> String {
    let mut out = format!("checkpoint {} of job {}, taken {}\n", manifest.id, manifest.job, instant(manifest.taken_ms));
    let nodes = manifest.graph.get("nodes").and_then(Value::as_array);
    let label = |id: &str| {
        let node = nodes.into_iter().flatten().find(|n| n.get("id").and_then(Value::as_str) == Some(id));
        node.and_then(|n| n.get("label")).and_then(Value::as_str).unwrap_or(id).to_owned()
    };
    for (id, source) in &manifest.sources {
        let finished = source.splits.values().filter(|s| s.finished).count();
        let _ = writeln!(out, "{}: {} splits, {finished} of them read to their end", label(id), source.splits.len());
        for (split, state) in &source.splits {
            let _ = writeln!(out, "  {split}: {}", state.position.0);
        }
    }
    for (id, subtasks) in &manifest.operators {
        let files: usize = subtasks.iter().map(|s| s.files.len()).sum();
        let size: u64 = subtasks.iter().flat_map(|s| &s.files).map(|f| f.bytes).sum();
        let plural = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
        let (files, tasks) = (plural(files, "file"), plural(subtasks.len(), "subtask"));
        let _ = writeln!(out, "{} ({id}): {} in {files} of {tasks}", label(id), bytes(size));
    }
    for (id, sinks) in &manifest.prepared {
        for (sink, parts) in sinks {
            let size: u64 = parts.iter().flat_map(|p| &p.rows).map(|f| f.bytes).sum();
            let rows = if size > 0 { format!(", with {} of rows", bytes(size)) } else { String::new() };
            let _ = writeln!(out, "{} ({sink}): {id} prepared{rows}, to be committed", label(sink));
        }
    }
    out
}

fn verify(arguments: &CheckpointArguments) -> Result<Exit, Failure> {
    let archive = archive(arguments)?;
    sequence(&archive)?;
    let checked = archive.verify().map_err(|e| Failure::of(&e))?;
    let broken = checked.iter().filter(|c| c.problem.is_some()).count();
    let orphans = checked.iter().filter(|c| c.kind == FileKind::Orphan).count();
    let mut out = String::new();
    if arguments.json {
        checked.iter().for_each(|file| out += &line(file));
    } else {
        let told = checked.iter().filter(|c| c.problem.is_some());
        let few = checked.iter().filter(|c| c.problem.is_none() && c.kind == FileKind::Orphan).take(ORPHANS_SHOWN);
        told.chain(few).for_each(|file| out += &text(file));
        if orphans > ORPHANS_SHOWN {
            let _ = writeln!(out, ".. {} more orphans; --json names them", orphans - ORPHANS_SHOWN);
        }
        let noun = if checked.len() == 1 { "file" } else { "files" };
        let _ = writeln!(out, "{} {noun}, {broken} damaged or missing, {orphans} orphans", checked.len());
        if orphans > 0 {
            let when = "the job removes them in time, after every eighth checkpoint";
            let _ = writeln!(
                out,
                "orphans belong to checkpoints that are not kept any more, or never were complete; {when}"
            );
        }
    }
    print(&out)?;
    match broken {
        0 => Ok(Exit::Done),
        1 => Err(Failure::failed("1 file is damaged or missing")),
        _ => Err(Failure::failed(format!("{broken} files are damaged or missing"))),
    }
}

fn line(file: &Checked) -> String {
    serde_json::to_string(file).unwrap_or_default() + "\n"
}

fn text(file: &Checked) -> String {
    match &file.problem {
        Some(problem) => format!("{}: {problem}\n", file.path),
        None => format!("{}: an orphan\n", file.path),
    }
}

fn keep(id: &str, to: &str, arguments: &CheckpointArguments) -> Result<Exit, Failure> {
    let archive = archive(arguments)?;
    let checkpoint = find(&archive, id)?;
    let s3 = inputs::settings(&arguments.settings)?.settings().s3;
    let target = Archive::with(to, &s3).map_err(|e| Failure::refused(e.message()))?;
    let manifest = archive.keep(&checkpoint, &target, &Clock::system()).map_err(|e| Failure::of(&e))?;
    let size = bytes(manifest.files().map(|f| f.bytes).sum());
    // A name alone would be taken for that of a checkpoint.
    let from = if to.contains('/') { to.to_owned() } else { format!("./{to}") };
    let object = json!({ "checkpoint": manifest.id.to_string(), "url": from, "bytes": manifest.state_bytes() });
    print(&match arguments.json {
        true => format!("{object}\n"),
        false => format!("kept {} in {to} ({size}); go on from it with --from {from}\n", manifest.id),
    })
}
