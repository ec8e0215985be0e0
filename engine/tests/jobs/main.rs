//! Whole jobs over scripted sources: consistency of every epoch, restarts at other parallelisms, ends of every kind, limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod durable;
mod endings;
mod graphs;
mod hangs;
mod restart;
