//! The multimap against a naive map: random updates, probes, totals, evictions, freezes and restores at other ranges; in memory, and
//! with a budget that sends everything to disk again and again.

use super::*;
use crate::error::ErrorKind;
use crate::key::KeyGroup;
use crate::rng::Rng;
use crate::state::reader::{Layout, Reader};
use crate::state::{Chain, SpillArea, State, StateStore};
use arrow::array::{Float64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Field, Float64Type, TimeUnit, TimestampMillisecondType, UInt8Type};
use std::collections::BTreeMap;
use tempfile::TempDir;

const MS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// Key: text and float. Row: time and text.
type Row = (Option<String>, Option<f64>, Option<i64>, Option<String>);
/// The same with the bits of the float.
type Entry = (Option<String>, Option<u64>, Option<i64>, Option<String>);
type Model = BTreeMap<Entry, i64>;

fn canonical(v: f64) -> u64 {
    if v.is_nan() { u64::MAX } else { (v + 0.0).to_bits() }
}

fn entry(row: &Row) -> Entry {
    (row.0.clone(), row.1.map(canonical), row.2, row.3.clone())
}

/// A row that makes this entry.
fn row(e: &Entry) -> Row {
    let float = e.1.map(|bits| if bits == u64::MAX { f64::NAN } else { f64::from_bits(bits) });
    (e.0.clone(), float, e.2, e.3.clone())
}

fn hash_of(e: &Entry) -> u64 {
    columns(&[row(e)]).1[0]
}

/// Some number that every entry has as that of its partners.
fn partners(entry: &Entry) -> i64 {
    1 + entry.2.unwrap_or(7) % 100
}

fn spec() -> MultimapSpec {
    let field = |name: &str, t: DataType| Arc::new(Field::new(name, t, true));
    let keys = [field("k", DataType::Utf8), field("f", DataType::Float64)];
    MultimapSpec::new(keys, [field("t", MS), field("v", DataType::Utf8)]).evicted_by(2).with_totals().with_partners()
}

fn random_row(rng: &mut Rng, now: i64) -> Row {
    let key = match rng.below(10) {
        // A hot key.
        0..=2 => Some("hot".to_owned()),
        3 => None,
        _ => Some(format!("key-{}", rng.below(40))),
    };
    let float = match rng.below(6) {
        0 => None,
        1 => Some(-0.0),
        2 => Some(0.0),
        3 => Some(if rng.below(2) == 0 { f64::NAN } else { -f64::NAN }),
        _ => Some(1.5),
    };
    let time = (rng.below(20) > 0).then(|| now + rng.below(6000) as i64);
    let text = (rng.below(5) > 0).then(|| "v".repeat(rng.below(12) as usize));
    (key, float, time, text)
}

fn columns(rows: &[Row]) -> (Vec<ArrayRef>, Vec<u64>, Vec<ArrayRef>) {
    let keys: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>()),
    ];
    let values: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.2).collect::<TimestampMillisecondArray>()),
        Arc::new(rows.iter().map(|r| r.3.clone()).collect::<StringArray>()),
    ];
    let mut hashes = vec![];
    hash_rows(&keys, rows.len(), &mut hashes).unwrap();
    (keys, hashes, values)
}

fn entries(columns: &[ArrayRef]) -> Vec<Entry> {
    let text = |c: usize, i: usize| {
        let column = columns[c].as_string::<i32>();
        column.is_valid(i).then(|| column.value(i).to_owned())
    };
    let (floats, times) =
        (columns[1].as_primitive::<Float64Type>(), columns[2].as_primitive::<TimestampMillisecondType>());
    let one = |i: usize| {
        let float = floats.is_valid(i).then(|| canonical(floats.value(i)));
        (text(0, i), float, times.is_valid(i).then(|| times.value(i)), text(3, i))
    };
    (0..floats.len()).map(one).collect()
}

/// Several subtasks, and what they must hold together.
struct Fleet {
    stores: Vec<(StateStore, State<Multimap>)>,
    chains: Vec<Chain>,
    budget: Arc<Budget>,
    model: Model,
    folder: TempDir,
}

impl Fleet {
    fn new(limit_bytes: u64) -> Fleet {
        let folder = TempDir::new().unwrap();
        let budget = match limit_bytes {
            u64::MAX => Budget::unlimited("t"),
            limit => Budget::spilling("t", limit, &SpillArea::new(folder.path())),
        };
        let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
        let map = store.multimap("side", spec()).unwrap();
        Fleet { stores: vec![(store, map)], chains: vec![vec![]], budget, model: Model::new(), folder }
    }

    fn each(&self, rows: &[Row], mut f: impl FnMut(&State<Multimap>, &[Row], &[usize])) {
        let (_, hashes, _) = columns(rows);
        for (s, (_, map)) in self.stores.iter().enumerate() {
            let owner = |i: &usize| KeyGroup::of(hashes[*i]).owner(self.stores.len() as u32) as usize == s;
            let places: Vec<usize> = (0..rows.len()).filter(owner).collect();
            let mine: Vec<Row> = places.iter().map(|i| rows[*i].clone()).collect();
            f(map, &mine, &places);
        }
    }

    fn update(&mut self, rows: &[(Row, i64)]) {
        for (row, weight) in rows {
            *self.model.entry(entry(row)).or_default() += weight;
        }
        self.model.retain(|_, w| *w != 0);
        let only: Vec<Row> = rows.iter().map(|r| r.0.clone()).collect();
        self.each(&only, |map, mine, places| {
            let (keys, hashes, values) = columns(mine);
            let weights: Vec<i64> = places.iter().map(|i| rows[*i].1).collect();
            let all_one = weights.iter().all(|w| *w == 1);
            let mut map = map.lock();
            map.update(&keys, &hashes, &values, (!all_one).then_some(&weights)).unwrap();
            let (mut found, all) = (vec![], mine.iter().map(entry).collect::<Vec<_>>());
            map.set_partners(&keys, &hashes, &values, &all.iter().map(partners).collect::<Vec<_>>()).unwrap();
            map.find(&keys, &hashes, &values, &mut found).unwrap();
            assert_eq!(found, all.iter().map(|e| self.model.get(e).copied().unwrap_or(0)).collect::<Vec<_>>());
            map.find_partners(&keys, &hashes, &values, &mut found).unwrap();
            let there = |e: &Entry| if self.model.contains_key(e) { partners(e) } else { 0 };
            assert_eq!(found, all.iter().map(there).collect::<Vec<_>>());
        });
        assert_eq!(self.stores.iter().map(|(_, m)| m.lock().len()).sum::<usize>(), self.model.len());
        let negative = self.stores.iter().any(|(_, m)| m.lock().has_negative());
        assert_eq!(negative, self.model.values().any(|w| *w < 0));
    }

    fn probe(&self, rows: &[Row], limit: usize) {
        let mut pairs: BTreeMap<(usize, Entry), i64> = BTreeMap::new();
        self.each(rows, |map, mine, places| {
            let (keys, hashes, _) = columns(mine);
            let mut map = map.lock();
            let (mut probe, mut matches) = (map.probe(&keys, &hashes).unwrap(), Matches::default());
            while map.next(&mut probe, limit, &mut matches).unwrap() {
                assert!(matches.len() <= limit && matches.rows().len() == matches.len());
                let (columns, weights) = (map.columns(&matches).unwrap(), map.weights(&matches).unwrap());
                let of_entries: Vec<i64> = entries(&columns).iter().map(partners).collect();
                assert_eq!(map.partners(&matches).unwrap(), of_entries);
                for ((row, entry), weight) in matches.rows().iter().zip(entries(&columns)).zip(weights) {
                    let twice = pairs.insert((places[*row as usize], entry), weight);
                    assert_eq!(twice, None);
                }
            }
            let mut totals = vec![];
            map.totals(&keys, &hashes, &mut totals).unwrap();
            for (row, total) in mine.iter().zip(totals) {
                let (text, float, ..) = entry(row);
                let of_key = self.model.iter().filter(|(e, _)| e.0 == text && e.1 == float);
                assert_eq!(total, of_key.map(|(_, w)| w).sum::<i64>());
            }
        });
        let mut naive = BTreeMap::new();
        for (i, row) in rows.iter().enumerate() {
            let (text, float, ..) = entry(row);
            let of_key = self.model.iter().filter(|(e, _)| e.0 == text && e.1 == float);
            naive.extend(of_key.map(|(e, w)| ((i, e.clone()), *w)));
        }
        assert_eq!(pairs, naive);
    }

    fn evict(&mut self, before: i64) {
        let mut evicted = Model::new();
        for (_, map) in &self.stores {
            let count = map.lock().evict(before, &mut |e| {
                assert_eq!(e.partners, entries(e.columns).iter().map(partners).collect::<Vec<_>>());
                evicted.extend(entries(e.columns).into_iter().zip(e.weights.iter().copied()));
                Ok(())
            });
            count.unwrap();
        }
        let is_old = |e: &Entry| e.2.is_some_and(|t| t < before);
        let naive: Model = self.model.iter().filter(|(e, _)| is_old(e)).map(|(e, w)| (e.clone(), *w)).collect();
        assert_eq!(evicted, naive);
        self.model.retain(|e, _| !is_old(e));
    }

    fn scan(&self, limit: usize) {
        let mut all = Model::new();
        for (s, (_, map)) in self.stores.iter().enumerate() {
            let (mut map, mut cursor, mut matches) = (map.lock(), Cursor::default(), Matches::default());
            while map.scan(&mut cursor, limit, &mut matches).unwrap() {
                let (columns, weights) = (map.columns(&matches).unwrap(), map.weights(&matches).unwrap());
                for (entry, weight) in entries(&columns).into_iter().zip(weights) {
                    assert_eq!(all.insert(entry, weight), None);
                }
            }
            let (mut cursor, mut sums) = (Cursor::default(), 0);
            while let Some((_, totals)) = map.scan_totals(&mut cursor, limit).unwrap() {
                sums += totals.iter().sum::<i64>();
            }
            let owner = |e: &&Entry| KeyGroup::of(hash_of(e)).owner(self.stores.len() as u32) as usize == s;
            assert_eq!(sums, self.model.iter().filter(|(e, _)| owner(e)).map(|(_, w)| w).sum::<i64>());
            let negative = map.find_negative().unwrap();
            assert_eq!(negative.is_some(), map.has_negative());
        }
        assert_eq!(all, self.model);
    }

    fn freeze(&mut self) {
        for ((store, _), chain) in self.stores.iter_mut().zip(&mut self.chains) {
            chain.extend(store.freeze().encode_all().unwrap().into_iter().map(Into::into));
        }
    }

    fn restore(&mut self, parallelism: u32) {
        self.freeze();
        self.stores.clear();
        for subtask in 0..parallelism {
            let range = KeyGroupRange::of(subtask, parallelism);
            let mut store = StateStore::restore("op", range, &self.budget, &self.chains).unwrap();
            let map = store.multimap("side", spec()).unwrap();
            store.finish_restore().unwrap();
            self.stores.push((store, map));
        }
        self.chains = vec![vec![]; parallelism as usize];
    }
}

fn random_history(seed: u64, limit_bytes: u64, steps: usize) {
    let mut rng = Rng::new(seed);
    let mut fleet = Fleet::new(limit_bytes);
    for step in 0..steps {
        let now = step as i64 * 100;
        let mut rows: Vec<(Row, i64)> = vec![];
        for _ in 0..rng.below(150) {
            rows.push((random_row(&mut rng, now), 1));
        }
        if rng.below(2) == 0 {
            for (row, weight) in &mut rows {
                *weight = rng.below(4) as i64;
                let known = fleet.model.keys().nth(rng.below(1 + fleet.model.len() as u64) as usize);
                if let (Some(e), true) = (known, rng.below(2) == 0) {
                    *weight = -fleet.model[e];
                    *row = self::row(e);
                }
            }
        }
        fleet.update(&rows);
        let negative: Vec<(Row, i64)> =
            rows.iter().filter(|_| rng.below(9) == 0).map(|(r, _)| (r.clone(), -9)).collect();
        fleet.update(&negative);
        let probing: Vec<Row> = (0..rng.below(30)).map(|_| random_row(&mut rng, now)).collect();
        fleet.probe(&probing, 1 + rng.below(200) as usize);
        // At a barrier no weight is below 0.
        let below: Vec<_> = fleet.model.iter().filter(|(_, w)| **w < 0).map(|(e, w)| (row(e), 1 - w)).collect();
        fleet.update(&below);
        match rng.below(6) {
            0 => fleet.freeze(),
            1 => fleet.restore(1 + rng.below(4) as u32),
            2 | 3 => fleet.evict(now - rng.below(3000) as i64),
            4 => fleet.scan(1 + rng.below(300) as usize),
            _ => {}
        }
    }
    fleet.restore(2);
    fleet.scan(500);
    fleet.evict(i64::MAX);
    fleet.scan(500);
    let spilled = fleet.budget.spill().is_some_and(|area| area.written_bytes() > 0);
    assert_eq!(spilled, limit_bytes != u64::MAX);
    drop(fleet.stores);
    assert_eq!(fleet.budget.used_bytes(), 0);
    drop(fleet.folder);
}

#[test]
fn behaves_like_a_map_in_memory() {
    (1..4).for_each(|seed| random_history(seed, u64::MAX, 100));
}

#[test]
fn behaves_like_a_map_on_disk() {
    (1..3).for_each(|seed| random_history(seed, 1, 80));
    random_history(9, 200_000, 150);
}

#[test]
fn a_snapshot_is_read_as_columns_with_weights() {
    let mut fleet = Fleet::new(u64::MAX);
    let mut rng = Rng::new(5);
    for batch in 0..3 {
        fleet.update(&(0..100).map(|i| (random_row(&mut rng, batch), 1 + i % 3)).collect::<Vec<_>>());
        fleet.freeze();
    }
    let link = fleet.chains[0][0].load(KeyGroupRange::ALL).unwrap();
    let layout = Layout::of(&link.containers[0], 0);
    let names: Vec<&str> = layout.schema().fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!((layout.keys(), names), (4, vec!["k", "f", "t", "v", "weight", "partners", "$group"]));
    let mut reader = Reader::open(&fleet.chains[0], &layout, &fleet.budget).unwrap();
    let mut all = Model::new();
    while let Some(rows) = reader.next(64).unwrap() {
        let weights = rows.column(4).as_primitive::<Int64Type>().values();
        all.extend(entries(rows.columns()).into_iter().zip(weights.iter().copied()));
        for (entry, group) in entries(rows.columns()).iter().zip(rows.column(6).as_primitive::<UInt8Type>().values()) {
            assert_eq!(KeyGroup::of(hash_of(entry)).0, *group);
        }
    }
    assert_eq!(all, fleet.model);
}

#[test]
fn rows_without_a_key_are_one_key() {
    let field = Arc::new(Field::new("v", DataType::Int64, true));
    let mut map = Multimap::new(MultimapSpec::new([], [field as FieldRef]), &Budget::unlimited("t")).unwrap();
    let values: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1, 2, 2, 3]));
    map.update(&[], &[0; 4], &[values], Some(&[1, 1, 1, -1])).unwrap();
    assert!(map.has_negative());
    let (mut probe, mut matches) = (map.probe(&[], &[0, 0]).unwrap(), Matches::default());
    assert!(map.next(&mut probe, 100, &mut matches).unwrap());
    let mut weights = map.weights(&matches).unwrap();
    weights.sort_unstable();
    assert_eq!((matches.rows().len(), weights), (6, vec![-1, -1, 1, 1, 2, 2]));
    assert!(!map.next(&mut probe, 100, &mut matches).unwrap());
}

#[test]
fn a_weight_beyond_i64_is_the_users_error() {
    let mut map = Multimap::new(spec(), &Budget::unlimited("t")).unwrap();
    let (keys, hashes, values) = columns(&[(None, None, None, None)]);
    map.update(&keys, &hashes, &values, Some(&[i64::MAX])).unwrap();
    let error = map.update(&keys, &hashes, &values, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
}

#[test]
fn a_hot_key_is_probed_and_evicted_in_chunks() {
    for limit_bytes in [u64::MAX, 100_000] {
        let mut fleet = Fleet::new(limit_bytes);
        for batch in 0..10i64 {
            let row = |i: i64| ((Some("hot".to_owned()), None, Some(batch * 1000 + i % 7), Some(i.to_string())), 1);
            fleet.update(&(0..2000).map(row).collect::<Vec<_>>());
        }
        fleet.probe(&[(Some("hot".to_owned()), None, None, None)], 777);
        fleet.evict(5500);
        fleet.probe(&[(Some("hot".to_owned()), None, None, None), (None, None, None, None)], 4096);
        fleet.restore(3);
        fleet.evict(5501);
        fleet.scan(1000);
    }
}
