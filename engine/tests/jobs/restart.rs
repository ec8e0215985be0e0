//! The whole job from an in-memory checkpoint, at another parallelism, once and again.

use crate::graphs::{Shape, collect, fold, splits, sums, tight};
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::clock::Clock;
use thalweg_engine::rng::Rng;
use thalweg_engine::sink::{Committer, JobInfo, Prepared, Sink, SinkFactory};
use thalweg_engine::testing::collect::CollectSink;
use thalweg_engine::testing::scripted::ScriptedSource;
use thalweg_engine::{Checkpoint, Ending, Error, Graph, Job, JobOptions, Result};

fn options(parallelism: u32) -> JobOptions {
    JobOptions { keep_checkpoints: true, every_epoch_is_a_checkpoint: true, ..tight(parallelism) }
}

/// Runs until `epochs` barriers are complete, then cancels: the last complete checkpoint is what is left. `None`: it finished before.
fn cancel_after(
    graph: &Graph,
    from: Option<&Checkpoint>,
    parallelism: u32,
    epochs: usize,
    to: &CollectSink,
) -> Option<Checkpoint> {
    let job = Job::start(graph, options(parallelism), from).unwrap();
    let before = to.collected().released.len();
    for _ in 0..10_000 {
        if to.collected().released.len() >= before + epochs {
            job.cancel();
        }
        if let Some(outcome) = job.wait_for(Duration::from_micros(300)) {
            assert!(outcome.error.is_none(), "{:?}", outcome.error);
            return (outcome.ending == Ending::Cancelled).then(|| outcome.checkpoint.unwrap());
        }
    }
    panic!("hangs:\n{}", job.describe(Duration::from_millis(500)).join("\n"))
}

/// Releases after the checkpoint that the next run starts from would be of a run that never was.
fn forget_after(to: &CollectSink, epoch: u64) {
    to.collected().released.retain(|e, _| *e <= epoch);
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed ^ 0xC0FFEE);
    let shape = [Shape::Diamond, Shape::SelfJoin, Shape::EndedInput][rng.below(3) as usize];
    let rows = splits(&mut rng, 4, 120);
    let script = ScriptedSource {
        pause_percent: 30,
        max_batch: 5,
        at_once: rng.below(2) as usize,
        quiet_split: rng.percent(50),
        seed,
        ..ScriptedSource::new(rows.clone())
    };
    let to = collect();
    let (graph, times) = shape.build(&script, &to);
    let mut from: Option<Checkpoint> = None;
    for parallelism in [2, 3, 1] {
        let Some(checkpoint) = cancel_after(&graph, from.as_ref(), parallelism, 3, &to) else {
            // It was quicker than the cancel: there is nothing to restart.
            assert_eq!(fold(&to, |_, _| {}), sums(&rows, times), "seed {seed} {shape:?}");
            return;
        };
        assert_eq!(checkpoint.graph, graph.to_json());
        forget_after(&to, checkpoint.epoch);
        from = Some(checkpoint);
    }
    let last = Job::start(&graph, options(3), from.as_ref()).unwrap().wait();
    assert_eq!(last.ending, Ending::Finished, "seed {seed} {shape:?}: {:?}", last.error);
    assert_eq!(fold(&to, |_, _| {}), sums(&rows, times), "seed {seed} {shape:?}");
    let splits = &last.checkpoint.unwrap().sources["events"].splits;
    let all = rows.len() + usize::from(script.quiet_split);
    assert_eq!(splits.len(), all, "seed {seed}: every split ever assigned is in the checkpoint, finished or not");
    assert!(splits.values().all(|s| s.finished), "seed {seed}");
}

/// Commits nothing of `STUCK` and later epochs: waits until an epoch well after it is prepared, then fails.
struct StuckCommits(CollectSink);

const STUCK: u64 = 2;
const PREPARED: u64 = 5;

impl SinkFactory for StuckCommits {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        self.0.sink()
    }

    fn committer(&self, job: &JobInfo) -> Result<Option<Box<dyn Committer>>> {
        let inner = self.0.committer(job)?;
        Ok(inner.map(|inner| Box::new(StuckCommitter { inner, to: self.0.clone() }) as Box<dyn Committer>))
    }
}

struct StuckCommitter {
    inner: Box<dyn Committer>,
    to: CollectSink,
}

impl Committer for StuckCommitter {
    fn commit(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        if id < STUCK {
            return self.inner.commit(id, parts);
        }
        let clock = Clock::system();
        while self.to.collected().prepared().is_none_or(|epoch| epoch < PREPARED) {
            assert!(clock.now() < Duration::from_secs(10), "epoch {PREPARED} is never prepared");
            std::thread::yield_now();
        }
        Err(Error::external("the store is gone"))
    }

    fn recover(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        self.inner.recover(id, parts)
    }
}

/// Epochs go on while a commit is under way. When it fails, all of them are prepared and none is committed: the checkpoint must
/// know each, or its rows are lost.
#[test]
fn a_failed_commit_loses_no_epoch_that_was_prepared_meanwhile() {
    let rows = splits(&mut Rng::new(7), 4, 400);
    let script = ScriptedSource { pause_percent: 30, max_batch: 5, ..ScriptedSource::new(rows.clone()) };
    let to = collect();
    let (stuck, times) = Shape::SelfJoin.build_into(&script, Arc::new(StuckCommits(to.clone())));
    let outcome = Job::start(&stuck, options(2), None).unwrap().wait();
    let error = outcome.error.unwrap();
    assert!(error.message().contains("the store is gone"), "{error}");
    let checkpoint = outcome.checkpoint.unwrap();
    assert!(checkpoint.epoch + 1 >= PREPARED, "epoch {}", checkpoint.epoch);
    let held: Vec<u64> = checkpoint.prepared.keys().copied().collect();
    assert_eq!(held, (STUCK..=checkpoint.epoch).collect::<Vec<_>>());
    assert_eq!(to.collected().released.keys().copied().collect::<Vec<_>>(), [1]);

    let (graph, _) = Shape::SelfJoin.build(&script, &to);
    let last = Job::start(&graph, options(3), Some(&checkpoint)).unwrap().wait();
    assert_eq!(last.ending, Ending::Finished, "{:?}", last.error);
    assert_eq!(fold(&to, |_, _| {}), sums(&rows, times));
}

#[test]
fn restarts_at_2_3_1_3_give_the_answer_of_one_run() {
    (0..60).for_each(run);
}
