//! Tables in memory, for tests and embedding applications: rows of an uncommitted checkpoint are not visible, and a restore from a
//! checkpoint drops what was prepared after it, as with any transactional table.
//!
//! A memory source reads a fixed list of batches, one split per list, and can restore to any row.

use crate::splits::AssignOnce;
use arrow::datatypes::SchemaRef;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thalweg_engine::batch::Batch;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::sink::{
    Committer, JobInfo, Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written,
};
use thalweg_engine::source::{
    Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator, SplitId,
};

/// A table that a job writes and its owner reads.
#[derive(Clone, Debug, Default)]
pub struct MemoryTable(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    committed: Vec<(u64, Vec<Batch>)>,
    prepared: BTreeMap<(u64, u32), Vec<Batch>>,
}

impl MemoryTable {
    /// An empty table.
    pub fn new() -> MemoryTable {
        MemoryTable::default()
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All committed rows, in the order of their commits.
    pub fn rows(&self) -> Vec<Batch> {
        self.lock().committed.iter().flat_map(|(_, rows)| rows).cloned().collect()
    }

    fn commit(&self, id: u64, parts: &[Prepared]) -> Result<()> {
        let mut rows = self.lock();
        let mut all = vec![];
        for part in parts {
            let subtask = part.bytes.as_slice().try_into().map(u32::from_le_bytes);
            let subtask = subtask.map_err(|_| Error::internal("a memory table's part is no subtask"))?;
            // Nothing there: the commit was done before, and is asked for again.
            all.extend(rows.prepared.remove(&(id, subtask)).unwrap_or_default());
        }
        if !all.is_empty() {
            rows.committed.push((id, all));
        }
        Ok(())
    }
}

impl SinkFactory for MemoryTable {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Ok(Box::new(MemorySink { table: self.clone(), subtask: 0, rows: vec![] }))
    }

    fn committer(&self, _job: &JobInfo) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(MemoryCommitter(self.clone()))))
    }
}

struct MemorySink {
    table: MemoryTable,
    subtask: u32,
    rows: Vec<Batch>,
}

impl Sink for MemorySink {
    fn open(&mut self, ctx: &mut SinkOpen<'_>) -> Result<Release> {
        self.subtask = ctx.subtask.index;
        Ok(Release::Checkpoint)
    }

    fn write(&mut self, batch: Batch, _ctx: &mut SinkContext<'_>) -> Result<Written> {
        self.rows.push(batch);
        Ok(Written::Done)
    }

    fn prepare(&mut self, id: u64, _last: bool, _ctx: &mut SinkContext<'_>) -> Result<Prepare> {
        let rows = std::mem::take(&mut self.rows);
        self.table.lock().prepared.insert((id, self.subtask), rows);
        Ok(Prepare::Done(Prepared::new(self.subtask.to_le_bytes().to_vec())))
    }
}

struct MemoryCommitter(MemoryTable);

impl Committer for MemoryCommitter {
    fn commit(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        self.0.commit(id, parts)
    }

    fn recover(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        self.0.commit(id, parts)?;
        let mut rows = self.0.lock();
        rows.prepared.clear();
        rows.committed.retain(|(committed, _)| *committed <= id);
        Ok(())
    }
}

/// Batches that a job reads, one split per list.
#[derive(Clone, Debug)]
pub struct MemorySource {
    schema: SchemaRef,
    splits: Arc<Vec<Vec<Batch>>>,
    /// The source's columns that are given, in this order.
    columns: Option<Vec<usize>>,
    endless: bool,
}

impl MemorySource {
    /// All batches must have this schema.
    pub fn new(schema: SchemaRef, splits: Vec<Vec<Batch>>) -> MemorySource {
        MemorySource { schema, splits: Arc::new(splits), columns: None, endless: false }
    }

    /// Gives only these columns. Errors: `internal` if there is no such column.
    pub fn project(self, columns: Vec<usize>) -> Result<MemorySource> {
        let schema = Arc::new(self.schema.project(&columns)?);
        Ok(MemorySource { schema, columns: Some(columns), ..self })
    }

    /// Stays at its end instead of finishing.
    pub fn endless(self) -> MemorySource {
        MemorySource { endless: true, ..self }
    }
}

impl SourceFactory for MemorySource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn bounded(&self) -> bool {
        !self.endless
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let split = |i| Split { id: format!("rows-{i}"), spec: json!(i) };
        Ok(Box::new(AssignOnce::known((0..self.splits.len()).map(split).collect())))
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(MemoryReader { source: self.clone(), open: vec![], turn: 0 }))
    }
}

struct OpenSplit {
    id: SplitId,
    list: usize,
    /// Rows given so far.
    at: usize,
    finished: bool,
}

struct MemoryReader {
    source: MemorySource,
    open: Vec<OpenSplit>,
    turn: usize,
}

impl MemoryReader {
    /// The next rows of a split: at most `max_rows`, never over the end of a batch.
    fn next(source: &MemorySource, split: &OpenSplit, max_rows: usize) -> Result<Option<Batch>> {
        let mut before = 0;
        for batch in source.splits.get(split.list).into_iter().flatten() {
            let rows = batch.num_rows();
            if split.at < before + rows {
                let offset = split.at - before;
                let rows = batch.slice(offset, max_rows.max(1).min(rows - offset));
                return source.columns.as_deref().map_or(Ok(rows.clone()), |c| rows.project(c)).map(Some);
            }
            before += rows;
        }
        Ok(None)
    }
}

impl SourceReader for MemoryReader {
    fn open(&mut self, _ctx: &ReaderContext) -> Result<()> {
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        for (split, position) in splits {
            let number = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
            let bad = || Error::user(format!("split `{}` of a memory table: not a place in it", split.id));
            let list = number(&split.spec).ok_or_else(bad)?;
            let at = position.map_or(Some(0), |p| number(&p.0)).ok_or_else(bad)?;
            self.open.push(OpenSplit { id: split.id.as_str().into(), list, at, finished: false });
        }
        Ok(())
    }

    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        let n = self.open.len();
        for k in 0..n {
            let turn = (self.turn + k) % n;
            let Some(split) = self.open.get_mut(turn).filter(|s| !s.finished) else { continue };
            match Self::next(&self.source, split, max_rows)? {
                Some(batch) => {
                    split.at += batch.num_rows();
                    self.turn = turn + 1;
                    return Ok(Poll::Batch { split: split.id.clone(), batch, rejected: None });
                }
                None if self.source.endless => {}
                None => {
                    split.finished = true;
                    return Ok(Poll::SplitFinished(split.id.clone()));
                }
            }
        }
        Ok(if self.source.endless { Poll::Idle { until: None } } else { Poll::Finished })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.open.iter().map(|s| (s.id.clone(), Position(json!(s.at)))).collect()
    }
}
