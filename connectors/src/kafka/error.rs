//! Turns the client library's errors into the engine's: who must act, and whether a restart can help.
//!
//! Called by everything else in this folder. Codes that only say "the network has a moment" never come here: the client
//! retries those by itself, for ever.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use thalweg_engine::error::Error;

/// What a broker's or the client's error code asks of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// An option, a grant or a topic name is wrong; the text is the remedy.
    User(&'static str),
    /// The position asked for is gone (retention, a topic made anew); the text is the remedy.
    Lost(&'static str),
    /// The cluster or the network; a retry may help.
    External,
}

/// Whose matter `code` is.
pub(crate) fn blame(code: Code) -> Blame {
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            Blame::User("check `properties.security.protocol`, `properties.sasl.*` and the credentials")
        }
        Code::SSL => Blame::User("check `properties.security.protocol` and `properties.ssl.*`"),
        Code::TopicAuthorizationFailed => Blame::User("grant the client READ (source) or WRITE (sink) on the topic"),
        Code::GroupAuthorizationFailed => Blame::User("grant the client READ on the consumer group"),
        Code::ClusterAuthorizationFailed => Blame::User("grant the client access to the cluster"),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::InvalidTopic => {
            Blame::User("create the topic or correct the option `topic`")
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState => {
            Blame::User("choose another `properties.sasl.mechanism`")
        }
        Code::MessageSizeTooLarge => Blame::User(
            "raise `properties.message.max.bytes` and the topic's `max.message.bytes`, or write smaller records",
        ),
        Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::NoOffset => Blame::Lost(
            "the records there were deleted, or the topic was created anew: start without the old state, or from `earliest-offset`",
        ),
        _ => Blame::External,
    }
}

/// An engine error for `code`, met while `doing`; `reason` is the client's own text, or empty.
pub(crate) fn from_code(doing: &str, code: Code, reason: &str) -> Error {
    let what = if reason.is_empty() { text_of(code) } else { lowercase_first(reason) };
    match blame(code) {
        Blame::User(remedy) => Error::user(format!("{doing}: {what}; {remedy}")),
        Blame::Lost(remedy) => Error::external(format!("{doing}: {what}; {remedy}")).with_retry(false),
        Blame::External => Error::external(format!("{doing}: {what}")),
    }
}

/// An engine error for any error of the client library, met while `doing`.
pub(crate) fn from_kafka(doing: &str, error: &KafkaError) -> Error {
    match error {
        // The text names the property, and for a secret it would quote the value: `client.rs` looks at values first.
        KafkaError::ClientConfig(_, description, key, _) => {
            Error::user(format!("{doing}: option `properties.{key}`: {}", lowercase_first(description)))
        }
        KafkaError::ClientCreation(text) => Error::user(format!("{doing}: {}", lowercase_first(text))),
        other => match other.rdkafka_error_code() {
            Some(code) => from_code(doing, code, ""),
            None => Error::external(format!("{doing}: {}", lowercase_first(&other.to_string()))),
        },
    }
}

/// The library's description without its name for the code: `MessageTimedOut (Local: Message timed out)` says it twice.
fn text_of(code: Code) -> String {
    let text = code.to_string();
    let inner = text.split_once('(').map_or(text.as_str(), |(_, inner)| inner.trim_end_matches(')'));
    lowercase_first(inner.strip_prefix("Local: ").or(inner.strip_prefix("Broker: ")).unwrap_or(inner))
}

/// The text as a fragment: no capital in front, no full stop behind.
pub(crate) fn lowercase_first(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), text.chars().nth(1)) {
        // An abbreviation stays as it is.
        (Some(first), second) if !second.is_some_and(char::is_uppercase) => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_engine::error::ErrorKind;

    #[test]
    fn the_kind_says_who_must_act() {
        let cases = [
            (Code::SaslAuthenticationFailed, ErrorKind::User, false),
            (Code::UnknownTopicOrPartition, ErrorKind::User, false),
            (Code::AutoOffsetReset, ErrorKind::External, false),
            (Code::BrokerTransportFailure, ErrorKind::External, true),
            (Code::OperationTimedOut, ErrorKind::External, true),
        ];
        for (code, kind, retry) in cases {
            let e = from_code("read `orders-3`", code, "");
            assert_eq!((e.kind(), e.retry()), (kind, retry), "{e}");
            assert!(e.message().starts_with("read `orders-3`: "), "{e}");
        }
    }

    #[test]
    fn texts_are_fragments() {
        assert_eq!(lowercase_first("Connection refused."), "connection refused");
        assert_eq!(lowercase_first("SASL handshake failed"), "SASL handshake failed");
        assert_eq!(lowercase_first(""), "");
        assert_eq!(text_of(Code::MessageTimedOut), "message timed out");
        assert_eq!(text_of(Code::UnknownTopicOrPartition), "unknown topic or partition");
    }
}
