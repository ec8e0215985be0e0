//! Tests of the Nexmark source: the same rows at every parallelism and after every restore.

use super::super::wide_schema;
use super::*;
use arrow::array::AsArray;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, Int64Type, Schema};
use std::collections::HashMap;
use std::sync::Arc;
use thalweg_engine::message::Waker;
use thalweg_engine::operator::Subtask;
use thalweg_engine::source::{Assignment, Fact, Poll, Position, ReaderContext, Split, SplitId};

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
    let source = NexmarkSource::new(config(events), wide_schema()).unwrap();
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
}
