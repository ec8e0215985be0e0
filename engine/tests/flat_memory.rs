//! A slow sink slows the source: memory does not grow with the input. One test, because the allocator counts the whole process.

#![expect(clippy::unwrap_used, reason = "tests stop at the first failure")]

mod allocator;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::SchemaRef;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use thalweg_engine::sink::{Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written};
use thalweg_engine::source::{
    Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator, SplitId,
};
use thalweg_engine::testing::operators::Pass;
use thalweg_engine::testing::rows::int_batch;
use thalweg_engine::testing::scripted::{ScriptedSource, watermark};
use thalweg_engine::{Batch, Ending, Graph, Input, Job, JobOptions, NodeKind, NodeSpec, Partitioning, Result};

/// Rows of a batch that the source gives, and its bytes: three columns of 8.
const BATCH_ROWS: usize = 512;
const BATCH_BYTES: i64 = BATCH_ROWS as i64 * 3 * 8;
const GATE_BYTES: i64 = 128 << 10;
const PARALLELISM: u32 = 2;

/// Makes its rows when they are asked for: what is in memory is what the engine keeps there.
#[derive(Clone)]
struct Numbers {
    splits: ScriptedSource,
    batches: usize,
}

impl SourceFactory for Numbers {
    fn schema(&self) -> SchemaRef {
        self.splits.schema()
    }
    fn bounded(&self) -> bool {
        true
    }
    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        self.splits.enumerator()
    }
    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(Reader { schema: self.schema(), left: self.batches, split: None }))
    }
}

struct Reader {
    schema: SchemaRef,
    left: usize,
    split: Option<SplitId>,
}

impl SourceReader for Reader {
    fn open(&mut self, _ctx: &ReaderContext) -> Result<()> {
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        assert!(splits.len() == 1 && self.split.is_none());
        self.split = splits.first().map(|(split, _)| split.id.as_str().into());
        Ok(())
    }

    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        assert!(max_rows >= BATCH_ROWS);
        let Some(split) = self.split.clone() else { return Ok(Poll::Finished) };
        if self.left == 0 {
            self.split = None;
            return Ok(Poll::SplitFinished(split));
        }
        self.left -= 1;
        let column = || Arc::new(Int64Array::from_iter_values(0..BATCH_ROWS as i64)) as ArrayRef;
        let rows = arrow::array::RecordBatch::try_new(self.schema.clone(), vec![column(), column(), column()]).unwrap();
        Ok(Poll::Batch { split, batch: Batch::from(rows), rejected: None })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.split.iter().map(|id| (id.clone(), Position(json!(self.left)))).collect()
    }
}

/// Counts rows, and is busy for a while with every batch.
#[derive(Clone, Default)]
struct SlowCount(Arc<AtomicUsize>);

impl SinkFactory for SlowCount {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Ok(Box::new(self.clone()))
    }
}

impl Sink for SlowCount {
    fn open(&mut self, _ctx: &mut SinkOpen<'_>) -> Result<Release> {
        Ok(Release::Batch)
    }

    fn write(&mut self, batch: Batch, ctx: &mut SinkContext<'_>) -> Result<Written> {
        self.0.fetch_add(batch.num_rows(), Ordering::Relaxed);
        ctx.wake_at = Some(ctx.clock.now() + Duration::from_micros(300));
        Ok(Written::Busy)
    }

    fn prepare(&mut self, _id: u64, _last: bool, _ctx: &mut SinkContext<'_>) -> Result<Prepare> {
        Ok(Prepare::Done(Prepared::default()))
    }
}

fn graph(batches: usize, to: &SlowCount) -> Graph {
    let empty = int_batch(["time", "key", "value"], &[]);
    let splits = ScriptedSource::new(vec![empty; PARALLELISM as usize]);
    let (factory, name) = (Arc::new(Numbers { splits, batches }), "events".to_owned());
    let mut g = Graph::new();
    let source = NodeKind::Source { factory, watermark: Some(watermark(0, 5)), name };
    let events = g.add(NodeSpec::new("events", "events", source, vec![])).unwrap();
    let by_key = vec![Input::new(events, Partitioning::Hash(vec![1]))];
    let pass = g.add(NodeSpec::new("pass", "pass", NodeKind::Operator(Pass::factory()), by_key)).unwrap();
    let sink = NodeKind::Sink { factory: Arc::new(to.clone()), name: "count".into() };
    g.add(NodeSpec::new("sink", "sink", sink, vec![Input::new(pass, Partitioning::Forward)])).unwrap();
    g
}

/// Runs the job over so many batches per source subtask, with these bytes for every gate; returns the peak of its memory.
fn peak(batches: usize, gate_bytes: i64) -> i64 {
    allocator::peak_of(|| {
        let to = SlowCount::default();
        let options = JobOptions {
            parallelism: PARALLELISM,
            gate_bytes: gate_bytes as u64,
            edge_bytes: 4096,
            batch_rows: BATCH_ROWS,
            checkpoint_interval: None,
            ..JobOptions::default()
        };
        let job = Job::start(&graph(batches, &to), options, None).unwrap();
        assert_eq!(job.wait().ending, Ending::Finished);
        assert_eq!(to.0.load(Ordering::Relaxed), batches * BATCH_ROWS * PARALLELISM as usize);
        let sources = job.registry().tasks.iter().filter(|t| t.name.starts_with("events"));
        let in_flight: Vec<i64> = sources.map(|t| t.metrics.in_flight_peak_bytes.get()).collect();
        assert_eq!(in_flight.len(), PARALLELISM as usize);
        // Every source has a share of every receiver's gate; all shares are the gates. One batch more on each edge.
        let limit = i64::from(PARALLELISM) * (gate_bytes + i64::from(PARALLELISM) * BATCH_BYTES);
        let most: i64 = in_flight.iter().sum();
        assert!((1..=limit).contains(&most), "{most} bytes in flight, {limit} allowed");
    })
}

#[test]
fn a_slow_sink_holds_memory_flat() {
    let batches = 150;
    let input = |times: i64| times * batches as i64 * BATCH_BYTES * i64::from(PARALLELISM);
    let (once, ten) = (peak(batches, GATE_BYTES), peak(10 * batches, GATE_BYTES));
    assert!(ten < once + once / 2, "peak of {once} bytes, {ten} with ten times the input");
    assert!(ten < input(10) / 10, "peak of {ten} bytes, of {} read", input(10));
    // The measure can tell: with room for all of the input, the source runs ahead and memory grows with it.
    let unbounded = peak(10 * batches, 1 << 30);
    assert!(unbounded > 3 * ten, "peak of {unbounded} bytes without a limit, {ten} with one");
}
