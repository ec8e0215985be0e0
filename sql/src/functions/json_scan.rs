//! Finds one value in a JSON text without building a document: one pass, no allocation except for escaped text.
//!
//! Called by `json`. The whole text is checked (RFC 8259; control characters inside strings are tolerated), because a broken document
//! has no value at any path. Of equal keys the last wins. Nesting beyond [`MAX_DEPTH`] counts as broken, so the stack is bounded.

use memchr::memchr2;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 256;
/// Most steps of a path.
const MAX_STEPS: usize = 64;

/// One step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
}

/// A parsed SQL/JSON path such as `$.person.phones[0]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    steps: Vec<Step>,
}

impl Path {
    /// Reads a path: an optional `lax` or `strict`, `$`, then `.name`, `."name"`, `['name']` or `[index]` steps. Both modes agree
    /// where errors and absent values are NULL.
    pub(super) fn parse(path: &str) -> Result<Path, String> {
        let wrong = |why: &str| format!("JSON path `{path}`: {why}; write a path such as '$.person.phones[0]'");
        let text = path.trim();
        let text = text.strip_prefix("lax ").or_else(|| text.strip_prefix("strict ")).unwrap_or(text).trim_start();
        let Some(mut rest) = text.strip_prefix('$') else { return Err(wrong("it does not start with `$`")) };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if steps.len() == MAX_STEPS {
                return Err(wrong(&format!("it has over {MAX_STEPS} steps")));
            }
            let (step, after) = match rest.as_bytes() {
                [b'.', b'"', ..] => quoted(&rest[2..], '"').ok_or_else(|| wrong("a quote is not closed"))?,
                [b'.', ..] => {
                    let end = rest[1..].find(['.', '[', ' ']).map_or(rest.len(), |end| end + 1);
                    (Step::Member(rest[1..end].to_string()), &rest[end..])
                }
                [b'[', quote @ (b'\'' | b'"'), ..] => {
                    let (step, after) =
                        quoted(&rest[2..], char::from(*quote)).ok_or_else(|| wrong("a quote is not closed"))?;
                    (step, after.strip_prefix(']').ok_or_else(|| wrong("`]` is missing"))?)
                }
                [b'[', ..] => {
                    let end = rest.find(']').ok_or_else(|| wrong("`]` is missing"))?;
                    let index = rest[1..end].trim().parse();
                    let index = index.map_err(|_| wrong("only plain indexes from 0 on are supported in `[]`"))?;
                    (Step::Element(index), &rest[end + 1..])
                }
                _ => return Err(wrong("a step starts with `.` or `[`")),
            };
            if matches!(&step, Step::Member(name) if name.is_empty() || name == "*") {
                return Err(wrong("empty names and wildcards are not supported"));
            }
            steps.push(step);
            rest = after;
        }
        Ok(Path { steps })
    }
}

fn quoted(text: &str, quote: char) -> Option<(Step, &str)> {
    let end = text.find(quote)?;
    Some((Step::Member(text[..end].to_string()), &text[end + quote.len_utf8()..]))
}

/// The text of the value at `path`; `None` if there is none or the document is broken.
pub(super) fn find<'a>(json: &'a str, path: &Path) -> Option<&'a str> {
    let mut scanner = Scanner { bytes: json.as_bytes(), at: 0 };
    let found = scanner.find(&path.steps, 0)?;
    scanner.space();
    if scanner.at < json.len() {
        return None;
    }
    found.and_then(|(start, end)| json.get(start..end))
}

/// Whether the whole text is one JSON value.
pub(super) fn is_json(text: &str) -> bool {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    let valid = scanner.skip(0).is_some();
    scanner.space();
    valid && scanner.at == text.len()
}

/// Appends a valid JSON value without insignificant spaces.
pub(super) fn compact(value: &str, out: &mut Vec<u8>) {
    let mut scanner = Scanner { bytes: value.as_bytes(), at: 0 };
    while let Some(byte) = scanner.peek() {
        let start = scanner.at;
        match byte {
            b'"' => {
                if scanner.string().is_none() {
                    scanner.at = value.len();
                }
                out.extend_from_slice(&value.as_bytes()[start..scanner.at]);
            }
            b' ' | b'\t' | b'\n' | b'\r' => scanner.at += 1,
            other => {
                out.push(other);
                scanner.at += 1;
            }
        }
    }
}

/// Appends the text that a valid JSON string with its quotes stands for; false if it stands for none. Half of a surrogate pair becomes U+FFFD.
pub(super) fn unescape(string: &str, out: &mut Vec<u8>) -> bool {
    let Some(mut rest) = string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let Some(escape) = rest.as_bytes().get(at + 1) else { return false };
        rest = &rest[at + 2..];
        let character = match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let Some((character, after)) = unicode(rest) else { return false };
                rest = after;
                character
            }
            other => char::from(*other),
        };
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.extend_from_slice(rest.as_bytes());
    true
}

fn unicode(text: &str) -> Option<(char, &str)> {
    let unit = |text: &str| u32::from_str_radix(text.get(..4)?, 16).ok();
    let (first, after) = (unit(text)?, &text[4..]);
    if (0xD800..0xDC00).contains(&first)
        && let Some(next) = after.strip_prefix("\\u")
        && let Some(second @ 0xDC00..=0xDFFF) = unit(next)
    {
        let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return Some((char::from_u32(code)?, &next[4..]));
    }
    Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), after))
}

/// A position in a text. Its methods return `None` when the text is no JSON.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Passes one value; gives the range of what `steps` lead to in it.
    fn find(&mut self, steps: &[Step], depth: usize) -> Option<Option<(usize, usize)>> {
        self.space();
        let Some((step, rest)) = steps.split_first() else {
            let start = self.at;
            self.skip(depth)?;
            return Some(Some((start, self.at)));
        };
        let mut found = None;
        match (self.peek()?, step) {
            (b'{', Step::Member(name)) => self.members(depth, |scanner, key| {
                match scanner.is_key(key, name) {
                    true => found = scanner.find(rest, depth + 1)?,
                    false => scanner.skip(depth + 1)?,
                }
                Some(())
            })?,
            (b'[', Step::Element(index)) => self.elements(depth, |scanner, at| {
                match at == *index {
                    true => found = scanner.find(rest, depth + 1)?,
                    false => scanner.skip(depth + 1)?,
                }
                Some(())
            })?,
            _ => self.skip(depth)?,
        }
        Some(found)
    }

    /// Passes an object, handing over each key's range (with quotes); `value` passes the value.
    fn members(&mut self, depth: usize, mut value: impl FnMut(&mut Self, (usize, usize)) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        self.space();
        if depth >= MAX_DEPTH || self.peek()? == b'}' {
            self.at += 1;
            return (depth < MAX_DEPTH).then_some(());
        }
        loop {
            self.space();
            let start = self.at;
            self.string()?;
            let key = (start, self.at);
            self.expect(b':')?;
            value(self, key)?;
            self.space();
            self.at += 1;
            match self.bytes.get(self.at - 1)? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Passes an array, handing over each element's index; `value` passes the element.
    fn elements(&mut self, depth: usize, mut value: impl FnMut(&mut Self, usize) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        self.space();
        if depth >= MAX_DEPTH || self.peek()? == b']' {
            self.at += 1;
            return (depth < MAX_DEPTH).then_some(());
        }
        let mut index = 0;
        loop {
            value(self, index)?;
            index += 1;
            self.space();
            self.at += 1;
            match self.bytes.get(self.at - 1)? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Passes one value of any kind.
    fn skip(&mut self, depth: usize) -> Option<()> {
        self.space();
        match self.peek()? {
            b'{' => self.members(depth, |scanner, _| scanner.skip(depth + 1)),
            b'[' => self.elements(depth, |scanner, _| scanner.skip(depth + 1)),
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if let (b'0', 2..) = self.digits()? {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// Passes one digit or more; gives the first and how many.
    fn digits(&mut self) -> Option<(u8, usize)> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Some((*self.bytes.get(start).filter(|_| self.at > start)?, self.at - start))
    }

    fn string(&mut self) -> Option<()> {
        (self.peek()? == b'"').then(|| self.at += 1)?;
        loop {
            self.at += memchr2(b'"', b'\\', self.bytes.get(self.at..)?)? + 1;
            if self.bytes[self.at - 1] == b'"' {
                return Some(());
            }
            let escape = self.peek()?;
            self.at += 1;
            match escape {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' if self.bytes.get(self.at..self.at + 4)?.iter().all(u8::is_ascii_hexdigit) => self.at += 4,
                _ => return None,
            }
        }
    }

    fn is_key(&self, (start, end): (usize, usize), name: &str) -> bool {
        let raw = &self.bytes[start + 1..end - 1];
        if raw == name.as_bytes() {
            return true;
        }
        let Some(key) = self.bytes.get(start..end).filter(|_| raw.contains(&b'\\')) else { return false };
        let mut plain = Vec::with_capacity(raw.len());
        std::str::from_utf8(key).is_ok_and(|key| unescape(key, &mut plain)) && plain == name.as_bytes()
    }
}
