//! Runs SQL in this process: settings and connectors, a text compiled, its jobs started. The command line and applications that
//! embed Thalweg use it.

use crate::connect::{Given, Outside};
use crate::recovery::Recovery;
use crate::settings::{Origin, Resolver, SettingError, Settings};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_connectors::registry::{Connector, Registry};
use thalweg_connectors::terminal::{RowFormat, Terminal};
use thalweg_engine::job::{Ending, JobHandle};
use thalweg_engine::metrics::Totals;
use thalweg_sql::{Program, SqlError};

/// What goes wrong between a text and the end of its jobs.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A setting is refused.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The text is refused.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A start is refused, with the remedy.
    #[error("{0}")]
    Refused(String),
    /// A job failed.
    #[error(transparent)]
    Job(#[from] thalweg_engine::Error),
}

/// Settings and connectors for any number of texts.
///
/// ```
/// let session = thalweg::Session::new()?;
/// let totals = session.run(
///     "CREATE TABLE events (event_type INT) WITH ('connector' = 'nexmark', 'events.num' = '1000');
///      CREATE TABLE bids (event_type INT) WITH ('connector' = 'blackhole');
///      INSERT INTO bids SELECT event_type FROM events WHERE event_type = 2;",
/// )?;
/// assert_eq!((totals[0].rows_in, totals[0].rows_out), (1000, 920));
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct Session {
    outside: Outside,
}

impl Session {
    /// The default settings, all connectors, rows as text on standard output.
    pub fn new() -> Result<Session, Error> {
        Ok(Session::with(Resolver::new()?, Terminal::stdout(RowFormat::Text, "")))
    }

    /// These settings; a bare SELECT writes to `terminal`.
    pub fn with(settings: Resolver, terminal: Terminal) -> Session {
        let registry = Registry::standard(&terminal);
        Session { outside: Outside { registry, terminal, settings } }
    }

    /// Adds a connector, or replaces the one of the same name.
    pub fn register(&mut self, connector: Arc<dyn Connector>) {
        self.outside.registry.register(connector);
    }

    /// Turns a text into jobs; `defines` stand for `${NAME}`. Looks at nothing outside.
    pub fn compile(&self, text: &str, defines: &BTreeMap<String, String>) -> Result<Program, SqlError> {
        thalweg_sql::compile(text, defines, &Given(&self.outside.settings), &self.outside)
    }

    /// What a job runs with: the session's settings and what SET said before it.
    pub fn settings(&self, job: &thalweg_sql::Job) -> Result<Settings, SettingError> {
        let mut settings = self.outside.settings.clone();
        for (name, value) in &job.settings {
            settings.put(name, value, Origin::Sql)?;
        }
        Ok(settings.settings())
    }

    /// Starts a job from the beginning; see [`Recovery`] for going on from a checkpoint. Errors of inputs and outputs (no such topic) come with its outcome.
    pub fn start(&self, job: &thalweg_sql::Job) -> Result<JobHandle, Error> {
        Ok(Recovery::default().start(self, job)?.job)
    }

    /// Compiles a text and runs its jobs one after the other to their ends; returns what each has read and written.
    pub fn run(&self, text: &str) -> Result<Vec<Totals>, Error> {
        let program = self.compile(text, &BTreeMap::new())?;
        let mut totals = vec![];
        for job in program.jobs() {
            let handle = self.start(job)?;
            let outcome = handle.wait();
            if let (Ending::Failed, Some(error)) = (outcome.ending, outcome.error) {
                return Err(error.into());
            }
            totals.push(handle.totals());
        }
        Ok(totals)
    }
}
