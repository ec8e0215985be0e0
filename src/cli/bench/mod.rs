//! `thalweg bench nexmark`: runs the queries through the ordinary planner and runtime, and measures.
//!
//! Per query: one untimed run, which warms up and adds up a checksum of the rows, then the timed runs, whose sinks forget rows at
//! once. Only the time between a job's start and its end counts, for the clock as for the processor.

mod checkpoint;
mod checksum;
mod pregenerated;
mod queries;
mod report;

use crate::cli::arguments::{EventSource, NexmarkArguments};
use crate::cli::console::{Console, Failure};
use crate::cli::exit::Exit;
use crate::cli::usage;
use crate::cli::{inputs, print};
use arrow::datatypes::SchemaRef;
use checksum::Checksum;
use pregenerated::{Events, Pregenerated};
use queries::{QUERIES, Query, SOURCE};
use report::{Finding, Measured, Setup};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg::Session;
use thalweg::connectors::nexmark::NexmarkConfig;
use thalweg::connectors::options::{OptionResult, TypedOptions};
use thalweg::connectors::registry::{Connector, Description, TableSpec};
use thalweg::connectors::terminal::{RowFormat, Terminal};
use thalweg::engine::StreamKind;
use thalweg::engine::clock::Clock;
use thalweg::engine::job::Ending;
use thalweg::engine::sink::SinkFactory;
use thalweg::engine::source::SourceFactory;
use thalweg::settings::Resolver;
use thalweg::sql::suggest::closest;

pub(crate) use checkpoint::checkpoint;

/// Runs the queries; one line each as soon as it is known.
pub(crate) fn nexmark(arguments: &NexmarkArguments, console: &mut Console) -> Result<Exit, Failure> {
    let queries = select(&arguments.queries)?;
    if let Some(path) = &arguments.json {
        // A place that cannot be written is known before the measurement, not after.
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|e| Failure::refused(format!("argument `--json`: write `{}`: {e}", path.display())))?;
    }
    let bench = Bench::new(arguments, console)?;
    print(&format!("{}\n", report::header()))?;
    let mut all = vec![];
    for query in queries {
        let finding = bench.query(query).map_err(|e| Failure { text: format!("{}: {}", query.name, e.text), ..e })?;
        print(&format!("{}\n", finding.line(&bench.setup)))?;
        all.push(finding.json(&bench.setup));
    }
    match &arguments.json {
        Some(path) => write_json(path, all).map(|()| Exit::Done),
        None => Ok(Exit::Done),
    }
}

fn write_json(path: &Path, all: Vec<Value>) -> Result<(), Failure> {
    let text = format!("{:#}\n", Value::Array(all));
    std::fs::write(path, text).map_err(|e| Failure::failed(format!("write `{}`: {e}", path.display())))
}

fn select(names: &[String]) -> Result<Vec<&'static Query>, Failure> {
    if names.is_empty() {
        return Ok(QUERIES.iter().collect());
    }
    let known = || QUERIES.iter().map(|q| q.name);
    let find = |name: &String| {
        QUERIES.iter().find(|q| q.name == name.trim()).ok_or_else(|| {
            let all = known().collect::<Vec<_>>().join(", ");
            let near = closest(name, known()).map_or_else(String::new, |n| format!("did you mean `{n}`? "));
            Failure::refused(format!("argument `--queries`: there is no query `{name}`; {near}there are {all}"))
        })
    };
    names.iter().map(find).collect()
}

/// What all queries of one call share.
struct Bench {
    setup: Setup,
    settings: Resolver,
    /// Set if the events are generated beforehand.
    events: Option<Events>,
    clock: Clock,
    /// Where queries that write files put them.
    folder: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It is missing unless a query has written files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Bench {
    fn new(arguments: &NexmarkArguments, console: &mut Console) -> Result<Bench, Failure> {
        let settings = inputs::settings(&arguments.settings)?;
        let resolved = settings.settings();
        let setup = Setup {
            source: arguments.source.name(),
            events: arguments.events,
            rate: arguments.rate,
            parallelism: resolved.parallelism,
            runs: arguments.runs,
        };
        let events = match arguments.source {
            EventSource::Inline => None,
            EventSource::Pregenerated => Some(generate(&setup, resolved.batch_rows, console)?),
        };
        let folder = std::env::temp_dir().join(format!("thalweg-bench-{}", std::process::id()));
        Ok(Bench { setup, settings, events, clock: Clock::system(), folder })
    }

    fn query(&self, query: &'static Query) -> Result<Finding, Failure> {
        let sum = Checksum::default();
        self.once(query, Some(&sum))?;
        let mut best: Option<Measured> = None;
        for _ in 0..self.setup.runs {
            let run = self.once(query, None)?;
            if best.is_none_or(|b| run.elapsed < b.elapsed) {
                best = Some(run);
            }
        }
        let best = best.ok_or_else(|| Failure::refused("argument `--runs`: there must be one at least"))?;
        let checksum = query.sql.contains("${SINK}").then(|| sum.get());
        Ok(Finding { query: query.name, part: query.part, best, checksum })
    }

    /// One run; with a checksum it is not one to be timed.
    fn once(&self, query: &Query, sum: Option<&Checksum>) -> Result<Measured, Failure> {
        let mut session = Session::with(self.settings.clone(), Terminal::stdout(RowFormat::Text, ""));
        if let Some(events) = &self.events {
            session.register(Arc::new(EventsConnector(events.clone())));
        }
        session.register(Arc::new(ChecksumConnector(sum.cloned().unwrap_or_default())));
        let text = format!("{SOURCE}\n{}", query.sql);
        let program = session.compile(&text, &self.defines(sum.is_some()));
        let program = program.map_err(|e| Failure::failed(e.to_string()))?;
        let Some(job) = program.jobs().next() else { return Err(Failure::failed("the query starts no job")) };
        usage::reset_peak_memory();
        let (start, processor) = (self.clock.now(), usage::processor_time());
        let handle = session.start(job).map_err(|e| Failure::failed(e.to_string()))?;
        let outcome = handle.wait();
        let elapsed = self.clock.now().saturating_sub(start);
        let processor = usage::processor_time().saturating_sub(processor);
        let totals = handle.totals();
        if let Some(error) = outcome.error {
            return Err(Failure::failed(error.to_string()));
        }
        if outcome.ending != Ending::Finished || totals.rows_in != self.setup.events {
            let (read, all) = (totals.rows_in, self.setup.events);
            return Err(Failure::failed(format!("{:?} after {read} of {all} events", outcome.ending)));
        }
        let peak_memory_bytes = usage::peak_memory_bytes();
        Ok(Measured { elapsed, processor, peak_memory_bytes, rows_out: totals.rows_out })
    }

    /// What stands for the connectors in the SQL files.
    fn defines(&self, checked: bool) -> BTreeMap<String, String> {
        let Setup { events, rate, .. } = &self.setup;
        let source = match self.events {
            Some(_) => format!("'connector' = '{EVENTS}'"),
            None => format!("'connector' = 'nexmark', 'events.num' = '{events}', 'first-event.rate' = '{rate}'"),
        };
        let sink = if checked { CHECKSUM } else { "blackhole" };
        let folder = self.folder.display();
        let files = format!("'connector' = 'filesystem', 'path' = '{folder}', {FILE_OPTIONS}");
        let pairs = [("SOURCE", source), ("SINK", format!("'connector' = '{sink}'")), ("FILES", files)];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn generate(setup: &Setup, batch_rows: usize, console: &mut Console) -> Result<Events, Failure> {
    let text = format!("generating {} events", setup.events);
    console.message(&text, || json!({ "type": "message", "message": text }));
    let config = NexmarkConfig { events_num: setup.events, first_event_rate: setup.rate, ..NexmarkConfig::default() };
    pregenerated::generate(&config, batch_rows).map_err(|e| Failure::failed(e.to_string()))
}

/// As the public benchmark writes them: a file a minute, and a mark when the minute is over in event time. One line, because the
/// query's comment names the variable too.
const FILE_OPTIONS: &str = "'format' = 'csv', 'sink.partition-commit.trigger' = 'partition-time', \
    'sink.partition-commit.delay' = '1 min', 'sink.partition-commit.policy.kind' = 'success-file', \
    'partition.time-extractor.timestamp-pattern' = '$dt $hm:00', \
    'sink.rolling-policy.rollover-interval' = '1min', 'sink.rolling-policy.check-interval' = '1min'";

const EVENTS: &str = "pregenerated-nexmark";
const CHECKSUM: &str = "checksum";

/// Tables over the events generated beforehand.
struct EventsConnector(Events);

impl Connector for EventsConnector {
    fn describe(&self) -> Description {
        Description {
            no_sink: Some("write into another table"),
            ..Description::new(EVENTS, "Nexmark events in memory")
        }
    }

    fn check(&self, _spec: &TableSpec, _options: &TypedOptions<'_>) -> OptionResult<()> {
        Ok(())
    }

    fn source(
        &self,
        _spec: &TableSpec,
        _options: &TypedOptions<'_>,
        columns: SchemaRef,
    ) -> OptionResult<Arc<dyn SourceFactory>> {
        Ok(Arc::new(Pregenerated::new(self.0.clone(), columns)))
    }
}

/// Tables that add up what is written to them.
struct ChecksumConnector(Checksum);

impl Connector for ChecksumConnector {
    fn describe(&self) -> Description {
        Description { no_source: Some("read from another table"), ..Description::new(CHECKSUM, "a sum of all rows") }
    }

    fn check(&self, _spec: &TableSpec, _options: &TypedOptions<'_>) -> OptionResult<()> {
        Ok(())
    }

    fn sink(
        &self,
        _spec: &TableSpec,
        _options: &TypedOptions<'_>,
        _columns: SchemaRef,
        _kind: StreamKind,
    ) -> OptionResult<Arc<dyn SinkFactory>> {
        Ok(Arc::new(self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_found_by_name_or_all() {
        assert_eq!(select(&[]).unwrap().len(), QUERIES.len());
        let some: Vec<&str> = select(&["q2".into(), " q5".into()]).unwrap().iter().map(|q| q.name).collect();
        assert_eq!(some, ["q2", "q5"]);
        let e = select(&["q1-decimals".into()]).unwrap_err();
        assert!(e.text.contains("did you mean `q1-decimal`?") && e.exit == Exit::Refused, "{}", e.text);
    }

    #[test]
    fn parts_are_marked_and_every_query_writes_somewhere() {
        let parts: Vec<&str> = QUERIES.iter().filter(|q| q.part).map(|q| q.name).collect();
        assert_eq!(parts, ["q5", "q7", "q8"]);
        assert!(QUERIES.iter().all(|q| q.sql.contains("${SINK}") != q.sql.contains("${FILES}")));
    }
}
