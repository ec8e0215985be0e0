//! `array[1]` and `ARRAY[a, b]`.
//!
//! Bound by the [`planner`](super::planner). As in Flink places count from 1; what is outside the array is NULL.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion_common::Result;
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// `of[place]`; `place` is a BIGINT.
pub(super) fn element(of: Expr, place: Expr) -> Expr {
    let function = Nested { what: What::Element, signature: Signature::any(2, Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), vec![of, place]))
}

/// `ARRAY[items]`, all of one type.
pub(super) fn array(items: Vec<Expr>) -> Expr {
    let function = Nested { what: What::Array, signature: Signature::variadic_any(Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), items))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Element,
    Array,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Nested {
    what: What,
    signature: Signature,
}

impl ScalarUDFImpl for Nested {
    fn name(&self) -> &str {
        match self.what {
            What::Element => "element_at",
            What::Array => "array_of",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match (self.what, given) {
            (What::Element, [DataType::List(item), _]) => Ok(item.data_type().clone()),
            (What::Array, [first, ..]) => Ok(DataType::List(Arc::new(Field::new("item", first.clone(), true)))),
            _ => datafusion_common::internal_err!("{} of {given:?}", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = args.args.iter().map(|a| a.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        let out = match (self.what, &arrays[..]) {
            (What::Element, [lists, places]) => elements(lists, places)?,
            (_, items) => lists(items, args.number_rows)?,
        };
        Ok(ColumnarValue::Array(out))
    }
}

fn elements(lists: &ArrayRef, places: &ArrayRef) -> Result<ArrayRef> {
    let (lists, places) = (lists.as_list::<i32>(), places.as_primitive::<Int64Type>());
    let at = |row: usize| -> Option<u64> {
        let place = places.is_valid(row).then(|| places.value(row))?.checked_sub(1)?;
        let inside = lists.is_valid(row) && (0..i64::from(lists.value_length(row))).contains(&place);
        inside.then(|| u64::try_from(i64::from(*lists.value_offsets().get(row)?) + place).ok())?
    };
    let at: UInt64Array = (0..lists.len()).map(at).collect();
    Ok(take(lists.values(), &at, None)?)
}

fn lists(items: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let columns: Vec<&dyn Array> = items.iter().map(AsRef::as_ref).collect();
    let order: Vec<(usize, usize)> = (0..rows).flat_map(|row| (0..items.len()).map(move |item| (item, row))).collect();
    let values = interleave(&columns, &order)?;
    let field = Field::new("item", values.data_type().clone(), true);
    let offsets = OffsetBuffer::from_repeated_length(items.len(), rows);
    Ok(Arc::new(ListArray::try_new(Arc::new(field), offsets, values, None)?))
}
