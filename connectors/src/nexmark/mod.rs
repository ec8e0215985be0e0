//! The Nexmark generator: an auction site's persons, auctions and bids, as a pure function of (seed, event id).
//!
//! Called by the `nexmark` source and by benchmarks, which generate before the clock starts. One generator makes the whole
//! stream, whatever the parallelism: event `index` (0, 1, 2, ..) is the same row in every run with the same settings, and any
//! slice can be made alone. Rules and proportions follow the public Nexmark benchmark for Flink; the random draws are ours,
//! because the original's are unseeded.
//!
//! | file | holds |
//! |---|---|
//! | `config` | the settings, their names, defaults and limits |
//! | `events` | numbers, ids, types and times; who is hot, active, in flight |
//! | `dice` | random draws by (seed, id, field) |
//! | `texts` | names, cities, random strings and URLs |
//! | `schema` | the wide row, and the columns of it that somebody reads |
//! | `generator` | slices of events to record batches |
//! | `source` | the `nexmark` source |

mod config;
mod dice;
mod events;
mod generator;
mod schema;
mod source;
mod texts;

pub use crate::interleaved::SPLITS;
pub use config::{ConfigError, MAX_EVENTS, NexmarkConfig, OPTIONS};
pub use generator::{Generator, Slice};
pub use schema::{Projection, wide_schema};
pub use source::NexmarkSource;
