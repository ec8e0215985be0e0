//! Expressions as people write them: `price * 2`, `CAST(a AS INT)`, `r.x = 'abc'`, for messages. The planner writes its logical expressions
//! with the same words: [`literal`], [`form`].
//!
//! Invariants
//! - T1 brackets stand where the text would mean something else without them.

use crate::expr::Expr;
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use arrow::util::display::array_value_to_string;
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::ScalarFunctionExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal, TryCastExpr};
use std::fmt;
use std::sync::Arc;
use thalweg_engine::type_name;

/// How a function is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `a / b`
    Operator(Operator),
    /// `CAST(a AS type)`
    Cast(&'static str),
    /// `row.field`, `array[1]`, `map['key']`
    Part,
    /// `ARRAY[a, b]`
    Array,
    /// `NAME(a, b)`
    Call,
}

/// How a function of this name is written: the planner has functions of its own in the place of operators and casts.
pub fn form(function: &str) -> Form {
    match function {
        "decimal_plus" => Form::Operator(Operator::Plus),
        "decimal_minus" => Form::Operator(Operator::Minus),
        "decimal_times" => Form::Operator(Operator::Multiply),
        "decimal_divide" => Form::Operator(Operator::Divide),
        "get_field" | "element_at" => Form::Part,
        "array_of" => Form::Array,
        name if name.starts_with("try_cast_as_") => Form::Cast("TRY_CAST"),
        name if name.starts_with("cast_as_") || name.starts_with("decode_as_") => Form::Cast("CAST"),
        _ => Form::Call,
    }
}

/// An operand of an operator of this precedence, in brackets if its own operator binds less. To the right of an operator an equal
/// precedence is not enough.
pub fn operand(text: String, own: Option<Operator>, of: Operator, is_right: bool) -> String {
    let loose = own.is_some_and(|own| match is_right {
        true => own.precedence() <= of.precedence(),
        false => own.precedence() < of.precedence(),
    });
    if loose { format!("({text})") } else { text }
}

/// A function as it is written. `args` are texts, `operators` what they are on top, if that is one.
pub fn call(name: &str, to: &DataType, args: Vec<String>, operators: &[Option<Operator>]) -> String {
    match (form(name), &args[..]) {
        (Form::Operator(operator), [left, right]) => {
            let own = |at: usize| operators.get(at).copied().flatten();
            let (left, right) = (left.clone(), right.clone());
            format!("{} {operator} {}", operand(left, own(0), operator, false), operand(right, own(1), operator, true))
        }
        (Form::Cast(word), [of]) => format!("{word}({of} AS {})", type_name(to)),
        (Form::Part, [of, parts @ ..]) => parts.iter().fold(of.clone(), |of, part| field(&of, part)),
        (Form::Array, items) => format!("ARRAY[{}]", items.join(", ")),
        _ => format!("{name}({})", args.join(", ")),
    }
}

fn field(of: &str, name: &str) -> String {
    match name.strip_prefix('\'').and_then(|n| n.strip_suffix('\'')) {
        Some(field) if field.chars().all(|c| c.is_alphanumeric() || c == '_') => format!("{of}.{field}"),
        _ => format!("{of}[{name}]"),
    }
}

/// A constant as SQL.
pub fn literal(value: &ScalarValue) -> String {
    let plain = || match value.to_array().and_then(|one| Ok(array_value_to_string(&one, 0)?)) {
        Ok(text) => text,
        Err(_) => value.to_string(),
    };
    match value {
        value if value.is_null() => "NULL".into(),
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            format!("'{}'", text.replace('\'', "''"))
        }
        ScalarValue::Boolean(Some(b)) => if *b { "TRUE" } else { "FALSE" }.into(),
        ScalarValue::IntervalMonthDayNano(Some(v)) => interval(*v).unwrap_or_else(|| format!("INTERVAL '{}'", plain())),
        _ => match value.data_type() {
            DataType::Date32 => format!("DATE '{}'", plain()),
            DataType::Time32(_) | DataType::Time64(_) => format!("TIME '{}'", plain()),
            DataType::Timestamp(_, None) => format!("TIMESTAMP '{}'", plain().replace('T', " ")),
            _ => plain(),
        },
    }
}

/// An interval of one unit.
fn interval(v: IntervalMonthDayNano) -> Option<String> {
    let (number, unit) = match (v.months, v.days, v.nanoseconds) {
        (months, 0, 0) if months != 0 => (i64::from(months), "MONTH"),
        (0, days, 0) if days != 0 => (i64::from(days), "DAY"),
        (0, 0, nanos) if nanos % 1_000_000_000 == 0 => (nanos / 1_000_000_000, "SECOND"),
        (0, 0, nanos) if nanos > 0 && nanos % 1_000_000 == 0 => {
            let (seconds, millis) = (nanos / 1_000_000_000, nanos / 1_000_000 % 1_000);
            return Some(format!("INTERVAL '{seconds}.{millis:03}' SECOND"));
        }
        _ => return None,
    };
    Some(format!("INTERVAL '{number}' {unit}"))
}

/// An expression as people write it: `price * 2`.
pub struct Text<'a>(pub &'a Expr);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.0).0)
    }
}

/// The text, and the operator on top.
fn written(expr: &Expr) -> (String, Option<Operator>) {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return (column.name().to_owned(), None);
    }
    if let Some(constant) = expr.downcast_ref::<Literal>() {
        return (literal(constant.value()), None);
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let ((left, own_left), (right, own_right), op) =
            (written(binary.left()), written(binary.right()), *binary.op());
        let text = format!("{} {op} {}", operand(left, own_left, op, false), operand(right, own_right, op, true));
        return (text, Some(op));
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return (format!("CAST({} AS {})", written(cast.expr()).0, type_name(cast.cast_type())), None);
    }
    if let Some(cast) = expr.downcast_ref::<TryCastExpr>() {
        return (format!("TRY_CAST({} AS {})", written(cast.expr()).0, type_name(cast.cast_type())), None);
    }
    if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
        let (args, operators): (Vec<_>, Vec<_>) = function.args().iter().map(written).unzip();
        let own = match form(function.name()) {
            Form::Operator(operator) => Some(operator),
            _ => None,
        };
        return (call(function.name(), function.return_type(), args, &operators), own);
    }
    // All other kinds write themselves, around texts in the place of what they are made of. CASE needs no brackets.
    let parts: Vec<_> = expr.children().into_iter().map(written).collect();
    let plain = around(expr, parts.iter().map(|(text, _)| text.clone()));
    match plain.starts_with("CASE") || parts.iter().all(|(_, own)| own.is_none()) {
        true => (plain, None),
        false => {
            let bracketed = |(text, own): &(String, Option<Operator>)| match own {
                Some(_) => format!("({text})"),
                None => text.clone(),
            };
            (around(expr, parts.iter().map(bracketed)), None)
        }
    }
}

/// An expression with texts as its parts.
fn around(expr: &Expr, parts: impl Iterator<Item = String>) -> String {
    let parts = parts.map(|text| Arc::new(Column::new(&text, 0)) as Expr).collect();
    let renamed = Arc::clone(expr).with_new_children(parts);
    Itself(renamed.as_ref().unwrap_or(expr)).to_string()
}

struct Itself<'a>(&'a Expr);

impl fmt::Display for Itself<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion_physical_expr::expressions::{binary, col, is_null, lit};

    #[test]
    fn constants_are_written_as_in_sql() {
        let nanos = |n| ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, n)));
        for (value, text) in [
            (ScalarValue::Utf8(Some("it's".into())), "'it''s'"),
            (ScalarValue::Int64(Some(-7)), "-7"),
            (ScalarValue::Int64(None), "NULL"),
            (ScalarValue::Null, "NULL"),
            (ScalarValue::Boolean(Some(true)), "TRUE"),
            (ScalarValue::Decimal128(Some(1205), 10, 2), "12.05"),
            (ScalarValue::Date32(Some(0)), "DATE '1970-01-01'"),
            (ScalarValue::TimestampMillisecond(Some(1500), None), "TIMESTAMP '1970-01-01 00:00:01.500'"),
            (nanos(10_000_000_000), "INTERVAL '10' SECOND"),
            (nanos(1_500_000_000), "INTERVAL '1.500' SECOND"),
            (nanos(0), "INTERVAL '0' SECOND"),
        ] {
            assert_eq!(literal(&value), text);
        }
    }

    #[test]
    fn functions_of_the_planner_are_written_as_what_they_stand_for() {
        let of = |name: &str, args: &[&str], operators: &[Option<Operator>]| {
            call(name, &DataType::Int32, args.iter().map(|a| (*a).to_owned()).collect(), operators)
        };
        let minus = Some(Operator::Minus);
        for (text, want) in [
            (of("decimal_divide", &["a", "b"], &[]), "a / b"),
            (of("decimal_divide", &["a - b", "c"], &[minus, None]), "(a - b) / c"),
            (of("decimal_minus", &["a - b", "c - d"], &[minus, minus]), "a - b - (c - d)"),
            (of("cast_as_int", &["a"], &[]), "CAST(a AS INT)"),
            (of("try_cast_as_int", &["a - b"], &[minus]), "TRY_CAST(a - b AS INT)"),
            (of("get_field", &["r", "'x'"], &[]), "r.x"),
            (of("get_field", &["m", "'a b'"], &[]), "m['a b']"),
            (of("element_at", &["l", "1"], &[]), "l[1]"),
            (of("array_of", &["a", "1"], &[]), "ARRAY[a, 1]"),
            (of("upper", &["a", "b"], &[]), "upper(a, b)"),
        ] {
            assert_eq!(text, want);
        }
    }

    #[test]
    fn brackets_stand_where_they_are_needed() {
        use arrow::datatypes::{Field, Schema};
        let names = ["a", "b", "c"].map(|n| Field::new(n, DataType::Int64, true));
        let schema = Schema::new(names.to_vec());
        let of = |name: &str| col(name, &schema).unwrap();
        let two = |left: Expr, op: Operator, right: Expr| binary(left, op, right, &schema).unwrap();
        let sum = || two(of("a"), Operator::Plus, of("b"));
        for (expr, text) in [
            (two(sum(), Operator::Multiply, lit(2i64)), "(a + b) * 2"),
            (two(lit(2i64), Operator::Multiply, sum()), "2 * (a + b)"),
            (two(sum(), Operator::Plus, of("c")), "a + b + c"),
            (two(of("c"), Operator::Minus, sum()), "c - (a + b)"),
            (is_null(sum()).unwrap(), "(a + b) IS NULL"),
            (is_null(of("a")).unwrap(), "a IS NULL"),
        ] {
            assert_eq!(Text(&expr).to_string(), text);
        }
    }
}
