#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod case;
mod compose;
mod entry;
mod error;
mod makers;
mod manager;
mod notice;
mod place;
mod stack;
mod verdict;
mod with;

/// The machinery the runtime crates share. Not for applications: it may change in any release.
#[doc(hidden)]
pub mod unwind;

/// What generators of the runtime crates share with [`contextmanager`]. Not for applications.
#[doc(hidden)]
pub mod generator {
    pub use crate::makers::{SharedSlot, Slot};
}

pub use case::ExitCase;
pub use entry::Entry;
pub use error::{Error, Failure, Panicked, Report, Stage, TimedOut};
pub use makers::{
    Closing, Generator, Given, Held, Nullcontext, Reentrant, Suppress, SuppressIf, Yielded,
    Yielder, closing, contextmanager, nullcontext, reentrant, suppress, suppress_if, wrap, wrap1,
};
pub use manager::{AsyncContextManager, ContextManager};
pub use notice::{
    Notice, NoticeKind, clear_notice_hook, emit as emit_notice, emit_error, set_notice_hook,
    suppressed_counts,
};
pub use stack::{CallbackResult, ExitStack, Lent, StackHandle};
pub use verdict::{Flow, Matcher, Verdict, Within};
pub use with::with;

#[doc(hidden)]
pub use {manager::Site, place::Place};

/// Any error that can cross threads: what a body's `?` turns errors into.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
