//! Every function with every combination of hostile arguments: an answer or an error, never a panic, and never much memory.

use datafusion_expr::TypeSignature;

use super::*;

fn hostile() -> Vec<ScalarValue> {
    let long_text = "é€😀".repeat(50);
    vec![
        s(""),
        s("a"),
        s(&long_text),
        s("(a|"),
        s("$.a[0]"),
        s("yyyy-MM-dd HH:mm:ss.SSS"),
        s("HOUR"),
        NO_TEXT,
        i(0),
        i(-1),
        i(i64::MIN),
        i(i64::MAX),
        int(i32::MIN),
        NO_LONG,
        d(f64::NAN),
        d(f64::NEG_INFINITY),
        d(f64::MIN_POSITIVE),
        dec(-99_999_999_999_999_999_999_999_999_999_999_999_999, 38, 10),
        b(true),
        bytes(b"\xff"),
        ScalarValue::Null,
        date("9999-12-31"),
        ScalarValue::Date32(Some(i32::MIN)),
        ScalarValue::TimestampMillisecond(Some(i64::MIN), None),
        ScalarValue::TimestampSecond(Some(i64::MAX), None),
        ScalarValue::TimestampNanosecond(Some(i64::MIN), Some("UTC".into())),
        ScalarValue::Time64Nanosecond(Some(86_399_999_999_999)),
    ]
}

#[test]
fn no_combination_of_arguments_panics() {
    let values = hostile();
    let mut answered = 0;
    for udf in scalar_functions() {
        if matches!(udf.signature().type_signature, TypeSignature::Nullary) {
            continue;
        }
        for first in &values {
            answered += usize::from(eval(udf.name(), std::slice::from_ref(first)).is_ok());
            for second in &values {
                answered += usize::from(eval(udf.name(), &[first.clone(), second.clone()]).is_ok());
            }
        }
    }
    assert!(answered > 4_000, "only {answered} calls were answered");
}

#[test]
fn no_combination_of_three_arguments_panics() {
    let values = hostile();
    let mut answered = 0;
    let three = |name: &str| {
        let nulls = vec![DataType::Null; 3];
        function(name).inner().coerce_types(&nulls).is_ok()
    };
    for udf in scalar_functions() {
        if matches!(udf.signature().type_signature, TypeSignature::Nullary) || !three(udf.name()) {
            continue;
        }
        for first in &values {
            for second in values.iter().step_by(3) {
                for third in values.iter().skip(1).step_by(3) {
                    let args = [first, second, third].map(Clone::clone);
                    answered += usize::from(eval(udf.name(), &args).is_ok());
                }
            }
        }
    }
    assert!(answered > 1_200, "only {answered} calls were answered");
}

#[test]
fn results_are_bounded() {
    for (name, args) in [
        ("repeat", vec![s("ab"), i(1_000_000_000)]),
        ("repeat", vec![s("ab"), i(i64::MAX)]),
        ("lpad", vec![s("a"), i(1_000_000_000), s("b")]),
        ("rpad", vec![s("a"), i(i64::MAX), s("日")]),
    ] {
        assert!(refusal(name, &args).contains("over 256 MiB"), "{name}");
    }
    let rows: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["x"; 400]));
    let args = [ColumnarValue::Array(rows), ColumnarValue::Scalar(i(1 << 20))];
    assert!(call("repeat", &args, 400).unwrap_err().to_string().contains("over 256 MiB"));
}

#[test]
fn deep_json_is_refused_and_not_followed() {
    let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(eval("is_json", &[s(&deep)]).unwrap(), b(false));
    assert_eq!(eval("json_value", &[s(&deep), s("$[0][0]")]).unwrap(), NO_TEXT);
    let allowed = format!("{}1{}", "[".repeat(250), "]".repeat(250));
    assert_eq!(eval("is_json", &[s(&allowed)]).unwrap(), b(true));
}

#[test]
fn empty_batches_have_no_rows() {
    let none: ArrayRef = Arc::new(arrow::array::StringArray::from(Vec::<&str>::new()));
    for (name, rest) in [("lower", vec![]), ("split_index", vec![s(","), i(0)]), ("regexp_extract", vec![s("a")])] {
        assert_eq!(column(name, Arc::clone(&none), &rest).len(), 0, "{name}");
    }
}
