//! DataFusion's analyzer and optimizer, without the rules that are wrong or harmful on streams.
//!
//! Called with every bound query. No clock is given, so nothing that reads one is folded.

use crate::casts;
use crate::context::Context;
use crate::error::Result;
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
    let plan = analyzed.map_err(|e| fault::of(e).at(culprit(&plan).unwrap_or(Span::empty())))?;
    let plan = casts::rewrite_plan(plan)?;
    let rules = Optimizer::new().rules.into_iter().filter(|r| !DROPPED.contains(&r.name())).collect();
    let options =
        OptimizerContext::new_with_config_options(Arc::clone(&context.options)).without_query_execution_start_time();
    Optimizer::with_rules(rules).optimize(plan, &options, |_, _| {}).map_err(fault::of)
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
