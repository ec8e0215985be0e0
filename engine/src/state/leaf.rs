//! Between Arrow arrays and the three storage classes of a table: 64-bit integers, 128-bit integers, byte strings. Called by the
//! key columns and by the snapshot codec.
//!
//! Invariants
//! - L1 equal keys have equal stored values: floats are stored as the bits of one NaN and one zero, a NULL as 0 or empty.
//! - L2 what `*_to` builds from what `*_from` gave has the same type and equal values.

use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryViewBuilder, BooleanArray, NullArray, StringViewBuilder, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, Float32Type, Float64Type};

/// How values of a type are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// As `i64`: integers, dates, times, timestamps, floats as bits, booleans.
    Int,
    /// As `i128`: decimals.
    Wide,
    /// As bytes: text and binary.
    Bytes,
    /// Nothing but NULL.
    Null,
}

/// The class of a type without fields. Errors: `user` if it can be no key.
pub(crate) fn class_of(data_type: &DataType) -> Result<Class> {
    use DataType::*;
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64 | Date32
        | Date64 | Time32(_) | Time64(_) | Timestamp(..) => Ok(Class::Int),
        Decimal128(..) => Ok(Class::Wide),
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Ok(Class::Bytes),
        Null => Ok(Class::Null),
        other => Err(Error::user(format!("a column of type {other} can be no key of a state table"))),
    }
}

/// Whether arrays of type `given` may stand for a column of type `declared`: the same, or another encoding of text or binary.
pub(crate) fn fits(declared: &DataType, given: &DataType) -> bool {
    use DataType::*;
    let text = |t: &DataType| matches!(t, Utf8 | LargeUtf8 | Utf8View);
    let binary = |t: &DataType| matches!(t, Binary | LargeBinary | BinaryView);
    match (declared, given) {
        (Struct(a), Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| fits(a.data_type(), b.data_type()))
        }
        (a, Dictionary(_, b)) => fits(a, b),
        (a, b) => a == b || (text(a) && text(b)) || (binary(a) && binary(b)),
    }
}

fn native<T: ArrowNativeType>(array: &dyn Array) -> ScalarBuffer<T> {
    let data = array.to_data();
    match data.buffers() {
        [values] => ScalarBuffer::new(values.clone(), data.offset(), data.len()),
        _ => vec![T::default(); data.len()].into(),
    }
}

fn widen<T: ArrowNativeType>(array: &dyn Array, to: impl Fn(T) -> i64) -> ScalarBuffer<i64> {
    native::<T>(array).iter().map(|v| to(*v)).collect()
}

/// The canonical bits of a float: one NaN, no -0.0.
fn float64_bits(v: f64) -> i64 {
    let v = if v.is_nan() { f64::NAN } else { v + 0.0 };
    v.to_bits() as i64
}

fn float32_bits(v: f32) -> i64 {
    let v = if v.is_nan() { f32::NAN } else { v + 0.0 };
    i64::from(v.to_bits())
}

/// The values of an array of class [`Class::Int`], 0 where it or `nulls` is NULL.
pub(crate) fn ints_from(array: &dyn Array, nulls: Option<&NullBuffer>) -> ScalarBuffer<i64> {
    use DataType::*;
    let values = match array.data_type() {
        Boolean => array.as_boolean().values().iter().map(i64::from).collect(),
        Int8 => widen::<i8>(array, i64::from),
        Int16 => widen::<i16>(array, i64::from),
        Int32 | Date32 | Time32(_) => widen::<i32>(array, i64::from),
        UInt8 => widen::<u8>(array, i64::from),
        UInt16 => widen::<u16>(array, i64::from),
        UInt32 => widen::<u32>(array, i64::from),
        Float32 => array.as_primitive::<Float32Type>().values().iter().map(|v| float32_bits(*v)).collect(),
        Float64 => array.as_primitive::<Float64Type>().values().iter().map(|v| float64_bits(*v)).collect(),
        _ => native::<i64>(array),
    };
    zero_nulls(values, nulls)
}

/// The values of a decimal array, 0 where it or `nulls` is NULL.
pub(crate) fn wides_from(array: &dyn Array, nulls: Option<&NullBuffer>) -> ScalarBuffer<i128> {
    zero_nulls(native::<i128>(array), nulls)
}

fn zero_nulls<T: ArrowNativeType>(values: ScalarBuffer<T>, nulls: Option<&NullBuffer>) -> ScalarBuffer<T> {
    match nulls.filter(|n| n.null_count() > 0) {
        None => values,
        Some(nulls) => {
            values.iter().zip(nulls.iter()).map(|(v, valid)| if valid { *v } else { T::default() }).collect()
        }
    }
}

/// The values of a text or binary array, empty where it or `nulls` is NULL.
pub(crate) fn bytes_from<'a>(array: &'a dyn Array, nulls: Option<&NullBuffer>) -> Vec<&'a [u8]> {
    use DataType::*;
    let mut values: Vec<&'a [u8]> = match array.data_type() {
        Utf8 => array.as_string::<i32>().iter().map(|v| v.unwrap_or_default().as_bytes()).collect(),
        LargeUtf8 => array.as_string::<i64>().iter().map(|v| v.unwrap_or_default().as_bytes()).collect(),
        Utf8View => array.as_string_view().iter().map(|v| v.unwrap_or_default().as_bytes()).collect(),
        Binary => array.as_binary::<i32>().iter().map(Option::unwrap_or_default).collect(),
        LargeBinary => array.as_binary::<i64>().iter().map(Option::unwrap_or_default).collect(),
        BinaryView => array.as_binary_view().iter().map(Option::unwrap_or_default).collect(),
        _ => array.as_fixed_size_binary().iter().map(Option::unwrap_or_default).collect(),
    };
    if let Some(nulls) = nulls.filter(|n| n.null_count() > 0) {
        for (value, valid) in values.iter_mut().zip(nulls.iter()) {
            if !valid {
                *value = &[];
            }
        }
    }
    values
}

fn build(data_type: &DataType, len: usize, buffers: Vec<Buffer>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let data = ArrayData::builder(data_type.clone()).len(len).buffers(buffers).nulls(nulls).build()?;
    Ok(make_array(data))
}

/// An array of a type of class [`Class::Int`].
pub(crate) fn ints_to(data_type: &DataType, values: Vec<i64>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    use DataType::*;
    let len = values.len();
    let buffer = match data_type {
        Boolean => {
            let values: BooleanBuffer = values.iter().map(|v| *v != 0).collect();
            return Ok(std::sync::Arc::new(BooleanArray::new(values, nulls)));
        }
        Int8 | UInt8 => narrow(&values, |v| v as u8),
        Int16 | UInt16 => narrow(&values, |v| v as u16),
        Int32 | UInt32 | Date32 | Time32(_) | Float32 => narrow(&values, |v| v as u32),
        _ => Buffer::from_vec(values),
    };
    build(data_type, len, vec![buffer], nulls)
}

fn narrow<T: ArrowNativeType>(values: &[i64], to: impl Fn(i64) -> T) -> Buffer {
    Buffer::from_vec(values.iter().map(|v| to(*v)).collect::<Vec<T>>())
}

/// A decimal array.
pub(crate) fn wides_to(data_type: &DataType, values: Vec<i128>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    build(data_type, values.len(), vec![Buffer::from_vec(values)], nulls)
}

/// A text or binary array. Errors: `internal` if bytes that should be text are not UTF-8.
pub(crate) fn bytes_to(data_type: &DataType, values: &[Option<&[u8]>]) -> Result<ArrayRef> {
    use DataType::*;
    let text =
        |v: &[u8]| std::str::from_utf8(v).map(str::to_owned).map_err(|e| Error::internal(format!("state text: {e}")));
    match data_type {
        Utf8View => {
            let mut builder = StringViewBuilder::with_capacity(values.len());
            for v in values {
                builder.append_option(v.map(text).transpose()?);
            }
            Ok(std::sync::Arc::new(builder.finish()))
        }
        BinaryView => {
            let mut builder = BinaryViewBuilder::with_capacity(values.len());
            for v in values {
                builder.append_option(*v);
            }
            Ok(std::sync::Arc::new(builder.finish()))
        }
        FixedSizeBinary(width) => {
            let width = usize::try_from(*width).unwrap_or_default();
            let mut bytes = Vec::with_capacity(values.len() * width);
            for v in values {
                bytes.extend_from_slice(v.unwrap_or_default());
                if v.is_none() {
                    bytes.resize(bytes.len() + width, 0);
                }
            }
            build(data_type, values.len(), vec![Buffer::from_vec(bytes)], nulls_of(values))
        }
        LargeUtf8 | LargeBinary => {
            let offsets = OffsetBuffer::<i64>::from_lengths(values.iter().map(|v| v.unwrap_or_default().len()));
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.unwrap_or_default()).copied().collect();
            build(
                data_type,
                values.len(),
                vec![offsets.into_inner().into_inner(), Buffer::from_vec(bytes)],
                nulls_of(values),
            )
        }
        _ => {
            let total: usize = values.iter().map(|v| v.unwrap_or_default().len()).sum();
            if i32::try_from(total).is_err() {
                return Err(Error::user(format!(
                    "{} state entries hold {total} bytes, a batch holds {}",
                    values.len(),
                    i32::MAX
                )));
            }
            let offsets = OffsetBuffer::<i32>::from_lengths(values.iter().map(|v| v.unwrap_or_default().len()));
            let mut bytes = Vec::with_capacity(total);
            values.iter().for_each(|v| bytes.extend_from_slice(v.unwrap_or_default()));
            build(
                data_type,
                values.len(),
                vec![offsets.into_inner().into_inner(), Buffer::from_vec(bytes)],
                nulls_of(values),
            )
        }
    }
}

fn nulls_of(values: &[Option<&[u8]>]) -> Option<NullBuffer> {
    values.iter().any(Option::is_none).then(|| values.iter().map(Option::is_some).collect())
}

/// An array of nothing but NULL.
pub(crate) fn nothing(len: usize) -> ArrayRef {
    std::sync::Arc::new(NullArray::new(len))
}
