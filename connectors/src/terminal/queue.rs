//! Lines on their way to standard output: a bounded queue, and the thread that writes it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use thalweg_engine::Waker;
use thalweg_engine::error::{Error, Result};

/// Bytes that may wait to be written; one chunk per sink may exceed it.
pub const QUEUE_BYTES: usize = 1 << 20;

/// A clone is another handle of the same queue. The thread ends when it is the last to hold one and nothing waits.
#[derive(Clone)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    /// Dropped with the last handle outside the thread.
    _owner: Arc<Owner>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Until the thread has taken it.
    out: Option<Box<dyn Write + Send>>,
    erase: &'static str,
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Chunks accepted and written so far.
    accepted: u64,
    written: u64,
    wakers: Vec<Waker>,
    /// Nobody reads any more.
    closed: bool,
    /// Writing failed otherwise.
    failed: Option<Error>,
    /// Nobody can push any more.
    ownerless: bool,
}

struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().ownerless = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    pub(super) fn new(out: Box<dyn Write + Send>, erase: &'static str) -> Queue {
        let state = State { out: Some(out), erase, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        Queue { _owner: Arc::new(Owner(shared.clone())), shared }
    }

    pub(super) fn closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Starts the thread, once.
    pub(super) fn start(&self) -> Result<()> {
        let Some(mut out) = self.shared.lock().out.take() else { return Ok(()) };
        let shared = self.shared.clone();
        let ended = self.shared.clone();
        let body = move || {
            while let Some((chunks, erase)) = next(&shared) {
                let result = write(out.as_mut(), &chunks, erase);
                finish(&shared, chunks.len(), result);
                shared.changed.notify_all();
            }
            Ok(())
        };
        let done = move |result: Result<()>| {
            if let Err(e) = result {
                fail(&mut ended.lock(), e);
                ended.changed.notify_all();
            }
        };
        thalweg_engine::thread::spawn("terminal", body, done).map(drop)
    }

    /// Takes a chunk and returns its number, or gives it back if there is no room: then the waker comes.
    pub(super) fn push(&self, chunk: Vec<u8>, waker: &Waker) -> Result<std::result::Result<u64, Vec<u8>>> {
        let mut state = self.shared.lock();
        state.check()?;
        if state.bytes >= QUEUE_BYTES && !state.closed {
            state.wakers.push(waker.clone());
            return Ok(Err(chunk));
        }
        let number = state.accept(chunk);
        drop(state);
        self.shared.changed.notify_all();
        Ok(Ok(number))
    }

    /// Takes a short chunk whether there is room or not.
    pub(super) fn force(&self, chunk: Vec<u8>) -> Result<()> {
        let mut state = self.shared.lock();
        state.check()?;
        state.accept(chunk);
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Waits for room, and then until the chunk has been written, or nobody reads any more: for threads that may wait.
    pub(super) fn put(&self, chunk: Vec<u8>) -> Result<()> {
        let mut state = self.shared.lock();
        while state.bytes >= QUEUE_BYTES && !state.closed && state.failed.is_none() {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()?;
        let number = state.accept(chunk);
        self.shared.changed.notify_all();
        while state.written < number && state.failed.is_none() {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()
    }

    /// Whether the chunk of that number has been written; if not, the waker comes when more has been.
    pub(super) fn written(&self, number: u64, waker: &Waker) -> Result<bool> {
        let mut state = self.shared.lock();
        state.check()?;
        let done = state.written >= number;
        if !done {
            state.wakers.push(waker.clone());
        }
        Ok(done)
    }
}

impl State {
    fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn accept(&mut self, chunk: Vec<u8>) -> u64 {
        self.accepted += 1;
        if self.closed {
            // Nobody reads it: it counts as written as soon as those before it do.
            self.written = self.accepted;
        } else {
            self.bytes += chunk.len();
            self.chunks.push_back(chunk);
        }
        self.accepted
    }
}

/// Waits for chunks; `None` when no more can come.
fn next(shared: &Shared) -> Option<(VecDeque<Vec<u8>>, &'static str)> {
    let mut state = shared.lock();
    while state.chunks.is_empty() {
        if state.ownerless {
            return None;
        }
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    Some((std::mem::take(&mut state.chunks), state.erase))
}

fn write(out: &mut dyn Write, chunks: &VecDeque<Vec<u8>>, erase: &str) -> std::io::Result<()> {
    out.write_all(erase.as_bytes())?;
    for chunk in chunks {
        out.write_all(chunk)?;
    }
    out.flush()
}

fn finish(shared: &Shared, chunks: usize, result: std::io::Result<()>) {
    let mut state = shared.lock();
    // What was taken stays counted until it is written, so the queue's bound covers it too.
    state.bytes = state.chunks.iter().map(Vec::len).sum();
    state.written += chunks as u64;
    match result {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::BrokenPipe => {
            state.closed = true;
            state.chunks.clear();
            (state.bytes, state.written) = (0, state.accepted);
        }
        Err(e) => return fail(&mut state, Error::external(format!("write standard output: {e}")).with_retry(false)),
    }
    state.wakers.drain(..).for_each(|w| w.wake());
}

fn fail(state: &mut State, error: Error) {
    state.failed.get_or_insert(error);
    state.wakers.drain(..).for_each(|w| w.wake());
}
