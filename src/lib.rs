//! Thalweg runs SQL over streams: Kafka topics, files and generators in, windows and results out, on Arrow record batches.
//!
//! This crate is the facade over the engine and the home of the command line. The parts:
//!
//! | module | holds |
//! |---|---|
//! | [`session`] | runs SQL in this process: start here |
//! | [`recovery`] | from where a job starts, and starting it again |
//! | [`state`] | the state of a checkpoint as tables |
//! | [`engine`] | graphs, tasks, event time, state: the runtime, which knows no SQL |
//! | [`operators`] | calculation, windows, aggregates |
//! | [`connectors`] | Kafka, files, generators, formats |
//! | [`sql`] | SQL text to job graph |
//! | [`settings`] | what can be tuned, resolved from file, environment, SQL and arguments |

mod connect;
pub mod recovery;
pub mod session;
pub mod settings;
pub mod state;

pub use thalweg_connectors as connectors;
pub use thalweg_engine as engine;
pub use thalweg_operators as operators;
pub use thalweg_sql as sql;

pub use recovery::{Recovery, Start, Started};
pub use session::{Error, Session};
pub use settings::Settings;

/// What most programs that embed Thalweg need.
pub mod prelude {
    pub use crate::engine::job::{Ending, JobHandle, JobOptions, Outcome};
    pub use crate::engine::metrics::Totals;
    pub use crate::settings::{Resolver, Settings};
    pub use crate::sql::Program;
    pub use crate::{Error, Session};
}
