//! Memory that was given back: allocators keep it for later use, and the process looks as large as before. The program that chooses
//! the allocator says here how it is asked to let go; state calls it when it has moved to disk or to storage.

use std::sync::{Once, OnceLock};

/// What a program's allocator can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Allocator {
    /// To give unused memory back to the system, once.
    pub let_go: fn(),
    /// To keep little of what is freed from now on: memory is scarcer than time.
    pub keep_little: fn(),
}

static ALLOCATOR: OnceLock<Allocator> = OnceLock::new();
static SCARCE: Once = Once::new();

/// Less than this is not worth the work.
const LARGE_BYTES: u64 = 4 << 20;

/// Says how the allocator is asked. The first caller counts; without one nothing is asked.
pub fn set_allocator(allocator: Allocator) {
    let _ = ALLOCATOR.set(allocator);
}

/// So many bytes were freed.
pub(crate) fn released(bytes: u64) {
    if let Some(allocator) = ALLOCATOR.get().filter(|_| bytes >= LARGE_BYTES) {
        (allocator.let_go)();
    }
}

/// State takes much of the memory that it may have, and goes to disk soon.
pub(crate) fn is_scarce() {
    SCARCE.call_once(|| ALLOCATOR.get().into_iter().for_each(|a| (a.keep_little)()));
}
