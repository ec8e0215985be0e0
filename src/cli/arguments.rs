//! The arguments of every command, as clap reads them. Values are only taken here; `settings` and the commands check them.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Runs SQL over streams: Kafka topics, files and generators in, windows and results out.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the statements of a SQL file until its inputs end or Ctrl-C (twice = at once)
    Run(RunArguments),
    /// Show what a SQL file would run, without running it
    Explain(ExplainArguments),
    /// Measure
    Bench {
        #[command(subcommand)]
        suite: Suite,
    },
    /// Look into a folder of checkpoints
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Ask what is in the state of a checkpoint
    #[command(subcommand)]
    State(StateCommand),
    /// Print all settings with their meaning and default, as a file for --config
    Config,
}

/// Which folder, and how to tell.
#[derive(Debug, Args)]
pub(crate) struct CheckpointArguments {
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Run a SELECT over the state of a checkpoint of --set checkpoint.dir=PATH; without one, show its tables
    ///
    /// Tables: one for each container of each operator with state, and sources, frontiers, operators, pending, checkpoint, tables. Reads only: a
    /// job that runs on the folder is not disturbed.
    Query {
        /// Its id, such as 3-17, latest, or the path of a savepoint
        checkpoint: thalweg::Start,
        /// SELECT, SHOW TABLES or DESCRIBE
        #[arg(value_name = "SQL")]
        sql: Option<String>,
        #[command(flatten)]
        arguments: CheckpointArguments,
    },
}

/// What `checkpoint export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Parquet files
    Parquet,
    /// Files of one JSON object a line
    Json,
}

/// All take `--set checkpoint.dir=PATH`.
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// List the complete checkpoints of --set checkpoint.dir=PATH, oldest first
    List(CheckpointArguments),
    /// Show what a checkpoint is made of
    Show {
        /// Its id, such as 3-17, or latest
        id: String,
        #[command(flatten)]
        arguments: CheckpointArguments,
    },
    /// Read every file and say what is damaged, missing or left over; the exit status is 1 if something is wrong
    Verify(CheckpointArguments),
    /// Write the state of a checkpoint as files for other tools, a folder for each table that `state query` has
    Export {
        /// Its id, such as 3-17, latest, or the path of a savepoint
        id: thalweg::Start,
        /// An empty folder
        #[arg(long, value_name = "FOLDER")]
        to: String,
        /// What the files are
        #[arg(long, value_enum, default_value = "parquet")]
        format: ExportFormat,
        #[command(flatten)]
        arguments: CheckpointArguments,
    },
    /// Copy a checkpoint into a folder of its own, to go on from with `run --from FOLDER`
    Keep {
        /// Its id, such as 3-17, or latest
        id: String,
        /// An empty folder
        #[arg(long, value_name = "FOLDER")]
        to: String,
        #[command(flatten)]
        arguments: CheckpointArguments,
    },
}

impl CheckpointCommand {
    /// What all of them take.
    pub(crate) fn arguments(&self) -> &CheckpointArguments {
        match self {
            CheckpointCommand::List(arguments) | CheckpointCommand::Verify(arguments) => arguments,
            CheckpointCommand::Show { arguments, .. }
            | CheckpointCommand::Export { arguments, .. }
            | CheckpointCommand::Keep { arguments, .. } => arguments,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Suite {
    /// Run the Nexmark queries and measure events per second, per core
    Nexmark(NexmarkArguments),
    /// Run windows over many keys, with and without checkpoints, and measure what these cost
    Checkpoint(CheckpointBenchArguments),
}

/// Where settings come from; every command that plans takes these.
#[derive(Debug, Default, Args)]
pub(crate) struct SettingArguments {
    /// Subtasks per operator, 1 to 256, or `auto` (short for --set parallelism=N)
    #[arg(long, value_name = "N")]
    pub(crate) parallelism: Option<String>,
    /// A setting; may be repeated (`thalweg config` lists them)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// A file of settings, in the form that `thalweg config` prints
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// A SQL file and what its variables stand for.
#[derive(Debug, Args)]
pub(crate) struct ProgramArguments {
    /// The SQL file, `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Replaces ${NAME} in the file; may be repeated
    #[arg(long = "define", value_name = "NAME=VALUE")]
    pub(crate) define: Vec<String>,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) program: ProgramArguments,
    /// Go on from a checkpoint in checkpoint.dir: auto (the newest, or afresh), latest, an id such as 3-17 (output since then is written again), or the path of a savepoint
    #[arg(long, value_name = "WHERE")]
    pub(crate) from: Option<thalweg::Start>,
    /// Go on even if the checkpoint holds state that the file has no place for
    #[arg(long)]
    pub(crate) allow_dropped_state: bool,
    /// Print rows, progress, summary and errors as one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    #[command(flatten)]
    pub(crate) program: ProgramArguments,
    /// Print the job graph as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the events of a benchmark come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventSource {
    /// Generated while the query runs: measures generator and engine
    Inline,
    /// Generated before the clock starts: measures the engine
    Pregenerated,
}

impl EventSource {
    /// The name on the command line and in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            EventSource::Inline => "inline",
            EventSource::Pregenerated => "pregenerated",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CheckpointBenchArguments {
    /// Keys in the state; a hundredth of them changes every second
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    pub(crate) keys: u64,
    /// Rows per second
    #[arg(long, default_value_t = 1_000_000, value_name = "R", value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    pub(crate) rate: u64,
    /// Segments of five seconds, half of them with a checkpoint every second
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) segments: u32,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
}

#[derive(Debug, Args)]
pub(crate) struct NexmarkArguments {
    /// Queries to run, separated by commas; all if absent
    #[arg(long, value_delimiter = ',', value_name = "QUERIES")]
    pub(crate) queries: Vec<String>,
    /// Events per query, all three types together
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    pub(crate) events: u64,
    /// Events per second of event time
    #[arg(long, default_value_t = 100_000, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) rate: u64,
    /// Where the events come from
    #[arg(long, value_enum, default_value = "pregenerated")]
    pub(crate) source: EventSource,
    /// Timed runs per query; the best one is reported
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) runs: u32,
    /// Also write the results to this file, as a JSON array with one object per query
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
}
