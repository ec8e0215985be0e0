//! Memory that was given back in large pieces: allocators keep it for later use, and the process looks as large as before. The
//! program that chooses the allocator says here how it is asked to let go; state calls it when it has moved to disk or to storage.

use std::sync::OnceLock;

static LET_GO: OnceLock<fn()> = OnceLock::new();

/// Less than this is not worth the work.
const LARGE_BYTES: u64 = 4 << 20;

/// Says how the allocator gives unused memory back to the system. The first caller counts; without one nothing is done.
pub fn on_release(let_go: fn()) {
    let _ = LET_GO.set(let_go);
}

/// So many bytes were freed.
pub(crate) fn released(bytes: u64) {
    if let Some(let_go) = LET_GO.get().filter(|_| bytes >= LARGE_BYTES) {
        let_go();
    }
}
