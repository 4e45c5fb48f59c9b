//! The ways in which a future is cancelled.

use std::fmt;

/// A way in which a future is cancelled.
///
/// All of them drop it. They differ in who drops it, where, and what has happened in between:
/// what the future waits for may have come, with nobody to take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// Dropped where it stands, as soon as it waits.
    Drop,
    /// Dropped on another thread, outside of the runtime.
    DropElsewhere,
    /// Its task is aborted: the runtime drops it, at the task's next turn.
    Abort,
    /// `tokio::time::timeout` elapses: everything else has come to rest by then.
    Timeout,
    /// It loses a `select!`: other tasks have had a turn.
    Select,
    /// Its runtime shuts down, undrained, while it waits.
    ///
    /// No exit can run any more. What is checked is that withal says so (what was open is listed
    /// as abandoned, nothing as open), and that destructors close what they own. The check of the
    /// caller is called, so that it can reset what it counts, but cannot fail.
    Shutdown,
}

impl Way {
    /// Every way.
    pub const ALL: [Way; 6] = [
        Way::Drop,
        Way::DropElsewhere,
        Way::Abort,
        Way::Timeout,
        Way::Select,
        Way::Shutdown,
    ];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Way::Drop => "dropped",
            Way::DropElsewhere => "dropped on another thread",
            Way::Abort => "its task aborted",
            Way::Timeout => "timed out",
            Way::Select => "lost a `select!`",
            Way::Shutdown => "its runtime shut down",
        })
    }
}
