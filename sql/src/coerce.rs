//! Which types an INSERT may turn into which without being asked: those where Flink allows it, which never lose a value silently.
//!
//! Called when a query's columns meet a table's.

use arrow::datatypes::{DataType, TimeUnit};

/// Whether a value of type `from` may be written into a column of type `to` without a CAST.
pub(crate) fn is_implicit(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (a, b) if a == b => true,
        (T::Null, _) => true,
        (a, b) if a.is_integer() && b.is_integer() => width(a) <= width(b),
        (a, T::Decimal128(..)) if a.is_integer() => true,
        // A value that does not fit fails the job, it is never cut.
        (T::Decimal128(..), T::Decimal128(..)) => true,
        (T::Decimal128(..), T::Float32 | T::Float64) => true,
        (a, T::Float32 | T::Float64) if a.is_integer() => true,
        (T::Float32, T::Float64) => true,
        (T::Utf8View | T::LargeUtf8, T::Utf8) | (T::BinaryView | T::LargeBinary, T::Binary) => true,
        (T::Timestamp(a, _), T::Timestamp(b, _)) => {
            precision(a) <= precision(b) || precision(b) == precision(&TimeUnit::Millisecond)
        }
        (T::Date32, T::Timestamp(..)) => true,
        (T::Time32(_) | T::Time64(_), T::Time32(_) | T::Time64(_)) => true,
        (T::Struct(a), T::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(x, y)| is_implicit(x.data_type(), y.data_type()))
        }
        (T::Map(a, _), T::Map(b, _)) => is_implicit(a.data_type(), b.data_type()),
        (T::List(a), T::List(b)) => is_implicit(a.data_type(), b.data_type()),
        _ => false,
    }
}

fn width(integer: &DataType) -> usize {
    // An unsigned type needs the next larger signed one, except that no function gives more than 63 bits.
    integer.primitive_width().unwrap_or(8) * 2
        + usize::from(integer.is_unsigned_integer() && *integer != DataType::UInt64)
}

fn precision(unit: &TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}
