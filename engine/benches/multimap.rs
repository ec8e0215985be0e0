//! What the multimap costs per row: `cargo bench -p thalweg-engine --bench multimap`. Divide the time by the rows.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking, and its macros document nothing")]

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::rng::Rng;
use thalweg_engine::state::{Budget, Matches, Multimap, MultimapSpec};

const ROWS: usize = 1 << 20;
const BATCH_ROWS: usize = 8192;

type Rows = (Vec<ArrayRef>, Vec<u64>, Vec<ArrayRef>);

/// Rows of so many keys, each with a number of its own.
fn rows(keys: u64) -> Vec<Rows> {
    let mut rng = Rng::new(1);
    let batch = |b: usize| {
        let key: ArrayRef = Arc::new((0..BATCH_ROWS).map(|_| Some(rng.below(keys) as i64)).collect::<Int64Array>());
        let row: ArrayRef =
            Arc::new((0..BATCH_ROWS).map(|i| Some((b * BATCH_ROWS + i) as i64)).collect::<Int64Array>());
        let mut hashes = vec![];
        hash_rows(std::slice::from_ref(&key), BATCH_ROWS, &mut hashes).unwrap();
        (vec![key], hashes, vec![row])
    };
    (0..ROWS / BATCH_ROWS).map(batch).collect()
}

fn filled(rows: &[Rows]) -> Multimap {
    let field = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
    let spec = MultimapSpec::new([field("k")], [field("v")]);
    let mut map = Multimap::new(spec, &Budget::unlimited("bench")).unwrap();
    for (keys, hashes, values) in rows {
        map.update(keys, hashes, values, None).unwrap();
    }
    map
}

fn multimap(c: &mut Criterion) {
    let mut group = c.benchmark_group("multimap");
    group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));
    for keys in [1000, 100_000, 1_000_000] {
        let rows = rows(keys);
        group.bench_function(format!("update, {keys} keys"), |b| b.iter(|| black_box(filled(&rows).len())));
        let map = filled(&rows);
        // Of each batch as many rows probe as make about as many matches as there are rows.
        let probing = (BATCH_ROWS as u64 * keys / ROWS as u64).clamp(8, BATCH_ROWS as u64) as usize;
        group.bench_function(format!("probe and gather, per match, {keys} keys"), |b| {
            b.iter(|| {
                let (mut found, mut matches) = (0, Matches::default());
                for (keys, hashes, _) in &rows {
                    let keys: Vec<ArrayRef> = keys.iter().map(|k| k.slice(0, probing)).collect();
                    let mut probe = map.probe(&keys, &hashes[..probing]).unwrap();
                    while map.next(&mut probe, 4096, &mut matches).unwrap() {
                        found += map.columns(&matches).unwrap()[1].len() + map.weights(&matches).unwrap().len();
                    }
                }
                black_box(found)
            })
        });
    }
    group.finish();
}

criterion_group!(benches, multimap);
criterion_main!(benches);
