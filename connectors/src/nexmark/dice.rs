//! Random draws as a pure function of (seed, event id, field): what makes any slice of the stream reproducible on its own.
//!
//! Every (id, field) is one position of a SplitMix64 sequence (Steele, Lea, Flood: Fast splittable pseudorandom number
//! generators, 2014), whose start the seed chooses. Fields that need more than one draw run on from a scrambled position.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Positions per event; a power of two above the number of [`Field`]s.
const FIELDS: u64 = 32;

/// What a draw is for. Each has a position of its own, so leaving one out changes no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Field {
    Name,
    Email,
    CreditCard,
    City,
    State,
    PersonExtra,
    SellerHot,
    Seller,
    Category,
    InitialBid,
    Length,
    ItemName,
    Description,
    Reserve,
    AuctionExtra,
    BidAuctionHot,
    BidAuction,
    BidderHot,
    Bidder,
    Price,
    ChannelHot,
    Channel,
    BidExtra,
    /// The tables that a generator makes once, not an event's field.
    Table,
}

/// The draws of one seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dice {
    start: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { start: scramble(seed.wrapping_mul(GAMMA) ^ 0x5DEE_CE66_D1CE_4E5B) }
    }

    /// 64 random bits for this field of this event.
    #[inline]
    pub(super) fn roll(&self, id: u64, field: Field) -> u64 {
        let position = id.wrapping_mul(FIELDS).wrapping_add(field as u64);
        scramble(self.start.wrapping_add(position.wrapping_mul(GAMMA)))
    }

    /// A number in `0..bound` for this field of this event.
    #[inline]
    pub(super) fn below(&self, id: u64, field: Field, bound: u64) -> u64 {
        scale(self.roll(id, field), bound)
    }

    /// As many draws as wanted for this field of this event.
    #[inline]
    pub(super) fn rolls(&self, id: u64, field: Field) -> Rolls {
        Rolls { state: self.roll(id, field) }
    }
}

/// A sequence of draws.
#[derive(Debug, Clone)]
pub(super) struct Rolls {
    state: u64,
}

impl Rolls {
    #[inline]
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        scramble(self.state)
    }

    /// The next draw as a number in `0..bound`.
    #[inline]
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        scale(self.next(), bound)
    }
}

/// Maps 64 random bits to `0..bound` by multiplication (Lemire); 0 for a bound of 0.
#[inline]
pub(super) fn scale(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

#[inline]
fn scramble(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_uniform_over_ids_and_fields() {
        let dice = Dice::new(0);
        let mut counts = [0_i64; 16];
        for id in 0..100_000 {
            for field in [Field::Name, Field::Price, Field::BidExtra] {
                counts[dice.below(id, field, 16) as usize] += 1;
            }
        }
        // 18 750 each, standard deviation 133.
        assert!(counts.iter().all(|count| (count - 18_750).abs() < 600), "{counts:?}");
    }

    #[test]
    fn seeds_ids_and_fields_differ() {
        let roll = |seed, id, field| Dice::new(seed).roll(id, field);
        let all =
            [roll(0, 1, Field::Price), roll(1, 1, Field::Price), roll(0, 2, Field::Price), roll(0, 1, Field::Bidder)];
        for (at, value) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != value));
        }
        assert_eq!(roll(0, 1, Field::Price), all[0]);
    }

    #[test]
    fn bounds_hold_at_the_ends() {
        assert_eq!((scale(u64::MAX, 10), scale(0, 10), scale(u64::MAX, 0), scale(u64::MAX, 1)), (9, 0, 0, 0));
    }
}
