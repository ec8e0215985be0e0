//! Tests of whole tables: the same rows for every split, batch, parallelism and restart; how many there are; how large a batch is.

use super::super::tests::{plan, table};
use super::*;
use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::Waker;
use thalweg_engine::operator::Subtask;
use thalweg_engine::source::{Fact, Poll, Position, ReaderContext, SourceFactory, SourceReader, SplitId};

type Positions = HashMap<SplitId, Position>;

fn readers(source: &dyn SourceFactory, clock: &Clock, n: u32, positions: &Positions) -> Vec<Box<dyn SourceReader>> {
    let dealt = source.enumerator().unwrap().step(Fact::Started { parallelism: n, finished: vec![] });
    let open = |assignment: thalweg_engine::source::Assignment| {
        let mut reader = source.reader().unwrap();
        let subtask = Subtask { index: assignment.subtask, parallelism: n };
        let ctx = ReaderContext { subtask, waker: Waker::noop(), clock: clock.clone(), metrics: Arc::default() };
        reader.open(&ctx).unwrap();
        let splits = assignment.splits.into_iter();
        reader.assign(splits.map(|s| (s.clone(), positions.get(s.id.as_str()).cloned())).collect()).unwrap();
        reader
    };
    dealt.into_iter().map(open).collect()
}

/// All rows as sorted text, and the time that they took; restarted after each so many polls at the next parallelism.
fn read(source: &dyn SourceFactory, max_rows: usize, restarts: &[(usize, u32)]) -> (Vec<String>, Duration) {
    let clock = Clock::fake(1_000_000);
    let (mut rows, mut positions) = (vec![], Positions::new());
    for (polls, parallelism) in restarts {
        let mut current = readers(source, &clock, *parallelism, &positions);
        for _ in 0..*polls {
            let (mut idle, mut done) = (None, true);
            for reader in &mut current {
                match reader.poll(max_rows).unwrap() {
                    Poll::Batch { batch, .. } => {
                        assert!((1..=max_rows).contains(&batch.num_rows()));
                        let text = |row| format!("{:?}", batch.slice(row, 1).columns().columns());
                        rows.extend((0..batch.num_rows()).map(text));
                    }
                    Poll::Idle { until } => idle = until,
                    Poll::Finished => continue,
                    Poll::SplitFinished(_) => {}
                }
                done = false;
            }
            if done {
                break;
            }
            idle.into_iter().for_each(|until| clock.advance(until.saturating_sub(clock.now())));
        }
        positions = current.iter().flat_map(|reader| reader.positions()).collect();
    }
    rows.sort();
    (rows, clock.now())
}

const WHOLE: [(usize, u32); 1] = [(usize::MAX, 1)];

#[test]
fn rows_are_the_same_at_every_parallelism_and_after_every_restore() {
    let options = [
        ("rows-per-second", "1000"),
        ("base-time", "2026-01-01 00:00:00"),
        ("number-of-rows", "500"),
        ("seed", "7"),
        ("fields.at.max-past", "1 min"),
        ("fields.n.null-rate", "0.2"),
        ("fields.pair.null-rate", "0.2"),
    ];
    let spec = table(&options);
    let all = spec.physical();
    let names: Vec<&str> = all.fields().iter().map(|f| f.name().as_str()).collect();
    let source = plan(&spec, &names).unwrap();
    assert!(source.bounded());
    let (whole, _) = read(source.as_ref(), 8_192, &WHOLE);
    assert_eq!(whole.len(), 500);
    let restarts = [(3, 2), (4, 5), (1, 70), (usize::MAX, 3)];
    assert_eq!(read(source.as_ref(), 3, &restarts).0, whole);
    let mut other = options;
    other[3] = ("seed", "8");
    assert_ne!(read(plan(&table(&other), &names).unwrap().as_ref(), 8_192, &WHOLE).0, whole);
}

#[test]
fn the_table_ends_with_its_shortest_sequence_or_number_of_rows() {
    let sequence = [("fields.id.kind", "sequence"), ("fields.id.start", "-5"), ("fields.id.end", "94")];
    let other = [("fields.pair.x.kind", "sequence"), ("fields.pair.x.start", "7"), ("fields.pair.x.end", "36")];
    for (given, nested, rows) in [
        (None, false, 100),
        (Some("40"), false, 40),
        (Some("1000"), false, 100),
        (Some("35"), true, 30),
        (Some("0"), true, 0),
    ] {
        let mut options = sequence.to_vec();
        options.extend(given.map(|rows| ("number-of-rows", rows)));
        options.extend(nested.then_some(other).into_iter().flatten());
        // An end counts, read or not.
        for names in [vec!["id", "pair"], vec!["b"]] {
            let source = plan(&table(&options), &names).unwrap();
            assert!(source.bounded());
            assert_eq!(read(source.as_ref(), 7, &WHOLE).0.len(), rows);
        }
    }
    assert!(!plan(&table(&[]), &["n"]).unwrap().bounded());
    let all = [
        ("fields.id.kind", "sequence"),
        ("fields.id.start", "-9223372036854775808"),
        ("fields.id.end", "9223372036854775807"),
    ];
    let clock = Clock::fake(0);
    let source = plan(&table(&all), &["id"]).unwrap();
    let last = ROWS_MAX - ROWS_MAX % SPLITS;
    let far: Positions = [(SplitId::from("datagen-0"), Position((last - SPLITS).into()))].into();
    let mut reader = readers(source.as_ref(), &clock, 64, &far).remove(0);
    clock.advance(Duration::from_secs(1));
    reader.poll(100).unwrap();
    clock.advance(Duration::from_millis(500));
    let Poll::Batch { batch, .. } = reader.poll(100).unwrap() else { panic!("a batch") };
    let ids = batch.columns().column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(ids, [last - SPLITS, last].map(|n| i64::MIN.wrapping_add_unsigned(n)));
}

#[test]
fn the_limit_of_rows_per_second_is_kept_and_zero_is_none() {
    let timed = |rate| {
        let options = [("number-of-rows", "1000"), ("rows-per-second", rate)];
        read(plan(&table(&options), &["n"]).unwrap().as_ref(), 8_192, &[(usize::MAX, 3)])
    };
    let ((slow, time), (fast, none)) = (timed("100"), timed("0"));
    assert_eq!((slow.len(), &slow), (1000, &fast));
    assert!((9_900..=10_700).contains(&time.as_millis()), "{time:?}");
    assert_eq!(none, Duration::ZERO);
}

fn first_batch(options: &[(&str, &str)], names: &[&str]) -> RecordBatch {
    let mut options = options.to_vec();
    options.push(("rows-per-second", "0"));
    let source = plan(&table(&options), names).unwrap();
    let Poll::Batch { batch, .. } =
        readers(source.as_ref(), &Clock::fake(0), 1, &HashMap::new())[0].poll(8_192).unwrap()
    else {
        panic!("a batch")
    };
    batch.columns().clone()
}

#[test]
fn long_texts_make_short_batches() {
    assert_eq!(first_batch(&[], &["n", "s"]).num_rows(), 8_192);
    for (length, rows) in [("1048576", 1..=4), ("65536", 50..=64), ("0", 8_192..=8_192)] {
        let batch = first_batch(&[("fields.s.length", length), ("fields.y.length", "0")], &["s", "y"]);
        assert!(rows.contains(&batch.num_rows()), "{} rows of {length}", batch.num_rows());
        let texts = batch.column(0).as_string::<i32>();
        assert_eq!(texts.value_data().len(), batch.num_rows() * length.parse::<usize>().unwrap());
    }
    // Elements count too; whatever the options, there is a row.
    let lists = [("fields.list.length", "1000"), ("fields.list.element.length", "10000")];
    assert_eq!(first_batch(&lists, &["list"]).num_rows(), 1);
}

#[test]
fn leaving_columns_out_changes_none() {
    let (all, some) = (first_batch(&[], &["n", "pair", "s"]), first_batch(&[], &["n"]));
    let rows = some.num_rows().min(all.num_rows());
    let first = |batch: &RecordBatch| batch.column(0).as_primitive::<Int32Type>().slice(0, rows);
    assert_eq!(first(&all), first(&some));
    assert_eq!(first_batch(&[], &[]).num_rows(), 8_192);
}
