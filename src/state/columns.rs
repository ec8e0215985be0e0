//! The columns of state as people expect them: a minimum instead of a number and whether there is one, instants instead of numbers.
//!
//! Called for every part of a container. A column of state is named `WHAT` or `WHAT.PART`; columns of one WHAT belong together.

use arrow::array::{Array, ArrayRef, AsArray, Decimal256Array, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Field, Float64Type, Int64Type, TimeUnit, i256,
};
use std::str::FromStr;
use std::sync::Arc;
use thalweg_engine::state::reader::SHOWN_TYPE;
use thalweg_engine::{Error, Result};
use thalweg_operators::aggregate::value;

/// One column that is shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) data_type: DataType,
    how: How,
}

/// From which columns of state it is made, by their places.
#[derive(Clone, Debug)]
enum How {
    /// As it is.
    Plain(usize),
    /// A float and what it is too small by.
    Compensated(usize, usize),
    /// A number below 2^128 and how often 2^128 is to be added.
    Carried(usize, usize),
    /// A value, if there is one.
    Optional { there: usize, value: usize },
}

pub(super) const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// What to show of these value columns, the first of which has the place `first`.
pub(super) fn shown(fields: &[Arc<Field>], first: usize) -> Vec<Shown> {
    let split = |i: usize| fields.get(i).map_or(("", ""), |f| f.name().split_once('.').unwrap_or((f.name(), "")));
    let mut out = vec![];
    let mut next = 0;
    while next < fields.len() {
        let (what, _) = split(next);
        let end =
            (next + 1..fields.len()).find(|i| split(*i).0 != what || split(*i).1.is_empty()).unwrap_or(fields.len());
        let of = |part: &str| (next..end).find(|i| split(*i).1 == part);
        let column = |i: usize, name: String, how: How| {
            let data_type = fields.get(i).map_or(DataType::Null, |f| shown_type(f));
            Shown { name, data_type, how }
        };
        let at = |i: usize| first + i;
        match (of("sum"), of("low"), of("carry"), of("there"), of("value")) {
            (Some(sum), Some(low), ..) => out.push(column(sum, what.into(), How::Compensated(at(sum), at(low)))),
            (Some(sum), _, Some(carry), ..) => {
                let shown = column(sum, what.into(), How::Carried(at(sum), at(carry)));
                let scale = scale(&shown.data_type);
                out.push(Shown { data_type: DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale), ..shown });
            }
            (Some(sum), ..) => out.push(column(sum, what.into(), How::Plain(at(sum)))),
            (.., Some(there), Some(value)) => {
                out.push(column(value, what.into(), How::Optional { there: at(there), value: at(value) }));
                if let Some(time) = of("time") {
                    let how = How::Optional { there: at(there), value: at(time) };
                    out.push(column(time, format!("{what}_time"), how));
                }
            }
            _ => {
                for i in next..end {
                    let name = fields.get(i).map_or_else(String::new, |f| f.name().replace('.', "_"));
                    // The first snapshots number their counts, and the first counts all rows.
                    let name = if name == "count0" { "count".to_owned() } else { name };
                    out.push(column(i, name, How::Plain(at(i))));
                }
            }
        }
        next = end;
    }
    out
}

fn shown_type(field: &Field) -> DataType {
    let said = field.metadata().get(SHOWN_TYPE).and_then(|t| DataType::from_str(t).ok());
    said.unwrap_or_else(|| field.data_type().clone())
}

fn scale(data_type: &DataType) -> i8 {
    if let DataType::Decimal128(_, scale) = data_type { *scale } else { 0 }
}

fn wrong() -> Error {
    Error::external("state has other columns than its first file says").with_retry(false)
}

impl Shown {
    /// The column, made from the columns of state. Errors: `external` if they are not those that were expected.
    pub(super) fn of(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let at = |i: usize| columns.get(i).ok_or_else(wrong);
        match self.how {
            How::Plain(i) => as_type(at(i)?, None, &self.data_type),
            How::Optional { there, value } => {
                let there = at(there)?.as_boolean_opt().ok_or_else(wrong)?.values().clone();
                as_type(at(value)?, Some(NullBuffer::new(there)), &self.data_type)
            }
            How::Compensated(sum, low) => {
                let floats = |i| Ok::<_, Error>(at(i)?.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?.values());
                let pairs = floats(sum)?.iter().zip(floats(low)?);
                // The compensation of an infinite sum is NaN.
                let sums = pairs.map(|(s, l)| if s.is_finite() { s + l } else { *s });
                Ok(Arc::new(Float64Array::from_iter_values(sums)))
            }
            How::Carried(sum, carry) => {
                let sums = at(sum)?.as_primitive_opt::<Decimal128Type>().ok_or_else(wrong)?.values();
                let carries = at(carry)?.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values();
                let total = |(low, carry): (&i128, &i64)| {
                    i256::from_parts(0, i128::from(*carry)).wrapping_add(i256::from_i128(*low))
                };
                let totals = Decimal256Array::from_iter_values(sums.iter().zip(carries).map(total));
                Ok(Arc::new(totals.with_data_type(self.data_type.clone())))
            }
        }
    }
}

/// Stored values as the type that people expect. Decimals are stored as their digits: only the scale is said again.
fn as_type(values: &ArrayRef, there: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
    if values.data_type() == data_type && there.is_none() {
        return Ok(values.clone());
    }
    let nulls = NullBuffer::union(there.as_ref(), values.nulls());
    let digits = values.as_primitive_opt::<Decimal128Type>();
    if let (Some(digits), DataType::Decimal128(precision, scale)) = (digits, data_type) {
        let digits = arrow::array::Decimal128Array::new(digits.values().clone(), nulls);
        return Ok(Arc::new(digits.with_precision_and_scale(*precision, *scale)?));
    }
    let loaded = value::load(values)?;
    if let value::Loaded::Bytes(bytes) = loaded {
        let (offsets, data, own) = bytes.into_parts();
        let nulls = NullBuffer::union(nulls.as_ref(), own.as_ref());
        let bytes = arrow::array::BinaryArray::try_new(offsets, data, nulls)?;
        return value::store(value::Loaded::Bytes(bytes), None, data_type);
    }
    value::store(loaded, nulls, data_type)
}

/// Instants in ms; the first and the last number are none.
pub(super) fn instants(millis: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let some = millis.map(|ms| ms.filter(|ms| !matches!(*ms, i64::MIN | i64::MAX)));
    Arc::new(some.collect::<Int64Array>().reinterpret_cast::<arrow::datatypes::TimestampMillisecondType>())
}
