//! `/` where a side is DECIMAL: the digits that Flink gives it, rounded half up. Put into plans by the
//! [planner](super::planner) in the place of the operator.
//!
//! With `DECIMAL(p1, s1) / DECIMAL(p2, s2)` the scale is `s = max(6, s1 + p2 + 1)` and the precision `p1 - s1 + s2 + s`; where that
//! exceeds 38, the digits before the point come first, then at least six behind it.
//!
//! Invariants
//! - Q1 the quotient is the exact one rounded to its type, half away from zero; one that does not fit is an error.

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::compute::cast;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, i256};
use arrow::error::ArrowError;
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};
use datafusion_expr::{Signature, Volatility};
use thalweg_engine::type_name;

const DIGITS: i32 = DECIMAL128_MAX_PRECISION as i32;

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

/// The type of a quotient; `None` if no side is DECIMAL, or one is neither that nor a whole number.
fn quotient(left: &DataType, right: &DataType) -> Option<(u8, i8)> {
    let is_decimal = |t: &DataType| matches!(t, DataType::Decimal128(..));
    let ((p1, s1), (p2, s2)) = (digits(left)?, digits(right)?);
    if !is_decimal(left) && !is_decimal(right) {
        return None;
    }
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    let scale = (s1 + p2 + 1).max(6);
    let precision = p1 - s1 + s2 + scale;
    let (precision, scale) = match precision > DIGITS {
        true => (DIGITS, (DIGITS - (precision - scale)).max(scale.min(6))),
        false => (precision, scale),
    };
    Some((u8::try_from(precision).ok()?, i8::try_from(scale).ok()?))
}

/// The call that divides, if this is a division of decimals. A number that is written in the text has the type it fits into.
pub(super) fn divided(left: &Expr, right: &Expr, schema: &datafusion_common::DFSchema) -> Option<Expr> {
    let fitted = |e: &Expr| match e {
        Expr::Literal(ScalarValue::Int64(Some(v)), meta) if i32::try_from(*v).is_ok() => {
            Expr::Literal(ScalarValue::Int32(i32::try_from(*v).ok()), meta.clone())
        }
        other => other.clone(),
    };
    let (left, right) = (fitted(left), fitted(right));
    quotient(&left.get_type(schema).ok()?, &right.get_type(schema).ok()?)?;
    Some(
        ScalarUDF::new_from_impl(Divide { signature: Signature::any(2, Volatility::Immutable) })
            .call(vec![left, right]),
    )
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Divide {
    signature: Signature,
}

impl ScalarUDFImpl for Divide {
    fn name(&self) -> &str {
        "decimal_divide"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] => match quotient(left, right) {
                Some((p, s)) => Ok(DataType::Decimal128(p, s)),
                None => datafusion_common::internal_err!("a quotient of {left} and {right}"),
            },
            _ => datafusion_common::internal_err!("two operands"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else { return datafusion_common::internal_err!("two operands") };
        let out = divide(left, right)?;
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?)),
            false => Ok(ColumnarValue::Array(out)),
        }
    }
}

fn decimals(of: &ArrayRef) -> Result<(Decimal128Array, i32, i32)> {
    let Some((p, s)) = digits(of.data_type()) else {
        return datafusion_common::internal_err!("{} in a division of decimals", of.data_type());
    };
    let array = cast(of, &DataType::Decimal128(p, s))?;
    Ok((array.as_primitive::<Decimal128Type>().clone(), i32::from(p), i32::from(s)))
}

fn divide(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let Some((precision, scale)) = quotient(left.data_type(), right.data_type()) else {
        return datafusion_common::internal_err!("a quotient of {} and {}", left.data_type(), right.data_type());
    };
    let ((a, p1, s1), (b, _, s2)) = (decimals(left)?, decimals(right)?);
    // Never negative: the scale is at least s1, or as many digits as 38 leave it.
    let shift = u32::try_from(i32::from(scale) - s1 + s2).unwrap_or(0);
    let is_narrow = p1 + shift as i32 <= DIGITS;
    let limit = 10i128.pow(u32::from(precision));
    let mut out = Vec::with_capacity(a.len());
    for row in 0..a.len() {
        if a.is_null(row) || b.is_null(row) {
            out.push(None);
            continue;
        }
        let (x, y) = (a.value(row), b.value(row));
        if y == 0 {
            return Err(ArrowError::DivideByZero.into());
        }
        let value = if is_narrow { Some(rounded(x * 10i128.pow(shift), y)) } else { rounded_wide(x, shift, y) };
        match value.filter(|v| v.unsigned_abs() < limit.unsigned_abs()) {
            Some(value) => out.push(Some(value)),
            None => {
                let to = type_name(&DataType::Decimal128(precision, scale));
                let (x, y) = (text(&a, row), text(&b, row));
                return exec_err!(
                    "{x} / {y} does not fit into {to}; compute with CAST(.. AS DOUBLE), or with fewer digits"
                );
            }
        }
    }
    let out: Decimal128Array = out.into_iter().collect();
    Ok(std::sync::Arc::new(out.with_precision_and_scale(precision, scale)?))
}

/// `y` is not 0.
fn rounded(x: i128, y: i128) -> i128 {
    let (quotient, rest) = (x / y, (x % y).unsigned_abs());
    // Not `2 * rest >= y`: that may leave 128 bits.
    let is_up = rest >= y.unsigned_abs() - rest;
    if is_up { quotient + if (x < 0) == (y < 0) { 1 } else { -1 } } else { quotient }
}

/// `x` times a power of ten divided by `y`; `None` if the quotient has more than 38 digits. A product that leaves 256 bits makes
/// such a quotient.
fn rounded_wide(x: i128, shift: u32, y: i128) -> Option<i128> {
    let numerator = i256::from_i128(x).checked_mul(i256::from_i128(10).checked_pow(shift)?)?;
    let divisor = i256::from_i128(y);
    let (quotient, rest) = (numerator.checked_div(divisor)?, numerator.checked_rem(divisor)?.wrapping_abs());
    let is_up = rest >= divisor.wrapping_abs() - rest;
    let one = i256::from_i128(if (x < 0) == (y < 0) { 1 } else { -1 });
    let quotient = if is_up { quotient.checked_add(one)? } else { quotient };
    quotient.to_i128()
}

fn text(of: &Decimal128Array, row: usize) -> String {
    Decimal128Type::format_decimal(of.value(row), of.precision(), of.scale())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use std::sync::Arc;

    fn decimal(values: &[Option<i128>], p: u8, s: i8) -> ArrayRef {
        Arc::new(values.iter().copied().collect::<Decimal128Array>().with_precision_and_scale(p, s).unwrap())
    }

    fn shown(left: &ArrayRef, right: &ArrayRef) -> Vec<String> {
        let out = divide(left, right).unwrap();
        let out = out.as_primitive::<Decimal128Type>();
        (0..out.len()).map(|i| if out.is_null(i) { "NULL".into() } else { text(out, i) }).collect()
    }

    #[test]
    fn types_are_those_of_flink() {
        let d = DataType::Decimal128;
        for (left, right, want) in [
            (d(20, 2), d(10, 4), Some((35, 13))),
            (DataType::Int32, d(10, 4), Some((25, 11))),
            (d(10, 2), DataType::Int32, Some((21, 13))),
            (d(38, 10), d(38, 10), Some((38, 6))),
            (d(38, 0), d(38, 38), Some((38, 6))),
            (d(5, 2), d(3, 1), Some((10, 6))),
            (d(10, 2), DataType::Int64, Some((30, 22))),
            (DataType::Int32, DataType::Int32, None),
            (d(10, 2), DataType::Float64, None),
        ] {
            assert_eq!(quotient(&left, &right), want, "{left} / {right}");
        }
    }

    /// Computed with Python's `fractions`.
    #[test]
    fn quotients_are_exact_and_rounded_half_away_from_zero() {
        let a = decimal(&[Some(100), Some(-100), Some(200), None, Some(1), Some(0), Some(99999)], 5, 2);
        let b = decimal(&[Some(30), Some(30), Some(-30), Some(10), None, Some(7), Some(1)], 3, 1);
        assert_eq!(shown(&a, &b), ["0.333333", "-0.333333", "-0.666667", "NULL", "NULL", "0.000000", "9999.900000"]);
        // Halves: 0.0000005 and its neighbours, by a divisor of 2 000 000.
        let a = decimal(&[Some(1), Some(-1), Some(3), Some(5)], 1, 0);
        let b: ArrayRef = decimal(&[Some(2_000_000); 4], 7, 0);
        assert_eq!(quotient(a.data_type(), b.data_type()), Some((9, 8)));
        assert_eq!(shown(&a, &b), ["0.00000050", "-0.00000050", "0.00000150", "0.00000250"]);
        let most = 10i128.pow(38) - 1;
        let a = decimal(&[Some(most), Some(most), Some(-most), Some(5)], 38, 6);
        let b = decimal(&[Some(most), Some(-most), Some(1_000_000), Some(10_000_000)], 38, 6);
        assert_eq!(
            shown(&a, &b),
            ["1.000000", "-1.000000", "-99999999999999999999999999999999.999999", "0.000001"],
            "the last is a half, rounded up"
        );
    }

    #[test]
    fn whole_numbers_take_part_and_what_does_not_fit_is_told() {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), Some(i64::MIN), None]));
        let b = decimal(&[Some(2), Some(1), Some(1)], 1, 0);
        assert_eq!(shown(&ints, &b), ["3.500000", "-9223372036854775808.000000", "NULL"]);
        let zero = decimal(&[Some(0)], 1, 0);
        let e = divide(&decimal(&[Some(1)], 1, 0), &zero).unwrap_err();
        assert!(e.to_string().contains("Divide by zero"), "{e}");
        let most = decimal(&[Some(10i128.pow(38) - 1)], 38, 0);
        let least = decimal(&[Some(1)], 38, 38);
        let e = divide(&most, &least).unwrap_err().to_string();
        assert!(e.contains("does not fit into DECIMAL(38, 6)"), "{e}");
    }
}
