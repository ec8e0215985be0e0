//! Object storage against a real server that speaks S3, as `.ci/s3-server` starts it and `THALWEG_TEST_S3` names it; without one
//! these tests are skipped, and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[allow(dead_code, reason = "shared with the tests of the command line")]
#[path = "../cli/binary.rs"]
mod binary;
#[allow(dead_code, reason = "shared with the tests of the command line")]
#[path = "../cli/crash.rs"]
mod crash;
mod jobs;
mod objects;
mod proxy;
mod refusals;
mod tables;
