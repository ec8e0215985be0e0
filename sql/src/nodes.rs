//! The two logical operators that DataFusion does not have: a table's rowtime mark, and a window table function.
//!
//! Made by the [`relation`](crate::relation) planner and the [`catalog`](crate::catalog), kept through DataFusion's optimizer, taken
//! apart by the graph planner.
//!
//! Invariants
//! - N1 no predicate on a window column sinks below its window function; all others do.
//! - N2 both nodes pass column pruning through; a rowtime mark whose column was pruned marks nothing.

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion_common::{Column, DFSchema, DFSchemaRef, Result, TableReference};
use datafusion_expr::logical_plan::{Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion_expr::{Expr, expr::AggregateFunction};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// The columns that a window function adds.
pub(crate) const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// Which windows a row falls into; all in milliseconds, `offset` shifts the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WindowKind {
    /// Every row into one window.
    Tumble {
        /// Length.
        size: i64,
        /// Shift of the grid.
        offset: i64,
    },
    /// Every row into `size / slide` windows.
    Hop {
        /// Distance of starts.
        slide: i64,
        /// Length.
        size: i64,
        /// Shift of the grid.
        offset: i64,
    },
    /// Windows with one start, growing by `step` up to `size`.
    Cumulate {
        /// Growth.
        step: i64,
        /// Largest length.
        size: i64,
        /// Shift of the grid.
        offset: i64,
    },
}

impl fmt::Display for WindowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = match self {
            WindowKind::Tumble { size, offset } => {
                write!(f, "tumble {size} ms")?;
                offset
            }
            WindowKind::Hop { slide, size, offset } => {
                write!(f, "hop {size} ms every {slide} ms")?;
                offset
            }
            WindowKind::Cumulate { step, size, offset } => {
                write!(f, "cumulate {size} ms by {step} ms")?;
                offset
            }
        };
        if *offset == 0 { Ok(()) } else { write!(f, " offset {offset} ms") }
    }
}

/// Puts rows into windows: the input's columns, then [`WINDOW_COLUMNS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowTvf {
    pub(crate) input: LogicalPlan,
    pub(crate) kind: WindowKind,
    /// The time column; the rowtime of the input, or a processing time.
    pub(crate) time: Expr,
    pub(crate) processing_time: bool,
    /// No column of the input may be pruned: a table takes the late rows.
    pub(crate) whole: bool,
    pub(crate) schema: DFSchemaRef,
}

impl WindowTvf {
    pub(crate) fn try_new(
        input: LogicalPlan,
        kind: WindowKind,
        time: Expr,
        processing_time: bool,
        whole: bool,
    ) -> Result<WindowTvf> {
        use datafusion_expr::ExprSchemable;
        let data_type = time.get_type(input.schema())?;
        let mut fields: Vec<(Option<TableReference>, FieldRef)> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        let bound = DataType::Timestamp(TimeUnit::Millisecond, None);
        let types = [bound.clone(), bound, data_type];
        fields.extend(WINDOW_COLUMNS.iter().zip(types).map(|(name, t)| (None, Arc::new(Field::new(*name, t, false)))));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(WindowTvf { input, kind, time, processing_time, whole, schema })
    }
}

impl PartialOrd for WindowTvf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.kind.partial_cmp(&other.kind)
    }
}

impl UserDefinedLogicalNodeCore for WindowTvf {
    fn name(&self) -> &str {
        "WindowTvf"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone()]
    }
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        WINDOW_COLUMNS.map(String::from).into()
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowTvf: {} on {}", self.kind, self.time)
    }
    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (time, input) = only(exprs, inputs)?;
        let Some(time) = time else { return datafusion_common::internal_err!("a window function lost its time") };
        Self::try_new(input, self.kind, time, self.processing_time, self.whole)
    }
    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        let inputs = self.input.schema().fields().len();
        let asked = || output.iter().copied().filter(|i| *i < inputs).collect();
        Some(vec![if self.whole { (0..inputs).collect() } else { asked() }])
    }
}

/// Marks a table's rowtime: the column that its WATERMARK is about. The watermark itself is made in the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rowtime {
    pub(crate) input: LogicalPlan,
    pub(crate) column: Column,
}

impl PartialOrd for Rowtime {
    fn partial_cmp(&self, _: &Self) -> Option<Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Rowtime {
    fn name(&self) -> &str {
        "Rowtime"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }
    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }
    /// The watermark is made before any filter, in the source: predicates may pass.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::new()
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rowtime: {}", self.column)
    }
    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (_, input) = only(exprs, inputs)?;
        Ok(Rowtime { input, column: self.column.clone() })
    }
    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output.to_vec()])
    }
}

fn only(exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<(Option<Expr>, LogicalPlan)> {
    match inputs.into_iter().next() {
        Some(input) => Ok((exprs.into_iter().next(), input)),
        None => datafusion_common::internal_err!("a plan node lost its input"),
    }
}

/// A logical node of ours in a plan.
pub(crate) fn extension(node: impl UserDefinedLogicalNodeCore) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// The node of ours that a plan is, if it is one.
pub(crate) fn downcast<T: 'static>(plan: &LogicalPlan) -> Option<&T> {
    match plan {
        LogicalPlan::Extension(e) => e.node.as_any().downcast_ref::<T>(),
        _ => None,
    }
}

/// The aggregate call under any aliases.
pub(crate) fn as_aggregate(expr: &Expr) -> Option<&AggregateFunction> {
    match expr {
        Expr::Alias(alias) => as_aggregate(&alias.expr),
        Expr::AggregateFunction(call) => Some(call),
        _ => None,
    }
}
