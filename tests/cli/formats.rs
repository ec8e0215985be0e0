//! Files of earlier builds: a checkpoint of each format that was ever written is kept with the project, and jobs go on from it.
//!
//! A new format gets a folder of its own, written by `THALWEG_TEST_WRITE_FIXTURE=NAME cargo test --test cli formats`.

use crate::binary::{Ended, SqlFile};
use crate::durable::{checkpoint, command, job, output, undisturbed};
use crate::{crash, durable};
use std::fs;
use std::path::{Path, PathBuf};

const EVENTS: u64 = 60_000;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => assert!(fs::copy(entry.path(), to).is_ok()),
        }
    }
}

/// What the job had shown when it was stopped, one line each.
fn shown(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}

#[test]
fn jobs_go_on_from_checkpoints_of_every_format() {
    if let Ok(name) = std::env::var("THALWEG_TEST_WRITE_FIXTURE") {
        write(&fixtures().join(name));
    }
    let mut formats = 0;
    for folder in fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()) {
        let sql: SqlFile = job(EVENTS, 1_000_000_000);
        copy(&folder.join("checkpoints"), &sql.file("checkpoints"));
        let before = fs::read_to_string(folder.join("shown.csv")).unwrap();
        assert_eq!(checkpoint(&sql, &["verify"]).status, 0, "{folder:?}");
        let out = durable::run(&sql, 3, &["--from", "auto"]);
        assert_eq!(out.status, 0, "{folder:?}: {}", out.stderr);
        assert!(out.stderr.contains("goes on from checkpoint 1-"), "{}", out.stderr);
        let mut lines = output(&sql).0;
        assert!(!before.is_empty() && !lines.is_empty(), "{folder:?}");
        before.lines().for_each(|line| *lines.entry(line.to_owned()).or_default() += 1);
        assert!(lines == undisturbed(EVENTS), "{folder:?}");
        formats += 1;
    }
    assert!(formats > 0);
}

fn write(folder: &Path) {
    let sql = job(EVENTS, 60_000);
    let child = command(&sql, 2, &["--set", "checkpoint.interval=200ms"]).spawn().unwrap();
    crash::await_checkpoint(&sql.file("checkpoints"), 1);
    crash::wait(400);
    durable::signal(&child, libc::SIGINT);
    let out = Ended::new(child.wait_with_output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    copy(&sql.file("checkpoints"), &folder.join("checkpoints"));
    fs::write(folder.join("shown.csv"), shown(output(&sql).0.into_keys())).unwrap();
}
