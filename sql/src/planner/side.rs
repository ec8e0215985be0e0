//! Rows that leave by another door: records that could not be decoded go to `bad-record.table`, late rows to `late.table`, both
//! named in the options of the table that is read.
//!
//! Called while the graph's sinks are made. Columns are matched by name; what the target has and the rows have not is NULL.

use super::physical::{Emit, compile};
use super::stream::{StreamId, StreamOp, Streams};
use super::{JobPlan, written_schema};
use crate::catalog::Table;
use crate::coerce::is_implicit;
use crate::error::{Fault, Result};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_expr::{Expr, cast};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_engine::source::rejected_schema;
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

/// The tables that a node reads, directly or not, which name a table for late rows.
pub(crate) fn late_table_below(streams: &Streams, id: StreamId) -> Option<Arc<Table>> {
    let mut open = vec![id];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        let node = streams.node(id);
        if let StreamOp::Source(table) = &node.op
            && named(&table.0, LATE_TABLE).is_some()
        {
            return Some(Arc::clone(&table.0));
        }
        open.extend(node.inputs.iter().copied().filter(|i| seen.insert(*i)));
    }
    None
}

impl Emit<'_> {
    /// The edges into the tables for rejected and late rows, with the table that each goes to.
    pub(super) fn sides(&mut self, plan: &JobPlan) -> Result<Vec<(Arc<Table>, Vec<Input>)>> {
        let mut sides = vec![];
        for (id, node) in plan.streams.nodes().filter(|(id, _)| plan.used.contains(id)) {
            let (option, table, schema, port) = match &node.op {
                StreamOp::Source(table) => {
                    (BAD_RECORD_TABLE, Arc::clone(&table.0), rejected_schema(), OutPort::REJECTED)
                }
                StreamOp::Window(_) => match late_table_below(&plan.streams, id) {
                    Some(table) => (LATE_TABLE, table, Arc::clone(&self.input(node)?.schema), OutPort::LATE),
                    None => continue,
                },
                _ => continue,
            };
            let Some((name, span)) = named(&table, option) else { continue };
            let Some(target) = plan.tables.get(&name) else {
                let fault = Fault::invalid(
                    span,
                    format!("table `{}`: '{option}' names `{name}`, which is no table", table.name),
                );
                return Err(fault.remedy(format!("define it before with CREATE TABLE `{name}` (..)")));
            };
            let Some(from) = self.made.get(&id).and_then(|m| m.nodes.first()).copied() else { continue };
            let edge = Input::new(from, Partitioning::Forward).out(port);
            let inputs = self.by_name(edge, schema, target, span)?;
            sides.push((Arc::clone(target), inputs));
        }
        Ok(sides)
    }

    /// The operator that puts rows of one schema into a table's columns, by name.
    fn by_name(&mut self, edge: Input, schema: SchemaRef, target: &Table, span: Span) -> Result<Vec<Input>> {
        let output = written_schema(target);
        let mut matched = false;
        let projections = output
            .fields()
            .iter()
            .map(|field| {
                let null = Expr::Literal(ScalarValue::try_from(field.data_type()).unwrap_or(ScalarValue::Null), None);
                let value = match schema.index_of(field.name()) {
                    Ok(at) if is_implicit(schema.field(at).data_type(), field.data_type()) => {
                        matched = true;
                        let value = super::stream::column(at);
                        if schema.field(at).data_type() == field.data_type() {
                            value
                        } else {
                            cast(value, field.data_type().clone())
                        }
                    }
                    _ => null,
                };
                compile(&value, &schema, &places(&schema))
            })
            .collect::<Result<Vec<_>>>()?;
        if !matched {
            let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            let fault = Fault::invalid(span, format!("table `{}` has none of the columns of these rows", target.name));
            return Err(fault.remedy(format!("give it some of {}", names.join(", "))));
        }
        let id = self.id(format!("side-{}-{}", target.name, edge.out.0));
        let calc = Calc { input: schema, predicate: None, projections: Some(projections), output: Arc::clone(&output) };
        let spec = NodeSpec::new(id, "project", NodeKind::Operator(Arc::new(calc)), vec![edge]);
        Ok(self.add(spec, output)?.edges(&Partitioning::Forward))
    }
}

fn places(schema: &Schema) -> Vec<Option<usize>> {
    (0..schema.fields().len()).map(Some).collect()
}
