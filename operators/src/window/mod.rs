//! Window aggregation: GROUP BY keys and a window. The planner fills in [`WindowAggregate`] and takes one or two operators of it:
//!
//! - two-phase: [`local`](WindowAggregate::local) in front of a hash edge on [`partial_keys`](WindowAggregate::partial_keys),
//!   [`global`](WindowAggregate::global) behind it: rows are folded before they travel. For event time and for rows that carry
//!   windows, if [`splits`](WindowAggregate::splits). The values of DISTINCT aggregates travel once per group and flush.
//! - [`one_phase`](WindowAggregate::one_phase), behind a hash edge on the keys, or alone at parallelism 1: for processing time, and
//!   where late rows are routed to a table, because only this sees them as they came in at all times.
//!
//! A window ending at `e` fires when the frontier reaches `e`, before the frontier is let through; its rows have
//! `window_time` = `e - 1 ms`, so they are never late further down. The end of the input fires everything, windows of
//! processing time included. A NULL event time is the user's error.
//!
//! **Late rows.** A row is late when all its windows have fired; a HOP row still counts in the others. The local phase decides by
//! its own frontier and hands late rows out raw. What it accepts can be late in the global phase only if its whole subtask was
//! idle in the meantime, and the others moved on; such rows are counted there, one by one, but are partial states by then.

pub mod assign;
mod distinct;
pub mod global;
pub mod local;
pub mod one_phase;
mod rows;
pub mod spec;
mod store;

pub use assign::AssignWindows;
pub(crate) use rows::millis;
pub use spec::Windows;

use crate::aggregate::{Aggregate, Program};
use crate::expr::{self, Expr, Text};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use distinct::Distinct;
use serde_json::{Value, json};
use std::sync::Arc;
use thalweg_engine::state::TableSpec;
use thalweg_engine::{Error, OperatorFactory, Result};

/// Where windows come from.
#[derive(Clone, Debug)]
pub enum WindowTime {
    /// From the event time of each row, a timestamp.
    Event {
        /// Over the input.
        time: Expr,
        /// The windows.
        windows: Windows,
    },
    /// Rows carry their window already: results of another window operator, grouped once more.
    Attached {
        /// The window's end, over the input.
        end: Expr,
        /// The windows they are.
        windows: Windows,
    },
    /// From the wall clock when a row arrives.
    Processing {
        /// The windows.
        windows: Windows,
    },
}

impl WindowTime {
    /// The windows.
    pub fn windows(&self) -> Windows {
        match self {
            WindowTime::Event { windows, .. }
            | WindowTime::Attached { windows, .. }
            | WindowTime::Processing { windows } => *windows,
        }
    }
}

/// An aggregation over windows, as the planner describes it.
#[derive(Clone, Debug)]
pub struct WindowAggregate {
    /// The columns of the input.
    pub input: SchemaRef,
    /// Where windows come from.
    pub time: WindowTime,
    /// What rows are grouped by, beside the window; over the input.
    pub keys: Vec<Expr>,
    /// What is computed; none: each key once per window.
    pub aggregates: Vec<Aggregate>,
    /// The columns of the output: keys, `window_start`, `window_end`, `window_time` (timestamps), aggregates.
    pub output: SchemaRef,
}

impl WindowAggregate {
    /// The operator in front of the hash edge; its output is [`WindowAggregate::partial_schema`].
    pub fn local(&self) -> Arc<dyn OperatorFactory> {
        let this = self.clone();
        Arc::new(move || Ok(Box::new(local::LocalWindow::new(this.compile()?)) as Box<dyn thalweg_engine::Operator>))
    }

    /// The operator behind the hash edge; its input is [`WindowAggregate::partial_schema`].
    pub fn global(&self) -> Arc<dyn OperatorFactory> {
        let this = self.clone();
        Arc::new(move || Ok(Box::new(global::GlobalWindow::new(this.compile()?)) as Box<dyn thalweg_engine::Operator>))
    }

    /// Both in one; its input must be partitioned by the keys.
    pub fn one_phase(&self) -> Arc<dyn OperatorFactory> {
        let this = self.clone();
        Arc::new(move || Ok(Box::new(one_phase::OnePhase::new(this.compile()?)) as Box<dyn thalweg_engine::Operator>))
    }

    /// Whether it can run in two phases.
    pub fn splits(&self) -> bool {
        !matches!(self.time, WindowTime::Processing { .. })
    }

    /// What travels between the phases: `slice_end`, keys, state columns. With DISTINCT aggregates also a column of values for each
    /// argument, and `part`: 0 in the rows of states, n in those of the n-th argument's values, whose other columns are NULL.
    pub fn partial_schema(&self) -> Result<SchemaRef> {
        Ok(self.compile()?.partial.clone())
    }

    /// The columns of [`WindowAggregate::partial_schema`] that the edge hashes.
    pub fn partial_keys(&self) -> Vec<usize> {
        (1..=self.keys.len()).collect()
    }

    /// What the state of the global phase or of the only one looks like, for the graph. Errors: as the operators' making, so that
    /// the planner gets them at plan time: `user` for windows and arguments that cannot be.
    pub fn signature(&self) -> Result<Value> {
        let plan = self.compile()?;
        let column = |f: &FieldRef| json!([f.name(), f.data_type().to_string()]);
        let states = plan.program.columns().iter().map(|c| json!([c.name(), c.data_type().to_string()]));
        let aggregate = |a: &Aggregate| {
            let text = |e: &Option<Expr>| e.as_ref().map(|e| Text(e).to_string());
            json!([format!("{:?}", a.function), text(&a.argument), text(&a.filter), a.distinct])
        };
        Ok(json!({
            "windows": format!("{:?}", plan.windows),
            "keys": plan.key_fields.iter().map(column).collect::<Vec<_>>(),
            "aggregates": self.aggregates.iter().map(aggregate).collect::<Vec<_>>(),
            "state": states.collect::<Vec<_>>(),
            "format": 1,
        }))
    }

    /// Checks and compiles it; what the operators and the phases' cores are made of. Errors: as [`WindowAggregate::signature`].
    pub fn compile(&self) -> Result<Arc<Plan>> {
        let windows = self.time.windows();
        windows.check()?;
        let program = Program::new(&self.aggregates, &self.input)?;
        let fields = self.output.fields();
        if fields.len() != self.keys.len() + 3 + self.aggregates.len() {
            let text = format!(
                "{} output columns for {} keys, 3 window columns and {} aggregates",
                fields.len(),
                self.keys.len(),
                self.aggregates.len()
            );
            return Err(Error::internal(text));
        }
        let key_fields: Vec<FieldRef> = fields.iter().take(self.keys.len()).cloned().collect();
        for (key, field) in self.keys.iter().zip(&key_fields) {
            let found = key.data_type(&self.input).map_err(|e| expr::error(&e))?;
            if found != *field.data_type() {
                let text =
                    format!("key `{}` is {found}, column `{}` is {}", Text(key), field.name(), field.data_type());
                return Err(Error::internal(text));
            }
        }
        for field in fields.iter().skip(self.keys.len()).take(3) {
            if !matches!(field.data_type(), DataType::Timestamp(..)) {
                return Err(Error::internal(format!("window column `{}` is {}", field.name(), field.data_type())));
            }
        }
        let distincts = Distinct::of(&program, &key_fields);
        let mut partial = vec![Field::new("slice_end", DataType::Int64, false)];
        partial.extend(key_fields.iter().map(|f| f.as_ref().clone()));
        partial.extend(program.partial_fields());
        if !distincts.is_empty() {
            partial.extend(distincts.iter().map(|d| d.field.as_ref().clone()));
            partial.push(Field::new("part", DataType::UInt32, false));
        }
        Ok(Arc::new(Plan {
            time: self.time.clone(),
            windows,
            attached: matches!(self.time, WindowTime::Attached { .. }),
            keys: self.keys.clone(),
            key_fields,
            program,
            distincts,
            partial: Arc::new(Schema::new(partial)),
            output: self.output.clone(),
        }))
    }
}

/// A compiled [`WindowAggregate`].
pub struct Plan {
    pub(crate) time: WindowTime,
    pub(crate) windows: Windows,
    /// Rows carry windows, each of which is one slice of its own.
    pub(crate) attached: bool,
    pub(crate) keys: Vec<Expr>,
    pub(crate) key_fields: Vec<FieldRef>,
    pub(crate) program: Program,
    pub(crate) distincts: Vec<Distinct>,
    pub(crate) partial: SchemaRef,
    pub(crate) output: SchemaRef,
}

impl Plan {
    /// The keyed table of a slice.
    pub(crate) fn table(&self) -> TableSpec {
        TableSpec::new(self.key_fields.iter().cloned(), self.program.named_columns().iter().cloned())
    }

    /// The first and the last end of the windows that a slice is part of.
    pub(crate) fn ends_of(&self, slice_end: i64) -> Option<(i64, i64)> {
        if self.attached { Some((slice_end, slice_end)) } else { self.windows.ends_of(slice_end) }
    }

    /// Up to which window end everything has fired at a frontier.
    pub(crate) fn fired_at(&self, frontier: i64) -> i64 {
        if self.attached { spec::clamp(frontier) } else { self.windows.last_end_through(frontier) }
    }
}

#[cfg(test)]
mod tests;
