//! Tests of the Nexmark source: the same rows at every parallelism and after every restore, and the limit of rows per second.

use super::super::wide_schema;
use super::*;
use arrow::array::AsArray;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, Int64Type, Schema};
use std::collections::HashMap;
use thalweg_engine::message::Waker;
use thalweg_engine::operator::Subtask;

fn config(events_num: u64) -> NexmarkConfig {
    NexmarkConfig { events_num, ..NexmarkConfig::default() }
}

fn reader(source: &NexmarkSource, clock: &Clock) -> Box<dyn SourceReader> {
    let mut reader = source.reader().unwrap();
    let subtask = Subtask { index: 0, parallelism: 1 };
    reader
        .open(&ReaderContext { subtask, waker: Waker::noop(), clock: clock.clone(), metrics: Arc::default() })
        .unwrap();
    reader
}

/// Readers at that parallelism, going on at those positions.
fn readers(
    source: &NexmarkSource,
    clock: &Clock,
    parallelism: u32,
    positions: &HashMap<SplitId, Position>,
) -> Vec<Box<dyn SourceReader>> {
    let assignments = source.enumerator().unwrap().step(Fact::Started { parallelism, finished: Vec::new() });
    assert!(assignments.len() == parallelism as usize && assignments.iter().all(|assignment| assignment.no_more));
    let open = |assignment: Assignment| {
        let mut reader = reader(source, clock);
        let place = |split: Split| (split.clone(), positions.get(split.id.as_str()).cloned());
        reader.assign(assignment.splits.into_iter().map(place).collect()).unwrap();
        reader
    };
    assignments.into_iter().map(open).collect()
}

fn positions(readers: &[Box<dyn SourceReader>]) -> HashMap<SplitId, Position> {
    readers.iter().flat_map(|reader| reader.positions()).collect()
}

/// Polls in turn until the readers have given `limit` batches or end; collects rows by split.
fn read(
    readers: &mut [Box<dyn SourceReader>],
    limit: usize,
    max_rows: usize,
    rows: &mut HashMap<SplitId, Vec<RecordBatch>>,
) {
    let mut given = 0;
    loop {
        let mut live = false;
        for reader in readers.iter_mut() {
            match reader.poll(max_rows).unwrap() {
                Poll::Batch { split, batch, .. } => {
                    assert!((1..=max_rows).contains(&batch.num_rows()));
                    rows.entry(split).or_default().push(batch.columns().clone());
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

/// All rows in the order of the stream.
fn whole(rows: &HashMap<SplitId, Vec<RecordBatch>>, schema: &SchemaRef) -> RecordBatch {
    let (mut parts, mut order, mut at) = (Vec::new(), Vec::new(), 0_u64);
    for (split, batches) in rows {
        let mut index: u64 = split.strip_prefix("nexmark-").unwrap().parse().unwrap();
        for batch in batches {
            for _ in 0..batch.num_rows() {
                order.push((index, at));
                index += SPLITS;
                at += 1;
            }
            parts.push(batch.clone());
        }
    }
    order.sort_unstable();
    let indices: arrow::array::UInt64Array = order.iter().map(|(_, at)| *at).collect();
    take_record_batch(&concat_batches(schema, &parts).unwrap(), &indices).unwrap()
}

#[test]
fn rows_are_the_same_at_every_parallelism_and_after_every_restore() {
    let events = 20_001;
    let expected = Generator::new(config(events)).unwrap();
    let expected = expected.generate(Slice::run(0, events as usize), &Projection::all()).unwrap();
    for pregenerated in [false, true] {
        let make = if pregenerated { NexmarkSource::pregenerated } else { NexmarkSource::new };
        let source = make(config(events), wide_schema()).unwrap();
        for (first, second, max_rows) in [(1, 1, 8_192), (2, 3, 100), (8, 64, 7), (70, 5, 1_000)] {
            let clock = Clock::fake(0);
            let mut rows = HashMap::new();
            let mut before = readers(&source, &clock, first, &HashMap::new());
            read(&mut before, 50, max_rows, &mut rows);
            let mut after = readers(&source, &clock, second, &positions(&before));
            read(&mut after, usize::MAX, max_rows, &mut rows);
            assert_eq!(whole(&rows, &wide_schema()), expected, "{first} then {second}, {max_rows} rows");
        }
    }
}

#[test]
fn splits_of_a_reader_advance_together() {
    let source = NexmarkSource::new(config(0), wide_schema()).unwrap();
    assert!(!source.bounded());
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
    let settings = NexmarkConfig { rows_per_second: limit, ..config(0) };
    let source = NexmarkSource::new(settings, wide_schema()).unwrap();
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
fn one_row_a_minute_waits_for_its_moment() {
    let pace = Pace { start: Duration::from_secs(5), first: 100, rows_per_second: 1 };
    assert_eq!(pace.moment(100), Duration::from_secs(6));
    assert_eq!((pace.due(Duration::from_millis(5_999)), pace.due(Duration::from_secs(6))), (100, 101));
    assert!(pace.moment(u64::MAX) > Duration::from_secs(1 << 32));
    assert_eq!(Pace { rows_per_second: u64::MAX, ..pace }.due(Duration::MAX), u64::MAX);
}

#[test]
fn enumerators_deal_all_splits_and_know_their_table() {
    let source = NexmarkSource::new(config(10), wide_schema()).unwrap();
    let mut enumerator = source.enumerator().unwrap();
    assert_eq!(enumerator.discover().unwrap().splits.len(), 10);
    let finished = vec!["nexmark-3".to_owned()];
    let dealt: usize = enumerator
        .step(Fact::Started { parallelism: 4, finished })
        .iter()
        .map(|assignment| assignment.splits.len())
        .sum();
    assert_eq!(dealt, 9);
    let state = enumerator.snapshot();
    let same = NexmarkConfig { rows_per_second: 5, ..config(10) };
    assert!(NexmarkSource::new(same, wide_schema()).unwrap().enumerator().unwrap().restore(&state).is_ok());
    let other = NexmarkConfig { seed: 1, ..config(10) };
    let error = NexmarkSource::new(other, wide_schema()).unwrap().enumerator().unwrap().restore(&state).unwrap_err();
    assert_eq!(error.message(), "the state belongs to another table: setting `seed` was 0 and is now 1");
    assert!(enumerator.restore(&serde_json::json!(3)).is_err());
}

#[test]
fn only_the_columns_asked_for_are_made() {
    let bid = Field::new("auction", arrow::datatypes::DataType::Int64, true);
    let bid = Field::new("bid", arrow::datatypes::DataType::Struct(vec![bid].into()), true);
    let schema: SchemaRef = Arc::new(Schema::new(vec![bid]));
    let source = NexmarkSource::new(config(100), schema.clone()).unwrap();
    assert_eq!((source.schema(), source.bounded()), (schema.clone(), true));
    let mut readers = readers(&source, &Clock::fake(0), 1, &HashMap::new());
    let Poll::Batch { batch, .. } = readers[0].poll(10).unwrap() else { panic!("a batch") };
    assert_eq!(batch.schema(), schema);
    assert_eq!(batch.columns().column(0).as_struct().column(0).as_primitive::<Int64Type>().len(), 2);
    let wrong: SchemaRef = Arc::new(Schema::new(vec![Field::new("nonsense", arrow::datatypes::DataType::Int64, true)]));
    assert!(NexmarkSource::new(config(1), wrong).is_err());
    assert!(NexmarkSource::pregenerated(config(0), wide_schema()).is_err());
}
