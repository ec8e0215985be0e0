//! Tests of the JSON decoder: cases by hand, and thousands of random documents and mutations against `serde_json`.

use super::*;
use crate::format::Encoded;
use crate::format::Encoder;
use crate::format::json::{JsonEncoder, JsonEncoderOptions};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, TimeUnit, TimestampMillisecondType};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use thalweg_engine::rng::Rng;

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>()))
}

fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", element, true)))
}

fn map(value: DataType) -> DataType {
    let entries = vec![Field::new("key", DataType::Utf8, false), Field::new("value", value, true)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries.into()), false)), false)
}

fn decode<T: AsRef<[u8]>>(decoder: &mut JsonDecoder, records: &[T]) -> Decoded {
    for (at, record) in records.iter().enumerate() {
        decoder.push(&[Record { bytes: record.as_ref(), position: 1_000 + at as u64 }]);
    }
    assert_eq!(decoder.pending(), records.len());
    let decoded = decoder.flush().unwrap();
    assert_eq!(decoded.batch.num_rows() + decoded.bad.len(), records.len());
    assert_eq!(decoder.pending(), 0);
    decoded
}

/// The value of one column of one record written back as JSON, or the reason why it is bad.
fn one(kind: DataType, value: &str) -> std::result::Result<Value, String> {
    let mut decoder = JsonDecoder::new(schema(&[("before", DataType::Int64), ("x", kind)])).unwrap();
    let record = format!("{{\"before\":1,\"x\":{value}}}");
    // A good record around it must come out whole.
    let decoded = decode(&mut decoder, &["{\"before\":7}", &record, "{\"before\":8}"]);
    let rows = written(&decoded.batch);
    assert_eq!(rows.first(), Some(&json!({"before": 7, "x": null})));
    assert_eq!(rows.last(), Some(&json!({"before": 8, "x": null})));
    match decoded.bad.as_slice() {
        [] => Ok(rows[1]["x"].clone()),
        [bad] => {
            assert_eq!((bad.index, bad.position, bad.raw.as_slice()), (1, 1_001, record.as_bytes()));
            Err(bad.reason.clone())
        }
        _ => panic!("{:?}", decoded.bad),
    }
}

fn written(batch: &RecordBatch) -> Vec<Value> {
    let mut out = Encoded::default();
    JsonEncoder::new(JsonEncoderOptions::default()).encode(batch, &mut out).unwrap();
    out.rows().map(|row| serde_json::from_slice(row).unwrap()).collect()
}

#[test]
fn values_of_every_type() {
    let timestamp = |unit| DataType::Timestamp(unit, None);
    let person = DataType::Struct(Fields::from(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("tags", list(DataType::Int16), true),
    ]));
    for (kind, value, expected) in [
        (DataType::Boolean, "true", json!(true)),
        (DataType::Boolean, "\"False\"", json!(false)),
        (DataType::Int8, "-128", json!(-128)),
        (DataType::Int16, "32767", json!(32767)),
        (DataType::Int32, "\" -5 \"", json!(-5)),
        (DataType::Int64, "-9223372036854775808", json!(i64::MIN)),
        (DataType::Int64, "\"9223372036854775807\"", json!(i64::MAX)),
        (DataType::Int64, " \t\r\n7 ", json!(7)),
        (DataType::Int64, "-1.0", json!(-1)),
        (DataType::Int32, "2.5e3", json!(2500)),
        (DataType::Float64, "1e3", json!(1000.0)),
        (DataType::Float64, "-0.0", json!(-0.0)),
        (DataType::Float64, "\"NaN\"", json!("NaN")),
        (DataType::Float32, "\"-Infinity\"", json!("-Infinity")),
        (DataType::Decimal128(10, 2), "12.345", json!(12.35)),
        (DataType::Decimal128(10, 2), "\"12.3\"", json!(12.3)),
        (DataType::Date32, "\"2026-02-28\"", json!("2026-02-28")),
        (DataType::Time32(TimeUnit::Millisecond), "\"23:59:58.5\"", json!("23:59:58.500")),
        (DataType::Time64(TimeUnit::Nanosecond), "\"23:59:58\"", json!("23:59:58.000000000")),
        (timestamp(TimeUnit::Millisecond), "\"2026-02-28 23:59:59.123\"", json!("2026-02-28 23:59:59.123")),
        (timestamp(TimeUnit::Millisecond), "\"2026-02-28T23:59:59.1+01:00\"", json!("2026-02-28 22:59:59.100")),
        (timestamp(TimeUnit::Microsecond), "\"1969-12-31T23:59:59.999999Z\"", json!("1969-12-31 23:59:59.999999")),
        (timestamp(TimeUnit::Second), "\"9999-12-31 23:59:59\"", json!("9999-12-31 23:59:59")),
        (
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            "\"2026-01-01 00:00:00Z\"",
            json!("2026-01-01 00:00:00.000Z"),
        ),
        (DataType::Binary, "\"aGk=\"", json!("aGk=")),
        (DataType::Utf8, "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00é\"", json!("a\"\\/\u{8}\u{c}\n\r\té😀é")),
        (DataType::Utf8, "\"\"", json!("")),
        (DataType::Utf8, "12.50", json!("12.50")),
        (DataType::Utf8, "true", json!("true")),
        (DataType::Utf8, "{\"a\": [1]}", json!("{\"a\": [1]}")),
        (person.clone(), "{\"tags\":[1,null,3],\"other\":{\"x\":[]}}", json!({"name": null, "tags": [1, null, 3]})),
        (person.clone(), "{}", json!({"name": null, "tags": null})),
        (person, "{\"name\":\"a\",\"tags\":[1],\"tags\":[]}", json!({"name": "a", "tags": []})),
        (list(list(DataType::Utf8)), "[[\"a\"],[],null,[\"b\",\"c\"]]", json!([["a"], [], null, ["b", "c"]])),
        (map(DataType::Int64), "{\"a\":1,\"b\":null}", json!({"a": 1, "b": null})),
        (map(DataType::Int64), "{\"a\":1,\"b\":2,\"a\":3,\"\\u0061\":4}", json!({"b": 2, "a": 4})),
        (map(DataType::Int64), "{}", json!({})),
    ] {
        assert_eq!(one(kind.clone(), value), Ok(expected), "{kind} {value}");
        assert_eq!(one(kind, "null"), Ok(Value::Null));
    }
}

#[test]
fn values_that_do_not_fit_are_bad_records_with_their_field() {
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, None);
    for (kind, value, expected) in [
        (DataType::Int64, "9223372036854775808", "`9223372036854775808` at byte 16 is no whole number within 64 bits"),
        (DataType::Int64, "1.5", "`1.5` at byte 16 is no whole number within 64 bits"),
        (DataType::Int64, "1e19", "is no whole number"),
        (DataType::Int8, "128.0", "within 8 bits"),
        (DataType::Int64, "\"1.5\"", "`1.5` at byte 16 is no whole number within 64 bits"),
        (DataType::Int64, "true", "`t` at byte 16 instead of a value"),
        (DataType::Int64, "[1]", "`[` at byte 16"),
        (DataType::Int32, "2147483648", "`2147483648` at byte 16 is no whole number within 32 bits"),
        (DataType::Int8, "128", "within 8 bits"),
        (DataType::Float64, "1e999", "`1e999` at byte 16 is no number within DOUBLE"),
        (DataType::Float64, "\"inf\"", "DOUBLE"),
        (DataType::Decimal128(4, 2), "100", "`100` at byte 16 is no number within the column's DECIMAL"),
        (DataType::Boolean, "1", "`1` at byte 16"),
        (DataType::Boolean, "\"yes\"", "boolean"),
        (DataType::Date32, "\"2026-02-30\"", "date"),
        (timestamp.clone(), "1767225600000", "`1` at byte 16 instead of a string"),
        (timestamp.clone(), "\"2026-01-01 00:00:61.000\"", "timestamp"),
        (timestamp, "\"yesterday, or maybe the day before, who could tell\"", ".."),
        (DataType::Binary, "\"a\"", "base64"),
        (DataType::Utf8, "\"a", "the record ends at byte 19 instead of the end of the string"),
        (DataType::Utf8, "\"a\u{1}\"", "`\\x01` at byte 18 instead of the end of the string"),
        (DataType::Utf8, "\"\\ud800\"", "lone surrogate `\\ud800` at byte 17"),
        (DataType::Utf8, "\"\\udc00\\ud800\"", "lone surrogate `\\udc00`"),
        (DataType::Utf8, "\"\\x\"", "instead of an escape"),
        (list(DataType::Int64), "[1,]", "instead of a value"),
        (list(DataType::Int64), "[1,2", "instead of `,` or `]`"),
        (list(DataType::Int64), "{}", "instead of `[`"),
        (map(DataType::Int64), "{\"a\":1,}", "instead of a string"),
        (map(DataType::Int64), "{\"a\":\"b\"}", "no whole number"),
    ] {
        let reason = one(kind.clone(), value).unwrap_err();
        assert!(reason.starts_with("field `x`: ") && reason.contains(expected), "{kind} {value}: {reason}");
    }
}

#[test]
fn records_that_are_no_object_are_bad() {
    let mut decoder = JsonDecoder::new(schema(&[("x", DataType::Int64)])).unwrap();
    let good =
        [" {\"x\":1} \n", "{}", "{\"x\":null,\"y\":{\"z\":[1,{}]}}", "{\"x\":1,\"x\":2}", "{\"x\":2,\"x\":null}"];
    let decoded = decode(&mut decoder, &good);
    assert_eq!(decoded.bad, []);
    let values: Vec<_> = decoded.batch.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(values, [Some(1), None, None, Some(2), None]);
    let bad = [
        "",
        " ",
        "null",
        "1",
        "[]",
        "\"x\"",
        "{",
        "}",
        "{\"x\"",
        "{\"x\":",
        "{\"x\":1",
        "{\"x\":1,",
        "{\"x\":1,}",
        "{\"x\":1}}",
        "{\"x\":1} x",
        "{\"x\":1}{\"x\":2}",
        "{,}",
        "{x:1}",
        "{'x':1}",
        "{\"x\":01}",
        "{\"x\":1 \"y\":2}",
        "{\"y\":}",
        "{\"y\":nan}",
        "\u{feff}{\"x\":1}",
        "{\"x\":1}\0",
        "{\"y\":\"\\ud800\"}",
        "{\"y\":[1}}",
        "{\"\\ud800\":1}",
    ];
    let decoded = decode(&mut decoder, &bad);
    assert_eq!(decoded.bad.len(), bad.len());
    assert_eq!(decoded.batch.num_rows(), 0);
    let indexes: Vec<usize> = decoded.bad.iter().map(|bad| bad.index).collect();
    assert_eq!(indexes, (0..bad.len()).collect::<Vec<_>>());
}

#[test]
fn invalid_utf8_is_bad_wherever_it_stands() {
    let mut decoder = JsonDecoder::new(schema(&[("x", DataType::Utf8)])).unwrap();
    let records: [&[u8]; 6] = [
        b"{\"x\":\"a\xffb\"}",
        b"{\"y\":\"a long enough text\xc3\",\"x\":\"plain text again\"}",
        b"{\"\xe9\":1}",
        "{\"x\":\"é\"}".as_bytes(),
        b"{\"x\":\"\xc3\"}",
        b"{\"\xe9\":1,\"x\":\"a\"}",
    ];
    let decoded = decode(&mut decoder, &records);
    assert_eq!(decoded.bad.iter().map(|bad| bad.index).collect::<Vec<_>>(), [0, 1, 2, 4, 5]);
    assert_eq!(decoded.bad[0].reason, "invalid UTF-8 at byte 7");
    assert_eq!(written(&decoded.batch), [json!({"x": "é"})]);
}

#[test]
fn missing_and_null_violate_not_null() {
    let inner = DataType::Struct(Fields::from(vec![Field::new("a", DataType::Int64, false)]));
    let fields = vec![Field::new("x", DataType::Int64, false), Field::new("s", inner, true)];
    let mut decoder = JsonDecoder::new(Arc::new(Schema::new(fields))).unwrap();
    let decoded = decode(
        &mut decoder,
        &[
            "{\"x\":1}",
            "{}",
            "{\"x\":null}",
            "{\"x\":2,\"s\":{}}",
            "{\"x\":3,\"s\":{\"a\":4}}",
            "{\"s\":{\"a\":null},\"x\":5}",
        ],
    );
    let reasons: Vec<&str> = decoded.bad.iter().map(|bad| bad.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "field `x`: missing, but the column is NOT NULL",
            "field `x`: NULL, but the column is NOT NULL",
            "field `s.a`: missing, but the column is NOT NULL",
            "field `s.a`: NULL, but the column is NOT NULL",
        ]
    );
    assert_eq!(written(&decoded.batch), [json!({"x": 1, "s": null}), json!({"x": 3, "s": {"a": 4}})]);
}

#[test]
fn batches_start_afresh_and_empty_ones_have_the_schema() {
    let schema = schema(&[("x", DataType::Utf8), ("l", list(DataType::Int64)), ("m", map(DataType::Utf8))]);
    let mut decoder = JsonDecoder::new(schema.clone()).unwrap();
    assert_eq!(decode::<&str>(&mut decoder, &[]).batch, RecordBatch::new_empty(schema));
    for round in 0..3 {
        let record = json!({"x": format!("round {round}"), "l": [round], "m": {"k": "v"}});
        assert_eq!(written(&decode(&mut decoder, &[record.to_string(), "?".to_owned()]).batch), [record]);
    }
    let mut none = JsonDecoder::new(Arc::new(Schema::empty())).unwrap();
    let decoded = decode(&mut none, &["{\"a\":1}", "{}", "{]"]);
    assert_eq!((decoded.batch.num_rows(), decoded.bad.len()), (2, 1));
}

#[test]
fn nested_and_unknown_types_are_refused_when_planned() {
    let refused = |kind| JsonDecoder::new(schema(&[("x", kind)])).err().map(|error| error.to_string());
    assert_eq!(
        refused(DataType::Duration(TimeUnit::Second)).unwrap(),
        "column `x`: type Duration(s) cannot be decoded"
    );
    let deep = (0..70).fold(DataType::Int64, |kind, _| list(kind));
    assert!(refused(deep).unwrap().contains("nested deeper than 64 levels"));
    let deep = (0..60).fold(DataType::Int64, |kind, _| list(kind));
    assert_eq!(refused(deep), None);
}

#[test]
fn nulls_of_structs_reach_their_children_late_but_whole() {
    let inner = DataType::Struct(Fields::from(vec![Field::new("b", DataType::Utf8, true)]));
    let outer =
        DataType::Struct(Fields::from(vec![Field::new("s", inner, true), Field::new("a", DataType::Int64, true)]));
    let mut decoder = JsonDecoder::new(schema(&[("o", outer)])).unwrap();
    let rows = [
        json!({"o": null}),
        json!({"o": null}),
        json!({"o": {"s": null, "a": 1}}),
        json!({"o": {"s": {"b": "x"}, "a": null}}),
        json!({"o": null}),
    ];
    let mut records: Vec<String> = rows.iter().map(Value::to_string).collect();
    // Broken records between, at every depth.
    for broken in [
        "{\"o\":{\"s\":{\"b\":\"y\"},\"a\":x}}",
        "{\"o\":{\"s\":{\"b\":\"y\"",
        "{\"o\":null",
        "{\"o\":{\"a\":1,\"s\":{\"b\":[}}}",
    ] {
        for at in [0, 2, 4] {
            records.insert(at, broken.to_owned());
        }
    }
    let decoded = decode(&mut decoder, &records);
    assert_eq!(decoded.bad.len(), 12);
    assert_eq!(written(&decoded.batch), rows);
    let outer = decoded.batch.column(0).as_struct();
    assert_eq!((outer.null_count(), outer.column(1).null_count()), (3, 4));
}

#[test]
fn the_minute_that_timestamps_share_is_checked_for_the_rest() {
    let kind = DataType::Timestamp(TimeUnit::Millisecond, None);
    let mut decoder = JsonDecoder::new(schema(&[("t", kind)])).unwrap();
    let texts = [
        "2026-01-01 00:00:00.000",
        "2026-01-01 00:00:59.999",
        "2026-01-01 00:00:60.000",
        "2026-01-01 00:00:0a.000",
        "2026-01-01 00:00:01",
        "2026-01-01 00:00:01.5Z",
        "2026-01-01 00:00",
        "2026-01-01 00:01:00.000",
        "2026-01-01 00:00:00.00:",
    ];
    let records: Vec<String> = texts.iter().map(|text| json!({"t": text}).to_string()).collect();
    let decoded = decode(&mut decoder, &records);
    let base = 1_767_225_600_000;
    let times: Vec<i64> = decoded
        .batch
        .column(0)
        .as_primitive::<TimestampMillisecondType>()
        .values()
        .iter()
        .map(|time| time - base)
        .collect();
    assert_eq!(times, [0, 59_999, 1_000, 1_500, 0, 60_000]);
    assert_eq!(decoded.bad.iter().map(|bad| bad.index).collect::<Vec<_>>(), [2, 3, 8]);
}

// ---- random documents against serde_json ----

fn random_schema(rng: &mut Rng) -> Fields {
    let kinds = [
        DataType::Int64,
        DataType::Utf8,
        DataType::Float64,
        DataType::Boolean,
        list(DataType::Int64),
        map(DataType::Utf8),
        DataType::Struct(Fields::from(vec![
            Field::new("s", DataType::Utf8, true),
            Field::new("n", DataType::Int64, rng.percent(90)),
        ])),
    ];
    let field = |at: u64, rng: &mut Rng| {
        let kind = kinds[rng.below(kinds.len() as u64) as usize].clone();
        Field::new(
            format!("key number {at}")[..4 + rng.below(8) as usize].trim_end().to_owned() + &at.to_string(),
            kind,
            rng.percent(90),
        )
    };
    (0..1 + rng.below(6)).map(|at| field(at, rng)).collect()
}

fn random_text(rng: &mut Rng) -> String {
    let pieces =
        ["a", "bc", "plain text of some length", "\"", "\\", "\n", "\u{1}", "é", "漢字", "😀", " ", "/", "\u{7f}"];
    (0..rng.below(6)).map(|_| pieces[rng.below(pieces.len() as u64) as usize]).collect()
}

fn random_value(rng: &mut Rng, kind: Option<&DataType>) -> Value {
    if rng.percent(10) {
        return Value::Null;
    }
    match kind.filter(|_| rng.percent(98)) {
        Some(DataType::Int64) => json!(rng.next_u64() as i64 >> rng.below(64)),
        Some(DataType::Utf8) => json!(random_text(rng)),
        Some(DataType::Float64) => json!((rng.next_u64() as i64 >> 20) as f64 / 1024.0),
        Some(DataType::Boolean) => json!(rng.percent(50)),
        Some(DataType::List(field)) => (0..rng.below(4)).map(|_| random_value(rng, Some(field.data_type()))).collect(),
        Some(DataType::Map(..)) => {
            let entry = |rng: &mut Rng| (random_text(rng), random_value(rng, Some(&DataType::Utf8)));
            (0..rng.below(4)).map(|_| entry(rng)).collect()
        }
        Some(DataType::Struct(fields)) => Value::Object(random_object(rng, fields)),
        _ => [json!(1), json!("x"), json!([1, {"a": null}]), json!({"a": {"b": []}}), json!(true), json!(2.5)]
            [rng.below(6) as usize]
            .clone(),
    }
}

fn random_object(rng: &mut Rng, fields: &Fields) -> Map<String, Value> {
    let mut object = Map::new();
    for field in fields.iter() {
        if rng.percent(90) {
            object.insert(field.name().clone(), random_value(rng, Some(field.data_type())));
        }
        if rng.percent(20) {
            object.insert(random_text(rng), random_value(rng, None));
        }
    }
    object
}

/// What a value must come out as; `None` if it makes the record bad.
fn expected(value: &Value, kind: &DataType, nullable: bool) -> Option<Value> {
    Some(match (kind, value) {
        (_, Value::Null) => return nullable.then_some(Value::Null),
        (DataType::Int64, Value::Number(number)) if number.is_i64() => value.clone(),
        // Where a float is exact, it says whether the text is whole.
        (DataType::Int64, Value::Number(number)) => {
            let number = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < (1_i64 << 53) as f64)?;
            json!(number as i64)
        }
        (DataType::Utf8, Value::String(_)) | (DataType::Boolean, Value::Bool(_)) => value.clone(),
        (DataType::Utf8, other) => json!(other.to_string()),
        // Numbers and booleans may stand in quotes.
        (DataType::Int64, Value::String(text)) => json!(text.trim().parse::<i64>().ok()?),
        (DataType::Float64, Value::String(text)) => json!(text.trim().parse::<f64>().ok()?),
        (DataType::Boolean, Value::String(text)) => json!(text.trim().to_ascii_lowercase().parse::<bool>().ok()?),
        (DataType::Float64, Value::Number(number)) => json!(number.as_f64()?),
        (DataType::List(field), Value::Array(values)) => {
            values.iter().map(|value| expected(value, field.data_type(), true)).collect::<Option<_>>()?
        }
        (DataType::Map(..), Value::Object(object)) => {
            let entry = |(key, value): (&String, &Value)| Some((key.clone(), expected(value, &DataType::Utf8, true)?));
            object.iter().map(entry).collect::<Option<_>>()?
        }
        (DataType::Struct(fields), Value::Object(object)) => expected_object(object, fields)?,
        _ => return None,
    })
}

fn expected_object(object: &Map<String, Value>, fields: &Fields) -> Option<Value> {
    let entry = |field: &Arc<Field>| {
        let value = object.get(field.name()).unwrap_or(&Value::Null);
        Some((field.name().clone(), expected(value, field.data_type(), field.is_nullable())?))
    };
    fields.iter().map(entry).collect::<Option<_>>()
}

fn expected_record(bytes: &[u8], fields: &Fields) -> Option<Value> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => expected_object(&object, fields),
        _ => None,
    }
}

/// Changes a record a little: cuts, doubles, replaces bytes.
fn mutate(rng: &mut Rng, record: &mut Vec<u8>) {
    let at = rng.below(record.len() as u64) as usize;
    match rng.below(6) {
        0 => record.truncate(at),
        1 => drop(record.remove(at)),
        2 => record.insert(at, b"{}[],:\"\\ 0-.eE\n\x00\xc3nul"[rng.below(20) as usize]),
        3 => record[at] = rng.next_u64() as u8,
        4 => record[at] ^= 1 << rng.below(8),
        _ => {
            let piece = record[at..(at + 8).min(record.len())].to_vec();
            record.splice(at..at, piece);
        }
    }
}

/// Whether both would have to print the same value in another way: texts made of nested values or of numbers keep their spelling
/// here, and `serde_json` sorts and rewrites them.
fn respelled(value: &Value, kind: &DataType) -> bool {
    match (kind, value) {
        (DataType::Utf8, Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
        (DataType::Map(..), Value::Object(object)) => object.values().any(|value| respelled(value, &DataType::Utf8)),
        (DataType::Struct(fields), Value::Object(object)) => {
            fields.iter().any(|field| object.get(field.name()).is_some_and(|value| respelled(value, field.data_type())))
        }
        _ => false,
    }
}

/// Equal, but for the last digits of a float, which `serde_json` may read wrong.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(ours), Some(theirs)) if ours != theirs => (ours - theirs).abs() <= theirs.abs() * 1e-14,
        _ => ours == theirs,
    }
}

fn check_against_serde(seed: u64, mutations: bool) -> (usize, usize) {
    let mut rng = Rng::new(seed);
    let fields = random_schema(&mut rng);
    let mut decoder = JsonDecoder::new(Arc::new(Schema::new(fields.clone()))).unwrap();
    let mut records: Vec<Vec<u8>> = Vec::new();
    for _ in 0..40 {
        let object = Value::Object(random_object(&mut rng, &fields));
        let mut record =
            if rng.percent(50) { object.to_string() } else { serde_json::to_string_pretty(&object).unwrap() }
                .into_bytes();
        if mutations {
            for _ in 0..1 + rng.below(3) {
                if !record.is_empty() {
                    mutate(&mut rng, &mut record);
                }
            }
        }
        records.push(record);
    }
    let decoded = decode(&mut decoder, &records);
    let mut rows = written(&decoded.batch).into_iter();
    let mut bad = decoded.bad.iter().peekable();
    for (index, record) in records.iter().enumerate() {
        let shown = String::from_utf8_lossy(record);
        let ours = bad.next_if(|bad| bad.index == index);
        match (expected_record(record, &fields), ours) {
            (Some(value), None) => {
                let row = rows.next().unwrap();
                let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(record) else { panic!("an object") };
                for field in fields.iter() {
                    let given = object.get(field.name()).unwrap_or(&Value::Null);
                    if !respelled(given, field.data_type()) {
                        let (ours, theirs) = (&row[field.name()], &value[field.name()]);
                        assert!(same(ours, theirs), "seed {seed}: {ours} {theirs} {shown}");
                    }
                }
            }
            (None, Some(_)) => {}
            // A number beyond f64 where nobody reads it is no fault to us, and one to serde_json.
            (None, None)
                if serde_json::from_slice::<Value>(record)
                    .is_err_and(|error| error.to_string().contains("number out of range")) =>
            {
                rows.next().unwrap();
            }
            (expected, ours) => panic!("seed {seed}: {shown}: serde_json {expected:?}, ours {ours:?}"),
        }
    }
    (decoded.batch.num_rows(), decoded.bad.len())
}

#[test]
fn random_documents_agree_with_serde_json() {
    let (good, bad) = (0..150).map(|seed| check_against_serde(seed, false)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert!(good > 3_000 && bad > 50, "{good} good, {bad} bad");
}

#[test]
fn mutated_documents_agree_with_serde_json() {
    let (good, bad) =
        (1_000..1_250).map(|seed| check_against_serde(seed, true)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert!(good > 500 && bad > 3_000, "{good} good, {bad} bad");
}
