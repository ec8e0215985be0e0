//! What the grammar allows and this version cannot run: refused on the parsed tree, where every part still knows its place.
//!
//! Called for every query before it is bound. What only the bound plan shows (an aggregate without a window) is refused later, by the
//! graph planner.

use crate::aggregate;
use crate::error::{Fault, Result};
use crate::parser::dialect::TABLE_ARGUMENT;
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    JoinOperator, Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor, TableWithJoins,
    Value, ValueWithSpan, Values, Visit, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::ops::ControlFlow;

/// Refuses what is not supported in a query, subqueries included.
pub(crate) fn check_query(query: &Query) -> Result<()> {
    outcome(query.visit(&mut Check))
}

/// Refuses what is not supported in an expression.
pub(crate) fn check_expr(expr: &Expr) -> Result<()> {
    outcome(expr.visit(&mut Check))
}

fn outcome(flow: ControlFlow<Fault>) -> Result<()> {
    match flow {
        ControlFlow::Break(fault) => Err(fault),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Check;

type Flow = ControlFlow<Fault>;

fn refuse(span: Span, what: &str, remedy: &str) -> Flow {
    ControlFlow::Break(Fault::unsupported(span, what).remedy(remedy))
}

impl Visitor for Check {
    type Break = Fault;

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        let span = query.span();
        if let Some(with) = query.with.as_ref().filter(|w| w.recursive) {
            return refuse(with.with_token.0.span, "WITH RECURSIVE", "write out the steps as views");
        }
        if let Some(order) = &query.order_by {
            return refuse(
                order.span(),
                "ORDER BY",
                "leave it out: a stream has no end to sort to; sort where the result is read",
            );
        }
        if let Some(limit) = &query.limit_clause {
            return refuse(
                limit.span(),
                "LIMIT",
                "leave it out, or bound the source, for instance with 'number-of-rows'",
            );
        }
        if query.fetch.is_some()
            || !query.locks.is_empty()
            || query.for_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return refuse(span, "FETCH, FOR or |> after a query", "leave it out");
        }
        if query.settings.is_some() || query.format_clause.is_some() {
            return refuse(span, "SETTINGS or FORMAT after a query", "leave it out");
        }
        check_body(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        let at = select.select_token.0.span;
        if let Some(distinct) = &select.distinct
            && !matches!(distinct, Distinct::All | Distinct::Distinct)
        {
            return refuse(at, "DISTINCT ON", "write SELECT a, MAX(b) .. GROUP BY a");
        }
        if let Some(window) = select.named_window.first() {
            return refuse(window.0.span, "a named WINDOW", "use a window table function: FROM TABLE(TUMBLE(..))");
        }
        if let Some(qualify) = &select.qualify {
            return refuse(qualify.span(), "QUALIFY", "filter with WHERE or HAVING");
        }
        let odd = select.top.is_some()
            || select.into.is_some()
            || select.prewhere.is_some()
            || select.exclude.is_some()
            || select.value_table_mode.is_some()
            || !select.lateral_views.is_empty()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty();
        if odd {
            return refuse(at, "this form of SELECT", "write SELECT .. FROM .. WHERE .. GROUP BY .. HAVING ..");
        }
        if let Some(condition) = &select.selection
            && let ControlFlow::Break(f) = condition.visit(&mut Aggregates::default())
        {
            let fault = Fault::invalid(f.span(), format!("the aggregate {f} stands in WHERE"));
            return ControlFlow::Break(fault.remedy("write the condition behind GROUP BY: HAVING .."));
        }
        check_grouping(select, at)
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> Flow {
        let span = table.span();
        match table {
            TableFactor::Table { version: Some(_), .. } => {
                refuse(span, "FOR SYSTEM_TIME AS OF (a temporal join)", "read the table without it")
            }
            TableFactor::Table { with_hints, sample, partitions, index_hints, json_path, .. }
                if !with_hints.is_empty()
                    || sample.is_some()
                    || !partitions.is_empty()
                    || !index_hints.is_empty()
                    || json_path.is_some() =>
            {
                refuse(span, "a hint, sample or path on a table", "set options in WITH (..) of CREATE TABLE")
            }
            TableFactor::Table { .. }
            | TableFactor::Derived { lateral: false, .. }
            | TableFactor::TableFunction { .. } => ControlFlow::Continue(()),
            TableFactor::NestedJoin { table_with_joins, .. } => check_joins(table_with_joins),
            TableFactor::Derived { .. } => refuse(span, "a LATERAL subquery", "write a plain subquery"),
            TableFactor::Function { .. } => {
                refuse(span, "LATERAL TABLE(..)", "compute the values with scalar functions")
            }
            TableFactor::UNNEST { .. } => refuse(span, "UNNEST", "pick elements of the array with array[1]"),
            TableFactor::MatchRecognize { .. } => refuse(span, "MATCH_RECOGNIZE", "aggregate in windows instead"),
            _ => refuse(span, "this form of FROM", "write FROM table, FROM (query) or FROM TABLE(TUMBLE(..))"),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Flow {
        match expr {
            Expr::Interval(i) if i.leading_field.is_none() => {
                let fault = Fault::invalid(expr.span(), format!("{expr} has no unit"));
                ControlFlow::Break(fault.remedy("write INTERVAL '10' SECOND"))
            }
            Expr::Interval(i) if i.last_field.is_some() => {
                let range =
                    [&i.leading_field, &i.last_field].map(|f| f.as_ref().map_or(String::new(), ToString::to_string));
                let what = format!("INTERVAL .. {}", range.join(" TO "));
                let unit = range.last().map_or("", String::as_str);
                refuse(expr.span(), &what, &format!("write it in one unit: INTERVAL '90' {unit}"))
            }
            Expr::Interval(i) if i.leading_precision.is_some() || i.fractional_seconds_precision.is_some() => {
                refuse(expr.span(), "an INTERVAL with digits", "leave them out: INTERVAL '10' SECOND")
            }
            Expr::JsonAccess { .. } => refuse(expr.span(), "`:`", "write JSON_VALUE(s, '$.a'), or row.field"),
            Expr::BinaryOp { op: BinaryOperator::PGOverlap, .. } => {
                ControlFlow::Break(Fault::invalid(expr.span(), "`&&` is no operator").remedy("write AND"))
            }
            Expr::Function(f) => check_function(f),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn check_body(body: &SetExpr) -> Flow {
    match body {
        SetExpr::Select(select) => select.from.iter().try_for_each(check_joins),
        // Visited as a query of its own.
        SetExpr::Query(_) => ControlFlow::Continue(()),
        SetExpr::SetOperation { op, set_quantifier, left, right } => {
            match (op, set_quantifier) {
                (SetOperator::Union, SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None) => {}
                (SetOperator::Union, _) => return refuse(right.span(), "UNION BY NAME", "write UNION ALL"),
                (SetOperator::Intersect | SetOperator::Except, SetQuantifier::Distinct | SetQuantifier::None) => {}
                _ => {
                    return refuse(
                        right.span(),
                        "INTERSECT ALL or EXCEPT ALL",
                        "write INTERSECT or EXCEPT, which give each row once",
                    );
                }
            }
            if let (Some(first), Some(second)) = (body_width(left), body_width(right))
                && first != second
            {
                let reason = format!("{op} of queries with {first} and {second} columns");
                return ControlFlow::Break(
                    Fault::invalid(right.span(), reason).remedy("select the same columns in each"),
                );
            }
            check_body(left)?;
            check_body(right)
        }
        SetExpr::Values(values) => check_values(values, body.span()),
        _ => refuse(body.span(), "this form of query", "write SELECT .. FROM .."),
    }
}

/// Rows of one width.
fn check_values(values: &Values, at: Span) -> Flow {
    let width = values.rows.first().map_or(0, |row| row.content.len());
    let Some(odd) = values.rows.iter().find(|row| row.content.len() != width || width == 0) else {
        return ControlFlow::Continue(());
    };
    let span = odd.content.first().map_or(at, Spanned::span);
    let reason = format!("VALUES: a row has {} values, the first has {width}", odd.content.len());
    ControlFlow::Break(Fault::invalid(span, reason).remedy("give each row as many values: VALUES (1, 'a'), (2, 'b')"))
}

fn check_joins(from: &TableWithJoins) -> Flow {
    use JoinOperator as J;
    from.joins.iter().try_for_each(|join| match &join.join_operator {
        J::Join(_) | J::Inner(_) | J::CrossJoin(_) | J::Semi(_) | J::LeftSemi(_) | J::RightSemi(_) => {
            ControlFlow::Continue(())
        }
        J::Left(_) | J::LeftOuter(_) | J::Right(_) | J::RightOuter(_) | J::FullOuter(_) => ControlFlow::Continue(()),
        J::Anti(_) | J::LeftAnti(_) | J::RightAnti(_) => ControlFlow::Continue(()),
        _ => refuse(join.relation.span(), "this form of join", "write JOIN, LEFT, RIGHT or FULL JOIN .. ON .."),
    })
}

fn check_grouping(select: &Select, at: Span) -> Flow {
    let GroupByExpr::Expressions(exprs, modifiers) = &select.group_by else {
        return refuse(at, "GROUP BY ALL", "list the columns");
    };
    if !modifiers.is_empty() {
        return refuse(at, "WITH ROLLUP or WITH CUBE", "write one query per grouping and UNION ALL them");
    }
    for expr in exprs {
        match expr {
            Expr::Function(f) if is_group_window(f) => {
                return refuse(
                    f.name.span(),
                    "a window function in GROUP BY",
                    "write FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), \
                     INTERVAL '10' SECOND)) GROUP BY window_start, window_end",
                );
            }
            _ => {}
        }
        check_group(expr, select)?;
    }
    ControlFlow::Continue(())
}

/// A group is no aggregate, neither itself nor by the name or place of one in SELECT.
fn check_group(expr: &Expr, select: &Select) -> Flow {
    let named = |name: &str| {
        select.projection.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if alias.value == name => Some(expr),
            _ => None,
        })
    };
    let aggregate = match expr {
        Expr::Identifier(ident) => named(&ident.value).and_then(|e| e.visit(&mut Aggregates::default()).break_value()),
        _ => expr.visit(&mut Aggregates::default()).break_value(),
    };
    if let Some(f) = aggregate {
        let fault = Fault::invalid(expr.span(), format!("the aggregate {f} stands in GROUP BY"));
        return ControlFlow::Break(fault.remedy("group by columns; filter aggregates with HAVING"));
    }
    let Expr::Value(ValueWithSpan { value: Value::Number(place, _), span }) = expr else {
        return ControlFlow::Continue(());
    };
    match (width(select), place.parse::<usize>()) {
        (Some(width), Ok(n)) if n == 0 || n > width => {
            let fault = Fault::invalid(*span, format!("GROUP BY {n}: SELECT has {width} columns"));
            ControlFlow::Break(fault.remedy("name the column"))
        }
        _ => ControlFlow::Continue(()),
    }
}

/// How many columns a SELECT has, if that can be seen.
fn width(select: &Select) -> Option<usize> {
    let plain = |i: &SelectItem| matches!(i, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    select.projection.iter().all(plain).then_some(select.projection.len())
}

fn body_width(body: &SetExpr) -> Option<usize> {
    match body {
        SetExpr::Select(select) => width(select),
        SetExpr::SetOperation { left, .. } => body_width(left),
        SetExpr::Query(query) => body_width(&query.body),
        SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
        _ => None,
    }
}

/// Finds an aggregate outside of subqueries.
#[derive(Default)]
struct Aggregates {
    depth: usize,
}

impl Visitor for Aggregates {
    type Break = Function;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Function> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Function> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Function> {
        match expr {
            Expr::Function(f) if self.depth == 0 && aggregate::function(&f.name.to_string()).is_some() => {
                ControlFlow::Break(f.clone())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn is_group_window(f: &Function) -> bool {
    ["tumble", "hop", "session"].iter().any(|n| f.name.to_string().eq_ignore_ascii_case(n))
}

/// Flink's aggregates that there are not.
const LATER: [&str; 16] = [
    "listagg",
    "string_agg",
    "collect",
    "array_agg",
    "json_objectagg",
    "json_arrayagg",
    "lag",
    "lead",
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "nth_value",
    "percentile",
];

fn check_function(f: &Function) -> Flow {
    if f.name.to_string() == TABLE_ARGUMENT {
        return ControlFlow::Continue(());
    }
    let name = f.name.to_string();
    let name = name.trim_matches(['`', '"']);
    if name.starts_with('$') {
        let fault = Fault::invalid(f.name.span(), format!("function `{name}` does not exist"));
        return ControlFlow::Break(fault.remedy("SHOW FUNCTIONS lists all functions"));
    }
    if let Some(tuple) = tuple_argument(f) {
        let what = format!("{}({tuple})", f.name);
        return refuse(tuple.span(), &what, "name one column, or join them: CONCAT_WS('|', a, b)");
    }
    let arguments = match &f.args {
        FunctionArguments::List(list) => &list.args[..],
        _ => &[],
    };
    let star = arguments.iter().any(|a| matches!(a, FunctionArg::Unnamed(FunctionArgExpr::Wildcard)));
    if (star || arguments.is_empty())
        && aggregate::function(name).is_some_and(|k| star != (k == aggregate::Function::Count))
    {
        let fault = Fault::invalid(f.name.span(), format!("{name}({}) has no argument", if star { "*" } else { "" }));
        let write = if name.eq_ignore_ascii_case("count") { "COUNT(*)".into() } else { format!("{name}(x)") };
        return ControlFlow::Break(fault.remedy(format!("write {write}")));
    }
    if LATER.iter().any(|later| name.eq_ignore_ascii_case(later)) && f.over.is_none() {
        return refuse(
            f.name.span(),
            &name.to_ascii_uppercase(),
            "there are COUNT, SUM, AVG, MIN, MAX, FIRST_VALUE, LAST_VALUE, STDDEV_POP, STDDEV_SAMP, VAR_POP and VAR_SAMP",
        );
    }
    if f.over.is_some() {
        return refuse(
            f.name.span(),
            "OVER",
            "aggregate in windows: FROM TABLE(TUMBLE(..)) GROUP BY window_start, window_end",
        );
    }
    if !f.within_group.is_empty() {
        return refuse(f.name.span(), "WITHIN GROUP", "use another aggregate");
    }
    if let FunctionArguments::Subquery(query) = &f.args {
        return refuse(query.span(), "a subquery inside an expression", "compute it in a view of its own");
    }
    ControlFlow::Continue(())
}

/// `(a, b)` as the one argument of an aggregate.
fn tuple_argument(f: &Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &f.args else { return None };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(only @ Expr::Tuple(_)))] = &list.args[..] else { return None };
    aggregate::function(&f.name.to_string()).is_some().then_some(only)
}
