//! Which casts of a plan become ours: those that Flink defines otherwise than Arrow, and those that can fail, so that the error names
//! the value. Casts that Flink has not are refused, and so is the difference of two times.
//!
//! Called between type coercion, which adds casts, and the optimizer, which folds them.

use crate::error::{Fault, Result};
use crate::fault;
use crate::functions::cast::{cast_to, cast_value};
use crate::functions::scalar_functions;
use crate::marks::Mark;
use crate::planner::refuse::span_of;
use crate::shown::written;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::sync::{Arc, LazyLock};
use thalweg_engine::type_name;

static DATE_FORMAT: LazyLock<Option<Arc<ScalarUDF>>> =
    LazyLock::new(|| scalar_functions().into_iter().find(|f| f.name() == "date_format"));

/// Replaces casts in all expressions of a plan.
pub(crate) fn rewrite_plan(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up(|node| {
        let mut schema = DFSchema::empty();
        node.inputs().iter().for_each(|input| schema.merge(input.schema()));
        let names = NamePreserver::new(&node);
        let changed = node.map_expressions(|e| {
            let name = names.save(&e);
            Ok(rewrite(e, &schema)?.update_data(|e| name.restore(e)))
        })?;
        if changed.transformed { changed.map_data(LogicalPlan::recompute_schema) } else { Ok(changed) }
    });
    Ok(rewritten.map_err(fault::of)?.data)
}

/// The expression with casts as they are computed. Errors: casts that there are not, constants that cannot be cast.
pub(crate) fn rewrite(expr: Expr, schema: &DFSchema) -> datafusion_common::Result<Transformed<Expr>> {
    expr.transform_up(|e| match &e {
        // Nobody wrote this one: it was added where a condition stands.
        Expr::Cast(c) if *c.field.data_type() == DataType::Boolean && is_number(&c.expr.get_type(schema)?) => {
            let reason = format!(
                "the condition `{}` is {}, not BOOLEAN",
                written(&c.expr),
                type_name(&c.expr.get_type(schema)?)
            );
            let fault = Fault::invalid(span_of(&c.expr).unwrap_or(Span::empty()), reason);
            Err(fault.remedy("compare it, for instance with <> 0").into())
        }
        Expr::Cast(c) => computed(&e, &c.expr, c.field.data_type(), false, Span::empty(), schema),
        Expr::TryCast(c) => computed(&e, &c.expr, c.field.data_type(), true, Span::empty(), schema),
        Expr::BinaryExpr(b)
            if b.op == Operator::Minus && is_time(&b.left.get_type(schema)?) && is_time(&b.right.get_type(schema)?) =>
        {
            Err(difference(b).into())
        }
        _ => match Mark::of(&e) {
            Some(mark) => {
                let cast = mark.cast();
                let computed = computed(&cast, mark.of, mark.to, mark.tries, mark.span, schema)?;
                Ok(Transformed::yes(computed.data))
            }
            None => Ok(Transformed::no(e)),
        },
    })
}

/// The expression with marked casts as DataFusion has them.
pub(crate) fn unmarked(expr: Expr) -> Result<Expr> {
    let plain =
        expr.transform_up(|e| Ok(Mark::of(&e).map(|m| Transformed::yes(m.cast())).unwrap_or(Transformed::no(e))));
    Ok(plain.map_err(fault::of)?.data)
}

/// What computes a cast; the cast itself if DataFusion does.
fn computed(
    cast: &Expr,
    of: &Expr,
    to: &DataType,
    tries: bool,
    span: Span,
    schema: &DFSchema,
) -> datafusion_common::Result<Transformed<Expr>> {
    let from = of.get_type(schema)?;
    let inner = of.clone();
    if let (DataType::Timestamp(unit, _), DataType::Utf8, Some(format)) = (&from, to, DATE_FORMAT.as_ref()) {
        let pattern = Expr::Literal(ScalarValue::Utf8(Some(pattern(unit).into())), None);
        let call = ScalarFunction::new_udf(Arc::clone(format), vec![inner, pattern]);
        return Ok(Transformed::yes(Expr::ScalarFunction(call)));
    }
    if let Some(remedy) = missing(&from, to) {
        let shown = written(of);
        let reason = format!("`{shown}`: {} cannot be cast to {}", type_name(&from), type_name(to));
        return Err(Fault::invalid(span, reason).remedy(remedy).into());
    }
    if !is_ours(&from, to) {
        return Ok(Transformed::no(cast.clone()));
    }
    if let Expr::Literal(value, _) = &inner {
        let value = cast_value(value, to, tries).map_err(|reason| unfit(&reason, span))?;
        return Ok(Transformed::yes(Expr::Literal(value, None)));
    }
    let call = ScalarFunction::new_udf(Arc::new(cast_to(&from, to, tries)), vec![inner]);
    Ok(Transformed::yes(Expr::ScalarFunction(call)))
}

/// The difference of two times would be an interval, which no column can be.
fn difference(e: &BinaryExpr) -> Fault {
    let (left, right) = (written(&e.left), written(&e.right));
    let span = span_of(&Expr::BinaryExpr(e.clone())).unwrap_or(Span::empty());
    let fault = Fault::unsupported(span, format!("`{left} - {right}`, the difference of two times,"));
    fault.remedy(format!("write TIMESTAMPDIFF(SECOND, {right}, {left})"))
}

/// A constant that cannot be cast: known before anything runs.
fn unfit(reason: &str, span: Span) -> Fault {
    match reason.split_once("; ") {
        Some((reason, remedy)) => Fault::invalid(span, reason).remedy(remedy),
        None => Fault::invalid(span, reason).remedy("write another value"),
    }
}

/// `2026-01-31 08:00:00.000`, with as many digits as the type has.
fn pattern(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second | TimeUnit::Millisecond => "yyyy-MM-dd HH:mm:ss.SSS",
        TimeUnit::Microsecond => "yyyy-MM-dd HH:mm:ss.SSSSSS",
        TimeUnit::Nanosecond => "yyyy-MM-dd HH:mm:ss.SSSSSSSSS",
    }
}

fn is_decimal(t: &DataType) -> bool {
    matches!(t, DataType::Decimal128(..))
}

fn is_number(t: &DataType) -> bool {
    t.is_integer() || t.is_floating() || is_decimal(t)
}

fn is_time(t: &DataType) -> bool {
    matches!(t, DataType::Timestamp(..) | DataType::Date32 | DataType::Time32(_) | DataType::Time64(_))
}

/// What to write instead of a cast that there is not.
fn missing(from: &DataType, to: &DataType) -> Option<&'static str> {
    match (from, to) {
        (a, DataType::Timestamp(..)) if is_number(a) => {
            Some("write TO_TIMESTAMP_LTZ(x, 0) for seconds since 1970, TO_TIMESTAMP_LTZ(x, 3) for milliseconds")
        }
        (DataType::Timestamp(..), b) if is_number(b) => {
            Some("write EXTRACT(EPOCH FROM t) or TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', t)")
        }
        (a, b) if (is_number(a) || *a == DataType::Boolean) && is_time(b) => Some("cast a STRING"),
        (a, b) if is_time(a) && (is_number(b) || *b == DataType::Boolean) => Some("pick a field: EXTRACT(HOUR FROM t)"),
        (DataType::Struct(a), DataType::Struct(b)) if a.len() != b.len() => Some("give as many fields"),
        (DataType::Struct(_), b) if !matches!(b, DataType::Struct(_)) => Some("cast its fields, one by one"),
        (a, DataType::Struct(_)) if !a.is_nested() && !a.is_null() => Some("write ROW(a, b)"),
        (DataType::List(_) | DataType::Map(..), b) if !b.is_nested() && *b != DataType::Utf8 => {
            Some("cast its elements, one by one")
        }
        (a, DataType::List(_) | DataType::Map(..)) if !a.is_nested() && !a.is_null() => Some("write ARRAY[a, b]"),
        (DataType::Binary, b) if is_number(b) || is_time(b) || *b == DataType::Boolean => Some("cast to STRING first"),
        (a, DataType::Binary) if is_number(a) || is_time(a) || *a == DataType::Boolean => Some("cast to STRING first"),
        _ => None,
    }
}

fn is_ours(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::Struct(_), T::Struct(_)) | (T::List(_), T::List(_)) | (T::Map(..), T::Map(..)) => from != to,
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, b) => is_number(b) || is_time(b) || matches!(b, T::Boolean | T::Binary),
        (T::Boolean | T::Float32 | T::Float64 | T::Binary, T::Utf8) => true,
        (a, b) if a.is_integer() && b.is_integer() => a.primitive_width() > b.primitive_width(),
        (a, T::Decimal128(precision, scale)) if a.is_integer() => i32::from(*precision) - i32::from(*scale) < digits(a),
        (T::Decimal128(p, s), T::Decimal128(precision, scale)) => {
            scale < s || i32::from(*precision) - i32::from(*scale) < i32::from(*p) - i32::from(*s)
        }
        (a, b) => (a.is_floating() || is_decimal(a)) && (b.is_integer() || (a.is_floating() && is_decimal(b))),
    }
}

/// The most digits of a whole number's type.
fn digits(integer: &DataType) -> i32 {
    match integer.primitive_width() {
        Some(1) => 3,
        Some(2) => 5,
        Some(4) => 10,
        _ => 19,
    }
}
