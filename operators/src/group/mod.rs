//! Updating aggregation: GROUP BY without a window. The planner fills in [`GroupAggregate`] and takes two operators of it:
//! [`local`](GroupAggregate::local) in front of a hash edge on [`partial_keys`](GroupAggregate::partial_keys) folds rows before they
//! travel, [`global`](GroupAggregate::global) behind it keeps one entry per group and emits, once per epoch, what has changed: -1 the
//! old row, +1 the new one.
//!
//! | input | takes |
//! |---|---|
//! | append | all aggregates |
//! | changelog | all but FIRST_VALUE and LAST_VALUE |
//!
//! An aggregate without keys is one row from the first epoch on, also over no input. A group is gone when its last row is.
//! SELECT DISTINCT over an append stream emits each row once, at once, and is an append stream itself: it needs no epochs.
//!
//! The values of DISTINCT arguments are counted per group and value; what is folded are the values that come and go. MIN and MAX over a
//! changelog keep all values of a group, and look at them when the one that they show may have gone.

mod delta;
mod global;
mod local;
mod values;

use crate::aggregate::{Aggregate, Program};
use crate::expr::{self, Expr, Text};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
pub(crate) use delta::record_batch;
use serde_json::{Value, json};
use std::sync::Arc;
use thalweg_engine::state::{TableSpec, ValueColumn};
use thalweg_engine::{Error, Operator, OperatorFactory, Result, StreamKind};
use values::ArgumentValues;

/// An aggregation without windows, as the planner describes it.
#[derive(Clone, Debug)]
pub struct GroupAggregate {
    /// The columns of the input.
    pub input: SchemaRef,
    /// What the input is.
    pub kind: StreamKind,
    /// What rows are grouped by; over the input. None: one group.
    pub keys: Vec<Expr>,
    /// What is computed; none: each key once.
    pub aggregates: Vec<Aggregate>,
    /// The event time of a row, a timestamp over the input: what FIRST_VALUE and LAST_VALUE go by.
    pub time: Option<Expr>,
    /// The columns of the output: keys, aggregates.
    pub output: SchemaRef,
}

impl GroupAggregate {
    /// The operator in front of the hash edge; its output is [`GroupAggregate::partial_schema`].
    pub fn local(&self) -> Arc<dyn OperatorFactory> {
        let this = self.clone();
        Arc::new(move || Ok(Box::new(local::LocalGroup::new(this.compile()?)) as Box<dyn Operator>))
    }

    /// The operator behind the hash edge; its input is [`GroupAggregate::partial_schema`].
    pub fn global(&self) -> Arc<dyn OperatorFactory> {
        let this = self.clone();
        Arc::new(move || Ok(Box::new(global::GlobalGroup::new(this.compile()?)) as Box<dyn Operator>))
    }

    /// What the output is: distinct rows of an append stream stay, everything else is updated.
    pub fn output_kind(&self) -> StreamKind {
        if self.aggregates.is_empty() && !self.keys.is_empty() { self.kind } else { StreamKind::Changelog }
    }

    /// What travels between the phases: keys, state columns. With DISTINCT aggregates, or MIN and MAX over a
    /// changelog, also a column of values for each argument, the
    /// number of rows that have it (`weight`), and `part`: 0 in the rows of states, n in those of the n-th argument's values, whose
    /// other columns are NULL.
    pub fn partial_schema(&self) -> Result<SchemaRef> {
        Ok(self.compile()?.partial.clone())
    }

    /// The columns of [`GroupAggregate::partial_schema`] that the edge hashes.
    pub fn partial_keys(&self) -> Vec<usize> {
        (0..self.keys.len()).collect()
    }

    /// What the state looks like, for the graph. Errors: as the operators' making, so that the planner gets them at plan time: `user`
    /// for arguments that a function does not take.
    pub fn signature(&self) -> Result<Value> {
        let plan = self.compile()?;
        let column = |f: &FieldRef| json!([f.name(), f.data_type().to_string()]);
        let states = plan.program.columns().iter().map(|c| json!([c.name(), c.data_type().to_string()]));
        let aggregate = |a: &Aggregate| {
            let text = |e: &Option<Expr>| e.as_ref().map(|e| Text(e).to_string());
            json!([format!("{:?}", a.function), text(&a.argument), text(&a.filter), a.distinct])
        };
        Ok(json!({
            "keys": plan.key_fields.iter().map(column).collect::<Vec<_>>(),
            "aggregates": self.aggregates.iter().map(aggregate).collect::<Vec<_>>(),
            "state": states.collect::<Vec<_>>(),
            "input": self.kind.name(),
            "format": 1,
        }))
    }

    /// Checks and compiles it. Errors: as [`GroupAggregate::signature`].
    pub fn compile(&self) -> Result<Arc<Plan>> {
        let program = Program::over(self.kind, &self.aggregates, &self.input)?;
        if self.kind == StreamKind::Changelog
            && let Some(function) = program.irrevocable()
        {
            let text = format!("{} of a stream whose rows may go again", function.name().to_uppercase());
            return Err(Error::user(text));
        }
        let fields = self.output.fields();
        if fields.len() != self.keys.len() + self.aggregates.len() {
            let (keys, aggregates) = (self.keys.len(), self.aggregates.len());
            let text = format!("{} output columns for {keys} keys and {aggregates} aggregates", fields.len());
            return Err(Error::internal(text));
        }
        let key_fields: Vec<FieldRef> = fields.iter().take(self.keys.len()).cloned().collect();
        for (key, field) in self.keys.iter().zip(&key_fields) {
            let found = key.data_type(&self.input).map_err(|e| expr::error(&e))?;
            if found != *field.data_type() {
                let (name, wanted) = (field.name(), field.data_type());
                return Err(Error::internal(format!("key `{}` is {found}, column `{name}` is {wanted}", Text(key))));
            }
        }
        let values = ArgumentValues::of(&program, &key_fields);
        let mut partial: Vec<Field> = key_fields.iter().map(|f| f.as_ref().clone()).collect();
        partial.extend(program.partial_fields());
        if !values.is_empty() {
            partial.extend(values.iter().map(|d| d.field.as_ref().clone().with_nullable(true)));
            partial.push(Field::new("weight", DataType::Int64, false));
            partial.push(Field::new("part", DataType::UInt32, false));
        }
        Ok(Arc::new(Plan {
            keys: self.keys.clone(),
            key_fields,
            time: self.time.clone(),
            at_once: self.output_kind() == StreamKind::Append,
            program,
            values,
            partial: Arc::new(Schema::new(partial)),
            output: self.output.clone(),
        }))
    }
}

/// A compiled [`GroupAggregate`].
pub struct Plan {
    keys: Vec<Expr>,
    key_fields: Vec<FieldRef>,
    time: Option<Expr>,
    /// Groups are emitted when they appear, and never change.
    at_once: bool,
    program: Program,
    values: Vec<ArgumentValues>,
    partial: SchemaRef,
    output: SchemaRef,
}

impl Plan {
    /// The table of groups, with names for people.
    fn table(&self) -> TableSpec {
        let values: Vec<ValueColumn> = self.program.named_columns().to_vec();
        TableSpec::new(self.key_fields.iter().cloned(), values)
    }
}

#[cfg(test)]
mod tests;
