//! The promises of checkpoint storage, kept by a bucket: what is there is whole and never overwritten, also when answers are lost.

use crate::proxy::{Mode, Proxy};
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_engine::ErrorKind;
use thalweg_engine::checkpoint::objects::{Created, Objects};
use thalweg_engine::clock::Clock;
use thalweg_engine::s3::Bucket;
use thalweg_engine::s3::testing::{folder, server};
use thalweg_engine::s3::transfer::Outgoing;

#[test]
fn of_eight_who_create_a_name_one_wins_and_all_read_the_same() {
    let Some(options) = server() else { return };
    let url = folder();
    for round in 0..10 {
        let (name, wins) = (format!("records/{round}"), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for i in 0..8u8 {
                let (url, options, name, wins) = (&url, &options, &name, &wins);
                scope.spawn(move || {
                    let objects = Objects::at(url, options).unwrap();
                    let content = match objects.create(name, &[i]).unwrap() {
                        Created::New => {
                            wins.fetch_add(1, Ordering::Relaxed);
                            vec![i]
                        }
                        Created::Exists(found) => found,
                    };
                    assert_eq!(objects.get(name).unwrap().unwrap(), content);
                });
            }
        });
        assert_eq!(wins.load(Ordering::Relaxed), 1);
    }
    assert_eq!(Objects::at(&url, &options).unwrap().list("").unwrap().len(), 10, "no probe is left");
}

#[test]
fn objects_of_every_size_come_back_and_none_is_overwritten() {
    let Some(options) = server() else { return };
    let objects = Objects::at(&folder(), &options).unwrap();
    const PART: usize = thalweg_engine::s3::bucket::PART_BYTES;
    for size in [0, 1, 1000, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 77] {
        let name = format!("snapshots/1-1/{size}");
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        assert_eq!(objects.get(&name).unwrap(), None);
        objects.put(&name, &bytes).unwrap();
        assert!(objects.get(&name).unwrap().as_ref() == Some(&bytes), "{size}");
        objects.put(&name, &bytes).unwrap();
        let mut other = bytes.clone();
        other.push(1);
        assert_eq!(objects.put(&name, &other).unwrap_err().kind(), ErrorKind::Internal, "{size}");
        assert!(objects.get(&name).unwrap().as_ref() == Some(&bytes), "{size}");
        let listed = objects.list("snapshots/1-1").unwrap();
        assert_eq!(listed.iter().find(|l| l.name == name).unwrap().bytes, size as u64);
    }
    objects.delete("snapshots/1-1/1").unwrap();
    objects.delete("snapshots/1-1/1").unwrap();
    assert_eq!(objects.get("snapshots/1-1/1").unwrap(), None);
    assert_eq!(objects.list("").unwrap().len(), 7);
    assert!(objects.list("snapshots/1").unwrap().is_empty(), "a folder's name is whole");
    assert!(objects.list("").unwrap().iter().all(|l| l.modified_ms > 1_700_000_000_000));
}

#[test]
fn a_listing_goes_over_all_pages() {
    let Some(options) = server() else { return };
    let objects = Objects::at(&folder(), &options).unwrap();
    for i in 0..1050 {
        objects.put(&format!("markers/1-{i}"), b"{}").unwrap();
    }
    let names: Vec<String> = objects.list("markers").unwrap().into_iter().map(|l| l.name).collect();
    assert_eq!(names.len(), 1050);
    assert!(names.is_sorted());
}

#[test]
fn an_answer_that_is_lost_is_made_up_for() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let objects = Objects::at(&folder(), &proxy.options(&server)).unwrap();
    // Even the first of all, which finds out what the server can do.
    for lost in [1, 2, 3] {
        proxy.set(Mode::Lose(&["PUT"], lost));
        objects.put(&format!("records/{lost}"), b"mine").unwrap();
        assert_eq!(proxy.mode(), Mode::Lose(&["PUT"], 0));
        assert_eq!(objects.create(&format!("records/{lost}"), b"yours").unwrap(), Created::Exists(b"mine".to_vec()));
    }
    proxy.set(Mode::Lose(&["PUT"], 1));
    let created = objects.create("records/4", b"mine").unwrap();
    assert_eq!(created, Created::Exists(b"mine".to_vec()), "it is there, by whom the caller sees in it");
    for words in [&["GET"][..], &["POST", "delete"]] {
        proxy.set(Mode::Lose(words, 2));
        assert_eq!(objects.get("records/1").unwrap().unwrap(), b"mine");
        objects.delete("records/2").unwrap();
        assert_eq!(objects.list("records").unwrap().len(), 3);
    }
    let large: Vec<u8> = (0..20 << 20).map(|i| (i % 249) as u8).collect();
    for (i, words) in [&["PUT", "partNumber"][..], &["POST", "uploads"], &["POST", "uploadId"]].into_iter().enumerate()
    {
        proxy.set(Mode::Lose(words, 2));
        objects.put(&format!("snapshots/{i}"), &large).unwrap();
        assert_eq!(proxy.mode(), Mode::Lose(words, 0));
        assert!(objects.get(&format!("snapshots/{i}")).unwrap().as_ref() == Some(&large));
    }
}

#[test]
fn a_server_that_overwrites_is_refused_before_anything_is_written() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let url = folder();
    let objects = Objects::at(&url, &proxy.options(&server)).unwrap();
    proxy.set(Mode::Overwrite);
    let e = objects.create("records/1", b"mine").unwrap_err();
    assert_eq!((e.kind(), e.retry()), (ErrorKind::User, false));
    assert!(e.message().contains("overwrites objects") && e.message().contains("records/1"), "{e}");
    assert!(Objects::at(&url, &server).unwrap().list("").unwrap().is_empty());
}

#[test]
fn a_server_that_comes_back_is_waited_for_and_one_that_does_not_is_named() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let objects = Objects::at(&folder(), &proxy.options(&server)).unwrap();
    objects.put("records/1", b"mine").unwrap();
    proxy.set(Mode::Down);
    std::thread::scope(|scope| {
        let back = scope.spawn(|| {
            crate::crash::wait(700);
            proxy.set(Mode::Pass);
        });
        objects.put("records/2", b"mine").unwrap();
        back.join().unwrap();
    });
    proxy.set(Mode::Down);
    let e = objects.put("records/3", b"mine").unwrap_err();
    assert_eq!((e.kind(), e.retry()), (ErrorKind::External, true), "{e}");
    assert!(e.message().contains("records/3") && e.message().contains("no answer from http://127.0.0.1"), "{e}");
    let e = Objects::at(&folder(), &proxy.options(&server)).unwrap().get("records/3").unwrap_err();
    assert_eq!((e.kind(), e.retry()), (ErrorKind::External, true), "{e}");
}

#[test]
fn uploads_that_nobody_finishes_are_ended() {
    let Some(options) = server() else { return };
    let url = folder();
    let objects = Objects::at(&url, &options).unwrap();
    let (name, key) = thalweg_engine::s3::parse(&url).unwrap();
    let bucket = Bucket::open(&name, &options).unwrap();
    let mut outgoing = Outgoing::begin(&bucket, &format!("{key}/snapshots/1-1/0 & 1"), || {}).unwrap();
    outgoing.write(&vec![7; 20 << 20]).unwrap();
    // As after a crash.
    std::mem::forget(outgoing);
    let clock = Clock::system();
    while bucket.uploads(&format!("{key}/")).unwrap().is_empty() {
        assert!(clock.now().as_secs() < 20);
        crate::crash::wait(20);
    }
    // The server of the tests says of every upload that it was begun in 2010.
    objects.remove_unfinished(0).unwrap();
    assert_eq!(bucket.uploads(&format!("{key}/")).unwrap().len(), 1, "it may be somebody's at work");
    objects.remove_unfinished(clock.wall_ms()).unwrap();
    assert!(bucket.uploads(&format!("{key}/")).unwrap().is_empty());
    assert!(objects.list("").unwrap().is_empty());
}
