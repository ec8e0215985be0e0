//! Expressions over batches: evaluation with errors that name the expression, and substitution of columns. Called by every
//! operator that is given expressions.
//!
//! Invariants
//! - E1 the result has one value per row of the batch, scalars are spread.
//! - E2 an error of the data is the user's and no retry helps; only a broken plan is internal.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;
use thalweg_engine::{Error, ErrorKind, Result};

pub use crate::text::Text;

/// An expression that can be evaluated on a batch; columns are found by index.
pub type Expr = Arc<dyn PhysicalExpr>;

/// A failure of DataFusion, as ours.
pub fn error(e: &DataFusionError) -> Error {
    match e.find_root() {
        DataFusionError::Internal(text) => Error::internal(text.clone()),
        DataFusionError::ArrowError(e, _) if is_internal(e) => Error::internal(e.to_string()),
        DataFusionError::ArrowError(e, _) => match Error::from(e.as_ref()) {
            e if e.kind() == ErrorKind::Internal => Error::user(e.message()),
            e => e,
        },
        DataFusionError::Execution(text) => Error::user(text.clone()),
        other => Error::user(other.to_string()),
    }
}

fn is_internal(e: &ArrowError) -> bool {
    matches!(e, ArrowError::SchemaError(_) | ArrowError::CDataInterface(_) | ArrowError::DictionaryKeyOverflowError)
}

fn evaluated(expr: &Expr, rows: &RecordBatch) -> Result<ColumnarValue> {
    expr.evaluate(rows).map_err(|e| error(&e).context(format!("evaluate `{}`", Text(expr))))
}

/// The values of an expression, one per row. A plain column is handed on without a copy.
/// Errors: `user` for what the data does not allow, naming the expression.
pub fn evaluate(expr: &Expr, rows: &RecordBatch) -> Result<ArrayRef> {
    let value = evaluated(expr, rows)?;
    let array =
        value.into_array(rows.num_rows()).map_err(|e| error(&e).context(format!("evaluate `{}`", Text(expr))))?;
    if array.len() != rows.num_rows() {
        let text = format!("evaluate `{}`: {} values for {} rows", Text(expr), array.len(), rows.num_rows());
        return Err(Error::internal(text));
    }
    Ok(array)
}

/// Which rows a predicate keeps.
#[derive(Debug, PartialEq)]
pub enum Kept {
    /// Every row.
    All,
    /// No row.
    None,
    /// Those that are true; NULL is false.
    Some(BooleanArray),
}

/// Evaluates a predicate. Errors: `user` for what the data does not allow, `internal` if it is no boolean.
pub fn select(predicate: &Expr, rows: &RecordBatch) -> Result<Kept> {
    let no_boolean =
        |found: &DataType| Error::internal(format!("predicate `{}` is {found}, not boolean", Text(predicate)));
    match evaluated(predicate, rows)? {
        ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))) => Ok(Kept::All),
        ColumnarValue::Scalar(ScalarValue::Boolean(_) | ScalarValue::Null) => Ok(Kept::None),
        ColumnarValue::Scalar(other) => Err(no_boolean(&other.data_type())),
        ColumnarValue::Array(array) => {
            let mask = array.as_boolean_opt().ok_or_else(|| no_boolean(array.data_type()))?;
            Ok(match mask.true_count() {
                0 => Kept::None,
                all if all == rows.num_rows() => Kept::All,
                _ => Kept::Some(mask.clone()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_data_are_the_users_and_others_are_not() {
        let kind = |e: DataFusionError| error(&e).kind();
        assert_eq!(kind(DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None)), ErrorKind::User);
        assert_eq!(kind(DataFusionError::Execution("bad cast".into())), ErrorKind::User);
        assert_eq!(kind(DataFusionError::Internal("lost".into())), ErrorKind::Internal);
        let divided = error(&DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None)).to_string();
        assert!(divided.starts_with("division by zero; write "), "{divided}");
        let inner = DataFusionError::Execution("x".into());
        assert!(!error(&DataFusionError::Context("outer".into(), Box::new(inner))).retry());
    }
}
