//! How a job is doing, as a line or as JSON. Pure: the run loop brings counters and the time, and writes what comes out.

use crate::cli::usage::Usage;
use serde_json::{Value, json};
use std::time::Duration;
use thalweg::engine::metrics::{LastCheckpoint, Totals};

/// Turns counters that only grow into rates.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    last: Totals,
    last_at: Duration,
    rates: Rates,
}

/// Rows per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) rows_in: f64,
    pub(crate) rows_out: f64,
}

impl Rates {
    fn between(before: &Totals, after: &Totals, elapsed: Duration) -> Rates {
        let seconds = elapsed.as_secs_f64();
        let rate = |a: u64, b: u64| if seconds > 0.0 { b.saturating_sub(a) as f64 / seconds } else { 0.0 };
        Rates { rows_in: rate(before.rows_in, after.rows_in), rows_out: rate(before.rows_out, after.rows_out) }
    }
}

impl Progress {
    /// Takes the counters at `at`, the time since the start; rates are those since the last call.
    pub(crate) fn observe(&mut self, totals: Totals, at: Duration) {
        self.rates = Rates::between(&self.last, &totals, at.saturating_sub(self.last_at));
        (self.last, self.last_at) = (totals, at);
    }

    /// One line for people. `wall_ms` is the wall clock.
    pub(crate) fn line(&self, wall_ms: i64) -> String {
        let (t, r) = (&self.last, &self.rates);
        let mut parts = vec![
            seconds(self.last_at),
            format!("in {} rows, {}/s", count(t.rows_in as f64), count(r.rows_in)),
            format!("out {} rows, {}/s", count(t.rows_out as f64), count(r.rows_out)),
        ];
        if let Some(ms) = t.watermark_ms {
            parts.push(format!("watermark {}{}", instant(ms), behind(wall_ms, ms)));
        }
        if let Some(lag) = t.lag {
            parts.push(format!("lag {} records", count(lag as f64)));
        }
        parts.push(match t.state_disk_bytes {
            0 => format!("state {}", bytes(t.state_bytes)),
            disk => format!("state {} + {} on disk", bytes(t.state_bytes), bytes(disk)),
        });
        parts.extend(t.checkpoint.map(|c| checkpoint(&c, wall_ms)));
        parts.extend(losses(t));
        parts.join(" | ")
    }

    /// The same as data.
    pub(crate) fn json(&self) -> Value {
        let rates =
            json!({ "rows_in_per_s": self.rates.rows_in.round(), "rows_out_per_s": self.rates.rows_out.round() });
        object("progress", self.last_at, &self.last, rates)
    }
}

/// The last word about a job, for people: `finished` is how it ended.
pub(crate) fn summary_line(how: &str, elapsed: Duration, totals: &Totals, usage: &Usage) -> String {
    let rates = Rates::between(&Totals::default(), totals, elapsed);
    let (rows_in, rows_out) = (count(totals.rows_in as f64), count(totals.rows_out as f64));
    let mut text = format!(
        "{how} after {}: {rows_in} rows in ({}/s), {rows_out} rows out",
        seconds(elapsed),
        count(rates.rows_in)
    );
    for loss in losses(totals) {
        text.push_str(", ");
        text.push_str(&loss);
    }
    let (processor, memory) = (seconds(usage.processor), bytes(usage.peak_memory_bytes));
    text.push_str(&format!(" ({processor} of processor time, {memory} of memory at most)"));
    text
}

/// The last word about a job as data.
pub(crate) fn summary_json(how: &str, elapsed: Duration, totals: &Totals, usage: &Usage) -> Value {
    let rates = Rates::between(&Totals::default(), totals, elapsed);
    let more = json!({
        "outcome": how, "rows_in_per_s": rates.rows_in.round(),
        "processor_ms": millis(usage.processor), "peak_memory_bytes": usage.peak_memory_bytes,
    });
    object("summary", elapsed, totals, more)
}

fn object(kind: &str, elapsed: Duration, totals: &Totals, more: Value) -> Value {
    let head = json!({ "type": kind, "elapsed_ms": millis(elapsed) });
    let mut out = serde_json::Map::new();
    for part in [head, json!(totals), more] {
        if let Value::Object(fields) = part {
            out.extend(fields);
        }
    }
    Value::Object(out)
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn checkpoint(last: &LastCheckpoint, wall_ms: i64) -> String {
    let age = Duration::from_millis(wall_ms.saturating_sub(last.at_ms).max(0).unsigned_abs());
    let took = seconds(Duration::from_millis(last.duration_ms));
    format!("checkpoint {}, {} ago, {took}, {}", last.id, seconds(age), bytes(last.written_bytes))
}

fn losses(t: &Totals) -> Vec<String> {
    let named =
        [(t.late_rows, "late rows"), (t.bad_records, "bad records"), (t.failed_checkpoints, "failed checkpoints")];
    named.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(*n as f64))).collect()
}

/// How far event time is behind the clock; nothing to say about data from long ago or from the future.
fn behind(wall_ms: i64, watermark_ms: i64) -> String {
    match wall_ms.saturating_sub(watermark_ms) {
        ms @ 0..3_600_000 => format!(" ({} behind)", seconds(Duration::from_millis(ms.unsigned_abs()))),
        _ => String::new(),
    }
}

pub(crate) fn seconds(d: Duration) -> String {
    match d.as_secs() {
        0..100 => format!("{:.1} s", d.as_secs_f64()),
        s @ 100..3600 => format!("{} min {:02} s", s / 60, s % 60),
        s => format!("{} h {:02} min", s / 3600, s / 60 % 60),
    }
}

/// `950`, `12.3 K`, `1.23 M`.
pub(crate) fn count(n: f64) -> String {
    let (scaled, unit) = match n {
        _ if n >= 999_500_000.0 => (n / 1e9, " G"),
        _ if n >= 999_500.0 => (n / 1e6, " M"),
        _ if n >= 9_999.5 => (n / 1e3, " K"),
        _ => return format!("{n:.0}"),
    };
    let digits = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.digits$}{unit}")
}

/// `512 B`, `1.5 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| n >= 1 << shift) {
        Some((shift, unit)) => format!("{:.1} {unit}", n as f64 / (1u64 << shift) as f64),
        None => format!("{n} B"),
    }
}

/// Milliseconds since 1970 as `2026-01-01 00:00:00.000`.
pub(crate) fn instant(ms: i64) -> String {
    let at = chrono::DateTime::from_timestamp_millis(ms);
    at.map_or_else(|| format!("{ms} ms"), |t| t.format("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 1_767_225_600_000;

    fn totals() -> Totals {
        Totals { rows_in: 1_500_000, rows_out: 40, state_bytes: 3 << 20, ..Totals::default() }
    }

    #[test]
    fn the_line_shows_what_is_known_and_nothing_else() {
        let mut p = Progress::default();
        p.observe(Totals { rows_in: 500_000, rows_out: 30, ..Totals::default() }, Duration::from_secs(1));
        p.observe(totals(), Duration::from_secs(3));
        assert_eq!(p.line(DAY_MS), "3.0 s | in 1.50 M rows, 500 K/s | out 40 rows, 5/s | state 3.0 MiB");
        let t = Totals { watermark_ms: Some(DAY_MS), lag: Some(7), late_rows: 2, bad_records: 1, ..totals() };
        p.observe(t, Duration::from_secs(3));
        let line = p.line(DAY_MS + 1_500);
        assert!(line.contains("in 1.50 M rows, 0/s"), "no time has passed: {line}");
        assert!(line.contains("watermark 2026-01-01 00:00:00.000 (1.5 s behind) | lag 7 records"), "{line}");
        assert!(line.ends_with("state 3.0 MiB | 2 late rows | 1 bad records"), "{line}");
        assert!(!p.line(DAY_MS - 1).contains("behind"));
    }

    #[test]
    fn the_summary_has_the_mean_rate_and_the_losses() {
        let t = Totals { late_rows: 2, ..totals() };
        let usage = Usage { processor: Duration::from_millis(3_100), peak_memory_bytes: 5 << 20 };
        let line = summary_line("finished", Duration::from_secs(2), &t, &usage);
        let first = "finished after 2.0 s: 1.50 M rows in (750 K/s), 40 rows out, 2 late rows";
        assert_eq!(line, format!("{first} (3.1 s of processor time, 5.0 MiB of memory at most)"));
        let json = summary_json("stopped", Duration::from_millis(2_500), &t, &usage);
        assert_eq!((&json["processor_ms"], &json["peak_memory_bytes"]), (&json!(3_100), &json!(5 << 20)));
        assert_eq!(
            (&json["type"], &json["outcome"], &json["elapsed_ms"]),
            (&json!("summary"), &json!("stopped"), &json!(2500))
        );
        assert_eq!((&json["rows_in"], &json["late_rows"]), (&json!(1_500_000), &json!(2)));
    }

    #[test]
    fn numbers_keep_three_digits() {
        let cases = [
            (0.0, "0"),
            (9_999.0, "9999"),
            (10_000.0, "10.0 K"),
            (99_999.0, "100 K"),
            (999_600.0, "1.00 M"),
            (12.34e9, "12.3 G"),
        ];
        for (n, text) in cases {
            assert_eq!(count(n), text);
        }
        assert_eq!(
            (bytes(1023), bytes(1536), bytes(u64::MAX)),
            ("1023 B".into(), "1.5 KiB".into(), "17179869184.0 GiB".into())
        );
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!(seconds(Duration::from_secs(7_260)), "2 h 01 min");
        assert_eq!(instant(i64::MAX), format!("{} ms", i64::MAX));
    }
}
