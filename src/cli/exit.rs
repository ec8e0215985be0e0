//! How a command ends: exit status and what is told to the user on standard error.

use std::process::ExitCode;

/// The end of a command, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All done, or stopped on request.
    Done,
    /// The job, or something outside, failed.
    Failed,
    /// Nothing was started: bad SQL, options, settings or arguments.
    Refused,
    /// Cancelled by a second Ctrl-C.
    Cancelled,
}

impl Exit {
    /// The status that the process returns.
    pub(crate) fn status(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Refused => 2,
            Exit::Cancelled => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.status())
    }
}
