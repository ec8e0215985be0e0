//! Which types an INSERT may turn into which without being asked: those where Flink allows it, which never lose a value silently.
//!
//! Called when a query's columns meet a table's.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator, Value};

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

/// Whether what was written as `expr`, of type `from`, may be: a whole number that stands in the text fits wherever its value does,
/// also as a field of a ROW.
pub(crate) fn is_assignable(expr: Option<&Expr>, from: &DataType, to: &DataType) -> bool {
    if is_implicit(from, to) {
        return true;
    }
    match (expr, from, to) {
        (Some(Expr::Nested(inner)), ..) => is_assignable(Some(inner), from, to),
        (Some(Expr::Function(row)), DataType::Struct(given), DataType::Struct(fields)) => {
            let FunctionArguments::List(list) = &row.args else { return false };
            let same = given.len() == fields.len() && list.args.len() == fields.len();
            same && list.args.iter().zip(given).zip(fields).all(|((arg, from), to)| {
                let expr = match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                    _ => None,
                };
                is_assignable(expr, from.data_type(), to.data_type())
            })
        }
        (Some(expr), _, to) if to.is_integer() => whole(expr).is_some_and(|n| holds(to, n)),
        _ => false,
    }
}

/// The value of a whole number in the text.
fn whole(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Nested(inner) => whole(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => whole(expr)?.checked_neg(),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => whole(expr),
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn holds(integer: &DataType, n: i128) -> bool {
    let bits = 8 * integer.primitive_width().unwrap_or(8) - 1;
    (-(1i128 << bits)..1i128 << bits).contains(&n)
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

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion_sql::sqlparser::dialect::GenericDialect;
    use datafusion_sql::sqlparser::parser::Parser;

    fn assignable(text: &str, to: DataType) -> bool {
        let expr = Parser::new(&GenericDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
        is_assignable(Some(&expr), &DataType::Int64, &to)
    }

    #[test]
    fn whole_numbers_in_the_text_fit_where_their_value_does() {
        for (text, to, fits) in [
            ("127", DataType::Int8, true),
            ("128", DataType::Int8, false),
            ("-128", DataType::Int8, true),
            ("(-129)", DataType::Int8, false),
            ("+2147483647", DataType::Int32, true),
            ("2147483648", DataType::Int32, false),
            ("a", DataType::Int32, false),
            ("1 + 1", DataType::Int32, false),
            ("1", DataType::Utf8, false),
        ] {
            assert_eq!(assignable(text, to.clone()), fits, "{text} as {to}");
        }
    }
}
