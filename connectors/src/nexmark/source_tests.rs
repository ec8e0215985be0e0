//! Tests of the Nexmark source: its splits make up the generator's stream, with the columns asked for. Parallelism and restores are
//! tested with all interleaved sources.

use super::super::wide_schema;
use super::*;
use crate::interleaved::tests::{read_batches, readers};
use arrow::array::AsArray;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, Int64Type, Schema};
use std::collections::HashMap;
use std::sync::Arc;
use thalweg_engine::source::Poll;

fn config(events_num: u64) -> NexmarkConfig {
    NexmarkConfig { events_num, ..NexmarkConfig::default() }
}

#[test]
fn the_splits_together_are_the_stream() {
    let events = 2_001;
    let expected = Generator::new(config(events)).unwrap();
    let expected = expected.generate(Slice::run(0, events as usize), &Projection::all()).unwrap();
    let source = NexmarkSource::new(config(events), wide_schema()).unwrap();
    let (mut parts, mut order, mut at) = (Vec::new(), Vec::new(), 0_u64);
    let mut next: HashMap<String, u64> = HashMap::new();
    let mut readers = readers(&source, &Clock::fake(0), 3, &HashMap::new());
    read_batches(&mut readers, usize::MAX, 7, |split, rows| {
        let first = || split.strip_prefix("nexmark-").unwrap().parse().unwrap();
        let event = next.entry(split.to_owned()).or_insert_with(first);
        for _ in 0..rows.num_rows() {
            order.push((*event, at));
            *event += SPLITS;
            at += 1;
        }
        parts.push(rows.clone());
    });
    order.sort_unstable();
    let indices: arrow::array::UInt64Array = order.iter().map(|(_, at)| *at).collect();
    let stream = take_record_batch(&concat_batches(&wide_schema(), &parts).unwrap(), &indices).unwrap();
    assert_eq!(stream, expected);
}

#[test]
fn a_state_belongs_to_the_settings_that_rows_depend_on() {
    let enumerator = |config| NexmarkSource::new(config, wide_schema()).unwrap().enumerator().unwrap();
    let state = enumerator(config(10)).snapshot();
    assert!(enumerator(NexmarkConfig { rows_per_second: 5, ..config(10) }).restore(&state).is_ok());
    let error = enumerator(NexmarkConfig { seed: 1, ..config(10) }).restore(&state).unwrap_err();
    assert_eq!(error.message(), "the state belongs to another table: setting `seed` was 0 and is now 1");
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
