//! The client options of a table (`properties.*`): an allow-list, and values that are never printed if they are secret.
//!
//! Called by `options.rs` when a table is declared and by `client.rs` when a client is made. Names are those of the client
//! library (librdkafka), which are Kafka's own except where Java's make no sense outside Java; those are answered with the name
//! to use instead.
//!
//! Invariants
//! - P1 no name outside the list reaches the client library: some of its options load code or open files.
//! - P2 neither `Debug` nor an error text shows the value of a secret.

use super::error::{from_kafka, lowercase_first};
use crate::options::nearest;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
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
    ("partition.discovery.interval.ms", "set `scan.topic-partition-discovery.interval`"),
];

/// Options with two names: the library takes both and keeps whichever it is given last, so only the second name is passed on.
const ALIASES: &[(&str, &str)] = &[
    ("compression.codec", "compression.type"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("request.required.acks", "acks"),
    ("sasl.mechanisms", "sasl.mechanism"),
];

/// How names of mechanisms begin, the library's feature that has them, and what it is made of.
const MECHANISMS: &[(&str, &str, &str)] = &[
    ("GSSAPI", "sasl_gssapi", "Kerberos"),
    ("SCRAM-", "sasl_scram", "TLS's hashes"),
    ("OAUTHBEARER", "sasl_oauthbearer", "TLS"),
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

    /// Lets the client library look at every value; asks no broker. Errors: `user` for a value that it does not take, or that needs
    /// what this build of the library lacks; never with a secret.
    pub fn check(&self) -> Result<()> {
        for (name, value) in self.iter() {
            if let Err(e) = ClientConfig::new().set(name, value).create_native_config() {
                return Err(refused(name, &e));
            }
        }
        let over_sasl = self.get("security.protocol").is_some_and(|p| p.to_ascii_lowercase().starts_with("sasl"));
        // Kerberos is the library's default.
        let mechanism = self.get("sasl.mechanism").unwrap_or("GSSAPI");
        let needed = MECHANISMS.iter().find(|(prefix, ..)| over_sasl && mechanism.starts_with(prefix));
        match needed.filter(|(_, feature, _)| !has_feature(feature)) {
            None => Ok(()),
            Some((_, _, needs)) => {
                let text = format!("option `properties.sasl.mechanism`: {mechanism} needs {needs}, which this build");
                Err(Error::user(format!("{text} of the Kafka client is without; use PLAIN")))
            }
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

/// Why the library does not take an option.
pub(crate) fn refused(name: &str, e: &KafkaError) -> Error {
    match e {
        KafkaError::ClientConfig(_, text, _, _) if text.contains("not available at build time") => {
            let needs = if text.contains("OpenSSL") { "TLS" } else { "OpenID Connect" };
            let text = format!("needs {needs}, which this build of the Kafka client is without");
            let instead = "use a listener with PLAINTEXT or SASL_PLAINTEXT and the mechanism PLAIN";
            Error::user(format!("option `properties.{name}`: {text}; {instead}"))
        }
        KafkaError::ClientConfig(..) if ClientProperties::is_secret(name) => {
            Error::user(format!("option `properties.{name}`: not a valid value"))
        }
        KafkaError::ClientConfig(_, text, _, _) => {
            Error::user(format!("option `properties.{name}`: {}", lowercase_first(text)))
        }
        other => from_kafka("kafka client", other),
    }
}

/// Whether the library was built with `feature`.
fn has_feature(feature: &str) -> bool {
    let features = ClientConfig::new().create_native_config().and_then(|config| config.get("builtin.features"));
    features.is_ok_and(|all| all.split(',').any(|f| f == feature))
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
    use thalweg_engine::error::ErrorKind;

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

    fn checked(options: &[(&str, &str)]) -> Result<()> {
        let mut p = ClientProperties::default();
        options.iter().try_for_each(|(name, value)| p.insert(name, value))?;
        p.check()
    }

    #[test]
    fn a_bad_value_is_named_when_the_table_is_declared_and_a_secret_stays_out_of_the_text() {
        let refused = |options: &[(&str, &str)]| checked(options).unwrap_err();
        let error = refused(&[("fetch.min.bytes", "many")]);
        assert_eq!(error.kind(), ErrorKind::User);
        assert!(error.message().starts_with("option `properties.fetch.min.bytes`: "), "{error}");
        let error = refused(&[("security.protocol", "SASL_TELNET")]).to_string();
        assert!(error.contains("option `properties.security.protocol`: ") && error.contains("SASL_TELNET"), "{error}");
        for secret in SECRETS {
            // Some take any text, and some nothing in this build.
            let error = checked(&[(secret, "hunter2")]).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    /// Whatever the library was built with: what it has is taken, and what it lacks is named.
    #[test]
    fn security_that_this_build_lacks_is_refused_with_the_reason() {
        for (options, feature, reason) in [
            ([("security.protocol", "SSL"), ("client.id", "x")], "ssl", "security.protocol`: needs TLS"),
            ([("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN")], "ssl", "security.protocol`: needs TLS"),
            ([("ssl.ca.location", "/ca.pem"), ("client.id", "x")], "ssl", "ssl.ca.location`: needs TLS"),
            (
                [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "SCRAM-SHA-256")],
                "sasl_scram",
                "sasl.mechanism`: SCRAM-SHA-256 needs TLS's hashes",
            ),
            (
                [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "OAUTHBEARER")],
                "sasl_oauthbearer",
                "sasl.mechanism`: OAUTHBEARER needs TLS",
            ),
            (
                [("security.protocol", "SASL_PLAINTEXT"), ("client.id", "x")],
                "sasl_gssapi",
                "sasl.mechanism`: GSSAPI needs Kerberos",
            ),
            ([("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")], "sasl_plain", ""),
            ([("security.protocol", "PLAINTEXT"), ("sasl.mechanism", "SCRAM-SHA-512")], "sasl_plain", ""),
        ] {
            match checked(&options) {
                Ok(()) => assert!(has_feature(feature), "{options:?}"),
                Err(e) => {
                    assert!(!has_feature(feature) && e.kind() == ErrorKind::User, "{options:?}: {e}");
                    assert!(!reason.is_empty() && e.message().contains(reason), "{e}");
                    assert!(e.message().contains("which this build of the Kafka client is without"), "{e}");
                }
            }
        }
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
