//! What the tests of this connector share: tables, reading everything, a sink driven by hand.

use super::FilesystemConnector;
use super::layout::Layout;
use super::options::FileOptions;
use super::sink::FileSink;
use super::source::FileSource;
use crate::format::json::{JsonEncoder, JsonEncoderOptions};
use crate::format::{Encoded, Encoder};
use crate::options::{OptionResult, OptionSpec, Options};
use crate::registry::{Connector, Metadata, Registry, TableColumn, TableSpec};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::path::Path;
use std::sync::Arc;
use thalweg_engine::Waker;
use thalweg_engine::batch::Batch;
use thalweg_engine::clock::Clock;
use thalweg_engine::error::Result;
use thalweg_engine::metrics::NodeMetrics;
use thalweg_engine::operator::Subtask;
use thalweg_engine::sink::{JobInfo, Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen};
use thalweg_engine::source::{Fact, Poll, Position, ReaderContext, SourceFactory, SourceReader, Split};
use thalweg_engine::state::{Budget, StateStore};
use thalweg_engine::time::EventTime;

pub(super) fn column(name: &str, data_type: DataType) -> TableColumn {
    TableColumn { field: Arc::new(Field::new(name, data_type, true)), metadata: None }
}

pub(super) fn metadata(name: &str, data_type: DataType, key: &str) -> TableColumn {
    let metadata = Some(Metadata { key: key.to_owned(), is_virtual: true });
    TableColumn { metadata, ..column(name, data_type) }
}

pub(super) fn table(path: &Path, columns: Vec<TableColumn>, keys: &[&str], options: &[(&str, &str)]) -> TableSpec {
    let path = path.to_str().unwrap().to_owned();
    let base = [("connector".to_owned(), "filesystem".to_owned()), ("path".to_owned(), path)];
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    TableSpec {
        s3: thalweg_engine::s3::S3Options::default(),
        name: "t".into(),
        columns,
        primary_key: vec![],
        partition_keys: keys.iter().map(|k| (*k).to_owned()).collect(),
        options: Options::new(base.into_iter().chain(options)).unwrap(),
    }
}

pub(super) fn all(spec: &TableSpec) -> SchemaRef {
    Arc::new(Schema::new(spec.columns.iter().map(|c| c.field.clone()).collect::<Vec<_>>()))
}

fn known() -> Vec<OptionSpec> {
    let mut known = FilesystemConnector.describe().options;
    known.extend_from_slice(crate::bad_record::BAD_RECORD_OPTIONS);
    known.push(OptionSpec::new("connector", crate::ValueKind::Text, "kind"));
    known
}

/// What the registry says about a declared table.
pub(super) fn check(spec: &TableSpec) -> OptionResult<()> {
    let mut registry = Registry::new();
    registry.register(Arc::new(FilesystemConnector));
    registry.check(spec)
}

pub(super) fn source(spec: &TableSpec, columns: SchemaRef) -> FileSource {
    let known = known();
    let options = FileOptions::parse(spec, &spec.options.check("x", &known).unwrap()).unwrap();
    FileSource::new(&spec.name, options, Layout::new(spec, columns).unwrap()).unwrap()
}

pub(super) fn sink(spec: &TableSpec) -> FileSink {
    let known = known();
    let options = FileOptions::parse(spec, &spec.options.check("x", &known).unwrap()).unwrap();
    FileSink::new(spec, options, &spec.physical()).unwrap()
}

/// The rows of a batch as JSON.
pub(super) fn lines(batch: &RecordBatch) -> Vec<String> {
    let mut out = Encoded::default();
    JsonEncoder::new(JsonEncoderOptions::default()).encode(batch, &mut out).unwrap();
    out.rows().map(|r| String::from_utf8(r.to_vec()).unwrap()).collect()
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) rows: Vec<String>,
    pub(super) rejected: Vec<String>,
    pub(super) bad_records: u64,
    pub(super) bytes_in: u64,
    pub(super) splits: usize,
}

pub(super) fn reader(source: &FileSource, metrics: &Arc<NodeMetrics>) -> Box<dyn SourceReader> {
    let mut reader = source.reader().unwrap();
    let subtask = Subtask { index: 0, parallelism: 1 };
    let ctx = ReaderContext { subtask, waker: Waker::noop(), clock: Clock::fake(0), metrics: metrics.clone() };
    reader.open(&ctx).unwrap();
    reader
}

pub(super) fn splits(source: &FileSource) -> Result<Vec<Split>> {
    let mut enumerator = source.enumerator()?;
    let found = enumerator.discover()?;
    assert!(found.complete);
    enumerator.step(Fact::Discovered(found));
    let given = enumerator.step(Fact::Started { parallelism: 1, finished: vec![] });
    Ok(given.into_iter().flat_map(|a| a.splits).collect())
}

/// Reads all, starting over from the positions after every `restart`-th poll.
pub(super) fn read(source: &FileSource, max_rows: usize, restart: usize) -> Result<Seen> {
    let splits = splits(source)?;
    let metrics = Arc::new(NodeMetrics::default());
    let mut seen = Seen { splits: splits.len(), ..Seen::default() };
    let mut open: Vec<(Split, Option<Position>)> = splits.into_iter().map(|s| (s, None)).collect();
    let mut current = reader(source, &metrics);
    current.assign(open.clone())?;
    for polls in 1.. {
        match current.poll(max_rows)? {
            Poll::Batch { batch, rejected, .. } => {
                assert!(batch.num_rows() <= max_rows);
                assert_eq!(batch.schema(), source.schema());
                seen.rows.extend(lines(batch.columns()));
                seen.rejected.extend(rejected.iter().flat_map(|r| lines(r.columns())));
            }
            Poll::SplitFinished(id) => open.retain(|(s, _)| *s.id != *id),
            Poll::Finished => break,
            Poll::Idle { .. } => panic!("files are never idle"),
        }
        if polls % restart == 0 {
            let positions = current.positions();
            for (split, position) in &mut open {
                *position = positions.iter().find(|(id, _)| **id == *split.id).map(|(_, p)| p.clone());
                assert!(position.is_some());
            }
            current = reader(source, &metrics);
            current.assign(open.clone())?;
        }
    }
    seen.bad_records = metrics.bad_records.get();
    seen.bytes_in = metrics.bytes_in.get();
    Ok(seen)
}

/// A subtask of a sink.
pub(super) struct Task {
    pub(super) sink: Box<dyn Sink>,
    pub(super) clock: Clock,
    pub(super) frontier: EventTime,
}

impl Task {
    pub(super) fn start(factory: &FileSink, index: u32, clock: &Clock) -> Task {
        let mut sink = factory.sink().unwrap();
        let subtask = Subtask { index, parallelism: 4 };
        let mut state = StateStore::new("sink", subtask.key_groups(), &Budget::unlimited("test"));
        let (waker, metrics) = (Waker::noop(), Arc::default());
        let mut open =
            SinkOpen { state: &mut state, job: &JobInfo::default(), subtask, waker, clock: clock.clone(), metrics };
        assert_eq!(sink.open(&mut open).unwrap(), Release::Checkpoint);
        Task { sink, clock: clock.clone(), frontier: EventTime::MIN }
    }

    fn context(&self) -> SinkContext<'static> {
        let clock: &'static Clock = Box::leak(Box::new(self.clock.clone()));
        SinkContext { clock, frontier: self.frontier, wake_at: None }
    }

    pub(super) fn write(&mut self, rows: RecordBatch) -> Result<()> {
        self.sink.write(Batch::new(rows), &mut self.context()).map(drop)
    }

    pub(super) fn wake(&mut self) {
        self.sink.on_wake(&mut self.context()).unwrap();
    }

    pub(super) fn prepare(&mut self, id: u64) -> Prepared {
        match self.sink.prepare(id, false, &mut self.context()).unwrap() {
            Prepare::Done(prepared) => prepared,
            Prepare::Pending => panic!("files are never pending"),
        }
    }
}

/// All files under a folder, relative, hidden ones too.
pub(super) fn files(root: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                out.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    out.sort();
    out
}
