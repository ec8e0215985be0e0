//! The tight loops against naive models, row by row on random data with NULLs and slices.

use arrow::array::{AsArray, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Int64Type;
use chrono::{DateTime, Datelike, Timelike, Utc};
use thalweg_engine::rng::Rng;

use super::*;

const ROWS: usize = 3_000;

/// Random text over a small alphabet, a third of it in other scripts if `wide`.
fn texts(seed: u64, wide: bool) -> StringArray {
    let mut rng = Rng::new(seed);
    let alphabet: Vec<char> =
        if wide { "aAbc/,&=1 é日😀ß".chars().collect() } else { "aAbcC/,&=12 ".chars().collect() };
    let mut text = || {
        let length = rng.below(30);
        (0..length).map(|_| alphabet[rng.below(alphabet.len() as u64) as usize]).collect::<String>()
    };
    let all: Vec<Option<String>> = (0..ROWS + 7).map(|row| (row % 11 != 3).then(&mut text)).collect();
    StringArray::from(all).slice(5, ROWS)
}

fn compare_text(name: &str, rest: &[ScalarValue], model: impl Fn(&str) -> Option<String>) {
    for (seed, wide) in [(1, false), (2, true)] {
        let input = texts(seed, wide);
        let found = column(name, Arc::new(input.clone()), rest);
        let expected: StringArray = input.iter().map(|text| text.and_then(&model)).collect();
        assert_eq!(found.as_string::<i32>(), &expected, "{name}({rest:?})");
    }
}

#[test]
fn text_kernels_equal_their_models() {
    compare_text("lower", &[], |text| Some(text.to_lowercase()));
    compare_text("upper", &[], |text| Some(text.to_uppercase()));
    compare_text("reverse", &[], |text| Some(text.chars().rev().collect()));
    compare_text("concat", &[s("-"), s("é")], |text| Some(format!("{text}-é")));
    for (separator, at) in [("/", 0), ("/", 2), (",", 1), ("aA", 1), ("日", 0), ("&=", 3)] {
        compare_text("split_index", &[s(separator), i(at)], |text| {
            if text.is_empty() { None } else { text.split(separator).nth(at as usize).map(String::from) }
        });
    }
    for (start, length) in [(2, 3), (-4, 2), (0, 5), (-40, 50), (31, 1)] {
        compare_text("substr", &[i(start), i(length)], |text| {
            let chars: Vec<char> = text.chars().collect();
            let skip = if start > 0 {
                start - 1
            } else if start == 0 {
                0
            } else {
                chars.len() as i64 + start
            };
            if skip < 0 {
                return Some(String::new());
            }
            Some(chars.into_iter().skip(skip as usize).take(length as usize).collect())
        });
    }
}

#[test]
fn regular_expressions_equal_the_plain_engine() {
    for (pattern, group) in
        [("(&|^)1=([^&]*)", 2), ("a[bc]/,", 0), ("(.)(a+)", 2), ("^(a|b)", 1), ("日?(b)c", 1), ("", 0)]
    {
        let plain = regex::Regex::new(pattern).unwrap();
        compare_text("regexp_extract", &[s(pattern), i(group)], |text| {
            Some(plain.captures(text)?.get(group as usize)?.as_str().to_string())
        });
        compare_text("regexp_replace", &[s(pattern), s("$1")], |text| {
            Some(plain.replace_all(text, regex::NoExpand("$1")).into_owned())
        });
    }
}

#[test]
fn counting_equals_its_model() {
    for (seed, wide) in [(3, false), (4, true)] {
        let input = texts(seed, wide);
        for wanted in ['c', '日', 'z'] {
            let found = column("count_char", Arc::new(input.clone()), &[s(&wanted.to_string())]);
            let expected: Int64Array = input
                .iter()
                .map(|text| text.map(|text| text.chars().filter(|c| *c == wanted).count() as i64))
                .collect();
            assert_eq!(found.as_primitive::<Int64Type>(), &expected);
        }
    }
}

/// Times that advance slowly, jump, lie before 1970 and are NULL at times.
fn times() -> TimestampMillisecondArray {
    let mut rng = Rng::new(5);
    let mut now: i64 = -5_000_000_000;
    let mut next = |row: usize| {
        now += match rng.below(20) {
            0 => rng.below(10_000_000_000) as i64,
            1 => -(rng.below(5_000_000_000) as i64),
            _ => rng.below(400) as i64,
        };
        (row % 13 != 7).then_some(now)
    };
    (0..ROWS + 9).map(&mut next).collect::<TimestampMillisecondArray>().slice(4, ROWS)
}

fn civil(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap()
}

#[test]
fn formatting_equals_its_model() {
    for (pattern, model) in [
        ("yyyy-MM-dd", "%Y-%m-%d"),
        ("HH:mm", "%H:%M"),
        ("yyyy-MM-dd HH:mm:ss.SSS", "%Y-%m-%d %H:%M:%S%.3f"),
        ("SSS ss EEE D MMM", "%3f %S %a %-j %b"),
    ] {
        let input = times();
        let found = column("date_format", Arc::new(input.clone()), &[s(pattern)]);
        let expected: StringArray = input.iter().map(|ms| ms.map(|ms| civil(ms).format(model).to_string())).collect();
        assert_eq!(found.as_string::<i32>(), &expected, "{pattern}");
        if !pattern.contains("SSS ss") && pattern.contains("yyyy") {
            let again = column("to_timestamp", Arc::clone(&found), &[s(pattern)]);
            let unit = if pattern.len() == 10 { 86_400_000 } else { 1 };
            let floored: TimestampMillisecondArray =
                input.iter().map(|ms| ms.map(|ms| ms - ms.rem_euclid(unit))).collect();
            assert_eq!(again.as_primitive(), &floored, "{pattern}");
        }
    }
}

#[test]
fn fields_equal_their_model() {
    type Model = fn(DateTime<Utc>) -> i64;
    let models: [(&str, Model); 9] = [
        ("year", |at| i64::from(at.year())),
        ("month", |at| i64::from(at.month())),
        ("dayofmonth", |at| i64::from(at.day())),
        ("dayofyear", |at| i64::from(at.ordinal())),
        ("dayofweek", |at| i64::from(at.weekday().num_days_from_sunday()) + 1),
        ("week", |at| i64::from(at.iso_week().week())),
        ("hour", |at| i64::from(at.hour())),
        ("minute", |at| i64::from(at.minute())),
        ("second", |at| i64::from(at.second())),
    ];
    let input = times();
    let finer = cast(&input, &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
    for (name, model) in models {
        let expected: Int64Array = input.iter().map(|ms| ms.map(|ms| model(civil(ms)))).collect();
        assert_eq!(column(name, Arc::new(input.clone()), &[]).as_primitive::<Int64Type>(), &expected, "{name}");
        assert_eq!(
            column(name, Arc::clone(&finer), &[]).as_primitive::<Int64Type>(),
            &expected,
            "{name} of microseconds"
        );
    }
}

#[test]
fn json_values_equal_a_full_parser() {
    let mut rng = Rng::new(6);
    for _ in 0..2_000 {
        let document = random_json(&mut rng, 4).to_string();
        let broken = rng.percent(10);
        let text = if broken { &document[..document.len() - 1] } else { &document[..] };
        let parsed: Option<serde_json::Value> = serde_json::from_str(text).ok();
        let expected = parsed.as_ref().and_then(|value| value.get("a")?.get(1)).and_then(|value| match value {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
            other => Some(other.to_string()),
        });
        assert_eq!(eval("json_value", &[s(text), s("$.a[1]")]).unwrap(), ScalarValue::Utf8(expected), "{text}");
        assert_eq!(eval("is_json", &[s(text)]).unwrap(), b(parsed.is_some()), "{text}");
    }
}

fn random_json(rng: &mut Rng, depth: u64) -> serde_json::Value {
    let children = 1 + rng.below(3);
    match rng.below(if depth == 0 { 4 } else { 8 }) {
        0 => serde_json::Value::Null,
        1 => rng.percent(50).into(),
        2 => (rng.below(2_000) as i64 - 1_000).into(),
        3 => ["", "x", "é\"\\\n", "😀"][rng.below(4) as usize].into(),
        4 | 5 => (0..children).map(|_| random_json(rng, depth - 1)).collect(),
        _ => {
            let keys = ["a", "b\"", "c"];
            let pairs = (0..children).map(|at| (keys[at as usize].to_string(), random_json(rng, depth - 1)));
            serde_json::Value::Object(pairs.collect())
        }
    }
}
