//! Window aggregates as operators of the graph: in two phases around the hash edge where the operator can, else in one behind it.

use super::physical::{Emit, Made, compile, short};
use super::stream::{AggregateSpec, StreamNode, StreamOp, Streams, WindowSpec, Windows};
use crate::error::{Fault, Result};
use crate::nodes::WindowKind;
use arrow::datatypes::Schema;
use std::sync::Arc;
use thalweg_engine::{NodeKind, NodeSpec, Partitioning};
use thalweg_operators::aggregate::Aggregate;
use thalweg_operators::window::{AssignWindows, WindowAggregate, WindowTime, Windows as OperatorWindows};

/// Adds the operators of a window aggregate.
pub(crate) fn emit(emit: &mut Emit<'_>, node: &StreamNode, spec: &WindowSpec) -> Result<Made> {
    let input = emit.input(node)?.clone();
    let of = |place: usize| compile(&super::stream::column(place), &input.schema, &input.places);
    let kind =
        window_kind(emit.streams, node, spec).ok_or_else(|| Fault::internal("rows carry bounds of no window"))?;
    let windows = operator_windows(kind);
    let time = match &spec.windows {
        Windows::EventTime { time, .. } => WindowTime::Event { time: of(*time)?, windows },
        Windows::ProcessingTime { .. } => WindowTime::Processing { windows },
        Windows::Attached { end, .. } => WindowTime::Attached { end: of(*end)?, windows },
    };
    let aggregate = |a: &AggregateSpec| -> Result<Aggregate> {
        let argument = a.argument.map(of).transpose()?;
        let filter = a.filter.map(of).transpose()?;
        Ok(Aggregate { function: a.kind, argument, filter, distinct: a.distinct, output: a.data_type.clone() })
    };
    let aggregates = spec.aggregates.iter().map(aggregate).collect::<Result<Vec<_>>>()?;
    let keys = spec.keys.iter().map(|k| of(*k)).collect::<Result<Vec<_>>>()?;
    let key_columns: Vec<usize> = spec.keys.iter().filter_map(|k| input.places.get(*k).copied().flatten()).collect();
    let operator =
        WindowAggregate { input: Arc::clone(&input.schema), time, keys, aggregates, output: Arc::clone(&node.schema) };
    let signature = operator
        .signature()
        .map_err(|e| Fault::invalid(emit.span, e.message()).remedy("choose other windows or arguments"))?;
    let id = format!("window-{:08x}", short(node.rows));
    let label = format!("window aggregate {kind}");
    // Late rows are routed as they came in: only the one-phase operator sees them so at all times.
    if !operator.splits() || spec.late.is_some() {
        let kind = NodeKind::Operator(operator.one_phase());
        let edges = input.edges(&Partitioning::Hash(key_columns));
        let spec = NodeSpec::new(emit.id(id), label, kind, edges).signature(signature);
        return emit.add(spec, Arc::clone(&node.schema));
    }
    let partial = operator.partial_schema().map_err(|e| Fault::internal(e.to_string()))?;
    let local_id = emit.id(format!("{id}-local"));
    let local = NodeSpec::new(
        local_id,
        format!("local {label}"),
        NodeKind::Operator(operator.local()),
        input.edges(&Partitioning::Forward),
    );
    let local = emit.add(local, partial)?;
    let edges = local.edges(&Partitioning::Hash(operator.partial_keys()));
    let global = NodeSpec::new(emit.id(id), label, NodeKind::Operator(operator.global()), edges).signature(signature);
    emit.add(global, Arc::clone(&node.schema))
}

/// Adds the operator that puts rows into windows.
pub(crate) fn assign(emit: &mut Emit<'_>, node: &StreamNode, windows: &Windows) -> Result<Made> {
    let input = emit.input(node)?.clone();
    let (kind, time) = match windows {
        Windows::EventTime { kind, time } => {
            let time = compile(&super::stream::column(*time), &input.schema, &input.places)?;
            (kind, WindowTime::Event { time, windows: operator_windows(*kind) })
        }
        Windows::ProcessingTime { kind } => (kind, WindowTime::Processing { windows: operator_windows(*kind) }),
        Windows::Attached { .. } => return Err(Fault::internal("rows that carry windows are put into windows")),
    };
    // What was pruned below is not there; what is, keeps its place.
    let below = input.schema.fields().len();
    let first = node.schema.fields().len() - 3;
    let fields = input.schema.fields().iter().chain(node.schema.fields().iter().skip(first)).cloned();
    let output = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let operator = AssignWindows { time, output: Arc::clone(&output) };
    operator
        .time
        .windows()
        .check()
        .map_err(|e| Fault::invalid(emit.span, e.message()).remedy("choose other windows"))?;
    let kind_of = NodeKind::Operator(Arc::new(operator));
    let id = emit.id(format!("assign-{:08x}", short(node.rows)));
    let spec = NodeSpec::new(id, format!("assign {kind}"), kind_of, input.edges(&Partitioning::Forward));
    let mut made = emit.add(spec, output)?;
    made.places = input.places.into_iter().chain((below..below + 3).map(Some)).collect();
    Ok(made)
}

/// The windows; for rows that carry bounds those of the aggregate below that made them.
fn window_kind(streams: &Streams, node: &StreamNode, spec: &WindowSpec) -> Option<WindowKind> {
    match &spec.windows {
        Windows::EventTime { kind, .. } | Windows::ProcessingTime { kind } => Some(*kind),
        Windows::Attached { .. } => node.inputs.iter().find_map(|input| {
            let below = streams.node(*input);
            match &below.op {
                StreamOp::Window(spec) => window_kind(streams, below, spec),
                StreamOp::Assign(Windows::EventTime { kind, .. } | Windows::ProcessingTime { kind }) => Some(*kind),
                StreamOp::Assign(Windows::Attached { .. }) => None,
                StreamOp::Calc { .. } | StreamOp::Union => window_kind(streams, below, spec),
                StreamOp::Group(_)
                | StreamOp::Join(_)
                | StreamOp::Source(_)
                | StreamOp::Constant { .. }
                | StreamOp::Values { .. } => None,
            }
        }),
    }
}

fn operator_windows(kind: WindowKind) -> OperatorWindows {
    match kind {
        WindowKind::Tumble { size, offset } => OperatorWindows::Tumble { size_ms: size, offset_ms: offset },
        WindowKind::Hop { slide, size, offset } => {
            OperatorWindows::Hop { slide_ms: slide, size_ms: size, offset_ms: offset }
        }
        WindowKind::Cumulate { step, size, offset } => {
            OperatorWindows::Cumulate { step_ms: step, size_ms: size, offset_ms: offset }
        }
    }
}
