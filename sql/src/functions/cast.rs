//! CAST and TRY_CAST as Flink defines them, where Arrow's kernels differ or fail without a word about the value.
//!
//! Put into plans by [`casts`](crate::casts) before anything is folded; casts of numbers that cannot fail stay DataFusion's. A value
//! that cannot be converted is an error that names it, or NULL under TRY_CAST: kernels give NULL, the difference is told here.

use super::parse_number::{boolean, decimal, whole};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray,
    MapArray, StringArray, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::fmt::Write as _;
use std::sync::Arc;
use thalweg_engine::type_name;

/// Characters of a value that a message shows.
const SHOWN_CHARS: usize = 64;

/// What the names of casts that cannot fail begin with.
pub(crate) const TOTAL: [&str; 2] = ["try_cast_as_", "cast_as_string"];

/// One cast.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CastTo {
    name: String,
    to: DataType,
    tries: bool,
    signature: Signature,
}

/// The function that casts to a type; with `tries` what cannot be is NULL.
pub(crate) fn cast_to(from: &DataType, to: &DataType, tries: bool) -> ScalarUDF {
    let what = match (tries, is_text(to) && *from == DataType::Binary) {
        (true, _) => "try_cast",
        (false, true) => "decode",
        (false, false) => "cast",
    };
    let name = format!("{what}_as_{}", type_name(to).to_lowercase());
    ScalarUDF::new_from_impl(CastTo {
        name,
        to: to.clone(),
        tries,
        signature: Signature::any(1, Volatility::Immutable),
    })
}

/// One value cast. Errors: why it cannot be, in words for people.
pub(crate) fn cast_value(value: &ScalarValue, to: &DataType, tries: bool) -> std::result::Result<ScalarValue, String> {
    let signature = Signature::any(1, Volatility::Immutable);
    let cast = CastTo { name: String::new(), to: to.clone(), tries, signature };
    let one = value.to_array().and_then(|array| cast.cast(&array));
    one.and_then(|one| ScalarValue::try_from_array(&one, 0)).map_err(|e| match e {
        DataFusionError::Execution(reason) => reason,
        other => other.strip_backtrace(),
    })
}

impl ScalarUDFImpl for CastTo {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(self.cast(&array)?)),
            Some(ColumnarValue::Scalar(value)) => {
                let one = self.cast(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&one, 0)?))
            }
            None => datafusion_common::internal_err!("a cast of nothing"),
        }
    }
}

impl CastTo {
    /// Rows by position, arrays and maps item by item.
    fn nested(&self, from: &ArrayRef) -> Result<Option<ArrayRef>> {
        let part = |from: &ArrayRef, to: &DataType| match from.data_type() == to {
            true => Ok(Arc::clone(from)),
            false => {
                CastTo { name: String::new(), to: to.clone(), tries: self.tries, signature: self.signature.clone() }
                    .cast(from)
            }
        };
        Ok(match (from.data_type(), &self.to) {
            (DataType::Null, to) => Some(new_null_array(to, from.len())),
            (DataType::Struct(given), DataType::Struct(fields)) if given.len() == fields.len() => {
                let rows = from.as_struct();
                let parts = rows.columns().iter().zip(fields).map(|(c, f)| part(c, f.data_type()));
                let parts = parts.collect::<Result<Vec<_>>>()?;
                let nulls = rows.nulls().cloned();
                Some(Arc::new(StructArray::try_new_with_length(fields.clone(), parts, nulls, from.len())?))
            }
            (DataType::List(_), DataType::List(item)) => {
                let lists = from.as_list::<i32>();
                let values = part(lists.values(), item.data_type())?;
                let offsets = lists.offsets().clone();
                Some(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, lists.nulls().cloned())?))
            }
            (DataType::Map(..), DataType::Map(entries, sorted)) => {
                let maps = from.as_map();
                let pairs: ArrayRef = Arc::new(maps.entries().clone());
                let pairs = part(&pairs, entries.data_type())?.as_struct().clone();
                let offsets = maps.offsets().clone();
                let nulls = maps.nulls().cloned();
                Some(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, *sorted)?))
            }
            _ => None,
        })
    }

    fn cast(&self, from: &ArrayRef) -> Result<ArrayRef> {
        if let Some(out) = self.nested(from)? {
            return Ok(out);
        }
        let out = convert(from, &self.to)?;
        if self.tries || out.null_count() == from.null_count() {
            return Ok(out);
        }
        match (0..from.len()).find(|i| out.is_null(*i) && from.is_valid(*i)) {
            None => Ok(out),
            Some(row) => {
                let options = FormatOptions::default();
                let value = ArrayFormatter::try_new(from, &options)?.value(row).to_string();
                let shown: String = value.chars().take(SHOWN_CHARS).collect();
                let more = if shown.len() < value.len() { ".." } else { "" };
                let to = type_name(&self.to);
                exec_err!("cannot cast `{shown}`{more} to {to}; TRY_CAST(.. AS {to}) gives NULL instead")
            }
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// NULL where a value cannot be converted.
fn arrow_cast(from: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(from, to, &CastOptions { safe: true, ..CastOptions::default() })?)
}

fn convert(from: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    match from.data_type() {
        t if is_text(t) => from_text(arrow_cast(from, &DataType::Utf8)?.as_string(), to),
        DataType::Boolean if is_text(to) => {
            let word = |b: bool| if b { "TRUE" } else { "FALSE" };
            Ok(Arc::new(from.as_boolean().iter().map(|b| b.map(word)).collect::<StringArray>()))
        }
        DataType::Float64 if is_text(to) => {
            let texts = from.as_primitive::<Float64Type>().iter().map(|v| v.map(|v| float_text(&format!("{v:e}"))));
            Ok(Arc::new(texts.collect::<StringArray>()))
        }
        DataType::Float32 if is_text(to) => {
            let texts = from.as_primitive::<Float32Type>().iter().map(|v| v.map(|v| float_text(&format!("{v:e}"))));
            Ok(Arc::new(texts.collect::<StringArray>()))
        }
        _ => arrow_cast(from, to),
    }
}

fn from_text(texts: &StringArray, to: &DataType) -> Result<ArrayRef> {
    if *to == DataType::Binary {
        return arrow_cast(&(Arc::new(texts.clone()) as ArrayRef), to);
    }
    let trimmed = || texts.iter().map(|t| t.map(str::trim));
    Ok(match to {
        DataType::Boolean => Arc::new(trimmed().map(|t| boolean(t?)).collect::<BooleanArray>()),
        DataType::Float64 => Arc::new(trimmed().map(|t| t?.parse::<f64>().ok()).collect::<Float64Array>()),
        DataType::Float32 => Arc::new(trimmed().map(|t| t?.parse::<f32>().ok()).collect::<Float32Array>()),
        DataType::Decimal128(precision, scale) => {
            let values = trimmed().map(|t| decimal(t?, *precision, *scale)).collect::<Decimal128Array>();
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        t if t.is_integer() => {
            let values: ArrayRef = Arc::new(trimmed().map(|t| whole(t?)).collect::<Int64Array>());
            arrow_cast(&values, to)?
        }
        DataType::Timestamp(unit, zone) => {
            let texts: ArrayRef = Arc::new(trimmed().collect::<StringArray>());
            let times = arrow_cast(&texts, &DataType::Timestamp(*unit, None))?;
            // The zone is UTC: the same numbers.
            if zone.is_none() { times } else { arrow_cast(&arrow_cast(&times, &DataType::Int64)?, to)? }
        }
        DataType::Date32 => {
            let days: ArrayRef = Arc::new(trimmed().map(|t| t?.split([' ', 'T']).next()).collect::<StringArray>());
            let whole: ArrayRef = Arc::new(trimmed().collect::<StringArray>());
            let times = arrow_cast(&whole, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
            let days = arrow_cast(&days, to)?;
            // What stands behind the day must be a time.
            arrow::compute::nullif(&days, &arrow::compute::is_null(&times)?)?
        }
        other => arrow_cast(&(Arc::new(trimmed().collect::<StringArray>()) as ArrayRef), other)?,
    })
}

/// A float as Java writes it: `1.0`, `123.45`, `1.0E10`, `1.2E-5`; from Rust's shortest digits in the form `1.2e-5`.
fn float_text(shortest: &str) -> String {
    let Some((mantissa, exponent)) = shortest.split_once('e') else {
        return shortest.replace("inf", "Infinity");
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits = mantissa.replace('.', "");
    let or_zero = |digits: &str| if digits.is_empty() { "0".to_owned() } else { digits.to_owned() };
    let mut out = sign.to_owned();
    let wrote = match exponent {
        0..7 => {
            let whole = exponent as usize + 1;
            let padded = format!("{digits:0<whole$}");
            let (whole, fraction) = padded.split_at(whole);
            write!(out, "{whole}.{}", or_zero(fraction))
        }
        -3..0 => write!(out, "0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
        _ => {
            let (first, rest) = digits.split_at(1);
            write!(out, "{first}.{}E{exponent}", or_zero(rest))
        }
    };
    // Writing into a String cannot fail.
    debug_assert!(wrote.is_ok());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(v: f64) -> String {
        float_text(&format!("{v:e}"))
    }

    #[test]
    fn floats_are_written_as_in_java() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-123.45, "-123.45"),
            (9_999_999.0, "9999999.0"),
            (10_000_000.0, "1.0E7"),
            (1e10, "1.0E10"),
            (0.001, "0.001"),
            (0.000_999, "9.99E-4"),
            (1.5e-300, "1.5E-300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::MAX, "1.7976931348623157E308"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(value), expected);
        }
    }

    fn cast(texts: &[&str], to: &DataType) -> Vec<String> {
        let out = from_text(&StringArray::from(texts.to_vec()), to).unwrap();
        let options = FormatOptions::default().with_null("NULL");
        let format = ArrayFormatter::try_new(&out, &options).unwrap();
        (0..out.len()).map(|i| format.value(i).to_string()).collect()
    }

    #[test]
    fn text_becomes_values_or_null() {
        let cases: [(DataType, &[&str], &[&str]); 7] = [
            (
                DataType::Boolean,
                &[" TrUe ", "1", "yes", "n", "0", "on", ""],
                &["true", "true", "true", "false", "false", "NULL", "NULL"],
            ),
            (
                DataType::Int8,
                &[" 12 ", "+7", "-1.9", "128", "", "1e3", "--1", "."],
                &["12", "7", "-1", "NULL", "NULL", "NULL", "NULL", "NULL"],
            ),
            (DataType::Int64, &["-9223372036854775808", "9223372036854775808"], &["-9223372036854775808", "NULL"]),
            (DataType::Float64, &[" 1.5 ", "1e3", "x"], &["1.5", "1000.0", "NULL"]),
            (
                DataType::Decimal128(5, 2),
                &["1.005", "-1.005", "999.994", "999.995", "1e2", "12e-1", "x"],
                &["1.01", "-1.01", "999.99", "NULL", "100.00", "1.20", "NULL"],
            ),
            (
                DataType::Date32,
                &[" 2021-09-27 ", "2021-09-27 12:34:56.1", "2021-09-27 x", "2021/09/27", "2021-02-30"],
                &["2021-09-27", "2021-09-27", "NULL", "NULL", "NULL"],
            ),
            (
                DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
                &["2021-09-27", "2021-09-27 12:34:56.123", "123"],
                &["2021-09-27T00:00:00Z", "2021-09-27T12:34:56.123Z", "NULL"],
            ),
        ];
        for (to, texts, expected) in cases {
            assert_eq!(cast(texts, &to), expected, "{to}");
        }
    }
}
