//! When to kill: what a test of crashes needs to see of a folder of checkpoints. Also used by the tests of Kafka.

use std::path::Path;
use std::time::Duration;
use thalweg_engine::clock::Clock;

/// Waits on a queue that nobody fills.
pub fn wait(millis: u64) {
    let (_filler, quiet) = std::sync::mpsc::channel::<()>();
    let _ = quiet.recv_timeout(Duration::from_millis(millis));
}

/// The newest generation that has completed and committed a checkpoint; 0: none.
pub fn generation(checkpoints: &Path) -> u64 {
    let names = std::fs::read_dir(checkpoints.join("markers")).into_iter().flatten().flatten();
    let generation = |e: std::fs::DirEntry| e.file_name().to_str()?.split_once('-')?.0.parse().ok();
    names.filter_map(generation).max().unwrap_or(0)
}

/// Waits until this generation or a later one has committed a checkpoint, for sixty seconds at most.
pub fn await_checkpoint(checkpoints: &Path, wanted: u64) {
    let clock = Clock::system();
    while generation(checkpoints) < wanted {
        assert!(clock.now().as_secs() < 60, "no checkpoint of generation {wanted}");
        wait(2);
    }
}
