//! Exit statuses: what withal tells its caller.

use rustix::process::WaitStatus;
use serde::{Deserialize, Serialize};

/// How this process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Exit {
    /// With this exit code.
    Code(u8),
    /// By this signal, as the command did.
    Signal(i32),
}

impl Exit {
    pub(crate) const SUCCESS: Exit = Exit::Code(0);
    /// The command succeeded, undoing a gate did not.
    pub(crate) const TEARDOWN_FAILED: Exit = Exit::Code(123);
    /// The command was stopped by `--timeout`.
    pub(crate) const TIMED_OUT: Exit = Exit::Code(124);
    /// withal itself failed: usage, a gate that could not be acquired.
    pub(crate) const FAILED: Exit = Exit::Code(125);
    /// The command was found, but it cannot be executed.
    pub(crate) const NOT_EXECUTABLE: Exit = Exit::Code(126);
    /// The command was not found.
    pub(crate) const NOT_FOUND: Exit = Exit::Code(127);

    /// What the shell's `$?` is for it.
    pub(crate) fn code(self) -> i32 {
        match self {
            Exit::Code(code) => i32::from(code),
            Exit::Signal(signal) => 128 + signal,
        }
    }

    /// The command's own status, unchanged.
    pub(crate) fn of_command(status: WaitStatus) -> Exit {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::FAILED,
        }
    }
}
