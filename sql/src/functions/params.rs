//! Which argument types a function takes, and what a user reads when they do not fit.
//!
//! Called by the planner through `scalar::Function::coerce_types`. Strings are not made from numbers silently, as in Flink.

use arrow::array::{Float64Array, Int64Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::{Result, plan_err};
use datafusion_expr::type_coercion::binary::type_union_resolution;
use thalweg_engine::type_name;

use super::scalar::{Call, Spec};

/// What one argument may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    /// STRING.
    Text,
    /// STRING or a whole number.
    TextOrLong,
    /// A whole number, taken as BIGINT.
    Long,
    /// Any number, taken as DOUBLE.
    Double,
    /// Any number in its own type.
    Number,
    /// BOOLEAN.
    Bool,
    /// BYTES.
    Bytes,
    /// DATE, TIME, TIMESTAMP or TIMESTAMP_LTZ in its own type.
    Time,
    /// As `Time`, or a STRING to be read as a timestamp.
    TimeOrText,
    /// As `Number` or `Time`.
    NumberOrTime,
    /// As `Number` or STRING.
    NumberOrText,
    /// Anything in its own type.
    Any,
}

impl Param {
    fn wants(self) -> &'static str {
        match self {
            Param::Text => "STRING",
            Param::TextOrLong => "STRING or BIGINT",
            Param::Long => "BIGINT",
            Param::Double | Param::Number => "a number",
            Param::Bool => "BOOLEAN",
            Param::Bytes => "BYTES",
            Param::Time => "DATE, TIME or TIMESTAMP",
            Param::TimeOrText => "DATE, TIME, TIMESTAMP or STRING",
            Param::NumberOrTime => "a number, DATE or TIMESTAMP",
            Param::NumberOrText => "a number or STRING",
            Param::Any => "any type",
        }
    }

    /// The type that an argument of type `given` is cast to, or `None` if it is refused.
    fn accept(self, given: &DataType) -> Option<DataType> {
        if let DataType::Dictionary(_, value) = given {
            return self.accept(value);
        }
        let text =
            || matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View).then_some(DataType::Utf8);
        let number = || given.is_numeric().then(|| given.clone());
        if given.is_null() {
            return Some(self.for_null());
        }
        match self {
            Param::Text => text(),
            Param::TextOrLong => text().or_else(|| given.is_integer().then_some(DataType::Int64)),
            Param::Long => given.is_integer().then_some(DataType::Int64),
            Param::Double => given.is_numeric().then_some(DataType::Float64),
            Param::Number => number(),
            Param::Bool => (*given == DataType::Boolean).then_some(DataType::Boolean),
            Param::Bytes => is_bytes(given).then_some(DataType::Binary),
            Param::Time => time(given),
            Param::TimeOrText => time(given).or_else(text),
            Param::NumberOrTime => number().or_else(|| time(given)),
            Param::NumberOrText => number().or_else(text),
            Param::Any => Some(given.clone()),
        }
    }

    fn for_null(self) -> DataType {
        match self {
            Param::Text | Param::TextOrLong | Param::NumberOrText => DataType::Utf8,
            Param::Long => DataType::Int64,
            Param::Double | Param::Number | Param::NumberOrTime => DataType::Float64,
            Param::Bool => DataType::Boolean,
            Param::Bytes => DataType::Binary,
            Param::Time | Param::TimeOrText => DataType::Timestamp(TimeUnit::Millisecond, None),
            Param::Any => DataType::Null,
        }
    }
}

fn is_bytes(given: &DataType) -> bool {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    matches!(given, Binary | LargeBinary | BinaryView | FixedSizeBinary(_))
}

fn time(given: &DataType) -> Option<DataType> {
    match given {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) => Some(given.clone()),
        DataType::Date64 => Some(DataType::Timestamp(TimeUnit::Millisecond, None)),
        _ => None,
    }
}

/// The types the arguments of `spec` are cast to.
pub(super) fn coerce(spec: &Spec, given: &[DataType]) -> Result<Vec<DataType>> {
    let least = spec.required.len();
    let most = spec.rest.map_or(least + spec.optional.len(), |_| usize::MAX);
    if given.len() < least || given.len() > most {
        let count = match (spec.rest.is_some(), least == most) {
            (true, _) => format!("at least {least}"),
            (false, true) => least.to_string(),
            (false, false) => format!("{least} to {most}"),
        };
        let noun = if count == "1" || count == "at least 1" { "argument" } else { "arguments" };
        return plan_err!("function `{}` takes {count} {noun}, got {}", spec.name, given.len());
    }
    let params = spec.required.iter().chain(spec.optional).copied().chain(spec.rest.into_iter().cycle());
    let mut types = Vec::with_capacity(given.len());
    for (at, (param, found)) in params.zip(given).enumerate() {
        match param.accept(found) {
            Some(wanted) => types.push(wanted),
            None => return refuse(spec.name, at, param, found),
        }
    }
    match spec.unify {
        Some(unify) => unify(spec.name, &types),
        None => Ok(types),
    }
}

fn refuse(name: &str, at: usize, param: Param, found: &DataType) -> Result<Vec<DataType>> {
    let remedy = match param {
        Param::Text => "; write CAST(x AS STRING)",
        Param::Long => "; write CAST(x AS BIGINT)",
        Param::Time => "; write CAST(x AS TIMESTAMP(3)) or TO_TIMESTAMP(x)",
        _ => "",
    };
    plan_err!("function `{name}`: argument {} must be {}, got {}{remedy}", at + 1, param.wants(), type_name(found))
}

/// Brings all arguments from position `from` on to one common type.
pub(super) fn unify_from(name: &str, from: usize, types: &[DataType]) -> Result<Vec<DataType>> {
    let (fixed, open) = types.split_at(from.min(types.len()));
    let Some(common) = type_union_resolution(open) else {
        let names: Vec<String> = open.iter().map(type_name).collect();
        return plan_err!("function `{name}`: no common type for {}; CAST them to one type", names.join(", "));
    };
    let common = if common == DataType::Utf8View { DataType::Utf8 } else { common };
    Ok(fixed.iter().cloned().chain(open.iter().map(|_| common.clone())).collect())
}

impl Call<'_> {
    /// Argument `at` as BIGINT values; slots of NULL rows hold arbitrary numbers.
    pub(super) fn longs(&self, at: usize) -> Result<ScalarBuffer<i64>> {
        Ok(self.typed::<Int64Array>(at)?.values().clone())
    }

    /// Argument `at` as DOUBLE values; slots of NULL rows hold arbitrary numbers.
    pub(super) fn doubles(&self, at: usize) -> Result<ScalarBuffer<f64>> {
        Ok(self.typed::<Float64Array>(at)?.values().clone())
    }

    /// Argument `at` as BIGINT values, or `default` for every row if it was not given.
    pub(super) fn longs_or(&self, at: usize, default: i64) -> Result<ScalarBuffer<i64>> {
        match self.args.len() > at {
            true => self.longs(at),
            false => Ok(vec![default; self.rows].into()),
        }
    }

    /// Whether argument `at` is given and is of type `wanted`.
    pub(super) fn is(&self, at: usize, wanted: &DataType) -> bool {
        self.args.get(at).is_some_and(|arg| arg.data_type() == *wanted)
    }

    /// Type of argument `at`, NULL if it is not given.
    pub(super) fn argument_type(&self, at: usize) -> DataType {
        self.args.get(at).map_or(DataType::Null, datafusion_expr::ColumnarValue::data_type)
    }
}
