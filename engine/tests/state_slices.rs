//! Slices, cells and the store: drops, rescaling, and what is refused.

#![expect(clippy::unwrap_used, reason = "tests stop at the first failure")]

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_engine::key::{KeyGroup, KeyGroupRange, hash_rows};
use thalweg_engine::state::{
    Budget, Chain, Cursor, FrozenState, Link, OperatorSnapshot, Slices, SpillArea, State, StateStore, TableSpec,
    ValueColumn,
};

fn field(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

fn spec() -> TableSpec {
    TableSpec::new([field("k", DataType::Int64)], [ValueColumn::new("n", 0i64)])
}

fn hashed(keys: Vec<i64>) -> (Vec<ArrayRef>, Vec<u64>) {
    let keys: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(keys))];
    let mut hashes = vec![];
    hash_rows(&keys, keys[0].len(), &mut hashes).unwrap();
    (keys, hashes)
}

type Model = BTreeMap<(i64, i64), i64>;

fn add(slices: &mut Slices, model: &mut Model, end: i64, keys: Vec<i64>) {
    keys.iter().for_each(|k| *model.entry((end, *k)).or_default() += 1);
    let (keys, hashes) = hashed(keys);
    let mut rows = vec![];
    let table = slices.slice(end).unwrap();
    table.intern(&keys, &hashes, &mut rows).unwrap();
    let n = table.column_mut::<i64>(0).unwrap();
    rows.iter().for_each(|row| n[*row] += 1);
}

fn contents(slices: &mut Slices) -> Model {
    let (mut out, mut rows) = (Model::new(), vec![]);
    for (end, table) in slices.range_mut(..) {
        let mut cursor = Cursor::default();
        while table.scan(&mut cursor, 50, &mut rows).unwrap() {
            let (keys, n) = (table.keys(&rows).unwrap(), table.values(0, &rows).unwrap());
            let n = n.as_primitive::<Int64Type>().values();
            out.extend(keys[0].as_primitive::<Int64Type>().values().iter().zip(n).map(|(k, n)| ((end, *k), *n)));
        }
    }
    out
}

fn declare(store: &mut StateStore) -> State<Slices> {
    store.slices("w", spec()).unwrap()
}

fn restored(chains: &[Chain], range: KeyGroupRange) -> Model {
    let mut store = StateStore::restore("r", range, &Budget::unlimited("r"), chains).unwrap();
    let slices = declare(&mut store);
    let mut slices = slices.lock();
    contents(&mut slices)
}

/// All parts of a frozen state, as a chain has them.
fn encoded(frozen: &FrozenState) -> Chain {
    frozen.encode_all().unwrap().into_iter().map(Into::into).collect()
}

fn rows(link: &Link) -> usize {
    link.load(KeyGroupRange::ALL).unwrap().num_rows()
}

fn group(key: i64) -> KeyGroup {
    KeyGroup::of(hashed(vec![key]).1[0])
}

#[test]
fn slices_of_subtasks_that_fired_differently_restore_at_any_parallelism() {
    let folder = tempfile::tempdir().unwrap();
    let area = SpillArea::new(folder.path());
    rescale(&Budget::unlimited("t"));
    assert_eq!(area.written_bytes(), 0);
    for limit in [1, 20_000] {
        rescale(&Budget::spilling("t", limit, &area));
        assert!(area.written_bytes() > 0 && area.bytes() == 0);
    }
}

fn rescale(budget: &Arc<Budget>) {
    let mut chains = vec![];
    let mut all = Model::new();
    let mut seed = 11u64;
    for subtask in 0..3 {
        let range = KeyGroupRange::of(subtask, 3);
        let mut store = StateStore::new("op", range, budget);
        let slices = declare(&mut store);
        let mut model = Model::new();
        let mut chain = Chain::new();
        for step in 0..40i64 {
            for _ in 0..3 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let end = step / 4 * 10 + (seed >> 60) as i64 * 10;
                let keys = (0..60).map(|k| k * (seed >> 40 & 7) as i64).filter(|k| range.contains(group(*k))).collect();
                add(&mut slices.lock(), &mut model, end, keys);
            }
            // Each subtask is at another place, and late rows may bring a dropped slice back.
            if step % (3 + i64::from(subtask)) == 2 {
                slices.lock().drop_through(step * 3);
                model.retain(|(end, _), _| *end > step * 3);
            }
            if step % 5 == 4 {
                chain.extend(encoded(&store.freeze()));
            }
        }
        slices.lock().drop_through(100);
        add(&mut slices.lock(), &mut model, 100, vec![]);
        model.retain(|(end, _), _| *end > 100);
        let again: Vec<i64> = (0..20).filter(|k| range.contains(group(*k))).collect();
        add(&mut slices.lock(), &mut model, 90, again);
        chain.extend(encoded(&store.freeze()));
        assert_eq!(contents(&mut slices.lock()), model);
        all.extend(model);
        chains.push(chain);
    }
    assert!(all.len() > 100);
    for parallelism in [1, 2, 3, 5] {
        let mut seen = Model::new();
        for subtask in 0..parallelism {
            let range = KeyGroupRange::of(subtask, parallelism);
            let part = restored(&chains, range);
            assert!(part.keys().all(|(_, k)| range.contains(group(*k))));
            seen.extend(part);
        }
        assert_eq!(seen, all, "parallelism {parallelism}");
    }
}

#[test]
fn a_dropped_slice_is_one_row_and_its_memory_comes_back() {
    let budget = Budget::unlimited("t");
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
    let slices = declare(&mut store);
    let empty = budget.used_bytes();
    add(&mut slices.lock(), &mut Model::new(), 10, (0..5000).collect());
    add(&mut slices.lock(), &mut Model::new(), 20, (0..5).collect());
    assert_eq!(store.freeze().encode().unwrap().num_rows(), 5005);
    assert_eq!(slices.lock().drop_through(10), 1);
    let bounds = |s: &Slices| (s.first_end(), s.last_end(), s.len());
    assert_eq!(bounds(&slices.lock()), (Some(20), Some(20), 1));
    assert_eq!(store.freeze().encode().unwrap().num_rows(), 1);
    // Made and dropped between two freezes: no trace.
    add(&mut slices.lock(), &mut Model::new(), 15, vec![1]);
    assert_eq!(slices.lock().drop_through(15), 1);
    assert_eq!(store.freeze().encode().unwrap().num_rows(), 0);
    slices.lock().drop_through(i64::MAX);
    assert_eq!(budget.used_bytes(), empty);
}

#[test]
fn cells_move_with_their_group_and_lists_are_united() {
    let budget = Budget::unlimited("t");
    let mut chains = vec![];
    for subtask in 0..2u8 {
        let range = KeyGroupRange::of(subtask.into(), 2);
        let mut store = StateStore::new("op", range, &budget);
        let cells = store.cells("c").unwrap();
        cells.lock().set_range(range, "fired", &[subtask]);
        cells.lock().set(KeyGroup(range.start as u8), "gone", "x");
        cells.lock().set_list("splits", vec![vec![subtask], vec![9, subtask]]);
        let mut chain = vec![Link::from(store.freeze().encode().unwrap())];
        cells.lock().set(KeyGroup(range.start as u8), "fired", [7]);
        assert!(cells.lock().remove(KeyGroup(range.start as u8), "gone"));
        cells.lock().set_list("splits", vec![vec![subtask + 100]]);
        chain.push(Link::from(store.freeze().encode().unwrap()));
        assert_eq!(rows(&chain[1]), 4, "two cells, the list's head and its item");
        chains.push(chain);
    }
    for subtask in 0..3 {
        let range = KeyGroupRange::of(subtask, 3);
        let mut store = StateStore::restore("op", range, &budget, &chains).unwrap();
        let cells = store.cells("c").unwrap();
        let cells = cells.lock();
        let fired: BTreeMap<u16, u8> = cells.groups("fired").map(|(g, v)| (u16::from(g.0), v[0])).collect();
        let expected = (range.start..range.end).map(|g| (g, if g % 128 == 0 { 7 } else { (g / 128) as u8 })).collect();
        assert_eq!(fired, expected);
        assert_eq!(cells.groups("gone").count(), 0);
        let splits: BTreeSet<_> = cells.list("splits").iter().cloned().collect();
        assert_eq!(splits, BTreeSet::from([vec![100], vec![101]]));
    }
}

fn snapshot() -> OperatorSnapshot {
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &Budget::unlimited("t"));
    let slices = declare(&mut store);
    let cells = store.cells("c").unwrap();
    add(&mut slices.lock(), &mut Model::new(), 10, (0..20_000).collect());
    cells.lock().set(KeyGroup(3), "x", "y");
    store.freeze().encode().unwrap()
}

#[test]
fn bytes_round_trip_and_a_range_reads_its_part() {
    let snapshot = snapshot();
    let bytes = snapshot.to_bytes().unwrap();
    assert_eq!(OperatorSnapshot::from_bytes(&bytes, KeyGroupRange::ALL).unwrap(), snapshot);
    let part = OperatorSnapshot::from_bytes(&bytes, KeyGroupRange::of(0, 4)).unwrap();
    let pieces = |s: &OperatorSnapshot| s.container("w").unwrap().pieces.len();
    assert_eq!((pieces(&snapshot), pieces(&part)), (3, 1));
    let range = KeyGroupRange::of(0, 4);
    assert_eq!(restored(&[vec![part.into()]], range), restored(&[vec![snapshot.into()]], range));
}

#[test]
fn broken_bytes_are_errors() {
    let bytes = snapshot().to_bytes().unwrap();
    let read = |bytes: &[u8]| OperatorSnapshot::from_bytes(bytes, KeyGroupRange::ALL);
    let mut newer = bytes.clone();
    newer[8] = 9;
    let e = read(&newer).unwrap_err();
    assert_eq!(e.message(), "read snapshot: format 9, this build reads 1");
    assert!(!e.retry());
    assert!(read(b"").unwrap_err().message().contains("not those of a snapshot"));
    for length in (0..bytes.len()).step_by(997) {
        assert!(read(&bytes[..length]).is_err(), "cut to {length} bytes");
    }
    for at in 8..700 {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x41;
        let _ = read(&bytes);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let budget = Budget::unlimited("t");
    let snapshot = Link::from(snapshot());
    let restore = |chains: &[Chain]| StateStore::restore("op", KeyGroupRange::ALL, &budget, chains);
    let text = |r: thalweg_engine::Result<()>| r.unwrap_err().message().to_owned();
    let mut store = restore(&[vec![snapshot.clone()]]).unwrap();
    let other = TableSpec::new([field("k", DataType::Int64)], [ValueColumn::new("n", 0.0)]);
    let e = text(store.slices("w", other).map(drop));
    assert_eq!(e, "state `w`: column `n` is Int64 in the snapshot, Float64 in the program");
    assert_eq!(text(store.cells("w").map(drop)), "state `w` is Slices in the snapshot, Cells in the program");
    store.cells("c").unwrap();
    assert_eq!(text(store.cells("c").map(drop)), "state `c` is declared twice");
    assert_eq!(text(store.finish_restore()), "the snapshot has state `w`, which the program does not use");
    let twice = restore(&[vec![snapshot.clone()], vec![snapshot.clone()]]).map(drop);
    assert_eq!(text(twice), "restore `op`: key group 0 is in 2 snapshots, must be in one");
    assert_eq!(text(restore(&[]).map(drop)), "restore `op`: key group 0 is in 0 snapshots, must be in one");
    let whole = snapshot.load(KeyGroupRange::ALL).unwrap();
    let delta = OperatorSnapshot { full: false, ..(*whole).clone() }.into();
    assert_eq!(text(restore(&[vec![delta]]).map(drop)), "a chain of snapshots without a full one");
    let list = DataType::List(field("item", DataType::Int64));
    let spec = TableSpec::new([field("tags", list)], []);
    let e = text(StateStore::new("op", KeyGroupRange::ALL, &budget).keyed_table("t", spec).map(drop));
    assert!(e.starts_with("key `tags`: a column of type List"), "{e}");
    let spec = TableSpec::new([field("k", DataType::Int64)], [ValueColumn::new("n", 0i64).with_type(DataType::Utf8)]);
    assert!(StateStore::new("op", KeyGroupRange::ALL, &budget).keyed_table("t", spec).is_err());
}

#[test]
#[should_panic(expected = "a state container is locked twice")]
fn a_second_lock_in_one_task_panics_instead_of_hanging() {
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &Budget::unlimited("t"));
    let cells = store.cells("c").unwrap();
    let _first = cells.lock();
    drop(cells.lock());
}
