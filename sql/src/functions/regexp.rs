//! Regular expressions: REGEXP, REGEXP_EXTRACT, REGEXP_REPLACE, REGEXP_COUNT, REGEXP_INSTR, REGEXP_SUBSTR.
//!
//! Patterns are written for Java's engine and run on a linear-time one, so [`translate`] rewrites what differs and refuses what cannot
//! be had (look-around, back references). Compiled patterns are kept per thread. [`Compiled`] knows a text that every match contains:
//! rows without it are answered by a substring search, others are tried where it lets a match start.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Int32Type};
use datafusion_common::{Result, ScalarValue, plan_err};
use memchr::memmem::Finder;
use regex::{CaptureLocations, Regex, RegexBuilder};
use regex_automata::dfa::onepass;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored as RunAnchored, Input};
use regex_syntax::hir::{Hir, HirKind};

use super::params::Param::{Long, Text as T};
use super::scalar::{Call, Returns, Spec};
use super::text::{Text, char_count, check_output};
use super::times::literal_text;

/// Compiled patterns kept per thread.
const CACHED_PATTERNS: usize = 64;
/// Most bytes between a match's start and the text to look for, if every place is to be tried.
const MOST_PLACES: usize = 16;
/// Places of a text that are tried one by one before it is searched as a whole.
const TRIES: usize = 8;
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
    anchored: Option<Anchored>,
}

/// A text that every match contains, between `least` and `most` bytes after the match's start.
struct Needle {
    finder: Finder<'static>,
    least: usize,
    most: Option<usize>,
}

/// The pattern tried at one place, if it is simple enough for that ("one-pass") and a needle says which places.
struct Anchored {
    dfa: onepass::DFA,
    scratch: RefCell<(onepass::Cache, Vec<Option<NonMaxUsize>>)>,
}

impl Anchored {
    fn new(translated: &str) -> Option<Anchored> {
        let limit = onepass::Config::new().size_limit(Some(COMPILED_BYTES));
        let dfa = onepass::DFA::builder().configure(limit).build(translated).ok()?;
        let slots = vec![None; dfa.get_nfa().group_info().slot_len()];
        Some(Anchored { scratch: RefCell::new((dfa.create_cache(), slots)), dfa })
    }

    /// Where a group lies in the match that starts at `start`; `None` without a match, `Some(None)` if the group took no part.
    fn group_at(&self, text: &str, start: usize, group: usize) -> Option<Option<(usize, usize)>> {
        let (cache, slots) = &mut *self.scratch.borrow_mut();
        slots.fill(None);
        let input = Input::new(text).span(start..text.len()).anchored(RunAnchored::Yes);
        self.dfa.try_search_slots(cache, &input, slots).ok()??;
        let slot = |at: usize| slots.get(at).copied().flatten().map(NonMaxUsize::get);
        Some(slot(2 * group).zip(slot(2 * group + 1)))
    }
}

impl Compiled {
    fn new(pattern: &str) -> std::result::Result<Compiled, String> {
        let translated = translate(pattern)?;
        let regex =
            RegexBuilder::new(&translated).size_limit(COMPILED_BYTES).build().map_err(|error| reason(&error))?;
        let needle = regex_syntax::parse(&translated).ok().and_then(|hir| needle(&hir));
        let places = needle.as_ref().and_then(|n| n.most).is_some_and(|most| most <= MOST_PLACES);
        let anchored = if places { Anchored::new(&translated) } else { None };
        Ok(Compiled { locations: RefCell::new(regex.capture_locations()), regex, needle, anchored })
    }

    /// Where to start searching, or `None` if nothing can match.
    fn start(&self, text: &str) -> Option<usize> {
        let Some(needle) = &self.needle else { return Some(0) };
        let found = needle.finder.find(text.as_bytes())?;
        let mut start = needle.most.map_or(0, |most| found.saturating_sub(most));
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
        let mut start = self.start(text)?;
        if let (Some(anchored), Some(needle)) = (&self.anchored, &self.needle) {
            // Not all of them: a text full of needles would take time quadratic in its length.
            let mut places = needle.starts(text);
            for place in places.by_ref().take(TRIES) {
                if let Some(found) = anchored.group_at(text, place, group) {
                    return found.and_then(|(from, to)| text.get(from..to));
                }
            }
            start = places.next()?;
        }
        if group == 0 {
            return Some(self.regex.find_at(text, start)?.as_str());
        }
        let mut locations = self.locations.borrow_mut();
        self.regex.captures_read_at(&mut locations, text, start)?;
        let (from, to) = locations.get(group)?;
        text.get(from..to)
    }
}

impl Needle {
    /// The places where a match can start, in order: the first that matches is the leftmost match, because a place that a later
    /// needle allows and that lies before one tried was tried, too.
    fn starts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        let most = self.most.unwrap_or(usize::MAX);
        let find = move |from: usize| Some(from + self.finder.find(text.as_bytes().get(from..)?)?);
        let mut next = 0;
        std::iter::successors(find(0), move |found| find(found + 1)).flat_map(move |found| {
            let from = found.saturating_sub(most).max(next);
            let to = (found + 1).saturating_sub(self.least);
            next = next.max(to);
            (from..to).filter(|at| text.is_char_boundary(*at))
        })
    }
}

/// The longest literal that is a part of every match.
fn needle(hir: &Hir) -> Option<Needle> {
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        HirKind::Literal(_) => std::slice::from_ref(hir),
        _ => return None,
    };
    let (mut least, mut most) = (0_usize, Some(0_usize));
    let mut best: Option<(&[u8], usize, Option<usize>)> = None;
    for part in parts {
        if let HirKind::Literal(literal) = part.kind()
            && literal.0.len() > best.map_or(1, |(found, ..)| found.len())
        {
            best = Some((&literal.0, least, most));
        }
        least = least.saturating_add(part.properties().minimum_len().unwrap_or(0));
        most = most.zip(part.properties().maximum_len()).and_then(|(sum, more)| sum.checked_add(more));
    }
    best.map(|(literal, least, most)| Needle { finder: Finder::new(literal).into_owned(), least, most })
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

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_engine::rng::Rng;

    /// Places tried one by one against the search of the regex library, over texts that are full of needles.
    #[test]
    fn the_first_place_that_matches_is_the_leftmost_match() {
        let patterns = ["[ab]aa", "(&|^)ab=([^&]*)", "b?ab(a*)", "(a|b|ab)ab", "[^a]ab$", "ab", "(é|a)ab(.)"];
        let letters = ["a", "a", "a", "b", "b", "&", "=", "é"];
        let mut rng = Rng::new(5);
        let mut tried = 0;
        for _ in 0..20_000 {
            let length = rng.below(30);
            let text: String = (0..length).map(|_| letters[rng.below(8) as usize]).collect();
            let pattern = patterns[rng.below(7) as usize];
            let ours = compiled(pattern).unwrap();
            tried += usize::from(ours.anchored.is_some());
            let plain = Regex::new(pattern).unwrap().captures(&text);
            for group in 0..3 {
                let expected = plain.as_ref().and_then(|c| c.get(group)).map(|m| m.as_str());
                assert_eq!(ours.group(&text, group), expected, "`{pattern}` group {group} in `{text}`");
            }
        }
        assert!(tried > 10_000, "{tried} texts were tried place by place");
    }
}
