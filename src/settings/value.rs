//! The values of settings: text to numbers, sizes, times and switches, within their ranges. Called by the resolver.

use super::Settings;
use std::path::PathBuf;
use std::time::Duration;
use thalweg_engine::checkpoint::objects::Objects;
use thalweg_engine::s3::{self, S3Options};

/// What the values of a setting are, and where they go.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A whole number.
    Count { min: u64, max: u64, set: fn(&mut Settings, u64) },
    /// A whole number from 1 on, or `auto` for the number of cores.
    Cores { max: u32, set: fn(&mut Settings, u32) },
    /// A size with a unit.
    Bytes { min: u64, max: u64, set: fn(&mut Settings, u64) },
    /// A time with a unit.
    Time { min: Duration, max: Duration, set: fn(&mut Settings, Duration) },
    /// A time with a unit, or `off`.
    TimeOrOff { min: Duration, max: Duration, set: fn(&mut Settings, Option<Duration>) },
    /// A URL or path, or `off`.
    PathOrOff { set: fn(&mut Settings, Option<String>) },
    /// Any text without blanks, or `auto`.
    TextOrAuto { set: fn(&mut Settings, Option<String>) },
    /// The same, and nobody may see it.
    Secret { set: fn(&mut Settings, Option<String>) },
    /// A size with a unit, `auto` for half of the memory that there is, or `off`.
    Memory { min: u64, max: u64, set: fn(&mut Settings, Option<u64>) },
    /// A path on local disk, or `auto` for the folder of temporary files.
    Folder { set: fn(&mut Settings, PathBuf) },
    /// `true` or `false`.
    Switch { set: fn(&mut Settings, bool) },
}

/// Unit names and their size in bytes. Powers of ten are left out on purpose: `MB` means two things.
const SIZES: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
/// Unit names and their length in milliseconds.
const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Kind {
    /// Sets the value, or says what would be one: "a whole number from 1 to 256".
    pub(crate) fn apply(self, settings: &mut Settings, text: &str) -> Result<(), String> {
        let text = text.trim();
        let off = text == "off";
        let value = match self {
            Kind::Count { min, max, set } => count(text, min, max).map(|v| set(settings, v)),
            Kind::Cores { set, max } if text == "auto" => {
                set(settings, cores(max));
                Some(())
            }
            Kind::Cores { max, set } => {
                count(text, 1, max.into()).map(|v| set(settings, u32::try_from(v).unwrap_or(max)))
            }
            Kind::Bytes { min, max, set } => {
                with_unit(text, &SIZES).filter(|v| (min..=max).contains(v)).map(|v| set(settings, v))
            }
            Kind::Time { min, max, set } => time(text, min, max).map(|v| set(settings, v)),
            Kind::TimeOrOff { set, .. } if off => {
                set(settings, None);
                Some(())
            }
            Kind::TimeOrOff { min, max, set } => time(text, min, max).map(|v| set(settings, Some(v))),
            Kind::PathOrOff { set } => {
                let known = if text.starts_with(s3::SCHEME) {
                    s3::parse(text).is_ok()
                } else {
                    off || Objects::at(text, &S3Options::default()).is_ok()
                };
                known.then(|| set(settings, (!off).then(|| text.to_owned())))
            }
            Kind::TextOrAuto { set } | Kind::Secret { set } => {
                let known = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
                known.then(|| set(settings, (text != "auto").then(|| text.to_owned())))
            }
            Kind::Memory { set, .. } if off => {
                set(settings, None);
                Some(())
            }
            Kind::Memory { min, max, set } if text == "auto" => {
                set(settings, Some((memory() / 2).clamp(min, max)));
                Some(())
            }
            Kind::Memory { min, max, set } => {
                with_unit(text, &SIZES).filter(|v| (min..=max).contains(v)).map(|v| set(settings, Some(v)))
            }
            Kind::Folder { set } => {
                let path = if text == "auto" { std::env::temp_dir() } else { PathBuf::from(text) };
                (!text.is_empty() && !text.contains("://")).then(|| set(settings, path))
            }
            Kind::Switch { set } => text.parse().ok().map(|v| set(settings, v)),
        };
        value.ok_or_else(|| self.expected())
    }

    /// What the values are, for people.
    pub(crate) fn expected(self) -> String {
        match self {
            Kind::Count { min, max, .. } => format!("a whole number from {min} to {max}"),
            Kind::Cores { max, .. } => format!("a whole number from 1 to {max}, or `auto`"),
            Kind::Bytes { min, max, .. } => {
                format!("a size from {} to {}, such as `4 MiB`", shown(min, &SIZES), shown(max, &SIZES))
            }
            Kind::Time { min, max, .. } => {
                format!("a time from {} to {}, such as `100 ms`", shown_time(min), shown_time(max))
            }
            Kind::TimeOrOff { min, max, .. } => {
                format!("a time from {} to {}, such as `100 ms`, or `off`", shown_time(min), shown_time(max))
            }
            Kind::PathOrOff { .. } => "a path, file:///PATH or s3://BUCKET/FOLDER, or `off`".into(),
            Kind::TextOrAuto { .. } | Kind::Secret { .. } => "a text without blanks, or `auto`".into(),
            Kind::Memory { min, max, .. } => {
                format!(
                    "a size from {} to {}, such as `4 GiB`, `auto` or `off`",
                    shown(min, &SIZES),
                    shown(max, &SIZES)
                )
            }
            Kind::Folder { .. } => "a path on local disk, or `auto`".into(),
            Kind::Switch { .. } => "`true` or `false`".into(),
        }
    }
}

fn cores(max: u32) -> u32 {
    let found = std::thread::available_parallelism().map_or(1, |n| n.get());
    u32::try_from(found).unwrap_or(max).min(max)
}

/// Bytes of memory that the process may use, as far as the system says.
fn memory() -> u64 {
    const UNKNOWN: u64 = 8 << 30;
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let limit = file("/sys/fs/cgroup/memory.max").trim().parse().unwrap_or(u64::MAX);
    let total = file("/proc/meminfo");
    let total = total.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    total.map_or(UNKNOWN, |kib: u64| kib * 1024).min(limit)
}

fn count(text: &str, min: u64, max: u64) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|v| digits && (min..=max).contains(v))
}

fn time(text: &str, min: Duration, max: Duration) -> Option<Duration> {
    with_unit(text, &TIMES).map(Duration::from_millis).filter(|v| (min..=max).contains(v))
}

/// `12 ms`, `12ms`: a whole number and one of the units.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*size)
}

/// The value in the largest unit that divides it.
fn shown(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, size): &&(&str, u64)| value.is_multiple_of(*size);
    match units.iter().rev().filter(|_| value > 0).find(fits).or(units.first()) {
        Some((name, size)) => format!("{} {name}", value / size),
        None => value.to_string(),
    }
}

fn shown_time(value: Duration) -> String {
    shown(u64::try_from(value.as_millis()).unwrap_or(u64::MAX), &TIMES)
}
