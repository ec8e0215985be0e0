//! Refuses texts mixed with numbers and times where one type is asked for: UNION ALL, COALESCE, CASE, IF, IN, NULLIF, GREATEST, ARRAY.
//! DataFusion would read the texts, and fail on the first that is none; Flink has no common type for them.
//!
//! Called with every bound query and expression, before types are coerced: only there is a constant still one. A constant text is read
//! as what the others are.

use crate::error::{Fault, Result};
use crate::fault;
use crate::planner::refuse::span_of;
use crate::shown::written;
use arrow::datatypes::DataType;
use datafusion_common::DFSchema;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::logical_plan::{Union, Values};
use datafusion_expr::type_coercion::binary::type_union_resolution;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion_sql::sqlparser::tokenizer::Span;
use thalweg_engine::type_name;

/// Functions that give one of their arguments, or compare them, and how they are written.
const FUNCTIONS: [(&str, &str); 6] = [
    ("coalesce", "COALESCE"),
    ("nvl", "IFNULL"),
    ("nullif", "NULLIF"),
    ("greatest", "GREATEST"),
    ("least", "LEAST"),
    ("if", "IF"),
];

/// Refuses a plan in which texts and other types meet.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<()> {
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Union(union) = node {
            check_union(union)?;
        }
        if let LogicalPlan::Values(values) = node {
            check_values(values)?;
        }
        let mut schema = DFSchema::empty();
        node.inputs().iter().for_each(|input| schema.merge(input.schema()));
        if let LogicalPlan::Join(join) = node {
            join.on
                .iter()
                .try_for_each(|(l, r)| one_type("a join, INTERSECT or EXCEPT", [l, r].into_iter(), &schema))?;
        }
        node.expressions().iter().try_for_each(|e| check(e, &schema))?;
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map(|_| ()).map_err(fault::of)
}

/// Refuses an expression in which texts and other types meet.
pub(crate) fn check(expr: &Expr, schema: &DFSchema) -> datafusion_common::Result<()> {
    let walked = expr.apply(|e| {
        match e {
            Expr::Case(case) => {
                let values = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                one_type("CASE", values.chain(case.else_expr.as_deref()), schema)?;
                if let Some(of) = &case.expr {
                    let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
                    one_type("CASE", std::iter::once(of.as_ref()).chain(whens), schema)?;
                }
            }
            Expr::InSubquery(query) => {
                let inner = query.subquery.subquery.schema();
                let mut schema = schema.clone();
                schema.merge(inner);
                let column = inner.columns().into_iter().next().map(Expr::Column);
                one_type("IN", std::iter::once(query.expr.as_ref()).chain(&column), &schema)?;
            }
            Expr::InList(list) => one_type("IN", std::iter::once(list.expr.as_ref()).chain(&list.list), schema)?,
            Expr::Between(b) => one_type("BETWEEN", [&*b.expr, &*b.low, &*b.high].into_iter(), schema)?,
            Expr::BinaryExpr(b) if matches!(b.op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) => {
                one_type("IS DISTINCT FROM", [&*b.left, &*b.right].into_iter(), schema)?;
            }
            Expr::ScalarFunction(call) => {
                if let Some((name, shown)) = FUNCTIONS.iter().find(|(name, _)| *name == call.func.name()) {
                    // The first argument of IF is its condition.
                    one_type(shown, call.args.iter().skip(usize::from(*name == "if")), schema)?;
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map(|_| ())
}

fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// All of one kind: texts, or none but constant ones.
pub(crate) fn one_type<'a>(
    place: &str,
    exprs: impl Iterator<Item = &'a Expr>,
    schema: &DFSchema,
) -> datafusion_common::Result<()> {
    let (mut text, mut other) = (None, None);
    for expr in exprs {
        // A type that cannot be told is refused elsewhere, with its reason.
        let Ok(of) = expr.get_type(schema) else { return Ok(()) };
        match is_text(&of) {
            true if !matches!(expr, Expr::Literal(..)) => text = text.or(Some(expr)),
            false if !of.is_null() => other = other.or(Some((expr, of))),
            _ => {}
        }
    }
    let (Some(text), Some((other, of))) = (text, other) else { return Ok(()) };
    let span = span_of(text).or_else(|| span_of(other)).unwrap_or(Span::empty());
    let (text, other) = (written(text), written(other));
    let reason = format!("{place}: `{text}` is STRING, `{other}` is {}: they have no common type", type_name(&of));
    let to = type_name(&of);
    Err(Fault::invalid(span, reason).remedy(format!("write CAST({text} AS {to}), or CAST({other} AS STRING)")).into())
}

/// Every column of one type in all queries.
fn check_union(union: &Union) -> Result<()> {
    let Some((first, rest)) = union.inputs.split_first() else { return Ok(()) };
    for input in rest {
        for (at, (one, two)) in first.schema().fields().iter().zip(input.schema().fields()).enumerate() {
            let (one, two) = (one.data_type(), two.data_type());
            if one.is_null() || two.is_null() {
                continue;
            }
            let constant = |plan: &LogicalPlan| matches!(item(plan, at), Some(Expr::Literal(..)));
            let reads = (is_text(one) && constant(first)) || (is_text(two) && constant(input));
            let mixed = is_text(one) != is_text(two) && !reads;
            if !mixed && type_union_resolution(&[one.clone(), two.clone()]).is_some() {
                continue;
            }
            let span = item(input, at).and_then(|e| span_of(&e)).unwrap_or(Span::empty());
            let (one, two) = (type_name(one), type_name(two));
            let reason = format!("UNION ALL: column {} is {one} in one query and {two} in another", at + 1);
            return Err(Fault::invalid(span, reason).remedy(format!("write CAST(.. AS {one})")));
        }
    }
    Ok(())
}

/// Every column of one kind in all rows, as it was written: DataFusion has put casts around by now.
fn check_values(values: &Values) -> Result<()> {
    let empty = DFSchema::empty();
    let inner = |e: &Expr| match e {
        Expr::Cast(c) => c.expr.as_ref().clone(),
        other => other.clone(),
    };
    for at in 0..values.schema.fields().len() {
        let (mut text, mut other) = (None, None);
        for expr in values.values.iter().filter_map(|row| row.get(at)).map(inner) {
            match expr.get_type(&empty).map_err(fault::of)? {
                of if is_text(&of) => text = text.or(Some(expr)),
                of if of.is_null() => {}
                of => other = other.or(Some((expr, of))),
            }
        }
        if let (Some(text), Some((other, of))) = (text, other) {
            let (text, other, of) = (written(&text), written(&other), type_name(&of));
            let reason = format!("VALUES: in column {}, `{text}` is STRING and `{other}` is {of}", at + 1);
            return Err(
                Fault::invalid(Span::empty(), reason).remedy("write all values of a column alike, or CAST them")
            );
        }
    }
    Ok(())
}

/// What a query's column is made by.
fn item(plan: &LogicalPlan, at: usize) -> Option<Expr> {
    match plan {
        LogicalPlan::Projection(p) => p.expr.get(at).map(|e| e.clone().unalias()),
        LogicalPlan::SubqueryAlias(alias) => item(&alias.input, at),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{compiled, refused};

    #[test]
    fn columns_of_texts_and_of_others_have_no_common_type() {
        for text in [
            "SELECT a FROM t UNION ALL SELECT s FROM t",
            "SELECT s FROM t UNION ALL SELECT a FROM t",
            "SELECT s FROM t UNION ALL SELECT 1",
            "SELECT a FROM t UNION ALL SELECT ts FROM t",
            "SELECT COALESCE(a, s) FROM t",
            "SELECT COALESCE(s, 0) FROM t",
            "SELECT IFNULL(a, s) FROM t",
            "SELECT CASE WHEN a > 1 THEN a ELSE s END FROM t",
            "SELECT CASE WHEN a > 1 THEN s WHEN a > 2 THEN ts END FROM t",
            "SELECT CASE a WHEN s THEN 1 END FROM t",
            "SELECT CASE s WHEN 1 THEN 1 END FROM t",
            "SELECT IF(a > 1, a, s) FROM t",
            "SELECT a IN (s, '1') FROM t",
            "SELECT a FROM t WHERE s IN (a, b)",
            "SELECT a BETWEEN s AND s FROM t",
            "SELECT a IS DISTINCT FROM s FROM t",
            "SELECT NULLIF(a, s) FROM t",
            "SELECT NULLIF(s, a) FROM t",
            "SELECT GREATEST(a, s) FROM t",
            "SELECT LEAST(d, s) FROM t",
            "SELECT ARRAY[a, s] FROM t",
            "SELECT UPPER(COALESCE(s, a)) FROM t",
            "CREATE TABLE x (a INT, s STRING, c AS COALESCE(a, s)) WITH ('connector' = 'any')",
        ] {
            let e = refused(text);
            let remedy = e.remedy().unwrap_or_default();
            assert!(e.position().is_some() && e.to_string().contains('^') && remedy.contains("CAST("), "{text}\n{e}");
        }
        let e = refused("SELECT b, CASE WHEN a > 1 THEN b ELSE s END FROM t");
        assert_eq!(e.reason(), "CASE: `s` is STRING, `b` is INT: they have no common type");
        assert_eq!(e.remedy(), Some("write CAST(s AS INT), or CAST(b AS STRING)"));
    }

    #[test]
    fn constants_and_equal_kinds_are_taken() {
        for text in [
            "SELECT COALESCE(a, '0'), COALESCE(a, 0), COALESCE(s, 'x'), COALESCE(s, NULL), COALESCE(a, b, d) FROM t",
            "SELECT CASE WHEN a > 1 THEN 'x' ELSE s END, CASE WHEN a > 1 THEN NULL ELSE s END FROM t",
            "SELECT CASE a WHEN 1 THEN 'x' END, CASE s WHEN 'x' THEN 1 ELSE 2 END, IF(a > 1, 1, 2) FROM t",
            "SELECT a IN ('1', '2'), s IN ('1', '2'), a IN (b, 2), ts IN ('2026-01-01 00:00:00') FROM t",
            "SELECT ts BETWEEN '2026-01-01 00:00:00' AND '2026-01-02 00:00:00', d BETWEEN a AND b FROM t",
            "SELECT NULLIF(s, ''), NULLIF(a, 0), GREATEST(a, b, d), ARRAY[a, b], ARRAY['a', s], IF(s = 'x', a, b) FROM t",
            "SELECT NULL UNION ALL SELECT s FROM t",
            "SELECT a FROM t UNION ALL SELECT b FROM t UNION ALL SELECT 3",
            "SELECT a, d FROM t UNION ALL SELECT b, a FROM t",
            "SELECT s FROM t UNION ALL SELECT CAST(a AS STRING) FROM t",
        ] {
            if let Err(e) = compiled(text) {
                panic!("{text}\n{e}");
            }
        }
    }
}
