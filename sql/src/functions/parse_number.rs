//! Text to BOOLEAN, whole numbers and DECIMAL, with Flink's rules. Called by [`cast`](super::cast) with trimmed text.

/// `true`, `t`, `yes`, `y`, `1` and their opposites, in any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 5]| words.iter().any(|w| text.eq_ignore_ascii_case(w));
    match text {
        _ if is(["true", "t", "yes", "y", "1"]) => Some(true),
        _ if is(["false", "f", "no", "n", "0"]) => Some(false),
        _ => None,
    }
}

/// The sign and what follows it.
fn sign(text: &str) -> (i128, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// A whole number; digits behind a point are cut off.
pub(super) fn whole(text: &str) -> Option<i64> {
    let (sign, digits) = sign(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let value: i128 = whole.parse().ok()?;
    i64::try_from(sign * value).ok()
}

/// Digits that are read; more of them round nothing.
const DIGITS: usize = 38;

/// A number as DECIMAL(precision, scale), halves rounded away from zero; `None` also if it does not fit.
pub(super) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (sign, unsigned) = sign(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let kept = &fraction[..fraction.len().min(DIGITS.saturating_sub(whole.len()))];
    let digits = format!("{whole}{kept}");
    let value: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let shift = i32::from(scale).checked_add(exponent)?.checked_sub(i32::try_from(kept.len()).ok()?)?;
    let power = |n: u32| 10i128.checked_pow(n);
    let scaled = match (value, shift) {
        (0, _) => 0,
        (_, 0..) => value.checked_mul(power(shift.unsigned_abs())?)?,
        _ => match power(shift.unsigned_abs()) {
            Some(by) => value / by + i128::from(value % by >= by - value % by),
            None => 0,
        },
    };
    (scaled < power(u32::from(precision))?).then_some(sign * scaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_at_the_edges() {
        let nines = "9".repeat(38);
        assert_eq!(decimal(&nines, 38, 0), Some(10i128.pow(38) - 1));
        assert_eq!(decimal(&format!("{nines}.5"), 38, 0), Some(10i128.pow(38) - 1), "a digit too many is not read");
        assert_eq!(decimal(&format!("0.{}", "0".repeat(60)), 38, 38), Some(0));
        assert_eq!(
            (decimal("1e40", 38, 0), decimal("1e-60", 38, 2), decimal("1e2147483647", 38, 2)),
            (None, Some(0), None)
        );
        assert_eq!(
            (decimal("", 5, 2), decimal(".", 5, 2), decimal(".5", 5, 0), decimal("-5.", 5, 0)),
            (None, None, Some(1), Some(-5))
        );
        assert_eq!(
            (decimal("0.4999999999", 5, 0), decimal("1-1", 5, 0), decimal("0e99999999999", 5, 0)),
            (Some(0), None, None)
        );
    }
}
