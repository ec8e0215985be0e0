//! Filter and projection in one operator. Stateless; weights and time pass through.
//!
//! Per batch: 1. the parts of the predicate that only compare columns with constants are evaluated on all rows; if they leave
//! few, the rest sees only those; 2. what the rest of the predicate has in common with the projections is computed, and the rest
//! evaluated; 3. only columns that the projections read are filtered, in one pass per column, and not at all if every row
//! stays; 4. what the projections have in common is computed, and then they are. A column, or a field of a struct column, is
//! taken as it is: no copy.

use crate::choose;
use crate::expr::{self, Expr, Kept};
use crate::share::{Sharing, is_cheap, is_input};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::and;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{conjunction_opt, split_conjunction};
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
        CalcOperator::new(self, projections)
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

/// The columns of `schema` and those of `more`, which are over the columns before them.
fn extended(schema: &SchemaRef, more: &[Expr]) -> Result<SchemaRef> {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    for e in more {
        let data_type = e.data_type(&Schema::new(fields.clone())).map_err(|e| expr::error(&e))?;
        fields.push(Arc::new(Field::new(expr::Text(e).to_string(), data_type, true)));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// If no more of the rows than this are left, they are taken out before the rest of the predicate is evaluated.
const FEW: (usize, usize) = (3, 4);

/// The running form of [`Calc`].
pub struct CalcOperator {
    /// What only compares: over the input.
    first: Option<Expr>,
    /// The columns and fields that anything below reads, over the input.
    inputs: Vec<Expr>,
    wide: SchemaRef,
    /// What predicate and projections share, over `wide` and each other.
    early: Vec<Expr>,
    early_schema: SchemaRef,
    /// The rest of the predicate, over `early_schema`.
    rest: Option<Expr>,
    /// The columns of `early_schema` that anything below reads.
    kept: Vec<usize>,
    /// What projections share, over those and each other.
    late: Vec<Expr>,
    late_schema: SchemaRef,
    /// Over `late_schema`.
    projections: Vec<Expr>,
    output: SchemaRef,
}

impl CalcOperator {
    fn new(calc: &Calc, projections: Vec<Expr>) -> Result<CalcOperator> {
        let parts = calc.predicate.as_ref().map(split_conjunction).unwrap_or_default();
        let (first, rest): (Vec<&Expr>, Vec<&Expr>) = parts.into_iter().partition(|e| is_cheap(e));
        let rest = conjunction_opt(rest.into_iter().cloned());
        let mut inputs = Inputs::default();
        let rest = rest.map(|e| inputs.collect(&e, &calc.input)).transpose()?;
        let projections = projections.iter().map(|e| inputs.collect(e, &calc.input)).collect::<Result<Vec<_>>>()?;
        let wide: SchemaRef = Arc::new(Schema::new(inputs.fields));

        let certain: Vec<&Expr> = rest.iter().collect();
        let mut sharing = Sharing::find(&certain, &projections.iter().collect::<Vec<_>>(), wide.fields().len());
        let rest = rest.map(|e| sharing.take_out(&e)).transpose().map_err(|e| expr::error(&e))?;
        let projections = taken_out(&mut sharing, &projections)?;
        let early_schema = extended(&wide, &sharing.shared)?;
        let early = sharing.shared;

        let mut kept = Inputs::default();
        let projections = projections.iter().map(|e| kept.collect(e, &early_schema)).collect::<Result<Vec<_>>>()?;
        let mut sharing = Sharing::find(&projections.iter().collect::<Vec<_>>(), &[], kept.fields.len());
        let projections = taken_out(&mut sharing, &projections)?;
        let late_schema = extended(&Arc::new(Schema::new(kept.fields)), &sharing.shared)?;
        let kept = kept.exprs.iter().filter_map(|e| e.downcast_ref::<Column>().map(Column::index)).collect();
        let (first, inputs) = (conjunction_opt(first.into_iter().cloned()), inputs.exprs);
        let output = calc.output.clone();
        let cheaper = |e: Expr, schema: &SchemaRef| choose::simplify(e, schema).map_err(|e| expr::error(&e));
        let early = early.into_iter().map(|e| cheaper(e, &early_schema)).collect::<Result<_>>()?;
        let rest = rest.map(|e| cheaper(e, &early_schema)).transpose()?;
        let late = sharing.shared.into_iter().map(|e| cheaper(e, &late_schema)).collect::<Result<_>>()?;
        let projections = projections.into_iter().map(|e| cheaper(e, &late_schema)).collect::<Result<_>>()?;
        Ok(CalcOperator {
            first,
            inputs,
            wide,
            early,
            early_schema,
            rest,
            kept,
            late,
            late_schema,
            projections,
            output,
        })
    }

    /// The result for one batch; `None` if no row is left. Errors: `user` for what the data does not allow.
    pub fn apply(&self, batch: &Batch) -> Result<Option<Batch>> {
        if batch.is_empty() {
            return Ok(None);
        }
        let mut mask = match self.first.as_ref().map(|e| expr::select(e, batch.columns())).transpose()? {
            Some(Kept::None) => return Ok(None),
            Some(Kept::Some(mask)) => Some(mask),
            Some(Kept::All) | None => None,
        };
        let inputs = self.inputs.iter().map(|e| expr::evaluate(e, batch.columns())).collect::<Result<_>>()?;
        let mut rows = with_rows(batch, &self.wide, inputs)?;
        if let Some(rest) = &self.rest {
            if let Some(few) = mask.take_if(|m| m.true_count() * FEW.1 <= rows.num_rows() * FEW.0) {
                rows = rows.filter(&few)?;
            }
            rows = extend(rows, &self.early, &self.early_schema)?;
            mask = match (expr::select(rest, rows.columns())?, mask) {
                (Kept::None, _) => return Ok(None),
                (Kept::All, mask) => mask,
                (Kept::Some(more), None) => Some(more),
                (Kept::Some(more), Some(mask)) => Some(and(&mask, &more)?),
            };
        }
        let Some(rows) = self.keep(&rows, mask)? else { return Ok(None) };
        let rows = extend(rows, &self.late, &self.late_schema)?;
        let columns = self.projections.iter().map(|p| expr::evaluate(p, rows.columns())).collect::<Result<_>>()?;
        with_rows(&rows, &self.output, columns).map(Some)
    }

    fn keep(&self, rows: &Batch, mask: Option<BooleanArray>) -> Result<Option<Batch>> {
        let rows = rows.project(&self.kept)?;
        match mask {
            None => Ok(Some(rows)),
            Some(mask) => Ok(Some(rows.filter(&mask)?).filter(|rows| !rows.is_empty())),
        }
    }
}

fn taken_out(sharing: &mut Sharing, exprs: &[Expr]) -> Result<Vec<Expr>> {
    exprs.iter().map(|e| sharing.take_out(e).map_err(|e| expr::error(&e))).collect()
}

/// Other columns for the same rows.
fn with_rows(rows: &Batch, schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<Batch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    rows.with_columns(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// The rows with the columns `more` behind theirs, each over those before it.
fn extend(rows: Batch, more: &[Expr], schema: &SchemaRef) -> Result<Batch> {
    let mut rows = rows;
    for e in more {
        let mut columns = rows.columns().columns().to_vec();
        columns.push(expr::evaluate(e, rows.columns())?);
        let so_far = Arc::new(Schema::new(schema.fields().iter().take(columns.len()).cloned().collect::<Vec<_>>()));
        rows = with_rows(&rows, &so_far, columns)?;
    }
    Ok(rows)
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
