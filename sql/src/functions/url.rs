//! URLs and key-value text: PARSE_URL, URL_ENCODE, URL_DECODE, STR_TO_MAP.

use std::sync::Arc;

use arrow::array::{ArrayRef, MapBuilder, MapFieldNames, StringBuilder};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion_common::{Result, ScalarValue, plan_err};

use super::math::decode_hex;
use super::params::Param::Text as T;
use super::scalar::{Call, Returns, Spec};
use super::text::Text;
use super::times::literal_text;

/// Functions on URLs and key-value text.
pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "parse_url",
        required: &[T, T],
        optional: &[T],
        check: check_part,
        kernel: parse_url,
        ..Spec::DEFAULT
    },
    Spec { name: "url_encode", required: &[T], kernel: url_encode, ..Spec::DEFAULT },
    Spec { name: "url_decode", required: &[T], kernel: url_decode, ..Spec::DEFAULT },
    Spec {
        name: "str_to_map",
        required: &[T],
        optional: &[T, T],
        returns: Returns::By(|_, _| Ok(map_type())),
        kernel: str_to_map,
        ..Spec::DEFAULT
    },
];

const PARTS: &[&str] = &["HOST", "PATH", "QUERY", "REF", "PROTOCOL", "AUTHORITY", "FILE", "USERINFO"];

fn check_part(literals: &[Option<&ScalarValue>]) -> Result<()> {
    match literal_text(literals, 1) {
        Some(part) if !PARTS.contains(&part) => {
            plan_err!("function `parse_url`: `{part}` is no part of a URL; write one of {}", PARTS.join(", "))
        }
        _ => Ok(()),
    }
}

/// A URL cut at its separators; nothing is decoded.
struct Url<'a> {
    protocol: &'a str,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
    file: &'a str,
}

impl<'a> Url<'a> {
    /// `None` if there is no protocol.
    fn parse(text: &'a str) -> Option<Url<'a>> {
        let (protocol, rest) = text.trim().split_once(':')?;
        let valid = protocol.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if !valid || !protocol.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return None;
        }
        let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
        let (authority, file) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            None => (None, rest),
        };
        let (path, query) = file.split_once('?').map_or((file, None), |(path, query)| (path, Some(query)));
        Some(Url { protocol, authority, path, query, fragment, file })
    }

    fn part(&self, name: &str) -> Option<&'a str> {
        let user = |authority: &'a str| authority.rsplit_once('@').map(|(user, _)| user);
        match name {
            "PROTOCOL" => Some(self.protocol),
            "AUTHORITY" => self.authority,
            "USERINFO" => self.authority.and_then(user),
            "HOST" => self.authority.map(host).filter(|host| !host.is_empty()),
            "PATH" => Some(self.path),
            "QUERY" => self.query,
            "REF" => self.fragment,
            "FILE" => Some(self.file),
            _ => None,
        }
    }
}

/// The host without user and port; brackets of an IPv6 address stay.
fn host(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.find(']') {
        Some(end) => &host[..=end],
        None => host.split_once(':').map_or(host, |(host, _)| host),
    }
}

fn parse_url(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, part) = (call.text(0)?, call.text(1)?);
    let key = if call.args.len() > 2 { Some(call.text(2)?) } else { None };
    call.write_text(text.total_bytes(call.rows) / 2, |row, out| {
        let url = Url::parse(text.value(row));
        let found = url.and_then(|url| match &key {
            None => url.part(part.value(row)),
            Some(key) if part.value(row) == "QUERY" => {
                let pairs = url.query?.split('&').filter_map(|pair| pair.split_once('='));
                pairs.into_iter().find(|(name, _)| *name == key.value(row)).map(|(_, value)| value)
            }
            Some(_) => None,
        });
        out.extend_from_slice(found.unwrap_or_default().as_bytes());
        Ok(found.is_some())
    })
}

/// As in HTML forms: a space becomes `+`, other bytes outside `A-Z a-z 0-9 . - * _` become `%XX`.
fn url_encode(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.write_text(text.total_bytes(call.rows), |row, out| {
        for byte in text.value(row).bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(byte),
                b' ' => out.push(b'+'),
                other => {
                    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 15)];
                    out.extend_from_slice(&[b'%', digit(other >> 4), digit(other)]);
                }
            }
        }
        Ok(true)
    })
}

/// NULL if a `%` is not followed by two hexadecimal digits; bytes that are no UTF-8 become U+FFFD.
fn url_decode(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let (mut bytes, mut pair) = (Vec::new(), Vec::new());
    call.write_text(text.total_bytes(call.rows), |row, out| {
        bytes.clear();
        let mut rest = text.value(row).as_bytes();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            match first {
                b'+' => bytes.push(b' '),
                b'%' => match after.get(..2) {
                    Some(digits) if decode_hex(digits, &mut pair) => {
                        bytes.extend_from_slice(&pair);
                        rest = &after[2..];
                    }
                    _ => return Ok(false),
                },
                other => bytes.push(*other),
            }
        }
        out.extend_from_slice(String::from_utf8_lossy(&bytes).as_bytes());
        Ok(true)
    })
}

/// MAP<STRING, STRING>.
fn map_type() -> DataType {
    let pair = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair), false)), false)
}

/// Pairs without a key delimiter have a NULL value; of equal keys the last wins. Delimiters are plain text.
fn str_to_map(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, between, inside) = (call.text(0)?, call.text_or(1, ",")?, call.text_or(2, "=")?);
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in 0..call.rows {
        if call.is_null(row) {
            builder.append(false)?;
            continue;
        }
        for (key, value) in pairs(text.value(row), between.value(row), &inside, row) {
            builder.keys().append_value(key);
            builder.values().append_option(value);
        }
        builder.append(true)?;
    }
    Ok(Arc::new(builder.finish()))
}

fn pairs<'a>(text: &'a str, between: &str, inside: &Text<'_>, row: usize) -> Vec<(&'a str, Option<&'a str>)> {
    let inside = inside.value(row);
    let whole = if between.is_empty() { vec![text] } else { text.split(between).collect() };
    let mut found: Vec<(&str, Option<&str>)> = Vec::with_capacity(whole.len());
    let mut places = std::collections::HashMap::with_capacity(whole.len());
    for pair in whole {
        let (key, value) = match inside.is_empty() {
            true => (pair, None),
            false => pair.split_once(inside).map_or((pair, None), |(key, value)| (key, Some(value))),
        };
        match places.get(key) {
            Some(place) => found[*place] = (key, value),
            None => {
                places.insert(key, found.len());
                found.push((key, value));
            }
        }
    }
    found
}
