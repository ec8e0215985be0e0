//! The values of a column, by row number: one branch per batch and column, then a loop over the numbers.
//!
//! Invariants
//! - V1 a value is a function of seed, column and row number; only times without `base-time` follow the clock.

use super::draws::{draw, real, whole, wide};
use super::field::{Field, Kind};
use arrow::array::{ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, ListArray, PrimitiveArray, StringArray};
use arrow::array::{StringBuilder, StructArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use std::fmt::Write;
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};

const DAY_MS: i64 = 86_400_000;

/// What time it is in a row, before `max-past` is taken off.
#[derive(Clone, Copy, Debug)]
pub(super) enum Times {
    /// The clock's, for all rows of the batch.
    Wall { ms: i64 },
    /// The row's own.
    Event(EventTime),
}

/// Time by row number: row 0 is at `base_ms`, and so many rows are a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventTime {
    pub(super) base_ms: i64,
    /// Not 0.
    pub(super) rows_per_second: u64,
}

impl Times {
    fn of(self, row: u64) -> i64 {
        match self {
            Times::Wall { ms } => ms,
            Times::Event(EventTime { base_ms, rows_per_second }) => {
                let rate = rows_per_second.max(1);
                let ms = (row / rate).saturating_mul(1_000).saturating_add(row % rate * 1_000 / rate);
                base_ms.saturating_add_unsigned(ms)
            }
        }
    }
}

/// The rows of a batch, or the elements of their arrays.
pub(super) struct Rows<'a> {
    pub(super) numbers: &'a [u64],
    /// How many numbers in a row belong to one row of the table.
    pub(super) repeat: u64,
    pub(super) times: Times,
}

/// The column's own share of what its values are made of.
struct Made<'a> {
    field: &'a Field,
    rows: &'a Rows<'a>,
    nulls: Option<NullBuffer>,
}

impl Field {
    /// The values of these rows.
    pub(super) fn generate(&self, rows: &Rows<'_>) -> Result<ArrayRef> {
        let is_some =
            |i: usize| rows.numbers.get(i).is_some_and(|number| (draw(!self.seed, *number) >> 32) >= self.null_rate);
        let nulls =
            (self.null_rate > 0).then(|| NullBuffer::new(BooleanBuffer::collect_bool(rows.numbers.len(), is_some)));
        let made = Made { field: self, rows, nulls };
        let seed = self.seed;
        match &self.kind {
            Kind::Sequence { start } => made.sequence(*start),
            Kind::Bool => {
                let values = rows.numbers.iter().map(|n| draw(seed, *n) >> 63 == 1).collect();
                Ok(Arc::new(BooleanArray::new(values, made.nulls)))
            }
            Kind::Whole { min, max } => made.whole(|n| whole(draw(seed, n), *min, *max)),
            Kind::Real { min, max } if self.data_type == DataType::Float32 => {
                Ok(made.primitive::<Float32Type>(|n| real(draw(seed, n), *min, *max) as f32))
            }
            Kind::Real { min, max } => Ok(made.primitive::<Float64Type>(|n| real(draw(seed, n), *min, *max))),
            Kind::Decimal { min, max } => {
                let bits = |n| (u128::from(draw(seed, n)) << 64) | u128::from(draw(seed.rotate_left(32), n));
                Ok(made.primitive::<Decimal128Type>(|n| wide(bits(n), *min, *max)))
            }
            Kind::Text { length } => {
                let (offsets, bytes) = made.bytes(*length, hexadecimal);
                Ok(Arc::new(StringArray::try_new(offsets, bytes, made.nulls)?))
            }
            Kind::Bytes { length } => {
                let (offsets, bytes) = made.bytes(*length, u64::to_le_bytes);
                Ok(Arc::new(BinaryArray::try_new(offsets, bytes, made.nulls)?))
            }
            Kind::Time { max_past_ms } => {
                let back = |n| ((u128::from(draw(seed, n)) * (u128::from(*max_past_ms) + 1)) >> 64) as u64;
                made.times(|n| rows.times.of(n / rows.repeat).saturating_sub_unsigned(back(n)))
            }
            Kind::Row { fields } => made.row(fields),
            Kind::Array { length, element } => made.array(*length, element),
        }
    }
}

impl Made<'_> {
    fn primitive<T: ArrowPrimitiveType>(self, value: impl Fn(u64) -> T::Native) -> ArrayRef {
        let values: ScalarBuffer<T::Native> = self.rows.numbers.iter().map(|n| value(*n)).collect();
        Arc::new(PrimitiveArray::<T>::new(values, self.nulls).with_data_type(self.field.data_type.clone()))
    }

    fn whole(self, value: impl Fn(u64) -> i64) -> Result<ArrayRef> {
        Ok(match self.field.data_type {
            DataType::Int8 => self.primitive::<Int8Type>(|n| value(n) as i8),
            DataType::Int16 => self.primitive::<Int16Type>(|n| value(n) as i16),
            DataType::Int32 => self.primitive::<Int32Type>(|n| value(n) as i32),
            DataType::Int64 => self.primitive::<Int64Type>(value),
            _ => return Err(self.no_values()),
        })
    }

    fn no_values(&self) -> Error {
        Error::internal(format!("{} is not made from {:?}", self.field.data_type, self.field.kind))
    }

    fn sequence(self, start: i64) -> Result<ArrayRef> {
        let value = |n: u64| start.wrapping_add_unsigned(n);
        match self.field.data_type {
            DataType::Float32 => Ok(self.primitive::<Float32Type>(|n| value(n) as f32)),
            DataType::Float64 => Ok(self.primitive::<Float64Type>(|n| value(n) as f64)),
            DataType::Decimal128(_, scale) => {
                let unit = 10_i128.saturating_pow(u32::try_from(scale).unwrap_or(0));
                Ok(self.primitive::<Decimal128Type>(|n| i128::from(value(n)).wrapping_mul(unit)))
            }
            DataType::Utf8 => {
                let mut out = StringBuilder::with_capacity(self.rows.numbers.len(), self.rows.numbers.len() * 8);
                for (i, n) in self.rows.numbers.iter().enumerate() {
                    if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(i)) {
                        out.append_null();
                    } else {
                        write!(out, "{}", value(*n)).map_err(|e| Error::internal(e.to_string()))?;
                        out.append_value("");
                    }
                }
                Ok(Arc::new(out.finish()))
            }
            _ => self.whole(value),
        }
    }

    fn times(self, ms: impl Fn(u64) -> i64) -> Result<ArrayRef> {
        let of_day = |n: u64| ms(n).rem_euclid(DAY_MS);
        Ok(match self.field.data_type {
            DataType::Timestamp(TimeUnit::Second, _) => {
                self.primitive::<TimestampSecondType>(|n| ms(n).div_euclid(1_000))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => self.primitive::<TimestampMillisecondType>(ms),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.primitive::<TimestampMicrosecondType>(|n| ms(n).saturating_mul(1_000))
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                self.primitive::<TimestampNanosecondType>(|n| ms(n).saturating_mul(1_000_000))
            }
            DataType::Date32 => self.primitive::<Date32Type>(|n| ms(n).div_euclid(DAY_MS) as i32),
            DataType::Time32(TimeUnit::Second) => self.primitive::<Time32SecondType>(|n| (of_day(n) / 1_000) as i32),
            DataType::Time32(_) => self.primitive::<Time32MillisecondType>(|n| of_day(n) as i32),
            DataType::Time64(TimeUnit::Microsecond) => self.primitive::<Time64MicrosecondType>(|n| of_day(n) * 1_000),
            DataType::Time64(_) => self.primitive::<Time64NanosecondType>(|n| of_day(n) * 1_000_000),
            _ => return Err(self.no_values()),
        })
    }

    /// Values of `length` bytes, `N` from each draw.
    fn bytes<const N: usize>(&self, length: usize, spell: impl Fn(u64) -> [u8; N]) -> (OffsetBuffer<i32>, Buffer) {
        let mut bytes = Vec::with_capacity(self.rows.numbers.len().saturating_mul(length));
        let is_null = |i| self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(i));
        let lengths = (0..self.rows.numbers.len()).map(|i| if is_null(i) { 0 } else { length });
        for (_, number) in self.rows.numbers.iter().enumerate().filter(|(i, _)| !is_null(*i)) {
            let (end, start) = (bytes.len() + length, draw(self.field.seed, *number));
            let mut word = 0;
            while bytes.len() < end {
                let spelled = spell(draw(start, word));
                bytes.extend(spelled.into_iter().take(end - bytes.len()));
                word += 1;
            }
        }
        (OffsetBuffer::from_lengths(lengths), Buffer::from_vec(bytes))
    }

    fn row(self, fields: &[Field]) -> Result<ArrayRef> {
        let DataType::Struct(columns) = &self.field.data_type else { return Err(self.no_values()) };
        let values = fields.iter().map(|f| f.generate(self.rows)).collect::<Result<Vec<_>>>()?;
        let rows = self.rows.numbers.len();
        Ok(Arc::new(StructArray::try_new_with_length(columns.clone(), values, self.nulls, rows)?))
    }

    fn array(self, length: usize, element: &Field) -> Result<ArrayRef> {
        let DataType::List(item) = &self.field.data_type else { return Err(self.no_values()) };
        let long = length as u64;
        let elements = |n: u64| (0..long).map(move |i| n.wrapping_mul(long).wrapping_add(i));
        let numbers: Vec<u64> = self.rows.numbers.iter().flat_map(|n| elements(*n)).collect();
        let repeat = self.rows.repeat.saturating_mul(long.max(1));
        let values = element.generate(&Rows { numbers: &numbers, repeat, times: self.rows.times })?;
        let offsets = OffsetBuffer::from_lengths(self.rows.numbers.iter().map(|_| length));
        Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, self.nulls)?))
    }
}

/// 16 digits.
fn hexadecimal(bits: u64) -> [u8; 16] {
    std::array::from_fn(|i| match ((bits >> (4 * i)) & 15) as u8 {
        digit @ 0..10 => b'0' + digit,
        letter => b'a' + letter - 10,
    })
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
