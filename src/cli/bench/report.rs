//! What a benchmark found, as a table line and as JSON.

use crate::cli::progress::{bytes, count};
use serde_json::{Value, json};
use std::time::Duration;

/// How a query was run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) source: &'static str,
    pub(crate) events: u64,
    pub(crate) rate: u64,
    pub(crate) parallelism: u32,
    pub(crate) runs: u32,
}

/// One timed run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) elapsed: Duration,
    /// Processor time of all threads within `elapsed`.
    pub(crate) processor: Duration,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) rows_out: u64,
}

/// The best run of one query, and what it wrote.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) query: &'static str,
    /// Whether the query stands for a larger one that cannot be run yet.
    pub(crate) part: bool,
    pub(crate) best: Measured,
    /// `None` if it writes elsewhere than into the sink that adds up.
    pub(crate) checksum: Option<u64>,
}

fn per_second(n: f64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { n / time.as_secs_f64() }
}

impl Finding {
    fn events_per_s(&self, setup: &Setup) -> f64 {
        per_second(setup.events as f64, self.best.elapsed)
    }

    fn cores(&self) -> f64 {
        per_second(self.best.processor.as_secs_f64(), self.best.elapsed)
    }

    fn kevents_per_core(&self, setup: &Setup) -> f64 {
        per_second(setup.events as f64, self.best.processor) / 1e3
    }

    fn checksum_text(&self) -> Option<String> {
        self.checksum.map(|sum| format!("{sum:016x}"))
    }

    /// One line of the table under [`header`].
    pub(crate) fn line(&self, setup: &Setup) -> String {
        let name = if self.part { format!("{} (part)", self.query) } else { self.query.to_owned() };
        format!(
            "{name:<12} {:>9.3} s {:>12} {:>6.2} {:>13.0} {:>12} {:>12}  {}",
            self.best.elapsed.as_secs_f64(),
            count(self.events_per_s(setup)),
            self.cores(),
            self.kevents_per_core(setup),
            bytes(self.best.peak_memory_bytes),
            self.best.rows_out,
            self.checksum_text().unwrap_or_default(),
        )
    }

    /// The same as data.
    pub(crate) fn json(&self, setup: &Setup) -> Value {
        json!({
            "query": self.query,
            "part": self.part,
            "source": setup.source,
            "events": setup.events,
            "rate": setup.rate,
            "parallelism": setup.parallelism,
            "runs": setup.runs,
            "elapsed_ms": rounded(self.best.elapsed.as_secs_f64() * 1e3),
            "events_per_s": self.events_per_s(setup).round(),
            "cores": rounded(self.cores()),
            "kevents_per_core": rounded(self.kevents_per_core(setup)),
            "peak_memory_bytes": self.best.peak_memory_bytes,
            "rows_out": self.best.rows_out,
            "checksum": self.checksum_text(),
        })
    }
}

fn rounded(n: f64) -> f64 {
    (n * 1e3).round() / 1e3
}

/// The names of the columns of [`Finding::line`].
pub(crate) fn header() -> String {
    format!(
        "{:<12} {:>11} {:>12} {:>6} {:>13} {:>12} {:>12}  {}",
        "query", "time", "events/s", "cores", "Kevents/core", "peak memory", "rows out", "checksum"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> (Finding, Setup) {
        let best = Measured {
            elapsed: Duration::from_millis(500),
            processor: Duration::from_millis(800),
            peak_memory_bytes: 3 << 20,
            rows_out: 9,
        };
        let setup = Setup { source: "inline", events: 1_000_000, rate: 100_000, parallelism: 2, runs: 3 };
        (Finding { query: "q5", part: true, best, checksum: Some(0xab) }, setup)
    }

    #[test]
    fn figures_follow_from_time_and_events() {
        let (finding, setup) = finding();
        let json = finding.json(&setup);
        assert_eq!(json["query"], "q5");
        assert_eq!(json["part"], true);
        assert_eq!(json["events_per_s"], 2_000_000.0);
        assert_eq!(json["cores"], 1.6);
        assert_eq!(json["kevents_per_core"], 1_250.0);
        assert_eq!(json["checksum"], "00000000000000ab");
    }

    #[test]
    fn the_table_is_aligned() {
        let (finding, setup) = finding();
        let (line, head) = (finding.line(&setup), header());
        assert_eq!(line.find("00000000000000ab"), head.find("checksum"), "\n{head}\n{line}");
        assert!(line.contains("2.00 M") && line.contains("q5 (part)"), "{line}");
    }

    #[test]
    fn a_run_that_took_no_time_has_no_rates() {
        let (mut finding, setup) = finding();
        (finding.best.elapsed, finding.best.processor) = (Duration::ZERO, Duration::ZERO);
        assert_eq!(finding.json(&setup)["events_per_s"], 0.0);
    }
}
