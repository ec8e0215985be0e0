//! The containers that operators keep state in.

/// The containers of one operator's subtask.
#[derive(Debug, Default)]
pub struct StateStore {}
