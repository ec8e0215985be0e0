//! Which columns of a plan are times and window bounds: found by following a column down to where it was made.
//!
//! Asked by the relation planner (may this column be windowed?). Only plain columns and renames keep an attribute: what is computed
//! from a time is no longer one, and neither is a time above an operator whose rows may be arbitrarily old.

use crate::nodes::{Rowtime, WINDOW_COLUMNS, WindowTvf, downcast};
use datafusion_common::{Column, DFSchema, JoinType};
use datafusion_expr::logical_plan::Join;
use datafusion_expr::{Expr, LogicalPlan};

/// The name of the processing time function.
pub(crate) const PROCTIME: &str = "proctime";

/// What a column is, beyond its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    /// Event time that watermarks speak of.
    Rowtime,
    /// The time of processing.
    Proctime,
    /// Bound of a window: the place in [`WINDOW_COLUMNS`], and whether the window is over processing time.
    Window { place: usize, processing_time: bool },
}

/// The attribute of an expression over a plan's output.
pub(crate) fn of_expr(plan: &LogicalPlan, expr: &Expr) -> Option<Attribute> {
    match expr {
        Expr::Alias(alias) => of_expr(plan, &alias.expr),
        Expr::Column(column) => of_index(plan, index_of(plan.schema(), column)?),
        Expr::ScalarFunction(call) if call.func.name() == PROCTIME => Some(Attribute::Proctime),
        _ => None,
    }
}

fn index_of(schema: &DFSchema, column: &Column) -> Option<usize> {
    schema.maybe_index_of_column(column)
}

/// The attribute of a plan's output column.
pub(crate) fn of_index(plan: &LogicalPlan, index: usize) -> Option<Attribute> {
    match plan {
        LogicalPlan::Projection(p) => of_expr(&p.input, p.expr.get(index)?),
        LogicalPlan::Filter(f) => of_index(&f.input, index),
        LogicalPlan::SubqueryAlias(a) => of_index(&a.input, index),
        LogicalPlan::Union(union) => of_union(&union.inputs, index),
        LogicalPlan::Join(join) => of_join(join, index),
        LogicalPlan::Aggregate(a) => of_group(plan, &a.input, a.group_expr.get(index)?),
        _ => of_extension(plan, index),
    }
}

/// Whether event time bounds the join, so that its times are any good, is seen when its conditions are brought into form: by the planner.
fn of_join(join: &Join, index: usize) -> Option<Attribute> {
    use JoinType as J;
    let width = join.left.schema().fields().len();
    match join.join_type {
        J::RightSemi | J::RightAnti => of_index(&join.right, index),
        J::Right if index < width => None,
        J::Left | J::Full if index >= width => None,
        J::Full => None,
        _ if index < width => of_index(&join.left, index),
        _ => of_index(&join.right, index - width),
    }
}

fn of_union(inputs: &[std::sync::Arc<LogicalPlan>], index: usize) -> Option<Attribute> {
    let mut found = inputs.iter().map(|input| of_index(input, index));
    let first = found.next()??;
    found.all(|other| other == Some(first)).then_some(first)
}

/// A window aggregate keeps its window's bounds; `window_time` is the rowtime of what comes out.
fn of_group(plan: &LogicalPlan, input: &LogicalPlan, expr: &Expr) -> Option<Attribute> {
    let LogicalPlan::Aggregate(aggregate) = plan else { return None };
    is_windowed(input, &aggregate.group_expr).then(|| of_expr(input, expr)).flatten()
}

/// Whether both bounds of a window are among the grouping expressions.
pub(crate) fn is_windowed(input: &LogicalPlan, group: &[Expr]) -> bool {
    let has = |place: usize| {
        group.iter().any(|e| matches!(of_expr(input, e), Some(Attribute::Window { place: p, .. }) if p == place))
    };
    has(0) && has(1)
}

fn of_extension(plan: &LogicalPlan, index: usize) -> Option<Attribute> {
    if let Some(rowtime) = downcast::<Rowtime>(plan) {
        let marked = index_of(rowtime.input.schema(), &rowtime.column) == Some(index);
        return if marked { Some(Attribute::Rowtime) } else { of_index(&rowtime.input, index) };
    }
    let window = downcast::<WindowTvf>(plan)?;
    let inputs = window.input.schema().fields().len();
    match index.checked_sub(inputs) {
        Some(place) if place < WINDOW_COLUMNS.len() => {
            Some(Attribute::Window { place, processing_time: window.processing_time })
        }
        _ => of_index(&window.input, index),
    }
}

/// Whether windows may be cut along an expression: its time is event time (`false`) or processing time (`true`).
pub(crate) fn windowable(plan: &LogicalPlan, time: &Expr) -> Option<bool> {
    match of_expr(plan, time)? {
        Attribute::Rowtime => Some(false),
        Attribute::Proctime => Some(true),
        Attribute::Window { place: 2, processing_time } => Some(processing_time),
        Attribute::Window { .. } => None,
    }
}
