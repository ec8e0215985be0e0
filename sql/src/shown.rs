//! Bound expressions as people write them: in messages and in EXPLAIN, with the words of [`thalweg_operators::text`].
//!
//! Names that the planner or DataFusion gives to functions in the place of operators and casts do not appear.

use crate::marks::Mark;
use datafusion_expr::{Expr, Operator};
use thalweg_engine::type_name;
use thalweg_operators::text::{Form, call, form, literal, operand};

/// An expression about as the user wrote it; columns without their tables.
pub(crate) fn written(expr: &Expr) -> String {
    shown(expr).0
}

/// The text, and the operator on top.
fn shown(expr: &Expr) -> (String, Option<Operator>) {
    let text = match expr {
        Expr::Alias(alias) => return shown(&alias.expr),
        Expr::Column(c) => c.name.clone(),
        Expr::Literal(value, _) => literal(value),
        Expr::BinaryExpr(b) => {
            let ((left, own_left), (right, own_right)) = (shown(&b.left), shown(&b.right));
            let (left, right) = (operand(left, own_left, b.op, false), operand(right, own_right, b.op, true));
            return (format!("{left} {} {right}", b.op), Some(b.op));
        }
        Expr::Cast(c) => cast("CAST", &c.expr, &type_name(c.field.data_type())),
        Expr::TryCast(c) => cast("TRY_CAST", &c.expr, &type_name(c.field.data_type())),
        Expr::Not(e) => format!("NOT {}", part(e)),
        Expr::Negative(e) => format!("-{}", part(e)),
        Expr::IsNull(e) => format!("{} IS NULL", part(e)),
        Expr::IsNotNull(e) => format!("{} IS NOT NULL", part(e)),
        Expr::IsTrue(e) => format!("{} IS TRUE", part(e)),
        Expr::IsFalse(e) => format!("{} IS FALSE", part(e)),
        Expr::IsNotTrue(e) => format!("{} IS NOT TRUE", part(e)),
        Expr::IsNotFalse(e) => format!("{} IS NOT FALSE", part(e)),
        Expr::IsUnknown(e) => format!("{} IS UNKNOWN", part(e)),
        Expr::IsNotUnknown(e) => format!("{} IS NOT UNKNOWN", part(e)),
        Expr::Between(b) => {
            format!("{} {}BETWEEN {} AND {}", part(&b.expr), not(b.negated), part(&b.low), part(&b.high))
        }
        Expr::Like(l) => format!("{} {}LIKE {}", part(&l.expr), not(l.negated), part(&l.pattern)),
        Expr::SimilarTo(l) => format!("{} {}SIMILAR TO {}", part(&l.expr), not(l.negated), part(&l.pattern)),
        Expr::InList(l) => format!("{} {}IN ({})", part(&l.expr), not(l.negated), list(&l.list)),
        Expr::Case(case) => cases(case),
        Expr::ScalarFunction(function) => return function_text(expr, function),
        Expr::AggregateFunction(function) => aggregate(function),
        other => crate::wording::plain(&other.human_display().to_string()),
    };
    (text, None)
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

/// An operand that stands alone.
fn part(expr: &Expr) -> String {
    match shown(expr) {
        (text, Some(_)) => format!("({text})"),
        (text, None) => text,
    }
}

fn list(exprs: &[Expr]) -> String {
    exprs.iter().map(written).collect::<Vec<_>>().join(", ")
}

fn cast(word: &str, of: &Expr, to: &str) -> String {
    format!("{word}({} AS {to})", written(of))
}

fn cases(case: &datafusion_expr::Case) -> String {
    let mut text = "CASE".to_owned();
    if let Some(of) = &case.expr {
        text += &format!(" {}", written(of));
    }
    for (when, then) in &case.when_then_expr {
        text += &format!(" WHEN {} THEN {}", written(when), written(then));
    }
    if let Some(otherwise) = &case.else_expr {
        text += &format!(" ELSE {}", written(otherwise));
    }
    text + " END"
}

fn function_text(expr: &Expr, function: &datafusion_expr::expr::ScalarFunction) -> (String, Option<Operator>) {
    if let Some(mark) = Mark::of(expr) {
        return (cast(if mark.tries { "TRY_CAST" } else { "CAST" }, mark.of, &type_name(mark.to)), None);
    }
    let name = function.func.name();
    let own = match form(name) {
        Form::Operator(operator) => Some(operator),
        _ => None,
    };
    // The functions that casts become know their type without looking at columns.
    let to = match form(name) {
        Form::Cast(_) => function.func.return_type(&[]).ok(),
        _ => None,
    };
    let (args, operators): (Vec<_>, Vec<_>) = function.args.iter().map(shown).unzip();
    (call(name, &to.unwrap_or(arrow::datatypes::DataType::Null), args, &operators), own)
}

fn aggregate(function: &datafusion_expr::expr::AggregateFunction) -> String {
    let params = &function.params;
    let name = function.func.name();
    let args = match &params.args[..] {
        // `count(*)` is bound as the count of a constant.
        [Expr::Literal(..)] if name == "count" => "*".to_owned(),
        args => list(args),
    };
    let distinct = if params.distinct { "DISTINCT " } else { "" };
    let filter = params.filter.as_ref().map_or_else(String::new, |f| format!(" FILTER (WHERE {})", written(f)));
    format!("{name}({distinct}{args}){filter}")
}
