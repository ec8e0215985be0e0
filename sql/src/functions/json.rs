//! SQL/JSON functions: JSON_VALUE, JSON_QUERY, JSON_EXISTS and IS_JSON.
//!
//! They find one value by a path in a text without building the document: see `json_scan`. Text that is no JSON gives NULL (FALSE for
//! the tests), which is the standard's NULL ON ERROR; a missing value gives NULL, its NULL ON EMPTY.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue, plan_err};

use super::json_scan::{Path, compact, find, is_json, unescape};
use super::params::Param::Text as T;
use super::scalar::{Call, Returns, Spec};
use super::text::Text;
use super::times::literal_text;

const BOOLEAN: Returns = Returns::Type(DataType::Boolean);

/// SQL/JSON functions.
pub(super) static SPECS: &[Spec] = &[
    Spec { name: "json_value", required: &[T, T], check: check_path, kernel: json_value, ..Spec::DEFAULT },
    Spec { name: "json_query", required: &[T, T], check: check_path, kernel: json_query, ..Spec::DEFAULT },
    Spec {
        name: "json_exists",
        required: &[T, T],
        returns: BOOLEAN,
        check: check_path,
        kernel: json_exists,
        ..Spec::DEFAULT
    },
    Spec {
        name: "is_json",
        required: &[T],
        returns: BOOLEAN,
        strict: false,
        kernel: |call| {
            let text = call.text(0)?;
            call.booleans(|row| Some(text.get(row).is_some_and(is_json)))
        },
        ..Spec::DEFAULT
    },
];

fn check_path(literals: &[Option<&ScalarValue>]) -> Result<()> {
    match literal_text(literals, 1).map(Path::parse) {
        Some(Err(reason)) => plan_err!("{reason}"),
        _ => Ok(()),
    }
}

/// The path of each row; a constant one is parsed once.
struct Paths<'a> {
    text: Text<'a>,
    last: Option<(&'a str, Option<Path>)>,
}

impl<'a> Paths<'a> {
    fn get(&mut self, row: usize) -> Option<&Path> {
        let text = self.text.value(row);
        if self.last.as_ref().is_none_or(|(last, _)| *last != text) {
            self.last = Some((text, Path::parse(text).ok()));
        }
        self.last.as_ref().and_then(|(_, path)| path.as_ref())
    }
}

/// A string without its quotes, a number or a boolean as it is written; NULL for null, objects and arrays.
fn json_value(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut paths) = (call.text(0)?, Paths { text: call.text(1)?, last: None });
    call.write_text(text.total_bytes(call.rows) / 4, |row, out| {
        let found = paths.get(row).and_then(|path| find(text.value(row), path));
        match found {
            None | Some("null") => Ok(false),
            Some(value) if value.starts_with(['{', '[']) => Ok(false),
            Some(value) if value.starts_with('"') => Ok(unescape(value, out)),
            Some(value) => {
                out.extend_from_slice(value.as_bytes());
                Ok(true)
            }
        }
    })
}

/// An object or array as text without insignificant spaces; NULL for other values.
fn json_query(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut paths) = (call.text(0)?, Paths { text: call.text(1)?, last: None });
    call.write_text(text.total_bytes(call.rows) / 2, |row, out| {
        match paths.get(row).and_then(|path| find(text.value(row), path)) {
            Some(value) if value.starts_with(['{', '[']) => {
                compact(value, out);
                Ok(true)
            }
            _ => Ok(false),
        }
    })
}

fn json_exists(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut paths) = (call.text(0)?, Paths { text: call.text(1)?, last: None });
    call.booleans(|row| Some(paths.get(row).and_then(|path| find(text.value(row), path)).is_some()))
}
