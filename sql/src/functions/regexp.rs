//! Regular expressions: REGEXP, REGEXP_EXTRACT, REGEXP_REPLACE, REGEXP_COUNT, REGEXP_INSTR, REGEXP_SUBSTR.
//!
//! Patterns are written for Java's engine and run on a linear-time one, so [`translate`] rewrites what differs and refuses what cannot
//! be had (look-around, back references). Compiled patterns are kept per thread. [`Compiled`] knows a text that every match contains:
//! rows without it are answered by a substring search, others are searched from there on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Int32Type};
use datafusion_common::{Result, ScalarValue, plan_err};
use memchr::memmem::Finder;
use regex::{CaptureLocations, Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

use super::params::Param::{Long, Text as T};
use super::scalar::{Call, Returns, Spec};
use super::text::{Text, char_count, check_output};
use super::times::literal_text;

/// Compiled patterns kept per thread.
const CACHED_PATTERNS: usize = 64;
/// Most bytes one compiled pattern may take.
const COMPILED_BYTES: usize = 4 << 20;

const INT: Returns = Returns::Type(DataType::Int32);

/// Regular expression functions.
pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "regexp",
        required: &[T, T],
        returns: Returns::Type(DataType::Boolean),
        check: check_regex,
        kernel: regexp,
        ..Spec::DEFAULT
    },
    Spec {
        name: "regexp_extract",
        required: &[T, T],
        optional: &[Long],
        check: check_regex,
        kernel: extract,
        ..Spec::DEFAULT
    },
    Spec { name: "regexp_replace", required: &[T, T, T], check: check_regex, kernel: replace, ..Spec::DEFAULT },
    Spec { name: "regexp_substr", required: &[T, T], check: check_regex, kernel: extract, ..Spec::DEFAULT },
    Spec { name: "regexp_count", required: &[T, T], returns: INT, check: check_regex, kernel: count, ..Spec::DEFAULT },
    Spec { name: "regexp_instr", required: &[T, T], returns: INT, check: check_regex, kernel: instr, ..Spec::DEFAULT },
];

/// A pattern ready to run.
struct Compiled {
    regex: Regex,
    locations: RefCell<CaptureLocations>,
    needle: Option<Needle>,
}

/// A text that every match contains, at most `before` bytes after the match's start.
struct Needle {
    finder: Finder<'static>,
    before: Option<usize>,
}

impl Compiled {
    fn new(pattern: &str) -> std::result::Result<Compiled, String> {
        let translated = translate(pattern)?;
        let regex =
            RegexBuilder::new(&translated).size_limit(COMPILED_BYTES).build().map_err(|error| reason(&error))?;
        let needle = regex_syntax::parse(&translated).ok().and_then(|hir| needle(&hir));
        Ok(Compiled { locations: RefCell::new(regex.capture_locations()), regex, needle })
    }

    /// Where to start searching, or `None` if nothing can match.
    fn start(&self, text: &str) -> Option<usize> {
        let Some(needle) = &self.needle else { return Some(0) };
        let found = needle.finder.find(text.as_bytes())?;
        let mut start = needle.before.map_or(0, |before| found.saturating_sub(before));
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        Some(start)
    }

    fn is_match(&self, text: &str) -> bool {
        self.start(text).is_some_and(|start| self.regex.is_match_at(text, start))
    }

    /// The text of a group of the first match.
    fn group<'a>(&self, text: &'a str, group: usize) -> Option<&'a str> {
        let start = self.start(text)?;
        if group == 0 {
            return Some(self.regex.find_at(text, start)?.as_str());
        }
        let mut locations = self.locations.borrow_mut();
        self.regex.captures_read_at(&mut locations, text, start)?;
        let (from, to) = locations.get(group)?;
        text.get(from..to)
    }
}

/// The longest literal that is a part of every match.
fn needle(hir: &Hir) -> Option<Needle> {
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        HirKind::Literal(_) => std::slice::from_ref(hir),
        _ => return None,
    };
    let mut before = Some(0_usize);
    let mut best: Option<(&[u8], Option<usize>)> = None;
    for part in parts {
        if let HirKind::Literal(literal) = part.kind()
            && literal.0.len() > best.map_or(1, |(found, _)| found.len())
        {
            best = Some((&literal.0, before));
        }
        before = before.zip(part.properties().maximum_len()).and_then(|(sum, more)| sum.checked_add(more));
    }
    best.map(|(literal, before)| Needle { finder: Finder::new(literal).into_owned(), before })
}

fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("it needs over {limit} bytes; use smaller repetitions"),
        other => other.to_string().lines().last().unwrap_or_default().trim().to_string(),
    }
}

thread_local! {
    static CACHE: RefCell<HashMap<String, Option<Rc<Compiled>>>> = RefCell::new(HashMap::new());
}

/// The compiled form of a pattern; `None` if it is not valid.
fn compiled(pattern: &str) -> Option<Rc<Compiled>> {
    CACHE.with_borrow_mut(|cache| {
        if let Some(found) = cache.get(pattern) {
            return found.clone();
        }
        if cache.len() >= CACHED_PATTERNS {
            cache.clear();
        }
        let fresh = Compiled::new(pattern).ok().map(Rc::new);
        cache.insert(pattern.to_string(), fresh.clone());
        fresh
    })
}

fn check_regex(literals: &[Option<&ScalarValue>]) -> Result<()> {
    if let Some(pattern) = literal_text(literals, 1)
        && compiled(pattern).is_none()
        && let Err(reason) = Compiled::new(pattern)
    {
        return plan_err!("regular expression `{pattern}`: {reason}");
    }
    Ok(())
}

/// Rewrites a Java pattern: predefined classes are ASCII there, and `\Q..\E`, `\Z`, `\h` are unknown here.
fn translate(pattern: &str) -> std::result::Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut class_depth = 0_usize;
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '\\' => rest = translate_escape(rest, class_depth > 0, &mut out)?,
            '[' => {
                class_depth += 1;
                out.push('[');
            }
            ']' => {
                class_depth = class_depth.saturating_sub(1);
                out.push(']');
            }
            '(' if class_depth == 0 && ["?=", "?!", "?<=", "?<!", "?>"].iter().any(|head| rest.starts_with(head)) => {
                return Err(
                    "look-around and atomic groups are not supported; capture the wanted part in a group instead"
                        .into(),
                );
            }
            '*' | '+' | '?' | '}' if class_depth == 0 && rest.starts_with('+') => {
                return Err("possessive quantifiers are not supported; drop the second `+`".into());
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

fn translate_escape<'a>(rest: &'a str, in_class: bool, out: &mut String) -> std::result::Result<&'a str, String> {
    let Some(escaped) = rest.chars().next() else { return Err("it ends in a backslash; write \\\\ for one".into()) };
    let after = &rest[escaped.len_utf8()..];
    let class = |inside: &str| if in_class { inside.to_string() } else { format!("[{inside}]") };
    match escaped {
        'Q' => {
            let end = after.find("\\E").unwrap_or(after.len());
            out.push_str(&regex::escape(&after[..end]));
            return Ok(after.get(end + 2..).unwrap_or(""));
        }
        '1'..='9' | 'k' => return Err("back references are not supported".into()),
        'd' => out.push_str(&class("0-9")),
        'w' => out.push_str(&class("0-9A-Za-z_")),
        's' => out.push_str(&class(r"\t\n\x0B\x0C\r ")),
        'h' => out.push_str(&class(r"\t \xA0")),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'S' => out.push_str(r"[^\t\n\x0B\x0C\r ]"),
        'b' if !in_class => out.push_str(r"(?-u:\b)"),
        'Z' if !in_class => out.push_str(r"(?:\n?\z)"),
        'R' if !in_class => out.push_str(r"(?:\r\n|[\n\x0B\x0C\r\x{85}\x{2028}\x{2029}])"),
        'e' => out.push_str(r"\x1B"),
        other => {
            out.push('\\');
            out.push(other);
        }
    }
    Ok(after)
}

/// Runs `row(compiled, row)` with the pattern of each row; a constant pattern is looked up once.
struct Regexes<'a> {
    pattern: Text<'a>,
    last: Option<(&'a str, Option<Rc<Compiled>>)>,
}

impl<'a> Regexes<'a> {
    fn new(pattern: Text<'a>) -> Self {
        Regexes { pattern, last: None }
    }

    fn get(&mut self, row: usize) -> Option<&Compiled> {
        let pattern = match (&self.pattern, &self.last) {
            (Text::Constant(_), Some(_)) => None,
            (text, Some((last, _))) if text.value(row) == *last => None,
            (text, _) => Some(text.value(row)),
        };
        if let Some(pattern) = pattern {
            self.last = Some((pattern, compiled(pattern)));
        }
        self.last.as_ref().and_then(|(_, found)| found.as_deref())
    }
}

fn regexp(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut regexes) = (call.text(0)?, Regexes::new(call.text(1)?));
    call.booleans(|row| Some(regexes.get(row)?.is_match(text.value(row))))
}

/// The text of the match or of one of its groups; NULL without a match, without such a group, or if the group took no part.
fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut regexes) = (call.text(0)?, Regexes::new(call.text(1)?));
    let groups = call.longs_or(2, 0)?;
    call.write_text(text.total_bytes(call.rows) / 2, |row, out| {
        let Ok(group) = usize::try_from(groups[row]) else { return Ok(false) };
        match regexes.get(row).and_then(|regex| regex.group(text.value(row), group)) {
            Some(found) => {
                out.extend_from_slice(found.as_bytes());
                Ok(true)
            }
            None => Ok(false),
        }
    })
}

/// The replacement is plain text: `$1` means just that.
fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut regexes, replacement) = (call.text(0)?, Regexes::new(call.text(1)?), call.text(2)?);
    call.write_text(text.total_bytes(call.rows), |row, out| {
        let (value, replacement) = (text.value(row), replacement.value(row));
        let Some(regex) = regexes.get(row) else { return Ok(false) };
        let mut end = 0;
        if regex.start(value).is_some() {
            for found in regex.regex.find_iter(value) {
                check_output(call.name, out.len(), replacement.len())?;
                out.extend_from_slice(&value.as_bytes()[end..found.start()]);
                out.extend_from_slice(replacement.as_bytes());
                end = found.end();
            }
        }
        out.extend_from_slice(&value.as_bytes()[end..]);
        Ok(true)
    })
}

fn count(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut regexes) = (call.text(0)?, Regexes::new(call.text(1)?));
    call.try_primitive::<Int32Type>(|row| {
        Ok(regexes.get(row).map(|found| found.regex.find_iter(text.value(row)).count() as i32))
    })
}

/// Position of the first match in code points from 1, or 0.
fn instr(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut regexes) = (call.text(0)?, Regexes::new(call.text(1)?));
    call.try_primitive::<Int32Type>(|row| {
        let value = text.value(row);
        let position = |found: regex::Match<'_>| char_count(&value[..found.start()]) as i32 + 1;
        Ok(regexes.get(row).map(|regex| regex.regex.find(value).map_or(0, position)))
    })
}
