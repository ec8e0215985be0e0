//! One partition's queue of fetched records, read in batches, and the records themselves.
//!
//! Used by the reader only. The client library fetches in threads of its own and puts records into a queue per partition; a
//! batch call takes up to a few thousand at once without waiting, which costs about a fifth of taking them one by one. When an
//! empty queue receives something, the library calls back from its thread: that sets the queue's flag and wakes the task.
//!
//! Invariants
//! - Q1 records of a partition come only out of its own queue: forwarding to the client's common queue is cut before the
//!   partition is assigned, and stays cut because we asked for it.
//! - Q2 the flag is cleared before the queue is drained, so that a record that comes meanwhile is never slept over.
//! - Q3 a queue holds its client, which therefore outlives it; a [`Records`] frees what it took.

use super::client::SourceClient;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thalweg_engine::error::{Error, Result};

/// Called from a thread of the client library; must neither block nor call into the library.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

struct Signal {
    ready: AtomicBool,
    wake: Wake,
}

/// The queue of one partition.
pub(crate) struct PartitionQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    topic: CString,
    partition: i32,
    signal: Box<Signal>,
    client: Arc<SourceClient>,
}

#[expect(unsafe_code, reason = "the library's queues may be used from any thread")]
// SAFETY: librdkafka's objects are thread-safe; the pointer is owned and freed once.
unsafe impl Send for PartitionQueue {}

#[expect(unsafe_code, reason = "calls the client library")]
unsafe extern "C" fn on_event(_: *mut sys::rd_kafka_t, signal: *mut c_void) {
    // SAFETY: the signal is boxed in the queue, which withdraws this callback under the queue's lock before it drops the box.
    let signal = unsafe { &*signal.cast::<Signal>() };
    signal.ready.store(true, Ordering::Release);
    (signal.wake)();
}

impl PartitionQueue {
    /// Separates the partition from the client's common queue. Call before the partition is assigned.
    #[expect(unsafe_code, reason = "calls the client library")]
    pub(crate) fn new(client: Arc<SourceClient>, topic: &str, partition: i32, wake: Wake) -> Result<PartitionQueue> {
        let name = CString::new(topic).map_err(|_| Error::internal(format!("topic `{topic}` contains a zero byte")))?;
        let handle = client.client().native_ptr();
        // SAFETY: the handle lives as long as `client`, the name is a C string.
        let queue = unsafe { sys::rd_kafka_queue_get_partition(handle, name.as_ptr(), partition) };
        let queue =
            NonNull::new(queue).ok_or_else(|| Error::internal(format!("no queue for `{topic}-{partition}`")))?;
        let signal = Box::new(Signal { ready: AtomicBool::new(true), wake });
        let opaque = ptr::from_ref::<Signal>(&signal).cast_mut().cast::<c_void>();
        // SAFETY: the signal's box does not move, and `drop` withdraws the callback before the box goes.
        unsafe {
            sys::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_event), opaque);
        }
        Ok(PartitionQueue { queue, topic: name, partition, signal, client })
    }

    /// Whether something may be in the queue.
    pub(crate) fn is_ready(&self) -> bool {
        self.signal.ready.load(Ordering::Acquire)
    }

    /// Takes up to `max` records that are there, without waiting, and returns how many.
    #[expect(unsafe_code, reason = "calls the client library")]
    pub(crate) fn take(&self, max: usize, into: &mut Records) -> usize {
        into.clear();
        self.signal.ready.store(false, Ordering::Release);
        into.room(max);
        // SAFETY: the buffer has room for `max` pointers; the call writes as many as it returns.
        let taken =
            unsafe { sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, into.messages.as_mut_ptr(), max) };
        let taken = usize::try_from(taken).unwrap_or(0);
        // SAFETY: the first `taken` pointers were written, and `taken <= max <= capacity`.
        unsafe { into.messages.set_len(taken) };
        if taken == max {
            self.signal.ready.store(true, Ordering::Release);
        }
        taken
    }

    /// The end of the partition as the last fetch knew it; `None` before the first.
    #[expect(unsafe_code, reason = "calls the client library")]
    pub(crate) fn high_watermark(&self) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        let handle = self.client.client().native_ptr();
        // SAFETY: the handle lives, the name is a C string, the two numbers are written before the call returns.
        let err = unsafe {
            sys::rd_kafka_get_watermark_offsets(handle, self.topic.as_ptr(), self.partition, &mut low, &mut high)
        };
        (err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl Drop for PartitionQueue {
    #[expect(unsafe_code, reason = "calls the client library")]
    fn drop(&mut self) {
        // SAFETY: the first call takes the queue's lock, under which callbacks run: none runs after it. The pointer is freed once.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Whether the client's common queue holds something: a poll of it answers "nothing" for events that it deals with itself.
#[expect(unsafe_code, reason = "calls the client library")]
pub(crate) fn has_events(client: &SourceClient) -> bool {
    // SAFETY: the handle lives as long as `client`; the queue's reference is given back.
    unsafe {
        let queue = sys::rd_kafka_queue_get_consumer(client.client().native_ptr());
        if queue.is_null() {
            return false;
        }
        let length = sys::rd_kafka_queue_length(queue);
        sys::rd_kafka_queue_destroy(queue);
        length > 0
    }
}

/// Records taken from a queue. They point into the library's fetch buffers, so they are to be copied and let go soon.
#[derive(Default)]
pub(crate) struct Records {
    messages: Vec<*mut sys::rd_kafka_message_t>,
}

#[expect(unsafe_code, reason = "the library's messages may be used from any thread")]
// SAFETY: the pointers are owned, and librdkafka lets any thread read and free a message.
unsafe impl Send for Records {}

impl Records {
    fn room(&mut self, max: usize) {
        self.messages.reserve(max);
    }

    /// The records, oldest first, with the errors that the client put among them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.messages.iter().map(|m| Record { message: *m, records: PhantomData })
    }

    /// Frees the records.
    #[expect(unsafe_code, reason = "calls the client library")]
    pub(crate) fn clear(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: every pointer came from the library and is freed once.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What stands at one place of a queue.
pub(crate) enum Item<'a> {
    /// A record.
    Record(Record<'a>),
    /// Everything before this offset was read, and no more is there now; the offset counts control records too.
    End(i64),
    /// The partition cannot be read on.
    Failed(Code, String),
}

/// One record.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    message: *const sys::rd_kafka_message_t,
    records: PhantomData<&'a Records>,
}

/// Who set a record's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimestampType {
    /// Nobody: a very old format.
    None,
    /// The producer.
    CreateTime,
    /// The broker.
    LogAppendTime,
}

#[expect(unsafe_code, reason = "reads messages of the client library")]
impl<'a> Record<'a> {
    fn message(&self) -> &'a sys::rd_kafka_message_t {
        // SAFETY: the message is freed by `Records::clear` only, which needs the records that `'a` borrows.
        unsafe { &*self.message }
    }

    /// Sorts records from the notes among them.
    pub(crate) fn item(self) -> Item<'a> {
        let message = self.message();
        match Code::from(message.err) {
            Code::NoError => Item::Record(self),
            Code::PartitionEOF => Item::End(message.offset),
            code => {
                // SAFETY: for a message with an error the text is a C string that lives as long as the message.
                let text = unsafe {
                    let text = sys::rd_kafka_message_errstr(self.message);
                    if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
                };
                Item::Failed(code, text)
            }
        }
    }

    pub(crate) fn offset(&self) -> i64 {
        self.message().offset
    }

    /// The value; `None` for a tombstone.
    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: the library gives `len` readable bytes at `payload`, or null, for as long as the message lives.
        unsafe { bytes(self.message().payload, self.message().len) }
    }

    /// The key.
    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: as for the value.
        unsafe { bytes(self.message().key, self.message().key_len) }
    }

    /// Milliseconds since 1970 UTC, if the record has a timestamp, and who set it.
    pub(crate) fn timestamp(&self) -> (Option<i64>, TimestampType) {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives, the kind is written before the call returns.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.message, &mut kind) };
        use sys::rd_kafka_timestamp_type_t as T;
        match kind {
            T::RD_KAFKA_TIMESTAMP_CREATE_TIME => (Some(millis), TimestampType::CreateTime),
            T::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => (Some(millis), TimestampType::LogAppendTime),
            T::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => (None, TimestampType::None),
        }
    }

    /// The epoch of the leader that wrote the record, if known.
    pub(crate) fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message lives.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.message) };
        (epoch >= 0).then_some(epoch)
    }

    /// Calls `each` with the name and the value of every header, in order.
    pub(crate) fn headers(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives; the headers stay the message's.
        let err = unsafe { sys::rd_kafka_message_headers(self.message, &mut headers) };
        if err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers live with the message; on success the library has written name, value and length.
            unsafe {
                let err = sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut len);
                if err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return;
                }
                each(CStr::from_ptr(name).to_bytes(), bytes(value, len));
            }
        }
    }
}

#[expect(unsafe_code, reason = "reads messages of the client library")]
unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller vouches for `len` bytes that live for `'a`.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len) })
}
