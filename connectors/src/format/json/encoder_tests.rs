//! Tests of the JSON encoder: its exact text, round trips through the decoder, and what it refuses.

use super::*;
use crate::format::json::JsonDecoder;
use crate::format::{Decoder as _, Record};
use crate::nexmark::{Generator, NexmarkConfig, Projection, Slice};
use arrow::array::{
    Date32Array, Int64Array, StringViewArray, Time64NanosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{Field as ArrowField, Schema};
use std::sync::Arc;

fn rows(options: JsonEncoderOptions, columns: Vec<(&str, ArrayRef)>) -> Result<Vec<String>> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))?;
    let mut out = Encoded::default();
    JsonEncoder::new(options).encode(&batch, &mut out)?;
    assert_eq!(out.len(), batch.num_rows());
    Ok(out.rows().map(|row| String::from_utf8(row.to_vec()).unwrap()).collect())
}

fn column(array: impl Array + 'static) -> Vec<String> {
    let rows = rows(JsonEncoderOptions::default(), vec![("x", Arc::new(array))]).unwrap();
    rows.iter().map(|row| row.strip_prefix("{\"x\":").unwrap().strip_suffix('}').unwrap().to_owned()).collect()
}

#[test]
fn values_are_written_exactly() {
    assert_eq!(
        column(Int64Array::from(vec![Some(i64::MIN), None, Some(0), Some(i64::MAX)])),
        ["-9223372036854775808", "null", "0", "9223372036854775807"]
    );
    assert_eq!(column(UInt64Array::from(vec![u64::MAX])), ["18446744073709551615"]);
    assert_eq!(column(BooleanArray::from(vec![true, false])), ["true", "false"]);
    let floats = vec![1.0, 0.1, -0.0, 1e300, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let expected = ["1.0", "0.1", "-0.0", "1e300", "5e-324", "\"NaN\"", "\"Infinity\"", "\"-Infinity\""];
    assert_eq!(column(Float64Array::from(floats)), expected);
    assert_eq!(column(Float32Array::from(vec![0.1])), ["0.1"]);
    let decimal = |values: Vec<i128>, scale| Decimal128Array::from(values).with_precision_and_scale(38, scale).unwrap();
    assert_eq!(column(decimal(vec![123_450, -5, 0, 1_000], 3)), ["123.450", "-0.005", "0.000", "1.000"]);
    assert_eq!(column(decimal(vec![10_i128.pow(38) - 1, -7], 0)), ["99999999999999999999999999999999999999", "-7"]);
    assert_eq!(column(decimal(vec![12, 0], -2)), ["1200", "0"]);
    assert_eq!(column(decimal(vec![1], 38)), ["0.00000000000000000000000000000000000001"]);
    assert_eq!(column(Date32Array::from(vec![0, -1])), ["\"1970-01-01\"", "\"1969-12-31\""]);
    assert_eq!(column(Time64NanosecondArray::from(vec![1])), ["\"00:00:00.000000001\""]);
    assert_eq!(column(TimestampMillisecondArray::from(vec![-1])), ["\"1969-12-31 23:59:59.999\""]);
    assert_eq!(
        column(TimestampNanosecondArray::from(vec![0]).with_timezone("UTC")),
        ["\"1970-01-01 00:00:00.000000000Z\""]
    );
    assert_eq!(column(BinaryArray::from(vec![b"hi".as_slice()])), ["\"aGk=\""]);
    assert_eq!(
        column(StringViewArray::from(vec!["a text that is too long to be inlined"])),
        ["\"a text that is too long to be inlined\""]
    );
}

#[test]
fn texts_are_escaped_as_serde_json_does() {
    let mut texts: Vec<String> = (0..0x250).filter_map(char::from_u32).map(|char| format!("{char}")).collect();
    for at in 0..40 {
        let plain = "x".repeat(at);
        texts.extend(["\"", "\\", "\n", "\u{1f}", "é", ""].map(|piece| format!("{plain}{piece}{plain}")));
    }
    let expected: Vec<String> = texts.iter().map(|text| serde_json::to_string(text).unwrap()).collect();
    assert_eq!(column(StringArray::from(texts)), expected);
}

#[test]
fn null_fields_can_be_left_out() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a\"", Arc::new(Int64Array::from(vec![None, Some(1), None]))),
        ("b", Arc::new(Int64Array::from(vec![Some(2), None, None]))),
    ];
    let written = rows(JsonEncoderOptions::default(), columns.clone()).unwrap();
    assert_eq!(written, ["{\"a\\\"\":null,\"b\":2}", "{\"a\\\"\":1,\"b\":null}", "{\"a\\\"\":null,\"b\":null}"]);
    let written = rows(JsonEncoderOptions { ignore_null_fields: true }, columns).unwrap();
    assert_eq!(written, ["{\"b\":2}", "{\"a\\\"\":1}", "{}"]);
}

#[test]
fn what_cannot_be_written_names_its_column_and_leaves_nothing() {
    let mut out = Encoded::default();
    let late: ArrayRef = Arc::new(Time64NanosecondArray::from(vec![0, i64::MAX]));
    let batch = RecordBatch::try_from_iter([("t", late)]).unwrap();
    let error = JsonEncoder::default().encode(&batch, &mut out).unwrap_err();
    assert_eq!(error.message(), "column `t`: a time outside one day cannot be written");
    assert_eq!(out, Encoded::default());
    let schema = Schema::new(vec![ArrowField::new("d", DataType::Duration(TimeUnit::Second), true)]);
    let error = JsonEncoder::default().check(&schema).unwrap_err();
    assert_eq!(error.message(), "column `d`: type Duration(s) cannot be written as JSON");
}

#[test]
fn nexmark_rows_survive_a_round_trip() {
    let generator = Generator::new(NexmarkConfig::default()).unwrap();
    let batch = generator.generate(Slice::run(0, 3_000), &Projection::all()).unwrap();
    let mut out = Encoded::default();
    let mut encoder = JsonEncoder::default();
    encoder.encode(&batch.slice(0, 1_000), &mut out).unwrap();
    encoder.encode(&batch.slice(1_000, 2_000), &mut out).unwrap();
    assert!(out.rows().all(|row| serde_json::from_slice::<serde_json::Value>(row).is_ok()));
    let mut decoder = JsonDecoder::new(batch.schema()).unwrap();
    let records: Vec<Record<'_>> = out.rows().map(|bytes| Record { bytes, position: 0 }).collect();
    decoder.push(&records);
    let decoded = decoder.flush().unwrap();
    assert_eq!(decoded.bad, []);
    assert_eq!(decoded.batch, batch);
}
