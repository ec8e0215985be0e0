//! Diamonds, self-joins, idle and ended inputs with one-batch credits and 1 ms epochs: never a hang, never a wrong epoch.

use crate::graphs::{Shape, collect, fold, splits, sums, tight};
use std::time::Duration;
use thalweg_engine::rng::Rng;
use thalweg_engine::testing::rows::ZSet;
use thalweg_engine::testing::scripted::ScriptedSource;
use thalweg_engine::{Ending, Job};

/// At every epoch each key has one sum, and in graphs that count rows twice every sum is even: both ways stand at one prefix.
fn check_epoch(seed: u64, times: i64, epoch: u64, answer: &ZSet) {
    let mut keys: Vec<&str> = vec![];
    for (row, weight) in answer {
        assert_eq!(*weight, 1, "seed {seed} epoch {epoch}: {row} has weight {weight}");
        let (key, sum) = row.split_once('|').unwrap();
        assert_eq!(sum.parse::<i64>().unwrap() % times, 0, "seed {seed} epoch {epoch}: {row} saw half of a prefix");
        keys.push(key);
    }
    let n = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), n, "seed {seed} epoch {epoch}: a key has two sums: {answer:?}");
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let shapes = [Shape::Diamond, Shape::SelfJoin, Shape::IdleInput, Shape::EndedInput];
    let shape = shapes[rng.below(4) as usize];
    let n = 1 + rng.below(3) as usize;
    let rows = splits(&mut rng, n, 60);
    let script = ScriptedSource {
        pause_percent: rng.below(30),
        max_batch: 1 + rng.below(12) as usize,
        at_once: rng.below(3) as usize,
        seed,
        ..ScriptedSource::new(rows.clone())
    };
    let to = collect();
    let (graph, times) = shape.build(&script, &to);
    let job = Job::start(&graph, tight(1 + rng.below(3) as u32), None).unwrap();
    let want = sums(&rows, times);
    let idle = matches!(shape, Shape::IdleInput);
    let mut outcome = None;
    for _ in 0..2_000 {
        // The idle input never ends: drain when the answer is there.
        if idle && fold(&to, |_, _| {}) == want {
            job.drain();
        }
        outcome = job.wait_for(Duration::from_millis(if idle { 2 } else { 10 }));
        if outcome.is_some() {
            break;
        }
    }
    let Some(outcome) = outcome else {
        panic!("seed {seed} {shape:?} hangs:\n{}", job.describe(Duration::from_millis(500)).join("\n"));
    };
    assert_eq!(outcome.ending, Ending::Finished, "seed {seed} {shape:?}: {:?}", outcome.error);
    let answer = fold(&to, |epoch, answer| check_epoch(seed, times, epoch, answer));
    assert_eq!(answer, want, "seed {seed} {shape:?}");
}

#[test]
fn a_thousand_seeds_never_hang_and_every_epoch_is_a_prefix() {
    (0..1_000).for_each(run);
}
