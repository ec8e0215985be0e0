//! The one place where requests run: a thread of its own with an event loop, started with the first request. Callers wait.
//!
//! Invariants
//! - R1 every request ends: an attempt has a limit, and so have all attempts together.

use super::failure::is_passing;
use crate::error::{Error, Result};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};

/// How long a request may take, and the attempts at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// All attempts together.
    pub(super) all: Duration,
    /// One attempt.
    pub(super) one: Duration,
    /// How many.
    pub(super) attempts: u32,
}

/// Of a server that has not answered yet: whether it can be reached should be known soon.
pub(super) const FIRST: Limits = Limits { all: Duration::from_secs(10), one: Duration::from_secs(8), attempts: 3 };
/// Of a server that has answered before.
pub(super) const LATER: Limits = Limits { all: Duration::from_secs(30), one: Duration::from_secs(20), attempts: 8 };

/// The first wait between two attempts; each is twice the one before.
const WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How a request has ended.
pub(super) enum Outcome<T> {
    Done(T),
    Failed(object_store::Error),
}

fn handle() -> Result<Handle> {
    static HANDLE: OnceLock<Result<Handle>> = OnceLock::new();
    let start = || {
        let failed = |e: std::io::Error| Error::external(format!("start the requests to object storage: {e}"));
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let body = move || {
            runtime.block_on(std::future::pending::<()>());
            Ok(())
        };
        crate::thread::spawn("s3", body, drop)?;
        Ok(handle)
    };
    HANDLE.get_or_init(start).clone()
}

/// The answer to something that was started.
#[derive(Debug)]
pub struct Ticket<T>(Receiver<T>);

impl<T> Ticket<T> {
    /// Waits for the answer.
    pub fn wait(&self) -> Result<T> {
        self.0.recv().map_err(|_| dropped())
    }

    /// The answer, if it is there.
    pub fn poll(&self) -> Result<Option<T>> {
        match self.0.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(dropped()),
        }
    }
}

fn dropped() -> Error {
    Error::internal("a request to object storage was dropped").with_retry(true)
}

/// Starts something on the thread of the requests.
pub(super) fn start<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<Ticket<T>> {
    start_then(work, || {})
}

/// The same; `done` is called when the ticket has the answer, and not before.
pub(super) fn start_then<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    done: impl FnOnce() + Send + 'static,
) -> Result<Ticket<T>> {
    let (tell, told) = sync_channel(1);
    handle()?.spawn(async move {
        // Who asked may be gone.
        let _ = tell.send(work.await);
        done();
    });
    Ok(Ticket(told))
}

/// Makes a request, again if what stood in its way may have passed.
pub(super) async fn limited<T, F>(limits: Limits, request: impl Fn() -> F) -> Outcome<T>
where
    F: Future<Output = object_store::Result<T>>,
{
    let mut last = None;
    let done = tokio::time::timeout(limits.all, attempts(limits, request, &mut last)).await;
    match (done, last) {
        (Ok(outcome), _) => outcome,
        (Err(_), Some(e)) => Outcome::Failed(e),
        (Err(_), None) => Outcome::Failed(late(limits.all)),
    }
}

async fn attempts<T, F: Future<Output = object_store::Result<T>>>(
    limits: Limits,
    request: impl Fn() -> F,
    last: &mut Option<object_store::Error>,
) -> Outcome<T> {
    let mut wait = WAIT;
    for attempt in 1.. {
        let failed = match tokio::time::timeout(limits.one, request()).await {
            Ok(Ok(answer)) => return Outcome::Done(answer),
            Ok(Err(e)) => e,
            Err(_) => late(limits.one),
        };
        if !is_passing(&failed) || attempt >= limits.attempts {
            return Outcome::Failed(failed);
        }
        *last = Some(failed);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
    Outcome::Failed(late(limits.all))
}

fn late(limit: Duration) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: format!("nothing came within {} s", limit.as_secs()).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn who_is_told_that_something_is_done_finds_the_answer() {
        for i in 0..200 {
            let (tell, told) = channel();
            let ticket = start_then(async move { i }, move || tell.send(()).unwrap()).unwrap();
            told.recv().unwrap();
            assert_eq!(ticket.poll().unwrap(), Some(i), "a sink that waits is woken once only");
        }
    }

    #[test]
    fn what_panics_is_an_error_of_whoever_waits() {
        let ticket = start(async { panic!("boom") }).unwrap();
        let e = ticket.wait().err().unwrap();
        assert!(e.retry() && e.message().contains("dropped"), "{e}");
        assert_eq!(start(async { 7 }).unwrap().wait().unwrap(), 7, "and the thread goes on");
    }
}
