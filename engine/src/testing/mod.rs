//! What tests are made of: the operator harness, scripted sources, collecting sinks, and second implementors of every trait.
//!
//! An operator's own tests use [`harness`]: one script, run whole, row by row, in random pieces, with a freeze and restore after
//! every step and with restores at other parallelisms; the answer must be the same each time. Jobs are tested with
//! [`scripted`] sources and the [`collect`] sink.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

pub mod collect;
pub mod harness;
pub mod operators;
pub mod rows;
pub mod scripted;
