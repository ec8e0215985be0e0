//! The command line: `thalweg run job.sql` and its siblings.
//!
//! Results go to standard output, everything else to standard error. Exit status: 0 done or stopped, 130 cancelled, 1 failed,
//! 2 refused.

mod cli;

use std::process::ExitCode;

/// The system's allocator gives memory back late and contends between task threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
