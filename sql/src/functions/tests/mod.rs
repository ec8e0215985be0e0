//! Tests of the scalar functions: tables of calls with the answers the documentation of Flink gives (or follows from it), each run
//! as constants, as columns and mixed; hostile arguments; random rows against naive models; the documentation against the registry.

mod cases_math;
mod cases_text;
mod cases_time;
mod documented;
mod hostile;
mod models;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};

use super::scalar_functions;

pub(super) fn s(text: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(text.to_string()))
}

pub(super) fn i(value: i64) -> ScalarValue {
    ScalarValue::Int64(Some(value))
}

pub(super) fn int(value: i32) -> ScalarValue {
    ScalarValue::Int32(Some(value))
}

pub(super) fn d(value: f64) -> ScalarValue {
    ScalarValue::Float64(Some(value))
}

pub(super) fn b(value: bool) -> ScalarValue {
    ScalarValue::Boolean(Some(value))
}

pub(super) fn dec(value: i128, precision: u8, scale: i8) -> ScalarValue {
    ScalarValue::Decimal128(Some(value), precision, scale)
}

pub(super) fn bytes(value: &[u8]) -> ScalarValue {
    ScalarValue::Binary(Some(value.to_vec()))
}

pub(super) const NO_TEXT: ScalarValue = ScalarValue::Utf8(None);
pub(super) const NO_INT: ScalarValue = ScalarValue::Int32(None);
pub(super) const NO_LONG: ScalarValue = ScalarValue::Int64(None);
pub(super) const NO_TIME: ScalarValue = ScalarValue::TimestampMillisecond(None, None);

/// A TIMESTAMP(3) from its text.
pub(super) fn ts(text: &str) -> ScalarValue {
    let millisecond = DataType::Timestamp(TimeUnit::Millisecond, None);
    s(text).cast_to(&millisecond).unwrap()
}

/// A DATE from its text.
pub(super) fn date(text: &str) -> ScalarValue {
    s(text).cast_to(&DataType::Date32).unwrap()
}

static BY_NAME: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut found = HashMap::new();
    for udf in scalar_functions() {
        for name in std::iter::once(udf.name()).chain(udf.aliases().iter().map(String::as_str)) {
            found.insert(name.to_string(), Arc::clone(&udf));
        }
    }
    found
});

pub(super) fn function(name: &str) -> Arc<ScalarUDF> {
    Arc::clone(BY_NAME.get(name).unwrap_or_else(|| panic!("no function `{name}`")))
}

/// Calls a function the way the planner and a job do: coerce, check and type, run.
pub(super) fn call(name: &str, args: &[ColumnarValue], rows: usize) -> Result<ColumnarValue> {
    let udf = function(name);
    let given: Vec<DataType> = args.iter().map(ColumnarValue::data_type).collect();
    let wanted = if given.is_empty() { vec![] } else { udf.inner().coerce_types(&given)? };
    let mut coerced = Vec::new();
    for (arg, wanted) in args.iter().zip(&wanted) {
        coerced.push(match arg {
            ColumnarValue::Array(array) => ColumnarValue::Array(cast(array, wanted)?),
            ColumnarValue::Scalar(value) => ColumnarValue::Scalar(value.cast_to(wanted)?),
        });
    }
    let arg_fields: Vec<_> = wanted.iter().map(|wanted| Arc::new(Field::new("x", wanted.clone(), true))).collect();
    let literals: Vec<Option<ScalarValue>> = coerced
        .iter()
        .map(|arg| if let ColumnarValue::Scalar(value) = arg { Some(value.clone()) } else { None })
        .collect();
    let literal_refs: Vec<Option<&ScalarValue>> = literals.iter().map(Option::as_ref).collect();
    let return_field =
        udf.return_field_from_args(ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &literal_refs })?;
    let result = udf.invoke_with_args(ScalarFunctionArgs {
        args: coerced,
        arg_fields,
        number_rows: rows,
        return_field: Arc::clone(&return_field),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    assert_eq!(result.data_type(), *return_field.data_type(), "{name}: the type announced is not the type returned");
    Ok(result)
}

/// The answer for constant arguments.
pub(super) fn eval(name: &str, args: &[ScalarValue]) -> Result<ScalarValue> {
    let args: Vec<ColumnarValue> = args.iter().cloned().map(ColumnarValue::Scalar).collect();
    match call(name, &args, 1)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
    }
}

/// The column for one array and constants after it.
pub(super) fn column(name: &str, first: ArrayRef, rest: &[ScalarValue]) -> ArrayRef {
    let rows = first.len();
    let rest = rest.iter().cloned().map(ColumnarValue::Scalar);
    let args: Vec<ColumnarValue> = std::iter::once(ColumnarValue::Array(first)).chain(rest).collect();
    call(name, &args, rows).unwrap().into_array(rows).unwrap()
}

/// Runs one case as constants, and with every choice of the arguments as columns (of three rows: the value, NULL, the value; sliced
/// out of a longer array).
pub(super) fn check(name: &str, args: &[ScalarValue], expected: &ScalarValue) {
    let found = eval(name, args).unwrap_or_else(|error| panic!("{name}({args:?}): {error}"));
    assert_eq!(&found, expected, "{name}({args:?})");
    for columns in 1..1_u32 << args.len() {
        let mixed: Vec<ColumnarValue> = args
            .iter()
            .enumerate()
            .map(|(at, arg)| {
                if columns >> at & 1 == 1 {
                    ColumnarValue::Array(repeated(arg))
                } else {
                    ColumnarValue::Scalar(arg.clone())
                }
            })
            .collect();
        let Ok(found) = call(name, &mixed, 3) else { continue };
        let found = found.into_array(3).unwrap();
        for row in [0, 2] {
            let value = ScalarValue::try_from_array(&found, row).unwrap();
            let same_scale = value.data_type() == expected.data_type();
            assert!(!same_scale || &value == expected, "{name}({args:?}), columns {columns:b}, row {row}: {value:?}");
        }
    }
}

fn repeated(value: &ScalarValue) -> ArrayRef {
    let null = ScalarValue::try_new_null(&value.data_type()).unwrap();
    let rows = [&null, value, &null, value, value].map(Clone::clone);
    ScalarValue::iter_to_array(rows).unwrap().slice(1, 3)
}

/// Runs a table of cases.
pub(super) fn table(cases: &[(&str, &[ScalarValue], ScalarValue)]) {
    for (name, args, expected) in cases {
        check(name, args, expected);
    }
}

/// The message with which a call with these constants is refused.
pub(super) fn refusal(name: &str, args: &[ScalarValue]) -> String {
    match eval(name, args) {
        Ok(value) => panic!("{name}({args:?}) gave {value:?}"),
        Err(error) => error.strip_backtrace(),
    }
}
