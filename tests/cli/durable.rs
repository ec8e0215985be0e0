//! Checkpoints as users meet them: `kill -9` at any moment, at any durable step, a stalled process, a stop with a savepoint, other
//! queries over the same folder; and every refusal.

use crate::binary::{Ended, SqlFile, bids_per_auction, lines_of, thalweg};
use crate::crash;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output};
use thalweg_engine::rng::Rng;

/// Bids per auction in windows of a second, from the generator into files; `rate`: rows per second of the wall clock.
pub fn job(events: u64, rate: u64) -> SqlFile {
    let sql = SqlFile::new("");
    let out = sql.file("out").display().to_string();
    let text = bids_per_auction(&out, events, rate);
    std::fs::write(sql.path(), text).unwrap();
    sql
}

pub fn command(sql: &SqlFile, parallelism: u64, more: &[&str]) -> Command {
    let (path, dir) = (sql.path(), format!("checkpoint.dir={}", sql.file("checkpoints").display()));
    let parallelism = parallelism.to_string();
    let always = ["run", &path, "--parallelism", &parallelism, "--set", &dir, "--set", "checkpoint.interval=20ms"];
    thalweg(&always.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
}

pub fn run(sql: &SqlFile, parallelism: u64, more: &[&str]) -> Ended {
    Ended::new(command(sql, parallelism, more).output().unwrap())
}

/// What the job shows.
pub fn output(sql: &SqlFile) -> (BTreeMap<String, u64>, usize) {
    lines_of(&sql.file("out"))
}

/// What a run without any disturbance writes.
pub fn undisturbed(events: u64) -> BTreeMap<String, u64> {
    let sql = job(events, 1_000_000_000);
    let out = sql.run(&["--parallelism", "2"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let (lines, hidden) = output(&sql);
    assert!(lines.len() > 1000 && hidden == 0, "{} lines", lines.len());
    lines
}

pub fn signal(child: &Child, signal: i32) {
    // SAFETY: the child has not been waited for, so the number is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}

#[test]
fn killed_at_any_moment_and_resumed_at_any_parallelism_every_row_is_there_once() {
    const EVENTS: u64 = 120_000;
    let sql = job(EVENTS, 60_000);
    let mut rng = Rng::new(4);
    let (mut kills, mut from_checkpoint) = (0, 0);
    loop {
        let parallelism = [1, 2, 3, 5][rng.below(4) as usize];
        let mut child = command(&sql, parallelism, &["--from", "auto"]).spawn().unwrap();
        if kills < 12 && !rng.percent(25) {
            crash::await_checkpoint(&sql.file("checkpoints"), crash::generation(&sql.file("checkpoints")) + 1);
        }
        crash::wait(rng.below(80));
        if kills == 12 {
            let out = Ended::new(child.wait_with_output().unwrap());
            assert_eq!(out.status, 0, "{}", out.stderr);
            break;
        }
        child.kill().unwrap();
        let out: Output = child.wait_with_output().unwrap();
        from_checkpoint += u32::from(String::from_utf8_lossy(&out.stderr).contains("goes on from checkpoint"));
        kills += 1;
    }
    let (lines, hidden) = output(&sql);
    assert_eq!(lines, undisturbed(EVENTS), "after {kills} kills, {from_checkpoint} restores");
    assert_eq!(hidden, 0, "no orphans");
    assert!(from_checkpoint >= 6, "{from_checkpoint} restores");
}

#[test]
fn of_several_started_at_once_one_ends_the_job_and_the_answer_is_right() {
    const EVENTS: u64 = 150_000;
    let sql = job(EVENTS, 60_000);
    let start = |parallelism| command(&sql, parallelism, &["--from", "auto"]).spawn().unwrap();
    let ended: Vec<Ended> =
        [1, 2, 3, 2].map(start).into_iter().map(|c| Ended::new(c.wait_with_output().unwrap())).collect();
    let winners = ended.iter().filter(|e| e.status == 0).count();
    assert_eq!(winners, 1, "{ended:?}");
    let fenced = |e: &&Ended| e.status == 1 && e.stderr.contains("another run has taken over the job");
    assert_eq!(ended.iter().filter(fenced).count(), 3, "{ended:?}");
    let (lines, hidden) = output(&sql);
    assert_eq!(lines, undisturbed(EVENTS));
    assert_eq!(run(&sql, 2, &["--from", "auto"]).status, 0);
    assert!(hidden == 0 || output(&sql).1 == 0, "whoever comes next removes what the others left");
}

#[test]
fn what_runs_without_a_checkpoint_left_behind_is_removed() {
    let sql = job(30_000, 60_000);
    for step in ["record.create", "manifest.put"] {
        let mut command = command(&sql, 2, &["--from", "auto", "--set", "checkpoint.interval=off"]);
        let out = command.env("THALWEG_TEST_FAIL", format!("{step}=abort-before@1")).output().unwrap();
        assert_eq!(out.status.code(), None);
    }
    let (_, hidden) = output(&sql);
    assert!(hidden > 0, "windows have fired into files before the only checkpoint");
    let out = run(&sql, 3, &["--from", "auto"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let (lines, left) = output(&sql);
    assert_eq!((lines, left), (undisturbed(30_000), 0), "{hidden} were there before");
}

/// Every durable step that this job takes, and at which time it goes wrong.
const STEPS: [(&str, u32); 20] = [
    ("generation.create", 1),
    ("snapshot.put", 3),
    ("manifest.put", 3),
    ("record.create", 3),
    ("marker.put", 3),
    ("object.folder", 4),
    ("object.write", 9),
    ("object.link", 10),
    ("object.sync", 11),
    ("sweep.record", 2),
    ("sweep.unfinished", 1),
    ("sweep.delete", 3),
    // Few files are written.
    ("file.folder", 1),
    ("file.create", 2),
    ("file.close", 2),
    ("file.publish", 2),
    ("file.link", 2),
    ("file.sync", 2),
    ("file.unhide", 2),
    ("file.mark", 2),
];

/// Runs the job into a step that goes wrong, then to its end.
fn go_wrong(step: &str, at: u32, action: &str, events: u64, expected: &BTreeMap<String, u64>) {
    let sql = job(events, 60_000);
    if step == "file.mark" {
        replace(&sql, "'format' = 'csv'", "'format' = 'csv', 'sink.partition-commit.policy.kind' = 'success-file'");
        replace(&sql, "bids BIGINT)", "bids BIGINT, day STRING) PARTITIONED BY (day)");
        replace(&sql, "COUNT(*)\n", "COUNT(*), CAST(MOD(bid.auction, 3) AS STRING)\n");
    }
    let out = command(&sql, 2, &["--set", "restart.delay=1ms", "--set", "checkpoint.retained=1"])
        .env("THALWEG_TEST_FAIL", format!("{step}={action}@{at}"))
        .env("THALWEG_TEST_GRACE_MS", "0")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&out.stderr).into_owned();
    let code = action.starts_with("error").then_some(i32::from(step == "generation.create"));
    assert_eq!(out.status.code(), code, "{step} {action}: {shown}");
    let out = run(&sql, 3, &["--from", "auto"]);
    assert_eq!(out.status, 0, "{step} {action}: {}", out.stderr);
    let (lines, hidden) = output(&sql);
    assert!(lines == *expected, "{step} {action}: {} lines of {}", lines.len(), expected.len());
    assert_eq!(hidden, 0, "{step} {action}: orphans");
}

#[test]
fn a_crash_or_error_at_any_durable_step_changes_nothing() {
    let few = undisturbed(30_000);
    // Sweeping takes some checkpoints.
    let many = undisturbed(90_000);
    for (step, at) in STEPS {
        let (events, expected) = if step.starts_with("sweep") { (90_000, &many) } else { (30_000, &few) };
        for action in ["abort-before", "abort-after", "error", "error-after"] {
            go_wrong(step, at, action, events, expected);
        }
    }
}

#[test]
fn a_crash_or_error_while_a_checkpoint_is_read_changes_nothing() {
    let expected = undisturbed(90_000);
    for step in ["manifest.read", "snapshot.read"] {
        for action in ["abort-before", "abort-after", "error"] {
            let sql = job(90_000, 60_000);
            let out = command(&sql, 2, &[]).env("THALWEG_TEST_FAIL", "marker.put=abort-after@4").output().unwrap();
            assert_eq!(out.status.code(), None);
            let out = command(&sql, 3, &["--from", "auto"])
                .env("THALWEG_TEST_FAIL", format!("{step}={action}"))
                .output()
                .unwrap();
            assert_ne!(out.status.code(), Some(0), "{step} {action}");
            let out = run(&sql, 1, &["--from", "auto"]);
            assert_eq!(out.status, 0, "{step} {action}: {}", out.stderr);
            assert!(output(&sql) == (expected.clone(), 0), "{step} {action}");
        }
    }
}

#[test]
fn a_process_that_slept_while_another_took_over_neither_writes_nor_commits() {
    const EVENTS: u64 = 150_000;
    let sql = job(EVENTS, 60_000);
    let sleeper = command(&sql, 2, &["--from", "auto"]).spawn().unwrap();
    crash::await_checkpoint(&sql.file("checkpoints"), 1);
    signal(&sleeper, libc::SIGSTOP);
    let newer = command(&sql, 3, &["--from", "auto"]).spawn().unwrap();
    crash::await_checkpoint(&sql.file("checkpoints"), 2);
    signal(&sleeper, libc::SIGCONT);
    let slept = Ended::new(sleeper.wait_with_output().unwrap());
    assert_eq!(slept.status, 1, "{}", slept.stderr);
    assert!(slept.stderr.contains("another run has taken over"), "{}", slept.stderr);
    let out = Ended::new(newer.wait_with_output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert_eq!(output(&sql).0, undisturbed(EVENTS));
}

#[test]
fn a_stop_leaves_a_savepoint_to_go_on_from() {
    const EVENTS: u64 = 150_000;
    let sql = job(EVENTS, 60_000);
    let child = command(&sql, 2, &[]).spawn().unwrap();
    crash::await_checkpoint(&sql.file("checkpoints"), 1);
    signal(&child, libc::SIGINT);
    let out = Ended::new(child.wait_with_output().unwrap());
    assert_eq!(out.status, 0, "{}", out.stderr);
    let (_, rest) = out.stderr.split_once("savepoint ").unwrap();
    let id = rest.split(';').next().unwrap();
    let partly = output(&sql).0.len();
    let out = run(&sql, 1, &["--from", id]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.stderr.contains(&format!("goes on from checkpoint {id}")), "{}", out.stderr);
    let (lines, _) = output(&sql);
    assert!(partly < lines.len());
    assert_eq!(lines, undisturbed(EVENTS));
}

#[test]
fn a_failed_attempt_starts_again_by_itself_from_the_last_checkpoint() {
    let sql = job(30_000, 60_000);
    let out = command(&sql, 2, &["--set", "restart.delay=5ms", "--json"])
        .env("THALWEG_TEST_FAIL", "file.publish=error@2")
        .output()
        .unwrap();
    let out = Ended::new(out);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let restart = &out.messages("restart")[0];
    assert!(restart["error"].as_str().unwrap().contains("fail point `file.publish`"), "{restart}");
    assert_eq!(restart["wait_ms"], 5);
    assert_eq!(out.messages("restored")[0]["restarts"], 1);
    let last = &out.messages("summary")[1]["checkpoint"];
    assert!(last["id"].as_str().unwrap().starts_with("2-"), "{last}");
    assert!(last["align_ms"].is_u64() && last["freeze_us"].as_u64().unwrap() > 0, "{last}");
    assert!(last["duration_ms"].is_u64() && last["at_ms"].is_i64() && last["written_bytes"].is_u64(), "{last}");
    assert_eq!(output(&sql).0, undisturbed(30_000));
}

#[test]
fn settings_say_how_often_a_job_starts_again_and_how_many_checkpoints_stay() {
    let sql = job(30_000, 60_000);
    let out =
        command(&sql, 2, &["--set", "restart.attempts=0"]).env("THALWEG_TEST_FAIL", "file.publish=error@2").output();
    let out = Ended::new(out.unwrap());
    assert!(out.status == 1 && !out.stderr.contains("starts again"), "{}", out.stderr);
    for (retained, most) in [("1", 1 + 8), ("1000", 1000)] {
        let sql = job(180_000, 60_000);
        let retained = format!("checkpoint.retained={retained}");
        assert_eq!(run(&sql, 2, &["--set", &retained]).status, 0);
        let left = checkpoint(&sql, &["list", "--json"]).rows().len();
        assert!(left <= most && (most < 10 || left > 12), "{left} with {retained}");
        assert_eq!(checkpoint(&sql, &["verify"]).status, 0);
    }
}

pub fn replace(sql: &SqlFile, from: &str, to: &str) {
    let text = std::fs::read_to_string(sql.path()).unwrap();
    assert!(text.contains(from));
    std::fs::write(sql.path(), text.replace(from, to)).unwrap();
}

pub fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn starts_that_would_lose_or_repeat_rows_are_refused_with_the_remedy() {
    let sql = job(20_000, 1_000_000_000);
    let refused = |more: &[&str], text: &str| {
        let out = run(&sql, 2, more);
        assert!(out.status == 2 && out.stderr.contains(text), "{more:?} gives {}: {}", out.status, out.stderr);
    };
    refused(&["--from", "latest"], "holds no checkpoint; --from auto starts afresh then");
    refused(&["--from", "newest"], "none of auto, latest");
    let out = sql.run(&["--from", "auto"]);
    assert!(out.status == 2 && out.stderr.contains("add --set checkpoint.dir=PATH"), "{}", out.stderr);
    let out = run(&sql, 2, &[]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    refused(&[], "go on from it with --from auto");
    refused(&["--from", "9-9"], "holds no checkpoint 9-9; it has 1-");
    let records = std::fs::read_dir(sql.file("checkpoints/records")).unwrap().count();

    replace(&sql, "COUNT(*)", "SUM(bid.auction)");
    refused(&["--from", "auto"], "what this job has no place for: state of window aggregate");
    replace(&sql, "SUM(bid.auction)", "COUNT(*)");
    replace(&sql, "TABLE events", "TABLE renamed");
    refused(&["--from", "auto"], "the checkpoints are of another job");
    replace(&sql, "TABLE renamed", "TABLE events");
    let text = std::fs::read_to_string(sql.path()).unwrap();
    std::fs::write(sql.path(), format!("{text}\nINSERT INTO counts SELECT ts, event_type, 1 FROM events;")).unwrap();
    refused(&["--from", "auto"], "this is a second job, and a checkpoint.dir is for one");
    std::fs::write(
        sql.path(),
        "CREATE TABLE n (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '5'); SELECT n FROM n;",
    )
    .unwrap();
    refused(&["--from", "auto"], "the checkpoints are of another job");
    std::fs::write(sql.path(), text).unwrap();
    let after = std::fs::read_dir(sql.file("checkpoints/records")).unwrap().count();
    assert_eq!(records, after, "whatever is refused takes nothing over");

    let newest = std::fs::read_dir(sql.file("checkpoints/manifests")).unwrap().flatten().max_by_key(|e| {
        let name = e.file_name().into_string().unwrap();
        name.split_once('-').unwrap().1.parse::<u64>().unwrap()
    });
    damage(&newest.unwrap().path());
    refused(&["--from", "auto"], "is damaged: its checksum differs");
}

#[test]
fn what_a_changed_query_has_no_place_for_is_dropped_only_on_request() {
    let sql = job(20_000, 1_000_000_000);
    assert_eq!(run(&sql, 2, &[]).status, 0);
    replace(&sql, "COUNT(*)", "SUM(bid.auction)");
    let out = run(&sql, 2, &["--from", "auto", "--allow-dropped-state"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.stderr.contains("dropped from checkpoint"), "{}", out.stderr);
}

/// `thalweg checkpoint` with the folder of the job.
pub fn checkpoint(sql: &SqlFile, more: &[&str]) -> Ended {
    let dir = format!("checkpoint.dir={}", sql.file("checkpoints").display());
    let arguments: Vec<&str> = ["checkpoint"].iter().chain(more).copied().chain(["--set", &dir]).collect();
    Ended::new(thalweg(&arguments).output().unwrap())
}

#[test]
fn verify_names_every_file_and_notices_every_damage() {
    let sql = job(30_000, 60_000);
    let out = run(&sql, 2, &[]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let root = sql.file("checkpoints");
    std::fs::write(root.join("snapshots/left-over"), "x").unwrap();
    let out = checkpoint(&sql, &["verify", "--json"]);
    assert_eq!(out.status, 0, "{} {}", out.stdout, out.stderr);
    let files = out.rows();
    assert!(files.iter().all(|f| f["problem"].is_null()));
    let orphan = files.iter().find(|f| f["kind"] == "orphan" && f["path"] == "snapshots/left-over");
    assert!(orphan.is_some(), "{}", out.stdout);
    (0..20).for_each(|i| std::fs::write(root.join(format!("snapshots/left-over-{i}")), "x").unwrap());
    let told = checkpoint(&sql, &["verify"]).stdout;
    assert!(told.lines().count() < 12 && told.contains(" more orphans; --json names them"), "{told}");
    let named: Vec<&str> =
        files.iter().filter(|f| f["kind"] != "orphan").map(|f| f["path"].as_str().unwrap()).collect();
    for kind in ["records/", "manifests/", "snapshots/", "markers/"] {
        assert!(named.iter().any(|path| path.starts_with(kind)), "{named:?}");
    }
    for path in named {
        let good = std::fs::read(root.join(path)).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 16;
        for bad in [Some(flipped), Some(good[..good.len() - 1].to_vec()), None] {
            match &bad {
                Some(bytes) => std::fs::write(root.join(path), bytes).unwrap(),
                None => std::fs::remove_file(root.join(path)).unwrap(),
            }
            let out = checkpoint(&sql, &["verify", "--json"]);
            // An entry or marker that is gone is swept, as far as anybody can tell.
            if bad.is_some() || path.starts_with("manifests") || path.starts_with("snapshots") {
                assert_eq!(out.status, 1, "{path}: {}", out.stdout);
                let found = out.rows().into_iter().find(|f| f["path"] == path).unwrap();
                assert!(found["problem"].is_string(), "{found}");
            }
        }
        std::fs::write(root.join(path), &good).unwrap();
    }
    assert_eq!(checkpoint(&sql, &["verify"]).status, 0);
}

#[test]
fn a_kept_checkpoint_is_whole_and_another_folder_goes_on_from_it() {
    let sql = job(60_000, 60_000);
    let mut child = command(&sql, 2, &[]).spawn().unwrap();
    crash::await_checkpoint(&sql.file("checkpoints"), 1);
    crash::wait(200);
    child.kill().unwrap();
    child.wait().unwrap();
    let list = checkpoint(&sql, &["list", "--json"]).rows();
    let id = list.last().unwrap()["checkpoint"].as_str().unwrap().to_owned();
    let kept = sql.file("kept").display().to_string();
    let out = checkpoint(&sql, &["keep", &id, "--to", &kept]);
    assert!(out.status == 0 && out.stdout.contains(&format!("kept {id}")), "{} {}", out.stdout, out.stderr);
    let again = checkpoint(&sql, &["keep", &id, "--to", &kept]);
    assert!(again.status == 2 && again.stderr.contains("is not empty"), "{}", again.stderr);
    let shown = checkpoint(&sql, &["show", &id]).stdout;
    assert!(shown.contains("read events: 64 splits") && shown.contains("window aggregate"), "{shown}");

    // What the checkpoint shows is committed by whoever goes on, and what came after it is not there.
    std::fs::remove_dir_all(sql.file("checkpoints")).unwrap();
    let out = run(&sql, 3, &["--from", &kept]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.stderr.contains(&format!("goes on from checkpoint {id}")), "{}", out.stderr);
    let next = checkpoint(&sql, &["list", "--json"]).rows();
    assert!(next[0]["checkpoint"].as_str().unwrap().starts_with("2-"), "ids go on: {}", next[0]);
    let expected = undisturbed(60_000);
    let (lines, _) = output(&sql);
    assert!(expected.keys().all(|line| lines.contains_key(line)));
    assert!(run(&sql, 3, &["--from", &kept]).stderr.contains("holds checkpoints"));
}

#[test]
fn commands_on_folders_say_what_is_missing() {
    let sql = job(1, 1);
    let none = Ended::new(thalweg(&["checkpoint", "list"]).output().unwrap());
    assert!(none.status == 2 && none.stderr.contains("add --set checkpoint.dir=PATH"), "{}", none.stderr);
    for more in [&["list"][..], &["verify"], &["show", "latest"], &["show", "1-1"], &["keep", "1-1", "--to", "x"]] {
        let out = checkpoint(&sql, more);
        assert!(out.status == 2 && out.stderr.contains("is no folder of checkpoints"), "{more:?}: {}", out.stderr);
    }
    let died = command(&sql, 2, &[]).env("THALWEG_TEST_FAIL", "manifest.put=abort-before@1").output().unwrap();
    assert_eq!(died.status.code(), None, "{}", String::from_utf8_lossy(&died.stderr));
    assert_eq!(checkpoint(&sql, &["list"]).stdout, "no checkpoint is complete yet\n");
    assert_eq!(checkpoint(&sql, &["list", "--json"]).stdout, "");
    for (more, text) in [
        (&["show", "latest"][..], "holds no checkpoint"),
        (&["show", "newest"][..], "no checkpoint id; they look like 3-17, or latest"),
        (&["show", "1-1"][..], "holds no checkpoint 1-1"),
    ] {
        let out = checkpoint(&sql, more);
        assert!(out.status == 2 && out.stderr.contains(text), "{more:?}: {}", out.stderr);
    }
    // A file where a folder should be is the user's mistake, whoever finds it.
    std::fs::remove_dir_all(sql.file("checkpoints")).unwrap();
    std::fs::write(sql.file("checkpoints"), "a file").unwrap();
    for out in [run(&sql, 2, &["--from", "auto"]), checkpoint(&sql, &["list"])] {
        assert!(out.status == 2 && out.stderr.contains("/checkpoints"), "{}", out.stderr);
    }
    let out = Ended::new(command(&sql, 2, &[]).env("THALWEG_TEST_FAIL", "record.create").output().unwrap());
    assert!(out.status == 2 && out.stderr.contains("is no POINT=ACTION@N"), "{}", out.stderr);
}

#[test]
fn a_job_that_fails_while_it_stops_does_not_start_again() {
    let sql = job(150_000, 60_000);
    let child = command(&sql, 2, &["--set", "restart.delay=1ms", "--set", "checkpoint.interval=off"])
        .env("THALWEG_TEST_FAIL", "file.publish=error@1")
        .spawn()
        .unwrap();
    // It is at work, and nothing is to be published before the end.
    while output(&sql).1 == 0 {
        crash::wait(5);
    }
    signal(&child, libc::SIGINT);
    let out = Ended::new(child.wait_with_output().unwrap());
    assert!(out.status == 1 && out.stderr.contains("fail point `file.publish`"), "{}", out.stderr);
    assert!(!out.stderr.contains("starts again"), "{}", out.stderr);
    assert_eq!(run(&sql, 2, &["--from", "auto"]).status, 0);
    assert_eq!(output(&sql).0, undisturbed(150_000));
}
