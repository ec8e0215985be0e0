//! The one door to a large stack: parsing, planning and dropping trees recurse as deep as a text allows.
//!
//! Called by [`compile`](crate::compile) around everything. The stack is address space; pages are touched only as deep as a text goes.

use crate::error::{Fault, Result};
use crate::limits::STACK_BYTES;

/// Runs `f` on a thread with [`STACK_BYTES`] of stack and waits for it. A panic in `f` is an internal fault, not ours.
pub(crate) fn on_large_stack<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("planner".into()).stack_size(STACK_BYTES);
        let running =
            thread.spawn_scoped(scope, f).map_err(|e| Fault::internal(format!("start the planning thread: {e}")))?;
        running.join().map_err(|payload| {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Fault::internal(format!("the planner panicked: {text}"))
        })
    })
}
