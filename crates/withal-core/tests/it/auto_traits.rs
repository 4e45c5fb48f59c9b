//! Which types cross threads is part of the interface.

use std::panic::{RefUnwindSafe, UnwindSafe};

use withal_core::{
    BoxError, Closing, Entry, Error, ExitCase, ExitStack, Failure, Flow, Given, Lent, Matcher,
    Notice, NoticeKind, Nullcontext, Panicked, Reentrant, Report, StackHandle, Stage, Suppress,
    SuppressIf, TimedOut, Yielder,
};

macro_rules! assert_all {
    ($($type:ty: $($bound:path),+;)+) => { $({
        fn check<T: ?Sized $(+ $bound)+>() {}
        check::<$type>();
    })+ };
}

/// Ambiguous, and so a compile error, if `$type` is `$trait`.
macro_rules! assert_not {
    ($($type:ty: $trait:path;)+) => { $({
        trait Ambiguous<A> { fn check() {} }
        impl<T: ?Sized> Ambiguous<()> for T {}
        struct Is;
        impl<T: ?Sized + $trait> Ambiguous<Is> for T {}
        <$type as Ambiguous<_>>::check();
    })+ };
}

type Static = dyn std::error::Error + Send + Sync + 'static;

#[test]
fn what_crosses_threads_is_pinned() {
    trait Owned: 'static {}
    impl<T: 'static + ?Sized> Owned for T {}
    assert_all! {
        Error: Send, Sync, Unpin, Owned, Clone, std::error::Error;
        ExitCase: Send, Sync, Unpin, Owned, Clone, Default;
        Failure: Send, Sync, Unpin, Owned;
        Entry: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Owned, Clone, Eq;
        Stage: Send, Sync, Copy, Eq, Owned;
        Panicked: Send, Sync, UnwindSafe, Owned, Clone, Eq, std::error::Error;
        TimedOut: Send, Sync, UnwindSafe, Owned, Copy, Eq, std::error::Error;
        BoxError: Send, Sync, Owned;
        Static: Send, Sync;
        Report<'static>: Send, Sync, Copy;
        Flow: Send, Sync, Owned, Default;
        Matcher: Send, Sync, Owned;
        Notice<'static>: Send, Sync, Clone;
        NoticeKind: Send, Sync, Copy, Eq, std::hash::Hash;
        Nullcontext<u8>: Send, Sync, Unpin, Copy;
        Closing<u8, fn(u8) -> Result<(), Error>>: Send, Sync, Unpin;
        Suppress<Error>: Send, Sync, Unpin, UnwindSafe, Copy;
        Suppress<std::rc::Rc<u8>>: Send, Sync;
        SuppressIf<Error>: Send, Sync, Unpin, Clone;
        Reentrant<fn(), u8>: Send, Sync;
        Given<'static>: Send, Sync, Unpin;
    }
}

/// The sync stack shares its entries with handles and lent resources on one thread; the one that
/// crosses threads is `AsyncExitStack`.
#[test]
fn what_stays_on_its_thread_is_pinned() {
    assert_not! {
        ExitStack<'static>: Send;
        ExitStack<'static>: Sync;
        StackHandle<'static>: Send;
        Lent<'static, u8>: Send;
        Yielder<'static, u8>: Send;
        Given<'static>: Clone;
        Yielder<'static, u8>: Clone;
    }
}

#[test]
fn an_error_is_one_word() {
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    assert_eq!(size_of::<Option<Error>>(), size_of::<usize>());
    assert_eq!(size_of::<ExitCase>(), 2 * size_of::<usize>());
}
