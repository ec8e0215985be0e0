//! Window aggregation against a naive model: every row is put into each of its windows that has not fired, one by one.

use super::global::GlobalCore;
use super::local::LocalCore;
use super::*;
use crate::aggregate::Function;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::TimeUnit;
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::expressions::{Column, binary, lit};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use thalweg_engine::key::KeyGroupRange;
use thalweg_engine::rng::Rng;
use thalweg_engine::state::{Budget, StateStore};
use thalweg_engine::testing::harness::{Answer, Script, Step, check};
use thalweg_engine::testing::rows::{ZSet, zset};
use thalweg_engine::{Batch, ErrorKind, EventTime, OutPort};

const MS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// Key, time, value.
type Row = (Option<i64>, i64, Option<i64>);
/// Window start, window end, key.
type Group = (i64, i64, Option<i64>);

#[derive(Clone, Debug)]
enum Event {
    Rows(Vec<Row>),
    Frontier(i64),
}

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("t", MS, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn batch(rows: &[Row]) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| Some(r.1)).collect::<TimestampMillisecondArray>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>()),
    ];
    Batch::new(RecordBatch::try_new(input(), columns).unwrap())
}

fn col(i: usize) -> Expr {
    Arc::new(Column::new(input().field(i).name(), i))
}

fn aggregates(distinct: bool) -> Vec<Aggregate> {
    use Function::*;
    let v = |f| Aggregate::new(f, Some(col(2)), DataType::Int64);
    let positive = binary(col(2), Op::Gt, lit(0i64), &input()).unwrap();
    let mut all = vec![
        Aggregate::new(Count, None, DataType::Int64),
        v(Count),
        v(Sum),
        v(Avg),
        v(Min),
        v(Max),
        v(FirstValue),
        v(LastValue),
        Aggregate::new(Count, None, DataType::Int64).filter(positive),
    ];
    if distinct {
        all.extend([v(Count).distinct(), v(Sum).distinct()]);
    }
    all
}

fn output(aggregates: &[Aggregate]) -> SchemaRef {
    let mut fields = vec![Field::new("k", DataType::Int64, true)];
    fields.extend(["window_start", "window_end", "window_time"].map(|n| Field::new(n, MS, false)));
    fields.extend(aggregates.iter().enumerate().map(|(i, a)| Field::new(format!("a{i}"), a.output.clone(), true)));
    Arc::new(Schema::new(fields))
}

fn aggregation(windows: Windows, aggregates: Vec<Aggregate>) -> WindowAggregate {
    let time = WindowTime::Event { time: col(1), windows };
    WindowAggregate { input: input(), time, keys: vec![col(0)], output: output(&aggregates), aggregates }
}

/// The values of the aggregates over some rows.
fn naive_values(rows: &[Row], distinct: bool) -> Vec<Option<i64>> {
    let values: Vec<i64> = rows.iter().filter_map(|r| r.2).collect();
    let mut timed: Vec<(i64, i64)> = rows.iter().filter_map(|r| r.2.map(|v| (r.1, v))).collect();
    timed.sort_unstable();
    let some = |v: i64| (!values.is_empty()).then_some(v);
    let sum: i64 = values.iter().sum();
    let mut all = vec![
        Some(rows.len() as i64),
        Some(values.len() as i64),
        some(sum),
        some(sum / (values.len().max(1) as i64)),
        values.iter().min().copied(),
        values.iter().max().copied(),
        timed.first().map(|p| p.1),
        timed.last().map(|p| p.1),
        Some(values.iter().filter(|v| **v > 0).count() as i64),
    ];
    if distinct {
        let set: BTreeSet<i64> = values.iter().copied().collect();
        all.extend([Some(set.len() as i64), some(set.iter().sum())]);
    }
    all
}

/// All windows that contain an instant, by trial.
fn naive_windows(w: &Windows, t: i64) -> Vec<(i64, i64)> {
    let all: Vec<(i64, i64)> = match *w {
        Windows::Tumble { size_ms, offset_ms } => {
            (-99..99).map(|k| (k * size_ms + offset_ms, (k + 1) * size_ms + offset_ms)).collect()
        }
        Windows::Hop { slide_ms, size_ms, offset_ms } => {
            (-499..499).map(|k| (k * slide_ms + offset_ms, k * slide_ms + offset_ms + size_ms)).collect()
        }
        Windows::Cumulate { step_ms, size_ms, offset_ms } => (-99..99)
            .flat_map(|k| {
                (1..=size_ms / step_ms).map(move |i| (k * size_ms + offset_ms, k * size_ms + offset_ms + i * step_ms))
            })
            .collect(),
    };
    all.into_iter().filter(|(s, e)| (*s..*e).contains(&t)).collect()
}

/// The output and the late rows.
fn naive(w: &Windows, events: &[Event], distinct: bool) -> (ZSet, ZSet) {
    let mut groups: BTreeMap<Group, Vec<Row>> = BTreeMap::new();
    let (mut frontier, mut late) = (i64::MIN, vec![]);
    for event in events {
        match event {
            Event::Frontier(f) => frontier = frontier.max(*f),
            Event::Rows(rows) => {
                for row in rows {
                    let all = naive_windows(w, row.1);
                    let open = all.iter().filter(|(_, e)| *e > frontier);
                    if !all.is_empty() && open.clone().next().is_none() {
                        late.push(*row);
                    }
                    open.for_each(|(s, e)| groups.entry((*s, *e, row.0)).or_default().push(*row));
                }
            }
        }
    }
    let aggs = aggregates(distinct);
    let rows: Vec<_> = groups.into_iter().map(|(g, rows)| (g, naive_values(&rows, distinct))).collect();
    let time = |f: fn(&Group) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(|(g, _)| Some(f(g))).collect::<TimestampMillisecondArray>())
    };
    let mut columns: Vec<ArrayRef> = vec![Arc::new(rows.iter().map(|(g, _)| g.2).collect::<Int64Array>())];
    columns.extend([time(|g| g.0), time(|g| g.1), time(|g| g.1 - 1)]);
    columns
        .extend((0..aggs.len()).map(|i| Arc::new(rows.iter().map(|(_, v)| v[i]).collect::<Int64Array>()) as ArrayRef));
    let main = Batch::new(RecordBatch::try_new(output(&aggs), columns).unwrap());
    (zset([&main]), zset([&batch(&late)]))
}

/// Out-of-order rows around a rising frontier; some are late.
fn events(seed: u64) -> Vec<Event> {
    let mut rng = Rng::new(seed);
    let mut out = vec![];
    let mut now = -40;
    for _ in 0..8 {
        let row = |rng: &mut Rng| {
            let key = rng.below(4) as i64;
            let value = rng.below(20) as i64 - 10;
            let time = now - 12 + rng.below(30) as i64;
            ((key > 0).then_some(key), time, (value != 3).then_some(value))
        };
        let n = rng.below(30);
        out.push(Event::Rows((0..n).map(|_| row(&mut rng)).collect()));
        now += rng.below(16) as i64;
        out.push(Event::Frontier(now));
    }
    out
}

fn script(events: &[Event]) -> Script {
    let steps = events.iter().map(|e| match e {
        Event::Rows(rows) => Step::Rows(thalweg_engine::Port(0), batch(rows)),
        Event::Frontier(f) => Step::Frontier(EventTime(*f)),
    });
    steps.fold(Script::new(vec![0]), Script::step).end()
}

fn kinds() -> Vec<Windows> {
    vec![
        Windows::tumble(10),
        Windows::Tumble { size_ms: 7, offset_ms: 3 },
        Windows::hop(2, 10),
        Windows::hop(4, 6),
        Windows::hop(10, 3),
        Windows::cumulate(5, 20),
    ]
}

#[test]
fn one_phase_gives_the_naive_answer_however_it_is_run() {
    for (i, windows) in kinds().into_iter().enumerate() {
        let events = events(i as u64);
        let (main, late) = naive(&windows, &events, true);
        let answer = check(&aggregation(windows, aggregates(true)).one_phase(), &script(&events));
        assert_eq!(answer.late_rows as i64, late.values().sum::<i64>(), "{windows:?}");
        assert_eq!((answer.main, answer.late), (main, late), "{windows:?}");
    }
}

/// Two local subtasks, given rows in turn, and one global one. Flushes at random, as barriers do.
fn two_phases(plan: &WindowAggregate, events: &[Event], size: usize, seed: u64) -> (ZSet, ZSet) {
    let (compiled, budget) = (plan.compile().unwrap(), Budget::unlimited("test"));
    let mut locals = [0, 1].map(|_| LocalCore::new(compiled.clone(), &budget));
    let mut state = StateStore::new("global", KeyGroupRange::ALL, &budget);
    let mut global = GlobalCore::open(compiled, &mut state).unwrap();
    let (mut main, mut late, mut turn, mut rng) = (vec![], vec![], 0, Rng::new(seed));
    let end = [Event::Frontier(i64::MAX)];
    for event in events.iter().chain(&end) {
        match event {
            Event::Rows(rows) => {
                for rows in rows.chunks(size) {
                    turn += 1;
                    let local = &mut locals[turn % 2];
                    local
                        .process(batch(rows), &mut |b| {
                            late.push(b);
                            Ok(())
                        })
                        .unwrap();
                    if rng.percent(20) {
                        local
                            .flush(i64::MAX, &mut |b| {
                                assert_eq!(global.process(&b)?, 0);
                                Ok(())
                            })
                            .unwrap();
                        assert_eq!(local.groups(), 0);
                    }
                }
            }
            Event::Frontier(f) => {
                for local in &mut locals {
                    local
                        .on_frontier(EventTime(*f), &mut |b| {
                            assert_eq!(global.process(&b)?, 0);
                            Ok(())
                        })
                        .unwrap();
                }
                global
                    .on_frontier(EventTime(*f), &mut |b| {
                        main.push(b);
                        Ok(())
                    })
                    .unwrap();
            }
        }
    }
    (zset(&main), zset(&late))
}

#[test]
fn two_phases_give_the_naive_answer_for_all_batch_sizes() {
    for (i, windows) in kinds().into_iter().enumerate() {
        let events = events(100 + i as u64);
        for distinct in [false, true] {
            let plan = aggregation(windows, aggregates(distinct));
            let expected = naive(&windows, &events, distinct);
            for size in [1, 7, 8192] {
                assert_eq!(two_phases(&plan, &events, size, size as u64), expected, "{windows:?} by {size}");
            }
        }
    }
}

/// The partial states that the local phase makes of some rows.
fn partials(plan: &WindowAggregate, rows: &[Row]) -> Batch {
    let compiled = plan.compile().unwrap();
    let mut local = LocalCore::new(compiled.clone(), &Budget::unlimited("test"));
    local.process(batch(rows), &mut |_| unreachable!("nothing is late")).unwrap();
    let mut out = vec![];
    local
        .flush(i64::MAX, &mut |b| {
            out.push(b);
            Ok(())
        })
        .unwrap();
    Batch::concat(&compiled.partial, &out).unwrap()
}

#[test]
fn the_global_phase_counts_what_is_late_and_fires_nothing_twice_after_a_restore() {
    [false, true].into_iter().for_each(late_and_restored);
}

fn late_and_restored(distinct: bool) {
    let windows = Windows::hop(5, 10);
    let plan = aggregation(windows, aggregates(distinct));
    let first = [(Some(1), 3, Some(1)), (Some(2), 7, None), (None, 12, Some(5)), (Some(1), 3, Some(2))];
    let second = [(Some(1), 4, Some(9)), (Some(1), 4, Some(9)), (Some(2), 8, Some(9)), (Some(3), 22, Some(1))];
    let script = Script::new(plan.partial_keys())
        .rows(0, partials(&plan, &first))
        .frontier(10)
        .rows(0, partials(&plan, &second))
        .frontier(11)
        .end();
    let events = [Event::Rows(first.to_vec()), Event::Frontier(10), Event::Rows(second.to_vec())];
    let Answer { main, late_rows, .. } = check(&plan.global(), &script);
    assert_eq!((main, late_rows), (naive(&windows, &events, distinct).0, 2));
}

#[test]
fn the_local_phase_passes_each_harness_run_and_holds_nothing_across_a_barrier() {
    let plan = WindowAggregate { aggregates: vec![], output: output(&[]), ..aggregation(Windows::tumble(10), vec![]) };
    let rows = [(Some(1), 3, None), (Some(2), 13, None), (Some(3), 1, None)];
    let script = Script::new(vec![0]).rows(0, batch(&rows)).frontier(10).rows(0, batch(&[(Some(1), 9, None)])).end();
    let answer = check(&plan.local(), &script);
    assert_eq!((answer.main.len(), answer.late.len(), answer.late_rows), (3, 1, 1));
}

#[test]
fn a_second_aggregation_over_windows_fires_each_with_its_end() {
    let fields = vec![Field::new("w", MS, false), Field::new("n", DataType::Int64, true)];
    let input = Arc::new(Schema::new(fields));
    let rows = |rows: &[(i64, i64)]| {
        let w: TimestampMillisecondArray = rows.iter().map(|r| Some(r.0)).collect();
        let n: Int64Array = rows.iter().map(|r| Some(r.1)).collect();
        Batch::new(RecordBatch::try_new(input.clone(), vec![Arc::new(w), Arc::new(n)]).unwrap())
    };
    let max = Aggregate::new(Function::Max, Some(Arc::new(Column::new("n", 1))), DataType::Int64);
    let mut out = output(std::slice::from_ref(&max)).fields().to_vec();
    out.remove(0);
    let plan = WindowAggregate {
        input: input.clone(),
        time: WindowTime::Attached { end: Arc::new(Column::new("w", 0)), windows: Windows::hop(2, 10) },
        keys: vec![],
        aggregates: vec![max],
        output: Arc::new(Schema::new(out)),
    };
    let script = Script::new(vec![])
        .rows(0, rows(&[(10, 3), (12, 9), (10, 5)]))
        .frontier(10)
        .rows(0, rows(&[(12, 11), (10, 99)]));
    let answer = check(&plan.one_phase(), &script.end());
    let texts: Vec<&String> = answer.main.keys().collect();
    assert_eq!(
        texts,
        [
            "1970-01-01T00:00:00.002|1970-01-01T00:00:00.012|1970-01-01T00:00:00.011|11",
            "1970-01-01T00:00:00|1970-01-01T00:00:00.010|1970-01-01T00:00:00.009|5",
        ]
    );
    assert_eq!(answer.late_rows, 1);
    assert!(plan.splits() && plan.partial_keys().is_empty());
}

#[test]
fn windows_of_the_wall_clock_fire_when_it_passes_and_at_the_end() {
    let event = aggregation(Windows::tumble(1000), aggregates(true));
    let plan = WindowAggregate { time: WindowTime::Processing { windows: Windows::tumble(1000) }, ..event };
    assert!(!plan.splits());
    let rows = |n: i64| batch(&(0..n).map(|i| (Some(1), 0, Some(i))).collect::<Vec<_>>());
    let advance = |ms| Step::Advance(Duration::from_millis(ms));
    let script = Script::new(vec![0]).rows(0, rows(3)).step(advance(999)).rows(0, rows(2)).step(advance(1));
    let answer = check(&plan.one_phase(), &script.clone().rows(0, rows(4)).end());
    let got: Vec<_> = answer.main.keys().map(|t| t.split('|').skip(4).take(1).collect::<String>()).collect();
    assert_eq!((got, answer.late_rows), (vec!["5".to_owned(), "4".to_owned()], 0));
    let open = thalweg_engine::testing::harness::run(&plan.one_phase(), &script, 1, &[1], 0);
    assert_eq!(open.main.len(), 1, "fired without the end of the input");
}

#[test]
fn impossible_times_are_the_users_error() {
    let compiled = aggregation(Windows::tumble(10), vec![]);
    let compiled = WindowAggregate { output: output(&[]), ..compiled }.compile().unwrap();
    let mut local = LocalCore::new(compiled, &Budget::unlimited("test"));
    let mut run = |time: Option<i64>| {
        let t: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![time]));
        let none: ArrayRef = Arc::new(Int64Array::from(vec![None]));
        let rows = RecordBatch::try_new(input(), vec![none.clone(), t, none]).unwrap();
        local.process(Batch::new(rows), &mut |_| Ok(()))
    };
    let e = run(None).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::User);
    assert!(e.message().contains("event time `t` is NULL in 1 rows"), "{e}");
    assert_eq!(run(Some(i64::MAX)).unwrap_err().kind(), ErrorKind::User);
    assert_eq!(run(Some(i64::MIN)).unwrap_err().kind(), ErrorKind::User);
    run(Some(253_402_300_799_999)).unwrap();
}

#[test]
fn plans_that_cannot_be_are_refused_before_the_first_row() {
    let plan = aggregation(Windows::hop(1, 10_000_000), aggregates(false));
    assert_eq!(plan.signature().unwrap_err().kind(), ErrorKind::User);
    assert_eq!(plan.one_phase().operator().err().unwrap().kind(), ErrorKind::User);
    let key = WindowAggregate { keys: vec![col(1)], ..aggregation(Windows::tumble(1), aggregates(false)) };
    assert_eq!(key.signature().unwrap_err().kind(), ErrorKind::Internal);
    let good = aggregation(Windows::tumble(1), aggregates(false));
    assert_eq!(good.signature().unwrap()["keys"][0][0], "k");
    assert_eq!(OutPort::LATE, OutPort(1));
}

#[test]
fn negative_weights_take_rows_back_from_linear_aggregates_only() {
    let sum = || vec![Aggregate::new(Function::Sum, Some(col(2)), DataType::Int64)];
    let weighted = |rows: &[Row], w: Vec<i64>| Batch::with_weights(batch(rows).columns().clone(), w.into()).unwrap();
    let rows = [(Some(1), 1, Some(5)), (Some(1), 2, Some(7)), (Some(2), 1, Some(1))];
    let script = Script::new(vec![0]).rows(0, weighted(&rows, vec![1, 1, 1])).rows(0, weighted(&rows, vec![-1, 2, -1]));
    let answer = check(&aggregation(Windows::tumble(10), sum()).one_phase(), &script.end());
    let texts: Vec<&str> = answer.main.keys().map(|t| t.rsplit('|').next().unwrap()).collect();
    assert_eq!(texts, ["21"], "a group without rows is not there");
    let mut local =
        LocalCore::new(aggregation(Windows::tumble(10), aggregates(false)).compile().unwrap(), &Budget::unlimited("t"));
    let e = local.process(weighted(&rows, vec![1, -1, 1]), &mut |_| Ok(())).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Internal);
}
