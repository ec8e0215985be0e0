//! The command line: `thalweg run job.sql` and its siblings.
//!
//! Results go to standard output, everything else to standard error. Exit status: 0 done or stopped, 130 cancelled, 1 failed,
//! 2 refused.

mod cli;

use std::ffi::{c_int, c_long};
use std::process::ExitCode;
use thalweg::engine::memory::Allocator;

/// The system's allocator gives memory back late and contends between task threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// Gives what is unused back to the system.
    fn mi_collect(force: bool);
    fn mi_option_get(option: c_int) -> c_long;
    fn mi_option_set(option: c_int, value: c_long);
}

/// The allocator's option: milliseconds for which freed memory is kept.
const PURGE_DELAY: c_int = 15;
/// Its default. If the option has another value, somebody has chosen it.
const DEFAULT_DELAY_MS: c_long = 1000;

#[expect(unsafe_code, reason = "the allocator's binding has no such function")]
fn let_go() {
    // SAFETY: the function takes no pointers, may be called by any thread at any time, and comes with the allocator above.
    unsafe { mi_collect(true) }
}

#[expect(unsafe_code, reason = "the allocator's binding has no such function")]
fn keep_little() {
    // SAFETY: as above; options are atomic.
    unsafe {
        if mi_option_get(PURGE_DELAY) == DEFAULT_DELAY_MS {
            mi_option_set(PURGE_DELAY, 5);
        }
    }
}

fn main() -> ExitCode {
    thalweg::engine::memory::set_allocator(Allocator { let_go, keep_little });
    cli::main()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "the allocator's binding has no such function")]
    fn the_allocator_keeps_freed_memory_for_a_second_until_it_is_scarce() {
        // SAFETY: as above.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), DEFAULT_DELAY_MS);
        keep_little();
        assert_eq!(delay(), 5);
    }
}
