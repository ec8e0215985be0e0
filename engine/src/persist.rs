//! The thread that makes checkpoints durable, apart from the coordinator's so that storage never delays a barrier. Started by the
//! driver, which learns by events how each checkpoint went.

use crate::checkpoint::writer::Snapshot;
use crate::checkpoint::{Checkpoint, CheckpointId, Saved, Writer};
use crate::error::Result;
use crate::thread::spawn;
use crossbeam_channel::{Receiver, Sender};

/// What to do.
pub(crate) enum Task {
    /// Make a checkpoint durable.
    Save {
        /// All but the state.
        checkpoint: Box<Checkpoint>,
        snapshots: Vec<Snapshot>,
        savepoint: bool,
    },
    /// Note that all sinks have committed a checkpoint.
    Committed(CheckpointId),
}

/// What happened.
pub(crate) enum Told {
    Saved {
        epoch: u64,
        result: Result<Saved>,
        /// Subtasks whose snapshots should begin anew, by operator id.
        long_chains: Vec<(String, u32)>,
    },
    /// What no checkpoint needs any more was removed, or not all of it.
    Swept(Result<()>),
    /// The thread is gone; an error only if it panicked.
    Ended(Result<()>),
}

/// Starts the thread. It ends when the sender of tasks is dropped and all tasks are done.
pub(crate) fn start(mut writer: Writer, tell: impl Fn(Told) + Clone + Send + 'static) -> Result<Sender<Task>> {
    let (tasks, queue) = crate::inbox::mailbox::<Task>();
    let (told, ended) = (tell.clone(), tell);
    let body = move || {
        run(&mut writer, &queue, &told);
        Ok(())
    };
    spawn("checkpoints", body, move |result| ended(Told::Ended(result)))?;
    Ok(tasks)
}

fn run(writer: &mut Writer, queue: &Receiver<Task>, tell: &impl Fn(Told)) {
    while let Ok(task) = queue.recv() {
        match task {
            Task::Save { checkpoint, snapshots, savepoint } => {
                let result = writer.save(&checkpoint, snapshots, savepoint);
                let long_chains = writer.long_chains().map(|(id, subtask)| (id.to_owned(), subtask)).collect();
                tell(Told::Saved { epoch: checkpoint.epoch, result, long_chains });
            }
            Task::Committed(id) => {
                // A marker only saves work at a restore, and what is not swept now is swept later.
                let _ = writer.committed(id);
                if let Some(result) = writer.sweep() {
                    tell(Told::Swept(result));
                }
            }
        }
    }
}
