//! What a start makes of what it finds: damaged and missing records, somebody else who starts at the same moment, tables that read
//! and write elsewhere than before.

use crate::binary::{Ended, SqlFile};
use crate::durable::{checkpoint, command, damage, job, output, replace, run, undisturbed};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

/// The job's records of complete checkpoints, oldest first, with the ids.
fn records(sql: &SqlFile) -> Vec<(PathBuf, String)> {
    let folder = sql.file("checkpoints/records");
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    let id = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let record: serde_json::Value = serde_json::from_str(text.rsplit_once(' ').unwrap().0).unwrap();
        Some(record["entry"]["checkpoint"]["id"].as_str()?.to_owned())
    };
    all.into_iter().filter_map(|path| Some((path.clone(), id(&path)?))).collect()
}

/// A job that died with some checkpoints behind it.
fn crashed() -> SqlFile {
    let sql = job(60_000, 60_000);
    let out = command(&sql, 2, &[]).env("THALWEG_TEST_FAIL", "record.create=abort-before@8").output().unwrap();
    assert_eq!(out.status.code(), None);
    sql
}

#[test]
fn without_its_newest_record_a_job_that_commits_does_not_go_on_by_itself() {
    for gone in [false, true] {
        let sql = crashed();
        let all = records(&sql);
        let [.., (_, before), (newest, id)] = all.as_slice() else { panic!("{all:?}") };
        match gone {
            true => std::fs::remove_file(newest).unwrap(),
            false => damage(newest),
        }
        let reason = if gone { format!("`markers/{id}` says") } else { "it is damaged".to_owned() };
        for from in ["auto", "latest"] {
            let out = run(&sql, 2, &["--from", from]);
            assert!(out.status == 2 && out.stderr.contains(&reason), "{from} gives {}: {}", out.status, out.stderr);
            assert!(out.stderr.contains(&format!("--from {before} goes back to that one")), "{}", out.stderr);
        }
        let out = run(&sql, 2, &[]);
        assert!(out.status == 2 && out.stderr.contains("holds checkpoints"), "{}", out.stderr);
        let show = |id| checkpoint(&sql, &["show", id]);
        let latest = show("latest");
        assert!(latest.status == 2 && latest.stderr.contains(&format!("write {before} for that one")), "{latest:?}");
        assert_eq!(show(before).status, 0);
        let out = run(&sql, 3, &["--from", before]);
        assert_eq!(out.status, 0, "{}", out.stderr);
        let expected = undisturbed(60_000);
        let (lines, _) = output(&sql);
        assert!(expected.keys().all(|line| lines.contains_key(line)), "rows may come twice, and none is missing");
    }
}

#[test]
fn without_any_record_a_folder_is_not_taken_for_an_empty_one() {
    for gone in [false, true] {
        let sql = crashed();
        for entry in std::fs::read_dir(sql.file("checkpoints/records")).unwrap() {
            let path = entry.unwrap().path();
            if gone { std::fs::remove_file(path).unwrap() } else { damage(&path) }
        }
        let before = output(&sql);
        for from in [&["--from", "auto"][..], &["--from", "latest"], &[]] {
            let out = run(&sql, 2, from);
            let text = if from.is_empty() { "held checkpoints" } else { "no checkpoint in" };
            assert!(out.status == 2 && out.stderr.contains(text), "{from:?} gives {}: {}", out.status, out.stderr);
            assert!(out.stderr.contains("bring the file back from a copy"), "{}", out.stderr);
        }
        assert_eq!(output(&sql), before);
    }
}

#[test]
fn a_job_that_commits_nothing_goes_on_from_the_checkpoint_before() {
    let sql = crashed();
    damage(&records(&sql).last().unwrap().0);
    replace(&sql, "'connector' = 'filesystem', 'path'", "'connector' = 'blackhole'); -- ");
    let out = run(&sql, 2, &["--from", "auto", "--allow-dropped-state"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.stderr.contains("a later checkpoint may be missing"), "{}", out.stderr);
}

#[test]
fn who_decided_to_start_afresh_before_another_had_checkpoints_does_not() {
    let sql = job(20_000, 1_000_000_000);
    let released = sql.file("released");
    let slow = command(&sql, 2, &[])
        .env("THALWEG_TEST_FAIL", "generation.create=wait-before")
        .env("THALWEG_TEST_RELEASE", &released)
        .spawn()
        .unwrap();
    let out = run(&sql, 2, &["--from", "auto"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    std::fs::write(released, "").unwrap();
    let slow = Ended::new(slow.wait_with_output().unwrap());
    assert!(slow.status == 2 && slow.stderr.contains("holds checkpoints"), "{} {}", slow.status, slow.stderr);
    assert_eq!(output(&sql), (undisturbed(20_000), 0));
}

#[test]
fn who_waits_for_a_restart_does_not_take_the_job_back() {
    let sql = job(20_000, 1_000_000_000);
    let mut waiting = command(&sql, 2, &["--set", "restart.delay=4s"])
        .env("THALWEG_TEST_FAIL", "file.publish=error@1")
        .spawn()
        .unwrap();
    let mut told = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("starts again in") {
        line.clear();
        assert!(told.read_line(&mut line).unwrap() > 0, "it does not fail");
    }
    let out = run(&sql, 3, &["--from", "auto"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("another run has taken over the job"), "{rest}");
    assert!(!waiting.wait().unwrap().success());
    assert_eq!(output(&sql), (undisturbed(20_000), 0));
}

#[test]
fn positions_in_one_folder_are_not_taken_for_positions_in_another() {
    let sql = SqlFile::new("");
    for folder in ["one", "two"] {
        std::fs::create_dir(sql.file(folder)).unwrap();
        std::fs::write(sql.file(folder).join("a.csv"), "1\n2\n").unwrap();
    }
    let text = format!(
        "CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv');
         SELECT n FROM numbers;",
        sql.file("one").display()
    );
    std::fs::write(sql.path(), text).unwrap();
    assert_eq!(run(&sql, 1, &["--json"]).rows().len(), 2);
    replace(&sql, "/one'", "/two'");
    let before = std::fs::read_dir(sql.file("checkpoints/records")).unwrap().count();
    let out = run(&sql, 1, &["--from", "auto"]);
    assert!(out.status == 2 && out.stderr.contains("source `numbers`"), "{} {}", out.status, out.stderr);
    assert!(out.stderr.contains("give the table another name and use --allow-dropped-state"), "{}", out.stderr);
    assert_eq!(std::fs::read_dir(sql.file("checkpoints/records")).unwrap().count(), before, "nothing was taken over");
}

#[test]
fn rows_that_wait_for_one_folder_are_shown_there_though_the_table_writes_to_another() {
    let sql = job(60_000, 60_000);
    let out = command(&sql, 2, &[]).env("THALWEG_TEST_FAIL", "file.publish=abort-before@4").output().unwrap();
    assert_eq!(out.status.code(), None);
    replace(&sql, "/out'", "/other'");
    let out = run(&sql, 3, &["--from", "auto"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let (old, left) = output(&sql);
    std::fs::remove_dir_all(sql.file("out")).unwrap();
    std::fs::rename(sql.file("other"), sql.file("out")).unwrap();
    let (new, hidden) = output(&sql);
    assert_eq!((left, hidden), (0, 0));
    let mut all = old.clone();
    new.into_iter().for_each(|(line, times)| *all.entry(line).or_default() += times);
    assert!(!old.is_empty() && all == undisturbed(60_000));
}

#[test]
fn a_damaged_old_checkpoint_is_told_and_does_not_keep_others_from_being_swept() {
    // Long enough for the eight checkpoints before a sweep.
    let sql = job(240_000, 60_000);
    let child = command(&sql, 2, &[]).env("THALWEG_TEST_FAIL", "record.create=abort-after@2").output().unwrap();
    assert_eq!(child.status.code(), None);
    let id = records(&sql).last().unwrap().1.clone();
    damage(&sql.file("checkpoints/manifests").join(&id));
    let older = records(&sql)[0].1.clone();
    let out = run(&sql, 2, &["--from", &older, "--json", "--set", "checkpoint.retained=1000"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let told = out.messages("notice");
    let is_told = |n: &serde_json::Value| n["kind"] == "unswept" && n["message"].as_str().unwrap().contains(&id);
    assert_eq!(told.iter().filter(|n| is_told(n)).count(), 1, "{told:?}");
    assert_eq!(checkpoint(&sql, &["verify"]).status, 1);
}

#[test]
fn going_back_to_an_older_checkpoint_is_told() {
    let sql = crashed();
    let list = checkpoint(&sql, &["list", "--json"]).rows();
    let ids: Vec<&str> = list.iter().map(|c| c["checkpoint"].as_str().unwrap()).collect();
    let [.., before, newest] = ids.as_slice() else { panic!("{ids:?}") };
    let out = run(&sql, 3, &["--from", before]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.stderr.contains(&format!("goes back from {newest} to {before}: output since")), "{}", out.stderr);
    assert!(!run(&sql, 3, &["--from", "latest"]).stderr.contains("goes back"));
}
