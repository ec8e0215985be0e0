//! `thalweg bench checkpoint`: what checkpoints cost a job with much state. Windows over a given number of keys, of which a hundredth
//! changes every second; a checkpoint every second in half of the segments of one run, none in the others.

use crate::cli::arguments::CheckpointBenchArguments;
use crate::cli::console::{Console, Failure};
use crate::cli::exit::Exit;
use crate::cli::progress::{bytes, count};
use crate::cli::usage;
use crate::cli::{inputs, print};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use thalweg::connectors::terminal::{RowFormat, Terminal};
use thalweg::engine::clock::Clock;
use thalweg::engine::job::{Ending, JobHandle};
use thalweg::engine::metrics::LastCheckpoint;
use thalweg::settings::Origin;
use thalweg::{Recovery, Session, Start};

/// How long a segment is; there is a checkpoint every second in every other one.
const SEGMENT_S: u32 = 5;
const SECOND: Duration = Duration::from_secs(1);

/// Every key once, and then a hundredth of all keys each second, another hundredth in the next.
const SQL: &str = "
    CREATE TABLE numbers (n BIGINT, k AS CASE WHEN n < ${KEYS} THEN n ELSE (n / ${RATE} * ${DIRTY} + n % ${DIRTY}) % ${KEYS} END,
        at AS TO_TIMESTAMP_LTZ(n / ${RATE}, 3), WATERMARK FOR at AS at)
    WITH ('connector' = 'datagen', 'rows-per-second' = '${RATE}', 'fields.n.kind' = 'sequence', 'fields.n.start' = '0',
        'fields.n.end' = '1000000000000');
    CREATE TABLE counts (k BIGINT, n BIGINT) WITH ('connector' = 'blackhole');
    INSERT INTO counts SELECT k, COUNT(*)
    FROM TABLE(HOP(TABLE numbers, DESCRIPTOR(at), INTERVAL '1' HOUR, INTERVAL '2' HOUR)) GROUP BY window_start, window_end, k;";

/// Runs the job and measures.
pub(crate) fn checkpoint(arguments: &CheckpointBenchArguments, console: &mut Console) -> Result<Exit, Failure> {
    let folder = std::env::temp_dir().join(format!("thalweg-bench-{}", std::process::id()));
    let found = Run::start(arguments, &folder, console).and_then(|run| run.measure(arguments, console));
    let _ = std::fs::remove_dir_all(&folder);
    print(&found?.text(arguments)).map(|_| Exit::Done)
}

/// What was measured.
#[derive(Debug, Default)]
struct Found {
    /// Of the first checkpoint, which has everything.
    full: Option<LastCheckpoint>,
    /// Those of a segment each.
    changes: Vec<LastCheckpoint>,
    /// Nanoseconds of processor time per row, of the segments without and with checkpoints.
    without: Vec<f64>,
    with: Vec<f64>,
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Found {
    fn text(&self, arguments: &CheckpointBenchArguments) -> String {
        let (without, with) = (median(self.without.iter().copied()), median(self.with.iter().copied()));
        let full = self.full.map_or(0, |c| c.written_bytes);
        let changed = median(self.changes.iter().map(|c| c.written_bytes as f64));
        let freezes = || self.full.iter().chain(&self.changes).map(|c| c.freeze_us);
        let ms = |us: u64| format!("{:.2} ms", us as f64 / 1e3);
        format!(
            "{} keys, {} rows/s, {} segments of {SEGMENT_S} s\n\
             processor time per row: {without:.1} ns without checkpoints, {with:.1} ns with one a second: {:+.1} % (medians)\n\
             a checkpoint of everything: {}, of a hundredth changed: {} ({:.2} %)\n\
             longest freeze on a task's thread: {} for everything, {} of changes (median of segments {})\n",
            count(arguments.keys as f64),
            count(arguments.rate as f64),
            self.without.len() + self.with.len(),
            (with / without - 1.0) * 100.0,
            bytes(full),
            bytes(changed as u64),
            changed / full as f64 * 100.0,
            ms(self.full.map_or(0, |c| c.freeze_us)),
            ms(freezes().skip(1).max().unwrap_or(0)),
            ms(median(self.changes.iter().map(|c| c.freeze_us as f64)) as u64),
        )
    }
}

/// The job, with all keys in its state.
struct Run {
    job: JobHandle,
    clock: Clock,
}

impl Run {
    fn start(arguments: &CheckpointBenchArguments, folder: &Path, console: &mut Console) -> Result<Run, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::failed(e.to_string());
        let mut settings = inputs::settings(&arguments.settings)?;
        let fixed = Origin::Argument("bench checkpoint".into());
        for (name, value) in [("checkpoint.dir", folder.display().to_string()), ("checkpoint.interval", "off".into())] {
            settings.put(name, &value, fixed.clone()).map_err(|e| failed(&e))?;
        }
        let session = Session::with(settings, Terminal::stdout(RowFormat::Text, ""));
        let number = |name: &str, n: u64| (name.to_owned(), n.to_string());
        let (keys, rate) = (arguments.keys, arguments.rate);
        let defines = BTreeMap::from([number("KEYS", keys), number("DIRTY", keys / 100), number("RATE", rate)]);
        let program = session.compile(SQL, &defines).map_err(|e| failed(&e))?;
        let Some(job) = program.jobs().next() else { return Err(Failure::failed("nothing to run")) };
        let job = Recovery::new(Start::Fresh, false).start(&session, job).map_err(|e| failed(&e))?.job;
        let run = Run { job, clock: Clock::system() };
        let text = format!("filling {} keys", count(keys as f64));
        console.message(&text, || json!({ "type": "message", "message": text }));
        while run.job.totals().rows_in < keys {
            run.pass(SECOND)?;
        }
        Ok(run)
    }

    /// Lets the job work. Errors: it has ended.
    fn pass(&self, time: Duration) -> Result<(), Failure> {
        match self.job.wait_for(time) {
            None => Ok(()),
            Some(outcome) => Err(Failure::failed(match outcome.error {
                Some(error) => error.to_string(),
                None => format!("the job ended too early: {:?}", outcome.ending),
            })),
        }
    }

    fn measure(&self, arguments: &CheckpointBenchArguments, console: &mut Console) -> Result<Found, Failure> {
        let mut found = Found { full: Some(self.first()?), ..Found::default() };
        for segment in 0..arguments.segments {
            let checkpoints = segment % 2 == 1;
            let (rows, processor) = (self.job.totals().rows_in, usage::processor_time());
            let begun = self.clock.now();
            for second in 1..=SEGMENT_S {
                if checkpoints {
                    self.job.checkpoint();
                }
                self.pass((begun + SECOND * second).saturating_sub(self.clock.now()))?;
            }
            let rows = self.job.totals().rows_in - rows;
            let nanos = usage::processor_time().saturating_sub(processor).as_nanos() as f64 / rows as f64;
            let text = format!(
                "segment {}: {nanos:.1} ns per row, {} rows/s",
                segment + 1,
                count(rows as f64 / f64::from(SEGMENT_S))
            );
            console.message(&text, || json!({ "type": "message", "message": text }));
            if checkpoints {
                found.changes.extend(self.job.registry().checkpoints.last());
                found.with.push(nanos);
            } else {
                found.without.push(nanos);
            }
        }
        self.job.cancel();
        let outcome = self.job.wait();
        let failed = outcome.error.filter(|_| outcome.ending == Ending::Failed);
        failed.map_or(Ok(found), |e| Err(Failure::failed(e.to_string())))
    }

    /// The first checkpoint, when it is complete.
    fn first(&self) -> Result<LastCheckpoint, Failure> {
        self.job.checkpoint();
        loop {
            match self.job.registry().checkpoints.last() {
                Some(first) => return Ok(first),
                None => self.pass(SECOND / 10)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg::engine::checkpoint::CheckpointId;

    #[test]
    fn medians_and_shares_are_of_the_right_things() {
        let taken = |written_bytes, freeze_us| LastCheckpoint {
            id: CheckpointId { generation: 1, number: 1 },
            at_ms: 0,
            duration_ms: 0,
            align_ms: 0,
            freeze_us,
            written_bytes,
            state_bytes: 0,
        };
        let found = Found {
            full: Some(taken(10 << 20, 9_000)),
            changes: vec![taken(1 << 20, 100), taken(2 << 20, 300), taken(9 << 20, 5_000)],
            without: vec![100.0, 90.0, 400.0],
            with: vec![110.0, 50.0, 500.0],
        };
        let text = found.text(&CheckpointBenchArguments {
            keys: 1_000_000,
            rate: 500_000,
            segments: 6,
            settings: Default::default(),
        });
        for part in [
            "1.00 M keys, 500 K rows/s, 6 segments",
            "100.0 ns without",
            "110.0 ns with",
            "+10.0 %",
            "2.0 MiB (20.00 %)",
            "9.00 ms for everything, 5.00 ms of changes (median of segments 0.30 ms)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
