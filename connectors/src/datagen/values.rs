//! One column of generated rows: its options, and its values by row number.

use crate::options::{OptionError, OptionResult, TypedOptions};
use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, StringBuilder,
    TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use std::sync::Arc;
use thalweg_engine::error::Result;
use thalweg_engine::key::hash_text;

/// The longest text.
const LENGTH_MAX: i64 = 1 << 20;

#[derive(Clone, Debug)]
enum Kind {
    Sequence { start: i64, end: i64 },
    Bool,
    Whole { min: i64, max: i64 },
    Real { min: f64, max: f64 },
    Text { length: usize },
    Time { max_past_ms: u64 },
}

/// A column.
#[derive(Clone, Debug)]
pub(super) struct Field {
    data_type: DataType,
    kind: Kind,
    /// Chances of NULL in 2^32.
    null_rate: u64,
    seed: u64,
}

/// Row numbers: `first`, `first + stride`, ...
#[derive(Clone, Copy, Debug)]
pub(super) struct RowNumbers {
    pub(super) first: u64,
    pub(super) stride: u64,
    pub(super) count: usize,
}

impl RowNumbers {
    fn iter(self) -> impl Iterator<Item = u64> {
        (0..self.count as u64).map(move |i| self.first + i * self.stride)
    }
}

/// One draw: splitmix64 over the row number.
fn draw(seed: u64, row: u64) -> u64 {
    let mut z = seed.wrapping_add(row.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The limits of a whole number's type.
fn limits(data_type: &DataType) -> Option<(i64, i64)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN, i64::MAX),
        _ => return None,
    })
}

impl Field {
    /// Reads a column's options. Errors: a type that cannot be generated, options that contradict each other.
    pub(super) fn parse(field: &arrow::datatypes::Field, o: &TypedOptions<'_>, seed: u64) -> OptionResult<Field> {
        let key = |option: &str| format!("fields.{}.{option}", field.name());
        let data_type = field.data_type().clone();
        let rate = o.float(&key("null-rate"))?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&rate) || (rate > 0.0 && !field.is_nullable()) {
            let text = format!("{rate} is not within 0 and 1, or the column is NOT NULL");
            return Err(OptionError::at(key("null-rate"), text));
        }
        let sequence = o.text(&key("kind")).is_some_and(|k| k.eq_ignore_ascii_case("sequence"));
        let kind = if sequence { sequence_of(&data_type, &key, o)? } else { random_of(&data_type, &key, o)? };
        let null_rate = (rate * (1u64 << 32) as f64) as u64;
        Ok(Field { data_type, kind, null_rate, seed: seed ^ hash_text(field.name()) })
    }

    /// How many rows a sequence has.
    pub(super) fn rows(&self) -> Option<u64> {
        match self.kind {
            Kind::Sequence { start, end } => Some(end.abs_diff(start).saturating_add(1)),
            _ => None,
        }
    }

    /// The values of these rows.
    pub(super) fn generate(&self, rows: RowNumbers, now_ms: i64) -> Result<ArrayRef> {
        let seed = self.seed;
        let some = |row: u64| self.null_rate == 0 || (draw(!seed, row) >> 32) >= self.null_rate;
        let whole = |value: &dyn Fn(u64) -> i64| -> Result<ArrayRef> {
            let values = rows.iter().map(|r| some(r).then(|| value(r)));
            Ok(match self.data_type {
                DataType::Int8 => Arc::new(values.map(|v| v.map(|v| v as i8)).collect::<Int8Array>()),
                DataType::Int16 => Arc::new(values.map(|v| v.map(|v| v as i16)).collect::<Int16Array>()),
                DataType::Int32 => Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
                DataType::Int64 => Arc::new(values.collect::<Int64Array>()),
                _ => cast(&values.collect::<Int64Array>(), &self.data_type)?,
            })
        };
        match self.kind {
            Kind::Sequence { start, .. } => whole(&|r| start.wrapping_add_unsigned(r)),
            Kind::Whole { min, max } => {
                let width = u128::from(max.abs_diff(min)) + 1;
                whole(&|r| min.wrapping_add_unsigned(((u128::from(draw(seed, r)) * width) >> 64) as u64))
            }
            Kind::Bool => {
                let values = rows.iter().map(|r| some(r).then(|| draw(seed, r) >> 63 == 1));
                Ok(Arc::new(values.collect::<BooleanArray>()))
            }
            Kind::Real { min, max } => {
                let unit = |r| (draw(seed, r) >> 11) as f64 / (1u64 << 53) as f64;
                let values = rows.iter().map(|r| some(r).then(|| min * (1.0 - unit(r)) + max * unit(r)));
                Ok(match self.data_type {
                    DataType::Float32 => Arc::new(values.map(|v| v.map(|v| v as f32)).collect::<Float32Array>()),
                    _ => Arc::new(values.collect::<Float64Array>()),
                })
            }
            Kind::Time { max_past_ms } => {
                let back = |r| ((u128::from(draw(seed, r)) * (u128::from(max_past_ms) + 1)) >> 64) as u64;
                let values = rows.iter().map(|r| some(r).then(|| now_ms.saturating_sub_unsigned(back(r))));
                Ok(cast(&values.collect::<TimestampMillisecondArray>(), &self.data_type)?)
            }
            Kind::Text { length } => Ok(texts(rows, seed, length, some)),
        }
    }
}

/// Texts of hexadecimal digits.
fn texts(rows: RowNumbers, seed: u64, length: usize, some: impl Fn(u64) -> bool) -> ArrayRef {
    let mut out = StringBuilder::with_capacity(rows.count, rows.count.saturating_mul(length));
    let mut text = String::with_capacity(length);
    for row in rows.iter() {
        if !some(row) {
            out.append_null();
            continue;
        }
        text.clear();
        for word in 0..length.div_ceil(16) as u64 {
            let mut bits = draw(seed.wrapping_add(draw(word, row)), row);
            for _ in 0..16.min(length - text.len()) {
                text.push(char::from_digit((bits & 15) as u32, 16).unwrap_or('0'));
                bits >>= 4;
            }
        }
        out.append_value(&text);
    }
    Arc::new(out.finish())
}

fn sequence_of(data_type: &DataType, key: &dyn Fn(&str) -> String, o: &TypedOptions<'_>) -> OptionResult<Kind> {
    let bound = |name: &str| {
        let missing = || OptionError::at(key("kind"), format!("a sequence needs `{}`", key(name)));
        o.integer(&key(name))?.ok_or_else(missing)
    };
    let (start, end) = (bound("start")?, bound("end")?);
    let whole = limits(data_type).or(matches!(data_type, DataType::Utf8).then_some((i64::MIN, i64::MAX)));
    let Some((min, max)) = whole else {
        return Err(OptionError::at(key("kind"), format!("there is no sequence of {data_type}")));
    };
    if end < start || start < min || end > max {
        return Err(OptionError::at(key("end"), format!("no sequence of {data_type} goes from {start} to {end}")));
    }
    Ok(Kind::Sequence { start, end })
}

fn random_of(data_type: &DataType, key: &dyn Fn(&str) -> String, o: &TypedOptions<'_>) -> OptionResult<Kind> {
    let order = |ok: bool| if ok { Ok(()) } else { Err(OptionError::at(key("min"), "is larger than the maximum")) };
    if let Some((lowest, highest)) = limits(data_type) {
        let bound = |name: &str, default| o.integer_within(&key(name), lowest, highest).map(|b| b.unwrap_or(default));
        let (min, max) = (bound("min", lowest)?, bound("max", highest)?);
        return order(min <= max).map(|()| Kind::Whole { min, max });
    }
    Ok(match data_type {
        DataType::Boolean => Kind::Bool,
        DataType::Float32 | DataType::Float64 => {
            let limit = if *data_type == DataType::Float32 { f64::from(f32::MAX) } else { f64::MAX };
            let (min, max) = (o.float(&key("min"))?.unwrap_or(-limit), o.float(&key("max"))?.unwrap_or(limit));
            order(min <= max)?;
            Kind::Real { min, max }
        }
        DataType::Utf8 => {
            let length = o.integer_within(&key("length"), 0, LENGTH_MAX)?.unwrap_or(100);
            Kind::Text { length: length as usize }
        }
        DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Second | TimeUnit::Microsecond, _) => {
            let past = o.duration(&key("max-past"))?.unwrap_or_default();
            Kind::Time { max_past_ms: u64::try_from(past.as_millis()).unwrap_or(u64::MAX) }
        }
        other => {
            let error = OptionError::new(format!("datagen makes no values of type {other} (`{}`)", key("kind")));
            return Err(error
                .remedy("generate whole numbers, floats, BOOLEAN, STRING or TIMESTAMP(3) and cast them in a query"));
        }
    })
}
