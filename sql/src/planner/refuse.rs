//! Logical operators that no streaming operator stands for yet: what they are called in SQL, and what to write instead.
//!
//! Called while lowering. The place is that of the first column involved that knows its own, else the statement's.

use crate::error::Fault;
use crate::shown::written;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::logical_plan::{Aggregate, Join};
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
        LogicalPlan::Sort(_) => ("ORDER BY", "leave it out: a stream has no end to sort to"),
        LogicalPlan::Limit(_) => ("LIMIT", "leave it out"),
        LogicalPlan::Distinct(_) => ("DISTINCT", "write GROUP BY with the same columns"),
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

/// Where an aggregate was written.
fn place_of(aggregate: &Aggregate, statement: Span) -> Span {
    let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    exprs.filter_map(span_of).next().unwrap_or(statement)
}

/// Windows over the times of rows that may be of any age.
pub(crate) fn old_times(time: &Expr, statement: Span) -> Fault {
    let span = span_of(time).unwrap_or(statement);
    let fault = Fault::unsupported(span, format!("a window along `{}`, whose rows may be of any age", written(time)));
    fault.remedy("bound the join below in event time: ON .. AND a.ts BETWEEN b.ts - INTERVAL '10' SECOND AND b.ts")
}

/// EXISTS or IN beside OR: whether a row has a partner is a value then.
pub(crate) fn mark_join(join: &Join, statement: Span) -> Fault {
    let span = join.on.iter().flat_map(|(l, r)| [l, r]).find_map(span_of).unwrap_or(statement);
    let fault = Fault::unsupported(span, "EXISTS or IN with a subquery beside OR");
    fault.remedy("write one query per condition, and UNION between them")
}

/// More groupings than a query may have.
pub(crate) fn many_sets(aggregate: &Aggregate, limit: usize, statement: Span) -> Fault {
    let text = format!("a query has more than {limit} grouping sets");
    Fault::invalid(place_of(aggregate, statement), text).remedy("write several queries")
}

/// A window over rows that may go again.
pub(crate) fn window_of_changes(aggregate: &Aggregate, statement: Span) -> Fault {
    let fault = Fault::unsupported(place_of(aggregate, statement), "a window over rows that may go again");
    fault.remedy("put the window below: aggregate in windows first, and group what comes out of them")
}

/// An aggregate that cannot take rows back, over a stream that does.
pub(crate) fn irrevocable(aggregate: &Aggregate, name: &str, statement: Span) -> Fault {
    let text = format!("{} over rows that may go again", name.to_uppercase());
    let fault = Fault::unsupported(place_of(aggregate, statement), text);
    fault.remedy("write MIN or MAX, or take the first and last of the rows that they are made from")
}

/// First and last without an order.
pub(crate) fn without_time(aggregate: &Aggregate, name: &str, statement: Span) -> Fault {
    let text = format!("{} of rows without event time", name.to_uppercase());
    let fault = Fault::invalid(place_of(aggregate, statement), text);
    fault.remedy("declare a WATERMARK on the table, or write MIN or MAX")
}

/// An expression that has another value every time, over rows that may go again: what goes would not be what came.
pub(crate) fn volatile(expr: &Expr, statement: Span) -> Fault {
    let span = span_of(expr).unwrap_or(statement);
    let fault = Fault::unsupported(span, format!("`{}` over rows that may go again", written(expr)));
    fault.remedy("compute it from the rows before they are aggregated, or leave it out")
}
