//! Stop, drain, cancel, panic, a slow sink, and the limits that hold meanwhile.

use crate::graphs::{Shape, collect, fold, operator, sink, source, splits, sums, tight};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::clock::Clock;
use thalweg_engine::operator::{Context, Operator};
use thalweg_engine::rng::Rng;
use thalweg_engine::sink::Release;
use thalweg_engine::testing::collect::CollectSink;
use thalweg_engine::testing::operators::{PanicOn, Pass};
use thalweg_engine::testing::rows::{int_batch, zset};
use thalweg_engine::testing::scripted::ScriptedSource;
use thalweg_engine::{
    Batch, Ending, Error, ErrorKind, EventTime, Graph, Input, Job, JobOptions, OutPort, Partitioning, Port, Result,
};

/// Waits until `done`, for ten seconds at most.
fn until(mut done: impl FnMut() -> bool) {
    let clock = Clock::system();
    while !done() {
        assert!(clock.now() < Duration::from_secs(10), "waited for ten seconds");
        std::thread::yield_now();
    }
}

fn pass_graph(script: ScriptedSource, to: &CollectSink) -> Graph {
    let mut g = Graph::new();
    let events = source(&mut g, "events", script);
    let pass = operator(&mut g, "pass", Pass::factory(), vec![Input::new(events, Partitioning::Hash(vec![1]))]);
    sink(&mut g, pass, to);
    g
}

#[test]
fn stop_ends_with_a_commit_of_everything_read_and_drain_with_all_windows() {
    let rows = splits(&mut Rng::new(1), 2, 50);
    let script = ScriptedSource { endless: true, ..ScriptedSource::new(rows.clone()) };
    for (drain, ending) in [(false, Ending::Stopped), (true, Ending::Finished)] {
        let to = collect();
        let (graph, times) = Shape::SelfJoin.build(&script, &to);
        let job = Job::start(&graph, tight(2), None).unwrap();
        until(|| fold(&to, |_, _| {}) == sums(&rows, times));
        if drain {
            job.drain()
        } else {
            job.stop()
        }
        assert_eq!(job.wait().ending, ending);
        assert_eq!(fold(&to, |_, _| {}), sums(&rows, times));
    }
}

#[test]
fn an_append_only_job_commits_the_tail_of_a_bounded_input() {
    let rows = splits(&mut Rng::new(2), 3, 1_000);
    let to = CollectSink::new(Release::Checkpoint);
    let graph = pass_graph(ScriptedSource::new(rows.clone()), &to);
    let outcome = Job::start(&graph, JobOptions { parallelism: 2, ..JobOptions::default() }, None).unwrap().wait();
    assert_eq!(outcome.ending, Ending::Finished);
    assert_eq!(zset(&to.released()), zset(&rows));
}

#[test]
fn cancel_is_quick_while_everything_is_backpressured() {
    let rows = splits(&mut Rng::new(3), 2, 20_000);
    let to = CollectSink::new(Release::Batch).slow(Duration::from_secs(3600));
    let graph = pass_graph(ScriptedSource { max_batch: 16, ..ScriptedSource::new(rows) }, &to);
    let job = Job::start(&graph, tight(2), None).unwrap();
    let backpressured = || job.registry().tasks.iter().filter(|t| t.name.starts_with("events"));
    until(|| backpressured().all(|t| t.metrics.in_flight_bytes.get() > 0));
    job.cancel();
    let outcome = job.wait_for(Duration::from_secs(1)).expect("cancel takes less than a second");
    assert_eq!(outcome.ending, Ending::Cancelled);
}

#[test]
fn a_slow_sink_bounds_what_is_in_flight() {
    let rows = splits(&mut Rng::new(4), 2, 3_000);
    let to = CollectSink::new(Release::Batch).slow(Duration::from_micros(200));
    let graph = pass_graph(ScriptedSource { max_batch: 16, ..ScriptedSource::new(rows.clone()) }, &to);
    let options = JobOptions { gate_bytes: 4096, edge_bytes: 1024, ..tight(2) };
    let job = Job::start(&graph, options, None).unwrap();
    assert_eq!(job.wait().ending, Ending::Finished);
    assert_eq!(zset(&to.collected().written), zset(&rows));
    let batch = 16 * 3 * 8;
    for task in job.registry().tasks.iter().filter(|t| t.name.starts_with("events")) {
        // Two channels out of each source subtask, each with half of its receiver's gate (two senders), and an overdraft of one batch.
        let limit = 2 * (4096 / 2 + batch);
        let peak = task.metrics.in_flight_peak_bytes.get();
        assert!((1..=limit).contains(&peak), "{peak} bytes in flight, {limit} allowed");
        assert!(task.metrics.backpressured_ns.get() > 0);
    }
}

#[test]
fn a_panic_fails_the_job_with_the_tasks_name_and_cancels_the_rest() {
    let rows = int_batch(["time", "key", "value"], &[[1, 2, 3], [13, 2, 3]]);
    let to = collect();
    let mut g = Graph::new();
    let events = source(&mut g, "events", ScriptedSource { max_batch: 1, ..ScriptedSource::new(vec![rows]) });
    let input = vec![Input::new(events, Partitioning::Hash(vec![1]))];
    let factory = || -> thalweg_engine::Result<Box<dyn Operator>> { Ok(Box::new(PanicOn(13))) };
    let checked = operator(&mut g, "check", Arc::new(factory), input);
    sink(&mut g, checked, &to);
    let outcome = Job::start(&g, tight(1), None).unwrap().wait();
    let error = outcome.error.unwrap();
    assert_eq!((outcome.ending, error.kind()), (Ending::Failed, ErrorKind::Internal));
    assert_eq!(error.task(), Some("check/0"));
    assert!(error.message().contains("met 13"), "{error}");
}

/// Fails on a row that is older than the frontier it was told.
struct NoRowIsLate(EventTime);

impl Operator for NoRowIsLate {
    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        let times = batch.column(0)?.as_primitive::<Int64Type>().values().clone();
        if let Some(late) = times.iter().find(|t| EventTime(**t) < self.0) {
            return Err(Error::internal(format!("a row at {late} came at frontier {}", self.0)));
        }
        ctx.emit(OutPort::MAIN, batch)
    }

    fn on_frontier(&mut self, now: EventTime, _ctx: &mut Context<'_>) -> Result<EventTime> {
        self.0 = now;
        Ok(now)
    }
}

/// Every batch keeps the sink busy for longer than the idle timeout. Were that time taken for idleness, the split that is behind
/// would leave the minimum and its rows would come late.
#[test]
fn backpressure_is_not_taken_for_idleness() {
    let rows = splits(&mut Rng::new(5), 2, 400);
    let script = ScriptedSource { endless: true, max_batch: 12, ..ScriptedSource::new(rows.clone()) };
    let to = CollectSink::new(Release::Batch).slow(Duration::from_millis(60));
    let mut g = Graph::new();
    let events = source(&mut g, "events", script);
    let factory = || -> Result<Box<dyn Operator>> { Ok(Box::new(NoRowIsLate(EventTime::MIN))) };
    let input = vec![Input::new(events, Partitioning::Forward)];
    let checked = operator(&mut g, "check", Arc::new(factory), input);
    sink(&mut g, checked, &to);
    let idle_timeout = Some(Duration::from_millis(40));
    let options = JobOptions { idle_timeout, watermark_interval: Duration::ZERO, ..JobOptions::default() };
    let job = Job::start(&g, options, None).unwrap();
    until(|| {
        to.collected().written.iter().map(Batch::num_rows).sum::<usize>() == 800
            || job.wait_for(Duration::ZERO).is_some()
    });
    job.stop();
    let outcome = job.wait();
    assert_eq!(outcome.ending, Ending::Stopped, "{:?}", outcome.error);
    assert_eq!(zset(&to.collected().written), zset(&rows));
}
