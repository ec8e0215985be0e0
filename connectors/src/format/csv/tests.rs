//! Tests of CSV: by hand, and random tables written, cut and read back.

use super::*;
use crate::format::csv::CsvEncoder;
use crate::format::lines::LineSplitter;
use crate::format::{Encoded, Encoder as _};
use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{Field as ArrowField, Int64Type, Schema, TimeUnit};
use std::sync::Arc;
use thalweg_engine::rng::Rng;

fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
    let field = |(name, kind, nullable): &(&str, DataType, bool)| ArrowField::new(*name, kind.clone(), *nullable);
    Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn decode(decoder: &mut CsvDecoder, records: &[&str]) -> Decoded {
    let records: Vec<Record<'_>> =
        records.iter().zip(10..).map(|(record, position)| Record { bytes: record.as_bytes(), position }).collect();
    decoder.push(&records);
    decoder.flush().unwrap()
}

#[test]
fn fields_are_found_by_position_and_the_unread_are_stepped_over() {
    let schema = schema(&[("c", DataType::Int64, true), ("a", DataType::Utf8, true)]);
    let mut decoder = CsvDecoder::new(schema, &names(&["a", "b", "c"]), CsvOptions::default()).unwrap();
    let records = ["x,y,1", "\"q \"\"r\"\", s\",\"\n\", 2 ", ",,", "\"\",\"\",\"3\"", " é ,\"\"\"\",-4"];
    let decoded = decode(&mut decoder, &records);
    assert_eq!(decoded.bad, []);
    let numbers: Vec<_> = decoded.batch.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(numbers, [Some(1), Some(2), None, Some(3), Some(-4)]);
    let texts: Vec<_> = decoded.batch.column(1).as_string::<i32>().iter().flatten().collect();
    assert_eq!(texts, ["x", "q \"r\", s", "", "", " é "]);
}

#[test]
fn bad_records_are_given_back_with_reasons() {
    let schema = schema(&[("a", DataType::Int64, false), ("b", DataType::Utf8, true)]);
    let mut decoder = CsvDecoder::new(schema, &names(&["a", "b"]), CsvOptions::default()).unwrap();
    let decoded = decode(
        &mut decoder,
        &["1,x", "1", "1,2,3", "x,y", ",y", "1,\"y", "1,\"y\"z", "9223372036854775808,", "2,\"y\"", "A,b"],
    );
    let bad: Vec<(u64, &str)> = decoded.bad.iter().map(|bad| (bad.position, bad.reason.as_str())).collect();
    assert_eq!(
        bad,
        [
            (11, "1 fields instead of 2"),
            (12, "more than 2 fields"),
            (13, "field `a`: `x` is no value of the column's type"),
            (14, "field `a`: NULL, but the column is NOT NULL"),
            (15, "a quote is never closed"),
            (16, "`z` after a closing quote"),
            (17, "field `a`: `9223372036854775808` is no value of the column's type"),
            (
                19,
                "field `a`: `A` is no value of the column's type; where the first record of a file names the columns, `csv.header` \
                 says so"
            ),
        ]
    );
    assert_eq!(decoded.batch.num_rows(), 2);
    decoder.push(&[Record { bytes: b"1,\xff", position: 0 }]);
    assert_eq!(decoder.flush().unwrap().bad[0].reason, "invalid UTF-8 at byte 2");
}

#[test]
fn null_literals_delimiters_and_headers() {
    let schema = schema(&[("a", DataType::Utf8, true), ("b", DataType::Int64, true)]);
    let options = CsvOptions { delimiter: b'|', quote: None, null_literal: Some("\\N".into()), header: true };
    let mut decoder = CsvDecoder::new(schema.clone(), &names(&["a", "b"]), options.clone()).unwrap();
    decoder.read_header(b"b| other |a").unwrap();
    let decoded = decode(&mut decoder, &["1|x|\\N", "\\N||\"", "|\\N|"]);
    let texts: Vec<_> = decoded.batch.column(0).as_string::<i32>().iter().collect();
    assert_eq!(texts, [None, Some("\""), Some("")]);
    assert_eq!(decoded.batch.column(1).null_count(), 2);
    assert_eq!(decoder.read_header(b"b|c").unwrap_err().message(), "header: no field `a` among `b`, `c`");
    assert_eq!(CsvEncoder::new(options).unwrap().header(&schema).unwrap(), b"a|b");
    for options in [
        CsvOptions { delimiter: b'"', ..CsvOptions::default() },
        CsvOptions { delimiter: b'\n', ..CsvOptions::default() },
        CsvOptions { quote: Some(0xC3), ..CsvOptions::default() },
    ] {
        assert!(CsvDecoder::new(schema.clone(), &names(&["a", "b"]), options).is_err());
    }
    let nested = DataType::Struct(Vec::<ArrowField>::new().into());
    let schema = Arc::new(Schema::new(vec![ArrowField::new("s", nested, true)]));
    assert!(CsvDecoder::new(schema, &names(&["s"]), CsvOptions::default()).is_err());
}

#[test]
fn random_tables_survive_writing_cutting_and_reading() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let null_literal = [None, Some("NULL".to_owned()), Some(String::new())][rng.below(3) as usize].clone();
        let options = CsvOptions { null_literal: null_literal.clone(), ..CsvOptions::default() };
        let count = rng.below(20);
        let pieces = ["a", ",", "\"", "\n", "\r", "NULL", " ", "é", "\r\n", "\"\""];
        let text = |rng: &mut Rng| -> String { (0..rng.below(4)).map(|_| pieces[rng.below(10) as usize]).collect() };
        // Without a literal, NULL and the empty string are one in a text column.
        let texts = (0..count).map(|_| (null_literal.is_none() || rng.percent(80)).then(|| text(&mut rng)));
        let texts: StringArray = texts.collect::<Vec<_>>().into();
        let numbers: Int64Array = (0..count).map(|_| rng.percent(80).then(|| rng.next_u64() as i64)).collect();
        let times: TimestampMillisecondArray =
            (0..count).map(|_| rng.percent(80).then(|| rng.below(1 << 42) as i64)).collect();
        let schema = schema(&[
            ("t", DataType::Utf8, true),
            ("n", DataType::Int64, true),
            ("d", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ]);
        let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(numbers), Arc::new(times)];
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let mut out = Encoded::default();
        CsvEncoder::new(options.clone()).unwrap().encode(&batch, &mut out).unwrap();
        let file: Vec<u8> = out.rows().flat_map(|row| [row, b"\n"].concat()).collect();
        let mut decoder = CsvDecoder::new(schema, &names(&["t", "n", "d"]), options).unwrap();
        let mut splitter = LineSplitter::quoted(1_000, 0, b'"', b',');
        for chunk in file.chunks(1 + rng.below(30) as usize) {
            decoder.push(&splitter.push(chunk).unwrap().collect::<Vec<_>>());
        }
        decoder.push(&splitter.finish().unwrap().collect::<Vec<_>>());
        let decoded = decoder.flush().unwrap();
        assert_eq!((decoded.bad, decoded.batch), (vec![], batch), "seed {seed}: {}", String::from_utf8_lossy(&file));
    }
}
