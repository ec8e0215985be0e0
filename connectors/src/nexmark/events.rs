//! The arithmetic of the event stream: from an event's index to its id, type and time, and to the entities that are hot, active
//! or in flight at that point. No randomness but the draws it is handed; no I/O.
//!
//! Invariants
//! - E1 `event(index)` depends on the settings and `index` alone.
//! - E2 over any whole group of the out-of-order size, the ids are a permutation of consecutive numbers.

use super::config::{NexmarkConfig, SHUFFLE_FACTOR};
use super::dice::{Dice, Field};

/// Ids of persons and auctions start here.
const FIRST_ENTITY_ID: u64 = 1_000;
/// Categories of auctions start here.
const FIRST_CATEGORY_ID: u64 = 10;
const CATEGORIES: u64 = 5;
/// How far references may run ahead of the entities that exist.
const ENTITY_ID_LEAD: u64 = 10;
/// The hot entity changes once per so many.
const HOT_BATCH: u64 = 100;
/// Event numbers and ids start here, as in the factory of the original.
const FIRST_EVENT: u64 = 1;

/// What an event is; the value of the column `event_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Person = 0,
    Auction = 1,
    Bid = 2,
}

/// One event, before any of its columns is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// Globally unique; drives type, keys and draws.
    pub(super) id: u64,
    /// Event time, ms since 1970.
    pub(super) time_ms: i64,
    /// Base-0 number of the newest person.
    last_person: u64,
    /// Base-0 number of the newest auction.
    last_auction: u64,
    pub(super) kind: Kind,
}

/// The stream of one table.
#[derive(Debug, Clone)]
pub(super) struct Events {
    config: NexmarkConfig,
    total: u64,
    delay_us: f64,
    /// How many event numbers pass while the auctions in flight are made.
    horizon: u64,
    prices: Prices,
}

impl Events {
    pub(super) fn new(config: NexmarkConfig) -> Self {
        let total = config.total_proportion();
        Self {
            total,
            delay_us: 1_000_000.0 / config.first_event_rate as f64,
            horizon: config.in_flight_auctions * total / config.auction_proportion,
            prices: Prices::new(),
            config,
        }
    }

    pub(super) fn event(&self, index: u64) -> Event {
        let adjusted = self.adjusted(FIRST_EVENT + index);
        let id = FIRST_EVENT + adjusted;
        let (persons, auctions) = (self.config.person_proportion, self.config.auction_proportion);
        let (epoch, offset) = (id / self.total, id % self.total);
        let kind = match offset {
            offset if offset < persons => Kind::Person,
            offset if offset < persons + auctions => Kind::Auction,
            _ => Kind::Bid,
        };
        // While the persons of an epoch are made, the newest auction is the last of the epoch before.
        let auctions_so_far = match kind {
            Kind::Person => epoch * auctions,
            Kind::Auction => epoch * auctions + offset - persons + 1,
            Kind::Bid => (epoch + 1) * auctions,
        };
        Event {
            id,
            time_ms: self.time_ms(adjusted),
            last_person: epoch * persons + offset.min(persons - 1),
            last_auction: auctions_so_far.saturating_sub(1),
            kind,
        }
    }

    /// The event number after shuffling within its out-of-order group.
    fn adjusted(&self, number: u64) -> u64 {
        let group = self.config.out_of_order_group_size;
        if group == 1 { number } else { number / group * group + (number % group) * SHUFFLE_FACTOR % group }
    }

    fn time_ms(&self, number: u64) -> i64 {
        self.config.base_time_ms + (number as f64 * self.delay_us) as i64 / 1_000
    }

    pub(super) fn person_id(&self, event: &Event) -> i64 {
        (event.last_person + FIRST_ENTITY_ID) as i64
    }

    pub(super) fn auction_id(&self, event: &Event) -> i64 {
        (event.last_auction + FIRST_ENTITY_ID) as i64
    }

    pub(super) fn seller(&self, event: &Event, dice: &Dice) -> i64 {
        let hot = dice.below(event.id, Field::SellerHot, self.config.hot_seller_ratio) > 0;
        let base =
            if hot { event.last_person / HOT_BATCH * HOT_BATCH } else { self.any_person(event, dice, Field::Seller) };
        (base + FIRST_ENTITY_ID) as i64
    }

    pub(super) fn bid_auction(&self, event: &Event, dice: &Dice) -> i64 {
        let hot = dice.below(event.id, Field::BidAuctionHot, self.config.hot_auction_ratio) > 0;
        let base = if hot {
            event.last_auction / HOT_BATCH * HOT_BATCH
        } else {
            let oldest = event.last_auction.saturating_sub(self.config.in_flight_auctions);
            let eligible = event.last_auction - oldest + 1 + ENTITY_ID_LEAD;
            oldest + dice.below(event.id, Field::BidAuction, eligible)
        };
        (base + FIRST_ENTITY_ID) as i64
    }

    pub(super) fn bidder(&self, event: &Event, dice: &Dice) -> i64 {
        let hot = dice.below(event.id, Field::BidderHot, self.config.hot_bidder_ratio) > 0;
        let base = if hot {
            event.last_person / HOT_BATCH * HOT_BATCH + 1
        } else {
            self.any_person(event, dice, Field::Bidder)
        };
        let offsets = if self.config.bidder_double_offset { 2 } else { 1 };
        (base + offsets * FIRST_ENTITY_ID) as i64
    }

    fn any_person(&self, event: &Event, dice: &Dice, field: Field) -> u64 {
        let people = event.last_person + 1;
        let active = people.min(self.config.active_people);
        people - active + dice.below(event.id, field, active + ENTITY_ID_LEAD)
    }

    pub(super) fn category(&self, event: &Event, dice: &Dice) -> i64 {
        (FIRST_CATEGORY_ID + dice.below(event.id, Field::Category, CATEGORIES)) as i64
    }

    pub(super) fn price(&self, event: &Event, dice: &Dice, field: Field) -> i64 {
        self.prices.price(dice.roll(event.id, field))
    }

    /// When an auction closes, ms since 1970.
    pub(super) fn expires(&self, event: &Event, dice: &Dice) -> i64 {
        let horizon_ms = self.time_ms(event.id - FIRST_EVENT + self.horizon) - event.time_ms;
        let bound = (horizon_ms.unsigned_abs() * 2).max(1);
        event.time_ms + 1 + dice.below(event.id, Field::Length, bound) as i64
    }
}

/// Prices `round(10^(6u) * 100)` for a uniform `u`: log-uniform over 100 to 10^8.
///
/// Computed from a table and a short Taylor series, with additions and multiplications only, so that every platform agrees on
/// every price (library functions for powers do not).
#[derive(Debug, Clone)]
struct Prices {
    /// `100 * 10^(6 i / STEPS)`.
    table: Vec<f64>,
}

impl Prices {
    const STEP_BITS: u32 = 9;
    const STEPS: usize = 1 << Self::STEP_BITS;
    /// `6 ln 10 / STEPS`.
    const STEP: f64 = 6.0 * std::f64::consts::LN_10 / Self::STEPS as f64;

    fn new() -> Self {
        let factor = small_exp(Self::STEP);
        let table = std::iter::successors(Some(100.0), |value| Some(value * factor)).take(Self::STEPS).collect();
        Self { table }
    }

    fn price(&self, bits: u64) -> i64 {
        let step = (bits >> (64 - Self::STEP_BITS)) as usize;
        let rest = (bits << Self::STEP_BITS >> 11) as f64 / (1_u64 << 53) as f64;
        let base = self.table.get(step).copied().unwrap_or(100.0);
        (base * small_exp(rest * Self::STEP)).round() as i64
    }
}

/// `e^x` for `0 <= x < 0.03`, to 12 digits.
fn small_exp(x: f64) -> f64 {
    1.0 + x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_events() -> Events {
        Events::new(NexmarkConfig::default())
    }

    #[test]
    fn first_events_match_the_check_values() {
        let events = default_events();
        let first: Vec<Event> = (0..60).map(|index| events.event(index)).collect();
        assert_eq!(first[0].id, 2);
        let ids = |kind| -> Vec<(u64, i64)> {
            first
                .iter()
                .filter(|event| event.kind == kind)
                .map(|event| {
                    (event.id, if kind == Kind::Person { events.person_id(event) } else { events.auction_id(event) })
                })
                .collect()
        };
        assert_eq!(ids(Kind::Person), [(50, 1001)]);
        assert_eq!(ids(Kind::Auction), [(2, 1001), (3, 1002), (51, 1003), (52, 1004), (53, 1005)]);
        for event in first.iter().filter(|event| event.id < 50 && event.kind == Kind::Bid) {
            assert_eq!((event.last_auction, event.last_person), (2, 0), "bid {}", event.id);
        }
    }

    #[test]
    fn ids_types_and_times_of_1000_events_follow_the_rules() {
        let events = default_events();
        for index in 0..1_000 {
            let event = events.event(index);
            let number = index + 1;
            assert_eq!(event.id, number + 1);
            // 10 000 events/s: one each 100 us.
            assert_eq!(event.time_ms, 1_767_225_600_000 + number as i64 * 100 / 1_000);
            let expected = match event.id % 50 {
                0 => Kind::Person,
                1..=3 => Kind::Auction,
                _ => Kind::Bid,
            };
            assert_eq!(event.kind, expected);
            let (epoch, offset) = ((event.id / 50) as i64, (event.id % 50) as i64);
            let last_auction = match offset {
                0 => (epoch - 1) * 3 + 2,
                4.. => epoch * 3 + 2,
                _ => epoch * 3 + offset - 1,
            };
            assert_eq!((event.last_person as i64, event.last_auction as i64), (epoch, last_auction));
        }
    }

    #[test]
    fn a_million_events_hold_exact_shares() {
        let events = default_events();
        let mut counts = [0; 3];
        for index in 0..1_000_000 {
            counts[events.event(index).kind as usize] += 1;
        }
        assert_eq!(counts, [20_000, 60_000, 920_000]);
    }

    #[test]
    fn out_of_order_groups_are_permutations() {
        for group in [3, 50, 954, 1_000] {
            let config = NexmarkConfig { out_of_order_group_size: group, ..NexmarkConfig::default() };
            let events = Events::new(config);
            // Number `group` (index group - 1) starts the first whole group.
            let mut ids: Vec<u64> = (group - 1..2 * group - 1).map(|index| events.event(index).id).collect();
            assert!(ids.windows(2).any(|pair| pair[0] > pair[1]));
            ids.sort_unstable();
            assert_eq!(ids, (group + 1..2 * group + 1).collect::<Vec<_>>());
        }
    }

    #[test]
    fn prices_are_powers_of_ten() {
        let prices = Prices::new();
        for step in 0..10_000_u64 {
            let bits = step * (u64::MAX / 10_000);
            let exact = (10_f64.powf(6.0 * (bits as f64 / 2_f64.powi(64))) * 100.0).round();
            assert!((prices.price(bits) as f64 - exact).abs() <= 1.0 + exact * 1e-9, "{bits}");
        }
        assert_eq!((prices.price(0), prices.price(u64::MAX)), (100, 100_000_000));
    }

    #[test]
    fn auctions_live_up_to_twice_the_horizon() {
        let events = default_events();
        let dice = Dice::new(0);
        let lengths: Vec<i64> = (0..100_000)
            .map(|index| events.event(index))
            .filter(|event| event.kind == Kind::Auction)
            .map(|event| events.expires(&event, &dice) - event.time_ms)
            .collect();
        assert!(lengths.iter().all(|length| (1..=334).contains(length)));
        assert!(lengths.iter().any(|length| *length < 5) && lengths.iter().any(|length| *length > 328));
    }

    #[test]
    fn the_last_event_at_the_lowest_rate_does_not_overflow() {
        let config =
            NexmarkConfig { first_event_rate: 1, base_time_ms: 253_402_300_799_999, ..NexmarkConfig::default() };
        let events = Events::new(config);
        let event = events.event(super::super::MAX_EVENTS - 1);
        assert!(events.expires(&event, &Dice::new(1)) > event.time_ms);
    }
}
