//! Predicts the next key of an object: the one that followed the last time. A hit costs one comparison of 16 bytes; a miss
//! one hash lookup, and the prediction is corrected.
//!
//! Keys that nobody reads are learned too, up to a limit, since stepping over them is the most frequent case of all.

use super::cursor::{Cursor, Read};
use crate::format::scan;
use std::collections::HashMap;

/// How many keys beyond those of the schema one object may teach.
const MAX_LEARNED: usize = 256;

/// The longest key worth learning, in bytes.
const MAX_LEARNED_BYTES: usize = 64;

/// A key as it stands in the text, quotes and colon included, and the comma in front.
struct Token {
    /// The first 16 bytes and which bits of them count.
    bits: u128,
    mask: u128,
    length: usize,
    text: Box<[u8]>,
}

impl Token {
    fn new(key: &[u8]) -> Self {
        let plain = !key.iter().any(|byte| scan::is_special(*byte));
        let text = if plain { [b",\"", key, b"\":"].concat() } else { Vec::new() };
        let mut head = [0; 16];
        head.iter_mut().zip(&text).for_each(|(place, byte)| *place = *byte);
        let mask = if text.len() < 16 { (1 << (8 * text.len() as u32)) - 1 } else { u128::MAX };
        // A key that needs escapes has no token: it compares 1 with nothing.
        let bits = if plain { u128::from_le_bytes(head) } else { 1 };
        Self { bits, mask, length: text.len(), text: text.into() }
    }

    /// Steps over the token if it comes next, comma included.
    #[inline(always)]
    fn eat(&self, cursor: &mut Cursor<'_>) -> bool {
        let Some(window) = cursor.window::<16>() else { return false };
        if u128::from_le_bytes(*window) & self.mask != self.bits
            || (self.length > 16 && !cursor.starts_with(&self.text))
        {
            return false;
        }
        cursor.advance(self.length);
        true
    }

    /// Steps over the key if it comes next, without a comma in front.
    #[inline(always)]
    fn eat_key(&self, cursor: &mut Cursor<'_>) -> bool {
        let Some((_, key)) = self.text.split_first() else { return false };
        let hit = cursor.starts_with(key);
        if hit {
            cursor.advance(key.len());
        }
        hit
    }
}

struct Entry {
    token: Token,
    /// The field of the schema; `None` for a key that nobody reads.
    field: Option<usize>,
    /// The entry that followed the last time.
    next: usize,
}

/// The keys of one object type.
pub(in crate::format) struct Keys {
    entries: Vec<Entry>,
    index: HashMap<Box<[u8]>, usize>,
    first: usize,
    fields: usize,
}

/// Where in an object we are.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The entry of the key before; `None` at the start.
    before: Option<usize>,
    /// The entry to be expected.
    expected: usize,
}

impl Keys {
    /// Expects the keys of the schema in its order, to begin with.
    pub(in crate::format) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut keys = Self { entries: Vec::new(), index: HashMap::new(), first: 0, fields: 0 };
        for (field, name) in names.enumerate() {
            keys.add(name.as_bytes(), Some(field));
        }
        keys.fields = keys.entries.len();
        keys
    }

    fn add(&mut self, key: &[u8], field: Option<usize>) -> usize {
        let at = self.entries.len();
        self.entries.push(Entry { token: Token::new(key), field, next: at + 1 });
        self.index.insert(key.into(), at);
        at
    }

    /// The place before the first key.
    #[inline(always)]
    pub(super) fn start(&self) -> Place {
        Place { before: None, expected: self.first }
    }

    /// Steps over a comma and the expected key, if just they come next; returns the field that the key names. This is how most
    /// fields of most records are found.
    #[inline(always)]
    pub(super) fn read_expected(&self, place: &mut Place, cursor: &mut Cursor<'_>) -> Option<Option<usize>> {
        let entry = self.entries.get(place.expected)?;
        if !entry.token.eat(cursor) {
            return None;
        }
        *place = Place { before: Some(place.expected), expected: entry.next };
        Some(entry.field)
    }

    /// Reads the next key and its colon; returns the field it names.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        place: &mut Place,
        cursor: &mut Cursor<'_>,
        scratch: &mut Vec<u8>,
    ) -> Read<Option<usize>> {
        if let Some(entry) = self.entries.get(place.expected)
            && entry.token.eat_key(cursor)
        {
            *place = Place { before: Some(place.expected), expected: entry.next };
            return Ok(entry.field);
        }
        self.look_up(place, cursor, scratch)
    }

    #[inline(never)]
    fn look_up(&mut self, place: &mut Place, cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>) -> Read<Option<usize>> {
        cursor.skip_space();
        let key = cursor.text(scratch)?;
        cursor.expect(b':')?;
        let found = match self.index.get(key) {
            Some(at) => *at,
            // A learned key is compared as bytes later, so it must be text whatever the rest of this record is.
            None if self.entries.len() < self.fields + MAX_LEARNED
                && key.len() <= MAX_LEARNED_BYTES
                && key.is_ascii() =>
            {
                self.add(key, None)
            }
            None => return Ok(None),
        };
        match place.before {
            None => self.first = found,
            Some(before) => {
                if let Some(entry) = self.entries.get_mut(before) {
                    entry.next = found;
                }
            }
        }
        let Some(entry) = self.entries.get(found) else { return Ok(None) };
        *place = Place { before: Some(found), expected: entry.next };
        Ok(entry.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &mut Keys, text: &str) -> Vec<Option<usize>> {
        let mut cursor = Cursor::new(text.as_bytes());
        let (mut place, mut scratch, mut found) = (keys.start(), Vec::new(), Vec::new());
        while cursor.peek() != 0 {
            found.push(keys.read(&mut place, &mut cursor, &mut scratch).unwrap());
            cursor.skip_space();
        }
        found
    }

    #[test]
    fn keys_are_found_in_any_order_and_spelling() {
        let long = "a key that is longer than sixteen bytes";
        let mut keys = Keys::new(["a", "b\"c", long, "é", ""].into_iter());
        for _ in 0..3 {
            assert_eq!(read(&mut keys, "\"a\":\"b\\\"c\":"), [Some(0), Some(1)]);
            assert_eq!(read(&mut keys, &format!("\"{long}\":\"é\":\"\":")), [Some(2), Some(3), Some(4)]);
            assert_eq!(read(&mut keys, &format!("\"{long}\" : \"x\":\"\\u0061\":")), [Some(2), None, Some(0)]);
            assert_eq!(read(&mut keys, &format!("\"{long}!\":\"a \":\"\\u00e9\":")), [None, None, Some(3)]);
        }
    }

    #[test]
    fn learning_is_bounded() {
        let mut keys = Keys::new(["a"].into_iter());
        for number in 0..10_000 {
            assert_eq!(read(&mut keys, &format!("\"k{number}\":\"a\":")), [None, Some(0)]);
        }
        assert_eq!(keys.entries.len(), 1 + MAX_LEARNED);
    }
}
