//! Joins against a naive model: every left row meets every right row of the folded input, one by one.

use super::operator::Core;
use super::*;
use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::expressions::{Column, binary};
use std::collections::BTreeMap;
use thalweg_engine::key::KeyGroupRange;
use thalweg_engine::rng::Rng;
use thalweg_engine::state::{Budget, SpillArea, StateStore};
use thalweg_engine::testing::harness::{Script, check_ports, run};
use thalweg_engine::testing::rows::{ZSet, zset};
use thalweg_engine::{Batch, ErrorKind};

const KINDS: [JoinKind; 6] =
    [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full, JoinKind::LeftSemi, JoinKind::LeftAnti];

/// A key, by number: 0 is zero of either sign, 1 is NaN. And a value.
type Row = (Option<i64>, i64);
type Side = BTreeMap<Row, i64>;

fn schema(names: [&str; 2]) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(names[0], DataType::Float64, true),
        Field::new(names[1], DataType::Int64, true),
    ]))
}

fn sides() -> [SchemaRef; 2] {
    [schema(["k", "a"]), schema(["j", "b"])]
}

fn output(kind: JoinKind) -> SchemaRef {
    let [left, right] = sides();
    let fields: Vec<_> = left.fields().iter().chain(right.fields()).cloned().collect();
    Arc::new(Schema::new(if kind.has_pairs() { fields } else { left.fields().to_vec() }))
}

fn keys(side: usize, keys: &[Option<i64>], rng: &mut Rng) -> Float64Array {
    let of = |k: i64| match k {
        0 => [0.0, -0.0][rng.below(2) as usize],
        1 => [f64::NAN, -f64::NAN][(rng.below(2) as usize + side) % 2],
        k => k as f64 / 2.0,
    };
    let mut of = of;
    keys.iter().map(|k| k.map(&mut of)).collect()
}

fn batch(port: usize, rows: &[(Row, i64)], rng: &mut Rng) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys(port, &rows.iter().map(|r| r.0.0).collect::<Vec<_>>(), rng)),
        Arc::new(rows.iter().map(|r| Some(r.0.1)).collect::<Int64Array>()),
    ];
    let columns = RecordBatch::try_new(sides()[port].clone(), columns).unwrap();
    if rows.iter().all(|r| r.1 == 1) {
        return Batch::new(columns);
    }
    Batch::with_weights(columns, rows.iter().map(|r| r.1).collect::<Vec<_>>().into()).unwrap()
}

fn join(kind: JoinKind) -> Join {
    let [left, right] = sides();
    let key = |name: &str| Arc::new(Column::new(name, 0)) as Expr;
    Join {
        kind,
        left,
        right,
        keys: vec![(key("k"), key("j"))],
        nulls_equal: false,
        null_aware: false,
        filter: None,
        bound: None,
        stream: StreamKind::Changelog,
        output: output(kind),
    }
}

/// `a < b`
fn less() -> Expr {
    let [left, right] = sides();
    let all = Schema::new(left.fields().iter().chain(right.fields()).cloned().collect::<Vec<_>>());
    binary(Arc::new(Column::new("a", 1)), Op::Lt, Arc::new(Column::new("b", 3)), &all).unwrap()
}

fn naive(join: &Join, [left, right]: &[Side; 2]) -> ZSet {
    let same = |l: &Row, r: &Row| {
        join.keys.is_empty() || (l.0 == r.0 && (l.0.is_some() || join.nulls_equal && !join.null_aware))
    };
    let meets = |l: &Row, r: &Row| same(l, r) && (join.filter.is_none() || l.1 < r.1);
    let mut rows: Vec<(Option<Row>, Option<Row>, i64)> = vec![];
    for (l, w) in left {
        let partners: Vec<_> = right.iter().filter(|(r, _)| meets(l, r)).collect();
        if join.kind.has_pairs() {
            rows.extend(partners.iter().map(|(r, v)| (Some(*l), Some(**r), w * **v)));
        }
        let has_null = right.keys().any(|r| r.0.is_none());
        let unknown = join.null_aware && !right.is_empty() && (l.0.is_none() || has_null);
        let wanted = match join.kind {
            JoinKind::Left | JoinKind::Full => partners.is_empty(),
            JoinKind::LeftAnti => partners.is_empty() && !unknown,
            JoinKind::LeftSemi => !partners.is_empty(),
            _ => false,
        };
        if wanted {
            rows.push((Some(*l), None, *w));
        }
    }
    for (r, w) in right.iter().filter(|_| matches!(join.kind, JoinKind::Right | JoinKind::Full)) {
        if !left.keys().any(|l| meets(l, r)) {
            rows.push((None, Some(*r), *w));
        }
    }
    let mut rng = Rng::new(1);
    let canonical = |side: usize, rows: Vec<Option<Row>>, rng: &mut Rng| -> Vec<ArrayRef> {
        let floats = keys(0, &rows.iter().map(|r| r.and_then(|r| r.0)).collect::<Vec<_>>(), rng);
        let floats: Float64Array =
            floats.iter().map(|v| v.map(|v| if v.is_nan() { f64::NAN } else { v + 0.0 })).collect();
        let _ = side;
        vec![Arc::new(floats), Arc::new(rows.iter().map(|r| r.map(|r| r.1)).collect::<Int64Array>())]
    };
    let mut columns = canonical(0, rows.iter().map(|r| r.0).collect(), &mut rng);
    if join.kind.has_pairs() {
        columns.extend(canonical(1, rows.iter().map(|r| r.1).collect(), &mut rng));
    }
    let columns = RecordBatch::try_new(join.output.clone(), columns).unwrap();
    zset([&Batch::with_weights(columns, rows.iter().map(|r| r.2).collect::<Vec<_>>().into()).unwrap()])
}

/// The changes of some epochs. In order, a row never is there less than 0 times; else only at the ends of epochs.
fn history(rng: &mut Rng, epochs: usize, in_order: bool) -> Vec<Vec<(usize, Row, i64)>> {
    let mut sides = [Side::new(), Side::new()];
    let mut all = vec![];
    for _ in 0..epochs {
        let mut epoch = vec![];
        for _ in 0..rng.below(50) {
            let port = rng.below(2) as usize;
            let side = &mut sides[port];
            let key = match rng.below(8) {
                0 => None,
                n if n < 4 => Some(7),
                _ => Some(rng.below(6) as i64),
            };
            let mut change = ((key, rng.below(6) as i64), 1 + rng.below(2) as i64);
            if let (Some((row, weight)), true) = (side.iter().nth(rng.below(8) as usize), rng.below(2) == 0) {
                change = (*row, if rng.below(3) == 0 { -1 } else { -*weight });
            }
            *side.entry(change.0).or_default() += change.1;
            side.retain(|_, w| *w != 0);
            epoch.push((port, change.0, change.1));
        }
        if !in_order {
            for i in (1..epoch.len()).rev() {
                epoch.swap(i, rng.below(i as u64 + 1) as usize);
            }
        }
        all.push(epoch);
    }
    all
}

fn folded(epochs: &[Vec<(usize, Row, i64)>]) -> [Side; 2] {
    let mut sides = [Side::new(), Side::new()];
    for (port, row, weight) in epochs.iter().flatten() {
        *sides[*port].entry(*row).or_default() += weight;
    }
    sides.iter_mut().for_each(|side| side.retain(|_, w| *w != 0));
    sides
}

/// Batches of one port each, of a few rows or many.
fn script(join: &Join, epochs: &[Vec<(usize, Row, i64)>], rng: &mut Rng) -> Script {
    let edge = if join.keys.is_empty() || join.null_aware { vec![] } else { vec![0] };
    let mut script = Script::with_ports(vec![edge.clone(), edge]);
    for epoch in epochs {
        for run in epoch.chunk_by(|a, b| a.0 == b.0) {
            let rows: Vec<(Row, i64)> = run.iter().map(|(_, row, w)| (*row, *w)).collect();
            script = script.rows(run[0].0 as u8, batch(run[0].0, &rows, rng));
        }
        // A batch without rows is none that matters.
        script = script.rows(0, batch(0, &[], rng)).barrier();
    }
    script
}

fn check_all(join: Join, seed: u64) {
    let mut rng = Rng::new(seed);
    let factory: Arc<dyn OperatorFactory> = Arc::new(join.clone());
    let epochs = history(&mut rng, 6, true);
    let answer = check_ports(&factory, &script(&join, &epochs, &mut rng), 2);
    assert_eq!(answer.main, naive(&join, &folded(&epochs)), "{join:?}");
    let epochs = history(&mut rng, 8, false);
    for through in 1..=epochs.len() {
        let epochs = &epochs[..through];
        let answer = run(&factory, &script(&join, epochs, &mut rng), 2, &[1 + through as u32 % 3], 0);
        assert_eq!(answer.main, naive(&join, &folded(epochs)), "epoch {through} of {join:?}");
    }
}

#[test]
fn every_kind_gives_the_naive_answer_after_each_epoch() {
    for (i, kind) in KINDS.into_iter().enumerate() {
        for (j, nulls_equal) in [false, true].into_iter().enumerate() {
            let plain = Join { nulls_equal, ..join(kind) };
            check_all(Join { filter: Some(less()), ..plain.clone() }, (100 + 10 * i + j) as u64);
            check_all(plain, (200 + 10 * i + j) as u64);
        }
    }
}

#[test]
fn joins_without_keys_meet_every_row() {
    for (i, kind) in KINDS.into_iter().enumerate() {
        let cross = Join { keys: vec![], ..join(kind) };
        check_all(Join { filter: Some(less()), ..cross.clone() }, 300 + i as u64);
        check_all(cross, 400 + i as u64);
    }
}

#[test]
fn not_in_is_true_of_nothing_while_there_is_a_null() {
    for seed in 0..6 {
        check_all(Join { null_aware: true, ..join(JoinKind::LeftAnti) }, 500 + seed);
    }
    let correlated = Join { null_aware: true, filter: Some(less()), ..join(JoinKind::LeftAnti) };
    assert_eq!(correlated.signature().unwrap_err().kind(), ErrorKind::User);
}

/// Epoch by epoch, with state that is on disk most of the time.
fn check_on_disk(join: &Join, seed: u64) {
    let mut rng = Rng::new(seed);
    let folder = tempfile::TempDir::new().unwrap();
    let area = SpillArea::new(folder.path());
    let limit_bytes = [1, 20_000][seed as usize % 2];
    let budget = Budget::spilling("t", limit_bytes, &area);
    let mut store = StateStore::new("join", KeyGroupRange::ALL, &budget);
    let mut core = Core::open(join.compile().unwrap(), &mut store).unwrap();
    let epochs = history(&mut rng, 10, false);
    let mut out = vec![];
    for through in 0..epochs.len() {
        let mut emit = |batch: Batch| {
            assert!((1..=4096).contains(&batch.num_rows()));
            out.push(batch);
            Ok(())
        };
        for run in epochs[through].chunk_by(|a, b| a.0 == b.0) {
            let rows: Vec<(Row, i64)> = run.iter().map(|(_, row, w)| (*row, *w)).collect();
            core.process(run[0].0, &batch(run[0].0, &rows, &mut rng), &mut emit).unwrap();
        }
        core.settle(&mut emit).unwrap();
        core.refuse_negative().unwrap();
        assert_eq!(zset(&out), naive(join, &folded(&epochs[..=through])), "epoch {through} of {join:?}");
    }
    // With the larger budget some of it stays in memory, or all.
    assert!(area.written_bytes() > 0 || limit_bytes > 1);
}

#[test]
fn state_on_disk_gives_the_same_answers() {
    for (i, kind) in KINDS.into_iter().enumerate() {
        for seed in [600, 601] {
            let plain = join(kind);
            check_on_disk(&Join { filter: Some(less()), ..plain.clone() }, seed + 10 * i as u64);
            check_on_disk(&plain, seed + 10 * i as u64);
        }
    }
    check_on_disk(&Join { null_aware: true, ..join(JoinKind::LeftAnti) }, 700);
    check_on_disk(&Join { null_aware: true, ..join(JoinKind::LeftAnti) }, 701);
}

#[test]
fn a_hot_key_is_joined_in_bounded_batches() {
    let mut rng = Rng::new(7);
    let rows = |n: i64| (0..n).map(|i| ((Some(3), i % 50), 1)).collect::<Vec<_>>();
    for kind in KINDS {
        let join = join(kind);
        let factory: Arc<dyn OperatorFactory> = Arc::new(join.clone());
        let (left, right) = (rows(3000), rows(200));
        let script = Script::with_ports(vec![vec![0], vec![0]])
            .rows(0, batch(0, &left, &mut rng))
            .rows(1, batch(1, &right, &mut rng))
            .barrier();
        let all = [left.iter().map(|(r, w)| (0, *r, *w)).chain(right.iter().map(|(r, w)| (1, *r, *w))).collect()];
        assert_eq!(run(&factory, &script, 2, &[1], 0).main, naive(&join, &folded(&all)));
    }
}

#[test]
fn arrays_are_kept_as_they_are() {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let schema = |names: [&str; 2]| {
        let fields = [(names[0], DataType::Int64), (names[1], list.clone())];
        Arc::new(Schema::new(fields.map(|(name, t)| Field::new(name, t, true)).to_vec()))
    };
    let (left, right) = (schema(["k", "a"]), schema(["j", "b"]));
    let rows = |schema: &SchemaRef, n: i64| {
        let lists = (0..n).map(|i| (i > 0).then(|| (0..i).map(|v| (v != 2).then_some(v)).collect::<Vec<_>>()));
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let columns: Vec<ArrayRef> = vec![Arc::new((0..n).map(Some).collect::<Int64Array>()), Arc::new(lists)];
        Batch::new(RecordBatch::try_new(schema.clone(), columns).unwrap())
    };
    let fields: Vec<_> = left.fields().iter().chain(right.fields()).cloned().collect();
    let key = |name: &str| Arc::new(Column::new(name, 0)) as Expr;
    let script = Script::with_ports(vec![vec![0], vec![0]]).rows(0, rows(&left, 5)).rows(1, rows(&right, 4));
    let keys = vec![(key("k"), key("j"))];
    let join = Join { left, right, keys, output: Arc::new(Schema::new(fields)), ..join(JoinKind::Left) };
    let factory: Arc<dyn OperatorFactory> = Arc::new(join);
    let answer = check_ports(&factory, &script.barrier(), 2);
    let rows: Vec<&str> = answer.main.keys().map(String::as_str).collect();
    let last = ["1|[0]|1|[0]", "2|[0, 1]|2|[0, 1]", "3|[0, 1, NULL]|3|[0, 1, NULL]", "4|[0, 1, NULL, 3]|NULL|NULL"];
    assert_eq!(rows, [&["0|NULL|0|NULL"][..], &last].concat());
}

#[test]
fn plans_that_cannot_be_are_refused() {
    let internal = |join: Join| assert_eq!(join.operator().err().unwrap().kind(), ErrorKind::Internal);
    internal(Join { stream: StreamKind::Append, ..join(JoinKind::Left) });
    internal(Join { output: output(JoinKind::LeftSemi), ..join(JoinKind::Inner) });
    internal(Join { filter: Some(Arc::new(Column::new("a", 1))), ..join(JoinKind::Inner) });
    let other: Expr = Arc::new(Column::new("b", 1));
    internal(Join { keys: vec![(Arc::new(Column::new("k", 0)), other)], ..join(JoinKind::Inner) });
    let signature = join(JoinKind::Full).signature().unwrap();
    assert_eq!(signature["left"]["columns"][0][0], "k");
}
