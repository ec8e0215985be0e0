//! What aggregates read: arguments, filters and keys as columns of the calc below them, each once. Called for aggregates with windows and
//! without.

use super::lower::{Lower, Pending, bare, over_base};
use super::refuse;
use super::stream::AggregateSpec;
use crate::aggregate::{self, Function};
use crate::error::{Fault, Result};
use crate::nodes::as_aggregate;
use crate::shown::written;
use arrow::datatypes::DataType;
use datafusion_common::DFSchema;
use datafusion_expr::expr::{AggregateFunction, NullTreatment};
use datafusion_expr::{Expr, ExprSchemable, lit, when};
use thalweg_engine::type_name;
use thalweg_operators::aggregate::value::class_of;

/// The columns that the operator reads, each once.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) exprs: Vec<Expr>,
    pub(super) names: Vec<String>,
}

impl Inputs {
    pub(super) fn place(&mut self, expr: Expr, name: &str) -> usize {
        match self.exprs.iter().position(|e| *e == expr) {
            Some(at) => at,
            None => {
                self.exprs.push(expr);
                self.names.push(name.to_owned());
                self.exprs.len() - 1
            }
        }
    }
}

impl Lower<'_> {
    /// The place of a grouping expression among the inputs. Errors: its type can be no key.
    pub(super) fn key(&self, expr: &Expr, input: &Pending, schema: &DFSchema, inputs: &mut Inputs) -> Result<usize> {
        if let Ok(t) = expr.get_type(schema)
            && !is_key(&t)
        {
            let span = refuse::span_of(expr).unwrap_or(self.span);
            let fault = Fault::unsupported(span, format!("grouping by {}", type_name(&t)));
            return Err(fault.remedy("group by CAST(x AS STRING), or by what is in it"));
        }
        let over = over_base(&bare(expr), schema, &input.outputs)?;
        Ok(inputs.place(over, &name_of(expr)))
    }

    /// An aggregate call over the inputs.
    pub(super) fn call(
        &self,
        expr: &Expr,
        data_type: DataType,
        input: &Pending,
        schema: &DFSchema,
        inputs: &mut Inputs,
    ) -> Result<AggregateSpec> {
        let span = refuse::span_of(expr).unwrap_or(self.span);
        let Some(AggregateFunction { func, params }) = as_aggregate(expr) else {
            return Err(Fault::internal(format!("`{expr}` is no aggregate")));
        };
        let Some(kind) = aggregate::function(func.name()) else {
            return Err(Fault::unsupported(span, format!("aggregate `{}`", func.name()))
                .remedy("SHOW FUNCTIONS lists all functions"));
        };
        if !params.order_by.is_empty() {
            return Err(Fault::unsupported(span, "ORDER BY inside an aggregate")
                .remedy("leave it out: rows come in their stream's order"));
        }
        if params.null_treatment == Some(NullTreatment::RespectNulls) {
            return Err(Fault::unsupported(span, "RESPECT NULLS").remedy("leave it out: NULLs are skipped"));
        }
        // The same row twice changes neither of these.
        let idempotent = matches!(kind, Function::Min | Function::Max | Function::FirstValue | Function::LastValue);
        let distinct = params.distinct && !idempotent;
        if distinct && !matches!(kind, Function::Count | Function::Sum | Function::Avg) {
            return Err(Fault::unsupported(span, format!("{}(DISTINCT ..)", kind.name()))
                .remedy("write count, sum or avg(DISTINCT ..)"));
        }
        let argument = match &params.args[..] {
            [one] => Some(bare(one)),
            [] => None,
            _ => {
                return Err(
                    Fault::unsupported(span, format!("{} of several columns", kind.name())).remedy("name one column")
                );
            }
        };
        let argument = match argument.map(|a| ordered(a, kind, distinct, schema)).transpose() {
            Ok(argument) => argument,
            Err(data_type) => {
                let what = format!("{} of {}", kind.name(), type_name(&data_type));
                return Err(Fault::unsupported(span, what).remedy("pick a field, or CAST(x AS STRING)"));
            }
        };
        let counts_rows = |e: &Expr| matches!(e, Expr::Literal(v, _) if !v.is_null());
        let argument = match argument.filter(|a| distinct || kind != Function::Count || !counts_rows(a)) {
            Some(argument) => Some(inputs.place(over_base(&argument, schema, &input.outputs)?, &name_of(&argument))),
            None => None,
        };
        let filter = match &params.filter {
            Some(filter) if !matches!(filter.get_type(schema), Ok(DataType::Boolean | DataType::Null)) => {
                let fault = Fault::invalid(span, format!("the condition `{}` is not BOOLEAN", written(filter)));
                return Err(fault.remedy("compare it, for instance with <> 0"));
            }
            Some(filter) => Some(inputs.place(over_base(&bare(filter), schema, &input.outputs)?, "filter")),
            None => None,
        };
        Ok(AggregateSpec { kind, distinct, argument, filter, data_type })
    }
}

/// Whether state tables hold keys of a type.
fn is_key(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().all(|f| is_key(f.data_type())),
        other => !other.is_nested(),
    }
}

/// The argument of an aggregate, in a type that states hold; counting others is counting those that are not NULL.
fn ordered(argument: Expr, kind: Function, distinct: bool, schema: &DFSchema) -> std::result::Result<Expr, DataType> {
    match argument.get_type(schema) {
        Ok(t) if class_of(&t).is_some() => Ok(argument),
        Ok(_) if kind == Function::Count && !distinct => {
            when(argument.is_not_null(), lit(true)).end().map_err(|_| DataType::Null)
        }
        Ok(other) => Err(other),
        Err(_) => Ok(argument),
    }
}

/// What an expression's column is called: a plain column keeps its name.
pub(super) fn name_of(expr: &Expr) -> String {
    match bare(expr) {
        Expr::Column(c) => c.name,
        other => other.schema_name().to_string(),
    }
}
