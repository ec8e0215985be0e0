//! Bound statements to job graphs: logical plans become [streams](stream), those become the engine's graph.
//!
//! Called by [`compile`](crate::compile) once per job, a job being one statement set, one INSERT or one SELECT.

mod bound;
mod calls;
pub(crate) mod constant;
pub(crate) mod explain;
mod group;
mod guard;
mod join;
pub(crate) mod lower;
pub(crate) mod physical;
mod prune;
pub(crate) mod refuse;
mod sets;
pub(crate) mod side;
pub(crate) mod stream;
mod watermark;
mod window;
mod window_op;

use crate::bind::BoundInsert;
use crate::catalog::Table;
use crate::connect::Refusal;
use crate::error::{Fault, Result};
use crate::naming;
use crate::parser::statement::TableOption;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_expr::LogicalPlan;
use datafusion_sql::sqlparser::tokenizer::Span;
use lower::Lower;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stream::{StreamId, Streams};

/// Where rows go.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Table(Arc<Table>),
    Terminal,
}

/// One sink with all that is inserted into it.
#[derive(Clone, Debug)]
pub(crate) struct SinkPlan {
    pub(crate) target: Target,
    pub(crate) inputs: Vec<StreamId>,
    pub(crate) schema: SchemaRef,
}

/// One job.
#[derive(Debug)]
pub(crate) struct JobPlan {
    pub(crate) streams: Streams,
    pub(crate) sinks: Vec<SinkPlan>,
    /// What the sinks need.
    pub(crate) used: BTreeSet<StreamId>,
    /// All tables, for what options name.
    pub(crate) tables: BTreeMap<String, Arc<Table>>,
    pub(crate) span: Span,
}

/// The job of a statement set.
pub(crate) fn inserts(all: &[BoundInsert], tables: BTreeMap<String, Arc<Table>>, span: Span) -> Result<JobPlan> {
    let mut streams = Streams::default();
    let mut sinks: Vec<SinkPlan> = vec![];
    for insert in all {
        let schema = written_schema(&insert.table);
        let id = lower_exact(&mut streams, &tables, &insert.plan, &schema, insert.span)?;
        let same = |s: &&mut SinkPlan| matches!(&s.target, Target::Table(t) if Arc::ptr_eq(t, &insert.table));
        match sinks.iter_mut().find(same) {
            Some(sink) => sink.inputs.push(id),
            None => sinks.push(SinkPlan { target: Target::Table(Arc::clone(&insert.table)), inputs: vec![id], schema }),
        }
    }
    Ok(finish(streams, sinks, tables, span))
}

/// The job of a bare SELECT.
pub(crate) fn select(plan: &LogicalPlan, tables: BTreeMap<String, Arc<Table>>, span: Span) -> Result<JobPlan> {
    let mut streams = Streams::default();
    let too_wide =
        |t: &DataType| matches!(t, DataType::Decimal256(..) | DataType::Decimal32(..) | DataType::Decimal64(..));
    if let Some(field) = plan.schema().fields().iter().find(|f| too_wide(f.data_type())) {
        let fault = Fault::invalid(span, format!("column `{}` has more than 38 digits", naming::shown(field.name())));
        return Err(fault.remedy("write CAST(x AS DECIMAL(38, s)) or CAST(x AS DOUBLE)"));
    }
    let names = plan.schema().fields().iter().map(|f| f.name());
    let types = plan.schema().fields().iter().map(|f| f.data_type().clone());
    let fields: Vec<Field> =
        naming::unique(names).into_iter().zip(types).map(|(n, t)| Field::new(n, t, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let id = lower_exact(&mut streams, &tables, plan, &schema, span)?;
    let sinks = vec![SinkPlan { target: Target::Terminal, inputs: vec![id], schema }];
    Ok(finish(streams, sinks, tables, span))
}

fn lower_exact(
    streams: &mut Streams,
    tables: &BTreeMap<String, Arc<Table>>,
    plan: &LogicalPlan,
    schema: &SchemaRef,
    span: Span,
) -> Result<StreamId> {
    let mut lower = Lower { streams, tables, span };
    let pending = lower.plan(plan)?;
    lower.calc(pending, &[], Some(schema))
}

/// What a sink takes: the written columns in the table's order.
fn written_schema(table: &Table) -> SchemaRef {
    let fields =
        table.columns.iter().filter(|c| c.is_written()).map(|c| Field::new(&c.name, c.data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn finish(streams: Streams, sinks: Vec<SinkPlan>, tables: BTreeMap<String, Arc<Table>>, span: Span) -> JobPlan {
    let mut used = BTreeSet::new();
    let mut open: Vec<StreamId> = sinks.iter().flat_map(|s| s.inputs.iter().copied()).collect();
    while let Some(id) = open.pop() {
        if used.insert(id) {
            open.extend(streams.node(id).inputs.iter().copied());
        }
    }
    JobPlan { streams, sinks, used, tables, span }
}

/// A connector's refusal, with the place of the option that it is about, else of the table.
pub(crate) fn refused(refusal: Refusal, table: &Table) -> Fault {
    let named = |key: &str| refusal.option.as_deref() == Some(key) || refusal.reason.contains(&format!("`{key}`"));
    let option = table.written_options.iter().find(|o| named(&o.key));
    let span = option.map_or(table.definition.name.span, |o| o.span);
    let about = format!("table `{}`", table.name);
    let reason = match &refusal.option {
        Some(key) if !refusal.reason.contains(&format!("`{key}`")) => format!("option `{key}`: {}", refusal.reason),
        _ => refusal.reason,
    };
    // Some connectors name the table themselves.
    let reason = if reason.starts_with(&about) { reason } else { format!("{about}: {reason}") };
    let fault = Fault::invalid(span, reason);
    let of =
        table.definition.like.as_ref().filter(|of| table.definition.like_options && taken_over(option, table, of.span));
    let of = of.map(|of| {
        format!("it comes from `{0}`: write LIKE `{0}` (EXCLUDING OPTIONS) and all options in WITH", of.value)
    });
    match (refusal.remedy, of) {
        (Some(remedy), Some(of)) => fault.remedy(format!("{remedy}; {of}")),
        (Some(remedy), None) | (None, Some(remedy)) => fault.remedy(remedy),
        (None, None) => fault,
    }
}

/// Whether an option stands in another statement than the table: LIKE took it over.
fn taken_over(option: Option<&TableOption>, table: &Table, like: Span) -> bool {
    let own = table.definition.name.span.start..=like.end;
    option.is_some_and(|o| !own.contains(&o.span.start))
}
