//! Tests of interleaved splits over rows that are their own numbers: every row once at any parallelism and after any restore, in
//! step, as fast as allowed.

use super::*;
use arrow::array::{AsArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, UInt64Type};
use std::collections::{BTreeMap, HashMap};
use thalweg_engine::message::Waker;
use thalweg_engine::operator::Subtask;

/// A table whose row `n` is `n`; gives at most `short` rows at once.
struct Numbers {
    rows: Option<u64>,
    short: usize,
    settings: Value,
}

impl Generate for Numbers {
    const NAME: &'static str = "numbers";

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::UInt64, false)]))
    }

    fn rows(&self) -> u64 {
        self.rows.unwrap_or(ROWS_MAX)
    }

    fn bounded(&self) -> bool {
        self.rows.is_some()
    }

    fn settings(&self) -> Result<Value> {
        Ok(self.settings.clone())
    }

    fn generate(&self, first: u64, count: usize, _clock: &Clock) -> Result<RecordBatch> {
        let numbers = (0..count.min(self.short) as u64).map(|i| first + i * SPLITS);
        assert!(numbers.clone().all(|n| n < self.rows()) && count > 0);
        let column = Arc::new(UInt64Array::from_iter_values(numbers));
        Ok(RecordBatch::try_new(self.schema(), vec![column])?)
    }
}

fn source(rows: Option<u64>, rows_per_second: u64) -> Interleaved<Numbers> {
    Interleaved::new(Numbers { rows, short: usize::MAX, settings: json!({}) }, rows_per_second)
}

type Positions = HashMap<SplitId, Position>;

/// Readers at that parallelism, going on at those positions.
pub(crate) fn readers(
    source: &dyn SourceFactory,
    clock: &Clock,
    parallelism: u32,
    positions: &Positions,
) -> Vec<Box<dyn SourceReader>> {
    let assignments = source.enumerator().unwrap().step(Fact::Started { parallelism, finished: Vec::new() });
    assert!(assignments.len() == parallelism as usize && assignments.iter().all(|assignment| assignment.no_more));
    let open = |assignment: Assignment| {
        let mut reader = source.reader().unwrap();
        let subtask = Subtask { index: 0, parallelism: 1 };
        let ctx = ReaderContext { subtask, waker: Waker::noop(), clock: clock.clone(), metrics: Arc::default() };
        reader.open(&ctx).unwrap();
        let place = |split: Split| (split.clone(), positions.get(split.id.as_str()).cloned());
        reader.assign(assignment.splits.into_iter().map(place).collect()).unwrap();
        reader
    };
    assignments.into_iter().map(open).collect()
}

fn positions(readers: &[Box<dyn SourceReader>]) -> Positions {
    readers.iter().flat_map(|reader| reader.positions()).collect()
}

/// Polls in turn until the readers have given `limit` batches or end; counts how often each number came.
fn read(readers: &mut [Box<dyn SourceReader>], limit: usize, max_rows: usize, seen: &mut BTreeMap<u64, u32>) {
    read_batches(readers, limit, max_rows, |split, rows| {
        for n in rows.column(0).as_primitive::<UInt64Type>().values() {
            assert_eq!(*split, *format!("numbers-{}", n % SPLITS));
            *seen.entry(*n).or_default() += 1;
        }
    });
}

/// Polls in turn until the readers have given `limit` batches or end.
pub(crate) fn read_batches(
    readers: &mut [Box<dyn SourceReader>],
    limit: usize,
    max_rows: usize,
    mut take: impl FnMut(&str, &RecordBatch),
) {
    let mut given = 0;
    loop {
        let mut live = false;
        for reader in readers.iter_mut() {
            match reader.poll(max_rows).unwrap() {
                Poll::Batch { split, batch, .. } => {
                    assert!((1..=max_rows).contains(&batch.num_rows()));
                    take(&split, batch.columns());
                    given += 1;
                    live = true;
                }
                Poll::SplitFinished(_) => live = true,
                Poll::Idle { .. } => panic!("idle without a limit"),
                Poll::Finished => {}
            }
        }
        if !live || given >= limit {
            return;
        }
    }
}

#[test]
fn every_row_comes_once_at_every_parallelism_and_after_every_restore() {
    for rows in [0, 1, 63, 64, 65, 3_001] {
        for (first, second, max_rows, short) in [(1, 1, 8_192, 10_000), (2, 3, 7, 5), (8, 64, 2, 1), (70, 5, 100, 13)] {
            let source = Interleaved::new(Numbers { rows: Some(rows), short, settings: json!({}) }, 0);
            assert!(source.bounded());
            let (clock, mut seen) = (Clock::fake(0), BTreeMap::new());
            let mut before = readers(&source, &clock, first, &HashMap::new());
            read(&mut before, 20, max_rows, &mut seen);
            let mut after = readers(&source, &clock, second, &positions(&before));
            read(&mut after, usize::MAX, max_rows, &mut seen);
            assert_eq!(seen, (0..rows).map(|n| (n, 1)).collect(), "{rows} rows, {first} then {second}");
        }
    }
}

#[test]
fn the_last_rows_that_can_be_numbered_are_read() {
    let source = source(None, 0);
    assert!(!source.bounded());
    let last = ROWS_MAX - 1;
    let id: SplitId = format!("numbers-{}", last % SPLITS).into();
    let mut before = readers(&source, &Clock::fake(0), 1, &HashMap::from([(id.clone(), Position(last.into()))]));
    let stand = positions(&before);
    assert_eq!(stand[&id], Position(last.into()));
    let far: Positions = stand.into_keys().map(|id| (id.clone(), near_end(&id, last))).collect();
    let mut seen = BTreeMap::new();
    before = readers(&source, &Clock::fake(0), 3, &far);
    read(&mut before, usize::MAX, 1_000, &mut seen);
    assert_eq!(seen.keys().next_back(), Some(&last));
    assert_eq!(seen.len() as u64, SPLITS);
}

/// The last row of this split.
fn near_end(id: &str, last: u64) -> Position {
    let split: u64 = id.strip_prefix("numbers-").unwrap().parse().unwrap();
    Position((0..SPLITS).map(|back| last - back).find(|n| n % SPLITS == split).unwrap().into())
}

#[test]
fn splits_of_a_reader_advance_together() {
    let source = source(None, 0);
    let mut readers = readers(&source, &Clock::fake(0), 2, &HashMap::new());
    for _ in 0..200 {
        readers.iter_mut().for_each(|reader| drop(reader.poll(10).unwrap()));
        for reader in &readers {
            let next: Vec<u64> = reader.positions().iter().filter_map(|(_, position)| position.0.as_u64()).collect();
            assert_eq!(next.len(), 32);
            assert!(next.iter().max().unwrap() - next.iter().min().unwrap() <= 11 * SPLITS);
        }
    }
}

#[test]
fn the_limit_holds_for_the_whole_table() {
    let limit = 5_000;
    let source = source(None, limit);
    for parallelism in [1, 3] {
        let clock = Clock::fake(0);
        let mut readers = readers(&source, &clock, parallelism, &HashMap::new());
        let mut total = 0;
        let mut drain = |readers: &mut Vec<Box<dyn SourceReader>>| {
            for reader in readers {
                loop {
                    match reader.poll(8_192).unwrap() {
                        Poll::Batch { batch, .. } => total += batch.num_rows() as u64,
                        Poll::Idle { until } => {
                            assert!(until.unwrap() > clock.now() && until.unwrap() <= clock.now() + TICK * 2);
                            break;
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            total
        };
        drain(&mut readers);
        for second in 1..=4 {
            for _ in 0..1_000 {
                clock.advance(Duration::from_millis(1));
                drain(&mut readers);
            }
            let given = drain(&mut readers);
            assert!(given.abs_diff(limit * second) <= limit / 50, "{given} rows after {second} s");
        }
        // Ten seconds without a poll are made good for at most by one second of rows.
        let before = drain(&mut readers);
        clock.advance(Duration::from_secs(10));
        let after = drain(&mut readers);
        assert!(after - before <= limit, "{} rows at once", after - before);
    }
}

#[test]
fn a_slow_row_waits_for_its_moment() {
    let pace = Pace { start: Duration::from_secs(5), first: 100, rows_per_second: 1 };
    assert_eq!(pace.moment(100), Duration::from_secs(6));
    assert_eq!((pace.due(Duration::from_millis(5_999)), pace.due(Duration::from_secs(6))), (100, 101));
    assert!(pace.moment(u64::MAX) > Duration::from_secs(1 << 32));
    assert_eq!(Pace { rows_per_second: u64::MAX, ..pace }.due(Duration::MAX), u64::MAX);
}

#[test]
fn a_state_of_other_settings_is_refused_by_name() {
    let enumerator = |settings: Value| {
        let numbers = Numbers { rows: Some(100), short: 1, settings };
        Interleaved::new(numbers, 0).enumerator().unwrap()
    };
    let state = enumerator(json!({ "a": 1, "b": "x" })).snapshot();
    assert!(enumerator(json!({ "b": "x", "a": 1 })).restore(&state).is_ok());
    for (settings, changed) in [
        (json!({ "a": 2, "b": "x" }), "setting `a` was 1 and is now 2"),
        (json!({ "a": 1 }), "setting `b` was \"x\" and is now not set"),
        (json!({ "a": 1, "b": "x", "c": null }), "setting `c` was not set and is now null"),
    ] {
        let error = enumerator(settings).restore(&state).unwrap_err();
        assert_eq!(error.message(), format!("the state belongs to another table: {changed}"));
    }
    let error = enumerator(json!({})).restore(&json!({ "splits": [] })).unwrap_err();
    assert_eq!(error.message(), "the state is not that of a numbers source");
}

#[test]
fn positions_of_another_table_are_refused() {
    for position in [json!(1), json!("0"), json!(-64), json!({ "row": 0 }), json!(null)] {
        let mut reader = source(None, 0).reader().unwrap();
        let split = Split { id: "numbers-0".into(), spec: json!({ "first": 0 }) };
        let error = reader.assign(vec![(split, Some(Position(position.clone())))]).unwrap_err();
        assert_eq!(error.message(), format!("split `numbers-0` cannot stand at {position}"));
    }
    let alien = Split { id: "numbers-64".into(), spec: json!({ "first": 64 }) };
    assert!(source(None, 0).reader().unwrap().assign(vec![(alien, None)]).is_err());
}
