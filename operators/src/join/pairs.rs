//! Rows of one side meet the entries of the other: probing in chunks, then the residual filter.
//!
//! Invariants
//! - P1 a chunk has at most [`BATCH_ROWS`] pairs before the filter.
//! - P2 the filter sees only the columns that it reads.

use super::output::{BATCH_ROWS, product};
use super::shape::{Entries, take};
use super::{Plan, type_of};
use crate::expr::{self, Expr, Kept};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_physical_expr::expressions::Column;
use std::sync::Arc;
use thalweg_engine::state::{Matches, Multimap};
use thalweg_engine::{Error, Result};

/// The residual filter, over the columns that it reads.
pub(super) struct Residual {
    expr: Expr,
    /// Counted over left and right columns.
    inputs: Vec<usize>,
    schema: SchemaRef,
}

impl Residual {
    pub(super) fn new(filter: &Expr, left: &Schema, right: &Schema) -> Result<Residual> {
        let all: Vec<_> = left.fields().iter().chain(right.fields()).cloned().collect();
        let found = type_of(filter, &Schema::new(all.clone()))?;
        if found != DataType::Boolean {
            return Err(Error::internal(format!("join filter `{}` is {found}", expr::Text(filter))));
        }
        let mut inputs: Vec<usize> = Vec::new();
        let rewritten = filter.clone().transform_down(|e| {
            let Some(column) = e.downcast_ref::<Column>() else { return Ok(Transformed::no(e)) };
            let known = inputs.iter().position(|i| *i == column.index());
            let place = known.unwrap_or_else(|| {
                inputs.push(column.index());
                inputs.len() - 1
            });
            Ok(Transformed::yes(Arc::new(Column::new(column.name(), place)) as Expr))
        });
        let expr = rewritten.data().map_err(|e| expr::error(&e))?;
        let fields = inputs.iter().filter_map(|i| all.get(*i));
        let fields: Vec<Field> = fields.map(|f| f.as_ref().clone().with_nullable(true)).collect();
        Ok(Residual { expr, inputs, schema: Arc::new(Schema::new(fields)) })
    }
}

/// Rows that met entries.
pub(super) struct Pairs {
    /// Of each pair the place of the row.
    pub(super) rows: Vec<u32>,
    /// Of each pair the kept columns of the entry.
    pub(super) entries: Vec<ArrayRef>,
    /// The weights of the entries.
    pub(super) weights: Vec<i64>,
    /// The numbers of partners of the entries, if they are counted.
    pub(super) partners: Vec<i64>,
}

impl Plan {
    /// Hands on all pairs of rows of `side` and entries of the other.
    pub(super) fn meet(
        &self,
        side: usize,
        rows: &Entries,
        other: &Multimap,
        each: &mut dyn FnMut(Pairs) -> Result<()>,
    ) -> Result<()> {
        if rows.len() == 0 || other.is_empty() {
            return Ok(());
        }
        let own = self.shapes[side].rows(&rows.columns)?;
        let counted = self.counts && self.kind.watches()[1 - side].is_some();
        let mut probe = other.probe(rows.keys(), &rows.hashes)?;
        let mut matches = Matches::default();
        while other.next(&mut probe, BATCH_ROWS, &mut matches)? {
            let partners = if counted { other.partners(&matches)? } else { vec![] };
            let pairs = Pairs {
                rows: matches.rows().to_vec(),
                entries: other.columns(&matches)?,
                weights: other.weights(&matches)?,
                partners,
            };
            if let Some(pairs) = self.filtered(side, &own, pairs)? {
                each(pairs)?;
            }
        }
        Ok(())
    }

    fn filtered(&self, side: usize, own: &[ArrayRef], mut pairs: Pairs) -> Result<Option<Pairs>> {
        let Some(residual) = &self.residual else { return Ok(Some(pairs)) };
        let theirs = self.shapes[1 - side].rows(&pairs.entries)?;
        let left_columns = self.shapes[0].types().count();
        let mut columns = Vec::with_capacity(residual.inputs.len());
        for (input, field) in residual.inputs.iter().zip(residual.schema.fields()) {
            let (of, place) = if *input < left_columns { (0, *input) } else { (1, input - left_columns) };
            let lost = || Error::internal(format!("join filter over column {input}"));
            let column = if of == side {
                let column = own.get(place).ok_or_else(lost)?;
                take(std::slice::from_ref(column), &pairs.rows)?.pop().ok_or_else(lost)?
            } else {
                theirs.get(place).ok_or_else(lost)?.clone()
            };
            let fits = column.data_type() == field.data_type();
            columns.push(if fits { column } else { compute::cast(&column, field.data_type())? });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(pairs.rows.len()));
        let batch = RecordBatch::try_new_with_options(residual.schema.clone(), columns, &options)?;
        let mask = match expr::select(&residual.expr, &batch)? {
            Kept::All => return Ok(Some(pairs)),
            Kept::None => return Ok(None),
            Kept::Some(mask) => mask,
        };
        // NULL is false.
        let is_true = |i: &u32| mask.is_valid(*i as usize) && mask.value(*i as usize);
        let places: Vec<u32> = (0..mask.len() as u32).filter(is_true).collect();
        pairs.entries = take(&pairs.entries, &places)?;
        let chosen =
            |values: &[i64]| places.iter().filter_map(|i| values.get(*i as usize).copied()).collect::<Vec<_>>();
        (pairs.weights, pairs.partners) = (chosen(&pairs.weights), chosen(&pairs.partners));
        pairs.rows = places.iter().filter_map(|i| pairs.rows.get(*i as usize).copied()).collect();
        Ok(Some(pairs))
    }

    /// Emits pairs.
    pub(super) fn emit_pairs(
        &self,
        side: usize,
        rows: &Entries,
        pairs: &Pairs,
        emit: super::output::Emit<'_>,
    ) -> Result<()> {
        let own = take(&self.shapes[side].rows(&rows.columns)?, &pairs.rows)?;
        let theirs = self.shapes[1 - side].rows(&pairs.entries)?;
        let columns = if side == 0 { [own, theirs].concat() } else { [theirs, own].concat() };
        let weight = |row: &u32| rows.weights.get(*row as usize).copied().unwrap_or(0);
        let both = pairs.rows.iter().zip(&pairs.weights).map(|(row, w)| product(weight(row), *w));
        self.emit(columns, &both.collect::<Result<Vec<_>>>()?, emit)
    }
}
