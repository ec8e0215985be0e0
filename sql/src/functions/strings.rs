//! Functions from text to text: case, trimming, cutting, joining, padding, replacing.
//!
//! Positions count code points from 1. Kernels that multiply text ask `check_output` before they write.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Int32Type};
use datafusion_common::Result;

use super::params::Param::{Long, Text as T};
use super::scalar::{Call, Returns, Spec};
use super::text::{Text, char_boundary, char_count, check_output};

/// Functions from text to text.
pub(super) static SPECS: &[Spec] = &[
    Spec { name: "lower", required: &[T], kernel: lower, ..Spec::DEFAULT },
    Spec { name: "upper", required: &[T], kernel: upper, ..Spec::DEFAULT },
    Spec { name: "initcap", required: &[T], kernel: initcap, ..Spec::DEFAULT },
    Spec {
        name: "character_length",
        aliases: &["char_length", "length"],
        required: &[T],
        returns: Returns::Type(DataType::Int32),
        kernel: character_length,
        ..Spec::DEFAULT
    },
    Spec {
        name: "btrim",
        aliases: &["trim"],
        required: &[T],
        optional: &[T],
        kernel: |c| trim(c, true, true),
        ..Spec::DEFAULT
    },
    Spec { name: "ltrim", required: &[T], optional: &[T], kernel: |c| trim(c, true, false), ..Spec::DEFAULT },
    Spec { name: "rtrim", required: &[T], optional: &[T], kernel: |c| trim(c, false, true), ..Spec::DEFAULT },
    Spec { name: "concat", required: &[T], rest: Some(T), kernel: concat, ..Spec::DEFAULT },
    Spec { name: "concat_ws", required: &[T], rest: Some(T), strict: false, kernel: concat_ws, ..Spec::DEFAULT },
    Spec { name: "left", required: &[T, Long], kernel: left, ..Spec::DEFAULT },
    Spec { name: "right", required: &[T, Long], kernel: right, ..Spec::DEFAULT },
    Spec {
        name: "substr",
        aliases: &["substring"],
        required: &[T, Long],
        optional: &[Long],
        kernel: substr,
        ..Spec::DEFAULT
    },
    Spec { name: "overlay", required: &[T, T, Long], optional: &[Long], kernel: overlay, ..Spec::DEFAULT },
    Spec { name: "replace", required: &[T, T, T], kernel: replace, ..Spec::DEFAULT },
    Spec { name: "reverse", required: &[T], kernel: reverse, ..Spec::DEFAULT },
    Spec { name: "chr", required: &[Long], kernel: chr, ..Spec::DEFAULT },
    Spec { name: "repeat", required: &[T, Long], kernel: repeat, ..Spec::DEFAULT },
    Spec { name: "lpad", required: &[T, Long], optional: &[T], kernel: |c| pad(c, true), ..Spec::DEFAULT },
    Spec { name: "rpad", required: &[T, Long], optional: &[T], kernel: |c| pad(c, false), ..Spec::DEFAULT },
];

fn lower(call: &Call<'_>) -> Result<ArrayRef> {
    recase(call, <[u8]>::make_ascii_lowercase, str::to_lowercase)
}

fn upper(call: &Call<'_>) -> Result<ArrayRef> {
    recase(call, <[u8]>::make_ascii_uppercase, str::to_uppercase)
}

/// ASCII columns change in one pass over the value buffer and keep their offsets; other text goes row by row.
fn recase(call: &Call<'_>, ascii: fn(&mut [u8]), unicode: fn(&str) -> String) -> Result<ArrayRef> {
    let text = call.text(0)?;
    if let Text::Column(array) = &text {
        let (first, last) = (offset(array, 0), offset(array, array.len()));
        let values = array.value_data().get(first..last).unwrap_or_default();
        if values.is_ascii() {
            let mut values = values.to_vec();
            ascii(&mut values);
            let lengths = array.value_offsets().windows(2).map(|pair| (pair[1] - pair[0]) as usize);
            let offsets = if first == 0 { array.offsets().clone() } else { OffsetBuffer::from_lengths(lengths) };
            return Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(values), array.nulls().cloned())?));
        }
    }
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let value = text.value(row);
        match value.is_ascii() {
            true => {
                let start = out.len();
                out.extend_from_slice(value.as_bytes());
                ascii(&mut out[start..]);
            }
            false => out.extend_from_slice(unicode(value).as_bytes()),
        }
        Ok(true)
    })
}

fn offset(array: &StringArray, at: usize) -> usize {
    array.value_offsets().get(at).map_or(0, |found| *found as usize)
}

fn push_char(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// A word is a run of letters and digits.
fn initcap(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let mut inside = false;
        for character in text.value(row).chars() {
            match inside {
                true => character.to_lowercase().for_each(|c| push_char(out, c)),
                false => character.to_uppercase().for_each(|c| push_char(out, c)),
            }
            inside = character.is_alphanumeric();
        }
        Ok(true)
    })
}

fn character_length(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    if let Text::Column(array) = &text
        && array.is_ascii()
    {
        let lengths: Vec<i32> = array.value_offsets().windows(2).map(|pair| pair[1] - pair[0]).collect();
        return Ok(Arc::new(Int32Array::try_new(lengths.into(), array.nulls().cloned())?));
    }
    call.primitive::<Int32Type>((0..call.rows).map(|row| char_count(text.value(row)) as i32).collect())
}

/// Removes any of the characters of the second argument (a space by default) at the chosen ends.
fn trim(call: &Call<'_>, left: bool, right: bool) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let set = call.text_or(1, " ")?;
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let set = set.value(row);
        let mut value = text.value(row);
        if left {
            value = value.trim_start_matches(|c| set.contains(c));
        }
        if right {
            value = value.trim_end_matches(|c| set.contains(c));
        }
        out.extend_from_slice(value.as_bytes());
        Ok(true)
    })
}

fn texts<'a>(call: &'a Call<'_>, from: usize) -> Result<Vec<Text<'a>>> {
    (from..call.args.len()).map(|at| call.text(at)).collect()
}

fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let parts = texts(call, 0)?;
    let expected = parts.iter().map(|part| part.total_bytes(call.rows)).sum();
    call.write_text(expected, |row, out| {
        for part in &parts {
            let part = part.value(row).as_bytes();
            check_output(call.name, out.len(), part.len())?;
            out.extend_from_slice(part);
        }
        Ok(true)
    })
}

/// NULL parts are left out together with their separator; a NULL separator makes the result NULL.
fn concat_ws(call: &Call<'_>) -> Result<ArrayRef> {
    let separator = call.text(0)?;
    let parts = texts(call, 1)?;
    let expected = parts.iter().map(|part| part.total_bytes(call.rows)).sum();
    call.write_text(expected, |row, out| {
        let Some(separator) = separator.get(row) else { return Ok(false) };
        let mut first = true;
        for part in parts.iter().filter_map(|part| part.get(row)) {
            if !first {
                out.extend_from_slice(separator.as_bytes());
            }
            first = false;
            check_output(call.name, out.len(), part.len())?;
            out.extend_from_slice(part.as_bytes());
        }
        Ok(true)
    })
}

fn clamp(count: i64) -> usize {
    usize::try_from(count.max(0)).unwrap_or(usize::MAX)
}

fn left(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, counts) = (call.text(0)?, call.longs(1)?);
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let value = text.value(row);
        out.extend_from_slice(&value.as_bytes()[..char_boundary(value, clamp(counts[row]))]);
        Ok(true)
    })
}

fn right(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, counts) = (call.text(0)?, call.longs(1)?);
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let value = text.value(row);
        let skip = char_count(value).saturating_sub(clamp(counts[row]));
        out.extend_from_slice(&value.as_bytes()[char_boundary(value, skip)..]);
        Ok(true)
    })
}

/// A negative start counts from the end, 0 is the beginning; a negative length gives NULL.
fn substr(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, starts) = (call.text(0)?, call.longs(1)?);
    let lengths = call.longs_or(2, i64::MAX)?;
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let (value, start, length) = (text.value(row), starts[row], lengths[row]);
        if length < 0 {
            return Ok(false);
        }
        let skip = match start {
            1.. => Some(clamp(start - 1)),
            0 => Some(0),
            _ => char_count(value).checked_sub(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX)),
        };
        if let Some(skip) = skip {
            let rest = &value[char_boundary(value, skip)..];
            out.extend_from_slice(&rest.as_bytes()[..char_boundary(rest, clamp(length))]);
        }
        Ok(true)
    })
}

/// A start outside the text leaves it as it is; a length of 0 or less drops everything behind the inserted text.
fn overlay(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, inserted, starts) = (call.text(0)?, call.text(1)?, call.longs(2)?);
    let lengths = if call.args.len() > 3 { Some(call.longs(3)?) } else { None };
    call.write_text(text.total_bytes(call.rows) + inserted.total_bytes(call.rows), |row, out| {
        let (value, inserted, start) = (text.value(row), inserted.value(row), starts[row]);
        if start <= 0 || clamp(start) > char_count(value) {
            out.extend_from_slice(value.as_bytes());
            return Ok(true);
        }
        let length = lengths.as_ref().map_or(char_count(inserted) as i64, |lengths| lengths[row]);
        out.extend_from_slice(&value.as_bytes()[..char_boundary(value, clamp(start - 1))]);
        out.extend_from_slice(inserted.as_bytes());
        if length > 0 {
            let resume = clamp((start - 1).saturating_add(length));
            out.extend_from_slice(&value.as_bytes()[char_boundary(value, resume)..]);
        }
        Ok(true)
    })
}

/// An empty pattern matches between all characters.
fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pattern, replacement) = (call.text(0)?, call.text(1)?, call.text(2)?);
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let (value, pattern, replacement) = (text.value(row), pattern.value(row), replacement.value(row));
        let mut end = 0;
        let mut found = |start: usize, length: usize| -> Result<()> {
            check_output(call.name, out.len(), replacement.len())?;
            out.extend_from_slice(&value.as_bytes()[end..start]);
            out.extend_from_slice(replacement.as_bytes());
            end = start + length;
            Ok(())
        };
        // One byte that is a character is found without preparing a search, which takes longer than most values.
        match pattern.as_bytes() {
            [byte] => memchr::memchr_iter(*byte, value.as_bytes()).try_for_each(|start| found(start, 1))?,
            _ => value.match_indices(pattern).try_for_each(|(start, text)| found(start, text.len()))?,
        }
        out.extend_from_slice(&value.as_bytes()[end..]);
        Ok(true)
    })
}

fn reverse(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let value = text.value(row);
        match value.is_ascii() {
            true => out.extend(value.bytes().rev()),
            false => value.chars().rev().for_each(|character| push_char(out, character)),
        }
        Ok(true)
    })
}

/// The character of the lowest eight bits, which is one of the first 256; empty for a negative code.
fn chr(call: &Call<'_>) -> Result<ArrayRef> {
    let codes = call.longs(0)?;
    call.write_text(call.rows, |row, out| {
        if codes[row] >= 0 {
            push_char(out, char::from(codes[row] as u8));
        }
        Ok(true)
    })
}

fn repeat(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, counts) = (call.text(0)?, call.longs(1)?);
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let value = text.value(row);
        if !value.is_empty() {
            let count = clamp(counts[row]);
            check_output(call.name, out.len(), value.len().saturating_mul(count))?;
            (0..count).for_each(|_| out.extend_from_slice(value.as_bytes()));
        }
        Ok(true)
    })
}

/// Cuts or fills to a length in code points; NULL for a negative length or if there is nothing to fill with.
fn pad(call: &Call<'_>, before: bool) -> Result<ArrayRef> {
    let (text, lengths, filler) = (call.text(0)?, call.longs(1)?, call.text_or(2, " ")?);
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let (value, filler) = (text.value(row), filler.value(row));
        if lengths[row] < 0 {
            return Ok(false);
        }
        let (length, given) = (clamp(lengths[row]), char_count(value));
        if length <= given {
            out.extend_from_slice(&value.as_bytes()[..char_boundary(value, length)]);
            return Ok(true);
        }
        if filler.is_empty() {
            return Ok(false);
        }
        let missing = length - given;
        check_output(call.name, out.len(), missing.saturating_add(value.len()))?;
        if !before {
            out.extend_from_slice(value.as_bytes());
        }
        fill(out, filler, missing);
        if before {
            out.extend_from_slice(value.as_bytes());
        }
        Ok(true)
    })
}

fn fill(out: &mut Vec<u8>, filler: &str, missing: usize) {
    let width = char_count(filler);
    (0..missing / width).for_each(|_| out.extend_from_slice(filler.as_bytes()));
    out.extend_from_slice(&filler.as_bytes()[..char_boundary(filler, missing % width)]);
}
