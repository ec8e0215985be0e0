//! Tests of generated rows: the same for every split, batch and restart; limits, options.

use super::super::{DatagenConnector, OPTIONS};
use super::*;
use crate::options::{OptionResult, Options};
use crate::registry::{Connector, TableColumn, TableSpec};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field as Column, Int32Type, Int64Type, Schema, TimeUnit};
use thalweg_engine::Waker;
use thalweg_engine::operator::Subtask;

fn spec(options: &[(&str, &str)]) -> TableSpec {
    let column = |name: &str, kind| TableColumn { field: Arc::new(Column::new(name, kind, true)), metadata: None };
    TableSpec {
        name: "t".into(),
        columns: vec![
            column("id", DataType::Int64),
            column("n", DataType::Int32),
            column("f", DataType::Float64),
            column("s", DataType::Utf8),
            column("b", DataType::Boolean),
            column("at", DataType::Timestamp(TimeUnit::Millisecond, None)),
        ],
        primary_key: vec![],
        partition_keys: vec![],
        options: Options::new(options.iter().copied()).unwrap(),
    }
}

fn source(options: &[(&str, &str)], names: &[&str]) -> OptionResult<Arc<dyn SourceFactory>> {
    let spec = spec(options);
    let columns = spec.columns.iter().map(|c| c.field.clone()).filter(|f| names.contains(&f.name().as_str()));
    let columns = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
    let typed = spec.options.check("x", OPTIONS)?;
    DatagenConnector.check(&spec, &typed)?;
    DatagenConnector.source(&spec, &typed, columns)
}

/// All rows as text, and the seconds that they took.
fn read(source: &dyn SourceFactory, max_rows: usize, restart: bool) -> (Vec<String>, Duration) {
    let clock = Clock::fake(1_000_000);
    let reader = || {
        let mut reader = source.reader().unwrap();
        let subtask = Subtask { index: 0, parallelism: 1 };
        let ctx = ReaderContext { subtask, waker: Waker::noop(), clock: clock.clone(), metrics: Arc::default() };
        reader.open(&ctx).unwrap();
        reader
    };
    let mut splits: Vec<(Split, Option<Position>)> =
        source.enumerator().unwrap().discover().unwrap().splits.into_iter().map(|s| (s, None)).collect();
    let mut current = reader();
    current.assign(splits.clone()).unwrap();
    let mut rows = Vec::new();
    loop {
        match current.poll(max_rows).unwrap() {
            Poll::Batch { batch, .. } => {
                assert!(batch.num_rows() <= max_rows);
                for row in 0..batch.num_rows() {
                    rows.push(format!("{:?}", batch.slice(row, 1).columns().columns()));
                }
            }
            Poll::SplitFinished(id) => splits.retain(|(s, _)| *s.id != *id),
            Poll::Idle { until } => clock.advance(until.unwrap() - clock.now()),
            Poll::Finished => break,
        }
        if restart {
            let positions = current.positions();
            for (split, position) in &mut splits {
                *position = positions.iter().find(|(id, _)| **id == *split.id).map(|(_, p)| p.clone());
            }
            current = reader();
            current.assign(splits.clone()).unwrap();
        }
    }
    rows.sort();
    (rows, clock.now())
}

const SEQUENCE: [(&str, &str); 3] =
    [("fields.id.kind", "sequence"), ("fields.id.start", "5"), ("fields.id.end", "104")];

#[test]
fn rows_depend_on_seed_and_number_only() {
    let options: Vec<_> = SEQUENCE.iter().copied().chain([("fields.s.length", "20"), ("seed", "7")]).collect();
    let source = source(&options, &["id", "n", "f", "s", "b"]).unwrap();
    assert!(source.bounded());
    let (whole, _) = read(source.as_ref(), 1000, false);
    assert_eq!(whole.len(), 100);
    assert_eq!((read(source.as_ref(), 3, false).0, read(source.as_ref(), 2, true).0), (whole.clone(), whole.clone()));
    let mut other = options.clone();
    other[4] = ("seed", "8");
    assert_ne!(
        read(self::source(&other, &["n"]).unwrap().as_ref(), 10, false).0,
        read(self::source(&options, &["n"]).unwrap().as_ref(), 10, false).0
    );
    // An end counts, read or not.
    assert_eq!(read(self::source(&options, &["b"]).unwrap().as_ref(), 10, false).0.len(), 100);
}

fn column(options: &[(&str, &str)], name: &str, rows: usize) -> arrow::array::ArrayRef {
    let spec = spec(options);
    let typed = spec.options.check("x", OPTIONS).unwrap();
    let field = spec.columns.iter().find(|c| c.field.name() == name).unwrap().field.clone();
    Field::parse(&field, &typed, 0)
        .unwrap()
        .generate(RowNumbers { first: 0, stride: 1, count: rows }, 1_000_000)
        .unwrap()
}

#[test]
fn values_keep_their_limits() {
    let n = column(&[("fields.n.min", "-2"), ("fields.n.max", "2"), ("fields.n.null-rate", "0.5")], "n", 10_000);
    let n = n.as_primitive::<Int32Type>();
    assert!((4_000..6_000).contains(&n.null_count()));
    for value in -2..=2 {
        assert!(n.iter().flatten().filter(|v| *v == value).count() > 500);
    }
    assert!(n.iter().flatten().all(|v| (-2..=2).contains(&v)));
    let wide = column(&[], "id", 1000);
    let wide = wide.as_primitive::<Int64Type>();
    assert!(wide.values().iter().any(|v| *v < 0) && wide.values().iter().any(|v| *v > i64::MAX / 2));
    let s = column(&[("fields.s.length", "33")], "s", 10);
    let s = s.as_string::<i32>();
    assert!(s.iter().flatten().all(|t| t.len() == 33) && s.value(0) != s.value(1));
    let at = column(&[("fields.at.max-past", "1 s")], "at", 100);
    let at = at.as_primitive::<arrow::datatypes::TimestampMillisecondType>();
    assert!(at.values().iter().all(|t| (999_000..=1_000_000).contains(t)));
    assert_eq!(
        column(&[("fields.s.kind", "sequence"), ("fields.s.start", "1"), ("fields.s.end", "3")], "s", 3)
            .as_string::<i32>()
            .value(2),
        "3"
    );
}

#[test]
fn the_rate_is_kept() {
    let source = source(&[("number-of-rows", "1000"), ("rows-per-second", "100")], &["n"]).unwrap();
    let (rows, time) = read(source.as_ref(), 1000, false);
    assert_eq!(rows.len(), 1000);
    assert!((9_900..=10_700).contains(&time.as_millis()), "{time:?}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (key, value) in [
        ("fields.n.min", "3000000000"),
        ("fields.n.null-rate", "1.5"),
        ("fields.x.min", "1"),
        ("fields.s.length", "-1"),
        ("rows-per-second", "0"),
        ("number-of-rows", "-1"),
        ("fields.b.kind", "walk"),
    ] {
        let error = source(&[(key, value)], &["n"]).err().unwrap();
        assert_eq!(error.key.as_deref(), Some(key), "{error}");
    }
    assert!(source(&[("fields.id.kind", "sequence")], &["n"]).is_err());
    assert!(source(&[("fields.n.min", "2"), ("fields.n.max", "1")], &["n"]).is_err());
    assert!(!source(&[], &["n"]).unwrap().bounded());
}
