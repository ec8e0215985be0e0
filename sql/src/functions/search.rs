//! Functions that look into text: positions, splitting, counting, classification.
//!
//! `split_index` and `count_char` are on the hot path of URL and log analysis, so their constant forms search bytes directly.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion_common::Result;
use memchr::{memchr, memchr_iter, memmem};

use super::params::Param::{Long, Text as T, TextOrLong};
use super::scalar::{Call, Returns, Spec};
use super::text::{Text, char_boundary, char_count};

const INT: Returns = Returns::Type(DataType::Int32);
const BIGINT: Returns = Returns::Type(DataType::Int64);
const BOOLEAN: Returns = Returns::Type(DataType::Boolean);

/// Functions that look into text.
pub(super) static SPECS: &[Spec] = &[
    Spec { name: "locate", required: &[T, T], optional: &[Long], returns: INT, kernel: locate, ..Spec::DEFAULT },
    Spec {
        name: "strpos",
        aliases: &["instr", "position"],
        required: &[T, T],
        returns: INT,
        kernel: strpos,
        ..Spec::DEFAULT
    },
    Spec { name: "split_index", required: &[T, TextOrLong, Long], kernel: split_index, ..Spec::DEFAULT },
    Spec { name: "count_char", required: &[T, T], returns: BIGINT, kernel: count_char, ..Spec::DEFAULT },
    Spec {
        name: "starts_with",
        aliases: &["startswith"],
        required: &[T, T],
        returns: BOOLEAN,
        kernel: |call| test_pair(call, |text, part| text.starts_with(part)),
        ..Spec::DEFAULT
    },
    Spec {
        name: "ends_with",
        aliases: &["endswith"],
        required: &[T, T],
        returns: BOOLEAN,
        kernel: |call| test_pair(call, |text, part| text.ends_with(part)),
        ..Spec::DEFAULT
    },
    Spec {
        name: "is_alpha",
        required: &[T],
        strict: false,
        returns: BOOLEAN,
        kernel: |call| classify(call, |text| !text.is_empty() && text.chars().all(char::is_alphabetic)),
        ..Spec::DEFAULT
    },
    Spec {
        name: "is_digit",
        required: &[T],
        strict: false,
        returns: BOOLEAN,
        kernel: |call| classify(call, |text| !text.is_empty() && text.chars().all(char::is_numeric)),
        ..Spec::DEFAULT
    },
    Spec {
        name: "is_decimal",
        required: &[T],
        strict: false,
        returns: BOOLEAN,
        kernel: |call| classify(call, is_decimal),
        ..Spec::DEFAULT
    },
];

fn test_pair(call: &Call<'_>, test: fn(&str, &str) -> bool) -> Result<ArrayRef> {
    let (text, part) = (call.text(0)?, call.text(1)?);
    call.booleans(|row| Some(test(text.value(row), part.value(row))))
}

/// NULL is of no class, so the answer is FALSE and never NULL.
fn classify(call: &Call<'_>, test: fn(&str) -> bool) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.booleans(|row| Some(text.get(row).is_some_and(test)))
}

/// A sign, digits with at most one point among them, and an optional exponent.
fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (number, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    digits(whole) && digits(fraction) && whole.len() + fraction.len() > 0 && !exponent.is_empty() && digits(exponent)
}

/// Position of `part` in `text` from code point `from` (1-based) on, 0 if there is none.
fn position(part: &str, text: &str, from: i64) -> i32 {
    if part.is_empty() {
        return 1;
    }
    let skip = usize::try_from(from.max(1) - 1).unwrap_or(usize::MAX);
    let start = char_boundary(text, skip);
    match memmem::find(&text.as_bytes()[start..], part.as_bytes()) {
        Some(found) => char_count(&text[..start + found]) as i32 + 1,
        None => 0,
    }
}

fn locate(call: &Call<'_>) -> Result<ArrayRef> {
    let (part, text, from) = (call.text(0)?, call.text(1)?, call.longs_or(2, 1)?);
    let found = |row: usize| position(part.value(row), text.value(row), from[row]);
    call.primitive::<Int32Type>((0..call.rows).map(found).collect())
}

fn strpos(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, part) = (call.text(0)?, call.text(1)?);
    call.primitive::<Int32Type>((0..call.rows).map(|row| position(part.value(row), text.value(row), 1)).collect())
}

/// The separator is a string, or the code of a character from 1 to 255.
fn split_index(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, at) = (call.text(0)?, call.longs(2)?);
    let expected = text.total_bytes(call.rows) / 2;
    if call.is(1, &DataType::Int64) {
        let codes = call.longs(1)?;
        return call.write_text(expected, |row, out| {
            let Some(separator) = u8::try_from(codes[row]).ok().filter(|code| *code > 0) else { return Ok(false) };
            let mut buffer = [0; 4];
            Ok(push_part(out, text.value(row), char::from(separator).encode_utf8(&mut buffer), at[row]))
        });
    }
    let separator = call.text(1)?;
    if let Text::Constant(Some(separator)) = separator
        && let &[byte] = separator.as_bytes()
    {
        return call.write_text(expected, |row, out| Ok(push_part_at_byte(out, text.value(row), byte, at[row])));
    }
    call.write_text(expected, |row, out| Ok(push_part(out, text.value(row), separator.value(row), at[row])))
}

/// Appends part `at` (0-based) of `text`; false if there is none. Empty text has no parts.
fn push_part(out: &mut Vec<u8>, text: &str, separator: &str, at: i64) -> bool {
    let Ok(at) = usize::try_from(at) else { return false };
    if text.is_empty() || separator.is_empty() {
        return false;
    }
    let Some(part) = text.split(separator).nth(at) else { return false };
    out.extend_from_slice(part.as_bytes());
    true
}

fn push_part_at_byte(out: &mut Vec<u8>, text: &str, separator: u8, at: i64) -> bool {
    let mut rest = text.as_bytes();
    if at < 0 || rest.is_empty() {
        return false;
    }
    for _ in 0..at {
        match memchr(separator, rest) {
            Some(end) => rest = &rest[end + 1..],
            None => return false,
        }
    }
    out.extend_from_slice(&rest[..memchr(separator, rest).unwrap_or(rest.len())]);
    true
}

/// How often the first character of the second argument occurs; 0 if that is empty.
fn count_char(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, wanted) = (call.text(0)?, call.text(1)?);
    let count = |text: &str, wanted: &str| match wanted.chars().next() {
        None => 0,
        Some(character) if character.is_ascii() => memchr_iter(character as u8, text.as_bytes()).count() as i64,
        Some(character) => text.matches(character).count() as i64,
    };
    call.primitive::<Int64Type>((0..call.rows).map(|row| count(text.value(row), wanted.value(row))).collect())
}
