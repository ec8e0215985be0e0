//! Random draws as a pure function of seed and number, and how they become numbers within bounds. Called for every value.

/// 64 random bits: SplitMix64 (Steele, Lea, Flood 2014) at this place of the seed's sequence.
pub(super) fn draw(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A whole number from `min` to `max`, both included.
pub(super) fn whole(bits: u64, min: i64, max: i64) -> i64 {
    let width = u128::from(max.abs_diff(min)) + 1;
    min.wrapping_add_unsigned(((u128::from(bits) * width) >> 64) as u64)
}

/// As [`whole`], for bounds at most 2^127 apart.
pub(super) fn wide(bits: u128, min: i128, max: i128) -> i128 {
    min.wrapping_add_unsigned(high_product(bits, max.abs_diff(min).saturating_add(1)))
}

/// The upper half of the product.
fn high_product(a: u128, b: u128) -> u128 {
    let low = |n: u128| n & u128::from(u64::MAX);
    let (cross, other) = ((a >> 64) * low(b), low(a) * (b >> 64));
    let carry = ((low(a) * low(b)) >> 64) + low(cross) + low(other);
    (a >> 64) * (b >> 64) + (cross >> 64) + (other >> 64) + (carry >> 64)
}

/// A number from `min` to `max`; never overflows, however far they lie apart.
pub(super) fn real(bits: u64, min: f64, max: f64) -> f64 {
    let unit = (bits >> 11) as f64 / ((1u64 << 53) - 1) as f64;
    (min * (1.0 - unit) + max * unit).clamp(min, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_reached_and_kept() {
        for (min, max) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MAX), (i64::MIN, i64::MIN), (-2, 2), (-1, i64::MAX)] {
            assert_eq!((whole(0, min, max), whole(u64::MAX, min, max)), (min, max));
        }
        let limit = 10_i128.pow(38) - 1;
        for (min, max) in [(-limit, limit), (limit, limit), (0, 1)] {
            assert_eq!((wide(0, min, max), wide(u128::MAX, min, max)), (min, max));
        }
        for (min, max) in [(f64::MIN, f64::MAX), (0.1, 0.1), (-1.0, f64::MIN_POSITIVE)] {
            assert_eq!((real(0, min, max), real(u64::MAX, min, max)), (min, max));
            assert!((0..1_000).all(|n| (min..=max).contains(&real(draw(7, n), min, max))));
        }
    }

    #[test]
    fn wide_numbers_are_those_of_the_plain_product() {
        for n in 0..1_000 {
            let (a, b) = (draw(1, n), draw(2, n));
            assert_eq!(high_product(u128::from(a) << 64, u128::from(b)), (u128::from(a) * u128::from(b)) >> 64);
            let bits = (u128::from(a) << 64) | u128::from(b);
            // Against schoolbook multiplication in base 2^32.
            let bound = bits.rotate_left(29);
            assert_eq!(high_product(bits, bound), naive_high(bits, bound));
        }
    }

    fn naive_high(a: u128, b: u128) -> u128 {
        let limbs = |n: u128| [0, 32, 64, 96].map(|shift| (n >> shift) as u32 as u64);
        let mut out = [0_u64; 8];
        for (i, x) in limbs(a).into_iter().enumerate() {
            let mut carry = 0;
            for (j, y) in limbs(b).into_iter().enumerate() {
                let sum = out[i + j] + x * y + carry;
                (out[i + j], carry) = (sum & 0xFFFF_FFFF, sum >> 32);
            }
            out[i + 4] = carry;
        }
        out[4..].iter().rev().fold(0, |high, limb| (high << 32) | u128::from(*limb))
    }
}
