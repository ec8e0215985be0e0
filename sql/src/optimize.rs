//! DataFusion's analyzer and optimizer, without the rules that are wrong or harmful on streams.
//!
//! Called with every bound query. No clock is given, so nothing that reads one is folded.

use crate::casts;
use crate::context::Context;
use crate::error::{Fault, Result};
use crate::fault;
use crate::planner::refuse::span_of;
use datafusion_common::DFSchema;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion, TreeNodeRewriter};
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::analyzer::Analyzer;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use datafusion_optimizer::optimizer::{Optimizer, OptimizerContext};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::sync::Arc;

/// - `common_sub_expression_eliminate` puts a projection between a filter and what reads it: the calc operator shares subexpressions
///   of both, and only where no CASE keeps rows from them.
/// - `eliminate_join` hides window joins and needs a changelog semi join.
/// - the leaf rules name columns differently per branch, so equal sub-plans are no longer equal.
/// - `push_down_limit` is wrong once rows are retracted.
/// - `single_distinct_aggregation_to_group_by` doubles the state.
const DROPPED: [&str; 6] = [
    "common_sub_expression_eliminate",
    "eliminate_join",
    "extract_leaf_expressions",
    "push_down_leaf_projections",
    "push_down_limit",
    "single_distinct_aggregation_to_group_by",
];

/// Type coercion, then all other rules until nothing changes.
pub(crate) fn optimize(plan: LogicalPlan, context: &Context<'_>) -> Result<LogicalPlan> {
    let analyzed = Analyzer::new().execute_and_check(plan.clone(), &context.options, |_, _| {});
    let analyzed_plan = analyzed.map_err(|e| fault::of(e).at(culprit(&plan).unwrap_or(Span::empty())))?;
    let plan = joined(analyzed_plan, context)?;
    let plan = casts::rewrite_plan(plan)?;
    let rules = Optimizer::new().rules.into_iter().filter(|r| !DROPPED.contains(&r.name())).collect();
    let options =
        OptimizerContext::new_with_config_options(Arc::clone(&context.options)).without_query_execution_start_time();
    Optimizer::with_rules(rules).optimize(plan, &options, |_, _| {}).map_err(fault::of)
}

/// Subqueries in expressions as joins, before anything rewrites expressions: what does so need not look into them.
fn joined(plan: LogicalPlan, context: &Context<'_>) -> Result<LogicalPlan> {
    const RULES: [&str; 2] = ["decorrelate_predicate_subquery", "scalar_subquery_to_join"];
    if subquery(&plan).is_none() {
        return Ok(plan);
    }
    one_row(&plan)?;
    let rules = Optimizer::new().rules.into_iter().filter(|r| RULES.contains(&r.name())).collect();
    let options =
        OptimizerContext::new_with_config_options(Arc::clone(&context.options)).without_query_execution_start_time();
    let plan = Optimizer::with_rules(rules).optimize(plan, &options, |_, _| {}).map_err(fault::of)?;
    match subquery(&plan) {
        Some(span) => {
            let fault = Fault::unsupported(span, "this subquery inside an expression");
            Err(fault.remedy("write it as a join, or as a condition of its own in WHERE"))
        }
        None => Ok(plan),
    }
}

/// Refuses subqueries that stand for one value and may have several rows: a join with them would give several rows.
fn one_row(plan: &LogicalPlan) -> Result<()> {
    let walked = plan.apply_with_subqueries(|node| {
        for expr in node.expressions() {
            expr.apply(|e| match e {
                Expr::ScalarSubquery(query) if !has_one_row(&query.subquery) => {
                    let span = span_of(e).or_else(|| query.subquery.expressions().iter().find_map(span_of));
                    let fault =
                        Fault::unsupported(span.unwrap_or(Span::empty()), "one value of a query with many rows");
                    Err(fault.remedy("take one of them: (SELECT MAX(x) FROM ..)").into())
                }
                _ => Ok(TreeNodeRecursion::Continue),
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map(drop).map_err(fault::of)
}

fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => has_one_row(&p.input),
        LogicalPlan::SubqueryAlias(a) => has_one_row(&a.input),
        LogicalPlan::Filter(f) => has_one_row(&f.input),
        LogicalPlan::Aggregate(a) => a.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        _ => false,
    }
}

/// Where a query stands inside an expression, if one does.
fn subquery(plan: &LogicalPlan) -> Option<Span> {
    let mut found = None;
    let _ = plan.apply(|node| {
        for expr in node.expressions() {
            let inside =
                expr.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))));
            if inside.unwrap_or(false) {
                found = Some(span_of(&expr).unwrap_or(Span::empty()));
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// Where the innermost expression stands whose types do not fit.
fn culprit(plan: &LogicalPlan) -> Option<Span> {
    let mut found = None;
    let _ = plan.apply(|node| {
        let mut schema = DFSchema::empty();
        node.inputs().iter().for_each(|input| schema.merge(input.schema()));
        for expr in node.expressions() {
            let mut search = Search { types: TypeCoercionRewriter::new(&schema), found: None };
            if expr.rewrite(&mut search).is_err() {
                found = search.found.as_ref().and_then(span_of);
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

struct Search<'a> {
    types: TypeCoercionRewriter<'a>,
    found: Option<Expr>,
}

impl TreeNodeRewriter for Search<'_> {
    type Node = Expr;

    fn f_up(&mut self, expr: Expr) -> datafusion_common::Result<Transformed<Expr>> {
        let copy = expr.clone();
        self.types.f_up(expr).inspect_err(|_| self.found = Some(copy))
    }
}
