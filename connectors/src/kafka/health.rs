//! What a client says aside from records: complaints, and whether its brokers can be reached.
//!
//! Filled when a client is served: by the library's callbacks, or from its events (`producer.rs`). Readers and sinks show the
//! outage in their metrics, from where the command line tells people.
//!
//! Invariants
//! - H1 an outage needs both: a complaint that time may cure, and statistics that show a broker away. Connections that are
//!   closed while idle and opened again make none.
//! - H2 an outage keeps its first text; it ends with statistics that show every broker in use.
//! - H3 a complaint that no retry will cure stays until somebody has asked for it.

use super::error::{Blame, blame, from_code};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use thalweg_engine::error::Error;

/// How many complaints are kept.
const COMPLAINTS_MAX: usize = 16;
/// A connection that ends before this age may never have been wanted, in milliseconds.
const YOUNG_MS: u64 = 1_000;

/// What a client has said since it was last well: bounded, newest last, each text once.
#[derive(Default)]
pub(crate) struct Complaints(Mutex<VecDeque<(Code, String)>>);

impl Complaints {
    pub(crate) fn note(&self, code: Code, reason: &str) {
        let reason = without_duration(reason);
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.iter().any(|(_, text)| text == reason) {
            return;
        }
        if said.len() == COMPLAINTS_MAX {
            said.pop_front();
        }
        said.push_back((code, reason.to_owned()));
    }

    /// The first complaint that no retry will cure, as an error; the rest is forgotten.
    pub(crate) fn hopeless(&self, doing: &str, own_group: bool) -> Option<Error> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A group that nobody named is only the library's wish: readers assign partitions themselves.
        let counts =
            |code: Code| matches!(blame(code), Blame::User(_)) && (own_group || code != Code::GroupAuthorizationFailed);
        let found = said.iter().find(|(code, _)| counts(*code) || *code == Code::Fatal);
        let error = found.map(|(code, reason)| from_code(doing, *code, reason));
        if error.is_some() {
            said.clear();
        }
        error
    }

    /// The most telling recent complaint: rather why one connection failed than that all are down.
    pub(crate) fn recent(&self) -> Option<String> {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let telling = said.iter().rev().find(|(code, _)| *code != Code::AllBrokersDown);
        telling.or(said.back()).map(|(_, reason)| reason.clone())
    }

    /// Forgets what time has cured.
    fn recovered(&self) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|(code, _)| blame(*code) != Blame::External || *code == Code::Fatal);
    }
}

/// The library adds for how long it was in which state, which makes the same complaint look new every time.
fn without_duration(reason: &str) -> &str {
    match reason.rfind(" (after ") {
        Some(at) if reason.ends_with(')') => &reason[..at],
        _ => reason,
    }
}

/// What to say if a broker ended a connection right after it was made: all that a listener does that wants TLS or a password from
/// who speaks neither. The library mostly takes it for nothing to complain about, so this also sees its log.
fn hung_up_at_once(text: &str) -> Option<String> {
    let (broker, what) = text.split_once(": ")?;
    let (what, since) = what.rsplit_once(" (after ")?;
    let (duration_ms, state) = since.split_once("ms in state ")?;
    let young = match state.trim_end_matches(')').split(',').next() {
        Some("UP") => duration_ms.parse::<u64>().is_ok_and(|ms| ms < YOUNG_MS),
        Some("APIVERSION_QUERY") => true,
        _ => false,
    };
    let hung_up = young && (what.starts_with("Disconnected") || what.starts_with("Send failed"));
    let guess = "closes the connection at once, as one does that wants TLS or a password";
    hung_up.then(|| format!("{broker} {guess}; check `properties.security.protocol`"))
}

/// What the library tells a client.
#[derive(Default)]
pub(crate) struct Events {
    pub(crate) complaints: Complaints,
    outage: Mutex<Option<Arc<str>>>,
}

impl Events {
    /// Why brokers cannot be reached right now.
    pub(crate) fn outage(&self) -> Option<Arc<str>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Events {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        // [thrd:b:9092/bootstrap]: b:9092/bootstrap: Disconnected: .. (after 3ms in state UP)
        let text = message.split_once("]: ").filter(|_| facility == "FAIL" && message.starts_with("[thrd:"));
        if let Some(guess) = text.and_then(|(_, text)| hung_up_at_once(text)) {
            self.complaints.note(Code::BrokerTransportFailure, &guess);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let guess = hung_up_at_once(reason).filter(|_| code == Code::BrokerTransportFailure);
        self.complaints.note(code, guess.as_deref().unwrap_or(reason));
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else { return };
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if statistics.is_well() {
            self.complaints.recovered();
            *outage = None;
        } else if outage.is_none()
            && let Some(reason) = self.complaints.recent()
        {
            *outage = Some(format!("cannot reach Kafka: {reason}").into());
        }
    }
}

impl ConsumerContext for Events {}

impl ProducerContext for Events {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, _: ()) {}
}

/// The part of the library's statistics that is of interest here.
#[derive(Deserialize)]
struct Statistics {
    brokers: BTreeMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    source: String,
    state: String,
}

impl Statistics {
    /// Whether every broker that is wanted is there. A broker that nobody wants to talk to rests in its first state, and an
    /// address of the options serves only until the cluster has named its brokers.
    fn is_well(&self) -> bool {
        let up = |b: &Broker| matches!(b.state.as_str(), "UP" | "REAUTH");
        let away = |b: &Broker| b.source == "learned" && !up(b) && b.state != "INIT";
        self.brokers.values().any(up) && !self.brokers.values().any(away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(events: &Events, brokers: &[(&str, &str)]) {
        let broker = |(n, (source, state)): (usize, &(&str, &str))| {
            (format!("b:{n}"), serde_json::json!({ "name": "b", "source": source, "state": state, "tx": 7 }))
        };
        let brokers: serde_json::Map<_, _> = brokers.iter().enumerate().map(broker).collect();
        let text = serde_json::json!({ "name": "thalweg#consumer-1", "brokers": brokers, "topics": {} }).to_string();
        events.stats_raw(text.as_bytes());
    }

    #[test]
    fn an_outage_begins_with_a_complaint_and_ends_when_every_broker_in_use_is_back() {
        let events = Events::default();
        // Closed for idleness and on its way back: nobody complained.
        tell(&events, &[("learned", "TRY_CONNECT"), ("learned", "UP")]);
        assert_eq!(events.outage(), None);
        let refused = "b:0: Connect to ipv4#127.0.0.1:9 failed: Connection refused";
        events.complaints.note(Code::BrokerTransportFailure, &format!("{refused} (after 3ms in state CONNECT)"));
        events.complaints.note(Code::AllBrokersDown, "2/2 brokers are down");
        assert_eq!(events.outage(), None, "not before the state is known");
        tell(&events, &[("learned", "TRY_CONNECT"), ("learned", "UP")]);
        let text = format!("cannot reach Kafka: {refused}");
        assert_eq!(events.outage().as_deref(), Some(text.as_str()));
        // It keeps its text, and some answers are not all answers.
        events.complaints.note(Code::BrokerTransportFailure, "b:1: Disconnected");
        for half in ["CONNECT", "APIVERSION_QUERY", "AUTH_REQ", "DOWN"] {
            tell(&events, &[("learned", half), ("learned", "UP")]);
            assert_eq!(events.outage().as_deref(), Some(text.as_str()));
        }
        tell(&events, &[("configured", "DOWN"), ("learned", "INIT"), ("learned", "UP")]);
        assert_eq!((events.outage(), events.complaints.recent()), (None, None));
        // Nobody at all: before the cluster has named its brokers.
        events.complaints.note(Code::AllBrokersDown, "1/1 brokers are down");
        tell(&events, &[("configured", "INIT")]);
        assert_eq!(events.outage().as_deref(), Some("cannot reach Kafka: 1/1 brokers are down"));
        events.stats_raw(b"no statistics");
        assert!(events.outage().is_some());
    }

    #[test]
    fn what_no_retry_cures_outlives_a_recovery() {
        let events = Events::default();
        events.complaints.note(Code::BrokerTransportFailure, "gone");
        events.complaints.note(Code::TopicAuthorizationFailed, "not yours");
        tell(&events, &[("learned", "UP")]);
        assert_eq!(events.complaints.recent().as_deref(), Some("not yours"));
        let error = events.complaints.hopeless("read `t-0`", false).unwrap();
        assert!(error.message().contains("read `t-0`: not yours; grant"), "{error}");
        assert!(events.complaints.hopeless("read `t-0`", false).is_none());
    }

    #[test]
    fn a_listener_that_hangs_up_is_guessed_to_want_a_password() {
        let said = |message: &str| {
            let events = Events::default();
            events.log(RDKafkaLogLevel::Info, "FAIL", &format!("[thrd:b:9/bootstrap]: b:9/bootstrap: {message}"));
            events.complaints.recent()
        };
        let guess = "b:9/bootstrap closes the connection at once, as one does that wants TLS or a password; \
                     check `properties.security.protocol`";
        for message in [
            "Disconnected: connection closed by peer: receive 0 after POLLIN (after 0ms in state UP)",
            "Disconnected (after 999ms in state UP, 1 identical error(s) suppressed)",
            "Send failed: Broken pipe (after 0ms in state UP)",
            "Disconnected (after 4000ms in state APIVERSION_QUERY)",
        ] {
            assert_eq!(said(message).as_deref(), Some(guess), "{message}");
            let events = Events::default();
            let code = rdkafka::types::RDKafkaErrorCode::BrokerTransportFailure;
            events.error(KafkaError::Global(code), &format!("b:9/bootstrap: {message}"));
            assert_eq!(events.complaints.recent().as_deref(), Some(guess), "{message}");
        }
        for message in ["Disconnected (after 60000ms in state UP)", "Connect failed (after 0ms in state CONNECT)", ""] {
            assert_eq!(said(message), None, "{message}");
        }
    }

    #[test]
    fn complaints_are_kept_once_and_bounded() {
        let complaints = Complaints::default();
        for n in 0..100 {
            complaints.note(Code::BrokerTransportFailure, &format!("down (after {n}ms in state CONNECT)"));
        }
        assert_eq!(complaints.0.lock().unwrap().len(), 1);
        for n in 0..100 {
            complaints.note(Code::BrokerTransportFailure, &format!("down {n}"));
        }
        assert_eq!(complaints.0.lock().unwrap().len(), COMPLAINTS_MAX);
        assert_eq!(complaints.recent().as_deref(), Some("down 99"));
    }
}
