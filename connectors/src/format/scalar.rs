//! Text to numbers, booleans and bytes, exactly: what does not fit is refused, never clipped. For JSON and CSV alike.

use std::str::FromStr;

/// Reads a whole number: an optional sign and digits, within the range of the type.
pub(super) fn parse_integer<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads a number with optional fraction and exponent, or `NaN`, `Infinity`, `-Infinity`. A finite text that is too large for the
/// type is refused.
pub(super) fn parse_float<T: FromStr + Into<f64> + Copy>(text: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(text).ok()?;
    // The library also takes `inf`, `nan` and `infinity` in any case.
    let named = matches!(text, "NaN" | "Infinity" | "-Infinity");
    let value: T = text.parse().ok()?;
    (named || value.into().is_finite()).then_some(value)
}

/// Reads `true` or `false` in any case.
pub(super) fn parse_bool(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// Reads a number with fraction or exponent that is whole all the same: `1.0`, `1e3`.
pub(super) fn parse_whole(text: &[u8]) -> Option<i64> {
    let (_, whole, fraction, exponent) = split_number(text)?;
    let zeros = fraction.iter().rev().chain(whole.iter().rev()).take_while(|byte| **byte == b'0').count();
    let digits = whole.len() + fraction.len() - zeros;
    // Nothing may be left behind the point.
    if digits > 0 && digits as i64 > whole.len() as i64 + exponent {
        return None;
    }
    parse_decimal(text, MAX_PRECISION, 0).and_then(|value| i64::try_from(value).ok())
}

/// Sign, digits before and behind the point, and exponent.
fn split_number(text: &[u8]) -> Option<(bool, &[u8], &[u8], i64)> {
    let (negative, rest) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (rest.get(..at)?, parse_exponent(rest.get(at + 1..)?)?),
        None => (rest, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(at) => (mantissa.get(..at)?, mantissa.get(at + 1..)?),
        None => (mantissa, [].as_slice()),
    };
    Some((negative, whole, fraction, exponent))
}

/// The largest number of digits that 128 bits hold.
const MAX_PRECISION: u8 = 38;

/// Reads a number as a decimal of that precision and scale. Digits beyond the scale are rounded half up (away from zero); a number
/// that needs more digits than the precision is refused.
pub(crate) fn parse_decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let (negative, whole, fraction, exponent) = split_number(text)?;
    let digits = || whole.iter().chain(fraction);
    if whole.len() + fraction.len() == 0 || !digits().all(u8::is_ascii_digit) {
        return None;
    }
    let leading = digits().take_while(|byte| **byte == b'0').count();
    let significant = whole.len() + fraction.len() - leading;
    if significant == 0 {
        return Some(0);
    }
    // How many significant digits stand before the last place that is kept.
    let kept = whole.len() as i64 - leading as i64 + exponent + i64::from(scale);
    if kept > i64::from(MAX_PRECISION) {
        return None;
    }
    let digit_at = |place: i64| {
        let place = usize::try_from(place).ok()?;
        digits().nth(leading + place).map(|byte| i128::from(byte - b'0'))
    };
    let mut value = 0_i128;
    for place in 0..kept {
        value = value.checked_mul(10)?.checked_add(digit_at(place).unwrap_or(0))?;
    }
    value += i128::from(kept >= 0 && digit_at(kept).is_some_and(|digit| digit >= 5));
    let limit = 10_i128.checked_pow(u32::from(precision.min(MAX_PRECISION)))?;
    (value < limit).then_some(if negative { -value } else { value })
}

/// A decimal exponent, clipped to where every number is zero or too large anyway.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let clipped = digits.iter().fold(0, |sum: i64, byte| (sum * 10 + i64::from(byte - b'0')).min(1 << 40));
    Some(if negative { -clipped } else { clipped })
}

/// Appends a whole number.
pub(super) fn push_integer(value: i128, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    push_digits(value.unsigned_abs(), 1, out);
}

/// Appends digits, with zeros in front up to `least` of them.
fn push_digits(value: u128, least: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 40];
    let mut count = 0;
    let mut push = |digit: u64| {
        if let Some(place) = digits.iter_mut().nth_back(count) {
            *place = b'0' + digit as u8;
        }
        count += 1;
    };
    let mut rest = value;
    while rest > u128::from(u64::MAX) {
        push((rest % 10) as u64);
        rest /= 10;
    }
    let mut rest = rest as u64;
    while rest > 0 {
        push(rest % 10);
        rest /= 10;
    }
    out.resize(out.len() + least.saturating_sub(digits.len()), b'0');
    out.extend(digits.iter().skip(digits.len().saturating_sub(count.max(least))));
}

/// Appends a decimal as a plain number, with all digits of its scale.
pub(super) fn push_decimal(value: i128, scale: i8, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let digits = value.unsigned_abs();
    let places = usize::from(scale.unsigned_abs());
    if scale > 0 {
        let start = out.len();
        push_digits(digits, places + 1, out);
        let point = out.len().saturating_sub(places).max(start);
        out.insert(point, b'.');
    } else {
        push_digits(digits, 1, out);
        if digits > 0 {
            out.resize(out.len() + places, b'0');
        }
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the bytes that a base64 text (RFC 4648, padded) stands for. On `None` some bytes may have been appended.
pub(super) fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (groups, rest) = text.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let last = groups.len().saturating_sub(1);
    for (at, group) in groups.iter().enumerate() {
        let padding = if at == last { group.iter().rev().take_while(|byte| **byte == b'=').count() } else { 0 };
        if padding > 2 {
            return None;
        }
        let mut bits = 0_u32;
        for (place, byte) in group.iter().enumerate() {
            bits = bits << 6 | if place >= 4 - padding { 0 } else { base64_value(*byte)? };
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        let (kept, cut) = bytes.split_at_checked(3 - padding)?;
        if cut.iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(kept);
    }
    Some(())
}

fn base64_value(byte: u8) -> Option<u32> {
    match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Appends `bytes` as base64 text (RFC 4648, padded).
pub(super) fn encode_base64(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let value = bits >> (18 - 6 * place) & 63;
            let symbol = BASE64.get(value as usize).copied().unwrap_or(b'=');
            out.push(if place > group.len() { b'=' } else { symbol });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::{ArrayFormatter, FormatOptions};

    #[test]
    fn integers_hold_to_the_edge_of_their_type() {
        assert_eq!(parse_integer::<i64>(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_integer::<i64>(b"9223372036854775808"), None);
        assert_eq!(parse_integer::<i8>(b"128"), None);
        for text in ["", "-", "1e3", "1.0", " 1", "0x1", "1_000", "\u{ff11}"] {
            assert_eq!(parse_integer::<i64>(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn whole_numbers_may_have_a_fraction_of_zeros() {
        for (text, expected) in [
            ("1.0", Some(1)),
            ("-1.000", Some(-1)),
            ("0.0", Some(0)),
            ("-0.0e-5", Some(0)),
            ("1e3", Some(1_000)),
            ("1.5e1", Some(15)),
            ("1500e-2", Some(15)),
            ("9223372036854775807.0", Some(i64::MAX)),
            ("-9223372036854775808.0", Some(i64::MIN)),
            ("9223372036854775808.0", None),
            ("1.5", None),
            ("0.9999999999999999999999999999999999999999", None),
            ("1.0000000000000000000000000000000000000000000000001", None),
            ("15e-1", None),
            ("1e-1", None),
            ("1e19", None),
            ("1e999999999999999999", None),
            ("1.0.0", None),
            ("", None),
        ] {
            assert_eq!(parse_whole(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn floats_are_exact_and_finite_unless_named() {
        assert_eq!(parse_float::<f64>(b"0.1"), Some(0.1));
        assert_eq!(parse_float::<f64>(b"-Infinity"), Some(f64::NEG_INFINITY));
        assert!(parse_float::<f64>(b"NaN").unwrap().is_nan());
        for text in ["1e999", "inf", "nan", "infinity", "", "1x"] {
            assert_eq!(parse_float::<f64>(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_float::<f32>(b"1e39"), None);
    }

    #[test]
    fn decimals_round_half_up_and_refuse_what_does_not_fit() {
        for (text, precision, scale, expected) in [
            ("1", 5, 2, Some(100)),
            ("1.005", 5, 2, Some(101)),
            ("-1.005", 5, 2, Some(-101)),
            ("1.0049", 5, 2, Some(100)),
            ("999.99", 5, 2, Some(99_999)),
            ("999.995", 5, 2, None),
            ("1000", 5, 2, None),
            ("0.004", 5, 2, Some(0)),
            ("0.005", 5, 2, Some(1)),
            ("0.05e-1", 5, 2, Some(1)),
            ("1e2", 5, 2, Some(10_000)),
            ("1E+2", 5, 2, Some(10_000)),
            ("12345e-4", 5, 2, Some(123)),
            ("000001.50", 5, 2, Some(150)),
            (".5", 5, 2, Some(50)),
            ("5.", 5, 2, Some(500)),
            ("1e999999999999999999999", 5, 2, None),
            ("1e-999999999999999999999", 5, 2, Some(0)),
            ("0e999999999999999999999", 5, 2, Some(0)),
            ("-0", 5, 2, Some(0)),
            ("1250", 5, -2, Some(13)),
            ("0.0000000000000000000000000000000000000000000000001", 38, 38, Some(0)),
            ("99999999999999999999999999999999999999", 38, 0, Some(10_i128.pow(38) - 1)),
            ("99999999999999999999999999999999999999.5", 38, 0, None),
            ("", 5, 2, None),
            ("-", 5, 2, None),
            (".", 5, 2, None),
            ("e5", 5, 2, None),
            ("1e", 5, 2, None),
            ("1.2.3", 5, 2, None),
            ("1 ", 5, 2, None),
            ("NaN", 5, 2, None),
            ("--1", 5, 2, None),
        ] {
            assert_eq!(parse_decimal(text.as_bytes(), precision, scale), expected, "{text}");
        }
    }

    #[test]
    fn decimals_agree_with_their_printed_form() {
        use arrow::array::Decimal128Array;
        let values: Vec<i128> =
            (0..100).map(|at| (i128::MAX / 7_919).wrapping_mul(at * at - 40) % 10_i128.pow(38)).collect();
        let array = Decimal128Array::from(values.clone()).with_precision_and_scale(38, 9).unwrap();
        let options = FormatOptions::new();
        let printed = ArrayFormatter::try_new(&array, &options).unwrap();
        for (row, value) in values.iter().enumerate() {
            let text = printed.value(row).to_string();
            assert_eq!(parse_decimal(text.as_bytes(), 38, 9), Some(*value), "{text}");
        }
    }

    #[test]
    fn base64_is_inverse_and_strict() {
        let decode = |text: &str| {
            let mut out = Vec::new();
            decode_base64(text.as_bytes(), &mut out).map(|()| out)
        };
        for length in 0..50_u8 {
            let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(97).wrapping_add(200)).collect();
            let mut text = Vec::new();
            encode_base64(&bytes, &mut text);
            assert_eq!(decode(std::str::from_utf8(&text).unwrap()), Some(bytes));
        }
        assert_eq!(decode("aGk="), Some(b"hi".to_vec()));
        for text in ["a", "aGk", "aGl=", "aG==k===", "a===", "====", "aG k", "aGk=aGk=", "aGk_"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
