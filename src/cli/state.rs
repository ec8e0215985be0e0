//! `thalweg state query` and `thalweg checkpoint export`: what is in the state of a checkpoint, as rows and as files. Reads only.
//!
//! Invariants
//! - T1 rows are written as they come; a reader that has seen enough (`| head`) ends the query without an error.

use crate::cli::arguments::{CheckpointArguments, ExportFormat, StateCommand};
use crate::cli::console::Failure;
use crate::cli::exit::Exit;
use crate::cli::inputs;
use crate::cli::print;
use crate::cli::progress::{bytes, instant};
use crate::cli::run::{placed, shown};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write};
use thalweg::Start;
use thalweg::connectors::rows::{FileKind, Lines, RowFile};
use thalweg::connectors::terminal::RowFormat;
use thalweg::engine::checkpoint::objects::Objects;
use thalweg::engine::{Error, type_name};
use thalweg::sql::batch::{Asked, BatchError, BatchTable, Query};
use thalweg::state::{Named, Snapshot};

/// A file of an export is ended when it has so many bytes.
const FILE_BYTES: usize = 64 << 20;

/// Runs one of the commands.
pub(crate) fn state(command: &StateCommand) -> Result<Exit, Failure> {
    let StateCommand::Query { checkpoint, sql, arguments } = command;
    let snapshot = open(checkpoint, arguments)?;
    let Some(sql) = sql else { return listing(&snapshot, arguments.json) };
    match snapshot.query(sql) {
        Ok(Asked::Answer(answer)) => print(&shown(&answer, arguments.json)),
        Ok(Asked::Query(query)) => run(&query, arguments.json),
        Err(BatchError::Sql(e)) => Err(placed("query", &e)),
        Err(BatchError::Table(e)) => Err(Failure::failed(e.message())),
    }
}

fn open(which: &Start, arguments: &CheckpointArguments) -> Result<Snapshot, Failure> {
    if *which == Start::Auto {
        return Err(Failure::refused(
            "`auto` names no checkpoint; write latest, an id such as 3-17, or the path of a savepoint",
        ));
    }
    let settings = inputs::settings(&arguments.settings)?.settings();
    Snapshot::open(&settings, which).map_err(failure)
}

fn failure(e: thalweg::Error) -> Failure {
    match e {
        thalweg::Error::Job(e) => Failure::failed(e.message()),
        other => Failure::refused(other.to_string()),
    }
}

fn run(query: &Query, json: bool) -> Result<Exit, Failure> {
    let format = if json { RowFormat::Json } else { RowFormat::Text };
    let mut lines = Lines::new(format, query.schema());
    let mut out = std::io::stdout().lock();
    let (mut headed, mut stopped) = (false, None);
    let mut write = |text: &[u8]| {
        out.write_all(text).and_then(|()| out.flush()).map_err(|e| {
            stopped = Some(e);
            Error::internal("the reader has gone")
        })
    };
    let ended = query.run(|rows| {
        let mut text = lines.of(&rows)?;
        if !headed {
            // Once more, under a header that is as wide as they have made it.
            write(lines.header().as_bytes())?;
            text = lines.of(&rows)?;
            headed = true;
        }
        write(&text)
    });
    let ended = ended.and_then(|()| if headed { Ok(()) } else { write(lines.header().as_bytes()) });
    match (ended, stopped) {
        (Ok(()), _) => Ok(Exit::Done),
        (Err(_), Some(e)) if e.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        (Err(_), Some(e)) => Err(Failure::failed(format!("write standard output: {e}"))),
        (Err(e), None) => Err(Failure::failed(e.message())),
    }
}

/// The tables with their columns.
fn listing(snapshot: &Snapshot, json: bool) -> Result<Exit, Failure> {
    let manifest = snapshot.manifest();
    let mut out = String::new();
    if !json {
        let kind = if manifest.savepoint { "savepoint" } else { "checkpoint" };
        let (taken, size) = (instant(manifest.taken_ms), bytes(manifest.state_bytes()));
        let _ = writeln!(out, "{kind} {}, taken {taken}, {size} of state\n", manifest.id);
    }
    for Named { name, short_name, table } in snapshot.tables().map_err(failure)? {
        let schema = table.schema();
        let columns = schema.fields().iter().map(|f| (f.name(), type_name(f.data_type())));
        let _ = if json {
            let columns: Vec<_> = columns.map(|(name, of)| json!({ "name": name, "type": of })).collect();
            writeln!(out, "{}", json!({ "table": name, "short_name": short_name, "columns": columns }))
        } else {
            let name = short_name.map_or(name.clone(), |short| format!("{name}, in short {short}"));
            let columns: Vec<String> = columns.map(|(name, of)| format!("{name} {of}")).collect();
            writeln!(out, "{name}\n  {}", columns.join(", "))
        };
    }
    print(&out)
}

/// Writes all tables as files.
pub(crate) fn export(
    which: &Start,
    to: &str,
    format: ExportFormat,
    arguments: &CheckpointArguments,
) -> Result<Exit, Failure> {
    let snapshot = open(which, arguments)?;
    let s3 = inputs::settings(&arguments.settings)?.settings().s3;
    let target = Objects::at(to, &s3).map_err(|e| Failure::refused(e.message()))?;
    let is_used = !target.list("").map_err(|e| Failure::refused(e.message()))?.is_empty();
    if is_used {
        return Err(Failure::refused(format!("`{to}` is not empty; choose another folder")));
    }
    let kind = match format {
        ExportFormat::Parquet => FileKind::Parquet,
        ExportFormat::Json => FileKind::Json,
    };
    let mut out = String::new();
    for Named { name, table, .. } in snapshot.tables().map_err(failure)? {
        let cut_off = |e: Error| Failure::failed(format!("{}; the export in `{to}` is not whole", e.message()));
        let (rows, size) = export_table(&target, &name, table.as_ref(), kind).map_err(cut_off)?;
        let _ = match arguments.json {
            true => writeln!(out, "{}", json!({ "table": name, "rows": rows, "bytes": size })),
            false => writeln!(out, "{name}: {rows} rows, {}", bytes(size)),
        };
    }
    print(&out)
}

/// Writes a table as one file or more; returns its rows and bytes.
fn export_table(target: &Objects, name: &str, table: &dyn BatchTable, kind: FileKind) -> Result<(u64, u64), Error> {
    let (schema, mut parts) = (table.schema(), table.scan()?);
    let (mut rows, mut size, mut files, mut ended) = (0, 0, 0, false);
    while !ended {
        let mut file = RowFile::new(kind, &schema)?;
        while file.bytes() < FILE_BYTES && !ended {
            match parts.next().transpose()? {
                Some(part) => {
                    rows += part.num_rows() as u64;
                    file.write(&part)?;
                }
                None => ended = true,
            }
        }
        let content = file.finish()?;
        target.put(&format!("{name}/part-{files:05}.{}", kind.extension()), &content)?;
        size += content.len() as u64;
        files += 1;
    }
    Ok((rows, size))
}
