//! The client options of a table (`properties.*`): an allow-list, and values that are never printed if they are secret.
//!
//! Called by `options.rs` when a table is declared and by `client.rs` when a client is made. Names are those of the client
//! library (librdkafka), which are Kafka's own except where Java's make no sense outside Java; those are answered with the name
//! to use instead.
//!
//! Invariants
//! - P1 no name outside the list reaches the client library: some of its options load code or open files.
//! - P2 neither `Debug` nor an error text shows the value of a secret.

use crate::options::nearest;
use std::collections::BTreeMap;
use std::fmt;
use thalweg_engine::error::{Error, Result};

/// Every client option that a table may set, with `properties.` in front.
pub const CLIENT_OPTIONS: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "api.version.request.timeout.ms",
    "auto.offset.reset",
    "batch.num.messages",
    "batch.size",
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "check.crcs",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "delivery.timeout.ms",
    "enable.idempotence",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "isolation.level",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.kerberos.keytab",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "sticky.partitioning.linger.ms",
    "topic.metadata.refresh.interval.ms",
];

const SECRETS: &[&str] = &[
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

/// Options that this connector decides itself, and Java's names, with what to do instead.
const INSTEAD: &[(&str, &str)] = &[
    ("enable.auto.commit", "offsets are part of checkpoints, and are committed to the group when one is complete"),
    ("auto.commit.interval.ms", "offsets are committed to the group when a checkpoint is complete"),
    ("enable.auto.offset.store", "offsets are part of checkpoints"),
    ("key.deserializer", "use the table's `key.format`"),
    ("value.deserializer", "use the table's `format`"),
    ("key.serializer", "use the table's `key.format`"),
    ("value.serializer", "use the table's `format`"),
    ("partitioner", "use the table's `sink.partitioner`"),
    ("partitioner.class", "use the table's `sink.partitioner`"),
    ("transactional.id", "use the table's `sink.delivery-guarantee`"),
    ("sasl.jaas.config", "use `properties.sasl.username` and `properties.sasl.password`"),
    ("ssl.truststore.location", "use `properties.ssl.ca.location` with a PEM file"),
    ("ssl.truststore.password", "use `properties.ssl.ca.location` with a PEM file"),
    ("buffer.memory", "use `properties.queue.buffering.max.kbytes`"),
    ("max.request.size", "use `properties.message.max.bytes`"),
    ("fetch.max.wait.ms", "use `properties.fetch.wait.max.ms`"),
    ("max.poll.records", "batches are sized by the engine"),
    ("partition.discovery.interval.ms", "partitions are found once, when the job starts"),
];

/// Options with two names: the library takes both and keeps whichever it is given last, so only the second name is passed on.
const ALIASES: &[(&str, &str)] = &[
    ("compression.codec", "compression.type"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("request.required.acks", "acks"),
    ("sasl.mechanisms", "sasl.mechanism"),
];

/// Checked client options of one table.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientProperties(BTreeMap<String, String>);

impl ClientProperties {
    /// Adds option `name` (without `properties.`). Errors: `user` for a name that is not on the list, with what to write
    /// instead; never with the value.
    pub fn insert(&mut self, name: &str, value: &str) -> Result<()> {
        if let Some((_, instead)) = INSTEAD.iter().find(|(n, _)| *n == name) {
            return Err(Error::user(format!("option `properties.{name}` cannot be set: {instead}")));
        }
        if !CLIENT_OPTIONS.contains(&name) {
            return Err(Error::user(format!("unknown option `properties.{name}`{}", suggestion(name))));
        }
        let canonical = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, canonical)| canonical);
        match self.0.insert(canonical.to_owned(), value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(Error::user(format!("option `properties.{canonical}` is given twice, by two names"))),
        }
    }

    /// The value of `name`, which is not an alias.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values, secrets included: for the client library only.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether the value of `name` must not be shown.
    pub fn is_secret(name: &str) -> bool {
        SECRETS.contains(&name)
    }
}

impl fmt::Debug for ClientProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &str, value: &str| if Self::is_secret(name) { "***".to_owned() } else { value.to_owned() };
        f.debug_map().entries(self.iter().map(|(k, v)| (k.to_owned(), shown(k, v)))).finish()
    }
}

fn suggestion(name: &str) -> String {
    match nearest(name, CLIENT_OPTIONS.iter().copied()) {
        Some(option) => format!("; did you mean `properties.{option}`?"),
        None => "; client options are an allow-list, see the connector's documentation".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let mut p = ClientProperties::default();
        for name in SECRETS {
            assert!(CLIENT_OPTIONS.contains(name), "{name}");
            p.insert(name, "hunter2").unwrap();
        }
        p.insert("client.id", "reader").unwrap();
        let shown = format!("{p:?}");
        assert!(!shown.contains("hunter2") && shown.contains("***") && shown.contains("reader"), "{shown}");
        let error = p.insert("sasl.passwort", "hunter2").unwrap_err().to_string();
        assert_eq!(error, "unknown option `properties.sasl.passwort`; did you mean `properties.sasl.password`?");
    }

    #[test]
    fn options_that_load_code_or_that_we_decide_are_refused() {
        let mut p = ClientProperties::default();
        for name in ["plugin.library.paths", "enable.auto.commit", "sasl.jaas.config", "ssl.engine.location", ""] {
            assert!(p.insert(name, "x").is_err(), "{name}");
        }
        assert_eq!(p, ClientProperties::default());
    }

    #[test]
    fn an_option_with_two_names_is_one_option() {
        for (alias, canonical) in ALIASES {
            assert!(CLIENT_OPTIONS.contains(alias) && CLIENT_OPTIONS.contains(canonical), "{alias}, {canonical}");
            let mut p = ClientProperties::default();
            p.insert(alias, "1").unwrap();
            assert_eq!((p.get(canonical), p.get(alias)), (Some("1"), None));
            assert!(p.insert(canonical, "2").unwrap_err().message().contains("by two names"));
        }
    }

    #[test]
    fn the_lists_are_sorted_and_apart() {
        assert!(CLIENT_OPTIONS.is_sorted());
        assert!(INSTEAD.iter().all(|(name, _)| !CLIENT_OPTIONS.contains(name)));
    }
}
