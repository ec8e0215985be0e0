//! What the budgets say against what an allocator counts: within 10 % for every container, and a small change of a large table
//! freezes little. One test, because the allocator counts the whole process.

#![expect(clippy::unwrap_used, reason = "tests stop at the first failure")]

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use thalweg_engine::key::{KeyGroup, KeyGroupRange, hash_rows};
use thalweg_engine::state::{Budget, KeyedTable, StateStore, TableSpec, ValueColumn};

struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call goes on to the system's allocator unchanged; only a counter is kept beside it.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

/// Compares what was allocated since `before` with what the budget holds.
#[track_caller]
fn assert_near(what: &str, before: i64, budget: &Budget) {
    let (counted, charged) = ((live() - before) as f64, budget.used_bytes() as f64);
    let ratio = charged / counted;
    assert!((0.9..=1.1).contains(&ratio), "{what}: charged {charged}, allocated {counted}");
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
    table.remove(&removed);
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

fn one_entry_of_a_million() {
    let budget = Budget::unlimited("t");
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
    let table = store.keyed_table("t", spec()).unwrap();
    fill(&mut table.lock(), 0..1_000_000);
    assert_eq!(store.freeze().encode().unwrap().num_rows(), 1_000_000);
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
    one_entry_of_a_million();
}
