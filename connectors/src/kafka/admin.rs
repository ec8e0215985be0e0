//! Asks the cluster to make a topic. Called by the committer, off the tasks, and by tests.

use super::client::client_config;
use super::error::{from_code, from_kafka};
use super::options::KafkaOptions;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::time::Duration;
use thalweg_engine::error::{Error, Result};

const ANSWER: Duration = Duration::from_secs(20);

/// Makes a topic that keeps the last record of each key, unless it is there; replicated as the brokers see fit.
pub(super) fn create_compacted(options: &KafkaOptions, name: &str, partitions: i32) -> Result<()> {
    let doing = format!("create topic `{name}`");
    let client: AdminClient<DefaultClientContext> =
        client_config(options).create().map_err(|e| from_kafka(&doing, &e))?;
    let topics = [NewTopic::new(name, partitions, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact")];
    let options = AdminOptions::new().operation_timeout(Some(ANSWER));
    let answers = block_on(client.create_topics(&topics, &options)).map_err(|e| from_kafka(&doing, &e))?;
    match answers.into_iter().next() {
        Some(Ok(_)) | Some(Err((_, Code::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(from_code(&doing, code, "")),
        None => Err(Error::external(format!("{doing}: no answer"))),
    }
}

/// Waits for a future that another thread completes.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}
