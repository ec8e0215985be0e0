//! The state containers against naive models: random operations, freezes, chains of deltas, restores at other parallelisms.

#![expect(clippy::unwrap_used, reason = "tests stop at the first failure")]

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;
use thalweg_engine::key::{KeyGroup, KeyGroupRange, hash_rows};
use thalweg_engine::state::{
    Budget, Chain, Cursor, FrozenState, KeyedTable, Link, OperatorSnapshot, SpillArea, StateStore, TableSpec,
    ValueColumn,
};

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

fn field(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

/// A key of the model: text with NULL, and a float with NULL by its canonical bits.
type Key = (Option<String>, Option<u64>);
/// Its values: a sum and a text.
type Value = (i64, Option<String>);
type Model = BTreeMap<Key, Value>;

fn canonical(v: f64) -> u64 {
    if v.is_nan() { u64::MAX } else { (v + 0.0).to_bits() }
}

fn random_key(rng: &mut Rng, keys: u64) -> (Option<String>, Option<f64>) {
    let pick = rng.below(keys);
    let text = match pick % 7 {
        0 => None,
        1 => Some(String::new()),
        n => Some(format!("key-{}-{}", n, "x".repeat((pick / 7 % 30) as usize))),
    };
    let float = match pick / 7 % 5 {
        0 => None,
        1 => Some(if rng.below(2) == 0 { 0.0 } else { -0.0 }),
        2 => Some(if rng.below(2) == 0 { f64::NAN } else { -f64::NAN }),
        n => Some((pick / 35 * n) as f64 / 4.0),
    };
    (text, float)
}

fn spec() -> TableSpec {
    let keys = [field("t", DataType::Utf8), field("f", DataType::Float64)];
    TableSpec::new(keys, [ValueColumn::new("sum", 5i64), ValueColumn::text("last")])
}

fn columns(keys: &[(Option<String>, Option<f64>)]) -> (Vec<ArrayRef>, Vec<u64>) {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys.iter().map(|(t, _)| t.clone()).collect::<StringArray>()),
        Arc::new(keys.iter().map(|(_, f)| *f).collect::<Float64Array>()),
    ];
    let mut hashes = vec![];
    hash_rows(&columns, keys.len(), &mut hashes).unwrap();
    (columns, hashes)
}

fn model_key(key: &(Option<String>, Option<f64>)) -> Key {
    (key.0.clone(), key.1.map(canonical))
}

fn add(table: &mut KeyedTable, model: &mut Model, keys: &[(Option<String>, Option<f64>)], rng: &mut Rng) {
    let (columns, hashes) = columns(keys);
    let mut rows = vec![];
    let before = table.len();
    let created = table.intern(&columns, &hashes, &mut rows).unwrap();
    assert_eq!(table.len(), before + created);
    assert_eq!(table.created().len(), created);
    for (row, key) in rows.iter().zip(keys) {
        let (more, text) = (rng.below(1000) as i64, (rng.below(3) > 0).then(|| "v".repeat(rng.below(50) as usize)));
        table.column_mut::<i64>(0).unwrap()[*row] += more;
        table.bytes_column_mut(1).unwrap().set(*row, text.as_deref().map(str::as_bytes)).unwrap();
        let value = model.entry(model_key(key)).or_insert((5, None));
        *value = (value.0 + more, text);
    }
}

fn remove(table: &mut KeyedTable, model: &mut Model, keys: &[(Option<String>, Option<f64>)]) {
    let (columns, hashes) = columns(keys);
    let mut rows = vec![];
    table.lookup(&columns, &hashes, &mut rows).unwrap();
    for (row, key) in rows.iter().zip(keys) {
        assert_eq!(*row != KeyedTable::ABSENT, model.contains_key(&model_key(key)), "{key:?}");
    }
    table.remove(&rows).unwrap();
    keys.iter().for_each(|key| {
        model.remove(&model_key(key));
    });
}

/// Everything in the table, through the cursor and the Arrow gathers.
fn contents(table: &mut KeyedTable) -> Model {
    let (mut cursor, mut rows, mut out) = (Cursor::default(), vec![], Model::new());
    while table.scan(&mut cursor, 100, &mut rows).unwrap() {
        let keys = table.keys(&rows).unwrap();
        let (texts, floats) = (keys[0].as_string::<i32>(), keys[1].as_primitive::<Float64Type>());
        let (sums, lasts) = (table.values(0, &rows).unwrap(), table.values(1, &rows).unwrap());
        for i in 0..rows.len() {
            let text = |a: &StringArray| a.is_valid(i).then(|| a.value(i).to_owned());
            let key = (text(texts), floats.is_valid(i).then(|| canonical(floats.value(i))));
            let value = (sums.as_primitive::<Int64Type>().value(i), text(lasts.as_string()));
            assert_eq!(out.insert(key, value), None, "an entry was met twice");
        }
    }
    assert_eq!(out.len(), table.len());
    out
}

fn owned(model: &Model, range: KeyGroupRange) -> Model {
    let mine = |key: &&Key| {
        let float = key.1.map(|bits| if bits == u64::MAX { f64::NAN } else { f64::from_bits(bits) });
        range.contains(KeyGroup::of(columns(&[(key.0.clone(), float)]).1[0]))
    };
    model.iter().filter(|(key, _)| mine(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn restored(chains: &[Chain], range: KeyGroupRange) -> Model {
    restored_with(chains, range, &Budget::unlimited("r"))
}

fn restored_with(chains: &[Chain], range: KeyGroupRange, budget: &Arc<Budget>) -> Model {
    let mut store = StateStore::restore("r", range, budget, chains).unwrap();
    let table = store.keyed_table("t", spec()).unwrap();
    store.finish_restore().unwrap();
    let mut table = table.lock();
    contents(&mut table)
}

/// All parts of a frozen state, as a chain has them.
fn encoded(frozen: &FrozenState) -> Chain {
    frozen.encode_all().unwrap().into_iter().map(Into::into).collect()
}

/// Budgets that everything fits into, and some that it does not.
fn budgets(folder: &TempDir) -> Vec<(Arc<Budget>, Option<Arc<SpillArea>>)> {
    let spilling = |limit| {
        let area = SpillArea::new(folder.path());
        (Budget::spilling("t", limit, &area), Some(area))
    };
    vec![(Budget::unlimited("t"), None), spilling(1), spilling(60_000)]
}

#[test]
fn random_operations_match_a_map_and_every_chain_restores_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let mut spilled = 0;
    for (seed, (budget, area)) in (1..=6).flat_map(|seed| budgets(&folder).into_iter().map(move |b| (seed, b))) {
        let mut rng = Rng(seed * 7919);
        let keys = [30, 400, 6000][seed as usize % 3];
        let ranges: Vec<_> = (0..2).map(|i| KeyGroupRange::of(i, 2)).collect();
        let mut stores: Vec<_> = ranges.iter().map(|r| StateStore::new("op", *r, &budget)).collect();
        let tables: Vec<_> = stores.iter_mut().map(|s| s.keyed_table("t", spec()).unwrap()).collect();
        let mut model = [Model::new(), Model::new()];
        let mut chains = vec![Chain::new(), Chain::new()];
        let mut frozen = vec![];
        for step in 0..60 {
            let batch: Vec<_> = (0..rng.below(3000)).map(|_| random_key(&mut rng, keys)).collect();
            let (_, hashes) = columns(&batch);
            for (subtask, range) in ranges.iter().enumerate() {
                let mine = batch.iter().zip(&hashes).filter(|(_, h)| range.contains(KeyGroup::of(**h)));
                let mine: Vec<_> = mine.map(|(key, _)| key.clone()).collect();
                let mut table = tables[subtask].lock();
                match rng.below(3) {
                    0 => remove(&mut table, &mut model[subtask], &mine),
                    _ => add(&mut table, &mut model[subtask], &mine, &mut rng),
                }
            }
            if rng.below(4) == 0 {
                // Encoded only later, after more changes to the live table.
                frozen.push((stores.iter_mut().map(StateStore::freeze).collect::<Vec<_>>(), model.clone()));
            }
            if step % 10 != 9 {
                continue;
            }
            for (snapshots, then) in frozen.drain(..) {
                for (chain, snapshot) in chains.iter_mut().zip(&snapshots) {
                    chain.extend(encoded(snapshot));
                }
                let all: Model = then.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
                for parallelism in [1, 3] {
                    for subtask in 0..parallelism {
                        let range = KeyGroupRange::of(subtask, parallelism);
                        let small = Budget::spilling("r", 10_000, &SpillArea::new(folder.path()));
                        let at = if area.is_some() { small } else { Budget::unlimited("r") };
                        let restored = restored_with(&chains, range, &at);
                        let want = owned(&all, range);
                        assert!(restored == want, "seed {seed} step {step} limit {}", budget.limit_bytes());
                    }
                }
            }
            if rng.below(3) == 0 {
                stores.iter_mut().for_each(StateStore::restart_chain);
            }
            // A scan in between is nothing that anybody notices.
            if rng.below(3) == 0 {
                tables.iter().zip(&model).for_each(|(table, model)| assert_eq!(contents(&mut table.lock()), *model));
            }
        }
        for (table, model) in tables.iter().zip(&model) {
            assert_eq!(contents(&mut table.lock()), *model);
        }
        drop((tables, stores));
        assert_eq!(budget.used_bytes(), 0);
        if let Some(area) = area {
            assert_eq!(area.bytes(), 0);
            spilled += u64::from(area.written_bytes() > 0);
        }
    }
    assert!(spilled >= 8, "{spilled} of 12 were on disk");
}

#[test]
fn a_restored_store_freezes_again_and_rescales_from_three_to_one() {
    let mut rng = Rng(99);
    let budget = Budget::unlimited("t");
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
    let table = store.keyed_table("t", spec()).unwrap();
    let mut model = Model::new();
    let keys: Vec<_> = (0..5000).map(|_| random_key(&mut rng, 3000)).collect();
    add(&mut table.lock(), &mut model, &keys, &mut rng);
    let first = vec![vec![Link::from(store.freeze().encode().unwrap())]];
    let mut second: Vec<Chain> = vec![];
    for subtask in 0..3 {
        let range = KeyGroupRange::of(subtask, 3);
        let mut store = StateStore::restore("op", range, &budget, &first).unwrap();
        let table = store.keyed_table("t", spec()).unwrap();
        let mut chain = vec![Link::from(store.freeze().encode().unwrap())];
        assert!(chain[0].is_full());
        let mut mine = owned(&model, range);
        let keys: Vec<_> = mine
            .keys()
            .take(40)
            .map(|k| (k.0.clone(), k.1.map(|b| if b == u64::MAX { f64::NAN } else { f64::from_bits(b) })))
            .collect();
        mine.keys().for_each(|k| {
            model.remove(k);
        });
        remove(&mut table.lock(), &mut mine, &keys);
        add(&mut table.lock(), &mut mine, &keys[..20], &mut rng);
        chain.push(Link::from(store.freeze().encode().unwrap()));
        assert_eq!(chain[1].load(KeyGroupRange::ALL).unwrap().num_rows(), 60, "40 removed, 20 of them made again");
        chain.push(Link::from(store.freeze().encode().unwrap()));
        assert_eq!(chain[2].load(KeyGroupRange::ALL).unwrap().num_rows(), 0);
        model.extend(mine);
        second.push(chain);
    }
    assert_eq!(restored(&second, KeyGroupRange::ALL), model);
    let bytes: Vec<Chain> = second.iter().map(|chain| chain.iter().map(through_bytes).collect()).collect();
    assert_eq!(restored(&bytes, KeyGroupRange::of(1, 2)), owned(&model, KeyGroupRange::of(1, 2)));
}

fn through_bytes(link: &Link) -> Link {
    let snapshot = link.load(KeyGroupRange::ALL).unwrap();
    let read = OperatorSnapshot::from_bytes(&snapshot.to_bytes().unwrap(), KeyGroupRange::ALL).unwrap();
    assert_eq!(read, *snapshot);
    read.into()
}

#[test]
fn two_hundred_thousand_integers() {
    let budget = Budget::unlimited("t");
    let spec = TableSpec::new([field("k", DataType::Int64)], [ValueColumn::new("n", 0i64)]);
    let mut table = KeyedTable::new(Arc::new(spec), &budget).unwrap();
    let mut rng = Rng(5);
    let mut model: BTreeMap<i64, i64> = BTreeMap::new();
    let (mut hashes, mut rows) = (vec![], vec![]);
    for _ in 0..50 {
        let keys: Vec<i64> =
            (0..4000).map(|_| (rng.below(60_000) as i64 - 30_000).wrapping_mul(i64::MAX / 30_000)).collect();
        keys.iter().for_each(|k| *model.entry(*k).or_default() += 1);
        let keys: ArrayRef = Arc::new(Int64Array::from(keys));
        hash_rows(std::slice::from_ref(&keys), keys.len(), &mut hashes).unwrap();
        table.intern(&[keys], &hashes, &mut rows).unwrap();
        let n = table.column_mut::<i64>(0).unwrap();
        rows.iter().for_each(|row| n[*row] += 1);
    }
    let (mut cursor, mut seen) = (Cursor::default(), BTreeMap::new());
    while table.scan(&mut cursor, 4096, &mut rows).unwrap() {
        let keys = table.keys(&rows).unwrap();
        let n = table.column::<i64>(0).unwrap();
        seen.extend(keys[0].as_primitive::<Int64Type>().values().iter().zip(&rows).map(|(k, row)| (*k, n.get(*row))));
    }
    assert_eq!(seen, model);
}
