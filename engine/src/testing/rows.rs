//! Rows in tests: small ways to write batches down, and a canonical form to compare them in.

use crate::batch::Batch;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A Z-set in canonical form: each row's text, and its net weight; rows of weight 0 are left out.
pub type ZSet = BTreeMap<String, i64>;

/// A schema of nullable i64 columns.
pub fn int_schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|n| Field::new(*n, DataType::Int64, true)).collect::<Vec<_>>()))
}

/// A batch of i64 columns, written row by row.
pub fn int_batch<const N: usize>(names: [&str; N], rows: &[[i64; N]]) -> Batch {
    let column = |c: usize| Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r[c]))) as ArrayRef;
    let columns = (0..N).map(column).collect();
    Batch::new(RecordBatch::try_new(int_schema(&names), columns).unwrap())
}

/// Every row as text, in order, with its weight.
pub fn texts(batch: &Batch) -> Vec<(String, i64)> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch.columns().columns().iter();
    let formatters: Vec<_> = columns.map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    let row = |r: usize| formatters.iter().map(|f| f.value(r).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(|r| (row(r), batch.weights().map_or(1, |w| w[r]))).collect()
}

/// Adds up all rows.
pub fn zset<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> ZSet {
    let mut all = ZSet::new();
    for (text, weight) in batches.into_iter().flat_map(texts) {
        *all.entry(text).or_default() += weight;
    }
    all.retain(|_, w| *w != 0);
    all
}
