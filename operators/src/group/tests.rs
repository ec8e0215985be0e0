//! Updating aggregation against a naive model: after every epoch, what was emitted adds up to the aggregates over the rows there are.

use super::delta::Delta;
use super::*;
use crate::aggregate::Function;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::expressions::{Column, binary, lit};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_engine::rng::Rng;
use thalweg_engine::state::Budget;
use thalweg_engine::testing::harness::{self, Script, check, run};
use thalweg_engine::testing::rows::{ZSet, zset};
use thalweg_engine::{Batch, ErrorKind};

/// Key and value.
type Row = (Option<i64>, Option<i64>);
/// What is there how often.
type Rows = BTreeMap<Row, i64>;

fn input() -> SchemaRef {
    let field = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![field("k"), field("v")]))
}

fn col(i: usize) -> Expr {
    Arc::new(Column::new(input().field(i).name(), i))
}

fn batch(rows: &[(Row, i64)], kind: StreamKind) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|((k, _), _)| *k).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|((_, v), _)| *v).collect::<Int64Array>()),
    ];
    let columns = RecordBatch::try_new(input(), columns).unwrap();
    match kind {
        StreamKind::Append => Batch::new(columns),
        StreamKind::Changelog => {
            Batch::with_weights(columns, rows.iter().map(|r| r.1).collect::<Vec<_>>().into()).unwrap()
        }
    }
}

fn aggregates(kind: StreamKind) -> Vec<Aggregate> {
    use Function::*;
    let v = |f| Aggregate::new(f, Some(col(1)), DataType::Int64);
    let positive = || binary(col(1), Op::Gt, lit(0i64), &input()).unwrap();
    let mut all = vec![
        Aggregate::new(Count, None, DataType::Int64),
        v(Count),
        v(Sum),
        v(Avg),
        Aggregate::new(Count, None, DataType::Int64).filter(positive()),
        v(Count).distinct(),
        v(Sum).distinct(),
        v(Count).distinct().filter(positive()),
    ];
    let _ = kind;
    all.extend([v(Min), v(Max), v(Max).filter(positive())]);
    all
}

fn grouping(kind: StreamKind, keys: Vec<Expr>, aggregates: Vec<Aggregate>) -> GroupAggregate {
    let mut fields: Vec<Field> = keys.iter().map(|_| Field::new("k", DataType::Int64, true)).collect();
    fields.extend(aggregates.iter().enumerate().map(|(i, a)| Field::new(format!("a{i}"), a.output.clone(), true)));
    GroupAggregate { input: input(), kind, keys, aggregates, time: None, output: Arc::new(Schema::new(fields)) }
}

/// The values of [`aggregates`] over some rows.
fn naive_values(rows: &Rows, kind: StreamKind) -> Vec<Option<i64>> {
    let values: Vec<(i64, i64)> = rows.iter().filter_map(|((_, v), n)| v.map(|v| (v, *n))).collect();
    let some = |v: i64| (!values.is_empty()).then_some(v);
    let (sum, n) = (values.iter().map(|(v, n)| v * n).sum::<i64>(), values.iter().map(|(_, n)| n).sum::<i64>());
    let positive = |n: &dyn Fn(&i64) -> i64| values.iter().filter(|(v, _)| *v > 0).map(|(_, w)| n(w)).sum::<i64>();
    let mut all = vec![
        Some(rows.values().sum()),
        Some(n),
        some(sum),
        some(sum / n.max(1)),
        Some(positive(&|w| *w)),
        Some(values.len() as i64),
        some(values.iter().map(|(v, _)| v).sum()),
        Some(positive(&|_| 1)),
    ];
    let _ = kind;
    let last = values.last().map(|v| v.0);
    all.extend([values.first().map(|v| v.0), last, last.filter(|v| *v > 0)]);
    all
}

fn naive(rows: &Rows, kind: StreamKind) -> ZSet {
    let keys: BTreeSet<Option<i64>> = rows.keys().map(|r| r.0).collect();
    let text = |v: Option<i64>| v.map_or_else(|| "NULL".to_owned(), |v| v.to_string());
    let row = |key: Option<i64>| {
        let of_key = rows.iter().filter(|((k, _), _)| *k == key).map(|(r, n)| (*r, *n)).collect();
        let values = naive_values(&of_key, kind);
        let all: Vec<String> = std::iter::once(key).chain(values).map(text).collect();
        (all.join("|"), 1)
    };
    keys.into_iter().map(row).collect()
}

/// What the local phase makes of batches.
fn partials(plan: &Arc<Plan>, batches: &[Batch]) -> Vec<Batch> {
    let (mut delta, mut out) = (Delta::new(plan, &Budget::unlimited("test")).unwrap(), vec![]);
    for batch in batches {
        let keys: Vec<ArrayRef> =
            plan.keys.iter().map(|k| crate::expr::evaluate(k, batch.columns()).unwrap()).collect();
        let mut hashes = vec![];
        thalweg_engine::key::hash_rows(&keys, batch.num_rows(), &mut hashes).unwrap();
        let times = vec![0; batch.num_rows()].into();
        delta.fold(&keys, &hashes, &plan.program.evaluate(batch, times).unwrap()).unwrap();
    }
    let mut keep = |b| {
        out.push(b);
        Ok(())
    };
    delta.drain(&mut keep).unwrap();
    out
}

/// Changes of an epoch, shuffled, so that a row may go before it comes; `rows` is what is there.
fn epoch(rng: &mut Rng, rows: &mut Rows, kind: StreamKind) -> Vec<(Row, i64)> {
    let mut changes = vec![];
    for _ in 0..rng.below(40) {
        let draw = |rng: &mut Rng, n: u64| Some(rng.below(n) as i64).filter(|v| *v != 3);
        let row = (draw(rng, 6), draw(rng, 9).map(|v| v - 4));
        let there = rows.get(&row).copied().unwrap_or(0);
        let go = kind == StreamKind::Changelog && there > 0 && rng.below(3) > 0;
        let weight = if go { -1 - rng.below(there as u64) as i64 } else { 1 };
        changes.push((row, weight));
        *rows.entry(row).or_default() += weight;
        rows.retain(|_, n| *n != 0);
    }
    for i in (1..changes.len()).rev() {
        changes.swap(i, rng.below(i as u64 + 1) as usize);
    }
    changes
}

#[test]
fn every_epoch_adds_up_to_the_aggregates_over_the_rows_there_are() {
    for (seed, kind) in (0..12).flat_map(|s| [(s, StreamKind::Append), (s, StreamKind::Changelog)]) {
        let mut rng = Rng::new(seed);
        let grouping = grouping(kind, vec![col(0)], aggregates(kind));
        let plan = grouping.compile().unwrap();
        let (mut script, mut rows) = (Script::new(grouping.partial_keys()), Rows::new());
        for _ in 0..5 {
            let changes = epoch(&mut rng, &mut rows, kind);
            let (a, b) = changes.split_at(changes.len() / 2);
            for part in [a, b] {
                let sent = partials(&plan, &[batch(part, kind)]);
                script = sent.into_iter().fold(script, |s, b| s.rows(0, b));
            }
            script = script.barrier();
            let answer = run(&grouping.global(), &script, 1, &[1], 0);
            assert_eq!(answer.main, naive(&rows, kind), "seed {seed}, {kind:?}");
        }
        // Frozen and restored only where an epoch ends: in its middle more may have gone than has come.
        let answer = run(&grouping.global(), &script, 1, &[1], 0);
        if kind == StreamKind::Append {
            assert_eq!(check(&grouping.global(), &script), answer, "seed {seed}");
        }
    }
}

#[test]
fn state_comes_back_at_any_parallelism() {
    let kind = StreamKind::Changelog;
    for seed in 0..6 {
        let mut rng = Rng::new(seed);
        let grouping = grouping(kind, vec![col(0)], aggregates(kind));
        let plan = grouping.compile().unwrap();
        let (mut script, mut rows) = (Script::new(grouping.partial_keys()), Rows::new());
        for _ in 0..6 {
            // One batch per epoch, so that every step of the script ends one.
            let changes = epoch(&mut rng, &mut rows, kind);
            let all = partials(&plan, &[batch(&changes, kind)]);
            let whole = Batch::concat(&plan.partial, &all).unwrap();
            script = script.rows(0, whole);
        }
        let answer = run(&grouping.global(), &script, 1, &[1, 2, 3, 5], 1);
        assert_eq!(answer.main, naive(&rows, kind), "seed {seed}");
    }
}

#[test]
fn without_keys_there_is_one_row_from_the_first_epoch_on() {
    let kind = StreamKind::Changelog;
    let grouping = grouping(kind, vec![], aggregates(kind));
    let plan = grouping.compile().unwrap();
    let epoch = |rows: &[(Row, i64)]| partials(&plan, &[batch(rows, kind)]);
    let row = |text: &str| ZSet::from([(text.to_owned(), 1)]);
    let empty = Script::new(vec![]).barrier().barrier();
    assert_eq!(check(&grouping.global(), &empty).main, row("0|0|NULL|NULL|0|0|NULL|0|NULL|NULL|NULL"));
    let one = epoch(&[((Some(1), Some(7)), 2)]).into_iter().fold(empty, |s, b| s.rows(0, b)).barrier();
    assert_eq!(run(&grouping.global(), &one, 1, &[1], 3).main, row("2|2|14|7|2|1|7|1|7|7|7"));
    let none = epoch(&[((Some(1), Some(7)), -2)]).into_iter().fold(one, |s, b| s.rows(0, b)).barrier();
    assert_eq!(run(&grouping.global(), &none, 1, &[1], 3).main, row("0|0|NULL|NULL|0|0|NULL|0|NULL|NULL|NULL"));
}

#[test]
fn only_what_changes_is_emitted() {
    let kind = StreamKind::Append;
    let max = vec![Aggregate::new(Function::Max, Some(col(1)), DataType::Int64)];
    let grouping = grouping(kind, vec![col(0)], max);
    let plan = grouping.compile().unwrap();
    let script = |rows: &[i64]| {
        let send = |s: Script, v: &i64| {
            let sent = partials(&plan, &[batch(&[((Some(1), Some(*v)), 1)], kind)]);
            sent.into_iter().fold(s, |s, b| s.rows(0, b)).barrier()
        };
        rows.iter().fold(Script::new(vec![0]), send)
    };
    let count = |rows: &[i64]| emitted(&grouping.global(), &script(rows));
    assert_eq!((count(&[5]), count(&[5, 4, 3]), count(&[5, 6])), (1, 1, 3));
}

/// The number of rows that an operator gives.
fn emitted(factory: &Arc<dyn OperatorFactory>, script: &Script) -> usize {
    harness::emitted(factory, script, 1).unwrap().iter().map(Batch::num_rows).sum()
}

#[test]
fn distinct_rows_of_an_append_stream_are_appended_at_once() {
    let grouping = grouping(StreamKind::Append, vec![col(0)], vec![]);
    assert_eq!(grouping.output_kind(), StreamKind::Append);
    let plan = grouping.compile().unwrap();
    let rows: Vec<(Row, i64)> = [1, 1, 2, 1, 3, 2].map(|k| ((Some(k), None), 1)).to_vec();
    let sent = rows.chunks(2).flat_map(|rows| partials(&plan, &[batch(rows, StreamKind::Append)]));
    // No barrier: the rows are there all the same.
    let script = sent.fold(Script::new(vec![0]), |s, b| s.rows(0, b));
    let answer = run(&grouping.global(), &script, 1, &[1], 0);
    assert_eq!(answer.main, ["1", "2", "3"].map(|k| (k.to_owned(), 1)).into());
    assert_eq!(emitted(&grouping.global(), &script), 3);
    check(&grouping.global(), &script);
}

#[test]
fn a_changelog_that_takes_back_what_it_never_brought_is_told() {
    for aggregates in [aggregates(StreamKind::Changelog), vec![]] {
        let grouping = grouping(StreamKind::Changelog, vec![col(0)], aggregates);
        let plan = grouping.compile().unwrap();
        let sent = partials(&plan, &[batch(&[((Some(1), Some(1)), -1)], StreamKind::Changelog)]);
        let script = sent.into_iter().fold(Script::new(vec![0]), |s, b| s.rows(0, b)).barrier();
        let e = harness::emitted(&grouping.global(), &script, 1).unwrap_err();
        assert!(e.message().contains("takes back rows that it never brought"), "{e}");
    }
}

#[test]
fn what_cannot_be_taken_back_is_refused_over_a_changelog() {
    for function in [Function::FirstValue, Function::LastValue] {
        let aggregates = vec![Aggregate::new(function, Some(col(1)), DataType::Int64)];
        let e = grouping(StreamKind::Changelog, vec![col(0)], aggregates).signature().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::User);
        assert!(e.message().contains("of a stream whose rows may go again"), "{e}");
    }
}

#[test]
fn the_local_phase_holds_nothing_across_a_barrier() {
    let kind = StreamKind::Changelog;
    let grouping = grouping(kind, vec![col(0)], aggregates(kind));
    let rows: Vec<(Row, i64)> = (0..100).map(|i| ((Some(i % 3), Some(i % 7)), 1)).collect();
    let script = Script::new(vec![0]).rows(0, batch(&rows, kind)).barrier();
    let answer = run(&grouping.local(), &script, 1, &[1], 0);
    // Three groups, and per group 7 values, and 6 that are positive, for DISTINCT and for MIN and MAX.
    assert_eq!(emitted(&grouping.local(), &script), 3 + 2 * (3 * 7 + 3 * 6));
    assert_eq!(answer.main, zset(&partials(&grouping.compile().unwrap(), &[batch(&rows, kind)])));
}

#[test]
fn floats_come_and_go_without_a_trace() {
    let field = |name: &str, of| Field::new(name, of, true);
    let input: SchemaRef = Arc::new(Schema::new(vec![field("k", DataType::Int64), field("v", DataType::Float64)]));
    let v: Expr = Arc::new(Column::new("v", 1));
    let of = |f| Aggregate::new(f, Some(v.clone()), DataType::Float64);
    let calls = vec![of(Function::Sum), of(Function::Avg), of(Function::VarPop), of(Function::Sum).distinct()];
    let mut fields = vec![field("k", DataType::Int64)];
    fields.extend((0..calls.len()).map(|i| Field::new(format!("a{i}"), DataType::Float64, true)));
    let grouping = GroupAggregate {
        input: input.clone(),
        kind: StreamKind::Changelog,
        keys: vec![Arc::new(Column::new("k", 0))],
        aggregates: calls,
        time: None,
        output: Arc::new(Schema::new(fields)),
    };
    let plan = grouping.compile().unwrap();
    let batch = |rows: &[(f64, i64)]| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1; rows.len()])),
            Arc::new(rows.iter().map(|r| Some(r.0)).collect::<arrow::array::Float64Array>()),
        ];
        let columns = RecordBatch::try_new(input.clone(), columns).unwrap();
        Batch::with_weights(columns, rows.iter().map(|r| r.1).collect::<Vec<_>>().into()).unwrap()
    };
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let epochs: [(&[(f64, i64)], &str); 6] = [
        (&[(1e16, 1), (1.0, 1)], "1|1.0000000000000001e16|5000000000000000.0|2.5e31|1.0000000000000001e16"),
        (&[(1e16, -1), (inf, 2)], "1|inf|inf|NaN|inf"),
        (&[(-inf, 1)], "1|NaN|NaN|NaN|NaN"),
        (&[(inf, -2), (nan, 1)], "1|NaN|NaN|NaN|NaN"),
        (&[(nan, -1), (-inf, -1), (0.1, 3), (0.1, -1)], "1|1.2|0.39999999999999997|0.18|1.1"),
        (&[(0.1, -2)], "1|1.0|1.0|0.0|1.0"),
    ];
    let mut script = Script::new(vec![0]);
    for (rows, wanted) in epochs {
        script = partials(&plan, &[batch(rows)]).into_iter().fold(script, |s, b| s.rows(0, b)).barrier();
        let answer = run(&grouping.global(), &script, 1, &[1], 0).main;
        assert_eq!(answer.len(), 1, "{answer:?}");
        let parse = |text: &str| text.split('|').map(|v| v.parse::<f64>().unwrap()).collect::<Vec<_>>();
        let (got, wanted) = (parse(answer.first_key_value().unwrap().0), parse(wanted));
        // What variance loses to 1e16 is not in question.
        let exact = |i: usize| i != 3 || wanted[3].is_nan();
        for (i, (a, b)) in got.iter().zip(&wanted).enumerate().filter(|(i, _)| exact(*i)) {
            assert!(
                a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-15,
                "column {i}: {got:?}, not {wanted:?}"
            );
        }
    }
}

#[test]
fn the_least_text_goes_with_its_last_row() {
    let field = |name: &str, of| Field::new(name, of, true);
    let input: SchemaRef = Arc::new(Schema::new(vec![field("k", DataType::Int64), field("v", DataType::Utf8)]));
    let v: Expr = Arc::new(Column::new("v", 1));
    let min = Aggregate::new(Function::Min, Some(v), DataType::Utf8);
    let output = vec![field("k", DataType::Int64), field("a0", DataType::Utf8)];
    let grouping = GroupAggregate {
        input: input.clone(),
        kind: StreamKind::Changelog,
        keys: vec![Arc::new(Column::new("k", 0))],
        aggregates: vec![min],
        time: None,
        output: Arc::new(Schema::new(output)),
    };
    let plan = grouping.compile().unwrap();
    let batch = |rows: &[(Option<&str>, i64)]| {
        let texts: ArrayRef = Arc::new(rows.iter().map(|r| r.0).collect::<arrow::array::StringArray>());
        let columns = vec![Arc::new(Int64Array::from(vec![1; rows.len()])) as ArrayRef, texts];
        let columns = RecordBatch::try_new(input.clone(), columns).unwrap();
        Batch::with_weights(columns, rows.iter().map(|r| r.1).collect::<Vec<_>>().into()).unwrap()
    };
    type Changes = &'static [(Option<&'static str>, i64)];
    let epochs: [(Changes, &str); 4] = [
        (&[(Some("b"), 1), (Some("a"), 2), (None, 1)], "1|a"),
        (&[(Some("a"), -2)], "1|b"),
        (&[(Some("b"), -1)], "1|NULL"),
        (&[(Some(""), 1)], "1|"),
    ];
    let mut script = Script::new(vec![0]);
    for (rows, wanted) in epochs {
        script = partials(&plan, &[batch(rows)]).into_iter().fold(script, |s, b| s.rows(0, b)).barrier();
        let answer = run(&grouping.global(), &script, 1, &[1], 0).main;
        assert_eq!(answer, ZSet::from([(wanted.to_owned(), 1)]));
    }
}
