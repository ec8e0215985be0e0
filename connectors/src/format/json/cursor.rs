//! Reads JSON tokens off one record: the lexical rules of RFC 8259, and nothing about columns.
//!
//! Called by `object` for every value. Strict: what it steps over is checked as well as what it reads. Remembers whether a string
//! held bytes outside ASCII; only then has the record to be checked as UTF-8, once, at its end.

use crate::format::{scalar, scan};

/// How deep values that nobody reads may be nested.
const MAX_SKIP_DEPTH: u32 = 128;

/// Why a record is bad.
#[derive(Debug)]
pub(super) struct Fault {
    reason: String,
    /// Names of the fields around the place, innermost first.
    path: Vec<String>,
}

/// A result on the way through a record; boxed, so that the good case is one register.
pub(super) type Read<T> = Result<T, Box<Fault>>;

impl Fault {
    #[cold]
    pub(super) fn new(reason: impl Into<String>) -> Box<Self> {
        Box::new(Self { reason: reason.into(), path: Vec::new() })
    }

    /// Adds the field that the fault lies in.
    #[cold]
    pub(super) fn inside(mut self: Box<Self>, field: &str) -> Box<Self> {
        self.path.push(field.to_owned());
        self
    }

    /// The reason with the field in front.
    pub(super) fn message(&self) -> String {
        if self.path.is_empty() {
            return self.reason.clone();
        }
        let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        format!("field `{}`: {}", path.join("."), self.reason)
    }
}

/// Takes the content of a string.
pub(super) trait StringSink {
    /// Takes a whole chunk, of which [`cut`](Self::cut) may take back the end.
    fn chunk(&mut self, chunk: &[u8; 16]);
    /// Takes back the last `count` bytes.
    fn cut(&mut self, count: usize);
    /// Takes some bytes.
    fn bytes(&mut self, bytes: &[u8]);
}

impl StringSink for Vec<u8> {
    #[inline(always)]
    fn chunk(&mut self, chunk: &[u8; 16]) {
        self.extend_from_slice(chunk);
    }

    #[inline(always)]
    fn cut(&mut self, count: usize) {
        self.truncate(self.len() - count);
    }

    #[inline(always)]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Takes nothing: for strings that nobody reads.
struct Nowhere;

impl StringSink for Nowhere {
    #[inline(always)]
    fn chunk(&mut self, _: &[u8; 16]) {}

    #[inline(always)]
    fn cut(&mut self, _: usize) {}

    #[inline(always)]
    fn bytes(&mut self, _: &[u8]) {}
}

/// A place in a record.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// What of them is still to be read.
    rest: &'a [u8],
    /// Not 0 if a string held a byte outside ASCII.
    high: u32,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, rest: bytes, high: 0 }
    }

    pub(super) fn saw_high_bytes(&self) -> bool {
        self.high != 0
    }

    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        self.bytes.len() - self.rest.len()
    }

    /// The bytes from `start` to here.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at()).unwrap_or_default()
    }

    /// The next byte; 0, which begins no token, at the end.
    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.rest.first().copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(super) fn advance(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    /// Goes back to a place that [`at`](Self::at) gave.
    pub(super) fn rewind(&mut self, at: usize) {
        self.rest = self.bytes.get(at..).unwrap_or_default();
    }

    /// The next `N` bytes, if there are so many.
    #[inline(always)]
    pub(super) fn window<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.rest.first_chunk::<N>()
    }

    pub(super) fn starts_with(&self, text: &[u8]) -> bool {
        self.rest.starts_with(text)
    }

    #[inline(always)]
    pub(super) fn skip_space(&mut self) {
        if self.peek() <= b' ' {
            self.skip_spaces();
        }
    }

    #[inline(never)]
    fn skip_spaces(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.advance(1);
        }
    }

    /// Steps over `byte`, with space in front of it.
    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8) -> Read<()> {
        self.skip_space();
        if self.peek() != byte {
            return Err(self.unexpected(&format!("`{}`", char::from(byte))));
        }
        self.advance(1);
        Ok(())
    }

    /// Nothing but space may be left.
    pub(super) fn expect_end(&mut self) -> Read<()> {
        self.skip_space();
        if !self.rest.is_empty() { Err(self.unexpected("the end of the record")) } else { Ok(()) }
    }

    #[cold]
    pub(super) fn unexpected(&self, wanted: &str) -> Box<Fault> {
        let at = self.at();
        match self.rest.first() {
            None => Fault::new(format!("the record ends at byte {at} instead of {wanted}")),
            Some(byte) => Fault::new(format!("`{}` at byte {at} instead of {wanted}", byte.escape_ascii())),
        }
    }

    #[inline(always)]
    pub(super) fn null(&mut self) -> Read<()> {
        if self.window::<4>() != Some(b"null") {
            return Err(self.unexpected("a value"));
        }
        self.advance(4);
        Ok(())
    }

    pub(super) fn literal(&mut self, text: &[u8]) -> Read<()> {
        if !self.starts_with(text) {
            return Err(self.unexpected("a value"));
        }
        self.advance(text.len());
        Ok(())
    }

    /// Reads a string whose opening quote was stepped over, up to and with its closing quote. Returns whether it held escapes.
    #[inline(always)]
    pub(super) fn string<S: StringSink>(&mut self, sink: &mut S) -> Read<bool> {
        let mut escaped = false;
        loop {
            let Some((chunk, after)) = self.rest.split_first_chunk::<16>() else {
                return Ok(self.string_tail(sink)? || escaped);
            };
            let masks = scan::masks(chunk);
            self.high |= masks.high;
            sink.chunk(chunk);
            if masks.special == 0 {
                self.rest = after;
                continue;
            }
            let plain = masks.special.trailing_zeros() as usize;
            sink.cut(16 - plain);
            self.advance(plain);
            if self.peek() == b'"' {
                self.advance(1);
                return Ok(escaped);
            }
            self.escape(sink)?;
            escaped = true;
        }
    }

    /// The rest of a string within the last 15 bytes of the record: looks at the last 16 bytes of the record, and shifts those out
    /// that were read before.
    #[inline(never)]
    fn string_tail<S: StringSink>(&mut self, sink: &mut S) -> Read<bool> {
        let mut escaped = false;
        loop {
            let length = self.rest.len();
            let plain = match self.bytes.last_chunk::<16>() {
                Some(chunk) => {
                    let masks = scan::masks(chunk);
                    self.high |= masks.high;
                    ((masks.special >> (16 - length)).trailing_zeros() as usize).min(length)
                }
                None => {
                    self.high |= u32::from(!self.rest.is_ascii());
                    self.rest.iter().position(|byte| scan::is_special(*byte)).unwrap_or(length)
                }
            };
            sink.bytes(self.rest.get(..plain).unwrap_or_default());
            self.advance(plain);
            if self.peek() == b'"' {
                self.advance(1);
                return Ok(escaped);
            }
            self.escape(sink)?;
            escaped = true;
        }
    }

    /// One escape sequence; a fault if there is none here.
    #[inline(always)]
    fn escape<S: StringSink>(&mut self, sink: &mut S) -> Read<()> {
        match self.window::<2>() {
            // By far the most frequent ones.
            Some([b'\\', byte @ (b'"' | b'\\')]) => {
                self.advance(2);
                sink.bytes(&[*byte]);
                Ok(())
            }
            _ => self.other_escape(sink),
        }
    }

    #[inline(never)]
    fn other_escape<S: StringSink>(&mut self, sink: &mut S) -> Read<()> {
        if self.peek() != b'\\' {
            return Err(self.unexpected("the end of the string"));
        }
        self.advance(1);
        let plain = match self.peek() {
            b'/' => b'/',
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'u' => return self.unicode_escape(sink),
            _ => return Err(self.unexpected("an escape")),
        };
        self.advance(1);
        sink.bytes(&[plain]);
        Ok(())
    }

    #[inline(never)]
    fn unicode_escape<S: StringSink>(&mut self, sink: &mut S) -> Read<()> {
        let start = self.at() - 1;
        let first = self.hex4()?;
        let code = if (0xD800..0xDC00).contains(&first) && self.peek() == b'\\' {
            self.advance(1);
            let second = self.hex4()?;
            // What is no low surrogate makes the sum no character.
            match second.checked_sub(0xDC00) {
                Some(low) if low < 0x400 => 0x1_0000 + ((first - 0xD800) << 10) + low,
                _ => first,
            }
        } else {
            first
        };
        let Some(char) = char::from_u32(code) else {
            return Err(Fault::new(format!("lone surrogate `\\u{first:04x}` at byte {start}")));
        };
        sink.bytes(char.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// `u` and four hexadecimal digits.
    fn hex4(&mut self) -> Read<u32> {
        let Some([b'u', digits @ ..]) = self.window::<5>() else {
            return Err(self.unexpected("`u` and four hexadecimal digits"));
        };
        let value = digits.iter().try_fold(0, |sum, byte| Some(sum << 4 | char::from(*byte).to_digit(16)?));
        let value = value.ok_or_else(|| self.unexpected("`u` and four hexadecimal digits"))?;
        self.advance(5);
        Ok(value)
    }

    /// Reads a string, opening quote included: a piece of the record, or of `scratch` if there were escapes.
    #[inline]
    pub(super) fn text<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Read<&'s [u8]>
    where
        'a: 's,
    {
        if self.peek() != b'"' {
            return Err(self.unexpected("a string"));
        }
        self.advance(1);
        let start = self.rest;
        if !self.string(&mut Nowhere)? {
            let length = start.len() - self.rest.len() - 1;
            return Ok(start.get(..length).unwrap_or_default());
        }
        self.rest = start;
        scratch.clear();
        self.string(scratch)?;
        Ok(scratch)
    }

    /// Reads a whole number that 64 bits hold.
    #[inline]
    pub(super) fn integer(&mut self) -> Read<i64> {
        // Seven digits at most and something behind them: nothing of this can overflow.
        if let Some(window) = self.window::<8>() {
            let (value, count) = leading_digits(u64::from_le_bytes(*window));
            let behind = window.get(count).copied().unwrap_or(0);
            let leading_zero = count > 1 && self.peek() == b'0';
            if matches!(behind, b',' | b'}') && count > 0 && !leading_zero {
                self.advance(count);
                return Ok(value as i64);
            }
        }
        self.any_integer()
    }

    #[inline(never)]
    fn any_integer(&mut self) -> Read<i64> {
        let start = self.rest;
        let negative = self.peek() == b'-';
        self.advance(usize::from(negative));
        let first = self.peek();
        let (mut value, mut count) = (0_u64, 0);
        while self.peek().is_ascii_digit() {
            value = value.wrapping_mul(10).wrapping_add(u64::from(self.peek() - b'0'));
            count += 1;
            self.advance(1);
        }
        let leading_zero = count > 1 && first == b'0';
        // 19 digits stay below 2^64.
        let fits = count <= 19 && value <= i64::MAX as u64 + u64::from(negative);
        if count == 0 || leading_zero || !fits || matches!(self.peek(), b'.' | b'e' | b'E') {
            self.rest = start;
            return self.odd_integer();
        }
        Ok(if negative { (value as i64).wrapping_neg() } else { value as i64 })
    }

    /// `1.0` and `1e3` are whole numbers, too.
    #[cold]
    fn odd_integer(&mut self) -> Read<i64> {
        let start = self.at();
        let text = self.number()?;
        scalar::parse_whole(text).ok_or_else(|| not_a("whole number within 64 bits", text, start))
    }

    /// Reads a number of the JSON grammar as text.
    pub(super) fn number(&mut self) -> Read<&'a [u8]> {
        let start = self.at();
        self.advance(usize::from(self.peek() == b'-'));
        let zero = self.peek() == b'0';
        if self.digits("a value")? > 1 && zero {
            return Err(Fault::new(format!("number with leading zero at byte {start}")));
        }
        if self.peek() == b'.' {
            self.advance(1);
            self.digits("a digit")?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.advance(1);
            self.advance(usize::from(matches!(self.peek(), b'+' | b'-')));
            self.digits("a digit")?;
        }
        Ok(self.since(start))
    }

    /// Steps over one digit at least; returns how many.
    fn digits(&mut self, wanted: &str) -> Read<usize> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.unexpected(wanted));
        }
        self.advance(count);
        Ok(count)
    }

    /// Steps over any value.
    #[inline]
    pub(super) fn skip_value(&mut self) -> Read<()> {
        self.skip_space();
        match self.peek() {
            b'{' | b'[' => self.skip_nested(),
            _ => self.skip_scalar(),
        }
    }

    #[inline]
    fn skip_scalar(&mut self) -> Read<()> {
        match self.peek() {
            b'"' => {
                self.advance(1);
                self.skip_string()
            }
            b'n' => self.null(),
            b'0'..=b'9' => self.integer_or_number(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            _ => self.number().map(|_| ()),
        }
    }

    /// Steps over a string whose opening quote was stepped over.
    #[inline]
    fn skip_string(&mut self) -> Read<()> {
        while let Some((chunk, after)) = self.rest.split_first_chunk::<32>() {
            let masks = scan::masks_wide(chunk);
            self.high |= masks.high;
            if masks.special == 0 {
                self.rest = after;
                continue;
            }
            self.advance(masks.special.trailing_zeros() as usize);
            if self.peek() == b'"' {
                self.advance(1);
                return Ok(());
            }
            self.escape(&mut Nowhere)?;
        }
        self.string(&mut Nowhere).map(|_| ())
    }

    /// Steps over a number; most are short whole ones.
    #[inline]
    fn integer_or_number(&mut self) -> Read<()> {
        if let Some(window) = self.window::<8>() {
            let (_, count) = leading_digits(u64::from_le_bytes(*window));
            let behind = window.get(count).copied().unwrap_or(0);
            if matches!(behind, b',' | b'}') && (count == 1 || self.peek() != b'0') {
                self.advance(count);
                return Ok(());
            }
        }
        self.number().map(|_| ())
    }

    /// Steps over an object or array. One bit for each level says which of both it is; no recursion.
    fn skip_nested(&mut self) -> Read<()> {
        let (mut objects, mut depth) = (0_u128, 0);
        loop {
            self.skip_space();
            let open = self.peek();
            if matches!(open, b'{' | b'[') {
                if depth == MAX_SKIP_DEPTH {
                    return Err(Fault::new(format!(
                        "nested deeper than {MAX_SKIP_DEPTH} levels at byte {}",
                        self.at()
                    )));
                }
                self.advance(1);
                depth += 1;
                objects = objects << 1 | u128::from(open == b'{');
                self.skip_space();
                // ASCII: each closing bracket is its opening one + 2.
                if self.peek() != open + 2 {
                    if open == b'{' {
                        self.skip_key()?;
                    }
                    continue;
                }
                self.advance(1);
                depth -= 1;
                objects >>= 1;
            } else {
                self.skip_scalar()?;
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                self.skip_space();
                let object = objects & 1 == 1;
                match self.peek() {
                    b',' => {
                        self.advance(1);
                        if object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return Err(self.unexpected(if object { "`,` or `}`" } else { "`,` or `]`" })),
                }
                self.advance(1);
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    fn skip_key(&mut self) -> Read<()> {
        self.expect(b'"')?;
        self.string(&mut Nowhere)?;
        self.expect(b':')
    }
}

/// The fault of a value of the wrong kind.
#[cold]
pub(super) fn not_a(wanted: &str, text: &[u8], at: usize) -> Box<Fault> {
    const SHOWN: usize = 40;
    let shown = String::from_utf8_lossy(text.get(..SHOWN).unwrap_or(text)).into_owned();
    let dots = if text.len() > SHOWN { ".." } else { "" };
    Fault::new(format!("`{shown}{dots}` at byte {at} is no {wanted}"))
}

/// The value and the number of the digits that eight bytes of text begin with.
#[inline(always)]
fn leading_digits(text: u64) -> (u64, usize) {
    let digits = text ^ 0x3030_3030_3030_3030;
    // A byte above 9 sets its top bit; carries only reach bytes behind the first such one.
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    let count = others.trailing_zeros() / 8;
    if count == 0 {
        return (0, 0);
    }
    let digits = digits << (64 - 8 * count);
    let pairs = digits.wrapping_mul(10 * 256 + 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100 * 65_536 + 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    (fours.wrapping_mul((10_000 << 32) + 1) >> 32, count as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_at_once_agree_with_one_by_one() {
        for text in [
            "12345678",
            "1234567,",
            "1       ",
            "99999999",
            "00000000",
            "0\u{7f}999999",
            ",1234567",
            "9:999999",
            "1/234567",
        ] {
            let count = text.bytes().take_while(u8::is_ascii_digit).count();
            let expected = text[..count].parse().unwrap_or(0);
            let bytes: [u8; 8] = text.as_bytes().try_into().unwrap();
            assert_eq!(leading_digits(u64::from_le_bytes(bytes)), (expected, count), "{text}");
        }
        assert_eq!(leading_digits(u64::from_le_bytes(*b"12\xb3\xff4567")), (12, 2));
    }

    #[test]
    fn integers_at_every_length_and_edge() {
        for text in ["0", "-0", "7", "123456789", "9223372036854775807", "-9223372036854775808", "1234567890123456"] {
            for after in ["", ",", "}        ", " ,\"more text\""] {
                let record = format!("{text}{after}");
                let mut cursor = Cursor::new(record.as_bytes());
                assert_eq!(cursor.integer().unwrap(), text.parse::<i64>().unwrap(), "{record}");
                assert_eq!(cursor.at(), text.len());
            }
        }
        for text in [
            "",
            "-",
            "01",
            "-01",
            "1.5",
            "15e-1",
            "9.3e18",
            "1e99999999999",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999999999",
            "+1",
            "true",
            "\"\"",
            "x",
            "1.",
            "00",
        ] {
            for after in ["", "                "] {
                assert!(Cursor::new(format!("{text}{after}").as_bytes()).integer().is_err(), "{text}");
            }
        }
    }

    #[test]
    fn skipping_and_serde_agree_on_what_is_json() {
        let good = [
            "0",
            "-1.5e+3",
            "[]",
            "{}",
            "[1,[2,{\"a\":[]}],\"x\"]",
            "{\"a\":{\"b\":null},\"c\":[true,false]}",
            " [ 1 , 2 ] ",
            "\"\\u00e9\\ud83d\\ude00\\n\"",
            "\"0123456789abcdef0123456789abcdef\"",
        ];
        let bad = [
            "",
            "[",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "[1 2]",
            "[1}",
            "{\"a\":1]",
            "nul",
            "tru",
            "01",
            "1.",
            ".5",
            "1e",
            "-",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"a\nb\"",
            "[]]",
            "\u{feff}1",
            "\"0123456789abcdef",
        ];
        for text in good.iter().chain(&bad) {
            let mut cursor = Cursor::new(text.as_bytes());
            let ours = cursor.skip_value().and_then(|()| cursor.expect_end());
            let serde = serde_json::from_str::<serde_json::Value>(text);
            assert_eq!(ours.is_ok(), serde.is_ok(), "{text}: {ours:?} {serde:?}");
        }
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Cursor::new(deep(128).as_bytes()).skip_value().is_ok());
        assert!(Cursor::new(deep(129).as_bytes()).skip_value().is_err());
        assert!(Cursor::new("[{\"a\":".repeat(1_000_000).as_bytes()).skip_value().is_err());
    }
}
