//! What a hash edge costs: the partitioner alone, and the hop from one task's thread to another's, with its credit and its inbox.
//!
//! A hop is measured as a whole job of two subtasks a side: rows come from memory, cross the edge and are dropped. `no-edge` is
//! the same job without the edge; the difference is the hop. Figures are wall time of two cores at once per row: the CPU time is
//! up to twice that. Beside them a fixed kernel of arithmetic.

#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first failure")]
#![expect(missing_docs, reason = "the macros of criterion make public items")]

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_engine::partition::Partitioner;
use thalweg_engine::rng::Rng;
use thalweg_engine::sink::{Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written};
use thalweg_engine::source::{
    Assignment, Discovery, Fact, Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator,
    SplitId,
};
use thalweg_engine::{Batch, Ending, Graph, Input, Job, JobOptions, NodeKind, NodeSpec, Partitioning, Result};

const ROWS: usize = 4096;
const BATCHES: usize = 64;
/// Batches that each of two readers gives in a job.
const JOB_BATCHES: usize = 1_000;

/// Rows of three integers, the first a key.
fn batches(keys: u64) -> Vec<Batch> {
    let mut rng = Rng::new(42);
    let mut column =
        |below| -> ArrayRef { Arc::new((0..ROWS).map(|_| rng.below(below) as i64).collect::<Int64Array>()) };
    let mut batch = |_| RecordBatch::try_new(schema(), vec![column(keys), column(1 << 40), column(100)]).unwrap();
    (0..BATCHES).map(|b| Batch::new(batch(b))).collect()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(["key", "time", "value"].map(|n| Field::new(n, DataType::Int64, false)).to_vec()))
}

/// Gives every reader the same rows again and again.
struct Repeat(Arc<Vec<Batch>>);

struct Reader {
    batches: Arc<Vec<Batch>>,
    split: Option<SplitId>,
    given: usize,
}

struct OneEach;

impl SourceFactory for Repeat {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn bounded(&self) -> bool {
        true
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(OneEach))
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(Reader { batches: self.0.clone(), split: None, given: 0 }))
    }
}

impl SplitEnumerator for OneEach {
    fn discover(&mut self) -> Result<Discovery> {
        Ok(Discovery { splits: vec![], complete: true })
    }

    fn step(&mut self, fact: Fact) -> Vec<Assignment> {
        let Fact::Started { parallelism, .. } = fact else { return vec![] };
        let split = |subtask: u32| Split { id: subtask.to_string(), spec: serde_json::Value::Null };
        (0..parallelism).map(|subtask| Assignment { subtask, splits: vec![split(subtask)], no_more: true }).collect()
    }

    fn snapshot(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn restore(&mut self, _state: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}

impl SourceReader for Reader {
    fn open(&mut self, _ctx: &ReaderContext) -> Result<()> {
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        self.split = splits.first().map(|(split, _)| split.id.as_str().into());
        Ok(())
    }

    fn poll(&mut self, _max_rows: usize) -> Result<Poll> {
        let (Some(split), true) = (&self.split, self.given < JOB_BATCHES) else { return Ok(Poll::Finished) };
        self.given += 1;
        let batch = self.batches[self.given % self.batches.len()].clone();
        Ok(Poll::Batch { split: split.clone(), batch, rejected: None })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        vec![]
    }
}

/// Drops rows.
struct Nowhere;

impl SinkFactory for Nowhere {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Nowhere))
    }
}

impl Sink for Nowhere {
    fn open(&mut self, _ctx: &mut SinkOpen<'_>) -> Result<Release> {
        Ok(Release::Batch)
    }

    fn write(&mut self, batch: Batch, _ctx: &mut SinkContext<'_>) -> Result<Written> {
        black_box(batch);
        Ok(Written::Done)
    }

    fn prepare(&mut self, _id: u64, _last: bool, _ctx: &mut SinkContext<'_>) -> Result<Prepare> {
        Ok(Prepare::Done(Prepared::default()))
    }
}

fn job(batches: &Arc<Vec<Batch>>, partitioning: Partitioning, edge_bytes: Option<u64>) -> Duration {
    let mut graph = Graph::new();
    let factory = Arc::new(Repeat(batches.clone()));
    let kind = NodeKind::Source { factory, watermark: None, name: "rows".into() };
    let rows = graph.add(NodeSpec::new("rows", "rows", kind, vec![])).unwrap();
    let kind = NodeKind::Sink { factory: Arc::new(Nowhere), name: "nowhere".into() };
    graph.add(NodeSpec::new("nowhere", "nowhere", kind, vec![Input::new(rows, partitioning)])).unwrap();
    let mut options = JobOptions { parallelism: 2, ..JobOptions::default() };
    options.edge_bytes = edge_bytes.unwrap_or(options.edge_bytes);
    let start = now();
    let outcome = Job::start(&graph, options, None).unwrap().wait();
    let time = now() - start;
    assert_eq!(outcome.ending, Ending::Finished, "{:?}", outcome.error);
    time
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn partitioner(c: &mut Criterion) {
    let mut group = c.benchmark_group("hash-partitioner");
    group.throughput(Throughput::Elements(ROWS as u64));
    let batches = batches(10_000);
    for targets in [1, 2, 16] {
        let mut partitioner = Partitioner::new(Partitioning::Hash(vec![0]), None, targets);
        let mut at = 0;
        group.bench_function(BenchmarkId::new("3-int64", targets), |b| {
            b.iter(|| {
                at += 1;
                let ship = |_, batch| {
                    black_box::<Batch>(batch);
                    Ok(())
                };
                partitioner.split(batches[at % BATCHES].clone(), ship).unwrap();
            });
        });
    }
    group.finish();
}

fn edge_hop(c: &mut Criterion) {
    let mut group = c.benchmark_group("edge-hop");
    group.throughput(Throughput::Elements((2 * JOB_BATCHES * ROWS) as u64)).sample_size(10);
    let batches = Arc::new(batches(10_000));
    let cases = [
        ("no-edge", Partitioning::Forward, None),
        ("hash", Partitioning::Hash(vec![0]), None),
        ("hash-one-batch-credit", Partitioning::Hash(vec![0]), Some(1)),
    ];
    for (name, partitioning, edge_bytes) in cases {
        group.bench_function(name, |b| {
            b.iter_custom(|n| (0..n).map(|_| job(&batches, partitioning.clone(), edge_bytes)).sum());
        });
    }
    group.finish();
}

fn calibration(c: &mut Criterion) {
    let mut group = c.benchmark_group("calibration");
    group.throughput(Throughput::Elements(ROWS as u64));
    let mut rng = Rng::new(7);
    group.bench_function("arithmetic", |b| {
        b.iter(|| (0..ROWS).fold(0, |sum: u64, _| sum.wrapping_add(rng.below(1 << 40))))
    });
    group.finish();
}

criterion_group!(benches, calibration, partitioner, edge_hop);
criterion_main!(benches);
