//! `+`, `-` and `*` of decimals whose result may need more than 38 digits: Arrow's kernels check 128 bits, which hold a little more.
//!
//! Put into plans by [`casts`](crate::casts) in the place of the operator, only where the operands' types allow such a result.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use thalweg_engine::type_name;

/// One operator with a checked result.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    to: DataType,
    signature: Signature,
}

/// The function that computes `left operator right` as `to`; `None` if no result of these types can leave it.
pub(crate) fn checked(left: &DataType, operator: Operator, right: &DataType, to: &DataType) -> Option<ScalarUDF> {
    let (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) = (left, right) else { return None };
    let (p, s, q, t) = (i32::from(*p), i32::from(*s), i32::from(*q), i32::from(*t));
    let digits = match operator {
        Operator::Plus | Operator::Minus => (p - s).max(q - t) + s.max(t) + 1,
        Operator::Multiply => p + q,
        _ => return None,
    };
    let leaves = digits > i32::from(DECIMAL128_MAX_PRECISION) && matches!(to, DataType::Decimal128(..));
    let signature = Signature::any(2, Volatility::Immutable);
    leaves.then(|| ScalarUDF::new_from_impl(Checked { operator, to: to.clone(), signature }))
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "decimal_plus",
            Operator::Minus => "decimal_minus",
            _ => "decimal_times",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else { return datafusion_common::internal_err!("two operands") };
        let out = self.compute(left, right)?;
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?)),
            false => Ok(ColumnarValue::Array(out)),
        }
    }
}

impl Checked {
    fn compute(&self, left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
        if let Ok(out) = self.kernel(left, right)
            && self.misfit(&out).is_none()
        {
            return Ok(out);
        }
        // One of the rows does not fit: which one, is found row by row.
        for row in 0..left.len() {
            let (a, b) = (left.slice(row, 1), right.slice(row, 1));
            if !self.kernel(&a, &b).is_ok_and(|one| self.misfit(&one).is_none()) {
                let sign = match self.operator {
                    Operator::Plus => '+',
                    Operator::Minus => '-',
                    _ => '*',
                };
                let to = type_name(&self.to);
                let (a, b) = (text(&a), text(&b));
                return exec_err!(
                    "{a} {sign} {b} does not fit into {to}; compute with CAST(.. AS DOUBLE), or with fewer digits"
                );
            }
        }
        self.kernel(left, right)
    }

    fn kernel(&self, left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self.operator {
            Operator::Plus => numeric::add(left, right)?,
            Operator::Minus => numeric::sub(left, right)?,
            _ => numeric::mul(left, right)?,
        })
    }

    /// A row whose value has too many digits.
    fn misfit(&self, out: &ArrayRef) -> Option<usize> {
        let out = out.as_primitive_opt::<Decimal128Type>()?;
        let limit = 10u128.pow(u32::from(out.precision()));
        (0..out.len()).find(|i| out.value(*i).unsigned_abs() >= limit && out.is_valid(*i))
    }
}

fn text(one: &ArrayRef) -> String {
    match (one.data_type(), one.as_primitive_opt::<Decimal128Type>()) {
        (DataType::Decimal128(p, s), Some(one)) if one.is_valid(0) => {
            Decimal128Type::format_decimal(one.value(0), *p, *s)
        }
        _ => "NULL".into(),
    }
}
