//! The JSON encoder: a batch in, one object per row out, all rows in one buffer.
//!
//! Columns are downcast once per batch. Written as Flink writes: NULL as `null`, timestamps as `yyyy-MM-dd HH:mm:ss.SSS` (with a
//! `Z` behind if the column has a time zone), decimals as plain numbers, bytes as base64, NaN and infinities as strings.

use crate::format::{Encoded, Encoder, datetime, scalar, scan};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, ListArray,
    MapArray, RecordBatch, StringArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit,
};
use std::io::Write as _;
use thalweg_engine::error::{Error, Result};

/// How rows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JsonEncoderOptions {
    /// Leave fields that are NULL out instead of writing `null` (`json.encode.ignore-null-fields`).
    pub ignore_null_fields: bool,
}

/// Encodes each row as one JSON object.
#[derive(Debug, Default)]
pub struct JsonEncoder {
    options: JsonEncoderOptions,
}

impl JsonEncoder {
    /// An encoder with these options.
    #[must_use]
    pub fn new(options: JsonEncoderOptions) -> Self {
        Self { options }
    }

    /// Checks that every column of a schema can be written, so that a mistake shows when the job is planned.
    ///
    /// # Errors
    /// `user`, naming the column.
    pub fn check(&self, schema: &arrow::datatypes::Schema) -> Result<()> {
        Object::new(&RecordBatch::new_empty(schema.clone().into()), self.options).map(|_| ())
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Encoded) -> Result<()> {
        let object = Object::new(batch, self.options)?;
        let (bytes, rows) = (out.bytes.len(), out.ends.len());
        for row in 0..batch.num_rows() {
            if let Err(error) = object.write(row, &mut out.bytes) {
                out.bytes.truncate(bytes);
                out.ends.truncate(rows);
                return Err(error);
            }
            out.ends.push(out.bytes.len());
        }
        Ok(())
    }
}

/// Fields of rows or of a struct column.
struct Object {
    fields: Vec<Field>,
    ignore_nulls: bool,
}

struct Field {
    name: String,
    /// `"name":`, escaped.
    key: Vec<u8>,
    column: Cell,
}

/// A column, ready to write any of its rows.
pub(in crate::format) struct Cell {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Values {
    Bool(BooleanArray),
    Int(ScalarBuffer<i64>),
    Float32(Float32Array),
    Float64(Float64Array),
    Decimal(Decimal128Array),
    Date(ScalarBuffer<i32>),
    Time(ScalarBuffer<i64>, TimeUnit),
    Timestamp(ScalarBuffer<i64>, TimeUnit, bool),
    Text(StringArray),
    Bytes(BinaryArray),
    Struct(Object),
    List(ListArray, Box<Cell>),
    Map(Box<MapArray>, StringArray, Box<Cell>),
    Null,
}

impl Object {
    fn new(batch: &RecordBatch, options: JsonEncoderOptions) -> Result<Self> {
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        Self::of(names, batch.columns(), options)
    }

    fn of<'n>(names: impl Iterator<Item = &'n str>, columns: &[ArrayRef], options: JsonEncoderOptions) -> Result<Self> {
        let field = |(name, array): (&str, &ArrayRef)| {
            let mut key = Vec::new();
            write_text(name.as_bytes(), &mut key);
            key.push(b':');
            let column = Cell::with(array, options).map_err(|error| error.context(format!("column `{name}`")))?;
            Ok(Field { name: name.to_owned(), key, column })
        };
        let fields = names.zip(columns).map(field).collect::<Result<_>>()?;
        Ok(Self { fields, ignore_nulls: options.ignore_null_fields })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        out.push(b'{');
        let mut first = true;
        for field in &self.fields {
            if self.ignore_nulls && field.column.is_null(row) {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(&field.key);
            let written = field.column.write(row, out);
            written.map_err(|error| error.context(format!("column `{}`", field.name)))?;
        }
        out.push(b'}');
        Ok(())
    }
}

impl Cell {
    /// Prepares a column.
    pub(in crate::format) fn new(array: &ArrayRef) -> Result<Self> {
        Self::with(array, JsonEncoderOptions::default())
    }

    fn with(array: &ArrayRef, options: JsonEncoderOptions) -> Result<Self> {
        Ok(Self { nulls: array.logical_nulls(), values: Values::new(array, options)? })
    }

    pub(in crate::format) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        self.values.write(row, out)
    }

    /// Writes a value that is not NULL without the quotes of JSON.
    pub(in crate::format) fn write_plain(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if let Values::Text(array) = &self.values {
            out.extend_from_slice(array.value(row).as_bytes());
            return Ok(());
        }
        let start = out.len();
        self.values.write(row, out)?;
        if out.get(start) == Some(&b'"') {
            // No value but a text has quotes within.
            out.remove(start);
            out.pop();
        }
        Ok(())
    }
}

impl Values {
    fn new(array: &ArrayRef, options: JsonEncoderOptions) -> Result<Self> {
        let longs = |array: &ArrayRef| -> Result<ScalarBuffer<i64>> {
            Ok(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().values().clone())
        };
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::Int(longs(array)?),
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Self::Int(longs(array)?),
            DataType::UInt64 => Self::new(&cast(array, &DataType::Decimal128(20, 0))?, options)?,
            DataType::Float32 => Self::Float32(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Self::Float64(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(..) => Self::Decimal(array.as_primitive::<Decimal128Type>().clone()),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>().values().clone()),
            DataType::Time32(unit) => {
                let values = cast(array, &DataType::Int32)?;
                let values =
                    values.as_primitive::<Int32Type>().values().iter().map(|value| i64::from(*value)).collect();
                Self::Time(values, *unit)
            }
            DataType::Time64(unit) => Self::Time(longs(array)?, *unit),
            DataType::Timestamp(unit, zone) => Self::Timestamp(longs(array)?, *unit, zone.is_some()),
            DataType::Utf8 => Self::Text(array.as_string().clone()),
            DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
                Self::new(&cast(array, &DataType::Utf8)?, options)?
            }
            DataType::Binary => Self::Bytes(array.as_binary().clone()),
            DataType::LargeBinary | DataType::BinaryView => Self::new(&cast(array, &DataType::Binary)?, options)?,
            DataType::Struct(fields) => {
                let names = fields.iter().map(|field| field.name().as_str());
                Self::Struct(Object::of(names, array.as_struct().columns(), options)?)
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Self::List(list.clone(), Box::new(Cell::with(list.values(), options)?))
            }
            DataType::Map(..) if array.as_map().keys().data_type() == &DataType::Utf8 => {
                let map = array.as_map();
                let values = Box::new(Cell::with(map.values(), options)?);
                Self::Map(Box::new(map.clone()), map.keys().as_string().clone(), values)
            }
            other => return Err(Error::user(format!("type {other} cannot be written as JSON"))),
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Self::Int(values) => scalar::push_integer(at(values, row).into(), out),
            Self::Float32(array) => push_float(array.value(row), out),
            Self::Float64(array) => push_float(array.value(row), out),
            Self::Decimal(array) => scalar::push_decimal(array.value(row), array.scale(), out),
            Self::Date(values) => {
                out.push(b'"');
                datetime::write_date(out, i64::from(at(values, row)));
                out.push(b'"');
            }
            Self::Time(values, unit) => {
                out.push(b'"');
                datetime::write_time(out, at(values, row), *unit)
                    .ok_or_else(|| Error::user("a time outside one day cannot be written"))?;
                out.push(b'"');
            }
            Self::Timestamp(values, unit, zone) => {
                out.push(b'"');
                datetime::write_timestamp(out, at(values, row), *unit);
                if *zone {
                    out.push(b'Z');
                }
                out.push(b'"');
            }
            Self::Text(array) => write_text(array.value(row).as_bytes(), out),
            Self::Bytes(array) => {
                out.push(b'"');
                scalar::encode_base64(array.value(row), out);
                out.push(b'"');
            }
            Self::Struct(object) => object.write(row, out)?,
            Self::List(array, element) => {
                out.push(b'[');
                for (number, place) in range(array.value_offsets(), row).enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    element.write(place, out)?;
                }
                out.push(b']');
            }
            Self::Map(array, keys, values) => {
                out.push(b'{');
                for (number, place) in range(array.value_offsets(), row).enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    write_text(keys.value(place).as_bytes(), out);
                    out.push(b':');
                    values.write(place, out)?;
                }
                out.push(b'}');
            }
        }
        Ok(())
    }
}

/// The value of a row; rows are always within the batch.
#[inline]
fn at<T: Copy + Default>(values: &[T], row: usize) -> T {
    values.get(row).copied().unwrap_or_default()
}

/// The places of a row's elements.
fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    at(offsets, row) as usize..at(offsets, row + 1) as usize
}

fn push_float<F: std::fmt::Debug + Into<f64> + Copy>(value: F, out: &mut Vec<u8>) {
    let wide: f64 = value.into();
    // The shortest digits that read back as the same number; writing to a vector does not fail.
    let _ = if wide.is_finite() {
        write!(out, "{value:?}")
    } else if wide.is_nan() {
        write!(out, "\"NaN\"")
    } else {
        write!(out, "\"{}Infinity\"", if wide < 0.0 { "-" } else { "" })
    };
}

/// Appends a text as a JSON string.
fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some((chunk, after)) = rest.split_first_chunk::<16>() {
        let special = scan::masks(chunk).special;
        if special == 0 {
            out.extend_from_slice(chunk);
            rest = after;
        } else {
            let plain = special.trailing_zeros() as usize;
            out.extend_from_slice(rest.get(..plain).unwrap_or_default());
            rest = rest.get(plain..).unwrap_or_default();
            if let Some((byte, after)) = rest.split_first() {
                push_escaped(*byte, out);
                rest = after;
            }
        }
    }
    for byte in rest {
        if scan::is_special(*byte) {
            push_escaped(*byte, out);
        } else {
            out.push(*byte);
        }
    }
    out.push(b'"');
}

fn push_escaped(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        _ => {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX.get(usize::from(digit)).copied().unwrap_or(b'0'));
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
