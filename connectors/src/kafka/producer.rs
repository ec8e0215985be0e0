//! A producer for one subtask of a sink: batches in, delivery reports out, a wake when reports have come.
//!
//! Used by the sink only. Nothing here waits: a full buffer takes a part of a batch and says how much.
//!
//! Invariants
//! - W1 every record that was accepted is reported once, delivered or failed; a failed one is an error of the next
//!   [`Producer::reports`].
//! - W2 while records are in flight a wake will come: reports arrive in the main queue, whose callback fires when it was empty,
//!   and `reports` leaves it empty.

use super::client::SinkClient;
use super::error::{Blame, blame, from_code};
use super::queue::Wake;
use rdkafka::client::ClientContext;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka_sys as sys;
use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::error::{Error, Result};

/// Where the client chooses the partition.
pub(crate) const ANY_PARTITION: i32 = -1;

/// A record to send.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) partition: i32,
}

/// What a record may carry besides.
#[derive(Clone)]
pub(crate) struct Extras {
    /// Milliseconds since 1970 UTC; `None` = now.
    pub(crate) timestamp: Option<i64>,
    pub(crate) headers: Option<OwnedHeaders>,
}

/// The producer of one subtask, writing to one topic.
pub(crate) struct Producer {
    name: String,
    topic: NonNull<sys::rd_kafka_topic_t>,
    queue: NonNull<sys::rd_kafka_queue_t>,
    wake: Box<Wake>,
    messages: Vec<sys::rd_kafka_message_t>,
    /// Declared last: it goes after the topic and the queue.
    client: SinkClient,
}

#[expect(unsafe_code, reason = "the library's objects may be used from any thread")]
// SAFETY: librdkafka's objects are thread-safe; the pointers are owned and freed once; `messages` is empty between calls.
unsafe impl Send for Producer {}

#[expect(unsafe_code, reason = "calls the client library")]
unsafe extern "C" fn on_report(_: *mut sys::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: the closure is boxed in the producer, which withdraws this callback under the queue's lock before it drops the box.
    let wake = unsafe { &*wake.cast::<Wake>() };
    wake();
}

impl Producer {
    /// Writes to `topic` through `client`; `wake` is called from one of its threads.
    #[expect(unsafe_code, reason = "calls the client library")]
    pub(crate) fn new(client: SinkClient, topic: &str, wake: Wake) -> Result<Producer> {
        let name = CString::new(topic).map_err(|_| Error::internal(format!("topic `{topic}` contains a zero byte")))?;
        let handle = client.client().native_ptr();
        let wake = Box::new(wake);
        // SAFETY: the handle lives as long as `client`; no topic configuration means the client's.
        let (made, queue) = unsafe {
            (sys::rd_kafka_topic_new(handle, name.as_ptr(), ptr::null_mut()), sys::rd_kafka_queue_get_main(handle))
        };
        let (Some(made), Some(queue)) = (NonNull::new(made), NonNull::new(queue)) else {
            return Err(Error::internal(format!("no handle for topic `{topic}`")));
        };
        let opaque = ptr::from_ref::<Wake>(&wake).cast_mut().cast::<c_void>();
        // SAFETY: the box does not move, and `drop` withdraws the callback before it goes.
        unsafe { sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_report), opaque) };
        Ok(Producer { name: topic.to_owned(), topic: made, queue, wake, messages: Vec::new(), client })
    }

    /// Hands over records, which are copied. Returns how many were accepted: fewer means that the buffer is full, and that the
    /// rest is to be sent after a wake.
    #[expect(unsafe_code, reason = "calls the client library")]
    pub(crate) fn send<'a>(&mut self, records: impl Iterator<Item = Outgoing<'a>>) -> Result<usize> {
        self.messages.clear();
        self.messages.extend(records.map(|r| message(&r)));
        let flags = sys::RD_KAFKA_MSG_F_COPY | sys::RD_KAFKA_MSG_F_PARTITION;
        let count = i32::try_from(self.messages.len()).unwrap_or(i32::MAX);
        // SAFETY: `count` messages lie in the vector; their bytes are borrowed for `'a`, and the flag says that they are copied.
        unsafe {
            sys::rd_kafka_produce_batch(self.topic.as_ptr(), ANY_PARTITION, flags, self.messages.as_mut_ptr(), count);
        }
        let failed = self.messages.iter().enumerate().find_map(|(at, m)| match Code::from(m.err) {
            Code::NoError => None,
            code => Some((at, code, m.len)),
        });
        let sent = self.messages.len();
        self.messages.clear();
        match failed {
            None => Ok(sent),
            Some((at, Code::QueueFull, _)) => Ok(at),
            Some((_, code, len)) => Err(self.refused(code, len)),
        }
    }

    /// Hands over one record that carries more than key and value. `false`: the buffer is full.
    pub(crate) fn send_with(&mut self, record: Outgoing<'_>, extras: Extras) -> Result<bool> {
        let mut next: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.name);
        next.payload = record.value;
        next.partition = (record.partition != ANY_PARTITION).then_some(record.partition);
        next.key = record.key;
        next.timestamp = extras.timestamp;
        next.headers = extras.headers;
        match self.client.send(next) {
            Ok(()) => Ok(true),
            Err((error, _)) => match error.rdkafka_error_code() {
                Some(Code::QueueFull) => Ok(false),
                code => Err(self.refused(code.unwrap_or(Code::Unknown), record.value.map_or(0, <[u8]>::len))),
            },
        }
    }

    fn refused(&self, code: Code, bytes: usize) -> Error {
        from_code(&format!("write a record of {bytes} bytes to topic `{}`", self.name), code, "")
    }

    /// Takes the delivery reports that have come, and what else the client says; `wait`: for the first of them, at most.
    /// Errors: a record could not be delivered, or the client has given up.
    #[expect(unsafe_code, reason = "calls the client library")]
    pub(crate) fn reports(&mut self, wait: Duration) -> Result<()> {
        let mut failure = None;
        let mut wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        loop {
            // SAFETY: the queue is ours; the event is freed below, after its last use.
            let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), std::mem::take(&mut wait_ms)) };
            if event.is_null() {
                break;
            }
            // SAFETY: the event is not null and lives until it is destroyed here, once.
            unsafe {
                match sys::rd_kafka_event_type(event) {
                    sys::RD_KAFKA_EVENT_DR => failure = failure.or_else(|| first_failure(event)),
                    sys::RD_KAFKA_EVENT_ERROR => failure = failure.or_else(|| self.complaint(event)),
                    sys::RD_KAFKA_EVENT_STATS => {
                        let text = sys::rd_kafka_event_stats(event);
                        if !text.is_null() {
                            self.client.context().stats_raw(CStr::from_ptr(text).to_bytes());
                        }
                    }
                    _ => {}
                }
                sys::rd_kafka_event_destroy(event);
            }
        }
        match failure {
            Some((code, reason)) => Err(from_code(&format!("write to topic `{}`", self.name), code, &reason)),
            None => Ok(()),
        }
    }

    /// Takes a complaint: one that no retry of the client will cure is a failure, others are noted. The caller vouches for the
    /// event.
    #[expect(unsafe_code, reason = "calls the client library")]
    unsafe fn complaint(&self, event: *mut sys::rd_kafka_event_t) -> Option<(Code, String)> {
        // SAFETY: the text lives as long as the event.
        let (code, reason, fatal) = unsafe {
            let text = sys::rd_kafka_event_error_string(event);
            let reason =
                if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() };
            (Code::from(sys::rd_kafka_event_error(event)), reason, sys::rd_kafka_event_error_is_fatal(event) != 0)
        };
        if fatal || matches!(blame(code), Blame::User(_)) {
            return Some((code, reason));
        }
        self.client.context().complaints.note(code, &reason);
        None
    }

    /// Why brokers cannot be reached right now.
    pub(crate) fn outage(&self) -> Option<Arc<str>> {
        self.client.context().outage()
    }

    /// The client, for transactions.
    pub(crate) fn client(&self) -> &SinkClient {
        &self.client
    }

    /// Records accepted and not yet reported.
    pub(crate) fn in_flight(&self) -> usize {
        usize::try_from(self.client.in_flight_count()).unwrap_or(0)
    }
}

fn message(record: &Outgoing<'_>) -> sys::rd_kafka_message_t {
    let bytes = |b: &[u8]| b.as_ptr().cast_mut().cast::<c_void>();
    sys::rd_kafka_message_t {
        err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: record.partition,
        payload: record.value.map_or(ptr::null_mut(), bytes),
        len: record.value.map_or(0, <[u8]>::len),
        key: record.key.map_or(ptr::null_mut(), bytes),
        key_len: record.key.map_or(0, <[u8]>::len),
        offset: 0,
        _private: ptr::null_mut(),
    }
}

/// The first record of a delivery report that was not delivered. The caller vouches for the event.
#[expect(unsafe_code, reason = "calls the client library")]
unsafe fn first_failure(event: *mut sys::rd_kafka_event_t) -> Option<(Code, String)> {
    loop {
        // SAFETY: messages live as long as the event.
        let code = unsafe {
            let message = sys::rd_kafka_event_message_next(event);
            if message.is_null() {
                return None;
            }
            Code::from((*message).err)
        };
        if code != Code::NoError {
            return Some((code, String::new()));
        }
    }
}

impl Drop for Producer {
    #[expect(unsafe_code, reason = "calls the client library")]
    fn drop(&mut self) {
        // SAFETY: the first call takes the queue's lock, under which callbacks run: none runs after it, so the box may go. Both
        // pointers are freed once, and before the client.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
            sys::rd_kafka_topic_destroy(self.topic.as_ptr());
        }
        drop(std::mem::replace(&mut *self.wake, Arc::new(|| ())));
    }
}
