//! The texts of events: names and cities, random strings, URLs, and the filler `extra`. Everything is appended to a byte buffer
//! that becomes an Arrow column; all of it is ASCII.

use super::dice::{Dice, Field, Rolls, scale};
use std::io::Write as _;

const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const COLD_CHANNELS: u64 = 10_000;
const FILLER_BYTES: usize = 1 << 20;

const ITEM_NAME_MAX: u64 = 20;
const DESCRIPTION_MAX: u64 = 100;

/// The texts that a generator makes once for its seed.
#[derive(Debug)]
pub(super) struct Texts {
    dice: Dice,
    filler: Vec<u8>,
    hot_urls: Vec<Vec<u8>>,
    cold_urls: Vec<Vec<u8>>,
}

/// The channel of a bid: one of the four hot ones, or a numbered one.
#[derive(Debug, Clone, Copy)]
enum Channel {
    Hot(u64),
    Cold(u64),
}

impl Texts {
    pub(super) fn new(dice: Dice) -> Self {
        let mut rolls = dice.rolls(0, Field::Table);
        let filler = filler(&mut rolls);
        let hot_urls = HOT_CHANNELS.iter().map(|_| base_url(&mut rolls)).collect();
        let cold_urls = (0..COLD_CHANNELS as i32)
            .map(|number| {
                let mut url = base_url(&mut rolls);
                if rolls.below(10) > 0 {
                    // The original negates with overflow, so number 1 keeps its sign.
                    let id = number.reverse_bits().wrapping_abs();
                    url.extend_from_slice(format!("&channel_id={id}").as_bytes());
                }
                url
            })
            .collect();
        Self { dice, filler, hot_urls, cold_urls }
    }

    pub(super) fn person_name(&self, id: u64, out: &mut Vec<u8>) {
        let mut rolls = self.dice.rolls(id, Field::Name);
        push_one(&FIRST_NAMES, rolls.next(), out);
        out.push(b' ');
        push_one(&LAST_NAMES, rolls.next(), out);
    }

    pub(super) fn email(&self, id: u64, out: &mut Vec<u8>) {
        let mut rolls = self.dice.rolls(id, Field::Email);
        push_string(&mut rolls, 7, b' ', out);
        out.push(b'@');
        push_string(&mut rolls, 5, b' ', out);
        out.extend_from_slice(b".com");
    }

    pub(super) fn credit_card(&self, id: u64, out: &mut Vec<u8>) {
        let mut rolls = self.dice.rolls(id, Field::CreditCard);
        for group in 0..4 {
            if group > 0 {
                out.push(b' ');
            }
            let digits = rolls.below(10_000) as u16;
            out.extend([1_000, 100, 10, 1].map(|place| b'0' + (digits / place % 10) as u8));
        }
    }

    pub(super) fn city(&self, id: u64, out: &mut Vec<u8>) {
        push_one(&CITIES, self.dice.roll(id, Field::City), out);
    }

    pub(super) fn state(&self, id: u64, out: &mut Vec<u8>) {
        push_one(&STATES, self.dice.roll(id, Field::State), out);
    }

    /// The filler of a person; `scratch` is only a place to work in.
    pub(super) fn person_extra(&self, id: u64, average: u64, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        scratch.clear();
        self.person_name(id, scratch);
        self.email(id, scratch);
        self.credit_card(id, scratch);
        self.city(id, scratch);
        self.state(id, scratch);
        self.extra(id, Field::PersonExtra, 8 + scratch.len() as u64, average, out);
    }

    pub(super) fn item_name(&self, id: u64, out: &mut Vec<u8>) {
        push_string(&mut self.dice.rolls(id, Field::ItemName), ITEM_NAME_MAX, b' ', out);
    }

    pub(super) fn description(&self, id: u64, out: &mut Vec<u8>) {
        push_string(&mut self.dice.rolls(id, Field::Description), DESCRIPTION_MAX, b' ', out);
    }

    /// The filler of an auction; `scratch` is only a place to work in.
    pub(super) fn auction_extra(&self, id: u64, average: u64, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        scratch.clear();
        self.item_name(id, scratch);
        self.description(id, scratch);
        self.extra(id, Field::AuctionExtra, 8 + scratch.len() as u64 + 40, average, out);
    }

    pub(super) fn channel(&self, id: u64, out: &mut Vec<u8>) {
        match self.channel_of(id) {
            Channel::Hot(number) => push_one_at(&HOT_CHANNELS, number, out),
            Channel::Cold(number) => {
                // Writing to a vector does not fail.
                let _ = write!(out, "channel-{number}");
            }
        }
    }

    pub(super) fn url(&self, id: u64, out: &mut Vec<u8>) {
        let url = match self.channel_of(id) {
            Channel::Hot(number) => self.hot_urls.get(number as usize),
            Channel::Cold(number) => self.cold_urls.get(number as usize),
        };
        out.extend_from_slice(url.map_or(&[], Vec::as_slice));
    }

    pub(super) fn bid_extra(&self, id: u64, average: u64, out: &mut Vec<u8>) {
        self.extra(id, Field::BidExtra, 32, average, out);
    }

    #[inline]
    fn channel_of(&self, id: u64) -> Channel {
        if self.dice.below(id, Field::ChannelHot, 2) > 0 {
            Channel::Hot(self.dice.below(id, Field::Channel, HOT_CHANNELS.len() as u64))
        } else {
            Channel::Cold(self.dice.below(id, Field::Channel, COLD_CHANNELS))
        }
    }

    /// Appends filler so that an event of `current` bytes gets `average` bytes, give or take a fifth of what is added.
    #[inline]
    fn extra(&self, id: u64, field: Field, current: u64, average: u64, out: &mut Vec<u8>) {
        if current > average {
            return;
        }
        let wanted = average - current;
        let delta = (wanted * 2 + 5) / 10;
        let bits = self.dice.roll(id, field);
        let length = (wanted - delta + scale(bits, 2 * delta)) as usize;
        let places = self.filler.len().saturating_sub(length) as u64;
        // The low bits are independent of the high ones, which chose the length.
        let start = scale(bits.rotate_left(32), places) as usize;
        out.extend_from_slice(self.filler.get(start..start + length).unwrap_or_default());
    }
}

/// One mebibyte of text: six letters from each 32-bit number by repeated division by 26, counted from `a`. Negative numbers count
/// downwards, so half of the text lies in `H` to `a`, backslashes included: what decoders and `count 'c'` meet in the original.
fn filler(rolls: &mut Rolls) -> Vec<u8> {
    let mut text = Vec::with_capacity(FILLER_BYTES + 6);
    while text.len() < FILLER_BYTES {
        let mut number = rolls.next() as i32;
        for _ in 0..6 {
            text.push((i32::from(b'a') + number % 26) as u8);
            number /= 26;
        }
    }
    text.truncate(FILLER_BYTES);
    text
}

fn base_url(rolls: &mut Rolls) -> Vec<u8> {
    let mut url = b"https://www.nexmark.com/".to_vec();
    for _ in 0..3 {
        push_string(rolls, 5, b'_', &mut url);
        url.push(b'/');
    }
    url.extend_from_slice(b"item.htm?query=1");
    url
}

#[inline]
fn push_one(choices: &[&str], bits: u64, out: &mut Vec<u8>) {
    push_one_at(choices, scale(bits, choices.len() as u64), out);
}

#[inline]
fn push_one_at(choices: &[&str], at: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(choices.get(at as usize).copied().unwrap_or_default().as_bytes());
}

/// A string of 3 to `max - 1` characters: one in 13 is `special`, the others are a to z; then spaces are trimmed off both ends.
#[inline]
fn push_string(rolls: &mut Rolls, max: u64, special: u8, out: &mut Vec<u8>) {
    let length = (3 + rolls.below(max - 3)) as usize;
    let mut text = [0; DESCRIPTION_MAX as usize];
    let text = text.get_mut(..length).unwrap_or_default();
    for four in text.chunks_mut(4) {
        let bits = rolls.next();
        for (lane, char) in four.iter_mut().enumerate() {
            let place = (((bits >> (16 * lane)) & 0xFFFF) * (13 * 26)) >> 16;
            *char = if place < 26 { special } else { b'a' + (place % 26) as u8 };
        }
    }
    out.extend_from_slice(text.trim_ascii());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&Texts, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&Texts::new(Dice::new(0)), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn urls_have_three_directories_and_known_channel_ids() {
        let texts = Texts::new(Dice::new(0));
        assert_eq!((texts.hot_urls.len(), texts.cold_urls.len()), (4, 10_000));
        let mut with_id = 0;
        for (number, url) in texts.cold_urls.iter().enumerate() {
            let url = std::str::from_utf8(url).unwrap();
            let parts: Vec<&str> = url.split('/').collect();
            assert_eq!((parts.len(), parts[2]), (7, "www.nexmark.com"));
            assert!(parts[3..6].iter().all(|part| (3..=4).contains(&part.len())), "{url}");
            let id = parts[6].strip_prefix("item.htm?query=1").unwrap();
            if !id.is_empty() {
                with_id += 1;
                let expected = i64::from((number as i32).reverse_bits()).abs();
                let expected = if number == 1 { -expected } else { expected };
                assert_eq!(id, format!("&channel_id={expected}"));
            }
        }
        assert!((8_900..9_100).contains(&with_id), "{with_id}");
        assert!(texts.hot_urls.iter().all(|url| url.ends_with(b"query=1")));
    }

    #[test]
    fn filler_is_half_lower_case_with_one_backslash_in_52() {
        let texts = Texts::new(Dice::new(7));
        let share =
            |keep: fn(u8) -> bool| texts.filler.iter().filter(|byte| keep(**byte)).count() as f64 / FILLER_BYTES as f64;
        assert!((share(|byte| byte == b'\\') - 0.019).abs() < 0.002);
        assert!((share(|byte| byte == b'c') - 1.0 / 52.0).abs() < 0.002);
        assert!(texts.filler.iter().all(|byte| (b'H'..=b'z').contains(byte)));
        assert_eq!(texts.filler.len(), FILLER_BYTES);
    }

    #[test]
    fn strings_are_trimmed_and_within_bounds() {
        let mut rolls = Dice::new(3).rolls(0, Field::Table);
        let (mut longest, mut specials, mut total) = (0, 0, 0);
        for _ in 0..10_000 {
            let mut out = Vec::new();
            push_string(&mut rolls, 20, b' ', &mut out);
            assert_eq!(out, out.trim_ascii());
            longest = longest.max(out.len());
            let mut marked = Vec::new();
            push_string(&mut rolls, 20, b'_', &mut marked);
            specials += marked.iter().filter(|byte| **byte == b'_').count();
            total += marked.len();
        }
        assert_eq!(longest, 19);
        assert!((specials as f64 / total as f64 - 1.0 / 13.0).abs() < 0.005);
    }

    #[test]
    fn fixed_shapes() {
        let card = text(|texts, out| texts.credit_card(5, out));
        assert_eq!((card.len(), card.split(' ').count()), (19, 4));
        assert!(text(|texts, out| texts.email(5, out)).ends_with(".com"));
        assert_eq!(text(|texts, out| texts.bid_extra(5, 31, out)), "");
        assert_eq!(text(|texts, out| texts.bid_extra(5, 32, out)), "");
        assert_eq!(text(|texts, out| texts.bid_extra(5, 16 * 1024, out)).len() / 4096, 3);
    }
}
