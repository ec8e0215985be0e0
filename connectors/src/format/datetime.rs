//! Dates, times and timestamps as text, for JSON, CSV and options: the proleptic Gregorian calendar. Years have four digits, or,
//! outside of 0000 to 9999 as the end of a window over the last hour of 9999, a sign and more: `+10000`. What is written can be
//! read, for every value of every unit.
//!
//! Reading takes `yyyy-MM-dd HH:mm[:ss[.f{1,9}]]` with a space or `T` between, and an optional zone `Z`, `+hh`, `+hhmm` or
//! `+hh:mm`; without a zone the text is UTC. Writing is always `yyyy-MM-dd HH:mm:ss` with the digits of the unit.
//! Every function works on bytes and allocates nothing.

use arrow::datatypes::TimeUnit;
use std::io::Write as _;

const SECONDS_PER_DAY: i64 = 86_400;

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar (Howard Hinnant's `days_from_civil`).
#[must_use]
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days from 1970-01-01.
#[must_use]
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// How many of `unit` make one second.
#[must_use]
pub fn units_per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// How many digits of a fraction of a second `unit` has.
fn fraction_digits(unit: TimeUnit) -> usize {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// What is left of a text that is being read.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        let mut value = 0;
        for byte in head {
            if !byte.is_ascii_digit() {
                return None;
            }
            value = value * 10 + i64::from(byte - b'0');
        }
        self.rest = rest;
        Some(value)
    }

    fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn date(&mut self) -> Option<i64> {
        let year = match self.rest.first() {
            Some(b'+' | b'-') => self.signed_year()?,
            _ => self.digits(4)?,
        };
        self.eat(b'-').then_some(())?;
        let month = self.digits(2)?;
        self.eat(b'-').then_some(())?;
        let day = self.digits(2)?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + i64::from(leap),
            1..=12 => 31,
            _ => return None,
        };
        (1..=last).contains(&day).then(|| days_from_civil(year, month, day))
    }

    /// Four to twelve digits behind a sign: more than 64 bits of seconds reach.
    #[cold]
    fn signed_year(&mut self) -> Option<i64> {
        let sign = if self.eat(b'-') { -1 } else { i64::from(self.eat(b'+')) };
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (4..=12).contains(&count).then_some(())?;
        Some(sign * self.digits(count)?)
    }

    /// Seconds of the day and nanoseconds of the second.
    fn time(&mut self) -> Option<(i64, i64)> {
        let hour = self.digits(2)?;
        self.eat(b':').then_some(())?;
        let minute = self.digits(2)?;
        let (mut second, mut nanos) = (0, 0);
        if self.eat(b':') {
            second = self.digits(2)?;
            if self.eat(b'.') {
                nanos = self.fraction()?;
            }
        }
        (hour < 24 && minute < 60 && second < 60).then_some((hour * 3_600 + minute * 60 + second, nanos))
    }

    /// One to nine digits after the point, as nanoseconds.
    fn fraction(&mut self) -> Option<i64> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&count) {
            return None;
        }
        let mut value = self.digits(count)?;
        for _ in count..9 {
            value *= 10;
        }
        Some(value)
    }

    /// Seconds east of UTC; 0 without a zone.
    fn zone(&mut self) -> Option<i64> {
        if self.rest.is_empty() || self.eat(b'Z') {
            return Some(0);
        }
        let sign = if self.eat(b'+') {
            1
        } else if self.eat(b'-') {
            -1
        } else {
            return None;
        };
        let hours = self.digits(2)?;
        let minutes = if self.rest.is_empty() {
            0
        } else {
            self.eat(b':');
            self.digits(2)?
        };
        (hours <= 18 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
    }
}

/// Reads `yyyy-MM-dd` as days from 1970-01-01.
#[must_use]
pub fn parse_date(text: &[u8]) -> Option<i32> {
    let mut reader = Reader { rest: text };
    let days = reader.date()?;
    if reader.rest.is_empty() { i32::try_from(days).ok() } else { None }
}

/// Reads `HH:mm[:ss[.f]]` as the time since midnight in `unit`; finer digits are cut off.
#[must_use]
pub fn parse_time(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let mut reader = Reader { rest: text };
    let (seconds, nanos) = reader.time()?;
    let scale = units_per_second(unit);
    reader.rest.is_empty().then_some(seconds * scale + nanos / (1_000_000_000 / scale))
}

/// Reads a timestamp as `unit`s since 1970-01-01 00:00 UTC; finer digits are cut off towards the past. `None` when the text is
/// no timestamp, or none that 64 bits can hold.
#[must_use]
pub fn parse_timestamp(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let mut reader = Reader { rest: text };
    let days = reader.date()?;
    if !(reader.eat(b' ') || reader.eat(b'T')) {
        return None;
    }
    let (seconds, nanos) = reader.time()?;
    let offset = reader.zone()?;
    if !reader.rest.is_empty() {
        return None;
    }
    let scale = units_per_second(unit);
    let fraction = nanos / (1_000_000_000 / scale);
    let near = days.checked_mul(SECONDS_PER_DAY).and_then(|start| start.checked_add(seconds - offset));
    if let Some(value) = near.and_then(|s| s.checked_mul(scale)).and_then(|units| units.checked_add(fraction)) {
        return Some(value);
    }
    // At the edges the start of the day or of the second may not fit where the time itself does.
    let seconds = i128::from(days) * i128::from(SECONDS_PER_DAY) + i128::from(seconds - offset);
    i64::try_from(seconds * i128::from(scale) + i128::from(fraction)).ok()
}

fn push_digits(out: &mut Vec<u8>, value: i64, count: usize) {
    let mut digits = [b'0'; 9];
    let mut rest = value;
    for digit in digits.iter_mut().rev().take(count) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend(digits.iter().skip(9 - count));
}

/// Writes days from 1970-01-01 as `yyyy-MM-dd`, a year outside of 0000 to 9999 with its sign.
pub fn write_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_from_days(days);
    match year {
        0..=9999 => push_digits(out, year, 4),
        // Writing to a vector does not fail.
        _ => drop(write!(out, "{year:+05}")),
    }
    out.push(b'-');
    push_digits(out, month, 2);
    out.push(b'-');
    push_digits(out, day, 2);
}

/// Writes a time since midnight as `HH:mm:ss` and the digits of `unit`. `None`, and nothing written, outside one day.
#[must_use]
pub fn write_time(out: &mut Vec<u8>, value: i64, unit: TimeUnit) -> Option<()> {
    let scale = units_per_second(unit);
    if !(0..SECONDS_PER_DAY * scale).contains(&value) {
        return None;
    }
    let (seconds, fraction) = (value / scale, value % scale);
    push_digits(out, seconds / 3_600, 2);
    out.push(b':');
    push_digits(out, seconds / 60 % 60, 2);
    out.push(b':');
    push_digits(out, seconds % 60, 2);
    if scale > 1 {
        out.push(b'.');
        push_digits(out, fraction, fraction_digits(unit));
    }
    Some(())
}

/// Writes a timestamp as `yyyy-MM-dd HH:mm:ss` and the digits of `unit`, a year outside of 0000 to 9999 with its sign.
pub fn write_timestamp(out: &mut Vec<u8>, value: i64, unit: TimeUnit) {
    let per_day = SECONDS_PER_DAY * units_per_second(unit);
    write_date(out, value.div_euclid(per_day));
    out.push(b' ');
    // The rest of a division by a day is within a day.
    let _ = write_time(out, value.rem_euclid(per_day), unit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Datelike, NaiveDate};

    #[test]
    fn calendar_agrees_with_chrono() {
        for days in (-719_528..2_932_897).step_by(17) {
            let date = NaiveDate::from_num_days_from_ce_opt(days + 719_163).unwrap();
            let expected = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
            assert_eq!(civil_from_days(i64::from(days)), expected);
            assert_eq!(days_from_civil(expected.0, expected.1, expected.2), i64::from(days));
        }
    }

    #[test]
    fn timestamps_are_read_in_every_spelling() {
        let millis = |text: &str| parse_timestamp(text.as_bytes(), TimeUnit::Millisecond);
        let expected = DateTime::parse_from_rfc3339("2026-02-28T23:59:58.125Z").unwrap().timestamp_millis();
        for text in [
            "2026-02-28 23:59:58.125",
            "2026-02-28T23:59:58.125Z",
            "2026-02-28 23:59:58.125999999",
            "2026-03-01T01:29:58.125+01:30",
            "2026-03-01T01:29:58.125+0130",
            "2026-02-28T15:59:58.125-08",
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        assert_eq!(millis("1969-12-31 23:59:59.999"), Some(-1));
        assert_eq!(millis("1970-01-01T00:01"), Some(60_000));
        assert_eq!(parse_timestamp(b"9999-12-31 23:59:59.999999999", TimeUnit::Nanosecond), None);
        assert_eq!(parse_timestamp(b"1969-12-31 23:59:59.9999999", TimeUnit::Microsecond), Some(-1));
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in [
            "",
            "2026",
            "2026-02-29 00:00:00",
            "2026-13-01 00:00:00",
            "2026-00-01 00:00:00",
            "2026-01-00 00:00:00",
            "2026-01-32 00:00:00",
            "2026-04-31 00:00:00",
            "2026-01-01",
            "2026-01-01 ",
            "2026-01-01x00:00:00",
            "2026-01-01 24:00:00",
            "2026-01-01 00:60:00",
            "2026-01-01 00:00:60",
            "2026-01-01 00:00:00.",
            "2026-01-01 00:00:00.1234567890",
            "2026-01-01 00:00:00 ",
            "2026-01-01 00:00:00+",
            "2026-01-01 00:00:00+19:00",
            "2026-01-01 00:00:00Z0",
            "1767225600000",
            "2026-1-1 00:00:00",
            " 2026-01-01 00:00:00",
            "-026-01-01 00:00:00",
            "+-2026-01-01 00:00:00",
            "+1000000000000-01-01 00:00:00",
            "10000-01-01 00:00:00",
        ] {
            assert_eq!(parse_timestamp(text.as_bytes(), TimeUnit::Millisecond), None, "{text}");
        }
        assert_eq!(parse_date(b"2024-02-29"), Some(19_782));
        assert_eq!(parse_date(b"2023-02-29"), None);
        for days in [i32::MIN, -719_529, 2_932_897, i32::MAX] {
            let mut out = Vec::new();
            write_date(&mut out, days.into());
            assert_eq!(parse_date(&out), Some(days), "{}", String::from_utf8_lossy(&out));
        }
        assert_eq!(parse_date(b"2023-02-28 "), None);
        assert_eq!(parse_time(b"23:59:59.5", TimeUnit::Second), Some(86_399));
        assert_eq!(parse_time(b"23:59:59.5", TimeUnit::Nanosecond), Some(86_399_500_000_000));
        assert_eq!(parse_time(b"24:00:00", TimeUnit::Second), None);
    }

    #[test]
    fn writing_and_reading_are_inverse() {
        for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            let scale = units_per_second(unit);
            for value in [-9_000_000_000 * scale, -1, 0, 1, 1_767_225_600 * scale + scale / 3, 9_000_000_000 * scale] {
                let mut out = Vec::new();
                write_timestamp(&mut out, value, unit);
                assert_eq!(parse_timestamp(&out, unit), Some(value));
            }
        }
        let mut out = Vec::new();
        write_timestamp(&mut out, 253_402_300_799_999, TimeUnit::Millisecond);
        assert_eq!(out, b"9999-12-31 23:59:59.999");
        assert_eq!(write_time(&mut out, 86_400, TimeUnit::Second), None);
        assert_eq!(out, b"9999-12-31 23:59:59.999");
    }

    #[test]
    fn years_of_more_digits_have_a_sign_as_at_the_terminal() {
        let days = [2_932_897i64, 3_000_000, -719_529, -1_000_000, 95_000_000];
        for value in days.map(|days| days * 86_400_000 + 1) {
            let mut out = Vec::new();
            write_timestamp(&mut out, value, TimeUnit::Millisecond);
            let expected = DateTime::from_timestamp_millis(value).unwrap().format("%Y-%m-%d %H:%M:%S%.3f").to_string();
            assert_eq!(parse_timestamp(&out, TimeUnit::Millisecond), Some(value));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            for value in [i64::MIN, i64::MAX] {
                let mut out = Vec::new();
                write_timestamp(&mut out, value, unit);
                assert_eq!(parse_timestamp(&out, unit), Some(value), "{unit:?} {}", String::from_utf8_lossy(&out));
            }
        }
    }
}
