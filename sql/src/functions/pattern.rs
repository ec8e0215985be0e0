//! Date and time patterns (`yyyy-MM-dd HH:mm:ss.SSS`) as in Java's `DateTimeFormatter`, compiled once and used for many rows.
//!
//! Called by DATE_FORMAT, TO_TIMESTAMP, FROM_UNIXTIME and their kin. A [`Pattern`] is a list of pieces, each of which writes or reads
//! one field. [`Pattern::prefix_unit_ns`] tells how long a rendered text stays the same, which lets the formatter copy it.

use super::calendar::{DAY_SECONDS, Date, SECOND_NS, iso_weekday};

/// Longest run of one letter and longest pattern; beyond them a pattern is a mistake.
const MAX_WIDTH: usize = 19;
const MAX_PATTERN_BYTES: usize = 1_024;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A field of a date or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Era,
    YearOfEra,
    Year,
    Month,
    Day,
    DayOfYear,
    Quarter,
    WeekYear,
    Week,
    Weekday,
    HalfDay,
    Hour24,
    Hour1To24,
    Hour12,
    Hour0To11,
    Minute,
    Second,
    Fraction,
    Zone,
    ZoneName,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Number { field: Field, width: usize, adjacent: bool },
    Name { field: Field, full: bool },
}

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
}

/// A moment split into what pieces write: the day since 1970-01-01 and the time of that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Days since 1970-01-01.
    pub day: i64,
    /// 0 to 86399.
    pub second: i64,
    /// 0 to 999999999.
    pub nanosecond: i64,
}

impl Pattern {
    /// Compiles a pattern; the error says what is wrong and what to write instead.
    pub(super) fn compile(pattern: &str) -> Result<Pattern, String> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(format!("date pattern of {} bytes is over {MAX_PATTERN_BYTES}", pattern.len()));
        }
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            let used = match first {
                '\'' => quoted(rest, pattern, &mut pieces)?,
                letter if letter.is_ascii_alphabetic() => {
                    let width = rest.bytes().take_while(|byte| *byte == letter as u8).count();
                    pieces.push(piece(letter, width, pattern)?);
                    width
                }
                '{' | '}' | '#' | '[' | ']' => {
                    return Err(format!(
                        "date pattern `{pattern}`: `{first}` is reserved; write it as '{first}' in quotes"
                    ));
                }
                other => {
                    push_literal(&mut pieces, other.encode_utf8(&mut [0; 4]));
                    other.len_utf8()
                }
            };
            rest = &rest[used..];
        }
        mark_adjacent(&mut pieces);
        Ok(Pattern { pieces })
    }

    /// How long the rendered text without its fraction stays the same, in nanoseconds: at most a day.
    pub(super) fn prefix_unit_ns(&self) -> i64 {
        let unit = |field: &Field| match field {
            Field::Second => SECOND_NS,
            Field::Minute => 60 * SECOND_NS,
            Field::HalfDay | Field::Hour24 | Field::Hour1To24 | Field::Hour12 | Field::Hour0To11 => 3_600 * SECOND_NS,
            _ => DAY_SECONDS * SECOND_NS,
        };
        let fields = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Number { field, .. } | Piece::Name { field, .. } => Some(unit(field)),
        });
        fields.min().unwrap_or(DAY_SECONDS * SECOND_NS)
    }

    /// Appends the text of a moment and, per fraction field, where its digits stand: `(offset in the text, width)`.
    pub(super) fn format(&self, moment: Moment, out: &mut Vec<u8>, fractions: &mut Vec<(usize, usize)>) {
        let start = out.len();
        let date = Date::of_day(moment.day);
        fractions.clear();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Number { field: Field::Fraction, width, .. } => {
                    fractions.push((out.len() - start, *width));
                    push_fraction(out, moment.nanosecond, *width);
                }
                Piece::Number { field, width, .. } => {
                    push_field(out, number(*field, *width, date, moment), *width, *field)
                }
                Piece::Name { field, full } => out.extend_from_slice(name(*field, *full, date, moment).as_bytes()),
            }
        }
    }

    /// Reads a text written in this pattern; `None` if it does not fit or names no real day.
    pub(super) fn parse(&self, text: &str) -> Option<Moment> {
        let mut rest = text;
        let mut read = Read::default();
        for piece in &self.pieces {
            rest = match piece {
                Piece::Literal(literal) => rest.strip_prefix(literal.as_str())?,
                Piece::Number { field, width, adjacent } => read.number(rest, *field, *width, *adjacent)?,
                Piece::Name { field, full } => read.name(rest, *field, *full)?,
            };
        }
        if rest.is_empty() { read.moment() } else { None }
    }
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Literal(last)) => last.push_str(text),
        _ => pieces.push(Piece::Literal(text.to_string())),
    }
}

/// Takes `'text'` (with `''` for a quote) from the front; returns the bytes used.
fn quoted(rest: &str, pattern: &str, pieces: &mut Vec<Piece>) -> Result<usize, String> {
    if rest.starts_with("''") {
        push_literal(pieces, "'");
        return Ok(2);
    }
    let mut at = 1;
    loop {
        let Some(end) = rest[at..].find('\'') else {
            return Err(format!("date pattern `{pattern}`: a quote is not closed; write '' for a single quote"));
        };
        push_literal(pieces, &rest[at..at + end]);
        at += end + 1;
        if !rest[at..].starts_with('\'') {
            return Ok(at);
        }
        push_literal(pieces, "'");
        at += 1;
    }
}

fn piece(letter: char, width: usize, pattern: &str) -> Result<Piece, String> {
    let number = |field, most| match width <= most {
        true => Ok(Piece::Number { field, width, adjacent: false }),
        false => {
            Err(format!("date pattern `{pattern}`: `{letter}` may stand at most {most} times in a row, not {width}"))
        }
    };
    let name = |field| match width {
        1..=3 => Ok(Piece::Name { field, full: false }),
        4 => Ok(Piece::Name { field, full: true }),
        _ => Err(format!("date pattern `{pattern}`: `{letter}` may stand at most 4 times in a row, not {width}")),
    };
    match letter {
        'y' => number(Field::YearOfEra, MAX_WIDTH),
        'u' => number(Field::Year, MAX_WIDTH),
        'Y' => number(Field::WeekYear, MAX_WIDTH),
        'M' | 'L' if width > 2 => name(Field::Month),
        'M' | 'L' => number(Field::Month, 2),
        'd' => number(Field::Day, 2),
        'D' => number(Field::DayOfYear, 3),
        'q' | 'Q' => number(Field::Quarter, 2),
        'w' => number(Field::Week, 2),
        'G' => name(Field::Era),
        'E' => name(Field::Weekday),
        'a' => name(Field::HalfDay),
        'H' => number(Field::Hour24, 2),
        'k' => number(Field::Hour1To24, 2),
        'h' => number(Field::Hour12, 2),
        'K' => number(Field::Hour0To11, 2),
        'm' => number(Field::Minute, 2),
        's' => number(Field::Second, 2),
        'S' => number(Field::Fraction, 9),
        'X' if width <= 3 => Ok(Piece::Literal("Z".into())),
        'x' | 'Z' if width <= 2 => Ok(Piece::Name { field: Field::Zone, full: false }),
        'x' | 'Z' if width == 3 => Ok(Piece::Name { field: Field::Zone, full: letter == 'x' }),
        'z' | 'V' if width <= 4 => Ok(Piece::Name { field: Field::ZoneName, full: false }),
        _ => Err(format!(
            "date pattern `{pattern}`: unknown letter `{letter}`; use y M d H m s S and the like, or quote text as 'text'"
        )),
    }
}

/// A number directly followed by another reads exactly its width.
fn mark_adjacent(pieces: &mut [Piece]) {
    let mut follows = false;
    for piece in pieces.iter_mut().rev() {
        match piece {
            Piece::Number { adjacent, .. } => {
                *adjacent = follows;
                follows = true;
            }
            _ => follows = false,
        }
    }
}

fn number(field: Field, width: usize, date: Date, moment: Moment) -> i64 {
    let hour = moment.second / 3_600;
    match field {
        Field::YearOfEra => {
            let year = if date.year > 0 { date.year } else { 1 - date.year };
            if width == 2 { year % 100 } else { year }
        }
        Field::Year => {
            if width == 2 {
                date.year.rem_euclid(100)
            } else {
                date.year
            }
        }
        Field::WeekYear => {
            if width == 2 {
                date.iso_week().0.rem_euclid(100)
            } else {
                date.iso_week().0
            }
        }
        Field::Month => date.month,
        Field::Day => date.day,
        Field::DayOfYear => date.day_of_year(),
        Field::Quarter => (date.month - 1) / 3 + 1,
        Field::Week => date.iso_week().1,
        Field::Hour24 => hour,
        Field::Hour1To24 => {
            if hour == 0 {
                24
            } else {
                hour
            }
        }
        Field::Hour12 => {
            if hour % 12 == 0 {
                12
            } else {
                hour % 12
            }
        }
        Field::Hour0To11 => hour % 12,
        Field::Minute => moment.second / 60 % 60,
        Field::Second => moment.second % 60,
        Field::Era | Field::Weekday | Field::HalfDay | Field::Fraction | Field::Zone | Field::ZoneName => 0,
    }
}

fn name(field: Field, full: bool, date: Date, moment: Moment) -> &'static str {
    let short = |name: &'static str| if full { name } else { &name[..3] };
    match field {
        Field::Month => short(MONTHS.get(date.month as usize - 1).copied().unwrap_or("January")),
        Field::Weekday => short(WEEKDAYS.get(iso_weekday(moment.day) as usize - 1).copied().unwrap_or("Monday")),
        Field::HalfDay => {
            if moment.second < DAY_SECONDS / 2 {
                "AM"
            } else {
                "PM"
            }
        }
        Field::Era if full => {
            if date.year > 0 {
                "Anno Domini"
            } else {
                "Before Christ"
            }
        }
        Field::Era => {
            if date.year > 0 {
                "AD"
            } else {
                "BC"
            }
        }
        Field::Zone => {
            if full {
                "+00:00"
            } else {
                "+0000"
            }
        }
        _ => "UTC",
    }
}

/// Appends a number padded with zeros. A year wider than its pattern of four or more letters carries a sign.
fn push_field(out: &mut Vec<u8>, value: i64, width: usize, field: Field) {
    let year = matches!(field, Field::YearOfEra | Field::Year | Field::WeekYear);
    if value < 0 {
        out.push(b'-');
    } else if year && (4..MAX_WIDTH).contains(&width) && value >= 10_i64.pow(width as u32) {
        out.push(b'+');
    }
    let mut digits = [b'0'; 20];
    let mut left = value.unsigned_abs();
    let mut at = digits.len();
    while left > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    at = at.min(digits.len() - width.min(digits.len()));
    out.extend_from_slice(&digits[at..]);
}

/// Appends the first `width` digits of a fraction of a second.
pub(super) fn push_fraction(out: &mut Vec<u8>, nanosecond: i64, width: usize) {
    let mut divisor = SECOND_NS / 10;
    for _ in 0..width {
        out.push(b'0' + (nanosecond / divisor.max(1) % 10) as u8);
        divisor /= 10;
    }
}

/// What a text said so far.
#[derive(Default)]
struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    afternoon: bool,
    before_christ: bool,
    minute: i64,
    second: i64,
    nanosecond: i64,
}

impl Read {
    fn number<'a>(&mut self, text: &'a str, field: Field, width: usize, adjacent: bool) -> Option<&'a str> {
        let year = matches!(field, Field::YearOfEra | Field::Year | Field::WeekYear);
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) if field == Field::Year => (true, rest),
            _ => (false, if year && width >= 4 { text.strip_prefix('+').unwrap_or(text) } else { text }),
        };
        let most = match width {
            _ if adjacent => width,
            1 => MAX_WIDTH - 1,
            2 => 2,
            _ if year => MAX_WIDTH - 1,
            _ => width,
        };
        let count = unsigned.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < width.min(most) || count == 0 {
            return None;
        }
        let value: i64 = unsigned[..count].parse().ok()?;
        self.set(field, if negative { -value } else { value }, count, width)?;
        Some(&unsigned[count..])
    }

    fn set(&mut self, field: Field, value: i64, digits: usize, width: usize) -> Option<()> {
        let within = |low: i64, high: i64| (low..=high).contains(&value).then_some(value);
        match field {
            Field::YearOfEra | Field::Year | Field::WeekYear => {
                self.year = Some(if width == 2 { 2_000 + value } else { value })
            }
            Field::Month => self.month = Some(within(1, 12)?),
            Field::Day => self.day = Some(within(1, 31)?),
            Field::DayOfYear => self.day_of_year = Some(within(1, 366)?),
            Field::Hour24 => self.hour = Some(within(0, 23)?),
            Field::Hour1To24 => self.hour = Some(within(1, 24)? % 24),
            Field::Hour12 => self.half_hour = Some(within(1, 12)? % 12),
            Field::Hour0To11 => self.half_hour = Some(within(0, 11)?),
            Field::Minute => self.minute = within(0, 59)?,
            Field::Second => self.second = within(0, 59)?,
            Field::Fraction => self.nanosecond = value * 10_i64.pow(9_u32.saturating_sub(digits as u32)),
            // Derived from other fields: read and skipped.
            Field::Quarter | Field::Week => {}
            Field::Era | Field::Weekday | Field::HalfDay | Field::Zone | Field::ZoneName => {}
        }
        Some(())
    }

    fn name<'a>(&mut self, text: &'a str, field: Field, full: bool) -> Option<&'a str> {
        let find = |names: &[&str]| {
            names.iter().enumerate().find_map(|(at, name)| {
                let name = if full { name } else { name.get(..3)? };
                text.get(..name.len())
                    .filter(|head| head.eq_ignore_ascii_case(name))
                    .map(|head| (at, &text[head.len()..]))
            })
        };
        let either = |first: &str, second: &str| {
            let head = |name: &str| text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
            if head(first) {
                Some((false, &text[first.len()..]))
            } else {
                head(second).then(|| (true, &text[second.len()..]))
            }
        };
        match field {
            Field::Month => {
                let (at, rest) = find(&MONTHS)?;
                self.month = Some(at as i64 + 1);
                Some(rest)
            }
            Field::Weekday => Some(find(&WEEKDAYS)?.1),
            Field::HalfDay => {
                let (afternoon, rest) = either("AM", "PM")?;
                self.afternoon = afternoon;
                Some(rest)
            }
            Field::Era => {
                let (before, rest) = if full { either("Anno Domini", "Before Christ")? } else { either("AD", "BC")? };
                self.before_christ = before;
                Some(rest)
            }
            Field::Zone => text.strip_prefix(if full { "+00:00" } else { "+0000" }),
            _ => text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT")),
        }
    }

    fn moment(&self) -> Option<Moment> {
        let year = self.year.unwrap_or(1970);
        let year = if self.before_christ { 1 - year } else { year };
        if !(-999_999..=999_999).contains(&year) {
            return None;
        }
        let date = match self.day_of_year {
            Some(day) if self.month.is_none() => {
                let first = Date { year, month: 1, day: 1 };
                let date = Date::of_day(first.day_number() + day - 1);
                (date.year == year).then_some(date)?
            }
            _ => Date::checked(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let hour = self.hour.or(self.half_hour.map(|hour| if self.afternoon { hour + 12 } else { hour })).unwrap_or(0);
        let second = hour * 3_600 + self.minute * 60 + self.second;
        Some(Moment { day: date.day_number(), second, nanosecond: self.nanosecond })
    }
}

/// Reads `yyyy-MM-dd[ HH:mm[:ss[.fraction]]]`, with `T` for the space and one-digit fields allowed, as casts and default patterns do.
pub(super) fn parse_default(text: &str) -> Option<Moment> {
    let text = text.trim();
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (date, time) = match text.find([' ', 'T']) {
        Some(at) => (&text[..at], Some(text[at + 1..].trim_start())),
        None => (text, None),
    };
    let mut parts = date.split('-').map(|part| small(part, 6));
    let (year, month, day) = (parts.next()??, parts.next().unwrap_or(Some(1))?, parts.next().unwrap_or(Some(1))?);
    if parts.next().is_some() {
        return None;
    }
    let day = Date::checked(if negative { -year } else { year }, month, day)?.day_number();
    let Some(time) = time else { return Some(Moment { day, second: 0, nanosecond: 0 }) };
    let (second, nanosecond) = parse_time(time.strip_suffix('Z').unwrap_or(time))?;
    Some(Moment { day, second, nanosecond })
}

/// Reads `HH:mm[:ss[.fraction]]` into second of the day and nanosecond.
pub(super) fn parse_time(text: &str) -> Option<(i64, i64)> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = clock.split(':').map(|part| small(part, 2));
    let (hour, minute, second) = (parts.next()??, parts.next().unwrap_or(Some(0))?, parts.next().unwrap_or(Some(0))?);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let kept = fraction.get(..fraction.len().min(9))?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanosecond = small(kept, 9)? * 10_i64.pow(9_u32.saturating_sub(kept.len() as u32));
    Some((hour * 3_600 + minute * 60 + second, nanosecond))
}

fn small(text: &str, most: usize) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}
