//! The terminal: what rows look like, slow readers, readers that leave.

use super::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use thalweg_engine::Waker;

fn rows(numbers: &[Option<i64>], texts: &[&str]) -> RecordBatch {
    let times = TimestampMillisecondArray::from_iter_values(numbers.iter().map(|n| n.unwrap_or(0)));
    let columns: [(&str, ArrayRef); 3] = [
        ("n", Arc::new(Int64Array::from(numbers.to_vec()))),
        ("at", Arc::new(times)),
        ("text", Arc::new(StringArray::from(texts.to_vec()))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, c)| (name, c, true))).unwrap()
}

#[test]
fn text_is_padded_and_never_steers_the_terminal() {
    let batch = rows(&[Some(1), None], &["a", "b\x1b[2J\nc"]);
    let mut table = Table::new(&batch.schema(), None);
    assert_eq!(table.header(), "         n  at                       text\n");
    let expected = "         1  1970-01-01 00:00:00.001  a\n      NULL  1970-01-01 00:00:00.000  b\\u{1b}[2J\\nc\n";
    assert_eq!(String::from_utf8(table.rows(&batch).unwrap()).unwrap(), expected);
    let mut prefixed = Table::new(&batch.schema(), Some("late".into()));
    assert!(prefixed.rows(&batch.slice(0, 1)).unwrap().starts_with(b"late>          1  "));
}

#[test]
fn json_is_one_object_a_line() {
    let lines = String::from_utf8(json_lines(&rows(&[Some(1), None], &["a", "\n"])).unwrap()).unwrap();
    let expected = "{\"n\":1,\"at\":\"1970-01-01 00:00:00.001\",\"text\":\"a\"}\n\
                    {\"n\":null,\"at\":\"1970-01-01 00:00:00.000\",\"text\":\"\\n\"}\n";
    assert_eq!(lines, expected);
}

/// Writes what it is let: each write waits for a permit, whose value says how it ends.
struct Gated {
    permits: Receiver<io::Result<()>>,
    out: SyncSender<Vec<u8>>,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.permits.recv().unwrap_or(Ok(()))?;
        self.out.send(bytes.to_vec()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A queue whose writes wait for permits, and what it has written.
fn gated() -> (Queue, SyncSender<io::Result<()>>, Receiver<Vec<u8>>) {
    let (permit, permits) = sync_channel(1_000);
    let (out, written) = sync_channel(1_000);
    let queue = Queue::new(Box::new(Gated { permits, out }), "");
    queue.start().unwrap();
    (queue, permit, written)
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn a_slow_reader_fills_the_queue_and_then_wakes_the_sink() {
    let (queue, permit, written) = gated();
    let waker = Waker::noop();
    let mut accepted = 0;
    let refused = loop {
        match queue.push(vec![b'x'; QUEUE_BYTES / 4], &waker).unwrap() {
            Ok(number) => accepted = number,
            Err(chunk) => break chunk,
        }
    };
    assert_eq!((accepted, refused.len()), (4, QUEUE_BYTES / 4), "a full queue, and nothing lost");
    assert!(!waker.take() && !queue.written(accepted, &waker).unwrap());
    for _ in 0..accepted {
        permit.send(Ok(())).unwrap();
    }
    wait_until(|| waker.take() && queue.written(accepted, &waker).unwrap());
    assert_eq!(written.try_iter().map(|c| c.len()).sum::<usize>(), QUEUE_BYTES);
    assert!(queue.push(refused, &waker).unwrap().is_ok());
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let (queue, permit, written) = gated();
    let waker = Waker::noop();
    permit.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
    let number = queue.push(vec![b'x'; 2 * QUEUE_BYTES], &waker).unwrap().unwrap();
    wait_until(|| queue.written(number, &waker).unwrap());
    assert!(queue.closed());
    for _ in 0..10 {
        let number = queue.push(vec![b'y'; QUEUE_BYTES], &waker).unwrap().unwrap();
        assert!(queue.written(number, &waker).unwrap());
    }
    assert_eq!(written.try_iter().count(), 0);
}

#[test]
fn any_other_failure_is_an_error_of_the_sinks() {
    let (queue, permit, _written) = gated();
    let waker = Waker::noop();
    permit.send(Err(io::Error::other("disk full"))).unwrap();
    queue.push(vec![b'x'], &waker).unwrap().unwrap();
    wait_until(|| queue.written(1, &waker).is_err());
    let e = queue.push(vec![b'x'], &waker).unwrap_err();
    assert_eq!(e.to_string(), "write standard output: disk full");
    assert!(!queue.closed() && !e.retry());
}

#[test]
fn what_was_accepted_is_written_after_the_last_handle_is_gone() {
    let (queue, permit, written) = gated();
    queue.force(b"header".to_vec()).unwrap();
    drop(queue);
    permit.send(Ok(())).unwrap();
    assert_eq!(written.recv().unwrap(), b"header");
    assert!(written.recv().is_err(), "the thread has ended");
}
