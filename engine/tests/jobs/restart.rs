//! The whole job from an in-memory checkpoint, at another parallelism, once and again.

use crate::graphs::{Shape, collect, fold, splits, sums, tight};
use std::time::Duration;
use thalweg_engine::rng::Rng;
use thalweg_engine::testing::collect::CollectSink;
use thalweg_engine::testing::scripted::ScriptedSource;
use thalweg_engine::{Checkpoint, Ending, Graph, Job, JobOptions};

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

#[test]
fn restarts_at_2_3_1_3_give_the_answer_of_one_run() {
    (0..60).for_each(run);
}
