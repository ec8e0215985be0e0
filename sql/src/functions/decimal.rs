//! `+`, `-`, `*` and `/` where a side is DECIMAL: Flink's result types, and the function that computes results that need more than one of
//! Arrow's kernels. Put into plans by the [planner](super::planner) in the place of the operator.
//!
//! Whole numbers count as decimals with as many digits as their type has. Where a result would need more than 38 digits, those before
//! the point come first, then at least six behind it. [`exact`](super::exact) has the computation.
//!
//! Invariants
//! - D1 a result is the exact one rounded to its type, half away from zero; one that does not fit is an error.

use super::exact::{Failure, Operand, Shape, results};
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType};
use arrow::error::ArrowError;
use datafusion_common::{DFSchema, Result, ScalarValue, exec_err, internal_err};
use datafusion_expr::{ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};
use datafusion_expr::{Signature, Volatility};
use std::sync::Arc;
use thalweg_engine::type_name;
use thalweg_operators::text::{Form, form};

const DIGITS: i32 = DECIMAL128_MAX_PRECISION as i32;
/// Digits behind the point that are kept, if there are so many, where 38 are not enough for all.
const LEAST_SCALE: i32 = 6;

/// Precision and scale of a number without fraction or of a decimal.
fn digits(of: &DataType) -> Option<(u8, i8)> {
    match of {
        DataType::Decimal128(p, s) if *s >= 0 => Some((*p, *s)),
        DataType::Int8 => Some((3, 0)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        _ => None,
    }
}

/// The digits that a result needs, and how many of them are behind the point; `None` if no side is DECIMAL, or one is neither that nor a
/// whole number.
fn wanted(left: &DataType, operator: Operator, right: &DataType) -> Option<(i32, i32)> {
    let is_decimal = |t: &DataType| matches!(t, DataType::Decimal128(..));
    let ((p1, s1), (p2, s2)) = (digits(left)?, digits(right)?);
    if !is_decimal(left) && !is_decimal(right) {
        return None;
    }
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    match operator {
        Operator::Plus | Operator::Minus => Some(((p1 - s1).max(p2 - s2) + s1.max(s2) + 1, s1.max(s2))),
        Operator::Multiply => Some((p1 + p2 + 1, s1 + s2)),
        Operator::Divide => {
            let scale = LEAST_SCALE.max(s1 + p2 + 1);
            Some((p1 - s1 + s2 + scale, scale))
        }
        _ => None,
    }
}

/// Precision and scale of a result.
fn result(left: &DataType, operator: Operator, right: &DataType) -> Option<(u8, i8)> {
    let (precision, scale) = wanted(left, operator, right)?;
    let (precision, scale) = match precision > DIGITS {
        true => (DIGITS, (DIGITS - (precision - scale)).max(scale.min(LEAST_SCALE))),
        false => (precision, scale),
    };
    Some((u8::try_from(precision).ok()?, i8::try_from(scale).ok()?))
}

/// An operator with its operands in the types that they count as.
pub(super) enum Bound {
    /// The call that computes it.
    Call(Expr),
    /// Arrow's kernel does, with these operands: no result leaves 38 digits.
    Operands(Expr, Expr),
}

/// Binds an operator, if it is one of decimals. A number that is written in the text has the type it fits into, NULL that of the other side.
pub(super) fn bound(left: &Expr, operator: Operator, right: &Expr, schema: &DFSchema) -> Option<Bound> {
    let (left, right) = (fitted(left), fitted(right));
    let (mut of_left, mut of_right) = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
    if of_left.is_null() {
        of_left = of_right.clone();
    } else if of_right.is_null() {
        of_right = of_left.clone();
    }
    let (precision, _) = wanted(&of_left, operator, &of_right)?;
    if operator == Operator::Divide || precision > DIGITS {
        let (left, right) = (typed(left, &of_left), typed(right, &of_right));
        let function = Arithmetic { operator, signature: Signature::any(2, Volatility::Immutable) };
        return Some(Bound::Call(ScalarUDF::new_from_impl(function).call(vec![left, right])));
    }
    let decimal = |e: Expr, of: &DataType| {
        let (p, s) = digits(of)?;
        let to = DataType::Decimal128(p, s);
        Some(if *of == to { typed(e, of) } else { datafusion_expr::cast(e, to) })
    };
    Some(Bound::Operands(decimal(left, &of_left)?, decimal(right, &of_right)?))
}

/// NULL gets a type.
fn typed(expr: Expr, to: &DataType) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Null, meta) => match ScalarValue::try_from(to) {
            Ok(null) => Expr::Literal(null, meta),
            Err(_) => Expr::Literal(ScalarValue::Null, meta),
        },
        other => other,
    }
}

fn fitted(expr: &Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(v)), meta) if i32::try_from(*v).is_ok() => {
            Expr::Literal(ScalarValue::Int32(i32::try_from(*v).ok()), meta.clone())
        }
        other => other.clone(),
    }
}

/// One operator of decimals.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Arithmetic {
    operator: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "decimal_plus",
            Operator::Minus => "decimal_minus",
            Operator::Multiply => "decimal_times",
            _ => "decimal_divide",
        }
    }

    /// What the column is called, as with DataFusion's operators; but operands that are operators come in brackets.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let operand = |e: &Expr| {
            let name = e.schema_name();
            match e {
                Expr::BinaryExpr(_) => format!("({name})"),
                Expr::ScalarFunction(call) if matches!(form(call.func.name()), Form::Operator(_)) => {
                    format!("({name})")
                }
                _ => name.to_string(),
            }
        };
        let [left, right] = args else { return internal_err!("two operands") };
        Ok(format!("{} {} {}", operand(left), self.operator, operand(right)))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] => match result(left, self.operator, right) {
                Some((p, s)) => Ok(DataType::Decimal128(p, s)),
                None => internal_err!("{left} {} {right}", self.operator),
            },
            _ => internal_err!("two operands"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else { return internal_err!("two operands") };
        self.compute(&Side::of(left)?, &Side::of(right)?, args.number_rows)
    }
}

/// An operand of a batch, as a decimal.
struct Side {
    values: Decimal128Array,
    /// One value for all rows.
    is_constant: bool,
}

impl Side {
    fn of(value: &ColumnarValue) -> Result<Side> {
        let (array, is_constant): (ArrayRef, bool) = match value {
            ColumnarValue::Array(array) => (Arc::clone(array), false),
            ColumnarValue::Scalar(value) => (value.to_array()?, true),
        };
        let Some((p, s)) = digits(array.data_type()) else {
            return internal_err!("{} in an operation of decimals", array.data_type());
        };
        let array = cast(&array, &DataType::Decimal128(p, s))?;
        Ok(Side { values: array.as_primitive::<Decimal128Type>().clone(), is_constant })
    }

    fn operand(&self) -> Operand<'_> {
        match self.is_constant {
            true => Operand::One(self.values.values().first().copied().unwrap_or_default()),
            false => Operand::Rows(self.values.values()),
        }
    }

    /// The only value is NULL: so is every result.
    fn is_null(&self) -> bool {
        self.is_constant && self.values.null_count() > 0
    }

    fn nulls(&self) -> Option<&NullBuffer> {
        self.values.nulls().filter(|n| !self.is_constant && n.null_count() > 0)
    }

    fn text(&self, row: usize) -> String {
        let row = if self.is_constant { 0 } else { row };
        Decimal128Type::format_decimal(self.values.value(row), self.values.precision(), self.values.scale())
    }
}

impl Arithmetic {
    fn compute(&self, left: &Side, right: &Side, rows: usize) -> Result<ColumnarValue> {
        let (of_left, of_right) = (left.values.data_type(), right.values.data_type());
        let Some((precision, scale)) = result(of_left, self.operator, of_right) else {
            return internal_err!("{of_left} {} {of_right}", self.operator);
        };
        if left.is_null() || right.is_null() {
            return Ok(ColumnarValue::Scalar(ScalarValue::Decimal128(None, precision, scale)));
        }
        let all_constant = left.is_constant && right.is_constant;
        let shape = Shape {
            operator: self.operator,
            left: (left.values.precision(), left.values.scale().unsigned_abs()),
            right: (right.values.precision(), right.values.scale().unsigned_abs()),
            result: (precision, scale.unsigned_abs()),
            rows: if all_constant { 1 } else { rows },
        };
        let nulls = NullBuffer::union(left.nulls(), right.nulls());
        let values = results(&shape, left.operand(), right.operand(), nulls.as_ref());
        let values = values.map_err(|failure| self.failed(failure, left, right, &shape))?;
        let out = Decimal128Array::try_new(values.into(), nulls)?.with_precision_and_scale(precision, scale)?;
        match all_constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?)),
            false => Ok(ColumnarValue::Array(Arc::new(out))),
        }
    }

    fn failed(&self, failure: Failure, left: &Side, right: &Side, shape: &Shape) -> datafusion_common::DataFusionError {
        let row = match failure {
            Failure::DivideByZero => return ArrowError::DivideByZero.into(),
            Failure::Unfit(row) => row,
        };
        let (precision, scale) = shape.result;
        let to = type_name(&DataType::Decimal128(precision, i8::try_from(scale).unwrap_or_default()));
        let (left, right, operator) = (left.text(row), right.text(row), self.operator);
        let text = format!("{left} {operator} {right} does not fit into {to}");
        let unfit: Result<()> = exec_err!("{text}; compute with CAST(.. AS DOUBLE), or with fewer digits");
        unfit.err().unwrap_or(ArrowError::DivideByZero.into())
    }
}

#[cfg(test)]
mod tests;
