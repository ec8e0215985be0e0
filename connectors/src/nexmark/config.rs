//! The settings of a Nexmark table: names, defaults, limits. Filled by the planner from `WITH (..)`, checked once, then only read.

use crate::format::datetime;
use arrow::datatypes::TimeUnit;
use std::str::FromStr;

/// The most events that one table can have; also the meaning of `events.num` = 0. Ids and times stay far from overflow.
pub const MAX_EVENTS: u64 = i64::MAX as u64 / (50 * 500);

/// The largest average size of an event, in bytes.
const MAX_AVG_SIZE_BYTES: u64 = 16 * 1024;

/// The largest proportion, ratio or population.
const MAX_COUNT: u64 = 1_000_000;

/// A group of events is shuffled by multiplying with this prime; a group size that contains it would repeat events.
pub(super) const SHUFFLE_FACTOR: u64 = 953;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such option.
    #[error("unknown nexmark option `{0}`")]
    Unknown(String),
    /// The value is no value of this option.
    #[error("option `{option}`: `{value}` is not {expected}")]
    Invalid {
        /// The option's name.
        option: &'static str,
        /// What was given.
        value: String,
        /// What the option takes.
        expected: String,
    },
}

/// The options that [`NexmarkConfig::set`] knows, with what they mean and their defaults.
pub const OPTIONS: &[(&str, &str)] = &[
    ("first-event.rate", "events per second of event time (10000)"),
    ("next-event.rate", "accepted for compatibility, without effect (10000)"),
    ("events.num", "how many events, 0 = no end (0)"),
    ("person.proportion", "persons in each run of the event pattern (1)"),
    ("auction.proportion", "auctions in each run of the event pattern (3)"),
    ("bid.proportion", "bids in each run of the event pattern (46)"),
    ("person.avg-size", "average size of a person, sets the length of `extra` (200 bytes)"),
    ("auction.avg-size", "average size of an auction, sets the length of `extra` (500 bytes)"),
    ("bid.avg-size", "average size of a bid, sets the length of `extra` (100 bytes)"),
    ("bid.hot-ratio.auctions", "of this many bids all but one go to the hot auction (2)"),
    ("bid.hot-ratio.bidders", "of this many bids all but one come from the hot bidder (4)"),
    ("auction.hot-ratio.sellers", "of this many auctions all but one come from the hot seller (4)"),
    ("auction.in-flight", "auctions that bids can still name (100)"),
    ("person.active", "persons that bid and sell at one time (1000)"),
    ("out-of-order-group-size", "events shuffled among each other in event time, 1 = ordered (1)"),
    ("bidder.double-offset", "add the first person id twice to the bidder, as the original generator does (false)"),
    ("seed", "chooses the random values (0)"),
    ("rows-per-second", "how many events the whole table gives per second of the wall clock, 0 = no limit (0)"),
    ("base-time", "event time of event number 0, `yyyy-MM-dd HH:mm:ss[.SSS]` UTC (2026-01-01 00:00:00)"),
];

/// The settings of a Nexmark table. Build from [`Default`] by [`set`](Self::set) or by field, then [`validate`](Self::validate).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NexmarkConfig {
    /// Events per second of event time.
    pub first_event_rate: u64,
    /// Without effect, as in the original.
    pub next_event_rate: u64,
    /// How many events there are; 0 = [`MAX_EVENTS`].
    pub events_num: u64,
    /// Persons in each run of the event pattern.
    pub person_proportion: u64,
    /// Auctions in each run of the event pattern.
    pub auction_proportion: u64,
    /// Bids in each run of the event pattern.
    pub bid_proportion: u64,
    /// Average size of a person in bytes.
    pub person_avg_size_bytes: u64,
    /// Average size of an auction in bytes.
    pub auction_avg_size_bytes: u64,
    /// Average size of a bid in bytes.
    pub bid_avg_size_bytes: u64,
    /// Of this many bids all but one go to the hot auction.
    pub hot_auction_ratio: u64,
    /// Of this many bids all but one come from the hot bidder.
    pub hot_bidder_ratio: u64,
    /// Of this many auctions all but one come from the hot seller.
    pub hot_seller_ratio: u64,
    /// Auctions that bids can still name.
    pub in_flight_auctions: u64,
    /// Persons that bid and sell at one time.
    pub active_people: u64,
    /// Events shuffled among each other in event time; 1 = ordered.
    pub out_of_order_group_size: u64,
    /// Add the first person id twice to the bidder.
    pub bidder_double_offset: bool,
    /// Chooses the random values.
    pub seed: u64,
    /// Event time of event number 0, ms since 1970-01-01 UTC.
    pub base_time_ms: i64,
    /// How many events the whole table gives per second of the wall clock; 0 = no limit. Changes no row, so a job may be resumed
    /// with another limit.
    #[serde(skip)]
    pub rows_per_second: u64,
}

impl Default for NexmarkConfig {
    fn default() -> Self {
        Self {
            first_event_rate: 10_000,
            next_event_rate: 10_000,
            events_num: 0,
            person_proportion: 1,
            auction_proportion: 3,
            bid_proportion: 46,
            person_avg_size_bytes: 200,
            auction_avg_size_bytes: 500,
            bid_avg_size_bytes: 100,
            hot_auction_ratio: 2,
            hot_bidder_ratio: 4,
            hot_seller_ratio: 4,
            in_flight_auctions: 100,
            active_people: 1_000,
            out_of_order_group_size: 1,
            bidder_double_offset: false,
            seed: 0,
            base_time_ms: 1_767_225_600_000,
            rows_per_second: 0,
        }
    }
}

impl NexmarkConfig {
    /// Sets the option of that name from text, and checks its limits.
    ///
    /// # Errors
    /// If there is no such option, or the value is none of it.
    pub fn set(&mut self, option: &str, value: &str) -> Result<(), ConfigError> {
        let Some((option, _)) = OPTIONS.iter().find(|(name, _)| *name == option) else {
            return Err(ConfigError::Unknown(option.to_owned()));
        };
        match *option {
            "bidder.double-offset" => self.bidder_double_offset = parse(option, value, "true or false")?,
            "base-time" => {
                let expected = "a time such as `2026-01-01 00:00:00`, in the years 1970 to 9999";
                let parsed = datetime::parse_timestamp(value.as_bytes(), TimeUnit::Millisecond);
                self.base_time_ms = parsed.ok_or_else(|| invalid(option, value, expected))?;
            }
            "person.avg-size" => self.person_avg_size_bytes = parse_size(option, value)?,
            "auction.avg-size" => self.auction_avg_size_bytes = parse_size(option, value)?,
            "bid.avg-size" => self.bid_avg_size_bytes = parse_size(option, value)?,
            "seed" => self.seed = parse(option, value, "a whole number from 0 on")?,
            _ => {
                let number = parse(option, value, "a whole number from 0 on")?;
                if let Some((_, field, _)) = self.numbers_mut().into_iter().find(|(name, ..)| name == option) {
                    *field = number;
                }
            }
        }
        self.check(Some(option))
    }

    /// Checks every limit.
    ///
    /// # Errors
    /// If a value is outside its limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check(None)
    }

    /// How many events the table has.
    #[must_use]
    pub fn events(&self) -> u64 {
        if self.events_num == 0 { MAX_EVENTS } else { self.events_num.min(MAX_EVENTS) }
    }

    /// Events in each run of the pattern: persons first, then auctions, then bids.
    pub(super) fn total_proportion(&self) -> u64 {
        self.person_proportion + self.auction_proportion + self.bid_proportion
    }

    /// Every numeric option with its field and limits: one list for setting and checking.
    fn numbers_mut(&mut self) -> [(&'static str, &mut u64, (u64, u64)); 16] {
        [
            ("first-event.rate", &mut self.first_event_rate, (1, 1_000_000_000)),
            ("next-event.rate", &mut self.next_event_rate, (1, 1_000_000_000)),
            ("events.num", &mut self.events_num, (0, MAX_EVENTS)),
            ("person.proportion", &mut self.person_proportion, (1, MAX_COUNT)),
            ("auction.proportion", &mut self.auction_proportion, (1, MAX_COUNT)),
            ("bid.proportion", &mut self.bid_proportion, (0, MAX_COUNT)),
            ("person.avg-size", &mut self.person_avg_size_bytes, (0, MAX_AVG_SIZE_BYTES)),
            ("auction.avg-size", &mut self.auction_avg_size_bytes, (0, MAX_AVG_SIZE_BYTES)),
            ("bid.avg-size", &mut self.bid_avg_size_bytes, (0, MAX_AVG_SIZE_BYTES)),
            ("bid.hot-ratio.auctions", &mut self.hot_auction_ratio, (1, MAX_COUNT)),
            ("bid.hot-ratio.bidders", &mut self.hot_bidder_ratio, (1, MAX_COUNT)),
            ("auction.hot-ratio.sellers", &mut self.hot_seller_ratio, (1, MAX_COUNT)),
            ("auction.in-flight", &mut self.in_flight_auctions, (1, MAX_COUNT)),
            ("person.active", &mut self.active_people, (1, MAX_COUNT)),
            ("rows-per-second", &mut self.rows_per_second, (0, 1_000_000_000)),
            ("out-of-order-group-size", &mut self.out_of_order_group_size, (1, MAX_COUNT)),
        ]
    }

    /// Checks the limits of one option, or of all.
    fn check(&self, only: Option<&str>) -> Result<(), ConfigError> {
        for (option, value, (low, high)) in self.clone().numbers_mut() {
            if only.is_none_or(|name| name == option) && !(low..=high).contains(value) {
                return Err(invalid(option, &value.to_string(), &format!("in {low}..={high}")));
            }
        }
        if self.out_of_order_group_size.is_multiple_of(SHUFFLE_FACTOR) {
            let expected = format!("free of the factor {SHUFFLE_FACTOR}, which shuffles a group");
            return Err(invalid("out-of-order-group-size", &self.out_of_order_group_size.to_string(), &expected));
        }
        let years = 0..=253_402_300_799_999;
        if !years.contains(&self.base_time_ms) {
            return Err(invalid("base-time", &self.base_time_ms.to_string(), "in the years 1970 to 9999"));
        }
        Ok(())
    }
}

fn invalid(option: &'static str, value: &str, expected: &str) -> ConfigError {
    ConfigError::Invalid { option, value: value.to_owned(), expected: expected.to_owned() }
}

fn parse<T: FromStr>(option: &'static str, value: &str, expected: &str) -> Result<T, ConfigError> {
    value.trim().parse().map_err(|_| invalid(option, value, expected))
}

/// Bytes, with an optional unit as Flink writes memory sizes: `200`, `200b`, `2kb`.
fn parse_size(option: &'static str, value: &str) -> Result<u64, ConfigError> {
    let text = value.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let factor = match text.get(digits.len()..).unwrap_or_default().trim() {
        "" | "b" | "bytes" => 1,
        "k" | "kb" | "kibibytes" => 1024,
        _ => return Err(invalid(option, value, "a size in bytes such as `200b`")),
    };
    let number: u64 = parse(option, digits, "a size in bytes such as `200b`")?;
    Ok(number.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_can_be_set_and_changes_the_settings() {
        for (option, _) in OPTIONS {
            let mut config = NexmarkConfig::default();
            let value = match *option {
                "bidder.double-offset" => "true",
                "base-time" => "2020-01-01 00:00:00.001",
                _ => "7",
            };
            config.set(option, value).unwrap();
            assert_ne!(config, NexmarkConfig::default(), "{option}");
            assert_eq!(config.validate(), Ok(()));
        }
        let mut config = NexmarkConfig::default();
        config.set("bid.avg-size", "2 KB").unwrap();
        config.set("base-time", "2026-01-01 00:00:00").unwrap();
        assert_eq!((config.bid_avg_size_bytes, config.base_time_ms), (2048, NexmarkConfig::default().base_time_ms));
    }

    #[test]
    fn wrong_values_are_refused_with_the_option_and_the_value() {
        for (option, value) in [
            ("first-event.rate", "0"),
            ("first-event.rate", "-1"),
            ("events.num", "99999999999999999999"),
            ("events.num", ""),
            ("person.proportion", "0"),
            ("auction.proportion", "1.5"),
            ("bid.avg-size", "1mb"),
            ("bid.avg-size", "big"),
            ("bid.avg-size", "20kb"),
            ("bid.avg-size", "99999999999999999kb"),
            ("bid.hot-ratio.auctions", "0"),
            ("person.active", "0"),
            ("out-of-order-group-size", "1906"),
            ("base-time", "now"),
            ("seed", "x"),
            ("base-time", "1969-12-31 23:59:59"),
            ("bidder.double-offset", "yes"),
            ("events.num", "1 000"),
        ] {
            let error = NexmarkConfig::default().set(option, value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("option `{option}`: `")), "{error}");
        }
        let error = NexmarkConfig::default().set("event.num", "1").unwrap_err();
        assert_eq!(error.to_string(), "unknown nexmark option `event.num`");
    }

    #[test]
    fn limits_also_hold_for_fields_set_directly() {
        let config = NexmarkConfig { in_flight_auctions: 0, ..NexmarkConfig::default() };
        assert_eq!(config.validate().unwrap_err().to_string(), "option `auction.in-flight`: `0` is not in 1..=1000000");
    }
}
