//! Cuts a stream of bytes into records at line ends: JSON lines, and CSV, whose quoted fields may hold line ends themselves.
//!
//! Called by file sources with chunks of any size. A line ends at `\n` or `\r\n`; the last one may lack it; empty lines are left
//! out. Only the unfinished line is kept between chunks, so memory is bounded by the limit, one line and one chunk.
//!
//! A quote that is not closed by the end of the stream, or within the limit, ends with its line: that line is a record (a bad one,
//! as its decoder will find), and the next line begins another. Whether a line is such a record depends on nothing before it, so
//! that reading may go on at any record.

use super::Record;
use thalweg_engine::error::{Error, Result};

/// The default limit of one line, in bytes.
pub const DEFAULT_MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// Which line ends count.
#[derive(Debug, Clone, Copy)]
enum Rule {
    Every,
    /// Those outside quotes; a quote opens a field only at its start.
    Unquoted {
        quote: u8,
        delimiter: u8,
    },
}

/// Where in a CSV record we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Plain,
    Quoted,
}

impl Place {
    /// The place after one more byte that is no line end.
    #[inline]
    fn behind(self, byte: u8, quote: u8, delimiter: u8) -> Place {
        match self {
            // A doubled quote closes and, being next to a field's text, opens again.
            Place::Quoted if byte == quote => Place::FieldStart,
            Place::Quoted => Place::Quoted,
            _ if byte == delimiter => Place::FieldStart,
            Place::FieldStart if byte == quote => Place::Quoted,
            _ => Place::Plain,
        }
    }
}

/// Cuts bytes into lines.
#[derive(Debug)]
pub struct LineSplitter {
    rule: Rule,
    max_line_bytes: usize,
    buffer: Vec<u8>,
    /// Where each finished line begins and ends in `buffer`.
    lines: Vec<(usize, usize)>,
    /// Start of the unfinished line in `buffer`, and how much of the buffer was looked at.
    start: usize,
    seen: usize,
    place: Place,
    /// Place in the stream of the first byte of `buffer`.
    offset: u64,
}

impl LineSplitter {
    /// Cuts at every line end; the first byte pushed stands at `offset` of the stream.
    #[must_use]
    pub fn new(max_line_bytes: usize, offset: u64) -> Self {
        Self {
            rule: Rule::Every,
            max_line_bytes,
            buffer: Vec::new(),
            lines: Vec::new(),
            start: 0,
            seen: 0,
            place: Place::FieldStart,
            offset,
        }
    }

    /// Cuts at line ends outside of quotes.
    #[must_use]
    pub fn quoted(max_line_bytes: usize, offset: u64, quote: u8, delimiter: u8) -> Self {
        Self { rule: Rule::Unquoted { quote, delimiter }, ..Self::new(max_line_bytes, offset) }
    }

    /// Takes the next bytes; gives the lines that they complete, each with its place in the stream.
    ///
    /// # Errors
    /// `user`, if a line is longer than the limit.
    pub fn push(&mut self, chunk: &[u8]) -> Result<impl Iterator<Item = Record<'_>>> {
        self.drop_finished();
        self.buffer.extend_from_slice(chunk);
        match self.rule {
            Rule::Every => self.cut_every(),
            Rule::Unquoted { quote, delimiter } => self.cut_unquoted(quote, delimiter),
        }
        self.seen = self.buffer.len();
        self.check_length()?;
        Ok(self.records())
    }

    /// Takes the end of the stream; gives the last line, if it was not ended.
    ///
    /// # Errors
    /// `user`, if a line is longer than the limit.
    pub fn finish(&mut self) -> Result<impl Iterator<Item = Record<'_>>> {
        self.drop_finished();
        while self.place == Place::Quoted && self.unfinished_line() > self.start {
            self.close_quote(self.buffer.len());
        }
        if self.start < self.buffer.len() {
            self.lines.push((self.start, self.buffer.len()));
            self.start = self.buffer.len();
        }
        self.check_length()?;
        Ok(self.records())
    }

    /// Place in the stream of the first byte that belongs to no line given so far: where reading goes on.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.offset + self.start as u64
    }

    fn drop_finished(&mut self) {
        self.offset += self.start as u64;
        self.seen -= self.start;
        self.buffer.drain(..self.start);
        self.lines.clear();
        self.start = 0;
    }

    fn end_line(&mut self, newline: usize) {
        self.lines.push((self.start, newline));
        self.start = newline + 1;
    }

    fn cut_every(&mut self) {
        let unseen = self.buffer.get(self.seen..).unwrap_or_default();
        let ends: Vec<usize> = memchr::memchr_iter(b'\n', unseen).collect();
        for end in ends {
            self.end_line(self.seen + end);
        }
    }

    fn cut_unquoted(&mut self, quote: u8, delimiter: u8) {
        for at in self.seen..self.buffer.len() {
            let byte = self.buffer.get(at).copied().unwrap_or(0);
            if byte == b'\n' {
                if self.place != Place::Quoted {
                    self.end_line(at);
                    self.place = Place::FieldStart;
                }
                while self.place == Place::Quoted && at - self.start > self.max_line_bytes {
                    self.close_quote(at + 1);
                }
            } else {
                self.place = self.place.behind(byte, quote, delimiter);
            }
        }
    }

    /// Where the last line begins of what is not finished: all of it, unless a quote is open that holds line ends.
    fn unfinished_line(&self) -> usize {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        memchr::memrchr(b'\n', rest).map_or(self.start, |newline| self.start + newline + 1)
    }

    /// Ends the unfinished record, whose quote is still open at `end`, with its first line, and cuts the lines behind it up to one
    /// whose quote is open at its end: from there on all was seen already, in the same state, and stays unfinished.
    fn close_quote(&mut self, end: usize) {
        let Rule::Unquoted { quote, delimiter } = self.rule else { return };
        let mut is_first = true;
        loop {
            let rest = self.buffer.get(self.start..end).unwrap_or_default();
            let newline = memchr::memchr(b'\n', rest);
            if !std::mem::take(&mut is_first) {
                let line = rest.get(..newline.unwrap_or(rest.len())).unwrap_or_default();
                let place = line.iter().fold(Place::FieldStart, |place, byte| place.behind(*byte, quote, delimiter));
                self.place = place;
                if place == Place::Quoted {
                    return;
                }
            }
            let Some(newline) = newline else { return };
            self.end_line(self.start + newline);
        }
    }

    fn check_length(&self) -> Result<()> {
        let unfinished = (self.unfinished_line(), self.buffer.len());
        for (start, end) in self.lines.iter().chain([&unfinished]) {
            if end - start > self.max_line_bytes {
                let at = self.offset + *start as u64;
                let limit = self.max_line_bytes;
                let text = format!("line at byte {at} is longer than the limit of {limit} bytes");
                return Err(Error::user(format!("{text}; raise `source.max-line-bytes`")));
            }
        }
        Ok(())
    }

    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.lines.iter().filter_map(|(start, end)| {
            let line = self.buffer.get(*start..*end)?;
            let bytes = line.strip_suffix(b"\r").unwrap_or(line);
            (!bytes.is_empty()).then_some(Record { bytes, position: self.offset + *start as u64 })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line with its place, for chunks of that size.
    fn split(mut splitter: LineSplitter, text: &[u8], chunk_bytes: usize) -> Result<Vec<(u64, String)>> {
        let mut lines = Vec::new();
        let mut take = |records: &mut dyn Iterator<Item = Record<'_>>| {
            lines.extend(records.map(|record| (record.position, String::from_utf8(record.bytes.to_vec()).unwrap())));
        };
        for chunk in text.chunks(chunk_bytes) {
            take(&mut splitter.push(chunk)?);
        }
        take(&mut splitter.finish()?);
        assert_eq!(splitter.position(), text.len() as u64);
        Ok(lines)
    }

    #[test]
    fn lines_are_the_same_for_every_size_of_chunk() {
        let text = "a\r\nbb\n\n\r\nccc\rc\né\nlast";
        let expected = [(0, "a"), (3, "bb"), (9, "ccc\rc"), (15, "é"), (18, "last")];
        for size in 1..=text.len() {
            let lines = split(LineSplitter::new(100, 0), text.as_bytes(), size).unwrap();
            assert_eq!(lines, expected.map(|(at, line)| (at, line.to_owned())), "chunks of {size}");
        }
        assert_eq!(split(LineSplitter::new(1, 0), b"", 1).unwrap(), []);
        assert_eq!(split(LineSplitter::new(1, 0), b"\n", 1).unwrap(), []);
    }

    #[test]
    fn quoted_line_ends_do_not_cut() {
        let text = "a,\"x\ny\",b\r\n\"he said \"\"hi\n\"\"\",2\nit's 5\" long,3\n\"\"\n";
        let expected = [(0, "a,\"x\ny\",b"), (11, "\"he said \"\"hi\n\"\"\",2"), (31, "it's 5\" long,3"), (46, "\"\"")];
        for size in 1..=text.len() {
            let lines = split(LineSplitter::quoted(100, 0, b'"', b','), text.as_bytes(), size).unwrap();
            assert_eq!(lines, expected.map(|(at, line)| (at, line.to_owned())), "chunks of {size}");
        }
    }

    #[test]
    fn limits_and_open_quotes_are_errors_with_their_place() {
        let error = split(LineSplitter::new(4, 0), b"1234\n12345", 3).unwrap_err();
        assert_eq!(
            error.message(),
            "line at byte 5 is longer than the limit of 4 bytes; raise `source.max-line-bytes`"
        );
        let error = split(LineSplitter::new(4, 0), b"12345\n", 100).unwrap_err();
        assert_eq!(
            error.message(),
            "line at byte 0 is longer than the limit of 4 bytes; raise `source.max-line-bytes`"
        );
        assert!(split(LineSplitter::new(4, 0), b"1234\n1234", 100).is_ok());
        let quoted = |text: &[u8]| split(LineSplitter::quoted(4, 0, b'"', b','), text, 3);
        for text in [b"\"1\n12345".as_slice(), b"\"1\n12345\n", b"\"12345\n\"", b"\"1\n3456\"\n"] {
            assert!(quoted(text).is_err(), "{}", text.escape_ascii());
        }
    }

    /// Records of a text one by one, each found by looking at all that follows it.
    fn naive(text: &str, limit: usize) -> Vec<(u64, String)> {
        let (mut at, mut records) = (0, vec![]);
        while at < text.len() {
            let (mut place, mut line_end, mut end) = (Place::FieldStart, text.len(), None);
            for (i, byte) in text.bytes().enumerate().skip(at) {
                match byte {
                    b'\n' if place == Place::Quoted => {
                        line_end = line_end.min(i);
                        if i - at > limit {
                            break;
                        }
                    }
                    b'\n' => {
                        end = Some(i);
                        break;
                    }
                    byte => place = place.behind(byte, b'"', b','),
                }
            }
            // A closed record may end with the text; an open one ends with its line.
            let end = end.unwrap_or(if place == Place::Quoted { line_end } else { text.len() });
            records.push((at as u64, text[at..end].to_owned()));
            at = end + 1;
        }
        records.retain(|(_, record)| !record.is_empty());
        records
    }

    #[test]
    fn an_open_quote_ends_with_its_line_and_the_next_line_is_a_record_again() {
        let text = "a\n\"b\nc\nd,e\n";
        let expected = [(0, "a"), (2, "\"b"), (5, "c"), (7, "d,e")].map(|(at, line)| (at, line.to_owned()));
        assert_eq!(split(LineSplitter::quoted(100, 0, b'"', b','), text.as_bytes(), 3).unwrap(), expected);
        // Every text of a few pieces: quotes that open and close, in and out of their place.
        let pieces = ["\"", "x", ",", "\n", "x\",\","];
        for number in 0..5_usize.pow(6) {
            let text: String = (0..6).map(|i| pieces[number / 5_usize.pow(i) % 5]).collect();
            for (limit, chunk) in [(100, 2), (100, 50), (16, 3), (16, 100)] {
                let (records, naive) =
                    (split(LineSplitter::quoted(limit, 0, b'"', b','), text.as_bytes(), chunk), naive(&text, limit));
                let long =
                    naive.iter().any(|(_, record)| record.len() > limit) || text.lines().any(|l| l.len() > limit);
                match records {
                    Ok(records) => assert!(!long && records == naive, "{text:?}, limit {limit}, chunks of {chunk}"),
                    Err(_) => assert!(long, "{text:?}, limit {limit}, chunks of {chunk}"),
                }
            }
        }
        // In turn open and closed, from wherever one begins to read: what was seen is not looked at again and again.
        let text = "x\",\",\n".repeat(50_000);
        let records = split(LineSplitter::quoted(1 << 20, 0, b'"', b','), text.as_bytes(), 1 << 16).unwrap();
        assert_eq!(records.len(), 50_000);
    }

    #[test]
    fn reading_goes_on_where_the_last_line_ended() {
        let text = b"one\ntwo\nthree";
        let mut first = LineSplitter::new(100, 0);
        assert_eq!(first.push(&text[..6]).unwrap().count(), 1);
        let position = first.position();
        assert_eq!(position, 4);
        let mut second = LineSplitter::new(100, position);
        let places: Vec<u64> = second.push(&text[4..]).unwrap().map(|record| record.position).collect();
        assert_eq!(places, [4]);
        assert_eq!(second.finish().unwrap().next().map(|record| record.position), Some(8));
    }
}
