//! What the budgets say against what an allocator counts: within 10 % for every container, and a small change of a large table
//! freezes little. One test, because the allocator counts the whole process.

#![expect(clippy::unwrap_used, reason = "tests stop at the first failure")]

mod allocator;

use allocator::live;
use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use std::sync::Arc;
use thalweg_engine::key::{KeyGroup, KeyGroupRange, hash_rows};
use thalweg_engine::state::{Budget, KeyedTable, OperatorSnapshot, StateStore, TableSpec, ValueColumn};

/// What the thread of the test harness may allocate meanwhile, in bytes.
const NOISE_BYTES: f64 = 1024.0;

/// Compares what was allocated since `before` with what the budget holds.
#[track_caller]
fn assert_near(what: &str, before: i64, budget: &Budget) {
    let (counted, charged) = ((live() - before) as f64, budget.used_bytes() as f64);
    let near = (charged - counted).abs() <= 0.1 * counted + NOISE_BYTES;
    assert!(near, "{what}: charged {charged}, allocated {counted}");
}

fn integers(keys: std::ops::Range<i64>) -> (ArrayRef, Vec<u64>) {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
    let mut hashes = vec![];
    hash_rows(std::slice::from_ref(&keys), keys.len(), &mut hashes).unwrap();
    (keys, hashes)
}

fn spec() -> TableSpec {
    let values =
        [("count", 0i64), ("sum", 0), ("max", i64::MIN)].map(|(name, initial)| ValueColumn::new(name, initial));
    TableSpec::new([Arc::new(Field::new("k", DataType::Int64, false))], values)
}

fn fill(table: &mut KeyedTable, keys: std::ops::Range<i64>) {
    let mut rows = vec![];
    for start in keys.clone().step_by(4096) {
        let (column, hashes) = integers(start..(start + 4096).min(keys.end));
        table.intern(&[column], &hashes, &mut rows).unwrap();
        let sum = table.column_mut::<i64>(1).unwrap();
        rows.iter().for_each(|row| sum[*row] += 1);
    }
}

fn a_table_of_integers(entries: i64) {
    let (budget, spec) = (Budget::unlimited("t"), Arc::new(spec()));
    let before = live();
    let mut table = KeyedTable::new(spec, &budget).unwrap();
    fill(&mut table, 0..entries);
    assert_near(&format!("{entries} integers"), before, &budget);
    drop(table);
    assert_eq!(budget.used_bytes(), 0);
}

fn a_table_of_texts() {
    let before = live();
    let budget = Budget::unlimited("t");
    let spec = TableSpec::new([Arc::new(Field::new("k", DataType::Utf8, false))], [ValueColumn::text("last")]);
    let mut table = KeyedTable::new(Arc::new(spec), &budget).unwrap();
    for start in (0..60_000).step_by(4000) {
        let keys: ArrayRef =
            Arc::new(StringArray::from_iter_values((start..start + 4000).map(|k| format!("user-{k}"))));
        let (mut hashes, mut rows) = (vec![], vec![]);
        hash_rows(std::slice::from_ref(&keys), 4000, &mut hashes).unwrap();
        table.intern(&[keys], &hashes, &mut rows).unwrap();
        let last = table.bytes_column_mut(0).unwrap();
        for row in &rows {
            last.set(*row, Some(&vec![b'v'; *row as usize % 90])).unwrap();
        }
    }
    assert_near("texts", before, &budget);
    let removed: Vec<u32> = (0..30_000).collect();
    table.remove(&removed).unwrap();
    drop(removed);
    assert_near("texts, half of them removed", before, &budget);
}

fn slices_and_cells() {
    let before = live();
    let budget = Budget::unlimited("t");
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
    let slices = store.slices("windows", spec()).unwrap();
    for end in 0..40 {
        fill(slices.lock().slice(end).unwrap(), 0..50 * end);
    }
    assert_near("slices", before, &budget);
    let full = budget.used_bytes();
    slices.lock().drop_through(30);
    assert!(budget.used_bytes() < full / 2);
    slices.lock().drop_through(i64::MAX);
    let cells_before = (live(), budget.used_bytes());
    let cells = store.cells("fired").unwrap();
    for i in 0..2000 {
        cells.lock().set(KeyGroup((i % 256) as u8), &format!("cell-{}", i / 256), vec![1; 500]);
    }
    let (counted, charged) = (live() - cells_before.0, budget.used_bytes() - cells_before.1);
    assert!((0.9..=1.1).contains(&(charged as f64 / counted as f64)), "cells: charged {charged}, allocated {counted}");
}

/// Slices with text keys and text values: grown, with half of their entries removed, with half of the slices dropped.
fn slices_of_texts() {
    let before = live();
    let budget = Budget::unlimited("t");
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
    let spec = TableSpec::new([Arc::new(Field::new("k", DataType::Utf8, false))], [ValueColumn::text("last")]);
    let slices = store.slices("windows", spec).unwrap();
    for end in 0..20 {
        let mut slices = slices.lock();
        let table = slices.slice(end).unwrap();
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values((0..3000).map(|k| format!("user-{end}-{k}"))));
        let (mut hashes, mut rows) = (vec![], vec![]);
        hash_rows(std::slice::from_ref(&keys), 3000, &mut hashes).unwrap();
        table.intern(&[keys], &hashes, &mut rows).unwrap();
        let last = table.bytes_column_mut(0).unwrap();
        for row in &rows {
            last.set(*row, Some(&vec![b'v'; *row as usize % 90])).unwrap();
        }
    }
    assert_near("slices of texts", before, &budget);
    let removed: Vec<u32> = (0..1500).collect();
    (0..20).for_each(|end| slices.lock().slice(end).unwrap().remove(&removed).unwrap());
    drop(removed);
    assert_near("slices of texts, half of their entries removed", before, &budget);
    slices.lock().drop_through(9);
    assert_near("slices of texts, half of them dropped", before, &budget);
}

/// Cells that are written, rewritten with more and with less, and removed.
fn cells_that_change() {
    let before = live();
    let budget = Budget::unlimited("t");
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
    let cells = store.cells("offsets").unwrap();
    for (what, bytes) in [("new", 300), ("grown", 900), ("shrunk", 200)] {
        for i in 0..4000 {
            cells.lock().set(KeyGroup((i % 256) as u8), &format!("cell-{}", i / 256), vec![1; bytes]);
        }
        assert_near(&format!("cells, {what}"), before, &budget);
        let frozen = store.freeze();
        assert_near(&format!("cells, {what}, with a snapshot"), before, &budget);
        drop(frozen);
        assert_near(&format!("cells, {what}, after a snapshot"), before, &budget);
    }
    for i in 0..2000 {
        assert!(cells.lock().remove(KeyGroup((i % 256) as u8), &format!("cell-{}", i / 256)));
    }
    drop(store.freeze());
    assert_near("cells, half of them removed", before, &budget);
}

fn one_entry_of_a_million() {
    let budget = Budget::unlimited("t");
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
    let table = store.keyed_table("t", spec()).unwrap();
    fill(&mut table.lock(), 0..1_000_000);
    let all = store.freeze().encode_all().unwrap();
    assert_eq!(all.iter().map(OperatorSnapshot::num_rows).sum::<usize>(), 1_000_000);
    assert!(all.len() > 1 && all.iter().position(|s| s.full) == Some(0), "one part after the other");
    drop(all);
    let before = live();
    fill(&mut table.lock(), 777_777..777_778);
    let frozen = store.freeze();
    assert!(live() - before <= 16 << 10, "freezing took {} bytes", live() - before);
    fill(&mut table.lock(), 777_777..777_778);
    assert!(live() - before <= 128 << 10, "freezing and the copy on the next write took {} bytes", live() - before);
    let delta = frozen.encode().unwrap();
    assert_eq!((delta.num_rows(), delta.full), (1, false));
    drop((frozen, delta));
    drop((table, store));
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn budgets_tell_the_truth_and_small_changes_freeze_little() {
    for entries in [3, 100, 5_000, 300_000] {
        a_table_of_integers(entries);
    }
    a_table_of_texts();
    slices_and_cells();
    slices_of_texts();
    cells_that_change();
    one_entry_of_a_million();
}
