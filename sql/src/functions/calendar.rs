//! Calendar arithmetic on plain integers: days since 1970-01-01 to civil dates and back, fields of a moment, adding units.
//!
//! Called by the date and time kernels. Proleptic Gregorian calendar; the day algorithms are the well-known "days from civil" ones
//! (H. Hinnant, <http://howardhinnant.github.io/date_algorithms.html>). All of it is total: no input overflows or panics.

/// Seconds of a day.
pub(super) const DAY_SECONDS: i64 = 86_400;
/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;
/// Nanoseconds of a second.
pub(super) const SECOND_NS: i64 = 1_000_000_000;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    /// Astronomical year: 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

impl Date {
    /// The date of a day number since 1970-01-01.
    pub(super) fn of_day(days: i64) -> Date {
        let shifted = days.saturating_add(719_468);
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Date { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
    }

    /// The day number since 1970-01-01; saturates for years beyond what days can count.
    pub(super) fn day_number(self) -> i64 {
        let year = self.year.saturating_sub(i64::from(self.month <= 2));
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (self.month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era.saturating_mul(146_097).saturating_add(day_of_era - 719_468)
    }

    /// The date with these fields if there is such a day.
    pub(super) fn checked(year: i64, month: i64, day: i64) -> Option<Date> {
        let date = Date { year, month, day };
        ((1..=12).contains(&month) && day >= 1 && day <= date.days_in_month()).then_some(date)
    }

    /// 28 to 31.
    pub(super) fn days_in_month(self) -> i64 {
        match self.month {
            4 | 6 | 9 | 11 => 30,
            2 if self.leap() => 29,
            2 => 28,
            _ => 31,
        }
    }

    fn leap(self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    /// 1 to 366.
    pub(super) fn day_of_year(self) -> i64 {
        self.day_number() - Date { year: self.year, month: 1, day: 1 }.day_number() + 1
    }

    /// ISO 8601 week year and week.
    pub(super) fn iso_week(self) -> (i64, i64) {
        // A week belongs to the year of its Thursday.
        let day = self.day_number();
        let thursday = Date::of_day(day.saturating_add(4 - iso_weekday(day)));
        (thursday.year, (thursday.day_of_year() - 1) / 7 + 1)
    }

    /// Moves by months; a day that the target month lacks becomes its last.
    pub(super) fn add_months(self, months: i64) -> Date {
        let total = self.year.saturating_mul(12).saturating_add(self.month - 1).saturating_add(months);
        let first = Date { year: total.div_euclid(12), month: total.rem_euclid(12) + 1, day: 1 };
        Date { day: self.day.min(first.days_in_month()), ..first }
    }
}

/// Monday is 1, Sunday is 7.
pub(super) fn iso_weekday(days: i64) -> i64 {
    (days.rem_euclid(7) + 3) % 7 + 1
}

/// A unit of time, as EXTRACT, FLOOR, TIMESTAMPDIFF and TIMESTAMPADD name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Nanosecond,
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
}

impl Unit {
    /// Reads a unit's name in any case, singular or plural, with or without `SQL_TSI_`.
    pub(super) fn parse(name: &str) -> Option<Unit> {
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_prefix("sql_tsi_").unwrap_or(&name);
        Some(match name.strip_suffix('s').unwrap_or(name) {
            "nanosecond" => Unit::Nanosecond,
            "microsecond" | "frac_second" => Unit::Microsecond,
            "millisecond" => Unit::Millisecond,
            "second" => Unit::Second,
            "minute" => Unit::Minute,
            "hour" => Unit::Hour,
            "day" => Unit::Day,
            "week" => Unit::Week,
            "month" => Unit::Month,
            "quarter" => Unit::Quarter,
            "year" => Unit::Year,
            "decade" => Unit::Decade,
            "century" | "centurie" => Unit::Century,
            "millennium" => Unit::Millennium,
            _ => return None,
        })
    }

    /// Length in nanoseconds, for units shorter than a month.
    pub(super) fn nanoseconds(self) -> Option<i64> {
        Some(match self {
            Unit::Nanosecond => 1,
            Unit::Microsecond => 1_000,
            Unit::Millisecond => 1_000_000,
            Unit::Second => SECOND_NS,
            Unit::Minute => 60 * SECOND_NS,
            Unit::Hour => 3_600 * SECOND_NS,
            Unit::Day => DAY_SECONDS * SECOND_NS,
            Unit::Week => 7 * DAY_SECONDS * SECOND_NS,
            _ => return None,
        })
    }

    /// Length in months, for units of a month or more.
    pub(super) fn months(self) -> Option<i64> {
        Some(match self {
            Unit::Month => 1,
            Unit::Quarter => 3,
            Unit::Year => 12,
            Unit::Decade => 120,
            Unit::Century => 1_200,
            Unit::Millennium => 12_000,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_inverse() {
        for (day, year, month, date) in
            [(0, 1970, 1, 1), (-1, 1969, 12, 31), (19_782, 2024, 2, 29), (2_932_896, 9999, 12, 31), (-719_528, 0, 1, 1)]
        {
            let expected = Date { year, month, day: date };
            assert_eq!(Date::of_day(day), expected);
            assert_eq!(expected.day_number(), day);
        }
        let mut day = -4_000_000;
        while day < 4_000_000 {
            assert_eq!(Date::of_day(day).day_number(), day);
            day += 97;
        }
    }

    #[test]
    fn weeks_follow_iso_8601() {
        let week = |year, month, day| Date { year, month, day }.iso_week();
        assert_eq!(week(2021, 1, 3), (2020, 53));
        assert_eq!(week(2021, 1, 4), (2021, 1));
        assert_eq!(week(2018, 12, 31), (2019, 1));
        assert_eq!(iso_weekday(0), 4);
        assert_eq!(iso_weekday(-4), 7);
    }

    #[test]
    fn extremes_do_not_panic() {
        for day in [i64::MIN, i64::MAX, i64::MIN / DAY_SECONDS, i64::MAX / DAY_SECONDS] {
            let date = Date::of_day(day);
            let _ = (
                date.day_number(),
                date.iso_week(),
                date.add_months(i64::MAX),
                date.add_months(i64::MIN),
                iso_weekday(day),
            );
        }
    }
}
