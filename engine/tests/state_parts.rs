//! State that is too much for one snapshot: parts that belong behind one another, and a restore of them.

#![expect(clippy::unwrap_used, reason = "tests stop at the first failure")]

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type};
use std::ops::Range;
use std::sync::Arc;
use thalweg_engine::key::{KeyGroupRange, hash_rows};
use thalweg_engine::state::{
    Budget, Chain, Cursor, FrozenState, KeyedTable, OperatorSnapshot, State, StateStore, TableSpec, ValueColumn,
};

const ROWS: i64 = 1_000_000;

fn declare(store: &mut StateStore) -> [State<KeyedTable>; 2] {
    let spec = || {
        let key = Arc::new(Field::new("k", DataType::Int64, false));
        TableSpec::new([key], [ValueColumn::new("a", 0i64), ValueColumn::new("b", 0i64)])
    };
    ["large", "small"].map(|name| store.keyed_table(name, spec()).unwrap())
}

fn handles(table: &mut KeyedTable, keys: Range<i64>, make: bool) -> Vec<u32> {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
    let (mut hashes, mut rows) = (vec![], vec![]);
    hash_rows(std::slice::from_ref(&keys), keys.len(), &mut hashes).unwrap();
    if make {
        table.intern(&[keys], &hashes, &mut rows).unwrap();
    } else {
        table.lookup(&[keys], &hashes, &mut rows).unwrap();
    }
    rows
}

fn set(table: &State<KeyedTable>, keys: Range<i64>, value: i64) {
    let mut table = table.lock();
    let rows = handles(&mut table, keys, true);
    table.column_mut::<i64>(0).unwrap().update(&rows, |_, v| *v = value);
}

fn sum(table: &State<KeyedTable>) -> (usize, i64) {
    let (mut table, mut cursor, mut rows) = (table.lock(), Cursor::default(), vec![]);
    let (mut count, mut sum) = (0, 0);
    while table.scan(&mut cursor, 8192, &mut rows).unwrap() {
        count += rows.len();
        sum += table.values(0, &rows).unwrap().as_primitive::<Int64Type>().values().iter().sum::<i64>();
    }
    (count, sum)
}

fn parts(frozen: &FrozenState, full: bool) -> Vec<OperatorSnapshot> {
    let parts = frozen.encode_all().unwrap();
    assert!(parts.len() > 2, "{} parts", parts.len());
    let first = parts.iter().position(|p| p.full);
    assert_eq!(first, full.then_some(0), "of the parts only the first one begins a chain");
    assert_eq!(parts.iter().filter(|p| p.full).count(), usize::from(full));
    let names: Vec<&str> = parts.last().unwrap().containers.iter().map(|c| c.name.as_str()).collect();
    assert!(names.contains(&"large") && names.contains(&"small"), "the last part names all: {names:?}");
    parts
}

#[test]
fn large_state_is_several_snapshots_that_restore_to_it() {
    let budget = Budget::unlimited("t");
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
    let [large, small] = declare(&mut store);
    set(&large, 0..ROWS, 1);
    set(&small, 0..10, 7);
    let mut chain: Chain = parts(&store.freeze(), true).into_iter().map(Into::into).collect();
    // Removed and made again: both are in the changes, far apart.
    let gone = handles(&mut large.lock(), 0..ROWS, false);
    large.lock().remove(&gone).unwrap();
    set(&large, 0..ROWS / 2, 3);
    chain.extend(parts(&store.freeze(), false).into_iter().map(Into::into));
    let chains = [chain];
    let mut found = (0, 0);
    for subtask in 0..3 {
        let range = KeyGroupRange::of(subtask, 3);
        let mut store = StateStore::restore("op", range, &budget, &chains).unwrap();
        let [large, _] = declare(&mut store);
        store.finish_restore().unwrap();
        let (count, total) = sum(&large);
        found = (found.0 + count, found.1 + total);
    }
    assert_eq!(found, (500_000, 1_500_000));
    assert_eq!((sum(&large), sum(&small)), ((500_000, 1_500_000), (10, 70)));
}
