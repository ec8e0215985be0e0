//! What window aggregation costs per row: `cargo bench -p thalweg-operators --bench window`. Divide the time by the rows: the
//! local phase, and both phases without an edge between them, over the bids of Nexmark: half of them on one hot auction, the
//! others on a hundred that are open, 100 000 events per second of event time.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking, and its macros document nothing")]

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion_physical_expr::expressions::Column;
use std::hint::black_box;
use std::sync::Arc;
use thalweg_engine::key::KeyGroupRange;
use thalweg_engine::rng::Rng;
use thalweg_engine::state::{Budget, StateStore};
use thalweg_engine::{Batch, EventTime};
use thalweg_operators::aggregate::{Aggregate, Function};
use thalweg_operators::expr::Expr;
use thalweg_operators::window::global::GlobalCore;
use thalweg_operators::window::local::{GROUPS_MAX, LocalCore};
use thalweg_operators::window::{WindowAggregate, WindowTime, Windows};

const ROWS: usize = 1 << 20;
const BATCH_ROWS: usize = 8192;
const MS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

fn input() -> SchemaRef {
    let fields = vec![
        Field::new("auction", DataType::Int64, false),
        Field::new("date_time", MS, false),
        Field::new("price", DataType::Int64, false),
    ];
    Arc::new(Schema::new(fields))
}

fn col(i: usize) -> Expr {
    Arc::new(Column::new(input().field(i).name(), i))
}

/// Bids in the order of their times, or of `keys` uniform keys.
fn bids(keys: Option<u64>) -> Vec<(EventTime, Batch)> {
    let mut rng = Rng::new(1);
    let mut batches = vec![];
    for first in (0..ROWS).step_by(BATCH_ROWS) {
        let mut columns: [Vec<i64>; 3] = Default::default();
        for event in first..first + BATCH_ROWS {
            let newest = event as i64 * 3 / 50;
            let auction = match keys {
                Some(keys) => rng.below(keys) as i64,
                None if rng.percent(50) => newest / 100 * 100,
                None => newest - rng.below(100) as i64,
            };
            columns[0].push(auction);
            columns[1].push(event as i64 / 100);
            columns[2].push(rng.below(100_000) as i64);
        }
        let [auction, time, price] = columns;
        let now = EventTime(time[BATCH_ROWS - 1] - 4_000);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(auction)),
            Arc::new(TimestampMillisecondArray::from(time)),
            Arc::new(Int64Array::from(price)),
        ];
        batches.push((now, Batch::new(RecordBatch::try_new(input(), columns).unwrap())));
    }
    batches
}

fn aggregation(windows: Windows, aggregates: Vec<Aggregate>) -> WindowAggregate {
    let mut fields = vec![Field::new("auction", DataType::Int64, false)];
    fields.extend(["window_start", "window_end", "window_time"].map(|n| Field::new(n, MS, false)));
    fields.extend(aggregates.iter().enumerate().map(|(i, a)| Field::new(format!("a{i}"), a.output.clone(), true)));
    let time = WindowTime::Event { time: col(1), windows };
    WindowAggregate { input: input(), time, keys: vec![col(0)], aggregates, output: Arc::new(Schema::new(fields)) }
}

fn local(plan: &WindowAggregate, batches: &[(EventTime, Batch)]) -> usize {
    let mut partials = 0;
    let mut core = LocalCore::new(plan.compile().unwrap(), &Budget::unlimited("bench"));
    for (now, batch) in batches {
        let mut emit = |b: Batch| {
            partials += b.num_rows();
            Ok(())
        };
        core.process(batch.clone(), &mut |_| Ok(())).unwrap();
        if core.groups() > GROUPS_MAX {
            core.flush(i64::MAX, &mut emit).unwrap();
        }
        core.on_frontier(*now, &mut emit).unwrap();
    }
    partials
}

fn both(plan: &WindowAggregate, batches: &[(EventTime, Batch)]) -> usize {
    let (compiled, budget) = (plan.compile().unwrap(), Budget::unlimited("bench"));
    let mut state = StateStore::new("bench", KeyGroupRange::ALL, &budget);
    let mut global = GlobalCore::open(compiled.clone(), &mut state).unwrap();
    let mut core = LocalCore::new(compiled, &budget);
    let mut rows = 0;
    for (now, batch) in batches {
        core.process(batch.clone(), &mut |_| Ok(())).unwrap();
        if core.groups() > GROUPS_MAX {
            core.flush(i64::MAX, &mut |b| global.process(&b).map(|_| ())).unwrap();
        }
        core.on_frontier(*now, &mut |b| global.process(&b).map(|_| ())).unwrap();
        let mut emit = |b: Batch| {
            rows += b.num_rows();
            Ok(())
        };
        global.on_frontier(*now, &mut emit).unwrap();
    }
    rows
}

fn window(c: &mut Criterion) {
    let count = || vec![Aggregate::new(Function::Count, None, DataType::Int64)];
    let three = || {
        let price = |f| Aggregate::new(f, Some(col(2)), DataType::Int64);
        vec![count().remove(0), price(Function::Sum), price(Function::Max)]
    };
    let (nexmark, uniform) = (bids(None), bids(Some(10_000)));
    let mut group = c.benchmark_group("window");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    let hop = aggregation(Windows::hop(2_000, 10_000), count());
    group.bench_function("local hop 10 s/2 s count by auction", |b| b.iter(|| black_box(local(&hop, &nexmark))));
    group.bench_function("both hop 10 s/2 s count by auction", |b| b.iter(|| black_box(both(&hop, &nexmark))));
    let tumble = aggregation(Windows::tumble(10_000), three());
    group.bench_function("local tumble count+sum+max by 10 K keys", |b| b.iter(|| black_box(local(&tumble, &uniform))));
    group.bench_function("both tumble count+sum+max by 10 K keys", |b| b.iter(|| black_box(both(&tumble, &uniform))));
    group.finish();
}

criterion_group!(benches, window);
criterion_main!(benches);
