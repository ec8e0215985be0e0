//! The user's text, the text after `${NAME}` was replaced, and the way back from the latter to the former.
//!
//! Everything behind the tokenizer knows places of the expanded text; [`SourceText::error`] maps them to the user's file.
//!
//! Invariants
//! - T1 a place inside a replaced variable maps to the `$` that the user wrote.
//! - T2 `${..}` is replaced everywhere, in strings and comments too, once: values are not expanded again.

use crate::error::{Fault, Position, ShownLine, SqlError, SqlErrorKind};
use crate::secret;
use crate::suggest::closest;
use datafusion_sql::sqlparser::tokenizer::{Location, Span};
use std::collections::BTreeMap;
use std::ops::Range;

/// A text with its variables replaced.
#[derive(Debug)]
pub(crate) struct SourceText {
    original: String,
    expanded: String,
    /// Byte offset in `expanded` where each line starts.
    lines: Vec<usize>,
    pieces: Vec<Piece>,
}

/// A stretch of the expanded text: copied from the original, or a variable's value.
#[derive(Debug)]
struct Piece {
    expanded_start: usize,
    original_start: usize,
    copied: bool,
}

impl SourceText {
    /// Replaces the variables. The text itself is checked for size by the caller.
    pub(crate) fn new(original: &str, defines: &BTreeMap<String, String>) -> std::result::Result<SourceText, SqlError> {
        let mut text = SourceText {
            original: original.to_owned(),
            expanded: String::with_capacity(original.len()),
            lines: vec![],
            pieces: vec![],
        };
        let outcome = text.expand(defines);
        if let Err((at, _)) = outcome {
            // What is left tells which literals are secrets.
            text.copy(at, original.len());
        }
        text.lines = line_starts(&text.expanded);
        match outcome {
            Ok(()) => Ok(text),
            Err((at, fault)) => Err(text.error_at_original(at..at + 2, fault)),
        }
    }

    fn expand(&mut self, defines: &BTreeMap<String, String>) -> std::result::Result<(), (usize, Fault)> {
        let mut at = 0;
        while let Some(found) = self.original[at..].find("${") {
            let start = at + found;
            self.copy(at, start);
            let Some(len) = self.original[start..].find('}') else {
                let fault = Fault::syntax(Span::empty(), "`${` without `}`").remedy("write ${NAME}");
                return Err((start, fault));
            };
            let name = &self.original[start + 2..start + len];
            let Some(value) = defines.get(name) else {
                return Err((start, undefined(name, defines)));
            };
            self.pieces.push(Piece { expanded_start: self.expanded.len(), original_start: start, copied: false });
            self.expanded.push_str(value);
            at = start + len + 1;
        }
        self.copy(at, self.original.len());
        Ok(())
    }

    fn copy(&mut self, from: usize, to: usize) {
        self.pieces.push(Piece { expanded_start: self.expanded.len(), original_start: from, copied: true });
        self.expanded.push_str(&self.original[from..to]);
    }

    /// The text to parse.
    pub(crate) fn expanded(&self) -> &str {
        &self.expanded
    }

    /// The expanded text between two places.
    pub(crate) fn slice(&self, span: Span) -> &str {
        let (from, to) = (self.offset(span.start), self.offset(span.end));
        self.expanded.get(from..to.max(from)).unwrap_or_default()
    }

    /// Where a place of the expanded text is in the user's file.
    pub(crate) fn position(&self, location: Location) -> Option<Position> {
        (location.line > 0).then(|| self.original_position(self.to_original(self.offset(location))))
    }

    /// The error for people.
    pub(crate) fn error(&self, fault: Fault) -> SqlError {
        if fault.span.start.line == 0 {
            return SqlError::new(fault, None, None);
        }
        let (from, to) = (self.offset(fault.span.start), self.offset(fault.span.end));
        let (start, end) = (self.to_original(from), self.to_original(to.max(from)));
        self.error_at_original(start..end.max(start), fault)
    }

    fn error_at_original(&self, at: Range<usize>, fault: Fault) -> SqlError {
        let readable = fault.kind != SqlErrorKind::Syntax;
        let reason = secret::without(&self.expanded, fault.reason, readable);
        let remedy = fault.remedy.map(|r| secret::without(&self.expanded, r, readable));
        let fault = Fault { reason, remedy, ..fault };
        let (text, before, chars) = secret::line(&self.original, at.clone(), readable);
        let line = ShownLine { text, before, chars };
        SqlError::new(fault, Some(self.original_position(at.start)), Some(line))
    }

    fn original_position(&self, at: usize) -> Position {
        let before = &self.original[..at];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        Position { line, column: before[line_start..].chars().count() + 1 }
    }

    /// The byte offset of a line and column of the expanded text; past the end becomes the end.
    fn offset(&self, location: Location) -> usize {
        let Some(start) = (location.line as usize).checked_sub(1).and_then(|l| self.lines.get(l)) else {
            return if location.line == 0 { 0 } else { self.expanded.len() };
        };
        let skip = (location.column as usize).saturating_sub(1);
        let rest = &self.expanded[*start..];
        rest.char_indices().nth(skip).map_or(self.expanded.len(), |(i, _)| start + i)
    }

    fn to_original(&self, at: usize) -> usize {
        let piece = match self.pieces.partition_point(|p| p.expanded_start <= at) {
            0 => return at.min(self.original.len()),
            n => &self.pieces[n - 1],
        };
        let within = if piece.copied { at - piece.expanded_start } else { 0 };
        let found = (piece.original_start + within).min(self.original.len());
        (0..=found).rev().find(|i| self.original.is_char_boundary(*i)).unwrap_or(0)
    }
}

fn undefined(name: &str, defines: &BTreeMap<String, String>) -> Fault {
    let fault = Fault::invalid(Span::empty(), format!("variable `{name}` is not defined"));
    match closest(name, defines.keys().map(String::as_str)) {
        Some(near) => fault.remedy(format!("write ${{{near}}}, or define it with --define {name}=VALUE")),
        None => fault.remedy(format!("define it with --define {name}=VALUE")),
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defines(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    fn span(line: u64, column: u64) -> Span {
        Span::new(Location::new(line, column), Location::new(line, column + 1))
    }

    #[test]
    fn values_are_replaced_once_and_places_map_back() {
        let text = SourceText::new("a ${X} b\nc ${Y}d", &defines(&[("X", "1\n2 ${Y}"), ("Y", "é")])).unwrap();
        assert_eq!(text.expanded(), "a 1\n2 ${Y} b\nc éd");
        let at = |line, column| text.position(Location::new(line, column)).unwrap();
        assert_eq!(at(1, 1), Position { line: 1, column: 1 });
        assert_eq!(at(2, 3), Position { line: 1, column: 3 }, "inside a value is the `$`");
        assert_eq!(at(2, 8), Position { line: 1, column: 8 }, "after a value with a line break");
        assert_eq!(at(3, 4), Position { line: 2, column: 7 });
        assert_eq!(at(99, 1), Position { line: 2, column: 8 }, "past the end is the end");
    }

    #[test]
    fn an_undefined_variable_says_where_and_what_to_do() {
        let e = SourceText::new("SELECT 1;\nSELECT ${TOPCI}", &defines(&[("TOPIC", "x")])).unwrap_err();
        assert_eq!(e.position(), Some(Position { line: 2, column: 8 }));
        assert!(e.to_string().contains("write ${TOPIC}"), "{e}");
        let e = SourceText::new("SELECT ${", &defines(&[])).unwrap_err();
        assert_eq!(e.reason(), "`${` without `}`");
    }

    #[test]
    fn the_line_is_shown_with_a_caret() {
        let text = SourceText::new("x\n\tSELECT prise FROM bid\n", &defines(&[])).unwrap();
        let span = Span::new(Location::new(2, 9), Location::new(2, 14));
        let e = text.error(Fault::invalid(span, "unknown column `prise`").remedy("write `price`"));
        let shown = "line 2, column 9: unknown column `prise`\n   |\n 2 |  SELECT prise FROM bid\n   |         ^^^^^\nwrite `price`";
        assert_eq!(e.to_string(), shown);
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_caret() {
        let long = format!("{}é{}", "a".repeat(5_000), "b".repeat(5_000));
        let text = SourceText::new(&long, &defines(&[])).unwrap();
        let e = text.error(Fault::invalid(span(1, 5_001), "no"));
        assert!(e.to_string().len() < 600);
        assert!(e.to_string().contains('é'));
    }
}
