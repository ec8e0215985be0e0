//! The writer with real state on a real disk: what is complete, what a failed attempt leaves, who is fenced, what is swept.

use super::*;
use crate::key::KeyGroupRange;
use crate::s3::testing;
use crate::sink::JobInfo;
use crate::state::KeyedTable;
use crate::state::{Budget, State, StateStore, TableSpec, ValueColumn};
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type};
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;

fn spec() -> TableSpec {
    TableSpec::new([Arc::new(Field::new("k", DataType::Int64, false))], [ValueColumn::new("v", 0i64)])
}

/// One operator with one table.
struct Operator {
    store: StateStore,
    table: State<KeyedTable>,
}

impl Operator {
    fn new() -> Operator {
        let mut store = StateStore::new("count", KeyGroupRange::ALL, &Budget::unlimited("test"));
        let table = store.keyed_table("t", spec()).unwrap();
        Operator { store, table }
    }

    fn restored(checkpoint: &Checkpoint) -> Operator {
        let budget = Budget::unlimited("test");
        let chains = &checkpoint.operators["count"];
        let mut store = StateStore::restore("count", KeyGroupRange::ALL, &budget, chains).unwrap();
        let table = store.keyed_table("t", spec()).unwrap();
        store.finish_restore().unwrap();
        Operator { store, table }
    }

    fn set(&self, keys: std::ops::Range<i64>, value: i64) {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
        let (mut hashes, mut rows) = (vec![], vec![]);
        crate::key::hash_rows(std::slice::from_ref(&keys), keys.len(), &mut hashes).unwrap();
        let mut table = self.table.lock();
        table.intern(&[keys], &hashes, &mut rows).unwrap();
        table.column_mut::<i64>(0).unwrap().update(&rows, |_, v| *v = value);
    }

    fn sum(&self) -> (usize, i64) {
        let (mut table, mut rows) = (self.table.lock(), vec![]);
        table.scan(&mut Default::default(), usize::MAX, &mut rows).unwrap();
        let values = table.values(0, &rows).unwrap();
        (rows.len(), values.as_primitive::<Int64Type>().values().iter().sum())
    }

    fn snapshot(&mut self) -> Vec<Snapshot> {
        vec![Snapshot { operator: "count".into(), subtask: 0, frozen: self.store.freeze() }]
    }
}

fn begin(archive: &Archive, retain: usize) -> Writer {
    let (sequence, clock) = (archive.sequence().unwrap(), Clock::system());
    let how = TakeOver { sequence: &sequence, origin: None, retain, run: &unique_name(&clock) };
    Writer::begin(archive, clock, how).unwrap().unwrap()
}

fn writer(folder: &TempDir, retain: usize) -> Writer {
    begin(&Archive::at(folder.path().to_str().unwrap()).unwrap(), retain)
}

fn checkpoint(writer: &Writer, number: u64) -> Checkpoint {
    Checkpoint { epoch: writer.first_epoch() + number - 1, ..Checkpoint::default() }
}

fn newest(writer: &Writer) -> (Complete, Operator) {
    let complete = writer.archive().checkpoints().unwrap().pop().unwrap();
    let manifest = writer.archive().manifest(&complete).unwrap();
    (complete, Operator::restored(&writer.archive().load(&manifest).unwrap()))
}

#[test]
fn a_chain_of_changes_restores_to_what_was_saved_last() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder, 3);
    assert_eq!((writer.generation(), writer.checkpoints().len()), (1, 0));
    let mut operator = Operator::new();
    let mut bytes = vec![];
    for (number, keys) in [(1, 0..10_000), (2, 5..6), (3, 10_000..10_001), (4, 7..7)] {
        operator.set(keys, number as i64);
        let saved = writer.save(&checkpoint(&writer, number), operator.snapshot(), false).unwrap();
        assert_eq!(saved.id.to_string(), format!("1-{number}"));
        bytes.push(saved.written_bytes);
    }
    assert!(bytes[1] * 20 < bytes[0] && bytes[2] * 20 < bytes[0], "changes only: {bytes:?}");
    assert_eq!(bytes[3], 0, "nothing changed");
    let (complete, restored) = newest(&writer);
    assert_eq!((complete.id.to_string().as_str(), restored.sum()), ("1-4", operator.sum()));
}

#[test]
fn what_a_failed_attempt_froze_is_in_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder, 3);
    let mut operator = Operator::new();
    operator.set(0..100, 1);
    writer.save(&checkpoint(&writer, 1), operator.snapshot(), false).unwrap();
    for (number, in_the_way) in [(2, "snapshots/1-2"), (4, "manifests/1-4"), (6, "records/00000000000000000005")] {
        operator.set(number..number + 1, 100);
        let path = folder.path().join(in_the_way);
        if in_the_way.starts_with("snap") {
            fs::write(&path, "x").unwrap()
        } else {
            fs::create_dir(&path).unwrap()
        }
        assert!(writer.save(&checkpoint(&writer, number as u64), operator.snapshot(), false).is_err(), "{number}");
        if in_the_way.starts_with("snap") {
            fs::remove_file(&path).unwrap()
        } else {
            fs::remove_dir(&path).unwrap()
        }
        operator.set(50 + number..51 + number, 7);
        writer.save(&checkpoint(&writer, number as u64 + 1), operator.snapshot(), false).unwrap();
        assert_eq!(newest(&writer).1.sum(), operator.sum(), "{number}");
    }
}

#[test]
fn a_checkpoint_that_was_added_since_the_sequence_was_read_is_not_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder, 1);
    let (archive, mut operator) = (writer.archive().clone(), Operator::new());
    let mut save = |number| {
        operator.set(0..number as i64, 1);
        let saved = writer.save(&checkpoint(&writer, number), operator.snapshot(), false).unwrap();
        writer.committed(saved.id).unwrap();
        if number == 3 {
            writer.sweep_now(0).unwrap();
        }
    };
    save(1);
    let before = archive.sequence().unwrap();
    assert_eq!(archive.gap(&before).unwrap(), None);
    // The old owner goes on while a new one decides.
    save(2);
    assert_eq!(archive.gap(&before).unwrap(), None);
    save(3);
    assert!(!folder.path().join(Record::name(3)).exists(), "swept");
    assert_eq!(archive.gap(&before).unwrap(), None);
    // What was there and is gone is missing.
    let whole = archive.sequence().unwrap();
    fs::remove_file(folder.path().join(Record::name(4))).unwrap();
    assert_eq!(archive.gap(&whole).unwrap(), None);
    let gap = archive.gap(&archive.sequence().unwrap()).unwrap().unwrap();
    assert!(gap.contains("there was a checkpoint 1-3, and its record is missing"), "{gap}");
}

/// Where every promise is kept: a folder on the disk, and one in a bucket if there is a server.
fn places() -> Vec<(TempDir, Archive)> {
    let folder = || tempfile::tempdir().unwrap();
    let disk = folder();
    let archive = Archive::at(disk.path().to_str().unwrap()).unwrap();
    let bucket = testing::server().map(|s3| (folder(), Archive::with(&testing::folder(), &s3).unwrap()));
    std::iter::once((disk, archive)).chain(bucket).collect()
}

#[test]
fn a_checkpoint_of_whose_record_nobody_heard_is_complete_and_the_next_one_follows_it() {
    for (_, archive) in places() {
        let mut writer = begin(&archive, 3);
        let mut operator = Operator::new();
        operator.set(0..10, 1);
        writer.save(&checkpoint(&writer, 1), operator.snapshot(), false).unwrap();
        // As after an error of which nobody knows what was done before it.
        let before = (writer.next_sequence, writer.newest.clone(), writer.complete.clone());
        operator.set(0..10, 2);
        writer.save(&checkpoint(&writer, 2), operator.snapshot(), false).unwrap();
        (writer.next_sequence, writer.newest, writer.complete) = before;
        operator.set(0..10, 3);
        writer.save(&checkpoint(&writer, 3), operator.snapshot(), false).unwrap();
        let ids = |complete: &[Complete]| complete.iter().map(|c| c.id.number).collect::<Vec<_>>();
        assert_eq!(ids(writer.checkpoints()), [1, 2, 3]);
        assert_eq!(ids(&archive.checkpoints().unwrap()), [1, 2, 3]);
        assert_eq!(newest(&writer).1.sum(), operator.sum());
        let mut new = begin(&archive, 3);
        new.save(&checkpoint(&new, 1), vec![], false).unwrap();
        assert!(writer.save(&checkpoint(&writer, 4), vec![], false).is_err(), "of another run it is none of ours");
    }
}

#[test]
fn whoever_slept_through_a_take_over_completes_nothing_even_when_all_else_is_swept() {
    places().iter().for_each(|(_, archive)| sleep_through_a_take_over(archive));
}

#[test]
fn who_lost_his_folder_writes_no_entry_into_the_next_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut old = writer(&folder, 1);
    let mut operator = Operator::new();
    for number in 1..=3 {
        operator.set(0..10, 1);
        old.save(&checkpoint(&old, number), operator.snapshot(), false).unwrap();
    }
    let lost = |writer: &mut Writer, number| {
        let e = writer.save(&checkpoint(writer, number), vec![], false).unwrap_err();
        assert!(e.message().contains("were removed or replaced while generation 1") && !e.retry(), "{e}");
    };
    for entry in fs::read_dir(folder.path()).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    lost(&mut old, 4);
    // Another job begins in the same place, and stands just where the next entry of the old one would follow.
    let mut new = writer(&folder, 9);
    for number in 1..=3 {
        new.save(&checkpoint(&new, number), vec![], false).unwrap();
    }
    assert_eq!(old.next_sequence, new.next_sequence);
    lost(&mut old, 5);
    let ids = new.archive().checkpoints().unwrap();
    old.sweep_now(-1_000).unwrap();
    assert_eq!(new.archive().checkpoints().unwrap(), ids);
    new.save(&checkpoint(&new, 4), vec![], false).unwrap();
    assert!(old.save(&checkpoint(&old, 6), vec![], false).is_err());
}

#[test]
fn a_sink_can_ask_whether_its_run_still_has_the_job() {
    for (_, archive) in places() {
        let (commands, _events) = crossbeam_channel::bounded(1);
        let old = JobInfo::durable(&begin(&archive, 1), commands.clone());
        old.check_owner().unwrap();
        let mut new = begin(&archive, 1);
        let e = old.check_owner().unwrap_err();
        assert!(e.message().contains("another run has taken over the job") && !e.retry(), "{e}");
        let job = JobInfo::durable(&new, commands);
        job.check_owner().unwrap();
        new.save(&checkpoint(&new, 1), vec![], false).unwrap();
        job.check_owner().unwrap();
        assert!(old.check_owner().is_err());
    }
    JobInfo::detached("job", 1).check_owner().unwrap();
}

fn sleep_through_a_take_over(archive: &Archive) {
    let mut old = begin(archive, 1);
    let mut operator = Operator::new();
    operator.set(0..10, 1);
    old.save(&checkpoint(&old, 1), operator.snapshot(), false).unwrap();
    let mut new = begin(archive, 1);
    assert_eq!((new.generation(), new.checkpoints().len()), (2, 1));
    let mut other = Operator::new();
    for number in 1..20 {
        other.set(0..10, number);
        new.save(&checkpoint(&new, number as u64), other.snapshot(), false).unwrap();
        new.sweep_now(-1_000).unwrap();
    }
    let e = old.save(&checkpoint(&old, 2), operator.snapshot(), false).unwrap_err();
    assert!(e.message().contains("another run has taken over"), "{e}");
    assert!(!e.retry());
    old.sweep_now(-1_000).unwrap();
    let (complete, restored) = newest(&new);
    assert_eq!((complete.id.to_string().as_str(), restored.sum()), ("2-19", other.sum()));
    let records: Vec<String> = new.archive().objects().list("records").unwrap().into_iter().map(|l| l.name).collect();
    assert_eq!(records.len(), 3, "both generations and the newest checkpoint: {records:?}");
}

#[test]
fn sweeping_leaves_what_retained_checkpoints_and_savepoints_need() {
    places().iter().for_each(|(_, archive)| sweep(archive));
}

fn sweep(archive: &Archive) {
    let mut writer = begin(archive, 2);
    let mut operator = Operator::new();
    let mut sums = BTreeMap::new();
    for number in 1..=9u64 {
        operator.set(0..number as i64, number as i64);
        sums.insert(number, operator.sum());
        if number == 7 {
            operator.store.restart_chain();
        }
        writer.save(&checkpoint(&writer, number), operator.snapshot(), number == 3).unwrap();
        writer.committed(CheckpointId::of_epoch(checkpoint(&writer, number).epoch)).unwrap();
    }
    writer.sweep_now(-1_000).unwrap();
    let left = writer.archive().checkpoints().unwrap();
    assert_eq!(left.iter().map(|c| c.id.number).collect::<Vec<_>>(), [3, 8, 9]);
    for complete in &left {
        let manifest = writer.archive().manifest(complete).unwrap();
        let restored = Operator::restored(&writer.archive().load(&manifest).unwrap());
        assert_eq!(restored.sum(), sums[&u64::from(complete.id.number)]);
    }
    let count = |folder: &str| writer.archive().objects().list(folder).unwrap().len();
    // Checkpoint 3 needs the files 1 to 3; 8 and 9 need those from 7 on.
    assert_eq!((count("manifests"), count("markers"), count("snapshots")), (3, 3, 6));
}

#[test]
fn long_chains_are_named_until_they_begin_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder, 2);
    let mut operator = Operator::new();
    for number in 1..=3 {
        operator.set(0..1000, number as i64);
        writer.save(&checkpoint(&writer, number), operator.snapshot(), false).unwrap();
    }
    assert_eq!(writer.long_chains().collect::<Vec<_>>(), [("count", 0)]);
    operator.store.restart_chain();
    writer.save(&checkpoint(&writer, 4), operator.snapshot(), false).unwrap();
    assert_eq!(writer.long_chains().count(), 0);
    assert_eq!(newest(&writer).1.sum(), (1000, 3000));
}

#[test]
fn damage_to_any_named_file_is_an_error_of_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder, 2);
    let mut operator = Operator::new();
    operator.set(0..100, 1);
    writer.save(&checkpoint(&writer, 1), operator.snapshot(), false).unwrap();
    operator.set(0..1, 2);
    writer.save(&checkpoint(&writer, 2), operator.snapshot(), false).unwrap();
    let complete = writer.checkpoints().last().unwrap().clone();
    let load = || writer.archive().manifest(&complete).and_then(|m| writer.archive().load(&m));
    let manifest = writer.archive().manifest(&complete).unwrap();
    let names: Vec<String> = manifest.files().map(|f| f.path.clone()).chain([complete.manifest.path.clone()]).collect();
    assert_eq!(names.len(), 3);
    for name in names {
        let path = folder.path().join(&name);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            fs::write(&path, &bad).unwrap();
            assert!(load().unwrap_err().message().contains("damaged"), "{name} at {at}");
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(load().unwrap_err().message().contains(&name));
        fs::remove_file(&path).unwrap();
        assert!(load().unwrap_err().message().contains("is missing"));
        fs::write(&path, &good).unwrap();
        load().unwrap();
    }
}

#[test]
fn what_a_damaged_savepoint_may_need_stays_and_the_rest_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder, 1);
    let mut operator = Operator::new();
    for number in 1..=6u64 {
        operator.set(0..100, number as i64);
        operator.store.restart_chain();
        writer.save(&checkpoint(&writer, number), operator.snapshot(), number == 2).unwrap();
    }
    let path = folder.path().join("manifests/1-2");
    let good = fs::read(&path).unwrap();
    fs::write(&path, "x").unwrap();
    let e = writer.sweep_now(-1_000).unwrap_err();
    assert!(e.message().contains("checkpoint 1-2 is damaged"), "{e}");
    let names = |folder: &str| {
        let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        entries.collect::<BTreeSet<_>>()
    };
    let snapshots = folder.path().join("snapshots").display().to_string();
    let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(names(&snapshots), set(&["1-1", "1-2", "1-6"]), "a chain may have begun before; no empty folder stays");
    assert_eq!(writer.archive().checkpoints().unwrap().len(), 2);
    fs::write(&path, good).unwrap();
    writer.sweep_now(-1_000).unwrap();
    assert_eq!(names(&snapshots), set(&["1-2", "1-6"]));
    let kept = writer.archive().checkpoints().unwrap();
    for complete in &kept {
        writer.archive().load(&writer.archive().manifest(complete).unwrap()).unwrap();
    }
}

#[test]
fn who_decided_by_an_older_sequence_has_to_look_again() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::at(folder.path().to_str().unwrap()).unwrap();
    let sequence = archive.sequence().unwrap();
    let mut first = begin(&archive, 1);
    first.save(&checkpoint(&first, 1), vec![], false).unwrap();
    let how = TakeOver { sequence: &sequence, origin: None, retain: 1, run: "late" };
    assert!(Writer::begin(&archive, Clock::system(), how).unwrap().is_none());
    first.save(&checkpoint(&first, 2), vec![], false).unwrap();
    let second = begin(&archive, 1);
    assert_eq!((second.generation(), second.job()), (2, first.job()));
    assert_eq!(second.runs().len(), 2);
    assert_eq!(second.runs()[&1], first.runs()[&1]);
    // A job that begins with another one's checkpoint is a job of its own, whose ids go on.
    let origin = archive.manifest(&archive.checkpoints().unwrap()[0]).unwrap();
    let fork = || {
        let archive = Archive::at(tempfile::tempdir().unwrap().path().to_str().unwrap()).unwrap();
        let how = TakeOver { sequence: &[], origin: Some(&origin), retain: 1, run: "fork" };
        Writer::begin(&archive, Clock::system(), how).unwrap().unwrap()
    };
    let (one, two) = (fork(), fork());
    assert_eq!((one.generation(), two.generation()), (2, 2));
    assert!(one.job() != two.job() && one.job() != first.job());
}
