//! The whole job from checkpoints on a disk, at another parallelism, once and again; and what a run does that was fenced.

use crate::graphs::{Shape, fold, splits, sums, tight};
use std::time::Duration;
use tempfile::TempDir;
use thalweg_engine::checkpoint::{Archive, CheckpointId, TakeOver, Writer, unique_name};
use thalweg_engine::clock::Clock;
use thalweg_engine::rng::Rng;
use thalweg_engine::sink::Release;
use thalweg_engine::testing::collect::CollectSink;
use thalweg_engine::testing::scripted::ScriptedSource;
use thalweg_engine::{Checkpoint, Ending, Graph, Job, JobHandle, JobOptions};

fn options(parallelism: u32) -> JobOptions {
    JobOptions { checkpoint_interval: Some(Duration::from_millis(4)), ..tight(parallelism) }
}

fn take_over(folder: &TempDir) -> Writer {
    let archive = Archive::at(folder.path().to_str().unwrap()).unwrap();
    let (sequence, clock) = (archive.sequence().unwrap(), Clock::system());
    let how = TakeOver { sequence: &sequence, origin: None, retain: 2, run: &unique_name(&clock) };
    Writer::begin(&archive, clock, how).unwrap().unwrap()
}

/// Takes the job over and starts it from the newest checkpoint, or afresh.
fn start(folder: &TempDir, graph: &Graph, parallelism: u32) -> (JobHandle, Option<CheckpointId>) {
    let writer = take_over(folder);
    let from: Option<Checkpoint> = writer.checkpoints().last().map(|c| {
        let manifest = writer.archive().manifest(c).unwrap();
        writer.archive().load(&manifest).unwrap()
    });
    let id = from.as_ref().map(|c| CheckpointId::of_epoch(c.epoch));
    (Job::start_durable(graph, options(parallelism), from.as_ref(), writer).unwrap(), id)
}

/// Waits until something more is released, for ten seconds at most; whether it was.
fn released_more(to: &CollectSink, job: &JobHandle) -> bool {
    let before = to.collected().released.len();
    let clock = Clock::system();
    while to.collected().released.len() < before + 2 {
        if job.wait_for(Duration::from_micros(200)).is_some() {
            return false;
        }
        assert!(
            clock.now() < Duration::from_secs(10),
            "hangs:\n{}",
            job.describe(Duration::from_millis(500)).join("\n")
        );
    }
    true
}

fn run(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(seed ^ 0xD15C);
    let shape = [Shape::Diamond, Shape::SelfJoin, Shape::EndedInput][rng.below(3) as usize];
    let rows = splits(&mut rng, 4, 150);
    let script = ScriptedSource {
        pause_percent: 30,
        max_batch: 5,
        quiet_split: rng.percent(50),
        seed,
        ..ScriptedSource::new(rows.clone())
    };
    let to = CollectSink::new(Release::Checkpoint);
    let (graph, times) = shape.build(&script, &to);
    let mut last_id = None;
    for parallelism in [2, 3, 1, 3, 2] {
        let (job, id) = start(&folder, &graph, parallelism);
        assert!(id >= last_id, "seed {seed}: {id:?} after {last_id:?}");
        last_id = id;
        if !released_more(&to, &job) {
            break;
        }
        job.cancel();
        // It may be quicker than the cancel; going on from its end changes nothing.
        let ending = job.wait().ending;
        assert!(matches!(ending, Ending::Cancelled | Ending::Finished), "seed {seed}: {ending:?}");
    }
    let (job, _) = start(&folder, &graph, 3);
    let outcome = job.wait();
    assert_eq!(outcome.ending, Ending::Finished, "seed {seed}: {:?}", outcome.error);
    assert_eq!(fold(&to, |_, _| {}), sums(&rows, times), "seed {seed} {shape:?}");
    let saved = outcome.durable.unwrap();
    let marker = folder.path().join(format!("markers/{}", saved.id));
    assert!(marker.exists(), "seed {seed}: the tail was committed");
}

#[test]
fn restarts_from_disk_at_any_parallelism_give_the_answer_of_one_run() {
    (0..20).for_each(run);
}

#[test]
fn a_run_that_was_taken_over_fails_and_commits_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let rows = splits(&mut Rng::new(3), 2, 50);
    let to = CollectSink::new(Release::Checkpoint);
    let script = ScriptedSource { endless: true, max_batch: 1, ..ScriptedSource::new(rows) };
    let (graph, _) = Shape::SelfJoin.build(&script, &to);
    let (old, _) = start(&folder, &graph, 2);
    released_more(&to, &old);
    let newer = take_over(&folder);
    let outcome = old.wait();
    let error = outcome.error.unwrap();
    assert!(error.message().contains("another run has taken over"), "{error}");
    assert!(!error.retry());
    let complete = newer.archive().checkpoints().unwrap().last().unwrap().id;
    let committed = to.collected().released.keys().next_back().copied().unwrap();
    assert!(committed <= complete.epoch(), "{committed} after {complete}");
}
