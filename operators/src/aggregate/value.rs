//! Values of any ordered type in the four storage classes that state has. Called by the folds, one column of a batch at a time.
//!
//! Invariants
//! - C1 the order of stored values is the order of the values: integers and decimals by number, text by bytes, floats by
//!   number with NaN greatest (`-0.0` before `0.0`).
//! - C2 what [`store`] builds from loaded values has the declared type.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Decimal128Array, Float64Array, Int64Array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use std::sync::Arc;
use thalweg_engine::state::{Initial, ValueColumn};
use thalweg_engine::{Error, Result};

/// How values of a type are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// As `i64`: integers, booleans, dates, times, timestamps.
    Int,
    /// As `f64`.
    Float,
    /// As `i128`: decimals, `UInt64`.
    Wide,
    /// As bytes: text and binary.
    Bytes,
}

/// The class of a type; `None`: it has no order that we know.
pub fn class_of(data_type: &DataType) -> Option<Class> {
    use DataType::*;
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | Date32 | Date64 | Time32(_) | Time64(_)
        | Timestamp(..) | Duration(_) | Null => Some(Class::Int),
        Float32 | Float64 => Some(Class::Float),
        UInt64 | Decimal128(..) => Some(Class::Wide),
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView => Some(Class::Bytes),
        _ => None,
    }
}

impl Class {
    /// A state column for values of this class and type, with a first value that no fold lets through.
    pub fn column(self, name: String, data_type: &DataType) -> ValueColumn {
        match self {
            Class::Int => ValueColumn::new(name, 0i64),
            Class::Float => ValueColumn::new(name, 0f64),
            Class::Wide => ValueColumn::new(name, Initial::I128(0)).with_type(wide_type(data_type)),
            Class::Bytes => ValueColumn::new(name, Initial::Bytes),
        }
    }
}

fn wide_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Decimal128(p, s) => DataType::Decimal128(*p, *s),
        _ => DataType::Decimal128(20, 0),
    }
}

/// The values of one column of a batch; what stands at a NULL means nothing.
pub enum Loaded {
    /// Class [`Class::Int`].
    Int(ScalarBuffer<i64>),
    /// Class [`Class::Float`].
    Float(ScalarBuffer<f64>),
    /// Class [`Class::Wide`].
    Wide(ScalarBuffer<i128>),
    /// Class [`Class::Bytes`].
    Bytes(BinaryArray),
}

/// A cast that fails on values that do not fit. Errors: `user`.
pub fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    Ok(cast_with_options(array, to, &CastOptions { safe: false, ..Default::default() })?)
}

/// The values of an array. Errors: `internal` if its type has no class.
pub fn load(array: &ArrayRef) -> Result<Loaded> {
    let no_class = || Error::internal(format!("values of type {} cannot be aggregated", array.data_type()));
    Ok(match class_of(array.data_type()).ok_or_else(no_class)? {
        Class::Int => Loaded::Int(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().values().clone()),
        Class::Float => Loaded::Float(cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().values().clone()),
        Class::Wide => {
            let wide = cast(array, &wide_type(array.data_type()))?;
            Loaded::Wide(wide.as_primitive::<Decimal128Type>().values().clone())
        }
        Class::Bytes => Loaded::Bytes(cast(array, &DataType::Binary)?.as_binary::<i32>().clone()),
    })
}

/// An array of `data_type` from stored values. Errors: `user` if one does not fit.
pub fn store(values: Loaded, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
    let array: ArrayRef = match values {
        Loaded::Int(values) => {
            let ints: ArrayRef = Arc::new(Int64Array::try_new(values, nulls)?);
            return match data_type {
                DataType::Date32 | DataType::Time32(_) => cast(&cast(&ints, &DataType::Int32)?, data_type),
                _ => cast(&ints, data_type),
            };
        }
        Loaded::Float(values) => Arc::new(Float64Array::try_new(values, nulls)?),
        Loaded::Wide(values) => {
            let wide = Decimal128Array::try_new(values, nulls)?;
            return match data_type {
                DataType::Decimal128(p, s) => {
                    let wide = wide.with_precision_and_scale(*p, *s)?;
                    wide.validate_decimal_precision(*p)?;
                    Ok(Arc::new(wide))
                }
                other => {
                    let wide: ArrayRef = Arc::new(wide.with_precision_and_scale(38, 0)?);
                    cast(&wide, other)
                }
            };
        }
        Loaded::Bytes(values) => Arc::new(values),
    };
    cast(&array, data_type)
}

/// The order of floats: by number, NaN greatest and all NaN alike.
#[inline(always)]
pub fn less(a: f64, b: f64) -> bool {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a < b || (a == b && a.is_sign_negative() && !b.is_sign_negative()),
        (a_nan, _) => !a_nan,
    }
}

/// The nulls of an array, if it has any.
pub fn nulls(array: &dyn Array) -> Option<&NullBuffer> {
    array.nulls().filter(|n| n.null_count() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, Date32Array, StringArray, UInt64Array};

    #[test]
    fn every_class_comes_back_as_it_was() {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![i64::MIN, 0, i64::MAX])),
            Arc::new(BooleanArray::from(vec![true, false])),
            Arc::new(Date32Array::from(vec![-1, 20_000])),
            Arc::new(UInt64Array::from(vec![0, u64::MAX])),
            Arc::new(Decimal128Array::from(vec![-12345]).with_precision_and_scale(10, 2).unwrap()),
            Arc::new(StringArray::from(vec!["", "ä"])),
            Arc::new(Float64Array::from(vec![-0.0, f64::INFINITY])),
        ];
        for array in arrays {
            assert_eq!(&store(load(&array).unwrap(), None, array.data_type()).unwrap(), &array);
        }
    }

    #[test]
    fn nan_is_the_greatest_float() {
        assert!(less(f64::INFINITY, f64::NAN) && !less(f64::NAN, f64::NAN) && !less(f64::NAN, 1.0));
        assert!(less(-0.0, 0.0) && !less(0.0, -0.0) && less(f64::NEG_INFINITY, -1.0));
    }
}
