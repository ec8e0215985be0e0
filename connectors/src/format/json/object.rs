//! JSON values into columns: the walk along the schema. Called by the decoder with a record's outermost object.

use super::cursor::{Cursor, Fault, Read, not_a};
use crate::format::column::{Column, Fixed, Lists, Maps, Structs};
use arrow::datatypes::ArrowNativeType;
use std::collections::HashMap;

/// Reads an object into one more struct.
#[inline]
pub(super) fn read_object(structs: &mut Structs, cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>) -> Read<()> {
    cursor.expect(b'{')?;
    structs.settle();
    structs.turn += 1;
    let mut place = structs.keys.start();
    let mut seen = 0;
    cursor.skip_space();
    if cursor.peek() == b'}' {
        cursor.advance(1);
        return end_object(structs, seen);
    }
    let mut field = structs.keys.read(&mut place, cursor, scratch)?;
    loop {
        match field {
            None => cursor.skip_value()?,
            Some(field) => seen += usize::from(read_field(structs, field, cursor, scratch)?),
        }
        if let Some(expected) = structs.keys.read_expected(&mut place, cursor) {
            field = expected;
            continue;
        }
        cursor.skip_space();
        match cursor.peek() {
            b',' => cursor.advance(1),
            b'}' => {
                cursor.advance(1);
                return end_object(structs, seen);
            }
            _ => return Err(cursor.unexpected("`,` or `}`")),
        }
        cursor.skip_space();
        field = structs.keys.read(&mut place, cursor, scratch)?;
    }
}

/// Reads a value into a field; returns whether it is the first value of this object for it. Of several the last one counts.
#[inline(always)]
fn read_field(structs: &mut Structs, at: usize, cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>) -> Read<bool> {
    let (turn, length) = (structs.turn, structs.len());
    let Some(field) = structs.fields.get_mut(at) else { return Ok(false) };
    let first = field.stamp != turn;
    field.stamp = turn;
    if !first {
        field.column.truncate(length);
    }
    match read_value(&mut field.column, field.nullable, cursor, scratch) {
        Ok(()) => Ok(first),
        Err(fault) => Err(fault.inside(structs.name(at))),
    }
}

/// Gives NULL to the fields that the object did not have.
#[inline]
fn end_object(structs: &mut Structs, seen: usize) -> Read<()> {
    if seen < structs.fields.len() {
        fill_missing(structs)?;
    }
    structs.end();
    Ok(())
}

fn fill_missing(structs: &mut Structs) -> Read<()> {
    let mut missing = None;
    for (at, field) in structs.fields.iter_mut().enumerate().filter(|(_, field)| field.stamp != structs.turn) {
        if !field.nullable {
            missing = Some(at);
            break;
        }
        field.column.push_nulls(1);
    }
    match missing {
        Some(at) => Err(Fault::new("missing, but the column is NOT NULL").inside(structs.name(at))),
        None => Ok(()),
    }
}

/// Reads any value into one more value of a column.
#[inline(always)]
fn read_value(column: &mut Column, nullable: bool, cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>) -> Read<()> {
    cursor.skip_space();
    if cursor.peek() == b'n' {
        return read_null(column, nullable, cursor);
    }
    match column {
        Column::Int32(fixed) if cursor.peek() != b'"' => push_narrow(fixed, cursor),
        Column::Int64(fixed) if cursor.peek() != b'"' => {
            fixed.push(cursor.integer()?);
            Ok(())
        }
        Column::Text(texts) if cursor.peek() == b'"' => {
            cursor.advance(1);
            cursor.string(texts.bytes_mut())?;
            texts.end();
            Ok(())
        }
        Column::Timestamp(fixed, reader) => {
            let at = cursor.at();
            let text = cursor.text(scratch)?;
            match reader.read(text) {
                Some(value) => fixed.push(value),
                None => return Err(not_a("timestamp such as `2026-01-31 23:59:59.999`", text, at)),
            }
            Ok(())
        }
        Column::Struct(structs) => read_object(structs, cursor, scratch),
        _ => read_other(column, cursor, scratch),
    }
}

fn read_null(column: &mut Column, nullable: bool, cursor: &mut Cursor<'_>) -> Read<()> {
    cursor.null()?;
    if !nullable {
        return Err(Fault::new("NULL, but the column is NOT NULL"));
    }
    column.push_nulls(1);
    Ok(())
}

/// The types that [`read_value`] does not read itself.
#[inline(never)]
fn read_other(column: &mut Column, cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>) -> Read<()> {
    let at = cursor.at();
    let quoted = cursor.peek() == b'"';
    match column {
        Column::List(lists) => read_list(lists, cursor, scratch),
        Column::Map(maps) => read_map(maps, cursor, scratch),
        Column::Text(texts) => {
            cursor.skip_value()?;
            texts.bytes_mut().extend_from_slice(cursor.since(at));
            texts.end();
            Ok(())
        }
        Column::Int8(fixed) if !quoted => push_narrow(fixed, cursor),
        Column::Int16(fixed) if !quoted => push_narrow(fixed, cursor),
        Column::Bool(fixed) if !quoted => {
            let value = cursor.peek() == b't';
            cursor.literal(if value { b"true" } else { b"false" })?;
            fixed.push(u8::from(value));
            Ok(())
        }
        Column::Float32(_) | Column::Float64(_) | Column::Decimal(..) if !quoted => {
            let text = cursor.number()?;
            if column.push_text(text) { Ok(()) } else { Err(not_a(wanted(column), text, at)) }
        }
        _ => {
            let text = cursor.text(scratch)?;
            // Only bytes and numbers come this way, and for them space does not count.
            if column.push_text(text.trim_ascii()) { Ok(()) } else { Err(not_a(wanted(column), text, at)) }
        }
    }
}

fn push_narrow<T: ArrowNativeType + TryFrom<i64>>(fixed: &mut Fixed<T>, cursor: &mut Cursor<'_>) -> Read<()> {
    let at = cursor.at();
    let value = cursor.integer()?;
    let bits = 8 * size_of::<T>();
    let narrow = T::try_from(value);
    let narrow = narrow.map_err(|_| not_a(&format!("whole number within {bits} bits"), cursor.since(at), at))?;
    fixed.push(narrow);
    Ok(())
}

/// What a column takes, for an error.
fn wanted(column: &Column) -> &'static str {
    match column {
        Column::Bool(_) => "boolean",
        Column::Int8(_) => "whole number within 8 bits",
        Column::Int16(_) => "whole number within 16 bits",
        Column::Int32(_) => "whole number within 32 bits",
        Column::Int64(_) => "whole number within 64 bits",
        Column::Float32(_) => "number within FLOAT",
        Column::Float64(_) => "number within DOUBLE",
        Column::Decimal(..) => "number within the column's DECIMAL",
        Column::Date(_) => "date such as `2026-01-31`",
        Column::Time32(..) | Column::Time64(..) => "time such as `23:59:59`",
        Column::Timestamp(..) => "timestamp",
        Column::Bytes(_) => "base64 text",
        Column::Text(_) | Column::Struct(_) | Column::List(_) | Column::Map(_) => "value of this column",
    }
}

fn read_list(lists: &mut Lists, cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>) -> Read<()> {
    cursor.expect(b'[')?;
    cursor.skip_space();
    if cursor.peek() == b']' {
        cursor.advance(1);
        lists.end();
        return Ok(());
    }
    loop {
        read_value(&mut lists.element, lists.element_nullable, cursor, scratch)?;
        cursor.skip_space();
        match cursor.peek() {
            b',' => cursor.advance(1),
            b']' => break,
            _ => return Err(cursor.unexpected("`,` or `]`")),
        }
    }
    cursor.advance(1);
    lists.end();
    Ok(())
}

fn read_map(maps: &mut Maps, cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>) -> Read<()> {
    let start = cursor.at();
    read_entries(maps, &[], cursor, scratch)?;
    let superseded = superseded(maps);
    if !superseded.is_empty() {
        maps.restart();
        cursor.rewind(start);
        read_entries(maps, &superseded, cursor, scratch)?;
    }
    maps.end();
    Ok(())
}

/// For each entry of the map under construction, whether a later one has its key; empty if none has.
fn superseded(maps: &Maps) -> Vec<bool> {
    let first = maps.ended();
    let count = maps.keys.len() - first;
    if count < 2 {
        return Vec::new();
    }
    let mut flags = vec![false; count];
    let mut last: HashMap<&[u8], usize> = HashMap::with_capacity(count);
    for (at, key) in maps.keys.values_from(first).enumerate() {
        if let Some(before) = last.insert(key, at)
            && let Some(flag) = flags.get_mut(before)
        {
            *flag = true;
        }
    }
    if last.len() == count { Vec::new() } else { flags }
}

/// Reads the entries of an object into a map, but for those that `leave_out` names by their number.
fn read_entries(maps: &mut Maps, leave_out: &[bool], cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>) -> Read<()> {
    cursor.expect(b'{')?;
    cursor.skip_space();
    if cursor.peek() == b'}' {
        cursor.advance(1);
        return Ok(());
    }
    for number in 0_usize.. {
        cursor.skip_space();
        let key = cursor.text(scratch)?;
        if leave_out.get(number).copied().unwrap_or(false) {
            cursor.expect(b':')?;
            cursor.skip_value()?;
        } else {
            maps.keys.bytes_mut().extend_from_slice(key);
            maps.keys.end();
            cursor.expect(b':')?;
            read_value(&mut maps.values, maps.value_nullable, cursor, scratch)?;
        }
        cursor.skip_space();
        match cursor.peek() {
            b',' => cursor.advance(1),
            b'}' => break,
            _ => return Err(cursor.unexpected("`,` or `}`")),
        }
    }
    cursor.advance(1);
    Ok(())
}
