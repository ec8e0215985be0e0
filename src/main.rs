//! The command line: `thalweg run job.sql` and its siblings.

fn main() {}
