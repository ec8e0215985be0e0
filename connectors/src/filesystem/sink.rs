//! The sink: rows to files, one per partition and subtask at a time, closed by size, by age and at every checkpoint.
//!
//! Invariants
//! - K1 a file's name starts with `.` until the committer has published it.
//! - K2 every row is in exactly one file; all files of a checkpoint are closed and on the disk when it is prepared.
//! - K3 at most [`OPEN_FILES_MAX`] files of a subtask are open, fewer in a bucket; the one written least recently makes room.
//! - K4 names are unique: `part-{attempt}-{subtask}-{counter}`, and files are created new.

use super::commit::{FileCommitter, Part, Scope, hidden};
use super::layout::partition_fields;
use super::options::{FileFormat, FileOptions};
use super::partition::partition_rows;
use super::store;
use super::writer::FileWriter;
use crate::format::csv::CsvEncoder;
use crate::format::json::JsonEncoder;
use crate::options::{OptionError, OptionResult};
use crate::registry::TableSpec;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use std::collections::HashMap;
use std::sync::Arc;
use thalweg_engine::Waker;
use thalweg_engine::batch::Batch;
use thalweg_engine::clock::Moment;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::s3::Ticket;
use thalweg_engine::sink::{Committer, JobInfo, Prepare, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written};

/// How many files of a subtask may be open.
pub(super) const OPEN_FILES_MAX: usize = 64;

/// How many in a bucket: each takes the memory of up to four parts of 8 MiB. As many may be closed and on their way.
const OPEN_OBJECTS_MAX: usize = 16;

/// A folder, written.
pub(super) struct FileSink {
    table: Arc<str>,
    options: Arc<FileOptions>,
    /// The columns in the files, and their places in the rows.
    file: SchemaRef,
    columns: Vec<usize>,
    /// The partition columns' names, and their places in the rows.
    names: Arc<[String]>,
    keys: Vec<usize>,
}

impl FileSink {
    /// A sink of rows with `columns`. Errors: a type that the format cannot write.
    pub(super) fn new(spec: &TableSpec, options: FileOptions, columns: &Schema) -> OptionResult<FileSink> {
        let partition = partition_fields(spec)?;
        if store::is_pattern(&options.path) {
            let error = OptionError::at("path", "a pattern cannot be written to");
            return Err(error.remedy("write the name of a folder"));
        }
        let place = |name: &str| columns.fields().iter().position(|f| f.name() == name);
        let keys = partition.iter().map(|f| {
            place(f.name()).ok_or_else(|| OptionError::new(format!("partition column `{}` is not written", f.name())))
        });
        let keys: Vec<usize> = keys.collect::<OptionResult<_>>()?;
        let rest: Vec<usize> = (0..columns.fields().len()).filter(|i| !keys.contains(i)).collect();
        let file = Arc::new(columns.project(&rest).map_err(|e| OptionError::new(e.to_string()))?);
        match &options.format {
            FileFormat::Json(json) => JsonEncoder::new(*json).check(&file)?,
            FileFormat::Csv(csv) => drop(CsvEncoder::new(csv.clone())?.header(&file)?),
            FileFormat::Parquet(_) => {
                let converted = ArrowSchemaConverter::new().convert(&file);
                converted.map_err(|e| OptionError::new(format!("rows cannot be written as parquet: {e}")))?;
            }
        }
        let names = partition.iter().map(|f| f.name().clone()).collect();
        Ok(FileSink { table: spec.name.as_str().into(), options: Arc::new(options), file, columns: rest, names, keys })
    }
}

impl SinkFactory for FileSink {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Writer {
            table: self.table.clone(),
            options: self.options.clone(),
            file: self.file.clone(),
            columns: self.columns.clone(),
            names: self.names.clone(),
            keys: self.keys.clone(),
            attempt: String::new(),
            subtask: 0,
            counter: 0,
            open: HashMap::new(),
            closed: Vec::new(),
            waker: Waker::noop(),
        }))
    }

    fn committer(&self, job: &JobInfo) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(FileCommitter::new(self.options.clone(), self.names.to_vec(), Scope::of(job, &self.table)))))
    }

    fn check(&self, _job: &JobInfo) -> Result<()> {
        let probed = self.options.store.probe(&self.options.path);
        probed.map_err(|e| e.context(format!("table `{}`", self.table)))
    }
}

/// A file that rows go into.
struct OpenFile {
    name: String,
    writer: FileWriter,
    since: Moment,
    written: Moment,
}

/// One subtask.
struct Writer {
    table: Arc<str>,
    options: Arc<FileOptions>,
    file: SchemaRef,
    columns: Vec<usize>,
    names: Arc<[String]>,
    keys: Vec<usize>,
    attempt: String,
    subtask: u32,
    counter: u64,
    /// By folder.
    open: HashMap<String, OpenFile>,
    /// Closed and not yet prepared.
    closed: Vec<Closed>,
    waker: Waker,
}

/// A file that is closed.
struct Closed {
    folder: String,
    name: String,
    /// Until it is durable.
    on_its_way: Option<Ticket<Result<()>>>,
}

impl Closed {
    /// Whether it is durable.
    fn has_arrived(&mut self) -> Result<bool> {
        let Some(ticket) = &self.on_its_way else { return Ok(true) };
        let Some(result) = ticket.poll()? else { return Ok(false) };
        self.on_its_way = None;
        result.map(|()| true)
    }
}

impl Sink for Writer {
    fn open(&mut self, ctx: &mut SinkOpen<'_>) -> Result<Release> {
        (self.subtask, self.waker) = (ctx.subtask.index, ctx.waker.clone());
        let unique = || format!("{:x}{:x}", ctx.clock.wall_ms(), std::process::id());
        self.attempt = Scope::of(ctx.job, &self.table).map_or_else(unique, |scope| scope.attempt());
        Ok(Release::Checkpoint)
    }

    fn write(&mut self, batch: Batch, ctx: &mut SinkContext<'_>) -> Result<Written> {
        if batch.weights().is_some() {
            let text = "a filesystem table takes only insertions, and the query updates its rows";
            return Err(Error::user(format!("table `{}`: {text}", self.table)));
        }
        let now = ctx.clock.now();
        ctx.wake_at.get_or_insert(now + self.options.rolling.check);
        let written = self.write_rows(batch.columns(), now);
        written.map_err(|e| e.context(format!("table `{}`", self.table)))?;
        Ok(Written::Done)
    }

    fn on_wake(&mut self, ctx: &mut SinkContext<'_>) -> Result<Written> {
        let (now, rolling) = (ctx.clock.now(), self.options.rolling);
        let old = |f: &OpenFile| {
            now.saturating_sub(f.since) >= rolling.rollover || now.saturating_sub(f.written) >= rolling.inactivity
        };
        let folders: Vec<String> = self.open.iter().filter(|(_, f)| old(f)).map(|(folder, _)| folder.clone()).collect();
        for folder in folders {
            self.close(&folder)?;
        }
        if !self.open.is_empty() {
            ctx.wake_at = Some(now + rolling.check);
        }
        Ok(Written::Done)
    }

    fn prepare(&mut self, id: u64, _last: bool, ctx: &mut SinkContext<'_>) -> Result<Prepare> {
        let mut folders: Vec<String> = self.open.keys().cloned().collect();
        folders.sort();
        for folder in folders {
            self.close(&folder).map_err(|e| e.context(format!("table `{}`", self.table)))?;
        }
        let mut waits = false;
        for file in &mut self.closed {
            waits |= !file.has_arrived().map_err(|e| e.context(format!("table `{}`", self.table)))?;
        }
        if waits {
            return Ok(Prepare::Pending);
        }
        let mut part = Part::new(&self.attempt, &self.options.path, ctx.frontier.millis(), ctx.clock.wall_ms());
        part.files = self.closed.drain(..).map(|f| (f.folder, f.name)).collect();
        let name = format!("part-{}-{}-checkpoint-{id}", self.attempt, self.subtask);
        part.pack(&self.options.store, &name).map(Prepare::Done)
    }
}

impl Writer {
    fn write_rows(&mut self, rows: &RecordBatch, now: Moment) -> Result<()> {
        let data = rows.project(&self.columns)?;
        if self.keys.is_empty() {
            return self.append("", &data, now);
        }
        let keys = rows.project(&self.keys)?;
        let partitioned = partition_rows(&self.names, keys.columns(), rows.num_rows())?;
        if let [folder] = partitioned.folders.as_slice() {
            return self.append(folder, &data, now);
        }
        let mut indices: Vec<Vec<u32>> = vec![Vec::new(); partitioned.folders.len()];
        for (row, folder) in (0u32..).zip(&partitioned.rows) {
            if let Some(of) = indices.get_mut(*folder) {
                of.push(row);
            }
        }
        for (folder, indices) in partitioned.folders.iter().zip(indices) {
            self.append(folder, &take_record_batch(&data, &UInt32Array::from(indices))?, now)?;
        }
        Ok(())
    }

    fn append(&mut self, folder: &str, rows: &RecordBatch, now: Moment) -> Result<()> {
        if !self.open.contains_key(folder) {
            self.make_room()?;
            let name = format!("part-{}-{}-{}{}", self.attempt, self.subtask, self.counter, self.options.extension());
            self.counter += 1;
            let path = self.options.path.join(folder).join(hidden(&name));
            let writer = FileWriter::create(&path, &self.file, &self.options, &self.waker)?;
            self.open.insert(folder.to_owned(), OpenFile { name, writer, since: now, written: now });
        }
        let Some(file) = self.open.get_mut(folder) else { return Ok(()) };
        file.writer.write(rows)?;
        file.written = now;
        if file.writer.bytes() >= self.options.rolling.file_bytes {
            self.close(folder)?;
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<()> {
        let most = if store::is_remote(&self.options.path) { OPEN_OBJECTS_MAX } else { OPEN_FILES_MAX };
        if self.open.len() < most {
            return Ok(());
        }
        let oldest = self.open.iter().min_by_key(|(_, f)| f.written).map(|(folder, _)| folder.clone());
        oldest.map_or(Ok(()), |folder| self.close(&folder))
    }

    fn close(&mut self, folder: &str) -> Result<()> {
        let Some(file) = self.open.remove(folder) else { return Ok(()) };
        let on_its_way = file.writer.finish()?;
        self.closed.push(Closed { folder: folder.to_owned(), name: file.name, on_its_way });
        self.bound_what_is_on_its_way()
    }

    /// Who closes files faster than the network takes them waits.
    fn bound_what_is_on_its_way(&mut self) -> Result<()> {
        let under_way = self.closed.iter().filter(|f| f.on_its_way.is_some()).count();
        if under_way < OPEN_OBJECTS_MAX {
            return Ok(());
        }
        let mut arrived = 0;
        for file in &mut self.closed {
            let was_under_way = file.on_its_way.is_some();
            arrived += usize::from(file.has_arrived()? && was_under_way);
        }
        let oldest = self.closed.iter_mut().find(|f| f.on_its_way.is_some()).filter(|_| arrived == 0);
        oldest.and_then(|f| f.on_its_way.take()).map_or(Ok(()), |ticket| ticket.wait()?)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What no checkpoint holds will be written again; what is open removes itself.
        for file in &self.closed {
            let path = self.options.path.join(&file.folder).join(hidden(&file.name));
            let arrived = file.on_its_way.as_ref().map_or(Ok(()), |t| t.wait().and_then(|result| result));
            // A server that does not answer is not asked again for each file: what stays is removed by whoever goes on.
            if arrived.and_then(|()| self.options.store.remove(&path)).is_err() && store::is_remote(&path) {
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
