//! Sources, sinks and record formats of Thalweg. SQL finds them through one registry; the engine knows only their traits.

pub mod format;
pub mod kafka;
pub mod nexmark;
pub mod terminal;
