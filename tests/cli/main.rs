//! The command line as its users meet it: the real binary, its exit status, standard output and standard error.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod bench;
mod binary;
mod changes;
mod crash;
mod damage;
mod durable;
mod examples;
mod formats;
mod hostile;
mod nexmark;
mod planning;
mod refusals;
mod run;
mod signals;
mod spill;
mod state;
