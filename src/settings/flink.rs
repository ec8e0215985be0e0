//! What Flink's settings are called here. Asked by the [resolver](super::resolve) for a name that is no setting.

/// Flink's names, with the setting of the same meaning.
const NAMES: &[(&str, &str)] = &[
    ("parallelism.default", "parallelism"),
    ("table.exec.resource.default-parallelism", "parallelism"),
    ("execution.checkpointing.interval", "checkpoint.interval"),
    ("execution.checkpointing.timeout", "checkpoint.timeout"),
    ("execution.checkpointing.tolerable-failed-checkpoints", "checkpoint.tolerated-failures"),
    ("execution.checkpointing.dir", "checkpoint.dir"),
    ("execution.checkpointing.savepoint-dir", "checkpoint.dir"),
    ("execution.checkpointing.num-retained", "checkpoint.retained"),
    ("state.checkpoints.dir", "checkpoint.dir"),
    ("state.savepoints.dir", "checkpoint.dir"),
    ("state.checkpoints.num-retained", "checkpoint.retained"),
    ("state.backend", "state.memory"),
    ("state.backend.type", "state.memory"),
    ("state.backend.rocksdb.localdir", "state.spill-dir"),
    ("table.exec.source.idle-timeout", "source.idle-timeout"),
    ("pipeline.auto-watermark-interval", "watermark.interval"),
    ("table.exec.mini-batch.allow-latency", "epoch.interval"),
    ("restart-strategy.fixed-delay.attempts", "restart.attempts"),
    ("restart-strategy.fixed-delay.delay", "restart.delay"),
    ("restart-strategy.exponential-delay.initial-backoff", "restart.delay"),
    ("restart-strategy.exponential-delay.max-backoff", "restart.max-delay"),
];

/// Settings of Flink that have nothing to say here, and why.
const NONE: &[(&str, &str)] = &[
    ("pipeline.name", "jobs have no name"),
    ("execution.runtime-mode", "a job ends when its sources do"),
    ("execution.checkpointing.mode", "checkpoints are always aligned and exactly once"),
    ("sql-client.execution.result-mode", "a SELECT prints its rows"),
    ("table.local-time-zone", "the time zone is UTC"),
    ("table.exec.mini-batch.enabled", "rows always travel in batches"),
    ("table.exec.mini-batch.size", "rows always travel in batches"),
    ("table.exec.state.ttl", "the state of a window goes with the window"),
    ("table.optimizer.agg-phase-strategy", "aggregates always have two phases"),
];

/// What to do instead of setting this.
pub(super) fn remedy(name: &str) -> Option<String> {
    let of = |table: &[(&str, &'static str)]| table.iter().find(|(n, _)| *n == name).map(|(_, to)| *to);
    match (of(NAMES), of(NONE)) {
        (Some(ours), _) => Some(format!("it is called `{ours}` here")),
        (_, Some(why)) => Some(format!("leave it out: {why}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SPECS;

    #[test]
    fn every_name_leads_to_a_setting() {
        for (flink, ours) in NAMES {
            assert!(SPECS.iter().any(|s| s.name == *ours), "{flink}: {ours}");
            assert!(SPECS.iter().all(|s| s.name != *flink), "{flink} is a setting");
        }
        assert_eq!(remedy("parallelism.default").as_deref(), Some("it is called `parallelism` here"));
        assert!(remedy("pipeline.name").unwrap().starts_with("leave it out: "));
        assert_eq!(remedy("zzz"), None);
    }
}
