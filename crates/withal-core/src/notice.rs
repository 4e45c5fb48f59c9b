//! What would otherwise be dropped in silence: swallowed errors, failures nobody awaits.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{LazyLock, Mutex, PoisonError, RwLock};

use crate::{Entry, Error};

/// Something that no caller will hear of.
///
/// By default it is written at WARN to `tracing` or `log`, where those features are on, and to
/// stderr where they are not. [`set_notice_hook`] sends it elsewhere.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Notice<'a> {
    /// What kind of thing happened.
    pub kind: NoticeKind,
    /// The entry it happened to, if it was one.
    pub entry: Option<&'a Entry>,
    /// The failures that go no further.
    pub error: Option<&'a Error>,
    /// How often this happened at this place so far, this time included.
    pub count: u64,
}

/// The kinds of [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoticeKind {
    /// A manager swallowed an error, as its type said it might.
    Suppressed,
    /// Exits failed beside a panic; the panic goes on, they cannot.
    BesidePanic,
    /// An exit stack, or a resource with a `close` of its own, was dropped without being closed; its
    /// exits ran all the same.
    NotClosed,
    /// Something failed and was worked around; nothing is lost, and somebody should look at it.
    WorkedAround,
    /// Something was registered on an exit stack that is gone; it is exited at once, or as soon as
    /// its resource is given back.
    StackGone,
    /// A teardown in the background failed.
    TeardownFailed,
    /// A teardown in the background was given up at its deadline.
    TeardownTimedOut,
    /// A teardown could not run: its runtime is gone.
    TeardownLost,
    /// A lent resource outlived its stack; its exit waits until it is given back.
    StillLent,
    /// Something has been held for so long that it may have been forgotten.
    HeldLong,
    /// What was reported as [`HeldLong`](NoticeKind::HeldLong) was given back after all.
    CameBack,
}

impl NoticeKind {
    /// The kind in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::Suppressed => "error suppressed",
            NoticeKind::BesidePanic => "exits failed beside a panic",
            NoticeKind::NotClosed => "dropped without being closed",
            NoticeKind::WorkedAround => "failed, and was worked around",
            NoticeKind::StackGone => "registered on an exit stack that is gone",
            NoticeKind::TeardownFailed => "teardown failed in the background",
            NoticeKind::TeardownTimedOut => "teardown given up at its deadline",
            NoticeKind::TeardownLost => "teardown lost: its runtime is gone",
            NoticeKind::StillLent => "resource still lent out, its exit is delayed",
            NoticeKind::HeldLong => "held for long, perhaps forgotten",
            NoticeKind::CameBack => "came back after it was reported as held for long",
        }
    }
}

impl<'a> Notice<'a> {
    /// A notice of something that happened for the first time.
    #[must_use]
    pub fn new(kind: NoticeKind, entry: Option<&'a Entry>, error: Option<&'a Error>) -> Notice<'a> {
        Notice {
            kind,
            entry,
            error,
            count: 1,
        }
    }

    pub(crate) fn beside_panic(error: &'a Error) -> Notice<'a> {
        Notice::new(NoticeKind::BesidePanic, None, Some(error))
    }
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(entry) = self.entry {
            write!(f, ": {entry}")?;
        }
        if let Some(error) = self.error {
            write!(f, ": {error}")?;
        }
        if self.count > 1 {
            write!(f, " ({} times here)", self.count)?;
        }
        Ok(())
    }
}

type Hook = dyn Fn(&Notice<'_>) + Send + Sync;

static HOOK: RwLock<Option<Box<Hook>>> = RwLock::new(None);

/// Sends every [`Notice`] of this process to `hook` instead of the log or stderr.
///
/// The hook runs where the thing happened, often in the middle of a teardown: keep it short, and
/// do not open blocks in it.
pub fn set_notice_hook(hook: impl Fn(&Notice<'_>) + Send + Sync + 'static) {
    *HOOK.write().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
}

/// Sends notices to the log or stderr again.
pub fn clear_notice_hook() {
    *HOOK.write().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Delivers `notice` to the hook, the log or stderr.
///
/// A panic in the hook, the logger or an error's `Display` ends here: exits are still due.
pub fn emit(notice: &Notice<'_>) {
    let deliver = || match &*HOOK.read().unwrap_or_else(PoisonError::into_inner) {
        Some(hook) => hook(notice),
        None => default_hook(notice),
    };
    let _ = catch_unwind(AssertUnwindSafe(deliver));
}

/// Delivers an error that no caller hears of; `entry` is what it is about.
///
/// # Examples
///
/// ```
/// use withal_core::{Entry, NoticeKind, emit_error};
///
/// let entry = Entry::new("cache");
/// emit_error(NoticeKind::WorkedAround, Some(&entry), "it could not be written");
/// ```
pub fn emit_error(kind: NoticeKind, entry: Option<&Entry>, error: impl Into<crate::BoxError>) {
    emit(&Notice::new(kind, entry, Some(&Error::new(error))));
}

#[cfg(feature = "tracing")]
fn default_hook(notice: &Notice<'_>) {
    tracing::warn!(target: "withal", count = notice.count, "{notice}");
}

#[cfg(all(feature = "log", not(feature = "tracing")))]
fn default_hook(notice: &Notice<'_>) {
    log::warn!(target: "withal", "{notice}");
}

#[cfg(not(any(feature = "tracing", feature = "log")))]
fn default_hook(notice: &Notice<'_>) {
    eprintln!("withal: WARN {notice}");
}

type Site = &'static Location<'static>;

static SUPPRESSED: LazyLock<Mutex<HashMap<Site, u64>>> = LazyLock::new(Mutex::default);

/// How many errors managers entered at each place have swallowed so far.
#[must_use]
pub fn suppressed_counts() -> HashMap<&'static Location<'static>, u64> {
    SUPPRESSED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

#[cold]
pub(crate) fn suppressed(entry: &Entry, error: &Error) {
    let count = {
        let mut counts = SUPPRESSED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(entry.location()).or_default();
        *count += 1;
        *count
    };
    emit(&Notice {
        count,
        ..Notice::new(NoticeKind::Suppressed, Some(entry), Some(error))
    });
}
