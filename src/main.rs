//! The command line: `thalweg run job.sql` and its siblings.
//!
//! Results go to standard output, everything else to standard error. Exit status: 0 done or stopped, 130 cancelled, 1 failed,
//! 2 refused.

mod cli;

use std::process::ExitCode;

/// The system's allocator gives memory back late and contends between task threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// Gives what is unused back to the system.
    fn mi_collect(force: bool);
}

#[expect(unsafe_code, reason = "the allocator's binding has no such function")]
fn let_go() {
    // SAFETY: the function takes no pointers, may be called by any thread at any time, and comes with the allocator above.
    unsafe { mi_collect(true) }
}

fn main() -> ExitCode {
    thalweg::engine::memory::on_release(let_go);
    cli::main()
}
