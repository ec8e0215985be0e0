//! Logical operators that no streaming operator stands for yet: what they are called in SQL, and what to write instead.
//!
//! Called while lowering. The place is that of the first column involved that knows its own, else the statement's.

use crate::error::Fault;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::logical_plan::Aggregate;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_sql::sqlparser::tokenizer::{Location, Span};

/// Where an expression's first column was written.
pub(crate) fn span_of(expr: &Expr) -> Option<Span> {
    let mut found = None;
    let _ = expr.apply(|e| {
        if let Expr::Column(c) = e
            && let Some(span) = c.spans.first()
        {
            let place = |l: datafusion_common::Location| Location::new(l.line, l.column);
            found = Some(Span::new(place(span.start), place(span.end)));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// A logical operator without a streaming one.
pub(crate) fn plan(plan: &LogicalPlan, statement: Span) -> Fault {
    let (what, remedy) = match plan {
        LogicalPlan::Join(_) => ("a join", "read one table per query"),
        LogicalPlan::Sort(_) => ("ORDER BY", "leave it out: a stream has no end to sort to"),
        LogicalPlan::Limit(_) => ("LIMIT", "leave it out"),
        LogicalPlan::Distinct(_) => ("DISTINCT", "group by the columns and a window"),
        LogicalPlan::Window(_) => ("OVER", "aggregate in windows: FROM TABLE(TUMBLE(..))"),
        LogicalPlan::Unnest(_) => ("UNNEST", "pick elements of the array with array[1]"),
        LogicalPlan::Subquery(_) | LogicalPlan::RecursiveQuery(_) => {
            ("this subquery", "compute it in a view of its own")
        }
        _ => ("this form of query", "write SELECT .. FROM .. WHERE .. GROUP BY .."),
    };
    let span = plan.expressions().iter().find_map(span_of).unwrap_or(statement);
    Fault::unsupported(span, what).remedy(remedy)
}

/// Example of what to write for an aggregate.
const WINDOWED: &str =
    "write FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY .., window_start, window_end";

/// An aggregate that no window bounds.
pub(crate) fn unbounded(aggregate: &Aggregate, statement: Span) -> Fault {
    let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    let span = exprs.filter_map(span_of).next().unwrap_or(statement);
    let what = match aggregate.aggr_expr.is_empty() {
        true => "removing duplicates without a window",
        false => "an aggregate without a window",
    };
    Fault::unsupported(span, what).remedy(WINDOWED)
}

/// One bound of a window among the groups, but not the other.
pub(crate) fn half_window(aggregate: &Aggregate, statement: Span) -> Fault {
    let span = aggregate.group_expr.iter().find_map(span_of).unwrap_or(statement);
    Fault::unsupported(span, "grouping by one bound of a window only")
        .remedy("write GROUP BY .., window_start, window_end")
}
