//! FROM TABLE(TUMBLE(..)): window table functions as logical nodes; every other unusual relation is refused by name.
//!
//! Called by DataFusion for every table factor of a query, before it looks itself.

use crate::attribute;
use crate::error::Fault;
use crate::nodes::{WINDOW_COLUMNS, WindowKind, WindowTvf, extension};
use crate::parser::dialect::TABLE_ARGUMENT;
use crate::planner::side::late_sources;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_sql::sqlparser::ast::{
    self as sql, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Spanned, TableFactor,
};
use datafusion_sql::sqlparser::tokenizer::Span;

/// Plans window table functions.
#[derive(Debug)]
pub(crate) struct WindowRelations;

impl RelationPlanner for WindowRelations {
    fn plan_relation(&self, relation: TableFactor, ctx: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let (call, alias) = match relation {
            TableFactor::TableFunction { expr: sql::Expr::Function(f), alias } => {
                (Call::of(&f.name, arguments(&f)), alias)
            }
            TableFactor::Table { ref name, args: Some(ref args), ref alias, .. } => {
                (Call::of(name, args.args.clone()), alias.clone())
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let plan = call?.plan(ctx)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn arguments(f: &sql::Function) -> Vec<FunctionArg> {
    match &f.args {
        FunctionArguments::List(list) => list.args.clone(),
        _ => vec![],
    }
}

/// What each window function takes after DATA and TIMECOL, the last one optional.
const FUNCTIONS: [(&str, &[&str], &str); 3] = [
    ("tumble", &["SIZE", "OFFSET"], "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)"),
    ("hop", &["SLIDE", "SIZE", "OFFSET"], "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)"),
    (
        "cumulate",
        &["STEP", "SIZE", "OFFSET"],
        "CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)",
    ),
];

/// A call of a window function as it was written.
struct Call {
    name: &'static str,
    example: &'static str,
    span: Span,
    table: sql::Expr,
    time: sql::Expr,
    /// Interval parameters with their names, in order.
    intervals: Vec<(&'static str, sql::Expr)>,
}

impl Call {
    fn of(name: &ObjectName, args: Vec<FunctionArg>) -> Result<Call> {
        let span = name.span();
        let written = name.to_string().to_ascii_lowercase();
        let Some((name, parameters, example)) = FUNCTIONS.iter().find(|(n, ..)| *n == written) else {
            return Err(unknown_function(&written, span).into());
        };
        let wrong = |reason: String| Fault::invalid(span, reason).remedy(format!("write {example}"));
        let all: Vec<&'static str> = ["DATA", "TIMECOL"].into_iter().chain(parameters.iter().copied()).collect();
        let mut values: Vec<Option<sql::Expr>> = vec![None; all.len()];
        for (i, arg) in args.into_iter().enumerate() {
            let (place, value) = match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => (i, e),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(e), .. } => {
                    match all.iter().position(|p| p.eq_ignore_ascii_case(&name.value)) {
                        Some(place) => (place, e),
                        None => return Err(wrong(format!("{written} has no argument `{}`", name.value)).into()),
                    }
                }
                other => return Err(wrong(format!("{written} cannot take `{other}`")).into()),
            };
            match values.get_mut(place) {
                Some(slot @ None) => *slot = Some(value),
                _ => return Err(wrong(format!("{written} has too many arguments")).into()),
            }
        }
        let mut values = values.into_iter();
        let (Some(Some(table)), Some(Some(time))) = (values.next(), values.next()) else {
            return Err(wrong(format!("{written} needs a table and a time column")).into());
        };
        let intervals = parameters.iter().copied().zip(values).filter_map(|(p, v)| Some((p, v?))).collect();
        Ok(Call { name, example, span, table, time, intervals })
    }

    fn wrong(&self, span: Span, reason: impl Into<String>) -> Fault {
        let span = if span == Span::empty() { self.span } else { span };
        Fault::invalid(span, reason).remedy(format!("write {}", self.example))
    }

    fn plan(self, ctx: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let input = self.input(ctx)?;
        let (time, processing_time) = self.time(&input, ctx)?;
        let kind = self.kind(&input, ctx)?;
        if let Some(taken) = WINDOW_COLUMNS.iter().find(|c| input.schema().has_column_with_unqualified_name(c)) {
            let fault = Fault::invalid(self.span, format!("the table already has a column `{taken}`"));
            return Err(fault.remedy(format!("select the columns you need in a subquery and rename `{taken}`")).into());
        }
        let whole = !processing_time && !late_sources(&input).is_empty();
        Ok(extension(WindowTvf::try_new(input, kind, time, processing_time, whole)?))
    }

    /// `TABLE t` or `TABLE (query)`.
    fn input(&self, ctx: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let sql::Expr::Function(f) = &self.table else {
            return Err(self.wrong(self.table.span(), "the first argument must be a table").into());
        };
        if f.name.to_string() != TABLE_ARGUMENT {
            return Err(self.wrong(f.name.span(), "the first argument must be a table").into());
        }
        if let Some(sql::WindowType::WindowSpec(w)) = &f.over
            && let Some(key) = w.partition_by.first()
        {
            let fault = Fault::invalid(key.span(), format!("{} has no PARTITION BY", self.name));
            return Err(fault.remedy("leave it out and group by the key").into());
        }
        if let FunctionArguments::Subquery(query) = &f.args {
            let subquery = query.clone();
            return ctx.plan(TableFactor::Derived { lateral: false, subquery, alias: None, sample: None });
        }
        match arguments(f).pop() {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(sql::Expr::CompoundIdentifier(idents)))) => {
                ctx.plan(TableFactor::Table {
                    name: ObjectName::from(idents),
                    alias: None,
                    args: None,
                    with_hints: vec![],
                    version: None,
                    with_ordinality: false,
                    partitions: vec![],
                    json_path: None,
                    sample: None,
                    index_hints: vec![],
                })
            }
            _ => Err(self.wrong(f.name.span(), "the first argument must be a table").into()),
        }
    }

    /// `DESCRIPTOR(column)`: the column, and whether it is processing time.
    fn time(&self, input: &LogicalPlan, ctx: &mut dyn RelationPlannerContext) -> Result<(Expr, bool)> {
        let column = match &self.time {
            sql::Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("descriptor") => {
                match &arguments(f)[..] {
                    [
                        FunctionArg::Unnamed(FunctionArgExpr::Expr(
                            e @ (sql::Expr::Identifier(_) | sql::Expr::CompoundIdentifier(_)),
                        )),
                    ] => e.clone(),
                    _ => return Err(self.wrong(f.name.span(), "DESCRIPTOR takes one column").into()),
                }
            }
            other => return Err(self.wrong(other.span(), "the second argument must be DESCRIPTOR(column)").into()),
        };
        let time = ctx.sql_to_expr(column.clone(), input.schema())?;
        match attribute::windowable(input, &time) {
            Some(processing_time) => Ok((time, processing_time)),
            None => {
                let fault =
                    Fault::invalid(column.span(), format!("`{column}` is not a time that windows can be cut along"));
                Err(fault.remedy(
                    "name the table's WATERMARK column, or a column made by PROCTIME(); a value computed from one is no time attribute",
                ).into())
            }
        }
    }

    fn kind(&self, input: &LogicalPlan, ctx: &mut dyn RelationPlannerContext) -> Result<WindowKind> {
        let mut size = None;
        let mut step = None;
        let mut offset = 0;
        for (parameter, value) in &self.intervals {
            let span = value.span();
            let millis = match ctx.sql_to_expr(value.clone(), input.schema())? {
                Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _) => self.millis(v, span)?,
                other => {
                    return Err(self
                        .wrong(span, format!("{parameter} must be an interval like INTERVAL '10' SECOND, not {other}"))
                        .into());
                }
            };
            match *parameter {
                "OFFSET" => offset = millis,
                _ if millis <= 0 => return Err(self.wrong(span, format!("{parameter} must be positive")).into()),
                "SIZE" => size = Some(millis),
                _ => step = Some((millis, span)),
            }
        }
        let Some(size) = size else { return Err(self.wrong(self.span, format!("{} needs a SIZE", self.name)).into()) };
        let kind = match (self.name, step) {
            ("tumble", _) => WindowKind::Tumble { size, offset },
            (_, None) => return Err(self.wrong(self.span, format!("{} needs two intervals", self.name)).into()),
            (_, Some((step, span))) if size % step != 0 => return Err(self.uneven(size, step, span).into()),
            ("hop", Some((slide, _))) => WindowKind::Hop { slide, size, offset },
            (_, Some((step, _))) => WindowKind::Cumulate { step, size, offset },
        };
        Ok(kind)
    }

    /// A size that is no multiple of the slide or step.
    fn uneven(&self, size: i64, step: i64, span: Span) -> Fault {
        let what = if self.name == "hop" { "slide" } else { "step" };
        let name = self.name.to_uppercase();
        let reason = format!(
            "the size, {size} ms, is not a multiple of the {what}, {step} ms: {name} takes the {what} first, then the size"
        );
        let of = |parameter: &str| {
            let found = self.intervals.iter().find(|(p, _)| p.eq_ignore_ascii_case(parameter));
            found.map_or_else(String::new, |(_, value)| value.to_string())
        };
        let fault = Fault::invalid(span, reason);
        match step > size && step % size == 0 {
            true => fault.remedy(format!("swap them: the {what} is {}, the size {}", of("size"), of(what))),
            false => fault.remedy("choose intervals of which one is a multiple of the other"),
        }
    }

    fn millis(&self, v: arrow::array::types::IntervalMonthDayNano, span: Span) -> Result<i64> {
        if v.months != 0 {
            return Err(self.wrong(span, "months and years have no fixed length").into());
        }
        if v.nanoseconds % 1_000_000 != 0 {
            return Err(self.wrong(span, "the finest unit of time is the millisecond").into());
        }
        let days = i64::from(v.days) * 86_400_000;
        Ok(days.saturating_add(v.nanoseconds / 1_000_000))
    }
}

fn unknown_function(name: &str, span: Span) -> Fault {
    match name {
        "session" => Fault::unsupported(span, "the SESSION window").remedy("write TUMBLE, HOP or CUMULATE"),
        "descriptor" | TABLE_ARGUMENT => {
            Fault::invalid(span, "a table function is missing").remedy("write TABLE(TUMBLE(TABLE t, ..))")
        }
        other => Fault::unsupported(span, format!("table function `{other}`")).remedy("write TUMBLE, HOP or CUMULATE"),
    }
}
