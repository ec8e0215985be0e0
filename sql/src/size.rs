//! How large a bound plan is once views and subqueries stand in it: a text of a hundred lines can stand for 2^100 operators.
//!
//! [`check_query`] is called on the parsed tree, because binding itself walks all that a name stands for at every mention;
//! [`check`] on the bound plan, before anything walks it as a whole. Both walks are bounded by the limits.

use crate::catalog::Catalog;
use crate::error::{Fault, Result};
use crate::limits::{EXPRESSION_TERMS, PLAN_DEPTH, PLAN_NODES};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_sql::sqlparser::ast::{
    self as sql, FunctionArguments, Query, SetExpr, Spanned, TableFactor, Visit, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Refuses queries whose names stand for too much.
pub(crate) fn check_query(query: &Query, catalog: &Catalog) -> Result<()> {
    match weight(query, catalog, &BTreeMap::new()) {
        w if w > PLAN_NODES as u64 => Err(too_many(query.span())),
        _ => Ok(()),
    }
}

fn too_many(span: Span) -> Fault {
    let reason = format!("the query has more than {PLAN_NODES} steps once its views are put in");
    Fault::limit(span, reason).remedy("write intermediate results into a table")
}

/// How many operators a query stands for, about; `with` are the names that WITH gave around it.
fn weight(query: &Query, catalog: &Catalog, with: &BTreeMap<String, u64>) -> u64 {
    let mut with = with.clone();
    for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
        let own = weight(&cte.query, catalog, &with);
        with.insert(cte.alias.name.value.clone(), own);
    }
    body_weight(&query.body, catalog, &with)
}

fn body_weight(body: &SetExpr, catalog: &Catalog, with: &BTreeMap<String, u64>) -> u64 {
    match body {
        SetExpr::Query(query) => weight(query, catalog, with),
        SetExpr::SetOperation { left, right, .. } => {
            body_weight(left, catalog, with).saturating_add(body_weight(right, catalog, with))
        }
        SetExpr::Select(select) => {
            let relations = select.from.iter().map(|from| joined_weight(from, catalog, with));
            let mut inner = Inner { depth: 0, weight: 1, catalog, with };
            let _ = select.projection.visit(&mut inner);
            let _ = select.selection.visit(&mut inner);
            let _ = select.having.visit(&mut inner);
            let joins = select.from.iter().flat_map(|from| &from.joins);
            joins.for_each(|join| {
                let _ = join.join_operator.visit(&mut inner);
            });
            relations.fold(inner.weight, u64::saturating_add)
        }
        _ => 1,
    }
}

/// Adds up the queries in expressions; those inside of them are theirs.
struct Inner<'a> {
    depth: usize,
    weight: u64,
    catalog: &'a Catalog,
    with: &'a BTreeMap<String, u64>,
}

impl Visitor for Inner<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == 0 {
            self.weight = self.weight.saturating_add(weight(query, self.catalog, self.with));
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

fn joined_weight(from: &sql::TableWithJoins, catalog: &Catalog, with: &BTreeMap<String, u64>) -> u64 {
    let joined = from.joins.iter().map(|join| relation_weight(&join.relation, catalog, with));
    joined.fold(relation_weight(&from.relation, catalog, with), |all, one| all.saturating_add(one).saturating_add(1))
}

fn relation_weight(relation: &TableFactor, catalog: &Catalog, with: &BTreeMap<String, u64>) -> u64 {
    let named = |name: &str| with.get(name).copied().or(catalog.get(name).map(|r| r.nodes)).unwrap_or(1);
    let of_call = |e: &sql::Expr| match e {
        sql::Expr::Function(f) => call_weight(f, catalog, with),
        _ => 1,
    };
    match relation {
        TableFactor::Derived { subquery, .. } => weight(subquery, catalog, with),
        TableFactor::NestedJoin { table_with_joins, .. } => joined_weight(table_with_joins, catalog, with),
        TableFactor::TableFunction { expr, .. } => of_call(expr),
        TableFactor::Table { args: Some(args), .. } => {
            args.args.iter().filter_map(argument).map(of_call).fold(1, u64::saturating_add)
        }
        TableFactor::Table { name, .. } => name.0.last().and_then(|p| p.as_ident()).map_or(1, |i| named(&i.value)),
        _ => 1,
    }
}

/// Of a window function, or of its `TABLE t` argument.
fn call_weight(f: &sql::Function, catalog: &Catalog, with: &BTreeMap<String, u64>) -> u64 {
    let named = |name: &str| with.get(name).copied().or(catalog.get(name).map(|r| r.nodes)).unwrap_or(1);
    match &f.args {
        FunctionArguments::Subquery(query) => weight(query, catalog, with),
        FunctionArguments::List(list) => {
            let one = |e: &sql::Expr| match e {
                sql::Expr::Function(inner) => call_weight(inner, catalog, with),
                sql::Expr::CompoundIdentifier(names) => names.last().map_or(1, |n| named(&n.value)),
                _ => 1,
            };
            list.args.iter().filter_map(argument).map(one).fold(1, u64::saturating_add)
        }
        FunctionArguments::None => 1,
    }
}

fn argument(argument: &sql::FunctionArg) -> Option<&sql::Expr> {
    match argument {
        sql::FunctionArg::Unnamed(sql::FunctionArgExpr::Expr(e))
        | sql::FunctionArg::Named { arg: sql::FunctionArgExpr::Expr(e), .. } => Some(e),
        _ => None,
    }
}

/// How many operators a plan within the limits has.
pub(crate) fn nodes(plan: &LogicalPlan) -> u64 {
    plan.inputs().into_iter().map(nodes).fold(1, u64::saturating_add)
}

/// Refuses plans beyond the limits.
pub(crate) fn check(plan: &LogicalPlan, span: Span) -> Result<()> {
    let mut nodes = 0;
    count(plan, 1, &mut nodes, span)?;
    // The nodes are bounded now, so this walk is too.
    weigh(plan, span).map(|_| ())
}

fn count(plan: &LogicalPlan, depth: usize, nodes: &mut usize, span: Span) -> Result<()> {
    *nodes += 1;
    if *nodes > PLAN_NODES {
        return Err(too_many(span));
    }
    if depth > PLAN_DEPTH {
        let reason = format!("the query is more than {PLAN_DEPTH} steps deep once its views are put in");
        return Err(Fault::limit(span, reason).remedy("write intermediate results into a table"));
    }
    plan.inputs().into_iter().try_for_each(|input| count(input, depth + 1, nodes, span))?;
    subqueries(plan).iter().try_for_each(|plan| count(plan, depth + 1, nodes, span))
}

/// The plans in a node's expressions.
fn subqueries(plan: &LogicalPlan) -> Vec<Arc<LogicalPlan>> {
    let mut found = vec![];
    for expr in plan.expressions() {
        let _ = expr.apply(|e| {
            match e {
                Expr::ScalarSubquery(s) => found.push(Arc::clone(&s.subquery)),
                Expr::InSubquery(s) => found.push(Arc::clone(&s.subquery.subquery)),
                Expr::Exists(s) => found.push(Arc::clone(&s.subquery.subquery)),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }
    found
}

/// How many terms each output column has if every projection below is written out, which filter push-down may do.
fn weigh(plan: &LogicalPlan, span: Span) -> Result<Vec<u64>> {
    let mut below: Vec<u64> = vec![];
    subqueries(plan).iter().try_for_each(|plan| weigh(plan, span).map(drop))?;
    for input in plan.inputs() {
        let weights = weigh(input, span)?;
        match plan {
            LogicalPlan::Union(_) if !below.is_empty() => {
                below.iter_mut().zip(weights).for_each(|(a, b)| *a = (*a).max(b));
            }
            _ => below.extend(weights),
        }
    }
    let out = match plan {
        LogicalPlan::Projection(p) => p.expr.iter().map(|e| terms(e, plan, &below)).collect(),
        _ => {
            let mut columns = below;
            columns.resize(plan.schema().fields().len(), 1);
            columns
        }
    };
    if out.iter().any(|w| *w > EXPRESSION_TERMS) {
        let reason = format!("an expression has more than {EXPRESSION_TERMS} terms once its views are put in");
        return Err(Fault::limit(span, reason).remedy("write intermediate results into a table"));
    }
    Ok(out)
}

fn terms(expr: &Expr, plan: &LogicalPlan, below: &[u64]) -> u64 {
    let inputs = plan.inputs();
    let mut sum = 0u64;
    let walked = expr.apply(|e| {
        let own = match e {
            Expr::Column(c) => {
                inputs.first().and_then(|i| i.schema().maybe_index_of_column(c)).and_then(|i| below.get(i)).copied()
            }
            _ => None,
        };
        sum = sum.saturating_add(own.unwrap_or(1));
        Ok(TreeNodeRecursion::Continue)
    });
    if walked.is_err() { u64::MAX } else { sum }
}
