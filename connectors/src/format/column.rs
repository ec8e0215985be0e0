//! Columns under construction: what decoders append to, value by value, without a builder call or an allocation per value.
//!
//! Invariants
//! - C1 a column's length grows only by whole values; bytes of a text that was begun and given up are cut off by `truncate`.
//! - C2 `truncate(n)` undoes everything after the first `n` values, at every depth; so a bad record leaves no trace.
//! - C3 validity is kept only from the first NULL on.
//! - C4 NULLs of a struct reach its children late, many at a time: `pending` of them are still owed.

use super::datetime;
use super::json::Keys;
use super::scalar;
use arrow::array::{
    Array, ArrayData, ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, ListArray, MapArray, StringArray,
    StructArray, make_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, FieldRef, Fields, TimeUnit};
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};

/// How deep the types of a schema may be nested.
const MAX_TYPE_DEPTH: usize = 64;

/// Which values of a column are NULL; `None` until there is one.
#[derive(Default)]
pub(super) struct Validity(Option<BooleanBufferBuilder>);

impl Validity {
    #[inline(always)]
    fn push_valid(&mut self) {
        if let Some(bits) = &mut self.0 {
            bits.append(true);
        }
    }

    /// Appends `count` NULLs to a column that has `length` values.
    fn push_nulls(&mut self, length: usize, count: usize) {
        let bits = self.0.get_or_insert_with(|| {
            let mut bits = BooleanBufferBuilder::new(length + count);
            bits.append_n(length, true);
            bits
        });
        bits.append_n(count, false);
    }

    fn truncate(&mut self, length: usize) {
        if let Some(bits) = &mut self.0
            && bits.len() > length
        {
            bits.truncate(length);
        }
    }

    fn finish(&mut self) -> Option<NullBuffer> {
        self.0.take().map(|mut bits| NullBuffer::new(bits.finish()))
    }
}

/// A column of values of one width.
#[derive(Default)]
pub(super) struct Fixed<T> {
    values: Vec<T>,
    validity: Validity,
}

impl<T: ArrowNativeType> Fixed<T> {
    #[inline(always)]
    pub(super) fn push(&mut self, value: T) {
        self.values.push(value);
        self.validity.push_valid();
    }

    fn push_nulls(&mut self, count: usize) {
        self.validity.push_nulls(self.values.len(), count);
        self.values.resize(self.values.len() + count, T::default());
    }

    fn truncate(&mut self, length: usize) {
        self.values.truncate(length);
        self.validity.truncate(length);
    }

    fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef> {
        let next = Vec::with_capacity(self.values.len());
        let values = std::mem::replace(&mut self.values, next);
        let data = ArrayData::builder(data_type.clone())
            .len(values.len())
            .add_buffer(Buffer::from_vec(values))
            .nulls(self.validity.finish())
            .build()?;
        Ok(make_array(data))
    }
}

/// A column of texts or byte strings.
pub(super) struct Texts {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    validity: Validity,
}

impl Default for Texts {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: Vec::new(), validity: Validity::default() }
    }
}

impl Texts {
    /// Where the bytes of the next value are appended; [`end`](Self::end) makes it a value.
    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends a value. The caller's limit of bytes per batch keeps offsets within 32 bits.
    #[inline(always)]
    pub(super) fn end(&mut self) {
        self.offsets.push(self.bytes.len() as i32);
        self.validity.push_valid();
    }

    /// The values from `first` on.
    pub(super) fn values_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        let ends = self.offsets.iter().skip(first + 1);
        self.offsets
            .iter()
            .skip(first)
            .zip(ends)
            .map(|(start, end)| self.bytes.get(*start as usize..*end as usize).unwrap_or_default())
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn push_nulls(&mut self, count: usize) {
        self.validity.push_nulls(self.len(), count);
        self.offsets.resize(self.offsets.len() + count, self.bytes.len() as i32);
    }

    fn truncate(&mut self, length: usize) {
        self.offsets.truncate(length + 1);
        self.bytes.truncate(self.offsets.last().copied().unwrap_or(0) as usize);
        self.validity.truncate(length);
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        let mut next = Vec::with_capacity(self.offsets.len());
        next.push(0);
        let offsets = std::mem::replace(&mut self.offsets, next);
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes.reserve(bytes.len() + 16);
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(bytes), self.validity.finish())
    }
}

/// Reads timestamps, remembering the last minute: rows of a stream mostly share it.
pub(super) struct TimestampReader {
    unit: TimeUnit,
    /// The first 16 bytes (`yyyy-MM-dd HH:mm`) of the last text that was read.
    minute: u128,
    /// What they stand for.
    minute_ms: i64,
}

impl TimestampReader {
    #[inline]
    pub(super) fn read(&mut self, text: &[u8]) -> Option<i64> {
        if let Some((minute, [b':', s1, s2, b'.', f1, f2, f3])) = text.split_first_chunk::<16>()
            && u128::from_le_bytes(*minute) == self.minute
            && self.unit == TimeUnit::Millisecond
        {
            let digits = [s1, s2, f1, f2, f3].map(|byte| i64::from(byte.wrapping_sub(b'0')));
            let [s1, s2, f1, f2, f3] = digits;
            let seconds = s1 * 10 + s2;
            if digits.iter().all(|digit| *digit <= 9) && seconds < 60 {
                return Some(self.minute_ms + seconds * 1_000 + f1 * 100 + f2 * 10 + f3);
            }
            return None;
        }
        self.read_any(text)
    }

    #[inline(never)]
    fn read_any(&mut self, text: &[u8]) -> Option<i64> {
        let value = datetime::parse_timestamp(text, self.unit)?;
        if let Some((minute, _)) = text.split_first_chunk::<16>()
            && let Some(ms) = datetime::parse_timestamp(minute, TimeUnit::Millisecond)
        {
            (self.minute, self.minute_ms) = (u128::from_le_bytes(*minute), ms);
        }
        Some(value)
    }
}

/// A column of structs: rows of a table, or a nested object.
pub(super) struct Structs {
    pub(super) fields: Vec<StructField>,
    /// Which key is to be expected where.
    pub(super) keys: Keys,
    /// Counts objects; a field whose `stamp` equals it has been seen in the current one.
    pub(super) turn: u64,
    arrow_fields: Fields,
    validity: Validity,
    length: usize,
    pending: usize,
}

/// A field of [`Structs`].
pub(super) struct StructField {
    pub(super) nullable: bool,
    pub(super) stamp: u64,
    pub(super) column: Column,
}

impl Structs {
    pub(super) fn new(fields: &Fields) -> Result<Self> {
        Self::nested(fields, 0)
    }

    fn nested(fields: &Fields, depth: usize) -> Result<Self> {
        let field = |field: &FieldRef| {
            let column = Column::nested(field.data_type(), depth + 1);
            let column = column.map_err(|error| error.context(format!("column `{}`", field.name())))?;
            Ok(StructField { nullable: field.is_nullable(), stamp: 0, column })
        };
        Ok(Self {
            fields: fields.iter().map(field).collect::<Result<_>>()?,
            keys: Keys::new(fields.iter().map(|field| field.name().as_str())),
            turn: 0,
            arrow_fields: fields.clone(),
            validity: Validity::default(),
            length: 0,
            pending: 0,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn name(&self, field: usize) -> &str {
        self.arrow_fields.get(field).map_or("", |field| field.name())
    }

    /// Gives the children the NULLs that they are owed; every child then has as many values as the struct.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.pending > 0 {
            let count = std::mem::take(&mut self.pending);
            for field in &mut self.fields {
                field.column.push_nulls(count);
            }
        }
    }

    /// Ends a struct whose children have got their values.
    #[inline]
    pub(super) fn end(&mut self) {
        self.length += 1;
        self.validity.push_valid();
    }

    fn push_nulls(&mut self, count: usize) {
        self.validity.push_nulls(self.length, count);
        self.length += count;
        self.pending += count;
    }

    pub(super) fn truncate(&mut self, length: usize) {
        let settled = (self.length - self.pending).min(length);
        for field in &mut self.fields {
            field.column.truncate(settled);
        }
        self.length = self.length.min(length);
        self.pending = self.length - settled;
        self.validity.truncate(length);
    }

    /// The children as arrays, and a fresh start.
    pub(super) fn finish(&mut self) -> Result<(Vec<ArrayRef>, usize, Option<NullBuffer>)> {
        self.settle();
        let types = self.arrow_fields.iter();
        let columns = self.fields.iter_mut().zip(types).map(|(field, arrow)| field.column.finish(arrow.data_type()));
        let columns = columns.collect::<Result<_>>()?;
        Ok((columns, std::mem::take(&mut self.length), self.validity.finish()))
    }
}

/// A column of lists.
pub(super) struct Lists {
    pub(super) element_nullable: bool,
    pub(super) element: Column,
    ends: Fixed<i32>,
}

impl Lists {
    /// Ends a list that reaches to the end of the elements.
    pub(super) fn end(&mut self) {
        self.ends.push(self.element.len() as i32);
    }

    fn push_nulls(&mut self, count: usize) {
        for _ in 0..count {
            self.ends.push_nulls(1);
            if let Some(last) = self.ends.values.last_mut() {
                *last = self.element.len() as i32;
            }
        }
    }

    fn truncate(&mut self, length: usize) {
        self.ends.truncate(length);
        self.element.truncate(self.ends.values.last().copied().unwrap_or(0) as usize);
    }
}

/// A column of maps from texts.
pub(super) struct Maps {
    pub(super) keys: Texts,
    pub(super) value_nullable: bool,
    pub(super) values: Column,
    ends: Fixed<i32>,
}

impl Maps {
    /// Ends a map that reaches to the end of the entries.
    pub(super) fn end(&mut self) {
        self.ends.push(self.keys.len() as i32);
    }

    /// Drops the entries of the map under construction.
    pub(super) fn restart(&mut self) {
        self.truncate(self.ends.values.len());
    }

    /// Number of entries of all maps that were ended.
    pub(super) fn ended(&self) -> usize {
        self.ends.values.last().copied().unwrap_or(0) as usize
    }

    fn push_nulls(&mut self, count: usize) {
        for _ in 0..count {
            let end = self.ended() as i32;
            self.ends.push_nulls(1);
            if let Some(last) = self.ends.values.last_mut() {
                *last = end;
            }
        }
    }

    fn truncate(&mut self, length: usize) {
        self.ends.truncate(length);
        let entries = self.ended();
        self.keys.truncate(entries);
        self.values.truncate(entries);
    }
}

/// A column of any type.
pub(super) enum Column {
    Bool(Fixed<u8>),
    Int8(Fixed<i8>),
    Int16(Fixed<i16>),
    Int32(Fixed<i32>),
    Int64(Fixed<i64>),
    Float32(Fixed<f32>),
    Float64(Fixed<f64>),
    Decimal(Fixed<i128>, u8, i8),
    Date(Fixed<i32>),
    Time32(Fixed<i32>, TimeUnit),
    Time64(Fixed<i64>, TimeUnit),
    Timestamp(Fixed<i64>, TimestampReader),
    Text(Texts),
    Bytes(Texts),
    Struct(Box<Structs>),
    List(Box<Lists>),
    Map(Box<Maps>),
}

/// Does the same for whatever variant a column is.
macro_rules! each_column {
    ($column:expr, $inner:ident => $body:expr) => {
        match $column {
            Column::Bool($inner) => $body,
            Column::Int8($inner) => $body,
            Column::Int16($inner) => $body,
            Column::Int32($inner) | Column::Date($inner) | Column::Time32($inner, _) => $body,
            Column::Int64($inner) | Column::Time64($inner, _) | Column::Timestamp($inner, _) => $body,
            Column::Float32($inner) => $body,
            Column::Float64($inner) => $body,
            Column::Decimal($inner, ..) => $body,
            Column::Text($inner) | Column::Bytes($inner) => $body,
            Column::Struct($inner) => $body,
            Column::List($inner) => $body,
            Column::Map($inner) => $body,
        }
    };
}

impl Column {
    /// An empty column.
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        Self::nested(data_type, 0)
    }

    fn nested(data_type: &DataType, depth: usize) -> Result<Self> {
        if depth > MAX_TYPE_DEPTH {
            return Err(Error::user(format!("the type is nested deeper than {MAX_TYPE_DEPTH} levels")));
        }
        Ok(match data_type {
            DataType::Boolean => Self::Bool(Fixed::default()),
            DataType::Int8 => Self::Int8(Fixed::default()),
            DataType::Int16 => Self::Int16(Fixed::default()),
            DataType::Int32 => Self::Int32(Fixed::default()),
            DataType::Int64 => Self::Int64(Fixed::default()),
            DataType::Float32 => Self::Float32(Fixed::default()),
            DataType::Float64 => Self::Float64(Fixed::default()),
            DataType::Decimal128(precision, scale) => Self::Decimal(Fixed::default(), *precision, *scale),
            DataType::Date32 => Self::Date(Fixed::default()),
            DataType::Time32(unit) => Self::Time32(Fixed::default(), *unit),
            DataType::Time64(unit) => Self::Time64(Fixed::default(), *unit),
            DataType::Timestamp(unit, _) => {
                Self::Timestamp(Fixed::default(), TimestampReader { unit: *unit, minute: 0, minute_ms: 0 })
            }
            DataType::Utf8 => Self::Text(Texts::default()),
            DataType::Binary => Self::Bytes(Texts::default()),
            DataType::Struct(fields) => Self::Struct(Box::new(Structs::nested(fields, depth)?)),
            DataType::List(field) => Self::List(Box::new(Lists {
                element_nullable: field.is_nullable(),
                element: Self::nested(field.data_type(), depth + 1)?,
                ends: Fixed::default(),
            })),
            DataType::Map(entries, _) => Self::map(data_type, entries, depth)?,
            other => return Err(unsupported(other)),
        })
    }

    fn map(data_type: &DataType, entries: &FieldRef, depth: usize) -> Result<Self> {
        let DataType::Struct(fields) = entries.data_type() else { return Err(unsupported(data_type)) };
        let [key, value] = fields.as_ref() else { return Err(unsupported(data_type)) };
        if key.data_type() != &DataType::Utf8 {
            return Err(unsupported(data_type));
        }
        Ok(Self::Map(Box::new(Maps {
            keys: Texts::default(),
            value_nullable: value.is_nullable(),
            values: Self::nested(value.data_type(), depth + 1)?,
            ends: Fixed::default(),
        })))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(texts) | Self::Bytes(texts) => texts.len(),
            Self::Struct(structs) => structs.len(),
            Self::List(lists) => lists.ends.values.len(),
            Self::Map(maps) => maps.ends.values.len(),
            Self::Bool(fixed) => fixed.values.len(),
            Self::Int8(fixed) => fixed.values.len(),
            Self::Int16(fixed) => fixed.values.len(),
            Self::Int32(fixed) | Self::Date(fixed) | Self::Time32(fixed, _) => fixed.values.len(),
            Self::Int64(fixed) | Self::Time64(fixed, _) | Self::Timestamp(fixed, _) => fixed.values.len(),
            Self::Float32(fixed) => fixed.values.len(),
            Self::Float64(fixed) => fixed.values.len(),
            Self::Decimal(fixed, ..) => fixed.values.len(),
        }
    }

    #[inline]
    pub(super) fn push_nulls(&mut self, count: usize) {
        each_column!(self, inner => inner.push_nulls(count));
    }

    pub(super) fn truncate(&mut self, length: usize) {
        each_column!(self, inner => inner.truncate(length));
    }

    /// Appends the value that a text stands for. Returns false, with nothing appended, if it stands for none, or if the column is
    /// of a nested type.
    pub(super) fn push_text(&mut self, text: &[u8]) -> bool {
        fn push<T: ArrowNativeType>(fixed: &mut Fixed<T>, value: Option<T>) -> bool {
            value.map(|value| fixed.push(value)).is_some()
        }
        match self {
            Self::Bool(fixed) => push(fixed, scalar::parse_bool(text).map(u8::from)),
            Self::Int8(fixed) => push(fixed, scalar::parse_integer(text)),
            Self::Int16(fixed) => push(fixed, scalar::parse_integer(text)),
            Self::Int32(fixed) => push(fixed, scalar::parse_integer(text)),
            Self::Int64(fixed) => push(fixed, scalar::parse_integer(text)),
            Self::Float32(fixed) => push(fixed, scalar::parse_float(text)),
            Self::Float64(fixed) => push(fixed, scalar::parse_float(text)),
            Self::Decimal(fixed, precision, scale) => push(fixed, scalar::parse_decimal(text, *precision, *scale)),
            Self::Date(fixed) => push(fixed, datetime::parse_date(text)),
            Self::Time32(fixed, unit) => push(fixed, datetime::parse_time(text, *unit).map(|value| value as i32)),
            Self::Time64(fixed, unit) => push(fixed, datetime::parse_time(text, *unit)),
            Self::Timestamp(fixed, reader) => push(fixed, reader.read(text)),
            Self::Text(texts) => {
                texts.bytes.extend_from_slice(text);
                texts.end();
                true
            }
            Self::Bytes(texts) => {
                let start = texts.bytes.len();
                let decoded = scalar::decode_base64(text, &mut texts.bytes).is_some();
                if decoded {
                    texts.end();
                } else {
                    texts.bytes.truncate(start);
                }
                decoded
            }
            Self::Struct(_) | Self::List(_) | Self::Map(_) => false,
        }
    }

    /// The values as an array, and a fresh start.
    pub(super) fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef> {
        Ok(match self {
            Self::Bool(fixed) => {
                let values = std::mem::take(&mut fixed.values);
                let bits = values.iter().map(|value| *value != 0).collect();
                Arc::new(BooleanArray::new(bits, fixed.validity.finish()))
            }
            Self::Int8(fixed) => fixed.finish(data_type)?,
            Self::Int16(fixed) => fixed.finish(data_type)?,
            Self::Int32(fixed) | Self::Date(fixed) | Self::Time32(fixed, _) => fixed.finish(data_type)?,
            Self::Int64(fixed) | Self::Time64(fixed, _) | Self::Timestamp(fixed, _) => fixed.finish(data_type)?,
            Self::Float32(fixed) => fixed.finish(data_type)?,
            Self::Float64(fixed) => fixed.finish(data_type)?,
            Self::Decimal(fixed, ..) => fixed.finish(data_type)?,
            Self::Text(texts) => {
                let (offsets, bytes, nulls) = texts.take();
                Arc::new(StringArray::try_new(offsets, bytes, nulls)?)
            }
            Self::Bytes(texts) => {
                let (offsets, bytes, nulls) = texts.take();
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?)
            }
            Self::Struct(structs) => {
                let (columns, length, nulls) = structs.finish()?;
                let fields = structs.arrow_fields.clone();
                Arc::new(StructArray::try_new_with_length(fields, columns, nulls, length)?)
            }
            Self::List(lists) => finish_list(lists, data_type)?,
            Self::Map(maps) => finish_map(maps, data_type)?,
        })
    }
}

fn finish_ends(ends: &mut Fixed<i32>) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
    let offsets = std::iter::once(0).chain(ends.values.drain(..)).collect();
    (OffsetBuffer::new(offsets), ends.validity.finish())
}

fn finish_list(lists: &mut Lists, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::List(field) = data_type else { return Err(unsupported(data_type)) };
    let element = lists.element.finish(field.data_type())?;
    let (offsets, nulls) = finish_ends(&mut lists.ends);
    Ok(Arc::new(ListArray::try_new(field.clone(), offsets, element, nulls)?))
}

fn finish_map(maps: &mut Maps, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = data_type else { return Err(unsupported(data_type)) };
    let DataType::Struct(fields) = entries.data_type() else { return Err(unsupported(data_type)) };
    let (offsets, bytes, _) = maps.keys.take();
    let keys: ArrayRef = Arc::new(StringArray::try_new(offsets, bytes, None)?);
    let [_, value] = fields.as_ref() else { return Err(unsupported(data_type)) };
    let values = maps.values.finish(value.data_type())?;
    let structs = StructArray::try_new_with_length(fields.clone(), vec![keys.clone(), values], None, keys.len())?;
    let (offsets, nulls) = finish_ends(&mut maps.ends);
    Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, structs, nulls, *sorted)?))
}

fn unsupported(data_type: &DataType) -> Error {
    Error::user(format!("type {data_type} cannot be decoded"))
}
