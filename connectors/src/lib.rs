//! Sources, sinks and record formats of Thalweg. SQL finds them through one registry; the engine knows only their traits.

pub mod bad_record;
pub mod blackhole;
mod builtin;
pub mod datagen;
pub mod filesystem;
pub mod format;
mod interleaved;
pub mod kafka;
pub mod memory;
pub mod nexmark;
pub mod options;
pub mod registry;
pub mod rows;
pub mod splits;
pub mod terminal;
mod upsert_kafka;
pub use options::{OptionError, OptionResult, OptionSpec, Options, TypedOptions, ValueKind};
pub use registry::{Connector, Description, Metadata, MetadataSpec, Registry, Routes, TableColumn, TableSpec};
