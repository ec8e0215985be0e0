//! Settings: what can be tuned, resolved once from all the places where it can be given.
//!
//! `docs/settings.toml` holds every setting with its default, unit and meaning and is embedded in the program; `SPECS` holds
//! its type and range; [`Resolver`] lays the places over each other. The command line resolves once, at the start; what comes
//! out is plain typed data.
//!
//! Invariants
//! - S1 every setting of `SPECS` has a default in the file, and the file has no other.
//! - S2 no two settings have the same name in the environment.
//! - S3 a value is checked when it is given, also if a stronger one hides it.

mod flink;
mod resolve;
#[cfg(test)]
mod tests;
mod value;

pub use resolve::{Origin, Resolver, SettingError};

use std::path::PathBuf;
use std::time::Duration;
use thalweg_engine::job::JobOptions;
use thalweg_engine::restart::Backoff;
use thalweg_engine::s3::S3Options;
use thalweg_engine::state::SpillArea;
use value::Kind;

/// The documented defaults, as the program was built with them.
pub const DEFAULTS: &str = include_str!("../../docs/settings.toml");

/// What a job runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Subtasks per operator, 1..=256.
    pub parallelism: u32,
    /// Rows in a batch at most.
    pub batch_rows: usize,
    /// Size at which a gathered batch is sent.
    pub batch_bytes: usize,
    /// Memory for rows on their way into one task.
    pub exchange_gate_bytes: u64,
    /// What every incoming edge has of it at least.
    pub exchange_edge_bytes: u64,
    /// How often event time travels at most.
    pub watermark_interval: Duration,
    /// How long a split may be silent before it is idle; `None` = for ever.
    pub source_idle_timeout: Option<Duration>,
    /// How often changes are emitted.
    pub epoch_interval: Duration,
    /// Epochs on their way at the same time.
    pub epoch_max_in_flight: usize,
    /// Bytes that one source task reads in an epoch at most.
    pub epoch_max_bytes: u64,
    /// How often the job is cut; `None` = only at the end.
    pub checkpoint_interval: Option<Duration>,
    /// Where checkpoints are kept; `None` = they are not.
    pub checkpoint_dir: Option<String>,
    /// How many complete checkpoints are kept.
    pub checkpoint_retained: usize,
    /// How long a checkpoint may take.
    pub checkpoint_timeout: Duration,
    /// How many checkpoints in a row may fail.
    pub checkpoint_tolerated_failures: u32,
    /// How buckets are reached.
    pub s3: S3Options,
    /// Memory for state; `None` = no limit.
    pub state_memory: Option<u64>,
    /// A folder for state above that.
    pub state_spill_dir: PathBuf,
    /// How often in a row a failed job starts again without completing a checkpoint.
    pub restart_attempts: u32,
    /// How long it waits before the first of them.
    pub restart_delay: Duration,
    /// How long it waits at most.
    pub restart_max_delay: Duration,
    /// Whether numbers with a point are decimals.
    pub sql_decimal_literals: bool,
    /// How often progress is shown; `None` = never.
    pub progress_interval: Option<Duration>,
}

/// One setting: its name, and what its values are.
pub(crate) struct Spec {
    name: &'static str,
    kind: Kind,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MS: Duration = Duration::from_millis(1);
const MIN: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// All settings, in the order of the file.
pub(crate) const SPECS: &[Spec] = &[
    Spec { name: "parallelism", kind: Kind::Cores { max: 256, set: |s, v| s.parallelism = v } },
    Spec { name: "batch.rows", kind: Kind::Count { min: 1, max: 65_536, set: |s, v| s.batch_rows = v as usize } },
    Spec {
        name: "batch.bytes",
        kind: Kind::Bytes { min: 4 * KIB, max: 64 * MIB, set: |s, v| s.batch_bytes = v as usize },
    },
    Spec {
        name: "exchange.gate-bytes",
        kind: Kind::Bytes { min: 64 * KIB, max: 4 * GIB, set: |s, v| s.exchange_gate_bytes = v },
    },
    Spec {
        name: "exchange.edge-bytes",
        kind: Kind::Bytes { min: 4 * KIB, max: 256 * MIB, set: |s, v| s.exchange_edge_bytes = v },
    },
    Spec {
        name: "watermark.interval",
        kind: Kind::Time { min: Duration::ZERO, max: MIN, set: |s, v| s.watermark_interval = v },
    },
    Spec {
        name: "source.idle-timeout",
        kind: Kind::TimeOrOff { min: MS, max: DAY, set: |s, v| s.source_idle_timeout = v },
    },
    Spec { name: "epoch.interval", kind: Kind::Time { min: MS, max: HOUR, set: |s, v| s.epoch_interval = v } },
    Spec {
        name: "epoch.max-in-flight",
        kind: Kind::Count { min: 1, max: 64, set: |s, v| s.epoch_max_in_flight = v as usize },
    },
    Spec {
        name: "epoch.max-bytes",
        kind: Kind::Bytes { min: 64 * KIB, max: 64 * GIB, set: |s, v| s.epoch_max_bytes = v },
    },
    Spec {
        name: "checkpoint.interval",
        kind: Kind::TimeOrOff { min: Duration::from_millis(10), max: DAY, set: |s, v| s.checkpoint_interval = v },
    },
    Spec { name: "checkpoint.dir", kind: Kind::PathOrOff { set: |s, v| s.checkpoint_dir = v } },
    Spec {
        name: "checkpoint.retained",
        kind: Kind::Count { min: 1, max: 1000, set: |s, v| s.checkpoint_retained = v as usize },
    },
    Spec {
        name: "checkpoint.timeout",
        kind: Kind::Time { min: Duration::from_millis(10), max: DAY, set: |s, v| s.checkpoint_timeout = v },
    },
    Spec {
        name: "checkpoint.tolerated-failures",
        kind: Kind::Count { min: 0, max: 1_000_000, set: |s, v| s.checkpoint_tolerated_failures = v as u32 },
    },
    Spec { name: "s3.endpoint", kind: Kind::TextOrAuto { set: |s, v| s.s3.endpoint = v } },
    Spec { name: "s3.region", kind: Kind::TextOrAuto { set: |s, v| s.s3.region = v } },
    Spec { name: "s3.access-key", kind: Kind::TextOrAuto { set: |s, v| s.s3.access_key = v } },
    Spec { name: "s3.secret-key", kind: Kind::Secret { set: |s, v| s.s3.secret_key = v } },
    Spec { name: "s3.session-token", kind: Kind::Secret { set: |s, v| s.s3.session_token = v } },
    Spec { name: "s3.path-style-access", kind: Kind::Switch { set: |s, v| s.s3.path_style = v } },
    Spec { name: "s3.allow-http", kind: Kind::Switch { set: |s, v| s.s3.allow_http = v } },
    Spec { name: "state.memory", kind: Kind::Memory { min: 16 * MIB, max: 64 << 40, set: |s, v| s.state_memory = v } },
    Spec { name: "state.spill-dir", kind: Kind::Folder { set: |s, v| s.state_spill_dir = v } },
    Spec {
        name: "restart.attempts",
        kind: Kind::Count { min: 0, max: 1_000_000, set: |s, v| s.restart_attempts = v as u32 },
    },
    Spec { name: "restart.delay", kind: Kind::Time { min: MS, max: HOUR, set: |s, v| s.restart_delay = v } },
    Spec { name: "restart.max-delay", kind: Kind::Time { min: MS, max: HOUR, set: |s, v| s.restart_max_delay = v } },
    Spec { name: "sql.decimal-literals", kind: Kind::Switch { set: |s, v| s.sql_decimal_literals = v } },
    Spec {
        name: "progress.interval",
        kind: Kind::TimeOrOff { min: Duration::from_millis(10), max: HOUR, set: |s, v| s.progress_interval = v },
    },
];

impl Settings {
    /// The documented defaults.
    pub fn defaults() -> Result<Settings, SettingError> {
        Ok(Resolver::new()?.settings())
    }

    /// What the runtime needs of them.
    pub fn job_options(&self) -> JobOptions {
        JobOptions {
            parallelism: self.parallelism,
            batch_rows: self.batch_rows,
            batch_bytes: self.batch_bytes,
            gate_bytes: self.exchange_gate_bytes,
            edge_bytes: self.exchange_edge_bytes,
            watermark_interval: self.watermark_interval,
            idle_timeout: self.source_idle_timeout,
            epoch_interval: self.epoch_interval,
            epoch_max_in_flight: self.epoch_max_in_flight,
            epoch_max_bytes: self.epoch_max_bytes,
            checkpoint_interval: self.checkpoint_interval,
            checkpoint_timeout: self.checkpoint_timeout,
            tolerated_failures: self.checkpoint_tolerated_failures,
            state_bytes: self.state_memory.unwrap_or(u64::MAX),
            spill: self.state_memory.map(|_| SpillArea::new(&self.state_spill_dir)),
            ..JobOptions::default()
        }
    }

    /// Errors: `user` if a folder for state was chosen and cannot be used; better known now than when memory is full.
    pub fn check_spill_dir(&self) -> thalweg_engine::Result<()> {
        match self.state_memory {
            Some(_) if self.state_spill_dir != std::env::temp_dir() => SpillArea::new(&self.state_spill_dir).check(),
            _ => Ok(()),
        }
    }

    /// When a failed job starts again.
    pub fn backoff(&self) -> Backoff {
        let Settings { restart_delay, restart_max_delay, restart_attempts, .. } = *self;
        Backoff { first: restart_delay, most: restart_max_delay.max(restart_delay), attempts: restart_attempts }
    }

    /// What the resolver starts from, before the file of defaults has set every field.
    fn blank() -> Settings {
        Settings {
            parallelism: 1,
            batch_rows: 1,
            batch_bytes: 1,
            exchange_gate_bytes: 0,
            exchange_edge_bytes: 0,
            watermark_interval: Duration::ZERO,
            source_idle_timeout: None,
            epoch_interval: Duration::ZERO,
            epoch_max_in_flight: 1,
            epoch_max_bytes: 0,
            checkpoint_interval: None,
            checkpoint_dir: None,
            checkpoint_retained: 1,
            checkpoint_timeout: Duration::ZERO,
            checkpoint_tolerated_failures: 0,
            s3: S3Options::default(),
            state_memory: None,
            state_spill_dir: PathBuf::new(),
            restart_attempts: 0,
            restart_delay: Duration::ZERO,
            restart_max_delay: Duration::ZERO,
            sql_decimal_literals: false,
            progress_interval: None,
        }
    }
}
