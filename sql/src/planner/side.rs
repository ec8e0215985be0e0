//! Rows that leave by another door: records that could not be decoded go to `bad-record.table`, late rows to `late.table`, both
//! named in the options of the table that is read.
//!
//! Called for every window function, and while the graph's sinks are made. Columns are matched by name.
//!
//! Late rows are those of the window function's input: all columns of the table, or of the subquery or view, that the function is
//! given. What the target takes of them is kept for the window operator, which hands it out as it came in.

use super::physical::{Emit, compile};
use super::stream::{StreamOp, WindowSpec};
use super::{JobPlan, written_schema};
use crate::catalog::{Relation, Table};
use crate::coerce::is_implicit;
use crate::error::{Fault, Result};
use crate::nodes::WindowTvf;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion_expr::{LogicalPlan, cast};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_engine::source::rejected_schema;
use thalweg_engine::type_name;
use thalweg_engine::{Input, NodeKind, NodeSpec, OutPort, Partitioning};
use thalweg_operators::calc::Calc;

/// The option of a source's table that names the table for records that could not be decoded.
pub(crate) const BAD_RECORD_TABLE: &str = "bad-record.table";
/// The option of a source's table that names the table for rows that came too late for their window.
pub(crate) const LATE_TABLE: &str = "late.table";

/// The option's value, and where it is written.
fn named(table: &Table, option: &str) -> Option<(String, Span)> {
    let written = table.written_options.iter().find(|o| o.key == option)?;
    Some((written.value.clone(), written.span))
}

/// The tables that a query reads, up to its aggregates, which name a table for late rows: what comes out of a window is never late.
pub(crate) fn late_sources(plan: &LogicalPlan) -> Vec<Arc<Table>> {
    let mut found: Vec<Arc<Table>> = vec![];
    let mut open = vec![plan];
    while let Some(plan) = open.pop() {
        match plan {
            LogicalPlan::Aggregate(_) => {}
            LogicalPlan::TableScan(scan) => {
                let relation = (scan.source.as_ref() as &dyn std::any::Any).downcast_ref::<Relation>();
                let table = relation.and_then(|r| r.table.clone()).filter(|t| named(t, LATE_TABLE).is_some());
                found.extend(table.filter(|t| !found.iter().any(|f| Arc::ptr_eq(f, t))));
            }
            other => open.extend(other.inputs()),
        }
    }
    found
}

/// The table that takes the late rows of a window function, and for each of its written columns that of the function's input.
pub(crate) fn late_target(
    window: &WindowTvf,
    tables: &BTreeMap<String, Arc<Table>>,
) -> Result<Option<(Arc<Table>, Vec<usize>)>> {
    let sources = if window.whole { late_sources(&window.input) } else { vec![] };
    let mut target: Option<Arc<Table>> = None;
    for source in &sources {
        let Some((found, span)) = target_of(source, LATE_TABLE, tables)? else { continue };
        if target.as_ref().is_some_and(|t| !Arc::ptr_eq(t, &found)) {
            let reason = format!("the late rows of `{}` go to another table than those it is read with", source.name);
            return Err(Fault::invalid(span, reason).remedy("name one table for both"));
        }
        target = Some(found);
    }
    let (Some(target), Some(source)) = (target, sources.first()) else { return Ok(None) };
    let span = named(source, LATE_TABLE).map_or(Span::empty(), |(_, span)| span);
    let columns: Vec<(&str, &DataType)> =
        window.input.schema().fields().iter().map(|f| (f.name().as_str(), f.data_type())).collect();
    let places = fit(&target, &columns, LATE_TABLE, span)?;
    Ok(Some((target, places)))
}

/// The table that an option of `source` names, and where it does.
fn target_of(
    source: &Table,
    option: &str,
    tables: &BTreeMap<String, Arc<Table>>,
) -> Result<Option<(Arc<Table>, Span)>> {
    let Some((name, span)) = named(source, option) else { return Ok(None) };
    match tables.get(&name) {
        Some(target) => Ok(Some((Arc::clone(target), span))),
        None => {
            let reason = format!("table `{}`: '{option}' names `{name}`, which is no table", source.name);
            Err(Fault::invalid(span, reason).remedy(format!("define it before with CREATE TABLE `{name}` (..)")))
        }
    }
}

/// For each written column of a table the column of that name and a type that fits.
fn fit(target: &Table, columns: &[(&str, &DataType)], option: &str, span: Span) -> Result<Vec<usize>> {
    let wrong = |reason: String| {
        let all: Vec<String> = columns.iter().map(|(n, t)| format!("{n} {}", type_name(t))).collect();
        Fault::invalid(span, format!("'{option}': table `{}` has {reason}", target.name))
            .remedy(format!("give it columns out of ({})", all.join(", ")))
    };
    let place = |wanted: &Arc<Field>| {
        let (name, data_type) = (wanted.name(), wanted.data_type());
        let at = columns.iter().position(|(n, _)| n == name);
        let at = at.ok_or_else(|| wrong(format!("a column `{name}`, the rows have none")))?;
        match columns.get(at).filter(|(_, t)| !is_implicit(t, data_type)) {
            Some((_, t)) => {
                Err(wrong(format!("`{name} {}`, the rows have `{name} {}`", type_name(data_type), type_name(t))))
            }
            None => Ok(at),
        }
    };
    written_schema(target).fields().iter().map(place).collect()
}

impl Emit<'_> {
    /// The edges into the tables for rejected and late rows, with the table that each goes to.
    pub(super) fn sides(&mut self, plan: &JobPlan) -> Result<Vec<(Arc<Table>, Vec<Input>)>> {
        let mut sides = vec![];
        for (id, node) in plan.streams.nodes().filter(|(id, _)| plan.used.contains(id)) {
            let (target, schema, places, port) = match &node.op {
                StreamOp::Source(table) => {
                    let Some((target, span)) = target_of(&table.0, BAD_RECORD_TABLE, &plan.tables)? else { continue };
                    let schema = rejected_schema();
                    let columns: Vec<_> = schema.fields().iter().map(|f| (f.name().as_str(), f.data_type())).collect();
                    let places = fit(&target, &columns, BAD_RECORD_TABLE, span)?.into_iter().map(Some).collect();
                    (target, schema, places, OutPort::REJECTED)
                }
                StreamOp::Window(WindowSpec { late: Some(late), .. }) => {
                    let input = self.input(node)?;
                    let places = late.columns.iter().map(|c| input.places.get(*c).copied().flatten()).collect();
                    (Arc::clone(&late.table.0), Arc::clone(&input.schema), places, OutPort::LATE)
                }
                _ => continue,
            };
            let Some(from) = self.made.get(&id).and_then(|m| m.nodes.first()).copied() else { continue };
            let edge = Input::new(from, Partitioning::Forward).out(port);
            sides.push((Arc::clone(&target), self.side(edge, schema, &target, places)?));
        }
        Ok(sides)
    }

    /// The operator that makes a table's columns of those at `places`.
    fn side(
        &mut self,
        edge: Input,
        schema: SchemaRef,
        target: &Table,
        places: Vec<Option<usize>>,
    ) -> Result<Vec<Input>> {
        let output = written_schema(target);
        let value = |(i, field): (usize, &Arc<Field>)| {
            let same = places[i].is_some_and(|p| schema.field(p).data_type() == field.data_type());
            let column = super::stream::column(i);
            let value = if same { column } else { cast(column, field.data_type().clone()) };
            compile(&value, &schema, &places)
        };
        let projections = output.fields().iter().enumerate().map(value).collect::<Result<Vec<_>>>()?;
        let id = self.id(format!("side-{}-{}", target.name, edge.out.0));
        let calc = Calc { input: schema, predicate: None, projections: Some(projections), output: Arc::clone(&output) };
        let spec = NodeSpec::new(id, "project", NodeKind::Operator(Arc::new(calc)), vec![edge]);
        Ok(self.add(spec, output)?.edges(&Partitioning::Forward))
    }
}
