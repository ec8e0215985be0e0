//! A column of generated rows: its options, checked, and what it is to hold. Read once per table by the connector.
//!
//! Invariants
//! - F1 every option that is read is noted with its value: what is given and not noted does not apply, what is noted with another
//!   value makes another table.
//! - F2 whatever the options, a row of one column takes at most [`ROW_BYTES_MAX`].

use crate::format::scalar::parse_decimal;
use crate::options::{OptionError, OptionResult, TypedOptions, nearest};
use arrow::datatypes::{DataType, Field as Column, Fields as Columns, TimeUnit};
use serde_json::{Map, Value};
use std::fmt;
use thalweg_engine::key::hash_text;

/// The longest text, in characters, and the longest BYTES.
const LENGTH_MAX: i64 = 1 << 20;
/// The longest ARRAY, in elements.
const ELEMENTS_MAX: i64 = 1 << 16;
/// The most that one row of a column can take, roughly.
pub(super) const ROW_BYTES_MAX: u64 = 16 << 20;

/// What values a column has.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Sequence { start: i64 },
    Bool,
    Whole { min: i64, max: i64 },
    Real { min: f64, max: f64 },
    Decimal { min: i128, max: i128 },
    Text { length: usize },
    Bytes { length: usize },
    Time { max_past_ms: u64 },
    Row { fields: Vec<Field> },
    Array { length: usize, element: Box<Field> },
}

/// A column, or a part of one.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) data_type: DataType,
    pub(super) kind: Kind,
    /// Chances of NULL in 2^32.
    pub(super) null_rate: u64,
    pub(super) seed: u64,
}

impl Field {
    /// What a row of it takes, roughly.
    pub(super) fn row_bytes(&self) -> u64 {
        match &self.kind {
            Kind::Text { length } | Kind::Bytes { length } => *length as u64 + 16,
            Kind::Row { fields } => fields.iter().fold(16, |sum, f| f.row_bytes().saturating_add(sum)),
            Kind::Array { length, element } => element.row_bytes().saturating_mul(*length as u64).saturating_add(16),
            _ => 16,
        }
    }
}

/// Reads the options of columns.
pub(super) struct Parser<'a> {
    options: TypedOptions<'a>,
    seed: u64,
    /// What was read, by the option's name.
    pub(super) settings: Map<String, Value>,
    /// How many rows the shortest sequence has.
    pub(super) rows: Option<u64>,
    /// Whether a column shows a time, and whether one counts nanoseconds.
    pub(super) times: (bool, bool),
    /// Each column and part by name, with its type.
    parts: Vec<(String, DataType)>,
}

/// Where a field stands.
struct Place<'a> {
    /// `a`, `a.b`, `a.element`.
    path: &'a str,
    /// It is an element of an ARRAY, or within one.
    repeats: bool,
}

impl Place<'_> {
    fn key(&self, option: &str) -> String {
        format!("fields.{}.{option}", self.path)
    }
}

impl<'a> Parser<'a> {
    pub(super) fn new(options: TypedOptions<'a>, seed: u64) -> Parser<'a> {
        Parser { options, seed, settings: Map::new(), rows: None, times: (false, false), parts: vec![] }
    }

    /// Reads the options of these columns. Errors: a type that cannot be generated, options that contradict each other.
    pub(super) fn columns(&mut self, columns: &Columns) -> OptionResult<Vec<Field>> {
        let read = columns.iter().map(|column| {
            let field = self.field(column, &Place { path: column.name(), repeats: false })?;
            let bytes = field.row_bytes();
            if bytes > ROW_BYTES_MAX {
                let text = format!("one row of column `{}` would take {bytes} bytes", column.name());
                return Err(OptionError::new(text).remedy(format!("make it shorter: at most {ROW_BYTES_MAX} bytes")));
            }
            Ok(field)
        });
        read.collect()
    }

    /// Checks that every option of a column was read. Errors: one of no column, or one that does not apply to it.
    pub(super) fn check_all_read(&self, table: &str) -> OptionResult<()> {
        let given = self.options.options().iter().map(|(key, _)| key);
        let Some(key) = given.filter(|key| key.starts_with("fields.")).find(|key| !self.settings.contains_key(*key))
        else {
            return Ok(());
        };
        let (name, _) = key.strip_prefix("fields.").and_then(|rest| rest.rsplit_once('.')).unwrap_or((key, ""));
        if let Some((_, data_type)) = self.parts.iter().find(|(path, _)| path == name) {
            let prefix = format!("fields.{name}.");
            let takes = self.settings.keys().filter_map(|k| k.strip_prefix(&prefix)).filter(|rest| !rest.contains('.'));
            let takes: Vec<&str> = takes.filter(|option| *option != "type").collect();
            let kind = self.settings.get(&format!("{prefix}kind")).and_then(Value::as_str).unwrap_or("random");
            let text = format!("does not apply to `{name}`, a {kind} {data_type}");
            return Err(OptionError::at(key, text).remedy(format!("it takes {}", takes.join(", "))));
        }
        let remedy = match nearest(name, self.parts.iter().map(|(path, _)| path.as_str())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a column that is not computed".to_owned(),
        };
        Err(OptionError::at(key, format!("table `{table}` has no column `{name}`")).remedy(remedy))
    }

    fn field(&mut self, column: &Column, place: &Place<'_>) -> OptionResult<Field> {
        let data_type = column.data_type().clone();
        self.parts.push((place.path.to_owned(), data_type.clone()));
        self.settings.insert(place.key("type"), data_type.to_string().into());
        let rate = self.options.float(&place.key("null-rate"))?.unwrap_or(0.0);
        self.settings.insert(place.key("null-rate"), Exact(rate).into());
        if !(0.0..=1.0).contains(&rate) {
            return Err(OptionError::at(place.key("null-rate"), format!("{rate} is not within 0 and 1")));
        }
        if rate > 0.0 && !column.is_nullable() {
            return Err(OptionError::at(place.key("null-rate"), format!("`{}` is NOT NULL", place.path)));
        }
        let kinds = [("random", false), ("sequence", true)];
        let sequence = self.options.choice(&place.key("kind"), &kinds)?.unwrap_or(false);
        self.settings.insert(place.key("kind"), if sequence { "sequence" } else { "random" }.into());
        let kind = if sequence { self.sequence(&data_type, place)? } else { self.random(&data_type, place)? };
        let null_rate = (rate * (1u64 << 32) as f64) as u64;
        Ok(Field { data_type, kind, null_rate, seed: self.seed ^ hash_text(place.path) })
    }

    fn sequence(&mut self, data_type: &DataType, place: &Place<'_>) -> OptionResult<Kind> {
        let Some((min, max)) = sequence_limits(data_type).filter(|_| !place.repeats) else {
            let within = if place.repeats { " within an ARRAY" } else { "" };
            let text = format!("there is no sequence of {data_type}{within}");
            return Err(OptionError::at(place.key("kind"), text).remedy("leave it random"));
        };
        let mut bound = |name: &str| {
            let key = place.key(name);
            let missing = || OptionError::at(place.key("kind"), format!("a sequence needs `{key}`"));
            let bound = self.options.integer_within(&key, min, max)?.ok_or_else(missing)?;
            self.settings.insert(key, bound.into());
            Ok::<i64, OptionError>(bound)
        };
        let (start, end) = (bound("start")?, bound("end")?);
        if end < start {
            return Err(OptionError::at(place.key("end"), format!("{end} is less than the start {start}")));
        }
        let rows = end.abs_diff(start).saturating_add(1);
        self.rows = Some(self.rows.map_or(rows, |shortest| shortest.min(rows)));
        Ok(Kind::Sequence { start })
    }

    fn random(&mut self, data_type: &DataType, place: &Place<'_>) -> OptionResult<Kind> {
        if let Some((lowest, highest)) = whole_limits(data_type) {
            let read = |o: &TypedOptions<'_>, key: &str| o.integer_within(key, lowest, highest);
            let (min, max) = self.bounds(place, (lowest, highest), read)?;
            return Ok(Kind::Whole { min, max });
        }
        match data_type {
            DataType::Boolean => Ok(Kind::Bool),
            DataType::Float32 | DataType::Float64 => {
                let limit = if *data_type == DataType::Float32 { f64::from(f32::MAX) } else { f64::MAX };
                let read = |o: &TypedOptions<'_>, key: &str| real_bound(o, key, data_type);
                let (min, max) = self.bounds(place, (Exact(-limit), Exact(limit)), read)?;
                Ok(Kind::Real { min: min.0, max: max.0 })
            }
            DataType::Decimal128(precision, scale) => {
                let limit = 10_i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX) - 1;
                let read = |o: &TypedOptions<'_>, key: &str| decimal_bound(o, key, *precision, *scale);
                let (min, max) = self.bounds(place, (Exact(-limit), Exact(limit)), read)?;
                Ok(Kind::Decimal { min: min.0, max: max.0 })
            }
            DataType::Utf8 => Ok(Kind::Text { length: self.length(place, 100, LENGTH_MAX)? }),
            DataType::Binary => Ok(Kind::Bytes { length: self.length(place, 100, LENGTH_MAX)? }),
            DataType::Timestamp(..) | DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) => {
                let past = self.options.duration(&place.key("max-past"))?.unwrap_or_default();
                let max_past_ms = u64::try_from(past.as_millis()).unwrap_or(u64::MAX);
                self.settings.insert(place.key("max-past"), max_past_ms.into());
                self.times.0 = true;
                self.times.1 |= matches!(data_type, DataType::Timestamp(TimeUnit::Nanosecond, _));
                Ok(Kind::Time { max_past_ms })
            }
            DataType::Struct(columns) => {
                let part = |column: &arrow::datatypes::FieldRef| {
                    let path = format!("{}.{}", place.path, column.name());
                    self.field(column, &Place { path: &path, repeats: place.repeats })
                };
                Ok(Kind::Row { fields: columns.iter().map(part).collect::<OptionResult<_>>()? })
            }
            DataType::List(item) => {
                let path = format!("{}.element", place.path);
                let length = self.length(place, 3, ELEMENTS_MAX)?;
                let element = Box::new(self.field(item, &Place { path: &path, repeats: true })?);
                Ok(Kind::Array { length, element })
            }
            other => {
                let error = OptionError::new(format!("datagen makes no values of type {other} (`{}`)", place.path));
                Err(error.remedy("leave the column out, or compute it from others"))
            }
        }
    }

    fn length(&mut self, place: &Place<'_>, default: i64, max: i64) -> OptionResult<usize> {
        let key = place.key("length");
        let length = self.options.integer_within(&key, 0, max)?.unwrap_or(default);
        self.settings.insert(key, length.into());
        Ok(usize::try_from(length).unwrap_or(0))
    }

    /// The options `min` and `max`.
    fn bounds<T: PartialOrd + Copy + Into<Value>>(
        &mut self,
        place: &Place<'_>,
        (lowest, highest): (T, T),
        read: impl Fn(&TypedOptions<'_>, &str) -> OptionResult<Option<T>>,
    ) -> OptionResult<(T, T)> {
        let min = read(&self.options, &place.key("min"))?.unwrap_or(lowest);
        let max = read(&self.options, &place.key("max"))?.unwrap_or(highest);
        self.settings.insert(place.key("min"), min.into());
        self.settings.insert(place.key("max"), max.into());
        if min > max {
            let (key, least) = (place.key("min"), place.key("max"));
            return Err(OptionError::at(key, format!("is larger than `{least}`")).remedy("swap the two"));
        }
        Ok((min, max))
    }
}

/// A number that goes into the settings as text: JSON numbers are read back as the nearest 64 bits.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Exact<T>(T);

impl<T: fmt::Display> From<Exact<T>> for Value {
    fn from(number: Exact<T>) -> Value {
        number.0.to_string().into()
    }
}

fn real_bound(o: &TypedOptions<'_>, key: &str, data_type: &DataType) -> OptionResult<Option<Exact<f64>>> {
    let Some(bound) = o.float(key)? else { return Ok(None) };
    if *data_type == DataType::Float64 {
        return Ok(Some(Exact(bound)));
    }
    // As the column holds it, so that no value is rounded beyond it.
    let single = bound as f32;
    if single.is_finite() {
        return Ok(Some(Exact(f64::from(single))));
    }
    Err(OptionError::at(key, format!("{bound} is not within {} and {}, the limits of FLOAT", f32::MIN, f32::MAX)))
}

fn decimal_bound(o: &TypedOptions<'_>, key: &str, precision: u8, scale: i8) -> OptionResult<Option<Exact<i128>>> {
    let Some(text) = o.text(key) else { return Ok(None) };
    let parsed = parse_decimal(text.as_bytes(), precision, scale).map(Exact);
    parsed.map(Some).ok_or_else(|| OptionError::at(key, format!("'{text}' is no DECIMAL({precision}, {scale})")))
}

/// The limits of a whole number's type.
fn whole_limits(data_type: &DataType) -> Option<(i64, i64)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN, i64::MAX),
        _ => return None,
    })
}

/// The limits of a sequence: all whole numbers that the type holds exactly.
fn sequence_limits(data_type: &DataType) -> Option<(i64, i64)> {
    match data_type {
        DataType::Utf8 => Some((i64::MIN, i64::MAX)),
        DataType::Float32 => Some((-(1 << 24), 1 << 24)),
        DataType::Float64 => Some((-(1 << 53), 1 << 53)),
        DataType::Decimal128(precision, scale) => {
            let digits = (i32::from(*precision) - i32::from(*scale)).clamp(0, 19);
            let limit = 10_i128.pow(digits.unsigned_abs()) - 1;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            Some((-limit, limit))
        }
        whole => whole_limits(whole),
    }
}
