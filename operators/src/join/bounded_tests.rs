//! Joins that are bounded in time against a naive model: all rows that were not late meet, whatever was freed in between; and what an
//! operator emits is never taken back, never late, and only there as long as it has to be.

use super::operator::Core;
use super::*;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::TimestampMillisecondType;
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::expressions::{Column, binary, lit};
use thalweg_engine::key::KeyGroupRange;
use thalweg_engine::rng::Rng;
use thalweg_engine::state::{Budget, SpillArea, StateStore};
use thalweg_engine::testing::harness::{Script, check_ports};
use thalweg_engine::testing::rows::{ZSet, zset};
use thalweg_engine::{Batch, ErrorKind, EventTime};

const MS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);
const KINDS: [JoinKind; 6] =
    [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full, JoinKind::LeftSemi, JoinKind::LeftAnti];
/// A left row matches right ones from so many ms before it to so many after it.
const BEFORE: i64 = 20;
const AFTER: i64 = 35;

/// Key and time.
type Row = (Option<i64>, Option<i64>);

#[derive(Clone, Debug)]
enum Event {
    Rows(usize, Vec<Row>),
    Frontier(i64),
}

fn schema(names: [&str; 2]) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(names[0], DataType::Int64, true), Field::new(names[1], MS, true)]))
}

fn sides() -> [SchemaRef; 2] {
    [schema(["k", "t"]), schema(["j", "u"])]
}

fn batch(side: usize, rows: &[Row]) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<TimestampMillisecondArray>()),
    ];
    Batch::new(RecordBatch::try_new(sides()[side].clone(), columns).unwrap())
}

/// `u >= t - BEFORE AND u <= t + AFTER`, as whole numbers.
fn within(all: &Schema) -> Expr {
    use datafusion_physical_expr::expressions::cast;
    let time = |name: &str, i: usize| cast(Arc::new(Column::new(name, i)), all, DataType::Int64).unwrap();
    let apart = binary(time("u", 3), Op::Minus, time("t", 1), all).unwrap();
    let from = binary(apart.clone(), Op::GtEq, lit(-BEFORE), all).unwrap();
    binary(from, Op::And, binary(apart, Op::LtEq, lit(AFTER), all).unwrap(), all).unwrap()
}

fn interval(kind: JoinKind) -> Join {
    let [left, right] = sides();
    let both: Vec<_> = left.fields().iter().chain(right.fields()).cloned().collect();
    let all = Arc::new(Schema::new(both));
    let output = if kind.has_pairs() { all.clone() } else { left.clone() };
    Join {
        kind,
        left,
        right,
        keys: vec![(Arc::new(Column::new("k", 0)), Arc::new(Column::new("j", 0)))],
        nulls_equal: false,
        null_aware: false,
        filter: Some(within(&all)),
        bound: Some(TimeBound { left: 1, left_keep_ms: AFTER, right: 1, right_keep_ms: BEFORE }),
        stream: StreamKind::Append,
        output,
    }
}

/// Rows of one window meet: the time is a key, too.
fn same_time(kind: JoinKind) -> Join {
    let time: (Expr, Expr) = (Arc::new(Column::new("t", 1)), Arc::new(Column::new("u", 1)));
    let join = interval(kind);
    let keys = [join.keys.clone(), vec![time]].concat();
    let bound = Some(TimeBound { left: 1, left_keep_ms: 0, right: 1, right_keep_ms: 0 });
    Join { keys, filter: None, bound, ..join }
}

fn events(seed: u64, step: i64) -> Vec<Event> {
    let mut rng = Rng::new(seed);
    let mut events = vec![];
    let mut now = 0;
    for _ in 0..25 {
        let row = |rng: &mut Rng| {
            let key = (rng.below(8) > 0).then(|| rng.below(4) as i64);
            let time = now - 10 + rng.below(60) as i64;
            (key, (rng.below(20) > 0).then_some(time / step * step))
        };
        match rng.below(3) {
            0 => {
                now += rng.below(40) as i64;
                events.push(Event::Frontier(now));
            }
            _ => events.push(Event::Rows(rng.below(2) as usize, (0..rng.below(12)).map(|_| row(&mut rng)).collect())),
        }
    }
    events
}

/// The answer and the number of late rows.
fn naive(join: &Join, events: &[Event]) -> (ZSet, u64) {
    let (mut rows, mut late, mut frontier) = ([vec![], vec![]], 0, i64::MIN);
    for event in events {
        match event {
            Event::Frontier(now) => frontier = *now,
            Event::Rows(side, more) => {
                let is_late = |r: &&Row| r.1.is_some_and(|t| t < frontier);
                late += more.iter().filter(is_late).count() as u64;
                rows[*side].extend(more.iter().filter(|r| !is_late(r)).copied());
            }
        }
    }
    let meets = |l: &Row, r: &Row| match (l, r) {
        ((Some(k), Some(t)), (Some(j), Some(u))) if k == j => match join.filter {
            Some(_) => (-BEFORE..=AFTER).contains(&(u - t)),
            None => t == u,
        },
        _ => false,
    };
    let mut out: Vec<(Option<Row>, Option<Row>)> = vec![];
    let [left, right] = rows;
    for l in &left {
        let partners: Vec<&Row> = right.iter().filter(|r| meets(l, r)).collect();
        match join.kind {
            JoinKind::LeftSemi if !partners.is_empty() => out.push((Some(*l), None)),
            JoinKind::LeftSemi | JoinKind::LeftAnti if !partners.is_empty() => {}
            JoinKind::LeftAnti | JoinKind::Left | JoinKind::Full if partners.is_empty() => out.push((Some(*l), None)),
            JoinKind::LeftSemi => {}
            _ => out.extend(partners.iter().map(|r| (Some(*l), Some(**r)))),
        }
    }
    if matches!(join.kind, JoinKind::Right | JoinKind::Full) {
        let alone = right.iter().filter(|r| !left.iter().any(|l| meets(l, r)));
        out.extend(alone.map(|r| (None, Some(*r))));
    }
    let columns = |side: usize, of: Vec<Option<Row>>| {
        batch(side, &of.iter().map(|r| r.unwrap_or_default()).collect::<Vec<_>>()).columns().columns().to_vec()
    };
    let mut all = columns(0, out.iter().map(|o| o.0).collect());
    if join.kind.has_pairs() {
        all.extend(columns(1, out.iter().map(|o| o.1).collect()));
    }
    (zset([&Batch::new(RecordBatch::try_new(join.output.clone(), all).unwrap())]), late)
}

fn script(join: &Join, events: &[Event]) -> Script {
    let keys: Vec<usize> = (0..join.keys.len()).collect();
    let script = Script::with_ports(vec![keys.clone(), keys]);
    let step = |script: Script, event: &Event| match event {
        Event::Rows(side, rows) => script.rows(*side as u8, batch(*side, rows)),
        Event::Frontier(now) => script.frontier(*now),
    };
    events.iter().fold(script, step).end()
}

#[test]
fn every_kind_gives_the_naive_answer_however_its_rows_come() {
    let mut results = 0;
    for (i, kind) in KINDS.into_iter().enumerate() {
        for (join, step) in [(interval(kind), 1), (same_time(kind), 10)] {
            for seed in 0..3 {
                let events = events(10 * i as u64 + seed, step);
                let factory: Arc<dyn OperatorFactory> = Arc::new(join.clone());
                let answer = check_ports(&factory, &script(&join, &events), 2);
                let (rows, late) = naive(&join, &events);
                results += rows.len();
                assert_eq!((answer.main, answer.late_rows), (rows, late), "seed {seed} of {join:?}");
            }
        }
    }
    assert!(results > 200, "{results}");
}

/// Runs the core alone, and looks at each batch and at the state.
fn run_core(join: &Join, events: &[Event], budget: &Arc<Budget>) -> ZSet {
    let mut store = StateStore::new("join", KeyGroupRange::ALL, budget);
    let mut core = Core::open(join.compile().unwrap(), &mut store).unwrap();
    let (mut out, mut passed) = (vec![], EventTime::MIN);
    for event in events.iter().chain(&[Event::Frontier(i64::MAX)]) {
        let emit = &mut |batch: Batch| {
            assert!(batch.weights().is_none(), "an output that appends has weights");
            let times = batch.columns().columns().iter().filter(|c| *c.data_type() == MS);
            for times in times.map(|c| c.as_primitive::<TimestampMillisecondType>()) {
                let oldest = (0..times.len()).filter(|i| times.is_valid(*i)).map(|i| times.value(i)).min();
                assert!(oldest.is_none_or(|t| t >= passed.millis()), "{oldest:?} is late at {passed}");
            }
            out.push(batch);
            Ok(())
        };
        match event {
            Event::Rows(side, rows) => drop(core.process(*side, &batch(*side, rows), emit).unwrap()),
            Event::Frontier(now) => {
                let now = EventTime(*now);
                passed = core.on_frontier(now, emit).unwrap();
                let oldest = join.bound.map_or(0, |b| b.left_keep_ms.max(b.right_keep_ms));
                assert!(passed == now || passed == now.minus(oldest));
            }
        }
    }
    let left: Vec<usize> = core.state.iter().map(|side| side.lock().len()).collect();
    assert_eq!(left, [0, 0], "rows are left at the end");
    zset(&out)
}

#[test]
fn rows_are_freed_and_nothing_is_late_or_taken_back_in_memory_and_on_disk() {
    let folder = tempfile::TempDir::new().unwrap();
    for kind in KINDS {
        for (join, step) in [(interval(kind), 1), (same_time(kind), 10)] {
            let events = events(77, step);
            let area = SpillArea::new(folder.path());
            for budget in [Budget::unlimited("t"), Budget::spilling("t", 1, &area)] {
                assert_eq!(run_core(&join, &events, &budget), naive(&join, &events).0, "{join:?}");
            }
            assert!(area.written_bytes() > 0);
        }
    }
}

#[test]
fn a_row_that_comes_and_meets_in_one_epoch_is_never_without_partner() {
    let join = Join { bound: None, filter: None, stream: StreamKind::Changelog, ..interval(JoinKind::Left) };
    for join in [join.clone(), Join { filter: interval(JoinKind::Left).filter, ..join }] {
        let mut store = StateStore::new("join", KeyGroupRange::ALL, &Budget::unlimited("t"));
        let mut core = Core::open(join.compile().unwrap(), &mut store).unwrap();
        let mut out = vec![];
        let mut emit = |batch: Batch| {
            out.push(batch.num_rows());
            Ok(())
        };
        let row = [(Some(1), Some(5))];
        core.process(0, &batch(0, &row), &mut emit).unwrap();
        core.process(1, &batch(1, &row), &mut emit).unwrap();
        core.settle(&mut emit).unwrap();
        assert_eq!(out, [1]);
    }
}

#[test]
fn a_row_taken_back_that_never_came_is_the_sources_fault() {
    for kind in KINDS {
        let join = Join { bound: None, stream: StreamKind::Changelog, ..interval(kind) };
        let mut store = StateStore::new("join", KeyGroupRange::ALL, &Budget::unlimited("t"));
        let mut core = Core::open(join.compile().unwrap(), &mut store).unwrap();
        let rows = batch(1, &[(Some(1), Some(5))]);
        let taken_back = Batch::with_weights(rows.columns().clone(), vec![-1].into()).unwrap();
        core.process(1, &taken_back, &mut |_| Ok(())).unwrap();
        core.settle(&mut |_| Ok(())).unwrap();
        let error = core.refuse_negative().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::External);
        assert!(error.message().contains("right input"), "{error}");
    }
}
