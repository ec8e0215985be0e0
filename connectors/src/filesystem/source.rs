//! The source: the enumerator looks once, readers go through their splits one after the other.
//!
//! Invariants
//! - S1 a split's position is a record's place (text) or a number of rows (parquet); everything before it was given.
//! - S2 a poll gives at most `max_rows` rows; what a chunk gave beyond them waits, and its position with it.

use super::columnar::ParquetReader;
use super::discover::{FileSplit, SPLIT_BYTES, discover};
use super::layout::Layout;
use super::options::{FileFormat, FileOptions};
use super::text::TextReader;
use crate::bad_record::Rejected;
use crate::format::BadRecord;
use crate::format::csv::CsvDecoder;
use crate::format::json::JsonDecoder;
use crate::splits::AssignOnce;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use thalweg_engine::Waker;
use thalweg_engine::batch::Batch;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::metrics::NodeMetrics;
use thalweg_engine::source::{
    Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator, SplitId,
};

/// A folder's files, read.
pub(super) struct FileSource {
    pub(super) table: Arc<str>,
    pub(super) options: Arc<FileOptions>,
    pub(super) layout: Arc<Layout>,
    /// The size that splits of large files aim at.
    pub(super) split_bytes: u64,
}

impl FileSource {
    /// A source of the layout's columns. Errors: a type that the format cannot read.
    pub(super) fn new(table: &str, options: FileOptions, layout: Layout) -> Result<FileSource> {
        match &options.format {
            FileFormat::Json(_) => drop(JsonDecoder::new(layout.file.clone())?),
            FileFormat::Csv(csv) => drop(CsvDecoder::new(layout.file.clone(), &layout.fields, csv.clone())?),
            FileFormat::Parquet(_) => {}
        }
        let (options, layout) = (Arc::new(options), Arc::new(layout));
        Ok(FileSource { table: table.into(), options, layout, split_bytes: SPLIT_BYTES })
    }
}

impl SourceFactory for FileSource {
    fn schema(&self) -> SchemaRef {
        self.layout.schema.clone()
    }

    fn bounded(&self) -> bool {
        true
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let (table, options, layout) = (self.table.clone(), self.options.clone(), self.layout.clone());
        let bytes = self.split_bytes;
        let place = options.path.display().to_string();
        Ok(Box::new(AssignOnce::new(place, Box::new(move || discover(&table, &options, &layout, bytes)))))
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(FileReader {
            table: self.table.clone(),
            options: self.options.clone(),
            layout: self.layout.clone(),
            waiting: VecDeque::new(),
            current: None,
            positions: Vec::new(),
            metrics: Arc::default(),
            waker: Waker::noop(),
        }))
    }
}

/// A split that is next.
struct Waiting {
    id: SplitId,
    /// Its index in `positions`.
    index: usize,
    spec: FileSplit,
    position: Option<u64>,
}

/// What a split is read with.
enum Input {
    Text(Box<TextReader>),
    Parquet(Box<ParquetReader>),
}

/// The split that is being read.
struct Current {
    id: SplitId,
    index: usize,
    name: String,
    input: Input,
    constants: Vec<Option<ArrayRef>>,
    ready: Option<Ready>,
    /// Rows given so far, for parquet.
    rows: u64,
}

/// Rows that were decoded and are not given yet.
struct Ready {
    batch: RecordBatch,
    /// Text: the place of each row, and where the chunk ends.
    places: Vec<u64>,
    next: u64,
    bad: VecDeque<BadRecord>,
    given: usize,
}

struct FileReader {
    table: Arc<str>,
    options: Arc<FileOptions>,
    layout: Arc<Layout>,
    waiting: VecDeque<Waiting>,
    current: Option<Current>,
    /// Every split ever assigned, and where it stands; `None` = not read yet.
    positions: Vec<(SplitId, Option<u64>)>,
    metrics: Arc<NodeMetrics>,
    waker: Waker,
}

impl SourceReader for FileReader {
    fn open(&mut self, ctx: &ReaderContext) -> Result<()> {
        (self.metrics, self.waker) = (ctx.metrics.clone(), ctx.waker.clone());
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        for (split, position) in splits {
            let id: SplitId = split.id.as_str().into();
            let spec: FileSplit = serde_json::from_value(split.spec)
                .map_err(|e| Error::internal(format!("split `{id}` cannot be read: {e}")))?;
            let position = match position {
                None => None,
                Some(p) if p.0.is_null() => None,
                Some(p) => {
                    let at = p.0.get("at").and_then(serde_json::Value::as_u64);
                    Some(at.ok_or_else(|| Error::user(format!("split `{id}`: {} is no position in a file", p.0)))?)
                }
            };
            self.positions.push((id.clone(), position));
            self.waiting.push_back(Waiting { id, index: self.positions.len() - 1, spec, position });
        }
        Ok(())
    }

    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        if self.current.is_none() {
            let Some(next) = self.waiting.pop_front() else { return Ok(Poll::Finished) };
            self.current = Some(self.start(next)?);
        }
        let Some(mut current) = self.current.take() else { return Ok(Poll::Finished) };
        if current.ready.is_none() && !current.is_ready() {
            self.current = Some(current);
            return Ok(Poll::Idle { until: None });
        }
        if current.ready.is_none() {
            current.ready = current.read(&self.layout).map_err(|e| e.context(format!("table `{}`", self.table)))?;
        }
        let Some(ready) = &mut current.ready else { return Ok(Poll::SplitFinished(current.id)) };
        let count = max_rows.max(1).min(ready.batch.num_rows() - ready.given);
        let batch = ready.batch.slice(ready.given, count);
        ready.given += count;
        let is_last = ready.given == ready.batch.num_rows();
        let at = match current.input {
            Input::Parquet(_) => current.rows + count as u64,
            Input::Text(_) if is_last => ready.next,
            Input::Text(_) => ready.places.get(ready.given).copied().unwrap_or(ready.next),
        };
        current.rows += count as u64;
        let mut bad = Vec::new();
        while let Some(record) = ready.bad.pop_front_if(|b| is_last || b.position < at) {
            bad.push(record);
        }
        if is_last {
            current.ready = None;
        }
        let rejected = bad.iter().map(|b| Rejected {
            position: format!("{}, byte {}", current.name, b.position),
            reason: &b.reason,
            raw: Some(&b.raw),
        });
        let rejected = self.options.bad_record.apply(&self.table, rejected, &self.metrics)?;
        if let Some(place) = self.positions.get_mut(current.index) {
            place.1 = Some(at);
        }
        let split = current.id.clone();
        self.current = Some(current);
        Ok(Poll::Batch { split, batch: Batch::new(batch), rejected })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        let position = |at: &Option<u64>| Position(at.map_or(serde_json::Value::Null, |at| json!({ "at": at })));
        self.positions.iter().map(|(id, at)| (id.clone(), position(at))).collect()
    }
}

impl FileReader {
    fn start(&self, next: Waiting) -> Result<Current> {
        let table = || format!("table `{}`", self.table);
        let constants = self.layout.constants(&next.spec).map_err(|e| e.context(table()))?;
        let name = next.spec.path.display().to_string();
        let input = match &self.options.format {
            FileFormat::Parquet(_) => {
                let (rows, schema) = (next.position.unwrap_or(0), self.layout.file.clone());
                let reader = ParquetReader::open(&next.spec, &self.options.store, schema, rows, &self.metrics);
                Input::Parquet(Box::new(reader.map_err(|e| e.context(table()))?))
            }
            _ => {
                let columns = (self.layout.file.clone(), self.layout.fields.as_slice());
                let reader =
                    TextReader::open(&next.spec, &self.options, columns, next.position, (&self.metrics, &self.waker));
                Input::Text(Box::new(reader.map_err(|e| e.context(table()))?))
            }
        };
        let rows = next.position.unwrap_or(0);
        Ok(Current { id: next.id, index: next.index, name, input, constants, ready: None, rows })
    }
}

impl Current {
    /// Whether a read would not wait for the network.
    fn is_ready(&self) -> bool {
        match &self.input {
            Input::Text(reader) => reader.is_ready(),
            Input::Parquet(_) => true,
        }
    }

    fn read(&mut self, layout: &Layout) -> Result<Option<Ready>> {
        let (rows, places, next, bad) = match &mut self.input {
            Input::Text(reader) => match reader.next()? {
                Some(rows) => (rows.batch, rows.places, rows.next, rows.bad),
                None => return Ok(None),
            },
            Input::Parquet(reader) => match reader.next()? {
                Some(batch) => (batch, vec![], 0, vec![]),
                None => return Ok(None),
            },
        };
        let batch = layout.assemble(&rows, &self.constants)?;
        Ok(Some(Ready { batch, places, next, bad: bad.into(), given: 0 }))
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
