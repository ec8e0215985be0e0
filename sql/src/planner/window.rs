//! Window aggregates: a logical aggregate over windowed rows becomes one streaming operator.
//!
//! Either the rows below were put into windows by a window function, which then needs no operator of its own, or they are results
//! of another window aggregate and carry its bounds (*attached*).

use super::calls::Inputs;
use super::lower::{Lower, Pending, bare, over_base, window_place};
use super::stream::{Late, StreamId, StreamNode, StreamOp, WindowSpec, Windows, column, mix, place, places};
use super::{refuse, written_schema};
use crate::attribute::Attribute;
use crate::error::{Fault, Result};
use crate::nodes::WINDOW_COLUMNS;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion_common::DFSchema;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::logical_plan::Aggregate;
use datafusion_expr::{Expr, lit};
use std::sync::Arc;
use thalweg_engine::StreamKind;
use thalweg_engine::key::hash_text;

/// The type of window_start and window_end.
pub(crate) const BOUND: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// What a grouping expression is.
enum Group {
    /// A bound of the window.
    Bound(usize),
    /// A key: the place among the operator's keys.
    Key(usize),
}

impl Lower<'_> {
    pub(super) fn aggregate(&mut self, input: Pending, aggregate: &Aggregate) -> Result<Pending> {
        let schema = Arc::clone(aggregate.input.schema());
        let input = self.assign_if_computed(input, &schema, aggregate)?;
        let attribute = |e: &Expr| bound_of(e, &schema, &input.attributes);
        let bounds: Vec<usize> = aggregate.group_expr.iter().filter_map(attribute).map(|(place, _)| place).collect();
        if !(bounds.contains(&0) && bounds.contains(&1)) {
            return self.group(input, aggregate);
        }
        let processing_time = aggregate.group_expr.iter().find_map(attribute).is_some_and(|(_, p)| p);
        let mut inputs = Inputs::default();
        let windows = self.windows(&input, &schema, aggregate, processing_time, &mut inputs)?;
        let mut keys = vec![];
        let mut groups = vec![];
        for expr in &aggregate.group_expr {
            groups.push(match attribute(expr) {
                Some((place, _)) => Group::Bound(place),
                None => {
                    let at = self.key(expr, &input, &schema, &mut inputs)?;
                    Group::Key(keys.iter().position(|k| *k == at).unwrap_or_else(|| {
                        keys.push(at);
                        keys.len() - 1
                    }))
                }
            });
        }
        let mut aggregates = vec![];
        for (i, expr) in aggregate.aggr_expr.iter().enumerate() {
            let data_type = aggregate.schema.field(aggregate.group_expr.len() + i).data_type().clone();
            aggregates.push(self.call(expr, data_type, &input, &schema, &mut inputs)?);
        }
        let late = input.window.as_ref().and_then(|w| w.late.as_ref()).map(|(table, exprs)| Late {
            table: table.clone(),
            columns: written_schema(&table.0)
                .fields()
                .iter()
                .zip(exprs)
                .map(|(f, e)| inputs.place(e.clone(), f.name()))
                .collect(),
        });
        self.window_node(input, inputs, WindowSpec { windows, keys, aggregates, late }, &groups, aggregate)
    }

    /// Rows that were put into windows, with the bounds as columns; all others as they are.
    pub(super) fn assign(&mut self, input: Pending) -> Result<Pending> {
        let Some(window) = input.window else { return Ok(input) };
        let mut used: Vec<Expr> = input.outputs.iter().flat_map(places).map(column).collect();
        let time = used.iter().position(|e| *e == window.time).unwrap_or_else(|| {
            used.push(window.time.clone());
            used.len() - 1
        });
        let mut inner = Inputs::default();
        let below = Arc::clone(&self.streams.node(input.base).schema);
        for expr in &used {
            let name = place(expr).and_then(|p| below.fields().get(p)).map_or(&window.time_name, |f| f.name());
            inner.place(expr.clone(), name);
        }
        let time = inner.place(used.swap_remove(time), &window.time_name);
        let mut attributes = vec![None; inner.exprs.len()];
        attributes[time] = (!window.processing_time).then_some(Attribute::Rowtime);
        let Inputs { exprs, names } = inner;
        let (first, outputs) = (exprs.len(), exprs.clone());
        let calc = Pending { base: input.base, predicates: input.predicates, outputs, attributes, window: None };
        let id = self.calc(calc, &names, None)?;
        let windows = match window.processing_time {
            true => Windows::ProcessingTime { kind: window.kind },
            false => Windows::EventTime { kind: window.kind, time },
        };
        let node = assign_node(self.streams.node(id), id, windows);
        let moved = |e: Expr| {
            let moved = e.transform(|e| {
                let at = match (window_place(&e), place(&e)) {
                    (Some(bound), _) => Some(first + bound),
                    (None, Some(_)) => exprs.iter().position(|known| *known == e),
                    _ => None,
                };
                Ok(at.map_or(Transformed::no(e), |at| Transformed::yes(column(at))))
            });
            moved.map(|t| t.data).map_err(crate::fault::of)
        };
        let predicates = window.predicates.into_iter().map(moved).collect::<Result<_>>()?;
        let outputs = input.outputs.into_iter().map(moved).collect::<Result<_>>()?;
        let base = self.streams.add(node, vec![]);
        Ok(Pending { base, predicates, outputs, attributes: input.attributes, window: None })
    }

    /// Makes columns of the bounds if the aggregate computes with them: what it groups by is one of them as it is, or none.
    fn assign_if_computed(&mut self, input: Pending, schema: &DFSchema, aggregate: &Aggregate) -> Result<Pending> {
        let plain = |e: &&Expr| bound_of(e, schema, &input.attributes).is_none();
        let mut computed = false;
        for expr in aggregate.group_expr.iter().filter(plain).chain(&aggregate.aggr_expr) {
            computed |= super::lower::mentions_window(&over_base(&bare(expr), schema, &input.outputs)?);
        }
        if computed { self.assign(input) } else { Ok(input) }
    }

    /// Where the windows come from, with the columns that say so.
    fn windows(
        &mut self,
        input: &Pending,
        schema: &DFSchema,
        aggregate: &Aggregate,
        processing_time: bool,
        inputs: &mut Inputs,
    ) -> Result<Windows> {
        if let Some(window) = &input.window {
            return Ok(match window.processing_time {
                true => Windows::ProcessingTime { kind: window.kind },
                false => {
                    Windows::EventTime { kind: window.kind, time: inputs.place(window.time.clone(), &window.time_name) }
                }
            });
        }
        let mut bound = |wanted: usize| -> Result<usize> {
            let is = |e: &&Expr| bound_of(e, schema, &input.attributes).is_some_and(|(place, _)| place == wanted);
            match aggregate.group_expr.iter().find(is) {
                Some(expr) => Ok(inputs.place(over_base(&bare(expr), schema, &input.outputs)?, WINDOW_COLUMNS[wanted])),
                None => Err(Fault::internal(format!("an aggregate without {}", WINDOW_COLUMNS[wanted]))),
            }
        };
        Ok(Windows::Attached { start: bound(0)?, end: bound(1)?, processing_time })
    }

    fn window_node(
        &mut self,
        mut input: Pending,
        mut inputs: Inputs,
        spec: WindowSpec,
        groups: &[Group],
        aggregate: &Aggregate,
    ) -> Result<Pending> {
        let window = input.window.take();
        if inputs.exprs.is_empty() {
            // count(*) by processing time: rows without columns have no length everywhere.
            inputs.place(lit(true), "row");
        }
        // Constants are no columns for hashing and need none.
        input.attributes = vec![None; inputs.exprs.len()];
        if let Windows::EventTime { time, .. } = &spec.windows
            && let Some(attribute) = input.attributes.get_mut(*time)
        {
            *attribute = Some(Attribute::Rowtime);
        }
        input.outputs = inputs.exprs;
        let below = self.calc(input, &inputs.names, None)?;
        if self.streams.node(below).kind == StreamKind::Changelog {
            return Err(refuse::window_of_changes(aggregate, self.span));
        }
        let node = node(self.streams.node(below), below, spec, aggregate)?;
        let (keys, rowtime) = (node.schema.fields().len(), node.rowtime.is_some());
        let StreamOp::Window(spec) = &node.op else { return Err(Fault::internal("a window is no window")) };
        let (first_bound, first_call) = (spec.keys.len(), spec.keys.len() + WINDOW_COLUMNS.len());
        let mut outputs = vec![];
        let mut attributes = vec![];
        for group in groups {
            match group {
                Group::Bound(place) => {
                    outputs.push(column(first_bound + place));
                    attributes.push(Some(Attribute::Window { place: *place, processing_time: !rowtime }));
                }
                Group::Key(place) => {
                    outputs.push(column(*place));
                    attributes.push(None);
                }
            }
        }
        outputs.extend((first_call..keys).map(column));
        attributes.resize(outputs.len(), None);
        let base = self.streams.add(node, vec![]);
        let asked = window.map_or(vec![], |w| w.predicates);
        let predicates = asked.into_iter().map(|p| over_bounds(p, first_bound)).collect::<Result<_>>()?;
        Ok(Pending { base, predicates, outputs, attributes, window: None })
    }
}

/// A predicate on window bounds over the operator's output.
fn over_bounds(predicate: Expr, first_bound: usize) -> Result<Expr> {
    let replaced = predicate.transform(|e| match window_place(&e) {
        Some(place) => Ok(Transformed::yes(column(first_bound + place))),
        None => Ok(Transformed::no(e)),
    });
    replaced.map(|t| t.data).map_err(crate::fault::of)
}

fn bound_of(expr: &Expr, schema: &DFSchema, attributes: &[Option<Attribute>]) -> Option<(usize, bool)> {
    match bare(expr) {
        Expr::Column(c) => match attributes.get(schema.maybe_index_of_column(&c)?)? {
            Some(Attribute::Window { place, processing_time }) => Some((*place, *processing_time)),
            _ => None,
        },
        _ => None,
    }
}

/// The node that puts rows into windows.
fn assign_node(below: &StreamNode, id: StreamId, windows: Windows) -> StreamNode {
    let columns = below.schema.fields().len();
    let time_type = match &windows {
        Windows::EventTime { time, .. } => below.schema.field(*time).data_type().clone(),
        _ => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
    };
    let what = mix([hash_text(&window_text(&windows, below)), below.rows]);
    let mut fields: Vec<Field> = below.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut lineage = below.lineage.clone();
    for (name, data_type) in WINDOW_COLUMNS.iter().zip([BOUND, BOUND, time_type]) {
        fields.push(Field::new(*name, data_type, false));
        lineage.push(mix([hash_text(name), what]));
    }
    let rowtime = matches!(windows, Windows::EventTime { .. }).then_some(columns + 2);
    StreamNode {
        op: StreamOp::Assign(windows),
        inputs: vec![id],
        schema: Arc::new(Schema::new(fields)),
        lineage,
        rows: mix([hash_text("assign"), what]),
        kind: below.kind,
        rowtime,
        unique: vec![],
    }
}

fn node(below: &StreamNode, id: StreamId, spec: WindowSpec, aggregate: &Aggregate) -> Result<StreamNode> {
    let event_time = match &spec.windows {
        Windows::EventTime { .. } => true,
        Windows::ProcessingTime { .. } => false,
        Windows::Attached { processing_time, .. } => !processing_time,
    };
    let time_type = match &spec.windows {
        Windows::EventTime { time, .. } => below.schema.field(*time).data_type().clone(),
        Windows::ProcessingTime { .. } => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Windows::Attached { .. } => BOUND,
    };
    let mut fields: Vec<Field> = spec.keys.iter().map(|k| below.schema.field(*k).clone()).collect();
    let mut lineage: Vec<u64> = spec.keys.iter().map(|k| below.lineage[*k]).collect();
    let key_lineage = mix(lineage.iter().copied());
    let windows = mix([hash_text(&window_text(&spec.windows, below)), below.rows]);
    for (name, data_type) in WINDOW_COLUMNS.iter().zip([BOUND, BOUND, time_type]) {
        fields.push(Field::new(*name, data_type, false));
        lineage.push(mix([hash_text(name), windows]));
    }
    let groups = aggregate.group_expr.len();
    let mut calls = vec![];
    for (i, call) in spec.aggregates.iter().enumerate() {
        fields.push(Field::new(aggregate.schema.field(groups + i).name(), call.data_type.clone(), true));
        let part = |p: Option<usize>| p.map_or(0, |p| below.lineage[p]);
        let what = hash_text(&format!("{} distinct={}", call.kind.name(), call.distinct));
        calls.push(mix([what, part(call.argument), part(call.filter)]));
        lineage.push(mix([windows, key_lineage, calls[i]]));
    }
    let names = crate::naming::unique(fields.iter().map(|f| f.name()));
    let fields: Vec<Field> = fields.into_iter().zip(names).map(|(f, n)| f.with_name(n)).collect();
    let bounds = spec.keys.len();
    Ok(StreamNode {
        rows: mix([windows, key_lineage].into_iter().chain(calls)),
        lineage,
        kind: StreamKind::Append,
        rowtime: event_time.then_some(bounds + 2),
        unique: (0..bounds + 2).collect(),
        schema: Arc::new(Schema::new(fields)),
        inputs: vec![id],
        op: StreamOp::Window(spec),
    })
}

/// The windows in words, over lineage.
fn window_text(windows: &Windows, below: &StreamNode) -> String {
    match windows {
        Windows::EventTime { kind, time } => format!("{kind} on {:016x}", below.lineage[*time]),
        Windows::ProcessingTime { kind } => format!("{kind} on the clock"),
        Windows::Attached { end, .. } => format!("attached {:016x}", below.lineage[*end]),
    }
}
