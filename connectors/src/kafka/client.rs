//! Clients of the broker: their settings, and how long a first answer may take.
//!
//! Made by `discovery.rs` (off the tasks, may wait) and by readers and sinks (in a task, must not wait: making a client only
//! starts its threads). Everything the client library says aside from records (connection lost, wrong password) goes to
//! [`Events`] when the client is served.

use super::error::{from_code, from_kafka};
use super::health::Events;
use super::options::{Delivery, KafkaOptions};
use super::properties::{ClientProperties, refused};
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer};
use std::time::Duration;
use thalweg_engine::error::{Error, Result};

/// How long one question to the cluster may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How often the first question is asked: an unreachable broker is an error after 12 s.
const ATTEMPTS: usize = 6;
/// How long a client is served between two questions.
const SERVE: Duration = Duration::from_millis(50);
/// How often a client tells the state of its connections, in milliseconds.
const STATISTICS_MS: &str = "2000";

/// Defaults that differ from the library's; a table's `properties.*` go before them.
const SOURCE_DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "thalweg"),
    ("group.id", "thalweg"),
    // At the library's 1000 ms a full queue stalls the partition for a second.
    ("fetch.queue.backoff.ms", "5"),
    // Per partition; with the short backoff enough for full speed, at a quarter of the memory.
    ("queued.min.messages", "10000"),
    ("queued.max.messages.kbytes", "65536"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
];

/// What a source decides itself: offsets live in checkpoints, and a lost position is never skipped over silently.
const SOURCE_FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("statistics.interval.ms", STATISTICS_MS),
];

const SINK_DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "thalweg"),
    ("linger.ms", "5"),
    ("delivery.timeout.ms", "120000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
    ("batch.size", "262144"),
];

/// Java's partitioning, so that equal keys meet in one partition whoever writes them.
const SINK_FIXED: &[(&str, &str)] = &[("partitioner", "murmur2_random"), ("statistics.interval.ms", STATISTICS_MS)];

/// A consumer whose partitions are assigned by us.
pub(crate) type SourceClient = BaseConsumer<Events>;
/// A producer.
pub(crate) type SinkClient = BaseProducer<Events>;

/// A client for reading; does not wait for the broker. `until_end`: say when the end of a partition is reached.
pub(crate) fn source_client(options: &KafkaOptions, until_end: bool) -> Result<SourceClient> {
    let mut config = configure(&options.properties, SOURCE_DEFAULTS, SOURCE_FIXED);
    config.set("enable.partition.eof", if until_end { "true" } else { "false" });
    create(&config, options.bootstrap_servers())
}

/// The settings of a client that asks for topics to be made.
pub(crate) fn client_config(options: &KafkaOptions) -> ClientConfig {
    let mut config = configure(&options.properties, SINK_DEFAULTS, SINK_FIXED);
    config.remove("statistics.interval.ms");
    config
}

/// A client for writing in transactions under this id; does not wait for the broker.
pub(crate) fn transactional_client(options: &KafkaOptions, id: &str) -> Result<SinkClient> {
    let mut config = configure(&options.properties, SINK_DEFAULTS, SINK_FIXED);
    if options.properties.get("delivery.timeout.ms").is_none() {
        // At most that of a transaction.
        config.set("delivery.timeout.ms", "60000");
    }
    config.set("transactional.id", id).set("enable.idempotence", "true");
    create(&config, options.bootstrap_servers())
}

/// A client for writing; does not wait for the broker.
pub(crate) fn sink_client(options: &KafkaOptions, delivery: Delivery) -> Result<SinkClient> {
    let mut config = configure(&options.properties, SINK_DEFAULTS, SINK_FIXED);
    let asked = |name: &str| options.properties.get(name).is_some();
    match delivery {
        Delivery::None if !asked("acks") => {
            config.set("acks", "1");
        }
        // Retries then neither repeat nor reorder rows.
        Delivery::AtLeastOnce if !asked("enable.idempotence") && !asked("acks") => {
            config.set("enable.idempotence", "true");
        }
        _ => {}
    }
    create(&config, options.bootstrap_servers())
}

fn configure(properties: &ClientProperties, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    let asked = properties.iter();
    for (name, value) in defaults.iter().copied().chain(asked).chain(fixed.iter().copied()) {
        config.set(name, value);
    }
    config
}

fn create<T: rdkafka::config::FromClientConfigAndContext<Events>>(config: &ClientConfig, brokers: &str) -> Result<T> {
    config.create_with_context(Events::default()).map_err(|e| match &e {
        KafkaError::ClientConfig(_, _, name, _) => refused(name, &e),
        other => from_kafka(&format!("kafka client for `{brokers}`"), other),
    })
}

/// A client that can be asked about the cluster.
pub(crate) trait Served {
    /// The library's handle.
    fn handle(&self) -> &Client<Events>;
    /// Lets it tell what happened.
    fn serve(&self, timeout: Duration);
}

impl Served for SourceClient {
    fn handle(&self) -> &Client<Events> {
        self.client()
    }

    fn serve(&self, timeout: Duration) {
        // Nothing is assigned while a client is asked, so no record can come out here.
        let _ = self.poll(timeout);
    }
}

impl Served for SinkClient {
    fn handle(&self) -> &Client<Events> {
        Producer::client(self)
    }

    fn serve(&self, timeout: Duration) {
        self.poll(timeout);
    }
}

/// The partitions of `topic`, in order. Waits up to 12 s for the cluster. `may_be_made`: asking may have made the topic, so that
/// "unknown" is not its last word. Errors: `user` if the topic does not exist or may not
/// be read, or the credentials are wrong; `external` if no broker answers.
pub(crate) fn partitions(client: &impl Served, brokers: &str, topic: &str, may_be_made: bool) -> Result<Vec<i32>> {
    let doing = format!("find topic `{topic}` at `{brokers}`");
    let complaints = &client.handle().context().complaints;
    let mut failure = Error::external(format!("{doing}: no answer"));
    for attempt in 0..ATTEMPTS {
        match client.handle().fetch_metadata(Some(topic), ATTEMPT) {
            Ok(metadata) => {
                let Some(found) = metadata.topics().first() else { continue };
                let error = found.error().map(Code::from);
                match error {
                    None if !found.partitions().is_empty() => {
                        let mut ids: Vec<i32> = found.partitions().iter().map(|p| p.id()).collect();
                        ids.sort_unstable();
                        return Ok(ids);
                    }
                    // A topic that is being made.
                    None | Some(Code::LeaderNotAvailable) => failure = from_code(&doing, Code::LeaderNotAvailable, ""),
                    Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)
                        if may_be_made && attempt + 3 < ATTEMPTS => {}
                    Some(code) => return Err(from_code(&doing, code, "")),
                }
            }
            Err(e) => failure = from_kafka(&doing, &e),
        }
        for _ in 0..4 {
            client.serve(SERVE);
        }
        if let Some(error) = complaints.hopeless(&doing, true) {
            return Err(error);
        }
    }
    match complaints.recent() {
        Some(reason) => Err(Error::external(format!(
            "{doing}: no answer within 12 s: {reason}; check `properties.bootstrap.servers`"
        ))),
        None => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties::CLIENT_OPTIONS;
    use super::*;
    use std::collections::BTreeMap;
    use thalweg_engine::error::ErrorKind;

    fn options(extra: &[(&str, &str)]) -> KafkaOptions {
        let base = [("topic", "t"), ("properties.bootstrap.servers", "127.0.0.1:1"), ("format", "json")];
        let mode = [("scan.startup.mode", "earliest-offset")];
        let all = base.iter().chain(&mode).chain(extra).map(|(k, v)| (k.to_string(), v.to_string()));
        KafkaOptions::parse(&all.collect::<BTreeMap<_, _>>()).unwrap().0
    }

    #[test]
    fn the_library_knows_every_option_of_the_list() {
        for name in CLIENT_OPTIONS {
            let refused = ClientConfig::new().set(*name, "").create_native_config().err().map(|e| e.to_string());
            assert!(!refused.as_ref().is_some_and(|text| text.contains("No such")), "{name}: {refused:?}");
        }
        let refused = ClientConfig::new().set("no.such.option", "").create_native_config().err().unwrap().to_string();
        assert!(refused.contains("No such"), "{refused}");
    }

    #[test]
    fn a_table_overrides_defaults_but_not_what_is_fixed() {
        let o = options(&[("properties.queued.min.messages", "77"), ("properties.auto.offset.reset", "earliest")]);
        let config = configure(&o.properties, SOURCE_DEFAULTS, SOURCE_FIXED);
        assert_eq!(config.get("queued.min.messages"), Some("77"));
        assert_eq!(config.get("fetch.queue.backoff.ms"), Some("5"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
    }

    #[test]
    fn what_a_table_says_about_security_reaches_the_client() {
        let said = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "me"),
            ("sasl.password", "hunter2"),
        ];
        let named = said.map(|(name, value)| (format!("properties.{name}"), value));
        let o = options(&named.each_ref().map(|(name, value)| (name.as_str(), *value)));
        for config in [
            configure(&o.properties, SOURCE_DEFAULTS, SOURCE_FIXED),
            configure(&o.properties, SINK_DEFAULTS, SINK_FIXED),
        ] {
            for (name, value) in said {
                assert_eq!(config.get(name), Some(value), "{name}");
            }
        }
        assert!(source_client(&o, false).is_ok() && sink_client(&o, Delivery::AtLeastOnce).is_ok());
        let nobody =
            options(&[("properties.security.protocol", "sasl_plaintext"), ("properties.sasl.mechanism", "PLAIN")]);
        let error = source_client(&nobody, false).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::User);
        assert!(error.message().contains("sasl.username and sasl.password must be set"), "{error}");
    }

    /// The settings go to the library in no particular order, so two names for one option would be a matter of luck.
    #[test]
    fn defaults_use_the_names_that_a_table_would_override() {
        let mut p = ClientProperties::default();
        for (name, value) in SOURCE_DEFAULTS.iter().chain(SINK_DEFAULTS) {
            if p.get(name).is_none() {
                p.insert(name, value).unwrap();
            }
            assert!(p.get(name).is_some(), "{name} is an alias");
        }
    }

    #[test]
    fn nobody_at_the_address_is_an_error_that_says_so() {
        let client = source_client(&options(&[]), false).unwrap();
        let error = partitions(&client, "127.0.0.1:1", "t", false).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::External, true));
        let text = error.message();
        assert!(text.contains("find topic `t` at `127.0.0.1:1`") && text.contains("refused"), "{text}");
    }
}
