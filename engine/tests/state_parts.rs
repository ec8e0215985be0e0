//! State that is too much for one snapshot: parts that belong behind one another, and a restore of them.

#![expect(clippy::unwrap_used, reason = "tests stop at the first failure")]

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type};
use std::ops::Range;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use thalweg_engine::error::Result;
use thalweg_engine::key::{KeyGroupRange, hash_rows};
use thalweg_engine::state::{
    Budget, Chain, Cursor, FrozenState, InStorage, KeyedTable, Link, OperatorSnapshot, State, StateStore, TableSpec,
    ValueColumn,
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

/// Snapshots in storage that know how many of them are in memory at the same time.
#[derive(Debug, Default)]
struct Counted {
    given: Mutex<Vec<Weak<dyn Array>>>,
    most: Mutex<usize>,
}

#[derive(Debug)]
struct CountedPart(Arc<Counted>, OperatorSnapshot);

impl InStorage for CountedPart {
    fn load(&self, _: KeyGroupRange) -> Result<OperatorSnapshot> {
        let mut read = self.1.clone();
        let Some(piece) = read.containers.iter_mut().find_map(|c| c.pieces.first_mut()) else { return Ok(read) };
        // A column that nobody else holds.
        let mut columns = piece.rows.columns().to_vec();
        columns[0] = columns[0].slice(0, columns[0].len());
        let mut given = self.0.given.lock().unwrap();
        given.push(Arc::downgrade(&columns[0]));
        piece.rows = RecordBatch::try_new(piece.rows.schema(), columns)?;
        let now = given.iter().filter(|column| column.upgrade().is_some()).count();
        let mut most = self.0.most.lock().unwrap();
        *most = now.max(*most);
        Ok(read)
    }
}

#[test]
fn few_of_many_snapshots_are_in_memory_while_many_subtasks_restore() {
    let budget = Budget::unlimited("t");
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
    let [large, _] = declare(&mut store);
    set(&large, 0..ROWS, 1);
    let counted = Arc::new(Counted::default());
    let link = |part: OperatorSnapshot| {
        Link::stored(part.full, part.range, Arc::new(CountedPart(counted.clone(), part)) as Arc<dyn InStorage>)
    };
    let chains = [parts(&store.freeze(), true).into_iter().map(link).collect::<Chain>()];
    let restore = |subtask| {
        let range = KeyGroupRange::of(subtask, 8);
        let mut store = StateStore::restore("op", range, &budget, &chains).unwrap();
        let [large, _] = declare(&mut store);
        store.finish_restore().unwrap();
        sum(&large).0
    };
    let rows: usize = thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|subtask| scope.spawn(move || restore(subtask))).collect();
        all.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(rows, ROWS as usize);
    let most = *counted.most.lock().unwrap();
    assert!((1..=2).contains(&most), "{most} at a time");
}
