//! Tests of values: within their limits, reaching them, the same alone as in a batch, times by the formula.

use super::super::tests::table;
use super::super::{OPTIONS, field::Parser};
use super::*;
use arrow::array::{Array, AsArray};
use arrow::compute::concat;

const WALL: Times = Times::Wall { ms: 1_700_000_123_456 };

fn field(options: &[(&str, &str)], name: &str) -> Field {
    let spec = table(options);
    let typed = spec.options.check("x", OPTIONS).unwrap();
    let column = spec.physical().field_with_name(name).unwrap().clone();
    Parser::new(typed, 3).columns(&vec![column].into()).unwrap().remove(0)
}

fn column(options: &[(&str, &str)], name: &str, numbers: &[u64], times: Times) -> ArrayRef {
    field(options, name).generate(&Rows { numbers, repeat: 1, times }).unwrap()
}

fn many() -> Vec<u64> {
    (0..10_000).collect()
}

#[test]
fn a_value_is_the_same_alone_as_in_a_batch() {
    let numbers: Vec<u64> = (0..50).map(|n| n * 64 + 5).chain([u64::MAX - 65]).collect();
    let spec = table(&[]);
    for column in spec.physical().fields().iter().filter(|c| c.is_nullable()) {
        let rate = format!("fields.{}.null-rate", column.name());
        let field = field(&[(rate.as_str(), "0.5")], column.name());
        let generate = |numbers: &[u64]| field.generate(&Rows { numbers, repeat: 1, times: WALL }).unwrap();
        let whole = generate(&numbers);
        let alone: Vec<ArrayRef> = numbers.iter().map(|n| generate(&[*n])).collect();
        let alone: Vec<&dyn Array> = alone.iter().map(AsRef::as_ref).collect();
        assert_eq!(whole.data_type(), column.data_type());
        assert_eq!(&concat(&alone).unwrap(), &whole, "{column}");
        assert!((10..41).contains(&whole.null_count()), "{column}");
        assert_eq!(generate(&[]).len(), 0);
    }
}

#[test]
fn numbers_keep_and_reach_their_bounds() {
    let n = column(&[("fields.n.min", "-2"), ("fields.n.max", "2"), ("fields.n.null-rate", "0.5")], "n", &many(), WALL);
    let n = n.as_primitive::<Int32Type>();
    assert!((4_800..5_200).contains(&n.null_count()));
    for value in -2..=2 {
        assert!(n.iter().flatten().filter(|v| *v == value).count() > 900);
    }
    assert!(n.iter().flatten().all(|v| (-2..=2).contains(&v)));
    let all = column(&[], "id", &many(), WALL);
    let all = all.as_primitive::<Int64Type>().values();
    assert!(all.iter().any(|v| *v < i64::MIN / 2) && all.iter().any(|v| *v > i64::MAX / 2));
    let tiny = column(&[], "tiny", &many(), WALL);
    let tiny = tiny.as_primitive::<Int8Type>().values();
    assert!(tiny.contains(&i8::MIN) && tiny.contains(&i8::MAX));
    for options in [vec![("fields.f.min", "0.1"), ("fields.f.max", "0.1")], vec![]] {
        let limit = if options.is_empty() { f32::MIN..=f32::MAX } else { 0.1..=0.1 };
        let f = column(&options, "f", &many(), WALL);
        assert!(f.as_primitive::<Float32Type>().values().iter().all(|v| limit.contains(v)));
    }
    let d = column(&[], "d", &many(), WALL);
    let d = d.as_primitive::<Float64Type>().values();
    assert!(d.iter().all(|v| v.is_finite()) && d.iter().any(|v| *v > 1e307) && d.iter().any(|v| *v < -1e307));
}

#[test]
fn decimals_fit_their_type() {
    let m = column(&[("fields.m.min", "-0.02"), ("fields.m.max", "0.01")], "m", &many(), WALL);
    let m = m.as_primitive::<Decimal128Type>().values();
    assert!((-2..=1).all(|v| m.iter().filter(|m| **m == v).count() > 2_000) && m.iter().all(|v| (-2..=1).contains(v)));
    for (name, precision) in [("m", 10), ("big", 38)] {
        let limit = 10_i128.pow(precision);
        let values = column(&[], name, &many(), WALL);
        let values = values.as_primitive::<Decimal128Type>().values();
        assert!(values.iter().all(|v| -limit < *v && *v < limit));
        assert!(values.iter().any(|v| *v > limit / 2) && values.iter().any(|v| *v < -limit / 2));
    }
}

#[test]
fn sequences_count_from_their_start() {
    for name in ["id", "tiny", "f", "d", "m", "s"] {
        let keys = ["kind", "start", "end", "null-rate"].map(|option| format!("fields.{name}.{option}"));
        let options = [(keys[0].as_str(), "sequence"), (keys[1].as_str(), "-3"), (keys[2].as_str(), "100")];
        let values = column(&options, name, &[0, 1, 3, 103], WALL);
        let texts = arrow::compute::cast(&values, &DataType::Utf8).unwrap();
        let texts: Vec<&str> = texts.as_string::<i32>().iter().flatten().collect();
        let expected = match name {
            "f" | "d" => ["-3.0", "-2.0", "0.0", "100.0"],
            "m" => ["-3.00", "-2.00", "0.00", "100.00"],
            _ => ["-3", "-2", "0", "100"],
        };
        assert_eq!(texts, expected);
        if name != "id" {
            let all_null = [options[0], options[1], options[2], (keys[3].as_str(), "1")];
            assert_eq!(column(&all_null, name, &[0, 1], WALL).null_count(), 2);
        }
    }
    let ends = [
        ("fields.id.kind", "sequence"),
        ("fields.id.start", "-9223372036854775808"),
        ("fields.id.end", "9223372036854775807"),
    ];
    let values = column(&ends, "id", &[0, u64::MAX], WALL);
    assert_eq!(values.as_primitive::<Int64Type>().values().to_vec(), [i64::MIN, i64::MAX]);
}

#[test]
fn texts_and_bytes_have_their_length() {
    for (length, want) in [("0", 0), ("1", 1), ("16", 16), ("33", 33)] {
        let s = column(&[("fields.s.length", length)], "s", &[0, 1, 2], WALL);
        let s = s.as_string::<i32>();
        assert!(s.iter().flatten().all(|t| t.len() == want && t.bytes().all(|b| b.is_ascii_hexdigit())));
        let y = column(&[("fields.y.length", length)], "y", &[0, 1, 2], WALL);
        let y = y.as_binary::<i32>();
        assert!(y.iter().flatten().all(|t| t.len() == want) && y.len() == 3);
        assert!(want < 16 || (s.value(0) != s.value(1) && y.value(0) != y.value(1)));
    }
}

/// Naively: in whole milliseconds after the base, with 128 bits.
fn event_ms(base_ms: i64, rate: u64, row: u64) -> i64 {
    i64::try_from(i128::from(base_ms) + i128::from(row) * 1_000 / i128::from(rate)).unwrap()
}

#[test]
fn times_follow_the_row_number_or_the_clock() {
    let numbers = [0, 1, 6, 7, 1_000_000, u64::from(u32::MAX)];
    let at = |options: &[(&str, &str)], times| {
        let at = column(options, "at", &numbers, times);
        at.as_primitive::<TimestampMillisecondType>().values().to_vec()
    };
    assert_eq!(at(&[], WALL), [1_700_000_123_456; 6]);
    for (base_ms, rate) in [(0, 1), (1_767_225_600_000, 7), (253_402_300_799_999, 1_000_000_000)] {
        let times = Times::Event(EventTime { base_ms, rows_per_second: rate });
        let expected: Vec<i64> = numbers.iter().map(|n| event_ms(base_ms, rate, *n)).collect();
        assert_eq!(at(&[], times), expected);
        let past = at(&[("fields.at.max-past", "2 s")], times);
        assert!(past.iter().zip(&expected).all(|(past, t)| (t - 2_000..=*t).contains(past)) && past != expected);
        let cast = |name| {
            let values = column(&[], name, &numbers, times);
            arrow::compute::cast(&values, &DataType::Int64).unwrap().as_primitive::<Int64Type>().values().to_vec()
        };
        let of = |f: fn(i64) -> i64| expected.iter().map(|t| f(*t)).collect::<Vec<_>>();
        assert_eq!(cast("ltz"), of(|t| t * 1_000));
        let day = column(&[], "day", &numbers, times);
        let days = day.as_primitive::<Date32Type>().values().iter().map(|d| i64::from(*d)).collect::<Vec<_>>();
        assert_eq!(days, of(|t| t.div_euclid(86_400_000)));
        let hour = column(&[], "hour", &numbers, times);
        let hours = hour.as_primitive::<Time32MillisecondType>().values().iter().map(|d| i64::from(*d));
        assert_eq!(hours.collect::<Vec<_>>(), of(|t| t.rem_euclid(86_400_000)));
    }
    // Far beyond all times nothing overflows.
    let times = Times::Event(EventTime { base_ms: i64::MAX - 1, rows_per_second: 1 });
    assert_eq!(column(&[], "ltz", &[u64::MAX], times).as_primitive::<TimestampMicrosecondType>().value(0), i64::MAX);
}

#[test]
fn rows_and_arrays_hold_what_their_parts_ask_for() {
    let options = [
        ("fields.pair.x.kind", "sequence"),
        ("fields.pair.x.start", "10"),
        ("fields.pair.x.end", "19"),
        ("fields.pair.s.length", "2"),
    ];
    let pair = column(&options, "pair", &[0, 9], WALL);
    let pair = pair.as_struct();
    assert_eq!(pair.column(0).as_primitive::<Int32Type>().values().to_vec(), [10, 19]);
    assert_eq!(pair.column(1).as_string::<i32>().value(0).len(), 2);

    let options = [
        ("fields.pairs.length", "4"),
        ("fields.pairs.element.x.min", "0"),
        ("fields.pairs.element.x.max", "1000000"),
        ("fields.pairs.element.null-rate", "0.5"),
    ];
    let pairs = column(&options, "pairs", &many(), WALL);
    let pairs = pairs.as_list::<i32>();
    assert!((0..pairs.len()).all(|i| pairs.value_length(i) == 4));
    let elements = pairs.values().as_struct();
    assert!((19_000..21_000).contains(&elements.null_count()) && elements.len() == 40_000);
    let x = elements.column(0).as_primitive::<Int32Type>().values();
    let different: std::collections::HashSet<i32> = x.iter().copied().collect();
    assert!(different.len() > 38_000 && x.iter().all(|x| (0..=1_000_000).contains(x)));
    assert_eq!(column(&[("fields.list.length", "0")], "list", &[0, 1], WALL).as_list::<i32>().values().len(), 0);
}
