//! What the registry tells.

use std::fmt;
use std::time::Duration;

use withal_core::Entry;

/// What kind of thing is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// A [`scope`](crate::scope).
    Scope,
    /// An [`AsyncExitStack`](crate::AsyncExitStack).
    Stack,
    /// A resource that a manager acquired.
    Resource,
    /// A registered exit without a resource: `defer`, `push`, `callback`.
    Callback,
    /// A task started by [`Scope::spawn`](crate::Scope::spawn).
    Task,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Scope => "scope",
            Kind::Stack => "stack",
            Kind::Resource => "resource",
            Kind::Callback => "callback",
            Kind::Task => "task",
        })
    }
}

/// How far an open thing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenState {
    /// Its enter is running.
    Acquiring,
    /// It is in use.
    Open,
    /// Its exit is running.
    Closing,
    /// It was given up at a deadline or lost with its runtime: its exit never ended. It stays
    /// listed; of many, the latest 1,000 do.
    Abandoned,
}

impl fmt::Display for OpenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            OpenState::Acquiring => "acquiring",
            OpenState::Open => "open",
            OpenState::Closing => "closing",
            OpenState::Abandoned => "abandoned",
        })
    }
}

/// One open thing, as it was when [`open`] was called.
#[derive(Clone, Debug)]
pub struct Open {
    pub(crate) id: u64,
    pub(crate) parent: u64,
    pub(crate) kind: Kind,
    pub(crate) entry: Entry,
    #[cfg(feature = "registry")]
    pub(super) opened: super::clock::Since,
    pub(crate) task: Option<tokio::task::Id>,
    pub(crate) state: OpenState,
}

impl Open {
    /// Names it for as long as the process lives.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The block it was opened in, by [`id`](Open::id); `None` outside of any.
    #[must_use]
    pub fn parent(&self) -> Option<u64> {
        Some(self.parent).filter(|parent| *parent != 0)
    }

    /// What kind of thing it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its manager's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.entry.name()
    }

    /// Where it was opened.
    #[must_use]
    pub fn location(&self) -> &'static std::panic::Location<'static> {
        self.entry.location()
    }

    /// How long ago it was opened, to a few milliseconds.
    #[must_use]
    pub fn age(&self) -> Duration {
        #[cfg(feature = "registry")]
        return self.opened.elapsed();
        #[cfg(not(feature = "registry"))]
        Duration::ZERO
    }

    /// The tokio task that opened it; `None` outside of any, as in `block_on`.
    #[must_use]
    pub fn task(&self) -> Option<tokio::task::Id> {
        self.task
    }

    /// Whether the calling thread opened it: tells a test's own from what others opened beside it.
    #[must_use]
    pub fn is_of_this_thread(&self) -> bool {
        #[cfg(feature = "registry")]
        return super::record::is_of_this_thread(self.id);
        #[cfg(not(feature = "registry"))]
        false
    }

    /// How far it has come.
    #[must_use]
    pub fn state(&self) -> OpenState {
        self.state
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}, since {:.1?}",
            self.kind,
            self.entry,
            self.state,
            self.age()
        )?;
        if let Some(task) = self.task {
            write!(f, ", by task {task}")?;
        }
        Ok(())
    }
}

/// What is open now in this process, in the order it was opened on each thread.
///
/// Each thing says what it is, where it was opened, since when, by which task and in which block.
/// The snapshot holds each of sixteen locks only while it copies a sixteenth of the blocks. Without
/// the feature `registry` it is always empty.
///
/// ```
/// # #[cfg(feature = "registry")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// use withal_core::nullcontext;
/// use withal_scope::{async_with, open};
///
/// async_with(nullcontext("resource"), async |_| {
///     let open = open();
///     assert_eq!(open[0].name(), "Nullcontext");
///     assert!(open[0].location().file().ends_with(".rs"));
///     Ok(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "registry"))]
/// # fn main() {}
/// ```
#[must_use]
pub fn open() -> Vec<Open> {
    #[cfg(feature = "registry")]
    return super::record::snapshot();
    #[cfg(not(feature = "registry"))]
    Vec::new()
}
