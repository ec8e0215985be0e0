//! JSON decode: bids inside Nexmark's wide row, all seven fields and two of them, in batches of 4096 records.
//!
//! `calibration` is a fixed loop of multiplications beside it: compare figures of two machines or two days as multiples of it.
//! Criterion shows time per record where it says `elem`.
#![expect(clippy::expect_used, reason = "a benchmark may end with a panic")]

use arrow::array::RecordBatch;
use arrow::compute::{filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use criterion::{Criterion, Throughput};
use std::hint::black_box;
use std::sync::Arc;
use thalweg_connectors::format::json::{JsonDecoder, JsonEncoder};
use thalweg_connectors::format::{Decoder as _, Encoded, Encoder as _, Record};
use thalweg_connectors::nexmark::{Generator, NexmarkConfig, Projection, Slice, wide_schema};

const RECORDS: usize = 4_096;

/// `event_type` and these fields of `bid`; all if there are none.
fn schema(fields: &[&str]) -> SchemaRef {
    let wide = wide_schema();
    let event_type = wide.field(0).clone();
    let DataType::Struct(all) = wide.field(3).data_type() else { unreachable!("bid is a struct") };
    let wanted = |field: &&Arc<Field>| fields.is_empty() || fields.contains(&field.name().as_str());
    let kept: Fields = all.iter().filter(wanted).cloned().collect();
    Arc::new(Schema::new(vec![event_type, Field::new("bid", DataType::Struct(kept), true)]))
}

fn bids() -> RecordBatch {
    let generator = Generator::new(NexmarkConfig::default()).expect("default settings");
    let batch = generator.generate(Slice::run(0, 2 * RECORDS), &Projection::all()).expect("wide rows");
    let is_bid = is_not_null(batch.column(3)).expect("a mask");
    filter_record_batch(&batch, &is_bid).expect("bids").slice(0, RECORDS)
}

fn decode(criterion: &mut Criterion) {
    let mut encoded = Encoded::default();
    JsonEncoder::default().encode(&bids(), &mut encoded).expect("JSON");
    let records: Vec<Record<'_>> = encoded.rows().map(|bytes| Record { bytes, position: 0 }).collect();
    let mut group = criterion.benchmark_group("json_decode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, schema) in [("bid_7_of_7", schema(&[])), ("bid_2_of_7", schema(&["auction", "dateTime"]))] {
        let mut decoder = JsonDecoder::new(schema).expect("a schema of JSON types");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                decoder.push(black_box(&records));
                let decoded = decoder.flush().expect("a batch");
                assert!(decoded.bad.is_empty());
                decoded.batch
            });
        });
    }
    group.finish();
}

fn calibration(criterion: &mut Criterion) {
    let mut values = vec![1_u64; RECORDS];
    let mut group = criterion.benchmark_group("calibration");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("multiply_add", |bencher| {
        bencher.iter(|| {
            for value in black_box(&mut values) {
                *value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            }
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    calibration(&mut criterion);
    decode(&mut criterion);
    criterion.final_summary();
}
