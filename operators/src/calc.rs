//! Filter and projection in one operator. Stateless; weights and time pass through.
//!
//! Per batch: 1. the predicate is evaluated on all rows; 2. the *inputs* of the projections are collected: the columns they
//! mention, or only the field if all they want of a struct column is `struct.field`; 3. only those are filtered, in one pass
//! per column, and not at all if every row stays; 4. the projections are evaluated on what is left. A projection that is a
//! plain column or field is its input: no copy.

use crate::expr::{self, Expr, Kept};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion_physical_expr::ScalarFunctionExpr;
use datafusion_physical_expr::expressions::{Column, Literal};
use std::sync::Arc;
use thalweg_engine::{Batch, Context, Error, Operator, OperatorFactory, OutPort, Port, Result};

/// Filter and projection: `SELECT exprs WHERE predicate`, over the columns of its input.
#[derive(Clone, Debug)]
pub struct Calc {
    /// The columns of the input.
    pub input: SchemaRef,
    /// Keeps the rows for which it is true; `None` keeps all.
    pub predicate: Option<Expr>,
    /// One expression per column of `output`; `None`: the input's columns as they are.
    pub projections: Option<Vec<Expr>>,
    /// The columns of the output; types must be those of the expressions.
    pub output: SchemaRef,
}

impl Calc {
    /// Keeps some rows as they are.
    pub fn filter(input: SchemaRef, predicate: Expr) -> Calc {
        Calc { output: input.clone(), input, predicate: Some(predicate), projections: None }
    }

    /// Computes new columns from all rows.
    pub fn project(input: SchemaRef, projections: Vec<Expr>, output: SchemaRef) -> Calc {
        Calc { input, predicate: None, projections: Some(projections), output }
    }

    /// Compiles the expressions. Errors: `internal` if types or numbers of columns do not fit.
    pub fn compile(&self) -> Result<CalcOperator> {
        let fields = self.output.fields();
        let projections = match &self.projections {
            Some(p) => p.clone(),
            None => all_columns(&self.input),
        };
        if projections.len() != fields.len() {
            let text = format!("{} projections for {} output columns", projections.len(), fields.len());
            return Err(Error::internal(text));
        }
        for (p, field) in projections.iter().zip(fields) {
            let found = p.data_type(&self.input).map_err(|e| expr::error(&e))?;
            if found != *field.data_type() {
                let text = format!(
                    "projection `{}` is {found}, column `{}` is {}",
                    expr::Text(p),
                    field.name(),
                    field.data_type()
                );
                return Err(Error::internal(text));
            }
        }
        let mut inputs = Inputs::default();
        let projections = projections.iter().map(|p| inputs.collect(p, &self.input)).collect::<Result<_>>()?;
        Ok(CalcOperator {
            predicate: self.predicate.clone(),
            needed: Arc::new(Schema::new(inputs.fields)),
            inputs: inputs.exprs,
            projections,
            output: self.output.clone(),
        })
    }
}

impl OperatorFactory for Calc {
    fn operator(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(self.compile()?))
    }
}

fn all_columns(schema: &Schema) -> Vec<Expr> {
    let columns = schema.fields().iter().enumerate();
    columns.map(|(i, f)| Arc::new(Column::new(f.name(), i)) as Expr).collect()
}

/// What the projections read.
#[derive(Default)]
struct Inputs {
    exprs: Vec<Expr>,
    fields: Vec<Field>,
}

impl Inputs {
    /// Rewrites `projection` into one over the collected inputs, adding those it is the first to need.
    fn collect(&mut self, projection: &Expr, schema: &Schema) -> Result<Expr> {
        let rewritten = projection.clone().transform_down(|e| {
            if !is_input(&e) {
                return Ok(Transformed::no(e));
            }
            let known = self.exprs.iter().position(|known| known == &e);
            let place = match known {
                Some(place) => place,
                None => self.add(&e, schema)?,
            };
            let column: Expr = Arc::new(Column::new(&expr::Text(&e).to_string(), place));
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        });
        rewritten.data().map_err(|e| expr::error(&e))
    }

    fn add(&mut self, e: &Expr, schema: &Schema) -> std::result::Result<usize, DataFusionError> {
        self.fields.push(Field::new(expr::Text(e).to_string(), e.data_type(schema)?, true));
        self.exprs.push(e.clone());
        Ok(self.exprs.len() - 1)
    }
}

/// A column, or a field of a struct column: what can be had without a copy.
fn is_input(e: &Expr) -> bool {
    if e.is::<Column>() {
        return true;
    }
    let Some(function) = e.downcast_ref::<ScalarFunctionExpr>() else { return false };
    match function.args() {
        [of, names @ ..] if function.name() == "get_field" => is_input(of) && names.iter().all(|n| n.is::<Literal>()),
        _ => false,
    }
}

/// The running form of [`Calc`].
pub struct CalcOperator {
    predicate: Option<Expr>,
    /// The columns and fields that the projections read.
    inputs: Vec<Expr>,
    needed: SchemaRef,
    /// Over `needed`.
    projections: Vec<Expr>,
    output: SchemaRef,
}

impl CalcOperator {
    /// The result for one batch; `None` if no row is left. Errors: `user` for what the data does not allow.
    pub fn apply(&self, batch: &Batch) -> Result<Option<Batch>> {
        if batch.is_empty() {
            return Ok(None);
        }
        let kept = match &self.predicate {
            None => Kept::All,
            Some(predicate) => expr::select(predicate, batch.columns())?,
        };
        let needed = match kept {
            Kept::None => return Ok(None),
            Kept::All => self.needed(batch)?,
            Kept::Some(mask) => self.needed(batch)?.filter(&mask)?,
        };
        let rows = needed.columns();
        let columns = self.projections.iter().map(|p| expr::evaluate(p, rows)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(needed.num_rows()));
        let columns = RecordBatch::try_new_with_options(self.output.clone(), columns, &options)?;
        needed.with_columns(columns).map(Some)
    }

    fn needed(&self, batch: &Batch) -> Result<Batch> {
        let columns = self.inputs.iter().map(|e| expr::evaluate(e, batch.columns())).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        batch.with_columns(RecordBatch::try_new_with_options(self.needed.clone(), columns, &options)?)
    }
}

impl Operator for CalcOperator {
    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        match self.apply(&batch)? {
            Some(batch) => ctx.emit(OutPort::MAIN, batch),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "calc_tests.rs"]
mod tests;
