//! What an aggregation pays per row: hash the key, intern it, update count, sum and max. Beside it two fixed kernels, one of
//! arithmetic and one of cache misses, so that figures of different machines and days can be compared.

#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first failure")]
#![expect(missing_docs, reason = "the macros of criterion make public items")]

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{Field, FieldRef};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::state::{Budget, KeyedTable, TableSpec, ValueColumn};

const ROWS: usize = 4096;
const BATCHES: usize = 512;

fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn integers(keys: u64, seed: &mut u64) -> ArrayRef {
    Arc::new((0..ROWS).map(|_| Some((next(seed) >> 11) as i64 % keys as i64)).collect::<Int64Array>())
}

fn texts(keys: u64, seed: &mut u64) -> ArrayRef {
    let text = |seed: &mut u64| format!("user-{:08}", (next(seed) >> 11) % keys);
    Arc::new((0..ROWS).map(|_| Some(text(seed))).collect::<StringArray>())
}

/// What one key is made of.
type Make = fn(u64, &mut u64) -> Vec<ArrayRef>;

struct Fold {
    table: KeyedTable,
    hashes: Vec<u64>,
    rows: Vec<u32>,
}

impl Fold {
    fn new(keys: &[ArrayRef]) -> Fold {
        let field = |(i, a): (usize, &ArrayRef)| -> FieldRef {
            Arc::new(Field::new(format!("k{i}"), a.data_type().clone(), false))
        };
        let values =
            [("count", 0i64), ("sum", 0), ("max", i64::MIN)].map(|(name, initial)| ValueColumn::new(name, initial));
        let spec = TableSpec::new(keys.iter().enumerate().map(field), values);
        let table = KeyedTable::new(Arc::new(spec), &Budget::unlimited("bench")).unwrap();
        Fold { table, hashes: vec![], rows: vec![] }
    }

    fn add(&mut self, keys: &[ArrayRef], values: &[i64]) {
        hash_rows(keys, values.len(), &mut self.hashes).unwrap();
        self.table.intern(keys, &self.hashes, &mut self.rows).unwrap();
        self.table.column_mut::<i64>(0).unwrap().update(&self.rows, |_, count| *count += 1);
        self.table.column_mut::<i64>(1).unwrap().update(&self.rows, |i, sum| *sum += values[i]);
        self.table.column_mut::<i64>(2).unwrap().update(&self.rows, |i, max| *max = (*max).max(values[i]));
    }
}

fn count_sum_max(c: &mut Criterion) {
    let kinds: [(&str, Make); 3] = [
        ("int64", |keys, seed| vec![integers(keys, seed)]),
        ("int64-pair", |keys, seed| vec![integers(keys, seed), integers(1, seed)]),
        ("utf8", |keys, seed| vec![texts(keys, seed)]),
    ];
    let mut group = c.benchmark_group("count-sum-max");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, make) in kinds {
        for keys in [10_000, 1_000_000] {
            let mut seed = 42;
            let batches: Vec<_> = (0..BATCHES).map(|_| make(keys, &mut seed)).collect();
            let values: Vec<i64> = (0..ROWS).map(|_| next(&mut seed) as i64 >> 20).collect();
            let mut fold = Fold::new(&batches[0]);
            batches.iter().for_each(|keys| fold.add(keys, &values));
            let mut at = 0;
            group.bench_function(BenchmarkId::new(name, keys), |b| {
                b.iter(|| {
                    fold.add(&batches[at % BATCHES], &values);
                    at += 1;
                });
            });
        }
    }
    group.finish();
}

fn calibration(c: &mut Criterion) {
    let mut group = c.benchmark_group("calibration");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("arithmetic", |b| {
        let mut seed = 7;
        b.iter(|| (0..ROWS).fold(0u64, |sum, _| sum.wrapping_add(next(&mut seed))));
    });
    group.bench_function("gather-64-mib", |b| {
        let memory = vec![1u64; 8 << 20];
        let mut seed = 7;
        let places: Vec<usize> = (0..ROWS * 64).map(|_| (next(&mut seed) >> 20) as usize % memory.len()).collect();
        let mut at = 0;
        b.iter(|| {
            at = (at + ROWS) % places.len();
            black_box(places[at..at + ROWS].iter().map(|place| memory[*place]).sum::<u64>())
        });
    });
    group.finish();
}

criterion_group!(benches, calibration, count_sum_max);
criterion_main!(benches);
