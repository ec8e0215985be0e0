//! Partitions as folders: `dt=2026-01-01/hm=12%3A30`, as Hive and Flink name them, and a partition's time.
//!
//! Called by discovery (path to values), by the sink (values to path) and by the committer (values to time).

use crate::format::datetime::{days_from_civil, parse_date, parse_timestamp};
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::type_name;

/// The folder of rows whose partition column is NULL or empty.
pub(super) const DEFAULT_PARTITION: &str = "__DEFAULT_PARTITION__";

fn must_escape(c: char) -> bool {
    c < ' ' || c == '\u{7f}' || "\"#%'*/:=?\\{[]^".contains(c)
}

/// Appends a value as it may stand in a path.
pub(super) fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        if must_escape(c) {
            // Only ASCII is escaped, so a character is a byte; writing to a text cannot fail.
            let _ = write!(out, "%{:02X}", c as u32);
        } else {
            out.push(c);
        }
    }
}

/// The value that stands in a path. What is no escape stays as it is, as in Hive.
pub(super) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = (*byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let code = code.and_then(|c| std::str::from_utf8(c).ok()).and_then(|c| u8::from_str_radix(c, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The values of partition columns in a relative path's folders, `None` for the default partition.
pub(super) fn values_of_path(path: &str) -> HashMap<String, Option<String>> {
    let folders = path.split('/').filter_map(|folder| folder.split_once('='));
    let value = |v: &str| (v != DEFAULT_PARTITION).then(|| unescape(v));
    folders.map(|(k, v)| (unescape(k), value(v))).collect()
}

/// One value of a partition column as an array of one row.
pub(super) fn typed(value: Option<&str>, data_type: &DataType) -> Result<ArrayRef> {
    let text = StringArray::from(vec![value]);
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&text, data_type, &options)
        .map_err(|_| Error::user(format!("'{}' is not {}", value.unwrap_or_default(), type_name(data_type))))
}

/// Which partition each row of a batch belongs to.
pub(super) struct Partitioned {
    /// Relative folders, without a slash at the end.
    pub(super) folders: Vec<String>,
    /// For each row an index into `folders`.
    pub(super) rows: Vec<usize>,
}

/// Finds the folder of every row. `names` and `columns` are those of PARTITIONED BY, in its order.
pub(super) fn partition_rows(names: &[String], columns: &[ArrayRef], rows: usize) -> Result<Partitioned> {
    let texts: Vec<ArrayRef> =
        columns.iter().map(|c| cast(c, &DataType::Utf8)).collect::<std::result::Result<_, _>>()?;
    let texts: Vec<&StringArray> = texts.iter().map(|t| t.as_string::<i32>()).collect();
    let mut found: HashMap<String, usize> = HashMap::new();
    let mut out = Partitioned { folders: vec![], rows: Vec::with_capacity(rows) };
    let mut folder = String::new();
    for row in 0..rows {
        folder.clear();
        for (name, text) in names.iter().zip(&texts) {
            if !folder.is_empty() {
                folder.push('/');
            }
            escape(name, &mut folder);
            folder.push('=');
            let value = if text.is_null(row) { "" } else { text.value(row) };
            if value.is_empty() {
                folder.push_str(DEFAULT_PARTITION);
            } else {
                escape(value, &mut folder);
            }
        }
        let index = match found.get(folder.as_str()) {
            Some(index) => *index,
            None => {
                found.insert(folder.clone(), out.folders.len());
                out.folders.push(folder.clone());
                out.folders.len() - 1
            }
        };
        out.rows.push(index);
    }
    Ok(out)
}

/// How a partition's time is read out of its values.
#[derive(Clone, Debug)]
pub(super) struct PartitionTime {
    /// Text with `$name` for the partition columns.
    pub(super) pattern: String,
    /// How the text is read; `None` = `yyyy-MM-dd[ HH:mm:ss]`.
    pub(super) format: Option<TimePattern>,
}

impl PartitionTime {
    /// The time of a folder in ms since 1970 UTC; `None` if its values make none.
    pub(super) fn of(&self, folder: &str) -> Option<i64> {
        let values = values_of_path(folder);
        let mut names: Vec<&String> = values.keys().collect();
        // `$hm` must not be taken for `$h` and an m.
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        let mut text = self.pattern.clone();
        for name in names {
            let value = values.get(name).and_then(Option::as_deref)?;
            text = text.replace(&format!("${name}"), value);
        }
        match &self.format {
            Some(format) => format.read(&text),
            None => parse_timestamp(text.as_bytes(), TimeUnit::Millisecond)
                .or_else(|| parse_date(text.as_bytes()).map(|days| i64::from(days) * 86_400_000)),
        }
    }
}

/// A pattern such as `yyyy-MM-dd HH:mm:ss`: letters are digits of a field, all else stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimePattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// A field, by its index in year, month, day, hour, minute, second, milliseconds; and its digits.
    Field(usize, usize),
    Literal(char),
}

const FIELDS: [char; 7] = ['y', 'M', 'd', 'H', 'm', 's', 'S'];

impl TimePattern {
    /// Reads a pattern. Errors: a letter that is no field.
    pub(super) fn parse(text: &str) -> std::result::Result<TimePattern, String> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut quoted = false;
        for c in text.chars() {
            let field = FIELDS.iter().position(|f| *f == c);
            match (c, field, pieces.last_mut()) {
                ('\'', ..) => quoted = !quoted,
                (_, Some(field), Some(Piece::Field(last, digits))) if !quoted && *last == field => *digits += 1,
                (_, Some(field), _) if !quoted => pieces.push(Piece::Field(field, 1)),
                (c, None, _) if !quoted && c.is_ascii_alphabetic() => {
                    return Err(format!("`{c}` is none of the letters yyyy MM dd HH mm ss SSS"));
                }
                (c, ..) => pieces.push(Piece::Literal(c)),
            }
        }
        Ok(TimePattern(pieces))
    }

    /// The time in ms since 1970 UTC, if the text fits.
    fn read(&self, text: &str) -> Option<i64> {
        let mut fields = [1970, 1, 1, 0, 0, 0, 0i64];
        let mut rest = text;
        for piece in &self.0 {
            match piece {
                Piece::Literal(c) => rest = rest.strip_prefix(*c)?,
                Piece::Field(field, digits) => {
                    let (number, after) = rest.split_at_checked(*digits)?;
                    let number = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok()).flatten()?;
                    *fields.get_mut(*field)? = number;
                    rest = after;
                }
            }
        }
        let [year, month, day, hour, minute, second, millis] = fields;
        let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
        if !rest.is_empty() || !fits || year > 9999 || millis > 999 {
            return None;
        }
        let seconds = (days_from_civil(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
        Some(seconds * 1000 + millis)
    }
}

/// `value` repeated for every row.
pub(super) fn repeated(value: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    let zeros = arrow::array::UInt32Array::from(vec![0u32; rows]);
    Ok(Arc::clone(&arrow::compute::take(value, &zeros, None)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Int32Array};

    #[test]
    fn paths_and_values_are_inverse() {
        for value in ["12:30", "a/b=c", "100%", "ü 日", "..", "%41", "\u{1}", "{[^]}", "plain"] {
            let mut text = String::new();
            escape(value, &mut text);
            assert!(!text.contains(['/', '=', ':']), "{text}");
            assert_eq!(unescape(&text), value);
        }
        assert_eq!(unescape("%zz%4"), "%zz%4");
        let values = values_of_path("x/dt=2026-01-01/hm=12%3A30/n=__DEFAULT_PARTITION__/part-1.json");
        assert_eq!(values["hm"].as_deref(), Some("12:30"));
        assert_eq!((values["n"].clone(), values.len()), (None, 3));
    }

    #[test]
    fn rows_find_their_folders() {
        let dt: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b:c"), None, Some("a"), Some("")]));
        let n: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, None, Some(1), None]));
        let p = partition_rows(&["dt".into(), "n".into()], &[dt, n], 5).unwrap();
        assert_eq!(p.rows, [0, 1, 2, 0, 2]);
        let default = "dt=__DEFAULT_PARTITION__/n=__DEFAULT_PARTITION__";
        assert_eq!(p.folders, ["dt=a/n=1", "dt=b%3Ac/n=__DEFAULT_PARTITION__", default]);
    }

    #[test]
    fn values_have_types() {
        assert_eq!(typed(Some("2026-01-02"), &DataType::Date32).unwrap().as_ref(), &Date32Array::from(vec![20_455]));
        assert!(typed(None, &DataType::Int32).unwrap().is_null(0));
        assert_eq!(typed(Some("x"), &DataType::Int32).unwrap_err().message(), "'x' is not INT");
        assert_eq!(repeated(&typed(Some("7"), &DataType::Int32).unwrap(), 3).unwrap().len(), 3);
    }

    #[test]
    fn partitions_have_a_time() {
        let time = |pattern: &str, format: Option<&str>, folder: &str| {
            let format = format.map(|f| TimePattern::parse(f).unwrap());
            PartitionTime { pattern: pattern.into(), format }.of(folder)
        };
        let noon = 1_767_225_600_000 + 12 * 3_600_000;
        assert_eq!(time("$dt $hm:00", None, "dt=2026-01-01/hm=12%3A00"), Some(noon));
        assert_eq!(time("$dt", None, "dt=2026-01-01"), Some(1_767_225_600_000));
        assert_eq!(time("$d/$h", Some("yyyyMMdd/HH"), "d=20260101/h=12"), Some(noon));
        assert_eq!(time("$dt", Some("dd.MM.yyyy 'at' HH"), "dt=01.01.2026 at 12"), Some(noon));
        for folder in ["dt=2026-13-01/hm=12%3A00", "dt=__DEFAULT_PARTITION__/hm=12%3A00", "dt=x/hm=y", ""] {
            assert_eq!(time("$dt $hm:00", None, folder), None, "{folder}");
        }
        assert_eq!(time("$dt", Some("yyyy"), "dt=20261"), None);
        assert!(TimePattern::parse("yyyy-LL").is_err());
    }
}
