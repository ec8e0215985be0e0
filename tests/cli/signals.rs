//! Ctrl-C: once stops, twice cancels, also when nobody reads the rows.

use crate::binary::{ENDLESS, Ended, SqlFile};
use std::io::{BufRead, BufReader, Read};
use std::process::Child;

fn interrupt(child: &Child) {
    // SAFETY: the child has not been waited for, so the number is still its own.
    let sent = unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    assert_eq!(sent, 0);
}

/// Reads standard error up to the line that holds `text`.
fn await_line(stderr: &mut impl BufRead, text: &str) {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "standard error ended without `{text}`");
    }
}

fn await_rows(child: &mut Child) {
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 8]).unwrap();
}

#[test]
fn once_stops_in_order() {
    let sql = SqlFile::new(&format!("{ENDLESS}SELECT event_type FROM events;"));
    let mut child = sql.start(&[]);
    await_rows(&mut child);
    interrupt(&child);
    let out = Ended::new(child.wait_with_output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.stderr.contains("stopped after"), "{}", out.stderr);
}

#[test]
fn twice_cancels_although_nobody_reads_the_rows() {
    let sql = SqlFile::new(
        "CREATE TABLE events (event_type INT, bid ROW<url STRING>) WITH ('connector' = 'nexmark');
         SELECT bid.url FROM events;",
    );
    let mut child = sql.start(&["--json"]);
    await_rows(&mut child);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    interrupt(&child);
    await_line(&mut stderr, "stopping");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("panicked"), "{rest}");
}

#[test]
fn a_stop_skips_the_jobs_that_follow() {
    let sql = SqlFile::new(
        "CREATE TABLE few (event_type INT)
         WITH ('connector' = 'nexmark', 'events.num' = '10000', 'rows-per-second' = '100');
         SELECT event_type FROM few;
         SELECT event_type AS second FROM few;",
    );
    let mut child = sql.start(&[]);
    await_rows(&mut child);
    interrupt(&child);
    let out = Ended::new(child.wait_with_output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(!out.stdout.contains("second"), "{}", out.stdout);
}
